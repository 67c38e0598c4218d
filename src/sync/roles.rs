//! Roles by membership: which groups a user belongs to, what they give him, and who is looked at when a group changes.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::fault::Fault;
use crate::id::ProfileName;
use crate::identity::digest::short;
use crate::identity::dn::Dn;
use crate::identity::{Identity, Kind, MemberKey, RowKey};
use crate::job::ObjectError;
use crate::mapping::roles::{Grants, Group, GroupName, RoleRule, concerned, keep};
use crate::plan::membership::{AbsentGroups, NestedGroups};
use crate::scim::Attributes;
use crate::scim::path::AttributePath;
use crate::scim::resource::has_value;
use crate::snapshot::{Row, Seen, Standing};
use crate::store::Lease;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay};

/// Rows looked at in one turn.
const ROWS_PER_TURN: usize = 1_000;

/// What the role mapping of the profile that runs gives to whom.
pub(super) struct Roles {
    grants: Grants,
    /// The groups that name a group, looked up once in a run.
    holders: HashMap<RowKey, Vec<RowKey>>,
    /// Whether absence proves nothing, so that nobody loses a role by this plan.
    withholds: bool,
    /// Users who keep a role for that reason, by a short digest of their keys; they are decided anew in the next run.
    withheld: HashSet<[u8; 16]>,
}

impl Roles {
    /// Looks for the groups that the mapping names. One that cannot be found is told of in each run.
    pub(super) async fn find(relay: &Relay, tracker: &Tracker) -> Result<Self, Error> {
        let (roles, unknown) = Self::look(relay).await?;
        for rule in unknown {
            let detail = format!(
                "roleMapping names the group {}, which is not among the groups in scope; whoever has {} `{}` by it \
                     keeps it, and nobody gets it. Correct the name, or take the row out; an anchor in place of a DN \
                     survives a rename",
                rule.group.text(),
                rule.path,
                rule.value
            );
            tracker
                .record(ObjectError::of_job("map", Fault::Rejected, detail))
                .await;
        }
        let withholds = proves_nothing(relay, tracker).await?;
        Ok(Self { withholds, ..roles })
    }

    /// The same in the middle of a flight, where nothing is told a second time.
    pub(super) async fn of_now(relay: &Relay) -> Result<Self, Error> {
        Ok(Self::look(relay).await?.0)
    }

    /// Looks for the groups; answers the rules whose group cannot be found.
    async fn look(relay: &Relay) -> Result<(Self, Vec<&RoleRule>), Error> {
        let rules = relay.profile.mapping.roles();
        let mut groups = Vec::with_capacity(rules.len());
        let mut unknown = Vec::new();
        for rule in rules {
            let group = group(relay, &rule.group).await?;
            if group == Group::Unknown {
                unknown.push(rule);
            }
            groups.push(match group {
                Group::Gone if relay.profile.absent_groups == AbsentGroups::Keep => Group::Unknown,
                group => group,
            });
        }
        let roles = Self {
            grants: Grants::new(rules.iter().zip(groups)),
            holders: HashMap::new(),
            withholds: false,
            withheld: HashSet::new(),
        };
        Ok((roles, unknown))
    }

    /// The groups that each of these users belongs to, at any depth where groups within groups count.
    pub(super) async fn groups_of(
        &mut self,
        relay: &Relay,
        users: Vec<RowKey>,
    ) -> Result<HashMap<RowKey, BTreeSet<RowKey>>, Error> {
        if self.grants.is_empty() || users.is_empty() {
            return Ok(HashMap::new());
        }
        let direct = groups_naming(relay, users.clone()).await?;
        if relay.profile.nested_groups != NestedGroups::Direct {
            self.climb(relay, direct.iter().flatten()).await?;
        }
        let belongs = |direct: Vec<RowKey>| {
            let mut groups = BTreeSet::new();
            let mut waiting = direct;
            while let Some(group) = waiting.pop() {
                if groups.insert(group.clone()) {
                    waiting.extend(self.holders.get(&group).into_iter().flatten().cloned());
                }
            }
            groups
        };
        Ok(users
            .into_iter()
            .zip(direct.into_iter().map(belongs))
            .collect())
    }

    /// Looks up which groups hold these, and which hold those.
    async fn climb(
        &mut self,
        relay: &Relay,
        groups: impl Iterator<Item = &RowKey>,
    ) -> Result<(), Error> {
        let mut waiting: BTreeSet<RowKey> = groups.cloned().collect();
        loop {
            waiting.retain(|group| !self.holders.contains_key(group));
            if waiting.is_empty() {
                return Ok(());
            }
            let groups: Vec<RowKey> = std::mem::take(&mut waiting).into_iter().collect();
            let holders = groups_naming(relay, groups.clone()).await?;
            waiting.extend(holders.iter().flatten().cloned());
            self.holders.extend(groups.into_iter().zip(holders));
        }
    }

    /// Adds to what a user shall be what his groups give him.
    pub(super) fn add_to(
        &mut self,
        relay: &Relay,
        attributes: &mut Attributes,
        row: &Row,
        groups: &HashMap<RowKey, BTreeSet<RowKey>>,
    ) {
        let held = row.applied.as_ref().map(|applied| &applied.attributes);
        let groups = groups.get(&row.key).into_iter().flatten();
        self.grants.add_to(attributes, groups, held);
        if let Some(held) = held.filter(|_| self.withholds)
            && keep(relay.profile.mapping.roles(), attributes, held)
        {
            self.withheld.insert(short(&[&row.key.to_key()]));
        }
    }

    /// Whether a user keeps a role only because this run may not take it.
    pub(super) fn withholds_from(&self, user: &RowKey) -> bool {
        self.withheld.contains(&short(&[&user.to_key()]))
    }

    /// What the job says of those.
    pub(super) fn told(&self) -> Option<String> {
        let count = self.withheld.len();
        (count > 0).then(|| {
            format!(
                "{count} users keep roles that their groups do not give them any more, because the directory was not \
                 read completely and plausibly; a run that does so takes them away"
            )
        })
    }
}

/// Whether the last read leaves open what is absent, as it does for members of groups (see [`crate::plan::guard`]).
async fn proves_nothing(relay: &Relay, tracker: &Tracker) -> Result<bool, Error> {
    let job = tracker.job();
    let state = relay.store.profile_state(&relay.key()).await?;
    Ok(job.complete_read == Some(false) || state.implausible.is_some())
}

/// The groups among those that rules name which are there.
pub(super) async fn groups_of_rules(
    relay: &Relay,
    rules: impl Iterator<Item = &RoleRule>,
) -> Result<Vec<RowKey>, Error> {
    let mut groups = Vec::new();
    for rule in rules {
        if let Group::There(key) = group(relay, &rule.group).await? {
            groups.push(key);
        }
    }
    Ok(groups)
}

async fn groups_naming(relay: &Relay, rows: Vec<RowKey>) -> Result<Vec<Vec<RowKey>>, Error> {
    let names = relay.counted();
    let mut naming = relay
        .store
        .rows_naming(relay.directory.id, &names, rows)
        .await?;
    for rows in &mut naming {
        rows.retain(|row| row.kind == Kind::Group);
    }
    Ok(naming)
}

/// What became of a group that the mapping names.
async fn group(relay: &Relay, name: &GroupName) -> Result<Group, Error> {
    if let Some(key) = name.row() {
        let row = relay.rows(vec![key]).await?.pop();
        let there = |seen: &Seen| seen.standing == Standing::Present;
        return Ok(match row {
            Some(row) if row.owner().is_some_and(|(_, seen)| there(seen)) => Group::There(row.key),
            Some(row) if is_gone(relay, &row) => Group::Gone,
            _ => Group::Unknown,
        });
    }
    let names = relay.counted();
    let keys = name.key().into_iter().collect();
    let found = relay
        .store
        .named(relay.directory.id, &names, keys)
        .await?
        .into_iter()
        .flatten()
        .next();
    match found {
        Some(key) if key.kind == Kind::Group => Ok(Group::There(key)),
        Some(_) => Ok(Group::Unknown),
        None => Ok(match was_seen(relay, name).await? {
            true => Group::Gone,
            false => Group::Unknown,
        }),
    }
}

/// Whether a group is known not to be there any more. One that is not searched for any more may well be.
fn is_gone(relay: &Relay, row: &Row) -> bool {
    let scope = &relay.profile_of(row).scope;
    row.owner().is_some_and(|(_, seen)| {
        seen.standing != Standing::Present && scope.searches_for(&seen.identity)
    })
}

/// Whether a group that is absent had this DN when it was last there. Reads all groups, and only when a rule names none.
async fn was_seen(relay: &Relay, name: &GroupName) -> Result<bool, Error> {
    let names = relay.counted();
    let mut after = None;
    loop {
        let rows = relay
            .store
            .listed_rows(
                relay.directory.id,
                &names,
                Kind::Group,
                after,
                ROWS_PER_TURN,
            )
            .await?;
        let Some(last) = rows.last() else {
            return Ok(false);
        };
        let had_name = |row: &Row| {
            let dn = row
                .owner()
                .and_then(|(_, seen)| seen.identity.dn.parse::<Dn>().ok());
            is_gone(relay, row) && dn.map(|dn| MemberKey::of_dn(&dn)) == name.key()
        };
        if rows.iter().any(had_name) {
            return Ok(true);
        }
        after = Some(last.key.clone());
    }
}

/// Marks the users whose roles may change by these entries. It comes before they are recorded, so that a kill between
/// the two costs a look and never a change.
pub(super) async fn mark_before_seen<'a>(
    relay: &Relay,
    lease: &Lease,
    entries: impl IntoIterator<Item = &'a Identity>,
) -> Result<(), Error> {
    let groups = entries
        .into_iter()
        .filter(|entry| entry.kind == Kind::Group)
        .map(|entry| (entry.key(), Some(entry)));
    mark_concerned(relay, lease, &relay.profile.name, groups.collect()).await
}

/// The same for entries that are about to be marked as absent for one of the directory's profiles.
pub(super) async fn mark_before_absent(
    relay: &Relay,
    lease: &Lease,
    profile: &ProfileName,
    rows: &[RowKey],
) -> Result<(), Error> {
    let groups = rows.iter().filter(|row| row.kind == Kind::Group);
    let groups = groups.map(|row| (row.clone(), None)).collect();
    mark_concerned(relay, lease, profile, groups).await
}

async fn mark_concerned(
    relay: &Relay,
    lease: &Lease,
    profile: &ProfileName,
    groups: Vec<(RowKey, Option<&Identity>)>,
) -> Result<(), Error> {
    let profiles = &relay.directory.profiles;
    let matters = profiles
        .iter()
        .any(|profile| !profile.mapping.roles().is_empty());
    if !matters || groups.is_empty() {
        return Ok(());
    }
    let keys = groups.iter().map(|(key, _)| key.clone()).collect();
    let mut members = BTreeSet::new();
    for (row, (_, after)) in relay.rows(keys).await?.iter().zip(groups) {
        let before = row
            .seen_by(profile)
            .filter(|seen| seen.standing == Standing::Present)
            .map(|seen| &seen.identity);
        members.extend(concerned(before, after));
    }
    let names = relay.counted();
    let rows = relay
        .store
        .named(relay.directory.id, &names, members.into_iter().collect())
        .await?;
    let users = users_below(relay, rows.into_iter().flatten().collect()).await?;
    Ok(relay.store.mark_dirty(lease, users).await?)
}

/// The users among these rows and in the groups among them, at any depth.
async fn users_below(relay: &Relay, rows: Vec<RowKey>) -> Result<Vec<RowKey>, Error> {
    let names = relay.counted();
    let mut users = HashSet::new();
    let mut entered = HashSet::new();
    let mut waiting = rows;
    while !waiting.is_empty() {
        let mut groups = Vec::new();
        for row in waiting {
            match row.kind {
                Kind::User => {
                    users.insert(row);
                }
                Kind::Group if entered.insert(row.clone()) => groups.push(row),
                Kind::Group => {}
            }
        }
        let members = relay
            .store
            .members(relay.directory.id, &names, groups)
            .await?;
        waiting = members
            .into_iter()
            .flatten()
            .filter_map(|member| member.row)
            .collect();
    }
    Ok(users.into_iter().collect())
}

/// Whether a value that a row's resource has may come from a request of which no answer arrived.
pub(super) fn may_be_ours(relay: &Relay, row: &Row, path: &AttributePath, value: &str) -> bool {
    let applied = row.applied.as_ref();
    let mapping = &relay.profile_of(row).mapping;
    let by_itself = || {
        let (_, seen) = row.owner()?;
        let desired = mapping.desired(&seen.identity, chrono::Utc::now());
        Some(has_value(&desired.resource.ok()?, path, value))
    };
    applied.is_some_and(|applied| has_value(&applied.attributes, path, value))
        || mapping
            .roles()
            .iter()
            .any(|rule| rule.path == *path && rule.value == value)
        || by_itself() == Some(true)
}
