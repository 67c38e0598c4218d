//! When profiles are due: by their schedules, by the passing of time, and less often in quarantine.

use chrono::{DateTime, Utc};

use crate::id::ProfileKey;
use crate::job::quarantine::{Quarantine, quarantine};
use crate::job::schedule::Schedule;
use crate::scheduler::{InForce, Scheduled, Scheduler, lock};
use crate::store::jobs::JobFilter;

/// Jobs that are looked at for failures in a row.
const FAILURES_COUNTED: usize = 50;

impl Scheduler {
    /// Whether a profile is to run now: by its schedule, or because the time has come at which an account expires.
    /// `also` is a later try that counts, too.
    pub(super) async fn due(
        &self,
        profile: &Scheduled,
        also: Option<DateTime<Utc>>,
    ) -> Result<bool, crate::store::Error> {
        let now = Utc::now();
        let last = self.last_try(&profile.key).await?.max(also);
        let Some(next) = self.next_run_after(profile, last) else {
            return Ok(false);
        };
        let state = self.0.store.feed_state(&profile.key).await?;
        let expires = state.next_due.filter(|due| *due <= now);
        let due = match expires.filter(|_| next > now) {
            None => next <= now,
            // Once for each time: a run that could do nothing about it is not asked for again before its turn.
            Some(expired) => last.is_none_or(|last| last < expired),
        };
        if !due {
            return Ok(false);
        }
        let quarantine = self.quarantine(&profile.key, &profile.schedule).await?;
        Ok(quarantine.is_none_or(|held| held.next_try_at <= now))
    }

    /// When a job of a profile was last tried.
    async fn last_try(
        &self,
        key: &ProfileKey,
    ) -> Result<Option<DateTime<Utc>>, crate::store::Error> {
        let state = self.0.store.profile_state(key).await?;
        let queued = lock(&self.0.queued).get(key).copied();
        Ok(state.last_attempt.max(queued))
    }

    /// When a profile is due next; may lie in the past.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next_run(
        &self,
        profile: &Scheduled,
    ) -> Result<Option<DateTime<Utc>>, crate::store::Error> {
        let last = self.last_try(&profile.key).await?;
        let next = self.next_run_after(profile, last);
        let quarantine = self.quarantine(&profile.key, &profile.schedule).await?;
        Ok(next.map(|next| quarantine.map_or(next, |held| next.max(held.next_try_at))))
    }

    /// The same after a try.
    fn next_run_after(
        &self,
        profile: &Scheduled,
        last: Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        if !profile.enabled || profile.schedule == Schedule::Manual {
            return None;
        }
        let since = self.scheduled_since(profile);
        let last = match profile.schedule {
            Schedule::Cron(_) => last.max(since),
            _ => last,
        };
        let since = since.unwrap_or(self.0.started);
        profile.schedule.next_run(last, since)
    }

    /// Whether a profile is tried less often, because its jobs fail.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn quarantine(
        &self,
        key: &ProfileKey,
        schedule: &Schedule,
    ) -> Result<Option<Quarantine>, crate::store::Error> {
        let filter = JobFilter::of_profile(key);
        let jobs = self.0.store.jobs(filter, None, FAILURES_COUNTED).await?;
        if quarantine(&jobs, schedule, None).is_none() {
            return Ok(None);
        }
        let ledger = self.0.store.ledger(key).await?;
        Ok(quarantine(&jobs, schedule, ledger.quarantine_cleared_at))
    }

    /// Since when a profile has its schedule, where somebody gave it one after the start.
    fn scheduled_since(&self, profile: &Scheduled) -> Option<DateTime<Utc>> {
        let mut schedules = lock(&self.0.schedules);
        match schedules.get(&profile.key) {
            Some(known) if known.schedule == profile.schedule => known.since,
            _ => {
                let (schedule, since) = (profile.schedule.clone(), Some(Utc::now()));
                schedules.insert(profile.key.clone(), InForce { schedule, since });
                since
            }
        }
    }
}
