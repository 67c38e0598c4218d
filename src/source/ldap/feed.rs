//! Change feeds: which rungs of the ladder a server offers, up to where one was read, and what changed since.

mod dirsync;
pub(super) mod domain;
mod ds389;
pub(super) mod syncrepl;
mod timestamps;
mod usn;

use std::sync::Arc;

use crate::fault::Fault;
use crate::identity::dn::Dn;
use crate::identity::feed::{Changes, Hint, Ladder, Lost, Mark, Position, Rung, Step};
use crate::source::ldap::answer::Answer;
use crate::source::ldap::ber::Malformed;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::frame::Message;
use crate::source::ldap::paged::{self, Met, Paged};
use crate::source::ldap::request;
use crate::source::ldap::scope::{Scope, Sought};
use crate::source::ldap::session::Session;
use crate::source::ldap::words;
use crate::source::{Error, NamingGroup, Stage};

/// A container of Active Directory that holds settings of machines, and is changed often.
const POLICY: &str = "groupPolicyContainer";
/// More changes than are worth reading one by one.
const HINTS_MAX: usize = 50_000;
/// Entries whose groups one search asks for.
const NAMES_PER_SEARCH: usize = 50;
/// The attribute that tells an entry's kind (RFC 4512 §2.4).
const OBJECT_CLASS: &str = "objectClass";
/// Classes of entries that have others below them, in lower case.
const CONTAINERS: [&str; 9] = [
    "organizationalunit",
    "organization",
    "container",
    "builtindomain",
    "domain",
    "domaindns",
    "dcobject",
    "country",
    "locality",
];

/// The rungs, best first.
pub(super) async fn ladder(session: &mut Session) -> Result<Ladder, Error> {
    let mut steps = match session.active_directory {
        true => domain::steps(session).await?,
        false => vec![
            content_sync(session).await?,
            Step {
                rung: Rung::ModifyTimestamp,
                obstacle: None,
                blind: Some("it does not tell who left, only a full scan does".to_owned()),
            },
        ],
    };
    steps.push(Step {
        rung: Rung::FullScan,
        obstacle: None,
        blind: None,
    });
    Ok(Ladder(steps))
}

/// Content synchronization, which servers differ in.
async fn content_sync(session: &mut Session) -> Result<Step, Error> {
    let root = session.root(&["supportedControl"]).await?;
    let is_offered = root.iter().any(|(_, oid)| oid == syncrepl::REQUEST);
    let (obstacle, blind) = match (is_offered, is_ds389(session).await?) {
        (false, _) => (Some("the server does not offer it".to_owned()), None),
        (true, false) => (syncrepl::obstacle(session).await?, None),
        (true, true) => {
            let blind = Some(ds389::BLIND.to_owned());
            (ds389::obstacle(session).await?, blind)
        }
    };
    Ok(Step {
        rung: Rung::Syncrepl,
        obstacle,
        blind,
    })
}

/// Whether the server is 389 Directory Server, or one that was made of it.
async fn is_ds389(session: &mut Session) -> Result<bool, Error> {
    let root = session.root(&["vendorName"]).await?;
    Ok(root
        .iter()
        .any(|(_, vendor)| vendor.contains(ds389::VENDOR)))
}

/// The position of now: what changes later is told by [`changes`].
pub(super) async fn position(session: &mut Session, rung: Rung) -> Result<Position, Error> {
    match rung {
        Rung::Syncrepl => match is_ds389(session).await? {
            true => ds389::position(session).await,
            false => syncrepl::position(session).await,
        },
        Rung::Dirsync => dirsync::position(session).await,
        Rung::UsnChanged => usn::position(session).await,
        Rung::ModifyTimestamp => timestamps::position(session).await,
        Rung::FullScan => {
            let message = format!("{}: a full scan has no position", session.server);
            Err(Error::new(Stage::Reading, Fault::Defect, message))
        }
    }
}

/// What changed since a position.
pub(super) async fn changes(session: &mut Session, since: &Position) -> Result<Changes, Error> {
    session.check_server()?; // the server may be the same, on another port
    match &since.mark {
        Mark::Syncrepl(cookies) => syncrepl::changes(session, since, cookies).await,
        Mark::ChangeLog(cookies) => ds389::changes(session, since, cookies).await,
        Mark::Dirsync { cookie, usn } => dirsync::changes(session, since, cookie, *usn).await,
        Mark::UsnChanged(usn) => usn::changes(session, since, *usn).await,
        Mark::ModifyTimestamp { time, containers } => {
            timestamps::changes(session, since, time, containers).await
        }
    }
}

/// The groups in scope that name one of these entries as a member.
pub(super) async fn groups_naming(
    session: &mut Session,
    dns: &[String],
) -> Result<Vec<NamingGroup>, Error> {
    let mut groups = Vec::new();
    let scopes = session.scopes();
    let Some(scope) = scopes.iter().find(|scope| scope.sought == Sought::Groups) else {
        return Ok(groups);
    };
    for dns in dns.chunks(NAMES_PER_SEARCH) {
        let names: Vec<(&str, &[u8])> = scope
            .named_by_dn()
            .flat_map(|attribute| dns.iter().map(move |dn| (attribute, dn.as_bytes())))
            .collect();
        let paged = Paged {
            base: &scope.base,
            filter: &request::with_any(&scope.filter, &names),
            attributes: &[&scope.anchor_attribute],
            controls: scope.controls(),
        };
        each(session, &paged, |message| {
            let [anchors] = values(message, [&scope.anchor_attribute])?;
            let anchor = anchors.first();
            groups.push(NamingGroup {
                anchor: anchor.and_then(|value| scope.anchor_form.decode(value)),
                dn: String::from_utf8_lossy(Entry::decode(message)?.dn).into_owned(),
            });
            Ok(())
        })
        .await?;
    }
    Ok(groups)
}

/// The server that answers, as positions name it.
fn address(session: &Session) -> String {
    session.answering.address.to_string()
}

/// Why a position of another address does not hold. What that means for entries which are missing is judged by the server.
pub(super) fn elsewhere(session: &Session, since: &Position) -> Option<Lost> {
    let now = address(session);
    let before = since.server.as_str();
    let before = before.split(' ').next().unwrap_or(before); // what the server calls itself comes after it
    (now != before).then(|| Lost::harmless(format!("{now} answers, and before it was {before}")))
}

/// Hints that are gathered.
#[derive(Default)]
pub(super) struct Hints(Vec<Hint>);

impl Hints {
    /// Adds one; passes over those that are more than are worth it.
    pub(super) fn add(&mut self, hint: Hint) {
        if self.0.len() <= HINTS_MAX {
            self.0.push(hint);
        }
    }

    /// Each hint once, with the position that follows; lost when there were too many.
    fn ended(mut self, next: Position) -> Changes {
        if self.0.len() > HINTS_MAX {
            let why = format!("more than {HINTS_MAX} entries changed");
            return Changes::Lost(Lost::harmless(why));
        }
        Changes::Hints(self.take(), next)
    }

    /// Each hint once.
    pub(super) fn take(&mut self) -> Vec<Hint> {
        let mut hints = std::mem::take(&mut self.0);
        hints.sort_unstable();
        hints.dedup();
        hints
    }
}

/// The subtrees that are in scope, none within another.
pub(super) fn subtrees(session: &Session) -> Vec<String> {
    let mut subtrees: Vec<(Dn, String)> = Vec::new();
    for scope in session.scopes() {
        let Ok(dn) = scope.base.parse::<Dn>() else {
            continue; // checked when the search was prepared
        };
        if subtrees.iter().any(|(above, _)| dn.is_within(above)) {
            continue;
        }
        subtrees.retain(|(below, _)| !below.is_within(&dn));
        subtrees.push((dn, scope.base.clone()));
    }
    subtrees.into_iter().map(|(_, base)| base).collect()
}

/// The nearest naming context that holds a subtree.
fn nearest<'a>(base: &str, contexts: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let base: Dn = base.parse().ok()?;
    contexts
        .filter(|context| {
            let context = context.parse::<Dn>();
            context.is_ok_and(|context| base.is_within(&context))
        })
        .max_by_key(|context| context.len())
}

/// Whether the anchor is the attribute by which a feed names entries; otherwise what is in the way.
fn anchored_by(session: &Session, attribute: &str) -> Option<String> {
    let scopes = session.scopes();
    let anchor = &scopes.first()?.anchor_attribute;
    (!anchor.eq_ignore_ascii_case(attribute))
        .then(|| format!("it names entries by {attribute}, and the anchor is {anchor}"))
}

/// Whether an entry may have others below it, people and groups among them.
fn is_container(classes: &[&[u8]]) -> bool {
    let is_policy = |class: &&[u8]| class.eq_ignore_ascii_case(POLICY.as_bytes());
    !classes.iter().any(is_policy)
        && classes.iter().any(|class| {
            CONTAINERS
                .iter()
                .any(|container| class.eq_ignore_ascii_case(container.as_bytes()))
        })
}

/// The values of some attributes of an entry, in the order in which they are named.
fn values<'a, const N: usize>(
    message: &'a Message,
    names: [&str; N],
) -> Result<[Vec<&'a [u8]>; N], Malformed> {
    let mut found: [Vec<&[u8]>; N] = std::array::from_fn(|_| Vec::new());
    let mut entry = Entry::decode(message)?;
    while let Some(attribute) = entry.next()? {
        let name = attribute.description.name;
        let at = names
            .iter()
            .position(|wanted| wanted.eq_ignore_ascii_case(name));
        if let Some(at) = at {
            attribute.collect_into(&mut found[at])?;
        }
    }
    Ok(found)
}

/// Runs a search of the feed to its end; each entry goes to `take`. What lies elsewhere does not change here.
async fn each(
    session: &mut Session,
    paged: &Paged<'_>,
    mut take: impl FnMut(&Message) -> Result<(), Malformed>,
) -> Result<(), Error> {
    let met = |met: Met<'_>| match met {
        Met::Entry(message) => take(message),
        Met::Reference(_) => Ok(()),
    };
    let ended = paged::each(session, paged, met).await;
    let doing = format!("the changes below `{}`", paged.base);
    ended.map_err(|stop| stop.into_error(&session.server, &doing))
}

/// An answer by which a feed is refused, as an error.
fn refused(session: &Session, answer: &Answer) -> Error {
    words::refused(&session.server, "the change feed", answer)
}

/// The first scope, whose anchor form is that of all.
fn first_scope(session: &Session) -> Option<Arc<Scope>> {
    session.scopes().into_iter().next()
}
