//! The server of these tests, and settings with small limits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::id::TenantName;
use crate::provider::{Auth, Provider, Settings, open};
use crate::scim::ResourceType;
use crate::scim::dialect::Dialect;
use crate::scim::encode::{self, Request as Write};
use crate::scim::pace::{Rate, Rates};
use crate::secret::Secret;

/// The token of these tests; no message may contain it.
pub(super) const TOKEN: &str = "canary-token-4711";

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) at: Instant,
    /// How many requests came before.
    pub(super) before: usize,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let pair = self.query.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A running server; it ends with the test's runtime.
pub(super) struct Target {
    pub(super) url: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Target {
    /// Starts a server whose answers the function gives.
    pub(super) async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Asked) -> Response + Clone + Send + Sync + 'static,
    {
        Self::start_slow(move |asked| (Duration::ZERO, answer(asked))).await
    }

    /// Starts a server that waits before it answers.
    pub(super) async fn start_slow<F>(answer: F) -> Self
    where
        F: Fn(&Asked) -> (Duration, Response) + Clone + Send + Sync + 'static,
    {
        let log: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = log.clone();
        let app = axum::Router::new().fallback(async move |request: Request| {
            let asked = note(request, &seen).await;
            let (wait, response) = answer(&asked);
            tokio::time::sleep(wait).await;
            response
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/scim", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { url, log }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// A provider that speaks to this server.
    pub(super) fn provider(&self) -> Box<dyn Provider> {
        open(settings(&self.url)).unwrap()
    }
}

async fn note(request: Request, log: &Mutex<Vec<Asked>>) -> Asked {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let url = reqwest::Url::parse(&format!("http://x{}", parts.uri)).unwrap();
    let mut log = log.lock().unwrap();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: url.query_pairs().into_owned().collect(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
        at,
        before: log.len(),
    };
    log.push(asked.clone());
    asked
}

pub(in crate::provider::http) fn settings(base_url: &str) -> Settings {
    Settings {
        tenant: TenantName("acme".into()),
        base_url: base_url.to_owned(),
        auth: Auth::Bearer(Secret::new(TOKEN.into())),
        rate: Rate::new(1_000, 1, None).unwrap(),
        rates: Rates::default(),
        concurrency: 8,
        ca_certificate: None,
        client_certificate: None,
        headers: Vec::new(),
        secret_headers: Vec::new(),
        connect_timeout: Duration::from_millis(300),
        answer_timeout: Duration::from_millis(300),
        attempts_max: 3,
        retry_pause: Duration::from_millis(5),
        dialect: Dialect {
            page_resources: 10,
            ..Dialect::default()
        },
    }
}

pub(super) fn reply(status: u16, body: Json) -> Response {
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    (status, body.to_string()).into_response()
}

pub(super) fn html(status: u16) -> Response {
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    (status, "<!DOCTYPE html><p>Log in</p>").into_response()
}

/// A body whose beginning arrives and whose end does not.
pub(super) fn broken_off(status: u16) -> Response {
    let parts = [Ok(r#"{"id": "#), Err(std::io::Error::other("broken off"))];
    Response::builder()
        .status(status)
        .body(Body::from_stream(futures_util::stream::iter(parts)))
        .unwrap()
}

pub(super) fn list(total: usize, resources: &[Json]) -> Response {
    reply(
        200,
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"], "totalResults": total, "Resources": resources}),
    )
}

pub(super) fn create() -> Write {
    encode::create(ResourceType::User, &Default::default(), &[])
}

/// A change that may be sent twice.
pub(super) fn change() -> Write {
    Write {
        resource_type: ResourceType::User,
        method: encode::Method::Patch,
        id: Some("7".into()),
        body: Some(json!({"Operations": [{"op": "replace", "path": "title", "value": "x"}]})),
        bulk_id: None,
        known: encode::Known::default(),
    }
}
