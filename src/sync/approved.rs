//! An approved plan: what waited in it is carried out, and nothing else. What changed since is left out and told.

use crate::job::Status;
use crate::plan::Plan;
use crate::store::Lease;
use crate::sync::flight::Flight;
use crate::sync::proof::Reader;
use crate::sync::stop::Stop;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay, apply, ingest, ownership, recover, restored, target};

/// Carries out what waited in the plan of a job; answers whether anything still waits for a person, which nothing does.
pub(super) async fn carry_out(
    relay: &Relay,
    lease: &Lease,
    tracker: &Tracker,
    stop: &Stop,
) -> Result<bool, Error> {
    target::same_address(relay, lease).await?;
    if restored::is_noted(relay).await? {
        // What the plan was made from may be over, and whose an account is by now.
        return Err(Error::Only(
            "the store may have been restored from an old copy; run the profile, which compares it with directory and target, \
             and then approve the plan again"
                .to_owned(),
        ));
    }
    recover::settle_open_intents(relay, lease, tracker).await?;
    let Some(plan) = relay.store.plan(tracker.job().id).await? else {
        return Err(Error::Only(
            "the plan is not there any more; run the profile again".to_owned(),
        ));
    };
    accept_baseline(relay, lease, &plan).await?;
    let still = |hold: &&crate::plan::Hold| hold.release != crate::plan::Release::Approval;
    let holds = plan.holds.iter().filter(still);
    let holds: Vec<String> = holds.map(|hold| hold.message.clone()).collect();
    tracker.update(|job| {
        job.holds = holds;
        job.counters.skipped = job.counters.skipped.saturating_sub(plan.for_approval);
        job.progress.steps_done = 0;
        job.progress.steps_planned = plan.for_approval;
    });
    let reader = Reader::new(relay);
    // What was approved is held against what the directory says now: a look at an entry does not tell what its groups give it.
    ingest::read_directory(relay, lease, &reader, tracker).await?;
    ownership::settle_disagreements(relay, lease, &reader, tracker).await?;
    tracker.phase("applying").await;
    let capabilities = relay.provider.discover().await?;
    let flight = Flight::new(
        relay,
        lease,
        &plan,
        &reader,
        tracker,
        capabilities,
        stop.token(),
    );
    let flown = apply::fly(&flight).await;
    apply::tell_left_out(&flight);
    reader.close().await;
    flown?;
    if !stop.token().is_cancelled() || stop.status() == Status::Cancelled {
        relay.store.end_plan(lease, plan.job).await?;
    }
    Ok(false)
}

/// An approved plan that could not be carried out, because directory or target was away, waits again: what was sent of it is
/// known, and the rest is approved once more. Answers whether it does.
pub(super) async fn waits_again(relay: &Relay, tracker: &Tracker) -> bool {
    let job = tracker.job();
    if !job.is_approved() {
        return false;
    }
    // Where the store cannot tell, the job has failed, and the next run plans anew.
    let Ok(Some(plan)) = relay.store.plan(job.id).await else {
        return false;
    };
    tracker.update(|job| {
        job.decision = None;
        job.holds = plan.holds.iter().map(|hold| hold.message.clone()).collect();
        job.counters.skipped += plan.for_approval;
        let cure = "the approved plan could not be carried out and waits again: see the errors, and approve it once more";
        job.warnings.push(cure.to_owned());
    });
    true
}

/// Whoever approves a plan that rests on a read of few entries says that so few are right (specification page 8, 2).
async fn accept_baseline(relay: &Relay, lease: &Lease, plan: &Plan) -> Result<(), Error> {
    let accepted = plan.holds.iter().find_map(|hold| hold.accepts);
    let mut state = relay.store.profile_state(&relay.key()).await?;
    if accepted.is_none() || state.implausible.is_none() {
        return Ok(());
    }
    state.baseline = accepted;
    state.implausible = None;
    Ok(relay
        .store
        .save_profile_state(lease, &relay.key(), &state)
        .await?)
}
