//! Apply: what nothing holds is sent, in the order of the plan, and what the target acknowledges becomes *applied*.
//!
//! Three stages run at once, joined by bounded channels: [`prepare`] proves removals, resolves ids and writes intents;
//! [`send`] speaks to the target; [`settle`] commits outcomes in groups. A kill therefore leaves at most those unsettled
//! that are in the two channels, in the two groups that are being written, and in flight, each with its intent; the next
//! run looks at them before it does anything else.

use chrono::Utc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::plan::held::{Held, HeldBy};
use crate::plan::{Class, Plan, guard, undo};
use crate::store::Lease;
use crate::sync::flight::Flight;
use crate::sync::proof::Reader;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay, prepare, send, settle};

/// Operations prepared and not yet sent.
const PREPARED_MAX: usize = 512;
/// Outcomes known and not yet committed.
const OUTCOMES_MAX: usize = 512;
/// Classes that may be under way at the same time; each line starts when the one before it is settled, because it
/// needs ids that the earlier ones bring, or must not overtake them.
const WAVES: [&[Class]; 6] = [
    &[Class::Deactivate],
    &[Class::Delete],
    &[Class::RemoveMembers],
    &[
        Class::Reactivate,
        Class::Update,
        Class::Link,
        Class::CreateUser,
    ],
    &[Class::Group],
    &[Class::AddMembers, Class::SetManager],
];

/// The first wave that leavers overtake; before it they go with the others.
const AFTER_LEAVERS: usize = 3;

/// The same where groups refer to users who are created in the same request. Who is linked has no such reference, so all links
/// are settled before.
const WAVES_WITH_REFERENCES: [&[Class]; 6] = [
    WAVES[0],
    WAVES[1],
    WAVES[2],
    &[Class::Reactivate, Class::Update, Class::Link],
    &[Class::CreateUser, Class::Group],
    WAVES[5],
];

/// Carries a plan out, except for what it holds.
pub(super) async fn carry_out(
    relay: &Relay,
    lease: &Lease,
    plan: &Plan,
    reader: &Reader<'_>,
    tracker: &Tracker,
    stop: &CancellationToken,
) -> Result<(), Error> {
    tracker.phase("applying").await;
    let held = plan.steps_held();
    tracker.update(|job| job.counters.skipped += held);
    let mut is_whole = true;
    if plan.steps() > held {
        let capabilities = relay.provider.discover().await?;
        let flight = Flight::new(relay, lease, plan, reader, tracker, capabilities, stop);
        let flown = fly(&flight).await;
        tell_left_out(&flight);
        flown?;
        is_whole = !flight.gave_up();
    }
    if held == 0 && !stop.is_cancelled() {
        relay.store.drop_plan(lease, plan.job).await?;
        if is_whole {
            note_first_load(relay, lease, tracker).await?;
        }
    }
    Ok(())
}

/// Says how much was left out because the directory said something else in the meantime.
pub(super) fn tell_left_out(flight: &Flight<'_>) {
    let count = flight.left_out();
    if count > 0 {
        flight.tracker.update(|job| {
            job.counters.skipped += count;
            job.warnings.push(format!(
                "{count} steps were left out, because the directory changed after they were planned; the next run plans them anew"
            ));
        });
    }
}

/// The first load ends with the first plan that was settled in full (specification page 8, 7), apart from objects that failed:
/// so few that they may be created later without a person.
async fn note_first_load(relay: &Relay, lease: &Lease, tracker: &Tracker) -> Result<(), Error> {
    let job = tracker.job();
    if job.is_part() || job.complete_read == Some(false) {
        return Ok(());
    }
    let linked = relay.store.linked_counts(relay.directory.id).await?;
    if !guard::is_loaded(&relay.profile.limits, job.error_count, linked) {
        return Ok(());
    }
    let _alone = relay.traffic.alone().await;
    let state = relay.store.profile_state(&relay.key()).await?;
    if !state.first_load_done {
        relay.store.end_first_load(lease, &relay.key()).await?;
    }
    Ok(())
}

/// What an undo takes back is not planned again: noted before anything is sent, so that a kill in between forgets nothing.
async fn hold_what_is_undone(flight: &Flight<'_>) -> Result<(), Error> {
    let job = flight.tracker.job();
    if job.undoes.is_none() {
        return Ok(());
    }
    let store = &flight.relay.store;
    let state = store.profile_state(&flight.relay.key()).await?;
    let who = job.decision.map_or_else(
        || "whoever started the job".to_owned(),
        |decision| decision.by,
    );
    let mut after = None;
    loop {
        let steps = store.steps(job.id, after, prepare::STEPS_PER_TURN).await?;
        let Some((last, _)) = steps.last() else {
            return Ok(());
        };
        after = Some(*last);
        let taken = steps.iter().filter(|(_, step)| flight.takes(step));
        let held = taken.map(|(_, step)| Held {
            job: job.id,
            profile: job.profile.clone(),
            by: HeldBy::Person {
                undone: true,
                who: who.clone(),
                fingerprint: state.fingerprint,
            },
            since: Utc::now(),
            steps: vec![undo::again(step)],
        });
        store.hold(flight.lease, held.collect()).await?;
    }
}

/// One wave after the other, until there are no more or the flight ends.
pub(super) async fn fly(flight: &Flight<'_>) -> Result<(), Error> {
    hold_what_is_undone(flight).await?;
    let waves: &[&[Class]] = match flight.refers() {
        true => &WAVES_WITH_REFERENCES,
        false => &WAVES,
    };
    let mut overtakable = None;
    for (number, wave) in waves.iter().enumerate() {
        if number == AFTER_LEAVERS && !flight.urgent {
            overtakable = Some(flight.relay.traffic.overtakable(flight.lease));
        }
        let (prepared, to_send) = mpsc::channel(PREPARED_MAX);
        let (sent, to_settle) = mpsc::channel(OUTCOMES_MAX);
        tokio::try_join!(
            prepare::feed(flight, wave, prepared),
            async {
                send::all(flight, to_send, sent).await;
                Ok(())
            },
            settle::all(flight, to_settle),
        )?;
        flight.tracker.save().await;
        if flight.stop.is_cancelled() {
            break;
        }
    }
    drop(overtakable);
    flight
        .refusal()
        .map_or(Ok(()), |refusal| Err(Error::Target(refusal)))
}
