//! Change feeds: whether a run reads what the directory's feed names or everything, and how it reads what is named.
//!
//! A feed only names entries. They are read again in the profile's scope and go down the same line as in a full scan; an
//! entry that is not met is looked at by itself before it counts as absent (specification page 8, 5).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::Utc;
use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::identity::feed::{ChangeDetection, Changes, Doubt, Hint, Ladder, Lost, Position, Rung};
use crate::identity::known::Known;
use crate::identity::observation::{Coverage, Look};
use crate::identity::{Anchor, Kind, RowKey};
use crate::job::{Mode, Trigger};
use crate::snapshot::{FeedState, Row, Seen, Standing, WentBack};
use crate::source::Source;
use crate::store::Lease;
use crate::sync::ingest::{self, OBSERVATIONS_WAITING_MAX};
use crate::sync::proof::Reader;
use crate::sync::tracker::{Tracker, row_error};
use crate::sync::{Error, Relay};

/// Entries that are read again in one turn.
const HINTS_PER_TURN: usize = 200;

/// How a run reads the directory.
pub(super) enum Way {
    /// What the feed names; after it the profile stands at the position.
    Changes(Vec<Hint>, FeedState),
    /// Everything.
    FullScan(FullScan),
}

/// What goes with a full scan.
pub(super) struct FullScan {
    /// Why everything is read.
    why: String,
    /// The server of the last full scan.
    before: Option<String>,
    /// Where the profile stands in the feed when the read was complete.
    pub(super) after: FeedState,
    /// Why the read proves no absence, however complete it is.
    pub(super) doubt: Option<String>,
    /// Entries that the read of the server before did not meet either: where two servers in a row lack an entry, that is no
    /// matter of replication. Without this, nobody would ever be gone where servers take turns.
    pub(super) missing: BTreeSet<RowKey>,
}

impl FullScan {
    /// A full scan because the feed named something of which it cannot tell all.
    pub(super) async fn instead(
        relay: &Relay,
        reader: &Reader<'_>,
        before: FeedState,
        why: String,
    ) -> Self {
        let mut after = FeedState {
            server: before.server.clone(),
            went_back: before.went_back,
            ..FeedState::default()
        };
        take_position(relay, reader, &mut after).await;
        Self {
            why,
            before: before.server,
            after,
            doubt: None,
            missing: BTreeSet::new(),
        }
    }

    /// Where the profile stands in the feed after the read, which went to its end or not.
    pub(super) fn ended(self, complete: bool) -> FeedState {
        let mut after = self.after;
        if !complete {
            after.position = None;
            after.server = self.before;
            after.missing.clear();
        }
        after
    }

    /// What the job says of how it learnt what changed.
    pub(super) fn told(&self) -> String {
        let next = match &self.after.position {
            Some(position) => format!("later runs use {} ({})", position.rung(), self.after.reason),
            None => self.after.reason.clone(),
        };
        format!("{}; {next}", self.why)
    }
}

/// Finds out how a run reads: by the feed where it can tell and may be relied on.
pub(super) async fn way(
    relay: &Relay,
    reader: &Reader<'_>,
    tracker: &Tracker,
) -> Result<Way, Error> {
    let state = relay.store.feed_state(&relay.key()).await?;
    let told = match &state.position {
        Some(position) => Some(changes(reader, position).await),
        None => None,
    };
    let server = reader.source().await?.server().await.identity();
    let mut doubt = None;
    let mut after = FeedState::default();
    let mut missing = BTreeSet::new();
    let lost = match told {
        None => {
            doubt = another_server(&state, &server);
            "no position in a change feed is known yet".to_owned()
        }
        Some(Changes::Hints(hints, next)) => {
            let Some(why) = must_read_all(relay, &state, tracker).await? else {
                let position = Some(next);
                return Ok(Way::Changes(hints, FeedState { position, ..state }));
            };
            why
        }
        Some(Changes::Lost(lost)) => {
            let told = lost.doubt.map(|doubt| words_of(doubt, &lost.why));
            doubt = told.or_else(|| another_server(&state, &server));
            if let (Some(Doubt::Restored), Some(position)) = (lost.doubt, &state.position) {
                after.went_back = Some(WentBack {
                    server: position.server.clone(),
                    why: lost.why.clone(),
                });
            }
            lost.why
        }
    };
    // With full scans alone an administrator says that the server is to stay as it is.
    let believed = relay.profile.change_detection == ChangeDetection::Only(Rung::FullScan);
    if believed && after.went_back.is_some() {
        doubt = None;
    }
    after.went_back = after.went_back.or(state.went_back).filter(|_| !believed);
    after.server = Some(server);
    take_position(relay, reader, &mut after).await;
    if let Some(back) = after.went_back() {
        doubt = Some(words_of(Doubt::Restored, &back.why));
    } else if doubt.is_some() {
        missing.extend(state.missing);
    }
    after.unsure = doubt.is_some();
    Ok(Way::FullScan(FullScan {
        why: lost,
        before: state.server,
        after,
        doubt,
        missing,
    }))
}

/// Why absence proves nothing yet, on a server that is not the one of the last full scan.
fn another_server(state: &FeedState, now: &str) -> Option<String> {
    let before = state.server.as_ref().filter(|before| *before != now)?;
    let why = format!("{now} answers, and before it was {before}");
    Some(words_of(Doubt::AnotherServer, &why))
}

/// What changed; a feed that cannot be read has lost it, and the full scan will say what is wrong with the server. That goes
/// on a new connection, because a feed that breaks off breaks its connection, and must not keep a run from reading.
async fn changes(reader: &Reader<'_>, position: &Position) -> Changes {
    let told = async { reader.source().await?.changes(position).await };
    match told.await {
        Ok(changes) => changes,
        Err(error) => {
            reader.renew().await;
            Changes::Lost(Lost::harmless(error.to_string()))
        }
    }
}

/// Why everything is read although the feed could tell.
async fn must_read_all(
    relay: &Relay,
    feed: &FeedState,
    tracker: &Tracker,
) -> Result<Option<String>, Error> {
    let job = tracker.job();
    if job.mode != Mode::Incremental {
        return Ok(Some("a run of this mode reads everything".to_owned()));
    }
    let wanted = relay.profile.change_detection;
    let used = feed.position.as_ref().map(Position::rung);
    if let ChangeDetection::Only(rung) = wanted
        && used != Some(rung)
    {
        return Ok(Some("changeDetection was changed".to_owned()));
    }
    if feed.unsure {
        return Ok(Some(
            "the last full scan could not tell who left".to_owned(),
        ));
    }
    let state = relay.store.profile_state(&relay.key()).await?;
    let interval = relay.profile.full_sync_interval;
    let due = state
        .last_complete_read
        .is_none_or(|last| last + interval <= Utc::now());
    if due {
        return Ok(Some("the interval of full scans is over".to_owned()));
    }
    // Who was deleted must not keep access longer than without a feed, unless somebody chose so.
    let blind = feed.blind.clone();
    Ok(blind.filter(|_| job.trigger != Trigger::Feed && wanted == ChangeDetection::Automatic))
}

/// What a doubt means for this run.
fn words_of(doubt: Doubt, why: &str) -> String {
    match doubt {
        Doubt::AnotherServer => format!(
            "{why}. What is missing there may not have been replicated to it yet, so an entry counts as absent only when \
             two complete reads in a row do not find it"
        ),
        Doubt::Restored => format!(
            "{why}. It may lack what happened since, so nothing counts as absent, and nobody gets rights back. Bring the server \
             up to date; when it is, or is to stay as it is, set changeDetection to full_scan for one run"
        ),
    }
}

/// Takes the position from which later runs go on, before everything is read.
async fn take_position(relay: &Relay, reader: &Reader<'_>, after: &mut FeedState) {
    let wanted = relay.profile.change_detection;
    let offered = async {
        match wanted {
            ChangeDetection::Only(Rung::FullScan) => Ok(Ladder::default()),
            _ => reader.source().await?.ladder().await,
        }
    };
    let ladder = match offered.await {
        Ok(ladder) => ladder,
        Err(error) => {
            reader.renew().await;
            after.reason = error.to_string();
            return;
        }
    };
    let choice = ladder.choose(wanted);
    after.reason = choice.reason;
    after.blind = choice.blind;
    if choice.rung == Rung::FullScan {
        return;
    }
    let position = async { reader.source().await?.position(choice.rung).await };
    match position.await {
        Ok(position) => after.position = Some(position),
        Err(error) => {
            reader.renew().await;
            after.reason = error.to_string();
        }
    }
}

/// Reads what the feed named. Answers why everything must be read after all, if so.
pub(super) async fn read_changes(
    relay: &Relay,
    lease: &Lease,
    source: &dyn Source,
    tracker: &Tracker,
    hints: Vec<Hint>,
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
    let mut reading = Rereading {
        relay,
        lease,
        source,
        tracker,
        groups: BTreeSet::new(),
        complete: true,
    };
    for hints in hints.chunks(HINTS_PER_TURN) {
        if let Some(why) = reading.read(hints).await? {
            return Ok(Some(why));
        }
    }
    let groups: Vec<Hint> = std::mem::take(&mut reading.groups)
        .into_iter()
        .map(|anchor| Hint {
            anchor,
            container: false,
        })
        .collect();
    for groups in groups.chunks(HINTS_PER_TURN) {
        reading.read(groups).await?;
    }
    if reading.complete {
        // What the feed gave is written; only now is it over.
        relay
            .store
            .save_feed_state(lease, &relay.key(), after)
            .await?;
    }
    Ok(None)
}

/// Entries that are read again.
struct Rereading<'a> {
    relay: &'a Relay,
    lease: &'a Lease,
    source: &'a dyn Source,
    tracker: &'a Tracker,
    /// Groups that named an entry which was renamed or is gone: servers rewrite them without telling.
    groups: BTreeSet<Anchor>,
    /// Whether everything that was named could be read.
    complete: bool,
}

impl Rereading<'_> {
    /// Reads these entries. Answers why everything must be read, if so.
    async fn read(&mut self, hints: &[Hint]) -> Result<Option<String>, Error> {
        let keys = keys_of(self.relay, hints);
        let before = self.relay.rows(keys.clone()).await?;
        let naming = self.groups_naming(&before).await?;
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
            let groups = naming.get(key).into_iter().flatten();
            self.groups.extend(groups.map(|group| group.anchor.clone()));
        }
        let appeared = appeared(self.relay, &before, &after);
        if !appeared.is_empty() {
            self.groups
                .extend(self.source.groups_naming(&appeared).await?);
        }
        Ok(moved_container(self.relay, hints, &after, &renamed))
    }

    /// Reads them in the profile's scope. Answers whether the read went to its end.
    async fn reread(&mut self, anchors: &[Anchor], known: &mut Known) -> Result<bool, Error> {
        let (sink, observations) = mpsc::channel(OBSERVATIONS_WAITING_MAX);
        let read = async {
            let read = self.source.read_these(anchors, known, sink).await;
            read.map_err(Error::from)
        };
        let write = ingest::write_observations(self.relay, self.lease, self.tracker, observations);
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
            let error = crate::job::ObjectError::of_job("read", Fault::Transient, detail);
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

    /// The groups that name each of these rows, by the names that it had.
    async fn groups_naming(&self, rows: &[Row]) -> Result<HashMap<RowKey, Vec<RowKey>>, Error> {
        let keys: Vec<RowKey> = rows
            .iter()
            .filter(|row| own_present(self.relay, row).is_some())
            .map(|row| row.key.clone())
            .collect();
        let names = self.relay.counted();
        let directory = self.relay.directory.id;
        let store = &self.relay.store;
        let groups = store.groups_naming(directory, &names, keys.clone()).await?;
        Ok(keys.into_iter().zip(groups).collect())
    }
}

/// The rows that a hint may be about: an anchor does not tell a user from a group.
pub(super) fn keys_of(relay: &Relay, hints: &[Hint]) -> Vec<RowKey> {
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
pub(super) fn own_present<'a>(relay: &Relay, row: &'a Row) -> Option<&'a Seen> {
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
