//! Who belongs to a group at the target: direct members, nested groups, cycles, members that nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::identity::{Kind, RowKey};
use crate::snapshot::ResolvedMember;

/// How groups within groups are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NestedGroups {
    /// Only members that are users; groups within groups are left out.
    #[default]
    Direct,
    /// The users of groups within a group become its own members.
    Flatten,
    /// A group within a group becomes a member of the target's group.
    Nested,
}

/// What happens to a group that is deleted or out of scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AbsentGroups {
    /// The members that the relay put there are taken out.
    #[default]
    Empty,
    /// It stays as it is.
    Keep,
}

/// The members that directory groups name, for as many groups as are needed.
pub type Named = BTreeMap<RowKey, Vec<ResolvedMember>>;

/// Who shall belong to a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Rows that are in scope, in order, each once.
    pub members: Vec<RowKey>,
    /// Members that the directory names and that are left out: outside the scope, dangling, or groups where only users
    /// are wanted.
    pub left_out: u64,
}

/// The groups whose members must be known before [`membership`] can answer for these groups, and are not yet.
pub fn missing(groups: &[RowKey], style: NestedGroups, named: &Named) -> Vec<RowKey> {
    let mut missing: BTreeSet<RowKey> = groups
        .iter()
        .filter(|group| !named.contains_key(group))
        .cloned()
        .collect();
    if style == NestedGroups::Flatten {
        let nested = named
            .values()
            .flatten()
            .filter_map(|member| member.row.as_ref());
        missing.extend(
            nested
                .filter(|row| row.kind == Kind::Group && !named.contains_key(row))
                .cloned(),
        );
    }
    missing.into_iter().collect()
}

/// Who shall belong to a group. Cycles end, because each group is entered once.
pub fn membership(group: &RowKey, style: NestedGroups, named: &Named) -> Membership {
    let mut members = BTreeSet::new();
    let mut left_out = 0;
    let mut entered = BTreeSet::from([group]);
    let mut waiting = vec![group];
    while let Some(next) = waiting.pop() {
        for member in named.get(next).map_or(&[][..], Vec::as_slice) {
            match (&member.row, style) {
                (Some(row), _) if row.kind == Kind::User => {
                    members.insert(row.clone());
                }
                (Some(row), NestedGroups::Flatten) => {
                    if entered.insert(row) {
                        waiting.push(row);
                    }
                }
                (Some(row), NestedGroups::Nested) if row != group => {
                    members.insert(row.clone());
                }
                _ => left_out += 1,
            }
        }
    }
    Membership {
        members: members.into_iter().collect(),
        left_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Anchor, MemberKey};

    fn row(name: &str) -> RowKey {
        let kind = if name.starts_with('g') {
            Kind::Group
        } else {
            Kind::User
        };
        RowKey {
            kind,
            anchor: Anchor::Text(name.into()),
        }
    }

    /// `?x` is a member that nobody knows.
    fn named(groups: &[(&str, &[&str])]) -> Named {
        let member = |name: &str| ResolvedMember {
            name: MemberKey::of_uid(name),
            row: (!name.starts_with('?')).then(|| row(name)),
        };
        groups
            .iter()
            .map(|(group, names)| (row(group), names.iter().map(|name| member(name)).collect()))
            .collect()
    }

    fn check(style: NestedGroups, groups: &[(&str, &[&str])], expected: &[&str], left_out: u64) {
        let found = membership(&row("g1"), style, &named(groups));
        let expected: BTreeSet<RowKey> = expected.iter().map(|name| row(name)).collect();
        assert_eq!(
            found,
            Membership {
                members: expected.into_iter().collect(),
                left_out
            },
            "{style:?} {groups:?}"
        );
    }

    #[test]
    fn nested_groups_are_left_out_flattened_or_kept() {
        let groups: &[(&str, &[&str])] = &[
            ("g1", &["a", "g2", "?x"]),
            ("g2", &["a", "b", "g3"]),
            ("g3", &["c", "?y"]),
        ];
        check(NestedGroups::Direct, groups, &["a"], 2);
        check(NestedGroups::Flatten, groups, &["a", "b", "c"], 2);
        check(NestedGroups::Nested, groups, &["a", "g2"], 1);
    }

    #[test]
    fn cycles_end() {
        let groups: &[(&str, &[&str])] = &[("g1", &["a", "g1", "g2"]), ("g2", &["b", "g1"])];
        check(NestedGroups::Flatten, groups, &["a", "b"], 0);
        check(NestedGroups::Nested, groups, &["a", "g2"], 1);
        check(NestedGroups::Direct, groups, &["a"], 2);
    }

    #[test]
    fn flattening_asks_for_the_groups_within() {
        let some = named(&[("g1", &["g2", "a"])]);
        assert_eq!(
            missing(&[row("g1")], NestedGroups::Flatten, &some),
            [row("g2")]
        );
        assert_eq!(
            missing(&[row("g1"), row("g4")], NestedGroups::Direct, &some),
            [row("g4")]
        );
    }
}
