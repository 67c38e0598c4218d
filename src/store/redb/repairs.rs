//! Repairs of the target by runs that reconcile.

use async_trait::async_trait;
use redb::{ReadTransaction, WriteTransaction};

use super::codec;
use super::failure::Failure;
use super::lease;
use super::tables::{DirectoryTables, Source as _};
use super::{Commit, RedbStore};
use crate::id::DirectoryId;
use crate::identity::RowKey;
use crate::snapshot::Repair;
use crate::store::repairs::Repairs;
use crate::store::{Error, Lease};

#[async_trait]
impl Repairs for RedbStore {
    async fn repairs(
        &self,
        directory: DirectoryId,
        rows: Vec<RowKey>,
    ) -> Result<Vec<Vec<Repair>>, Error> {
        self.read(move |txn| read(txn, directory, &rows)).await
    }

    async fn note_repairs(
        &self,
        lease: &Lease,
        repairs: Vec<(RowKey, Vec<Repair>)>,
    ) -> Result<(), Error> {
        let lease = *lease;
        self.write(Commit::Bulk, move |txn| write(txn, &lease, &repairs))
            .await
    }
}

fn read(
    txn: &ReadTransaction,
    directory: DirectoryId,
    rows: &[RowKey],
) -> Result<Vec<Vec<Repair>>, Failure> {
    let tables = DirectoryTables::read(txn, directory)?;
    let of_row = |row: &RowKey| {
        let repairs = tables.repairs.read(&row.to_key(), codec::decode)?;
        Ok(repairs.unwrap_or_default())
    };
    rows.iter().map(of_row).collect()
}

fn write(
    txn: &WriteTransaction,
    lease: &Lease,
    repairs: &[(RowKey, Vec<Repair>)],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut tables = DirectoryTables::write(txn, lease.directory)?;
    for (row, repairs) in repairs {
        let row = row.to_key();
        if repairs.is_empty() {
            tables.repairs.remove(row.as_slice())?;
        } else {
            let record = codec::encode(repairs)?;
            tables.repairs.insert(row.as_slice(), record.as_slice())?;
        }
    }
    Ok(())
}
