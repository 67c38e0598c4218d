//! Requests as they are sent: searches, controls, StartTLS and unbind, encoded by lber; filters parsed by ldap3.

use bytes::BytesMut;
use lber::common::TagClass;
use lber::structure::{PL, StructureTag};
use lber::structures::{ASNTag, Boolean, Enumerated, Integer, Null, OctetString, Sequence, Tag};
use ldap3::controls::{MakeCritical, PagedResults, RawControl};

use crate::identity::filter::within_limits;

/// LDAP_SERVER_DOMAIN_SCOPE_OID of Active Directory: no references to other naming contexts.
const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
/// LDAP_SERVER_SHOW_DELETED_OID of Active Directory.
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
/// The extended operation StartTLS (RFC 4511 §4.14).
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// The attribute list that asks for none (RFC 4511 §4.5.1.8).
pub(super) const NO_ATTRIBUTES: &str = "1.1";

/// How far below its base a search reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The base alone.
    Base = 0,
    /// The base and everything below it.
    Subtree = 2,
}

/// A search request (RFC 4511 §4.5.1).
#[derive(Clone, Debug)]
pub(super) struct Search<'a> {
    /// Where it starts.
    pub(super) base: &'a str,
    /// How far it reaches.
    pub(super) reach: Reach,
    /// Which entries match.
    pub(super) filter: StructureTag,
    /// The most entries that are wanted; 0 for all of them.
    pub(super) entries_max: u16,
    /// The attributes that are wanted; never empty, since an empty list asks for all of them.
    pub(super) attributes: &'a [&'a str],
    /// Whether only the names of attributes are wanted, without their values.
    pub(super) names_only: bool,
}

/// Parses a filter (RFC 4515) into the tree that is sent, so that its text never ends up inside another filter.
pub(super) fn filter(text: &str) -> Result<StructureTag, &'static str> {
    let text = text.trim();
    within_limits(text)?;
    ldap3::parse_filter(text)
        .map(ASNTag::into_structure)
        .map_err(
            |()| "it is not a filter as RFC 4515 writes them; check its parentheses and escapes",
        )
}

/// The filter that every entry matches.
pub(super) fn any_entry() -> StructureTag {
    octets(TagClass::Context, 7, b"objectClass").into_structure()
}

/// The filter that an entry matches when it matches `filter` and has this value of this attribute.
pub(super) fn narrowed(filter: &StructureTag, attribute: &str, value: &[u8]) -> StructureTag {
    both(filter, assertion(3, attribute, value))
}

/// The filter that an entry matches when it matches `filter` and has any value of this attribute.
pub(super) fn having(filter: &StructureTag, attribute: &str) -> StructureTag {
    both(filter, octets(TagClass::Context, 7, attribute.as_bytes()))
}

/// The filter that an entry matches when it matches `filter` and has any of these values, each of its attribute.
pub(super) fn with_any(filter: &StructureTag, values: &[(&str, &[u8])]) -> StructureTag {
    let equalities = values
        .iter()
        .map(|(attribute, value)| assertion(3, attribute, value));
    both(filter, sequence(TagClass::Context, 1, equalities.collect()))
}

/// The filter of entries whose value of this attribute is this one or comes after it.
pub(super) fn at_least(attribute: &str, value: &str) -> StructureTag {
    assertion(5, attribute, value.as_bytes()).into_structure()
}

/// An attribute and a value, compared in the way that the number says (RFC 4511 §4.5.1).
fn assertion(comparison: u64, attribute: &str, value: &[u8]) -> Tag {
    let parts = vec![octet_string(attribute.as_bytes()), octet_string(value)];
    sequence(TagClass::Context, comparison, parts)
}

fn both(filter: &StructureTag, other: Tag) -> StructureTag {
    let parts = vec![Tag::StructureTag(filter.clone()), other];
    sequence(TagClass::Context, 0, parts).into_structure()
}

/// The operation of a search.
pub(super) fn search(search: Search<'_>) -> StructureTag {
    let attributes = search
        .attributes
        .iter()
        .map(|attribute| octet_string(attribute.as_bytes()))
        .collect();
    sequence(
        TagClass::Application,
        3,
        vec![
            octet_string(search.base.as_bytes()),
            enumerated(search.reach as i64),
            enumerated(0), // aliases are never followed: an alias could lead out of the scope
            integer(i64::from(search.entries_max)),
            integer(0), // no time limit of our own: the wire has one
            Tag::Boolean(Boolean {
                inner: search.names_only,
                ..Default::default()
            }),
            Tag::StructureTag(search.filter),
            Tag::Sequence(Sequence {
                inner: attributes,
                ..Default::default()
            }),
        ],
    )
    .into_structure()
}

/// The paging control for the next page, critical: a server that cannot page must say so.
pub(super) fn page(entries: u16, cookie: Vec<u8>) -> RawControl {
    PagedResults {
        size: i32::from(entries),
        cookie,
    }
    .critical()
    .into()
}

/// The domain-scope control of Active Directory.
pub(super) fn domain_scope() -> RawControl {
    RawControl {
        ctype: DOMAIN_SCOPE.to_owned(),
        crit: false,
        val: None,
    }
}

/// The control by which deleted entries are shown (MS-ADTS §3.1.1.3.4.1.14).
pub(super) fn show_deleted() -> RawControl {
    RawControl {
        ctype: SHOW_DELETED.to_owned(),
        crit: true,
        val: None,
    }
}

/// A critical control whose value is a sequence.
pub(super) fn control_of(oid: &str, parts: Vec<Tag>) -> RawControl {
    let value = Sequence {
        inner: parts,
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    // lber writes into memory and has no way to fail there.
    let _ = lber::write::encode_into(&mut bytes, value.into_structure());
    RawControl {
        ctype: oid.to_owned(),
        crit: true,
        val: Some(bytes.to_vec()),
    }
}

/// The operation StartTLS.
pub(super) fn start_tls() -> StructureTag {
    let name = octets(TagClass::Context, 0, START_TLS.as_bytes());
    sequence(TagClass::Application, 23, vec![name]).into_structure()
}

/// The operation unbind.
pub(super) fn unbind() -> StructureTag {
    Null {
        id: 2,
        class: TagClass::Application,
        inner: (),
    }
    .into_structure()
}

/// A whole message.
pub(super) fn message(id: u32, operation: StructureTag, controls: Vec<RawControl>) -> BytesMut {
    let mut parts = vec![integer(i64::from(id)), Tag::StructureTag(operation)];
    if !controls.is_empty() {
        let controls = controls.into_iter().map(control).collect();
        parts.push(sequence(TagClass::Context, 0, controls));
    }
    let message = Sequence {
        inner: parts,
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    // lber writes into memory and has no way to fail there.
    let _ = lber::write::encode_into(&mut bytes, message.into_structure());
    bytes
}

fn control(control: RawControl) -> Tag {
    let mut parts = vec![octet_string(control.ctype.as_bytes())];
    if control.crit {
        parts.push(Tag::Boolean(Boolean {
            inner: true,
            ..Default::default()
        }));
    }
    if let Some(value) = control.val {
        parts.push(octet_string(&value));
    }
    Tag::Sequence(Sequence {
        inner: parts,
        ..Default::default()
    })
}

/// An element of bytes with a tag of its own.
pub(super) fn primitive(class: TagClass, id: u64, content: &[u8]) -> StructureTag {
    StructureTag {
        class,
        id,
        payload: PL::P(content.to_vec()),
    }
}

/// A number.
pub(super) fn integer(inner: i64) -> Tag {
    Tag::Integer(Integer {
        inner,
        ..Default::default()
    })
}

/// A number that stands for a choice.
pub(super) fn enumerated(inner: i64) -> Tag {
    Tag::Enumerated(Enumerated {
        inner,
        ..Default::default()
    })
}

fn sequence(class: TagClass, id: u64, inner: Vec<Tag>) -> Tag {
    Tag::Sequence(Sequence { id, class, inner })
}

fn octets(class: TagClass, id: u64, content: &[u8]) -> Tag {
    Tag::StructureTag(primitive(class, id, content))
}

/// A string of bytes.
pub(super) fn octet_string(content: &[u8]) -> Tag {
    Tag::OctetString(OctetString {
        inner: content.to_vec(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::source::ldap::answer::paging_cookie;
    use crate::source::ldap::frame::Message;

    #[test]
    fn a_filter_is_a_tree_and_a_bad_one_is_refused() {
        assert!(filter(" (&(objectClass=person)(!(uid=a\\2a*))) ").is_ok());
        for bad in [
            "",
            "(",
            "(uid=a",
            "(uid=a)(uid=b)",
            "(&(uid=a)",
            "(uid=\\zz)",
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
        assert!(filter(&"(!".repeat(100_000)).is_err());
        assert!(filter(&format!("(uid={})", "a".repeat(70_000))).is_err());
    }

    #[test]
    fn a_value_that_looks_like_a_filter_stays_a_value() {
        let narrowed = narrowed(&filter("(uid=a)").unwrap(), "id", b"*)(uid=*");
        let PL::C(parts) = narrowed.payload else {
            panic!("not constructed")
        };
        assert_eq!(parts.len(), 2);
        let PL::C(equality) = &parts[1].payload else {
            panic!("not constructed")
        };
        assert_eq!(equality[1].payload, PL::P(b"*)(uid=*".to_vec()));
    }

    #[test]
    fn a_paged_search_reads_back() {
        let operation = search(Search {
            base: "dc=x",
            reach: Reach::Subtree,
            entries_max: 0,
            filter: any_entry(),
            attributes: &["uid"],
            names_only: false,
        });
        let bytes = message(
            300,
            operation,
            vec![page(1000, b"abc".to_vec()), domain_scope()],
        );
        let message = Message::parse(bytes.freeze()).unwrap();
        assert_eq!((message.id, message.op), (300, 0x63));
        assert_eq!(paging_cookie(&message), Ok(Some(b"abc".to_vec())));
    }
}
