//! Sessions of the console: a token exchanged for a cookie that no script can read, in memory only.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderValue, Method, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use subtle::ConstantTimeEq as _;

use crate::access::digest_of;
use crate::admin::auth::{Refusal, only};
use crate::secret::Secret;
use crate::vault;

/// What the cookie's name begins with.
const COOKIE: &str = "scim_relay_session";
/// Says that a page asks by itself, while nobody may be there.
const BACKGROUND: &str = "x-background";
/// The header in which the console's script repeats what only it could read (OWASP's synchronizer token).
const CSRF: &str = "x-csrf-token";
/// How long a session lasts at the most.
const LASTS: TimeDelta = TimeDelta::hours(12);
/// How long it lasts without a request.
const IDLE: TimeDelta = TimeDelta::hours(1);
/// Sessions of one token at the same time; its own that was used longest ago gives way.
const SESSIONS_OF_A_TOKEN: usize = 20;

/// SHA-256 of a text.
type Digest = [u8; 32];

/// The sessions that there are, by the digest of their cookie.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Digest, Session>>);

struct Session {
    /// The digest of the token that was exchanged.
    token: Digest,
    csrf: Secret,
    ends_at: DateTime<Utc>,
    used_at: DateTime<Utc>,
}

impl Session {
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.ends_at <= now || now - self.used_at >= IDLE
    }
}

/// A session as its owner is told of it.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Opened {
    /// What unsafe requests repeat in `X-CSRF-Token`.
    pub(in crate::admin) csrf: Secret,
    /// When it ends, whatever happens.
    pub(in crate::admin) ends_at: DateTime<Utc>,
}

/// What a request with a cookie comes from.
pub(super) struct Found {
    /// The digest of the token that was exchanged.
    pub(super) token: Digest,
    pub(super) session: Opened,
}

impl Sessions {
    /// Begins a session of a token; answers the cookie's value.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(super) fn begin(
        &self,
        token: Digest,
        now: DateTime<Utc>,
    ) -> Result<(Secret, Opened), vault::Error> {
        let random =
            || vault::random::<32>().map(|bytes| Secret::new(URL_SAFE_NO_PAD.encode(bytes)));
        let (cookie, csrf) = (random()?, random()?);
        let session = Session {
            token,
            csrf: csrf.clone(),
            ends_at: now + LASTS,
            used_at: now,
        };
        let opened = Opened {
            csrf,
            ends_at: session.ends_at,
        };
        let mut sessions = self.held();
        sessions.retain(|_, session| !session.is_over(now));
        let own = || sessions.iter().filter(|(_, other)| other.token == token);
        if own().count() >= SESSIONS_OF_A_TOKEN {
            let oldest = own().min_by_key(|(_, session)| session.used_at);
            let oldest = oldest.map(|(digest, _)| *digest);
            oldest.map(|digest| sessions.remove(&digest));
        }
        sessions.insert(digest_of(cookie.expose()), session);
        Ok((cookie, opened))
    }

    /// The session of a cookie; used now, if it is a person who asks.
    pub(super) fn find(&self, cookie: &str, is_used: bool, now: DateTime<Utc>) -> Option<Found> {
        let mut sessions = self.held();
        let session = sessions.get_mut(&digest_of(cookie))?;
        if session.is_over(now) {
            return None;
        }
        if is_used {
            session.used_at = session.used_at.max(now);
        }
        Some(Found {
            token: session.token,
            session: Opened {
                csrf: session.csrf.clone(),
                ends_at: session.ends_at,
            },
        })
    }

    /// Ends the session of a cookie; answers whether there was one.
    pub(super) fn end(&self, cookie: &str) -> bool {
        self.held().remove(&digest_of(cookie)).is_some()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Digest, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    /// Whether a request may have been made by another site's page: whatever can change something repeats the token that
    /// such a page cannot read.
    pub(super) fn is_forged(&self, method: &Method, headers: &HeaderMap) -> bool {
        if method.is_safe() {
            return false;
        }
        let repeated = only(headers, CSRF).ok().flatten().unwrap_or_default();
        !bool::from(repeated.as_bytes().ct_eq(self.csrf.expose().as_bytes()))
    }
}

/// How the cookie is called and kept. Browsers send a cookie to every port of a host, and a neighbour under the same domain may
/// set one: so TLS has a name that only this host can set (RFC 6265bis, `__Host-`), and plain HTTP the port in it.
#[derive(Clone, Copy, Debug)]
pub(in crate::admin) struct Cookie {
    /// Whether the relay itself speaks TLS.
    pub(in crate::admin) has_tls: bool,
    /// The port that it listens on.
    pub(in crate::admin) port: u16,
}

impl Cookie {
    /// Whether the browser speaks TLS, to the relay or to a proxy before it.
    fn is_protected(self, headers: &HeaderMap) -> bool {
        let scheme = headers.get("x-forwarded-proto");
        self.has_tls || scheme.is_some_and(|scheme| scheme == "https")
    }

    fn name(self, headers: &HeaderMap) -> String {
        match self.is_protected(headers) {
            true => format!("__Host-{COOKIE}"),
            false => format!("{COOKIE}_{}", self.port),
        }
    }

    /// The header that sets it, or ends it where there is no value. No script reads it, and no other site's page makes the
    /// browser send it.
    pub(in crate::admin) fn set(
        self,
        headers: &HeaderMap,
        value: Option<&Secret>,
    ) -> Option<HeaderValue> {
        let name = self.name(headers);
        let secure = if self.is_protected(headers) {
            "; Secure"
        } else {
            ""
        };
        let end = if value.is_none() { "; Max-Age=0" } else { "" };
        let value = value.map_or("", Secret::expose);
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{end}");
        let mut cookie = HeaderValue::from_str(&cookie).ok()?;
        cookie.set_sensitive(true);
        Some(cookie)
    }

    /// The value that a request brings; several of that name are none, because nobody knows which one is ours.
    pub(super) fn of(self, headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
        let ours = self.name(headers);
        let mut found = None;
        for line in headers.get_all(header::COOKIE) {
            let line = line.to_str().map_err(|_| Refusal::Malformed)?;
            for (name, value) in line.split(';').filter_map(|pair| pair.split_once('=')) {
                if name.trim() == ours && found.replace(value.trim()).is_some() {
                    return Err(Refusal::Malformed);
                }
            }
        }
        Ok(found)
    }
}

/// Whether a page asks by itself, so that an open window does not keep a session alive that nobody uses.
pub(super) fn is_background(headers: &HeaderMap) -> bool {
    headers.contains_key(BACKGROUND)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOKEN: Digest = [7; 32];

    fn noon() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn session_is_found_by_its_cookie_until_it_ends() {
        let sessions = Sessions::default();
        let (cookie, opened) = sessions.begin(TOKEN, noon()).unwrap();
        let found = sessions.find(cookie.expose(), true, noon()).unwrap();
        assert_eq!(found.token, TOKEN);
        assert_eq!(found.session.csrf.expose(), opened.csrf.expose());
        assert_ne!(cookie.expose(), opened.csrf.expose());
        assert!(sessions.find("another", true, noon()).is_none());
        assert!(sessions.end(cookie.expose()) && !sessions.end(cookie.expose()));
        assert!(sessions.find(cookie.expose(), true, noon()).is_none());
    }

    #[test]
    fn session_ends_when_it_is_idle_and_at_its_end_in_any_case() {
        let sessions = Sessions::default();
        let (cookie, _) = sessions.begin(TOKEN, noon()).unwrap();
        let at = |minutes| noon() + TimeDelta::minutes(minutes);
        for minutes in (50..12 * 60).step_by(50) {
            assert!(sessions.find(cookie.expose(), true, at(minutes)).is_some());
        }
        assert!(sessions.find(cookie.expose(), true, at(12 * 60)).is_none());

        let (idle, _) = sessions.begin(TOKEN, noon()).unwrap();
        assert!(sessions.find(idle.expose(), true, at(60)).is_none());
    }

    #[test]
    fn session_is_not_kept_alive_by_a_page_that_asks_by_itself() {
        let sessions = Sessions::default();
        let (cookie, _) = sessions.begin(TOKEN, noon()).unwrap();
        let at = |minutes| noon() + TimeDelta::minutes(minutes);
        for minutes in 1..60 {
            assert!(sessions.find(cookie.expose(), false, at(minutes)).is_some());
        }
        assert!(sessions.find(cookie.expose(), false, at(60)).is_none());
    }

    #[test]
    fn session_of_the_same_token_that_was_used_longest_ago_gives_way() {
        let sessions = Sessions::default();
        let (other, _) = sessions.begin([8; 32], noon()).unwrap();
        let (first, _) = sessions.begin(TOKEN, noon()).unwrap();
        let (second, _) = sessions.begin(TOKEN, noon()).unwrap();
        let later = noon() + TimeDelta::minutes(1);
        sessions.find(first.expose(), true, later).unwrap();
        for _ in 0..SESSIONS_OF_A_TOKEN - 1 {
            sessions.begin(TOKEN, later).unwrap();
        }
        assert!(sessions.find(second.expose(), true, later).is_none());
        for kept in [first, other] {
            assert!(sessions.find(kept.expose(), true, later).is_some());
        }
    }

    #[test]
    fn session_of_unsafe_requests_needs_the_token_that_only_its_page_can_read() {
        let (_, opened) = Sessions::default().begin(TOKEN, noon()).unwrap();
        let with = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            HeaderMap::from_iter([(header::HeaderName::from_static(CSRF), value)])
        };
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            assert!(opened.is_forged(&method, &HeaderMap::new()), "{method}");
            assert!(opened.is_forged(&method, &with("")), "{method}");
            assert!(opened.is_forged(&method, &with("guessed")), "{method}");
            assert!(
                !opened.is_forged(&method, &with(opened.csrf.expose())),
                "{method}"
            );
        }
        assert!(!opened.is_forged(&Method::GET, &HeaderMap::new()));
    }

    #[test]
    fn session_cookie_is_found_among_others_and_two_are_none() {
        let of = |lines: &[&str]| {
            let lines = lines
                .iter()
                .map(|line| HeaderValue::from_str(line).unwrap());
            HeaderMap::from_iter(lines.map(|line| (header::COOKIE, line)))
        };
        let plain = Cookie {
            has_tls: false,
            port: 8470,
        };
        let ours = of(&["theme=dark; scim_relay_session_8470=abc", "other=1"]);
        assert_eq!(plain.of(&ours), Ok(Some("abc")));
        for foreign in [
            "xscim_relay_session_8470",
            "scim_relay_session_8471",
            "__Host-scim_relay_session",
        ] {
            assert_eq!(
                plain.of(&of(&[&format!("{foreign}=abc")])),
                Ok(None),
                "{foreign}"
            );
        }
        let two = of(&["scim_relay_session_8470=abc", "scim_relay_session_8470=def"]);
        assert_eq!(plain.of(&two), Err(Refusal::Malformed));
    }

    #[test]
    fn session_cookie_is_secure_under_tls_and_behind_a_proxy_that_speaks_it() {
        let cookie = |has_tls| Cookie {
            has_tls,
            port: 8470,
        };
        let shown = |cookie: Cookie, headers: &HeaderMap| {
            let value = cookie.set(headers, Some(&Secret::new("abc".to_owned())));
            value.unwrap().to_str().unwrap().to_owned()
        };
        let none = HeaderMap::new();
        let proxied = HeaderMap::from_iter([(
            header::HeaderName::from_static("x-forwarded-proto"),
            HeaderValue::from_static("https"),
        )]);
        let secure = "__Host-scim_relay_session=abc; Path=/; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(shown(cookie(true), &none), secure);
        assert_eq!(shown(cookie(false), &proxied), secure);
        assert_eq!(
            shown(cookie(false), &none),
            "scim_relay_session_8470=abc; Path=/; HttpOnly; SameSite=Strict"
        );
        let ended = cookie(true).set(&none, None).unwrap();
        assert!(ended.to_str().unwrap().ends_with("; Secure; Max-Age=0"));
    }
}
