//! The caller itself: who it is and what it may, and the console's session.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chrono::Utc;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Bearer;
use crate::admin::auth::sessions::{COOKIE, Opened};
use crate::admin::problem::Problem;
use crate::admin::routes::created;

/// Where the browser sends the cookie to.
const PATH: &str = "/api/v1";

/// GET /session
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(bearer): Extension<Bearer>,
) -> Json<Value> {
    Json(shown(&admin, &bearer, bearer.session.as_ref()))
}

/// POST /session
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(bearer): Extension<Bearer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // A session is not exchanged for another one: it would never end.
    if bearer.session.is_some() {
        return Err(Problem::unauthorized(None));
    }
    let (cookie, opened) = admin.keyring.begin_session(&bearer, Utc::now()).await?;
    let mut answer = created(&["session"], shown(&admin, &bearer, Some(&opened)));
    set_cookie(
        &mut answer,
        cookie.expose(),
        is_protected(&admin, &headers),
        "",
    );
    Ok(answer)
}

/// DELETE /session
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Extension(bearer): Extension<Bearer>,
    headers: HeaderMap,
) -> Response {
    let keyring = &admin.keyring;
    keyring.end_session(&bearer, &headers, Utc::now()).await;
    let mut answer = StatusCode::NO_CONTENT.into_response();
    set_cookie(
        &mut answer,
        "",
        is_protected(&admin, &headers),
        "; Max-Age=0",
    );
    answer
}

fn shown(admin: &Admin, bearer: &Bearer, session: Option<&Opened>) -> Value {
    json!({
        "caller": bearer.actor.to_string(),
        "tenants": bearer.tenants_of(&admin.tenants()),
        "permissions": bearer.permissions(),
        "csrfToken": session.map(|session| session.csrf.expose()),
        "endsAt": session.map(|session| session.ends_at),
    })
}

/// Whether the browser speaks TLS, to the relay or to a proxy before it.
fn is_protected(admin: &Admin, headers: &HeaderMap) -> bool {
    admin.has_tls
        || headers
            .get("x-forwarded-proto")
            .is_some_and(|scheme| scheme == "https")
}

/// No script can read the cookie, and no other site's page makes the browser send it.
fn set_cookie(answer: &mut Response, value: &str, is_protected: bool, more: &str) {
    let secure = if is_protected { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path={PATH}; HttpOnly; SameSite=Strict{secure}{more}");
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}
