//! Digests of entries, by which an unchanged entry is recognized without reading it back.

use std::ops::DerefMut;

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
    pub fn of_entry<'a, V>(dn: &str, attributes: &mut [(&str, V)]) -> Self
    where
        V: DerefMut<Target = [&'a [u8]]>,
    {
        for (_, values) in attributes.iter_mut() {
            values.sort_unstable();
        }
        attributes.sort_unstable_by(|(left, lefts), (right, rights)| {
            let names = || lower(left).cmp(lower(right));
            names().then_with(|| (**lefts).cmp(&**rights))
        });
        let mut gathered = Gathered::default();
        gathered.part(dn.as_bytes());
        for (name, values) in attributes.iter() {
            gathered.lower_part(name);
            gathered.number(values.len());
            for value in values.iter() {
                gathered.part(value);
            }
        }
        gathered.digest()
    }
}

/// The bytes of a name in lower case.
fn lower(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| byte.to_ascii_lowercase())
}

/// How much is gathered before it is hashed, so that the hash is called once for most entries.
const GATHERED_BYTES: usize = 4 * 1024;

/// What is to be hashed, gathered from small pieces.
struct Gathered {
    hasher: Sha256,
    bytes: Vec<u8>,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            hasher: Sha256::new(),
            bytes: Vec::with_capacity(1024),
        }
    }
}

impl Gathered {
    fn number(&mut self, number: usize) {
        self.bytes.extend_from_slice(&(number as u64).to_le_bytes());
    }

    fn part(&mut self, part: &[u8]) {
        self.number(part.len());
        if self.bytes.len() + part.len() > GATHERED_BYTES {
            self.hasher.update(&self.bytes);
            self.bytes.clear();
        }
        if part.len() > GATHERED_BYTES {
            self.hasher.update(part);
        } else {
            self.bytes.extend_from_slice(part);
        }
    }

    fn lower_part(&mut self, name: &str) {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.part(name.to_ascii_lowercase().as_bytes());
        } else {
            self.part(name.as_bytes());
        }
    }

    fn digest(mut self) -> Digest {
        self.hasher.update(&self.bytes);
        let full: [u8; 32] = self.hasher.finalize().into();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        Digest(short)
    }
}

/// A short digest of a few parts, each with its length, so that parts never run into each other.
pub fn short(parts: &[&[u8]]) -> [u8; 16] {
    let mut gathered = Gathered::default();
    parts.iter().for_each(|part| gathered.part(part));
    gathered.digest().0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(attributes: &[(&str, &[&str])]) -> Digest {
        let mut attributes: Vec<(&str, Vec<&[u8]>)> = attributes
            .iter()
            .map(|(name, values)| (*name, values.iter().map(|value| value.as_bytes()).collect()))
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

    /// The same without gathering anything, a piece at a time.
    fn plain(pieces: &[&[u8]]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        pieces.iter().for_each(|piece| hasher.update(piece));
        hasher.finalize().into()
    }

    fn length(length: usize) -> [u8; 8] {
        (length as u64).to_le_bytes()
    }

    #[test]
    fn stored_digests_stay_what_they_are_however_long_the_values_are() {
        let long = "x".repeat(GATHERED_BYTES + 1);
        let values = [long.as_str(), "a", &long[..GATHERED_BYTES], "b"];
        let mut sorted = values;
        sorted.sort_unstable();
        let lengths = sorted.map(|value| length(value.len()));
        let (seven, six, four) = (length(7), length(6), length(4));
        let mut pieces: Vec<&[u8]> = vec![&seven, b"uid=ann", &six, b"member", &four];
        for (length, value) in lengths.iter().zip(&sorted) {
            pieces.extend([length.as_slice(), value.as_bytes()]);
        }
        assert_eq!(digest(&[("Member", &values)]).0, plain(&pieces)[..16]);
        let (none, long_length) = (length(0), length(long.len()));
        assert_eq!(
            short(&[b"", long.as_bytes(), b"member"]),
            plain(&[&none, &long_length, long.as_bytes(), &six, b"member"])[..16]
        );
    }
}
