//! One entry by what people call it: its DN, its anchor, or its name.

use crate::fault::Fault;
use crate::identity::Anchor;
use crate::identity::dn::Dn;
use crate::identity::observation::{Observation, Unreadable};
use crate::source::ldap::anchor::AnchorForm;
use crate::source::ldap::frame::Message;
use crate::source::ldap::look;
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::scope::{Scope, Sought, readable_dn};
use crate::source::ldap::session::{NO_SUCH_OBJECT, Session};
use crate::source::ldap::wire::WireError;
use crate::source::ldap::words;
use crate::source::{Error, Names, Stage};

/// The result code of a text that is no name to the server (RFC 4511 §4.1.9).
const INVALID_DN: u32 = 34;

/// Looks for the entry that is called so: by DN, then by anchor, then by name; in the order of the searches.
pub(super) async fn find(
    session: &mut Session,
    selector: &str,
    names: &Names,
) -> Result<Option<Observation>, Error> {
    session.check_server()?;
    session.check_bases().await?;
    for way in [Way::Dn, Way::Anchor, Way::Name] {
        for scope in session.scopes() {
            let Some(search) = way.search(&scope, selector, names) else {
                continue;
            };
            let found = one(session, &scope, search, selector).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// What a text may be.
#[derive(Clone, Copy)]
enum Way {
    Dn,
    Anchor,
    Name,
}

impl Way {
    /// The search that finds the entry if the text is this; `None` when it cannot be.
    fn search<'a>(self, scope: &'a Scope, text: &'a str, names: &Names) -> Option<Search<'a>> {
        let below = |attribute: &str, value: &[u8]| Search {
            base: &scope.base,
            reach: Reach::Subtree,
            filter: request::narrowed(&scope.filter, attribute, value),
            entries_max: 0,
            attributes: &[],
            names_only: false,
        };
        match self {
            Self::Dn => {
                let dn: Dn = text.parse().ok()?;
                let base: Dn = scope.base.parse().ok()?;
                let here = !dn.normalized().is_empty() && dn.is_within(&base);
                here.then(|| Search {
                    base: text,
                    reach: Reach::Base,
                    filter: scope.filter.clone(),
                    entries_max: 0,
                    attributes: &[],
                    names_only: false,
                })
            }
            Self::Anchor => {
                let anchor = match scope.anchor_form {
                    AnchorForm::Any => Anchor::Text(text.to_owned()),
                    _ => Anchor::Uuid(uuid::Uuid::try_parse(text).ok()?),
                };
                let value = scope.anchor_form.encode(&anchor)?;
                Some(below(&scope.anchor_attribute, &value))
            }
            Self::Name => {
                let attribute = match scope.sought {
                    Sought::Users => names.user.as_deref(),
                    Sought::Groups => names.group.as_deref(),
                    Sought::Units => names.unit.as_deref(),
                };
                Some(below(attribute?, text.as_bytes()))
            }
        }
    }
}

/// The one entry that a search finds, with everything that a read would ask of it.
async fn one(
    session: &mut Session,
    scope: &Scope,
    search: Search<'_>,
    selector: &str,
) -> Result<Option<Observation>, Error> {
    let server = session.server.clone();
    let doing = format!(
        "the search for the {} `{}`",
        scope.sought,
        selector.escape_debug()
    );
    let broken = |error: WireError| words::broken(&server, &doing, &error);
    let attributes: Vec<&str> = scope.wanted.iter().map(String::as_str).collect();
    let search = Search {
        attributes: &attributes,
        ..search
    };
    let found = session.wire.find(search, scope.controls()).await;
    let mut found = found.map_err(broken)?;
    if found.entries.len() > 1 {
        let message = format!(
            "{server}: {doing}: more than one {} is called so; name the one that is meant by its DN or its anchor",
            scope.sought
        );
        return Err(Error::new(Stage::Reading, Fault::Denied, message));
    }
    let Some(entry) = found.entries.pop() else {
        return match found.answer.code {
            0 | NO_SUCH_OBJECT | INVALID_DN => Ok(None),
            _ => Err(words::refused(&server, &doing, &found.answer)),
        };
    };
    observed(session, scope, entry)
        .await
        .map(Some)
        .map_err(broken)
}

/// What a read would state of an entry.
pub(super) async fn observed(
    session: &mut Session,
    scope: &Scope,
    entry: Message,
) -> Result<Observation, WireError> {
    let first = [entry.clone()];
    let parts = scope.parts(&first)?;
    let anchor = scope.anchor(&parts);
    let unreadable = |problem: String| {
        Observation::Unreadable(Unreadable {
            kind: scope.kind,
            anchor: anchor.clone().ok(),
            dn: parts.dn_for_people(),
            problem,
        })
    };
    let messages = match look::whole(session, scope, entry).await? {
        Ok(messages) => messages,
        Err(problem) => return Ok(unreadable(problem)),
    };
    let mut whole = scope.parts(&messages)?;
    if scope.anchor(&whole) != anchor {
        let problem = "another entry took its name while it was read".to_owned();
        return Ok(unreadable(problem));
    }
    let identity = readable_dn(whole.dn).and_then(|dn| {
        let digest = scope.digest(dn, &mut whole);
        let identity = scope.identity(&whole, anchor.clone()?)?;
        Ok(Observation::Present(Box::new(identity), digest))
    });
    Ok(identity.unwrap_or_else(unreadable))
}
