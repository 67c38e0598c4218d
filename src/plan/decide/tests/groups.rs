//! Every state of a group, and the steps that it needs.

use super::*;

fn members(names: &[&str]) -> Vec<RowKey> {
    names
        .iter()
        .map(|name| RowKey {
            kind: Kind::User,
            anchor: Anchor::Text((*name).into()),
        })
        .collect()
}

#[test]
fn every_state_of_a_group_has_its_steps() {
    let named =
        |name: &str| Attributes::from([(AttributePath::display_name(), Value::Text(name.into()))]);
    let wanted = |name: &str| Desired {
        active: Some(true),
        resource: Ok(named(name)),
    };
    let there = |name: &str| {
        Some(Applied {
            id: "7".into(),
            attributes: named(name),
        })
    };
    for (applied, found, standing, desired, members_wanted, members_present, expected) in [
        (
            None,
            None,
            PRESENT,
            wanted("g"),
            &["a"][..],
            &[][..],
            "group:create!",
        ),
        (None, None, ABSENT, wanted("g"), &[], &[], ""),
        (
            None,
            found(MatchedBy::ExternalId),
            PRESENT,
            wanted("g"),
            &["a"],
            &[],
            "group:9 add_members:a!",
        ),
        (
            None,
            found(MatchedBy::Name),
            PRESENT,
            wanted("g"),
            &["a"],
            &[],
            "?",
        ),
        (
            there("g"),
            None,
            PRESENT,
            wanted("g"),
            &["a", "b"],
            &["a", "b"],
            "",
        ),
        (
            there("g"),
            None,
            PRESENT,
            wanted("g"),
            &["a", "c"],
            &["a", "b"],
            "remove_members:b add_members:c!",
        ),
        (
            there("g"),
            None,
            PRESENT,
            wanted("h"),
            &["a"],
            &["a"],
            "group:displayName!",
        ),
        (
            there("g"),
            None,
            PRESENT,
            wanted("h"),
            &[],
            &["a"],
            "remove_members:a group:displayName!",
        ),
        (
            there("g"),
            None,
            PRESENT,
            broken(Some(true)),
            &[],
            &["a"],
            "remove_members:a ?",
        ),
        (
            there("g"),
            None,
            ABSENT,
            wanted("g"),
            &["a"],
            &["a", "b"],
            "remove_members:a+b!",
        ),
        (there("g"), None, ABSENT, wanted("g"), &[], &[], ""),
    ] {
        let (row, seen) = row(Kind::Group, applied, found, standing);
        let (wanted, present) = (members(members_wanted), members(members_present));
        let verdict = group(&row, &seen, desired, &wanted, &present, &policy(false));
        assert_eq!(told(&verdict), expected);
    }
    let (row, seen) = row(Kind::Group, there("g"), None, ABSENT);
    let keep = Policy {
        absent_groups: AbsentGroups::Keep,
        ..policy(false)
    };
    assert!(group(&row, &seen, wanted("g"), &[], &members(&["a"]), &keep).is_clean());
}
