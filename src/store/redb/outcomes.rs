//! What last became of each row: when the target acknowledged a change, what stands in the way, and what was refused how often.

use chrono::{DateTime, Utc};
use redb::{ReadTransaction, WriteTransaction};
use serde::Deserialize;

use super::codec;
use super::failure::Failure;
use super::lease;
use super::tables::{DirectoryTables, Source, WriteTable};
use crate::id::DirectoryId;
use crate::identity::RowKey;
use crate::plan::backoff::{self, Rejection};
use crate::snapshot::{LastOutcome, RowError};
use crate::store::Lease;
use crate::store::jobs::Change;

/// What was kept before refusals were counted.
#[derive(Deserialize)]
struct WithoutRefusals {
    changed_at: Option<DateTime<Utc>>,
    error: Option<RowError>,
}

/// Reads what last became of a row. A record of an earlier version is one that ends before the refusals.
pub(super) fn decode(bytes: &[u8]) -> Result<LastOutcome, Failure> {
    codec::decode(bytes).or_else(|_| {
        let WithoutRefusals { changed_at, error } = codec::decode(bytes)?;
        Ok(LastOutcome {
            changed_at,
            error,
            refused: Vec::new(),
        })
    })
}

fn read(table: &impl Source, row: &[u8]) -> Result<LastOutcome, Failure> {
    Ok(table.read(row, decode)?.unwrap_or_default())
}

fn put(table: &mut WriteTable<'_>, row: &[u8], outcome: &LastOutcome) -> Result<(), Failure> {
    let record = codec::encode(outcome)?;
    table.insert(row, record.as_slice())?;
    Ok(())
}

/// Takes in a change that was sent, by the `first` request of its step or another one.
pub(super) fn note_change(
    table: &mut WriteTable<'_>,
    row: &[u8],
    change: &Change,
    rejection: Option<Rejection>,
    first: bool,
) -> Result<(), Failure> {
    let mut outcome = read(table, row)?;
    let operation = change.class.as_str();
    match &change.error {
        None => {
            outcome.changed_at = Some(change.at);
            outcome.error = outcome.error.filter(|error| error.operation != operation);
            outcome
                .refused
                .retain(|refused| refused.error.operation != operation);
        }
        // What stops a run says nothing of the row; it is with the job.
        Some(error) if error.fault.stops_the_run() => return Ok(()),
        Some(error) => {
            let error = RowError {
                at: change.at,
                operation: operation.to_owned(),
                fault: error.fault,
                status: error.status,
                detail: error.detail.clone(),
                sent: true,
            };
            let is_known = outcome.error.as_ref().is_some_and(|known| known.is(&error));
            if is_known && rejection.is_none() {
                return Ok(());
            }
            if let Some(rejection) = rejection {
                backoff::count(&mut outcome.refused, rejection, error.clone(), first);
            }
            if !is_known {
                outcome.error = Some(error);
            }
        }
    }
    put(table, row, &outcome)
}

/// A row no longer differs, so nothing stands in its way.
pub(super) fn clear_error(table: &mut WriteTable<'_>, row: &[u8]) -> Result<(), Failure> {
    let outcome = read(table, row)?;
    if outcome.error.is_none() && outcome.refused.is_empty() {
        return Ok(());
    }
    let cleared = LastOutcome {
        changed_at: outcome.changed_at,
        ..LastOutcome::default()
    };
    put(table, row, &cleared)
}

/// Those of the problems that are not known yet, and those known ones that are solved.
pub(super) fn news(
    txn: &ReadTransaction,
    directory: DirectoryId,
    problems: Vec<(RowKey, Option<RowError>)>,
) -> Result<Vec<(RowKey, Option<RowError>)>, Failure> {
    let tables = DirectoryTables::read(txn, directory)?;
    let mut news = Vec::new();
    for (row, problem) in problems {
        let known = read(&tables.outcomes, &row.to_key())?.error;
        let is_new = match (&known, &problem) {
            (Some(known), Some(problem)) => !known.is(problem),
            (None, Some(_)) => true,
            (known, None) => known.as_ref().is_some_and(|known| !known.sent),
        };
        if is_new {
            news.push((row, problem));
        }
    }
    Ok(news)
}

/// Writes problems, or that they are solved.
pub(super) fn write(
    txn: &WriteTransaction,
    lease: &Lease,
    problems: &[(RowKey, Option<RowError>)],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut tables = DirectoryTables::write(txn, lease.directory)?;
    for (row, problem) in problems {
        let row = row.to_key();
        let outcome = LastOutcome {
            error: problem.clone(),
            ..read(&tables.outcomes, &row)?
        };
        put(&mut tables.outcomes, &row, &outcome)?;
    }
    Ok(())
}
