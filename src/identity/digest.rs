//! Digests of entries, by which an unchanged entry is recognized without reading it back.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The digest of an entry as the server sent it: 128 bits of SHA-256.
///
/// SHA-256, not a fast hash, because attribute values are written by people who may wish two
/// different entries to look alike.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of an entry: its DN, and its attributes with their values as bytes.
    ///
    /// The order of attributes, the case of their names and the order of values do not count,
    /// because LDAP gives no meaning to them (RFC 4511 §4.1.7). Both slices are sorted in place.
    pub fn of_entry(dn: &str, attributes: &mut [(String, Vec<&[u8]>)]) -> Self {
        for (name, values) in attributes.iter_mut() {
            name.make_ascii_lowercase();
            values.sort_unstable();
        }
        attributes.sort_unstable();
        let mut hasher = Sha256::new();
        feed(&mut hasher, dn.as_bytes());
        for (name, values) in attributes.iter() {
            feed(&mut hasher, name.as_bytes());
            hasher.update((values.len() as u64).to_le_bytes());
            for value in values {
                feed(&mut hasher, value);
            }
        }
        Self(truncated(hasher))
    }
}

/// A short digest of a few parts, each with its length, so that parts never run into each other.
pub fn short(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        feed(&mut hasher, part);
    }
    truncated(hasher)
}

fn feed(hasher: &mut Sha256, part: &[u8]) {
    hasher.update((part.len() as u64).to_le_bytes());
    hasher.update(part);
}

fn truncated(hasher: Sha256) -> [u8; 16] {
    let full: [u8; 32] = hasher.finalize().into();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(attributes: &[(&str, &[&str])]) -> Digest {
        let mut attributes: Vec<(String, Vec<&[u8]>)> = attributes
            .iter()
            .map(|(name, values)| {
                (
                    (*name).to_owned(),
                    values.iter().map(|value| value.as_bytes()).collect(),
                )
            })
            .collect();
        Digest::of_entry("uid=ann", &mut attributes)
    }

    #[test]
    fn order_and_case_do_not_count_but_values_do() {
        let base = digest(&[("mail", &["a", "b"]), ("sn", &["x"])]);
        assert_eq!(base, digest(&[("SN", &["x"]), ("Mail", &["b", "a"])]));
        assert_ne!(base, digest(&[("mail", &["a"]), ("sn", &["b", "x"])]));
        assert_ne!(base, digest(&[("mail", &["ab"]), ("sn", &["x"])]));
        assert_ne!(base, digest(&[("mail", &["a", "b"]), ("sn", &["X"])]));
    }
}
