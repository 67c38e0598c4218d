//! The tokens in force, in memory as in the store: found by their digest, and changed in both places or in neither.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderValue};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::access::{Grant, Token, TokenId, digest_of, is_well_formed};
use crate::admin::auth::failures::Failures;
use crate::admin::auth::sessions::{Cookie, Opened, Sessions, is_background};
use crate::admin::auth::{Administrator, Bearer, Refusal};
use crate::admin::problem::Problem;
use crate::admin::tell;
use crate::admin::tokens::issue;
use crate::audit::{Actor, Deed, Event};
use crate::secret::Secret;
use crate::store::{self, Store};

/// How often the use of a token is told in the audit log.
const TOLD_EVERY: TimeDelta = TimeDelta::hours(1);
/// How often the time of its last use is written down.
const WRITTEN_EVERY: TimeDelta = TimeDelta::minutes(5);

/// What tokens are found by. It is no secret; the rest of the digest is compared in constant time.
type Start = [u8; 8];

/// The tokens in force.
pub(in crate::admin) struct Keyring {
    held: Mutex<HashMap<Start, Vec<Held>>>,
    /// Held while a token is changed in the store and in memory, so that no two changes overtake each other.
    changing: tokio::sync::Mutex<()>,
    store: Arc<dyn Store>,
    failures: Failures,
    sessions: Sessions,
    cookie: Cookie,
}

/// A token in memory.
struct Held {
    token: Token,
    /// `false` for the one of the configuration, which the store does not know.
    is_stored: bool,
    /// When its use was last told, since the start.
    told_at: Option<DateTime<Utc>>,
    /// When the time of its last use was last written down, since the start.
    written_at: Option<DateTime<Utc>>,
}

/// A token that was presented and is good.
pub(super) struct Found {
    bearer: Bearer,
    id: TokenId,
    /// What the audit log is to say of it.
    event: Option<Event>,
    /// Whether the time of its use is to be written down.
    is_due: bool,
}

/// A token that was given a successor.
pub(in crate::admin) struct Rotated {
    /// The successor.
    pub(in crate::admin) new: Token,
    /// Its text.
    pub(in crate::admin) text: Secret,
    /// The one that it follows, with its new end.
    pub(in crate::admin) old: Token,
}

fn start_of(digest: &[u8; 32]) -> Start {
    let mut start = Start::default();
    start.copy_from_slice(&digest[..size_of::<Start>()]);
    start
}

/// Whether so much time has passed; times before the last one are those of a clock that was set.
fn is_over(last: Option<DateTime<Utc>>, span: TimeDelta, now: DateTime<Utc>) -> bool {
    last.is_none_or(|last| now - last >= span || now < last)
}

impl Held {
    fn new(token: Token, is_stored: bool) -> Self {
        Self {
            token,
            is_stored,
            told_at: None,
            written_at: None,
        }
    }

    fn actor(&self) -> Actor {
        Actor::Token {
            id: self.is_stored.then_some(self.token.id),
            name: self.token.name.clone(),
        }
    }

    /// Notes that it is used now.
    fn used(&mut self, now: DateTime<Utc>) -> Found {
        self.token.last_used_at = Some(now);
        let is_told = is_over(self.told_at, TOLD_EVERY, now);
        let is_due = is_told || is_over(self.written_at, WRITTEN_EVERY, now);
        if is_told {
            self.told_at = Some(now);
        }
        if is_due {
            self.written_at = Some(now);
        }
        let actor = self.actor();
        let event = is_told.then(|| Event {
            subject: actor.to_string(),
            ..Event::of_token(now, actor.clone(), Deed::TokenUse, &self.token, Vec::new())
        });
        Found {
            bearer: Bearer {
                actor,
                tenants: self.token.tenants.clone(),
                permissions: self.token.permissions.clone(),
                issued_at: self.is_stored.then_some(self.token.created_at),
                digest: self.token.digest,
                session: None,
            },
            id: self.token.id,
            event,
            is_due: is_due && self.is_stored,
        }
    }
}

impl Keyring {
    /// Reads the store's tokens; the one of the configuration has every permission for every tenant.
    pub(in crate::admin) async fn open(
        store: Arc<dyn Store>,
        configured: Option<&Secret>,
        cookie: Cookie,
    ) -> Result<Self, store::Error> {
        let mut held: HashMap<Start, Vec<Held>> = HashMap::new();
        let configured = configured.map(|text| {
            let (token, _) =
                Grant::everything("server.token").issue(TokenId(Uuid::nil()), &[0; 32], Utc::now());
            let digest = digest_of(text.expose());
            Held::new(Token { digest, ..token }, false)
        });
        let stored = store.tokens().await?.into_iter();
        for one in configured
            .into_iter()
            .chain(stored.map(|token| Held::new(token, true)))
        {
            held.entry(start_of(&one.token.digest))
                .or_default()
                .push(one);
        }
        Ok(Self {
            held: Mutex::new(held),
            changing: tokio::sync::Mutex::default(),
            store,
            failures: Failures::default(),
            sessions: Sessions::default(),
            cookie,
        })
    }

    pub(super) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// The token with this text, used now.
    pub(super) fn find(&self, text: &str, now: DateTime<Utc>) -> Result<Found, Refusal> {
        let found = self.find_digest(&digest_of(text), now);
        // The configured token may have any form, so the form says something only of those that nobody knows.
        found.map_err(|refusal| match refusal {
            Refusal::Unknown if !is_well_formed(text) => Refusal::Malformed,
            refusal => refusal,
        })
    }

    /// The token that was exchanged for the session of a request's cookie, used now; with it the session ends.
    pub(super) fn find_session(
        &self,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<Found, Refusal> {
        let cookie = self.cookie.of(headers)?.ok_or(Refusal::NoToken)?;
        let session = self.sessions.find(cookie, !is_background(headers), now);
        let session = session.ok_or(Refusal::NoToken)?;
        let found = self.find_digest(&session.token, now);
        let mut found = found.map_err(|_| Refusal::NoToken)?;
        found.bearer.session = Some(session.session);
        Ok(found)
    }

    fn find_digest(&self, digest: &[u8; 32], now: DateTime<Utc>) -> Result<Found, Refusal> {
        let mut held = self.held();
        let found = held
            .get_mut(&start_of(digest))
            .and_then(|same| same.iter_mut().find(|one| one.token.is(digest)));
        match found {
            Some(one) if one.token.has_expired(now) => Err(Refusal::Expired),
            Some(one) => Ok(one.used(now)),
            None => Err(Refusal::Unknown),
        }
    }

    /// Exchanges a token for a session, in place of the one that the request's cookie stands for; answers the header that sets
    /// the cookie.
    ///
    /// # Errors
    /// 500.
    pub(in crate::admin) async fn begin_session(
        &self,
        bearer: &Bearer,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<(Option<HeaderValue>, Opened), Problem> {
        let (cookie, opened) = self.sessions.begin(bearer.digest, now)?;
        self.end_of_cookie(headers);
        self.tell_session(bearer, Deed::SessionCreate, now).await;
        Ok((self.cookie.set(headers, Some(&cookie)), opened))
    }

    /// Ends the session of a request's cookie, if it has one; answers the header that takes the cookie back.
    pub(in crate::admin) async fn end_session(
        &self,
        bearer: &Bearer,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Option<HeaderValue> {
        if self.end_of_cookie(headers) {
            self.tell_session(bearer, Deed::SessionDelete, now).await;
        }
        self.cookie.set(headers, None)
    }

    fn end_of_cookie(&self, headers: &HeaderMap) -> bool {
        let cookie = self.cookie.of(headers).ok().flatten();
        cookie.is_some_and(|cookie| self.sessions.end(cookie))
    }

    async fn tell_session(&self, bearer: &Bearer, deed: Deed, at: DateTime<Utc>) {
        let actor = bearer.actor.clone();
        self.tell(Event {
            at,
            tenant: bearer.tenants.only_one().cloned(),
            deed,
            subject: actor.to_string(),
            actor,
            details: Vec::new(),
        })
        .await;
    }

    /// Tells that a token was used, where that is due; the request waits for it, but is not refused when it fails.
    pub(super) async fn used(&self, found: Found) -> Bearer {
        let Found {
            bearer,
            id,
            event,
            is_due,
        } = found;
        if is_due || event.is_some() {
            let told = self.write_use(id, event.into_iter().collect()).await;
            if let Err(error) = told {
                tracing::error!(error = %error, "the use of a token could not be written down");
            }
        }
        bearer
    }

    /// Writes an event into the audit log.
    pub(super) async fn tell(&self, event: Event) {
        tell(self.store.as_ref(), event).await;
    }

    /// The tokens that an administrator may see, oldest first: those whose tenants are all among its own.
    pub(in crate::admin) fn list(&self, administrator: &Administrator) -> Vec<Token> {
        let mut tokens: Vec<Token> = self
            .held()
            .values()
            .flatten()
            .filter(|one| one.is_stored && administrator.tenants.cover(&one.token.tenants))
            .map(|one| one.token.clone())
            .collect();
        tokens.sort_by_key(|token| token.id);
        tokens
    }

    /// One of them.
    ///
    /// # Errors
    /// 404 for one that does not exist, or that it may not see.
    pub(in crate::admin) fn get(
        &self,
        id: TokenId,
        administrator: &Administrator,
    ) -> Result<Token, Problem> {
        self.change(id, |one| one.token.clone())
            .filter(|token| administrator.tenants.cover(&token.tenants))
            .ok_or_else(Problem::not_found)
    }

    /// Issues a token.
    ///
    /// # Errors
    /// 403 for what the administrator has not itself; 500.
    pub(in crate::admin) async fn issue(
        &self,
        grant: Grant,
        administrator: Administrator,
        now: DateTime<Utc>,
    ) -> Result<(Token, Secret), Problem> {
        administrator.may_permit(&grant.permissions)?;
        if !administrator.tenants.cover(&grant.tenants) {
            return Err(Problem::wrong_tenant());
        }
        let _changing = self.changing.lock().await;
        let (token, text, event) = issue(grant, administrator.actor, now)?;
        self.store
            .save_tokens(vec![token.clone()], vec![event])
            .await?;
        self.put(token.clone());
        Ok((token, text))
    }

    /// Issues the successor of a token; the old one works until a time.
    ///
    /// # Errors
    /// 404, 403 for rights that the administrator has not itself, 409 for a token whose time is over; 500.
    pub(in crate::admin) async fn rotate(
        &self,
        id: TokenId,
        old_ends_at: DateTime<Utc>,
        administrator: Administrator,
        now: DateTime<Utc>,
    ) -> Result<Rotated, Problem> {
        let _changing = self.changing.lock().await;
        let mut old = self.get(id, &administrator)?;
        administrator.may_permit(&old.permissions)?;
        if old.has_expired(now) {
            return Err(Problem::token_expired());
        }
        let actor = administrator.actor;
        let (new, text, issued) = issue(old.succession(now), actor.clone(), now)?;
        let end = old
            .expires_at
            .map_or(old_ends_at, |end| end.min(old_ends_at));
        old.expires_at = Some(end);
        let details = vec![
            ("successor".to_owned(), new.id.to_string()),
            ("expiresAt".to_owned(), end.to_rfc3339()),
        ];
        let rotated = Event::of_token(now, actor, Deed::TokenRotate, &old, details);
        self.store
            .save_tokens(vec![old.clone(), new.clone()], vec![issued, rotated])
            .await?;
        self.change(id, |held| held.token.expires_at = Some(end));
        self.put(new.clone());
        Ok(Rotated { new, text, old })
    }

    /// Revokes a token: the next request with it is refused.
    ///
    /// # Errors
    /// 404; 500.
    pub(in crate::admin) async fn revoke(
        &self,
        id: TokenId,
        administrator: Administrator,
        now: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let _changing = self.changing.lock().await;
        let token = self.get(id, &administrator)?;
        let event = Event::of_token(
            now,
            administrator.actor,
            Deed::TokenRevoke,
            &token,
            Vec::new(),
        );
        self.store.remove_token(id, event).await?;
        let mut held = self.held();
        if let Some(same) = held.get_mut(&start_of(&token.digest)) {
            same.retain(|one| one.token.id != id);
        }
        held.retain(|_, same| !same.is_empty());
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Start, Vec<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, token: Token) {
        let mut held = self.held();
        let same = held.entry(start_of(&token.digest)).or_default();
        same.push(Held::new(token, true));
    }

    fn change<T>(&self, id: TokenId, change: impl FnOnce(&mut Held) -> T) -> Option<T> {
        let mut held = self.held();
        let mut stored = held.values_mut().flatten().filter(|one| one.is_stored);
        stored.find(|one| one.token.id == id).map(change)
    }

    /// Writes a use down; a token that was revoked meanwhile does not come back by it.
    async fn write_use(&self, id: TokenId, events: Vec<Event>) -> Result<(), store::Error> {
        let _changing = self.changing.lock().await;
        let token = self.change(id, |one| one.token.clone());
        match token {
            Some(token) => self.store.save_tokens(vec![token], events).await,
            None => self.store.append_audit(events).await,
        }
    }
}
