//! The provider over HTTP: how a request becomes an outcome, with repetition where it is harmless.

mod assertion;
mod auth;
mod bulk;
mod call;
mod client;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod lists;
mod outcome;
mod pacing;
mod probe;
mod retry_after;
#[cfg(test)]
mod tests;
mod writes;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::id::TenantName;
use crate::provider::http::auth::Credentials;
use crate::provider::http::call::Call;
use crate::provider::http::client::{Answer, Body, Trouble, Wire};
use crate::provider::http::lists::{LastPage, Listing};
use crate::provider::http::pacing::{Asking, Gate, Repetition};
use crate::provider::{
    BulkLimits, Capabilities, Lane, LookupBy, Outcome, Page, Provider, Refusal, RequestCounts,
    Settings, Start,
};
use crate::scim::ResourceType;
use crate::scim::dialect::{Dialect, Updates};
use crate::scim::encode::Request;
use crate::scim::pace::Verb;
use crate::scim::resource::{Found, ListPage};
use crate::secret::Secret;

/// How long a read that worked proves that the credentials are good.
const READ_PROOF: Duration = Duration::from_secs(60);
/// How long counts what a target said of itself, unless it refuses something before: runs that a change feed sets off
/// follow each other closely.
const SAID_COUNTS: Duration = Duration::from_secs(60);

/// One tenant's IAM, spoken to over HTTP.
struct Http {
    tenant: TenantName,
    wire: Wire,
    credentials: Arc<Credentials>,
    gate: Arc<Gate>,
    repetition: Repetition,
    dialect: Dialect,
    /// Whether the target says that it has no PATCH.
    without_patch: AtomicBool,
    /// Whether it says that its lists have pages by cursor only.
    cursors_only: AtomicBool,
    /// What Bulk takes, as far as is known.
    bulk_limits: Mutex<Option<BulkLimits>>,
    reads: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    /// When a harmless read last worked.
    read_worked: Mutex<Option<Instant>>,
    /// What the target said that it can do, and when.
    said: Mutex<Option<(Instant, Capabilities)>>,
    /// Which look-ups the target does not filter: users by external id, by name, by e-mail address; groups in the
    /// same order.
    unfiltered: [AtomicBool; 6],
    /// The list that a look-up read last: of users, of groups.
    listings: [tokio::sync::Mutex<Option<Listing>>; 2],
    /// The last page that was listed, to notice a target that gives the same one again: of users, of groups.
    last_page: Mutex<[Option<LastPage>; 2]>,
}

/// See [`crate::provider::open`].
pub(super) fn open(settings: Settings) -> Result<Box<dyn Provider>, Refusal> {
    if settings.concurrency == 0 {
        let message = "the tenant's requests in flight must be at least 1".to_owned();
        return Err(outcome::denied(message));
    }
    let wire = Wire::new(&settings)?;
    let unfiltered = lists::unfiltered_by(&settings.dialect);
    let repetition = Repetition {
        attempts_max: settings.attempts_max.max(1),
        pause: settings.retry_pause,
    };
    Ok(Box::new(Http {
        gate: Arc::new(Gate::new(&settings, repetition)),
        tenant: settings.tenant,
        wire,
        credentials: Arc::new(Credentials::new(settings.auth, repetition)?),
        repetition,
        without_patch: AtomicBool::new(false),
        cursors_only: AtomicBool::new(false),
        bulk_limits: Mutex::default(),
        dialect: settings.dialect,
        reads: Arc::default(),
        writes: Arc::default(),
        read_worked: Mutex::new(None),
        said: Mutex::default(),
        unfiltered,
        listings: Default::default(),
        last_page: Mutex::default(),
    }))
}

#[async_trait]
impl Provider for Http {
    async fn discover(&self) -> Result<Capabilities, Refusal> {
        if let Some((at, said)) = &*self.said()
            && at.elapsed() < SAID_COUNTS
        {
            return Ok(said.clone());
        }
        let capabilities = self.capabilities().await?;
        let without_patch = capabilities.patch == Some(false);
        self.without_patch.store(without_patch, Ordering::Relaxed);
        self.keep_bulk_limits(capabilities.bulk);
        self.cursors_only
            .store(capabilities.cursors_only, Ordering::Relaxed);
        *self.said() = Some((Instant::now(), capabilities.clone()));
        Ok(capabilities)
    }

    async fn submit(&self, request: &Request, lane: Lane) -> Outcome {
        let outcome = self.carry_out(request, lane).await;
        self.look_into(request, outcome, lane).await
    }

    fn together_max(&self) -> usize {
        self.bulk_limits().map_or(1, |limits| limits.operations)
    }

    async fn submit_together(&self, requests: &[Request], lane: Lane) -> Option<Vec<Outcome>> {
        self.bulk(requests, lane).await
    }

    async fn find(
        &self,
        resource_type: ResourceType,
        by: LookupBy,
        value: &str,
        lane: Lane,
    ) -> Result<Vec<Found>, Refusal> {
        self.look_up(resource_type, by, value, lane).await
    }

    async fn get(&self, resource_type: ResourceType, id: &str) -> Result<Option<Json>, Refusal> {
        self.read_one(resource_type, id, Lane::Ordinary).await
    }

    async fn list(
        &self,
        resource_type: ResourceType,
        start: Option<&Start>,
    ) -> Result<Page, Refusal> {
        self.list_from(resource_type, start).await
    }

    async fn ask(
        &self,
        resource_type: ResourceType,
        parameters: Vec<(&'static str, Json)>,
    ) -> Result<ListPage, Refusal> {
        let call = self.list_call(resource_type, parameters);
        let label = call.to_string();
        let answer = self.read(&call, Lane::Ordinary).await?;
        lists::list_of(&label, &outcome::json_of(&label, answer)?)
    }

    fn in_manner(&self, dialect: Dialect) -> Box<dyn Provider> {
        Box::new(Self {
            tenant: self.tenant.clone(),
            wire: self.wire.with_content_type(&dialect.content_type),
            credentials: self.credentials.clone(),
            gate: self.gate.clone(),
            repetition: Repetition {
                attempts_max: 1,
                ..self.repetition
            },
            without_patch: AtomicBool::new(self.without_patch.load(Ordering::Relaxed)),
            cursors_only: AtomicBool::new(self.cursors_only.load(Ordering::Relaxed)),
            bulk_limits: Mutex::new(*self.known_bulk_limits()),
            unfiltered: lists::unfiltered_by(&dialect),
            dialect,
            reads: self.reads.clone(),
            writes: self.writes.clone(),
            read_worked: Mutex::default(),
            said: Mutex::default(),
            listings: Default::default(),
            last_page: Mutex::default(),
        })
    }

    fn puts(&self, resource_type: ResourceType) -> bool {
        match self.dialect.updates(resource_type) {
            Updates::AsAdvertised => self.without_patch.load(Ordering::Relaxed),
            Updates::Patch => false,
            Updates::Put => true,
        }
    }

    fn counts(&self) -> RequestCounts {
        RequestCounts {
            read: self.reads.load(Ordering::Relaxed),
            write: self.writes.load(Ordering::Relaxed),
        }
    }
}

impl Http {
    fn said(&self) -> MutexGuard<'_, Option<(Instant, Capabilities)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Provider::get`].
    async fn read_one(
        &self,
        resource_type: ResourceType,
        id: &str,
        lane: Lane,
    ) -> Result<Option<Json>, Refusal> {
        let call = Call {
            id: Some(id),
            ..Call::get(resource_type.endpoint(), Vec::new())
        };
        let answer = self.read(&call, lane).await?;
        if is_absent(&answer) {
            return Ok(None);
        }
        let resource = outcome::json_of(&call.to_string(), answer)?;
        match Found::from_json(&resource) {
            Some(found) if found.id == id => Ok(Some(resource)),
            _ => Err(Refusal {
                fault: Fault::Transient,
                status: None,
                scim_type: None,
                message: format!(
                    "{call} answered something other than that resource; check the SCIM base URL"
                ),
            }),
        }
    }

    /// Sends a request that reads, again after a passing failure; the answer may still be a refusal.
    async fn read(&self, call: &Call<'_>, lane: Lane) -> Result<Answer, Refusal> {
        let label = call.to_string();
        let mut attempt = 1;
        loop {
            let refusal = match self.send(call, lane, attempt > 1).await {
                Ok(answer) => match outcome::refusal(&label, &answer) {
                    refusal if is_passing(&refusal) => refusal,
                    _ => return Ok(answer),
                },
                Err(trouble) => trouble.into_refusal(),
            };
            if !is_passing(&refusal) || attempt >= self.repetition.attempts_max {
                return Err(refusal);
            }
            self.pause(&refusal, attempt).await;
            attempt += 1;
        }
    }

    /// After throttling the gate holds all requests of the tenant; anything else concerns this one only.
    async fn pause(&self, refusal: &Refusal, attempt: u32) {
        if refusal.fault != Fault::Throttled && refusal.status != Some(503) {
            tokio::time::sleep(self.repetition.pause_after(attempt)).await;
        }
    }

    /// One exchange, and one more with another token when the token was refused: 401 means not carried out.
    async fn send(&self, call: &Call<'_>, lane: Lane, repetition: bool) -> Result<Answer, Trouble> {
        let token = self.credentials.token(&self.wire).await;
        let token = token.map_err(Trouble::NotSent)?;
        let answer = self.send_with(call, &token, lane, repetition).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let other = self.credentials.instead_of(&token, &self.wire).await;
        match other.map_err(Trouble::NotSent)? {
            Some(other) => self.send_with(call, &other, lane, true).await,
            None => Ok(answer),
        }
    }

    /// One exchange, at the tenant's pace.
    async fn send_with(
        &self,
        call: &Call<'_>,
        token: &Secret,
        lane: Lane,
        repetition: bool,
    ) -> Result<Answer, Trouble> {
        let verb = call.verb();
        let asking = Asking {
            verb,
            lane,
            repetition,
        };
        let permit = self.gate.enter(asking).await;
        let begun = Instant::now();
        let result = self.wire.exchange(call, token).await;
        if let Ok(answer) = &result {
            self.learn(call, answer, begun.elapsed());
        }
        drop(permit);
        if !matches!(&result, Ok(answer) if (200..300).contains(&answer.status)) {
            *self.said() = None; // it may not be the target any more that it was
        }
        if !matches!(result, Err(Trouble::NotSent(_))) {
            let counter = match verb {
                Verb::Read => &self.reads,
                Verb::Create | Verb::Update | Verb::Delete => &self.writes,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        tracing::debug!(
            tenant = %self.tenant,
            request = %call,
            status = result.as_ref().map_or(0, |answer| answer.status),
            milliseconds = begun.elapsed().as_millis(),
            "request to the target"
        );
        result
    }

    /// Tells the gate how the target bears what it gets.
    fn learn(&self, call: &Call<'_>, answer: &Answer, latency: Duration) {
        if answer.throttled || answer.status == 503 {
            let wish = retry_after::retry_after(&answer.headers, SystemTime::now());
            self.gate.hold(wish);
        } else {
            self.gate.flowing();
        }
        // A request that was turned away at the door was quick, which says nothing of the work.
        if answer.status < 300 && call.is_light() {
            let of_group = call.endpoint == ResourceType::Group.endpoint();
            self.gate.took(call.verb(), of_group, latency);
        }
    }

    /// A 403 concerns one row, unless a harmless read is refused too.
    pub(super) async fn judge_forbidden(&self, refusal: Refusal, lane: Lane) -> Refusal {
        let worked = *self
            .read_worked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if worked.is_some_and(|time| time.elapsed() < READ_PROOF) {
            return refusal;
        }
        match self.harmless_read(lane).await {
            Err(read) if matches!(read.status, Some(401 | 403)) => Refusal {
                fault: Fault::Denied,
                message: format!(
                    "{}; reads are refused too: {}",
                    refusal.message, read.message
                ),
                ..refusal
            },
            _ => refusal,
        }
    }
}

/// A read that the target has to answer "not there".
fn is_absent(answer: &Answer) -> bool {
    answer.status == 404 && answer.body != Body::Html
}

/// Whether the same request may well work later.
fn is_passing(refusal: &Refusal) -> bool {
    matches!(refusal.fault, Fault::Transient | Fault::Throttled)
}
