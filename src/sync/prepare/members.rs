//! Members of a step's requests: which of them may leave, which are to be added, and by which ids the target knows them.

use std::collections::{BTreeSet, HashSet};

use crate::identity::{Identity, Kind, MemberKey, RowKey};
use crate::plan::membership::NestedGroups;
use crate::plan::{Reason, Step};
use crate::scim::encode::Known;
use crate::snapshot::{Applied, Row, Standing};
use crate::sync::flight::{Flight, Mandate};
use crate::sync::prepare::{Operation, Task, stale, tell_of};
use crate::sync::proof::Whereabouts;
use crate::sync::{Error, adopt, proof, propose, restored, together};

/// Without those whom the group wants by now: a plan that waited rests on a read that is long ago, and members who were missing
/// then may be back, be it in a group within.
async fn still_unwanted(
    flight: &Flight<'_>,
    step: &Step,
    members: &[RowKey],
) -> Result<Vec<RowKey>, Error> {
    let mut unwanted = members.to_vec();
    if flight.mandate == Mandate::Approved {
        let wanted = propose::members::wanted(flight.relay, &step.key).await?;
        unwanted.retain(|member| wanted.binary_search(member).is_err());
    }
    Ok(unwanted)
}

/// Members that may be taken out: the group's own entry was looked at already; where a member's absence is the reason,
/// that is looked at too, so that one entry that a read missed does not cost its memberships. So is a member that
/// another profile reads: that one may not know yet by which name the group means it now. So is, for the same reason, any member
/// where not everything was read or the group names somebody whom nobody knows: who was renamed since may be meant. And so is any
/// member of an organizational unit, because it is the member's own entry that says where it lies. A group that is gone itself
/// means nobody.
pub(super) async fn provably_gone(
    flight: &Flight<'_>,
    step: &Step,
    group: &Row,
    members: &[RowKey],
) -> Result<Vec<RowKey>, Error> {
    if matches!(step.reason, Reason::Absent | Reason::Undone) {
        return Ok(members.to_vec());
    }
    let nested = flight.relay.profile.nested_groups;
    let counting =
        propose::members::named(flight.relay, std::slice::from_ref(&step.key), nested).await?;
    let there = group.owner().map(|(_, seen)| &seen.identity);
    // A unit that nobody is known to lie in names them all the same.
    let own = there.into_iter().flat_map(|entry| &entry.members);
    let all_named: HashSet<MemberKey> = own
        .map(|member| member.key)
        .chain(counting.values().flatten().map(|member| member.name))
        .collect();
    let named = |names: &[MemberKey]| names.iter().any(|name| all_named.contains(name));
    let may_belong = |row: &Row| row.key.kind == Kind::User || nested == NestedGroups::Nested;
    let names_strangers = counting
        .values()
        .flatten()
        .any(|member| member.row.is_none());
    let is_unit = there.is_some_and(Identity::is_unit);
    let job = flight.tracker.job();
    let all_was_read = job.complete_read.is_some() && !job.suspicious;
    let speaks_for_itself = all_was_read && !is_unit && !names_strangers;
    let members = still_unwanted(flight, step, members).await?;
    let mut gone = Vec::with_capacity(members.len());
    let mut there_now = Vec::new();
    let (mut kept, mut elsewhere) = (0, 0);
    for row in flight.relay.rows(members).await? {
        let is_absent = row
            .owner()
            .is_some_and(|(_, seen)| seen.standing != Standing::Present);
        if speaks_for_itself && !is_absent && flight.relay.owns(&row) {
            let dn = row.owner().map(|(_, seen)| seen.identity.dn.clone());
            there_now.push((row.key, dn.unwrap_or_default()));
            continue;
        }
        match flight.reader.whereabouts(&row.key).await {
            Ok(Whereabouts::Here(_)) if is_absent => kept += 1,
            Ok(Whereabouts::Here(names) | Whereabouts::Elsewhere(names))
                if may_belong(&row) && named(&names.keys) =>
            {
                elsewhere += 1;
            }
            Ok(Whereabouts::Here(names) | Whereabouts::Elsewhere(names)) => {
                there_now.push((row.key, names.dn));
            }
            Ok(Whereabouts::Gone) => gone.push(row.key),
            Err(_) => kept += 1,
        }
    }
    let held = held_within(flight, &step.key, &there_now).await;
    for (row, _) in there_now {
        match held.contains(&row) {
            true => kept += 1,
            false => gone.push(row),
        }
    }
    if kept + elsewhere > 0 {
        flight.leave_unfinished(&step.key);
    }
    if kept > 0 {
        flight.tracker.update(|job| job.suspicious = true);
        let detail = format!(
            "{kept} members were not taken out, because their entries are there, a group within has them, or the directory \
             did not answer; the next run reads them again"
        );
        tell_of(flight, step, detail).await;
    }
    Ok(gone)
}

/// Those of the members whom a group within has now, where these count; all of them where the directory does not say.
async fn held_within(
    flight: &Flight<'_>,
    group: &RowKey,
    members: &[(RowKey, String)],
) -> HashSet<RowKey> {
    let groups = std::slice::from_ref(group);
    let users = members.iter().filter(|(row, _)| row.kind == Kind::User);
    let users: Vec<&(RowKey, String)> = users.collect();
    let dns = |of: &[&(RowKey, String)]| of.iter().map(|(_, dn)| dn.clone()).collect();
    let mut held = HashSet::new();
    if flight.relay.profile.nested_groups != NestedGroups::Flatten {
        return held;
    }
    // All at once first: as a rule it is nobody.
    if let Ok(false) = proof::groups::hold_any(flight.reader, groups, dns(&users), true).await {
        return held;
    }
    for user in users {
        let one = dns(std::slice::from_ref(&user));
        let answer = proof::groups::hold_any(flight.reader, groups, one, true).await;
        if !matches!(answer, Ok(false)) {
            held.insert(user.0.clone());
        }
    }
    held
}

pub(super) fn ids(members: &[(RowKey, String)]) -> Vec<String> {
    members.iter().map(|(_, id)| id.clone()).collect()
}

/// Members by their ids at the target: those that are in the group without having been put there, and those to add. Some
/// targets keep a member twice that is added twice (scim-targets: scimmy), so a group that has no members of ours, as one
/// that was just linked, is read first, and so is each one where the store may be an old one.
pub(super) async fn additions(
    flight: &Flight<'_>,
    group: &RowKey,
    id: &str,
    members: &[RowKey],
) -> Result<(Vec<(RowKey, String)>, Vec<(RowKey, String)>), Error> {
    let directory = flight.relay.directory.id;
    let ours = flight.relay.store.applied_members(directory, group).await?;
    let mut missing = stale::without_leavers(flight, group, members).await?;
    // A part of the step may have been done by an adoption.
    missing.retain(|row| ours.binary_search(row).is_err());
    let members = resolved(flight, &missing).await?;
    let may_be_there = ours.is_empty() || restored::is_noted(flight.relay).await?;
    let present = match may_be_there && !members.is_empty() {
        true => adopt::members_shown(flight.relay, id).await,
        false => BTreeSet::new(),
    };
    Ok(members
        .into_iter()
        .partition(|(_, member)| present.contains(member)))
}

/// Members that are there already are recorded with the others, and not sent.
pub(super) fn with_those_there(
    mut parts: Vec<Operation>,
    there: Vec<(RowKey, String)>,
) -> Vec<Operation> {
    let count = parts.len();
    match parts.first_mut() {
        Some(first) if matches!(first.task, Task::Settle) => first.members = there,
        Some(first) if !there.is_empty() => {
            let recorded = Operation {
                part: u32::try_from(count).unwrap_or(u32::MAX),
                last_part: false,
                members: there,
                task: Task::Settle,
                ..first.clone()
            };
            parts.insert(0, recorded);
        }
        _ => {}
    }
    parts
}

/// The members that have a resource at the target now, with its id, and those who get one in the same request, with the
/// reference to it (RFC 7644 §3.7.2).
pub(super) async fn resolved_or_promised(
    flight: &Flight<'_>,
    group: &RowKey,
    members: &[RowKey],
) -> Result<Vec<(RowKey, String)>, Error> {
    let members = &stale::without_leavers(flight, group, members).await?;
    if !flight.refers() {
        return resolved(flight, members).await;
    }
    let ids = links(flight, members).await?;
    let reference = |row: &RowKey| Some(together::reference(&flight.promised(row)?));
    let members = members.iter().cloned().zip(ids);
    Ok(members
        .filter_map(|(row, id)| {
            let id = id.or_else(|| reference(&row))?;
            Some((row, id))
        })
        .collect())
}

async fn links(flight: &Flight<'_>, members: &[RowKey]) -> Result<Vec<Option<String>>, Error> {
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let directory = flight.relay.directory.id;
    Ok(flight
        .relay
        .store
        .links(directory, members.to_vec())
        .await?)
}

/// The members that have a resource at the target now, with its id.
pub(super) async fn resolved(
    flight: &Flight<'_>,
    members: &[RowKey],
) -> Result<Vec<(RowKey, String)>, Error> {
    let ids = links(flight, members).await?;
    Ok(members
        .iter()
        .cloned()
        .zip(ids)
        .filter_map(|(row, id)| Some((row, id?)))
        .collect())
}

/// What the target is known to hold of a row that it is sent whole.
pub(super) async fn known(
    flight: &Flight<'_>,
    key: &RowKey,
    applied: &Applied,
) -> Result<Known, Error> {
    let members = match key.kind {
        Kind::User => Vec::new(),
        Kind::Group => {
            let directory = flight.relay.directory.id;
            let ours = flight.relay.store.applied_members(directory, key).await?;
            ids(&resolved(flight, &ours).await?)
        }
    };
    Ok(Known {
        attributes: applied.attributes.clone(),
        members,
    })
}
