//! What a profile has already seen, as a compact index of digests that a read is compared against.

use std::collections::BTreeSet;

use crate::identity::digest::{self, Digest};
use crate::identity::{Anchor, Kind, RowKey};

/// Rows that lie together on average, so that they are one or two lines of the processor's cache.
const ROWS_PER_PLACE: usize = 2;
/// So that the places of the largest directory take four megabytes.
const PLACE_BITS_MAX: u32 = 19;
const KINDS: usize = 2;

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

/// The digests of all present rows of a profile: 34 bytes a row, so that a million fit in memory.
#[derive(Debug, Default)]
pub struct Known {
    /// In order.
    rows: Vec<Row>,
    /// Where the rows of each place begin, and where the last ones end.
    starts: Vec<u32>,
    /// How many bits of an anchor tell its place.
    bits: u32,
    /// In a first read these are all: a tree never needs room for itself twice, as a growing table does.
    new: BTreeSet<Slot>,
}

/// One row; whether it was met lies beside its digest, because each step to another piece of memory is a wait.
#[derive(Debug)]
struct Row {
    slot: Slot,
    digest: Digest,
    met: bool,
}

impl Known {
    /// Builds the index from all rows with their digests, in any order; no more room is taken than the rows say that they need.
    pub fn from_rows(rows: impl IntoIterator<Item = (RowKey, Digest)>) -> Self {
        let source = rows.into_iter();
        let mut rows = Vec::with_capacity(source.size_hint().1.unwrap_or_default());
        rows.extend(source.map(|(key, digest)| Row {
            slot: slot(&key),
            digest,
            met: false,
        }));
        rows.sort_unstable_by_key(|row| row.slot);
        let bits = (rows.len() / ROWS_PER_PLACE)
            .checked_ilog2()
            .unwrap_or_default()
            .min(PLACE_BITS_MAX);
        Self {
            starts: starts(&rows, bits),
            bits,
            rows,
            new: BTreeSet::new(),
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

    /// Has the memory of a row brought near while something else is done, as the hashing of its entry: a search waits for it
    /// longer than for anything else.
    pub fn approach(&self, key: &RowKey) {
        // What an administrator chose as an anchor would be hashed a second time.
        if matches!(key.anchor, Anchor::Uuid(_))
            && let Some(start) = self.starts.get(place(slot(key), self.bits))
            && let Some(row) = self.rows.get(*start as usize)
        {
            std::hint::black_box(row.met);
        }
    }

    /// Marks an entry as met in this read, and tells what was known of it.
    pub fn meet(&mut self, key: &RowKey, digest: Digest) -> Seen {
        let slot = slot(key);
        let Some(at) = self.find(slot) else {
            return if self.new.insert(slot) {
                Seen::New
            } else {
                Seen::Again
            };
        };
        let row = &mut self.rows[at];
        if std::mem::replace(&mut row.met, true) {
            return Seen::Again;
        }
        if row.digest == digest {
            Seen::Unchanged
        } else {
            Seen::Changed
        }
    }

    /// Whether a row was met in this read; a row that was never known counts as met.
    pub fn was_met(&self, key: &RowKey) -> bool {
        self.find(slot(key)).is_none_or(|at| self.rows[at].met)
    }

    /// How many known rows were not met.
    pub fn unmet(&self) -> usize {
        self.rows.iter().filter(|row| !row.met).count()
    }

    fn find(&self, slot: Slot) -> Option<usize> {
        let place = place(slot, self.bits);
        let start = *self.starts.get(place)? as usize;
        let end = *self.starts.get(place + 1)? as usize;
        let found = self.rows[start..end].binary_search_by_key(&slot, |row| row.slot);
        found.ok().map(|at| start + at)
    }
}

/// Where the rows of each place begin, with the end of the last.
fn starts(rows: &[Row], bits: u32) -> Vec<u32> {
    let mut starts = vec![0; KINDS << bits];
    for row in rows {
        starts[place(row.slot, bits)] += 1;
    }
    let mut next = 0;
    for start in &mut starts {
        next += std::mem::replace(start, next);
    }
    starts.push(next);
    starts
}

/// Which place a row is in: that of its kind and of the first bits of its anchor, which differ well enough in what servers make up
/// (objectGUID, entryUUID, nsUniqueId) and in digests. A search among all rows would wait for memory at each of its steps.
fn place((kind, anchor): Slot, bits: u32) -> usize {
    let first = u32::from_be_bytes([anchor[0], anchor[1], anchor[2], anchor[3]]);
    let within = first.checked_shr(u32::BITS - bits).unwrap_or_default();
    ((kind as usize) << bits) + within as usize
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
    fn every_row_is_found_however_close_together_anchors_are() {
        let uuid = |number: u128| Anchor::Uuid(uuid::Uuid::from_u128(number));
        let spread = (0..500).map(|at| u128::MAX / 500 * at);
        let close = (0..500).map(|at| (7 << 100) + at);
        let all: Vec<RowKey> = spread
            .chain(close)
            .flat_map(|number| {
                [Kind::User, Kind::Group].map(|kind| RowKey {
                    kind,
                    anchor: uuid(number),
                })
            })
            .collect();
        for count in [0, 1, 10, all.len() / 2, all.len()] {
            let (there, missing) = all.split_at(count);
            let digest = Digest([1; 16]);
            let mut known = Known::from_rows(there.iter().map(|key| (key.clone(), digest)));
            assert!(there.iter().all(|key| !known.was_met(key)));
            assert!(missing.iter().all(|key| known.was_met(key)));
            for key in there {
                assert_eq!(known.meet(key, digest), Seen::Unchanged);
            }
            for key in missing {
                assert_eq!(known.meet(key, digest), Seen::New);
            }
            assert_eq!((known.len(), known.unmet()), (count, 0));
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
