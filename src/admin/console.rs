//! The web console: static files in the binary, which use the API and nothing else.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

/// Nothing but the relay's own files is loaded, nothing inline runs, no text ever becomes markup, and no other page frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Each file: its path, its media type, and what it holds.
macro_rules! files {
    ($($path:literal $kind:ident $name:literal,)*) => {
        &[$(($path, $kind, include_str!(concat!("console/", $name)))),*]
    };
}

/// The files.
const FILES: &[(&str, &str, &str)] = files![
    "/" HTML "index.html",
    "/console/style.css" STYLE "style.css",
    "/console/icon.svg" IMAGE "icon.svg",
    "/console/van.js" SCRIPT "van.js",
    "/console/api.js" SCRIPT "api.js",
    "/console/app.js" SCRIPT "app.js",
    "/console/audit.js" SCRIPT "audit.js",
    "/console/chart.js" SCRIPT "chart.js",
    "/console/connection.js" SCRIPT "connection.js",
    "/console/dashboard.js" SCRIPT "dashboard.js",
    "/console/decisions.js" SCRIPT "decisions.js",
    "/console/directory.js" SCRIPT "directory.js",
    "/console/download.js" SCRIPT "download.js",
    "/console/entries.js" SCRIPT "entries.js",
    "/console/fields.js" SCRIPT "fields.js",
    "/console/job.js" SCRIPT "job.js",
    "/console/mapping.js" SCRIPT "mapping.js",
    "/console/parts.js" SCRIPT "parts.js",
    "/console/ui.js" SCRIPT "ui.js",
    "/console/words.js" SCRIPT "words.js",
];

/// The routes of the console.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES
        .iter()
        .fold(Router::new(), |router, (path, kind, text)| {
            router.route(path, get(move || async move { file(kind, text) }))
        })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, text).into_response()
}
