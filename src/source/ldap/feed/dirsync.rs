//! The DirSync control of Active Directory (MS-ADTS §3.1.1.3.4.1.3), with object security: it asks for no right beyond
//! reading.

use lber::structures::Tag;
use ldap3::controls::RawControl;

use crate::identity::Anchor;
use crate::identity::feed::{Changes, Hint, Lost, Mark, Position};
use crate::source::Error;
use crate::source::ldap::anchor::AnchorForm;
use crate::source::ldap::answer::{Answer, control_value};
use crate::source::ldap::ber::{self, Ber, Malformed};
use crate::source::ldap::feed::domain::{self, Controller, OBJECT_GUID};
use crate::source::ldap::feed::{Hints, OBJECT_CLASS, is_container, refused, values};
use crate::source::ldap::frame::Message;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::session::Session;
use crate::source::ldap::wire::{Event, Patience, WireError};
use crate::source::ldap::words;

/// The control.
const DIRSYNC: &str = "1.2.840.113556.1.4.841";
/// LDAP_DIRSYNC_OBJECT_SECURITY and LDAP_DIRSYNC_INCREMENTAL_VALUES, as the signed number that is sent.
const FLAGS: i64 = -0x8000_0000 + 1;
/// Bytes that one answer may have.
const BYTES_MAX: i64 = 1 << 20;
/// The filter that only the head of the domain matches, for a cookie without a read of everything.
const HEAD_ONLY: &str = "(objectClass=domainDNS)";
/// The naming attribute: a rename is told as a change of it.
const NAME: &str = "name";
/// Entries whose class is asked for because they were renamed; more of them are taken for containers.
const RENAMED_MAX: usize = 200;
/// unavailableCriticalExtension (RFC 4511 §4.1.9): what the server says to a cookie that it cannot read.
const COOKIE_REFUSED: u32 = 12;

/// What was found so far.
#[derive(Default)]
struct Found {
    hints: Hints,
    renamed: Vec<Anchor>,
}

/// What is in the way of this feed, found out by trying.
pub(super) async fn obstacle(
    session: &mut Session,
    controller: &Controller,
) -> Result<Option<String>, Error> {
    let first = first_cookie(session, controller).await?;
    Ok(first.err().map(|answer| answer.words()))
}

/// The position of now.
pub(super) async fn position(session: &mut Session) -> Result<Position, Error> {
    let controller = domain::controller(session).await?;
    let cookie = first_cookie(session, &controller).await?;
    let cookie = cookie.map_err(|answer| refused(session, &answer))?;
    Ok(at(&controller, cookie))
}

/// A cookie of now, or the answer by which the server refuses.
async fn first_cookie(
    session: &mut Session,
    controller: &Controller,
) -> Result<Result<Vec<u8>, Answer>, Error> {
    let filter = request::filter(HEAD_ONLY)
        .map_err(|problem| words::unreadable(&session.server, "the change feed", problem))?;
    let mut found = Found::default();
    read(session, &controller.domain, filter, Vec::new(), &mut found).await
}

fn at(controller: &Controller, cookie: Vec<u8>) -> Position {
    Position {
        server: controller.server.clone(),
        mark: Mark::Dirsync {
            cookie,
            usn: controller.usn,
        },
    }
}

/// What changed since a cookie.
pub(super) async fn changes(
    session: &mut Session,
    since: &Position,
    cookie: &[u8],
    usn: u64,
) -> Result<Changes, Error> {
    let controller = domain::controller(session).await?;
    // A cookie of another controller is taken and answered with nothing, so it must not be sent.
    if let Some(lost) = domain::lost(&controller, since) {
        return Ok(Changes::Lost(lost));
    }
    if controller.usn == usn {
        return Ok(Hints::default().ended(since.clone()));
    }
    let mut found = Found::default();
    let filter = request::any_entry();
    let read = read(
        session,
        &controller.domain,
        filter,
        cookie.to_vec(),
        &mut found,
    )
    .await?;
    match read {
        Ok(cookie) => {
            add_renamed(session, &mut found).await?;
            Ok(found.hints.ended(at(&controller, cookie)))
        }
        Err(answer) if answer.code == COOKIE_REFUSED => {
            let why = format!("the server refuses its own cookie: {}", answer.words());
            Ok(Changes::Lost(Lost::harmless(why)))
        }
        Err(answer) => Err(refused(session, &answer)),
    }
}

/// Reads until the server has no more; answers the last cookie, or the answer by which the server refuses.
async fn read(
    session: &mut Session,
    base: &str,
    filter: lber::structure::StructureTag,
    mut cookie: Vec<u8>,
    found: &mut Found,
) -> Result<Result<Vec<u8>, Answer>, Error> {
    let server = session.server.clone();
    let broken = |error: WireError| words::broken(&server, "the change feed", &error);
    loop {
        let search = Search {
            base,
            reach: Reach::Subtree,
            filter: filter.clone(),
            entries_max: 0,
            attributes: &["*"], // only what changed comes, and only changes of what is asked for
            names_only: false,
        };
        let started = session.wire.search(search, vec![control(&cookie)]).await;
        started.map_err(broken)?;
        let (answer, message) = loop {
            match session
                .wire
                .event(Patience::Limited)
                .await
                .map_err(broken)?
            {
                Event::Entry(message) => {
                    take(&message, found).map_err(|error| broken(error.into()))?;
                }
                Event::Intermediate(_) => return Err(broken(WireError::Unexpected)),
                Event::Done(answer, message) => break (answer, message),
            }
        };
        if !answer.is_success() {
            return Ok(Err(answer));
        }
        let (more, next) = page(&message).map_err(|error| broken(error.into()))?;
        if more && next == cookie {
            return Err(broken(WireError::Unexpected));
        }
        cookie = next;
        if !more {
            return Ok(Ok(cookie));
        }
    }
}

fn control(cookie: &[u8]) -> RawControl {
    let parts: Vec<Tag> = vec![
        request::integer(FLAGS),
        request::integer(BYTES_MAX),
        request::octet_string(cookie),
    ];
    request::control_of(DIRSYNC, parts)
}

/// Whether there is more, and the cookie to ask with.
fn page(message: &Message) -> Result<(bool, Vec<u8>), Malformed> {
    let value = control_value(message, DIRSYNC)?
        .ok_or(Malformed("an answer to DirSync without its control"))?;
    let value = Ber::new(value).expect(ber::SEQUENCE, "a DirSync control of another form")?;
    let mut parts = Ber::new(value);
    let more = parts.expect(ber::INTEGER, "a DirSync control without a flag")?;
    parts.expect(ber::INTEGER, "a DirSync control without a size")?;
    let cookie = parts.expect(ber::OCTET_STRING, "a DirSync control without a cookie")?;
    Ok((more.iter().any(|byte| *byte != 0), cookie.to_vec()))
}

/// Takes in the entry that changed. Only changed attributes come, so one that was renamed comes without its classes, and
/// may be a container.
fn take(message: &Message, found: &mut Found) -> Result<(), Malformed> {
    let [guids, classes, names] = values(message, [OBJECT_GUID, OBJECT_CLASS, NAME])?;
    let guid = guids.first();
    let Some(anchor) = guid.and_then(|guid| AnchorForm::MixedEndian.decode(guid)) else {
        return Ok(());
    };
    let hint = |container| Hint {
        anchor: anchor.clone(),
        container,
    };
    let renamed = classes.is_empty() && !names.is_empty();
    if renamed && found.renamed.len() < RENAMED_MAX {
        found.renamed.push(anchor);
    } else {
        found.hints.add(hint(renamed));
    }
    Ok(())
}

/// Asks of entries that were renamed whether they are containers.
async fn add_renamed(session: &mut Session, found: &mut Found) -> Result<(), Error> {
    for anchor in std::mem::take(&mut found.renamed) {
        let dn = format!("<GUID={anchor}>");
        let read = session.entry_at(&dn, Vec::new(), &[OBJECT_CLASS]).await?;
        let classes = read.unwrap_or_default();
        let classes: Vec<&[u8]> = classes.iter().map(|(_, class)| class.as_slice()).collect();
        let container = is_container(&classes);
        found.hints.add(Hint { anchor, container });
    }
    Ok(())
}
