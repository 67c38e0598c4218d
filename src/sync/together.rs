//! Together: operations whose requests the target takes several at a time (RFC 7644 §3.7).

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fault::Fault;
use crate::provider::{Lane, Outcome, Refusal};
use crate::scim::encode::{self, Request};
use crate::scim::resource;
use crate::sync::flight::Flight;
use crate::sync::prepare::{Operation, Task};
use crate::sync::send::{self, Settled};
use crate::sync::swap;

/// What stands before the name of a resource that is created in the same request (RFC 7644 §3.7.2).
const REFERENCE: &str = "bulkId:";

/// How long a batch waits for the next operation.
const PATIENCE: Duration = Duration::from_millis(500);

/// The reference to a resource that is created in the same request, by its name there.
pub(super) fn reference(name: &str) -> String {
    format!("{REFERENCE}{name}")
}

/// The ids that were given to names in earlier requests; `None` for a resource that was not created.
type Made = HashMap<String, Option<String>>;

/// Sends everything that was prepared, as many in one request as the target takes.
pub(super) async fn all(
    flight: &Flight<'_>,
    mut prepared: mpsc::Receiver<Operation>,
    sent: mpsc::Sender<Settled>,
) {
    let mut made = Made::new();
    loop {
        let most = flight.relay.provider.together_max();
        let batch = gathered(&mut prepared, most).await;
        if batch.is_empty() {
            return swap::settle(flight, &sent).await;
        }
        let batch = departing(flight, batch, &mut made, &sent).await;
        let (to_send, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|operation| {
            let given_up = flight.is_given_up(operation.step.class);
            matches!(operation.task, Task::Send(_)) && !given_up
        });
        let others = others.into_iter().map(|operation| (operation, None));
        each(flight, others.collect(), &sent).await;
        send_batch(flight, to_send, &mut made, &sent).await;
    }
}

/// Those of a batch that may still be sent. A resource that is not created after all is none that others may refer to.
async fn departing(
    flight: &Flight<'_>,
    batch: Vec<Operation>,
    made: &mut Made,
    sent: &mpsc::Sender<Settled>,
) -> Vec<Operation> {
    let mut departing = Vec::with_capacity(batch.len());
    for mut operation in batch {
        if flight.departs(&mut operation).await {
            departing.push(operation);
            continue;
        }
        if let Task::Send(request) = &operation.task
            && let Some(name) = &request.bulk_id
        {
            made.insert(name.clone(), None);
        }
        send::pass_on(flight, send::left_out(flight, operation), sent).await;
    }
    departing
}

/// As many operations as there are, up to a number; none when there will be no more. The stage before may wait for room
/// that is given back only when these are settled, so the patience ends.
async fn gathered(prepared: &mut mpsc::Receiver<Operation>, most: usize) -> Vec<Operation> {
    let mut batch = Vec::new();
    while batch.len() < most {
        let room = most - batch.len();
        let more = match batch.is_empty() {
            true => prepared.recv_many(&mut batch, room).await,
            false => timeout(PATIENCE, prepared.recv_many(&mut batch, room))
                .await
                .unwrap_or(0),
        };
        if more == 0 {
            break;
        }
    }
    batch
}

/// Sends a batch in as many requests as it takes, in order.
async fn send_batch(
    flight: &Flight<'_>,
    mut batch: Vec<Operation>,
    made: &mut Made,
    sent: &mpsc::Sender<Settled>,
) {
    while !batch.is_empty() && !flight.stop.is_cancelled() {
        // Classes of different lanes are never in one wave.
        let lane = batch
            .first()
            .map_or(Lane::Ordinary, |first| send::lane(first.step.class));
        let requests: Vec<Request> = batch
            .iter_mut()
            .filter_map(|operation| with_ids(flight, operation, made))
            .collect();
        let outcomes = flight.relay.provider.submit_together(&requests, lane).await;
        let outcomes: Vec<Option<Outcome>> = match outcomes {
            Some(outcomes) => outcomes.into_iter().map(Some).collect(),
            // Each alone, and in order, because later ones may refer to earlier ones.
            None => vec![Some(flight.relay.provider.submit(&requests[0], lane).await)],
        };
        let count = outcomes.len().max(1);
        let rest = batch.split_off(count.min(batch.len()));
        for (request, outcome) in requests.iter().zip(&outcomes) {
            if let Some(name) = &request.bulk_id {
                made.insert(name.clone(), outcome.as_ref().and_then(id_of));
            }
        }
        let settled = batch.into_iter().zip(outcomes);
        let settled =
            settled.map(|(operation, outcome)| with_referred(flight, operation, outcome, made));
        each(flight, settled.collect(), sent).await;
        batch = rest;
    }
    each(
        flight,
        batch
            .into_iter()
            .map(|operation| (operation, None))
            .collect(),
        sent,
    )
    .await;
}

/// Carries operations on from the outcomes of their requests.
async fn each(
    flight: &Flight<'_>,
    operations: Vec<(Operation, Option<Outcome>)>,
    sent: &mpsc::Sender<Settled>,
) {
    stream::iter(operations)
        .for_each_concurrent(
            flight.relay.tenant.concurrency,
            |(operation, outcome)| async move {
                send::send_one(flight, operation, outcome, sent).await;
            },
        )
        .await;
}

fn id_of(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Acknowledged { id, .. } => id.clone(),
        Outcome::Refused(_) | Outcome::Unknown(_) => None,
    }
}

/// The request of an operation, with the ids of resources that are there by now instead of references to them, and
/// without those that could not be created: their groups take them in when they are there.
fn with_ids(flight: &Flight<'_>, operation: &mut Operation, made: &Made) -> Option<Request> {
    let Task::Send(request) = &mut operation.task else {
        return None;
    };
    let refers = |id: &str| id.starts_with(REFERENCE);
    if operation.members.iter().any(|(_, id)| refers(id)) {
        if !settle_references(&mut operation.members, made) {
            flight.leave_unfinished(&operation.step.key);
        }
        let ids: Vec<String> = operation.members.iter().map(|(_, id)| id.clone()).collect();
        encode::set_members(request, &ids);
    }
    Some(request.clone())
}

/// Puts ids in place of references that are decided; those of the same request stay. Answers whether nobody had to be left
/// out. Who was may be found and linked before the group is settled, so the group must not count as done without him.
fn settle_references<R>(members: &mut Vec<(R, String)>, made: &Made) -> bool {
    let count = members.len();
    members.retain_mut(|(_, id)| {
        let Some(name) = id.strip_prefix(REFERENCE) else {
            return true;
        };
        match made.get(name) {
            Some(Some(made)) => {
                *id = made.clone();
                true
            }
            Some(None) => false,
            None => true,
        }
    });
    members.len() == count
}

/// An operation with the ids of those to whom its request referred. Where one of them was not created, or the target kept a
/// reference as it was, the group is looked at before anything is believed of it.
fn with_referred(
    flight: &Flight<'_>,
    mut operation: Operation,
    outcome: Option<Outcome>,
    made: &Made,
) -> (Operation, Option<Outcome>) {
    let refers = operation
        .members
        .iter()
        .any(|(_, id)| id.starts_with(REFERENCE));
    if !refers {
        return (operation, outcome);
    }
    let all_made = settle_references(&mut operation.members, made);
    if !all_made {
        flight.leave_unfinished(&operation.step.key);
    }
    let ids: Vec<String> = operation.members.iter().map(|(_, id)| id.clone()).collect();
    if let Task::Send(request) = &mut operation.task {
        encode::set_members(request, &ids);
    }
    let outcome = outcome.map(|outcome| match outcome {
        Outcome::Acknowledged { resource, .. }
            if !all_made || keeps_reference(resource.as_ref()) =>
        {
            Outcome::Unknown(unsure())
        }
        outcome => outcome,
    });
    (operation, outcome)
}

fn keeps_reference(resource: Option<&serde_json::Value>) -> bool {
    let members = resource.and_then(resource::member_ids).unwrap_or_default();
    members.iter().any(|id| id.starts_with(REFERENCE))
}

fn unsure() -> Refusal {
    Refusal {
        fault: Fault::Transient,
        status: None,
        scim_type: None,
        message: "the group was created together with users, and not all of them are there; it is looked at".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_become_ids_or_wait_or_go() {
        let made = Made::from([
            ("u0".to_owned(), Some("7".to_owned())),
            ("u1".to_owned(), None),
        ]);
        let mut members = ["bulkId:u0", "bulkId:u1", "bulkId:u2", "9"]
            .map(|id| ((), id.to_owned()))
            .to_vec();
        assert!(!settle_references(&mut members, &made));
        let ids: Vec<&str> = members.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!(ids, ["7", "bulkId:u2", "9"]);
        assert!(settle_references(&mut members, &made));
    }
}
