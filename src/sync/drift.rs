//! Drift: what a linked resource holds at the target, compared with what the target acknowledged and what it shall be.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use serde_json::Value as Json;

use crate::identity::{Kind, RowKey};
use crate::mapping::resource_type;
use crate::plan::Class;
use crate::scim::path::AttributePath;
use crate::scim::resource;
use crate::scim::{AttributeChange, Attributes, Value};
use crate::snapshot::{Applied, Conflict, Repair, Row, Standing};
use crate::store::jobs::Drift;
use crate::store::{Effect, Lease, Settlement};
use crate::sync::conflicts::{self, Judged};
use crate::sync::repairs::{self, Unkept};
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay, adopt, propose};

/// Members of others that a line of the journal names; of more it gives the number.
const MEMBERS_NAMED: usize = 1_000;
/// A part that no intent has, so that what is learnt of memberships here settles none.
const NO_PART: u32 = u32::MAX;

/// What becomes of drift.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// What was acknowledged is corrected, so that the plan brings it back.
    Repair(&'a Lease),
    /// It is told of.
    Report,
}

/// One reading of the target, and the drift that it shows.
pub(super) struct Comparison<'a> {
    relay: &'a Relay,
    tracker: &'a Tracker,
    purpose: Purpose<'a>,
    /// Whether any group showed members: a target that never does is not one that lost them all.
    members_shown: bool,
    /// Groups that showed no members at all, with those whom the relay put there.
    emptied: Vec<(Drift, Vec<RowKey>)>,
    unkept: Unkept,
}

/// What one reading makes of rows.
#[derive(Default)]
struct Correction {
    /// What the target really holds.
    observed: Vec<(RowKey, Option<Applied>)>,
    /// What is brought back of it.
    repairs: Vec<(RowKey, Vec<Repair>)>,
    /// What is not, because of the profile's policy.
    conflicts: Vec<(RowKey, Vec<Conflict>)>,
    /// Rows of which less is in conflict than before.
    over: Vec<RowKey>,
}

impl Correction {
    fn judge(&mut self, key: &RowKey, judged: Judged, earlier: &[Conflict]) {
        if judged.is_over(earlier) {
            self.over.push(key.clone());
        }
        if judged.conflicts != earlier {
            self.conflicts.push((key.clone(), judged.conflicts));
        }
    }
}

impl<'a> Comparison<'a> {
    /// Nothing is compared yet.
    pub(super) fn new(relay: &'a Relay, tracker: &'a Tracker, purpose: Purpose<'a>) -> Self {
        Self {
            relay,
            tracker,
            purpose,
            members_shown: false,
            emptied: Vec::new(),
            unkept: Unkept::default(),
        }
    }

    /// Compares linked resources, as the target shows them, with their rows.
    pub(super) async fn take(&mut self, known: Vec<(RowKey, String, Json)>) -> Result<(), Error> {
        let keys: Vec<RowKey> = known.iter().map(|(row, _, _)| row.clone()).collect();
        let repairs = self.repairs(&keys).await?;
        let (store, directory) = (&self.relay.store, self.relay.directory.id);
        let remembered = store.conflicts(directory, keys.clone()).await?;
        let rows = self.relay.rows(keys).await?;
        let (mut found, mut lines) = (Correction::default(), Vec::new());
        let known = known.into_iter().zip(rows).zip(repairs).zip(remembered);
        for ((((key, id, resource), row), before), earlier) in known {
            let Some(((_, seen), applied)) = row.owner().zip(row.applied.as_ref()) else {
                continue; // no profile sees it, so nothing is desired of it
            };
            let (mut held, mut changes) = compared(self.relay, &row, applied, &resource);
            // Whoever asked for one of the two values knows of it.
            changes.retain(|change| {
                let is_known = |one: &Conflict| one.path == change.path && one.iam == change.before;
                !earlier.iter().any(is_known)
            });
            let judged = conflicts::judged(self.relay, &row, applied, &resource, &earlier);
            if let Some(judged) = judged.filter(|_| before.is_some()) {
                held = judged.acknowledged(held);
                changes.retain(|change| !judged.has(&change.path));
                found.judge(&key, judged, &earlier);
            }
            if let Some(before) = before {
                let judged = repairs::judge(&before, changes);
                held = repairs::believed(held, &applied.attributes, &judged.unkept);
                changes = judged.changes;
                self.unkept.count(key.kind, judged.unkept);
                if judged.repairs != before {
                    found.repairs.push((key.clone(), judged.repairs));
                }
            }
            let mut line = Drift {
                at: Utc::now(),
                key: key.clone(),
                dn: seen.identity.dn.clone(),
                id: id.clone(),
                attributes: changes,
                missing: Vec::new(),
                foreign: Vec::new(),
                foreign_count: 0,
                gone: false,
            };
            let differs = applied_differs(self.relay, &row, applied, &held);
            if differs {
                let attributes = held;
                found
                    .observed
                    .push((key.clone(), Some(Applied { id, attributes })));
            }
            if key.kind == Kind::Group {
                line = match self.with_members(line, &resource).await? {
                    Some(line) => line,
                    None => continue,
                };
            }
            if line.is_any() {
                lines.push(line);
            }
        }
        self.correct(found).await?;
        self.lost(&lines).await?;
        self.note(lines).await
    }

    /// What was brought back of rows before; `None` where nothing is brought back.
    async fn repairs(&self, rows: &[RowKey]) -> Result<Vec<Option<Vec<Repair>>>, Error> {
        let Purpose::Repair(_) = self.purpose else {
            return Ok(vec![None; rows.len()]);
        };
        let directory = self.relay.directory.id;
        let repairs = self.relay.store.repairs(directory, rows.to_vec()).await?;
        Ok(repairs.into_iter().map(Some).collect())
    }

    /// Writes what the target really holds, and what is brought back of it.
    async fn correct(&self, found: Correction) -> Result<(), Error> {
        let Purpose::Repair(lease) = self.purpose else {
            return Ok(());
        };
        let store = &self.relay.store;
        if !found.repairs.is_empty() {
            store.note_repairs(lease, found.repairs).await?;
        }
        if !found.conflicts.is_empty() {
            store.note_conflicts(lease, found.conflicts).await?;
        }
        if !found.observed.is_empty() {
            store.record_observed(lease, found.observed).await?;
        }
        if !found.over.is_empty() {
            store.mark_dirty(lease, found.over).await?;
        }
        Ok(())
    }

    /// Compares the members of a group; `None` where that must wait for what other groups show.
    async fn with_members(
        &mut self,
        mut line: Drift,
        group: &Json,
    ) -> Result<Option<Drift>, Error> {
        if !self.relay.tenant.dialect.members_readable {
            return Ok(Some(line));
        }
        let store = &self.relay.store;
        let directory = self.relay.directory.id;
        let put = store.applied_members(directory, &line.key).await?;
        let mut held: BTreeSet<String> = resource::member_ids(group)
            .unwrap_or_default()
            .into_iter()
            .collect();
        if held.is_empty() && !put.is_empty() {
            // A list may leave members out.
            let read = adopt::members_at_target(self.relay, &line.id).await?;
            held = read.unwrap_or_default();
        }
        self.members_shown |= !held.is_empty();
        let ids = store.links(directory, put.clone()).await?;
        let ours: BTreeMap<RowKey, String> = put
            .into_iter()
            .zip(ids)
            .filter_map(|(row, id)| Some((row, id?)))
            .collect();
        let known: BTreeSet<&String> = ours.values().collect();
        let foreign = held.iter().filter(|id| !known.contains(id));
        line.foreign = foreign.clone().take(MEMBERS_NAMED).cloned().collect();
        line.foreign_count = foreign.count() as u64;
        let missing = ours.iter().filter(|(_, id)| !held.contains(*id));
        let missing: Vec<RowKey> = missing.map(|(row, _)| row.clone()).collect();
        if held.is_empty() && !missing.is_empty() {
            self.emptied.push((line, missing));
            return Ok(None);
        }
        line.missing = missing;
        Ok(Some(line))
    }

    /// A resource that is not there any more.
    pub(super) async fn gone(&mut self, row: &Row, id: &str) -> Result<(), Error> {
        let seen = row.owner().map(|(_, seen)| seen);
        let line = Drift {
            at: Utc::now(),
            key: row.key.clone(),
            dn: seen.map_or_else(String::new, |seen| seen.identity.dn.clone()),
            id: id.to_owned(),
            attributes: Vec::new(),
            missing: Vec::new(),
            foreign: Vec::new(),
            foreign_count: 0,
            gone: true,
        };
        self.note(vec![line]).await
    }

    /// Ends the reading: what groups without any members mean is known now.
    pub(super) async fn close(mut self) -> Result<(), Error> {
        std::mem::take(&mut self.unkept).tell(self.tracker);
        let emptied = std::mem::take(&mut self.emptied);
        if emptied.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for (mut line, missing) in emptied {
            if self.members_shown {
                line.missing = missing;
            }
            if line.is_any() {
                lines.push(line);
            }
        }
        if !self.members_shown {
            let warning = "the target shows no member of any group, so memberships were not compared; if it never shows \
                           them, set dialect.membersReadable = false";
            self.tracker
                .update(|job| job.warnings.push(warning.to_owned()));
        }
        self.lost(&lines).await?;
        self.note(lines).await
    }

    /// Forgets that the relay put members into groups which are not there any more, so that the plan puts them back. Not
    /// members who leave: they may be there although the target does not show them, and who is forgotten is not taken out.
    async fn lost(&self, lines: &[Drift]) -> Result<(), Error> {
        let Purpose::Repair(lease) = self.purpose else {
            return Ok(());
        };
        let mut settlements = Vec::new();
        for line in lines.iter().filter(|line| !line.missing.is_empty()) {
            let wanted = propose::members::wanted(self.relay, &line.key).await?;
            let mut lost = line.missing.clone();
            lost.retain(|member| wanted.binary_search(member).is_ok());
            settlements.push(Settlement {
                key: line.key.clone(),
                class: Class::AddMembers,
                part: NO_PART,
                effect: Effect::MembersRemoved(lost),
                clean: None,
                change: None,
                rejection: None,
            });
        }
        if settlements.is_empty() {
            return Ok(());
        }
        let author = self.relay.author(self.tracker.job().id);
        let store = &self.relay.store;
        Ok(store.settle(lease, &author, settlements).await?)
    }

    async fn note(&self, lines: Vec<Drift>) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        self.tracker
            .update(|job| job.counters.drifted += lines.len() as u64);
        let job = self.tracker.job().id;
        Ok(self.relay.store.note_drift(job, lines).await?)
    }
}

/// What the target holds of the attributes that the relay maintains, and where that is neither what was acknowledged nor
/// what it shall be.
pub(super) fn compared(
    relay: &Relay,
    row: &Row,
    applied: &Applied,
    resource: &Json,
) -> (Attributes, Vec<AttributeChange>) {
    let profile = relay.profile_of(row);
    let paths = adopt::maintained(relay, profile, row.key.kind);
    let is_ours =
        |path: &AttributePath, value: &str| resource::has_value(&applied.attributes, path, value);
    let mut held = resource::project(resource, &paths, is_ours, &relay.tenant.dialect);
    adopt::keep_unmaintained(&mut held, &applied.attributes, &paths);
    let active = AttributePath::active();
    if let Some(acknowledged) = applied.attributes.get(&active) {
        // A target that does not show whether an account is active is believed to hold what it acknowledged.
        held.entry(active.clone())
            .or_insert_with(|| acknowledged.clone());
    }
    let present = row
        .owner()
        .filter(|(_, seen)| seen.standing == Standing::Present);
    let desired = present.map(|(_, seen)| relay.desired(profile, &seen.identity, Utc::now()));
    let is_active = desired.as_ref().and_then(|desired| desired.active);
    let wanted = desired.and_then(|desired| desired.resource.ok());
    let shall_be = |path: &AttributePath| {
        let acknowledged = applied.attributes.get(path).cloned();
        match &wanted {
            _ if *path == active => is_active.map(Value::Bool).or(acknowledged),
            // Roles come from groups, too, which a plan knows.
            Some(wanted) if !path.takes_many() => wanted.get(path).cloned(),
            _ => acknowledged,
        }
    };
    let changes = paths.iter().filter_map(|path| {
        let (is, was) = (held.get(path), applied.attributes.get(path));
        let shall = shall_be(path);
        (is != was && is != shall.as_ref()).then(|| AttributeChange {
            path: path.clone(),
            before: is.cloned(),
            after: shall,
        })
    });
    let changes = changes.collect();
    (held, changes)
}

fn applied_differs(relay: &Relay, row: &Row, applied: &Applied, held: &Attributes) -> bool {
    let paths = adopt::maintained(relay, relay.profile_of(row), row.key.kind);
    paths
        .iter()
        .any(|path| applied.attributes.get(path) != held.get(path))
}

/// Looks whether a resource that a list lacks is there; lists may be cut short, so only a read by id proves it.
pub(super) async fn is_gone(relay: &Relay, key: &RowKey, id: &str) -> Result<bool, Error> {
    let kind = resource_type(key.kind);
    Ok(relay.provider.get(kind, id).await?.is_none())
}
