//! Prepare: steps of the plan become operations, proved, resolved to ids, and written down before they are sent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::fault::Fault;
use crate::identity::{Identity, Kind, MemberKey, RowKey};
use crate::mapping::resource_type;
use crate::plan::{Action, Class, Reason, Step};
use crate::scim::encode::{self, Request};
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, Value};
use crate::snapshot::{Applied, Row, Standing};
use crate::store::{Intent, Position};
use crate::sync::Error;
use crate::sync::adopt;
use crate::sync::flight::Flight;
use crate::sync::proof::{self, Proof, Whereabouts};
use crate::sync::together;
use crate::sync::tracker::row_error;

/// Steps taken from the plan in one turn; their intents are one transaction.
pub(super) const STEPS_PER_TURN: usize = 256;
/// Members that the steps of one turn add or remove, apart from a single step that has more.
const MEMBERS_PER_TURN: usize = 20_000;

/// One request to come, or one resource to adopt, for a step or a part of it.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// The step.
    pub(super) step: Arc<Step>,
    /// Which part of the step.
    pub(super) part: u32,
    /// Whether the step is done with this part.
    pub(super) last_part: bool,
    /// What the target last acknowledged of the row.
    pub(super) applied: Option<Applied>,
    /// Members that the request adds or removes, with their ids at the target.
    pub(super) members: Vec<(RowKey, String)>,
    /// What to do.
    pub(super) task: Task,
    /// The room that its turn takes; absent where it takes none.
    pub(super) room: Option<Arc<OwnedSemaphorePermit>>,
}

/// What an operation does.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// Sends a request.
    Send(Request),
    /// Takes a resource under management, and brings it up to date.
    Adopt {
        /// The target's id.
        id: String,
        /// What it shall be.
        attributes: Attributes,
    },
    /// Nothing is left to send: the step is settled as it is.
    Settle,
}

/// Feeds the operations of some classes, in order, until the plan has no more of them or the flight ends.
pub(super) async fn feed(
    flight: &Flight<'_>,
    classes: &[Class],
    prepared: mpsc::Sender<Operation>,
) -> Result<(), Error> {
    for &class in classes {
        let held = flight.plan.holds_class(class);
        let mut after = before(class);
        loop {
            let steps = flight
                .relay
                .store
                .steps(flight.plan.job, after, STEPS_PER_TURN)
                .await?;
            after = steps.last().map(|(position, _)| *position);
            let count = steps.len();
            let steps: Vec<Step> = steps
                .into_iter()
                .filter(|(position, _)| position.class == class)
                .map(|(_, step)| step)
                .collect();
            let ended = count < STEPS_PER_TURN || steps.len() < count;
            if held {
                steps
                    .iter()
                    .for_each(|step| flight.leave_unfinished(&step.key));
            } else {
                for turn in in_turns(steps) {
                    if !take(flight, turn, &prepared).await? {
                        return Ok(());
                    }
                }
            }
            if ended || flight.stop.is_cancelled() {
                break;
            }
        }
    }
    Ok(())
}

/// Cuts steps into turns that have no more members than fit, in order.
fn in_turns(steps: Vec<Step>) -> Vec<Vec<Step>> {
    let mut turns: Vec<Vec<Step>> = Vec::new();
    let mut room = 0;
    for step in steps {
        let members = members_of(&step);
        match turns.last_mut() {
            Some(turn) if members <= room => {
                room -= members;
                turn.push(step);
            }
            _ => {
                room = MEMBERS_PER_TURN.saturating_sub(members);
                turns.push(vec![step]);
            }
        }
    }
    turns
}

fn members_of(step: &Step) -> usize {
    match &step.action {
        Action::Create { members, .. }
        | Action::AddMembers(members)
        | Action::RemoveMembers(members) => members.len(),
        Action::Link { .. } | Action::Change { .. } => 0,
    }
}

/// Prepares the steps of one turn, and passes them on; false when nobody takes them any more.
async fn take(
    flight: &Flight<'_>,
    steps: Vec<Step>,
    prepared: &mpsc::Sender<Operation>,
) -> Result<bool, Error> {
    let room = match steps.iter().map(members_of).sum() {
        0 => None,
        members => flight.room_for(members).await,
    };
    let operations = operations(flight, steps).await?;
    write_intents(flight, &operations).await?;
    // Once the flight ends these pass through as well, and are settled as never sent.
    for mut operation in operations {
        operation.room.clone_from(&room);
        if prepared.send(operation).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The position just before a class.
fn before(class: Class) -> Option<Position> {
    let earlier = Class::ALL.iter().rev().find(|earlier| **earlier < class)?;
    Some(Position {
        class: *earlier,
        number: u64::MAX,
    })
}

async fn write_intents(flight: &Flight<'_>, operations: &[Operation]) -> Result<(), Error> {
    let intents: Vec<Intent> = operations
        .iter()
        .filter(|operation| !matches!(operation.task, Task::Settle))
        .map(|operation| Intent {
            key: operation.step.key.clone(),
            class: operation.step.class,
            part: operation.part,
            job: flight.plan.job,
            members: operation
                .members
                .iter()
                .map(|(row, _)| row.clone())
                .collect(),
        })
        .collect();
    if intents.is_empty() {
        return Ok(());
    }
    Ok(flight.relay.store.intend(flight.lease, intents).await?)
}

async fn operations(flight: &Flight<'_>, steps: Vec<Step>) -> Result<Vec<Operation>, Error> {
    let keys: Vec<RowKey> = steps.iter().map(|step| step.key.clone()).collect();
    let rows = flight.relay.rows(keys).await?;
    let mut operations = Vec::with_capacity(steps.len());
    for (step, row) in steps.into_iter().zip(rows) {
        let takes = step.class.is_removal() || step.takes_roles();
        if takes && !is_proved(flight, &step, &row).await? {
            continue;
        }
        operations.extend(of_step(flight, step, row).await?);
    }
    Ok(operations)
}

/// Looks whether a removal's reason still holds; a step whose reason does not is dropped, and the job says so.
async fn is_proved(flight: &Flight<'_>, step: &Step, row: &Row) -> Result<bool, Error> {
    let Some((_, seen)) = row.owner() else {
        return Ok(false);
    };
    let why = match proof::of_removal(flight.relay, flight.reader, step, seen).await? {
        Proof::Holds => return Ok(true),
        Proof::Elsewhere => {
            flight.leave_unfinished(&step.key);
            flight.tracker.update(|job| job.counters.skipped += 1);
            return Ok(false);
        }
        Proof::Fails(why) => why,
    };
    flight.leave_unfinished(&step.key);
    let detail = format!("nothing was taken away: {why}; the next run reads it again");
    flight
        .tracker
        .record(row_error(
            &step.key,
            &step.dn,
            step.class.as_str(),
            Fault::Drifted,
            detail,
        ))
        .await;
    flight.tracker.update(|job| job.counters.skipped += 1);
    Ok(false)
}

async fn of_step(flight: &Flight<'_>, step: Step, row: Row) -> Result<Vec<Operation>, Error> {
    let kind = resource_type(step.key.kind);
    let dialect = &flight.relay.tenant.dialect;
    let puts = flight.relay.provider.puts(kind);
    let step = Arc::new(step);
    let single = |task, members| Operation {
        step: step.clone(),
        part: 0,
        last_part: true,
        applied: row.applied.clone(),
        members,
        task,
        room: None,
    };
    Ok(match (&step.action, &row.applied) {
        (Action::Create { .. }, Some(_)) | (Action::Link { .. }, Some(_)) => Vec::new(), // linked in the meantime
        (
            Action::Create {
                attributes,
                members,
            },
            None,
        ) => {
            let mut attributes = attributes.clone();
            attributes.extend(once(flight, &attributes));
            let members = resolved_or_promised(flight, members).await?;
            let mut create = encode::create(kind, &attributes, &ids(&members));
            if step.key.kind == Kind::User {
                create.bulk_id = flight.promise(&step.key);
            }
            vec![single(Task::Send(create), members)]
        }
        (Action::Link { id, attributes }, None) => {
            vec![single(
                Task::Adopt {
                    id: id.clone(),
                    attributes: attributes.clone(),
                },
                Vec::new(),
            )]
        }
        (Action::Change { changes }, Some(applied)) => {
            let request = encode::update(kind, &applied.id, &applied.attributes, changes, dialect);
            vec![single(Task::Send(request), Vec::new())]
        }
        (Action::AddMembers(members), Some(applied)) => {
            let (there, missing) = additions(flight, &step.key, &applied.id, members).await?;
            let per_request = dialect.additions_per_request(puts);
            let parts = in_parts(&step, &row, missing, per_request, |ids| {
                encode::add_members(&applied.id, ids, dialect)
            });
            with_those_there(parts, there)
        }
        (Action::RemoveMembers(members), Some(applied)) => {
            let members = provably_gone(flight, &step, &row, members).await?;
            let members = resolved(flight, &members).await?;
            let per_request = dialect.removals_per_request(puts);
            in_parts(&step, &row, members, per_request, |ids| {
                encode::remove_members(&applied.id, ids)
            })
        }
        (Action::Change { .. } | Action::AddMembers(_) | Action::RemoveMembers(_), None) => {
            flight.leave_unfinished(&step.key); // its link was lost in the meantime; the next run plans it again
            Vec::new()
        }
    })
}

/// Members that may be taken out: the group's own entry was looked at already; where a member's absence is the reason,
/// that is looked at too, so that one entry that a read missed does not cost its memberships. So is a member that
/// another profile reads: that one may not know yet by which name the group means it now. So is any member where not
/// everything was read, for the same reason: an entry that was renamed without being named by the feed. And so is any member
/// of an organizational unit, because it is the member's own entry that says where it lies. A group that is gone itself means
/// nobody.
async fn provably_gone(
    flight: &Flight<'_>,
    step: &Step,
    group: &Row,
    members: &[RowKey],
) -> Result<Vec<RowKey>, Error> {
    if step.reason == Reason::Absent {
        return Ok(members.to_vec());
    }
    let there = group.owner().map(|(_, seen)| &seen.identity);
    let named = |names: &[MemberKey]| {
        let mut members = there.into_iter().flat_map(|entry| &entry.members);
        members.any(|member| names.contains(&member.key))
    };
    let is_unit = there.is_some_and(Identity::is_unit);
    let all_was_read = flight.tracker.job().complete_read.is_some();
    let mut gone = Vec::with_capacity(members.len());
    let (mut kept, mut elsewhere) = (0, 0);
    for row in flight.relay.rows(members.to_vec()).await? {
        let is_absent = row
            .owner()
            .is_some_and(|(_, seen)| seen.standing != Standing::Present);
        if all_was_read && !is_absent && !is_unit && flight.relay.owns(&row) {
            gone.push(row.key);
            continue;
        }
        match flight.reader.whereabouts(&row.key).await {
            Ok(Whereabouts::Here(_)) if is_absent => kept += 1,
            Ok(Whereabouts::Here(names) | Whereabouts::Elsewhere(names)) if named(&names) => {
                elsewhere += 1;
            }
            Ok(_) => gone.push(row.key),
            Err(_) => kept += 1,
        }
    }
    if kept + elsewhere > 0 {
        flight.leave_unfinished(&step.key);
    }
    if kept > 0 {
        let detail = format!(
            "{kept} members were not taken out, because their entries are there or the directory did not answer; the \
             next run reads them again"
        );
        let error = row_error(
            &step.key,
            &step.dn,
            step.class.as_str(),
            Fault::Drifted,
            detail,
        );
        flight.tracker.record(error).await;
    }
    Ok(gone)
}

fn in_parts(
    step: &Arc<Step>,
    row: &Row,
    members: Vec<(RowKey, String)>,
    per_request: usize,
    request: impl Fn(&[String]) -> Request,
) -> Vec<Operation> {
    if members.is_empty() {
        return vec![Operation {
            step: step.clone(),
            part: 0,
            last_part: true,
            applied: row.applied.clone(),
            members,
            task: Task::Settle,
            room: None,
        }];
    }
    let parts = members.chunks(per_request.max(1));
    let count = parts.len();
    parts
        .enumerate()
        .map(|(part, members)| Operation {
            step: step.clone(),
            part: u32::try_from(part).unwrap_or(u32::MAX),
            last_part: part + 1 == count,
            applied: row.applied.clone(),
            members: members.to_vec(),
            task: Task::Send(request(&ids(members))),
            room: None,
        })
        .collect()
}

fn ids(members: &[(RowKey, String)]) -> Vec<String> {
    members.iter().map(|(_, id)| id.clone()).collect()
}

/// Members by their ids at the target: those that are in the group without having been put there, and those to add. Some
/// targets keep a member twice that is added twice (scim-targets: scimmy), so a group that has no members of ours, as one
/// that was just linked, is read first.
async fn additions(
    flight: &Flight<'_>,
    group: &RowKey,
    id: &str,
    members: &[RowKey],
) -> Result<(Vec<(RowKey, String)>, Vec<(RowKey, String)>), Error> {
    let directory = flight.relay.directory.id;
    let ours = flight.relay.store.applied_members(directory, group).await?;
    // A part of the step may have been done by an adoption.
    let missing: Vec<RowKey> = members
        .iter()
        .filter(|row| ours.binary_search(row).is_err())
        .cloned()
        .collect();
    let members = resolved(flight, &missing).await?;
    let present = match ours.is_empty() && !members.is_empty() {
        true => adopt::members_shown(flight.relay, id).await,
        false => BTreeSet::new(),
    };
    Ok(members
        .into_iter()
        .partition(|(_, member)| present.contains(member)))
}

/// Members that are there already are recorded with the others, and not sent.
fn with_those_there(mut parts: Vec<Operation>, there: Vec<(RowKey, String)>) -> Vec<Operation> {
    let count = parts.len();
    match parts.first_mut() {
        Some(first) if matches!(first.task, Task::Settle) => first.members = there,
        Some(first) if !there.is_empty() => {
            let recorded = Operation {
                part: u32::try_from(count).unwrap_or(u32::MAX),
                last_part: false,
                members: there,
                task: Task::Settle,
                ..first.clone()
            };
            parts.insert(0, recorded);
        }
        _ => {}
    }
    parts
}

/// The members that have a resource at the target now, with its id, and those who get one in the same request, with the
/// reference to it (RFC 7644 §3.7.2).
async fn resolved_or_promised(
    flight: &Flight<'_>,
    members: &[RowKey],
) -> Result<Vec<(RowKey, String)>, Error> {
    if !flight.refers() {
        return resolved(flight, members).await;
    }
    let ids = links(flight, members).await?;
    let reference = |row: &RowKey| Some(together::reference(&flight.promised(row)?));
    let members = members.iter().cloned().zip(ids);
    Ok(members
        .filter_map(|(row, id)| {
            let id = id.or_else(|| reference(&row))?;
            Some((row, id))
        })
        .collect())
}

async fn links(flight: &Flight<'_>, members: &[RowKey]) -> Result<Vec<Option<String>>, Error> {
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let directory = flight.relay.directory.id;
    Ok(flight
        .relay
        .store
        .links(directory, members.to_vec())
        .await?)
}

/// The members that have a resource at the target now, with its id.
async fn resolved(flight: &Flight<'_>, members: &[RowKey]) -> Result<Vec<(RowKey, String)>, Error> {
    let ids = links(flight, members).await?;
    Ok(members
        .iter()
        .cloned()
        .zip(ids)
        .filter_map(|(row, id)| Some((row, id?)))
        .collect())
}

/// What is sent on creation only: that the e-mail address is verified, where the target has an attribute for it and
/// the tenant vouches for the domain.
fn once(flight: &Flight<'_>, attributes: &Attributes) -> HashMap<AttributePath, Value> {
    let settings = &flight.relay.tenant.email_verified;
    let discovered = || {
        flight
            .capabilities
            .email_verified
            .as_deref()
            .and_then(|path| path.parse().ok())
    };
    let Some(path) = settings.path.clone().or_else(discovered) else {
        return HashMap::new();
    };
    let email = attributes
        .get(&AttributePath::work_email())
        .and_then(Value::as_text);
    let domain = email
        .and_then(|email| email.rsplit_once('@'))
        .map(|(_, domain)| domain);
    let vouched = domain.is_some_and(|domain| {
        settings.domains.is_empty()
            || settings
                .domains
                .iter()
                .any(|known| known.eq_ignore_ascii_case(domain))
    });
    if vouched {
        HashMap::from([(path, Value::Bool(true))])
    } else {
        HashMap::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::digest::Digest;
    use crate::identity::{Anchor, Kind};

    fn step(members: usize) -> Step {
        let key = RowKey {
            kind: Kind::Group,
            anchor: Anchor::Text("g".into()),
        };
        Step {
            key: key.clone(),
            dn: String::new(),
            class: Class::AddMembers,
            reason: Reason::Membership,
            action: Action::AddMembers(vec![key; members]),
            based_on: Digest::default(),
            last_of_row: true,
        }
    }

    #[test]
    fn turns_have_room_for_their_members_and_keep_the_order() {
        let half = MEMBERS_PER_TURN / 2;
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![0; 300], vec![300]),
            (vec![half, half, 1, half], vec![2, 2]),
            (vec![half + 1, half, 0], vec![1, 2]),
            (vec![1, 5 * MEMBERS_PER_TURN, 0, 1], vec![1, 2, 1]),
        ] {
            let turns = in_turns(sizes.iter().map(|size| step(*size)).collect());
            let counts: Vec<usize> = turns.iter().map(Vec::len).collect();
            assert_eq!(counts, expected, "{sizes:?}");
            let order: Vec<usize> = turns.iter().flatten().map(members_of).collect();
            assert_eq!(order, sizes);
        }
    }
}
