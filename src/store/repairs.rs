//! What the store keeps of repairs: which values of linked resources were brought back, and how often in a row.

use async_trait::async_trait;

use crate::id::DirectoryId;
use crate::identity::RowKey;
use crate::snapshot::Repair;
use crate::store::{Error, Lease};

/// Repairs of the target by runs that reconcile.
#[async_trait]
pub trait Repairs {
    /// What was brought back of some rows when they were last compared, in the given order.
    async fn repairs(
        &self,
        directory: DirectoryId,
        rows: Vec<RowKey>,
    ) -> Result<Vec<Vec<Repair>>, Error>;

    /// Replaces what was brought back of rows.
    async fn note_repairs(
        &self,
        lease: &Lease,
        repairs: Vec<(RowKey, Vec<Repair>)>,
    ) -> Result<(), Error>;
}
