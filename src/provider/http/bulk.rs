//! Bulk (RFC 7644 §3.7): requests that write go together, each with an outcome of its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use futures_util::future::join_all;
use reqwest::header::HeaderMap;
use serde_json::{Value as Json, json};

use crate::fault::Fault;
use crate::provider::http::call::Call;
use crate::provider::http::client::{Answer, Body, Trouble};
use crate::provider::http::{Http, is_passing, outcome};
use crate::provider::{BulkLimits, Lane, Outcome, Provider as _, Refusal};
use crate::scim::dialect::Bulk;
use crate::scim::encode::{self, Request};
use crate::scim::resource::attribute;
use crate::scim::shape;

/// Schema of the requests (RFC 7644 §3.7).
const BULK_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";
/// What a request takes besides its operations, in bytes.
const ENVELOPE_BYTES: usize = 200;
/// Most operations, whatever the target takes: what a lost answer leaves to look for.
const OPERATIONS_MAX: usize = 1_000;

/// How the whole of a Bulk request ended.
enum Whole {
    /// Each operation has an answer of its own.
    Answered(Json),
    /// It is too large.
    TooLarge,
    /// The target does not take that.
    NotTaken(Refusal),
    /// It was not let in.
    Refused(Refusal),
    /// What became of it is not known.
    Unknown(Refusal),
}

impl Http {
    /// What goes together; `None` where each request goes alone.
    pub(super) fn bulk_limits(&self) -> Option<BulkLimits> {
        self.known_bulk_limits()
            .filter(|_| self.dialect.bulk != Bulk::Never)
    }

    pub(super) fn known_bulk_limits(&self) -> MutexGuard<'_, Option<BulkLimits>> {
        self.bulk_limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep_bulk_limits(&self, limits: Option<BulkLimits>) {
        *self.known_bulk_limits() = limits.map(|limits| BulkLimits {
            operations: limits.operations.min(OPERATIONS_MAX),
            ..limits
        });
    }

    /// See [`crate::provider::Provider::submit_together`].
    pub(super) async fn bulk(&self, requests: &[Request], lane: Lane) -> Option<Vec<Outcome>> {
        loop {
            let limits = self.bulk_limits()?;
            let operations = self.operations(requests, limits);
            if operations.len() < 2 {
                return match requests.first() {
                    Some(first) => Some(vec![self.submit(first, lane).await]),
                    None => Some(Vec::new()),
                };
            }
            let count = operations.len();
            let requests = &requests[..count];
            let refusal = match self.send_whole(operations, lane).await {
                Whole::Answered(answers) => return Some(self.each(requests, &answers, lane).await),
                Whole::TooLarge => {
                    self.keep_bulk_limits(Some(BulkLimits {
                        operations: count / 2,
                        ..limits
                    }));
                    continue;
                }
                Whole::NotTaken(refusal) => {
                    tracing::warn!(tenant = %self.tenant, reason = %refusal, "the target does not take Bulk; requests go singly");
                    self.keep_bulk_limits(None);
                    return None;
                }
                Whole::Refused(refusal) => {
                    let refused = |_| Outcome::Refused(refusal.clone());
                    return Some(requests.iter().map(refused).collect());
                }
                Whole::Unknown(refusal) => refusal,
            };
            return Some(self.after_doubt(requests, &refusal, lane).await);
        }
    }

    /// The operations of the first requests that fit into one; fewer than two when the first has to go alone.
    fn operations(&self, requests: &[Request], limits: BulkLimits) -> Vec<Json> {
        let mut bytes = ENVELOPE_BYTES;
        let mut operations = Vec::new();
        for (at, request) in requests.iter().take(limits.operations).enumerate() {
            let is_patch = request.method == encode::Method::Patch;
            let most = shape::operations_max(request, &self.dialect);
            let many = encode::operations(request).len() > most;
            let odd_id = !request.id.as_deref().is_none_or(is_plain);
            let versioned = self.dialect.if_match && request.id.is_some();
            if odd_id || versioned || (is_patch && (many || self.puts(request.resource_type))) {
                break;
            }
            let body = shape::body(request, &self.dialect).map(Cow::into_owned);
            let operation = operation(request, at, body);
            bytes += operation.to_string().len() + 1;
            if bytes > limits.payload_bytes {
                break;
            }
            operations.push(operation);
        }
        operations
    }

    /// Sends them, again while the target does not let anything in.
    async fn send_whole(&self, operations: Vec<Json>, lane: Lane) -> Whole {
        let body = json!({ "schemas": [BULK_SCHEMA], "Operations": operations });
        let call = Call::bulk(&body);
        let label = call.to_string();
        let mut attempt = 1;
        loop {
            let refusal = match self.send(&call, lane, attempt > 1).await {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    return match outcome::json_of(&label, answer) {
                        Ok(answers) => Whole::Answered(answers),
                        Err(refusal) => Whole::Unknown(refusal),
                    };
                }
                Ok(answer) => match (answer.status, outcome::refusal(&label, &answer)) {
                    (413, _) => return Whole::TooLarge,
                    (400 | 403 | 404 | 405 | 501, refusal) => return Whole::NotTaken(refusal),
                    (_, refusal) if refusal.fault == Fault::Throttled => refusal,
                    (_, refusal) if is_passing(&refusal) => return Whole::Unknown(refusal),
                    (_, refusal) => return Whole::Refused(refusal),
                },
                Err(Trouble::NotSent(refusal)) => refusal,
                Err(Trouble::Unclear(refusal)) => return Whole::Unknown(refusal),
            };
            if !is_passing(&refusal) || attempt >= self.repetition.attempts_max {
                return Whole::Refused(refusal);
            }
            self.pause(&refusal, attempt).await;
            attempt += 1;
        }
    }

    /// The outcome of each operation. What the target has put off, and what may be sent twice and has no clear answer, is sent
    /// again, alone: nobody waits for the next run because others went with him.
    async fn each(&self, requests: &[Request], answers: &Json, lane: Lane) -> Vec<Outcome> {
        let results = attribute(answers, "Operations").and_then(Json::as_array);
        let results = Results::of(results.map_or(&[][..], Vec::as_slice), requests.len());
        let classified = |(at, request)| match results.of_request(at, request) {
            Some(result) => classified(request, result),
            None => Outcome::Unknown(unanswered(request)),
        };
        let outcomes: Vec<Outcome> = requests.iter().enumerate().map(classified).collect();
        if outcomes.iter().any(is_put_off) {
            self.gate.hold(None);
        }
        let settled = requests
            .iter()
            .zip(outcomes)
            .map(|(request, outcome)| async {
                let again = match &outcome {
                    Outcome::Acknowledged { .. } => false,
                    // A create is sent again by those who know by now whom it refers to.
                    Outcome::Refused(_) => is_put_off(&outcome) && request.id.is_some(),
                    Outcome::Unknown(_) => outcome::is_repeatable(request),
                };
                match again {
                    true => self.submit(request, lane).await,
                    false => self.look_into(request, outcome, lane).await,
                }
            });
        join_all(settled).await
    }

    /// What may be sent twice is sent again, alone; the rest is looked at by those who asked.
    async fn after_doubt(
        &self,
        requests: &[Request],
        refusal: &Refusal,
        lane: Lane,
    ) -> Vec<Outcome> {
        let settled = requests.iter().map(|request| async {
            match outcome::is_repeatable(request) {
                true => self.submit(request, lane).await,
                false => Outcome::Unknown(refusal.clone()),
            }
        });
        join_all(settled).await
    }
}

/// The answers of operations, and whose they are.
struct Results<'a> {
    all: &'a [Json],
    /// By name; `None` where several have it.
    named: HashMap<&'a str, Option<&'a Json>>,
    /// Whether there are as many as requests, so that the order may tell.
    complete: bool,
}

impl<'a> Results<'a> {
    fn of(all: &'a [Json], requests: usize) -> Self {
        let mut named = HashMap::new();
        for result in all {
            if let Some(name) = name_of(result) {
                let slot = named.entry(name).or_insert(Some(result));
                *slot = slot.filter(|first| std::ptr::eq(*first, result));
            }
        }
        Self {
            all,
            named,
            complete: all.len() == requests,
        }
    }

    /// The answer of one request. Some servers name only the operations that create; the order is that of the request then,
    /// unless the answer itself says that it is another's.
    fn of_request(&self, at: usize, request: &Request) -> Option<&'a Json> {
        if let Some(result) = self.named.get(bulk_id(request, at).as_str()) {
            return *result;
        }
        let result = self.all.get(at).filter(|_| self.complete)?;
        let text = |name| attribute(result, name).and_then(Json::as_str);
        let same_method = text("method")
            .is_none_or(|method| method.eq_ignore_ascii_case(request.method.as_str()));
        let same_id = match (&request.id, text("location").and_then(id_in)) {
            (Some(id), Some(located)) => *id == located,
            _ => true,
        };
        (name_of(result).is_none() && same_method && same_id).then_some(result)
    }
}

fn name_of(result: &Json) -> Option<&str> {
    attribute(result, "bulkId")?.as_str()
}

/// Whether it says "too many requests", so that it was not carried out.
fn is_put_off(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(refusal) if refusal.fault == Fault::Throttled)
}

/// Whether an id is the same in a path however it is written.
fn is_plain(id: &str) -> bool {
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-_~".contains(c);
    !id.is_empty() && id.chars().all(unreserved)
}

fn bulk_id(request: &Request, at: usize) -> String {
    request.bulk_id.clone().unwrap_or_else(|| format!("r{at}"))
}

fn operation(request: &Request, at: usize, body: Option<Json>) -> Json {
    let mut path = format!("/{}", request.resource_type.endpoint());
    if let Some(id) = &request.id {
        path = format!("{path}/{id}");
    }
    let mut operation = json!({
        "method": request.method.as_str(),
        "bulkId": bulk_id(request, at),
        "path": path,
    });
    if let Some(body) = body {
        operation["data"] = body;
    }
    operation
}

/// The outcome of one operation, from its part of the answer (RFC 7644 §3.7.3).
fn classified(request: &Request, result: &Json) -> Outcome {
    let label = format!(
        "{} /{} in Bulk",
        request.method.as_str(),
        request.resource_type.endpoint()
    );
    let Some(status) = attribute(result, "status").and_then(status_of) else {
        return Outcome::Unknown(unanswered(request));
    };
    let body = match attribute(result, "response") {
        Some(response) if response.is_object() => Body::Json(response.clone()),
        // Where only the location is told, the id is its end.
        _ if (200..300).contains(&status) && request.method == encode::Method::Post => {
            match attribute(result, "location")
                .and_then(Json::as_str)
                .and_then(id_in)
            {
                Some(id) => Body::Json(json!({ "id": id })),
                None => Body::Empty,
            }
        }
        _ => Body::Empty,
    };
    let answer = Answer {
        status,
        headers: HeaderMap::new(),
        body,
        throttled: status == 429,
    };
    outcome::classify(request, &label, &answer)
}

/// A status as a text, a number, or an object with a code (the form of SCIM 1.1, which some still send).
fn status_of(status: &Json) -> Option<u16> {
    match status {
        Json::String(text) => text.trim().parse().ok(),
        Json::Number(number) => number
            .as_u64()
            .and_then(|number| u16::try_from(number).ok()),
        status => status_of(attribute(status, "code")?),
    }
}

fn id_in(location: &str) -> Option<String> {
    let path = location.split(['?', '#']).next()?;
    let last = path.rsplit('/').find(|part| !part.is_empty())?;
    let pairs = format!("id={}", last.replace('+', "%2B"));
    let (_, id) = url::form_urlencoded::parse(pairs.as_bytes()).next()?;
    Some(id.into_owned())
}

fn unanswered(request: &Request) -> Refusal {
    Refusal {
        fault: Fault::Transient,
        status: None,
        scim_type: None,
        message: format!(
            "{} /{} in Bulk has no answer of its own; what became of it is looked up",
            request.method.as_str(),
            request.resource_type.endpoint()
        ),
    }
}
