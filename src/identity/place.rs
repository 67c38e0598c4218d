//! Places in the tree: the names by which organizational units name whoever lies in them.
//!
//! A unit that is a group has no list of members. It has one member, the place below it, and that is a name of every entry
//! that lies there. So a unit is a group like any other for all who ask who names whom.

use crate::identity::dn::Dn;
use crate::identity::{Identity, Kind, Member, MemberKey, digest};

/// Where an entry lies, seen from a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Right below it.
    RightBelow,
    /// Below it at any depth.
    AnywhereBelow,
}

/// What the keys of places begin with. Another key may begin so by chance, and nothing follows from that but the table
/// that it is kept in.
const PLACE: [u8; 4] = [0; 4];

impl MemberKey {
    /// The key of everybody who lies so below an entry.
    pub fn of_place(place: Place, dn: &Dn) -> Self {
        let word: &[u8] = match place {
            Place::RightBelow => b"right below",
            Place::AnywhereBelow => b"anywhere below",
        };
        let mut key = digest::short(&[word, dn.normalized().as_bytes()]);
        key[..PLACE.len()].copy_from_slice(&PLACE);
        Self(key)
    }

    /// Whether many entries may have it as their name; any other name belongs to one.
    pub fn is_place(&self) -> bool {
        self.0.starts_with(&PLACE)
    }
}

impl Place {
    /// The names that an entry has for where it lies.
    pub fn names(self, dn: &Dn) -> Vec<MemberKey> {
        let units = std::iter::successors(dn.above(), Dn::above);
        let levels = match self {
            Self::RightBelow => 1,
            Self::AnywhereBelow => usize::MAX,
        };
        units
            .take(levels)
            .map(|unit| MemberKey::of_place(self, &unit))
            .collect()
    }
}

impl Identity {
    /// Whether it is an organizational unit that is a group: its one member is the place that bears its own name.
    pub fn is_unit(&self) -> bool {
        let place = |member: &Member| member.key.is_place() && member.name == self.dn;
        self.kind == Kind::Group && matches!(self.members.as_slice(), [only] if place(only))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::Anchor;

    fn dn(text: &str) -> Dn {
        text.parse().unwrap()
    }

    #[test]
    fn whoever_lies_in_a_unit_has_its_place_as_a_name() {
        let unit = dn("ou=Sales,dc=x");
        let right_below = MemberKey::of_place(Place::RightBelow, &unit);
        let anywhere = MemberKey::of_place(Place::AnywhereBelow, &unit);
        assert_ne!(right_below, anywhere);
        for (name, direct, any) in [
            ("uid=ann,OU=sales, DC=x", true, true),
            ("uid=ann,l=Rome,ou=sales,dc=x", false, true),
            ("ou=sales,dc=x", false, false),
            (r"uid=ann\,ou=sales,dc=x", false, false),
            ("uid=ann", false, false),
        ] {
            let name = dn(name);
            let lies = |place: Place, key| place.names(&name).contains(&key);
            assert_eq!(lies(Place::RightBelow, right_below), direct, "{name}");
            assert_eq!(lies(Place::AnywhereBelow, anywhere), any, "{name}");
            assert!(!lies(Place::RightBelow, anywhere), "{name}");
        }
        assert!(right_below.is_place() && anywhere.is_place());
        assert!(!MemberKey::of_dn(&unit).is_place());
    }

    #[test]
    fn a_unit_is_told_from_a_group_that_names_itself() {
        let with = |key| Identity {
            kind: Kind::Group,
            anchor: Anchor::Text("u".into()),
            dn: "ou=sales,dc=x".into(),
            attributes: Default::default(),
            members: vec![Member {
                key,
                name: "ou=sales,dc=x".into(),
            }],
            names: Vec::new(),
        };
        let name = dn("ou=sales,dc=x");
        assert!(with(MemberKey::of_place(Place::RightBelow, &name)).is_unit());
        assert!(!with(MemberKey::of_dn(&name)).is_unit());
    }
}
