//! Who may call the admin API: tokens, what each permits, and for which tenants.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::id::TenantName;
use crate::secret::Secret;

/// What every token begins with, so that secret scanners recognize one.
pub const PREFIX: &str = "srt_";
/// Random bytes of a token.
pub const RANDOM_BYTES: usize = 32;
/// Bytes of the checksum at its end, by which a mistyped token is told from a wrong one without asking the store.
const CHECKSUM_BYTES: usize = 3;

/// The id of a token, which is no secret.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct TokenId(pub Uuid);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a token permits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Permission {
    /// See directories and jobs.
    #[serde(rename = "directory:read")]
    DirectoryRead,
    /// Change directories and run jobs.
    #[serde(rename = "directory:write")]
    DirectoryWrite,
    /// See the audit log.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Manage tenants and tokens.
    #[serde(rename = "admin")]
    Admin,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::DirectoryRead,
        Self::DirectoryWrite,
        Self::AuditRead,
        Self::Admin,
    ];

    /// The word used in API and command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DirectoryRead => "directory:read",
            Self::DirectoryWrite => "directory:write",
            Self::AuditRead => "audit:read",
            Self::Admin => "admin",
        }
    }

    /// Reads a permission from its word.
    ///
    /// # Errors
    /// Names the words that there are.
    pub fn from_word(word: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|permission| permission.as_str() == word);
        found.ok_or_else(|| {
            format!(
                "`{}` is not a permission; use {}",
                word.escape_debug(),
                Self::ALL.map(Self::as_str).join(", ")
            )
        })
    }
}

/// The tenants that a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tenants {
    /// Every tenant, those too that come later.
    All,
    /// These.
    Only(BTreeSet<TenantName>),
}

impl Tenants {
    /// Whether a tenant is among them.
    pub fn include(&self, tenant: &TenantName) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenants.contains(tenant),
        }
    }

    /// The tenant, where it is for one alone.
    pub fn only_one(&self) -> Option<&TenantName> {
        match self {
            Self::Only(tenants) if tenants.len() == 1 => tenants.first(),
            Self::All | Self::Only(_) => None,
        }
    }

    /// Whether all of the others are among them.
    pub fn cover(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::All, _) => true,
            (Self::Only(_), Self::All) => false,
            (Self::Only(tenants), Self::Only(others)) => others.is_subset(tenants),
        }
    }
}

/// What a token is to be, before there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it is for, in words.
    pub name: String,
    /// The tenants that it is for.
    pub tenants: Tenants,
    /// What it permits.
    pub permissions: BTreeSet<Permission>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Grant {
    /// Everything, for every tenant, without end.
    pub fn everything(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tenants: Tenants::All,
            permissions: Permission::ALL.into(),
            expires_at: None,
        }
    }

    /// The token as it is kept, and its text, which is shown once.
    pub fn issue(
        self,
        id: TokenId,
        random: &[u8; RANDOM_BYTES],
        now: DateTime<Utc>,
    ) -> (Token, Secret) {
        let text = text_of(random);
        let token = Token {
            id,
            name: self.name,
            tenants: self.tenants,
            permissions: self.permissions,
            created_at: now,
            expires_at: self.expires_at,
            last_used_at: None,
            digest: digest_of(text.expose()),
        };
        (token, text)
    }
}

/// A token as it is kept: what it permits, and the digest of its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it is for, in words.
    pub name: String,
    /// The tenants that it is for.
    pub tenants: Tenants,
    /// What it permits.
    pub permissions: BTreeSet<Permission>,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to within some minutes.
    pub last_used_at: Option<DateTime<Utc>>,
    /// SHA-256 of its text.
    pub digest: [u8; 32],
}

impl Token {
    /// Whether the presented text is this token; compared in constant time.
    pub fn is(&self, digest: &[u8; 32]) -> bool {
        self.digest.ct_eq(digest).into()
    }

    /// Whether it is no longer accepted.
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// What its successor is to be: the same rights, for as long as it had itself when it was issued.
    pub fn succession(&self, now: DateTime<Utc>) -> Grant {
        Grant {
            name: self.name.clone(),
            tenants: self.tenants.clone(),
            permissions: self.permissions.clone(),
            expires_at: self.expires_at.map(|end| now + (end - self.created_at)),
        }
    }
}

/// The text of a token: the prefix, the random bytes, and the checksum.
pub fn text_of(random: &[u8; RANDOM_BYTES]) -> Secret {
    let body = [random.as_slice(), &checksum(random)].concat();
    Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(body)))
}

/// SHA-256 of a token's text.
pub fn digest_of(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Whether a text could be a token at all: prefix, length and checksum.
pub fn is_well_formed(text: &str) -> bool {
    let body = text
        .strip_prefix(PREFIX)
        .and_then(|body| URL_SAFE_NO_PAD.decode(body).ok());
    body.as_deref()
        .and_then(|body| body.split_at_checked(RANDOM_BYTES))
        .is_some_and(|(random, sum)| sum == checksum(random))
}

fn checksum(random: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(random).into();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_a_checksum() {
        let text = text_of(&[7; RANDOM_BYTES]);
        assert!(text.expose().starts_with("srt_") && is_well_formed(text.expose()));
        let mistyped = text.expose().replacen("Bw", "BW", 1);
        assert_ne!(mistyped, text.expose());
        for wrong in [mistyped.as_str(), "", "srt_", "srt_AAAA", "Bearer x"] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }

    fn only(names: &[&str]) -> Tenants {
        Tenants::Only(
            names
                .iter()
                .map(|name| TenantName((*name).into()))
                .collect(),
        )
    }

    #[test]
    fn tenants_cover_a_part_of_themselves() {
        let (one, two) = (only(&["acme"]), only(&["acme", "globex"]));
        assert!(Tenants::All.cover(&Tenants::All) && Tenants::All.cover(&two));
        assert!(two.cover(&one) && two.cover(&two));
        assert!(!one.cover(&two) && !one.cover(&only(&["globex"])));
        assert!(
            !two.cover(&Tenants::All),
            "all are those too that come later"
        );
    }

    #[test]
    fn a_successor_has_the_same_rights_and_the_same_span() {
        let (issued, rotated) = (
            DateTime::UNIX_EPOCH,
            DateTime::UNIX_EPOCH + chrono::TimeDelta::days(60),
        );
        let grant = Grant {
            tenants: only(&["acme"]),
            permissions: [Permission::AuditRead].into(),
            expires_at: Some(issued + chrono::TimeDelta::days(90)),
            ..Grant::everything("exporter")
        };
        let (token, text) =
            grant
                .clone()
                .issue(TokenId(Uuid::from_u128(1)), &[1; RANDOM_BYTES], issued);
        assert!(token.is(&digest_of(text.expose())) && !token.is(&digest_of("srt_")));
        assert!(
            !token.has_expired(rotated) && token.has_expired(issued + chrono::TimeDelta::days(90))
        );
        let expected = Grant {
            expires_at: Some(rotated + chrono::TimeDelta::days(90)),
            ..grant
        };
        assert_eq!(token.succession(rotated), expected);
    }

    #[test]
    fn words_of_permissions_read_back() {
        for permission in Permission::ALL {
            assert_eq!(Permission::from_word(permission.as_str()), Ok(permission));
        }
        assert!(Permission::from_word("root").is_err_and(|error| error.contains("audit:read")));
    }
}
