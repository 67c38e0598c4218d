//! A search base that the server does not find: is it not there, or may the account not see it?
//!
//! Servers answer noSuchObject to both (RFC 4511 §4.1.9). What differs is the name that they match: of a base that is
//! not there, the nearest entry above it; of one that is hidden, often nothing. So a name that cannot exist is asked for
//! beside the base: where the server matches something for that one and nothing for the base, the base is there.

use ldap3::controls::RawControl;

use crate::fault::Fault;
use crate::identity::dn::{self, Dn};
use crate::source::ldap::answer::{Answer, printable};
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::scope::Scope;
use crate::source::ldap::session::{NAMING_CONTEXTS, NO_SUCH_OBJECT, Session};
use crate::source::ldap::words;
use crate::source::{Error, Stage};

/// The first part of a name that no directory has.
const NOBODY: &str = "cn=scim-relay asks whether names above are shown";
/// The longest way up that is gone.
const LEVELS_MAX: usize = 32;

/// What is true of a name that was not found.
pub(super) enum Verdict {
    /// It is not there; the words say what is.
    NotThere(String),
    /// This name, the base's own or one above it, is there and the account may not see it.
    Hidden(String),
    /// The server says that it holds this name, the base's own or one above it, and shows nothing there.
    Bare(String),
    /// The server does not let it be told.
    Untold,
}

/// The error for a search base that was not found. The inner one is the answer; the outer one says that nobody answered.
pub(super) async fn explained(
    session: &mut Session,
    scope: &Scope,
    doing: &str,
    answer: &Answer,
) -> Result<Error, Error> {
    let verdict = judge(session, &scope.base, &scope.controls(), doing, answer).await?;
    let (stage, what) = match verdict {
        Verdict::NotThere(what) if scope.active_directory => (
            Stage::BaseDn,
            format!("{what}; check the search base (Active Directory says the same of an entry that the account may not see)"),
        ),
        Verdict::NotThere(what) => (Stage::BaseDn, format!("{what}; check the search base")),
        Verdict::Hidden(name) if name == scope.base => (
            Stage::Permission,
            "it is there, but the account may not see it; give the bind account the right to read it and what is below it"
                .to_owned(),
        ),
        Verdict::Hidden(name) => (
            Stage::Permission,
            format!(
                "`{name}` above it is there, but the account may not see it, so what is below cannot be told; give the \
                 bind account the right to read the search base and what is below it"
            ),
        ),
        Verdict::Bare(context) => (
            Stage::Permission,
            format!(
                "the server holds `{context}` and shows nothing of it: the account may not see it, or it is empty; give \
                 the bind account the right to read the search base and what is below it"
            ),
        ),
        Verdict::Untold => (
            Stage::BaseDn,
            "it does not exist, or the account may not see it: the server's answer is the same for both; check the \
             search base, then the account's rights"
                .to_owned(),
        ),
    };
    let message = format!("{}: {doing}: {}; {what}", session.server, answer.words());
    Ok(Error::new(stage, Fault::Denied, message))
}

/// What is true of a name that was asked for and not found.
pub(super) async fn judge(
    session: &mut Session,
    name: &str,
    controls: &[RawControl],
    doing: &str,
    answer: &Answer,
) -> Result<Verdict, Error> {
    if !answer.matched.is_empty() {
        let matched = printable(answer.matched.as_bytes());
        let what = format!("it does not exist; the nearest entry above it is `{matched}`");
        return Ok(Verdict::NotThere(what));
    }
    // A server that does not show its root leaves the way up to judge by.
    let root = session.root(&[NAMING_CONTEXTS]).await.unwrap_or_default();
    let contexts: Vec<(Dn, &str)> = root
        .iter()
        .filter_map(|(_, text)| Some((text.parse().ok()?, text.as_str())))
        .collect();
    let base: Option<Dn> = name.parse().ok();
    let held = |base: &Dn| contexts.iter().any(|(context, _)| base.is_within(context));
    if !contexts.is_empty() && !base.as_ref().is_some_and(held) {
        let names: Vec<String> = contexts
            .iter()
            .map(|(_, text)| printable(text.as_bytes()))
            .collect();
        let what = format!(
            "it does not exist; the server holds `{}`",
            names.join("`, `")
        );
        return Ok(Verdict::NotThere(what));
    }
    let mut name = name;
    for _ in 0..LEVELS_MAX {
        let is_context = |dn: Dn| contexts.iter().any(|(context, _)| *context == dn);
        if name.parse().is_ok_and(is_context) {
            return Ok(Verdict::Bare(name.to_owned()));
        }
        let Some(above) = dn::parent(name) else {
            break;
        };
        if names_what_it_matches(session, controls, doing, above).await? {
            return Ok(Verdict::Hidden(name.to_owned()));
        }
        name = above;
    }
    Ok(Verdict::Untold)
}

/// Whether the server, asked for an entry that cannot exist right below `above`, names `above` as the nearest one.
async fn names_what_it_matches(
    session: &mut Session,
    controls: &[RawControl],
    doing: &str,
    above: &str,
) -> Result<bool, Error> {
    let nobody = format!("{NOBODY},{above}");
    let search = Search {
        base: &nobody,
        reach: Reach::Base,
        filter: request::any_entry(),
        entries_max: 0,
        attributes: &[request::NO_ATTRIBUTES],
        names_only: false,
    };
    let found = session.wire.find(search, controls.to_vec()).await;
    let answer = found
        .map_err(|error| words::broken(&session.server, doing, &error))?
        .answer;
    let matched: Option<Dn> = answer.matched.parse().ok();
    Ok(
        answer.code == NO_SUCH_OBJECT
            && !answer.matched.is_empty()
            && matched == above.parse().ok(),
    )
}
