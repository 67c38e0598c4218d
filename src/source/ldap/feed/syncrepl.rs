//! Content synchronization (RFC 4533): one search for each subtree, with the cookie of the last.
//!
//! The feed watches every entry below the bases, whatever its class: an entry that no longer matches a filter is one that
//! changed. A present phase says who is still there instead of who left (§3.3.2), and is answered with a full scan.

use lber::structures::Tag;
use ldap3::controls::RawControl;
use uuid::Uuid;

use crate::identity::Anchor;
use crate::identity::feed::{Changes, Doubt, Hint, Lost, Mark, Position};
use crate::source::Error;
use crate::source::ldap::answer::{Answer, control_value};
use crate::source::ldap::ber::{self, Ber, Malformed};
use crate::source::ldap::feed::{
    Hints, OBJECT_CLASS, address, elsewhere, is_container, nearest, refused, subtrees, values,
};
use crate::source::ldap::frame::Message;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::session::{NAMING_CONTEXTS, Session};
use crate::source::ldap::wire::{Event, Patience, Wire, WireError};
use crate::source::ldap::{feed, words};

/// The Sync Request Control (RFC 4533 §2.2).
pub(super) const REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
/// The Sync State Control (§2.3).
const STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
/// The Sync Done Control (§2.4).
const DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
/// The Sync Info Message (§2.5).
const INFO: &[u8] = b"1.3.6.1.4.1.4203.1.9.1.4";
/// e-syncRefreshRequired (§2.6).
pub(in crate::source::ldap) const REFRESH_REQUIRED: u32 = 4096;
/// unavailableCriticalExtension (RFC 4511 §4.1.9): what OpenLDAP says where a database lacks the overlay.
const NOT_HERE: u32 = 12;
/// What OpenLDAP says to a cookie that is newer than its database: unwillingToPerform, which may mean anything else too, and
/// these words.
const NEWER_THAN_PROVIDER: (u32, &str) = (53, "newer than provider");
/// Where OpenLDAP keeps the state of its database, in the entry of the suffix.
const CONTEXT_CSN: &str = "contextCSN";
/// The attribute by which entries are named in the feed (RFC 4530).
const ENTRY_UUID: &str = "entryUUID";

/// How long a search goes on (§2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Until everything up to now was told.
    RefreshOnly = 1,
    /// For as long as the connection stands.
    RefreshAndPersist = 3,
}

/// What is in the way of this feed.
pub(super) async fn obstacle(session: &mut Session) -> Result<Option<String>, Error> {
    if let Some(why) = feed::anchored_by(session, ENTRY_UUID) {
        return Ok(Some(why));
    }
    let Some(states) = states(session).await? else {
        return Ok(Some(format!(
            "its state ({CONTEXT_CSN}) cannot be read: the overlay syncprov is missing, or the account may not read the \
             suffix"
        )));
    };
    // OpenLDAP announces the control as soon as the module is loaded, whatever database has the overlay.
    for (base, state) in subtrees(session).iter().zip(&states) {
        let cookie = cookie_of(state);
        let tried = refresh(session, base, &cookie, &mut Hints::default()).await?;
        if let Err(answer) = tried {
            return Ok(Some(match answer.code {
                NOT_HERE => "the database lacks the overlay syncprov".to_owned(),
                _ => format!("the server refuses it: {}", answer.words()),
            }));
        }
    }
    Ok(None)
}

/// A cookie made by hand, of a state of the database.
fn cookie_of(state: &str) -> Vec<u8> {
    format!("rid=000,csn={state}").into_bytes()
}

/// The states of the databases that hold the subtrees, each in one text; `None` when one of them cannot be had. The
/// subtrees may be in databases of their own, and the state of one is nothing to another.
async fn states(session: &mut Session) -> Result<Option<Vec<String>>, Error> {
    let root = session.root(&[NAMING_CONTEXTS]).await?;
    let mut states = Vec::new();
    for base in subtrees(session) {
        let contexts = root.iter().map(|(_, context)| context);
        let Some(suffix) = nearest(&base, contexts).cloned() else {
            return Ok(None);
        };
        let read = session
            .entry_at(&suffix, Vec::new(), &[CONTEXT_CSN])
            .await?;
        let state: Vec<String> = read
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(_, state)| String::from_utf8(state).ok())
            .collect();
        if state.is_empty() {
            return Ok(None);
        }
        states.push(state.join(";"));
    }
    Ok((!states.is_empty()).then_some(states))
}

/// The position of now, made of the databases' own states, so that no unpaged read of everything is needed to get it.
pub(super) async fn position(session: &mut Session) -> Result<Position, Error> {
    let states = states(session).await?.ok_or_else(|| {
        let what = format!("{CONTEXT_CSN} cannot be read any more");
        words::unreadable(&session.server, "the change feed", &what)
    })?;
    Ok(Position {
        server: address(session),
        mark: Mark::Syncrepl(states.iter().map(|state| cookie_of(state)).collect()),
    })
}

/// What changed since these cookies, one for each subtree.
pub(super) async fn changes(
    session: &mut Session,
    since: &Position,
    cookies: &[Vec<u8>],
) -> Result<Changes, Error> {
    let bases = subtrees(session);
    let other_bases = || Lost::harmless("the search bases are not those of before");
    let moved = (cookies.len() != bases.len()).then(other_bases);
    if let Some(lost) = elsewhere(session, since).or(moved) {
        return Ok(Changes::Lost(lost));
    }
    let mut hints = Hints::default();
    let mut next = Vec::new();
    for (base, cookie) in bases.iter().zip(cookies) {
        match refresh(session, base, cookie, &mut hints).await? {
            Ok(Ok(newer)) => next.push(newer.unwrap_or_else(|| cookie.clone())),
            Ok(Err(lost)) => return Ok(Changes::Lost(lost)),
            Err(answer) => return Err(refused(session, &answer)),
        }
    }
    Ok(hints.ended(Position {
        server: address(session),
        mark: Mark::Syncrepl(next),
    }))
}

/// The newer cookie of a search, if there is one; or that it was lost.
type Refreshed = Result<Option<Vec<u8>>, Lost>;

/// Reads one subtree's changes; or gives the answer by which the server refuses.
async fn refresh(
    session: &mut Session,
    base: &str,
    cookie: &[u8],
    hints: &mut Hints,
) -> Result<Result<Refreshed, Answer>, Error> {
    let told = told(session, (base, Reach::Subtree), cookie, hints).await?;
    let end = told.refresh.done(&told.answer, told.done);
    Ok(match end {
        End::Told(cookie) => Ok(Ok(cookie)),
        End::Lost(lost) => Ok(Err(lost)),
        End::Refused => Err(told.answer),
    })
}

/// What one search told, and how it ended.
pub(super) struct Told {
    pub(super) refresh: Refresh,
    pub(super) answer: Answer,
    pub(super) done: Done,
}

/// Runs a search to its end; what changed goes to the hints.
pub(super) async fn told(
    session: &mut Session,
    (base, reach): (&str, Reach),
    cookie: &[u8],
    hints: &mut Hints,
) -> Result<Told, Error> {
    let server = session.server.clone();
    let broken = |error: WireError| words::broken(&server, "the change feed", &error);
    search(&mut session.wire, (base, reach), cookie, Mode::RefreshOnly)
        .await
        .map_err(broken)?;
    let mut refresh = Refresh::default();
    loop {
        let event = session
            .wire
            .event(Patience::Limited)
            .await
            .map_err(broken)?;
        if let Event::Done(answer, message) = event {
            let done = Done::read(&message).map_err(|error| broken(error.into()))?;
            return Ok(Told {
                refresh,
                answer,
                done,
            });
        }
        refresh
            .take(&event, hints)
            .map_err(|error| broken(error.into()))?;
    }
}

/// Starts the search of one subtree, which goes on.
pub(in crate::source::ldap) async fn persist(
    wire: &mut Wire,
    base: &str,
    cookie: &[u8],
) -> Result<(), WireError> {
    search(
        wire,
        (base, Reach::Subtree),
        cookie,
        Mode::RefreshAndPersist,
    )
    .await
}

async fn search(
    wire: &mut Wire,
    (base, reach): (&str, Reach),
    cookie: &[u8],
    mode: Mode,
) -> Result<(), WireError> {
    let search = Search {
        base,
        reach,
        filter: request::any_entry(),
        entries_max: 0,
        attributes: &[OBJECT_CLASS],
        names_only: false,
    };
    wire.search(search, vec![control(mode, cookie)]).await
}

fn control(mode: Mode, cookie: &[u8]) -> RawControl {
    let mut parts: Vec<Tag> = vec![request::enumerated(mode as i64)];
    if !cookie.is_empty() {
        parts.push(request::octet_string(cookie));
    }
    request::control_of(REQUEST, parts)
}

/// How a search ended.
enum End {
    /// Everything up to now was told; the newer cookie, if there is one.
    Told(Option<Vec<u8>>),
    /// The server cannot tell.
    Lost(Lost),
    /// The server refused.
    Refused,
}

/// What a search told so far.
#[derive(Default)]
pub(in crate::source::ldap) struct Refresh {
    /// The newest cookie that came with it.
    pub(super) cookie: Option<Vec<u8>>,
    /// The most entries that one message said are gone.
    pub(super) gone_at_once: usize,
    /// The server says who is there, and not who left.
    present: bool,
}

impl Refresh {
    /// Takes in what the server told, except the end.
    pub(in crate::source::ldap) fn take(
        &mut self,
        event: &Event,
        hints: &mut Hints,
    ) -> Result<(), Malformed> {
        match event {
            Event::Entry(message) => {
                let (state, hint) = entry(message)?;
                match state {
                    State::Present => self.present = true,
                    State::Changed => hints.add(hint),
                }
                Ok(())
            }
            Event::Intermediate(message) => self.info(message, hints),
            Event::Done(..) => Ok(()),
        }
    }

    /// Whether the server lost track of who left.
    pub(in crate::source::ldap) fn lost(&self) -> bool {
        self.present
    }

    /// How the search ended.
    fn done(self, answer: &Answer, done: Done) -> End {
        match answer.code {
            0 => {}
            REFRESH_REQUIRED => {
                let why = "the server asks for everything to be read again";
                return End::Lost(Lost::harmless(why));
            }
            code if code == NEWER_THAN_PROVIDER.0
                && answer.words().contains(NEWER_THAN_PROVIDER.1) =>
            {
                return End::Lost(Lost {
                    why: "the server's database is older than at the last run, as after a restore from a backup"
                        .to_owned(),
                    doubt: Some(Doubt::Restored),
                });
            }
            _ => return End::Refused,
        }
        if self.present || !done.deletes_told {
            let why = "the server no longer knows who left since the last run (its session log does not reach back)";
            return End::Lost(Lost::harmless(why));
        }
        End::Told(done.cookie.or(self.cookie))
    }

    /// Reads a Sync Info Message.
    fn info(&mut self, message: &Message, hints: &mut Hints) -> Result<(), Malformed> {
        let mut parts = Ber::new(message.body());
        let mut is_info = false;
        let mut value = None;
        while let Some((tag, content)) = parts.next()? {
            match tag {
                0x80 => is_info = content == INFO,
                0x81 => value = Some(content),
                _ => {}
            }
        }
        let (true, Some(value)) = (is_info, value) else {
            return Ok(());
        };
        let Some((tag, content)) = Ber::new(value).next()? else {
            return Err(Malformed("an empty sync info message"));
        };
        match tag {
            0x80 => self.cookie = Some(content.to_vec()),
            // refreshDelete: what follows are changes, those who left told by name.
            0xa1 => self.keep_cookie(content)?,
            // refreshPresent: who is not told of is gone.
            0xa2 => {
                self.keep_cookie(content)?;
                self.present = true;
            }
            0xa3 => self.id_set(content, hints)?,
            _ => return Err(Malformed("a sync info message of an unknown kind")),
        }
        Ok(())
    }

    fn keep_cookie(&mut self, content: &[u8]) -> Result<(), Malformed> {
        if let Some(cookie) = Ber::new(content).take(ber::OCTET_STRING)? {
            self.cookie = Some(cookie.to_vec());
        }
        Ok(())
    }

    fn id_set(&mut self, content: &[u8], hints: &mut Hints) -> Result<(), Malformed> {
        let mut parts = Ber::new(content);
        if let Some(cookie) = parts.take(ber::OCTET_STRING)? {
            self.cookie = Some(cookie.to_vec());
        }
        let deleted = parts.take(ber::BOOLEAN)?;
        if deleted.is_none_or(|value| value == [0]) {
            self.present = true;
            return Ok(());
        }
        let mut ids = Ber::new(parts.expect(ber::SET, "a set of ids that is none")?);
        let mut gone = 0;
        while let Some((_, id)) = ids.next()? {
            gone += 1;
            hints.add(Hint {
                anchor: anchor(id)?,
                container: false,
            });
        }
        self.gone_at_once = self.gone_at_once.max(gone);
        Ok(())
    }
}

/// What a Sync State Control says of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is there, unchanged.
    Present,
    /// It was added, changed or deleted.
    Changed,
}

fn entry(message: &Message) -> Result<(State, Hint), Malformed> {
    let value = control_value(message, STATE)?
        .ok_or(Malformed("an entry of the feed without its state"))?;
    let value = Ber::new(value).expect(ber::SEQUENCE, "a sync state of another form")?;
    let mut parts = Ber::new(value);
    let state = match ber::number(parts.expect(ber::ENUMERATED, "a sync state without a state")?)? {
        0 => State::Present,
        _ => State::Changed,
    };
    let id = parts.expect(ber::OCTET_STRING, "a sync state without an id")?;
    let [classes] = values(message, [OBJECT_CLASS])?;
    let hint = Hint {
        anchor: anchor(id)?,
        container: is_container(&classes),
    };
    Ok((state, hint))
}

/// The anchor of an entry: its entryUUID, or what the server has in its place.
fn anchor(id: &[u8]) -> Result<Anchor, Malformed> {
    Uuid::from_slice(id)
        .map(Anchor::Uuid)
        .map_err(|_| Malformed("an id of an entry that is not 16 bytes"))
}

/// The Sync Done Control.
#[derive(Default)]
pub(super) struct Done {
    /// The newer cookie.
    pub(super) cookie: Option<Vec<u8>>,
    /// Whether those who left were told by name.
    deletes_told: bool,
}

impl Done {
    fn read(message: &Message) -> Result<Self, Malformed> {
        let Some(value) = control_value(message, DONE)? else {
            return Ok(Self::default());
        };
        let value = Ber::new(value).expect(ber::SEQUENCE, "a sync done of another form")?;
        let mut parts = Ber::new(value);
        let cookie = parts.take(ber::OCTET_STRING)?.map(<[u8]>::to_vec);
        let deletes_told = parts.take(ber::BOOLEAN)?.is_some_and(|value| value != [0]);
        Ok(Self {
            cookie,
            deletes_told,
        })
    }
}
