//! The provider: speaks SCIM over HTTP to one tenant's IAM, at the tenant's pace.
//!
//! It knows no directory and no plan: it sends what it is given, and says what became of it.

mod http;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;

use crate::fault::Fault;
use crate::id::TenantName;
use crate::scim::ResourceType;
use crate::scim::dialect::Dialect;
use crate::scim::encode::Request;
use crate::scim::pace::{Rate, Rates};
use crate::scim::resource::{Found, ListPage};
use crate::secret::Secret;

/// The door for fuzzers (`tests/fuzz`).
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    /// Reads an answer of a target to every kind of request.
    pub fn answer(status: u16, body: &[u8]) {
        super::http::fuzzing::answer(status, body);
    }
}

/// Everything that is needed to speak to one tenant's IAM.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The tenant, for messages.
    pub tenant: TenantName,
    /// The SCIM base URL, without a trailing slash; endpoints are appended to it.
    pub base_url: String,
    /// How requests are authenticated.
    pub auth: Auth,
    /// The limit of all requests together.
    pub rate: Rate,
    /// The limits of single kinds of requests, which count under the other one too.
    pub rates: Rates,
    /// Most requests in flight, at least 1.
    pub concurrency: usize,
    /// PEM of the authorities that are trusted instead of the public roots.
    pub ca_certificate: Option<Vec<u8>>,
    /// What the relay shows of itself in the TLS handshake, with target and token endpoint.
    pub client_certificate: Option<ClientCertificate>,
    /// What every request to the target says besides what the relay sets itself: names and values.
    pub headers: Vec<(String, String)>,
    /// The same with values that are secrets.
    pub secret_headers: Vec<(String, Secret)>,
    /// How long to wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// How long to wait for an answer.
    pub answer_timeout: Duration,
    /// Tries of a request that may be repeated safely, the first included.
    pub attempts_max: u32,
    /// The first pause before a repetition; doubled each time, with jitter.
    pub retry_pause: Duration,
    /// The manner of the target.
    pub dialect: Dialect,
}

/// A certificate of the relay, for mutual TLS.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// PEM of the chain, the relay's own first.
    pub chain: Vec<u8>,
    /// PEM of its private key.
    pub key: Secret,
}

/// How requests are authenticated.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A fixed bearer token (RFC 6750).
    Bearer(Secret),
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    ClientCredentials {
        /// The token endpoint.
        token_url: String,
        /// The client.
        client_id: String,
        /// How it shows who it is.
        client: ClientAuthentication,
        /// The scope asked for, if any.
        scope: Option<String>,
    },
}

/// How a client authenticates at the token endpoint.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// By a secret (RFC 6749 §2.3.1).
    Secret(Secret),
    /// By a JWT that it signs (RFC 7523 §2.2).
    PrivateKey {
        /// The private key in PEM form: RSA, which signs with RS256, or P-256, which signs with ES256.
        key: Secret,
        /// The id by which the token endpoint knows the key.
        key_id: Option<String>,
        /// Whom the JWT is for; the token endpoint when absent.
        audience: Option<String>,
    },
}

/// Which requests go first when several wait for the tenant's rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Deactivations and membership removals.
    Urgent,
    /// Everything else.
    Ordinary,
}

/// What became of a request that writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The target confirmed it.
    Acknowledged {
        /// The id of a resource that was created.
        id: Option<String>,
        /// The resource, where the target sent it back.
        resource: Option<Json>,
    },
    /// The target refused it; nothing was changed.
    Refused(Refusal),
    /// Whether it was carried out is not known: time-out, dropped connection, 5xx, an answer that makes no sense.
    /// Look before trying again.
    Unknown(Refusal),
}

/// A refusal, or an answer that tells nothing, with what the target said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Who must act.
    pub fault: Fault,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// SCIM `scimType` (RFC 7644 §3.12).
    pub scim_type: Option<String>,
    /// What happened and what cures it, in words; contains the target's `detail`, never a secret.
    pub message: String,
}

/// What a target says it can do (RFC 7643 §5), as far as the relay uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether PATCH is advertised; `None` when the target does not say.
    pub patch: Option<bool>,
    /// Whether filters are advertised.
    pub filter: Option<bool>,
    /// Whether lists have pages by cursor, and none by index (RFC 9865 §4).
    pub cursors_only: bool,
    /// What Bulk takes, where it is advertised.
    pub bulk: Option<BulkLimits>,
    /// The path of an attribute named emailVerified in the target's user schemas, if there is one.
    pub email_verified: Option<String>,
}

/// What a target takes in one Bulk request (RFC 7643 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkLimits {
    /// Most operations.
    pub operations: usize,
    /// Longest body, in bytes.
    pub payload_bytes: usize,
}

/// How many requests were sent since the provider was opened, repetitions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RequestCounts {
    /// GET.
    pub read: u64,
    /// POST, PATCH, PUT, DELETE.
    pub write: u64,
}

/// The attribute by which a resource is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupBy {
    /// `externalId`.
    ExternalId,
    /// `userName` of users, `displayName` of groups.
    Name,
    /// The primary e-mail address, of users.
    Email,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The resources of this page as the target sent them.
    pub resources: Vec<Json>,
    /// Where the next page starts; `None` after the last one.
    pub next: Option<Start>,
    /// How many resources there are in all, where the target says so; it may be more than its pages give.
    pub total: Option<u64>,
}

/// Where a page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this index, counted from 1 (RFC 7644 §3.4.2.4).
    Index(u64),
    /// Where a cursor stands (RFC 9865 §2), after so many resources.
    Cursor(String, u64),
}

/// A tenant's IAM.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks what the target can do, unless it said so just now and has refused nothing since. A target without discovery
    /// gets the defaults.
    ///
    /// # Errors
    /// When the target is not there, does not speak SCIM, or refuses the credentials.
    async fn discover(&self) -> Result<Capabilities, Refusal>;

    /// Sends one request that writes. Waits for the rate limit, honours Retry-After, repeats what may be repeated:
    /// a 429 always (it was not carried out), PATCH and DELETE after an unclear answer too, POST never.
    async fn submit(&self, request: &Request, lane: Lane) -> Outcome;

    /// Most requests that may go together, as far as the dialect and the last discovery say; 1 where each goes alone.
    fn together_max(&self) -> usize;

    /// Sends the first of some requests that write together, as many as the target takes at once, and gives an outcome for
    /// each of those; at least one, unless there are none. `None` when the target does not take that after all: nothing was
    /// carried out, and each has to go alone.
    async fn submit_together(&self, requests: &[Request], lane: Lane) -> Option<Vec<Outcome>>;

    /// Looks resources up by an attribute. Every hit was checked again on our side, so a server that ignores filters
    /// gives no false hit; more than one hit means that the key is not unique there.
    ///
    /// # Errors
    /// When the target gives no answer that can be trusted.
    async fn find(
        &self,
        resource_type: ResourceType,
        by: LookupBy,
        value: &str,
        lane: Lane,
    ) -> Result<Vec<Found>, Refusal>;

    /// Reads one resource by id; `None` when the target does not have it.
    ///
    /// # Errors
    /// When the target gives no answer that can be trusted.
    async fn get(&self, resource_type: ResourceType, id: &str) -> Result<Option<Json>, Refusal>;

    /// Reads one page of all resources of a type: the first one, or that which starts where the page before said.
    ///
    /// # Errors
    /// When the target gives no answer that can be trusted, repeats a page, or the pages do not add up.
    async fn list(
        &self,
        resource_type: ResourceType,
        start: Option<&Start>,
    ) -> Result<Page, Refusal>;

    /// Asks for a list with just these parameters, and gives what came as it is.
    ///
    /// # Errors
    /// When the target refuses, or answers no list.
    async fn ask(
        &self,
        resource_type: ResourceType,
        parameters: Vec<(&'static str, Json)>,
    ) -> Result<ListPage, Refusal>;

    /// The same target spoken to in another manner, for finding out which one it understands: with this provider's pace,
    /// requests in flight, connections, credentials and counts, and each request once.
    fn in_manner(&self, dialect: Dialect) -> Box<dyn Provider>;

    /// Whether resources of a type are changed by PUT, as far as the dialect and the last discovery say.
    fn puts(&self, resource_type: ResourceType) -> bool;

    /// Requests sent so far.
    fn counts(&self) -> RequestCounts;
}

/// Prepares the client; nothing is sent yet. One provider serves all directories of a tenant, so that they share its
/// rate limit.
///
/// # Errors
/// When the base URL, the certificate or the number of requests in flight makes no sense.
pub fn open(settings: Settings) -> Result<Box<dyn Provider>, Refusal> {
    http::open(settings)
}
