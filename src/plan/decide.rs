//! What one row needs: the difference between what it shall be and what the target last acknowledged.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::identity::{Kind, RowKey};
use crate::mapping::Desired;
use crate::plan::deprovisioning::{self, Deprovisioning};
use crate::plan::grace::Grace;
use crate::plan::linking::{self, Linking, Waits};
use crate::plan::membership::AbsentGroups;
use crate::plan::protected::Protected;
use crate::plan::{Action, Class, Reason, Step};
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Attributes, Value};
use crate::snapshot::{Applied, MatchedBy, Row, Seen, Standing};

/// Whom of the users in its scope a profile creates and updates. Whoever changes from one to the other has not left the
/// scope, and whoever must not log in is deactivated in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Population {
    /// Everybody.
    #[default]
    All,
    /// Those who are enabled.
    Active,
    /// Those who are disabled; nobody is created or reactivated.
    Inactive,
}

impl Population {
    /// Whether a user belongs to it, as far as can be told.
    pub fn takes(self, active: Option<bool>) -> bool {
        match self {
            Self::All => true,
            Self::Active => active == Some(true),
            Self::Inactive => active == Some(false),
        }
    }
}

/// How a profile decides.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whom the profile creates and updates.
    pub population: Population,
    /// Whether the target keeps whether an account is active.
    pub keeps_active: bool,
    /// The attributes that the relay maintains, of users.
    pub user_attributes: BTreeSet<AttributePath>,
    /// The attributes that the relay maintains, of groups.
    pub group_attributes: BTreeSet<AttributePath>,
    /// Whether proposals are linked without asking.
    pub link_by_name: bool,
    /// What is never linked and never changed.
    pub protected: Protected,
    /// What happens to the accounts of absent users.
    pub deprovisioning: Deprovisioning,
    /// How long absent users and groups keep what they have.
    pub grace: Grace,
    /// What happens to absent groups.
    pub absent_groups: AbsentGroups,
    /// Most members that go with the creation of a group; the rest follows.
    pub members_with_create: usize,
}

/// What a row needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The steps, in order. None when nothing differs.
    pub steps: Vec<Step>,
    /// Why the row, or a part of it, cannot be brought up to date; in words that name the cure.
    pub problem: Option<String>,
    /// What the row waits for.
    pub waits: Option<Waits>,
}

impl Verdict {
    /// Nothing is to be done for the row.
    pub fn nothing() -> Self {
        Self {
            steps: Vec::new(),
            problem: None,
            waits: None,
        }
    }

    /// Nothing can be done for the row.
    pub fn problem(text: impl Into<String>) -> Self {
        Self {
            problem: Some(text.into()),
            ..Self::nothing()
        }
    }

    /// These steps, and what else is wrong.
    pub(super) fn of(steps: Vec<Step>, problem: Option<String>) -> Self {
        Self {
            steps: with_last_marked(steps, problem.is_none()),
            problem,
            waits: None,
        }
    }

    /// Whether the row does not differ any more.
    pub fn is_clean(&self) -> bool {
        self.steps.is_empty() && self.problem.is_none() && self.waits.is_none()
    }
}

/// What a user's row needs.
pub fn user(row: &Row, seen: &Seen, desired: Desired, policy: &Policy) -> Verdict {
    let step = |class, reason, action| step_of(row, seen, class, reason, action);
    let grace = policy.grace.ends(seen);
    let verdict = match (&row.applied, seen.standing) {
        (None, Standing::Absent { .. }) => Verdict::nothing(),
        (Some(applied), Standing::Absent { .. }) => {
            deprovisioning::of(applied, policy.deprovisioning, grace, desired.active, step)
        }
        (None, Standing::Present) => unlinked_user(row, desired, policy, step),
        (Some(applied), Standing::Present) => linked_user(applied, desired, policy, step),
    };
    verdict.within(&policy.protected, row)
}

/// What a user's row needs besides, where the entry names a manager who was not linked when [`user`] was asked: a step that
/// sets him, if he is linked by the same plan, and else one that takes away whoever is there instead.
pub fn manager(
    row: &Row,
    seen: &Seen,
    desired: &Desired,
    joins: Option<RowKey>,
    policy: &Policy,
) -> Option<Step> {
    let path = AttributePath::manager();
    let takes = policy.population.takes(desired.active) && desired.resource.is_ok();
    if seen.standing != Standing::Present
        || !policy.user_attributes.contains(&path)
        || (row.applied.is_some() && !takes)
    {
        return None;
    }
    let (reason, applied) = match &row.applied {
        Some(applied) => (Reason::Changed, applied.attributes.get(&path)),
        None => (Reason::New, None),
    };
    let action = match joins {
        Some(manager) => Action::SetManager(manager),
        None => Action::Change {
            changes: vec![AttributeChange {
                before: Some(applied?.clone()),
                after: None,
                path,
            }],
        },
    };
    Some(step_of(row, seen, Class::SetManager, reason, action))
}

/// A step of a row, planned from the entry as it was seen.
fn step_of(row: &Row, seen: &Seen, class: Class, reason: Reason, action: Action) -> Step {
    Step {
        key: row.key.clone(),
        dn: seen.identity.dn.clone(),
        class,
        action,
        reason,
        based_on: seen.digest,
        last_of_row: true,
    }
}

fn one(step: Step) -> Verdict {
    Verdict {
        steps: vec![step],
        ..Verdict::nothing()
    }
}

fn unlinked_user(
    row: &Row,
    desired: Desired,
    policy: &Policy,
    step: impl Fn(Class, Reason, Action) -> Step,
) -> Verdict {
    // The accounts that a profile of disabled users is there for were made by somebody else.
    let accepted = row.decided().is_some_and(|decision| decision.accepted);
    let worth_linking = row.found.as_ref().is_some_and(|found| {
        found.by == MatchedBy::ExternalId
            || (found.is_proposal() && (accepted || policy.population == Population::Inactive))
    });
    let active = match desired.active {
        // A user who is already disabled when first seen is not created (specification page 8, 11).
        Some(false) if !worth_linking => return Verdict::nothing(),
        Some(true) if policy.population == Population::Inactive => return Verdict::nothing(),
        Some(active) => active,
        None => {
            return Verdict::problem(
                "whether the account is enabled cannot be told: the reading account may not see userAccountControl; \
                 grant it read access to that attribute",
            );
        }
    };
    let mut attributes = match desired.resource {
        Ok(attributes) => attributes,
        Err(problems) => return Verdict::problem(words(&problems)),
    };
    attributes.insert(AttributePath::active(), Value::Bool(active));
    match linking::of(row, policy.link_by_name, &policy.protected) {
        Linking::Create => one(step(
            Class::CreateUser,
            Reason::New,
            Action::Create {
                attributes,
                members: Vec::new(),
            },
        )),
        Linking::Link(id, reason) => {
            one(step(Class::Link, reason, Action::Link { id, attributes }))
        }
        Linking::Not(waits, problem) => Verdict {
            steps: Vec::new(),
            problem,
            waits,
        },
    }
}

fn linked_user(
    applied: &Applied,
    desired: Desired,
    policy: &Policy,
    step: impl Fn(Class, Reason, Action) -> Step,
) -> Verdict {
    let (changes, problem) = match desired.resource {
        _ if !policy.population.takes(desired.active) => (Vec::new(), None),
        Ok(wanted) => (
            changes(&applied.attributes, &wanted, &policy.user_attributes),
            None,
        ),
        Err(problems) => (Vec::new(), Some(words(&problems))),
    };
    let mut steps = Vec::new();
    let reactivates = policy.population != Population::Inactive;
    let attributes_known = problem.is_none();
    match desired.active {
        // Deactivating goes alone, so that an attribute that the target refuses cannot keep the account alive.
        Some(false) if applied.is_active() => {
            let change = deactivation(applied).into_iter().collect();
            steps.push(step(
                Class::Deactivate,
                Reason::Disabled,
                Action::Change { changes: change },
            ));
            push_update(&mut steps, changes, &step);
        }
        Some(true) if attributes_known && reactivates && !is_known_active(applied, policy) => {
            let mut all = vec![active_change(applied, true)];
            all.extend(changes);
            let reason = match applied.is_active() {
                true => Reason::Changed,
                false => Reason::Back,
            };
            steps.push(step(
                Class::Reactivate,
                reason,
                Action::Change { changes: all },
            ));
        }
        _ => push_update(&mut steps, changes, &step),
    }
    Verdict::of(steps, problem)
}

/// Whether the target said that an account is active, or never will. One that was there before and could not be changed when it
/// was linked may not have said either.
fn is_known_active(applied: &Applied, policy: &Policy) -> bool {
    let says = applied.attributes.contains_key(&AttributePath::active());
    applied.is_active() && (says || !policy.keeps_active)
}

fn push_update(
    steps: &mut Vec<Step>,
    changes: Vec<AttributeChange>,
    step: &impl Fn(Class, Reason, Action) -> Step,
) {
    if !changes.is_empty() {
        steps.push(step(
            Class::Update,
            Reason::Changed,
            Action::Change { changes },
        ));
    }
}

/// Only the last step of a row may declare that nothing differs any more, and only when nothing else is wrong with it.
fn with_last_marked(mut steps: Vec<Step>, complete: bool) -> Vec<Step> {
    let count = steps.len();
    for (at, step) in steps.iter_mut().enumerate() {
        step.last_of_row = complete && at + 1 == count;
    }
    steps
}

pub(super) fn deactivation(applied: &Applied) -> Option<AttributeChange> {
    applied.is_active().then(|| active_change(applied, false))
}

fn active_change(applied: &Applied, active: bool) -> AttributeChange {
    let path = AttributePath::active();
    AttributeChange {
        before: applied.attributes.get(&path).cloned(),
        after: Some(Value::Bool(active)),
        path,
    }
}

/// The maintained attributes that differ, in order of their paths.
pub fn changes(
    base: &Attributes,
    wanted: &Attributes,
    maintained: &BTreeSet<AttributePath>,
) -> Vec<AttributeChange> {
    maintained
        .iter()
        .filter_map(|path| {
            let (before, after) = (base.get(path), wanted.get(path));
            (before != after).then(|| AttributeChange {
                path: path.clone(),
                before: before.cloned(),
                after: after.cloned(),
            })
        })
        .collect()
}

/// The attribute by which people know a resource: a user's `userName`, a group's `displayName`.
pub fn name_path(kind: Kind) -> AttributePath {
    match kind {
        Kind::User => AttributePath::user_name(),
        Kind::Group => AttributePath::display_name(),
    }
}

/// What a group's row needs. `wanted` are the members that it shall have and that are, or are about to be, linked;
/// `present` are those that the relay put there. Both in order.
pub fn group(
    row: &Row,
    seen: &Seen,
    desired: Desired,
    wanted: &[RowKey],
    present: &[RowKey],
    policy: &Policy,
) -> Verdict {
    debug_assert_eq!(row.key.kind, Kind::Group);
    let grace = policy.grace.ends(seen);
    let step = |class, reason, action| step_of(row, seen, class, reason, action);
    let verdict = match (&row.applied, seen.standing) {
        (None, Standing::Absent { .. }) => Verdict::nothing(),
        (Some(_), Standing::Absent { .. })
            if present.is_empty() || policy.absent_groups == AbsentGroups::Keep =>
        {
            Verdict::nothing()
        }
        (Some(_), Standing::Absent { .. }) if grace.is_some() => {
            Verdict::nothing().waiting(grace.map(Waits::Grace))
        }
        (Some(_), Standing::Absent { .. }) => one(step(
            Class::RemoveMembers,
            Reason::Absent,
            Action::RemoveMembers(present.to_vec()),
        )),
        (None, Standing::Present) => match desired.resource {
            Ok(attributes) => unlinked_group(row, attributes, wanted, policy, step),
            Err(problems) => Verdict::problem(words(&problems)),
        },
        (Some(applied), Standing::Present) => {
            linked_group(applied, desired, wanted, present, policy, step)
        }
    };
    verdict.within(&policy.protected, row)
}

fn unlinked_group(
    row: &Row,
    attributes: Attributes,
    wanted: &[RowKey],
    policy: &Policy,
    step: impl Fn(Class, Reason, Action) -> Step,
) -> Verdict {
    match linking::of(row, policy.link_by_name, &policy.protected) {
        Linking::Create => {
            // A group within may be created after this one, so groups follow when all of them are there.
            let (mut later, mut with_it): (Vec<RowKey>, Vec<RowKey>) = wanted
                .iter()
                .cloned()
                .partition(|member| member.kind == Kind::Group);
            later.extend(with_it.split_off(with_it.len().min(policy.members_with_create)));
            let create = Action::Create {
                attributes,
                members: with_it,
            };
            let mut steps = vec![step(Class::Group, Reason::New, create)];
            if !later.is_empty() {
                steps.push(step(
                    Class::AddMembers,
                    Reason::Membership,
                    Action::AddMembers(later),
                ));
            }
            Verdict::of(steps, None)
        }
        Linking::Link(id, reason) => {
            let mut steps = vec![step(Class::Group, reason, Action::Link { id, attributes })];
            if !wanted.is_empty() {
                steps.push(step(
                    Class::AddMembers,
                    Reason::Membership,
                    Action::AddMembers(wanted.to_vec()),
                ));
            }
            Verdict::of(steps, None)
        }
        Linking::Not(waits, problem) => Verdict {
            steps: Vec::new(),
            problem,
            waits,
        },
    }
}

fn linked_group(
    applied: &Applied,
    desired: Desired,
    wanted: &[RowKey],
    present: &[RowKey],
    policy: &Policy,
    step: impl Fn(Class, Reason, Action) -> Step,
) -> Verdict {
    let (changes, problem) = match desired.resource {
        Ok(attributes) => (
            changes(&applied.attributes, &attributes, &policy.group_attributes),
            None,
        ),
        Err(problems) => (Vec::new(), Some(words(&problems))),
    };
    let mut steps = Vec::new();
    let removed = missing_from(present, wanted);
    if !removed.is_empty() {
        steps.push(step(
            Class::RemoveMembers,
            Reason::Membership,
            Action::RemoveMembers(removed),
        ));
    }
    if !changes.is_empty() {
        steps.push(step(
            Class::Group,
            Reason::Changed,
            Action::Change { changes },
        ));
    }
    let added = missing_from(wanted, present);
    if !added.is_empty() {
        steps.push(step(
            Class::AddMembers,
            Reason::Membership,
            Action::AddMembers(added),
        ));
    }
    Verdict::of(steps, problem)
}

/// Those of one ordered list that are not in the other.
fn missing_from(these: &[RowKey], those: &[RowKey]) -> Vec<RowKey> {
    these
        .iter()
        .filter(|row| those.binary_search(row).is_err())
        .cloned()
        .collect()
}

fn words(problems: &[crate::mapping::rule::FieldProblem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests;
