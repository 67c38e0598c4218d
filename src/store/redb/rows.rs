//! Reading rows: all columns of a row together, members resolved to rows, links.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;

use redb::ReadTransaction;

use super::codec;
use super::failure::Failure;
use super::links;
use super::naming::Naming;
use super::outcomes;
use super::seen;
use super::tables::{
    COUNTS, DirectoryTables, Entry, PROFILES, ProfileTables, ReadTable, Source, open_read,
};
use crate::id::{DirectoryId, ProfileKey, ProfileName};
use crate::identity::digest;
use crate::identity::{Kind, MemberKey, RowKey};
use crate::snapshot::{Applied, LinkedCounts, ProfileState, ResolvedMember, Row, Seen, Standing};
use crate::store::Intent;

/// All columns of some rows of a directory.
pub(super) struct Columns {
    pub(super) directory: DirectoryTables<ReadTable>,
    profiles: Vec<ProfileTables<ReadTable>>,
    /// The same by number, the one that last read completely first.
    newest_first: Vec<usize>,
}

impl Columns {
    pub(super) fn open(
        txn: &ReadTransaction,
        directory: DirectoryId,
        profiles: &[ProfileName],
    ) -> Result<Self, Failure> {
        let mut newest_first = Vec::with_capacity(profiles.len());
        for (number, profile) in profiles.iter().cloned().enumerate() {
            let state = profile_state(txn, &ProfileKey { directory, profile })?;
            newest_first.push((Reverse(state.last_complete_read), number));
        }
        newest_first.sort_unstable();
        Ok(Self {
            directory: DirectoryTables::read(txn, directory)?,
            profiles: ProfileTables::read_some(txn, directory, profiles)?,
            newest_first: newest_first.into_iter().map(|(_, number)| number).collect(),
        })
    }

    /// The profiles, the one that last read completely first.
    fn newest_first(&self) -> impl Iterator<Item = &ProfileTables<ReadTable>> {
        let profiles = self.newest_first.iter();
        profiles.filter_map(|number| self.profiles.get(*number))
    }

    pub(super) fn row(&self, key: RowKey) -> Result<Row, Failure> {
        let bytes = key.to_key();
        let mut seen = Vec::new();
        for profile in &self.profiles {
            let record = profile.seen.read(&bytes, codec::decode::<Seen>)?;
            seen.extend(record.map(|record| (profile.profile.clone(), record)));
        }
        Ok(Row {
            key,
            seen,
            applied: self.directory.applied.read(&bytes, codec::decode)?,
            found: self.directory.found.read(&bytes, links::found)?,
            decision: self.directory.decisions.read(&bytes, codec::decode)?,
            last: self
                .directory
                .outcomes
                .read(&bytes, outcomes::decode)?
                .unwrap_or_default(),
        })
    }

    /// Whom a row names, as its owner has it: the first profile that sees it present.
    fn named_members(&self, group: &[u8]) -> Result<Vec<MemberKey>, Failure> {
        for profile in &self.profiles {
            if let Some(naming) = profile.seen.read(group, Naming::present)?.flatten() {
                return Ok(naming.members);
            }
        }
        Ok(Vec::new())
    }

    /// Adds the rows that a member means: whoever lies at a place; else the one row that has the name, or none.
    fn resolve(&self, name: MemberKey, resolved: &mut Vec<ResolvedMember>) -> Result<(), Failure> {
        if name.is_place() {
            let rows = self.at_place(&name)?.into_iter();
            let row = |row| ResolvedMember {
                name,
                row: Some(row),
            };
            resolved.extend(rows.map(row));
        } else {
            let row = self.holder(&name)?;
            resolved.push(ResolvedMember { name, row });
        }
        Ok(())
    }

    /// The rows that have a name.
    fn named(&self, name: &MemberKey) -> Result<BTreeSet<RowKey>, Failure> {
        match name.is_place() {
            true => self.at_place(name),
            false => Ok(self.holder(name)?.into_iter().collect()),
        }
    }

    /// The row that has a name of its own, by the newest read that knows anybody under it. An entry that a newer read met
    /// under another DN does not have its earlier names any more.
    fn holder(&self, name: &MemberKey) -> Result<Option<RowKey>, Failure> {
        for (newer, profile) in self.newest_first().enumerate() {
            let row = profile.names.read(&name.0, |row| Ok(row.to_vec()))?;
            let Some(row) = row else { continue };
            let mut newer = self.newest_first().take(newer);
            let is_met = newer.try_fold(false, |any, newer| {
                Ok::<_, Failure>(any || newer.digests.has(&row)?)
            });
            if !is_met? || self.names_of(&row)?.contains(name) {
                return codec::row_key(&row).map(Some);
            }
        }
        Ok(None)
    }

    /// The row that had a name of its own last, where none has it now.
    fn last_holder(&self, name: &MemberKey) -> Result<Option<RowKey>, Failure> {
        for profile in self.newest_first() {
            let row = profile.former_names.read(&name.0, codec::row_key)?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// The rows that lie at a place.
    fn at_place(&self, place: &MemberKey) -> Result<BTreeSet<RowKey>, Failure> {
        let mut rows = BTreeSet::new();
        for profile in &self.profiles {
            for row in seen::rows_with(&profile.places, place)? {
                // One profile alone cannot be older than another.
                if self.profiles.len() == 1 || self.names_of(&row)?.contains(place) {
                    rows.insert(codec::row_key(&row)?);
                }
            }
        }
        Ok(rows)
    }

    /// The names that a row has now: those of every profile that met it under the DN that the newest read met it under.
    fn names_of(&self, row: &[u8]) -> Result<BTreeSet<MemberKey>, Failure> {
        let mut dn = None;
        let mut names = BTreeSet::new();
        for profile in self.newest_first() {
            let seen = profile.seen.read(row, codec::decode::<Seen>)?;
            let Some(seen) = seen.filter(|seen| seen.standing == Standing::Present) else {
                continue;
            };
            if seen.identity.dn == *dn.get_or_insert_with(|| seen.identity.dn.clone()) {
                names.extend(seen.identity.names);
            }
        }
        Ok(names)
    }
}

/// What a profile knows of its own reads.
pub(super) fn profile_state(
    txn: &ReadTransaction,
    profile: &ProfileKey,
) -> Result<ProfileState, Failure> {
    let profiles = open_read(txn, PROFILES)?;
    let state = profiles.read(&codec::profile_key(profile), codec::decode)?;
    Ok(state.unwrap_or_default())
}

/// Rows that differ.
pub(super) fn dirty_rows(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<Row>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    let after = after.map(RowKey::to_key);
    let dirty = columns.directory.dirty.after(after.as_deref())?;
    rows_of(&columns, dirty, limit)
}

/// The first rows that an index names.
pub(super) fn rows_of<'a>(
    columns: &Columns,
    index: impl Iterator<Item = Result<Entry<'a>, Failure>>,
    limit: usize,
) -> Result<Vec<Row>, Failure> {
    index
        .take(limit)
        .map(|entry| columns.row(codec::row_key(entry?.0.value())?))
        .collect()
}

/// Rows by key.
pub(super) fn rows(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    keys: Vec<RowKey>,
) -> Result<Vec<Row>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    keys.into_iter().map(|key| columns.row(key)).collect()
}

/// Rows of a kind that are linked or were ever seen, in order of their keys; the members of groups are left out.
pub(super) fn listed_rows(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    kind: Kind,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<Row>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    let after = after.map(RowKey::to_key);
    let (first, end) = match kind {
        Kind::User => (Bound::Unbounded, Bound::Excluded(&codec::GROUPS[..])),
        Kind::Group => (Bound::Included(&codec::GROUPS[..]), Bound::Unbounded),
    };
    let from = after.as_deref().map_or(first, Bound::Excluded);
    // The first of the union are among the first of each.
    let mut keys = BTreeSet::new();
    let seen = columns.profiles.iter().map(|profile| &profile.seen);
    for table in std::iter::once(&columns.directory.applied).chain(seen) {
        for entry in table.between(from, end)?.take(limit) {
            keys.insert(entry?.0.value().to_vec());
        }
    }
    keys.into_iter()
        .take(limit)
        .map(|key| {
            let mut row = columns.row(codec::row_key(&key)?)?;
            for (_, seen) in &mut row.seen {
                // The one member of a unit is what it is known by.
                if !seen.identity.is_unit() {
                    seen.identity.members = Vec::new();
                }
            }
            Ok(row)
        })
        .collect()
}

/// Linked rows.
pub(super) fn linked_rows(
    txn: &ReadTransaction,
    directory: DirectoryId,
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<(RowKey, Applied)>, Failure> {
    let tables = DirectoryTables::read(txn, directory)?;
    let after = after.map(RowKey::to_key);
    let rows = tables.applied.after(after.as_deref())?;
    rows.take(limit)
        .map(|entry| {
            let (key, applied) = entry?;
            Ok((
                codec::row_key(key.value())?,
                codec::decode(applied.value())?,
            ))
        })
        .collect()
}

/// The target's ids of rows.
pub(super) fn links(
    txn: &ReadTransaction,
    directory: DirectoryId,
    keys: &[RowKey],
) -> Result<Vec<Option<String>>, Failure> {
    let tables = DirectoryTables::read(txn, directory)?;
    keys.iter()
        // The id is the first field of `Applied`, which can be read alone.
        .map(|key| tables.applied.read(&key.to_key(), codec::decode::<String>))
        .collect()
}

/// The rows that groups name as members.
pub(super) fn members(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    groups: &[RowKey],
) -> Result<Vec<Vec<ResolvedMember>>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    groups
        .iter()
        .map(|group| {
            let names = columns.named_members(&group.to_key())?;
            let mut resolved = Vec::with_capacity(names.len());
            for name in names {
                columns.resolve(name, &mut resolved)?;
            }
            Ok(resolved)
        })
        .collect()
}

/// The rows that have these names.
pub(super) fn named(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    names: &[MemberKey],
) -> Result<Vec<BTreeSet<RowKey>>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    names.iter().map(|name| columns.named(name)).collect()
}

/// Whom users name as their managers.
pub(super) fn managers(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    users: &[RowKey],
) -> Result<Vec<Option<ResolvedMember>>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    let of_user = |user: &RowKey| {
        let Some(name) = columns.named_members(&user.to_key())?.pop() else {
            return Ok(None);
        };
        let row = match columns.holder(&name)? {
            None => columns.last_holder(&name)?,
            holder => holder,
        };
        let row = row.filter(|row| row.kind == Kind::User);
        Ok(Some(ResolvedMember { name, row }))
    };
    users.iter().map(of_user).collect()
}

/// The rows that name each of these.
pub(super) fn rows_naming(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    rows: &[RowKey],
) -> Result<Vec<Vec<RowKey>>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    let of_row = |row: &RowKey| {
        let names = columns.names_of(&row.to_key())?;
        seen::rows_naming(&columns.profiles, &names)?
            .iter()
            .map(|row| codec::row_key(row))
            .collect()
    };
    rows.iter().map(of_row).collect()
}

/// The members that the relay put into a group.
pub(super) fn applied_members(
    txn: &ReadTransaction,
    directory: DirectoryId,
    group: &RowKey,
) -> Result<Vec<RowKey>, Failure> {
    let tables = DirectoryTables::read(txn, directory)?;
    let prefix = codec::row_prefix(&group.to_key());
    let members = tables.applied_members.starting_with(&prefix)?;
    members
        .map(|entry| codec::row_key(entry?.0.value().get(prefix.len()..).unwrap_or_default()))
        .collect()
}

/// How many rows are linked.
pub(super) fn linked_counts(
    txn: &ReadTransaction,
    directory: DirectoryId,
) -> Result<LinkedCounts, Failure> {
    let counts = open_read(txn, COUNTS)?.read(directory.0.as_bytes(), codec::decode)?;
    Ok(counts.unwrap_or_default())
}

/// The linked user who has a userName.
pub(super) fn holder_of_name(
    txn: &ReadTransaction,
    directory: DirectoryId,
    user_name: &str,
) -> Result<Option<RowKey>, Failure> {
    let tables = DirectoryTables::read(txn, directory)?;
    tables.user_names.read(&name_key(user_name), codec::row_key)
}

/// The key of a userName, whose case does not count (RFC 7643 §4.1.1).
pub(super) fn name_key(user_name: &str) -> [u8; 16] {
    digest::short(&[user_name.to_lowercase().as_bytes()])
}

/// Intents that were never settled.
pub(super) fn intents(
    txn: &ReadTransaction,
    directory: DirectoryId,
) -> Result<Vec<Intent>, Failure> {
    let tables = DirectoryTables::read(txn, directory)?;
    let intents = tables.intents.after(None)?;
    intents
        .map(|entry| codec::decode(entry?.1.value()))
        .collect()
}
