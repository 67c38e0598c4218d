//! A filter taken apart: each AND, OR and NOT part with its own text (RFC 4515), what the server says of it, and in words
//! which of them decides.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lber::structure::{PL, StructureTag};

use crate::source::explanation::{Operator, Part};

/// The choices of a filter (RFC 4511 §4.5.1).
const AND: u64 = 0;
const OR: u64 = 1;
const NOT: u64 = 2;
const EQUAL: u64 = 3;
const SUBSTRINGS: u64 = 4;
const AT_LEAST: u64 = 5;
const AT_MOST: u64 = 6;
const PRESENT: u64 = 7;
const ALIKE: u64 = 8;
const EXTENSIBLE: u64 = 9;
/// Parts of an OR that are named when none of them matches.
const NAMED_MAX: usize = 3;

/// What an attribute of the entry holds, by its name in lower case; in words.
pub(super) type Values = BTreeMap<String, String>;

/// A filter and its parts at any depth, each before its own parts.
pub(super) fn all(filter: &StructureTag) -> Vec<&StructureTag> {
    let mut found = vec![filter];
    for part in parts(filter) {
        found.extend(all(part));
    }
    found
}

/// The attribute that a part compares, in lower case; `None` for one that is made of others.
pub(super) fn attribute(filter: &StructureTag) -> Option<String> {
    let name = match (filter.id, &filter.payload) {
        (PRESENT, PL::P(name)) => Some(name),
        (EXTENSIBLE, _) => bytes(filter, Some(2)),
        (AND | OR | NOT, _) => None,
        _ => bytes(filter, None),
    }?;
    let name = std::str::from_utf8(name).ok()?;
    let name = name.split(';').next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// A filter with its parts, each with what the server said of it, in the order of [`all`].
pub(super) fn judged(
    filter: &StructureTag,
    said: &mut impl Iterator<Item = Option<bool>>,
    values: &Values,
) -> Part {
    let matches = said.next().flatten();
    Part {
        filter: text(filter),
        operator: match filter.id {
            AND => Operator::And,
            OR => Operator::Or,
            NOT => Operator::Not,
            _ => Operator::Compare,
        },
        matches,
        has: attribute(filter).and_then(|name| values.get(&name).cloned()),
        parts: parts(filter)
            .into_iter()
            .map(|part| judged(part, said, values))
            .collect(),
    }
}

/// Why a part does not come out as it must: the part that decides, and what the entry has there.
pub(super) fn reason(part: &Part, must_match: bool) -> String {
    let wrong = |part: &&Part| part.matches == Some(!must_match);
    match (part.operator, must_match) {
        (Operator::Compare, _) => {
            let verb = if must_match {
                "does not match"
            } else {
                "matches"
            };
            let has = part.has.as_deref().map(|has| format!(": {has}"));
            format!("`{}` {verb}{}", part.filter, has.unwrap_or_default())
        }
        (Operator::Not, _) => match part.parts.first() {
            Some(inner) => reason(inner, !must_match),
            None => format!("`{}` decides", part.filter),
        },
        // One part that fails is enough for an AND, one that matches for an OR.
        (Operator::And, true) | (Operator::Or, false) => match part.parts.iter().find(wrong) {
            Some(first) => reason(first, must_match),
            None => format!("`{}` decides", part.filter),
        },
        (Operator::Or, true) | (Operator::And, false) => {
            let named = part.parts.iter().take(NAMED_MAX);
            let mut told: Vec<String> = named.map(|part| reason(part, must_match)).collect();
            let more = part.parts.len().saturating_sub(NAMED_MAX);
            if more > 0 {
                told.push(format!("and {more} more"));
            }
            told.join("; ")
        }
    }
}

fn parts(filter: &StructureTag) -> Vec<&StructureTag> {
    match (&filter.payload, filter.id) {
        (PL::C(parts), AND | OR | NOT) => parts.iter().collect(),
        _ => Vec::new(),
    }
}

/// The bytes of the first part of a comparison, or of its first one with this tag.
fn bytes(filter: &StructureTag, id: Option<u64>) -> Option<&Vec<u8>> {
    let PL::C(parts) = &filter.payload else {
        return None;
    };
    let mut parts = parts
        .iter()
        .filter(|part| id.is_none_or(|id| part.id == id));
    match &parts.next()?.payload {
        PL::P(bytes) => Some(bytes),
        PL::C(_) => None,
    }
}

/// A filter as RFC 4515 writes it.
pub(super) fn text(filter: &StructureTag) -> String {
    let inner: String = parts(filter).into_iter().map(text).collect();
    match filter.id {
        AND => format!("(&{inner})"),
        OR => format!("(|{inner})"),
        NOT => format!("(!{inner})"),
        SUBSTRINGS => substrings(filter),
        EXTENSIBLE => extensible(filter),
        PRESENT => match &filter.payload {
            PL::P(name) => format!("({}=*)", escaped(name)),
            PL::C(_) => "(?)".to_owned(),
        },
        choice => comparison(filter, choice),
    }
}

fn comparison(filter: &StructureTag, choice: u64) -> String {
    let sign = match choice {
        EQUAL => "=",
        AT_LEAST => ">=",
        AT_MOST => "<=",
        ALIKE => "~=",
        _ => return "(?)".to_owned(),
    };
    match &filter.payload {
        PL::C(parts) => match parts.as_slice() {
            [name, value] => format!("({}{sign}{})", content(name), content(value)),
            _ => "(?)".to_owned(),
        },
        PL::P(_) => "(?)".to_owned(),
    }
}

fn substrings(filter: &StructureTag) -> String {
    let PL::C(parts) = &filter.payload else {
        return "(?)".to_owned();
    };
    let [name, pieces] = parts.as_slice() else {
        return "(?)".to_owned();
    };
    let mut written = String::new();
    let mut open = false;
    if let PL::C(pieces) = &pieces.payload {
        for piece in pieces {
            // Initial, any, final: 0, 1, 2.
            if piece.id != 0 {
                written.push('*');
            }
            written.push_str(&content(piece));
            open = piece.id != 2;
        }
    }
    if open {
        written.push('*');
    }
    format!("({}={written})", content(name))
}

fn extensible(filter: &StructureTag) -> String {
    let part = |id| bytes(filter, Some(id)).map(|bytes| escaped(bytes));
    let PL::C(parts) = &filter.payload else {
        return "(?)".to_owned();
    };
    let of_dn = parts
        .iter()
        .any(|part| part.id == 4 && matches!(&part.payload, PL::P(value) if value != &[0]));
    let rule = part(1).map(|rule| format!(":{rule}")).unwrap_or_default();
    format!(
        "({}{}{rule}:={})",
        part(2).unwrap_or_default(),
        if of_dn { ":dn" } else { "" },
        part(3).unwrap_or_default()
    )
}

fn content(part: &StructureTag) -> String {
    match &part.payload {
        PL::P(bytes) => escaped(bytes),
        PL::C(_) => String::new(),
    }
}

/// A value with the characters escaped that have a meaning in a filter (RFC 4515 §3), and everything that is no text.
fn escaped(bytes: &[u8]) -> String {
    let mut written = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '(' | ')' | '*' | '\\' => {
                    let _ = write!(written, "\\{:02x}", u32::from(c));
                }
                c if c.is_control() => {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        let _ = write!(written, "\\{byte:02x}");
                    }
                }
                c => written.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(written, "\\{byte:02x}");
        }
    }
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::ldap::request;

    #[test]
    fn a_filter_is_written_as_it_was_read() {
        for filter in [
            "(a=b)",
            "(&(a=b)(|(c=*)(!(d>=1)))(e<=2))",
            "(cn=*x*y*)",
            "(cn=x*)",
            "(cn=*x)",
            "(cn~=x)",
            "(cn=a\\28b\\29\\2a\\5c)",
            "(cn=\\ff\\00)",
            "(userAccountControl:1.2.840.113556.1.4.803:=2)",
            "(ou:dn:=people)",
            "(cn=Ä)",
        ] {
            let parsed = request::filter(filter).unwrap();
            assert_eq!(text(&parsed), filter);
            assert_eq!(request::filter(&text(&parsed)).unwrap(), parsed, "{filter}");
        }
    }

    #[test]
    fn the_part_that_decides_is_named() {
        let filter = request::filter("(&(a=1)(|(b=2)(c=3))(!(d=4)))").unwrap();
        assert_eq!(all(&filter).len(), 7);
        let values: Values = [("b", "b is 9"), ("d", "d is 4")]
            .map(|(name, words)| (name.to_owned(), words.to_owned()))
            .into();
        let decides = |said: [bool; 7]| {
            let part = judged(&filter, &mut said.into_iter().map(Some), &values);
            reason(&part, true)
        };
        // In order: &, a, |, b, c, !, d.
        let unlike_a = decides([false, false, true, true, false, true, false]);
        assert_eq!(unlike_a, "`(a=1)` does not match");
        let neither = decides([false, true, false, false, false, true, false]);
        assert_eq!(
            neither,
            "`(b=2)` does not match: b is 9; `(c=3)` does not match"
        );
        let excluded = decides([false, true, true, true, false, false, true]);
        assert_eq!(excluded, "`(d=4)` matches: d is 4");
    }
}
