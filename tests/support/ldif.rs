//! LDIF (RFC 2849), as far as the tests write it and ldapsearch prints it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One entry as a search returned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The distinguished name as the server spells it.
    pub dn: String,
    attributes: BTreeMap<String, Vec<String>>,
}

impl Entry {
    /// All values of an attribute, in the server's order; the name in any case.
    pub fn values(&self, attribute: &str) -> &[String] {
        self.attributes
            .get(&attribute.to_ascii_lowercase())
            .map_or(&[], Vec::as_slice)
    }

    /// The first value of an attribute.
    pub fn first(&self, attribute: &str) -> Option<&str> {
        self.values(attribute).first().map(String::as_str)
    }
}

/// Reads the output of `ldapsearch -LLL -o ldif-wrap=no`; values that are not UTF-8 are shown with replacement characters.
pub fn parse(text: &str) -> Vec<Entry> {
    text.split("\n\n").filter_map(parse_entry).collect()
}

fn parse_entry(block: &str) -> Option<Entry> {
    let mut attributes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Comment lines are search references; they are not entries.
    for line in block.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(':')?;
        let value = match rest.strip_prefix(':') {
            Some(encoded) => {
                let bytes = STANDARD.decode(encoded.trim()).expect("base64 in LDIF");
                String::from_utf8_lossy(&bytes).into_owned()
            }
            None => rest.trim_start().to_owned(),
        };
        attributes
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(value);
    }
    let dn = attributes.remove("dn")?.pop()?;
    Some(Entry { dn, attributes })
}

/// Appends `name: value`, in base64 where RFC 2849 §2 asks for it.
pub fn write_value(ldif: &mut String, name: &str, value: &str) {
    let plain = value.chars().all(|c| (' '..='~').contains(&c))
        && !value.starts_with([' ', ':', '<'])
        && !value.ends_with(' ');
    let written = if plain {
        writeln!(ldif, "{name}: {value}")
    } else {
        writeln!(ldif, "{name}:: {}", STANDARD.encode(value))
    };
    written.expect("writing to a string");
}
