//! One search result entry (RFC 4511 §4.5.2) as slices of the message that brought it.

use crate::source::ldap::answer::printable;
use crate::source::ldap::ber::{self, Ber, Malformed};
use crate::source::ldap::frame::Message;

/// An entry whose name was read, and whose attributes are read as they are walked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// The distinguished name as the server wrote it; not always UTF-8.
    pub(super) dn: &'a [u8],
    attributes: Ber<'a>,
}

/// One attribute of an entry.
#[derive(Clone, Debug)]
pub(super) struct Attribute<'a> {
    /// Its name, with its options.
    pub(super) description: Description<'a>,
    values: Ber<'a>,
}

/// An attribute's name, taken apart (RFC 4512 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Description<'a> {
    /// The name with the options that make it another attribute (`cn;lang-de`), without those that only say how
    /// it is transferred (`;binary`, `;range=`).
    pub(super) name: &'a str,
    /// Which of its values these are; absent when they are all of them.
    pub(super) range: Option<ValueRange>,
}

/// A part of the values of an attribute: from `first`, up to and with `last`, or to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValueRange {
    /// The index of the first value.
    pub(super) first: u64,
    /// The index of the last value; absent (`*`) when no value follows.
    pub(super) last: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Reads the start of an entry.
    pub(super) fn decode(message: &'a Message) -> Result<Self, Malformed> {
        let mut parts = Ber::new(message.body());
        let dn = parts.expect(ber::OCTET_STRING, "an entry without a name")?;
        let attributes = parts.expect(ber::SEQUENCE, "an entry without a list of attributes")?;
        Ok(Self {
            dn,
            attributes: Ber::new(attributes),
        })
    }

    /// The next attribute.
    pub(super) fn next(&mut self) -> Result<Option<Attribute<'a>>, Malformed> {
        let Some((tag, attribute)) = self.attributes.next()? else {
            return Ok(None);
        };
        if tag != ber::SEQUENCE {
            return Err(Malformed("an attribute that is not a sequence"));
        }
        let mut parts = Ber::new(attribute);
        let name = parts.expect(ber::OCTET_STRING, "an attribute without a name")?;
        let name = std::str::from_utf8(name)
            .map_err(|_| Malformed("an attribute whose name is not UTF-8"))?;
        let values = parts.expect(ber::SET, "an attribute without a set of values")?;
        Ok(Some(Attribute {
            description: Description::parse(name)?,
            values: Ber::new(values),
        }))
    }

    /// The places that a search result reference names (RFC 4511 §4.5.3).
    pub(super) fn references(message: &Message) -> Result<Vec<String>, Malformed> {
        let mut parts = Ber::new(message.body());
        let mut uris = Vec::new();
        while let Some((_, uri)) = parts.next()? {
            uris.push(printable(uri));
        }
        Ok(uris)
    }
}

impl<'a> Attribute<'a> {
    /// Adds the values to a list.
    pub(super) fn collect_into(self, values: &mut Vec<&'a [u8]>) -> Result<(), Malformed> {
        self.each_value(|value| values.push(value))
    }

    /// Gives the values one by one.
    pub(super) fn each_value(mut self, mut take: impl FnMut(&'a [u8])) -> Result<(), Malformed> {
        while let Some((tag, value)) = self.values.next()? {
            if tag != ber::OCTET_STRING {
                return Err(Malformed("a value that is not a string of bytes"));
            }
            take(value);
        }
        Ok(())
    }
}

impl<'a> Description<'a> {
    /// Takes an attribute's name apart. The case of letters does not count.
    pub(super) fn parse(text: &'a str) -> Result<Self, Malformed> {
        if !text.as_bytes().contains(&b';') {
            return Ok(Self {
                name: text,
                range: None,
            });
        }
        let mut parts = text.split(';');
        let mut at = parts.next().map_or(0, str::len);
        let mut end = at;
        let mut range = None;
        for option in parts {
            at += 1 + option.len();
            if let Some(text) = strip_prefix(option, "range=") {
                range = Some(ValueRange::parse(text)?);
            } else if !option.eq_ignore_ascii_case("binary") {
                end = at;
            }
        }
        Ok(Self {
            name: &text[..end],
            range,
        })
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start
        .eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

impl ValueRange {
    fn parse(text: &str) -> Result<Self, Malformed> {
        let problem = Malformed("an attribute with a range of values that is none");
        let (first, last) = text.split_once('-').ok_or(problem)?;
        let first = first.parse().map_err(|_| problem)?;
        let last = match last {
            "*" => None,
            last => Some(last.parse().map_err(|_| problem)?),
        };
        if last.is_some_and(|last| last < first || last == u64::MAX) {
            return Err(problem);
        }
        Ok(Self { first, last })
    }

    /// The index after the last one when there must be more, given how many values came; `None` at the end.
    ///
    /// # Errors
    /// When the values do not start at `wanted` or are not as many as the range says.
    pub(super) fn next_after(self, wanted: u64, values: usize) -> Result<Option<u64>, String> {
        if self.first != wanted {
            return Err(format!(
                "values from {wanted} on were asked for, values from {} on came",
                self.first
            ));
        }
        match self.last {
            None => Ok(None),
            Some(last) if last - self.first + 1 == values as u64 => Ok(Some(last + 1)),
            Some(last) => Err(format!(
                "values {wanted} to {last} were announced, {values} came"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, content.len() as u8][..], content].concat()
    }

    fn entry(dn: &[u8], attributes: &[(&str, &[&[u8]])]) -> Message {
        let attributes: Vec<u8> = attributes
            .iter()
            .flat_map(|(name, values)| {
                let values: Vec<u8> = values.iter().flat_map(|v| element(4, v)).collect();
                element(
                    0x30,
                    &[element(4, name.as_bytes()), element(0x31, &values)].concat(),
                )
            })
            .collect();
        let body = [element(4, dn), element(0x30, &attributes)].concat();
        wrap(&body)
    }

    fn wrap(body: &[u8]) -> Message {
        let content = [vec![2, 1, 1], element(0x64, body)].concat();
        Message::parse(Bytes::from(element(0x30, &content))).unwrap()
    }

    type Walked<'a> = Vec<(Description<'a>, Vec<&'a [u8]>)>;

    fn walk(message: &Message) -> Result<Walked<'_>, Malformed> {
        let mut entry = Entry::decode(message)?;
        let mut found = Vec::new();
        while let Some(attribute) = entry.next()? {
            let description = attribute.description;
            let mut values = Vec::new();
            attribute.collect_into(&mut values)?;
            found.push((description, values));
        }
        Ok(found)
    }

    #[test]
    fn an_entry_is_read_without_a_copy() {
        let message = entry(
            b"uid=ann\xff",
            &[
                ("uid", &[b"ann"]),
                ("mail", &[]),
                ("jpegPhoto", &[b"\xff\xd8", b""]),
            ],
        );
        assert_eq!(Entry::decode(&message).unwrap().dn, b"uid=ann\xff");
        let found = walk(&message).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].1, [b"ann"]);
        assert!(found[1].1.is_empty());
        assert_eq!(found[2].1, [&b"\xff\xd8"[..], b""]);
        assert!(
            message
                .bytes()
                .as_ptr_range()
                .contains(&found[0].1[0].as_ptr())
        );
    }

    #[test]
    fn names_are_taken_apart() {
        let range = |first, last| Some(ValueRange { first, last });
        for (text, name, wanted) in [
            ("member", "member", None),
            ("member;range=0-1499", "member", range(0, Some(1499))),
            ("member;Range=1500-*", "member", range(1500, None)),
            ("userCertificate;binary", "userCertificate", None),
            ("cn;lang-de", "cn;lang-de", None),
            ("cn;lang-de;range=0-*", "cn;lang-de", range(0, None)),
            ("cn;", "cn;", None),
        ] {
            let description = Description::parse(text).unwrap();
            assert_eq!(
                (description.name, description.range),
                (name, wanted),
                "{text}"
            );
        }
        for bad in [
            "m;range=",
            "m;range=5",
            "m;range=5-4",
            "m;range=a-b",
            "m;range=-1-*",
        ] {
            assert!(Description::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_follow_each_other_without_a_gap() {
        let range = |first, last| ValueRange { first, last };
        assert_eq!(range(0, Some(1499)).next_after(0, 1500), Ok(Some(1500)));
        assert_eq!(range(1500, None).next_after(1500, 3), Ok(None));
        assert!(range(1501, None).next_after(1500, 3).is_err());
        assert!(range(0, Some(1499)).next_after(0, 1499).is_err());
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for body in [
            &[][..],
            &element(4, b"dn"),
            &[element(2, b"1"), element(0x30, &[])].concat(),
            &[element(4, b"dn"), element(0x30, &element(4, b"x"))].concat(),
            &[element(4, b"dn"), element(0x30, &element(0x30, &[]))].concat(),
            &[
                element(4, b"dn"),
                element(
                    0x30,
                    &element(0x30, &[element(4, b"\xff"), element(0x31, &[])].concat()),
                ),
            ]
            .concat(),
            &[
                element(4, b"dn"),
                element(
                    0x30,
                    &element(
                        0x30,
                        &[element(4, b"a"), element(0x31, &element(2, b"1"))].concat(),
                    ),
                ),
            ]
            .concat(),
        ] {
            assert!(walk(&wrap(body)).is_err(), "{body:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_entry_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let content = [vec![2, 1, 1], element(0x64, &bytes)].concat();
            if let Ok(message) = Message::parse(Bytes::from(element(0x30, &content))) {
                let _ = walk(&message);
                let _ = Entry::references(&message);
            }
        }

        #[test]
        fn any_name_is_taken_apart_or_refused(text in "[a-zA-Z0-9;=*é-]{0,40}") {
            let _ = Description::parse(&text);
        }
    }
}
