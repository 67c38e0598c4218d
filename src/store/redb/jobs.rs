//! Jobs and their journals, and how long they are kept.

use std::ops::Bound;

use chrono::Utc;
use redb::{ReadTransaction, WriteTransaction};

use super::codec::{self, LineKind};
use super::failure::Failure;
use super::holds;
use super::leftovers::{self, Rows};
use super::plans;
use super::tables::{JOBS, JOURNAL, Source, WriteTable, open_read, open_write};
use crate::id::{DirectoryId, JobId, ProfileKey};
use crate::job::decision::Verdict;
use crate::job::{Job, Status};
use crate::store::holds::Waiting;
use crate::store::jobs::Change;
use crate::store::jobs::{Drift, JobFilter, JournalLine, UnsentError};

/// How many ended jobs of a directory are kept, with their plans and journals. Jobs that wait for an approval are counted
/// by themselves.
pub(super) const ENDED_JOBS_KEPT: usize = 200;

/// How many jobs of a directory that wait for an approval are kept: a guard that trips in every run must not fill the disk.
const WAITING_JOBS_KEPT: usize = 20;

/// How a job stands, as far as keeping it is concerned: the byte after the directory's id in a job's record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeping {
    Unfinished = 0,
    Ended = 1,
    Waiting = 2,
}

impl Keeping {
    fn of(status: Status) -> Self {
        match status {
            Status::AwaitingApproval => Self::Waiting,
            status if status.is_final() => Self::Ended,
            _ => Self::Unfinished,
        }
    }
}

/// The record of a job: directory and keeping can be told without reading the rest, which is JSON because `Job` is
/// flattened and postcard cannot write such a thing.
struct Record<'a> {
    directory: DirectoryId,
    keeping: u8,
    json: &'a [u8],
}

const RECORD_VERSION: u8 = 1;

impl<'a> Record<'a> {
    fn write(job: &Job) -> Result<Vec<u8>, Failure> {
        let mut record = vec![RECORD_VERSION];
        record.extend_from_slice(job.directory_id.0.as_bytes());
        record.push(Keeping::of(job.status) as u8);
        serde_json::to_writer(&mut record, job)
            .map_err(|error| Failure::defect(format!("a job cannot be written: {error}")))?;
        Ok(record)
    }

    fn read(bytes: &'a [u8]) -> Result<Self, Failure> {
        let parts = || {
            let (version, rest) = bytes.split_first()?;
            let (directory, rest) = rest.split_at_checked(16)?;
            let (keeping, json) = rest.split_first()?;
            (*version == RECORD_VERSION).then_some(())?;
            Some(Self {
                directory: codec::directory_id(directory)?,
                keeping: *keeping,
                json,
            })
        };
        parts().ok_or_else(|| Failure::corrupt("a job has a record that is not one"))
    }

    fn job(&self) -> Result<Job, Failure> {
        serde_json::from_slice(self.json)
            .map_err(|error| Failure::corrupt(format!("a job cannot be read: {error}")))
    }
}

/// Writes a job. When it has ended, an unfinished plan of it is dropped, and so are the oldest jobs.
pub(super) fn save(txn: &WriteTransaction, job: &Job) -> Result<(), Failure> {
    let record = Record::write(job)?;
    open_write(txn, JOBS)?.insert(codec::job_key(job.id).as_slice(), record.as_slice())?;
    if job.status.is_final() {
        if !plans::is_sealed(txn, job.id)? {
            plans::remove(txn, job.id)?;
        }
        prune(txn, job.directory_id)?;
    }
    Ok(())
}

fn prune(txn: &WriteTransaction, directory: DirectoryId) -> Result<(), Failure> {
    let mut jobs = open_write(txn, JOBS)?;
    let (mut ended, mut waiting) = (Vec::new(), Vec::new());
    for entry in jobs.between(Bound::Unbounded, Bound::Unbounded)?.rev() {
        let (key, record) = entry?;
        let record = Record::read(record.value())?;
        if record.directory != directory {
            continue;
        }
        if record.keeping == Keeping::Ended as u8 {
            ended.push(job_id(key.value())?);
        } else if record.keeping == Keeping::Waiting as u8 {
            waiting.push(job_id(key.value())?);
        }
    }
    let old = ended.into_iter().skip(ENDED_JOBS_KEPT);
    let forgotten: Vec<JobId> = waiting.into_iter().skip(WAITING_JOBS_KEPT).collect();
    for job in old.chain(forgotten.iter().copied()) {
        remove(txn, &mut jobs, job)?;
    }
    // Nobody can decide on them any more.
    let ends = |job: JobId| holds::settle_waiting(txn, directory, job, &Waiting::Ends);
    forgotten.into_iter().try_for_each(ends)
}

/// Ends the wait for plans of a profile that is not there any more: what waits there is the next profile's.
pub(super) fn withdraw_all(txn: &WriteTransaction, profile: &ProfileKey) -> Result<(), Failure> {
    let mut waiting = Vec::new();
    for entry in open_write(txn, JOBS)?.between(Bound::Unbounded, Bound::Unbounded)? {
        let (_, record) = entry?;
        let record = Record::read(record.value())?;
        if record.directory == profile.directory && record.keeping == Keeping::Waiting as u8 {
            let job = record.job()?;
            waiting.extend((job.profile == profile.profile).then_some(job));
        }
    }
    for mut job in waiting {
        holds::settle_waiting(txn, profile.directory, job.id, &Waiting::Ends)?;
        job.close(Verdict::Withdrawn, "relay".to_owned(), Utc::now());
        save(txn, &job)?;
    }
    Ok(())
}

/// Removes all jobs of a directory.
pub(super) fn remove_all(txn: &WriteTransaction, directory: DirectoryId) -> Result<(), Failure> {
    let mut jobs = open_write(txn, JOBS)?;
    let mut its = Vec::new();
    for entry in jobs.after(None)? {
        let (key, record) = entry?;
        if Record::read(record.value())?.directory == directory {
            its.push(job_id(key.value())?);
        }
    }
    its.into_iter()
        .try_for_each(|job| remove(txn, &mut jobs, job))
}

/// Removes a job; its plan and its journal are forgotten with it.
fn remove(txn: &WriteTransaction, jobs: &mut WriteTable<'_>, job: JobId) -> Result<(), Failure> {
    jobs.remove(codec::job_key(job).as_slice())?;
    plans::remove(txn, job)?;
    leftovers::forget(txn, Rows::Lines, job)
}

fn job_id(key: &[u8]) -> Result<JobId, Failure> {
    uuid::Uuid::from_slice(key)
        .map(JobId)
        .map_err(|_| Failure::corrupt("a job has a key that is not one"))
}

/// A job by id.
pub(super) fn job(txn: &ReadTransaction, id: JobId) -> Result<Option<Job>, Failure> {
    open_read(txn, JOBS)?.read(&codec::job_key(id), |record| Record::read(record)?.job())
}

/// Whether a job waits for an approval.
pub(super) fn waits(txn: &WriteTransaction, id: JobId) -> Result<bool, Failure> {
    let keeping = |record: &[u8]| Ok(Record::read(record)?.keeping);
    let keeping = open_write(txn, JOBS)?.read(&codec::job_key(id), keeping)?;
    Ok(keeping == Some(Keeping::Waiting as u8))
}

/// Jobs, newest first.
pub(super) fn jobs(
    txn: &ReadTransaction,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: usize,
) -> Result<Vec<Job>, Failure> {
    let before = before.map(codec::job_key);
    let to = before
        .as_ref()
        .map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
    let table = open_read(txn, JOBS)?;
    let mut entries = table.between(Bound::Unbounded, to)?.rev();
    let mut jobs = Vec::new();
    while jobs.len() < limit {
        let Some(entry) = entries.next() else { break };
        let entry = entry?;
        let record = Record::read(entry.1.value())?;
        let of_directory = |directory| directory == record.directory;
        if filter.directory.is_none_or(of_directory) {
            let job = record.job()?;
            if filter.is_older_than(&job) {
                break;
            }
            jobs.extend(filter.admits(&job).then_some(job));
        }
    }
    Ok(jobs)
}

/// Jobs that have not ended, oldest first.
pub(super) fn unfinished(txn: &ReadTransaction) -> Result<Vec<Job>, Failure> {
    let mut jobs = Vec::new();
    for entry in open_read(txn, JOBS)?.after(None)? {
        let entry = entry?;
        let record = Record::read(entry.1.value())?;
        if record.keeping == Keeping::Unfinished as u8 {
            jobs.push(record.job()?);
        }
    }
    Ok(jobs)
}

/// A job's journal, open at its end.
pub(super) struct Journal<'t> {
    table: WriteTable<'t>,
    job: JobId,
    next: u64,
}

impl<'t> Journal<'t> {
    /// Opens it.
    pub(super) fn open(txn: &'t WriteTransaction, job: JobId) -> Result<Self, Failure> {
        let table = open_write(txn, JOURNAL)?;
        let (first, last) = (codec::line_key(job, 0), codec::line_key(job, u64::MAX));
        let next = {
            let mut lines = table.between(Bound::Included(&first), Bound::Excluded(&last))?;
            match lines.next_back() {
                Some(line) => codec::line_of_key(line?.0.value())?.0 + 1,
                None => 0,
            }
        };
        Ok(Self { table, job, next })
    }

    /// Adds a change that was sent.
    pub(super) fn append(&mut self, change: &Change) -> Result<(), Failure> {
        self.insert(codec::line_key(self.job, self.next), codec::encode(change)?)
    }

    /// Adds an error that led to no request.
    fn append_unsent(&mut self, error: &UnsentError) -> Result<(), Failure> {
        let key = codec::unsent_key(self.job, self.next);
        self.insert(key, codec::encode(error)?)
    }

    /// Adds what the target was found to hold otherwise.
    fn append_drift(&mut self, drift: &Drift) -> Result<(), Failure> {
        let key = codec::drift_key(self.job, self.next);
        self.insert(key, codec::encode(drift)?)
    }

    fn insert(&mut self, key: Vec<u8>, record: Vec<u8>) -> Result<(), Failure> {
        self.table.insert(key.as_slice(), record.as_slice())?;
        self.next += 1;
        Ok(())
    }
}

/// Adds errors that led to no request to a job's journal.
pub(super) fn note_unsent(
    txn: &WriteTransaction,
    job: JobId,
    errors: &[UnsentError],
) -> Result<(), Failure> {
    let mut journal = Journal::open(txn, job)?;
    errors
        .iter()
        .try_for_each(|error| journal.append_unsent(error))
}

/// Adds what the target was found to hold otherwise to a job's journal.
pub(super) fn note_drift(
    txn: &WriteTransaction,
    job: JobId,
    lines: &[Drift],
) -> Result<(), Failure> {
    let mut journal = Journal::open(txn, job)?;
    lines.iter().try_for_each(|line| journal.append_drift(line))
}

/// Lines of a job's journal.
pub(super) fn changes(
    txn: &ReadTransaction,
    job: JobId,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, JournalLine)>, Failure> {
    if leftovers::are_forgotten(txn, Rows::Lines, job)? {
        return Ok(Vec::new());
    }
    let table = open_read(txn, JOURNAL)?;
    let first = after.map_or(0, |number| number.saturating_add(1));
    let (from, to) = (codec::line_key(job, first), codec::line_key(job, u64::MAX));
    let lines = table.between(Bound::Included(&from), Bound::Excluded(&to))?;
    lines
        .take(limit)
        .map(|entry| {
            let (key, line) = entry?;
            let (number, kind) = codec::line_of_key(key.value())?;
            let line = match kind {
                LineKind::Sent => JournalLine::Sent(codec::decode(line.value())?),
                LineKind::Unsent => JournalLine::Unsent(codec::decode(line.value())?),
                LineKind::Drift => JournalLine::Drift(codec::decode(line.value())?),
            };
            Ok((number, line))
        })
        .collect()
}
