//! Send: operations go to the target, and every answer, clear or not, becomes a settlement.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::identity::{Kind, RowKey};
use crate::mapping::resource_type;
use crate::plan::{Action, Class, Reason};
use crate::provider::{Lane, Outcome, Refusal};
use crate::scim::encode::{self, Request};
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Attributes, Value};
use crate::snapshot::Applied;
use crate::store::Effect;
use crate::sync::adopt::{self, Adopted};
use crate::sync::create;
use crate::sync::flight::Flight;
use crate::sync::prepare::{Operation, Task};
use crate::sync::swap;
use crate::sync::together;

/// What became of one operation.
pub(super) struct Settled {
    pub(super) operation: Operation,
    pub(super) effect: Effect,
    /// What went wrong; absent when the target acknowledged it.
    pub(super) refusal: Option<Refusal>,
    /// Whether the target was spoken to at all; what was not sent leaves no line in the journal.
    pub(super) sent: bool,
}

impl Settled {
    /// Whether a resource was created.
    pub(super) fn is_creation(&self) -> bool {
        let creates = matches!(self.operation.step.action, Action::Create { .. });
        creates && self.refusal.is_none()
    }
}

/// Sends everything that was prepared, as many at once as the tenant allows.
pub(super) async fn all(
    flight: &Flight<'_>,
    prepared: mpsc::Receiver<Operation>,
    sent: mpsc::Sender<Settled>,
) {
    if flight.relay.provider.together_max() > 1 {
        return together::all(flight, prepared, sent).await;
    }
    let operations = stream::unfold(prepared, |mut prepared| async move {
        prepared.recv().await.map(|operation| (operation, prepared))
    });
    operations
        .for_each_concurrent(flight.relay.tenant.concurrency, |operation| {
            let sent = &sent;
            async move { send_one(flight, operation, None, sent).await }
        })
        .await;
    swap::settle(flight, &sent).await;
}

/// Carries one operation out, unless the flight ended, and passes on what became of it. `outcome` is that of its request
/// where this was sent already.
pub(super) async fn send_one(
    flight: &Flight<'_>,
    mut operation: Operation,
    outcome: Option<Outcome>,
    sent: &mpsc::Sender<Settled>,
) {
    // After a halt the rest is left alone: its intents are settled as never sent.
    let ended = flight.stop.is_cancelled() || flight.is_given_up(operation.step.class);
    let settled = if ended && outcome.is_none() {
        Some(untouched(operation))
    } else if outcome.is_none() && !flight.departs(&mut operation).await {
        Some(left_out(flight, operation))
    } else {
        carry_out(flight, operation, outcome).await
    };
    if let Some(settled) = settled {
        pass_on(flight, settled, sent).await;
    }
}

/// Passes on what became of an operation; what the target refuses to everybody ends the flight.
pub(super) async fn pass_on(flight: &Flight<'_>, settled: Settled, sent: &mpsc::Sender<Settled>) {
    if let Some(refusal) = &settled.refusal
        && refusal.fault.stops_the_run()
    {
        flight.halt(refusal.clone());
    }
    flight.count(&settled);
    // The settling stage ends only after this one, unless the store failed; then the run ends anyway.
    let _ = sent.send(settled).await;
}

/// An operation that was prepared and never sent, because the run ended or too many like it failed; the next run sends it.
fn untouched(operation: Operation) -> Settled {
    let refusal = Refusal {
        fault: Fault::Transient,
        status: None,
        scim_type: None,
        message: "not sent, because the run ended or too many like it failed".to_owned(),
    };
    Settled {
        operation,
        effect: Effect::Nothing,
        refusal: Some(refusal),
        sent: false,
    }
}

/// An operation that was prepared and not sent, because the directory does not say any more what it was prepared from, or because an
/// urgent flight has taken its row over.
pub(super) fn left_out(flight: &Flight<'_>, operation: Operation) -> Settled {
    flight.leave_out(&operation.step.key);
    let refusal = Refusal {
        fault: Fault::Drifted,
        status: None,
        scim_type: None,
        message: "not sent, because the directory changed after it was planned".to_owned(),
    };
    Settled {
        operation,
        effect: Effect::Nothing,
        refusal: Some(refusal),
        sent: false,
    }
}

/// What became of an operation; `None` where it waits for others ([`swap`]).
async fn carry_out(
    flight: &Flight<'_>,
    operation: Operation,
    outcome: Option<Outcome>,
) -> Option<Settled> {
    Some(match &operation.task {
        Task::Settle => Settled {
            effect: acknowledged(&operation),
            operation,
            refusal: None,
            sent: false,
        },
        Task::Adopt { id, attributes } => {
            let (id, attributes) = (id.clone(), attributes.clone());
            adopted(flight, operation, &id, &attributes).await
        }
        Task::Send(request) => {
            let request = request.clone();
            match operation.step.action {
                Action::Create { .. } => create::create(flight, operation, request, outcome).await,
                _ => return change(flight, operation, request, outcome).await,
            }
        }
    })
}

pub(super) fn lane(class: Class) -> Lane {
    if class.is_removal() {
        Lane::Urgent
    } else {
        Lane::Ordinary
    }
}

pub(super) fn settled(operation: Operation, effect: Effect) -> Settled {
    Settled {
        operation,
        effect,
        refusal: None,
        sent: true,
    }
}

pub(super) fn failed(operation: Operation, effect: Effect, refusal: Refusal) -> Settled {
    Settled {
        operation,
        effect,
        refusal: Some(refusal),
        sent: true,
    }
}

/// The id of the one resource whose externalId is the row's anchor.
pub(super) async fn find_ours(
    flight: &Flight<'_>,
    key: &RowKey,
) -> Result<Option<String>, Refusal> {
    adopt::find_by_external_id(flight.relay, key).await
}

/// Takes a resource under management.
pub(super) async fn adopted(
    flight: &Flight<'_>,
    operation: Operation,
    id: &str,
    wanted: &Attributes,
) -> Settled {
    match adopt::bring_up_to_date(
        flight.relay,
        &operation.step.key,
        id,
        wanted,
        &operation.members,
    )
    .await
    {
        Adopted::Done { applied, members } => {
            let effect = match operation.step.key.kind {
                Kind::User => Effect::Applied(applied),
                Kind::Group => {
                    if members.len() < operation.members.len() {
                        flight.leave_unfinished(&operation.step.key);
                    }
                    Effect::AppliedWithMembers(applied, members)
                }
            };
            settled(operation, effect)
        }
        Adopted::Linked { applied, refusal } => failed(
            operation,
            Effect::AppliedWithMembers(applied, Vec::new()),
            refusal,
        ),
        Adopted::Unchanged(refusal) => failed(operation, Effect::Nothing, refusal),
        // The resource is there, and not linked: the intent stays, or a group would be made a second time.
        Adopted::Refused(refusal) => failed(operation, Effect::StillUnknown, refusal),
    }
}

/// Sends the request of an operation. A target may not know yet whom it was given just now (hazard H42), so one that names
/// members is sent again after a while where it is refused then.
pub(super) async fn submit(
    flight: &Flight<'_>,
    operation: &Operation,
    request: &Request,
) -> Outcome {
    let settle = Duration::from_secs(u64::from(flight.relay.tenant.settle_s));
    let adds = matches!(
        operation.step.action,
        Action::AddMembers(_) | Action::Create { .. }
    ) && !operation.members.is_empty();
    let lane = lane(operation.step.class);
    let mut pauses = [settle, settle * 2].into_iter();
    loop {
        let outcome = flight.relay.provider.submit(request, lane).await;
        let unknown_member = matches!(&outcome, Outcome::Refused(refusal)
            if matches!(refusal.status, Some(400 | 404 | 422)) && !create::is_conflict(refusal));
        if !(unknown_member && adds && !settle.is_zero() && flight.just_created()) {
            return outcome;
        }
        let Some(pause) = pauses.next() else {
            return outcome;
        };
        tokio::time::sleep(pause).await;
    }
}

/// A change of a linked resource: attributes or members.
async fn change(
    flight: &Flight<'_>,
    operation: Operation,
    request: Request,
    outcome: Option<Outcome>,
) -> Option<Settled> {
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => submit(flight, &operation, &request).await,
    };
    let (operation, outcome) = match outcome {
        Outcome::Refused(refusal) => {
            let (operation, refusal) = swap::keep(flight, operation, refusal)?;
            (operation, Outcome::Refused(refusal))
        }
        outcome => (operation, outcome),
    };
    Some(settle_change(flight, operation, request, outcome).await)
}

/// What the outcome of a change means.
pub(super) async fn settle_change(
    flight: &Flight<'_>,
    operation: Operation,
    request: Request,
    outcome: Outcome,
) -> Settled {
    match outcome {
        Outcome::Acknowledged { .. } => {
            let effect = acknowledged(&operation);
            settled(operation, effect)
        }
        Outcome::Refused(refusal) if refusal.status == Some(404) => {
            gone(flight, operation, refusal).await
        }
        Outcome::Refused(refusal)
            if operation.step.class == Class::Delete && refusal.fault == Fault::Rejected =>
        {
            deactivated_instead(flight, operation, refusal).await
        }
        Outcome::Refused(refusal) => failed(operation, Effect::Nothing, refusal),
        Outcome::Unknown(refusal) if operation.step.class == Class::AddMembers => {
            unclear_addition(flight, operation, request, refusal).await
        }
        // It may have been carried out, and the directory may go back to what it was: the next run looks first.
        Outcome::Unknown(refusal) => failed(operation, Effect::StillUnknown, refusal),
    }
}

/// An account that the target does not delete is set inactive, so that nobody keeps access by that; what was refused is told.
async fn deactivated_instead(
    flight: &Flight<'_>,
    operation: Operation,
    refusal: Refusal,
) -> Settled {
    let Some(mut applied) = operation.applied.clone().filter(Applied::is_active) else {
        return failed(operation, Effect::Nothing, refusal);
    };
    let kind = resource_type(operation.step.key.kind);
    let change = AttributeChange {
        path: AttributePath::active(),
        before: applied.attributes.get(&AttributePath::active()).cloned(),
        after: Some(Value::Bool(false)),
    };
    let changes = std::slice::from_ref(&change);
    let dialect = &flight.relay.tenant.dialect;
    let mut request = encode::update(kind, &applied.id, &applied.attributes, changes, dialect);
    request.known.attributes = applied.attributes.clone();
    let (effect, message) = match flight.relay.provider.submit(&request, Lane::Urgent).await {
        Outcome::Acknowledged { .. } => {
            let active = (change.path, Value::Bool(false));
            applied.attributes.extend([active]);
            let message = format!("{}; it was deactivated instead", refusal.message);
            (Effect::Applied(applied), message)
        }
        Outcome::Refused(second) => (
            Effect::Nothing,
            format!("{}; nor was it deactivated: {second}", refusal.message),
        ),
        Outcome::Unknown(second) => (
            Effect::StillUnknown,
            format!(
                "{}; whether it was deactivated is not known: {second}",
                refusal.message
            ),
        ),
    };
    failed(operation, effect, Refusal { message, ..refusal })
}

pub(super) fn acknowledged(operation: &Operation) -> Effect {
    let members = || {
        operation
            .members
            .iter()
            .map(|(row, _)| row.clone())
            .collect()
    };
    match (&operation.step.action, &operation.applied) {
        (Action::AddMembers(_), _) => Effect::MembersAdded(members()),
        (Action::RemoveMembers(_), _) => Effect::MembersRemoved(members()),
        (Action::Delete { .. }, _) => Effect::Unlinked,
        (Action::Change { .. }, Some(applied)) => Effect::Applied(Applied {
            id: applied.id.clone(),
            attributes: after_changes(operation),
        }),
        _ => Effect::Nothing,
    }
}

/// What the resource holds once the operation's changes are made.
pub(super) fn after_changes(operation: &Operation) -> Attributes {
    let applied = operation.applied.as_ref();
    let mut attributes = applied
        .map(|applied| applied.attributes.clone())
        .unwrap_or_default();
    if let Action::Change { changes } = &operation.step.action {
        for change in changes {
            match &change.after {
                Some(value) => attributes.insert(change.path.clone(), value.clone()),
                None => attributes.remove(&change.path),
            };
        }
    }
    attributes
}

/// The target no longer has the resource. Another one with our externalId takes its place; else the link is dropped,
/// and the next run creates the resource again if the entry is in scope and active.
async fn gone(flight: &Flight<'_>, operation: Operation, refusal: Refusal) -> Settled {
    // At another target everything is gone, and nobody who leaves may be taken for done there.
    if let Err(other) = flight.same_target().await {
        return failed(operation, Effect::Nothing, other);
    }
    match find_ours(flight, &operation.step.key).await {
        Ok(Some(id))
            if operation
                .applied
                .as_ref()
                .is_none_or(|applied| applied.id != id) =>
        {
            let attributes = after_changes(&operation);
            let mut settled = adopted(flight, operation, &id, &attributes).await;
            settled.refusal.get_or_insert(refusal);
            settled
        }
        Ok(Some(_)) => failed(operation, Effect::Nothing, refusal),
        // What is gone cannot log in, and a group that is gone on both sides has no members: that is done.
        Ok(None)
            if operation.step.class == Class::Deactivate
                || operation.step.reason == Reason::Absent =>
        {
            settled(operation, Effect::Unlinked)
        }
        Ok(None) => {
            let message = format!(
                "{}; it was removed at the target, and the next run creates it again",
                refusal.message
            );
            failed(operation, Effect::Unlinked, Refusal { message, ..refusal })
        }
        Err(second) => failed(operation, Effect::Nothing, second),
    }
}

/// Members were added, or not: the group is read, and only what is missing is sent again, because some targets keep a
/// member twice (scim-targets: scimmy).
async fn unclear_addition(
    flight: &Flight<'_>,
    operation: Operation,
    request: Request,
    refusal: Refusal,
) -> Settled {
    let Some(id) = request.id.as_deref() else {
        return failed(operation, Effect::Nothing, refusal);
    };
    if !flight.relay.tenant.dialect.members_readable {
        return failed(operation, Effect::Nothing, refusal);
    }
    let present = match adopt::members_at_target(flight.relay, id).await {
        Ok(Some(present)) => present,
        Ok(None) => return failed(operation, Effect::Nothing, refusal),
        Err(second) => return failed(operation, Effect::StillUnknown, second),
    };
    let (there, missing): (Vec<_>, Vec<_>) = operation
        .members
        .iter()
        .cloned()
        .partition(|(_, member)| present.contains(member));
    if missing.is_empty() {
        return settled(
            operation,
            Effect::MembersAdded(there.into_iter().map(|(row, _)| row).collect()),
        );
    }
    let ids: Vec<String> = missing.iter().map(|(_, id)| id.clone()).collect();
    let mut rest = encode::add_members(id, &ids, &flight.relay.tenant.dialect);
    rest.known = request.known.clone();
    match flight.relay.provider.submit(&rest, Lane::Ordinary).await {
        Outcome::Acknowledged { .. } => {
            let effect = acknowledged(&operation);
            settled(operation, effect)
        }
        Outcome::Refused(second) => failed(
            operation,
            Effect::MembersAdded(there.into_iter().map(|(row, _)| row).collect()),
            second,
        ),
        Outcome::Unknown(second) => failed(operation, Effect::StillUnknown, second),
    }
}
