//! Entries that are there and could not be read: no feed tells of them again, so they are read again with whatever it tells next.

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

/// What is to be read beside what a feed names.
pub(super) async fn hints(relay: &Relay) -> Result<Vec<Hint>, Error> {
    let unread = relay.store.unread(&relay.key()).await?;
    let hint = |key: RowKey| Hint {
        anchor: key.anchor,
        container: false,
    };
    Ok(unread.into_iter().map(hint).collect())
}

/// Keeps what the read of some entries could not use. Where it did not come to its end, what was to be read stays to be read.
pub(super) async fn keep_after_changes(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    complete: bool,
) -> Result<(), Error> {
    let mut unread = reader.unread().await;
    if !complete {
        unread.extend(relay.store.unread(&relay.key()).await?);
    }
    let unread = unread.into_iter().take(UNREAD_MAX).collect();
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
    let all = unread.len() <= UNREAD_MAX;
    let unread = unread.into_iter().take(UNREAD_MAX).collect();
    save(relay, lease, unread).await?;
    Ok(all)
}

async fn save(relay: &Relay, lease: &Lease, unread: Vec<RowKey>) -> Result<(), Error> {
    if unread == relay.store.unread(&relay.key()).await? {
        return Ok(());
    }
    Ok(relay.store.save_unread(lease, &relay.key(), unread).await?)
}
