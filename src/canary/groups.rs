//! Experiments with groups: whether members can be read, how they come and go, and whether groups can be renamed.

use crate::canary::accounts::Subject;
use crate::canary::lab::{Halt, Lab, Trial, described, short, words_of_answer};
use crate::canary::sizes;
use crate::provider::Outcome;
use crate::scim::dialect::Dialect;
use crate::scim::encode::{self, Request};
use crate::scim::evidence::{Deed, Experiment, Membership, held, membership, other_manners};
use crate::scim::path::AttributePath;
use crate::scim::resource::{attribute, member_ids};
use crate::scim::{Attributes, ResourceType, Value};

const GROUP: ResourceType = ResourceType::Group;

/// A group that was created for experiments.
pub(super) struct Team {
    pub(super) id: String,
    /// The ids of its members, as far as it shows them.
    pub(super) members: Vec<String>,
    held: Attributes,
}

/// All experiments with groups.
pub(super) async fn all(lab: &mut Lab<'_>, first: &Subject, second: &Subject) -> Result<(), Halt> {
    let members = [first.id.clone(), second.id.clone()];
    let Some((mut team, shown)) = created(lab, &members).await? else {
        return Ok(());
    };
    let readable = match &shown {
        Shown::All => {
            team.members = members.to_vec();
            true
        }
        Shown::NotThese(trial) => added_later(lab, &mut team, &members, trial.clone()).await?,
    };
    if readable {
        if leaving(lab, &mut team, &members).await? {
            repeated(lab, &mut team, &members).await?;
            sizes::all(lab, &mut team).await?;
        }
    } else {
        seen_from_users(lab, &team, first).await?;
    }
    lab.group = Some(team.id.clone());
    rename(lab, &mut team).await
}

/// What a group shows of the members that it was created with.
enum Shown {
    All,
    NotThese(Trial),
}

/// Creates a group with members; `None` where the target creates no groups.
async fn created(lab: &mut Lab<'_>, members: &[String]) -> Result<Option<(Team, Shown)>, Halt> {
    let (name, attributes) = fresh(lab);
    let manner = lab.dialect.clone();
    let count = lab.dialect.members_per_create.min(members.len());
    let with = lab
        .create(&manner, GROUP, &name, &attributes, &members[..count])
        .await?;
    let (id, refused) = match with {
        Ok(id) => (id, None),
        Err(trial) if count > 0 => {
            let (name, attributes) = fresh(lab);
            match lab.create(&manner, GROUP, &name, &attributes, &[]).await? {
                Ok(id) => (id, Some(trial)),
                Err(alone) => {
                    no_groups(lab, &trial, Some(&alone));
                    return Ok(None);
                }
            }
        }
        Err(trial) => {
            no_groups(lab, &trial, None);
            return Ok(None);
        }
    };
    let read = lab.read(GROUP, &id).await?;
    let paths: Vec<AttributePath> = attributes.keys().cloned().collect();
    let team = Team {
        held: held(&read, &paths, &lab.dialect),
        members: Vec::new(),
        id,
    };
    let external_id = AttributePath::external_id();
    if team.held.contains_key(&external_id) {
        // What is omitted is so for users and groups alike.
        let mut manner = lab.dialect.clone();
        if manner.omitted.remove(&external_id) {
            manner.immutable_user_attributes.insert(external_id);
            let reason = Trial::failed(
                "POST of a user and of a group with externalId",
                "confirmed; read back: externalId of the group only",
                "externalId of both",
            );
            lab.adopt(manner, &reason);
        }
    } else {
        lab.note("groups do not keep externalId, so they are found by their name only");
    }
    let shown = match (membership(&read, members), refused) {
        (_, Some(trial)) => Shown::NotThese(trial),
        (Membership::AsWanted, None) => Shown::All,
        (other, None) => Shown::NotThese(Trial::failed(
            format!("POST /Groups with {count} members"),
            format!("confirmed; read back: {}", words_of(&other)),
            "201, and the members read back",
        )),
    };
    Ok(Some((team, shown)))
}

fn no_groups(lab: &mut Lab<'_>, trial: &Trial, alone: Option<&Trial>) {
    let alone = alone.map_or(String::new(), |alone| {
        format!("; without members: {}", alone.words.answer)
    });
    lab.note(format!(
        "no group can be created, so set synchronizeGroups = false in the profiles: {}{alone}",
        trial.words.answer
    ));
}

fn fresh(lab: &mut Lab<'_>) -> (String, Attributes) {
    let name = lab.aviary.name();
    let text = |text: &str| Value::Text(text.to_owned());
    let attributes = Attributes::from([
        (AttributePath::display_name(), text(&name)),
        (AttributePath::external_id(), text(&name)),
    ]);
    (name, attributes)
}

/// What a group shows, in words.
pub(super) fn words_of(membership: &Membership) -> String {
    match membership {
        Membership::AsWanted => "the members that were wanted".to_owned(),
        Membership::Empty => "no members".to_owned(),
        Membership::Otherwise(ids) if ids.len() > 6 => format!("{} members", ids.len()),
        Membership::Otherwise(ids) => format!("the members {}", ids.join(", ")),
    }
}

/// Sends a change of members in a manner, and looks whether the group shows just these members.
pub(super) async fn change(
    lab: &Lab<'_>,
    manner: &Dialect,
    team: &mut Team,
    request: &Request,
    wanted: &[String],
) -> Result<Trial, Halt> {
    let (outcome, read) = lab.send_and_read(manner, request).await?;
    let shown = membership(&read, wanted);
    team.members = member_ids(&read).unwrap_or_default();
    Ok(Trial {
        words: Experiment {
            request: lab.words_of(manner, request),
            answer: words_of_answer(&outcome, &words_of(&shown)),
            expected: format!("confirmed, and {} members read back", wanted.len()),
        },
        worked: matches!(outcome, Outcome::Acknowledged { .. }) && shown == Membership::AsWanted,
        ..Trial::default()
    })
}

/// Members that are not shown after a create are added afterwards, in each manner until some are shown. Whether members can be read.
async fn added_later(
    lab: &mut Lab<'_>,
    team: &mut Team,
    members: &[String],
    created: Trial,
) -> Result<bool, Halt> {
    let present = lab.dialect.clone();
    let mut manners = vec![present.clone()];
    manners.extend(other_manners(Deed::AddMembers, GROUP, &present));
    let mut first = None;
    for manner in manners {
        let request = encode::add_members(&team.id, members, &manner);
        let trial = change(lab, &manner, team, &request, members).await?;
        if trial.worked {
            if let Some(first) = &first {
                lab.adopt(manner, first);
            }
            without_members_on_create(lab, &created);
            return Ok(true);
        }
        let foreign: Vec<String> = team
            .members
            .iter()
            .filter(|id| !members.contains(id))
            .cloned()
            .collect();
        if !foreign.is_empty() {
            lab.note(format!(
                "members are shown by other ids than those that were sent ({}), so groups cannot be kept: set synchronizeGroups = false",
                short(&foreign.join(", "))
            ));
            break;
        }
        first.get_or_insert(trial);
    }
    if let Some(first) = first
        && lab.dialect.members_readable
    {
        let mut manner = lab.dialect.clone();
        manner.members_readable = false;
        lab.adopt(manner, &first);
        without_members_on_create(lab, &created);
    }
    Ok(false)
}

fn without_members_on_create(lab: &mut Lab<'_>, created: &Trial) {
    let mut manner = lab.dialect.clone();
    manner.members_per_create = 0;
    lab.adopt(manner, created);
}

/// Finds out how a member leaves, and comes back. Whether both ways are known.
async fn leaving(lab: &mut Lab<'_>, team: &mut Team, members: &[String]) -> Result<bool, Halt> {
    let member = &members[0];
    for deed in [Deed::RemoveMembers, Deed::AddMembers] {
        let present = lab.dialect.clone();
        let mut manners = vec![present.clone()];
        manners.extend(other_manners(deed, GROUP, &present));
        let mut first = None;
        let mut worked = false;
        for manner in manners {
            // What was tried before may have taken out somebody else, and then nothing would show.
            if deed == Deed::RemoveMembers && !restored(lab, team, members).await? {
                break;
            }
            let mut wanted = team.members.clone();
            let request = match deed {
                Deed::RemoveMembers => {
                    wanted.retain(|id| id != member);
                    encode::remove_members(&team.id, std::slice::from_ref(member))
                }
                _ => {
                    wanted.push(member.clone());
                    encode::add_members(&team.id, std::slice::from_ref(member), &manner)
                }
            };
            let trial = change(lab, &manner, team, &request, &wanted).await?;
            worked = trial.worked;
            if trial.worked {
                if let Some(first) = &first {
                    lab.adopt(manner, first);
                }
                break;
            }
            first.get_or_insert(trial);
        }
        if let (false, Some(trial)) = (worked, first) {
            lab.note(format!(
                "WARNING: no manner of changing members works: {}",
                trial.words
            ));
            return Ok(false);
        }
    }
    Ok(true)
}

/// Brings the members back that an experiment took out, in whatever manner; whether they are there.
async fn restored(lab: &mut Lab<'_>, team: &mut Team, members: &[String]) -> Result<bool, Halt> {
    let is_missing = |id: &&String| !team.members.contains(id);
    let missing: Vec<String> = members.iter().filter(is_missing).cloned().collect();
    if missing.is_empty() {
        return Ok(true);
    }
    let mut manners = vec![lab.dialect.clone()];
    manners.extend(other_manners(Deed::AddMembers, GROUP, &lab.dialect));
    for manner in manners {
        let request = encode::add_members(&team.id, &missing, &manner);
        if change(lab, &manner, team, &request, members).await?.worked {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a member that is added twice is there twice.
async fn repeated(lab: &mut Lab<'_>, team: &mut Team, members: &[String]) -> Result<(), Halt> {
    let (manner, before) = (lab.dialect.clone(), team.members.clone());
    let request = encode::add_members(&team.id, &members[..1], &manner);
    let trial = change(lab, &manner, team, &request, &before).await?;
    if team.members.len() > before.len() {
        lab.note("a member that is added twice is there twice; the relay reads a group before it adds to it");
    } else if !trial.worked {
        lab.note(format!(
            "a member that is there cannot be added again: {}",
            trial.words.answer
        ));
    }
    Ok(())
}

/// Where groups show no members, users may show their groups.
async fn seen_from_users(lab: &mut Lab<'_>, team: &Team, user: &Subject) -> Result<(), Halt> {
    let read = lab.read(ResourceType::User, &user.id).await?;
    let groups = attribute(&read, "groups")
        .and_then(|groups| groups.as_array())
        .cloned();
    let is_there = groups
        .unwrap_or_default()
        .iter()
        .any(|group| group["value"] == team.id.as_str());
    lab.note(match is_there {
        true => "groups show no members, but users show their groups: adding members works",
        false => "groups show no members, so nothing tells whether changes of members are carried out; look at the target",
    });
    Ok(())
}

/// Whether a group can get another name, and another externalId.
async fn rename(lab: &mut Lab<'_>, team: &mut Team) -> Result<(), Halt> {
    for path in [AttributePath::display_name(), AttributePath::external_id()] {
        let Some(Value::Text(before)) = team.held.get(&path).cloned() else {
            continue;
        };
        let name = format!("{before}-renamed");
        if path == AttributePath::display_name() {
            lab.aviary.renamed(&team.id, &name);
        }
        let mut wanted = team.held.clone();
        wanted.insert(path.clone(), Value::Text(name));
        let mut manner = lab.dialect.clone();
        let paths = [path.clone()];
        let trial = lab
            .change(&manner, GROUP, &team.id, &mut team.held, &wanted, &paths)
            .await?;
        if !trial.worked {
            if let Some(Value::Text(name)) = team.held.get(&AttributePath::display_name()) {
                lab.aviary.renamed(&team.id, name);
            }
            tracing::debug!(
                found = described(&team.held, &paths),
                "the group keeps its value"
            );
            manner.immutable_group_attributes.insert(path);
            lab.adopt(manner, &trial);
        }
    }
    Ok(())
}
