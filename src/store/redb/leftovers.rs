//! Leftovers: the steps and lines of jobs that are forgotten, which leave the file in parts, because there may be a million of
//! them, and a leaver's suspension waits for the one writer.

use redb::{Database, ReadTransaction, ReadableDatabase as _, WriteTransaction};

use super::codec;
use super::commit::{self, Commit};
use super::failure::Failure;
use super::tables::{JOURNAL, JOURNAL_LEFT, STEPS, STEPS_LEFT, Source as _, open_read, open_write};
use crate::id::JobId;

/// Rows that are removed in one transaction, which takes about a hundredth of a second.
pub(super) const PART: usize = 2_000;

/// Rows of a job that are few enough to go at once: an ordinary run leaves nothing behind, and needs no transaction for it.
pub(super) const AT_ONCE: usize = 100;

/// What a job may have very many of, in a table whose keys begin with the job.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    /// The steps of its plan.
    Steps,
    /// The lines of its journal.
    Lines,
}

impl Rows {
    const ALL: [Self; 2] = [Self::Steps, Self::Lines];

    fn table(self) -> &'static str {
        match self {
            Self::Steps => STEPS,
            Self::Lines => JOURNAL,
        }
    }

    /// The list of the jobs whose rows are forgotten.
    fn list(self) -> &'static str {
        match self {
            Self::Steps => STEPS_LEFT,
            Self::Lines => JOURNAL_LEFT,
        }
    }
}

/// Forgets all rows of a job: nobody reads them from here on. A few are removed, many when the writer finds time.
pub(super) fn forget(txn: &WriteTransaction, rows: Rows, job: JobId) -> Result<(), Failure> {
    let key = codec::job_key(job);
    if keys(txn, rows, &key, AT_ONCE + 1)?.len() > AT_ONCE {
        open_write(txn, rows.list())?.insert(key.as_slice(), [].as_slice())?;
    } else {
        remove(txn, rows, &key, AT_ONCE)?;
    }
    Ok(())
}

/// Whether what is there of a job's rows is forgotten.
pub(super) fn are_forgotten(
    txn: &ReadTransaction,
    rows: Rows,
    job: JobId,
) -> Result<bool, Failure> {
    open_read(txn, rows.list())?.has(&codec::job_key(job))
}

/// Removes at once what is forgotten of a job that writes such rows again: one that overtakes makes two plans.
pub(super) fn clear(txn: &WriteTransaction, rows: Rows, job: JobId) -> Result<(), Failure> {
    let key = codec::job_key(job);
    let mut list = open_write(txn, rows.list())?;
    if list.has(&key)? {
        remove(txn, rows, &key, usize::MAX)?;
        list.remove(key.as_slice())?;
    }
    Ok(())
}

/// Removes one part of what is forgotten; answers whether there was anything.
pub(super) fn remove_part(database: &Database) -> Result<bool, Failure> {
    if !is_any(&database.begin_read()?)? {
        return Ok(false);
    }
    commit::transact(database, Commit::Outbox, part)?;
    Ok(true)
}

fn is_any(txn: &ReadTransaction) -> Result<bool, Failure> {
    for rows in Rows::ALL {
        if open_read(txn, rows.list())?.after(None)?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn part(txn: &WriteTransaction) -> Result<(), Failure> {
    let mut room = PART;
    for rows in Rows::ALL {
        let mut list = open_write(txn, rows.list())?;
        while room > 0 {
            let first = list.after(None)?.next().transpose()?;
            let Some(job) = first.map(|(job, _)| job.value().to_vec()) else {
                break;
            };
            room -= remove(txn, rows, &job, room)?;
            if room > 0 {
                list.remove(job.as_slice())?;
            }
        }
    }
    Ok(())
}

/// Removes rows of a job; answers how many there were, up to `most`.
fn remove(txn: &WriteTransaction, rows: Rows, job: &[u8], most: usize) -> Result<usize, Failure> {
    let keys = keys(txn, rows, job, most)?;
    let mut table = open_write(txn, rows.table())?;
    for key in &keys {
        table.remove(key.as_slice())?;
    }
    Ok(keys.len())
}

/// The keys of a job's rows, up to `most`.
fn keys(
    txn: &WriteTransaction,
    rows: Rows,
    job: &[u8],
    most: usize,
) -> Result<Vec<Vec<u8>>, Failure> {
    let table = open_write(txn, rows.table())?;
    let keys = table.starting_with(job)?.take(most);
    keys.map(|row| Ok(row?.0.value().to_vec())).collect()
}
