//! What the store keeps of change feeds: where each profile stands.

use async_trait::async_trait;

use crate::id::ProfileKey;
use crate::identity::RowKey;
use crate::snapshot::FeedState;
use crate::store::{Error, Lease};

/// Where profiles stand in the change feeds of their directories.
#[async_trait]
pub trait Feeds {
    /// Where a profile stands in the change feed; the default for one that never read it.
    async fn feed_state(&self, profile: &ProfileKey) -> Result<FeedState, Error>;

    /// Replaces where a profile stands in the change feed. What the feed gave must be written before.
    async fn save_feed_state(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        state: &FeedState,
    ) -> Result<(), Error>;

    /// The entries of a profile that are there and could not be read the last time; no feed tells of them again.
    async fn unread(&self, profile: &ProfileKey) -> Result<Vec<RowKey>, Error>;

    /// Replaces them.
    async fn save_unread(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        unread: Vec<RowKey>,
    ) -> Result<(), Error>;
}
