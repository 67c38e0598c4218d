//! Entries that are there and could not be read: no feed tells of them again, so they are read again with whatever it tells next.

use std::collections::BTreeSet;

use crate::identity::RowKey;
use crate::identity::feed::Hint;
use crate::identity::known::Known;
use crate::identity::observation::Look;
use crate::store::Lease;
use crate::sync::feed::changes::own_present;
use crate::sync::proof::Reader;
use crate::sync::{Error, Relay};

/// So many are remembered; where there are more, the next run reads everything.
const UNREAD_MAX: usize = 1_000;

/// What is to be read beside what a feed names. That it could not be read was told before.
pub(super) async fn hints(relay: &Relay, reader: &Reader<'_>) -> Result<Vec<Hint>, Error> {
    let unread = relay.store.unread(&relay.key()).await?;
    reader.was_told(&unread).await;
    let hint = |key: RowKey| Hint {
        anchor: key.anchor,
        container: false,
    };
    Ok(unread.into_iter().map(hint).collect())
}

/// Keeps what the read of some entries could not use. Where it did not come to its end, what was to be read stays to be read.
/// Answers whether all of it is kept.
pub(super) async fn keep_after_changes(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    complete: bool,
) -> Result<bool, Error> {
    let mut unread = reader.unread().await;
    if !complete {
        unread.extend(relay.store.unread(&relay.key()).await?);
    }
    save(relay, lease, unread).await
}

/// Keeps what a read of everything could not use, and what it passed over of what could not be read before: that is looked at.
/// Answers whether all of it is kept.
pub(in crate::sync) async fn keep_after_full_read(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    known: &Known,
) -> Result<bool, Error> {
    let mut unread = reader.unread().await;
    let before = relay.store.unread(&relay.key()).await?;
    let rows = relay.rows(before).await?;
    for row in rows.iter().filter(|row| !unread.contains(&row.key)) {
        let is_known = own_present(relay, row).is_some();
        if is_known && known.was_met(&row.key) {
            continue;
        }
        let look = reader.look_in(&relay.profile.name, &row.key).await;
        if !matches!(look, Ok(None | Some(Look::Absent))) {
            reader.could_not_read(row.key.clone()).await;
        }
    }
    unread.extend(reader.unread().await);
    save(relay, lease, unread).await
}

/// Keeps as many as are remembered; answers whether that is all of them.
async fn save(relay: &Relay, lease: &Lease, unread: BTreeSet<RowKey>) -> Result<bool, Error> {
    let all = unread.len() <= UNREAD_MAX;
    let unread: Vec<RowKey> = unread.into_iter().take(UNREAD_MAX).collect();
    if unread != relay.store.unread(&relay.key()).await? {
        let store = &relay.store;
        store.save_unread(lease, &relay.key(), unread).await?;
    }
    Ok(all)
}
