//! The target that a directory's rows are linked at, by its address.

use redb::{ReadTransaction, WriteTransaction};

use super::codec;
use super::failure::Failure;
use super::lease;
use super::tables::{
    COUNTS, DirectoryTables, PROFILES, Source as _, TARGETS, open_read, open_write,
};
use crate::id::DirectoryId;
use crate::snapshot::{LinkedCounts, ProfileState};
use crate::store::Lease;

/// Whether this is the address that was noted.
pub(super) fn is_bound(
    txn: &ReadTransaction,
    directory: DirectoryId,
    base_url: &str,
) -> Result<bool, Failure> {
    let targets = open_read(txn, TARGETS)?;
    let same = targets.read(directory.0.as_bytes(), |url| Ok(url == base_url.as_bytes()))?;
    Ok(same == Some(true))
}

/// Notes the address, or answers the one that was noted before and still counts.
pub(super) fn bind(
    txn: &WriteTransaction,
    lease: &Lease,
    base_url: &str,
) -> Result<Option<String>, Failure> {
    lease::check(txn, lease)?;
    let key = lease.directory.0.as_bytes().as_slice();
    let mut targets = open_write(txn, TARGETS)?;
    let before = targets.read(key, |url| Ok(String::from_utf8_lossy(url).into_owned()))?;
    match before {
        Some(before) if before == base_url => return Ok(None),
        Some(before) if is_linked(txn, lease.directory)? => return Ok(Some(before)),
        Some(_) => begin_anew(txn, lease.directory)?,
        None => {}
    }
    targets.insert(key, base_url.as_bytes())?;
    Ok(None)
}

/// Whether anything is linked, or may be: what was about to be sent may have arrived.
fn is_linked(txn: &WriteTransaction, directory: DirectoryId) -> Result<bool, Failure> {
    let counts: Option<LinkedCounts> =
        open_write(txn, COUNTS)?.read(directory.0.as_bytes(), codec::decode)?;
    let counts = counts.unwrap_or_default();
    let tables = DirectoryTables::write(txn, directory)?;
    let intended = tables.intents.after(None)?.next().is_some();
    Ok(counts.users + counts.groups > 0 || intended)
}

/// Forgets what was found at the target before, and what was decided on it, so that the new one is listed.
fn begin_anew(txn: &WriteTransaction, directory: DirectoryId) -> Result<(), Failure> {
    let mut tables = DirectoryTables::write(txn, directory)?;
    let found: Vec<Vec<u8>> = tables
        .found
        .after(None)?
        .map(|entry| Ok(entry?.0.value().to_vec()))
        .collect::<Result<_, Failure>>()?;
    for row in found {
        tables.found.remove(row.as_slice())?;
        tables.mark(&row)?;
    }
    let decided: Vec<Vec<u8>> = tables.decisions.keys_starting_with(&[])?;
    for row in decided {
        tables.decisions.remove(row.as_slice())?;
    }
    let mut profiles = open_write(txn, PROFILES)?;
    for key in profiles.keys_starting_with(directory.0.as_bytes())? {
        let state: Option<ProfileState> = profiles.read(&key, codec::decode)?;
        let state = ProfileState {
            last_observed: None,
            ..state.unwrap_or_default()
        };
        profiles.insert(key.as_slice(), codec::encode(&state)?.as_slice())?;
    }
    Ok(())
}
