//! Listening: connections that are told of changes as they happen.
//!
//! OpenLDAP and 389 Directory Server tell by themselves (RFC 4533, refresh and persist). A domain controller is asked every
//! second how high its sequence number is, and tells by itself as well where it offers change notification, which some do
//! late.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::select_all;
use ldap3::controls::RawControl;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fault::Fault;
use crate::identity::feed::{Changes, Mark, Position};
use crate::source::ldap::feed::syncrepl::{self, Refresh};
use crate::source::ldap::feed::{self, Hints};
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::servers;
use crate::source::ldap::session::Session;
use crate::source::ldap::wire::{Event, Patience, Wire, WireError};
use crate::source::ldap::words;
use crate::source::{Bell, Error, Ring, Settings, Stage};

/// How often a domain controller is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long a run has to take a new position.
const FOR_A_RUN: Duration = Duration::from_secs(60);
/// LDAP_SERVER_NOTIFICATION_OID (MS-ADTS §3.1.1.3.4.1.9).
const NOTIFICATION: &str = "1.2.840.113556.1.4.528";

/// Connects, and starts to listen.
pub(super) async fn listen(settings: &Settings, since: &Position) -> Result<Box<dyn Bell>, Error> {
    let session = servers::open(settings).await?;
    // What is heard on several connections is of one server.
    let settings = &settings.staying_with(&session.answering);
    match &since.mark {
        Mark::Syncrepl(_) | Mark::ChangeLog(_) if feed::elsewhere(&session, since).is_some() => {
            let why = "another server answers than at the last run";
            Ok(Box::new(Stale { why, told: false }))
        }
        Mark::Syncrepl(cookies) | Mark::ChangeLog(cookies) => Ok(Box::new(
            Persisting::start(session, settings, cookies).await?,
        )),
        Mark::Dirsync { usn, .. } | Mark::UsnChanged(usn) => {
            let at = Position {
                server: since.server.clone(),
                mark: Mark::UsnChanged(*usn),
            };
            Ok(Box::new(Asking::start(session, settings, at).await?))
        }
        Mark::ModifyTimestamp { .. } => {
            let message = format!(
                "{}: {} tells nothing by itself",
                session.server,
                since.rung()
            );
            Err(Error::new(Stage::Reading, Fault::Defect, message))
        }
    }
}

async fn open(settings: &Settings) -> Result<Session, Error> {
    Session::open(settings, words::server(settings)).await
}

/// The position does not hold here: one run takes a new one, from which listening begins anew.
struct Stale {
    why: &'static str,
    told: bool,
}

#[async_trait]
impl Bell for Stale {
    async fn ring(&mut self) -> Result<Ring, Error> {
        if !std::mem::replace(&mut self.told, true) {
            return Ok(Ring::Anything);
        }
        sleep(FOR_A_RUN).await;
        Err(Error::new(
            Stage::Reading,
            Fault::Transient,
            self.why.to_owned(),
        ))
    }
}

/// A search that goes on, of one subtree.
struct Line {
    session: Session,
    refresh: Refresh,
}

/// Searches that go on (RFC 4533 §3.4), one on each connection.
struct Persisting {
    lines: Vec<Line>,
    /// Set when the server refuses a cookie.
    stale: Option<Stale>,
}

impl Persisting {
    async fn start(
        first: Session,
        settings: &Settings,
        cookies: &[Vec<u8>],
    ) -> Result<Self, Error> {
        let mut lines = Vec::new();
        let mut first = Some(first);
        for (at, cookie) in cookies.iter().enumerate() {
            let mut session = match first.take() {
                Some(session) => session,
                None => open(settings).await?,
            };
            let Some(base) = feed::subtrees(&session).into_iter().nth(at) else {
                break; // the scope was changed; the next run takes a new position
            };
            let started = syncrepl::persist(&mut session.wire, &base, cookie).await;
            started.map_err(|error| broken(&session.server, &error))?;
            lines.push(Line {
                session,
                refresh: Refresh::default(),
            });
        }
        let stale = None;
        Ok(Self { lines, stale })
    }
}

#[async_trait]
impl Bell for Persisting {
    async fn ring(&mut self) -> Result<Ring, Error> {
        if let Some(stale) = &mut self.stale {
            return stale.ring().await;
        }
        loop {
            let waits = self.lines.iter_mut().map(|line| Box::pin(line.hear()));
            if waits.len() == 0 {
                return Ok(Ring::Anything);
            }
            let (heard, _, _) = select_all(waits).await;
            match heard? {
                Heard::Nothing => {}
                Heard::Ring(ring) => return Ok(ring),
                Heard::Refused => {
                    let why = "the server refuses the position of the last run";
                    let stale = self.stale.insert(Stale { why, told: false });
                    return stale.ring().await;
                }
            }
        }
    }
}

/// What a message tells.
enum Heard {
    Nothing,
    Ring(Ring),
    /// The search has ended, because the server does not know the cookie.
    Refused,
}

impl Line {
    /// Waits for the next message.
    async fn hear(&mut self) -> Result<Heard, Error> {
        let server = &self.session.server;
        let event = self.session.wire.event(Patience::Endless).await;
        let event = event.map_err(|error| broken(server, &error))?;
        if let Event::Done(answer, _) = event {
            if answer.code == syncrepl::REFRESH_REQUIRED {
                return Ok(Heard::Refused);
            }
            let error = words::refused(server, "listening for changes", &answer);
            return Err(Error::new(error.stage, Fault::Transient, error.message));
        }
        let mut hints = Hints::default();
        let taken = self.refresh.take(&event, &mut hints);
        taken.map_err(|error| broken(server, &error.into()))?;
        if std::mem::take(&mut self.refresh).lost() {
            return Ok(Heard::Ring(Ring::Anything));
        }
        let hints = hints.take();
        Ok(match hints.is_empty() {
            true => Heard::Nothing,
            false => Heard::Ring(Ring::Hints(hints)),
        })
    }
}

/// A domain controller that is asked again and again.
struct Asking {
    session: Session,
    /// A search that is told of changes by itself, where the server offers that.
    notified: Option<Wire>,
    at: Position,
    next: Instant,
}

impl Asking {
    async fn start(session: Session, settings: &Settings, at: Position) -> Result<Self, Error> {
        // It only shortens the wait, and what is wrong with the server will be met without it.
        let notified = notified(settings).await.unwrap_or_default();
        Ok(Self {
            session,
            notified,
            at,
            next: Instant::now(),
        })
    }

    /// Waits for the next second, or for a notification.
    async fn wait(&mut self) {
        let second = sleep_until(self.next);
        match &mut self.notified {
            None => second.await,
            Some(wire) => {
                tokio::select! {
                    () = second => {}
                    event = wire.event(Patience::Endless) => {
                        if !matches!(event, Ok(Event::Entry(_) | Event::Intermediate(_))) {
                            self.notified = None;
                        }
                    }
                }
            }
        }
        self.next = Instant::now() + EVERY;
    }
}

#[async_trait]
impl Bell for Asking {
    async fn ring(&mut self) -> Result<Ring, Error> {
        loop {
            self.wait().await;
            match feed::changes(&mut self.session, &self.at).await? {
                Changes::Lost(_) => {
                    self.at = feed::position(&mut self.session, self.at.rung()).await?;
                    return Ok(Ring::Anything);
                }
                Changes::Hints(hints, next) => {
                    self.at = next;
                    if !hints.is_empty() {
                        return Ok(Ring::Hints(hints));
                    }
                }
            }
        }
    }
}

/// A connection with a search that is told of every change in the domain; `None` when the server does not offer it.
async fn notified(settings: &Settings) -> Result<Option<Wire>, Error> {
    let mut session = open(settings).await?;
    let offers = session.root(&["supportedControl"]).await?;
    if !offers.iter().any(|(_, oid)| oid == NOTIFICATION) {
        return Ok(None);
    }
    // Of a subtree, only that of a whole naming context can be watched.
    let base = feed::domain::controller(&mut session).await?.domain;
    let control = RawControl {
        ctype: NOTIFICATION.to_owned(),
        crit: true,
        val: None,
    };
    let search = Search {
        base: &base,
        reach: Reach::Subtree,
        filter: request::any_entry(),
        entries_max: 0,
        attributes: &[request::NO_ATTRIBUTES],
        names_only: false,
    };
    let started = session.wire.search(search, vec![control]).await;
    started.map_err(|error| broken(&session.server, &error))?;
    Ok(Some(session.wire))
}

fn broken(server: &str, error: &WireError) -> Error {
    words::broken(server, "listening for changes", error)
}
