//! Distinguished names, compared by their parsed form (RFC 4514, RFC 4517 caseIgnoreMatch).

use std::fmt;
use std::str::FromStr;

/// The longest DN that is parsed; a longer one is refused rather than worked on.
const DN_BYTES_MAX: usize = 16 * 1024;

/// A parsed distinguished name, kept as text that is equal exactly when two names are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dn(String);

impl Dn {
    /// The comparable text: types in lower case, values unescaped, case-folded and with single spaces.
    pub fn normalized(&self) -> &str {
        &self.0
    }

    /// The name of the entry above; `None` for the root and for a name of one part.
    pub fn above(&self) -> Option<Self> {
        self.0
            .split_once(RDN_END)
            .map(|(_, above)| Self(above.to_owned()))
    }

    /// Whether this name is `base` or lies below it.
    pub fn is_within(&self, base: &Dn) -> bool {
        base.0.is_empty()
            || self.0 == base.0
            || self
                .0
                .strip_suffix(&base.0)
                .is_some_and(|above| above.ends_with(RDN_END))
    }
}

/// The name of the entry above, as it was written; `None` for the root, for a name of one part, and for what is no name.
pub fn parent(text: &str) -> Option<&str> {
    let mut rest = text.trim_start();
    loop {
        match assertion(rest).ok()? {
            (_, Some('+'), after) => rest = after,
            (_, Some(_), after) => return (!after.is_empty()).then_some(after),
            (_, None, _) => return None,
        }
    }
}

/// Separates RDNs in the normalized text; cannot occur in a value, where it is escaped.
const RDN_END: char = '\u{1}';
/// Separates the assertions of a multi-valued RDN.
const ASSERTION_END: char = '\u{2}';

/// Why a text is not a distinguished name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a distinguished name: {reason} at byte {at}", text.escape_debug())]
pub struct DnError {
    /// The text, shortened.
    pub text: String,
    /// What is wrong.
    pub reason: &'static str,
    /// Where, in bytes from the start.
    pub at: usize,
}

impl FromStr for Dn {
    type Err = DnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > DN_BYTES_MAX {
            return Err(error(text, "longer than 16 KiB", DN_BYTES_MAX));
        }
        let mut rdns = Vec::new();
        let mut assertions = Vec::new();
        let mut rest = text.trim_start();
        if rest.is_empty() {
            return Ok(Self(String::new()));
        }
        loop {
            let at = text.len() - rest.len();
            let (assertion, end, after) =
                assertion(rest).map_err(|reason| error(text, reason, at))?;
            assertions.push(assertion);
            match end {
                Some('+') => {}
                Some(_) => rdns.push(join(&mut assertions)),
                None => {
                    rdns.push(join(&mut assertions));
                    return Ok(Self(rdns.join(&RDN_END.to_string())));
                }
            }
            rest = after;
        }
    }
}

fn error(text: &str, reason: &'static str, at: usize) -> DnError {
    DnError {
        text: text.chars().take(200).collect(),
        reason,
        at,
    }
}

fn join(assertions: &mut Vec<String>) -> String {
    assertions.sort_unstable();
    let joined = assertions.join(&ASSERTION_END.to_string());
    assertions.clear();
    joined
}

/// Reads one `type=value`; gives its normalized text, the separator after it, and what follows.
fn assertion(text: &str) -> Result<(String, Option<char>, &str), &'static str> {
    let (kind, value) = text
        .split_once('=')
        .ok_or("an attribute type without a value")?;
    let kind = kind.trim();
    if kind.is_empty()
        || !kind
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.;_".contains(c))
    {
        return Err("an attribute type with characters that do not belong there");
    }
    let kind = kind
        .strip_prefix("OID.")
        .or_else(|| kind.strip_prefix("oid."))
        .unwrap_or(kind);
    let value = value.trim_start();
    let (bytes, end, rest) = if let Some(quoted) = value.strip_prefix('"') {
        quoted_value(quoted)?
    } else {
        plain_value(value)?
    };
    let folded = match String::from_utf8(bytes) {
        Ok(text) => fold(&text),
        Err(error) => error
            .as_bytes()
            .iter()
            .fold(String::from("#"), |text, byte| format!("{text}{byte:02x}")),
    };
    Ok((format!("{}={folded}", kind.to_ascii_lowercase()), end, rest))
}

type Scanned<'a> = (Vec<u8>, Option<char>, &'a str);

/// A value up to an unescaped `,`, `;` or `+` (RFC 4514 §3; `;` as RFC 2253 allowed).
fn plain_value(text: &str) -> Result<Scanned<'_>, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut kept = 0; // bytes up to the last one that is not an unescaped space
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ',' | ';' | '+' => {
                bytes.truncate(kept);
                return Ok((bytes, Some(c), text[at + 1..].trim_start()));
            }
            '\\' => {
                escaped(&mut chars, &mut bytes)?;
                kept = bytes.len();
            }
            '"' => return Err("a quotation mark that is not escaped"),
            ' ' => bytes.push(b' '),
            c => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                kept = bytes.len();
            }
        }
    }
    bytes.truncate(kept);
    Ok((bytes, None, ""))
}

/// A value in quotation marks (RFC 2253 §4, still written by old tools).
fn quoted_value(text: &str) -> Result<Scanned<'_>, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = text[at + 1..].trim_start();
                return match rest.chars().next() {
                    None => Ok((bytes, None, "")),
                    Some(end @ (',' | ';' | '+')) => Ok((bytes, Some(end), rest[1..].trim_start())),
                    Some(_) => Err("text after a closing quotation mark"),
                };
            }
            '\\' => escaped(&mut chars, &mut bytes)?,
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err("a quotation mark that is not closed")
}

/// What follows a backslash: a special character, or two hexadecimal digits for one byte.
fn escaped(chars: &mut std::str::CharIndices<'_>, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
    let (_, first) = chars.next().ok_or("a backslash at the end")?;
    let Some(high) = first.to_digit(16) else {
        bytes.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
        return Ok(());
    };
    let low = chars.next().and_then(|(_, second)| second.to_digit(16));
    let low = low.ok_or("a backslash with one hexadecimal digit")?;
    bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    Ok(())
}

/// Case and runs of spaces do not count in a name (RFC 4518 §2.6.1); control characters are kept apart.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !folded.is_empty() {
            folded.push(' ');
        }
        for c in word.chars().flat_map(char::to_lowercase) {
            if c.is_control() || c == '\\' {
                folded.extend(c.escape_default());
            } else {
                folded.push(c);
            }
        }
    }
    folded
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace(RDN_END, ",").replace(ASSERTION_END, "+"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn dn(text: &str) -> Dn {
        text.parse().unwrap()
    }

    #[test]
    fn the_name_above_is_what_follows_the_first_part() {
        for (name, above) in [
            ("uid=ann,ou=people,dc=x", Some("ou=people,dc=x")),
            (r"cn=a\,b + uid=c , dc=x", Some("dc=x")),
            ("cn=\"a,b\",dc=x", Some("dc=x")),
            ("dc=x", None),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(parent(name), above, "{name}");
            let parsed = name.parse().ok().and_then(|dn: Dn| dn.above());
            assert_eq!(parsed, above.map(dn), "{name}");
        }
    }

    #[test]
    fn equal_names_are_equal_however_written() {
        for (left, right) in [
            (
                "uid=ann,ou=People,dc=Example",
                "UID=Ann, OU=people , DC=example",
            ),
            (r"cn=Doe\, Ann,dc=x", r#"CN="doe, ann",dc=x"#),
            (r"cn=Doe\2C Ann,dc=x", r"cn=Doe\, Ann,dc=x"),
            (r"cn=J\C3\BCrg", "cn=JÜRG"),
            ("cn=a  b", "cn=A b"),
            ("a=1+b=2,c=3", "B=2+A=1,c=3"),
            (r"cn=\20a\20", r"cn=\ a\ "),
            ("oid.2.5.4.3=x", "2.5.4.3=x"),
            ("cn=a;dc=b", "cn=a,dc=b"),
        ] {
            assert_eq!(dn(left), dn(right), "{left} against {right}");
        }
    }

    #[test]
    fn different_names_differ() {
        for (left, right) in [
            (r"cn=a\,b,dc=x", "cn=a,dc=x"),
            ("cn=ab,dc=x", "cn=a,cn=b,dc=x"),
            ("a=1+b=2", "a=1,b=2"),
            ("cn=a", "sn=a"),
            (r"cn=a\01dc=b", "cn=a,dc=b"),
        ] {
            assert_ne!(dn(left), dn(right), "{left} against {right}");
        }
    }

    #[test]
    fn below_a_base_is_told_by_whole_names() {
        let base = dn("ou=people,dc=x");
        assert!(dn("uid=a, OU=People,dc=x").is_within(&base));
        assert!(base.is_within(&base));
        assert!(!dn("cn=ou=people,dc=x").is_within(&base));
        assert!(!dn("dc=x").is_within(&base));
        assert!(!dn(r"cn=x\,ou=people,dc=x").is_within(&base));
        assert!(dn("dc=x").is_within(&dn("")));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "ann", "uid=a,ou", r"uid=a\", "uid=\"a", r"uid=\4", "=a", "u id=a",
        ] {
            assert!(text.parse::<Dn>().is_err(), "{text}");
        }
        assert!("uid=".repeat(10_000).parse::<Dn>().is_err());
    }
}
