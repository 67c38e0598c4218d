//! Content synchronization of 389 Directory Server (RFC 4533, made of its Retro Changelog): the same messages as elsewhere,
//! with another meaning.
//!
//! An increment ends as if all entries that it does not name were gone, though it names only what changed. A cookie has the
//! number of a change in it, and one whose changes are no longer in the log is answered with what is left of them. So the
//! end is not believed, numbers are compared, and who left is certain after full scans only.

use crate::identity::feed::{Changes, Doubt, Lost, Mark, Position};
use crate::source::Error;
use crate::source::ldap::answer::Answer;
use crate::source::ldap::feed::syncrepl::{self, REFRESH_REQUIRED};
use crate::source::ldap::feed::{Hints, address, anchored_by, nearest, refused, subtrees};
use crate::source::ldap::request::Reach;
use crate::source::ldap::session::{NAMING_CONTEXTS, Session};

/// What the server calls itself in the root DSE (RFC 3045).
pub(super) const VENDOR: &str = "389";
/// Why it does not tell who left.
pub(super) const BLIND: &str =
    "389 Directory Server does not tell of everyone who left, only a full scan does";
/// The attribute by which entries are named in the feed.
const NS_UNIQUE_ID: &str = "nsUniqueId";
/// The number of the oldest change in the log, in the root DSE.
const FIRST_CHANGE: &str = "firstchangenumber";
/// The most entries that one message says are gone; of more, the server passes over each that would begin another message.
const GONE_AT_ONCE: usize = 50;
/// How many of the last changes are asked for, to see whether any are told.
const TRIED: u64 = 500;

/// What stands in a cookie: `HOST:PORT#ACCOUNT:BASE:FILTER#NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cookie<'a> {
    server: &'a str,
    search: &'a str,
    change: u64,
}

impl<'a> Cookie<'a> {
    fn parse(cookie: &'a [u8]) -> Option<Self> {
        let (server, rest) = std::str::from_utf8(cookie).ok()?.split_once('#')?;
        let (search, change) = rest.rsplit_once('#')?;
        Some(Self {
            server,
            search,
            change: change.parse().ok()?,
        })
    }

    /// The same search, so many changes earlier.
    fn earlier(self, changes: u64) -> Vec<u8> {
        let Self { server, search, .. } = self;
        let change = self.change.saturating_sub(changes);
        format!("{server}#{search}#{change}").into_bytes()
    }
}

/// What is in the way of this feed.
pub(super) async fn obstacle(session: &mut Session) -> Result<Option<String>, Error> {
    if let Some(why) = anchored_by(session, NS_UNIQUE_ID) {
        return Ok(Some(format!(
            "{why}; a directory that is entered with anchorAttribute = \"{NS_UNIQUE_ID}\" can use it"
        )));
    }
    if let Err(answer) = now(session).await? {
        return Ok(Some(format!("the server refuses it: {}", answer.words())));
    }
    let root = session.root(&[NAMING_CONTEXTS]).await?;
    for base in subtrees(session) {
        let contexts = root.iter().map(|(_, context)| context);
        let suffix = nearest(&base, contexts).unwrap_or(&base);
        if !tells(session, suffix).await? {
            return Ok(Some(format!(
                "of the last changes below `{suffix}` the server tells none: its Retro Changelog plugin does not keep \
                 {NS_UNIQUE_ID} (nsslapd-attribute: nsuniqueid:targetUniqueId), it leaves this suffix out, or nothing \
                 changed that the account may read"
            )));
        }
    }
    Ok(None)
}

/// Whether the server tells of any of the last changes below a suffix. It answers success and nothing where its change log
/// lacks what it needs to find the entries.
async fn tells(session: &mut Session, suffix: &str) -> Result<bool, Error> {
    let Ok(cookie) = cookie_of(session, suffix).await? else {
        return Ok(false);
    };
    let Some(cookie) = Cookie::parse(&cookie) else {
        return Ok(false);
    };
    let mut hints = Hints::default();
    let earlier = cookie.earlier(TRIED);
    syncrepl::told(session, (suffix, Reach::Subtree), &earlier, &mut hints).await?;
    Ok(!hints.take().is_empty())
}

/// The cookie of now, or the answer by which the server refuses. A cookie does not hold how far its search reaches, so the
/// base alone gives it, without a read of everything.
async fn cookie_of(session: &mut Session, base: &str) -> Result<Result<Vec<u8>, Answer>, Error> {
    let (alone, mut unread) = ((base, Reach::Base), Hints::default());
    let told = syncrepl::told(session, alone, &[], &mut unread).await?;
    Ok(match told.done.cookie {
        Some(cookie) if told.answer.is_success() => Ok(cookie),
        _ => Err(told.answer),
    })
}

/// The position of now, or the answer by which the server refuses. Servers behind one address count changes each for itself,
/// so what the one that answers calls itself is a part of it.
async fn now(session: &mut Session) -> Result<Result<Position, Answer>, Error> {
    let mut cookies = Vec::new();
    for base in subtrees(session) {
        match cookie_of(session, &base).await? {
            Ok(cookie) => cookies.push(cookie),
            Err(answer) => return Ok(Err(answer)),
        }
    }
    let first = cookies.first().and_then(|cookie| Cookie::parse(cookie));
    let name = first.map_or("", |cookie| cookie.server);
    Ok(Ok(Position {
        server: format!("{} ({name})", address(session)),
        mark: Mark::ChangeLog(cookies),
    }))
}

/// The position of now.
pub(super) async fn position(session: &mut Session) -> Result<Position, Error> {
    let now = now(session).await?;
    now.map_err(|answer| refused(session, &answer))
}

/// What changed since these cookies, one for each subtree.
pub(super) async fn changes(
    session: &mut Session,
    since: &Position,
    cookies: &[Vec<u8>],
) -> Result<Changes, Error> {
    let now = position(session).await?;
    if let Some(lost) = lost(&now, since) {
        return Ok(Changes::Lost(lost));
    }
    let mut hints = Hints::default();
    if now == *since {
        return Ok(hints.ended(now));
    }
    let mut next = Vec::new();
    for (base, cookie) in subtrees(session).iter().zip(cookies) {
        let search = (base.as_str(), Reach::Subtree);
        let told = syncrepl::told(session, search, cookie, &mut hints).await?;
        match (told.answer.code, told.done.cookie) {
            (0, Some(newer)) => next.push(newer),
            (REFRESH_REQUIRED, _) => {
                let why = format!("the server refuses its own cookie: {}", told.answer.words());
                return Ok(Changes::Lost(Lost::harmless(why)));
            }
            _ => return Err(refused(session, &told.answer)),
        }
        if told.refresh.lost() || told.refresh.gone_at_once >= GONE_AT_ONCE {
            let why = "so many entries were deleted that the server does not tell them all";
            return Ok(Changes::Lost(Lost::harmless(why)));
        }
    }
    // Asked after the changes were read: what was in the log then, was told.
    if let Some(lost) = trimmed(session, cookies).await? {
        return Ok(Changes::Lost(lost));
    }
    Ok(hints.ended(Position {
        mark: Mark::ChangeLog(next),
        ..now
    }))
}

/// Why a position does not hold with the server that answers now.
fn lost(now: &Position, since: &Position) -> Option<Lost> {
    if now.server != since.server {
        let why = format!(
            "{} answers, and before it was {}; each counts its changes for itself",
            now.server, since.server
        );
        let doubt = Some(Doubt::AnotherServer);
        return Some(Lost { why, doubt });
    }
    let (now, since) = (parsed(&now.mark), parsed(&since.mark));
    let is_same_search = |(now, since): (&Cookie<'_>, &Cookie<'_>)| now.search == since.search;
    if now.len() != since.len() || !now.iter().zip(&since).all(is_same_search) {
        return Some(Lost::harmless(
            "account or search bases are not those of before",
        ));
    }
    let (now, since) = now
        .iter()
        .zip(&since)
        .map(|(now, since)| (now.change, since.change))
        .find(|(now, since)| now < since)?;
    Some(Lost {
        why: format!(
            "the server's change log is at number {now}, and was at {since} at the last run: it was restored from a \
             backup, or its change log was begun anew"
        ),
        doubt: Some(Doubt::Restored),
    })
}

/// The cookies of a position, as far as they have the form that is known.
fn parsed(mark: &Mark) -> Vec<Cookie<'_>> {
    let Mark::ChangeLog(cookies) = mark else {
        return Vec::new();
    };
    cookies
        .iter()
        .filter_map(|cookie| Cookie::parse(cookie))
        .collect()
}

/// Whether changes since these cookies are no longer in the log (`nsslapd-changelogmaxage`).
async fn trimmed(session: &mut Session, cookies: &[Vec<u8>]) -> Result<Option<Lost>, Error> {
    let root = session.root(&[FIRST_CHANGE]).await?;
    let first: Option<u64> = root.first().and_then(|(_, number)| number.parse().ok());
    let oldest = cookies.iter().filter_map(|cookie| Cookie::parse(cookie));
    let oldest = oldest.map(|cookie| cookie.change).min();
    let (Some(first), Some(oldest)) = (first, oldest) else {
        let why = format!("the server does not show {FIRST_CHANGE} in its root DSE");
        return Ok(Some(Lost::harmless(why)));
    };
    Ok((first > oldest + 1).then(|| {
        Lost::harmless(format!(
            "the server's change log begins at number {first}, and the last run ended at {oldest}"
        ))
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SEARCH: &str = "cn=reader,dc=x:ou=a#b,dc=x:(objectClass=*)";

    fn at(server: &str, changes: &[u64]) -> Position {
        let cookie = |change: &u64| format!("{server}#{SEARCH}#{change}").into_bytes();
        Position {
            server: format!("ldap:389 ({server})"),
            mark: Mark::ChangeLog(changes.iter().map(cookie).collect()),
        }
    }

    #[test]
    fn a_cookie_says_server_search_and_change() {
        let text = format!("a.example.org:389#{SEARCH}#2998");
        let cookie = Cookie::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (cookie.server, cookie.search, cookie.change),
            ("a.example.org:389", SEARCH, 2998)
        );
        assert_eq!(
            cookie.earlier(3000),
            format!("a.example.org:389#{SEARCH}#0").into_bytes()
        );
        for other in ["a#b", "", "a#b#", "a#b#x"] {
            assert_eq!(Cookie::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_position_holds_on_its_server_and_not_in_the_past() {
        let since = at("a:389", &[7, 9]);
        assert_eq!(lost(&at("a:389", &[9, 9]), &since), None);
        let doubt = |now: Position| lost(&now, &since).unwrap().doubt;
        assert_eq!(doubt(at("b:389", &[9, 9])), Some(Doubt::AnotherServer));
        assert_eq!(doubt(at("a:389", &[8, 8])), Some(Doubt::Restored));
        assert_eq!(doubt(at("a:389", &[9])), None);
    }
}
