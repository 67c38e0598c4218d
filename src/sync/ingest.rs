//! Ingest: the directory is read into the *seen* column, and what the read's silence means is settled.

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::id::ProfileName;
use crate::identity::digest::{self, Digest};
use crate::identity::feed::Rung;
use crate::identity::known::Known;
use crate::identity::observation::{Coverage, Observation, ReadEnd, Statement, Unreadable};
use crate::identity::{Identity, Kind, RowKey};
use crate::job::{ObjectError, Trigger};
use crate::plan::guard;
use crate::snapshot::{Baseline, FeedState};
use crate::source::Source;
use crate::store::Lease;
use crate::sync::feed::{self, FullScan, Way, changes, unread};
use crate::sync::proof::{Reader, Whereabouts};
use crate::sync::tracker::{Tracker, row_error};
use crate::sync::{Error, Relay, roles};

/// Entries written in one transaction.
const ENTRIES_PER_WRITE: usize = 2_000;
/// Observations between the reader and the store: those of the next transaction, while one is written. A slow store holds the
/// directory's server back.
pub(super) const OBSERVATIONS_WAITING_MAX: usize = ENTRIES_PER_WRITE;
/// Rows marked absent in one transaction.
const ABSENCES_PER_WRITE: usize = 10_000;
/// Entries that are missing at another server than before and are looked for again; more of them are a matter of that server.
const MISSING_MAX: usize = 10_000;

/// Reads the directory. Whatever was read is stored; only a complete read marks what it did not meet as absent.
pub(super) async fn read_directory(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
) -> Result<(), Error> {
    tracker.phase("reading").await;
    let source = reader.source().await?;
    note_server(source.as_ref(), tracker).await;
    let scan = match feed::way(relay, reader, tracker).await? {
        Way::FullScan(scan) => scan,
        Way::Changes(hints, after) => {
            let read = changes::read(relay, lease, reader, tracker, hints, &after).await?;
            let Some(why) = read else {
                return Ok(());
            };
            FullScan::instead(relay, reader, after, why).await
        }
    };
    tracker.detected(Rung::FullScan.as_str(), scan.told());
    read_everything(relay, lease, reader, tracker, scan).await
}

/// Reads everything in scope.
async fn read_everything(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
    mut scan: FullScan,
) -> Result<(), Error> {
    let source = reader.source().await?; // a feed may have cost the connection
    let mut known = relay.store.known(&relay.key()).await?;
    let (sink, observations) = mpsc::channel(OBSERVATIONS_WAITING_MAX);
    let read = async { source.read(&mut known, sink).await.map_err(Error::from) };
    let (end, ()) = tokio::try_join!(
        read,
        write_observations(relay, lease, reader, tracker, observations)
    )?;
    let coverage = match (&end.coverage, &scan.doubt) {
        (Coverage::Complete, Some(doubt)) => Coverage::Partial(doubt.clone()),
        (coverage, _) => coverage.clone(),
    };
    tracker.update(|job| {
        job.complete_read = Some(coverage.is_complete());
        job.progress.users_read = end.users;
        job.progress.groups_read = end.groups;
    });
    let remembers_all = unread::keep_after_full_read(relay, lease, reader, &known).await?;
    let mut is_sound = true;
    match &coverage {
        Coverage::Partial(why) => {
            let detail = format!(
                "the directory was not read completely, so nothing counts as absent: {why}"
            );
            tracker
                .record(ObjectError::of_job("read", Fault::Transient, detail))
                .await;
            if end.coverage.is_complete() {
                settle_missing(relay, lease, known, &mut scan).await?;
            } else {
                reader.ended_early(Some(known)).await;
            }
        }
        Coverage::Complete => {
            let now = Utc::now();
            is_sound = mark_absent(relay, lease, reader, tracker, known, now).await?;
            note_complete_read(relay, lease, &end, now).await?;
        }
    }
    let mut after = scan.ended(end.coverage.is_complete() && is_sound);
    after.position = after.position.filter(|_| remembers_all);
    relay
        .store
        .save_feed_state(lease, &relay.key(), &after)
        .await?;
    Ok(())
}

/// Notes with the job which server answers, and why another one may be better to read from.
pub(super) async fn note_server(source: &dyn Source, tracker: &Tracker) {
    let server = source.server().await;
    tracker.update(|job| {
        job.directory_server = Some(server.label());
        job.warnings = server.warnings();
    });
}

/// Notes that a run was tried, and marks every row where scope or mapping are not what they were.
pub(super) async fn note_attempt(
    relay: &Relay,
    lease: &Lease,
    trigger: Trigger,
) -> Result<(), Error> {
    let mut state = relay.store.profile_state(&relay.key()).await?;
    let names = relay.directory.owners();
    let fingerprint = Some(fingerprint(relay, &names));
    let is_as_before = state.fingerprint == fingerprint;
    if is_as_before && trigger == Trigger::Feed {
        return Ok(()); // the schedule goes on as if the feed had told nothing
    }
    state.last_attempt = Some(Utc::now());
    if !is_as_before {
        // What is in scope now may have changed long ago, so everything is read.
        let feed = relay.store.feed_state(&relay.key()).await?;
        let feed = FeedState {
            position: None,
            ..feed
        };
        relay
            .store
            .save_feed_state(lease, &relay.key(), &feed)
            .await?;
        relay.store.mark_all_dirty(lease, &names).await?;
        if state.fingerprint.is_some() {
            let (store, key) = (&relay.store, relay.key());
            let changed_at = store.ledger(&key).await?.definition_changed_at;
            let since = changed_at.or(state.last_attempt);
            store.note_definition(lease, &key, since).await?;
        }
        state.fingerprint = fingerprint;
    }
    relay
        .store
        .save_profile_state(lease, &relay.key(), &state)
        .await?;
    Ok(())
}

/// Whether scope and mapping are what they were when the profile was last read.
pub(super) async fn is_defined_as_before(relay: &Relay) -> Result<bool, Error> {
    let state = relay.store.profile_state(&relay.key()).await?;
    let names = relay.directory.owners();
    Ok(state.fingerprint == Some(fingerprint(relay, &names)))
}

/// The digest of all that decides what is sent of an entry, and how.
pub(super) fn definition(relay: &Relay) -> Digest {
    let profile = fingerprint(relay, &relay.directory.owners());
    let dialect = format!("{:?}", relay.tenant.dialect);
    Digest(digest::short(&[&profile.0, dialect.as_bytes()]))
}

/// The profile's fingerprint, and whom units have as members in any of the directory's profiles: each entry has names for
/// that, which it gets when it is read anew, and no feed tells of it.
fn fingerprint(relay: &Relay, names: &[ProfileName]) -> Digest {
    let own = relay.profile.fingerprint(names);
    let units = &relay.source.unit_members;
    let projection = relay.tenant.dialect.projection();
    match units.is_empty() && projection.is_empty() {
        true => own,
        false => {
            let units = format!("{units:?}");
            Digest(digest::short(&[
                &own.0,
                units.as_bytes(),
                projection.as_bytes(),
            ]))
        }
    }
}

/// Writes what is read into *seen*, as it comes.
pub(super) async fn write_observations(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
    mut statements: mpsc::Receiver<Statement>,
) -> Result<(), Error> {
    let mut entries = Vec::with_capacity(ENTRIES_PER_WRITE);
    while let Some(statement) = statements.recv().await {
        match statement {
            Statement::Entry(Observation::Present(identity, digest)) => {
                entries.push((*identity, digest));
            }
            Statement::Entry(Observation::Unreadable(unreadable)) => {
                let kind = unreadable.kind;
                let is_new = match unreadable.anchor.clone() {
                    Some(anchor) => reader.could_not_read(RowKey { kind, anchor }).await,
                    None => true,
                };
                if is_new {
                    tracker.record(unreadable_error(unreadable)).await;
                }
            }
            Statement::Met { users, groups } => tracker.update(|job| {
                job.progress.users_read = users;
                job.progress.groups_read = groups;
            }),
        }
        if entries.len() == ENTRIES_PER_WRITE {
            record_seen(relay, lease, std::mem::take(&mut entries)).await?;
        }
    }
    if !entries.is_empty() {
        record_seen(relay, lease, entries).await?;
    }
    Ok(())
}

/// Writes entries into *seen*.
pub(super) async fn record_seen(
    relay: &Relay,
    lease: &Lease,
    entries: Vec<(Identity, Digest)>,
) -> Result<(), Error> {
    roles::mark_before_seen(relay, lease, entries.iter().map(|(entry, _)| entry)).await?;
    let store = &relay.store;
    Ok(store.record_seen(lease, &relay.key(), entries).await?)
}

/// Marks rows as absent for one of the directory's profiles.
pub(super) async fn record_absent(
    relay: &Relay,
    lease: &Lease,
    profile: &ProfileName,
    rows: Vec<RowKey>,
    since: DateTime<Utc>,
) -> Result<(), Error> {
    roles::mark_before_absent(relay, lease, profile, &rows).await?;
    let key = relay.directory.profile_key(profile);
    Ok(relay.store.record_absent(lease, &key, rows, since).await?)
}

/// The error of an entry that was read and cannot be used.
pub(super) fn unreadable_error(unreadable: Unreadable) -> ObjectError {
    ObjectError {
        kind: unreadable.kind.as_str().to_owned(),
        anchor: unreadable.anchor.map(|anchor| anchor.to_string()),
        dn: Some(unreadable.dn),
        operation: "read".to_owned(),
        fault: Fault::Rejected,
        status: None,
        scim_type: None,
        detail: unreadable.problem,
    }
}

/// Marks what a complete read did not meet as absent; answers whether all of it is gone as far as it was looked at.
async fn mark_absent(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
    known: Known,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    if known.unmet() == 0 {
        return Ok(true);
    }
    let mut absent = relay.store.unmet(&relay.key(), known).await?;
    let count = absent.len();
    if searches_for_groups(relay) {
        keep_groups_that_are_there(reader, tracker, &mut absent).await;
    }
    for rows in absent.chunks(ABSENCES_PER_WRITE) {
        record_absent(relay, lease, &relay.profile.name, rows.to_vec(), now).await?;
    }
    Ok(absent.len() == count)
}

/// Whether the profile searches for groups at all; of those that it does not search for no look can tell, and they stay as they are.
fn searches_for_groups(relay: &Relay) -> bool {
    relay.source.groups.is_some() || relay.source.units.is_some()
}

/// Leaves out the groups that a look finds after all, or that cannot be looked at. What is a group takes memberships and roles
/// from others when it goes, of groups that hold it and of users whom it gave a role; there its own absence is the reason, and no
/// look at them tells of it. Whether a user is gone is looked at before something is taken from him.
async fn keep_groups_that_are_there(
    reader: &Reader<'_>,
    tracker: &Tracker,
    absent: &mut Vec<RowKey>,
) {
    let groups = absent.iter().filter(|row| row.kind == Kind::Group);
    let groups: Vec<RowKey> = groups.cloned().collect();
    if groups.len() > MISSING_MAX {
        return; // a matter of the guard
    }
    for group in groups {
        let why = match reader.whereabouts(&group).await {
            Ok(Whereabouts::Gone | Whereabouts::Elsewhere(_)) => continue,
            Ok(Whereabouts::Here(_)) => {
                "the group was missing when the directory was read, but it is there".to_owned()
            }
            Err(error) => format!("whether the group is still there is not known: {error}"),
        };
        absent.retain(|row| *row != group);
        reader.could_not_read(group.clone()).await;
        // What else was missed is not known, so members are looked at one by one before they leave.
        tracker.update(|job| job.suspicious = true);
        let detail = format!("{why}; the next run reads everything again");
        let error = row_error(&group, "", "read", Fault::Drifted, detail);
        tracker.record(error).await;
    }
}

/// Settles what a complete read did not meet that proves no absence by itself: whom the one before did not meet either is
/// gone, and the others are looked for again.
async fn settle_missing(
    relay: &Relay,
    lease: &Lease,
    known: Known,
    scan: &mut FullScan,
) -> Result<(), Error> {
    if known.unmet() == 0 || known.unmet() > MISSING_MAX || scan.after.went_back().is_some() {
        return Ok(());
    }
    let unmet = relay.store.unmet(&relay.key(), known).await?;
    let is_gone = |row: &RowKey| scan.missing.contains(row);
    let (gone, missing): (Vec<_>, Vec<_>) = unmet.into_iter().partition(is_gone);
    scan.after.missing = missing;
    if gone.is_empty() {
        return Ok(());
    }
    record_absent(relay, lease, &relay.profile.name, gone, Utc::now()).await
}

/// A complete read becomes the baseline that later ones are measured by, if it is plausible itself.
async fn note_complete_read(
    relay: &Relay,
    lease: &Lease,
    end: &ReadEnd,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let _alone = relay.traffic.alone().await;
    let mut state = relay.store.profile_state(&relay.key()).await?;
    let met = Baseline {
        users: end.users,
        groups: end.groups,
    };
    state.last_complete_read = Some(now);
    if guard::is_plausible(&relay.profile.limits, met, state.baseline) {
        state.baseline = Some(met);
        state.implausible = None;
    } else {
        state.implausible = Some(met);
    }
    let (store, key) = (&relay.store, relay.key());
    Ok(store.save_profile_state(lease, &key, &state).await?)
}
