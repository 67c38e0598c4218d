//! Commits: how durable each is, and one write transaction from its beginning to its end.

use redb::{Database, WriteTransaction};

use super::failure::Failure;

/// How a commit is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// In two phases.
    Bulk,
    /// In two phases, and such that opening after a crash takes milliseconds, for a little more work now: for small
    /// writes that something outside depends on.
    Outbox,
}

/// Carries out a write transaction.
pub(super) fn transact<T>(
    database: &Database,
    commit: Commit,
    work: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut txn = database.begin_write()?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(commit == Commit::Outbox);
    let result = work(&txn)?;
    txn.commit()?;
    Ok(result)
}
