//! Change feeds: whether a run reads what the directory's feed names, or everything.
//!
//! A feed only names entries. They are read again in the profile's scope and go down the same line as in a full scan; an
//! entry that is not met is looked at by itself before it counts as absent (specification page 8, 5).

pub(super) mod changes;
pub(super) mod unread;

use std::collections::BTreeSet;

use chrono::Utc;

use crate::identity::RowKey;
use crate::identity::feed::{ChangeDetection, Changes, Doubt, Hint, Ladder, Lost, Position, Rung};
use crate::job::{Mode, Trigger};
use crate::snapshot::{FeedState, WentBack};
use crate::sync::proof::Reader;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay, restored};

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
    after.changed_server = doubt.is_some() && !state.unsure;
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
    if restored::is_noted(relay).await? {
        return Ok(Some("the store may be an old one".to_owned()));
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
