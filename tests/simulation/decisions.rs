//! Persons: they approve what waits, reject it, or let it wait, and in the end everything is decided on.

use chrono::Utc;
use scim_relay::id::DirectoryId;
use scim_relay::job::decision::Verdict;
use scim_relay::job::{Job, Mode, Status};
use scim_relay::plan::held::{Held, HeldBy, HoldKey};
use scim_relay::store::holds::Waiting;
use scim_relay::store::jobs::JobFilter;

use crate::history::History;

/// More jobs do not wait, and more rows are not held.
const MANY: usize = 1_000;
/// Runs after which nothing may wait any more: what is approved may mark others.
const ROUNDS: usize = 8;

impl History {
    /// Somebody may look at what waits.
    pub async fn decide_some(&mut self, steps: Option<u64>) -> Result<(), String> {
        for job in self.waiting().await? {
            if job.is_approved() {
                self.run_job(job, None).await?; // the new process goes on with it
                return Ok(());
            }
            match self.random.below(5) {
                0 | 1 => {
                    self.approve(job, steps).await?;
                    return Ok(()); // the process may not have survived it
                }
                2 => self.reject(job).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs until nobody has anything to decide on any more, and says yes to everything.
    pub async fn decide_all(&mut self) -> Result<(), String> {
        self.release_all().await?;
        for round in 0..ROUNDS {
            let waiting = self.waiting().await?;
            if waiting.is_empty() {
                return Ok(());
            }
            for job in waiting {
                self.approve(job, None).await?;
                self.judge()?;
            }
            // What was lost at the target refuses those who name it, until it is looked at.
            let mode = match round % 2 {
                0 => Mode::Full,
                _ => Mode::Reconcile,
            };
            self.run(mode, None).await?;
            self.judge()?;
        }
        Err(format!("after {ROUNDS} approvals something waits still"))
    }

    pub async fn waiting(&mut self) -> Result<Vec<Job>, String> {
        let directory = self.directory();
        let store = self.store()?;
        let jobs = store.jobs(JobFilter::of(directory), None, MANY).await;
        let mut jobs = jobs.map_err(|error| error.to_string())?;
        jobs.retain(|job| {
            let cut_off = job.is_approved() && !job.status.is_final();
            job.status == Status::AwaitingApproval || cut_off
        });
        Ok(jobs)
    }

    fn directory(&mut self) -> DirectoryId {
        let rules = self.site.lock().rules.clone();
        self.configuration.of(&rules).1.id
    }

    async fn approve(&mut self, mut job: Job, steps: Option<u64>) -> Result<(), String> {
        self.site.lock().note(format!("approved: {}", job.id));
        job.approve("somebody".to_owned(), Utc::now());
        self.run_job(job, steps).await?;
        Ok(())
    }

    pub async fn reject(&mut self, mut job: Job) -> Result<(), String> {
        self.site.lock().note(format!("rejected: {}", job.id));
        let store = self.store()?;
        let wrong = |error: scim_relay::store::Error| error.to_string();
        let state = store.profile_state(&job.profile_key()).await;
        let rejected = Waiting::Rejected {
            who: "somebody".to_owned(),
            fingerprint: state.map_err(wrong)?.fingerprint,
        };
        job.close(Verdict::Rejected, "somebody".to_owned(), Utc::now());
        match store.decide_plan(&job, rejected, None).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the job did not wait any more".to_owned()),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Gives free what was rejected.
    async fn release_all(&mut self) -> Result<(), String> {
        let store = self.store()?;
        let directory = self.directory();
        let wrong = |error: scim_relay::store::Error| error.to_string();
        let all = store.all_held(directory, None, MANY).await.map_err(wrong)?;
        let by_persons = all.iter().filter(|held| held.by != HeldBy::Waiting);
        let rows: Vec<HoldKey> = by_persons.filter_map(Held::key).collect();
        store
            .release(directory, rows, Vec::new())
            .await
            .map_err(wrong)
    }
}
