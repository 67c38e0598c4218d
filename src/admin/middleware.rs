//! What every request goes through: an id, a time limit, a task of its own, a problem document for every error, and one
//! line in the access log.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::admin::problem::{MEDIA_TYPE, Problem};
use crate::audit::Actor;

/// How long a handler may take until its answer begins. An event stream begins at once.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The header of a request, in bytes and in lines.
pub(super) const HEADER_BYTES_MAX: usize = 16 * 1024;
pub(super) const HEADER_LINES_MAX: usize = 64;
/// The longest id of a request that is taken over.
const ID_CHARS_MAX: usize = 64;
/// What the access log shows of a method, which may be any word of the caller's.
const METHOD_CHARS_MAX: usize = 16;
/// Stands in the access log for an answer that nobody waited for, as in other servers' logs.
const CLIENT_GONE: u16 = 499;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Handles a request in a task of its own, so that neither an impatient caller nor the time limit cuts a handler in the
/// middle: what it has begun, such as a job that is queued, it finishes.
pub(super) async fn handle(requests: TaskTracker, request: Request, next: Next) -> Response {
    let id = id_of(&request);
    let mut line = AccessLine::of(&request, &id);
    // An error's span, so that it is there at every log level.
    let span = tracing::error_span!("request", request_id = %id);
    let too_large = is_too_large(&request);
    let handled = async move {
        if too_large {
            Problem::header_too_large().into_response()
        } else {
            next.run(request).await
        }
    };
    let handler = requests.spawn(handled.instrument(span.clone()));
    let mut answer = match tokio::time::timeout(TIME_LIMIT, handler).await {
        Ok(Ok(answer)) => {
            line.token = token_of(&answer);
            as_problem(answer)
        }
        Ok(Err(defect)) => {
            span.in_scope(|| tracing::error!(error = %defect, "a request failed by a defect"));
            Problem::internal().into_response()
        }
        Err(_) => {
            span.in_scope(|| tracing::warn!("a request takes too long; it goes on by itself"));
            Problem::takes_too_long().into_response()
        }
    };
    line.status = answer.status().as_u16();
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}

fn is_too_large(request: &Request) -> bool {
    let lines = request.headers();
    let bytes = lines
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let address = request.uri().path_and_query();
    let address = address.map_or(0, |address| address.as_str().len());
    lines.len() > HEADER_LINES_MAX || bytes.sum::<usize>() + address > HEADER_BYTES_MAX
}

/// The caller's own id of the request if it can stand in a log, or a new one.
fn id_of(request: &Request) -> String {
    let asked = request.headers().get(REQUEST_ID);
    let asked = asked.and_then(|id| id.to_str().ok()).filter(|id| {
        let sound = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        (1..=ID_CHARS_MAX).contains(&id.len()) && id.chars().all(sound)
    });
    asked.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Whose request it was, without the name that somebody gave the token.
fn token_of(answer: &Response) -> Option<String> {
    match answer.extensions().get::<Actor>()? {
        Actor::Token { id: Some(id), .. } => Some(id.to_string()),
        Actor::Token { id: None, name } => Some(name.clone()),
        Actor::CommandLine | Actor::Job(_) | Actor::Relay => None,
    }
}

/// An error that the router or an extractor made up itself, in the words of this API.
fn as_problem(answer: Response) -> Response {
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind == MEDIA_TYPE)
        || !(status.is_client_error() || status.is_server_error())
    {
        return answer;
    }
    let mut problem = Problem::of_status(status).into_response();
    if let Some(allow) = answer.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

/// A line of the access log, written when the answer begins or the caller has gone. The route is the template, not the
/// path, and the peer is left out: neither says anything about a person.
struct AccessLine {
    method: String,
    route: String,
    id: String,
    /// The token's id, or `server.token`; absent for a request that was not let in.
    token: Option<String>,
    status: u16,
    begun: Instant,
}

impl AccessLine {
    fn of(request: &Request, id: &str) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        Self {
            method: request
                .method()
                .as_str()
                .chars()
                .take(METHOD_CHARS_MAX)
                .collect(),
            route: route.map_or("-", MatchedPath::as_str).to_owned(),
            id: id.to_owned(),
            token: None,
            status: CLIENT_GONE,
            begun: Instant::now(),
        }
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let Self {
            method,
            route,
            id,
            token,
            status,
            begun,
        } = self;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if matches!(route.as_str(), "/healthz" | "/readyz") {
            tracing::debug!(target: "scim_relay::admin::access", method, route, status, milliseconds, request_id = id, token, "request");
        } else {
            tracing::info!(target: "scim_relay::admin::access", method, route, status, milliseconds, request_id = id, token, "request");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::routing::get;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    fn service(requests: &TaskTracker, router: Router) -> TowerToHyperService<Router> {
        let requests = requests.clone();
        let handle = axum::middleware::from_fn(move |request: Request, next: Next| {
            handle(requests.clone(), request, next)
        });
        TowerToHyperService::new(router.layer(handle))
    }

    fn request(path: &str) -> Request {
        Request::get(path).body(Body::empty()).unwrap()
    }

    async fn is_problem(answer: Response, status: StatusCode) {
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert!(answer.headers().contains_key(REQUEST_ID));
        let body = to_bytes(answer.into_body(), 10_000).await.unwrap();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["status"], status.as_u16());
        assert!(!document.to_string().contains("knee"), "{document}");
    }

    #[tokio::test]
    async fn admin_request_that_meets_a_defect_is_answered_with_500() {
        async fn defect() {
            panic!("a pain in the knee")
        }
        let service = service(&TaskTracker::new(), Router::new().route("/", get(defect)));
        let answer = service.call(request("/")).await.unwrap();
        is_problem(answer, StatusCode::INTERNAL_SERVER_ERROR).await;
    }

    /// A handler with an effect, a minute and a half after it began.
    fn slow(done: &Arc<AtomicBool>) -> Router {
        let done = done.clone();
        let slow = move || async move {
            tokio::time::sleep(TIME_LIMIT + TIME_LIMIT / 2).await;
            done.store(true, Ordering::SeqCst);
        };
        Router::new().route("/", get(slow))
    }

    #[tokio::test(start_paused = true)]
    async fn admin_request_that_takes_too_long_is_answered_and_goes_on() {
        let (requests, done) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
        let answer = service(&requests, slow(&done)).call(request("/"));
        is_problem(answer.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE).await;
        assert!(!done.load(Ordering::SeqCst));
        requests.close();
        requests.wait().await;
        assert!(done.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn admin_request_whose_caller_has_gone_is_finished() {
        let (requests, done) = (TaskTracker::new(), Arc::new(AtomicBool::new(false)));
        let answer = service(&requests, slow(&done)).call(request("/"));
        let waited = tokio::time::timeout(Duration::from_secs(1), answer).await;
        assert!(waited.is_err());
        requests.close();
        requests.wait().await;
        assert!(done.load(Ordering::SeqCst));
    }
}
