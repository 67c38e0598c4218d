//! The guard: what in a plan is so large, or rests on so little, that it waits. It cannot be switched off.

use serde::{Deserialize, Serialize};

use crate::identity::observation::Coverage;
use crate::plan::{Class, Hold, Release};
use crate::snapshot::{Baseline, LinkedCounts};

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
    /// A complete read that meets fewer entries than this percentage of the last one is not plausible.
    pub plausible_percent: u64,
    /// A target that has fewer of the linked resources than this percentage is taken for another one.
    pub found_percent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deactivations: 5,
            deactivations_percent: 5,
            deactivations_most: 500,
            groups_emptied: 2,
            groups_emptied_percent: 10,
            plausible_percent: 80,
            found_percent: 90,
        }
    }
}

/// What a plan would do, and what the read that it rests on was like.
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
    /// Deactivations in the plan that rest on absence.
    pub absent_users: u64,
    /// All deactivations and deletions of users in the plan.
    pub deactivations: u64,
    /// Whether there are deletions among them.
    pub deletes: bool,
    /// Groups that the plan empties, because they are absent.
    pub emptied_groups: u64,
    /// What is linked.
    pub linked: LinkedCounts,
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

/// What must wait, and why.
pub fn holds(limits: &Limits, evidence: &Evidence) -> Vec<Hold> {
    let mut holds = Vec::new();
    if let Coverage::Partial(why) = &evidence.coverage {
        holds.push(Hold {
            classes: vec![Class::RemoveMembers],
            release: Release::CompleteRead,
            message: format!("removals wait for a complete read, because this one was not: {why}"),
        });
    }
    if let Some(why) = &evidence.rights_in_doubt {
        holds.push(Hold {
            classes: vec![Class::Reactivate, Class::AddMembers],
            release: Release::CompleteRead,
            message: format!(
                "nobody is reactivated or added to a group, because {why} and may not know whose rights were taken away"
            ),
        });
    }
    if let Some(met) = evidence.implausible {
        let then = evidence.baseline.unwrap_or_default();
        holds.push(Hold {
            classes: vec![Class::Deactivate, Class::Delete, Class::RemoveMembers],
            release: Release::Approval,
            message: format!(
                "the directory answered with {} users and {} groups, where the last complete read met {} and {}: fewer \
                 than {} %. Check base DN, filters and the account's rights; removals wait until entries are back, or \
                 until guard.plausiblePercent of the profile allows it",
                met.users, met.groups, then.users, then.groups, limits.plausible_percent
            ),
        });
    }
    let allowed = allowed_deactivations(limits, evidence.linked.active_users);
    if evidence.deactivations > allowed {
        let mut classes = vec![Class::Deactivate, Class::Delete];
        if evidence.absent_users > 0 {
            // Whoever is absent is a member of nothing; if that absence is in doubt, so are these removals.
            classes.push(Class::RemoveMembers);
        }
        let what = match evidence.deletes {
            true => "deactivated or deleted",
            false => "deactivated",
        };
        holds.push(Hold {
            classes,
            release: Release::Approval,
            message: format!(
                "{} of {} active users would be {what}, {} of them because they are gone or out of scope; up to \
                 {allowed} go by themselves. If this is right, raise guard.deactivations of the profile; if not, correct \
                 the directory, the filter or the base DN",
                evidence.deactivations, evidence.linked.active_users, evidence.absent_users
            ),
        });
    }
    let share = evidence.linked.groups * limits.groups_emptied_percent / 100;
    let allowed = share.max(limits.groups_emptied);
    if evidence.emptied_groups > allowed {
        holds.push(Hold {
            classes: vec![Class::RemoveMembers],
            release: Release::Approval,
            message: format!(
                "{} of {} groups would be emptied because they are gone or out of scope; up to {allowed} go by \
                 themselves. If this is right, raise guard.groupsEmptied of the profile; if not, correct the directory, the \
                 filter or the base DN",
                evidence.emptied_groups, evidence.linked.groups
            ),
        });
    }
    holds
}

/// More than max(5, min(500, 5 % of the active linked users)) waits, with the default limits.
fn allowed_deactivations(limits: &Limits, active_users: u64) -> u64 {
    let share = active_users.saturating_mul(limits.deactivations_percent) / 100;
    share
        .min(limits.deactivations_most)
        .max(limits.deactivations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(deactivations: u64, active_users: u64) -> Evidence {
        Evidence {
            coverage: Coverage::Complete,
            rights_in_doubt: None,
            implausible: None,
            baseline: Some(Baseline {
                users: active_users,
                groups: 0,
            }),
            absent_users: 0,
            deactivations,
            deletes: false,
            emptied_groups: 0,
            linked: LinkedCounts {
                active_users,
                ..LinkedCounts::default()
            },
        }
    }

    #[test]
    fn deactivations_wait_above_the_limit_for_companies_of_every_size() {
        let limits = Limits::default();
        for (active, allowed) in [
            (0, 5),
            (10, 5),
            (100, 5),
            (101, 5),
            (120, 6),
            (1_000, 50),
            (10_000, 500),
            (100_000, 500),
        ] {
            assert!(
                holds(&limits, &evidence(allowed, active)).is_empty(),
                "{allowed} of {active}"
            );
            let held = holds(&limits, &evidence(allowed + 1, active));
            assert_eq!(held.len(), 1, "{} of {active}", allowed + 1);
            assert_eq!(
                (held[0].release, held[0].classes.as_slice()),
                (
                    Release::Approval,
                    [Class::Deactivate, Class::Delete].as_slice()
                )
            );
        }
    }

    #[test]
    fn members_wait_with_users_whose_absence_is_in_doubt() {
        let mut many = evidence(50, 100);
        for (absent_users, classes) in [
            (0, &[Class::Deactivate, Class::Delete][..]),
            (1, &[Class::Deactivate, Class::Delete, Class::RemoveMembers]),
        ] {
            many.absent_users = absent_users;
            let held = holds(&Limits::default(), &many);
            assert_eq!((held.len(), held[0].classes.as_slice()), (1, classes));
        }
    }

    #[test]
    fn emptied_groups_wait_above_the_limit() {
        for (groups, allowed) in [(1, 2), (29, 2), (30, 3), (1_000, 100)] {
            let mut some = evidence(0, 100);
            some.linked.groups = groups;
            some.emptied_groups = allowed;
            assert!(
                holds(&Limits::default(), &some).is_empty(),
                "{allowed} of {groups}"
            );
            some.emptied_groups = allowed + 1;
            let held = holds(&Limits::default(), &some);
            assert_eq!(held[0].classes, [Class::RemoveMembers], "{held:?}");
        }
    }

    #[test]
    fn a_read_is_plausible_from_four_fifths_up_and_never_when_empty() {
        let limits = Limits::default();
        let base = |users, groups| Baseline { users, groups };
        for (met, then, plausible) in [
            (base(80, 8), Some(base(100, 10)), true),
            (base(77, 10), Some(base(100, 10)), false),
            (base(79, 10), Some(base(100, 10)), true),
            (base(100, 2), Some(base(100, 3)), true),
            (base(100, 0), Some(base(100, 3)), false),
            (base(100, 60), Some(base(100, 110)), false),
            (base(0, 0), Some(base(1, 0)), false),
            (base(0, 0), Some(base(0, 0)), true),
            (base(0, 0), None, true),
            (base(200, 20), Some(base(100, 10)), true),
        ] {
            assert_eq!(
                is_plausible(&limits, met, then),
                plausible,
                "{met:?} after {then:?}"
            );
        }
        let mut empty = evidence(3, 100);
        empty.implausible = Some(base(0, 0));
        let held = holds(&limits, &empty);
        assert!(
            held[0].classes.contains(&Class::Deactivate) && held[0].message.contains("0 users"),
            "{held:?}"
        );
    }

    #[test]
    fn a_partial_read_holds_removals_until_a_complete_one() {
        let mut partial = evidence(3, 100);
        partial.coverage = Coverage::Partial("size limit".into());
        let held = holds(&Limits::default(), &partial);
        assert_eq!((held.len(), held[0].release), (1, Release::CompleteRead));
        assert!(held[0].message.contains("size limit"));
    }
}
