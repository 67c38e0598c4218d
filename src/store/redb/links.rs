//! Matches at the target, and what persons decided on them.

use async_trait::async_trait;
use redb::{ReadTransaction, WriteTransaction};

use super::audit;
use super::codec;
use super::failure::Failure;
use super::rows::{self, Columns};
use super::tables::{DirectoryTables, Source as _};
use super::{Commit, RedbStore};
use crate::audit::Event;
use crate::id::{DirectoryId, ProfileName};
use crate::identity::RowKey;
use crate::snapshot::{LinkDecision, Match, MatchedBy, Row};
use crate::store::Error;
use crate::store::links::Links;

#[async_trait]
impl Links for RedbStore {
    async fn matched_rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| matched_rows(txn, directory, &profiles, after.as_ref(), limit))
            .await
    }

    async fn decide_links(
        &self,
        directory: DirectoryId,
        decisions: Vec<(RowKey, Option<LinkDecision>)>,
        events: Vec<Event>,
    ) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| {
            decide(txn, directory, &decisions, &events)
        })
        .await
    }
}

/// Reads a match; one of an earlier version ends before the resource.
pub(super) fn found(bytes: &[u8]) -> Result<Match, Failure> {
    codec::decode(bytes).or_else(|_| {
        let (id, by): (String, MatchedBy) = codec::decode(bytes)?;
        let resource = None;
        Ok(Match { id, by, resource })
    })
}

fn matched_rows(
    txn: &ReadTransaction,
    directory: DirectoryId,
    profiles: &[ProfileName],
    after: Option<&RowKey>,
    limit: usize,
) -> Result<Vec<Row>, Failure> {
    let columns = Columns::open(txn, directory, profiles)?;
    let after = after.map(RowKey::to_key);
    let matched = columns.directory.found.after(after.as_deref())?;
    rows::rows_of(&columns, matched, limit)
}

fn decide(
    txn: &WriteTransaction,
    directory: DirectoryId,
    decisions: &[(RowKey, Option<LinkDecision>)],
    events: &[Event],
) -> Result<(), Failure> {
    let mut tables = DirectoryTables::write(txn, directory)?;
    for (row, decision) in decisions {
        let row = row.to_key();
        match decision {
            Some(decision) => {
                let record = codec::encode(decision)?;
                tables.decisions.insert(row.as_slice(), record.as_slice())?;
            }
            None => {
                tables.decisions.remove(row.as_slice())?;
            }
        }
        tables.mark(&row)?;
    }
    audit::append(txn, events)
}
