//! One look at one entry by its anchor: is it there, and in scope?

use crate::fault::Fault;
use crate::identity::RowKey;
use crate::identity::observation::Look;
use crate::source::ldap::frame::Message;
use crate::source::ldap::ranges::{self, Followed};
use crate::source::ldap::request::{self, Reach, Search};
use crate::source::ldap::scope::{Scope, readable_dn};
use crate::source::ldap::session::Session;
use crate::source::ldap::wire::WireError;
use crate::source::ldap::words;
use crate::source::{Error, Stage};

/// Looks at one entry. It is absent when no search for its kind has it in scope.
pub(super) async fn look(session: &mut Session, key: &RowKey) -> Result<Look, Error> {
    session.check_bases().await?;
    let scopes = session.scopes_of(key.kind);
    if scopes.is_empty() {
        let message = format!(
            "{}: a look at {key}: the profile has no search for it",
            session.server
        );
        return Err(Error::new(Stage::Reading, Fault::Defect, message));
    }
    let mut unproved = None;
    for scope in scopes {
        match look_in(session, &scope, key).await {
            Ok(Look::Absent) => {}
            Err(error) if error.fault() != Fault::Transient => {
                unproved.get_or_insert(error);
            }
            found => return found,
        }
    }
    unproved.map_or(Ok(Look::Absent), Err)
}

/// Looks at one entry in one search.
async fn look_in(session: &mut Session, scope: &Scope, key: &RowKey) -> Result<Look, Error> {
    let doing = format!("a look at {key}");
    let server = session.server.clone();
    let error =
        |stage, fault, what: &str| Error::new(stage, fault, format!("{server}: {doing}: {what}"));
    let broken = |broken: WireError| words::broken(&server, &doing, &broken);
    let anchor = scope.anchor_form.encode(&key.anchor).ok_or_else(|| {
        let what = format!("`{}` cannot have such a value", scope.anchor_attribute);
        error(Stage::Reading, Fault::Defect, &what)
    })?;
    let attributes: Vec<&str> = scope.wanted.iter().map(String::as_str).collect();
    let search = Search {
        base: &scope.base,
        reach: Reach::Subtree,
        filter: request::narrowed(&scope.filter, &scope.anchor_attribute, &anchor),
        entries_max: 0,
        attributes: &attributes,
        names_only: false,
    };
    let mut found = session
        .wire
        .find(search, scope.controls())
        .await
        .map_err(broken)?;
    if found.entries.len() > 1 {
        let what = format!("more than one entry has this `{}`", scope.anchor_attribute);
        return Err(error(Stage::Reading, Fault::Defect, &what));
    }
    if !found.answer.is_success() {
        return Err(words::refused(&server, &doing, &found.answer));
    }
    match found.entries.pop() {
        Some(entry) => present(session, scope, key, entry)
            .await
            .map_err(broken)?
            .map_err(|what| error(Stage::Reading, Fault::Rejected, &what)),
        None if !found
            .references
            .iter()
            .all(|uris| session.leads_elsewhere(uris)) =>
        {
            let what =
                "a part of the subtree is held by another server, so absence here proves nothing";
            Err(error(Stage::Reading, Fault::Denied, what))
        }
        None if !session.base_is_readable(scope.sought) => {
            let what = format!(
                "the search base `{}` itself may not be read, so absence proves nothing; give the bind account the \
                 right to read it",
                scope.base
            );
            Err(error(Stage::Permission, Fault::Denied, &what))
        }
        None => Ok(Look::Absent),
    }
}

/// Makes the entry that was found an identity; the inner error says why it cannot be one.
async fn present(
    session: &mut Session,
    scope: &Scope,
    key: &RowKey,
    entry: Message,
) -> Result<Result<Look, String>, WireError> {
    let messages = match whole(session, scope, entry).await? {
        Ok(messages) => messages,
        Err(why) => return Ok(Err(why)),
    };
    let mut parts = scope.parts(&messages)?;
    parts.sort_values();
    let identity = scope.anchor(&parts).and_then(|anchor| {
        if anchor == key.anchor {
            scope.identity(&parts, anchor)
        } else {
            Err("the server answered with another entry".to_owned())
        }
    });
    Ok(identity.map(|identity| Look::Present(Box::new(identity))))
}

/// An entry with all its values, those that came in parts too; the inner error says why it cannot be had.
pub(super) async fn whole(
    session: &mut Session,
    scope: &Scope,
    entry: Message,
) -> Result<Result<Vec<Message>, String>, WireError> {
    let messages = vec![entry];
    let parts = scope.parts(&messages)?;
    let is_whole = !parts.ranged && scope.primary_group_id(&parts).is_none();
    let dn = readable_dn(parts.dn).map(str::to_owned);
    drop(parts);
    if is_whole {
        return Ok(Ok(messages));
    }
    let dn = match dn {
        Ok(dn) => dn,
        Err(problem) => return Ok(Err(problem)),
    };
    let bytes_max = session.message_bytes_max;
    Ok(
        match ranges::follow(&mut session.wire, scope, &dn, bytes_max).await? {
            Followed::Whole(whole) => Ok(whole),
            Followed::Gap(why) => Err(why),
        },
    )
}
