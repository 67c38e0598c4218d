//! Experiments with sizes: how many members one operation, one request and one create may have.

use crate::canary::groups::{Team, change, words_of};
use crate::canary::lab::{Halt, Lab, Trial};
use crate::scim::dialect::{Dialect, MemberRemovals};
use crate::scim::encode;
use crate::scim::evidence::{Membership, membership, sizes};
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, ResourceType, Value};

const GROUP: ResourceType = ResourceType::Group;
/// Members in one operation beyond which nothing is known of a target where it cannot be tried.
const KNOWN_MEMBERS_MAX: usize = 100;

/// All of them, with members that nobody is, so that nobody has to be created for it.
pub(super) async fn all(lab: &mut Lab<'_>, team: &mut Team) -> Result<(), Halt> {
    if lab.provider(&lab.dialect).puts(GROUP) {
        return Ok(()); // whole groups have no operations
    }
    let before = team.members.clone();
    let manner = lab.dialect.clone();
    let strangers = strangers(lab, 2);
    let wanted = together(&before, &strangers);
    let request = encode::add_members(&team.id, &strangers[..1], &manner);
    let trial = change(lab, &manner, team, &request, &wanted[..wanted.len() - 1]).await?;
    if !trial.worked {
        return repeated(lab, team, trial).await;
    }
    let per_operation = added(
        lab,
        team,
        lab.dialect.members_per_operation,
        |size, manner| {
            (manner.members_per_operation, manner.members_per_request) = (size, size);
        },
    );
    if let Some((size, trial)) = per_operation.await? {
        let mut manner = lab.dialect.clone();
        manner.members_per_operation = size;
        lab.adopt(manner, &trial);
    }
    if lab.dialect.operations_per_request > 1 && lab.dialect.members_per_request > 1 {
        let most = lab.dialect.members_per_request;
        let per_request = added(lab, team, most, |size, manner| {
            let half = size.div_ceil(2).min(manner.members_per_operation).max(1);
            (manner.members_per_operation, manner.members_per_request) = (half, size);
        });
        if let Some((size, trial)) = per_request.await? {
            let mut manner = lab.dialect.clone();
            manner.members_per_request = size;
            lab.adopt(manner, &trial);
        }
    }
    removed(lab, team).await?;
    created(lab).await
}

/// The same where members have to exist: the two that there are, again and again. That shows a limit on the length of the list,
/// and none on different members, so nothing beyond the usual one counts as known.
async fn repeated(lab: &mut Lab<'_>, team: &mut Team, refused: Trial) -> Result<(), Halt> {
    let present = lab.dialect.members_per_operation;
    let members = team.members.clone();
    let few = 2 * members.len();
    let mut first = None;
    for size in std::iter::once(few).chain(sizes(present)) {
        let request: Vec<String> = members.iter().cycle().take(size).cloned().collect();
        let mut manner = lab.dialect.clone();
        (manner.members_per_operation, manner.members_per_request) = (size, size);
        let request = encode::add_members(&team.id, &request, &manner);
        let trial = change(lab, &manner, team, &request, &members).await?;
        match (trial.worked, first) {
            (false, _) if size == few => {
                first = None;
                break; // repetition itself is what is refused
            }
            (true, Some(limit)) => {
                let mut manner = lab.dialect.clone();
                manner.members_per_operation = size;
                lab.adopt(manner, &limit);
                return Ok(());
            }
            (true, None) if size != few => {
                first = None;
                break;
            }
            (true, None) => first = None,
            (false, known) => {
                let words = format!("PATCH /Groups/{} that adds {size} members", team.id);
                first = known.or_else(|| Some(named(trial, words)));
            }
        }
    }
    if first.is_none() && present > KNOWN_MEMBERS_MAX {
        let mut manner = lab.dialect.clone();
        manner.members_per_operation = KNOWN_MEMBERS_MAX;
        let refused = Trial::failed(
            refused.words.request,
            refused.words.answer,
            format!(
                "confirmed, so that larger numbers can be tried without hundreds of users; {KNOWN_MEMBERS_MAX} is what such targets take"
            ),
        );
        lab.adopt(manner, &refused);
    } else {
        lab.note("members have to exist, so no large numbers of different ones were tried");
    }
    Ok(())
}

/// An experiment whose request is too long to be shown.
fn named(mut trial: Trial, request: String) -> Trial {
    trial.words.request = request;
    trial
}

/// Ids that nobody has.
fn strangers(lab: &mut Lab<'_>, count: usize) -> Vec<String> {
    let prefix = format!("{}-nobody", lab.aviary.prefix());
    (0..count)
        .map(|_| format!("{prefix}-{}", lab.number()))
        .collect()
}

fn together(some: &[String], others: &[String]) -> Vec<String> {
    some.iter().chain(others).cloned().collect()
}

/// The largest number of members that can be added in one request of some form, where it is below the present one.
async fn added(
    lab: &mut Lab<'_>,
    team: &mut Team,
    present: usize,
    form: impl Fn(usize, &mut Dialect),
) -> Result<Option<(usize, Trial)>, Halt> {
    let mut first = None;
    for size in sizes(present) {
        let members = strangers(lab, size);
        let mut manner = lab.dialect.clone();
        form(size, &mut manner);
        let request = encode::add_members(&team.id, &members, &manner);
        let wanted = together(&team.members, &members);
        let trial = change(lab, &manner, team, &request, &wanted).await?;
        if trial.worked {
            return Ok(first.map(|trial| (size, trial)));
        }
        first.get_or_insert(named(
            trial,
            format!("PATCH /Groups/{} that adds {size} members", team.id),
        ));
    }
    Ok(None)
}

/// How many single removals one request takes.
async fn removed(lab: &mut Lab<'_>, team: &mut Team) -> Result<(), Halt> {
    if lab.dialect.member_removals != MemberRemovals::Filter {
        return Ok(());
    }
    let mut first = None;
    let most = lab.dialect.operations_per_request.min(team.members.len());
    for size in sizes(most) {
        let gone: Vec<String> = team.members.iter().rev().take(size).cloned().collect();
        let wanted: Vec<String> = team
            .members
            .iter()
            .filter(|id| !gone.contains(id))
            .cloned()
            .collect();
        let manner = lab.dialect.clone();
        let request = encode::remove_members(&team.id, &gone);
        let trial = change(lab, &manner, team, &request, &wanted).await?;
        if trial.worked {
            if let Some(first) = first {
                let mut manner = manner;
                manner.operations_per_request = size;
                lab.adopt(manner, &first);
            }
            return Ok(());
        }
        first.get_or_insert(named(
            trial,
            format!("PATCH /Groups/{} with {size} operations", team.id),
        ));
    }
    Ok(())
}

/// How many members a create takes.
async fn created(lab: &mut Lab<'_>) -> Result<(), Halt> {
    let mut first = None;
    for size in sizes(lab.dialect.members_per_create) {
        if size == 0 {
            return Ok(());
        }
        let name = lab.aviary.name();
        let members = strangers(lab, size);
        let attributes =
            Attributes::from([(AttributePath::display_name(), Value::Text(name.clone()))]);
        let manner = lab.dialect.clone();
        let trial = match lab
            .create(&manner, GROUP, &name, &attributes, &members)
            .await?
        {
            Ok(id) => {
                let shown = membership(&lab.read(GROUP, &id).await?, &members);
                lab.remove(GROUP, &name).await;
                Trial {
                    worked: shown == Membership::AsWanted,
                    ..Trial::failed(
                        String::new(),
                        format!("confirmed; read back: {}", words_of(&shown)),
                        format!("confirmed, and {size} members read back"),
                    )
                }
            }
            Err(trial) => trial,
        };
        if trial.worked {
            if let Some(first) = first {
                let mut manner = manner;
                manner.members_per_create = size;
                lab.adopt(manner, &first);
            }
            return Ok(());
        }
        first.get_or_insert(named(trial, format!("POST /Groups with {size} members")));
    }
    Ok(())
}
