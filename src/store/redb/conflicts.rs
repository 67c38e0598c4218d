//! Conflicts of attributes, and what was decided on them.

use std::ops::Bound;

use async_trait::async_trait;
use redb::{ReadTransaction, WriteTransaction};

use super::audit;
use super::codec;
use super::failure::Failure;
use super::lease;
use super::rows::Columns;
use super::tables::{DirectoryTables, Source, WriteTable};
use super::{Commit, RedbStore};
use crate::audit::Event;
use crate::id::{ConflictId, DirectoryId, ProfileName};
use crate::identity::RowKey;
use crate::snapshot::{Conflict, ConflictCounts, Row, Taken};
use crate::store::conflicts::Conflicts;
use crate::store::{Error, Lease};

#[async_trait]
impl Conflicts for RedbStore {
    async fn conflict_counts(&self, directory: DirectoryId) -> Result<ConflictCounts, Error> {
        self.read(move |txn| counts(txn, directory)).await
    }

    async fn conflicts(
        &self,
        directory: DirectoryId,
        rows: Vec<RowKey>,
    ) -> Result<Vec<Vec<Conflict>>, Error> {
        self.read(move |txn| {
            let tables = DirectoryTables::read(txn, directory)?;
            let keys = rows.iter().map(RowKey::to_key);
            keys.map(|row| of_row(&tables, &row)).collect()
        })
        .await
    }

    async fn note_conflicts(
        &self,
        lease: &Lease,
        conflicts: Vec<(RowKey, Vec<Conflict>)>,
    ) -> Result<(), Error> {
        let lease = *lease;
        self.write(Commit::Bulk, move |txn| note(txn, &lease, conflicts))
            .await
    }

    async fn conflicting_rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        from: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(Row, Vec<Conflict>)>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| conflicting(txn, directory, &profiles, from.as_ref(), limit))
            .await
    }

    async fn named_conflicts(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        ids: Vec<ConflictId>,
    ) -> Result<Vec<Option<(Row, Conflict)>>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| {
            let columns = Columns::open(txn, directory, &profiles)?;
            let named = |id: &ConflictId| {
                let found = by_id(&columns.directory, directory, *id)?;
                let with_row = |(key, conflict)| Ok((columns.row(key)?, conflict));
                found.map(with_row).transpose()
            };
            ids.iter().map(named).collect()
        })
        .await
    }

    async fn decide_conflicts(
        &self,
        directory: DirectoryId,
        decisions: Vec<(ConflictId, Option<Taken>)>,
        events: Vec<Event>,
    ) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| {
            decide(txn, directory, &decisions, &events)
        })
        .await
    }
}

/// Forgets those conflicts of a row for which `lasts` is false.
pub(super) fn retain(
    tables: &mut DirectoryTables<WriteTable<'_>>,
    directory: DirectoryId,
    row: &[u8],
    lasts: impl Fn(&Conflict) -> bool,
) -> Result<(), Failure> {
    let before = of_row(tables, row)?;
    let after: Vec<Conflict> = before.iter().filter(|one| lasts(one)).cloned().collect();
    if before.len() == after.len() {
        return Ok(());
    }
    put(tables, directory, row, &before, &after)
}

/// Forgets all conflicts of a row.
pub(super) fn forget(
    tables: &mut DirectoryTables<WriteTable<'_>>,
    directory: DirectoryId,
    row: &[u8],
) -> Result<(), Failure> {
    retain(tables, directory, row, |_| false)
}

fn of_row<S: Source>(tables: &DirectoryTables<S>, row: &[u8]) -> Result<Vec<Conflict>, Failure> {
    let conflicts = tables.conflicts.read(row, codec::decode)?;
    Ok(conflicts.unwrap_or_default())
}

fn counts(txn: &ReadTransaction, directory: DirectoryId) -> Result<ConflictCounts, Failure> {
    let tables = DirectoryTables::read(txn, directory)?;
    Ok(ConflictCounts {
        open: tables.conflicts_open.count()?,
        taken: tables.conflicts_taken.count()?,
    })
}

/// Replaces the conflicts of a row, and keeps the two lists of ids in step.
fn put(
    tables: &mut DirectoryTables<WriteTable<'_>>,
    directory: DirectoryId,
    row: &[u8],
    before: &[Conflict],
    after: &[Conflict],
) -> Result<(), Failure> {
    let key = codec::row_key(row)?;
    let id = |conflict: &Conflict| conflict.id(directory, &key).0.into_bytes();
    for conflict in before {
        tables.conflicts_open.remove(id(conflict).as_slice())?;
        tables.conflicts_taken.remove(id(conflict).as_slice())?;
    }
    for conflict in after {
        let ids = match conflict.is_open() {
            true => &mut tables.conflicts_open,
            false => &mut tables.conflicts_taken,
        };
        ids.insert(id(conflict).as_slice(), row)?;
    }
    if after.is_empty() {
        tables.conflicts.remove(row)?;
    } else {
        let record = codec::encode(&after)?;
        tables.conflicts.insert(row, record.as_slice())?;
    }
    Ok(())
}

fn note(
    txn: &WriteTransaction,
    lease: &Lease,
    conflicts: Vec<(RowKey, Vec<Conflict>)>,
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut tables = DirectoryTables::write(txn, lease.directory)?;
    for (key, mut after) in conflicts {
        let row = key.to_key();
        let before = of_row(&tables, &row)?;
        let id = |conflict: &Conflict| conflict.id(lease.directory, &key);
        for conflict in &mut after {
            let same = before.iter().find(|one| id(one) == id(conflict));
            if let Some(same) = same.filter(|same| same.decided().is_some()) {
                conflict.taken.clone_from(&same.taken);
            }
        }
        put(&mut tables, lease.directory, &row, &before, &after)?;
    }
    Ok(())
}

fn conflicting(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    from: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<(Row, Vec<Conflict>)>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    let from = from.map(RowKey::to_key);
    let from = from.as_deref().map_or(Bound::Unbounded, Bound::Included);
    let entries = columns
        .directory
        .conflicts
        .between(from, Bound::Unbounded)?;
    let mut rows = Vec::new();
    for entry in entries.take(limit) {
        let (row, conflicts) = entry?;
        let row = columns.row(codec::row_key(row.value())?)?;
        rows.push((row, codec::decode(conflicts.value())?));
    }
    Ok(rows)
}

/// The conflict that has an id.
fn by_id<S: Source>(
    tables: &DirectoryTables<S>,
    directory: DirectoryId,
    id: ConflictId,
) -> Result<Option<(RowKey, Conflict)>, Failure> {
    let mut row = None;
    for ids in [&tables.conflicts_open, &tables.conflicts_taken] {
        row = match row {
            None => ids.read(id.0.as_bytes(), codec::row_key)?,
            found => found,
        };
    }
    let Some(row) = row else {
        return Ok(None);
    };
    let conflicts = of_row(tables, &row.to_key())?;
    let found = conflicts
        .into_iter()
        .find(|one| one.id(directory, &row) == id);
    Ok(found.map(|found| (row, found)))
}

fn decide(
    txn: &WriteTransaction,
    directory: DirectoryId,
    decisions: &[(ConflictId, Option<Taken>)],
    events: &[Event],
) -> Result<(), Failure> {
    let mut tables = DirectoryTables::write(txn, directory)?;
    for (id, taken) in decisions {
        let Some((key, _)) = by_id(&tables, directory, *id)? else {
            continue; // it is over since it was looked up
        };
        let row = key.to_key();
        let before = of_row(&tables, &row)?;
        let mut after = before.clone();
        let mut decided = after.iter_mut();
        if let Some(conflict) = decided.find(|one| one.id(directory, &key) == *id) {
            conflict.taken.clone_from(taken);
        }
        put(&mut tables, directory, &row, &before, &after)?;
        tables.mark(&row)?;
    }
    audit::append(txn, events)
}
