//! Where profiles stand in the change feeds of their directories.

use async_trait::async_trait;
use redb::{ReadTransaction, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec;
use super::failure::Failure;
use super::lease;
use super::tables::{Source as _, enlist, of_profile, open_read, open_write};
use super::{Commit, RedbStore};
use crate::id::ProfileKey;
use crate::identity::RowKey;
use crate::snapshot::FeedState;
use crate::store::feeds::Feeds;
use crate::store::{Error, Lease};

/// The table, one for each profile, so that it goes with the profile.
const FEED: &str = "feed";
/// Its keys: where the profile stands, and what could not be read.
const STATE: &[u8] = b"state";
const UNREAD: &[u8] = b"unread";

#[async_trait]
impl Feeds for RedbStore {
    async fn feed_state(&self, profile: &ProfileKey) -> Result<FeedState, Error> {
        let profile = profile.clone();
        self.read(move |txn| load(txn, &profile, STATE)).await
    }

    async fn save_feed_state(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        state: &FeedState,
    ) -> Result<(), Error> {
        let (lease, profile, state) = (*lease, profile.clone(), state.clone());
        self.write(Commit::Later, move |txn| {
            save(txn, &lease, &profile, STATE, &state)
        })
        .await
    }

    async fn unread(&self, profile: &ProfileKey) -> Result<Vec<RowKey>, Error> {
        let profile = profile.clone();
        self.read(move |txn| load(txn, &profile, UNREAD)).await
    }

    async fn save_unread(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        unread: Vec<RowKey>,
    ) -> Result<(), Error> {
        let (lease, profile) = (*lease, profile.clone());
        self.write(Commit::of_rows(unread.len()), move |txn| {
            save(txn, &lease, &profile, UNREAD, &unread)
        })
        .await
    }
}

/// What a profile knows of the feed under a key.
fn load<T: DeserializeOwned + Default>(
    txn: &ReadTransaction,
    profile: &ProfileKey,
    key: &[u8],
) -> Result<T, Failure> {
    let table = open_read(txn, &of_profile(profile, FEED))?;
    Ok(table.read(key, codec::decode)?.unwrap_or_default())
}

/// Replaces it.
fn save(
    txn: &WriteTransaction,
    lease: &Lease,
    profile: &ProfileKey,
    key: &[u8],
    value: &impl Serialize,
) -> Result<(), Failure> {
    lease::check_for(txn, lease, profile.directory)?;
    enlist(txn, profile)?;
    let record = codec::encode(value)?;
    open_write(txn, &of_profile(profile, FEED))?.insert(key, record.as_slice())?;
    Ok(())
}
