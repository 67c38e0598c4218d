//! What waits on rows, or was refused by a person: it is not planned again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use chrono::Utc;

use crate::id::{JobId, ProfileName};
use crate::identity::RowKey;
use crate::identity::digest::Digest;
use crate::job::{Job, Status};
use crate::plan::APPROVABLE;
use crate::plan::decide::Verdict;
use crate::plan::held::{self, Held, HeldBy, HoldKey};
use crate::snapshot::Row;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay};

/// Whether a plan still waits, or is being carried out. One whose job was cut off before it could ask anybody does not, and
/// neither does one that was carried out.
fn is_open(job: &Job, held: &Held, beside: bool) -> bool {
    let expired = held.since + APPROVABLE <= Utc::now() && !job.is_approved();
    let goes_on = || {
        let ended = matches!(
            job.status,
            Status::Completed | Status::CompletedWithErrors | Status::Failed | Status::Cancelled
        );
        job.is_approved() && !ended
    };
    // A job that is overtaken holds what it held, though it has not come to its end.
    let waits = job.status == Status::AwaitingApproval || (beside && job.status == Status::Running);
    (waits && !expired) || goes_on()
}

/// What is held of the rows that are being planned.
pub(super) struct HeldRows {
    /// Of the profiles for which persons decided.
    fingerprints: HashMap<ProfileName, Option<Digest>>,
    /// Whether the run overtakes another one.
    beside: bool,
    /// Of the rows of this turn.
    held: HashMap<RowKey, Vec<Held>>,
    /// Whether somebody can still decide on the plan of a job, or has approved it.
    open: HashMap<JobId, bool>,
    /// What means nothing any more.
    released: Vec<HoldKey>,
    /// How many rows wait with the plan of each job.
    waiting: BTreeMap<JobId, u64>,
    /// How many rows a person left alone.
    refused: u64,
    /// Whether what means nothing any more is kept: the run sends nothing, or has not looked at all that a row needs.
    keeps: bool,
}

impl HeldRows {
    /// Of a run that plans what a profile is now.
    pub(super) fn of(tracker: &Tracker) -> Self {
        let job = tracker.job();
        Self {
            fingerprints: HashMap::new(),
            beside: job.is_urgent(),
            held: HashMap::new(),
            open: HashMap::new(),
            released: Vec::new(),
            waiting: BTreeMap::new(),
            refused: 0,
            keeps: !job.applies() || job.is_urgent(),
        }
    }

    /// Looks up what is held of the rows of a turn.
    pub(super) async fn load(&mut self, relay: &Relay, rows: &[&Row]) -> Result<(), Error> {
        let keys: Vec<RowKey> = rows.iter().map(|row| row.key.clone()).collect();
        let held = relay.store.held(relay.directory.id, keys.clone()).await?;
        let some = keys.into_iter().zip(held);
        self.held = some.filter(|(_, held)| !held.is_empty()).collect();
        for held in self.held.values().flatten() {
            if held.by == HeldBy::Waiting {
                if let Entry::Vacant(unknown) = self.open.entry(held.job) {
                    let job = relay.store.job(held.job).await?;
                    unknown.insert(job.is_some_and(|job| is_open(&job, held, self.beside)));
                }
            } else if let Entry::Vacant(unknown) = self.fingerprints.entry(held.profile.clone()) {
                let key = relay.directory.profile_key(&held.profile);
                let state = relay.store.profile_state(&key).await?;
                unknown.insert(state.fingerprint);
            }
        }
        Ok(())
    }

    /// What is left of what a row needs, and whether anything of it is held.
    /// `unsure` says that the row may need more than that.
    pub(super) fn without(
        &mut self,
        key: &RowKey,
        verdict: Verdict,
        unsure: bool,
    ) -> (Verdict, bool) {
        let Some(held) = self.held.remove(key) else {
            return (verdict, false);
        };
        let (counting, over): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|held| match held.by {
                HeldBy::Waiting => self.open.get(&held.job).copied().unwrap_or_default(),
                HeldBy::Person { .. } => {
                    let now = self.fingerprints.get(&held.profile).copied();
                    held.counts(now.flatten())
                }
            });
        let (verdict, meant) = held::without(verdict, &counting, unsure);
        let mut is_held = false;
        self.released.extend(over.iter().filter_map(Held::key));
        for (held, is_meant) in counting.into_iter().zip(meant) {
            match (is_meant, &held.by) {
                (false, _) => self.released.extend(held.key()),
                (true, HeldBy::Waiting) => *self.waiting.entry(held.job).or_default() += 1,
                (true, HeldBy::Person { .. }) => self.refused += 1,
            }
            is_held |= is_meant;
        }
        (verdict, is_held)
    }

    /// Forgets what means nothing any more, and tells what waits.
    pub(super) async fn settle(&mut self, relay: &Relay) -> Result<Vec<String>, Error> {
        let released = std::mem::take(&mut self.released);
        if !released.is_empty() && !self.keeps {
            let store = &relay.store;
            store
                .release(relay.directory.id, released, Vec::new())
                .await?;
            crate::sync::waiting::withdraw(relay).await?;
        }
        Ok(self.told())
    }

    /// What waits, in words.
    pub(super) fn told(&self) -> Vec<String> {
        let waiting = self.waiting.iter().map(|(job, count)| {
            format!("{count} users and groups wait for a decision on the plan of job {job}")
        });
        let mut told: Vec<String> = waiting.collect();
        if self.refused > 0 {
            let count = self.refused;
            told.push(format!(
                "{count} users and groups are left as they are, because somebody rejected or undid their changes"
            ));
        }
        told
    }
}
