//! Conflicts: which attributes of a linked resource are under the profile's policy, and what the policy makes of what the
//! target holds.

use std::collections::BTreeSet;

use chrono::Utc;
use serde_json::Value as Json;

use crate::directory::profile::Profile;
use crate::identity::{Kind, RowKey};
use crate::mapping::resource_type;
use crate::plan::conflict::{Known, Merged};
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, Value, resource};
use crate::snapshot::{Applied, Conflict, Row, Standing};
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay};

/// What is under a policy of one linked resource, and what the directory says of it.
pub(super) struct UnderPolicy {
    paths: BTreeSet<AttributePath>,
    says: Attributes,
}

impl UnderPolicy {
    /// All that the relay maintains, but for three: values of roles and entitlements and the members of groups, of which the
    /// relay keeps its own apart from those of others, and externalId, by which the account is recognized. Whether an account is
    /// active only where the directory wants it to be, so that no policy keeps anybody in who must not log in.
    pub(super) fn of(
        relay: &Relay,
        profile: &Profile,
        kind: Kind,
        wanted: &Attributes,
        active: Option<bool>,
        applied: &Applied,
    ) -> Self {
        let mut paths = profile.mapping.maintained(kind);
        let dialect = &relay.tenant.dialect;
        paths.retain(|path| {
            dialect.changes(resource_type(kind), path)
                && !path.takes_many()
                && *path != AttributePath::external_id()
        });
        let mut says = wanted.clone();
        let active = active.filter(|active| *active && kind == Kind::User);
        let path = AttributePath::active();
        if let (Some(active), true) = (active, applied.attributes.contains_key(&path)) {
            says.insert(path.clone(), Value::Bool(active));
            paths.insert(path);
        }
        Self { paths, says }
    }

    /// The same as the merge takes it.
    pub(super) fn known<'a>(
        &'a self,
        profile: &Profile,
        base: &'a Attributes,
        earlier: &'a [Conflict],
    ) -> Known<'a> {
        Known {
            policy: profile.conflict_policy,
            paths: &self.paths,
            base,
            directory: &self.says,
            earlier,
        }
    }

    /// What the target holds of it. One that does not show whether an account is active is believed to hold what it
    /// acknowledged.
    pub(super) fn held(&self, relay: &Relay, applied: &Applied, resource: &Json) -> Attributes {
        let dialect = &relay.tenant.dialect;
        let mut held = resource::project(resource, &self.paths, |_, _| false, dialect);
        dialect.project(&mut held);
        let active = AttributePath::active();
        if let Some(acknowledged) = applied.attributes.get(&active) {
            held.entry(active).or_insert_with(|| acknowledged.clone());
        }
        held
    }

    /// Takes back what is planned of it, because the target could not be looked at.
    pub(super) fn leave(&self, wanted: &mut Attributes, applied: &Applied) {
        for path in &self.paths {
            match applied.attributes.get(path) {
                Some(value) => wanted.insert(path.clone(), value.clone()),
                None => wanted.remove(path),
            };
        }
    }
}

/// What a reconciling run makes of a resource, under a policy that lets the target's values count; `None` where the
/// directory's do. The manager is taken to be the one whom the target acknowledged: whom the directory names now is known
/// when the row is planned.
pub(super) fn judged(
    relay: &Relay,
    row: &Row,
    applied: &Applied,
    resource: &Json,
    earlier: &[Conflict],
) -> Option<Judged> {
    let now = Utc::now();
    let profile = relay.profile_of(row);
    let (_, seen) = row.owner()?;
    if !profile.conflict_policy.looks() || seen.standing != Standing::Present {
        return None;
    }
    let desired = relay.desired(profile, &seen.identity, now);
    if row.key.kind == Kind::User && !profile.population.takes(desired.active) {
        return None;
    }
    let mut wanted = desired.resource.ok()?;
    let manager = AttributePath::manager();
    if let Some(acknowledged) = applied.attributes.get(&manager) {
        wanted.insert(manager, acknowledged.clone());
    }
    let under = UnderPolicy::of(
        relay,
        profile,
        row.key.kind,
        &wanted,
        desired.active,
        applied,
    );
    let held = under.held(relay, applied, resource);
    let known = under.known(profile, &applied.attributes, earlier);
    let Merged { base, conflicts } = known.merge(&held, now);
    Some(Judged {
        paths: under.paths,
        base,
        conflicts,
    })
}

/// What became of a resource that was compared.
pub(super) struct Judged {
    paths: BTreeSet<AttributePath>,
    base: Attributes,
    /// What is not brought back.
    pub(super) conflicts: Vec<Conflict>,
}

impl Judged {
    /// What counts as acknowledged, given what the target holds.
    pub(super) fn acknowledged(&self, mut held: Attributes) -> Attributes {
        for path in &self.paths {
            match self.base.get(path) {
                Some(value) => held.insert(path.clone(), value.clone()),
                None => held.remove(path),
            };
        }
        held
    }

    /// Whether an attribute is in conflict.
    pub(super) fn has(&self, path: &AttributePath) -> bool {
        self.conflicts.iter().any(|one| one.path == *path)
    }

    /// Whether an attribute is in conflict no more, so that the row has to be planned again.
    pub(super) fn is_over(&self, earlier: &[Conflict]) -> bool {
        !earlier.iter().all(|one| self.has(&one.path))
    }
}

/// The conflicts of one row.
pub(super) async fn of_row(
    relay: &Relay,
    row: &RowKey,
) -> Result<Vec<Conflict>, crate::store::Error> {
    let rows = vec![row.clone()];
    let conflicts = relay.store.conflicts(relay.directory.id, rows).await?;
    Ok(conflicts.into_iter().next().unwrap_or_default())
}

/// Says in the job how many conflicts of the directory wait for a person.
pub(super) async fn tell(relay: &Relay, tracker: &Tracker) -> Result<(), Error> {
    let open = relay.store.conflict_counts(relay.directory.id).await?.open;
    if open == 0 {
        return Ok(());
    }
    let name = &relay.directory.name;
    let warning = format!(
        "{open} attributes hold another value at the target than the directory says, and wait for a person to say which one \
         counts: see `scim-relay conflicts list --directory {name} --state open`, then `conflicts resolve`"
    );
    tracker.update(|job| {
        job.counters.conflicts = open;
        job.warnings.push(warning);
    });
    Ok(())
}
