//! The proof that groups do not give something any more: the directory is asked which groups name somebody, and which name those.
//!
//! What was read of the groups is not enough: somebody may have gone from one into another between the readings of the two, and a
//! group that could not be read may hold him by now.

use std::collections::BTreeSet;

use crate::identity::{Kind, RowKey};
use crate::mapping::roles::RoleRule;
use crate::plan::Step;
use crate::plan::membership::NestedGroups;
use crate::source;
use crate::sync::proof::{Proof, Reader, unproved};
use crate::sync::{Error, Relay, roles};

/// Whether an entry of these DNs is a member of one of the groups now: by DN, and by groups within where they count.
pub(in crate::sync) async fn hold_any(
    reader: &Reader<'_>,
    groups: &[RowKey],
    dns: Vec<String>,
    within: bool,
) -> Result<bool, source::Error> {
    let mut met = BTreeSet::new();
    let mut asked = dns;
    while !asked.is_empty() {
        let naming = reader.groups_naming(&asked).await?;
        asked = Vec::new();
        for group in naming {
            let key = group.anchor.map(|anchor| RowKey {
                kind: Kind::Group,
                anchor,
            });
            if key.is_some_and(|key| groups.contains(&key)) {
                return Ok(true);
            }
            if within && met.insert(group.dn.clone()) {
                asked.push(group.dn);
            }
        }
    }
    Ok(false)
}

/// Whether a user is in none of the groups that give what a step takes from him.
pub(super) async fn of_lost_roles(
    relay: &Relay,
    reader: &Reader<'_>,
    step: &Step,
    dn: String,
) -> Result<Proof, Error> {
    let takes = |rule: &&RoleRule| step.taken(&rule.path).contains(&rule.value.as_str());
    let rules = relay.profile.mapping.roles().iter().filter(takes);
    let givers = roles::groups_of_rules(relay, rules).await?;
    if givers.is_empty() {
        return Ok(Proof::Holds);
    }
    // A role is given at any depth, unless groups within do not count at all.
    let within = relay.profile.nested_groups != NestedGroups::Direct;
    Ok(match hold_any(reader, &givers, vec![dn], within).await {
        Ok(false) => Proof::Holds,
        Ok(true) => Proof::Fails("a group that gives what would be taken has the user".to_owned()),
        Err(error) => unproved(error),
    })
}
