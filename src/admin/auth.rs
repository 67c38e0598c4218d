//! Who may call: the bearer token, its permissions, and the tenant that a request is for.

use axum::http::{HeaderMap, header};
use chrono::Utc;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::access::Permission;
use crate::admin::problem::Problem;
use crate::audit::Actor;
use crate::catalog::Hand;
use crate::id::TenantName;
use crate::secret::Secret;

/// A token as it is kept: its SHA-256, so that it is not lying about in memory.
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn of(secret: &Secret) -> Self {
        Self(Sha256::digest(secret.expose()).into())
    }

    /// Compares in constant time.
    fn is(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0.ct_eq(&presented).into()
    }
}

/// Whom a request comes from, once it is known to be allowed.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The tenant that the request is for.
    pub(super) tenant: TenantName,
    /// The caller, for the audit log.
    pub(super) actor: Actor,
}

impl Caller {
    /// Whether the caller has a permission besides the one that the route asks for; the configured token has them all.
    pub(super) fn may(&self, _permission: Permission) -> bool {
        true
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

    /// Whether a tenant and its tokens are the caller's to manage.
    pub(super) fn may_manage(&self, _tenant: &TenantName) -> bool {
        true
    }

    /// Whether all tenants are, those too that come later.
    pub(super) fn may_manage_all(&self) -> bool {
        true
    }
}

/// Checks the token (RFC 6750 §2.1) and finds the tenant. The configured token has every permission of every tenant, so
/// the permission that a route names is met by being known at all.
pub(super) fn admit(
    token: &Token,
    tenants: &[TenantName],
    headers: &HeaderMap,
    _permission: Permission,
) -> Result<Caller, Problem> {
    let presented = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match presented {
        None => return Err(Problem::unauthorized(None)),
        Some(presented) if !token.is(presented) => {
            return Err(Problem::unauthorized(Some("invalid_token")));
        }
        Some(_) => {}
    }
    let asked = headers
        .get("x-tenant-id")
        .map(|value| value.to_str().unwrap_or_default());
    let tenant = match (asked, tenants) {
        (Some(asked), tenants) => tenants
            .iter()
            .find(|tenant| tenant.0 == asked)
            .ok_or_else(Problem::wrong_tenant)?,
        (None, [only]) => only,
        (None, _) => return Err(Problem::tenant_missing()),
    };
    Ok(Caller {
        tenant: tenant.clone(),
        actor: Actor::Token {
            id: None,
            name: "server.token".to_owned(),
        },
    })
}
