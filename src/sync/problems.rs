//! Problems: what stands in the way of rows while they are planned; recorded with the job, and kept with the row.

use std::collections::BTreeSet;

use chrono::Utc;

use crate::identity::RowKey;
use crate::job::ObjectError;
use crate::snapshot::{Row, RowError};
use crate::store::Lease;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay};

/// What one plan meets.
pub(super) struct Problems<'a> {
    relay: &'a Relay,
    lease: &'a Lease,
    tracker: &'a Tracker,
    met: Vec<(RowKey, Option<RowError>)>,
    /// Rows that had a problem and have none now, as far as the plan has come: a name may still turn out to be wanted
    /// by somebody else.
    solved: BTreeSet<RowKey>,
}

impl<'a> Problems<'a> {
    /// None yet.
    pub(super) fn new(relay: &'a Relay, lease: &'a Lease, tracker: &'a Tracker) -> Self {
        Self {
            relay,
            lease,
            tracker,
            met: Vec::new(),
            solved: BTreeSet::new(),
        }
    }

    /// A row cannot be planned.
    pub(super) async fn add(&mut self, key: &RowKey, error: ObjectError) {
        let problem = RowError {
            at: Utc::now(),
            operation: error.operation.clone(),
            fault: error.fault,
            status: error.status,
            detail: error.detail.clone(),
            sent: false,
        };
        self.solved.remove(key);
        self.met.push((key.clone(), Some(problem)));
        self.tracker.record(error).await;
    }

    /// A row can be planned.
    pub(super) fn none(&mut self, row: &Row) {
        if row.last.error.as_ref().is_some_and(|error| !error.sent) {
            self.solved.insert(row.key.clone());
        }
    }

    /// Keeps with the rows what was met so far.
    pub(super) async fn keep(&mut self) -> Result<(), Error> {
        let met = std::mem::take(&mut self.met);
        self.note(met).await
    }

    /// The plan is made: what is solved stays so.
    pub(super) async fn close(&mut self) -> Result<(), Error> {
        let solved = std::mem::take(&mut self.solved);
        self.note(solved.into_iter().map(|row| (row, None)).collect())
            .await
    }

    async fn note(&self, problems: Vec<(RowKey, Option<RowError>)>) -> Result<(), Error> {
        if problems.is_empty() {
            return Ok(());
        }
        Ok(self.relay.store.note_problems(self.lease, problems).await?)
    }
}
