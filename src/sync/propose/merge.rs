//! Merging: where the profile's policy lets the target's values count, what it holds is looked at before anything of a resource
//! is changed, and what is in conflict is left out of the plan.

use std::collections::{HashMap, HashSet};

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value as Json;

use crate::fault::Fault;
use crate::identity::{Kind, RowKey};
use crate::mapping::{Desired, resource_type};
use crate::plan::conflict::{given_up, withhold};
use crate::provider::Refusal;
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, resource};
use crate::snapshot::{Applied, Conflict, ConflictCounts, Row, Seen, Standing};
use crate::sync::Error;
use crate::sync::conflicts::UnderPolicy;
use crate::sync::propose::Draft;
use crate::sync::propose::managers::{self, Managers};
use crate::sync::tracker::target_error;

/// After so many looks in a row without a clear answer nothing more is looked at by this plan: what differs waits for the next
/// run, and whoever leaves does not.
const FAILURES_MAX: usize = 5;

/// What is known of the rows that are being planned.
#[derive(Default)]
pub(super) struct Merging {
    /// Whether the directory has any conflict, so that one that does not is not asked.
    any: bool,
    /// The conflicts of an earlier run.
    earlier: HashMap<RowKey, Vec<Conflict>>,
    /// What the target showed of those that have to be looked at.
    shown: HashMap<RowKey, Result<Option<Json>, Refusal>>,
    failures: usize,
    /// Rows that could not be looked at.
    unseen: HashSet<RowKey>,
    conflicts: Vec<(RowKey, Vec<Conflict>)>,
    /// What counts as acknowledged by what was seen.
    observed: Vec<(RowKey, Option<Applied>)>,
}

impl Merging {
    /// Nothing is looked at yet.
    pub(super) fn new(counts: ConflictCounts) -> Self {
        Self {
            any: counts.any(),
            ..Self::default()
        }
    }

    /// Whether a row could not be looked at, so that it stays different.
    pub(super) fn waits(&self, row: &RowKey) -> bool {
        self.unseen.contains(row)
    }
}

impl Draft<'_> {
    /// Reads what is remembered of these rows, and looks at those resources of which something is to be changed, as many at a
    /// time as the tenant allows.
    pub(super) async fn look_at(
        &mut self,
        rows: &[&Row],
        managers: &Managers,
    ) -> Result<(), Error> {
        let looks = self.relay.profile.conflict_policy.looks();
        if !looks && !self.merging.any {
            return Ok(());
        }
        let linked = rows.iter().filter(|row| row.applied.is_some());
        let keys: Vec<RowKey> = linked.map(|row| row.key.clone()).collect();
        let store = &self.relay.store;
        let earlier = store
            .conflicts(self.relay.directory.id, keys.clone())
            .await?;
        let earlier = keys.into_iter().zip(earlier);
        self.merging.earlier = earlier.filter(|(_, earlier)| !earlier.is_empty()).collect();
        self.merging.unseen.clear();
        self.merging.shown.clear();
        if !looks {
            return Ok(());
        }
        let chosen = rows.iter().filter_map(|row| {
            let id = row.applied.as_ref()?.id.clone();
            self.may_need_look(row, managers)
                .then(|| (row.key.clone(), id))
        });
        let chosen: Vec<(RowKey, String)> = match self.merging.failures < FAILURES_MAX {
            true => chosen.collect(),
            false => Vec::new(),
        };
        let provider = &self.relay.provider;
        let mut failures = self.merging.failures;
        let shown = stream::iter(chosen)
            .map(|(key, id)| async move {
                let shown = provider.get(resource_type(key.kind), &id).await;
                (key, shown)
            })
            .buffer_unordered(self.relay.tenant.concurrency)
            .take_while(|(_, shown)| {
                let is_clear = !matches!(shown, Err(refusal) if refusal.fault != Fault::Rejected);
                failures = if is_clear { 0 } else { failures + 1 };
                std::future::ready(failures < FAILURES_MAX)
            });
        let shown: HashMap<_, _> = shown.collect().await;
        (self.merging.shown, self.merging.failures) = (shown, failures);
        Ok(())
    }

    /// Whether a row has to be looked at, as far as can be told before it is decided: what membership gives needs no look.
    fn may_need_look(&self, row: &Row, managers: &Managers) -> bool {
        let Some(((_, seen), applied)) = row.owner().zip(row.applied.as_ref()) else {
            return false;
        };
        let profile = &self.relay.profile;
        let desired = self.relay.desired(profile, &seen.identity, self.now);
        let Ok(mut wanted) = desired.resource else {
            return false;
        };
        wanted.extend(managers::value_of(row, managers));
        self.under_policy(row, seen, applied, &wanted, desired.active)
            .is_some_and(|under| {
                let earlier = self.merging.earlier.get(&row.key);
                let earlier = earlier.map_or(&[][..], Vec::as_slice);
                under
                    .known(profile, &applied.attributes, earlier)
                    .needs_look()
            })
    }

    /// What of a row is under the policy; `None` where nothing of it is planned but whether the account is active.
    fn under_policy(
        &self,
        row: &Row,
        seen: &Seen,
        applied: &Applied,
        wanted: &Attributes,
        active: Option<bool>,
    ) -> Option<UnderPolicy> {
        let profile = &self.relay.profile;
        let takes = row.key.kind == Kind::Group || profile.population.takes(active);
        (seen.standing == Standing::Present && takes)
            .then(|| UnderPolicy::of(self.relay, profile, row.key.kind, wanted, active, applied))
    }

    /// Takes out of what a row shall be what is in conflict. Answers the row with what counts as acknowledged now, where that
    /// is not what did.
    pub(super) async fn merged(
        &mut self,
        row: &Row,
        seen: &Seen,
        desired: &mut Desired,
    ) -> Result<Option<Row>, Error> {
        let policy = self.relay.profile.conflict_policy;
        let earlier = self.merging.earlier.remove(&row.key).unwrap_or_default();
        let Some(applied) = row.applied.as_ref() else {
            return Ok(None);
        };
        if !policy.looks() || seen.standing != Standing::Present {
            if earlier.is_empty() {
                return Ok(None);
            }
            let base = match seen.standing {
                Standing::Present => given_up(&applied.attributes, &earlier),
                Standing::Absent { .. } => applied.attributes.clone(),
            };
            self.merging.conflicts.push((row.key.clone(), Vec::new()));
            return Ok(self.rebased(row, applied, base));
        }
        let Ok(wanted) = &mut desired.resource else {
            return Ok(None);
        };
        let Some(under) = self.under_policy(row, seen, applied, wanted, desired.active) else {
            return Ok(None);
        };
        let known = under.known(&self.relay.profile, &applied.attributes, &earlier);
        let merged = match known.needs_look() {
            false => known.remembered(self.now),
            true => match self.shown(row, applied).await {
                Ok(Some(resource)) => {
                    let held = under.held(self.relay, applied, &resource);
                    known.merge(&held, self.now)
                }
                // It is gone, as the request will find.
                Ok(None) => return Ok(None),
                Err(refusal) if refusal.fault.stops_the_run() => return Err(refusal.into()),
                Err(refusal) => {
                    under.leave(wanted, applied);
                    desired.active = desired.active.map(|active| active && applied.is_active());
                    let dn = &seen.identity.dn;
                    let error = target_error(&row.key, dn, "look", &refusal);
                    self.problems.add(&row.key, error).await;
                    self.merging.unseen.insert(row.key.clone());
                    return Ok(None);
                }
            },
        };
        withhold(wanted, &merged);
        if merged.conflicts != earlier {
            let conflicts = merged.conflicts;
            self.merging.conflicts.push((row.key.clone(), conflicts));
        }
        Ok(self.rebased(row, applied, merged.base))
    }

    /// What the target shows of a row.
    async fn shown(&mut self, row: &Row, applied: &Applied) -> Result<Option<Json>, Refusal> {
        if let Some(shown) = self.merging.shown.remove(&row.key) {
            return shown;
        }
        if self.merging.failures >= FAILURES_MAX {
            return Err(not_looked_at());
        }
        let kind = resource_type(row.key.kind);
        self.relay.provider.get(kind, &applied.id).await
    }

    /// The row with another acknowledged state, which is kept.
    fn rebased(&mut self, row: &Row, applied: &Applied, base: Attributes) -> Option<Row> {
        if base == applied.attributes {
            return None;
        }
        let applied = Some(Applied {
            id: applied.id.clone(),
            attributes: base,
        });
        let observed = (row.key.clone(), applied.clone());
        self.merging.observed.push(observed);
        Some(Row {
            applied,
            ..row.clone()
        })
    }

    /// Writes what was learnt of the rows of one turn.
    pub(super) async fn keep_merged(&mut self) -> Result<(), Error> {
        let store = &self.relay.store;
        let conflicts = std::mem::take(&mut self.merging.conflicts);
        if !conflicts.is_empty() {
            store.note_conflicts(self.lease, conflicts).await?;
        }
        let observed = std::mem::take(&mut self.merging.observed);
        if !observed.is_empty() {
            store.record_observed(self.lease, observed).await?;
        }
        Ok(())
    }

    /// Whether a user's manager may be set in the run that gives him an id. Where somebody changed him at the target, the next
    /// run sees to it, which knows all three values.
    pub(super) async fn manager_is_as_acknowledged(&mut self, row: &Row) -> Result<bool, Error> {
        let Some(applied) = row.applied.as_ref() else {
            return Ok(true);
        };
        if !self.relay.profile.conflict_policy.looks() {
            return Ok(true);
        }
        let shown = match self.shown(row, applied).await {
            Ok(Some(shown)) => shown,
            Err(refusal) if refusal.fault.stops_the_run() => return Err(refusal.into()),
            Ok(None) | Err(_) => return Ok(false),
        };
        let path = AttributePath::manager();
        let dialect = &self.relay.tenant.dialect;
        let held = resource::project(&shown, [&path], |_, _| false, dialect);
        Ok(held.get(&path) == applied.attributes.get(&path))
    }
}

fn not_looked_at() -> Refusal {
    Refusal {
        fault: Fault::Transient,
        status: None,
        scim_type: None,
        message: "not looked at, because the target gave no clear answer to several looks in a row; the next run looks again"
            .to_owned(),
    }
}
