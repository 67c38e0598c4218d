//! The guard against plans of every size.

use super::*;
use crate::identity::{Anchor, Kind};
use crate::plan::{Action, Reason};
use crate::scim::{AttributeChange, Value};

fn group(name: &str) -> RowKey {
    RowKey {
        kind: Kind::Group,
        anchor: Anchor::Text(name.into()),
    }
}

/// Of a company of so many active users, in which so many would be deactivated.
fn evidence(deactivations: u64, active_users: u64) -> Evidence {
    Evidence {
        coverage: Coverage::Complete,
        rights_in_doubt: None,
        implausible: None,
        baseline: Some(Baseline {
            users: active_users,
            groups: 0,
        }),
        first_load_done: true,
        restored: false,
        definition_changed: false,
        takes_away: true,
        plan: Tally {
            deactivations,
            ..Tally::default()
        },
        spent: Tally::default(),
        linked: LinkedCounts {
            users: active_users,
            active_users,
            ..LinkedCounts::default()
        },
        members: BTreeMap::new(),
        groups_of_leavers: Vec::new(),
    }
}

/// What is counted, so that a limit is met by a plan, by what was done before, or by both.
type Put = fn(&mut Tally, u64);

fn trips(evidence: &Evidence) -> Vec<Vec<Class>> {
    let holds = holds(&Limits::default(), evidence).into_iter();
    holds
        .inspect(|hold| assert_eq!(hold.release, Release::Approval, "{hold:?}"))
        .map(|hold| hold.classes)
        .collect()
}

#[test]
fn each_limit_holds_above_it_and_not_at_it_whatever_was_done_before() {
    let company = |deactivated: u64| {
        let mut evidence = evidence(0, 1_000);
        evidence.linked.groups = 100;
        evidence.linked.members = 2_000;
        evidence.members.insert(group("g"), 200);
        evidence.linked.active_users -= deactivated;
        evidence
    };
    let leave = vec![Class::Deactivate, Class::Delete];
    let members = vec![Class::RemoveMembers];
    let cases: [(&str, u64, Vec<Class>, Put); 6] = [
        ("deactivations", 50, leave, |tally, count| {
            tally.deactivations = count;
        }),
        ("groups emptied", 10, members.clone(), |tally, count| {
            tally.groups_emptied = count;
        }),
        (
            "members of one group",
            40,
            members.clone(),
            |tally, count| {
                tally.from_group.insert(group("g"), count);
            },
        ),
        ("members of all groups", 200, members, |tally, count| {
            tally.members_removed = count;
        }),
        ("users", 200, vec![Class::CreateUser], |tally, count| {
            tally.users_created = count;
        }),
        ("groups", 50, vec![Class::Group], |tally, count| {
            tally.groups_created = count;
        }),
    ];
    for (what, allowed, classes, put) in cases {
        for spent in [0, 1, allowed / 2, allowed - 1] {
            let mut evidence = company(0);
            put(&mut evidence.spent, spent);
            // What was done is done: the company was so large before it.
            evidence.linked.active_users -= evidence.spent.deactivations;
            evidence.linked.members -= evidence.spent.members_removed;
            evidence.linked.users += evidence.spent.users_created;
            evidence.linked.groups += evidence.spent.groups_created;
            let left = 200
                - evidence
                    .spent
                    .from_group
                    .get(&group("g"))
                    .copied()
                    .unwrap_or_default();
            evidence.members.insert(group("g"), left);
            put(&mut evidence.plan, allowed - spent);
            assert_eq!(
                trips(&evidence),
                Vec::<Vec<Class>>::new(),
                "{what}, {spent} before"
            );
            put(&mut evidence.plan, allowed - spent + 1);
            assert_eq!(
                trips(&evidence),
                std::slice::from_ref(&classes),
                "{what}, {spent} before"
            );
        }
        let mut nothing = company(0);
        put(&mut nothing.spent, allowed + 100);
        nothing.linked.active_users = 1_000;
        assert_eq!(
            trips(&nothing),
            Vec::<Vec<Class>>::new(),
            "{what}: a plan without any"
        );
    }
}

#[test]
fn the_first_load_creates_whatever_there_is() {
    let mut first = evidence(0, 0);
    first.plan.users_created = 100_000;
    first.plan.groups_created = 1_000;
    first.first_load_done = false;
    assert_eq!(trips(&first), Vec::<Vec<Class>>::new());
    first.first_load_done = true;
    assert_eq!(trips(&first), [[Class::CreateUser], [Class::Group]]);
}

#[test]
fn an_attribute_that_many_lose_or_get_alike_holds_those_who_change_it() {
    let path = AttributePath::display_name();
    let change = |after: Option<&str>| Action::Change {
        changes: vec![AttributeChange {
            path: path.clone(),
            before: Some(Value::Text("before".into())),
            after: after.map(|text| Value::Text(text.into())),
        }],
    };
    for (after, users, allowed) in [(None, 100, 30), (Some("x"), 100, 30), (Some("x"), 10, 5)] {
        let mut evidence = evidence(0, users);
        for count in 1..=allowed + 1 {
            let user = RowKey {
                kind: Kind::User,
                ..group("u")
            };
            let action = change(after);
            evidence
                .plan
                .add(&user, Class::Update, &action, Reason::Changed, 0);
            let held = holds(&Limits::default(), &evidence);
            assert_eq!(
                held.len(),
                usize::from(count > allowed),
                "{count} of {users}"
            );
            if let Some(hold) = held.first() {
                assert_eq!(hold.extent, Extent::Attributes(vec![path.clone()]));
            }
        }
    }
}

#[test]
fn a_changed_definition_holds_whatever_it_would_take_away() {
    let limits = Limits::default();
    let mut changed = evidence(1, 100);
    changed.definition_changed = true;
    let held = holds(&limits, &changed);
    assert_eq!((held.len(), &held[0].extent), (1, &Extent::TakingAway));
    changed.takes_away = false;
    assert!(holds(&limits, &changed).is_empty(), "it takes nothing away");
}

#[test]
fn everything_waits_with_anything_where_the_profile_says_so() {
    let limits = Limits {
        hold_all: true,
        ..Limits::default()
    };
    assert!(holds(&limits, &evidence(5, 100)).is_empty());
    let held = holds(&limits, &evidence(6, 100));
    assert!(
        held.iter().any(|hold| hold.classes == Class::ALL),
        "{held:?}"
    );
    let mut partial = evidence(0, 100);
    partial.coverage = Coverage::Partial("size limit".into());
    let held = holds(&limits, &partial);
    assert_eq!(held.len(), 1, "nobody is asked: {held:?}");
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
fn groups_wait_with_users_whose_absence_is_in_doubt() {
    let mut many = evidence(50, 100);
    assert_eq!(trips(&many).len(), 1);
    many.groups_of_leavers.push(group("g"));
    let held = holds(&Limits::default(), &many);
    assert_eq!(held.len(), 2);
    assert_eq!(held[1].classes, [Class::RemoveMembers]);
    assert_eq!(held[1].extent, Extent::Rows(vec![group("g")]));
}

#[test]
fn emptied_groups_wait_above_the_limit() {
    for (groups, allowed) in [(1, 2), (29, 2), (30, 3), (1_000, 100)] {
        let mut some = evidence(0, 100);
        some.linked.groups = groups;
        some.plan.groups_emptied = allowed;
        assert!(
            holds(&Limits::default(), &some).is_empty(),
            "{allowed} of {groups}"
        );
        some.plan.groups_emptied = allowed + 1;
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
