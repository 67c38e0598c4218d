//! What a change feed named is read again, and with it the entries that name it, of which no feed tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::identity::feed::{Hint, Position, Rung};
use crate::identity::known::Known;
use crate::identity::observation::{Coverage, Look};
use crate::identity::{Anchor, Kind, MemberKey, RowKey};
use crate::job::ObjectError;
use crate::snapshot::{FeedState, Row, Seen, Standing};
use crate::source::Source;
use crate::store::Lease;
use crate::sync::feed::unread;
use crate::sync::ingest::{self, OBSERVATIONS_WAITING_MAX};
use crate::sync::proof::Reader;
use crate::sync::tracker::{Tracker, row_error};
use crate::sync::{Error, Relay};

/// Entries that are read again in one turn.
const HINTS_PER_TURN: usize = 200;
/// How long a server has to rewrite the groups that name a renamed entry, and how often they are read meanwhile.
const REWRITING: (Duration, u32) = (Duration::from_millis(200), 4);

/// Reads what the feed named. Answers why everything must be read after all, if so.
pub(in crate::sync) async fn read(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
    mut hints: Vec<Hint>,
    after: &FeedState,
) -> Result<Option<String>, Error> {
    let rung = after
        .position
        .as_ref()
        .map_or(Rung::FullScan, Position::rung);
    tracker.detected(
        rung.as_str(),
        format!("{}; {} entries were named", after.reason, hints.len()),
    );
    hints.extend(unread::hints(relay, reader).await?);
    if !hints.is_empty() {
        // Until the end the position does not hold: an entry that is recorded under a new name looks unchanged afterwards, so
        // a run that is cut off would leave the groups that name it as they were.
        let position = None;
        let until_then = FeedState {
            position,
            ..after.clone()
        };
        relay
            .store
            .save_feed_state(lease, &relay.key(), &until_then)
            .await?;
    }
    let source = reader.source().await?;
    let mut reading = Rereading {
        relay,
        lease,
        reader,
        source: source.as_ref(),
        tracker,
        naming: BTreeSet::new(),
        old_names: BTreeSet::new(),
        complete: true,
    };
    for hints in hints.chunks(HINTS_PER_TURN) {
        if let Some(why) = reading.read(hints).await? {
            return Ok(Some(why));
        }
    }
    reading.read_naming().await?;
    let remembers_all = unread::keep_after_changes(relay, lease, reader, reading.complete).await?;
    if reading.complete && remembers_all {
        // What the feed gave is written; only now is it over.
        relay
            .store
            .save_feed_state(lease, &relay.key(), after)
            .await?;
    } else {
        reader.ended_early(None).await;
    }
    Ok(None)
}

/// Entries that are read again.
struct Rereading<'a> {
    relay: &'a Relay,
    lease: &'a Lease,
    reader: &'a Reader<'a>,
    source: &'a dyn Source,
    tracker: &'a Tracker,
    /// Groups and users that named an entry which was renamed or is gone: servers rewrite them without telling.
    naming: BTreeSet<Anchor>,
    /// The names that renamed entries had.
    old_names: BTreeSet<MemberKey>,
    /// Whether everything that was named could be read.
    complete: bool,
}

impl Rereading<'_> {
    /// Reads these entries. Answers why everything must be read, if so.
    async fn read(&mut self, hints: &[Hint]) -> Result<Option<String>, Error> {
        let keys = keys_of(self.relay, hints);
        let before = self.relay.rows(keys.clone()).await?;
        let naming = self.rows_naming(&before).await?;
        let present: Vec<(&RowKey, &Seen)> = before
            .iter()
            .filter_map(|row| Some((&row.key, own_present(self.relay, row)?)))
            .collect();
        let known = present
            .iter()
            .map(|(key, seen)| ((*key).clone(), seen.digest));
        let mut known = Known::from_rows(known);
        let anchors: Vec<Anchor> = hints.iter().map(|hint| hint.anchor.clone()).collect();
        if !self.reread(&anchors, &mut known).await? {
            return Ok(None);
        }
        let mut absent = Vec::new();
        for (key, seen) in &present {
            if !known.was_met(key) && self.is_gone(key, seen).await {
                absent.push((*key).clone());
            }
        }
        if !absent.is_empty() {
            let own = &self.relay.profile.name;
            ingest::record_absent(self.relay, self.lease, own, absent, Utc::now()).await?;
        }
        let after = self.relay.rows(keys).await?;
        let renamed = renamed(self.relay, &before, &after);
        for key in &renamed {
            let rows = naming.get(key).into_iter().flatten();
            self.naming.extend(rows.map(|row| row.anchor.clone()));
        }
        self.note_old_names(&present, &after);
        let appeared = appeared(self.relay, &before, &after);
        if !appeared.is_empty() {
            let groups = self.source.groups_naming(&appeared).await?;
            self.naming
                .extend(groups.into_iter().filter_map(|group| group.anchor));
        }
        Ok(moved_container(self.relay, hints, &after, &renamed))
    }

    /// Notes the names that entries of this turn had and do not have any more.
    fn note_old_names(&mut self, before: &[(&RowKey, &Seen)], after: &[Row]) {
        let now: HashMap<&RowKey, &Seen> = after
            .iter()
            .filter_map(|row| Some((&row.key, own_present(self.relay, row)?)))
            .collect();
        for (key, then) in before {
            if let Some(now) = now.get(key) {
                let lost = then.identity.names.iter();
                let lost = lost.filter(|name| !now.identity.names.contains(name));
                self.old_names.extend(lost.copied());
            }
        }
    }

    /// Reads the entries that are concerned. A group that still names a renamed entry by its old name may be about to be
    /// rewritten, and is read again for a while; if it stays so, the next run reads everything. A user who does has the same
    /// manager as before, since nobody else has that name.
    async fn read_naming(&mut self) -> Result<(), Error> {
        let (pause, times) = REWRITING;
        for turn in 0..times {
            let naming = std::mem::take(&mut self.naming).into_iter();
            let hints: Vec<Hint> = naming
                .map(|anchor| Hint {
                    anchor,
                    container: false,
                })
                .collect();
            for hints in hints.chunks(HINTS_PER_TURN) {
                self.read(hints).await?;
            }
            let behind = self.behind(&hints).await?;
            if behind.is_empty() {
                return Ok(());
            }
            if turn + 1 == times {
                self.complete = false;
                return Ok(());
            }
            self.naming = behind;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Which groups of these still name an entry by a name that it does not have any more.
    async fn behind(&self, hints: &[Hint]) -> Result<BTreeSet<Anchor>, Error> {
        if self.old_names.is_empty() {
            return Ok(BTreeSet::new());
        }
        let rows = self.relay.rows(keys_of(self.relay, hints)).await?;
        let names_old = |row: &&Row| {
            let seen = own_present(self.relay, row);
            let mut members = seen.into_iter().flat_map(|seen| &seen.identity.members);
            members.any(|member| self.old_names.contains(&member.key))
        };
        let groups = rows.iter().filter(|row| row.key.kind == Kind::Group);
        let behind = groups.filter(names_old);
        Ok(behind.map(|row| row.key.anchor.clone()).collect())
    }

    /// Reads them in the profile's scope. Answers whether the read went to its end.
    async fn reread(&mut self, anchors: &[Anchor], known: &mut Known) -> Result<bool, Error> {
        let (sink, observations) = mpsc::channel(OBSERVATIONS_WAITING_MAX);
        let read = async {
            let read = self.source.read_these(anchors, known, sink).await;
            read.map_err(Error::from)
        };
        let write = ingest::write_observations(
            self.relay,
            self.lease,
            self.reader,
            self.tracker,
            observations,
        );
        let (end, ()) = tokio::try_join!(read, write)?;
        self.tracker.update(|job| {
            job.progress.users_read += end.users;
            job.progress.groups_read += end.groups;
        });
        if let Coverage::Partial(why) = end.coverage {
            self.complete = false;
            let detail = format!(
                "what changed was not read completely; the next run reads everything: {why}"
            );
            let error = ObjectError::of_job("read", Fault::Transient, detail);
            self.tracker.record(error).await;
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether an entry that was not met is not there: one look by its anchor.
    async fn is_gone(&mut self, key: &RowKey, seen: &Seen) -> bool {
        match self.source.look(key).await {
            Ok(Look::Absent) => true,
            Ok(Look::Present(_)) => {
                self.complete = false; // it changed between the two; the next run reads everything
                false
            }
            Err(error) => {
                self.complete = false;
                let dn = &seen.identity.dn;
                let detail = format!("whether it is still there is not known: {error}");
                let error = row_error(key, dn, "read", error.fault(), detail);
                self.tracker.record(error).await;
                false
            }
        }
    }

    /// The rows that name each of these, by the names that it had.
    async fn rows_naming(&self, rows: &[Row]) -> Result<HashMap<RowKey, Vec<RowKey>>, Error> {
        let keys: Vec<RowKey> = rows
            .iter()
            .filter(|row| own_present(self.relay, row).is_some())
            .map(|row| row.key.clone())
            .collect();
        let names = self.relay.counted();
        let directory = self.relay.directory.id;
        let store = &self.relay.store;
        let naming = store.rows_naming(directory, &names, keys.clone()).await?;
        Ok(keys.into_iter().zip(naming).collect())
    }
}

/// The rows that a hint may be about: an anchor does not tell a user from a group.
pub(in crate::sync) fn keys_of(relay: &Relay, hints: &[Hint]) -> Vec<RowKey> {
    let groups = relay.source.groups.is_some() || relay.source.units.is_some();
    let kinds = [Kind::User, Kind::Group];
    let kinds = kinds
        .into_iter()
        .filter(|kind| groups || *kind == Kind::User);
    kinds
        .flat_map(|kind| {
            hints.iter().map(move |hint| RowKey {
                kind,
                anchor: hint.anchor.clone(),
            })
        })
        .collect()
}

/// What the profile that runs saw of an entry that was there.
pub(in crate::sync) fn own_present<'a>(relay: &Relay, row: &'a Row) -> Option<&'a Seen> {
    row.seen
        .iter()
        .find(|(profile, _)| *profile == relay.profile.name)
        .map(|(_, seen)| seen)
        .filter(|seen| seen.standing == Standing::Present)
}

/// The rows that were there under another name, or are gone now.
fn renamed(relay: &Relay, before: &[Row], after: &[Row]) -> BTreeSet<RowKey> {
    let now: BTreeMap<&RowKey, &str> = after
        .iter()
        .filter_map(|row| Some((&row.key, own_present(relay, row)?.identity.dn.as_str())))
        .collect();
    before
        .iter()
        .filter(|row| {
            let then = own_present(relay, row).map(|seen| seen.identity.dn.as_str());
            then.is_some_and(|then| now.get(&row.key) != Some(&then))
        })
        .map(|row| row.key.clone())
        .collect()
}

/// The DNs of entries that are there now and were not before, or not under that name: groups may have been rewritten to
/// name them, without telling.
fn appeared(relay: &Relay, before: &[Row], after: &[Row]) -> Vec<String> {
    let dn = |row| own_present(relay, row).map(|seen| seen.identity.dn.clone());
    let then: BTreeMap<&RowKey, Option<String>> =
        before.iter().map(|row| (&row.key, dn(row))).collect();
    after
        .iter()
        .filter_map(|row| dn(row).filter(|now| then.get(&row.key) != Some(&Some(now.clone()))))
        .collect()
}

/// Why everything must be read: a container changed, and what lies below it may have new names.
fn moved_container(
    relay: &Relay,
    hints: &[Hint],
    after: &[Row],
    renamed: &BTreeSet<RowKey>,
) -> Option<String> {
    let unchanged: BTreeSet<&Anchor> = after
        .iter()
        .filter(|row| own_present(relay, row).is_some() && !renamed.contains(&row.key))
        .map(|row| &row.key.anchor)
        .collect();
    let moved = hints
        .iter()
        .find(|hint| hint.container && !unchanged.contains(&hint.anchor))?;
    Some(format!(
        "the container {} changed, and entries below it may have new names, of which no feed tells",
        moved.anchor
    ))
}
