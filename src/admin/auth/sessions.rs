//! Sessions of the console: a token exchanged for a cookie that no script can read, in memory only.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, Method, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use subtle::ConstantTimeEq as _;

use crate::access::digest_of;
use crate::admin::auth::{Refusal, only};
use crate::secret::Secret;
use crate::vault;

/// The cookie. It is for the API alone: the console's own files are the same for everybody.
pub(in crate::admin) const COOKIE: &str = "scim_relay_session";
/// The header in which the console's script repeats what only it could read (OWASP's synchronizer token).
const CSRF: &str = "x-csrf-token";
/// How long a session lasts at the most.
const LASTS: TimeDelta = TimeDelta::hours(12);
/// How long it lasts without a request.
const IDLE: TimeDelta = TimeDelta::hours(1);
/// Sessions at the same time; the one that was used longest ago gives way.
const SESSIONS_MAX: usize = 1_000;

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
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used_at);
            let oldest = oldest.map(|(digest, _)| *digest);
            oldest.map(|digest| sessions.remove(&digest));
        }
        sessions.insert(digest_of(cookie.expose()), session);
        Ok((cookie, opened))
    }

    /// The session of a cookie, used now.
    pub(super) fn find(&self, cookie: &str, now: DateTime<Utc>) -> Option<Found> {
        let mut sessions = self.held();
        let session = sessions.get_mut(&digest_of(cookie))?;
        if session.is_over(now) {
            return None;
        }
        session.used_at = session.used_at.max(now);
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

/// The cookie of a request; several of that name are none, because nobody knows which one is ours.
pub(in crate::admin) fn cookie(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut found = None;
    for line in headers.get_all(header::COOKIE) {
        let line = line.to_str().map_err(|_| Refusal::Malformed)?;
        for (name, value) in line.split(';').filter_map(|pair| pair.split_once('=')) {
            if name.trim() == COOKIE && found.replace(value.trim()).is_some() {
                return Err(Refusal::Malformed);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: Digest = [7; 32];

    fn noon() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn session_is_found_by_its_cookie_until_it_ends() {
        let sessions = Sessions::default();
        let (cookie, opened) = sessions.begin(TOKEN, noon()).unwrap();
        let found = sessions.find(cookie.expose(), noon()).unwrap();
        assert_eq!(found.token, TOKEN);
        assert_eq!(found.session.csrf.expose(), opened.csrf.expose());
        assert_ne!(cookie.expose(), opened.csrf.expose());
        assert!(sessions.find("another", noon()).is_none());
        assert!(sessions.end(cookie.expose()) && !sessions.end(cookie.expose()));
        assert!(sessions.find(cookie.expose(), noon()).is_none());
    }

    #[test]
    fn session_ends_when_it_is_idle_and_at_its_end_in_any_case() {
        let sessions = Sessions::default();
        let (cookie, _) = sessions.begin(TOKEN, noon()).unwrap();
        let at = |minutes| noon() + TimeDelta::minutes(minutes);
        for minutes in (50..12 * 60).step_by(50) {
            assert!(sessions.find(cookie.expose(), at(minutes)).is_some());
        }
        assert!(sessions.find(cookie.expose(), at(12 * 60)).is_none());

        let (idle, _) = sessions.begin(TOKEN, noon()).unwrap();
        assert!(sessions.find(idle.expose(), at(60)).is_none());
    }

    #[test]
    fn session_used_longest_ago_gives_way() {
        let sessions = Sessions::default();
        let (first, _) = sessions.begin(TOKEN, noon()).unwrap();
        let (second, _) = sessions.begin(TOKEN, noon()).unwrap();
        let later = noon() + TimeDelta::minutes(1);
        sessions.find(first.expose(), later).unwrap();
        for _ in 0..SESSIONS_MAX - 1 {
            sessions.begin(TOKEN, later).unwrap();
        }
        assert!(sessions.find(second.expose(), later).is_none());
        assert!(sessions.find(first.expose(), later).is_some());
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
        let ours = of(&["theme=dark; scim_relay_session=abc", "other=1"]);
        assert_eq!(cookie(&ours), Ok(Some("abc")));
        assert_eq!(cookie(&of(&["xscim_relay_session=abc"])), Ok(None));
        let two = of(&["scim_relay_session=abc", "scim_relay_session=def"]);
        assert_eq!(cookie(&two), Err(Refusal::Malformed));
    }
}
