//! What the store keeps of itself: for which profiles it may be older than what was last written.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::ProfileKey;
use crate::store::{Error, Lease};

/// That the store may have been restored from a copy, and not everything was compared since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When that was noticed.
    pub since: DateTime<Utc>,
    /// Why it is believed and what comes of it, in words.
    pub why: String,
}

/// Part of [`crate::store::Store`].
#[async_trait]
pub trait Restorations {
    /// Why what is known of a profile may be old; `None` where there is no reason to think so.
    async fn restored(&self, profile: &ProfileKey) -> Result<Option<Restored>, Error>;

    /// Notes that a profile's directory and target were read and compared since.
    async fn note_caught_up(&self, lease: &Lease, profile: &ProfileKey) -> Result<(), Error>;
}
