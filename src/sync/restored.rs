//! Restored: a store that may be older than what was last written is compared with directory and target before it is believed.

use std::collections::HashMap;

use chrono::{TimeDelta, Utc};
use serde_json::Value as Json;

use crate::identity::{Kind, RowKey};
use crate::scim::resource::Found;
use crate::store::Lease;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay, target};

/// How long removals wait at the most for a run that ends without errors: whoever leaves must not wait for ever.
const WAITS_MOST: TimeDelta = TimeDelta::days(1);
/// Rows looked at in one turn.
const ROWS_PER_TURN: usize = 1_000;
/// Accounts that are named in one warning.
const NAMED_MOST: usize = 10;

/// Whether the profile was not compared since the store was noticed to be another one.
pub(super) async fn is_noted(relay: &Relay) -> Result<bool, Error> {
    Ok(relay.store.restored(&relay.key()).await?.is_some())
}

/// Says so with the job.
pub(super) async fn tell(relay: &Relay, tracker: &Tracker) -> Result<(), Error> {
    if let Some(restored) = relay.store.restored(&relay.key()).await? {
        tracker.update(|job| job.warnings.push(restored.why));
    }
    Ok(())
}

/// A run of everything has compared all there is, and linked what it found: from here on the store is believed.
pub(super) async fn settle(relay: &Relay, lease: &Lease, tracker: &Tracker) -> Result<(), Error> {
    let job = tracker.job();
    if job.is_part() {
        return Ok(());
    }
    let (store, key) = (&relay.store, relay.key());
    let Some(restored) = store.restored(&key).await? else {
        return Ok(());
    };
    // What stands in the way of single rows keeps nobody else waiting.
    let observed = store.profile_state(&key).await?.last_observed;
    let is_sound = job.complete_read == Some(true) && observed > Some(restored.since);
    if is_sound || restored.since + WAITS_MOST <= Utc::now() {
        store.note_caught_up(lease, &key).await?;
    }
    Ok(())
}

/// Forgets links to resources that bear another externalId than they were given, and takes them out: an old store does not know
/// that they were handed on to another entry, whose they are.
pub(super) async fn unlink_handed_on(
    relay: &Relay,
    lease: &Lease,
    known: &mut Vec<(RowKey, String, Json)>,
) -> Result<Vec<Found>, Error> {
    let keys = known.iter().map(|(row, _, _)| row.clone()).collect();
    let rows = relay.rows(keys).await?;
    let mut handed_on = Vec::new();
    let mut unlinked = Vec::new();
    let mut rows = rows.into_iter();
    known.retain(|(key, _, resource)| {
        let applied = rows.next().and_then(|row| row.applied);
        let found = Found::from_json(resource);
        let is_anothers =
            applied.is_some_and(|applied| target::is_strangers(&applied, found.as_ref()));
        if is_anothers {
            unlinked.push((key.clone(), None));
            handed_on.extend(found);
        }
        !is_anothers
    });
    if !unlinked.is_empty() {
        relay.store.record_observed(lease, unlinked).await?;
    }
    Ok(handed_on)
}

/// Tells of active accounts with an externalId that no entry has, where the store may be an old one: whoever was created after the
/// copy was made, and has left since, is known to nobody else. Nothing is done about them, since they may be of other systems.
pub(super) async fn tell_of_strangers(
    relay: &Relay,
    mut free: HashMap<String, Vec<Found>>,
    tracker: &Tracker,
) -> Result<(), Error> {
    if free.is_empty() || !is_noted(relay).await? {
        return Ok(());
    }
    let (store, directory) = (&relay.store, relay.directory.id);
    let (names, mut after) = (relay.counted(), None);
    loop {
        let rows = store.listed_rows(directory, &names, Kind::User, after, ROWS_PER_TURN);
        let rows = rows.await?;
        let Some(last) = rows.last() else {
            break;
        };
        after = Some(last.key.clone());
        for row in &rows {
            free.remove(&row.key.anchor.to_string());
        }
    }
    let mut strangers: Vec<String> = free
        .into_values()
        .flatten()
        .filter(|found| found.active != Some(false))
        .map(|found| found.name.unwrap_or(found.id))
        .collect();
    if strangers.is_empty() {
        return Ok(());
    }
    strangers.sort();
    let (count, named) = (
        strangers.len(),
        &strangers[..strangers.len().min(NAMED_MOST)],
    );
    let named = named.join(", ");
    tracker.update(|job| {
        job.warnings.push(format!(
            "{count} active users of the target bear an externalId that no entry has. Those who were created after the copy of \
             the store was made and have left since are among them, and keep their access until somebody takes it away; others \
             may be of another system. Look at them: {named}{}",
            if count > NAMED_MOST { ", and others" } else { "" }
        ));
    });
    Ok(())
}
