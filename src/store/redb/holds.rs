//! Held steps, decisions on plans, and the ledger of what was done.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use redb::{ReadTransaction, WriteTransaction};

use super::failure::Failure;
use super::tables::{DirectoryTables, LEDGERS, Source as _, open_read, open_write};
use super::{Commit, RedbStore};
use super::{audit, codec, jobs, lease, plans, seen};
use crate::audit::Event;
use crate::id::{DirectoryId, JobId, ProfileKey};
use crate::identity::RowKey;
use crate::job::Job;
use crate::plan::held::{Held, HeldBy, HoldKey};
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
        changed_at: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let (lease, profile) = (*lease, profile.clone());
        self.write(Commit::Bulk, move |txn| {
            lease::check_for(txn, &lease, profile.directory)?;
            change_ledger(txn, &profile, |ledger| {
                ledger.definition_changed_at = changed_at
            })
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
        after: Option<HoldKey>,
        limit: usize,
    ) -> Result<Vec<Held>, Error> {
        self.read(move |txn| {
            let table = DirectoryTables::read(txn, directory)?.held;
            let after = after.map(|after| held_key(&after));
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
        held: Vec<HoldKey>,
        events: Vec<Event>,
    ) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| {
            let mut tables = DirectoryTables::write(txn, directory)?;
            for held in &held {
                if tables.held.remove(held_key(held).as_slice())?.is_some() {
                    tables.mark(&held.row.to_key())?;
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
    ) -> Result<bool, Error> {
        let job = job.clone();
        self.write(Commit::Outbox, move |txn| {
            if !jobs::waits(txn, job.id)? {
                return Ok(false);
            }
            settle_waiting(txn, job.directory_id, job.id, &waiting)?;
            jobs::save(txn, &job)?;
            audit::append(txn, event.as_slice())?;
            Ok(true)
        })
        .await
    }

    async fn end_plan(&self, lease: &Lease, job: JobId) -> Result<(), Error> {
        let lease = *lease;
        self.write(Commit::Outbox, move |txn| {
            settle_waiting(txn, lease.directory, job, &Waiting::Ends)?;
            plans::drop_plan(txn, &lease, job)
        })
        .await
    }
}

pub(super) fn held_key(held: &HoldKey) -> Vec<u8> {
    let end = held_key_end(held.job, held.by_person);
    [&codec::row_prefix(&held.row.to_key())[..], &end].concat()
}

fn held_key_end(job: JobId, by_person: bool) -> Vec<u8> {
    [&codec::job_key(job)[..], &[u8::from(by_person)]].concat()
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
        let Some(its) = held.key() else {
            continue;
        };
        let key = held_key(&its);
        let mut all = held.clone();
        let before = tables.held.read(&key, codec::decode::<Held>)?;
        // Of an undo a part went out at once, and the rest after somebody decided: both are kept.
        if let Some(before) = before {
            all.steps = [before.steps, all.steps].concat();
        }
        let record = codec::encode(&all)?;
        tables.held.insert(key.as_slice(), record.as_slice())?;
        tables.mark(&its.row.to_key())?;
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
    let mut its: Vec<(Vec<u8>, Held)> = Vec::new();
    let end = held_key_end(job, false);
    for entry in tables.held.after(None)? {
        let (key, record) = entry?;
        if key.value().ends_with(&end) {
            its.push((key.value().to_vec(), codec::decode(record.value())?));
        }
    }
    let mut rejected = Vec::new();
    for (key, held) in its {
        tables.held.remove(key.as_slice())?;
        if let Some(row) = held.row() {
            tables.mark(&row.to_key())?;
        }
        if let Waiting::Rejected { who, fingerprint } = waiting {
            let by = HeldBy::Person {
                undone: false,
                who: who.clone(),
                fingerprint: *fingerprint,
            };
            rejected.push(Held { by, ..held });
        }
    }
    drop(tables);
    hold(txn, directory, &rejected)
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
