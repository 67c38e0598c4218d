//! Plans that wait for a person, and wait no more: because nobody decided in time, or because nothing of them differs any more.

use std::collections::HashSet;

use chrono::Utc;

use crate::id::JobId;
use crate::job::decision::Verdict;
use crate::job::{Job, Status};
use crate::plan::held::HeldBy;
use crate::plan::{Extent, Hold};
use crate::store::holds::Waiting;
use crate::store::jobs::JobFilter;
use crate::store::{Error, Lease};
use crate::sync::Relay;
use crate::sync::tracker::Tracker;

/// Rows read in one turn, and jobs.
const ROWS_PER_TURN: usize = 1_000;
/// More jobs than these do not wait (see the store's limit).
const JOBS_MAX: usize = 100;

/// Ends the wait for plans on which nobody decided in time; what still differs is planned again.
pub(super) async fn expire(relay: &Relay, lease: &Lease) -> Result<(), Error> {
    let now = Utc::now();
    for job in waiting(relay).await? {
        let plan = relay.store.plan(job.id).await?;
        let of_change = |hold: &Hold| hold.extent == Extent::TakingAway;
        let waits_again = plan
            .as_ref()
            .is_none_or(|plan| plan.holds.iter().any(of_change));
        if plan.is_none_or(|plan| plan.expires_at() <= now) {
            if waits_again {
                // That nobody said anything is no approval.
                let (store, key) = (&relay.store, relay.key());
                let since = Some(job.queued_at);
                store.note_definition(lease, &key, since).await?;
            }
            close(relay, job, Verdict::Expired).await?;
        }
    }
    Ok(())
}

/// What a change of the profile takes away is in a plan that was carried out or waits: from here on it is as it is. A run that
/// failed or was cut off leaves it to the next one.
pub(super) async fn settle_definition(
    relay: &Relay,
    lease: &Lease,
    tracker: &Tracker,
) -> Result<(), Error> {
    let job = tracker.job();
    if job.is_part()
        || job.complete_read != Some(true)
        || relay.store.restored(&relay.key()).await?.is_some()
    {
        return Ok(()); // what is held for the next run was asked of nobody
    }
    let (store, key) = (&relay.store, relay.key());
    if store.ledger(&key).await?.definition_changed_at.is_some() {
        store.note_definition(lease, &key, None).await?;
    }
    Ok(())
}

/// Ends the wait for plans of which nothing is left to decide on.
pub(super) async fn withdraw(relay: &Relay) -> Result<(), Error> {
    let waiting = waiting(relay).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let held = jobs_with_rows(relay).await?;
    for job in waiting {
        if !held.contains(&job.id) {
            close(relay, job, Verdict::Withdrawn).await?;
        }
    }
    Ok(())
}

async fn waiting(relay: &Relay) -> Result<Vec<Job>, Error> {
    let filter = JobFilter {
        status: Some(Status::AwaitingApproval),
        ..JobFilter::of_profile(&relay.key())
    };
    relay.store.jobs(filter, None, JOBS_MAX).await
}

async fn jobs_with_rows(relay: &Relay) -> Result<HashSet<JobId>, Error> {
    let mut jobs = HashSet::new();
    let mut after = None;
    loop {
        let held = relay
            .store
            .all_held(relay.directory.id, after, ROWS_PER_TURN)
            .await?;
        let Some(last) = held.last() else {
            return Ok(jobs);
        };
        after = last.key();
        let waiting = held.into_iter().filter(|held| held.by == HeldBy::Waiting);
        jobs.extend(waiting.map(|held| held.job));
    }
}

async fn close(relay: &Relay, mut job: Job, verdict: Verdict) -> Result<(), Error> {
    job.close(verdict, "relay".to_owned(), Utc::now());
    tracing::info!(job = %job.id, ?verdict, "a plan does not wait any more");
    relay.store.decide_plan(&job, Waiting::Ends, None).await?;
    Ok(())
}
