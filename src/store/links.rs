//! What the store keeps of matches at the target: which rows have one, and what persons decided on it.

use async_trait::async_trait;

use crate::audit::Event;
use crate::id::{DirectoryId, ProfileName};
use crate::identity::RowKey;
use crate::snapshot::{LinkDecision, Row};
use crate::store::Error;

/// Matches at the target, and what persons decided on them.
#[async_trait]
pub trait Links {
    /// Rows that are not linked and have a match, in order of their keys, after a given one.
    async fn matched_rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<Row>, Error>;

    /// Writes what a person decided on matches, or takes it back (`None`), each with its event in the audit log, and marks
    /// the rows as different. Decisions are the person's and not a run's, so they need no lease, and a run under way goes on.
    async fn decide_links(
        &self,
        directory: DirectoryId,
        decisions: Vec<(RowKey, Option<LinkDecision>)>,
        events: Vec<Event>,
    ) -> Result<(), Error>;
}
