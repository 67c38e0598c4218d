//! Whom an entry names, and by which names others name it: read from its record without a copy of anything else, because the
//! record of a large group is a hundred thousand names.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::codec;
use super::failure::Failure;
use crate::identity::digest::Digest;
use crate::identity::{Anchor, Identity, Kind, MemberKey, list};
use crate::snapshot::Standing;

/// The names that are in an entry's record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Naming {
    /// Whom the entry names, in order.
    pub(super) members: Vec<MemberKey>,
    /// The names under which others name the entry.
    pub(super) names: Vec<MemberKey>,
}

impl Naming {
    /// The names of an entry.
    pub(super) fn of(identity: &Identity) -> Self {
        Self {
            members: identity.members.iter().map(|member| member.key).collect(),
            names: identity.names.clone(),
        }
    }

    /// Reads the names of an entry that is present from the record of what was last read of it; `None` of an absent one.
    pub(super) fn present(record: &[u8]) -> Result<Option<Self>, Failure> {
        let seen: Seen<'_> = codec::decode_in_place(record)?;
        let is_present = seen.standing == Standing::Present;
        Ok(is_present.then(|| Self {
            members: seen
                .identity
                .members
                .into_iter()
                .map(|member| member.0)
                .collect(),
            names: seen.identity.names,
        }))
    }
}

/// [`crate::snapshot::Seen`], field for field, with its texts where they lie.
#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    identity: Entry<'a>,
    #[expect(dead_code, reason = "it is in the record")]
    digest: Digest,
    standing: Standing,
}

/// [`Identity`], field for field.
#[derive(Deserialize)]
#[expect(dead_code, reason = "what is not asked for is in the record, too")]
struct Entry<'a> {
    kind: Kind,
    anchor: Anchor,
    dn: &'a str,
    #[serde(borrow)]
    attributes: BTreeMap<&'a str, Vec<Value<'a>>>,
    #[serde(deserialize_with = "list::fitting")]
    members: Vec<Named>,
    names: Vec<MemberKey>,
}

/// [`crate::identity::Value`], variant for variant.
#[derive(Deserialize)]
#[expect(dead_code, reason = "what is not asked for is in the record, too")]
enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// The key of a member.
struct Named(MemberKey);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Member::deserialize(deserializer).map(|member| Self(member.key))
    }
}

/// [`crate::identity::Member`], field for field.
#[derive(Deserialize)]
struct Member<'a> {
    key: MemberKey,
    #[expect(dead_code, reason = "it is in the record")]
    name: &'a str,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::Value;
    use crate::snapshot;

    #[test]
    fn names_are_read_from_what_was_written_of_an_entry() {
        let member = |name: &str| crate::identity::Member {
            key: MemberKey::of_uid(name),
            name: name.to_owned(),
        };
        let values = vec![Value::Text("Größe".to_owned()), Value::Bytes(vec![0, 255])];
        let identity = Identity {
            kind: Kind::Group,
            anchor: Anchor::Text("g".to_owned()),
            dn: "cn=g".to_owned(),
            attributes: BTreeMap::from([("cn".to_owned(), values), ("empty".to_owned(), vec![])]),
            members: vec![member("ann"), member("bob")],
            names: vec![MemberKey::of_uid("g"), MemberKey::of_uid("h")],
        };
        let record = |standing| {
            let seen = snapshot::Seen {
                identity: identity.clone(),
                digest: Digest([7; 16]),
                standing,
            };
            codec::encode(&seen).unwrap()
        };
        let bytes = record(Standing::Present).len();
        assert!((bytes..bytes + 500).contains(&identity.record_bytes()));
        let present = Naming::present(&record(Standing::Present)).unwrap();
        assert_eq!(present, Some(Naming::of(&identity)));
        let since = chrono::DateTime::UNIX_EPOCH;
        assert_eq!(
            Naming::present(&record(Standing::Absent { since })).unwrap(),
            None
        );
        assert!(Naming::present(&record(Standing::Present)[..40]).is_err());
    }
}
