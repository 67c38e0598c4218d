//! What a profile has already seen, as a compact index of digests that a read is compared against.

use crate::identity::digest::{self, Digest};
use crate::identity::{Anchor, Kind, RowKey};

/// What the index says of an entry that was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not in the index: new, or back after an absence.
    New,
    /// In the index with another digest.
    Changed,
    /// In the index with this digest.
    Unchanged,
    /// Read before in this very run (paging may repeat entries, RFC 2696 §3).
    Again,
}

/// The digests of all present rows of a profile: 33 bytes a row, so that a million fit in memory.
#[derive(Debug, Default)]
pub struct Known {
    rows: Vec<(Slot, Digest)>,
    met: Vec<bool>,
    new: std::collections::HashSet<Slot>,
}

impl Known {
    /// Builds the index from all rows with their digests, in any order.
    pub fn from_rows(rows: impl IntoIterator<Item = (RowKey, Digest)>) -> Self {
        let mut rows: Vec<_> = rows
            .into_iter()
            .map(|(key, digest)| (slot(&key), digest))
            .collect();
        rows.sort_unstable_by_key(|(slot, _)| *slot);
        let met = vec![false; rows.len()];
        Self {
            rows,
            met,
            new: Default::default(),
        }
    }

    /// How many rows the profile had before this read.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was seen before.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Marks an entry as met in this read, and tells what was known of it.
    pub fn meet(&mut self, key: &RowKey, digest: Digest) -> Seen {
        let slot = slot(key);
        let Ok(at) = self.rows.binary_search_by_key(&slot, |(slot, _)| *slot) else {
            return if self.new.insert(slot) {
                Seen::New
            } else {
                Seen::Again
            };
        };
        if std::mem::replace(&mut self.met[at], true) {
            return Seen::Again;
        }
        if self.rows[at].1 == digest {
            Seen::Unchanged
        } else {
            Seen::Changed
        }
    }

    /// Whether a row was met in this read; a row that was never known counts as met.
    pub fn was_met(&self, key: &RowKey) -> bool {
        let slot = slot(key);
        self.rows
            .binary_search_by_key(&slot, |(slot, _)| *slot)
            .map_or(true, |at| self.met[at])
    }

    /// How many known rows were not met.
    pub fn unmet(&self) -> usize {
        self.met.iter().filter(|met| !**met).count()
    }
}

/// A row's place: users before groups, then the anchor in 16 bytes.
type Slot = (Kind, [u8; 16]);

fn slot(key: &RowKey) -> Slot {
    let anchor = match &key.anchor {
        Anchor::Uuid(uuid) => *uuid.as_bytes(),
        Anchor::Text(text) => digest::short(&[text.as_bytes()]),
    };
    (key.kind, anchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> RowKey {
        RowKey {
            kind: Kind::User,
            anchor: Anchor::Text(name.into()),
        }
    }

    #[test]
    fn a_read_is_told_apart_and_what_is_missing_is_counted() {
        let old = Digest([1; 16]);
        let new = Digest([2; 16]);
        let mut known = Known::from_rows([(key("a"), old), (key("b"), old), (key("c"), old)]);
        assert_eq!(known.meet(&key("a"), old), Seen::Unchanged);
        assert_eq!(known.meet(&key("a"), new), Seen::Again);
        assert_eq!(known.meet(&key("b"), new), Seen::Changed);
        assert_eq!(known.meet(&key("d"), new), Seen::New);
        assert_eq!(known.meet(&key("d"), new), Seen::Again);
        assert_eq!(known.unmet(), 1);
        assert!(known.was_met(&key("a")) && !known.was_met(&key("c")));
    }
}
