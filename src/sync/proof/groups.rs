//! The proof that groups do not give something any more: each group that could is looked at, at any depth.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::identity::observation::Look;
use crate::identity::{Identity, MemberKey, RowKey};
use crate::mapping::roles::RoleRule;
use crate::plan::Step;
use crate::plan::membership::{Named, NestedGroups};
use crate::snapshot::{Row, Standing};
use crate::source;
use crate::sync::proof::{Proof, Reader, unproved};
use crate::sync::propose::members;
use crate::sync::{Error, Relay, roles};

/// How long a look at a group counts. Many users may lose what one large group gave them.
const LOOK_COUNTS: Duration = Duration::from_secs(5);

/// The members that looks at groups of this run found, sorted; `None` for a group that is out of scope.
pub(super) type Looks = BTreeMap<RowKey, (Instant, Option<Vec<MemberKey>>)>;

/// Whether groups, and where groups within count those within, say still what they said when they were read. Where one of them names
/// somebody whom nobody knows, and the read did not come to some group or could not use it, that group may be meant, with
/// members that are not known.
pub(super) async fn say_the_same(
    relay: &Relay,
    reader: &Reader<'_>,
    groups: &[RowKey],
    nested: NestedGroups,
) -> Result<Proof, Error> {
    let named = members::named(relay, groups, nested).await?;
    let names_strangers = names_strangers(&named);
    for row in relay.rows(named.into_keys().collect()).await? {
        match members_now(reader, &row).await {
            Ok(now) if now == members_seen(&row) => {}
            Ok(_) => return Ok(Proof::Fails(changed(&row))),
            Err(error) => return Ok(unproved(error)),
        }
    }
    let counts_within = nested == NestedGroups::Flatten;
    if counts_within && names_strangers && reader.may_have_missed_a_group().await {
        return Ok(Proof::Fails(
            "who belongs to the group is not known: it names a member that is not known, and the read of this run did not \
             come to all groups, or could not use one"
                .to_owned(),
        ));
    }
    Ok(Proof::Holds)
}

/// Whether a group names a member by whose name nobody is known; somebody who was renamed may be meant.
pub(in crate::sync) fn names_strangers(named: &Named) -> bool {
    named.values().flatten().any(|member| member.row.is_none())
}

/// Whether the groups that give what a step takes from a user say still what they said when they were read.
pub(super) async fn givers_say_the_same(
    relay: &Relay,
    reader: &Reader<'_>,
    step: &Step,
) -> Result<Proof, Error> {
    let takes = |rule: &&RoleRule| step.taken(&rule.path).contains(&rule.value.as_str());
    let rules = relay.profile.mapping.roles().iter().filter(takes);
    let givers = roles::groups_of_rules(relay, rules).await?;
    // A role is given at any depth, unless groups within do not count at all.
    let nested = match relay.profile.nested_groups {
        NestedGroups::Direct => NestedGroups::Direct,
        NestedGroups::Flatten | NestedGroups::Nested => NestedGroups::Flatten,
    };
    say_the_same(relay, reader, &givers, nested).await
}

fn changed(row: &Row) -> String {
    let dn = row.owner().map_or("", |(_, seen)| &seen.identity.dn);
    format!("the members of the group {dn} changed since it was read")
}

/// The members that a group's entry names now.
async fn members_now(
    reader: &Reader<'_>,
    group: &Row,
) -> Result<Option<Vec<MemberKey>>, source::Error> {
    if let Some((at, members)) = reader.groups.lock().await.get(&group.key)
        && at.elapsed() < LOOK_COUNTS
    {
        return Ok(members.clone());
    }
    let look = match group.owner() {
        Some((profile, _)) => reader.look_in(profile, &group.key).await?,
        None => None,
    };
    let members = match look {
        Some(Look::Present(identity)) => Some(members_of(&identity)),
        Some(Look::Absent) | None => None,
    };
    let mut looks = reader.groups.lock().await;
    looks.retain(|_, (at, _)| at.elapsed() < LOOK_COUNTS);
    looks.insert(group.key.clone(), (Instant::now(), members.clone()));
    Ok(members)
}

fn members_seen(group: &Row) -> Option<Vec<MemberKey>> {
    let (_, seen) = group.owner()?;
    (seen.standing == Standing::Present).then(|| members_of(&seen.identity))
}

fn members_of(entry: &Identity) -> Vec<MemberKey> {
    let mut members: Vec<MemberKey> = entry.members.iter().map(|member| member.key).collect();
    members.sort_unstable();
    members.dedup();
    members
}
