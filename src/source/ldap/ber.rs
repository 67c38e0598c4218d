//! Reading BER without copying: the subset of X.690 that LDAP allows (RFC 4511 §5.1).

/// OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// ENUMERATED.
pub(super) const ENUMERATED: u8 = 0x0a;
/// SEQUENCE and SEQUENCE OF.
pub(super) const SEQUENCE: u8 = 0x30;
/// SET OF.
pub(super) const SET: u8 = 0x31;

/// The bit of a tag that says that elements are inside.
const CONSTRUCTED: u8 = 0x20;
/// The deepest nesting of elements in a message. An answer needs six.
const DEPTH_MAX: usize = 32;

/// Bytes that are not what the protocol asks for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// The start of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Class, form and number.
    pub(super) tag: u8,
    /// Bytes of the header itself.
    pub(super) bytes: usize,
    /// Bytes of the content.
    pub(super) content: usize,
}

/// Reads the header of an element; `None` when more bytes are needed to know it.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((&tag, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if tag & 0x1f == 0x1f {
        return Err(Malformed("a tag number that LDAP does not have"));
    }
    let Some((&first, rest)) = rest.split_first() else {
        return Ok(None);
    };
    if first < 0x80 {
        return Ok(Some(Header {
            tag,
            bytes: 2,
            content: usize::from(first),
        }));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 {
        return Err(Malformed("an indefinite length"));
    }
    if count > size_of::<usize>() {
        return Err(Malformed("a length of more than eight bytes"));
    }
    let Some(length) = rest.get(..count) else {
        return Ok(None);
    };
    let content = length
        .iter()
        .fold(0usize, |length, &byte| length << 8 | usize::from(byte));
    Ok(Some(Header {
        tag,
        bytes: 2 + count,
        content,
    }))
}

/// Checks one whole message: every length is within its parent's, and nothing lies deeper than it may.
///
/// It walks with a stack of its own, because a message that is nested deeply enough would overflow the program's.
pub(super) fn check(message: &[u8]) -> Result<(), Malformed> {
    let mut ends = [0usize; DEPTH_MAX];
    let mut depth = 0;
    let mut at = 0;
    let mut end = message.len();
    loop {
        while at == end {
            if depth == 0 {
                return Ok(());
            }
            depth -= 1;
            end = ends[depth];
        }
        let header = header(&message[at..end])?.ok_or(Malformed(
            "an element that ends in the middle of its header",
        ))?;
        at += header.bytes;
        if header.content > end - at {
            return Err(Malformed("an element that is longer than what it is in"));
        }
        if header.tag & CONSTRUCTED == 0 {
            at += header.content;
        } else {
            if depth == DEPTH_MAX {
                return Err(Malformed("elements nested more than 32 deep"));
            }
            ends[depth] = end;
            depth += 1;
            end = at + header.content;
        }
    }
}

/// A cursor over the elements of one constructed element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ber<'a> {
    rest: &'a [u8],
}

impl<'a> Ber<'a> {
    /// Starts at the first element.
    pub(super) fn new(content: &'a [u8]) -> Self {
        Self { rest: content }
    }

    /// The next element, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let header = header(self.rest)?.ok_or(Malformed(
            "an element that ends in the middle of its header",
        ))?;
        let after = &self.rest[header.bytes..];
        if header.content > after.len() {
            return Err(Malformed("an element that is longer than what it is in"));
        }
        let (content, rest) = after.split_at(header.content);
        self.rest = rest;
        Ok(Some((header.tag, content)))
    }

    /// The next element, which must have this tag; `problem` says what it means that it has not.
    pub(super) fn expect(&mut self, tag: u8, problem: &'static str) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Some((found, content)) if found == tag => Ok(content),
            _ => Err(Malformed(problem)),
        }
    }

    /// The next element if it has this tag; otherwise nothing is taken.
    pub(super) fn take(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.rest.first() == Some(&tag) {
            self.next().map(|found| found.map(|(_, content)| content))
        } else {
            Ok(None)
        }
    }
}

/// A number that is not negative and has at most 31 bits, as LDAP uses them (RFC 4511 §4.1.1).
pub(super) fn number(content: &[u8]) -> Result<u32, Malformed> {
    let problem = Malformed("a number that is not within 0 and 2147483647");
    if content.is_empty() || content.len() > 8 || content[0] & 0x80 != 0 {
        return Err(problem);
    }
    let value = content
        .iter()
        .fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    match u32::try_from(value) {
        Ok(value) if value <= i32::MAX as u32 => Ok(value),
        _ => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read_when_they_are_whole() {
        let whole = |tag, bytes, content| {
            Ok(Some(Header {
                tag,
                bytes,
                content,
            }))
        };
        for (bytes, wanted) in [
            (&[][..], Ok(None)),
            (&[0x30], Ok(None)),
            (&[0x30, 0x05], whole(0x30, 2, 5)),
            (&[0x30, 0x84, 0, 0, 1], Ok(None)),
            (&[0x30, 0x84, 0, 0, 1, 0], whole(0x30, 6, 256)),
            (&[0x30, 0x80], Err(Malformed("an indefinite length"))),
            (
                &[0x30, 0x89],
                Err(Malformed("a length of more than eight bytes")),
            ),
            (
                &[0x3f, 0x01],
                Err(Malformed("a tag number that LDAP does not have")),
            ),
        ] {
            assert_eq!(header(bytes), wanted, "{bytes:x?}");
        }
    }

    #[test]
    fn numbers_outside_of_the_protocol_are_refused() {
        assert_eq!(number(&[0]), Ok(0));
        assert_eq!(number(&[0, 0x80]), Ok(128));
        assert_eq!(number(&[0x7f, 0xff, 0xff, 0xff]), Ok(i32::MAX as u32));
        for bad in [
            &[][..],
            &[0x80],
            &[0, 0x80, 0, 0, 0],
            &[0x7f, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(number(bad).is_err(), "{bad:x?}");
        }
    }

    #[test]
    fn nesting_is_followed_without_recursion_and_refused_when_deep() {
        let nested = |depth: usize| {
            (0..depth).fold(vec![0x04, 0x00], |inner, _| {
                let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
                [&[0x30, 0x84][..], &length, &inner].concat()
            })
        };
        assert_eq!(check(&nested(32)), Ok(()));
        let too_deep = Malformed("elements nested more than 32 deep");
        assert_eq!(check(&nested(33)), Err(too_deep));
        assert_eq!(check(&nested(5_000)), Err(too_deep));
    }

    #[test]
    fn an_inner_length_beyond_its_parent_is_refused() {
        assert!(check(&[0x30, 0x03, 0x04, 0x02, 0x41]).is_err());
        assert!(check(&[0x30, 0x04, 0x30, 0x01, 0x04, 0x00]).is_err());
        assert!(check(&[0x30, 0x04, 0x04, 0x02, 0x41, 0x42]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_and_what_passes_can_be_walked(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let _ = header(&bytes);
            let _ = number(&bytes);
            let passed = check(&bytes).is_ok();
            let mut cursor = Ber::new(&bytes);
            let walked = loop {
                match cursor.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            prop_assert!(!passed || walked);
        }
    }
}
