//! The role mapping: what membership in directory groups gives a user at the target (RFC 7643 §4.1.2).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::identity::dn::Dn;
use crate::identity::{Anchor, Identity, Kind, MemberKey, RowKey};
use crate::scim::path::AttributePath;
use crate::scim::resource::has_value;
use crate::scim::{Attributes, Value};

/// A group as a role mapping names it. Never by its plain name: whoever may make a group anywhere in scope could then
/// give away the role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupName {
    /// By its anchor, which survives a rename.
    Anchor(Uuid),
    /// By its DN, as it was written; compared in its parsed form.
    Dn(String),
}

impl FromStr for GroupName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(anchor) = text.parse::<Uuid>() {
            return Ok(Self::Anchor(anchor));
        }
        match text.parse::<Dn>() {
            Ok(_) if text.contains('=') => Ok(Self::Dn(text.to_owned())),
            _ => Err(format!(
                "`{}` is neither the DN of a group, for example cn=admins,ou=groups,dc=example,dc=org, nor its anchor",
                text.escape_debug()
            )),
        }
    }
}

impl GroupName {
    /// The name as it was written.
    pub fn text(&self) -> String {
        match self {
            Self::Anchor(anchor) => anchor.to_string(),
            Self::Dn(dn) => dn.clone(),
        }
    }

    /// The row, where the anchor names it.
    pub fn row(&self) -> Option<RowKey> {
        match self {
            Self::Anchor(anchor) => Some(RowKey {
                kind: Kind::Group,
                anchor: Anchor::Uuid(*anchor),
            }),
            Self::Dn(_) => None,
        }
    }

    /// The key under which the index of names has the group, where its DN names it.
    pub fn key(&self) -> Option<MemberKey> {
        match self {
            Self::Anchor(_) => None,
            Self::Dn(dn) => dn.parse().ok().map(|dn| MemberKey::of_dn(&dn)),
        }
    }
}

/// One row of a role mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRule {
    /// The group.
    pub group: GroupName,
    /// `roles` or `entitlements`.
    pub path: AttributePath,
    /// The value that its members get.
    pub value: String,
}

/// What became of the group that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// It is in scope.
    There(RowKey),
    /// It was in scope, and a complete read no longer met it.
    Gone,
    /// Nobody knows: it was never seen under this name, or has another one now. Or its members are to keep what they have.
    Unknown,
}

/// The rules of a role mapping with the groups that they name.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    by_group: HashMap<RowKey, Vec<(AttributePath, String)>>,
    kept: BTreeSet<(AttributePath, String)>,
}

impl Grants {
    /// Puts rules and groups together.
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a RoleRule, Group)>) -> Self {
        let mut grants = Self::default();
        for (rule, group) in rules {
            let given = (rule.path.clone(), rule.value.clone());
            match group {
                Group::There(row) => grants.by_group.entry(row).or_default().push(given),
                Group::Gone => {}
                Group::Unknown => {
                    grants.kept.insert(given);
                }
            }
        }
        grants
    }

    /// Whether a group gives anything, so that it matters who belongs to it.
    pub fn is_empty(&self) -> bool {
        self.by_group.is_empty()
    }

    /// Adds to a user's attributes what these groups give him. What comes from a group of which nothing is known he
    /// keeps, if he holds it.
    pub fn add_to<'a>(
        &self,
        attributes: &mut Attributes,
        groups: impl IntoIterator<Item = &'a RowKey>,
        held: Option<&Attributes>,
    ) {
        let mut given: BTreeMap<&AttributePath, BTreeSet<&str>> = BTreeMap::new();
        let granted = groups
            .into_iter()
            .filter_map(|group| self.by_group.get(group))
            .flatten();
        let kept = self
            .kept
            .iter()
            .filter(|(path, value)| held.is_some_and(|held| has_value(held, path, value)));
        for (path, value) in granted.chain(kept) {
            given.entry(path).or_default().insert(value);
        }
        for (path, values) in given {
            let values = values.into_iter().map(str::to_owned).collect();
            attributes.insert(path.clone(), Value::Texts(values));
        }
    }
}

/// Puts back what a user holds by a role mapping and shall not have any more; answers whether there was any.
pub fn keep(rules: &[RoleRule], attributes: &mut Attributes, held: &Attributes) -> bool {
    let mut kept = false;
    let paths: BTreeSet<&AttributePath> = rules.iter().map(|rule| &rule.path).collect();
    for path in paths {
        let texts = |of: &Attributes| -> BTreeSet<String> {
            let value = of.get(path).map_or(&[][..], Value::as_texts);
            value.iter().cloned().collect()
        };
        let (wanted, held) = (texts(attributes), texts(held));
        if !held.is_subset(&wanted) {
            kept = true;
            let all = wanted.union(&held).cloned().collect();
            attributes.insert(path.clone(), Value::Texts(all));
        }
    }
    kept
}

/// The members whose roles may change when one entry of a group takes the place of another; `None` where there is none.
/// A group that comes, goes or is renamed concerns all of its members.
pub fn concerned(before: Option<&Identity>, after: Option<&Identity>) -> BTreeSet<MemberKey> {
    let members = |entry: Option<&Identity>| -> BTreeSet<MemberKey> {
        let members = entry.map_or(&[][..], |entry| &entry.members);
        members.iter().map(|member| member.key).collect()
    };
    let (had, has) = (members(before), members(after));
    let same_names = match (before, after) {
        (Some(before), Some(after)) => before.names == after.names,
        _ => false,
    };
    match same_names {
        true => had.symmetric_difference(&has).copied().collect(),
        false => had.union(&has).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::Member;

    fn rule(group: &str, path: &str, value: &str) -> RoleRule {
        RoleRule {
            group: group.parse().unwrap(),
            path: AttributePath::core(path),
            value: value.into(),
        }
    }

    fn row(number: u128) -> RowKey {
        RowKey {
            kind: Kind::Group,
            anchor: Anchor::Uuid(Uuid::from_u128(number)),
        }
    }

    fn texts(values: &[&str]) -> Value {
        Value::Texts(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn a_group_is_named_by_dn_or_anchor_and_never_by_a_plain_name() {
        let dn: GroupName = "CN=Admins, OU=Groups,DC=x".parse().unwrap();
        let same: GroupName = "cn=admins,ou=groups,dc=x".parse().unwrap();
        assert_eq!((dn.key(), dn.row()), (same.key(), None));
        let anchor: GroupName = Uuid::from_u128(7).to_string().parse().unwrap();
        assert_eq!((anchor.row(), anchor.key()), (Some(row(7)), None));
        for text in ["admins", "", "cn=\"", "00000000-0000"] {
            let error = text.parse::<GroupName>().unwrap_err();
            assert!(error.contains("cn=admins"), "{text}: {error}");
        }
    }

    #[test]
    fn groups_give_each_value_once_and_in_order() {
        let rules = [
            rule("cn=a", "roles", "writer"),
            rule("cn=b", "roles", "admin"),
            rule("cn=c", "roles", "writer"),
            rule("cn=c", "entitlements", "vpn"),
            rule("cn=gone", "roles", "owner"),
        ];
        let groups = [
            Group::There(row(1)),
            Group::There(row(2)),
            Group::There(row(3)),
            Group::There(row(3)),
            Group::Gone,
        ];
        let grants = Grants::new(rules.iter().zip(groups));
        let of = |groups: &[RowKey]| {
            let mut attributes = Attributes::new();
            let held = Attributes::from([(AttributePath::core("roles"), texts(&["owner"]))]);
            grants.add_to(&mut attributes, groups, Some(&held));
            attributes.into_values().collect::<Vec<_>>()
        };
        assert_eq!(
            of(&[row(1), row(2), row(3)]),
            [texts(&["vpn"]), texts(&["admin", "writer"])]
        );
        assert_eq!(of(&[row(9)]), []);
    }

    #[test]
    fn what_an_unknown_group_gives_is_kept_by_those_who_hold_it() {
        let rules = [
            rule("cn=a", "roles", "admin"),
            rule("cn=b", "roles", "reader"),
        ];
        let grants = Grants::new(rules.iter().zip([Group::Unknown, Group::There(row(2))]));
        let roles = AttributePath::core("roles");
        for (held, wanted) in [
            (texts(&["admin", "reader"]), Some(texts(&["admin"]))),
            (texts(&["reader"]), None),
        ] {
            let mut attributes = Attributes::new();
            let held = Attributes::from([(roles.clone(), held)]);
            grants.add_to(&mut attributes, [], Some(&held));
            assert_eq!(attributes.get(&roles), wanted.as_ref());
        }
        let mut attributes = Attributes::new();
        grants.add_to(&mut attributes, [], None);
        assert_eq!(attributes, Attributes::new());
    }

    #[test]
    fn what_may_not_be_taken_yet_is_put_back() {
        let rules = [rule("cn=a", "roles", "admin")];
        let roles = AttributePath::core("roles");
        let of = |values: &[&str]| Attributes::from([(roles.clone(), texts(values))]);
        for (wanted, held, after, kept) in [
            (of(&["b"]), of(&["a", "b"]), of(&["a", "b"]), true),
            (Attributes::new(), of(&["a"]), of(&["a"]), true),
            (of(&["a", "b"]), of(&["a"]), of(&["a", "b"]), false),
            (
                Attributes::new(),
                Attributes::new(),
                Attributes::new(),
                false,
            ),
        ] {
            let mut attributes = wanted;
            assert_eq!(keep(&rules, &mut attributes, &held), kept);
            assert_eq!(attributes, after);
        }
    }

    #[test]
    fn who_is_concerned_when_a_group_changes() {
        let group = |name: &str, members: &[&str]| Identity {
            kind: Kind::Group,
            anchor: Anchor::Text("g".into()),
            dn: name.into(),
            attributes: BTreeMap::new(),
            members: members
                .iter()
                .map(|name| Member {
                    key: MemberKey::of_uid(name),
                    name: (*name).into(),
                })
                .collect(),
            names: vec![MemberKey::of_uid(name)],
        };
        let old = group("g", &["ann", "bob"]);
        let keys = |names: &[&str]| -> BTreeSet<_> {
            names.iter().map(|n| MemberKey::of_uid(n)).collect()
        };
        let changed = group("g", &["bob", "cleo"]);
        let renamed = group("h", &["ann", "bob"]);
        for (before, after, wanted) in [
            (Some(&old), Some(&changed), keys(&["ann", "cleo"])),
            (Some(&old), Some(&old), keys(&[])),
            (Some(&old), Some(&renamed), keys(&["ann", "bob"])),
            (None, Some(&old), keys(&["ann", "bob"])),
            (Some(&old), None, keys(&["ann", "bob"])),
        ] {
            assert_eq!(concerned(before, after), wanted);
        }
    }
}
