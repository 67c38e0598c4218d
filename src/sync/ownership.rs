//! Ownership: which of a directory's profiles a row belongs to, and what follows where it belongs to another or to none.

use std::collections::HashSet;

use crate::directory::profile::Profile;
use crate::identity::{Kind, RowKey};
use crate::snapshot::{LinkedCounts, Row};
use crate::sync::{Error, Relay};

/// Rows looked at in one turn.
const ROWS_PER_TURN: usize = 1_000;

impl Relay {
    /// The profile whose mapping counts for a row: its owner's. A row that no profile sees has none, and is looked at
    /// with the eyes of the profile that runs.
    pub(super) fn profile_of(&self, row: &Row) -> &Profile {
        row.owner()
            .and_then(|(owner, _)| self.directory.profile(owner))
            .unwrap_or(&self.profile)
    }

    /// Whether a row belongs to the profile that runs.
    pub(super) fn owns(&self, row: &Row) -> bool {
        row.owner()
            .is_some_and(|(owner, _)| *owner == self.profile.name)
    }

    /// Rows by key, with what each of the directory's profiles saw.
    pub(super) async fn rows(&self, keys: Vec<RowKey>) -> Result<Vec<Row>, crate::store::Error> {
        let names = self.directory.profile_names();
        self.store.rows(self.directory.id, &names, keys).await
    }
}

/// What is linked of the rows that belong to the profile that runs. The directory's own count serves where it has one
/// profile, and as long as nothing depends on the share (`exact`), because counting reads every row.
pub(super) async fn linked_counts(relay: &Relay, exact: bool) -> Result<LinkedCounts, Error> {
    let directory = relay.directory.id;
    if relay.directory.profiles.len() == 1 || !exact {
        return Ok(relay.store.linked_counts(directory).await?);
    }
    let mut counts = LinkedCounts::default();
    let mut after = None;
    loop {
        let linked = relay
            .store
            .linked_rows(directory, after, ROWS_PER_TURN)
            .await?;
        let Some((last, _)) = linked.last() else {
            return Ok(counts);
        };
        after = Some(last.clone());
        let keys = linked.iter().map(|(key, _)| key.clone()).collect();
        for row in relay.rows(keys).await? {
            let Some(applied) = row.applied.as_ref().filter(|_| relay.owns(&row)) else {
                continue;
            };
            match row.key.kind {
                Kind::User => {
                    counts.users += 1;
                    counts.active_users += u64::from(applied.is_active());
                }
                Kind::Group => counts.groups += 1,
            }
        }
    }
}

/// Without members that no profile sees any more because theirs was deleted: nothing is sent for them, so they stay in
/// the group until another profile sees them. `present` and `wanted` are in order.
pub(super) async fn without_released(
    relay: &Relay,
    present: Vec<RowKey>,
    wanted: &[RowKey],
) -> Result<Vec<RowKey>, Error> {
    let leaving: Vec<RowKey> = present
        .iter()
        .filter(|row| wanted.binary_search(row).is_err())
        .cloned()
        .collect();
    if leaving.is_empty() {
        return Ok(present);
    }
    let released: HashSet<RowKey> = relay
        .rows(leaving)
        .await?
        .into_iter()
        .filter(|row| row.owner().is_none())
        .map(|row| row.key)
        .collect();
    Ok(present
        .into_iter()
        .filter(|row| !released.contains(row))
        .collect())
}
