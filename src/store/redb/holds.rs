//! Held steps, decisions on plans, and the ledger of what was done.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use redb::{ReadTransaction, WriteTransaction};

use super::failure::Failure;
use super::tables::{DirectoryTables, LEDGERS, Source as _, open_read, open_write};
use super::{Commit, RedbStore};
use super::{audit, codec, jobs, lease, seen};
use crate::audit::Event;
use crate::id::{DirectoryId, JobId, ProfileKey};
use crate::identity::RowKey;
use crate::job::Job;
use crate::plan::held::{Held, HeldBy};
use crate::plan::tally::{Ledger, Tally};
use crate::store::holds::{Holds, Waiting};
use crate::store::{Error, Lease};

#[async_trait]
impl Holds for RedbStore {
    async fn ledger(&self, profile: &ProfileKey) -> Result<Ledger, Error> {
        let key = codec::profile_key(profile);
        self.read(move |txn| {
            Ok(open_read(txn, LEDGERS)?
                .read(&key, codec::decode)?
                .unwrap_or_default())
        })
        .await
    }

    async fn note_definition(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        changed: bool,
    ) -> Result<(), Error> {
        let (lease, profile) = (*lease, profile.clone());
        self.write(Commit::Bulk, move |txn| {
            lease::check_for(txn, &lease, profile.directory)?;
            change_ledger(txn, &profile, |ledger| ledger.definition_changed = changed)
        })
        .await
    }

    async fn end_first_load(&self, lease: &Lease, profile: &ProfileKey) -> Result<(), Error> {
        let (lease, profile) = (*lease, profile.clone());
        self.write(Commit::Outbox, move |txn| {
            change_ledger(txn, &profile, Ledger::forget_creations)?;
            seen::change_profile_state(txn, &lease, &profile, |state| state.first_load_done = true)
        })
        .await
    }

    async fn clear_quarantine(
        &self,
        profile: &ProfileKey,
        at: DateTime<Utc>,
        event: Event,
    ) -> Result<(), Error> {
        let profile = profile.clone();
        self.write(Commit::Outbox, move |txn| {
            change_ledger(txn, &profile, |ledger| {
                ledger.quarantine_cleared_at = Some(at)
            })?;
            audit::append(txn, &[event])
        })
        .await
    }

    async fn held(
        &self,
        directory: DirectoryId,
        rows: Vec<RowKey>,
    ) -> Result<Vec<Vec<Held>>, Error> {
        self.read(move |txn| held(txn, directory, &rows)).await
    }

    async fn all_held(
        &self,
        directory: DirectoryId,
        after: Option<(RowKey, JobId)>,
        limit: usize,
    ) -> Result<Vec<Held>, Error> {
        self.read(move |txn| {
            let table = DirectoryTables::read(txn, directory)?.held;
            let after = after.map(|(row, job)| held_key(&row, job));
            let entries = table.after(after.as_deref())?;
            entries
                .take(limit)
                .map(|entry| codec::decode(entry?.1.value()))
                .collect()
        })
        .await
    }

    async fn hold(&self, lease: &Lease, held: Vec<Held>) -> Result<(), Error> {
        let lease = *lease;
        self.write(Commit::Outbox, move |txn| {
            lease::check(txn, &lease)?;
            hold(txn, lease.directory, &held)
        })
        .await
    }

    async fn release(
        &self,
        directory: DirectoryId,
        held: Vec<(RowKey, JobId)>,
        events: Vec<Event>,
    ) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| {
            let mut tables = DirectoryTables::write(txn, directory)?;
            for (row, job) in &held {
                let key = held_key(row, *job);
                if tables.held.remove(key.as_slice())?.is_some() {
                    tables.mark(&row.to_key())?;
                }
            }
            drop(tables);
            audit::append(txn, &events)
        })
        .await
    }

    async fn decide_plan(
        &self,
        job: &Job,
        waiting: Waiting,
        event: Option<Event>,
    ) -> Result<(), Error> {
        let job = job.clone();
        self.write(Commit::Outbox, move |txn| {
            settle_waiting(txn, job.directory_id, job.id, &waiting)?;
            jobs::save(txn, &job)?;
            audit::append(txn, event.as_slice())
        })
        .await
    }
}

fn held_key(row: &RowKey, job: JobId) -> Vec<u8> {
    [&codec::row_prefix(&row.to_key())[..], &codec::job_key(job)].concat()
}

fn held(
    txn: &ReadTransaction,
    directory: DirectoryId,
    rows: &[RowKey],
) -> Result<Vec<Vec<Held>>, Failure> {
    let table = DirectoryTables::read(txn, directory)?.held;
    if table.after(None)?.next().is_none() {
        return Ok(vec![Vec::new(); rows.len()]);
    }
    let of_row = |row: &RowKey| {
        let entries = table.starting_with(&codec::row_prefix(&row.to_key()))?;
        entries
            .map(|entry| codec::decode(entry?.1.value()))
            .collect()
    };
    rows.iter().map(of_row).collect()
}

/// Holds steps; what a job holds of a row already becomes more.
pub(super) fn hold(
    txn: &WriteTransaction,
    directory: DirectoryId,
    held: &[Held],
) -> Result<(), Failure> {
    let mut tables = DirectoryTables::write(txn, directory)?;
    for held in held {
        let Some(row) = crate::plan::held::row(held) else {
            continue;
        };
        let key = held_key(row, held.job);
        let mut all = held.clone();
        let before = tables.held.read(&key, codec::decode::<Held>)?;
        if let Some(before) = before.filter(|before| before.by == all.by) {
            all.steps = [before.steps, all.steps].concat();
        }
        let record = codec::encode(&all)?;
        tables.held.insert(key.as_slice(), record.as_slice())?;
        tables.mark(&row.to_key())?;
    }
    Ok(())
}

/// Decides on the steps that wait with a job's plan.
pub(super) fn settle_waiting(
    txn: &WriteTransaction,
    directory: DirectoryId,
    job: JobId,
    waiting: &Waiting,
) -> Result<(), Failure> {
    if *waiting == Waiting::Stays {
        return Ok(());
    }
    let mut tables = DirectoryTables::write(txn, directory)?;
    let mut its = Vec::new();
    for entry in tables.held.after(None)? {
        let (key, record) = entry?;
        if key.value().ends_with(&codec::job_key(job)) {
            let held: Held = codec::decode(record.value())?;
            if held.by == HeldBy::Waiting {
                its.push((key.value().to_vec(), held));
            }
        }
    }
    for (key, held) in its {
        match waiting {
            Waiting::Rejected { who, fingerprint } => {
                let by = HeldBy::Person {
                    undone: false,
                    who: who.clone(),
                    fingerprint: *fingerprint,
                };
                let record = codec::encode(&Held { by, ..held })?;
                tables.held.insert(key.as_slice(), record.as_slice())?;
            }
            Waiting::Ends | Waiting::Stays => {
                tables.held.remove(key.as_slice())?;
                if let Some(row) = crate::plan::held::row(&held) {
                    tables.mark(&row.to_key())?;
                }
            }
        }
    }
    Ok(())
}

/// Adds to what a profile did by itself.
pub(super) fn note_done(
    txn: &WriteTransaction,
    profile: &ProfileKey,
    at: DateTime<Utc>,
    done: &Tally,
) -> Result<(), Failure> {
    if done.is_empty() {
        return Ok(());
    }
    change_ledger(txn, profile, |ledger| ledger.add(at, done))
}

fn change_ledger(
    txn: &WriteTransaction,
    profile: &ProfileKey,
    change: impl FnOnce(&mut Ledger),
) -> Result<(), Failure> {
    let key = codec::profile_key(profile);
    let mut table = open_write(txn, LEDGERS)?;
    let mut ledger: Ledger = table.read(&key, codec::decode)?.unwrap_or_default();
    change(&mut ledger);
    let record = codec::encode(&ledger)?;
    table.insert(key.as_slice(), record.as_slice())?;
    Ok(())
}
