//! What is held of rows, against what they need.

use super::*;
use crate::identity::{Anchor, Identity, Kind};
use crate::snapshot::{Applied, LastOutcome, Seen};
use uuid::Uuid;

fn row(name: &str) -> RowKey {
    RowKey {
        kind: Kind::User,
        anchor: Anchor::Text(name.into()),
    }
}

fn text(value: &str) -> Option<Value> {
    Some(Value::Text(value.into()))
}

fn change(path: AttributePath, before: Option<Value>, after: Option<Value>) -> AttributeChange {
    AttributeChange {
        path,
        before,
        after,
    }
}

fn step(class: Class, action: Action) -> Step {
    Step {
        key: row("row"),
        dn: String::new(),
        class,
        action,
        reason: Reason::Changed,
        based_on: Digest([1; 16]),
        last_of_row: true,
    }
}

fn update(changes: &[AttributeChange]) -> Step {
    let changes = changes.to_vec();
    step(Class::Update, Action::Change { changes })
}

fn held(steps: &[Step]) -> Held {
    Held {
        job: JobId(Uuid::nil()),
        profile: ProfileName::default(),
        by: HeldBy::Waiting,
        since: DateTime::UNIX_EPOCH,
        steps: steps.to_vec(),
    }
}

fn left(needs: &[Step], holds: &[Held]) -> (Vec<Action>, Vec<bool>) {
    let verdict = Verdict {
        steps: needs.to_vec(),
        ..Verdict::nothing()
    };
    let (verdict, meant) = without(verdict, holds, false);
    let cut = meant.contains(&true);
    assert!(
        verdict.steps.iter().all(|step| step.last_of_row != cut),
        "a row of which something is held stays marked"
    );
    let actions = verdict.steps.into_iter().map(|step| step.action);
    (actions.collect(), meant)
}

#[test]
fn what_is_held_is_not_planned_again_and_everything_else_is() {
    let name = AttributePath::display_name;
    let to = |value: &str| change(name(), text("old"), text(value));
    let login = change(AttributePath::user_name(), text("a"), text("b"));
    let members = |names: &[&str]| names.iter().map(|name| row(name)).collect::<Vec<_>>();
    let adds = |names: &[&str]| step(Class::AddMembers, Action::AddMembers(members(names)));
    let takes = |names: &[&str]| step(Class::RemoveMembers, Action::RemoveMembers(members(names)));
    let creates = || {
        let (attributes, members) = Default::default();
        step(
            Class::CreateUser,
            Action::Create {
                attributes,
                members,
            },
        )
    };
    let cases = [
        // The same change, whatever it starts from.
        (
            vec![update(&[to("new")])],
            vec![update(&[to("new")])],
            vec![],
            true,
        ),
        // The directory has a new value.
        (
            vec![update(&[to("newer")])],
            vec![update(&[to("new")])],
            vec![update(&[to("newer")])],
            false,
        ),
        // Another attribute changed as well.
        (
            vec![update(&[to("new"), login.clone()])],
            vec![update(&[to("new")])],
            vec![update(std::slice::from_ref(&login))],
            true,
        ),
        // One more member leaves.
        (
            vec![takes(&["a", "b", "c"])],
            vec![takes(&["a", "c"])],
            vec![takes(&["b"])],
            true,
        ),
        (
            vec![takes(&["a"])],
            vec![adds(&["a"])],
            vec![takes(&["a"])],
            false,
        ),
        // A group that is not created has no members.
        (vec![creates(), adds(&["a"])], vec![creates()], vec![], true),
        // Nothing is wanted any more.
        (vec![], vec![takes(&["a"])], vec![], false),
    ];
    for (at, (needs, holds, expected, is_meant)) in cases.into_iter().enumerate() {
        let expected: Vec<Action> = expected.into_iter().map(|step| step.action).collect();
        assert_eq!(
            left(&needs, &[held(&holds)]),
            (expected, vec![is_meant]),
            "case {at}"
        );
    }
}

#[test]
fn a_row_that_cannot_be_decided_keeps_what_is_held() {
    let removal = step(Class::RemoveMembers, Action::RemoveMembers(vec![row("a")]));
    let (_, meant) = without(
        Verdict::problem("cannot be read"),
        &[held(std::slice::from_ref(&removal))],
        false,
    );
    assert_eq!(meant, [true]);
    let (_, meant) = without(Verdict::nothing(), &[held(&[removal])], true);
    assert_eq!(meant, [true]);
}

#[test]
fn whoever_is_disabled_leaves_although_his_absence_is_held() {
    let off = |reason| {
        let changes = vec![change(
            AttributePath::active(),
            Some(Value::Bool(true)),
            Some(Value::Bool(false)),
        )];
        Step {
            reason,
            ..step(Class::Deactivate, Action::Change { changes })
        }
    };
    let absent = held(&[off(Reason::Absent)]);
    for (reason, is_left) in [(Reason::Absent, 0), (Reason::Disabled, 1)] {
        let verdict = Verdict {
            steps: vec![off(reason)],
            ..Verdict::nothing()
        };
        let (verdict, _) = without(verdict, std::slice::from_ref(&absent), false);
        assert_eq!(verdict.steps.len(), is_left, "{reason:?}");
    }
}

#[test]
fn a_person_decides_for_the_profile_as_it_was() {
    let by = HeldBy::Person {
        undone: false,
        who: String::new(),
        fingerprint: Some(Digest([1; 16])),
    };
    let rejected = Held { by, ..held(&[]) };
    assert!(rejected.counts(Some(Digest([1; 16]))));
    assert!(!rejected.counts(Some(Digest([2; 16]))));
    assert!(held(&[]).counts(None));
}

#[test]
fn a_step_that_waited_is_carried_out_only_as_long_as_it_is_what_it_was() {
    let since = DateTime::UNIX_EPOCH;
    let path = AttributePath::display_name();
    let change = update(&[change(path.clone(), text("old"), text("new"))]);
    let leaves = Step {
        reason: Reason::Absent,
        ..step(Class::RemoveMembers, Action::RemoveMembers(vec![row("a")]))
    };
    let undone = Step {
        reason: Reason::Undone,
        ..leaves.clone()
    };
    let as_it_is = |standing, digest, value: &str| Row {
        key: row("row"),
        seen: vec![(
            ProfileName::default(),
            Seen {
                identity: Identity {
                    kind: Kind::User,
                    anchor: Anchor::Text("row".into()),
                    dn: String::new(),
                    attributes: Default::default(),
                    members: Vec::new(),
                    names: Vec::new(),
                },
                digest: Digest([digest; 16]),
                standing,
            },
        )],
        applied: Some(Applied {
            id: "7".into(),
            attributes: [(path.clone(), Value::Text(value.into()))].into(),
        }),
        found: None,
        decision: None,
        last: LastOutcome::default(),
    };
    let (here, gone) = (Standing::Present, Standing::Absent { since });
    for (step, row, expected) in [
        (&change, as_it_is(here, 1, "old"), "Current"),
        (&change, as_it_is(here, 1, "new"), "Done"),
        (&change, as_it_is(here, 1, "other"), "Stale"),
        (&change, as_it_is(here, 2, "old"), "Stale"),
        (&change, as_it_is(gone, 1, "old"), "Stale"),
        (&leaves, as_it_is(gone, 1, "old"), "Current"),
        (&leaves, as_it_is(here, 1, "old"), "Stale"),
        (&undone, as_it_is(here, 2, "old"), "Current"),
    ] {
        let found = format!("{:?}", freshness(step, &row));
        assert!(found.starts_with(expected), "{found} is not {expected}");
    }
    let nobody = Row {
        seen: Vec::new(),
        ..as_it_is(here, 1, "old")
    };
    assert!(matches!(freshness(&change, &nobody), Freshness::Stale(_)));
}
