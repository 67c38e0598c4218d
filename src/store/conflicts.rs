//! What the store keeps of conflicts: which attributes of linked resources hold another value than the directory says, and
//! which side was taken.

use async_trait::async_trait;

use crate::audit::Event;
use crate::id::{ConflictId, DirectoryId, ProfileName};
use crate::identity::RowKey;
use crate::snapshot::{Conflict, ConflictCounts, Row, Taken};
use crate::store::{Error, Lease};

/// Conflicts of attributes, and what was decided on them.
#[async_trait]
pub trait Conflicts {
    /// How many a directory has.
    async fn conflict_counts(&self, directory: DirectoryId) -> Result<ConflictCounts, Error>;

    /// Those of some rows, in the given order.
    async fn conflicts(
        &self,
        directory: DirectoryId,
        rows: Vec<RowKey>,
    ) -> Result<Vec<Vec<Conflict>>, Error>;

    /// Replaces those of rows. What a person decided meanwhile on the same values stays.
    async fn note_conflicts(
        &self,
        lease: &Lease,
        conflicts: Vec<(RowKey, Vec<Conflict>)>,
    ) -> Result<(), Error>;

    /// Rows that have any, in order of their keys, from a given one on, each with all of its own.
    async fn conflicting_rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        from: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(Row, Vec<Conflict>)>, Error>;

    /// The conflicts that have these ids, in the given order, each with its row; `None` for one that is over.
    async fn named_conflicts(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        ids: Vec<ConflictId>,
    ) -> Result<Vec<Option<(Row, Conflict)>>, Error>;

    /// Writes which side of conflicts a person took, or takes it back (`None`), each with its event in the audit log, and
    /// marks their rows as different. Such a decision is the person's and not a run's, so it needs no lease, and a run under
    /// way goes on.
    async fn decide_conflicts(
        &self,
        directory: DirectoryId,
        decisions: Vec<(ConflictId, Option<Taken>)>,
        events: Vec<Event>,
    ) -> Result<(), Error>;
}
