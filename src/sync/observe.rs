//! Observe: the target is read, at first contact to find what is already there, and to reconcile.

use std::collections::{HashMap, HashSet};

use crate::directory::profile::Reconciling;
use crate::fault::Fault;
use crate::identity::digest::short;
use crate::identity::{Kind, RowKey};
use crate::job::{Job, Mode, Trigger};
use crate::mapping::resource_type;
use crate::plan::decide;
use crate::plan::linking::{self, MatchingAttribute};
use crate::scim::Value;
use crate::scim::path::AttributePath;
use crate::scim::resource::Found;
use crate::snapshot::{Match, MatchedBy, Row, Standing};
use crate::store::Lease;
use crate::sync::drift::{self, Comparison, Purpose};
use crate::sync::tracker::{Tracker, row_error, target_error};
use crate::sync::{Error, Relay, adopt, restored, target};
use chrono::Utc;

/// Rows looked at in one turn.
const ROWS_PER_TURN: usize = 1_000;

/// Why the target must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Nothing is known of it yet: what is there may belong to an entry.
    FirstContact,
    /// What it holds is compared with what it acknowledged.
    Reconcile,
}

/// Whether the target must be read: at first contact, when a job reconciles, when the profile says that it is time, and when the
/// store may be an old one.
pub(super) async fn occasion(relay: &Relay, job: &Job) -> Result<Option<Occasion>, Error> {
    let state = relay.store.profile_state(&relay.key()).await?;
    let Some(last) = state.last_observed else {
        return Ok(Some(Occasion::FirstContact));
    };
    let is_due = match relay.profile.reconciling {
        Reconciling::Every(interval) => last + interval <= Utc::now(),
        // Only a read of everything is complete, or not.
        Reconciling::WithFullRuns => job.complete_read.is_some(),
        Reconciling::Never => false,
    };
    // A change that the directory told of does not wait for the target to be read.
    let reconciles = job.mode == Mode::Reconcile
        || restored::is_noted(relay).await?
        || (is_due && job.mode.applies() && job.trigger != Trigger::Feed);
    Ok(reconciles.then_some(Occasion::Reconcile))
}

/// Reads all users, then all groups.
pub(super) async fn read_target(
    relay: &Relay,
    lease: &Lease,
    mode: Mode,
    occasion: Occasion,
    tracker: &Tracker,
) -> Result<(), Error> {
    tracker.phase("observing").await;
    relay.provider.discover().await?;
    if occasion == Occasion::Reconcile {
        target::same_resources(relay).await?;
    }
    let is_old = restored::is_noted(relay).await?;
    let mut comparison = Comparison::new(relay, tracker, Purpose::Repair(lease));
    for kind in kinds(relay) {
        let reading = read_pages(relay, kind, &mut comparison, is_old.then_some(lease)).await?;
        if occasion == Occasion::Reconcile {
            confirm_missing(relay, lease, kind, reading.missing, tracker).await?;
        }
        if !reading.is_whole {
            tracker.update(|job| job.warnings.push(not_whole(kind)));
        }
        // At first contact with nothing there, nothing was found earlier either.
        if occasion == Occasion::Reconcile || !reading.free.is_empty() || !reading.is_whole {
            find_matches(relay, lease, kind, &reading.free, reading.is_whole, tracker).await?;
        }
        if kind == Kind::User {
            restored::tell_of_strangers(relay, reading.free.by_external_id, tracker).await?;
        }
    }
    comparison.close().await?;
    if mode.applies() {
        let mut state = relay.store.profile_state(&relay.key()).await?;
        state.last_observed = Some(Utc::now());
        relay
            .store
            .save_profile_state(lease, &relay.key(), &state)
            .await?;
    }
    Ok(())
}

/// The kinds of resources that the profile has.
fn kinds(relay: &Relay) -> impl Iterator<Item = Kind> {
    let groups = relay.profile.scope.has_groups();
    let kinds = [Kind::User, Kind::Group].into_iter();
    kinds.filter(move |kind| groups || *kind == Kind::User)
}

fn not_whole(kind: Kind) -> String {
    format!(
        "the target's list of {kind}s is not whole: it counts more than it shows, so whatever is not in it is looked up by \
         itself"
    )
}

/// The rows of a kind that are linked, by the target's id.
async fn linked_ids(relay: &Relay, kind: Kind) -> Result<HashMap<String, RowKey>, Error> {
    let mut ids = HashMap::new();
    let mut after = None;
    loop {
        let rows = relay
            .store
            .linked_rows(relay.directory.id, after, ROWS_PER_TURN)
            .await?;
        let Some((last, _)) = rows.last() else {
            return Ok(ids);
        };
        after = Some(last.clone());
        ids.extend(
            rows.into_iter()
                .filter(|(row, _)| row.kind == kind)
                .map(|(row, applied)| (applied.id, row)),
        );
    }
}

/// Resources that are not linked, by what they can be recognized by.
#[derive(Default)]
struct Free {
    by_external_id: HashMap<String, Vec<Found>>,
    by_email: HashMap<String, Vec<Found>>,
    by_name: HashMap<String, Vec<Found>>,
}

impl Free {
    fn add(&mut self, found: Found) {
        if let Some(external_id) = &found.external_id {
            self.by_external_id
                .entry(external_id.clone())
                .or_default()
                .push(found.clone());
        }
        if let Some(email) = &found.email {
            self.by_email
                .entry(email.to_lowercase())
                .or_default()
                .push(found.clone());
        }
        if let Some(name) = &found.name {
            self.by_name
                .entry(name.to_lowercase())
                .or_default()
                .push(found);
        }
    }

    fn is_empty(&self) -> bool {
        self.by_external_id.is_empty() && self.by_name.is_empty()
    }
}

/// What one reading of a kind met.
struct Reading {
    free: Free,
    /// Linked rows whose resources were not met.
    missing: HashMap<String, RowKey>,
    /// Whether it met as many different resources as the target says there are (hazard H49).
    is_whole: bool,
}

/// Reads every page. Linked resources are compared with their rows; the others are answered. Where the store is `old`, those that
/// are somebody else's by now are among the others.
async fn read_pages(
    relay: &Relay,
    kind: Kind,
    comparison: &mut Comparison<'_>,
    old: Option<&Lease>,
) -> Result<Reading, Error> {
    let mut missing = linked_ids(relay, kind).await?;
    let mut free = Free::default();
    let mut met = HashSet::new();
    let (mut start, mut unusable) = (None, 0);
    let total = loop {
        let page = relay
            .provider
            .list(resource_type(kind), start.as_ref())
            .await?;
        start = page.next;
        let mut known = Vec::new();
        for resource in page.resources {
            let Some(found) = Found::from_json(&resource) else {
                unusable += 1;
                continue;
            };
            if !met.insert(short(&[found.id.as_bytes()])) {
                continue; // pages that overlap
            }
            match missing.remove(&found.id) {
                Some(row) => known.push((row, found.id, resource)),
                None => free.add(found),
            }
        }
        if let Some(lease) = old {
            let handed_on = restored::unlink_handed_on(relay, lease, &mut known).await?;
            handed_on.into_iter().for_each(|found| free.add(found));
        }
        comparison.take(known).await?;
        if start.is_none() {
            break page.total;
        }
    };
    let count = met.len() as u64 + unusable;
    Ok(Reading {
        free,
        missing,
        is_whole: total.is_none_or(|total| count >= total),
    })
}

/// Tells of the linked resources that differ from what they shall be, and changes nothing, here or there.
pub(super) async fn report(relay: &Relay, tracker: &Tracker) -> Result<(), Error> {
    tracker.phase("observing").await;
    relay.provider.discover().await?;
    let mut comparison = Comparison::new(relay, tracker, Purpose::Report);
    for kind in kinds(relay) {
        let reading = read_pages(relay, kind, &mut comparison, None).await?;
        if !reading.is_whole {
            tracker.update(|job| job.warnings.push(not_whole(kind)));
        }
        for (id, key) in reading.missing {
            if drift::is_gone(relay, &key, &id).await? {
                let rows = relay.rows(vec![key]).await?;
                let owned = rows.iter().filter(|row| row.owner().is_some());
                for row in owned {
                    comparison.gone(row, &id).await?;
                }
            }
        }
    }
    comparison.close().await
}

/// Compares the resource of one linked row with what was acknowledged.
pub(super) async fn reconcile_one(
    relay: &Relay,
    lease: &Lease,
    key: &RowKey,
    id: &str,
    tracker: &Tracker,
) -> Result<(), Error> {
    relay.provider.discover().await?;
    match relay.provider.get(resource_type(key.kind), id).await? {
        Some(resource) => {
            let mut comparison = Comparison::new(relay, tracker, Purpose::Repair(lease));
            let known = vec![(key.clone(), id.to_owned(), resource)];
            comparison.take(known).await?;
            comparison.close().await
        }
        None => {
            target::same_resources(relay).await?;
            note_missing(relay, lease, id, key.clone(), tracker).await
        }
    }
}

/// Absence from a list proves nothing (lists may be cut short); a read by id does. Nothing is forgotten where so many are
/// gone that it may be another target.
async fn confirm_missing(
    relay: &Relay,
    lease: &Lease,
    kind: Kind,
    missing: HashMap<String, RowKey>,
    tracker: &Tracker,
) -> Result<(), Error> {
    let mut gone = Vec::new();
    let mut counted = 0;
    for (id, key) in missing {
        match drift::is_gone(relay, &key, &id).await {
            Ok(true) => {
                let row = relay.rows(vec![key.clone()]).await?.pop();
                let applied = row.and_then(|row| row.applied);
                counted += u64::from(applied.is_some_and(|applied| applied.is_active()));
                gone.push((id, key));
            }
            Ok(false) => {}
            // Some targets answer an unknown id with 400; that is this row's error, and the others are compared all the same.
            Err(Error::Target(refusal)) if refusal.fault == Fault::Rejected => {
                let error = target_error(&key, "", "observe", &refusal);
                tracker.record(error).await;
            }
            Err(error) => return Err(error),
        }
    }
    target::judge(relay, counted, target::counted(relay, kind).await?)?;
    for (id, key) in gone {
        note_missing(relay, lease, &id, key, tracker).await?;
    }
    Ok(())
}

/// Forgets the link of a row whose resource is not there any more.
async fn note_missing(
    relay: &Relay,
    lease: &Lease,
    id: &str,
    row: RowKey,
    tracker: &Tracker,
) -> Result<(), Error> {
    let rows = relay.rows(vec![row.clone()]).await?;
    if let Some((_, seen)) = rows.first().and_then(Row::owner) {
        let detail = format!(
            "resource {id} was removed at the target; it is created again if the entry is in scope"
        );
        let dn = &seen.identity.dn;
        tracker
            .record(row_error(&row, dn, "observe", Fault::Drifted, detail))
            .await;
    }
    let observed = vec![(row, None)];
    Ok(relay.store.record_observed(lease, observed).await?)
}

/// Compares rows that are not linked with the resources that are free; what was found earlier and is not there any
/// more is forgotten. Where the list was not whole, whoever is not in it is looked up, since a list that is cut short must
/// not lead to a second account.
async fn find_matches(
    relay: &Relay,
    lease: &Lease,
    kind: Kind,
    free: &Free,
    is_whole: bool,
    tracker: &Tracker,
) -> Result<(), Error> {
    let mut after = None;
    while let Some(rows) = relay.next_marked(&mut after).await? {
        let unlinked = rows
            .iter()
            .filter(|row| row.key.kind == kind && row.applied.is_none());
        let mut matches = Vec::new();
        for row in unlinked {
            let mut found = matching(relay, row, free);
            if found.is_none() && !is_whole {
                found = match looked_up(relay, row, tracker).await? {
                    Some(found) => found,
                    None => continue,
                };
            }
            if row.found != found && !is_of_former_entry(row) {
                matches.push((row.key.clone(), found));
            }
        }
        if !matches.is_empty() {
            relay.store.record_found(lease, matches).await?;
        }
    }
    Ok(())
}

/// The account of a former entry is one that is linked, so it is never among those that are free.
fn is_of_former_entry(row: &Row) -> bool {
    let found = row.found.as_ref();
    found.is_some_and(|found| found.by == MatchedBy::FormerEntry)
}

/// What a look-up finds for a row; `None` where the target gives no clear account, which is the row's error.
async fn looked_up(
    relay: &Relay,
    row: &Row,
    tracker: &Tracker,
) -> Result<Option<Option<Match>>, Error> {
    let Some((_, seen)) = row.owner() else {
        return Ok(Some(None));
    };
    if seen.standing != Standing::Present {
        return Ok(Some(None));
    }
    let mapping = &relay.profile_of(row).mapping;
    let desired = mapping.desired(&seen.identity, Utc::now());
    let wanted = desired.resource.unwrap_or_default();
    match adopt::find_match(relay, &row.key, &wanted).await {
        Ok(found) => Ok(Some(found)),
        Err(refusal) if refusal.fault == Fault::Rejected => {
            let error = target_error(&row.key, &seen.identity.dn, "link", &refusal);
            tracker.record(error).await;
            Ok(None)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn matching(relay: &Relay, row: &Row, free: &Free) -> Option<Match> {
    if let Some(ours) = free.by_external_id.get(&row.key.anchor.to_string()) {
        // Several resources with our externalId: which of them is meant is for a person to say.
        let by = MatchedBy::ExternalId;
        return linking::judge(ours, by, by);
    }
    let (_, seen) = row.owner()?;
    let profile = relay.profile_of(row);
    let desired = relay.desired(profile, &seen.identity, Utc::now());
    let desired = desired.resource.ok()?;
    let hits = |by: &HashMap<String, Vec<Found>>, path: &AttributePath| {
        let value = desired.get(path).and_then(Value::as_text);
        value
            .and_then(|value| by.get(&value.to_lowercase()).cloned())
            .unwrap_or_default()
    };
    let by_email = match profile.matching {
        MatchingAttribute::Email => hits(&free.by_email, &AttributePath::work_email()),
        MatchingAttribute::UserName | MatchingAttribute::None => Vec::new(),
    };
    let by_name = hits(&free.by_name, &decide::name_path(row.key.kind));
    linking::judge_all(row.key.kind, profile.matching, &by_email, &by_name)
}
