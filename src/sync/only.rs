//! One entry alone: it is read, or its absence proved, and nothing is concluded about any other.
//!
//! What complete reads know of the profile stays as it is, and the target's whole listing is left to a run that reads
//! everything: before it, what may belong to the entry is looked up by itself.

use chrono::Utc;

use crate::fault::Fault;
use crate::identity::digest::Digest;
use crate::identity::observation::{Look, Observation};
use crate::identity::{Anchor, Kind, MemberKey, RowKey};
use crate::job::Mode;
use crate::snapshot::{LastOutcome, Row, Standing};
use crate::source::{Names, Source};
use crate::store::Lease;
use crate::sync::proof::Reader;
use crate::sync::tracker::{Tracker, target_error};
use crate::sync::{Error, Relay, adopt, ingest, observe, ownership};

/// Reads the entry that is called so into *seen*, or marks it as absent when the directory proves that. Answers its
/// row; `None` when the entry is there and has no anchor, which is recorded as its error.
pub(super) async fn read_entry(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
    selector: &str,
) -> Result<Option<RowKey>, Error> {
    tracker.detected(
        "one_entry",
        "the job is about one entry, which is read by itself",
    );
    tracker.phase("reading").await;
    let source = reader.source().await?;
    ingest::note_server(source.as_ref(), tracker).await;
    let key = match find(relay, source.as_ref(), selector).await? {
        Found::There(Observation::Present(identity, digest)) => {
            let key = identity.key();
            tracker.update(|job| match key.kind {
                Kind::User => job.progress.users_read = 1,
                Kind::Group => job.progress.groups_read = 1,
            });
            if !is_known(relay, &key, digest).await? {
                let entries = vec![(*identity, digest)];
                ingest::record_seen(relay, lease, entries).await?;
            }
            key
        }
        Found::There(Observation::Unreadable(unreadable)) => {
            let kind = unreadable.kind;
            let anchor = unreadable.anchor.clone();
            tracker.record(ingest::unreadable_error(unreadable)).await;
            return Ok(anchor.map(|anchor| RowKey { kind, anchor }));
        }
        Found::Gone(key) => {
            let rows = vec![key.clone()];
            ingest::record_absent(relay, lease, &relay.profile.name, rows, Utc::now()).await?;
            key
        }
    };
    let rows = vec![row(relay, &key).await?];
    ownership::settle(relay, lease, reader, tracker, rows, true).await?;
    let row = row(relay, &key).await?;
    match row.owner() {
        Some((owner, _)) if !row.is_for(&relay.profile.name) => Err(Error::Only(format!(
            "{key} belongs to the profile {owner} of this directory; run that one"
        ))),
        _ => Ok(Some(key)),
    }
}

/// What became of the entry that is called so.
enum Found {
    /// It is in scope.
    There(Observation),
    /// The store knows it, and a look proves that it is not there or not in scope any more.
    Gone(RowKey),
}

/// Finds an entry in the directory; or by what the store knows of names, if it was renamed or is gone.
async fn find(relay: &Relay, source: &dyn Source, selector: &str) -> Result<Found, Error> {
    let names = names(relay);
    if let Some(found) = source.find(selector, &names).await? {
        return Ok(Found::There(found));
    }
    let known = known_row(relay, selector).await?;
    // Of groups that are not synchronized any more nothing can be proved.
    let scope = &relay.profile.scope;
    let searched = |row: &Row| match row.owner() {
        Some((_, seen)) => scope.searches_for(&seen.identity),
        None => row.key.kind == Kind::User || scope.has_groups(),
    };
    let Some(Row { key, .. }) = known.filter(searched) else {
        return Err(Error::Only(names.not_found(selector)));
    };
    let Look::Present(identity) = source.look(&key).await? else {
        return Ok(Found::Gone(key));
    };
    match source.find(&identity.dn, &Names::default()).await? {
        Some(Observation::Present(found, digest)) if found.key() == key => {
            Ok(Found::There(Observation::Present(found, digest)))
        }
        Some(unreadable @ Observation::Unreadable(_)) => Ok(Found::There(unreadable)),
        _ => Err(Error::Only(format!(
            "{key} was renamed while it was read; try again"
        ))),
    }
}

/// The attributes by which entries of a profile are called.
fn names(relay: &Relay) -> Names {
    let mapping = &relay.profile.mapping;
    Names {
        user: mapping.name_attribute(Kind::User),
        group: mapping.name_attribute(Kind::Group),
        unit: mapping.unit_name_attribute(),
    }
}

/// Whether the profile has seen the entry just as it is now.
async fn is_known(relay: &Relay, key: &RowKey, digest: Digest) -> Result<bool, Error> {
    let row = row(relay, key).await?;
    Ok(row
        .seen_by(&relay.profile.name)
        .is_some_and(|seen| seen.standing == Standing::Present && seen.digest == digest))
}

/// The row that the store knows by this anchor, DN, uid or userName.
pub(super) async fn known_row(relay: &Relay, selector: &str) -> Result<Option<Row>, Error> {
    let anchors = [
        uuid::Uuid::try_parse(selector).ok().map(Anchor::Uuid),
        Some(Anchor::Text(selector.to_owned())),
    ];
    for anchor in anchors.into_iter().flatten() {
        for kind in [Kind::User, Kind::Group] {
            let anchor = anchor.clone();
            let row = row(relay, &RowKey { kind, anchor }).await?;
            if !row.seen.is_empty() {
                return Ok(Some(row));
            }
        }
    }
    let directory = relay.directory.id;
    let profiles = relay.counted();
    let mut names = vec![MemberKey::of_uid(selector)];
    names.extend(selector.parse().map(|dn| MemberKey::of_dn(&dn)));
    let named = relay.store.named(directory, &profiles, names).await?;
    let key = match named.into_iter().flatten().next() {
        Some(key) => Some(key),
        None => relay.store.holder_of_name(directory, selector).await?,
    };
    match key {
        Some(key) => Ok(Some(row(relay, &key).await?)),
        None => Ok(None),
    }
}

async fn row(relay: &Relay, key: &RowKey) -> Result<Row, Error> {
    let names = relay.counted();
    let keys = vec![key.clone()];
    let rows = relay.store.rows(relay.directory.id, &names, keys).await?;
    Ok(rows.into_iter().next().unwrap_or_else(|| Row {
        key: key.clone(),
        seen: Vec::new(),
        applied: None,
        found: None,
        decision: None,
        last: LastOutcome::default(),
    }))
}

/// Reads what the target holds of the row: what may belong to it before first contact, its resource to reconcile.
pub(super) async fn read_resource(
    relay: &Relay,
    lease: &Lease,
    mode: Mode,
    key: &RowKey,
    tracker: &Tracker,
) -> Result<(), Error> {
    let row = row(relay, key).await?;
    let state = relay.store.profile_state(&relay.key()).await?;
    match &row.applied {
        None if state.last_observed.is_none() => {
            tracker.phase("observing").await;
            look_for_match(relay, lease, &row, tracker).await
        }
        Some(applied) if mode == Mode::Reconcile => {
            tracker.phase("observing").await;
            observe::reconcile_one(relay, lease, key, &applied.id, tracker).await
        }
        _ => Ok(()),
    }
}

/// Looks for a resource that may belong to a row which is not linked.
async fn look_for_match(
    relay: &Relay,
    lease: &Lease,
    row: &Row,
    tracker: &Tracker,
) -> Result<(), Error> {
    let Some((_, seen)) = row
        .owner()
        .filter(|(_, seen)| seen.standing == Standing::Present)
    else {
        return Ok(());
    };
    relay.provider.discover().await?;
    let desired = relay.desired(&relay.profile, &seen.identity, Utc::now());
    let wanted = desired.resource.unwrap_or_default();
    match adopt::find_match(relay, &row.key, &wanted).await {
        Ok(found) if found != row.found => {
            let found = vec![(row.key.clone(), found)];
            Ok(relay.store.record_found(lease, found).await?)
        }
        Ok(_) => Ok(()),
        Err(refusal) if refusal.fault == Fault::Rejected => {
            let dn = &seen.identity.dn;
            tracker
                .record(target_error(&row.key, dn, "link", &refusal))
                .await;
            Ok(())
        }
        Err(refusal) => Err(refusal.into()),
    }
}
