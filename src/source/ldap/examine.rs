//! The examination of a directory: everything in scope is counted, and server and account are asked what they can do.

use lber::structure::StructureTag;

use crate::fault::Fault;
use crate::identity::Kind;
use crate::identity::feed::Ladder;
use crate::source::examination::{Count, Examination, Excess, Questions};
use crate::source::ldap::answer::Answer;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::paged::{self, Met, Paged};
use crate::source::ldap::reader::Stop;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::scope::{Scope, Sought};
use crate::source::ldap::session::Session;
use crate::source::ldap::wire::{Reply, WireError};
use crate::source::ldap::words;
use crate::source::ldap::{feed, find};
use crate::source::{Error, Names, Stage};

/// Result codes by which a server refuses a filter, once the base was found: protocolError, inappropriateMatching,
/// invalidAttributeSyntax (RFC 4511 §4.1.9).
const FILTER_REFUSED: [u32; 3] = [2, 18, 21];
/// Result codes that may mean the filter or anything else: operationsError, unwillingToPerform, other. Samba answers the first
/// one for comparisons that it has not implemented.
const PERHAPS_FILTER_REFUSED: [u32; 3] = [1, 53, 80];
/// The most references of a search that are looked at.
const REFERENCES_MAX: usize = 100;
/// The attribute that holds passwords (RFC 4519 §2.41).
const PASSWORD: &str = "userPassword";
/// The attribute in which Active Directory names what the caller may write.
const WRITABLE: &str = "allowedAttributesEffective";

/// Examines the directory.
pub(super) async fn examine(
    session: &mut Session,
    questions: &Questions,
) -> Result<Examination, Error> {
    session.check_server()?;
    session.check_bases().await?;
    let scopes = session.scopes();
    let mut users = Counted::default();
    let mut groups: Option<Count> = None;
    for scope in &scopes {
        let counted = count(session, scope, &scope.filter).await?;
        if counted.count.entries == 0 && !session.base_is_readable(scope.sought) {
            return Err(unreadable_base(session, scope));
        }
        match scope.kind {
            Kind::User => users = counted,
            Kind::Group => groups.get_or_insert_default().add(counted.count),
        }
    }
    // Organizational units are searched where users are.
    let hidden_bases = scopes
        .iter()
        .filter(|scope| scope.sought != Sought::Units && !session.base_is_readable(scope.sought))
        .map(|scope| scope.base.clone())
        .collect();
    let mut examination = Examination {
        users: users.count,
        groups,
        sample: None,
        computers: None,
        lacking: Vec::new(),
        hidden_bases,
        plain: session.plain,
        excess: Vec::new(),
        server: session.answering.clone(),
        ladder: Ladder::default(),
    };
    if let Some(scope) = session.scopes_of(Kind::User).first() {
        about_users(session, scope, questions, &mut examination).await?;
        if let Some(dn) = users.first {
            examination.sample = find::find(session, &dn, &Names::default()).await?;
            examination.excess = excess(session, scope, &dn).await?;
        }
        // Last, because a feed that breaks off breaks the connection.
        let ladder = feed::ladder(session).await;
        examination.ladder = ladder.unwrap_or_else(|error| Ladder::broken(error.message));
    }
    Ok(examination)
}

/// A base that is there, shows neither itself nor anything below.
fn unreadable_base(session: &Session, scope: &Scope) -> Error {
    let message = format!(
        "{}: the search base `{}` for {}s is there, but the account may read neither it nor anything below it that matches; \
         give the bind account the right to read both",
        session.server, scope.base, scope.sought
    );
    Error::new(Stage::Permission, Fault::Denied, message)
}

/// Counts the computers among the users, and the users that lack what they must have.
async fn about_users(
    session: &mut Session,
    scope: &Scope,
    questions: &Questions,
    examination: &mut Examination,
) -> Result<(), Error> {
    if let Some(text) = &questions.computers_filter {
        let filter = request::filter(text).map_err(|problem| {
            let message = format!("{}: the filter `{text}`: {problem}", session.server);
            Error::new(Stage::Filter, Fault::Denied, message)
        })?;
        examination.computers = Some(count(session, scope, &filter).await?.count);
    }
    if examination.users.cut.is_some() {
        return Ok(()); // two lower bounds have no difference that means anything
    }
    for attribute in &questions.required {
        // Those that have it are counted, because of an attribute that the server does not know nobody lacks it either.
        let having = request::having(&scope.filter, attribute);
        let having = count(session, scope, &having).await?.count;
        let lacking = examination.users.entries.saturating_sub(having.entries);
        if having.cut.is_none() && lacking > 0 {
            examination.lacking.push((attribute.clone(), lacking));
        }
    }
    Ok(())
}

/// What a count found.
#[derive(Default)]
struct Counted {
    count: Count,
    /// The name of the first entry, where it is text.
    first: Option<String>,
}

/// Counts the entries of a search, page by page, without their attributes.
async fn count(
    session: &mut Session,
    scope: &Scope,
    filter: &StructureTag,
) -> Result<Counted, Error> {
    let mut counted = Counted::default();
    let Err(stop) = pages(session, scope, filter, &mut counted).await else {
        return Ok(counted);
    };
    if counted.count.entries > 0 && !matches!(stop, Stop::Wire(_)) {
        counted.count.cut.get_or_insert(stop.words());
        return Ok(counted);
    }
    let doing = format!("the search for {}s below `{}`", scope.sought, scope.base);
    Err(match stop {
        Stop::Answer(answer)
            if FILTER_REFUSED.contains(&answer.code)
                || PERHAPS_FILTER_REFUSED.contains(&answer.code)
                    && searches_otherwise(session, scope).await =>
        {
            refused_filter(&session.server, &doing, &answer)
        }
        stop => stop.into_error(&session.server, &doing),
    })
}

/// Whether the server carries out the same search with a filter that every entry matches: one page of one entry tells.
async fn searches_otherwise(session: &mut Session, scope: &Scope) -> bool {
    let search = Search {
        base: &scope.base,
        reach: Reach::Subtree,
        filter: request::any_entry(),
        entries_max: 0,
        attributes: &[request::NO_ATTRIBUTES],
        names_only: true,
    };
    let started = session.wire.page(search, scope.controls(), 1, &[]).await;
    if started.is_err() {
        return false;
    }
    loop {
        match session.wire.reply().await {
            Ok(Reply::Done(answer, _)) => return answer.is_success(),
            Ok(Reply::Entry(_) | Reply::Reference(_)) => {}
            Err(_) => return false,
        }
    }
}

fn refused_filter(server: &str, doing: &str, answer: &Answer) -> Error {
    let message = format!(
        "{server}: {doing}: {}; the server does not take the filter: check its attributes and how they are compared",
        answer.words()
    );
    Error::new(Stage::Filter, Fault::Denied, message)
}

async fn pages(
    session: &mut Session,
    scope: &Scope,
    filter: &StructureTag,
    counted: &mut Counted,
) -> Result<(), Stop> {
    let paged = Paged {
        base: &scope.base,
        filter,
        attributes: &[request::NO_ATTRIBUTES],
        controls: scope.controls(),
    };
    let mut references = Vec::new();
    let ended = paged::each(session, &paged, |met| {
        match met {
            Met::Entry(message) => {
                counted.count.entries += 1;
                if counted.first.is_none() {
                    let entry = Entry::decode(message)?;
                    counted.first = std::str::from_utf8(entry.dn).ok().map(str::to_owned);
                }
            }
            Met::Reference(uris) if references.len() < REFERENCES_MAX => references.push(uris),
            Met::Reference(_) => {}
        }
        Ok(())
    });
    let ended = ended.await;
    for uris in references
        .iter()
        .filter(|uris| !session.leads_elsewhere(uris))
    {
        let cut = format!("a part is held by another server ({})", uris.join(" "));
        counted.count.cut.get_or_insert(cut);
    }
    ended
}

/// What the account may do that reading does not need, as far as a server shows it.
async fn excess(session: &mut Session, scope: &Scope, dn: &str) -> Result<Vec<Excess>, Error> {
    let mut excess = Vec::new();
    let passwords = Search {
        base: &scope.base,
        reach: Reach::Subtree,
        filter: request::having(&scope.filter, PASSWORD),
        entries_max: 0,
        attributes: &[PASSWORD],
        names_only: true, // that there is one is all that is asked
    };
    if shows(session, scope, passwords, PASSWORD).await? {
        excess.push(Excess::ReadsPasswords);
    }
    if scope.active_directory {
        let writable = Search {
            base: dn,
            reach: Reach::Base,
            filter: request::any_entry(),
            entries_max: 0,
            attributes: &[WRITABLE],
            names_only: true,
        };
        if shows(session, scope, writable, WRITABLE).await? {
            excess.push(Excess::WritesUsers);
        }
    }
    Ok(excess)
}

/// Whether an attribute of any of the first entries that a search finds is shown.
async fn shows(
    session: &mut Session,
    scope: &Scope,
    search: Search<'_>,
    attribute: &str,
) -> Result<bool, Error> {
    let doing = format!("the question for `{attribute}`");
    let broken = |error: WireError| words::broken(&session.server, &doing, &error);
    let found = session.wire.find(search, scope.controls()).await;
    for message in found.map_err(broken)?.entries {
        let mut entry = Entry::decode(&message).map_err(|error| broken(error.into()))?;
        while let Some(shown) = entry.next().map_err(|error| broken(error.into()))? {
            if shown.description.name.eq_ignore_ascii_case(attribute) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
