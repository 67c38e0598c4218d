//! Forgetting: what remains of a profile or a directory that was deleted, taken out of the file.

use redb::{TableHandle as _, WriteTransaction};

use super::codec;
use super::conflicts;
use super::failure::Failure;
use super::jobs;
use super::lease;
use super::tables::{
    COUNTS, DirectoryTables, LEDGERS, PROFILES, ProfileTables, RESTORED, Source as _, TARGETS,
    of_directory, of_profile, open_write,
};
use crate::id::{DirectoryId, ProfileKey};
use crate::store::Lease;

/// Removes the tables and the state of a profile. A row that nobody else saw and that is not linked leaves nothing.
pub(super) fn profile(
    txn: &WriteTransaction,
    lease: &Lease,
    profile: &ProfileKey,
) -> Result<(), Failure> {
    lease::check_for(txn, lease, profile.directory)?;
    jobs::withdraw_all(txn, profile)?;
    {
        let mut directory = DirectoryTables::write(txn, profile.directory)?;
        let profiles = ProfileTables::write_all(txn, profile.directory)?;
        let (own, others): (Vec<_>, Vec<_>) = profiles
            .into_iter()
            .partition(|tables| tables.profile == profile.profile);
        for entry in own.iter().map(|own| own.seen.after(None)) {
            for row in entry? {
                let (row, _) = row?;
                let row = row.value();
                let mut keepers = others.iter().map(|other| other.seen.has(row));
                let is_seen = keepers.try_fold(false, |any, has| Ok::<_, Failure>(any || has?))?;
                if !is_seen {
                    // Whoever sees it next asks again.
                    conflicts::forget(&mut directory, profile.directory, row)?;
                }
                if !is_seen && !directory.applied.has(row)? {
                    directory.decisions.remove(row)?;
                    directory.dirty.remove(row)?;
                    directory.found.remove(row)?;
                    directory.outcomes.remove(row)?;
                    directory.repairs.remove(row)?;
                }
            }
        }
    }
    for name in [PROFILES, LEDGERS, RESTORED] {
        open_write(txn, name)?.remove(codec::profile_key(profile).as_slice())?;
    }
    drop_tables(txn, &of_profile(profile, ""))
}

/// Removes everything of a directory, and ends its leases.
pub(super) fn directory(txn: &WriteTransaction, directory: DirectoryId) -> Result<(), Failure> {
    lease::take(txn, directory)?;
    jobs::remove_all(txn, directory)?;
    for name in [PROFILES, LEDGERS, RESTORED] {
        let mut profiles = open_write(txn, name)?;
        for key in profiles.keys_starting_with(directory.0.as_bytes())? {
            profiles.remove(key.as_slice())?;
        }
    }
    open_write(txn, COUNTS)?.remove(directory.0.as_bytes().as_slice())?;
    open_write(txn, TARGETS)?.remove(directory.0.as_bytes().as_slice())?;
    drop_tables(txn, &of_directory(directory, ""))
}

fn drop_tables(txn: &WriteTransaction, prefix: &str) -> Result<(), Failure> {
    let tables: Vec<_> = txn
        .list_tables()?
        .filter(|table| table.name().starts_with(prefix))
        .collect();
    for table in tables {
        txn.delete_table(table)?;
    }
    Ok(())
}
