//! What the store keeps of those who run the relay: definitions that they entered, their tokens, and the audit log.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::access::{Token, TokenId};
use crate::audit::{Actor, ChainDigest, Deed, Event, Record, Verdict};
use crate::id::{DirectoryId, TenantName};
use crate::job::Job;
use crate::store::Error;

/// What a definition is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// A tenant, by name.
    Tenant(TenantName),
    /// A directory, by id.
    Directory(DirectoryId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(name) => write!(f, "tenant {name}"),
            Self::Directory(id) => write!(f, "directory {id}"),
        }
    }
}

/// A tenant or a directory as it was entered through the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// What it defines.
    pub subject: Subject,
    /// The tenant that it belongs to.
    pub tenant: TenantName,
    /// Its fields as JSON, as they were entered; secrets are not among them.
    pub fields: String,
    /// Its secrets by field, sealed.
    pub sealed: BTreeMap<String, Vec<u8>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Which records of the audit log are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this tenant only, if one is named.
    pub tenant: Option<TenantName>,
    /// With a tenant named: also records that concern no tenant.
    pub relay_wide: bool,
    /// Of this kind only, if one is named.
    pub deed: Option<Deed>,
    /// Older than this number.
    pub before: Option<u64>,
    /// Not older than this time.
    pub since: Option<DateTime<Utc>>,
    /// With this text in subject, action or actor, case ignored.
    pub text: Option<String>,
}

/// Records of the audit log, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<Record>,
    /// Where to go on, as [`AuditFilter::before`]; absent when there are no more. A page may be short, and even empty,
    /// and still have this: one call looks at so many records and no more.
    pub next: Option<u64>,
}

/// The part of the store that holds them. Every method is one transaction.
#[async_trait]
pub trait Records {
    /// All definitions that were entered through the API.
    async fn definitions(&self) -> Result<Vec<Definition>, Error>;

    /// Writes definitions, new or changed, together with what the audit log says of it.
    async fn save_definitions(
        &self,
        definitions: Vec<Definition>,
        events: Vec<Event>,
    ) -> Result<(), Error>;

    /// Removes a definition with its secrets.
    async fn remove_definition(&self, subject: &Subject, event: Event) -> Result<(), Error>;

    /// A constant sealed with the key that the store's secrets are sealed with; `None` before the first.
    async fn key_check(&self) -> Result<Option<Vec<u8>>, Error>;

    /// Replaces the sealed constant, and with it all definitions, after their secrets were sealed with another key.
    async fn save_key_check(
        &self,
        sealed: Vec<u8>,
        definitions: Vec<Definition>,
        events: Vec<Event>,
    ) -> Result<(), Error>;

    /// All tokens.
    async fn tokens(&self) -> Result<Vec<Token>, Error>;

    /// Writes tokens, new or changed.
    async fn save_tokens(&self, tokens: Vec<Token>, events: Vec<Event>) -> Result<(), Error>;

    /// Removes a token.
    async fn remove_token(&self, id: TokenId, event: Event) -> Result<(), Error>;

    /// Appends to the audit log.
    async fn append_audit(&self, events: Vec<Event>) -> Result<(), Error>;

    /// Records of the audit log, newest first.
    async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<AuditPage, Error>;

    /// Checks the whole chain of the audit log, and that it still has a digest that was noted elsewhere.
    async fn verify_audit(&self, noted: Option<ChainDigest>) -> Result<Verdict, Error>;

    /// Writes a job that begins, together with what the audit log says of who asked for it.
    async fn queue_job(&self, job: &Job, actor: &Actor, tenant: &TenantName) -> Result<(), Error>;
}
