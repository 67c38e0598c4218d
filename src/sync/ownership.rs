//! Ownership: which of a directory's profiles a row belongs to, and what follows where it belongs to another or to none,
//! or where they do not agree.

use std::collections::{BTreeMap, HashSet};

use chrono::Utc;

use crate::directory::profile::Profile;
use crate::id::ProfileName;
use crate::identity::observation::Look;
use crate::identity::{Kind, RowKey};
use crate::job::ObjectError;
use crate::snapshot::{Applied, LinkedCounts, Row, Seen, Standing};
use crate::source;
use crate::store::Lease;
use crate::sync::proof::Reader;
use crate::sync::tracker::{Tracker, row_error};
use crate::sync::{Error, Relay, ingest};

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

    /// Whether a row is for the profile that runs.
    pub(super) fn owns(&self, row: &Row) -> bool {
        row.is_for(&self.profile.name)
    }

    /// The next rows that are marked, in order of their keys, after those that were given before; `None` after the last.
    pub(super) async fn next_marked(
        &self,
        after: &mut Option<RowKey>,
    ) -> Result<Option<Vec<Row>>, crate::store::Error> {
        let (directory, names) = (self.directory.id, self.counted());
        let rows = self
            .store
            .dirty_rows(directory, &names, after.clone(), ROWS_PER_TURN);
        let rows = rows.await?;
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        *after = Some(last.key.clone());
        Ok(Some(rows))
    }

    /// Rows by key, with what each of the directory's profiles saw.
    pub(super) async fn rows(&self, keys: Vec<RowKey>) -> Result<Vec<Row>, crate::store::Error> {
        let names = self.counted();
        self.store.rows(self.directory.id, &names, keys).await
    }
}

/// Settles all rows about which the profiles do not agree, after the profile that runs has read.
pub(super) async fn settle_disagreements(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
) -> Result<(), Error> {
    let names = relay.counted();
    let complete = tracker.job().complete_read;
    // A read that proves no absence may have met a server on which looks prove none either.
    if names.len() == 1 || complete == Some(false) {
        return Ok(());
    }
    let met = complete == Some(true);
    let mut after = None;
    while let Some(rows) = relay.next_marked(&mut after).await? {
        settle(relay, lease, reader, tracker, rows, met).await?;
    }
    Ok(())
}

/// Settles the rows among these that one profile lost and another still has as it read them last, which may be long ago.
/// A look in the scope of the other tells: it is not there either, and then it is gone, and this run is the one that finds
/// it; or it is there, and then it is that other one's alone. `met` says that the profile that runs has just met what it
/// sees.
pub(super) async fn settle(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
    rows: Vec<Row>,
    met: bool,
) -> Result<(), Error> {
    let now = Utc::now();
    let mut handed_over = Vec::new();
    let mut lost: BTreeMap<&ProfileName, Vec<RowKey>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_disputed(relay, row)) {
        let holders = row.seen.iter().filter(|(_, seen)| is_present(seen));
        for (holder, seen) in holders {
            let is_there = match met && *holder == relay.profile.name {
                true => Ok(Some(true)),
                false => is_in_scope(reader, holder, &row.key).await,
            };
            match is_there {
                Ok(Some(true)) => {
                    handed_over.push(row.key.clone());
                    break;
                }
                Ok(Some(false)) => lost.entry(holder).or_default().push(row.key.clone()),
                Ok(None) => {} // its own run forgets what it does not search for any more
                Err(error) => tracker.record(unsettled(row, seen, &error)).await,
            }
        }
    }
    for (profile, rows) in lost {
        ingest::record_absent(relay, lease, profile, rows, now).await?;
    }
    if !handed_over.is_empty() {
        relay.store.hand_over(lease, handed_over).await?;
    }
    Ok(())
}

fn is_present(seen: &Seen) -> bool {
    seen.standing == Standing::Present
}

/// Whether the profile that runs knows the entry, and profiles do not agree whether it is there.
pub(super) fn is_disputed(relay: &Relay, row: &Row) -> bool {
    let present = row.seen.iter().filter(|(_, seen)| is_present(seen)).count();
    row.seen_by(&relay.profile.name).is_some() && (1..row.seen.len()).contains(&present)
}

/// Whether an entry is in a profile's scope now; `None` where that profile searches for nothing of its kind.
async fn is_in_scope(
    reader: &Reader<'_>,
    profile: &ProfileName,
    key: &RowKey,
) -> Result<Option<bool>, source::Error> {
    let look = reader.look_in(profile, key).await?;
    Ok(look.map(|look| matches!(look, Look::Present(_))))
}

/// Says that it could not be told whether somebody left.
fn unsettled(row: &Row, seen: &Seen, error: &source::Error) -> ObjectError {
    let detail = format!(
        "one profile does not find the entry any more, and whether it is gone could not be told: {error}; the account stays \
         as it is, and the next run asks again"
    );
    row_error(&row.key, &seen.identity.dn, "read", error.fault(), detail)
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

/// Members of a group that the relay put there, as far as they may leave, and what is known of those who do.
pub(super) struct Present {
    /// In order.
    pub(super) members: Vec<RowKey>,
    /// Those who leave and lose their account as well, or lost it before; in order.
    pub(super) leavers: Vec<RowKey>,
    /// Whether some of them still have it, and lose it because they are absent.
    pub(super) in_doubt: bool,
}

/// Without those of the members present who leave and of whom this is said. `present` and `wanted` are in order.
pub(super) async fn without(
    relay: &Relay,
    present: Vec<RowKey>,
    wanted: &[RowKey],
    mut stays: impl FnMut(&Row) -> bool,
) -> Result<Present, Error> {
    let leaving: Vec<RowKey> = present
        .iter()
        .filter(|row| wanted.binary_search(row).is_err())
        .cloned()
        .collect();
    let mut answer = Present {
        members: present,
        leavers: Vec::new(),
        in_doubt: false,
    };
    if leaving.is_empty() {
        return Ok(answer);
    }
    let mut staying = HashSet::new();
    for row in relay.rows(leaving).await? {
        if stays(&row) {
            staying.insert(row.key);
            continue;
        }
        let is_active = row.applied.as_ref().is_some_and(Applied::is_active);
        let is_absent =
            row.key.kind == Kind::User && row.owner().is_some_and(|(_, seen)| !is_present(seen));
        answer.in_doubt |= is_absent && is_active;
        if is_absent || !is_active {
            answer.leavers.push(row.key);
        }
    }
    answer.members.retain(|row| !staying.contains(row));
    Ok(answer)
}
