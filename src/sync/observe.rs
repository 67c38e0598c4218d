//! Observe: the target is read, at first contact to find what is already there, and to reconcile.

use std::collections::HashMap;

use chrono::Utc;
use serde_json::Value as Json;

use crate::fault::Fault;
use crate::identity::{Kind, RowKey};
use crate::job::{Mode, Trigger};
use crate::mapping::resource_type;
use crate::plan::decide;
use crate::plan::linking::{self, MatchingAttribute};
use crate::scim::Value;
use crate::scim::path::AttributePath;
use crate::scim::resource::{self, Found};
use crate::snapshot::{Applied, Match, MatchedBy, Row};
use crate::store::Lease;
use crate::sync::tracker::{Tracker, row_error};
use crate::sync::{Error, Relay, adopt};

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

/// Whether the target must be read: at first contact, when a job reconciles, and when the profile's interval is over.
pub(super) async fn occasion(
    relay: &Relay,
    mode: Mode,
    trigger: Trigger,
) -> Result<Option<Occasion>, Error> {
    let state = relay.store.profile_state(&relay.key()).await?;
    let Some(last) = state.last_observed else {
        return Ok(Some(Occasion::FirstContact));
    };
    let due = relay
        .profile
        .reconcile_interval
        .is_some_and(|interval| last + interval <= Utc::now());
    // A change that the directory told of does not wait for the target to be read.
    let reconciles = mode == Mode::Reconcile || (due && mode.applies() && trigger != Trigger::Feed);
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
    let groups = relay.profile.scope.has_groups();
    for kind in [Kind::User, Kind::Group]
        .into_iter()
        .filter(|kind| groups || *kind == Kind::User)
    {
        let mut linked = linked_ids(relay, kind).await?;
        let free = read_pages(relay, lease, kind, &mut linked).await?;
        if occasion == Occasion::Reconcile {
            confirm_missing(relay, lease, linked, tracker).await?;
        }
        // At first contact with nothing there, nothing was found earlier either.
        if occasion == Occasion::Reconcile || !free.is_empty() {
            find_matches(relay, lease, kind, &free).await?;
        }
    }
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

/// Reads every page. Linked resources that differ from *applied* correct it; the others are answered. What was met is
/// taken out of `linked`.
async fn read_pages(
    relay: &Relay,
    lease: &Lease,
    kind: Kind,
    linked: &mut HashMap<String, RowKey>,
) -> Result<Free, Error> {
    let mut free = Free::default();
    let mut start = None;
    loop {
        let page = relay
            .provider
            .list(resource_type(kind), start.as_ref())
            .await?;
        start = page.next;
        let mut known = Vec::new();
        for resource in page.resources {
            let Some(found) = Found::from_json(&resource) else {
                continue;
            };
            match linked.remove(&found.id) {
                Some(row) => known.push((row, found.id, resource)),
                None => free.add(found),
            }
        }
        compare(relay, lease, known).await?;
        if start.is_none() {
            return Ok(free);
        }
    }
}

/// Where the target holds something else than was acknowledged, *applied* becomes what it holds; the plan then brings
/// the directory's values back (the policy `directory_wins`).
async fn compare(
    relay: &Relay,
    lease: &Lease,
    known: Vec<(RowKey, String, Json)>,
) -> Result<(), Error> {
    let keys = known.iter().map(|(row, _, _)| row.clone()).collect();
    let rows = relay.rows(keys).await?;
    let mut observed = Vec::new();
    for ((key, id, resource), row) in known.into_iter().zip(rows) {
        if row.owner().is_none() {
            continue; // no profile sees it, so nothing is desired of it
        }
        let paths = adopt::maintained(relay, relay.profile_of(&row), key.kind);
        let is_ours = |path: &AttributePath, value: &str| {
            let applied = row.applied.as_ref();
            applied.is_some_and(|applied| resource::has_value(&applied.attributes, path, value))
        };
        let mut held = resource::project(&resource, &paths, is_ours, &relay.tenant.dialect);
        let active = AttributePath::active();
        if let Some(applied) = &row.applied
            && let Some(acknowledged) = applied.attributes.get(&active)
        {
            // A target that does not show whether an account is active is believed to hold what it acknowledged.
            held.entry(active).or_insert_with(|| acknowledged.clone());
        }
        let differs = row.applied.as_ref().is_some_and(|applied| {
            paths
                .iter()
                .any(|path| applied.attributes.get(path) != held.get(path))
        });
        if differs {
            observed.push((
                key,
                Some(Applied {
                    id,
                    attributes: held,
                }),
            ));
        }
    }
    if !observed.is_empty() {
        relay.store.record_observed(lease, observed).await?;
    }
    Ok(())
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
            let known = vec![(key.clone(), id.to_owned(), resource)];
            compare(relay, lease, known).await
        }
        None => note_missing(relay, lease, id, key.clone(), tracker).await,
    }
}

/// Absence from a list proves nothing (lists may be cut short); a read by id does.
async fn confirm_missing(
    relay: &Relay,
    lease: &Lease,
    missing: HashMap<String, RowKey>,
    tracker: &Tracker,
) -> Result<(), Error> {
    for (id, key) in missing {
        let kind = resource_type(key.kind);
        if relay.provider.get(kind, &id).await?.is_some() {
            continue;
        }
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
/// more is forgotten.
async fn find_matches(relay: &Relay, lease: &Lease, kind: Kind, free: &Free) -> Result<(), Error> {
    let mut after = None;
    while let Some(rows) = relay.next_marked(&mut after).await? {
        let unlinked = rows
            .iter()
            .filter(|row| row.key.kind == kind && row.applied.is_none());
        let found: Vec<_> = unlinked
            .map(|row| (row, matching(relay, row, free)))
            .filter(|(row, found)| row.found != *found)
            .map(|(row, found)| (row.key.clone(), found))
            .collect();
        if !found.is_empty() {
            relay.store.record_found(lease, found).await?;
        }
    }
    Ok(())
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
