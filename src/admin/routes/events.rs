//! A job as a stream of server-sent events: its state now, at each change, and at its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::admin::routes::job_id;
use crate::admin::routes::jobs::found;
use crate::admin::shares::Share;
use crate::job::Job;
use crate::store::Store;

/// The least time between two states of a job that goes on.
const STATES_APART: Duration = Duration::from_millis(250);
/// How often a stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// GET /directories/{id}/jobs/{jobId}/events
pub(super) async fn events(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
) -> Result<Response, Problem> {
    // Watched first: a job that ends in between is then found in the store at its end.
    let live = admin.scheduler.watch(job_id(&job)?);
    let job = found(&admin, &caller, &directory, &job).await?;
    let place = admin.streams.take(&caller.tenant);
    let watcher = Watcher {
        live,
        job,
        store: admin.store.clone(),
        stop: admin.stop.clone(),
        number: 0,
        next: Some(Instant::now()),
        _place: place.ok_or_else(Problem::too_many_streams)?,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    let stream = Box::pin(stream::unfold(watcher, next));
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

/// Somebody who watches a job.
struct Watcher {
    /// `None` for a job that has ended.
    live: Option<watch::Receiver<Job>>,
    /// The job when it was asked for, and what the store says in the end.
    job: Job,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    /// Counts the events.
    number: u64,
    /// When the next state may be sent; `None` after the end.
    next: Option<Instant>,
    _place: Share,
}

async fn next(mut watcher: Watcher) -> Option<(Result<Event, Infallible>, Watcher)> {
    let earliest = watcher.next?;
    let stop = watcher.stop.clone();
    let job = tokio::select! {
        // Jobs end before the endpoint does: an end that is there is still sent.
        biased;
        job = watcher.state(earliest) => job?,
        () = stop.cancelled() => return None,
    };
    watcher.number += 1;
    let ended = job.status.is_final();
    watcher.next = (!ended).then(|| Instant::now() + STATES_APART);
    let name = if ended { "end" } else { "job" };
    let event = Event::default()
        .event(name)
        .id(watcher.number.to_string())
        .json_data(&job)
        .ok()?;
    Some((Ok(event), watcher))
}

impl Watcher {
    /// The state to send next; `None` when there is none to wait for.
    async fn state(&mut self, earliest: Instant) -> Option<Job> {
        let Some(live) = &mut self.live else {
            return Some(self.job.clone());
        };
        if self.number > 0 {
            if live.changed().await.is_err() {
                // Nobody runs it any more, and the last state is sent: what the store has is its end.
                return self.stored_end().await;
            }
            // What changes until the time has come goes along; an end does not wait.
            let end = live.wait_for(|job| job.status.is_final());
            let _ = tokio::time::timeout_at(earliest, end).await;
        }
        Some(live.borrow_and_update().clone())
    }

    async fn stored_end(&self) -> Option<Job> {
        match self.store.job(self.job.id).await {
            Ok(job) => job.filter(|job| job.status.is_final()),
            Err(error) => {
                tracing::error!(job = %self.job.id, error = %error, "the end of a job could not be read");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::Utc;
    use uuid::Uuid;

    use super::*;
    use crate::admin::shares::Shares;
    use crate::id::{DirectoryId, JobId, ProfileKey, ProfileName, TenantName};
    use crate::job::{Mode, Status, Trigger};
    use crate::sync::tracker::Feed;

    fn job() -> Job {
        let profile = ProfileKey {
            directory: DirectoryId(Uuid::nil()),
            profile: ProfileName::default(),
        };
        let id = JobId(Uuid::nil());
        Job::queued(id, &profile, Trigger::Manual, Mode::Full, Utc::now())
    }

    fn watcher(feed: &Feed, folder: &tempfile::TempDir) -> Watcher {
        let settings = crate::store::Settings {
            path: folder.path().join("store.redb"),
            cache_mib: 4,
        };
        let place = Shares::new(1, 1).take(&TenantName("acme".into())).unwrap();
        Watcher {
            live: Some(feed.subscribe()),
            job: job(),
            store: crate::store::open(&settings).unwrap().into(),
            stop: CancellationToken::new(),
            number: 0,
            next: Some(Instant::now()),
            _place: place,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn admin_events_of_a_busy_job_come_four_times_a_second_and_the_last_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let feed = Feed::new(job());
        let mut watcher = watcher(&feed, &folder);
        let busy = async {
            for _ in 0..500 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                feed.send_modify(|job| job.progress.steps_done += 1);
            }
            feed.send_modify(|job| job.end(Status::Completed, Utc::now()));
        };
        let watch = async {
            let mut steps = Vec::new();
            loop {
                let earliest = Instant::now() + STATES_APART;
                let job = watcher.state(earliest).await.unwrap();
                watcher.number += 1;
                steps.push(job.progress.steps_done);
                if job.status.is_final() {
                    return steps;
                }
            }
        };
        let ((), steps) = tokio::join!(busy, watch);
        // Five seconds: one state at once, one for each quarter, and the end.
        assert!((15..=22).contains(&steps.len()), "{steps:?}");
        assert_eq!((steps[0], steps[steps.len() - 1]), (0, 500));
        assert!(steps.is_sorted(), "{steps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn admin_events_show_the_end_of_a_job_that_ends_with_the_relay() {
        for _ in 0..100 {
            let folder = tempfile::tempdir().unwrap();
            let feed = Feed::new(job());
            let (_, watcher) = next(watcher(&feed, &folder)).await.unwrap();
            let stop = watcher.stop.clone();
            feed.send_modify(|job| job.end(Status::Interrupted, Utc::now()));
            stop.cancel();
            assert!(next(watcher).await.is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn admin_events_end_when_the_relay_stops() {
        let folder = tempfile::tempdir().unwrap();
        let feed = Feed::new(job());
        let watcher = watcher(&feed, &folder);
        let stop = watcher.stop.clone();
        let (_, watcher) = next(watcher).await.unwrap();
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            stop.cancel();
        };
        let ((), event) = tokio::join!(stopping, next(watcher));
        assert!(event.is_none());
    }
}
