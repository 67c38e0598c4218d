//! Listening: a profile whose directory tells of changes runs when there is one, without waiting for its schedule.

use async_trait::async_trait;
use chrono::Utc;

use crate::audit::Actor;
use crate::id::ProfileKey;
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

    /// Waits until no job of a profile runs.
    async fn idle(&self, key: &ProfileKey) {
        loop {
            let left = self.0.left.notified();
            tokio::pin!(left);
            // Counted before the table is read, so that a job which leaves in between is not missed.
            left.as_mut().enable();
            if !self.table().contains_key(key) {
                return;
            }
            left.await;
        }
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
    async fn idle(&self) {
        self.scheduler.idle(&self.key).await;
    }

    async fn ring(&self) -> Option<Status> {
        let mode = Mode::Incremental;
        if self.is_in_quarantine().await {
            return None; // the schedule tries it again
        }
        loop {
            let queued = self
                .scheduler
                .enqueue(&self.key, Trigger::Feed, mode, &Actor::Relay)
                .await;
            match queued {
                Ok(job) => {
                    self.idle().await;
                    let ended = self.scheduler.0.store.job(job.id).await;
                    return ended.ok().flatten().map(|job| job.status);
                }
                Err(Refused::Running(_)) => self.idle().await,
                Err(error) => {
                    tracing::debug!(profile = %self.key, error = %error, "a change could not be followed at once");
                    return None;
                }
            }
        }
    }
}
