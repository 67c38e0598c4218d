//! Distinguished names (RFC 4514), taken apart and made comparable.

/// A DN in comparable form: the RDNs from the root down, in lower case. So the entries below one sort right behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Vec<String>);

impl Key {
    /// The comparable form of a DN; `None` when it is not one.
    pub fn parse(dn: &str) -> Option<Self> {
        let mut rdns = Vec::new();
        for rdn in split(dn, &[',', ';']) {
            let mut parts = Vec::new();
            for (name, value) in assertions(rdn)? {
                parts.push(format!("{}={}", name.to_lowercase(), fold(&value)));
            }
            parts.sort();
            rdns.push(parts.join("+"));
        }
        rdns.reverse();
        Some(Self(rdns))
    }

    /// Whether this is `base` or below it.
    pub fn is_within(&self, base: &Key) -> bool {
        self.0.starts_with(&base.0)
    }

    /// How many RDNs it has.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// The DN above; `None` for the root.
    pub fn parent(&self) -> Option<Key> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }
}

/// The first RDN of a DN, as written.
pub fn rdn(dn: &str) -> &str {
    split(dn, &[',', ';']).first().copied().unwrap_or_default()
}

/// What of `dn` is left when as many RDNs are cut off its end as `suffix` has, which it must end with.
pub fn prefix_above<'a>(dn: &'a str, suffix: &str) -> Vec<&'a str> {
    let mut rdns = split(dn, &[',', ';']);
    let below = rdns.len().saturating_sub(split(suffix, &[',', ';']).len());
    rdns.truncate(below);
    rdns
}

/// The attributes and unescaped values of an RDN; `None` when it is not one.
pub fn assertions(rdn: &str) -> Option<Vec<(&str, String)>> {
    let mut found = Vec::new();
    for part in split(rdn, &['+']) {
        let (name, value) = part.split_once('=')?;
        let name = name.trim();
        if name.is_empty() {
            return None;
        }
        found.push((name, unescape(value)?));
    }
    (!found.is_empty()).then_some(found)
}

/// Lower case, with runs of spaces folded into one: how values without case are compared (RFC 4518, in the large).
pub fn fold(value: &str) -> String {
    let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

/// Cuts at separators that are neither escaped nor quoted; an empty text has no parts.
fn split<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut parts = Vec::new();
    let (mut start, mut escaped, mut quoted) = (0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if !quoted && separators.contains(&letter) => {
                parts.push(&text[start..at]);
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(value: &str) -> Option<String> {
    let value = trim_unescaped(value);
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'"' {
            continue;
        }
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let first = rest.next()?;
        let Some(high) = char::from(first).to_digit(16) else {
            bytes.push(first);
            continue;
        };
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Spaces around a value do not count, but an escaped one at its end does.
fn trim_unescaped(value: &str) -> &str {
    let value = value.trim_start();
    let trimmed = value.trim_end();
    let escapes = trimmed
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'\\')
        .count();
    match escapes % 2 {
        1 => &value[..(trimmed.len() + 1).min(value.len())],
        _ => trimmed,
    }
}
