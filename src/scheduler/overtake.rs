//! Overtaking: a job that sends for long does not keep those waiting who leave. An urgent job runs beside it, under its turn.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use uuid::Uuid;

use crate::audit::Actor;
use crate::id::{DirectoryId, JobId, ProfileKey};
use crate::job::{Job, Mode, Trigger};
use crate::scheduler::{Refused, Running, Scheduled, Scheduler, Turn, lock};
use crate::sync::stop::Stop;
use crate::sync::tracker::Feed;

/// A job that is over sooner is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Whether a job of the directory sends that can be overtaken.
    pub(super) fn is_overtakable(&self, directory: DirectoryId) -> bool {
        self.0.runner.can_be_overtaken(directory)
    }

    /// Waits until a job leaves its place, unless what is waited for is so already, or for a while; answers whether one did.
    pub(super) async fn one_left(&self, is_over: impl Fn() -> bool) -> bool {
        let left = self.0.left.notified();
        tokio::pin!(left);
        // Counted before it is looked, so that a job which leaves in between is not missed.
        left.as_mut().enable();
        is_over() || tokio::time::timeout(PATIENCE, left).await.is_ok()
    }

    /// Overtakes where the schedule asks for a run that has to wait, once for each of its times.
    pub(super) async fn overtake_if_due(&self, profile: &Scheduled) -> Result<(), Refused> {
        if !self.is_overtakable(profile.key.directory) {
            return Ok(());
        }
        let overtook = lock(&self.0.overtook).get(&profile.key).copied();
        if self.due(profile, overtook).await? {
            self.begin_to_overtake(&profile.key).await?;
        }
        Ok(())
    }

    /// Overtakes because the directory told of a change, and waits for the end of that. The rest of what changed is followed when
    /// the longer job has ended.
    pub(super) async fn overtake(&self, key: &ProfileKey) -> Result<(), Refused> {
        lock(&self.0.owed).insert(key.clone());
        while self.is_overtakable(key.directory) {
            if self.begin_to_overtake(key).await? {
                self.until_overtaken(key.directory).await;
                return Ok(());
            }
            self.until_overtaken(key.directory).await; // by one of another profile
        }
        Ok(())
    }

    async fn until_overtaken(&self, directory: DirectoryId) {
        let is_over = || !lock(&self.0.urgent).contains_key(&directory);
        while !is_over() {
            self.one_left(is_over).await;
        }
    }

    /// Follows what was told while a job ran that has ended now.
    pub(super) fn follow(&self, directory: DirectoryId) {
        let owed: Vec<ProfileKey> = lock(&self.0.owed)
            .extract_if(|key| key.directory == directory)
            .collect();
        if owed.is_empty() {
            return;
        }
        let scheduler = self.clone();
        self.0.tasks.spawn(async move {
            for key in owed {
                let mode = Mode::Incremental;
                let queued = scheduler.enqueue(&key, Trigger::Feed, mode, &Actor::Relay);
                match queued.await {
                    Ok(_) | Err(Refused::Running(_)) => {} // it reads what this one would
                    Err(error) => {
                        tracing::debug!(profile = %key, error = %error, "a change could not be followed at once");
                    }
                }
            }
        });
    }

    /// Starts an urgent job; false when one of the directory runs, or there is nothing to overtake any more.
    async fn begin_to_overtake(&self, key: &ProfileKey) -> Result<bool, Refused> {
        let profiles = self.0.runner.profiles();
        let Some(profile) = profiles.iter().find(|profile| profile.key == *key) else {
            return Err(Refused::Unknown);
        };
        let turn = lock(&self.0.turns).get(&key.directory).cloned();
        let Some(turn) = turn.and_then(|turn| turn.upgrade()) else {
            return Ok(false);
        };
        let (trigger, mode, now) = (Trigger::Urgent, Mode::Incremental, Utc::now());
        let job = Job::queued(JobId(Uuid::now_v7()), key, trigger, mode, now);
        let running = Running {
            job: job.id,
            stop: Stop::with(&self.0.stop),
            feed: Feed::new(job.clone()),
        };
        {
            let mut urgent = lock(&self.0.urgent);
            if urgent.contains_key(&key.directory) {
                return Ok(false);
            }
            urgent.insert(key.directory, running.clone());
        }
        lock(&self.0.overtook).insert(key.clone(), now);
        let tenant = &profile.tenant;
        if let Err(error) = self.0.store.queue_job(&job, &Actor::Relay, tenant).await {
            self.has_overtaken(key.directory);
            return Err(error.into());
        }
        let (scheduler, directory) = (self.clone(), key.directory);
        let work = async move { scheduler.run_beside(directory, running, turn).await };
        self.0.tasks.spawn(work);
        Ok(true)
    }

    /// Runs an urgent job. The turn of the longer one is not over before this one has ended, because it writes with its lease.
    async fn run_beside(&self, directory: DirectoryId, running: Running, turn: Arc<Turn>) {
        self.run_now(&running.feed, running.stop).await;
        self.has_overtaken(directory);
        drop(turn);
    }

    fn has_overtaken(&self, directory: DirectoryId) {
        lock(&self.0.urgent).remove(&directory);
        self.0.left.notify_waiters();
    }

    /// A job that is queued or runs, urgent ones among them.
    fn running(&self, job: JobId) -> Option<Running> {
        let ordinary = self
            .table()
            .values()
            .find(|running| running.job == job)
            .cloned();
        let urgent = || {
            lock(&self.0.urgent)
                .values()
                .find(|running| running.job == job)
                .cloned()
        };
        ordinary.or_else(urgent)
    }

    /// Stops a running job after the requests in flight; it is not resumed. Answers whether it was running.
    pub fn cancel(&self, job: JobId) -> bool {
        let running = self.running(job);
        running.is_some_and(|running| {
            running.stop.cancel();
            true
        })
    }

    /// A job that is queued or runs, as it is now and at each change; no job that has ended.
    pub fn watch(&self, job: JobId) -> Option<watch::Receiver<Job>> {
        let receiver = self.running(job)?.feed.subscribe();
        let ended = receiver.borrow().status.is_final();
        (!ended).then_some(receiver)
    }
}
