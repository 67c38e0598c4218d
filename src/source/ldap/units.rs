//! Organizational units as groups: the places that entries get as names, and the one by which a unit names its members.

use crate::identity::digest::{self, Digest};
use crate::identity::dn::Dn;
use crate::identity::place::Place;
use crate::identity::{Member, MemberKey};
use crate::source::ldap::scope::Sought;
use crate::source::{Settings, UnitMembers};

/// What a search makes of where its entries lie.
pub(super) struct Places {
    /// How the entries are named by where they lie.
    of_entries: Vec<Place>,
    /// Where the members of the entries lie; units only.
    of_members: Option<Place>,
}

impl Places {
    /// What one of the searches makes of it.
    pub(super) fn of(settings: &Settings, sought: Sought) -> Self {
        let asked = settings.unit_members.iter();
        let mut of_entries: Vec<Place> = match sought {
            Sought::Users => asked.map(|members| members.place()).collect(),
            Sought::Groups => Vec::new(),
            Sought::Units => asked
                .filter(|members| **members == UnitMembers::UsersAndUnits)
                .map(|members| members.place())
                .collect(),
        };
        of_entries.sort_unstable();
        of_entries.dedup();
        let units = settings.units.as_ref().filter(|_| sought == Sought::Units);
        Self {
            of_entries,
            of_members: units.map(|units| units.members.place()),
        }
    }

    /// The names that an entry has for where it lies.
    pub(super) fn names(&self, dn: &Dn) -> impl Iterator<Item = MemberKey> {
        self.of_entries.iter().flat_map(|place| place.names(dn))
    }

    /// The one member of a unit.
    pub(super) fn member(&self, dn: &str, parsed: &Dn) -> Option<Member> {
        self.of_members.map(|place| Member {
            key: MemberKey::of_place(place, parsed),
            name: dn.to_owned(),
        })
    }

    /// The digest of an entry that is to be made an identity with these places: when they become others, every entry is
    /// made one anew.
    pub(super) fn marked(&self, digest: Digest) -> Digest {
        if self.of_entries.is_empty() && self.of_members.is_none() {
            return digest;
        }
        let places = format!("{:?} {:?}", self.of_entries, self.of_members);
        Digest(digest::short(&[places.as_bytes(), &digest.0]))
    }
}

impl UnitMembers {
    fn place(self) -> Place {
        match self {
            Self::Users | Self::UsersAndUnits => Place::RightBelow,
            Self::UsersBelow => Place::AnywhereBelow,
        }
    }
}
