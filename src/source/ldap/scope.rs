//! One search of the settings, checked and ready, and what it makes of the entries that it finds.

use std::fmt;

use lber::structure::StructureTag;
use ldap3::controls::RawControl;
use smallvec::SmallVec;

use crate::fault::Fault;
use crate::identity::digest::{self, Digest};
use crate::identity::dn::Dn;
use crate::identity::{Anchor, DirectoryType, Identity, Kind, Member, MemberKey, Value};
use crate::source::ldap::anchor::AnchorForm;
use crate::source::ldap::ber::Malformed;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::frame::Message;
use crate::source::ldap::primary;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::units::Places;
use crate::source::{self, Error, MembershipAttribute, MembershipBy, Settings, Stage};

/// What a search finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    Users,
    Groups,
    /// Organizational units, as groups.
    Units,
}

impl Sought {
    /// All of them, in the order in which they are read. What is a group and a unit is a group.
    pub(super) const ALL: [Self; 3] = [Self::Users, Self::Groups, Self::Units];

    /// What the entries are.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Users => Kind::User,
            Self::Groups | Self::Units => Kind::Group,
        }
    }

    /// The search of the settings; `None` when they have none.
    fn search(self, settings: &Settings) -> Option<&source::Search> {
        match self {
            Self::Users => Some(&settings.users),
            Self::Groups => settings.groups.as_ref(),
            Self::Units => settings.units.as_ref().map(|units| &units.search),
        }
    }
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Users => "user",
            Self::Groups => "group",
            Self::Units => "organizational unit",
        })
    }
}

/// The search for the users, the groups or the organizational units of a profile.
pub(super) struct Scope {
    /// What it finds.
    pub(super) sought: Sought,
    /// What the entries are.
    pub(super) kind: Kind,
    /// Where it starts.
    pub(super) base: String,
    /// Which entries match.
    pub(super) filter: StructureTag,
    /// The attributes that are asked for, in lower case, each once.
    pub(super) wanted: Vec<String>,
    /// The attribute that becomes the anchor, in lower case.
    pub(super) anchor_attribute: String,
    /// How that attribute keeps its value.
    pub(super) anchor_form: AnchorForm,
    /// Whether the server is Active Directory.
    pub(super) active_directory: bool,
    /// Which of the wanted attributes the mapping reads.
    mapped: Vec<String>,
    membership: Vec<MembershipAttribute>,
    uid_attribute: String,
    /// The attribute in which the entries name their managers, in lower case.
    manager: Option<String>,
    /// Who may belong to a group without being named by it.
    pub(super) primary: Option<primary::Users>,
    places: Places,
}

/// The values of an attribute; most have one, which takes no memory of its own.
pub(super) type Values<'a> = SmallVec<[&'a [u8]; 1]>;

/// The wanted part of an entry.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// The name as the server wrote it.
    pub(super) dn: &'a [u8],
    /// The attributes that have values, by their wanted names.
    pub(super) attributes: Vec<(&'a str, Values<'a>)>,
    /// Whether the server kept values back (`member;range=0-1499`).
    pub(super) ranged: bool,
}

impl Parts<'_> {
    /// The values of an attribute, by its wanted name.
    pub(super) fn values(&self, name: &str) -> &[&[u8]] {
        self.attributes
            .iter()
            .find(|(found, _)| *found == name)
            .map_or(&[], |(_, values)| values)
    }

    /// Brings the values of each attribute into order, as [`Digest::of_entry`] does too.
    pub(super) fn sort_values(&mut self) {
        for (_, values) in &mut self.attributes {
            values.sort_unstable();
        }
    }

    /// The name as text for people, whatever its bytes.
    pub(super) fn dn_for_people(&self) -> String {
        String::from_utf8_lossy(self.dn).into_owned()
    }
}

impl Scope {
    /// Checks one of the searches; `None` when the settings have none.
    pub(super) fn prepare(
        settings: &Settings,
        sought: Sought,
        server: &str,
    ) -> Result<Option<Self>, Error> {
        let Some(search) = sought.search(settings) else {
            return Ok(None);
        };
        let denied = |stage, what: String| {
            let message = format!("{server}: the search for {sought}s: {what}");
            Error::new(stage, Fault::Denied, message)
        };
        let filter = request::filter(&search.filter).map_err(|problem| {
            denied(
                Stage::Filter,
                format!("the filter `{}`: {problem}", search.filter),
            )
        })?;
        search
            .base
            .parse::<Dn>()
            .map_err(|error| denied(Stage::BaseDn, format!("the search base: {error}")))?;
        let membership = match sought {
            Sought::Users | Sought::Units => Vec::new(),
            Sought::Groups => settings.membership.iter().map(lower_case).collect(),
        };
        let anchor_attribute = settings.anchor_attribute.to_ascii_lowercase();
        let uid_attribute = settings.uid_attribute.to_ascii_lowercase();
        let mapped: Vec<String> = search
            .attributes
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .filter(|name| membership.iter().all(|member| member.name != *name))
            .collect();
        let mut wanted = mapped.clone();
        wanted.push(anchor_attribute.clone());
        wanted.extend(membership.iter().map(|member| member.name.clone()));
        let mut primary = None;
        match sought {
            Sought::Users if settings.primary_group => wanted.push(primary::GROUP_ID.to_owned()),
            Sought::Groups if settings.primary_group => {
                wanted.push(primary::SID.to_owned());
                let users = request::filter(&settings.users.filter).ok();
                primary = users.map(|filter| primary::Users::of(settings, filter));
            }
            _ => {}
        }
        let names_manager = settings.manager_attribute.as_ref();
        let names_manager = names_manager.filter(|_| sought == Sought::Users);
        if sought == Sought::Users {
            wanted.push(uid_attribute.clone());
            wanted.extend(names_manager.map(|name| name.to_ascii_lowercase()));
        }
        wanted.sort_unstable();
        wanted.dedup();
        if let Some(name) = wanted.iter().find(|name| !is_attribute(name)) {
            let problem = format!("`{name}` is not the name of one attribute");
            return Err(denied(Stage::Reading, problem));
        }
        Ok(Some(Self {
            sought,
            kind: sought.kind(),
            base: search.base.clone(),
            filter,
            anchor_form: AnchorForm::of_attribute(&anchor_attribute),
            active_directory: settings.directory_type == DirectoryType::ActiveDirectory,
            wanted,
            anchor_attribute,
            mapped,
            membership,
            uid_attribute,
            manager: names_manager.map(|name| name.to_ascii_lowercase()),
            primary,
            places: Places::of(settings, sought),
        }))
    }

    /// The attributes in which groups name members by DN.
    pub(super) fn named_by_dn(&self) -> impl Iterator<Item = &str> {
        let by_dn = |attribute: &&MembershipAttribute| attribute.by == MembershipBy::Dn;
        let attributes = self.membership.iter().filter(by_dn);
        attributes.map(|attribute| attribute.name.as_str())
    }

    /// The search for the base alone, which tells whether it is there and readable.
    pub(super) fn base_search(&self) -> Search<'_> {
        Search {
            base: &self.base,
            reach: Reach::Base,
            filter: request::any_entry(),
            entries_max: 0,
            attributes: &[request::NO_ATTRIBUTES],
            names_only: false,
        }
    }

    /// The controls that every search carries.
    pub(super) fn controls(&self) -> Vec<RawControl> {
        if self.active_directory {
            vec![request::domain_scope()]
        } else {
            Vec::new()
        }
    }

    /// The wanted parts of an entry. The first message is the entry; the others add ranges of values to it, or are users
    /// whose primary group it is.
    pub(super) fn parts<'a>(&'a self, messages: &'a [Message]) -> Result<Parts<'a>, Malformed> {
        let mut dn: &[u8] = &[];
        let mut ranged = false;
        let mut values = vec![Values::new(); self.wanted.len()];
        for (index, message) in messages.iter().enumerate() {
            let mut entry = Entry::decode(message)?;
            if index == 0 {
                dn = entry.dn;
            }
            while let Some(attribute) = entry.next()? {
                let range = attribute.description.range;
                let name = attribute.description.name;
                if index > 0
                    && name.eq_ignore_ascii_case(primary::GROUP_ID)
                    && let Some(member) = self.membership.first()
                    && let Some(at) = self.position(&member.name)
                {
                    values[at].push(entry.dn);
                    continue;
                }
                let Some(at) = self.position(attribute.description.name) else {
                    continue;
                };
                if index > 0 && range.is_none() {
                    continue;
                }
                ranged |= range.is_some_and(|range| range.first != 0 || range.last.is_some());
                attribute.each_value(|value| values[at].push(value))?;
            }
        }
        let attributes = self
            .wanted
            .iter()
            .zip(values)
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| (name.as_str(), values))
            .collect();
        Ok(Parts {
            dn,
            attributes,
            ranged,
        })
    }

    /// The number by which users name the entry as their primary group, where those count as its members.
    pub(super) fn primary_group_id(&self, parts: &Parts<'_>) -> Option<u32> {
        self.primary.as_ref()?;
        primary::group_id(parts.values(primary::SID).first()?)
    }

    /// Where an attribute stands among the wanted ones.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.wanted
            .iter()
            .position(|wanted| wanted.eq_ignore_ascii_case(name))
    }

    /// The entry's anchor, or what is wrong with it and what cures it.
    pub(super) fn anchor(&self, parts: &Parts<'_>) -> Result<Anchor, String> {
        let name = &self.anchor_attribute;
        match parts.values(name) {
            [] => Err(format!(
                "it has no `{name}`; give the bind account the right to read that attribute of every entry in scope, \
                 or choose an anchor attribute that all have"
            )),
            [value] => self.anchor_form.decode(value).ok_or_else(|| {
                format!("its `{name}` does not have the form of that attribute, so it cannot be the anchor")
            }),
            _ => Err(format!(
                "it has more than one `{name}`; an anchor is one value that never changes"
            )),
        }
    }

    /// The digest of an entry, by which it is known to be unchanged. Sorts the values. When another attribute comes to name
    /// the manager, every entry is made an identity anew.
    pub(super) fn digest(&self, dn: &str, parts: &mut Parts<'_>) -> Digest {
        let digest = Digest::of_entry(dn, &mut parts.attributes);
        let digest = self.places.marked(digest);
        match &self.manager {
            Some(manager) => Digest(digest::short(&[b"manager", manager.as_bytes(), &digest.0])),
            None => digest,
        }
    }

    /// The entry in canonical form, or what is wrong with it. The values must be sorted.
    pub(super) fn identity(&self, parts: &Parts<'_>, anchor: Anchor) -> Result<Identity, String> {
        let dn = readable_dn(parts.dn)?;
        let parsed: Dn = dn
            .parse()
            .map_err(|error| format!("its name cannot be read: {error}"))?;
        let mut names = vec![MemberKey::of_dn(&parsed)];
        if self.sought == Sought::Users {
            let uids = parts.values(&self.uid_attribute).iter();
            names.extend(
                uids.filter_map(|uid| std::str::from_utf8(uid).ok())
                    .map(MemberKey::of_uid),
            );
        }
        names.extend(self.places.names(&parsed));
        let members = match self.places.member(dn, &parsed) {
            Some(place) => vec![place],
            None => self.members(parts),
        };
        let attributes = parts
            .attributes
            .iter()
            .filter(|(name, _)| self.mapped.iter().any(|mapped| mapped == name))
            .map(|(name, values)| {
                let values = values.iter().map(|value| Value::from_wire(value)).collect();
                ((*name).to_owned(), values)
            })
            .collect();
        Ok(Identity {
            kind: self.kind,
            anchor,
            dn: dn.to_owned(),
            attributes,
            members,
            names,
        })
    }

    /// Whom the entry names: a group its members, a user the manager.
    fn members(&self, parts: &Parts<'_>) -> Vec<Member> {
        if let Some(name) = &self.manager {
            // Of several the first in byte order, as of any attribute that gives one value.
            return parts
                .values(name)
                .first()
                .map(|value| manager(value))
                .into_iter()
                .collect();
        }
        let values = |attribute: &MembershipAttribute| parts.values(&attribute.name);
        let count = self.membership.iter().map(|by| values(by).len()).sum();
        let mut members = Vec::with_capacity(count);
        for attribute in &self.membership {
            let named = values(attribute).iter();
            members.extend(named.map(|value| member(attribute, value)));
        }
        members.sort_unstable();
        members.dedup_by(|left, right| left.key == right.key);
        members
    }
}

/// The name as text, which it must be to be referred to.
pub(super) fn readable_dn(dn: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(dn).map_err(|_| "its name is not UTF-8; rename the entry".to_owned())
}

/// A member as a group names it. A name that cannot be read keeps a key of its own, which no entry has.
fn member(attribute: &MembershipAttribute, value: &[u8]) -> Member {
    let name = String::from_utf8_lossy(value).into_owned();
    let key = match std::str::from_utf8(value) {
        Ok(uid) if attribute.by == MembershipBy::Uid => Some(MemberKey::of_uid(uid)),
        Ok(dn) => without_uid(&attribute.name, dn)
            .parse()
            .ok()
            .map(|dn| MemberKey::of_dn(&dn)),
        Err(_) => None,
    };
    Member {
        key: key.unwrap_or_else(|| MemberKey(digest::short(&[b"unreadable", value]))),
        name,
    }
}

/// The manager whom a user names: by DN, or by what is none by uid.
fn manager(value: &[u8]) -> Member {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let by = match text.parse::<Dn>() {
        Ok(_) => MembershipBy::Dn,
        Err(_) => MembershipBy::Uid,
    };
    let name = "manager".to_owned();
    member(&MembershipAttribute { name, by }, value)
}

/// A `uniqueMember` may carry a bit string after the name (RFC 4517 §3.3.21): `cn=a,dc=x#'0101'B`.
fn without_uid<'a>(attribute: &str, value: &'a str) -> &'a str {
    if attribute != "uniquemember" {
        return value;
    }
    match value.rsplit_once("#'") {
        Some((dn, bits)) if bits.ends_with("'B") => dn,
        _ => value,
    }
}

fn lower_case(attribute: &MembershipAttribute) -> MembershipAttribute {
    MembershipAttribute {
        name: attribute.name.to_ascii_lowercase(),
        by: attribute.by,
    }
}

/// Whether a text names one attribute (RFC 4512 §2.5), so neither `*` nor `+` nor a list.
fn is_attribute(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name != request::NO_ATTRIBUTES
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.;_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dn_member(attribute: &str, value: &str) -> Member {
        let attribute = MembershipAttribute {
            name: attribute.into(),
            by: MembershipBy::Dn,
        };
        member(&attribute, value.as_bytes())
    }

    #[test]
    fn members_are_told_by_what_they_name() {
        let plain = dn_member("member", "cn=a,dc=x");
        assert_eq!(plain.key, dn_member("member", "CN=A, DC=x").key);
        assert_eq!(plain.key, dn_member("uniquemember", "cn=a,dc=x#'01'B").key);
        assert_ne!(plain.key, dn_member("member", "cn=a,dc=x#'01'B").key);
        let unreadable = dn_member("member", "nobody");
        assert_eq!(unreadable.name, "nobody");
        assert_ne!(unreadable.key, dn_member("member", "somebody").key);
    }

    #[test]
    fn managers_are_named_by_dn_or_by_uid() {
        let by_dn = dn_member("member", "cn=a,dc=x");
        assert_eq!(manager(b"CN=A, DC=X").key, by_dn.key);
        assert_eq!(manager(b"Ann ").key, MemberKey::of_uid("ann"));
        assert_ne!(manager(b"\xff").key, manager(b"\xfe").key);
    }

    #[test]
    fn lists_of_attributes_are_not_attributes() {
        for name in ["*", "+", "", "1.1", "a b", "@person"] {
            assert!(!is_attribute(name), "{name}");
        }
        for name in ["cn", "cn;lang-de", "2.5.4.3", "msDS-User", "x_y"] {
            assert!(is_attribute(name), "{name}");
        }
    }
}
