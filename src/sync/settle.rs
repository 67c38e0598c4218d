//! Settle: outcomes are committed in groups, so that a large load is not bounded by the disk's sync.

use std::time::Duration;

use chrono::Utc;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::fault::Fault;
use crate::job::Trigger;
use crate::plan::backoff::{self, Rejection};
use crate::plan::{Action, Class, Reason};
use crate::snapshot::Applied;
use crate::store::jobs::Change;
use crate::store::{Effect, Settlement};
use crate::sync::flight::Flight;
use crate::sync::send::Settled;
use crate::sync::tracker::target_error;
use crate::sync::traffic::Part;
use crate::sync::{Error, ingest};

/// Outcomes committed in one transaction at the most.
pub(super) const OUTCOMES_PER_WRITE: usize = 512;
/// How long an outcome waits for others at the most.
const GATHER: Duration = Duration::from_millis(50);

/// Commits outcomes until there are no more.
pub(super) async fn all(
    flight: &Flight<'_>,
    mut outcomes: mpsc::Receiver<Settled>,
) -> Result<(), Error> {
    while let Some(first) = outcomes.recv().await {
        let mut settlements = vec![count_and_settle(flight, first)];
        let deadline = Instant::now() + GATHER;
        while settlements.len() < OUTCOMES_PER_WRITE {
            match timeout_at(deadline, outcomes.recv()).await {
                Ok(Some(next)) => settlements.push(count_and_settle(flight, next)),
                Ok(None) | Err(_) => break,
            }
        }
        commit(flight, settlements).await?;
        flight.tracker.progressed();
    }
    Ok(())
}

async fn commit(flight: &Flight<'_>, mut settlements: Vec<Settlement>) -> Result<(), Error> {
    let traffic = &flight.relay.traffic;
    let part = |settlement: &Settlement| {
        let Settlement {
            key, class, part, ..
        } = settlement;
        (key.clone(), *class, *part)
    };
    let parts: Vec<Part> = settlements.iter().map(part).collect();
    let alone = traffic.alone().await;
    // A mark may be there for a reason that is no part of the row's own entry; the next run sees what is left of it.
    if flight.urgent || traffic.is_read_beside() {
        settlements
            .iter_mut()
            .for_each(|settlement| settlement.clean = None);
    }
    let store = &flight.relay.store;
    store
        .settle(flight.lease, &flight.author, settlements)
        .await?;
    drop(alone);
    traffic.arrive(&parts);
    Ok(())
}

fn count_and_settle(flight: &Flight<'_>, settled: Settled) -> Settlement {
    let step = &settled.operation.step;
    match &settled.refusal {
        None => count(flight, &settled),
        Some(refusal) => {
            flight.leave_unfinished(&step.key);
            // What stops the run is recorded once, on the job.
            if settled.sent && !refusal.fault.stops_the_run() {
                flight.tracker.record_sent(target_error(
                    &step.key,
                    &step.dn,
                    step.class.as_str(),
                    refusal,
                ));
            }
        }
    }
    flight
        .tracker
        .update(|job| job.progress.steps_done += u64::from(settled.operation.last_part));
    settlement(flight, &settled)
}

fn count(flight: &Flight<'_>, settled: &Settled) {
    let step = &settled.operation.step;
    let members = match settled.sent {
        true => settled.operation.members.len() as u64,
        false => 0,
    };
    flight.tracker.update(|job| {
        let counters = &mut job.counters;
        match (step.class, &step.action) {
            (Class::Deactivate, _) => counters.users_deactivated += 1,
            // Whoever was deactivated before is counted already.
            (Class::Delete, _) => {
                let applied = settled.operation.applied.as_ref();
                counters.users_deactivated += u64::from(applied.is_some_and(Applied::is_active));
            }
            (Class::Reactivate | Class::Update, _) if !settled.operation.last_part => {}
            (Class::Reactivate, _) => counters.users_reactivated += 1,
            (Class::Update, _) => counters.users_updated += 1,
            // That of a user who is new is a part of the creation.
            (Class::SetManager, _) => {
                let counts = settled.sent && step.reason == Reason::Changed;
                counters.users_updated += u64::from(counts);
            }
            (Class::CreateUser, _) => counters.users_created += 1,
            (Class::Link, _) | (Class::Group, Action::Link { .. }) => counters.linked += 1,
            (Class::Group, Action::Create { .. }) => {
                counters.groups_created += 1;
                if let Effect::AppliedWithMembers(_, members) = &settled.effect {
                    counters.members_added += members.len() as u64;
                }
            }
            (Class::Group, _) => counters.groups_updated += 1,
            (Class::AddMembers, _) => counters.members_added += members,
            (Class::RemoveMembers, _) => counters.members_removed += members,
        }
    });
}

/// The line in the journal.
fn journal_line(settled: &Settled) -> Change {
    let step = &settled.operation.step;
    let id = match &settled.effect {
        Effect::Applied(applied) | Effect::AppliedWithMembers(applied, _) => {
            Some(applied.id.clone())
        }
        _ => settled
            .operation
            .applied
            .as_ref()
            .map(|applied| applied.id.clone()),
    };
    let rows = || {
        settled
            .operation
            .members
            .iter()
            .map(|(row, _)| row.clone())
            .collect()
    };
    let action = match &step.action {
        Action::AddMembers(_) => Action::AddMembers(rows()),
        Action::RemoveMembers(_) => Action::RemoveMembers(rows()),
        Action::Create { attributes, .. } => Action::Create {
            attributes: attributes.clone(),
            members: rows(),
        },
        other => other.clone(),
    };
    Change {
        at: Utc::now(),
        key: step.key.clone(),
        dn: step.dn.clone(),
        id,
        action,
        class: step.class,
        reason: step.reason,
        error: settled
            .refusal
            .as_ref()
            .map(|refusal| target_error(&step.key, &step.dn, step.class.as_str(), refusal)),
    }
}

/// That the target refused a step for what it is. Where a resource in its way was found, that one is looked at instead.
fn rejection(flight: &Flight<'_>, settled: &Settled) -> Option<Rejection> {
    let refusal = settled.refusal.as_ref().filter(|_| settled.sent)?;
    let step = &settled.operation.step;
    let is_its_own = refusal.fault == Fault::Rejected && settled.effect == Effect::Nothing;
    (is_its_own && backoff::may_wait(step)).then(|| Rejection {
        cause: backoff::cause(step, ingest::definition(flight.relay)),
        anew: flight.tracker.job().trigger == Trigger::Manual,
    })
}

/// One settlement for the store.
fn settlement(flight: &Flight<'_>, settled: &Settled) -> Settlement {
    let step = &settled.operation.step;
    let done = settled.refusal.is_none()
        && settled.operation.last_part
        && step.last_of_row
        && !flight.is_unfinished(&step.key);
    Settlement {
        key: step.key.clone(),
        class: step.class,
        part: settled.operation.part,
        effect: settled.effect.clone(),
        clean: done.then_some(step.based_on),
        change: settled.sent.then(|| journal_line(settled)),
        rejection: rejection(flight, settled),
    }
}
