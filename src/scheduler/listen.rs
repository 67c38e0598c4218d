//! Listening: a profile whose directory tells of changes runs when there is one, without waiting for its schedule.

use async_trait::async_trait;
use chrono::Utc;

use crate::audit::Actor;
use crate::id::{JobId, ProfileKey};
use crate::job::schedule::Schedule;
use crate::job::{Mode, Status, Trigger};
use crate::scheduler::{Inner, Refused, Scheduler, lock};
use crate::sync::watch::Ringer;

impl Scheduler {
    /// Begins to listen for every profile that may and does not yet. Whoever runs profiles ends it when the definition
    /// changes, and it begins anew.
    pub(super) fn listen(&self) {
        for profile in self.0.runner.profiles() {
            let may = profile.enabled && profile.listens && profile.schedule != Schedule::Manual;
            if !may || !lock(&self.0.listening).insert(profile.key.clone()) {
                continue;
            }
            let (scheduler, key) = (self.clone(), profile.key);
            let ringer = ProfileRinger { scheduler, key };
            self.0.tasks.spawn(async move {
                let Inner { runner, stop, .. } = &*ringer.scheduler.0;
                tokio::select! {
                    () = runner.listen(&ringer.key, &ringer) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }

    /// Waits until no job of a profile runs, or one that sends for long can be overtaken.
    async fn ready(&self, key: &ProfileKey) {
        let is_over = || !self.table().contains_key(key);
        while !is_over() {
            if !self.one_left(is_over).await && self.is_overtakable(key.directory) {
                return;
            }
        }
    }

    /// Waits for the end of a job, or until it, or the one that it waits for, can be overtaken; answers how it stands then.
    async fn awaited(&self, key: &ProfileKey, job: JobId) -> Option<Status> {
        self.ready(key).await;
        let stored = self.0.store.job(job).await.ok().flatten();
        let status = self.watch(job).map(|feed| feed.borrow().status);
        if status == Some(Status::Queued) && self.overtake(key).await.is_err() {
            return None;
        }
        status.or_else(|| stored.map(|job| job.status))
    }
}

/// Asks for runs of one profile; it is listened for as long as this is there, however its task ends.
struct ProfileRinger {
    scheduler: Scheduler,
    key: ProfileKey,
}

impl Drop for ProfileRinger {
    fn drop(&mut self) {
        lock(&self.scheduler.0.listening).remove(&self.key);
    }
}

impl ProfileRinger {
    async fn is_in_quarantine(&self) -> bool {
        let profiles = self.scheduler.0.runner.profiles();
        let Some(profile) = profiles.iter().find(|profile| profile.key == self.key) else {
            return false;
        };
        let held = self
            .scheduler
            .quarantine(&self.key, &profile.schedule)
            .await;
        held.is_ok_and(|held| held.is_some_and(|held| held.next_try_at > Utc::now()))
    }
}

#[async_trait]
impl Ringer for ProfileRinger {
    async fn ready(&self) {
        self.scheduler.ready(&self.key).await;
    }

    async fn ring(&self) -> Option<Status> {
        if self.is_in_quarantine().await {
            return None; // the schedule tries it again
        }
        let (scheduler, key) = (&self.scheduler, &self.key);
        loop {
            let queued = scheduler
                .enqueue(key, Trigger::Feed, Mode::Incremental, &Actor::Relay)
                .await;
            let error = match queued {
                Ok(job) => return scheduler.awaited(key, job.id).await,
                Err(Refused::Running(_)) => {
                    scheduler.ready(key).await;
                    if !scheduler.table().contains_key(key) {
                        continue;
                    }
                    match scheduler.overtake(key).await {
                        Ok(()) => return Some(Status::Running),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::debug!(profile = %key, error = %error, "a change could not be followed at once");
            return None;
        }
    }
}
