//! Keys and records as bytes: keys that sort as their rows do, records with a version byte before postcard.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::failure::Failure;
use crate::id::{DirectoryId, JobId, ProfileKey};
use crate::identity::{MemberKey, RowKey};
use crate::plan::Class;
use crate::store::Position;

/// The version of all records; a migration that changes their form raises it.
const RECORD_VERSION: u8 = 1;

/// Writes a record.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, Failure> {
    encode_within(record, 0)
}

/// Writes a record that has about so many bytes: one of some megabytes would else be in memory two or three times while it grows.
pub(super) fn encode_within<T: Serialize>(record: &T, bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut room = Vec::with_capacity(bytes.max(1));
    room.push(RECORD_VERSION);
    postcard::to_extend(record, room).map_err(|error| {
        let name = std::any::type_name::<T>();
        Failure::defect(format!("a record of {name} cannot be written: {error}"))
    })
}

/// Reads a record; also just its first field, since postcard writes fields in order and without a frame.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    decode_in_place(bytes)
}

/// Reads a record whose texts stay where they lie.
pub(super) fn decode_in_place<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Failure> {
    let refuse = |why: String| {
        let name = std::any::type_name::<T>();
        Failure::corrupt(format!("a record of {name} cannot be read: {why}"))
    };
    match bytes.split_first() {
        Some((&RECORD_VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|error| refuse(error.to_string()))
        }
        Some((version, _)) => Err(refuse(format!("it has version {version}"))),
        None => Err(refuse("it is empty".to_owned())),
    }
}

/// Reads a row's key back.
pub(super) fn row_key(bytes: &[u8]) -> Result<RowKey, Failure> {
    RowKey::from_key(bytes).ok_or_else(|| Failure::corrupt("a row has a key that is not one"))
}

/// The prefix of everything that belongs to one row in a table whose keys go on after it.
///
/// The length comes first, so that no row's prefix is the beginning of another's.
pub(super) fn row_prefix(row: &[u8]) -> Vec<u8> {
    let length = u32::try_from(row.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), row].concat()
}

/// What the keys of all groups begin with (see [`RowKey::to_key`]).
pub(super) const GROUPS: [u8; 1] = [1];

/// The key of an intent: row, class, part.
pub(super) fn intent_key(row: &RowKey, class: Class, part: u32) -> Vec<u8> {
    let mut key = row_prefix(&row.to_key());
    key.push(class as u8);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The key of a name together with a row: with a group that names a member so, or with an entry that lies at the place
/// which the name is.
pub(super) fn name_row_key(name: &MemberKey, row: &[u8]) -> Vec<u8> {
    [&name.0, row].concat()
}

/// The key of a profile in the table of profiles.
pub(super) fn profile_key(profile: &ProfileKey) -> Vec<u8> {
    [profile.directory.0.as_bytes(), profile.profile.0.as_bytes()].concat()
}

/// The key of a job, and the prefix of its steps and of its journal; version 7 ids sort by time.
pub(super) fn job_key(job: JobId) -> [u8; 16] {
    *job.0.as_bytes()
}

/// The key of a step.
pub(super) fn step_key(job: JobId, position: Position) -> Vec<u8> {
    let mut key = job_key(job).to_vec();
    key.push(position.class as u8);
    key.extend_from_slice(&position.number.to_be_bytes());
    key
}

/// Reads a step's position back from its key.
pub(super) fn step_position(key: &[u8]) -> Result<Position, Failure> {
    let class = key
        .get(16)
        .and_then(|class| Class::ALL.get(usize::from(*class)));
    match (class, key.get(17..).and_then(number)) {
        (Some(class), Some(number)) => Ok(Position {
            class: *class,
            number,
        }),
        _ => Err(Failure::corrupt("a step has a key that is not one")),
    }
}

/// The key of a line of the journal: a change that was sent.
pub(super) fn line_key(job: JobId, number: u64) -> Vec<u8> {
    [job_key(job).as_slice(), &number.to_be_bytes()].concat()
}

/// The key of a line of the journal: an error that led to no request. The byte at its end tells them apart.
pub(super) fn unsent_key(job: JobId, number: u64) -> Vec<u8> {
    let mut key = line_key(job, number);
    key.push(UNSENT);
    key
}

/// The key of a line of the journal: what the target was found to hold otherwise.
pub(super) fn drift_key(job: JobId, number: u64) -> Vec<u8> {
    let mut key = line_key(job, number);
    key.push(DRIFT);
    key
}

const UNSENT: u8 = 1;
const DRIFT: u8 = 2;

/// What a line of the journal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineKind {
    /// A change that was sent.
    Sent,
    /// An error that led to no request.
    Unsent,
    /// What the target was found to hold otherwise.
    Drift,
}

/// Reads a line's number back from its key, and what it tells.
pub(super) fn line_of_key(key: &[u8]) -> Result<(u64, LineKind), Failure> {
    let parts = key.get(16..).and_then(<[u8]>::split_first_chunk);
    let (line, kind) = match parts {
        Some((line, [])) => (line, LineKind::Sent),
        Some((line, [UNSENT])) => (line, LineKind::Unsent),
        Some((line, [DRIFT])) => (line, LineKind::Drift),
        _ => {
            return Err(Failure::corrupt(
                "a line of the journal has a key that is not one",
            ));
        }
    };
    Ok((u64::from_be_bytes(*line), kind))
}

/// A number as a value.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// A directory's id from its bytes.
pub(super) fn directory_id(bytes: &[u8]) -> Option<DirectoryId> {
    Uuid::from_slice(bytes).ok().map(DirectoryId)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::{Anchor, Kind};

    #[test]
    fn prefixes_of_rows_never_run_into_each_other() {
        let row = |text: &str| {
            RowKey {
                kind: Kind::Group,
                anchor: Anchor::Text(text.into()),
            }
            .to_key()
        };
        let (short, long) = (row_prefix(&row("a")), row_prefix(&row("ab")));
        assert!(!long.starts_with(&short));
    }

    #[test]
    fn positions_read_back_and_sort_by_class_then_number() {
        let job = JobId(Uuid::from_u128(5));
        let mut keys = Vec::new();
        for class in Class::ALL {
            for number in [0, 1, 256, u64::MAX] {
                let position = Position { class, number };
                let key = step_key(job, position);
                assert_eq!(step_position(&key).unwrap(), position);
                keys.push(key);
            }
        }
        assert!(keys.is_sorted());
    }

    #[test]
    fn records_of_another_version_are_refused() {
        let mut record = encode(&"x").unwrap();
        assert_eq!(decode::<String>(&record).unwrap(), "x");
        record[0] = 9;
        assert!(decode::<String>(&record).is_err());
        assert!(decode::<String>(&[]).is_err());
    }
}
