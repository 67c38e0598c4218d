//! Going on: with jobs that the end of a process cut off, and with those on whose plan a person decided.

use chrono::Utc;

use crate::audit::Actor;
use crate::id::ProfileKey;
use crate::job::{Extent, Job, Status, Trigger};
use crate::scheduler::{Refused, Running, Scheduled, Scheduler};
use crate::store::jobs::JobFilter;
use crate::sync::stop::Stop;
use crate::sync::tracker::Feed;

/// Interrupted jobs that are looked at for an approved plan.
const APPROVED_MAX: usize = 20;
/// Jobs that are read in one turn when the newest one is looked for.
const JOBS_PER_LOOK: usize = 100;

impl Scheduler {
    /// Goes on with a job that waited for a person, once it was decided that it shall: `decide` makes the decision and stores
    /// it, when no other job of the profile can come in between.
    ///
    /// # Errors
    /// When a job of that profile runs, when there is no such profile, when the relay shuts down, or when `decide` refuses.
    pub async fn go_on<E, D>(
        &self,
        waiting: &Job,
        decide: impl FnOnce() -> D + Send,
    ) -> Result<Result<Job, E>, Refused>
    where
        D: Future<Output = Result<Job, E>> + Send,
    {
        if self.0.stop.is_cancelled() {
            return Err(Refused::Stopping);
        }
        let key = waiting.profile_key();
        let profiles = self.0.runner.profiles().into_iter();
        let profile = profiles.into_iter().find(|profile| profile.key == key);
        let Some(Scheduled { tenant, .. }) = profile else {
            return Err(Refused::Unknown);
        };
        let mut queued = waiting.clone();
        queued.again();
        let running = Running {
            job: waiting.id,
            stop: Stop::with(&self.0.stop),
            feed: Feed::new(queued),
        };
        let feed = running.feed.clone();
        self.take_place(&key, &running).await?;
        let job = match decide().await {
            Ok(job) => job,
            Err(error) => {
                self.leave_place(&key, &feed);
                return Ok(Err(error));
            }
        };
        running.feed.send_replace(job.clone());
        let scheduler = self.clone();
        self.0
            .tasks
            .spawn(async move { scheduler.run(key, tenant, running).await });
        Ok(Ok(job))
    }

    /// Jobs that were cut off are interrupted, and their profiles run again.
    pub(super) async fn resume(&self) -> Result<(), crate::store::Error> {
        for mut job in self.0.store.unfinished_jobs().await? {
            job.end(Status::Interrupted, Utc::now());
            self.0.store.save_job(&job).await?;
        }
        for profile in self.0.runner.profiles() {
            if self.resume_approved(&profile.key).await? {
                continue;
            }
            let newest = self.newest_job(&profile.key).await?;
            let Some(job) = newest.filter(|job| job.status == Status::Interrupted && job.applies())
            else {
                continue;
            };
            tracing::info!(job = %job.id, directory = %job.directory_id, "an interrupted job is resumed");
            let extent = Extent {
                mode: job.mode,
                only: job.only,
                report: false,
                undoes: job.undoes,
            };
            if let Err(refused) = self
                .enqueue(&profile.key, Trigger::Resume, extent, &Actor::Relay)
                .await
            {
                tracing::warn!(job = %job.id, error = %refused, "an interrupted job could not be resumed");
            }
        }
        Ok(())
    }

    /// Goes on with an approved plan that was cut off; answers whether there was one. What else is to be done follows by
    /// the schedule.
    async fn resume_approved(&self, key: &ProfileKey) -> Result<bool, crate::store::Error> {
        let filter = JobFilter {
            status: Some(Status::Interrupted),
            ..JobFilter::of_profile(key)
        };
        let cut_off = self.0.store.jobs(filter, None, APPROVED_MAX).await?;
        for mut job in cut_off.into_iter().filter(Job::is_approved) {
            if self.0.store.plan(job.id).await?.is_none() {
                continue;
            }
            tracing::info!(job = %job.id, directory = %job.directory_id, "an approved plan is gone on with");
            let waiting = job.clone();
            job.again();
            let decide = || async {
                self.0.store.save_job(&job).await?;
                Ok::<_, crate::store::Error>(job.clone())
            };
            match self.go_on(&waiting, decide).await {
                Ok(gone_on) => gone_on?,
                Err(refused) => {
                    tracing::warn!(job = %waiting.id, error = %refused, "an approved plan could not be gone on with");
                    continue;
                }
            };
            return Ok(true);
        }
        Ok(false)
    }

    /// The newest job of a profile that is about everything.
    async fn newest_job(&self, key: &ProfileKey) -> Result<Option<Job>, crate::store::Error> {
        let mut before = None;
        loop {
            let filter = JobFilter::of_profile(key);
            let jobs = self.0.store.jobs(filter, before, JOBS_PER_LOOK).await?;
            before = jobs.last().map(|job| job.id);
            let newest = jobs.into_iter().find(|job| !job.is_urgent());
            if newest.is_some() || before.is_none() {
                return Ok(newest);
            }
        }
    }
}
