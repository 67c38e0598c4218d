//! The directory's words in canonical form: anchors, identities, members. No vendor word survives into here.
//!
//! Absent on purpose: LDAP messages (room `source`) and SCIM attributes (room `scim`); `mapping` is the only bridge.

pub mod digest;
pub mod dn;
pub mod feed;
pub mod filter;
pub mod known;
pub mod list;
pub mod observation;
pub mod place;
pub mod server;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::identity::dn::Dn;

/// The kind of directory server, which decides the defaults and how an account is known to be disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryType {
    /// Microsoft Active Directory, or Samba as a domain controller.
    ActiveDirectory,
    /// Any other LDAP v3 server.
    Ldap,
}

/// What a directory entry is to us.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "EntryKind")]
pub enum Kind {
    /// A person.
    User,
    /// A group of persons and groups.
    Group,
}

impl Kind {
    /// The word used in logs, job errors and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The immutable identifier of a directory entry; its text is the SCIM `externalId`. Never the DN.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Anchor {
    /// objectGUID, entryUUID or nsUniqueId, in RFC 9562 byte order whatever order the server keeps.
    Uuid(Uuid),
    /// Any other attribute that an administrator named.
    Text(String),
}

impl Anchor {
    /// The bytes by which the store orders rows: a tag, then the value; distinct anchors give distinct bytes.
    pub fn to_key(&self) -> Vec<u8> {
        match self {
            Self::Uuid(uuid) => [b"u", uuid.as_bytes().as_slice()].concat(),
            Self::Text(text) => [b"t", text.as_bytes()].concat(),
        }
    }

    /// Reads back what [`Anchor::to_key`] wrote; `None` for anything else.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        match key.split_first()? {
            (b'u', rest) => Uuid::from_slice(rest).ok().map(Self::Uuid),
            (b't', rest) => String::from_utf8(rest.to_vec()).ok().map(Self::Text),
            _ => None,
        }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Names one row of a directory: a user or a group, by anchor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowKey {
    /// User or group.
    pub kind: Kind,
    /// The entry's anchor.
    pub anchor: Anchor,
}

impl RowKey {
    /// The bytes by which the store orders rows: users first, then groups.
    pub fn to_key(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::User => 0,
            Kind::Group => 1,
        };
        let mut key = vec![kind];
        key.extend_from_slice(&self.anchor.to_key());
        key
    }

    /// Reads back what [`RowKey::to_key`] wrote; `None` for anything else.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let (kind, anchor) = match key.split_first()? {
            (0, anchor) => (Kind::User, anchor),
            (1, anchor) => (Kind::Group, anchor),
            _ => return None,
        };
        Anchor::from_key(anchor).map(|anchor| Self { kind, anchor })
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.anchor)
    }
}

/// One attribute value as the directory holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    /// Valid UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Value {
    /// Reads a value from the wire: text where it is UTF-8, bytes otherwise.
    pub fn from_wire(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes.to_vec()),
        }
    }
}

/// How an entry names another one: a group a member, a user a manager.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// What is compared: see [`MemberKey`].
    pub key: MemberKey,
    /// What the directory wrote, for people.
    pub name: String,
}

/// The digest of a member's parsed DN or of its uid: equal exactly when both name the same entry. Or of a [`place`], which
/// names all entries that lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberKey(pub [u8; 16]);

impl MemberKey {
    /// The key of an entry that groups name by DN (RFC 4519 `member`, `uniqueMember`).
    pub fn of_dn(dn: &Dn) -> Self {
        Self(digest::short(&[b"dn", dn.normalized().as_bytes()]))
    }

    /// The key of an entry that groups name by uid (RFC 2307 `memberUid`); case does not count.
    pub fn of_uid(uid: &str) -> Self {
        Self(digest::short(&[
            b"uid",
            uid.trim().to_lowercase().as_bytes(),
        ]))
    }
}

/// A directory entry in canonical form: what the *seen* column holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User or group.
    pub kind: Kind,
    /// The immutable identifier.
    pub anchor: Anchor,
    /// The distinguished name as the server wrote it; data, never an identifier.
    pub dn: String,
    /// The attributes that were asked for, by lower-case name without options, values sorted.
    pub attributes: BTreeMap<String, Vec<Value>>,
    /// Whom the entry names, sorted by key, each once: a group its members, a user a manager at the most.
    #[serde(deserialize_with = "list::fitting")]
    pub members: Vec<Member>,
    /// The keys under which others name this entry.
    pub names: Vec<MemberKey>,
}

impl Identity {
    /// The row that this entry belongs to.
    pub fn key(&self) -> RowKey {
        RowKey {
            kind: self.kind,
            anchor: self.anchor.clone(),
        }
    }

    /// About how many bytes it takes in a record, and not fewer: each name with its key, each value, and some hundred for the rest.
    pub fn record_bytes(&self) -> usize {
        let members = self.members.iter().map(|member| member.name.len() + 24);
        let values = self.attributes.iter().map(|(name, values)| {
            let values = values.iter().map(|value| match value {
                Value::Text(text) => text.len() + 8,
                Value::Bytes(bytes) => bytes.len() + 8,
            });
            name.len() + 16 + values.sum::<usize>()
        });
        let names = self.names.len() * 16;
        256 + self.dn.len() + names + members.sum::<usize>() + values.sum::<usize>()
    }

    /// All values of an attribute; none when the entry has no such attribute. Case of the name does not count.
    pub fn values(&self, attribute: &str) -> &[Value] {
        match self.attributes.get(attribute) {
            Some(values) => values,
            None => self
                .attributes
                .get(&attribute.to_ascii_lowercase())
                .map_or(&[], Vec::as_slice),
        }
    }

    /// The first textual value of an attribute.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.values(attribute).iter().find_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            Value::Bytes(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn row_keys_read_back_and_keep_users_first() {
        let uuid = Anchor::Uuid(Uuid::from_u128(7));
        let text = Anchor::Text("seventeen-bytes-!".into());
        for anchor in [uuid.clone(), text] {
            for kind in [Kind::User, Kind::Group] {
                let key = RowKey {
                    kind,
                    anchor: anchor.clone(),
                };
                assert_eq!(RowKey::from_key(&key.to_key()), Some(key));
            }
        }
        let user = RowKey {
            kind: Kind::User,
            anchor: Anchor::Text("z".into()),
        };
        let group = RowKey {
            kind: Kind::Group,
            anchor: uuid,
        };
        assert!(user.to_key() < group.to_key());
        assert_eq!(RowKey::from_key(b"\x09u"), None);
        assert_eq!(RowKey::from_key(b""), None);
    }

    #[test]
    fn members_by_dn_and_by_uid_never_meet() {
        let dn: Dn = "uid=ann".parse().unwrap();
        assert_ne!(MemberKey::of_dn(&dn), MemberKey::of_uid("uid=ann"));
        assert_eq!(MemberKey::of_uid("Ann"), MemberKey::of_uid("ann "));
    }
}
