//! Prepare: steps of the plan become operations, proved, resolved to ids, and written down before they are sent.

mod manager;
mod members;
pub(super) mod stale;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::fault::Fault;
use crate::identity::{Kind, RowKey};
use crate::mapping::resource_type;
use crate::plan::held::{self, Freshness};
use crate::plan::{Action, Class, Step};
use crate::scim::encode::{self, Known, Request};
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, Value};
use crate::snapshot::{Applied, Row};
use crate::store::{Intent, Position};
use crate::sync::Error;
use crate::sync::flight::{Flight, Mandate};
use crate::sync::prepare::members::{
    additions, ids, known, provably_gone, resolved, resolved_or_promised, with_those_there,
};
use crate::sync::proof::{self, Proof};
use crate::sync::tracker::row_error;
use crate::sync::traffic::Part;

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
    /// Whether the row's last request failed, too.
    pub(super) failed_before: bool,
    /// Members that the request adds or removes, with their ids at the target.
    pub(super) members: Vec<(RowKey, String)>,
    /// What to do.
    pub(super) task: Task,
    /// How often the directory had been read beside the flight when it was prepared.
    pub(super) news: u64,
    /// The room that its turn takes; absent where it takes none.
    pub(super) room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Operation {
    /// Which request of which step it is.
    pub(super) fn part(&self) -> Part {
        (self.step.key.clone(), self.step.class, self.part)
    }

    /// Gives the request what the resource is known to hold, apart from the members that it takes out.
    fn will_be_put(&mut self, known: &Known) {
        let Task::Send(request) = &mut self.task else {
            return;
        };
        request.known = known.clone();
        if matches!(self.step.action, Action::RemoveMembers(_)) {
            let leaves: HashSet<&String> = self.members.iter().map(|(_, id)| id).collect();
            request.known.members.retain(|id| !leaves.contains(id));
        }
    }
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
    let mut waiting = Vec::new();
    for &class in classes {
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
            let given_up = flight.is_given_up(class);
            let takes = |step: &Step| !given_up && flight.takes(step);
            let (taken, left): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(takes);
            left.iter()
                .for_each(|step| flight.leave_unfinished(&step.key));
            let (taken, late) = flight.take_over(taken);
            waiting.extend(late);
            for turn in in_turns(taken) {
                if !take(flight, turn, &prepared).await? {
                    return Ok(());
                }
            }
            if ended || flight.stop.is_cancelled() {
                break;
            }
        }
        if !flight.once_settled(&waiting).await {
            return Ok(());
        }
        for turn in in_turns(std::mem::take(&mut waiting)) {
            if !take(flight, turn, &prepared).await? {
                return Ok(());
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
        Action::Link { .. }
        | Action::Change { .. }
        | Action::Delete { .. }
        | Action::SetManager(_) => 0,
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
    let news = flight.relay.traffic.news();
    let operations = operations(flight, steps).await?;
    write_intents(flight, &operations).await?;
    // Once the flight ends these pass through as well, and are settled as never sent.
    for mut operation in operations {
        operation.room.clone_from(&room);
        operation.news = news;
        if prepared.send(operation).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The position just before a class.
pub(super) fn before(class: Class) -> Option<Position> {
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
    let doubtful = stale::doubtful_roles(flight, &steps, &rows).await?;
    let mut operations = Vec::with_capacity(steps.len());
    for (step, row) in steps.into_iter().zip(rows) {
        if flight.mandate == Mandate::Approved && !is_current(flight, &step, &row).await {
            continue;
        }
        if stale::is_stale(flight, &step, &row) || doubtful.contains(&step.key) {
            flight.leave_out(&step.key);
            continue;
        }
        if !is_proved(flight, &step, &row).await? {
            continue;
        }
        operations.extend(of_step(flight, step, row).await?);
    }
    Ok(operations)
}

/// Whether a step of a plan that waited is still what it was when somebody read it; else it is left out, and the job says
/// so.
async fn is_current(flight: &Flight<'_>, step: &Step, row: &Row) -> bool {
    // Whatever else the row needs is for the next run to find out.
    flight.leave_unfinished(&step.key);
    let why = match held::freshness(step, row) {
        Freshness::Current => return true,
        Freshness::Done => return false,
        Freshness::Stale(why) => why,
    };
    let detail =
        format!("it was left out of the approved plan: {why}; the next run looks at it again");
    tell_of(flight, step, detail).await;
    flight.tracker.update(|job| job.counters.skipped += 1);
    false
}

/// Tells that a step, or a part of it, is not carried out because the directory says something else by now.
async fn tell_of(flight: &Flight<'_>, step: &Step, detail: String) {
    let operation = step.class.as_str();
    let error = row_error(&step.key, &step.dn, operation, Fault::Drifted, detail);
    flight.tracker.record(error).await;
}

/// Looks whether the reason of a step still holds, where it takes something away, or gives something by old news; a step whose
/// reason does not is dropped, and the job says so.
async fn is_proved(flight: &Flight<'_>, step: &Step, row: &Row) -> Result<bool, Error> {
    let takes = step.class.is_removal() || step.takes_roles();
    // A plan that waited rests on a read that is long ago.
    let is_old = flight.mandate == Mandate::Approved;
    let gives = step.class.is_grant() && (is_old || flight.reader.may_have_missed(&step.key).await);
    if !takes && !gives {
        return Ok(true);
    }
    let Some((_, seen)) = row.owner() else {
        return Ok(false);
    };
    let proof = match takes {
        true => proof::of_removal(flight.relay, flight.reader, step, seen).await?,
        false => proof::of_old_news(flight.reader, step, seen).await,
    };
    let why = match proof {
        Proof::Holds => return Ok(true),
        Proof::Elsewhere => {
            flight.leave_unfinished(&step.key);
            flight.tracker.update(|job| job.counters.skipped += 1);
            return Ok(false);
        }
        Proof::Fails(why) => why,
    };
    flight.leave_unfinished(&step.key);
    flight.tracker.update(|job| job.suspicious = true);
    let what = if takes { "taken away" } else { "given" };
    let detail = format!("nothing was {what}: {why}; the next run reads it again");
    tell_of(flight, step, detail).await;
    flight.tracker.update(|job| job.counters.skipped += 1);
    Ok(false)
}

async fn of_step(flight: &Flight<'_>, step: Step, row: Row) -> Result<Vec<Operation>, Error> {
    let mut operations = requests_of_step(flight, step, &row).await?;
    if let Some(applied) = &row.applied
        && flight.relay.provider.puts(resource_type(row.key.kind))
    {
        let known = known(flight, &row.key, applied).await?;
        for operation in &mut operations {
            operation.will_be_put(&known);
        }
    }
    Ok(operations)
}

async fn requests_of_step(
    flight: &Flight<'_>,
    step: Step,
    row: &Row,
) -> Result<Vec<Operation>, Error> {
    let kind = resource_type(step.key.kind);
    let dialect = &flight.relay.tenant.dialect;
    let puts = flight.relay.provider.puts(kind);
    let step = Arc::new(step);
    let single = |task, members| Operation {
        step: step.clone(),
        part: 0,
        last_part: true,
        applied: row.applied.clone(),
        failed_before: row.last.failed(),
        members,
        task,
        news: 0,
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
            let members = resolved_or_promised(flight, &step.key, members).await?;
            let create = create(flight, &step.key, attributes, &ids(&members));
            vec![single(Task::Send(create), members)]
        }
        (Action::Link { id, attributes }, None) => {
            let (id, attributes) = (id.clone(), attributes.clone());
            vec![single(Task::Adopt { id, attributes }, Vec::new())]
        }
        // A plan that waited for days belongs to be compared here with what the target holds by now, under a policy that
        // lets the target's values count: what it was planned from was looked at when it was made.
        (Action::Change { changes }, Some(applied)) => {
            let request = encode::update(kind, &applied.id, &applied.attributes, changes, dialect);
            vec![single(Task::Send(request), Vec::new())]
        }
        (Action::Delete { .. }, Some(applied)) => {
            let request = encode::delete(kind, &applied.id);
            vec![single(Task::Send(request), Vec::new())]
        }
        (Action::AddMembers(members), Some(applied)) => {
            let (there, missing) = additions(flight, &step.key, &applied.id, members).await?;
            let per_request = dialect.additions_per_request(puts);
            let parts = in_parts(&step, row, missing, per_request, |ids| {
                encode::add_members(&applied.id, ids, dialect)
            });
            with_those_there(parts, there)
        }
        (Action::RemoveMembers(members), Some(applied)) => {
            let members = provably_gone(flight, &step, row, members).await?;
            let members = resolved(flight, &members).await?;
            let per_request = dialect.removals_per_request(puts);
            in_parts(&step, row, members, per_request, |ids| {
                encode::remove_members(&applied.id, ids)
            })
        }
        (Action::SetManager(to), Some(applied)) => {
            manager::set(flight, &step, applied, row.last.failed(), to).await?
        }
        (_, None) => {
            flight.leave_unfinished(&step.key); // its link was lost in the meantime; the next run plans it again
            Vec::new()
        }
    })
}

/// The request that creates a row's resource, with what is sent on creation only.
fn create(
    flight: &Flight<'_>,
    key: &RowKey,
    attributes: &Attributes,
    members: &[String],
) -> Request {
    let mut attributes = attributes.clone();
    attributes.extend(once(flight, &attributes));
    let mut create = encode::create(resource_type(key.kind), &attributes, members);
    if key.kind == Kind::User {
        create.bulk_id = flight.promise(key);
    }
    create
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
            failed_before: row.last.failed(),
            members,
            task: Task::Settle,
            news: 0,
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
            failed_before: row.last.failed(),
            members: members.to_vec(),
            task: Task::Send(request(&ids(members))),
            news: 0,
            room: None,
        })
        .collect()
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
    use crate::identity::Anchor;
    use crate::identity::digest::Digest;
    use crate::plan::Reason;

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
