//! The *seen* column: what profiles read, the names by which groups name members, and the rows that differ for it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use redb::{ReadTransaction, ReadableTableMetadata, WriteTransaction};

use super::codec;
use super::failure::Failure;
use super::lease;
use super::naming::Naming;
use super::outcomes;
use super::tables::{
    DirectoryTables, PROFILES, ProfileTables, Source, WriteTable, enlist, open_write,
};
use crate::id::{DirectoryId, ProfileKey, ProfileName};
use crate::identity::digest::{self, Digest};
use crate::identity::known::Known;
use crate::identity::{Identity, MemberKey, RowKey};
use crate::snapshot::{ProfileState, Seen, Standing};
use crate::store::Lease;

/// The index of a profile's present rows.
pub(super) fn known(txn: &ReadTransaction, profile: &ProfileKey) -> Result<Known, Failure> {
    let tables = ProfileTables::read(txn, profile)?;
    let mut failed = None;
    let rows = tables.digests.after(None)?.map_while(|entry| {
        let row = entry.and_then(|(key, value)| {
            Ok((codec::row_key(key.value())?, read_digest(value.value())?))
        });
        row.map_err(|failure| failed = Some(failure)).ok()
    });
    let count = usize::try_from(tables.digests.count()?).unwrap_or_default();
    let known = Known::from_rows(rows.take(count));
    failed.map_or(Ok(known), Err)
}

/// The present rows of a profile that a read did not meet.
pub(super) fn unmet(
    txn: &ReadTransaction,
    profile: &ProfileKey,
    known: &Known,
) -> Result<Vec<RowKey>, Failure> {
    let tables = ProfileTables::read(txn, profile)?;
    let mut unmet = Vec::new();
    for entry in tables.digests.after(None)? {
        let key = codec::row_key(entry?.0.value())?;
        if !known.was_met(&key) {
            unmet.push(key);
        }
    }
    Ok(unmet)
}

/// Replaces a profile's state.
pub(super) fn save_profile_state(
    txn: &WriteTransaction,
    lease: &Lease,
    profile: &ProfileKey,
    state: &ProfileState,
) -> Result<(), Failure> {
    lease::check_for(txn, lease, profile.directory)?;
    let record = codec::encode(state)?;
    open_write(txn, PROFILES)?.insert(codec::profile_key(profile).as_slice(), record.as_slice())?;
    Ok(())
}

/// Changes a profile's state as it is now, whatever else changed it meanwhile.
pub(super) fn change_profile_state(
    txn: &WriteTransaction,
    lease: &Lease,
    profile: &ProfileKey,
    change: impl FnOnce(&mut ProfileState),
) -> Result<(), Failure> {
    let key = codec::profile_key(profile);
    let state = open_write(txn, PROFILES)?.read(&key, codec::decode)?;
    let mut state: ProfileState = state.unwrap_or_default();
    change(&mut state);
    save_profile_state(txn, lease, profile, &state)
}

/// Writes entries that are new or changed.
pub(super) fn record_seen(
    txn: &WriteTransaction,
    lease: &Lease,
    profile: &ProfileKey,
    entries: Vec<(Identity, Digest)>,
) -> Result<(), Failure> {
    lease::check_for(txn, lease, profile.directory)?;
    enlist(txn, profile)?;
    // In order of the keys, because sorted writes are ten times faster; of two readings the later one counts.
    let entries: BTreeMap<Vec<u8>, (Identity, Digest)> = entries
        .into_iter()
        .map(|(identity, digest)| (identity.key().to_key(), (identity, digest)))
        .collect();
    let mut directory = DirectoryTables::write(txn, profile.directory)?;
    let mut profiles = ProfileTables::write_all(txn, profile.directory)?;
    let own = own(&mut profiles, profile)?;
    let first_load = own.seen.is_empty()?;
    let mut index = NameIndex::default();
    for (key, (identity, digest)) in entries {
        let before = if first_load {
            None
        } else {
            own.seen.read(&key, Naming::present)?.flatten()
        };
        index.replace(&key, before, Some(Naming::of(&identity)));
        let bytes = identity.record_bytes();
        let seen = Seen {
            identity,
            digest,
            standing: Standing::Present,
        };
        let seen = codec::encode_within(&seen, bytes)?;
        own.digests.insert(key.as_slice(), digest.0.as_slice())?;
        own.seen.insert(key.as_slice(), seen.as_slice())?;
        directory.mark(&key)?;
    }
    index.write(own)?;
    mark_naming(&mut directory, &profiles, &index.moved)
}

/// Marks rows as absent.
pub(super) fn record_absent(
    txn: &WriteTransaction,
    lease: &Lease,
    profile: &ProfileKey,
    rows: Vec<RowKey>,
    since: DateTime<Utc>,
) -> Result<(), Failure> {
    lease::check_for(txn, lease, profile.directory)?;
    enlist(txn, profile)?;
    let rows: BTreeSet<Vec<u8>> = rows.iter().map(RowKey::to_key).collect();
    let mut directory = DirectoryTables::write(txn, profile.directory)?;
    let mut profiles = ProfileTables::write_all(txn, profile.directory)?;
    let own = own(&mut profiles, profile)?;
    let mut index = NameIndex::default();
    for key in rows {
        let Some(mut seen) = own.seen.read(&key, codec::decode::<Seen>)? else {
            continue;
        };
        if seen.standing != Standing::Present {
            continue;
        }
        index.replace(&key, Some(Naming::of(&seen.identity)), None);
        seen.standing = Standing::Absent { since };
        // A plan that was made from the present entry must not clear the mark of its absence.
        seen.digest = Digest(digest::short(&[b"absent", &seen.digest.0]));
        let record = codec::encode(&seen)?;
        own.digests.remove(key.as_slice())?;
        own.seen.insert(key.as_slice(), record.as_slice())?;
        directory.mark(&key)?;
    }
    index.write(own)?;
    mark_naming(&mut directory, &profiles, &index.moved)
}

/// Forgets what profiles lost of rows.
pub(super) fn hand_over(
    txn: &WriteTransaction,
    lease: &Lease,
    rows: &[RowKey],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    for profile in &mut ProfileTables::write_all(txn, lease.directory)? {
        for key in rows.iter().map(RowKey::to_key) {
            let seen = profile.seen.read(&key, codec::decode::<Seen>)?;
            if seen.is_some_and(|seen| seen.standing != Standing::Present) {
                profile.seen.remove(key.as_slice())?;
            }
        }
    }
    Ok(())
}

/// Marks every row that is linked or was ever seen.
pub(super) fn mark_all_dirty(
    txn: &WriteTransaction,
    lease: &Lease,
    listed: &[ProfileName],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    forget_fingerprints(txn, lease.directory, listed)?;
    let DirectoryTables {
        applied, mut dirty, ..
    } = DirectoryTables::write(txn, lease.directory)?;
    let profiles = ProfileTables::write_all(txn, lease.directory)?;
    let seen = profiles.iter().map(|profile| &profile.seen);
    for table in std::iter::once(&applied).chain(seen) {
        for entry in table.after(None)? {
            dirty.insert(entry?.0.value(), [].as_slice())?;
        }
    }
    Ok(())
}

/// Takes their fingerprints from the profiles of a directory that are not listed.
fn forget_fingerprints(
    txn: &WriteTransaction,
    directory: DirectoryId,
    listed: &[ProfileName],
) -> Result<(), Failure> {
    let mut profiles = open_write(txn, PROFILES)?;
    for key in profiles.keys_starting_with(directory.0.as_bytes())? {
        let name = key.get(16..).unwrap_or_default();
        if listed.iter().any(|listed| listed.0.as_bytes() == name) {
            continue;
        }
        let state: Option<ProfileState> = profiles.read(&key, codec::decode)?;
        let record = codec::encode(&ProfileState {
            fingerprint: None,
            ..state.unwrap_or_default()
        })?;
        profiles.insert(key.as_slice(), record.as_slice())?;
    }
    Ok(())
}

/// Whether every row that is present in one of the profiles is marked.
pub(super) fn all_marked(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
) -> Result<bool, Failure> {
    let dirty = DirectoryTables::read(txn, directory)?.dirty;
    for profile in ProfileTables::read_some(txn, directory, profiles)? {
        if profile.digests.count()? > dirty.count()? {
            return Ok(false);
        }
        // Side by side in order, because a look at each would cost twenty times as much.
        let mut marked = dirty.after(None)?;
        for present in profile.digests.after(None)? {
            let present = present?.0;
            let is_marked = loop {
                match marked.next().transpose()? {
                    Some((row, _)) if row.value() < present.value() => {}
                    row => break row.is_some_and(|(row, _)| row.value() == present.value()),
                }
            };
            if !is_marked {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Those of the rows that are not marked.
pub(super) fn unmarked(
    txn: &ReadTransaction,
    directory: DirectoryId,
    rows: Vec<RowKey>,
) -> Result<Vec<RowKey>, Failure> {
    let dirty = DirectoryTables::read(txn, directory)?.dirty;
    let mut unmarked = Vec::new();
    for row in rows {
        if !dirty.has(&row.to_key())? {
            unmarked.push(row);
        }
    }
    Ok(unmarked)
}

/// Marks rows as different.
pub(super) fn mark_dirty(
    txn: &WriteTransaction,
    lease: &Lease,
    rows: &[RowKey],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut directory = DirectoryTables::write(txn, lease.directory)?;
    rows.iter()
        .try_for_each(|row| directory.mark(&row.to_key()))
}

/// Whether any group is marked.
pub(super) fn any_group_dirty(
    txn: &ReadTransaction,
    directory: DirectoryId,
) -> Result<bool, Failure> {
    let dirty = DirectoryTables::read(txn, directory)?.dirty;
    let first = dirty.starting_with(&codec::GROUPS)?.next().transpose()?;
    Ok(first.is_some())
}

/// Marks every group that holds a marked group, at any depth.
pub(super) fn mark_ancestors(txn: &WriteTransaction, lease: &Lease) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut directory = DirectoryTables::write(txn, lease.directory)?;
    let profiles = ProfileTables::write_all(txn, lease.directory)?;
    let mut waiting = directory.dirty.keys_starting_with(&codec::GROUPS)?;
    while let Some(group) = waiting.pop() {
        let names = names_of(&profiles, &group)?;
        for holder in rows_naming(&profiles, &names)? {
            let is_group = holder.starts_with(&codec::GROUPS);
            if is_group && directory.dirty.read(&holder, |_| Ok(()))?.is_none() {
                directory.mark(&holder)?;
                waiting.push(holder);
            }
        }
    }
    Ok(())
}

/// Removes marks of rows whose entry is still the one with the digest.
pub(super) fn clear_dirty(
    txn: &WriteTransaction,
    lease: &Lease,
    rows: Vec<(RowKey, Digest)>,
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut directory = DirectoryTables::write(txn, lease.directory)?;
    let profiles = ProfileTables::write_all(txn, lease.directory)?;
    for (row, digest) in rows {
        clean(&mut directory, &profiles, &row.to_key(), digest)?;
    }
    Ok(())
}

/// Removes a row's mark, and what stood in its way, when some profile still has the entry with this digest.
pub(super) fn clean(
    directory: &mut DirectoryTables<WriteTable<'_>>,
    profiles: &[ProfileTables<WriteTable<'_>>],
    row: &[u8],
    digest: Digest,
) -> Result<(), Failure> {
    for profile in profiles {
        let current = match profile.digests.read(row, read_digest)? {
            Some(digest) => Some(digest),
            None => profile
                .seen
                .read(row, codec::decode::<Seen>)?
                .map(|seen| seen.digest),
        };
        if current == Some(digest) {
            directory.dirty.remove(row)?;
            return outcomes::clear_error(&mut directory.outcomes, row);
        }
    }
    Ok(())
}

/// The names that a row has now, in any of the profiles.
pub(super) fn names_of<S: Source>(
    profiles: &[ProfileTables<S>],
    row: &[u8],
) -> Result<BTreeSet<MemberKey>, Failure> {
    let mut names = BTreeSet::new();
    for profile in profiles {
        let naming = profile.seen.read(row, Naming::present)?.flatten();
        names.extend(naming.unwrap_or_default().names);
    }
    Ok(names)
}

/// The rows of any of the profiles that name somebody by one of these names.
pub(super) fn rows_naming<S: Source>(
    profiles: &[ProfileTables<S>],
    names: &BTreeSet<MemberKey>,
) -> Result<BTreeSet<Vec<u8>>, Failure> {
    let mut rows = BTreeSet::new();
    for profile in profiles {
        for name in names {
            rows.extend(rows_with(&profile.named_by, name)?);
        }
    }
    Ok(rows)
}

/// The rows that stand after a name in a table of names and rows.
pub(super) fn rows_with<S: Source>(table: &S, name: &MemberKey) -> Result<Vec<Vec<u8>>, Failure> {
    let keys = table.keys_starting_with(&name.0)?;
    let row = |mut key: Vec<u8>| key.split_off(name.0.len());
    Ok(keys.into_iter().map(row).collect())
}

/// Marks the rows that name somebody by one of these names.
pub(super) fn mark_naming(
    directory: &mut DirectoryTables<WriteTable<'_>>,
    profiles: &[ProfileTables<WriteTable<'_>>],
    names: &BTreeSet<MemberKey>,
) -> Result<(), Failure> {
    for row in rows_naming(profiles, names)? {
        directory.mark(&row)?;
    }
    Ok(())
}

fn own<'a, 't>(
    profiles: &'a mut [ProfileTables<WriteTable<'t>>],
    profile: &ProfileKey,
) -> Result<&'a mut ProfileTables<WriteTable<'t>>, Failure> {
    profiles
        .iter_mut()
        .find(|tables| tables.profile == profile.profile)
        .ok_or_else(|| Failure::defect(format!("profile {profile} is not in its own list")))
}

fn read_digest(bytes: &[u8]) -> Result<Digest, Failure> {
    bytes
        .try_into()
        .map(Digest)
        .map_err(|_| Failure::corrupt("a row has a digest that is not one"))
}

/// What a batch of entries changes in the names of a profile, gathered so that it can be written in order.
#[derive(Default)]
struct NameIndex {
    lost: BTreeMap<MemberKey, Vec<u8>>,
    held: BTreeMap<MemberKey, Vec<u8>>,
    no_longer_named: BTreeSet<Vec<u8>>,
    named: BTreeSet<Vec<u8>>,
    left: BTreeSet<Vec<u8>>,
    entered: BTreeSet<Vec<u8>>,
    /// Names that came to mean another row, or none.
    moved: BTreeSet<MemberKey>,
}

impl NameIndex {
    /// Takes in that an entry replaces another one of the same row; `None` where it was or is not there.
    fn replace(&mut self, row: &[u8], before: Option<Naming>, after: Option<Naming>) {
        let is_new = before.is_none();
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let names = |names: Vec<MemberKey>| names.into_iter().collect::<BTreeSet<_>>();
        let (had, has) = (names(before.names), names(after.names));
        if is_new || had != has {
            self.moved.extend(had.union(&has));
        }
        for name in had.difference(&has) {
            if name.is_place() {
                self.left.insert(codec::name_row_key(name, row));
            } else {
                self.lost.insert(*name, row.to_vec());
            }
        }
        for name in has {
            if name.is_place() {
                self.entered.insert(codec::name_row_key(&name, row));
            } else {
                self.held.insert(name, row.to_vec());
            }
        }
        let (mut had, mut has) = (before.members, after.members);
        had.sort_unstable();
        has.sort_unstable();
        let keys = |names: &[MemberKey], others: &[MemberKey]| -> Vec<Vec<u8>> {
            let missing = names
                .iter()
                .filter(|name| others.binary_search(name).is_err());
            missing.map(|name| codec::name_row_key(name, row)).collect()
        };
        self.no_longer_named.extend(keys(&had, &has));
        self.named.extend(keys(&has, &had));
    }

    /// Writes it all. Names that are given up go first: in a swap of names, another row has taken them.
    fn write(&self, profile: &mut ProfileTables<WriteTable<'_>>) -> Result<(), Failure> {
        for (name, row) in &self.lost {
            let mine = profile.names.read(&name.0, |holder| Ok(holder == row))?;
            if mine == Some(true) {
                profile.names.remove(name.0.as_slice())?;
                if !row.starts_with(&codec::GROUPS) {
                    let former = &mut profile.former_names;
                    former.insert(name.0.as_slice(), row.as_slice())?;
                }
            }
        }
        for (name, row) in &self.held {
            profile.names.insert(name.0.as_slice(), row.as_slice())?;
        }
        for key in &self.no_longer_named {
            profile.named_by.remove(key.as_slice())?;
        }
        for key in &self.named {
            profile.named_by.insert(key.as_slice(), [].as_slice())?;
        }
        for key in &self.left {
            profile.places.remove(key.as_slice())?;
        }
        for key in &self.entered {
            profile.places.insert(key.as_slice(), [].as_slice())?;
        }
        Ok(())
    }
}
