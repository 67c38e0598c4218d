//! Where profiles stand in the change feeds of their directories.

use async_trait::async_trait;
use redb::{ReadTransaction, WriteTransaction};

use super::codec;
use super::failure::Failure;
use super::lease;
use super::tables::{Source as _, enlist, of_profile, open_read, open_write};
use super::{Commit, RedbStore};
use crate::id::ProfileKey;
use crate::snapshot::FeedState;
use crate::store::feeds::Feeds;
use crate::store::{Error, Lease};

/// The table, one for each profile, so that it goes with the profile.
const FEED: &str = "feed";
/// The one key in it.
const STATE: &[u8] = b"state";

#[async_trait]
impl Feeds for RedbStore {
    async fn feed_state(&self, profile: &ProfileKey) -> Result<FeedState, Error> {
        let profile = profile.clone();
        self.read(move |txn| state(txn, &profile)).await
    }

    async fn save_feed_state(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        state: &FeedState,
    ) -> Result<(), Error> {
        let (lease, profile, state) = (*lease, profile.clone(), state.clone());
        self.write(Commit::Outbox, move |txn| {
            save(txn, &lease, &profile, &state)
        })
        .await
    }
}

/// What a profile knows of the feed.
fn state(txn: &ReadTransaction, profile: &ProfileKey) -> Result<FeedState, Failure> {
    let table = open_read(txn, &of_profile(profile, FEED))?;
    Ok(table.read(STATE, codec::decode)?.unwrap_or_default())
}

/// Replaces it.
fn save(
    txn: &WriteTransaction,
    lease: &Lease,
    profile: &ProfileKey,
    state: &FeedState,
) -> Result<(), Failure> {
    lease::check_for(txn, lease, profile.directory)?;
    enlist(txn, profile)?;
    let record = codec::encode(state)?;
    open_write(txn, &of_profile(profile, FEED))?.insert(STATE, record.as_slice())?;
    Ok(())
}
