//! Who is let in, as whom, and what is written down of it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse as _;

use super::*;
use crate::access::{Grant, Token, TokenId};
use crate::admin::auth::sessions::Cookie;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::records::AuditFilter;

const COOKIE: Cookie = Cookie {
    has_tls: false,
    port: 8470,
};
const CONFIGURED: &str = "configured-0123456789";

/// A keyring on a store of its own.
struct Site {
    keyring: Keyring,
    store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-11-21T{text}Z").parse().unwrap()
}

fn noon() -> DateTime<Utc> {
    at("12:00:00")
}

fn tenants(names: &[&str]) -> Tenants {
    Tenants::Only(
        names
            .iter()
            .map(|name| TenantName((*name).into()))
            .collect(),
    )
}

fn grant(name: &str, names: &[&str], permissions: &[Permission]) -> Grant {
    Grant {
        tenants: tenants(names),
        permissions: permissions.iter().copied().collect(),
        ..Grant::everything(name)
    }
}

fn administrator(tenants: Tenants) -> Administrator {
    Administrator {
        tenants,
        permissions: Permission::ALL.into(),
        actor: Actor::CommandLine,
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let name = axum::http::HeaderName::from_static(name);
        (name, HeaderValue::from_str(value).unwrap())
    });
    pairs.collect()
}

fn status<T>(result: Result<T, Problem>) -> u16 {
    match result {
        Ok(_) => StatusCode::OK.as_u16(),
        Err(problem) => problem.into_response().status().as_u16(),
    }
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = crate::store::Settings {
            path: folder.path().join("relay.redb"),
            cache_mib: 4,
        };
        let store: Arc<dyn Store> = crate::store::open(&settings).unwrap().into();
        let configured = Secret::new(CONFIGURED.into());
        let keyring = Keyring::open(store.clone(), Some(&configured), COOKIE)
            .await
            .unwrap();
        Self {
            keyring,
            store,
            _folder: folder,
        }
    }

    async fn issue(&self, grant: Grant) -> (Token, String) {
        let all = administrator(Tenants::All);
        let (token, text) = self.keyring.issue(grant, all, noon()).await.unwrap();
        (token, text.expose().to_owned())
    }

    async fn admit(&self, token: &str, now: DateTime<Utc>) -> Result<Bearer, Problem> {
        let headers = headers(&[("authorization", &format!("Bearer {token}"))]);
        let request = (&Method::GET, &headers);
        admit(&self.keyring, request, [192, 0, 2, 1].into(), now).await
    }

    /// What the audit log says was done, oldest first.
    async fn deeds(&self) -> Vec<Deed> {
        let records = self
            .store
            .audit(AuditFilter::default(), 1_000)
            .await
            .unwrap();
        records
            .records
            .iter()
            .rev()
            .map(|record| record.event.deed)
            .collect()
    }

    async fn stored(&self, id: TokenId) -> Option<Token> {
        let tokens = self.store.tokens().await.unwrap();
        tokens.into_iter().find(|token| token.id == id)
    }
}

#[test]
fn the_tenant_is_the_tokens_own_or_named() {
    let in_force = ["acme", "globex"].map(|name| TenantName(name.into()));
    let one = &in_force[..1];
    let found = |of: &Tenants, in_force: &[TenantName], pairs: &[(&'static str, &str)]| {
        let bearer = Bearer {
            actor: Actor::CommandLine,
            tenants: of.clone(),
            permissions: BTreeSet::new(),
            issued_at: None,
            digest: [0; 32],
            session: None,
        };
        match bearer.for_tenant(&headers(pairs), in_force) {
            Ok(caller) => caller.tenant.0,
            refused => status(refused).to_string(),
        }
    };
    let (acme, both, gone) = (
        tenants(&["acme"]),
        tenants(&["acme", "globex"]),
        tenants(&["initech"]),
    );
    for (of, in_force, asked, expected) in [
        (&acme, &in_force[..], None, "acme"),
        (&acme, &in_force, Some("acme"), "acme"),
        (&acme, &in_force, Some("globex"), "403"),
        (&acme, &in_force, Some("nobody"), "403"),
        (&acme, &in_force, Some(""), "403"),
        (&acme, &in_force, Some("ACME"), "403"),
        (&both, &in_force, None, "400"),
        (&both, &in_force, Some("globex"), "globex"),
        (&both, &in_force, Some("initech"), "403"),
        // A tenant more or less in force does not change what a token has to say.
        (&both, one, None, "400"),
        (&both, one, Some("globex"), "403"),
        (&gone, &in_force, None, "403"),
        (&gone, &in_force, Some("initech"), "403"),
        (&Tenants::All, &in_force, None, "400"),
        (&Tenants::All, &in_force, Some("globex"), "globex"),
        (&Tenants::All, &in_force, Some("initech"), "403"),
        (&Tenants::All, one, None, "acme"),
        (&Tenants::All, &[], None, "400"),
        (&Tenants::All, &[], Some("*"), "403"),
    ] {
        let pairs: Vec<_> = asked.iter().map(|asked| (TENANT, *asked)).collect();
        assert_eq!(found(of, in_force, &pairs), expected, "{of:?} {asked:?}");
    }
    let twice = [(TENANT, "acme"), (TENANT, "globex")];
    assert_eq!(found(&both, &in_force, &twice), "403");
}

#[test]
fn a_token_is_read_from_one_header_only() {
    let read = |pairs: &[(&'static str, &str)]| bearer_token(&headers(pairs)).map(str::to_owned);
    let name = "authorization";
    assert_eq!(read(&[(name, "Bearer x")]), Ok("x".into()));
    assert_eq!(read(&[(name, "bearer   x ")]), Ok("x".into()));
    for none in ["", "x", "Basic x", "Bearer"] {
        assert_eq!(read(&[(name, none)]), Err(Refusal::NoToken), "{none}");
    }
    assert_eq!(read(&[]), Err(Refusal::NoToken));
    assert_eq!(
        read(&[(name, "Bearer x"), (name, "Bearer y")]),
        Err(Refusal::Malformed)
    );
}

#[tokio::test]
async fn refusals_differ_in_the_log_and_not_in_the_answer() {
    let site = Site::new().await;
    let ends = Grant {
        expires_at: Some(at("13:00:00")),
        ..grant("short", &["acme"], &[Permission::AuditRead])
    };
    let (_, short) = site.issue(ends).await;
    let (token, revoked) = site.issue(Grant::everything("lost")).await;
    let all = administrator(Tenants::All);
    assert!(site.keyring.find(&revoked, noon()).is_ok());
    site.keyring.revoke(token.id, all, noon()).await.unwrap();
    for (text, now, expected) in [
        (short.as_str(), at("12:59:59"), None),
        (&short, at("13:00:00"), Some(Refusal::Expired)),
        (&revoked, noon(), Some(Refusal::Unknown)),
        (&revoked[1..], noon(), Some(Refusal::Malformed)),
        ("", noon(), Some(Refusal::Malformed)),
        (CONFIGURED, noon(), None),
        (&CONFIGURED[1..], noon(), Some(Refusal::Malformed)),
    ] {
        assert_eq!(site.keyring.find(text, now).err(), expected, "{text}");
    }
    let configured = site.admit(CONFIGURED, noon()).await.unwrap();
    assert_eq!(configured.tenants, Tenants::All);
    assert_eq!(configured.permissions, Permission::ALL.into());
    assert_eq!(
        configured.actor.to_string(),
        "token of the configuration (server.token)"
    );
    let shown = site.keyring.list(&administrator(Tenants::All));
    assert_eq!(
        shown.len(),
        1,
        "only tokens of the store are shown: {shown:?}"
    );
}

#[tokio::test]
async fn a_use_is_told_once_an_hour_and_written_every_few_minutes() {
    let site = Site::new().await;
    let (token, text) = site.issue(Grant::everything("busy")).await;
    let last = async || site.stored(token.id).await.unwrap().last_used_at;
    assert_eq!(last().await, None);
    let mut told = vec![Deed::TokenCreate];
    for (time, is_told, written) in [
        ("12:00:00", true, "12:00:00"),
        ("12:00:01", false, "12:00:00"),
        ("12:04:59", false, "12:00:00"),
        ("12:05:00", false, "12:05:00"),
        ("12:59:59", false, "12:59:59"),
        ("13:00:00", true, "13:00:00"),
    ] {
        assert!(site.admit(&text, at(time)).await.is_ok());
        told.extend(is_told.then_some(Deed::TokenUse));
        assert_eq!(
            (site.deeds().await, last().await),
            (told.clone(), Some(at(written))),
            "{time}"
        );
    }
    // A use that is written late does not bring back what was revoked.
    let found = site.keyring.find(&text, at("15:00:00")).ok().unwrap();
    let all = administrator(Tenants::All);
    site.keyring.revoke(token.id, all, noon()).await.unwrap();
    site.keyring.used(found).await;
    assert_eq!(site.stored(token.id).await, None);
    told.extend([Deed::TokenRevoke, Deed::TokenUse]);
    assert_eq!(site.deeds().await, told);
    assert_eq!(status(site.admit(&text, noon()).await), 401);
}

#[tokio::test]
async fn many_refusals_are_limited_and_a_good_token_is_not() {
    let site = Site::new().await;
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(status(site.admit("wrong", noon()).await));
    }
    // One more may have been allowed while they were sent.
    assert!(
        statuses[..10].iter().all(|status| *status == 401),
        "{statuses:?}"
    );
    assert_eq!(statuses[29], 429, "{statuses:?}");
    assert!(site.admit(CONFIGURED, noon()).await.is_ok());
    assert_eq!(site.deeds().await, [Deed::TokenRefuse, Deed::TokenUse]);
}

#[tokio::test]
async fn two_tokens_work_while_one_is_rotated() {
    let site = Site::new().await;
    let (old, old_text) = site
        .issue(grant("exporter", &["acme"], &[Permission::AuditRead]))
        .await;
    let admin = administrator(tenants(&["acme"]));
    let end = at("14:00:00");
    let rotated = site
        .keyring
        .rotate(old.id, end, admin.clone(), noon())
        .await
        .unwrap();
    let new_text = rotated.text.expose().to_owned();
    let new = rotated.new;
    assert_eq!(
        (&new.tenants, &new.permissions, new.expires_at),
        (&old.tenants, &old.permissions, None)
    );
    for (time, old_works) in [("12:00:00", true), ("13:59:59", true), ("14:00:00", false)] {
        assert_eq!(
            site.keyring.find(&old_text, at(time)).is_ok(),
            old_works,
            "{time}"
        );
        assert!(site.keyring.find(&new_text, at(time)).is_ok(), "{time}");
    }
    assert_eq!(site.stored(old.id).await.unwrap().expires_at, Some(end));
    assert_eq!(site.stored(new.id).await.unwrap().digest, new.digest);
    // A longer overlap does not give back what a shorter one took, and what has ended has no successor.
    let again = site
        .keyring
        .rotate(old.id, at("20:00:00"), admin.clone(), noon())
        .await
        .unwrap();
    assert_eq!(again.old.expires_at, Some(end));
    assert_eq!(
        status(site.keyring.rotate(old.id, end, admin, end).await),
        409
    );
    // After a new start the same holds.
    let reopened = Keyring::open(site.store.clone(), None, COOKIE)
        .await
        .unwrap();
    assert!(reopened.find(&new_text, end).is_ok() && reopened.find(&old_text, end).is_err());
    assert_eq!(
        reopened.find(CONFIGURED, noon()).err(),
        Some(Refusal::Malformed)
    );
}

#[tokio::test]
async fn an_administrator_of_some_tenants_manages_no_others() {
    let site = Site::new().await;
    let (own, _) = site
        .issue(grant("own", &["acme"], &[Permission::AuditRead]))
        .await;
    let (strong, _) = site
        .issue(grant("strong", &["acme"], &[Permission::DirectoryWrite]))
        .await;
    let (foreign, _) = site.issue(grant("foreign", &["globex"], &[])).await;
    let (both, _) = site.issue(grant("both", &["acme", "globex"], &[])).await;
    let (all, _) = site.issue(Grant::everything("all")).await;
    let admin = Administrator {
        permissions: [Permission::Admin, Permission::AuditRead].into(),
        ..administrator(tenants(&["acme"]))
    };
    let names: Vec<String> = site
        .keyring
        .list(&admin)
        .into_iter()
        .map(|token| token.name)
        .collect();
    assert_eq!(names, ["own", "strong"]);
    let nobody = TokenId(uuid::Uuid::from_u128(7));
    for id in [
        foreign.id,
        both.id,
        all.id,
        nobody,
        TokenId(uuid::Uuid::nil()),
    ] {
        assert_eq!(status(site.keyring.get(id, &admin)), 404);
        assert_eq!(
            status(site.keyring.rotate(id, noon(), admin.clone(), noon()).await),
            404
        );
        assert_eq!(
            status(site.keyring.revoke(id, admin.clone(), noon()).await),
            404
        );
    }
    for (what, expected) in [
        (grant("x", &["acme"], &[Permission::AuditRead]), 200),
        (grant("x", &["acme"], &[Permission::DirectoryRead]), 403),
        (
            grant("x", &["acme", "globex"], &[Permission::AuditRead]),
            403,
        ),
        (
            Grant {
                tenants: Tenants::All,
                ..grant("x", &[], &[])
            },
            403,
        ),
    ] {
        let told = format!("{what:?}");
        assert_eq!(
            status(site.keyring.issue(what, admin.clone(), noon()).await),
            expected,
            "{told}"
        );
    }
    // The successor's text would be more than its administrator has; taking rights away is another matter.
    assert_eq!(
        status(
            site.keyring
                .rotate(strong.id, noon(), admin.clone(), noon())
                .await
        ),
        403
    );
    assert_eq!(
        status(site.keyring.revoke(strong.id, admin.clone(), noon()).await),
        200
    );
    assert_eq!(
        status(site.keyring.rotate(own.id, noon(), admin, noon()).await),
        200
    );
    assert_eq!(site.keyring.list(&administrator(Tenants::All)).len(), 6);
}

/// The headers of a request by the cookie of a new session of a token.
async fn session_of(site: &Site, token: &str) -> HeaderMap {
    let bearer = site.admit(token, noon()).await.unwrap();
    let none = HeaderMap::new();
    let begun = site.keyring.begin_session(&bearer, &none, noon()).await;
    let (cookie, _) = begun.unwrap();
    let cookie = cookie.unwrap();
    let pair = cookie
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    headers(&[("cookie", &pair)])
}

async fn admit_by(site: &Site, headers: &HeaderMap, now: DateTime<Utc>) -> Result<Bearer, Problem> {
    let request = (&Method::GET, headers);
    admit(&site.keyring, request, [192, 0, 2, 1].into(), now).await
}

#[tokio::test]
async fn auth_a_session_ends_with_its_token_and_refused_cookies_are_limited() {
    let site = Site::new().await;
    let until = Grant {
        expires_at: Some(at("12:30:00")),
        ..grant("short", &["acme"], &[Permission::DirectoryRead])
    };
    let (_, text) = site.issue(until).await;
    let cookie = session_of(&site, &text).await;
    let found = admit_by(&site, &cookie, at("12:29:00")).await.unwrap();
    assert!(found.session.is_some());
    assert_eq!(status(admit_by(&site, &cookie, at("12:30:00")).await), 401);

    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(status(admit_by(&site, &cookie, at("12:31:00")).await));
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    let good = session_of(&site, CONFIGURED).await;
    assert!(admit_by(&site, &good, noon()).await.is_ok());
}
