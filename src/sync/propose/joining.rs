//! Who becomes linked if a plan is carried out: in a first load everybody, so no more is kept of each than tells him apart.

use std::collections::BTreeSet;

use crate::identity::RowKey;
use crate::identity::digest::short;

/// The rows that become linked by a plan, by eight bytes of the digest of their keys: some 14 bytes each, in a tree, which never
/// needs room for itself twice as a growing table does. Should two rows ever have the same eight, one of them counts as a member too
/// early: when members are sent it has no resource, is left out, and the group is looked at again.
#[derive(Default)]
pub(super) struct Joining(BTreeSet<u64>);

impl Joining {
    /// Takes a row in.
    pub(super) fn add(&mut self, row: &RowKey) {
        self.0.insert(mark(row));
    }

    /// Takes a row out again.
    pub(super) fn remove(&mut self, row: &RowKey) {
        self.0.remove(&mark(row));
    }

    /// Whether a row is among them.
    pub(super) fn has(&self, row: &RowKey) -> bool {
        self.0.contains(&mark(row))
    }
}

fn mark(row: &RowKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = short(&[&row.to_key()]);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
