//! What a source says while it is read, and what its silence means at the end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::digest::Digest;
use crate::identity::{Anchor, Identity, Kind};

/// One statement of a source while it reads. Entries that are exactly as they were seen last are not stated, only marked
/// in [`crate::identity::known::Known`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// What was observed of one entry.
    Entry(Observation),
    /// How many entries were met so far, unchanged ones included; stated now and then in a long read.
    Met {
        /// Users.
        users: u64,
        /// Groups.
        groups: u64,
    },
}

/// What was observed of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The entry is there, new or changed.
    Present(Box<Identity>, Digest),
    /// The entry is there but cannot be used; it does not count as absent.
    Unreadable(Unreadable),
}

/// An entry that was read and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// User or group.
    pub kind: Kind,
    /// The anchor, where the entry has one.
    pub anchor: Option<Anchor>,
    /// The distinguished name as far as it could be read.
    pub dn: String,
    /// What is wrong and what cures it.
    pub problem: String,
}

/// What silence means when a read has ended: only `Complete` can turn absence into removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coverage {
    /// Every page of every search was read to its end, on one server, without limit or open reference.
    Complete,
    /// Something was not read; the text says what and what cures it.
    Partial(String),
}

impl Coverage {
    /// Whether absence counts.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Partial(why) => write!(f, "partial: {why}"),
        }
    }
}

/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadEnd {
    /// What silence means.
    pub coverage: Coverage,
    /// Entries read that are users, each once.
    pub users: u64,
    /// Entries read that are groups, each once.
    pub groups: u64,
}

/// What one look at one entry found, just before something is taken away for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The entry is there and in scope.
    Present(Box<Identity>),
    /// The server answered with success, and the entry is not there or not in scope.
    Absent,
}
