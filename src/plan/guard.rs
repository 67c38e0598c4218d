//! The guard: what in a plan is so large, or rests on so little, that it waits. It cannot be switched off.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::identity::RowKey;
use crate::identity::observation::Coverage;
use crate::plan::tally::Tally;
use crate::plan::{Class, Extent, Hold, Release};
use crate::scim::path::AttributePath;
use crate::snapshot::{Baseline, LinkedCounts};

/// What takes something away from a person.
const REMOVALS: [Class; 3] = [Class::Deactivate, Class::Delete, Class::RemoveMembers];

/// The limits of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Deactivations that are always allowed, so that a small company works.
    pub deactivations: u64,
    /// Deactivations allowed as a percentage of the active linked users.
    pub deactivations_percent: u64,
    /// Deactivations allowed at the most, whatever the percentage gives.
    pub deactivations_most: u64,
    /// Groups emptied, because they are gone or out of scope, that are always allowed.
    pub groups_emptied: u64,
    /// Groups emptied that are allowed as a percentage of the linked groups.
    pub groups_emptied_percent: u64,
    /// Members taken out of one group that are always allowed.
    pub group_members_removed: u64,
    /// Members taken out of one group that are allowed as a percentage of its members.
    pub group_members_removed_percent: u64,
    /// Members taken out of groups that are always allowed.
    pub members_removed: u64,
    /// Members taken out of groups that are allowed as a percentage of all members of groups.
    pub members_removed_percent: u64,
    /// Users, and groups, created after the first load that are always allowed.
    pub creations: u64,
    /// Users, and groups, created after the first load that are allowed as a percentage of the linked ones.
    pub creations_percent: u64,
    /// Users who may lose an attribute, or be given the same value of it, that are always allowed.
    pub attribute_changes: u64,
    /// Users who may lose an attribute, or be given the same value of it, as a percentage of the linked users.
    pub attribute_changes_percent: u64,
    /// A complete read that meets fewer entries than this percentage of the last one is not plausible.
    pub plausible_percent: u64,
    /// A target that has fewer of the linked resources than this percentage is taken for another one.
    pub found_percent: u64,
    /// Whether everything waits as soon as something does.
    pub hold_all: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deactivations: 5,
            deactivations_percent: 5,
            deactivations_most: 500,
            groups_emptied: 2,
            groups_emptied_percent: 10,
            group_members_removed: 10,
            group_members_removed_percent: 20,
            members_removed: 10,
            members_removed_percent: 10,
            creations: 50,
            creations_percent: 20,
            attribute_changes: 5,
            attribute_changes_percent: 30,
            plausible_percent: 80,
            found_percent: 90,
            hold_all: false,
        }
    }
}

/// What a plan would do, what was done before it, and what the read that it rests on was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What the read's silence means.
    pub coverage: Coverage,
    /// Why the directory server may not know whose rights were taken away, in words.
    pub rights_in_doubt: Option<String>,
    /// What the last complete read met, when that was not plausible.
    pub implausible: Option<Baseline>,
    /// Entries that the last plausible complete read met; absent before the first.
    pub baseline: Option<Baseline>,
    /// Whether the first load is over; until then creations do not count.
    pub first_load_done: bool,
    /// Whether the store may be older than what was last written, and nothing was compared since.
    pub restored: bool,
    /// Whether scope, filters or mapping were changed since the last plan of everything.
    pub definition_changed: bool,
    /// Whether the plan takes anything away.
    pub takes_away: bool,
    /// What the plan does; steps that failed before and are tried again do not count.
    pub plan: Tally,
    /// What was done by itself in the last 24 hours.
    pub spent: Tally,
    /// What is linked.
    pub linked: LinkedCounts,
    /// How many members of ours the groups of the plan have that lose some.
    pub members: BTreeMap<RowKey, u64>,
    /// The groups that lose users who leave themselves because they are absent, in order.
    pub groups_of_leavers: Vec<RowKey>,
}

/// Whether a complete read met so few entries that somebody must look (specification page 8, 2).
pub fn is_plausible(limits: &Limits, met: Baseline, baseline: Option<Baseline>) -> bool {
    // Groups count with the users, because a company may have three of them and delete one.
    let some = |now: u64, then: u64| then == 0 || now > 0;
    let all = |read: Baseline| read.users + read.groups;
    baseline.is_none_or(|then| {
        some(met.users, then.users)
            && some(met.groups, then.groups)
            && all(met) * 100 >= all(then) * limits.plausible_percent
    })
}

/// Whether the first load is over although some objects failed: those may be created later without a person.
pub fn is_loaded(limits: &Limits, failed: u64, linked: LinkedCounts) -> bool {
    failed <= allowed_creations(limits, linked.users)
}

/// Whether a plan may go beyond a limit at all, so that what is linked has to be counted.
pub fn is_small(limits: &Limits, plan: &Tally, spent: &Tally) -> bool {
    plan.deactivations + spent.deactivations <= limits.deactivations
        && plan.groups_emptied + spent.groups_emptied <= limits.groups_emptied
        && plan.members_removed + spent.members_removed <= limits.members_removed
        && plan.users_created + spent.users_created <= limits.creations
        && plan.groups_created + spent.groups_created <= limits.creations
        && plan.attributes.iter().all(|(path, values)| {
            let before = spent.attributes.get(path);
            let blanked = before.map_or(0, |before| before.blanked);
            values.blanked + blanked <= limits.attribute_changes
                && values.alike(before) <= limits.attribute_changes
        })
}

/// What must wait, and why.
pub fn holds(limits: &Limits, evidence: &Evidence) -> Vec<Hold> {
    let mut holds: Vec<Hold> = [
        partial_read(evidence),
        rights_in_doubt(evidence),
        implausible_read(limits, evidence),
        restored_store(evidence),
        changed_definition(evidence),
        groups_emptied(limits, evidence),
        members_of_one_group(limits, evidence),
        members_of_all_groups(limits, evidence),
        users_created(limits, evidence),
        groups_created(limits, evidence),
        attributes(limits, evidence),
    ]
    .into_iter()
    .flatten()
    .collect();
    holds.extend(deactivations(limits, evidence));
    let waits = |hold: &Hold| hold.release == Release::Approval;
    if limits.hold_all && holds.iter().any(waits) {
        holds.push(Hold {
            classes: Class::ALL.to_vec(),
            extent: Extent::All,
            release: Release::Approval,
            accepts: None,
            message: "guard.holdAll of the profile: nothing goes while something waits".to_owned(),
        });
    }
    holds
}

fn partial_read(evidence: &Evidence) -> Option<Hold> {
    let Coverage::Partial(why) = &evidence.coverage else {
        return None;
    };
    Some(Hold {
        classes: vec![Class::RemoveMembers],
        extent: Extent::All,
        release: Release::CompleteRead,
        accepts: None,
        message: format!("removals wait for a complete read, because this one was not: {why}"),
    })
}

fn rights_in_doubt(evidence: &Evidence) -> Option<Hold> {
    let why = evidence.rights_in_doubt.as_ref()?;
    Some(Hold {
        classes: vec![Class::Reactivate, Class::AddMembers],
        extent: Extent::All,
        release: Release::CompleteRead,
        accepts: None,
        message: format!(
            "nobody is reactivated or added to a group, because {why} and may not know whose rights were taken away"
        ),
    })
}

/// Removals wait after a read that met few entries; until one that is plausible, or until somebody approves.
pub fn implausible_read(limits: &Limits, evidence: &Evidence) -> Option<Hold> {
    let met = evidence.implausible?;
    let then = evidence.baseline.unwrap_or_default();
    Some(Hold {
        classes: REMOVALS.to_vec(),
        extent: Extent::All,
        release: Release::Approval,
        accepts: Some(met),
        message: format!(
            "the directory answered with {} users and {} groups, where the last complete read met {} and {}: fewer \
             than {} %. Check base DN, filters and the account's rights. Removals wait until entries are back, or until \
             somebody approves the plan, after which so few are usual",
            met.users, met.groups, then.users, then.groups, limits.plausible_percent
        ),
    })
}

/// What an old store says of links and memberships may be over, so nothing rests on it in the run that compares it.
fn restored_store(evidence: &Evidence) -> Option<Hold> {
    evidence.restored.then(|| Hold {
        classes: REMOVALS.to_vec(),
        extent: Extent::All,
        release: Release::CompleteRead,
        accepts: None,
        message: "removals wait for the next run, because the store may have been restored from an old copy: this run compares \
                  directory and target with it first, so that nobody loses what somebody else has by now"
            .to_owned(),
    })
}

/// A change of scope, filter or mapping that would take something away waits, however little it is (hazard H30).
fn changed_definition(evidence: &Evidence) -> Option<Hold> {
    let plan = &evidence.plan;
    let blanked: u64 = plan.attributes.values().map(|values| values.blanked).sum();
    (evidence.definition_changed && evidence.takes_away).then(|| Hold {
        classes: [&REMOVALS[..], &[Class::Update, Class::SetManager]].concat(),
        extent: Extent::TakingAway,
        release: Release::Approval,
        accepts: None,
        message: format!(
            "scope, filters or mapping were changed since the last plan, and would take away: {} users deactivated, {} \
             groups emptied, {} members removed, {blanked} values removed. If that is meant, approve the plan; if not, \
             correct the profile, and reject it",
            plan.deactivations, plan.groups_emptied, plan.members_removed
        ),
    })
}

/// Deactivations, and what depends on them: whoever is absent is a member of nothing, and if that absence is in doubt, so are
/// these removals.
fn deactivations(limits: &Limits, evidence: &Evidence) -> Vec<Hold> {
    let (plan, spent) = (&evidence.plan, &evidence.spent);
    let active = evidence.linked.active_users + spent.deactivations;
    let allowed = allowed_deactivations(limits, active);
    if plan.deactivations == 0 || plan.deactivations + spent.deactivations <= allowed {
        return Vec::new();
    }
    let what = match plan.deletes {
        true => "deactivated or deleted",
        false => "deactivated",
    };
    let message = format!(
        "{} of {active} active users would be {what}, {} of them because they are gone or out of scope{}; up to {allowed} go \
         by themselves in 24 hours. If this is right, approve the plan; if not, correct the directory, the filter or the base \
         DN, and reject it",
        plan.deactivations,
        plan.absent_users,
        already(spent.deactivations)
    );
    let mut holds = vec![Hold {
        classes: vec![Class::Deactivate, Class::Delete],
        extent: Extent::All,
        release: Release::Approval,
        accepts: None,
        message,
    }];
    if !evidence.groups_of_leavers.is_empty() {
        holds.push(Hold {
            classes: vec![Class::RemoveMembers],
            extent: Extent::Rows(evidence.groups_of_leavers.clone()),
            release: Release::Approval,
            accepts: None,
            message: format!(
                "{} groups that these users would leave wait with them",
                evidence.groups_of_leavers.len()
            ),
        });
    }
    holds
}

fn groups_emptied(limits: &Limits, evidence: &Evidence) -> Option<Hold> {
    let (plan, spent) = (evidence.plan.groups_emptied, evidence.spent.groups_emptied);
    let groups = evidence.linked.groups;
    let allowed = share(groups, limits.groups_emptied_percent).max(limits.groups_emptied);
    (plan > 0 && plan + spent > allowed).then(|| Hold {
        classes: vec![Class::RemoveMembers],
        extent: Extent::Emptying,
        release: Release::Approval,
        accepts: None,
        message: format!(
            "{plan} of {groups} groups would be emptied because they are gone or out of scope{}; up to {allowed} go by \
             themselves in 24 hours. If this is right, approve the plan; if not, correct the directory, the filter or the \
             base DN, and reject it",
            already(spent)
        ),
    })
}

fn members_of_one_group(limits: &Limits, evidence: &Evidence) -> Option<Hold> {
    let mut worst = None;
    let mut rows = Vec::new();
    for (group, removed) in &evidence.plan.from_group {
        let spent = evidence.spent.from_group.get(group).copied();
        let spent = spent.unwrap_or_default();
        let members = evidence.members.get(group).copied().unwrap_or_default() + spent;
        let allowed = share(members, limits.group_members_removed_percent);
        let allowed = allowed.max(limits.group_members_removed);
        if removed + spent > allowed {
            rows.push(group.clone());
            worst = worst.max(Some((*removed, members, allowed)));
        }
    }
    let (removed, members, allowed) = worst?;
    Some(Hold {
        classes: vec![Class::RemoveMembers],
        message: format!(
            "{} groups would lose many of their members, one of them {removed} of {members}, where up to {allowed} go by \
             themselves in 24 hours. If this is right, approve the plan; if not, correct the directory, and reject it",
            rows.len()
        ),
        extent: Extent::Rows(rows),
        release: Release::Approval,
        accepts: None,
    })
}

fn members_of_all_groups(limits: &Limits, evidence: &Evidence) -> Option<Hold> {
    let (plan, spent) = (
        evidence.plan.members_removed,
        evidence.spent.members_removed,
    );
    let members = evidence.linked.members + spent;
    let allowed = share(members, limits.members_removed_percent).max(limits.members_removed);
    (plan > 0 && plan + spent > allowed).then(|| Hold {
        classes: vec![Class::RemoveMembers],
        extent: Extent::All,
        release: Release::Approval,
        accepts: None,
        message: format!(
            "{plan} of {members} memberships would be removed, those of users who leave apart{}; up to {allowed} go by \
             themselves in 24 hours. If this is right, approve the plan; if not, correct the directory or the group filter, \
             and reject it",
            already(spent)
        ),
    })
}

fn users_created(limits: &Limits, evidence: &Evidence) -> Option<Hold> {
    let (plan, spent) = (evidence.plan.users_created, evidence.spent.users_created);
    let hold = creations(
        limits,
        evidence,
        "users",
        plan,
        spent,
        evidence.linked.users,
    )?;
    Some(Hold {
        classes: vec![Class::CreateUser],
        ..hold
    })
}

fn groups_created(limits: &Limits, evidence: &Evidence) -> Option<Hold> {
    let (plan, spent) = (evidence.plan.groups_created, evidence.spent.groups_created);
    let hold = creations(
        limits,
        evidence,
        "groups",
        plan,
        spent,
        evidence.linked.groups,
    )?;
    Some(Hold {
        classes: vec![Class::Group],
        extent: Extent::Creating,
        ..hold
    })
}

fn creations(
    limits: &Limits,
    evidence: &Evidence,
    what: &str,
    plan: u64,
    spent: u64,
    linked: u64,
) -> Option<Hold> {
    let before = linked.saturating_sub(spent);
    let allowed = allowed_creations(limits, before);
    (evidence.first_load_done && plan > 0 && plan + spent > allowed).then(|| Hold {
        classes: Vec::new(),
        extent: Extent::All,
        release: Release::Approval,
        accepts: None,
        message: format!(
            "{plan} {what} would be created, where {before} were there{}; up to {allowed} go by themselves in 24 hours. If \
             this is right, approve the plan; if not, correct the filter or the base DN, and reject it",
            already(spent)
        ),
    })
}

fn allowed_creations(limits: &Limits, linked: u64) -> u64 {
    share(linked, limits.creations_percent).max(limits.creations)
}

fn attributes(limits: &Limits, evidence: &Evidence) -> Option<Hold> {
    let users = evidence.linked.users;
    let allowed = share(users, limits.attribute_changes_percent).max(limits.attribute_changes);
    let mut paths: Vec<AttributePath> = Vec::new();
    let mut told = Vec::new();
    for (path, values) in &evidence.plan.attributes {
        let spent = evidence.spent.attributes.get(path);
        let (blanked, alike) = (values.blanked, values.alike(spent));
        let before = spent.map_or(0, |spent| spent.blanked);
        let lose = blanked > 0 && blanked + before > allowed;
        let same = alike > allowed;
        if lose {
            told.push(format!("{blanked} of {users} users would lose {path}"));
        }
        if same {
            told.push(format!(
                "{path} would change alike for {alike} of {users} users"
            ));
        }
        if lose || same {
            paths.push(path.clone());
        }
    }
    (!paths.is_empty()).then(|| Hold {
        classes: vec![Class::Update, Class::SetManager],
        extent: Extent::Attributes(paths),
        release: Release::Approval,
        accepts: None,
        message: format!(
            "{}; up to {allowed} go by themselves in 24 hours. If this is right, approve the plan; if not, correct the \
             mapping, the directory or the account's rights, and reject it",
            told.join("; ")
        ),
    })
}

/// What was done before, where it explains why little is enough.
fn already(spent: u64) -> String {
    match spent {
        0 => String::new(),
        some => format!(", after {some} in the last 24 hours"),
    }
}

fn share(all: u64, percent: u64) -> u64 {
    all.saturating_mul(percent) / 100
}

/// More than max(5, min(500, 5 % of the active linked users)) waits, with the default limits.
fn allowed_deactivations(limits: &Limits, active_users: u64) -> u64 {
    share(active_users, limits.deactivations_percent)
        .min(limits.deactivations_most)
        .max(limits.deactivations)
}

#[cfg(test)]
mod tests;
