//! One row explained: what is linked, what the target has now, and what the next run would do, by the decisions of a plan.
//! Nothing is stored, and the target is only asked.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;

use crate::id::ProfileName;
use crate::identity::digest::Digest;
use crate::identity::{Identity, Kind, MemberKey, RowKey};
use crate::mapping::resource_type;
use crate::plan::decide::Verdict;
use crate::provider::Refusal;
use crate::scim::resource::{Found, member_ids};
use crate::scim::{AttributeChange, Attributes};
use crate::snapshot::{Match, Row, Seen, Standing};
use crate::sync::propose::foresee::{Foreseen, foresee};
use crate::sync::{Error, Relay, adopt, drift, only};

/// How long the target may take for each question, repetitions included: an explanation is waited for by a person.
const PATIENCE: Duration = Duration::from_secs(8);

/// What one profile sees of an entry now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It is in scope.
    There(Box<Identity>, Digest),
    /// It is not there or not in scope: a complete read would not meet it.
    Absent,
    /// That cannot be told; it stays as it was seen last.
    Unknown,
}

/// The row as it would be, had all profiles read the entry just now; in the order of the profiles.
pub fn as_read_now(row: Row, sightings: Vec<(ProfileName, Sighting)>, now: DateTime<Utc>) -> Row {
    let mut seen = Vec::new();
    for (profile, sighting) in sightings {
        let before = row.seen_by(&profile);
        let after = match sighting {
            Sighting::There(identity, digest) => Some(Seen {
                identity: *identity,
                digest,
                standing: Standing::Present,
            }),
            Sighting::Unknown => before.cloned(),
            Sighting::Absent => before.map(|seen| Seen {
                standing: match seen.standing {
                    Standing::Present => Standing::Absent { since: now },
                    absent => absent,
                },
                ..seen.clone()
            }),
        };
        seen.extend(after.map(|after| (profile, after)));
    }
    // Who left one profile's scope for another one's is that one's alone.
    let is_there = |(_, seen): &(ProfileName, Seen)| seen.standing == Standing::Present;
    if seen.iter().any(is_there) {
        seen.retain(is_there);
    }
    Row { seen, ..row }
}

/// The row that the store knows by this anchor, DN, uid or userName, whether or not the entry is still there.
///
/// # Errors
/// When the store cannot be read.
pub async fn known(relay: &Relay, selector: &str) -> Result<Option<Row>, Error> {
    only::known_row(relay, selector).await
}

/// What the target has of a row now.
#[derive(Clone, Debug, PartialEq)]
pub enum AtTarget {
    /// The linked resource: what it holds of what the relay maintains, where that is neither what was acknowledged nor what
    /// it shall be, and whether it is active.
    Linked {
        /// What it holds.
        held: Attributes,
        /// Where it differs: what it holds, and what it shall be.
        differences: Vec<AttributeChange>,
        /// Whether it is active; absent when the target does not say.
        active: Option<bool>,
        /// Of a group's members that the relay put there, those who are not; and those who are there by others.
        members: Option<(u64, u64)>,
    },
    /// The linked resource is not there any more.
    Gone,
    /// The row is not linked, and this is what may belong to it or is in its way.
    Unlinked(Option<Match>),
    /// It did not answer; the text says why.
    Silent(String),
}

/// Whether somebody whom a group names belongs to it at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// With a resource at the target.
    Linked,
    /// As soon as there is one.
    Unlinked,
    /// Not: no profile of the directory has it in scope.
    OutOfScope,
    /// Not: it is a group, and groups within groups are left out.
    GroupWithin,
}

/// What is known of a row, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// What the target has.
    pub target: AtTarget,
    /// What the next run would do.
    pub verdict: Verdict,
    /// Whether that is not known; `waits` says why.
    pub is_unknown: bool,
    /// What the next run waits for, or looks at first; in words.
    pub waits: Vec<String>,
    /// What waits for a person, or was rejected or undone by one; in words.
    pub held: Vec<String>,
    /// Of a group: whom it names, by the keys of the names, and what becomes of each.
    pub members: Vec<(MemberKey, Belongs)>,
}

/// Says what is known of a row and what the next run of the relay's profile would do about it. `changed` says that the store
/// does not have the entry as it is.
///
/// # Errors
/// When the store cannot be read.
pub async fn outlook(relay: &Relay, row: &Row, changed: bool) -> Result<Outlook, Error> {
    let mut waits = Vec::new();
    let target = match timeout(PATIENCE, at_target(relay, row)).await {
        Ok(target) => target?,
        Err(_) => AtTarget::Silent(format!(
            "the target did not answer within {} seconds",
            PATIENCE.as_secs()
        )),
    };
    let state = relay.store.profile_state(&relay.key()).await?;
    let mut row = row.clone();
    // First contact looks for what is there already.
    match &target {
        AtTarget::Unlinked(found) if state.last_observed.is_none() => {
            row.found.clone_from(found);
        }
        AtTarget::Silent(_) if state.last_observed.is_none() && row.applied.is_none() => {
            waits.push(
                "the first run looks for an account that is there already, and the target could not be asked for one"
                    .to_owned(),
            );
        }
        _ => {}
    }
    let foreseen = match timeout(PATIENCE, foresee(relay, &row, changed)).await {
        Ok(Err(Error::Target(refusal))) => Foreseen::unknown(Some(refusal)),
        Ok(foreseen) => foreseen?,
        Err(_) => Foreseen::unknown(None),
    };
    if foreseen.is_unknown {
        waits.push(match &foreseen.refusal {
            Some(refusal) => {
                format!("it depends on what the target has for the entry, and {refusal}")
            }
            None => {
                "it could not be worked out in time; try again, or see `preview --only`".to_owned()
            }
        });
    }
    if foreseen.manager_waits {
        waits.push(
            "the manager has no resource at the target yet; he is set once he has one".to_owned(),
        );
    }
    let refused = foreseen.refused.iter();
    waits.extend(refused.map(|why| format!("the target refused it before: {why}")));
    waits.extend(holds(relay, &row, &foreseen.verdict).await?);
    let members = foreseen.members.into_iter();
    Ok(Outlook {
        target,
        is_unknown: foreseen.is_unknown,
        verdict: foreseen.verdict,
        waits,
        held: foreseen.held,
        members: members
            .map(|(member, belongs)| (member.name, belongs))
            .collect(),
    })
}

/// What keeps the steps of a row from being carried out, as far as the store knows.
async fn holds(relay: &Relay, row: &Row, verdict: &Verdict) -> Result<Vec<String>, Error> {
    let mut holds = Vec::new();
    let intents = relay.store.intents(relay.directory.id).await?;
    if intents.iter().any(|intent| intent.key == row.key) {
        holds.push(
            "an earlier run was cut off while it sent a change of it; the next one looks at the target first, and leaves it \
             alone where that does not tell what happened"
                .to_owned(),
        );
    }
    let bound = &relay.tenant.base_url;
    if !relay.profile.enabled {
        holds.push(format!(
            "the profile {} is disabled, so nothing runs by itself",
            relay.profile.name
        ));
    }
    if !verdict.steps.iter().any(|step| step.class.is_removal()) {
        return Ok(holds);
    }
    let key = relay.key();
    let state = relay.store.profile_state(&key).await?;
    if state.implausible.is_some() {
        holds.push(
            "the last read met implausibly few entries, so removals wait until a read meets them again, or for approval"
                .to_owned(),
        );
    }
    if let Some(doubt) = relay.store.feed_state(&key).await?.rights_in_doubt() {
        holds.push(format!("{doubt}, so removals at {bound} wait"));
    }
    holds.push(
        "just before it is sent the directory is asked once more, and if the plan takes away more than the guard allows, it \
         waits for a person"
            .to_owned(),
    );
    Ok(holds)
}

/// Asks the target: for the linked resource by its id, else for what may belong to the row.
async fn at_target(relay: &Relay, row: &Row) -> Result<AtTarget, Error> {
    let silent = |refusal: &Refusal| AtTarget::Silent(refusal.message.clone());
    let Some(applied) = &row.applied else {
        let seen = row.owner().map(|(_, seen)| seen);
        let seen = seen.filter(|seen| seen.standing == Standing::Present);
        let Some(seen) = seen else {
            return Ok(AtTarget::Unlinked(row.found.clone()));
        };
        if let Err(refusal) = relay.provider.discover().await {
            return Ok(silent(&refusal));
        }
        let desired = relay.desired(relay.profile_of(row), &seen.identity, Utc::now());
        let wanted = desired.resource.unwrap_or_default();
        let found = adopt::find_match(relay, &row.key, &wanted).await;
        return Ok(found.map_or_else(|refusal| silent(&refusal), AtTarget::Unlinked));
    };
    let kind = resource_type(row.key.kind);
    let resource = match relay.provider.get(kind, &applied.id).await {
        Ok(Some(resource)) => resource,
        Ok(None) => return Ok(AtTarget::Gone),
        Err(refusal) => return Ok(silent(&refusal)),
    };
    let (held, differences) = drift::compared(relay, row, applied, &resource);
    let shown = member_ids(&resource).filter(|_| relay.tenant.dialect.members_readable);
    let members = match shown.filter(|_| row.key.kind == Kind::Group) {
        Some(shown) => Some(compared_members(relay, &row.key, &shown).await?),
        None => None,
    };
    Ok(AtTarget::Linked {
        held,
        differences,
        active: Found::from_json(&resource).and_then(|found| found.active),
        members,
    })
}

/// How many members that the relay put into a group are not there, and how many are there by others.
async fn compared_members(
    relay: &Relay,
    group: &RowKey,
    shown: &[String],
) -> Result<(u64, u64), Error> {
    let (store, directory) = (&relay.store, relay.directory.id);
    let put = store.applied_members(directory, group).await?;
    let ours = store.links(directory, put).await?;
    let ours: BTreeSet<&String> = ours.iter().flatten().collect();
    let shown: BTreeSet<&String> = shown.iter().collect();
    let missing = ours.difference(&shown).count() as u64;
    Ok((missing, shown.difference(&ours).count() as u64))
}
