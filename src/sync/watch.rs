//! Watching: a feed that tells of changes as they happen asks for a run as soon as one concerns the profile.
//!
//! Whoever watches carries nothing: it only rings. The run that follows reads the feed from the stored position, so what
//! is lost here, is late at most. Most of what a directory tells is no news (a logon changes an entry), so what is named is
//! read and compared first.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use crate::fault::Fault;
use crate::identity::feed::{Hint, Position, Rung};
use crate::identity::known::Known;
use crate::identity::observation::{Coverage, Observation, Statement};
use crate::job::Status;
use crate::source::{self, Bell, Ring, Stage};
use crate::sync::feed::changes;
use crate::sync::ingest::OBSERVATIONS_WAITING_MAX;
use crate::sync::proof::Reader;
use crate::sync::{Error, Relay};

/// A change is waited after for so long, in case others come with it.
const QUIET: Duration = Duration::from_millis(20);
/// The longest that a burst is gathered.
const BURST_MAX: Duration = Duration::from_millis(500);
/// Rings that wait to be looked at; more than these hold the connection back.
const RINGS_WAITING_MAX: usize = 256;
/// The most hints that are compared before a run is asked for anyway.
const HINTS_MAX: usize = 2_000;
/// How often it is looked whether there is a position to listen from.
const NO_POSITION: Duration = Duration::from_secs(1);
/// How long is waited after a failure: from, and up to.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long is waited after a refusal: a wrong password that is tried every minute would lock the account.
const REFUSED: Duration = Duration::from_secs(30 * 60);

/// Asks for runs.
#[async_trait]
pub trait Ringer: Send + Sync {
    /// Waits until no job of the profile runs, or one that can be overtaken.
    async fn ready(&self);

    /// Asks for a run, and waits for its end, or until it can be overtaken itself; `None` when there was none.
    async fn ring(&self) -> Option<Status>;
}

/// Listens, and asks for runs, until the directory refuses the account or it is dropped. Whoever begins anew after that
/// brings the secrets as they are then.
pub async fn watch(relay: &Relay, ringer: &dyn Ringer) {
    let mut pause = RETRY.0;
    let mut told = None;
    loop {
        let Some(position) = position(relay).await else {
            sleep(NO_POSITION).await;
            continue;
        };
        let began = Instant::now();
        let error = match relay.connector.listen(&relay.source, &position).await {
            Ok(bell) => {
                told = None;
                listen(relay, ringer, bell).await
            }
            Err(error) => error.into(),
        };
        if is_refused(&error) {
            tell(relay, &error, REFUSED, &mut told);
            return sleep(REFUSED).await;
        }
        if began.elapsed() > RETRY.1 {
            pause = RETRY.0;
        }
        tell(relay, &error, pause, &mut told);
        sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Whether the directory refuses the account, so that another try makes it worse.
fn is_refused(error: &Error) -> bool {
    let refused = |error: &source::Error| {
        error.stage == Stage::Authentication && error.fault() == Fault::Denied
    };
    matches!(error, Error::Source(error) if refused(error))
}

/// Says why nothing is heard, once for each reason: a night without the server is not a line a minute.
fn tell(relay: &Relay, error: &Error, wait: Duration, told: &mut Option<String>) {
    let (directory, profile) = (&relay.directory.name, &relay.profile.name);
    let (reason, seconds) = (error.to_string(), wait.as_secs());
    if told.as_ref() == Some(&reason) {
        tracing::debug!(%directory, %profile, seconds, "still not listening for changes; it is tried again");
        return;
    }
    tracing::warn!(%directory, %profile, seconds, error = reason,
        "not listening for changes; it is tried again, and runs by schedule go on");
    *told = Some(reason);
}

/// The position to listen from, on a rung that tells by itself.
async fn position(relay: &Relay) -> Option<Position> {
    let state = relay.store.feed_state(&relay.key()).await.ok()?;
    let position = state.position?;
    (position.rung() != Rung::ModifyTimestamp).then_some(position)
}

/// Listens until the connection is lost; answers why.
async fn listen(relay: &Relay, ringer: &dyn Ringer, mut bell: Box<dyn Bell>) -> Error {
    tracing::info!(directory = %relay.directory.name, profile = %relay.profile.name, "listening for changes");
    let (heard, mut rings) = mpsc::channel(RINGS_WAITING_MAX);
    let hear = async {
        loop {
            match bell.ring().await {
                // Without a receiver there is nobody to tell.
                Ok(ring) => {
                    let _ = heard.send(bounded(ring)).await;
                }
                Err(error) => return Error::from(error),
            }
        }
    };
    let answer = async {
        let mut reader = Reader::new(relay);
        let mut pause = RETRY.0;
        while let Some(ring) = rings.recv().await {
            let mut gathered = Gathered::default();
            gathered.add(ring);
            gather(&mut rings, &mut gathered).await;
            ringer.ready().await;
            while let Ok(ring) = rings.try_recv() {
                gathered.add(ring);
            }
            if !concerns(relay, &mut reader, &gathered).await {
                tracing::debug!(directory = %relay.directory.name, profile = %relay.profile.name, "what was heard is no news");
                continue;
            }
            match ringer.ring().await {
                Some(Status::Failed) | None => {
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                Some(_) => pause = RETRY.0,
            }
        }
    };
    tokio::select! {
        error = hear => error,
        () = answer => Error::Only("nobody answers".to_owned()),
    }
}

/// A ring that may wait: more hints than are compared are not kept.
fn bounded(ring: Ring) -> Ring {
    match ring {
        Ring::Hints(hints) if hints.len() > HINTS_MAX => Ring::Anything,
        ring => ring,
    }
}

/// What was heard and not looked at yet.
#[derive(Default)]
struct Gathered {
    hints: BTreeSet<Hint>,
    /// It cannot be told what changed, or there is too much of it.
    anything: bool,
}

impl Gathered {
    fn add(&mut self, ring: Ring) {
        match ring {
            Ring::Hints(hints) => self.hints.extend(hints),
            Ring::Anything => self.anything = true,
        }
        self.anything |= self.hints.len() > HINTS_MAX;
    }
}

/// Gathers what comes together, for a bounded time.
async fn gather(rings: &mut mpsc::Receiver<Ring>, gathered: &mut Gathered) {
    let end = Instant::now() + BURST_MAX;
    loop {
        let quiet = (Instant::now() + QUIET).min(end);
        match timeout_at(quiet, rings.recv()).await {
            Ok(Some(ring)) => gathered.add(ring),
            Ok(None) | Err(_) => return,
        }
        if Instant::now() >= end || gathered.anything {
            return;
        }
    }
}

/// Whether anything that was heard is news to the profile. What cannot be looked at is for the run to say; but a connection
/// that the server has ended in the meantime, because nothing was asked for long, is opened again.
async fn concerns<'a>(relay: &'a Relay, reader: &mut Reader<'a>, gathered: &Gathered) -> bool {
    if gathered.anything {
        return true;
    }
    let hints: Vec<Hint> = gathered.hints.iter().cloned().collect();
    for _ in 0..2 {
        match is_news(relay, reader, &hints).await {
            Ok(news) => return news,
            Err(_) => *reader = Reader::new(relay),
        }
    }
    true
}

async fn is_news(relay: &Relay, reader: &Reader<'_>, hints: &[Hint]) -> Result<bool, Error> {
    let before = relay.rows(changes::keys_of(relay, hints)).await?;
    let known: Vec<_> = before
        .iter()
        .filter_map(|row| Some((row.key.clone(), changes::own_present(relay, row)?.digest)))
        .collect();
    let rows = known.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let mut known = Known::from_rows(known);
    let anchors: Vec<_> = hints.iter().map(|hint| hint.anchor.clone()).collect();
    let (sink, mut statements) = mpsc::channel(OBSERVATIONS_WAITING_MAX);
    let source = reader.source().await?;
    let read = source.read_these(&anchors, &mut known, sink);
    let compare = async {
        let mut news = false;
        while let Some(statement) = statements.recv().await {
            news |= matches!(statement, Statement::Entry(Observation::Present(..)));
        }
        news
    };
    let (end, news) = tokio::join!(read, compare);
    let is_partial = end?.coverage != Coverage::Complete;
    let is_left = rows.iter().any(|key| !known.was_met(key));
    let unknown = hints.iter().any(|hint| hint.container);
    Ok(news || is_left || unknown || is_partial)
}
