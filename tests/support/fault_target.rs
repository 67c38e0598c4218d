//! A SCIM target that fails on demand, around one that does not: what really happened can always be asked.
// Every test binary uses a part of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use scim_relay::demo::target::answer::{Answer, Call};
use scim_relay::demo::target::{Options, Target, http};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use faults::{Conflict, Fault, RetryAfter, Rule};

/// How the target behaves apart from single faults.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The start of all that is drawn by chance.
    pub seed: u64,
    /// The bearer token that every request must carry.
    pub token: Option<String>,
    /// Lists with a filter do not find resources that are younger.
    pub index_lag: Duration,
    /// Groups do not take resources as members that are younger.
    pub member_lag: Duration,
    /// Attributes that are taken without a word and not kept.
    pub unkept: &'static [&'static str],
    /// The options of the target beneath.
    pub options: Options,
}

/// One request as it came in, and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When the request had been read.
    pub at: Instant,
    /// The request.
    pub call: Arc<Call>,
    /// Its headers.
    pub headers: Arc<HeaderMap>,
    /// Resources that the request was to change or to make members, and that nobody gave one of our externalIds.
    pub strangers: Vec<String>,
    /// What was made to go wrong.
    pub fault: Option<Fault>,
    /// The status that the truth gave; `None` when the request did not reach it.
    pub truth: Option<u16>,
    /// The status that was sent; `None` when the connection was closed instead.
    pub sent: Option<u16>,
}

impl Exchange {
    /// Whether the request changed the truth.
    pub fn took_effect(&self) -> bool {
        self.call.method != "GET" && self.truth.is_some_and(|status| status < 300)
    }
}

/// The running target; it stops when this is dropped.
pub struct FaultTarget {
    shared: Arc<Shared>,
    base_url: String,
    _stop: DropGuard,
}

struct Shared {
    target: Target,
    settings: Settings,
    script: Mutex<Script>,
    connections: AtomicUsize,
}

struct Script {
    rules: Vec<Rule>,
    random: u64,
    journal: Vec<Exchange>,
}

/// Makes hyper close the connection without an answer.
#[derive(Debug)]
struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection is dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

impl FaultTarget {
    /// Starts a target with these faults on a free loopback port.
    pub async fn start(rules: Vec<Rule>) -> Self {
        Self::start_with(rules, Settings::default()).await
    }

    /// The same with settings.
    pub async fn start_with(rules: Vec<Rule>, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let base_url = format!("http://{address}{}", http::BASE_PATH);
        let target = Target::new(&settings.options);
        target.set_base_url(&base_url);
        let script = Script {
            rules,
            random: settings.seed,
            journal: Vec::new(),
        };
        let shared = Arc::new(Shared {
            target,
            settings,
            script: Mutex::new(script),
            connections: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, shared.clone(), stop.clone()));
        Self {
            shared,
            base_url,
            _stop: stop.drop_guard(),
        }
    }

    /// The SCIM base URL.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The truth: what the target holds, and its own journal of the calls that took effect.
    pub fn target(&self) -> &Target {
        &self.shared.target
    }

    /// Every request so far, in the order in which they had been read.
    pub fn journal(&self) -> Vec<Exchange> {
        self.shared.script.lock().unwrap().journal.clone()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Puts other faults in the place of those there were; their counting starts anew.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        self.shared.script.lock().unwrap().rules = rules;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let (stream, _) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted.unwrap(),
        };
        stream.set_nodelay(true).unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = shared.clone();
        let service = service_fn(move |request| exchange(shared.clone(), request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                // A drop on purpose, or a client that went away: both are the business of the test.
                _ = connection => {}
            }
        });
    }
}

async fn exchange(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Dropped> {
    if !http::is_authorized(request.headers(), shared.settings.token.as_deref()) {
        return Ok(http::respond(http::unauthorized()));
    }
    let headers = request.headers().clone();
    let call = match http::receive(request).await {
        Ok(call) => call,
        Err(answer) => return Ok(http::respond(answer)),
    };
    let (number, fault) = shared.arrived(&call, headers);
    let truth = match &fault {
        Some(fault) if !reaches_truth(fault) => None,
        _ => Some(shared.ask(&call, fault.as_ref())),
    };
    // Written down at once: a client that gives up while it waits for a slow answer ends this function there.
    shared.script.lock().unwrap().journal[number].truth =
        truth.as_ref().map(|answer| answer.status);
    if let Some(Fault::Slow(wait) | Fault::StatusAfter(wait, _)) = fault {
        tokio::time::sleep(wait).await;
    }
    let response = response(fault, truth);
    let mut script = shared.script.lock().unwrap();
    script.journal[number].sent = response.as_ref().map(|response| response.status().as_u16());
    response.ok_or(Dropped)
}

fn reaches_truth(fault: &Fault) -> bool {
    !matches!(
        fault,
        Fault::DropBefore
            | Fault::Status { .. }
            | Fault::StatusAfter(..)
            | Fault::Conflict(_)
            | Fault::Throttle(_)
            | Fault::Unavailable(_)
            | Fault::Html
            | Fault::Redirect(_)
            | Fault::NoEffect
    )
}

impl Shared {
    /// Writes the request down and decides what goes wrong with it.
    fn arrived(&self, call: &Call, headers: HeaderMap) -> (usize, Option<Fault>) {
        let strangers = strangers(&self.target, call);
        let mut script = self.script.lock().unwrap();
        let Script { rules, random, .. } = &mut *script;
        let mut draw = || draw(random);
        // All rules are asked, since all of them count.
        let decisions: Vec<Option<Fault>> = rules
            .iter_mut()
            .map(|rule| rule.decide(call, &mut draw))
            .collect();
        let fault = decisions.into_iter().flatten().next();
        script.journal.push(Exchange {
            at: Instant::now(),
            call: Arc::new(call.clone()),
            headers: Arc::new(headers),
            strangers,
            fault: fault.clone(),
            truth: None,
            sent: None,
        });
        (script.journal.len() - 1, fault)
    }

    fn ask(&self, call: &Call, fault: Option<&Fault>) -> Answer {
        let mut asked = call.clone();
        if fault == Some(&Fault::IgnoreFilter) {
            asked.query.retain(|(name, _)| name != "filter");
        }
        forget(&mut asked, self.settings.unkept);
        if names_young_member(&self.target, &asked, self.settings.member_lag) {
            return Answer::error(400, Some("invalidValue"), "a member does not exist");
        }
        if operations(&asked).is_some_and(<[Value]>::is_empty) {
            return Answer::no_content();
        }
        let mut answer = self.target.handle(asked);
        let filtered = call.query.iter().any(|(name, _)| name == "filter");
        if filtered && !self.settings.index_lag.is_zero() {
            let newest = Utc::now() - self.settings.index_lag;
            retain(&mut answer, true, |resource| created(resource) <= newest);
        }
        answer
    }
}

/// The operations of a PATCH.
fn operations(call: &Call) -> Option<&[Value]> {
    let operations = call.body.as_ref()?.get("Operations")?;
    operations.as_array().map(Vec::as_slice)
}

/// The ids of those that a request is to make members.
fn members(call: &Call) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut members = call
        .body
        .as_ref()
        .map_or_else(Vec::new, |body| list(&body["members"]));
    for operation in operations(call).unwrap_or_default() {
        if operation["path"] == "members" {
            members.extend(list(&operation["value"]));
        }
    }
    let ids = members.iter().filter_map(|member| member["value"].as_str());
    ids.map(str::to_owned).collect()
}

fn held(target: &Target, path: &str) -> Option<Value> {
    // Not its members, of which there may be very many.
    let call = Call::new("GET", path).query("attributes", "externalId,meta");
    let answer = target.handle(call);
    answer.body.filter(|_| answer.status == 200)
}

/// Those whom a request concerns and who are not ours: each of ours has an anchor for its externalId, which is a UUID, or is
/// given one by this very request.
fn strangers(target: &Target, call: &Call) -> Vec<String> {
    if call.method == "GET" {
        return Vec::new();
    }
    let is_ours = |resource: &Value| {
        let external_id = resource["externalId"].as_str().unwrap_or_default();
        uuid::Uuid::parse_str(external_id).is_ok()
    };
    let gives_external_id = match call.method.as_str() {
        "PUT" => call.body.as_ref().is_some_and(is_ours),
        _ => operations(call)
            .unwrap_or_default()
            .iter()
            .any(|operation| operation["path"] == "externalId"),
    };
    let of_members = members(call);
    let members = of_members.iter().map(|id| format!("/Users/{id}"));
    let itself = (!gives_external_id).then(|| call.path.clone());
    let is_strange = |path: &String| {
        held(target, path).is_some_and(|held| held["id"].is_string() && !is_ours(&held))
    };
    itself
        .into_iter()
        .chain(members)
        .filter(is_strange)
        .collect()
}

fn names_young_member(target: &Target, call: &Call, lag: Duration) -> bool {
    if lag.is_zero() || call.method == "GET" {
        return false;
    }
    let oldest = Utc::now() - lag;
    let is_young = |id: &String| {
        let member = held(target, &format!("/Users/{id}"));
        member.is_some_and(|member| created(&member) > oldest)
    };
    members(call).iter().any(is_young)
}

/// Takes attributes out of what is written.
fn forget(call: &mut Call, attributes: &[&str]) {
    let Some(body) = call.body.as_mut().and_then(Value::as_object_mut) else {
        return;
    };
    for attribute in attributes {
        body.remove(*attribute);
        if let Some(operations) = body.get_mut("Operations").and_then(Value::as_array_mut) {
            operations.retain(|operation| {
                let path = operation["path"].as_str().unwrap_or_default();
                !path.starts_with(attribute)
            });
        }
    }
}

fn created(resource: &Value) -> DateTime<Utc> {
    let created = resource["meta"]["created"].as_str().unwrap_or_default();
    created.parse().unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Keeps some resources of a list; `totalResults` counts the others out too, or does not.
fn retain(answer: &mut Answer, count_out: bool, keep: impl FnMut(&Value) -> bool) {
    let Some(body) = &mut answer.body else {
        return;
    };
    let Some(resources) = body["Resources"].as_array_mut() else {
        return;
    };
    let before = resources.len();
    resources.retain(keep);
    let (kept, lost) = (resources.len(), before - resources.len());
    body["itemsPerPage"] = kept.into();
    if count_out {
        body["totalResults"] = (body["totalResults"].as_u64().unwrap() - lost as u64).into();
    }
}

/// What is sent; `None` closes the connection. `truth` is there if and only if the fault lets the request reach it.
fn response(fault: Option<Fault>, truth: Option<Answer>) -> Option<Response<Body>> {
    let Some(mut answer) = truth else {
        return match fault? {
            Fault::Status {
                code,
                scim_type,
                detail,
                numeric,
            } => Some(faults::error(code, scim_type, detail, numeric)),
            Fault::StatusAfter(_, code) => Some(faults::bare(code)),
            Fault::Conflict(shape) => Some(shape.response()),
            Fault::Throttle(retry_after) => Some(retry_after.response(429)),
            Fault::Unavailable(retry_after) => Some(retry_after.response(503)),
            Fault::Html => Some(faults::html(200, "Sign in")),
            Fault::Redirect(to) => Some(faults::redirect(&to)),
            Fault::NoEffect => Some(faults::bare(204)),
            _ => None,
        };
    };
    match fault {
        Some(Fault::ApplyThenDrop) => return None,
        Some(Fault::ApplyThenStatus(code)) => return Some(faults::bare(code)),
        Some(Fault::Accepted202) => return Some(faults::bare(202)),
        Some(Fault::ConflictAs(shape)) if answer.status == 409 => return Some(shape.response()),
        Some(Fault::CreatedWithoutId) if answer.status == 201 => {
            answer.location = answer.location.map(|location| {
                let (collection, _) = location.rsplit_once('/').unwrap();
                format!("{collection}/undefined")
            });
            let resource = answer.body.as_mut().and_then(Value::as_object_mut).unwrap();
            resource.remove("id");
            resource.remove("meta");
        }
        Some(Fault::TruncatedList { keep, honest_total }) => {
            let mut left = keep;
            retain(&mut answer, !honest_total, |_| {
                let kept = left > 0;
                left = left.saturating_sub(1);
                kept
            });
        }
        Some(Fault::FindNothing) => {
            retain(&mut answer, true, |_| false);
            if let Some(body) = answer
                .body
                .as_mut()
                .filter(|body| body["totalResults"].is_u64())
            {
                body["totalResults"] = 0.into();
            }
        }
        Some(Fault::HideMembers) => show_members(&mut answer, 0),
        Some(Fault::ShowMembers(count)) => show_members(&mut answer, count),
        _ => {}
    }
    Some(http::respond(answer))
}

fn show_members(answer: &mut Answer, count: usize) {
    let Some(body) = &mut answer.body else {
        return;
    };
    let hide = |resource: &mut Value| {
        if resource["meta"]["resourceType"] == "Group" {
            let members = resource["members"].as_array();
            let shown = members.into_iter().flatten().take(count).cloned().collect();
            resource["members"] = Value::Array(shown);
        }
    };
    match body.get_mut("Resources").and_then(Value::as_array_mut) {
        Some(resources) => resources.iter_mut().for_each(hide),
        None => hide(body),
    }
}

/// A number from 0 to 1 (splitmix64).
fn draw(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    // The upper 53 bits fill the mantissa of a double exactly.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}
