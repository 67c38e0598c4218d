//! Who may call: the bearer token (RFC 6750 §2.1) or the session it was exchanged for, its permissions, and the tenant that a
//! request is for.

mod failures;
pub(super) mod keyring;
pub(super) mod sessions;

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, AsHeaderName};
use axum::http::{HeaderMap, Method};
use chrono::{DateTime, Utc};

use crate::access::{Permission, Tenants};
use crate::admin::auth::keyring::Keyring;
use crate::admin::auth::sessions::Opened;
use crate::admin::problem::Problem;
use crate::audit::{Actor, Deed, Event};
use crate::catalog::{Contents, Hand, Kept};
use crate::id::TenantName;

const TENANT: &str = "x-tenant-id";

/// Whose request it is, once the token is known to be good.
#[derive(Clone, Debug)]
pub(super) struct Bearer {
    pub(super) actor: Actor,
    tenants: Tenants,
    permissions: BTreeSet<Permission>,
    /// When it was issued; `None` for the one of the configuration.
    issued_at: Option<DateTime<Utc>>,
    /// SHA-256 of its text.
    digest: [u8; 32],
    /// The session by whose cookie the request came; `None` for one with the token itself.
    pub(super) session: Option<Opened>,
}

/// Whom a request for one tenant comes from, once it is known to be allowed.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The tenant that the request is for.
    pub(super) tenant: TenantName,
    /// Whether it manages the whole relay, and so may see what concerns no single tenant.
    pub(super) manages_relay: bool,
    /// Whether it may change the tenant itself.
    pub(super) manages_tenant: bool,
    /// The token, as the audit log names it.
    pub(super) actor: Actor,
}

/// Whom a request for the relay itself comes from, once it is known to be allowed: it manages tokens and tenants, but
/// only those that its own token is for.
#[derive(Clone, Debug)]
pub(super) struct Administrator {
    /// The tenants that it may manage.
    pub(super) tenants: Tenants,
    /// What it may permit to others: what it is permitted itself.
    pub(super) permissions: BTreeSet<Permission>,
    /// The token, as the audit log names it.
    pub(super) actor: Actor,
}

impl Bearer {
    /// A token is for the tenants that there were when it was issued: one that was deleted and created again is somebody
    /// else's, whatever its name.
    pub(super) fn without_newer(mut self, contents: &Contents) -> Self {
        if let (Tenants::Only(tenants), Some(issued_at)) = (&mut self.tenants, self.issued_at) {
            tenants.retain(|name| {
                let kept = contents.tenant(name).map(|entry| &entry.kept);
                !matches!(kept, Some(Kept::InStore(stored)) if stored.created_at > issued_at)
            });
        }
        self
    }

    /// A route that concerns no tenant takes no foreign one either.
    ///
    /// # Errors
    /// 403 for a tenant in `X-Tenant-ID` that is not the token's.
    pub(super) fn check_tenant(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let asked = only(headers, TENANT).map_err(|()| Problem::wrong_tenant())?;
        match asked {
            Some(asked) if !self.tenants.include(&TenantName(asked.to_owned())) => {
                Err(Problem::wrong_tenant())
            }
            _ => Ok(()),
        }
    }

    /// The tenants that it is for, of those in force.
    pub(super) fn tenants_of(&self, in_force: &[TenantName]) -> Vec<TenantName> {
        let own = in_force.iter().filter(|name| self.tenants.include(name));
        own.cloned().collect()
    }

    /// What it permits.
    pub(super) fn permissions(&self) -> &BTreeSet<Permission> {
        &self.permissions
    }

    /// Checks a permission.
    ///
    /// # Errors
    /// 403, which names it.
    pub(super) fn must_have(&self, permission: Permission) -> Result<(), Problem> {
        if self.permissions.contains(&permission) {
            return Ok(());
        }
        Err(Problem::permission_missing(permission))
    }

    /// The caller of a route that concerns one tenant, which `X-Tenant-ID` names unless the token is for one alone.
    ///
    /// # Errors
    /// 403 for a tenant that is not the token's or does not exist, 400 when it is not said which of several.
    pub(super) fn for_tenant(
        self,
        headers: &HeaderMap,
        in_force: &[TenantName],
    ) -> Result<Caller, Problem> {
        let asked = only(headers, TENANT).map_err(|()| Problem::wrong_tenant())?;
        let own: BTreeSet<&TenantName> = match &self.tenants {
            Tenants::All => in_force.iter().collect(),
            Tenants::Only(tenants) => tenants.iter().collect(),
        };
        let meant = match asked {
            Some(asked) => own.into_iter().find(|tenant| tenant.0 == asked),
            None if own.len() > 1 => return Err(Problem::tenant_missing()),
            None if own.is_empty() && self.tenants == Tenants::All => {
                return Err(Problem::no_tenant());
            }
            None => own.into_iter().next(),
        };
        let tenant = meant
            .filter(|tenant| in_force.contains(tenant))
            .ok_or_else(Problem::wrong_tenant)?;
        Ok(Caller {
            tenant: tenant.clone(),
            manages_relay: self.tenants == Tenants::All
                && self.permissions.contains(&Permission::Admin),
            manages_tenant: self.permissions.contains(&Permission::Admin),
            actor: self.actor,
        })
    }

    /// The caller of a route that concerns no single tenant.
    pub(super) fn for_relay(self) -> Administrator {
        Administrator {
            tenants: self.tenants,
            permissions: self.permissions,
            actor: self.actor,
        }
    }
}

impl Caller {
    /// Whose change it is, now.
    pub(super) fn hand(&self) -> Hand {
        Hand {
            actor: self.actor.clone(),
            at: Utc::now(),
        }
    }

    /// What it did, for the audit log.
    pub(super) fn event(
        &self,
        at: DateTime<Utc>,
        deed: Deed,
        subject: String,
        details: Vec<(String, String)>,
    ) -> Event {
        Event {
            at,
            actor: self.actor.clone(),
            tenant: Some(self.tenant.clone()),
            deed,
            subject,
            details,
        }
    }
}

impl Administrator {
    /// Whose change it is, now.
    pub(super) fn hand(&self) -> Hand {
        Hand {
            actor: self.actor.clone(),
            at: Utc::now(),
        }
    }

    /// Whether a tenant and its tokens are its own to manage.
    pub(super) fn may_manage(&self, tenant: &TenantName) -> bool {
        self.tenants.include(tenant)
    }

    /// Whether all tenants are, those too that come later.
    pub(super) fn may_manage_all(&self) -> bool {
        self.tenants == Tenants::All
    }

    /// Checks that it may give these permissions to others.
    ///
    /// # Errors
    /// 403, which names the first that it lacks itself.
    pub(super) fn may_permit(&self, permissions: &BTreeSet<Permission>) -> Result<(), Problem> {
        match permissions.difference(&self.permissions).next() {
            None => Ok(()),
            Some(permission) => Err(Problem::permission_missing(*permission)),
        }
    }
}

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It carries no token, and no session that has not ended.
    NoToken,
    /// What it carries has not the form of a token, or its checksum is wrong.
    Malformed,
    /// Nobody issued it, or it was revoked.
    Unknown,
    /// Its time is over.
    Expired,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no token",
            Self::Malformed => "not a token: mistyped, or cut off",
            Self::Unknown => "unknown or revoked",
            Self::Expired => "expired",
        }
    }
}

/// Checks the token of a request that came from an address, or the session that it was exchanged for.
///
/// # Errors
/// 401; 403 for a request by cookie that another site's page may have made; 429 when too many requests from there were refused
/// of late. A good token is let in however many others were not: nobody guesses 256 bits, and a colleague behind the same
/// address must not be locked out.
pub(super) async fn admit(
    keyring: &Keyring,
    (method, headers): (&Method, &HeaderMap),
    address: IpAddr,
    now: DateTime<Utc>,
) -> Result<Bearer, Problem> {
    let found = match bearer_token(headers) {
        Ok(text) => keyring.find(text, now),
        Err(Refusal::NoToken) => keyring.find_session(headers, now),
        Err(refusal) => Err(refusal),
    };
    let refusal = match found {
        Ok(found) => {
            let bearer = keyring.used(found).await;
            let session = bearer.session.as_ref();
            if session.is_some_and(|session| session.is_forged(method, headers)) {
                return Err(Problem::forged());
            }
            return Ok(bearer);
        }
        Err(refusal) => refusal,
    };
    let failures = keyring.failures();
    failures
        .count(address)
        .map_err(Problem::too_many_failures)?;
    if refusal == Refusal::NoToken {
        tracing::debug!(%address, "a request without a token was refused");
        return Err(Problem::unauthorized(None));
    }
    if failures.is_worth_telling(address) {
        tracing::warn!(%address, reason = refusal.as_str(), "a token was refused; others from there are not told for a minute");
        let event = Event {
            at: now,
            actor: Actor::Relay,
            tenant: None,
            deed: Deed::TokenRefuse,
            subject: format!("address {address}"),
            details: vec![("reason".to_owned(), refusal.as_str().to_owned())],
        };
        keyring.tell(event).await;
    }
    Err(Problem::unauthorized(Some("invalid_token")))
}

/// The token in the header.
fn bearer_token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let text = only(headers, AUTHORIZATION)
        .map_err(|()| Refusal::Malformed)?
        .ok_or(Refusal::NoToken)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Refusal::NoToken),
    }
}

/// A header's value; two of them, or one that is not text, may be read differently elsewhere and are no value at all.
fn only(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests;
