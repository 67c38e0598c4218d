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
use crate::admin::auth::sessions::Opened;
use crate::admin::problem::Problem;
use crate::admin::routes::created;

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
    let keyring = &admin.keyring;
    let (cookie, opened) = keyring.begin_session(&bearer, &headers, Utc::now()).await?;
    let answer = created(&["session"], shown(&admin, &bearer, Some(&opened)));
    Ok(with_cookie(answer, cookie))
}

/// DELETE /session
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Extension(bearer): Extension<Bearer>,
    headers: HeaderMap,
) -> Response {
    let keyring = &admin.keyring;
    let cookie = keyring.end_session(&bearer, &headers, Utc::now()).await;
    with_cookie(StatusCode::NO_CONTENT.into_response(), cookie)
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

fn with_cookie(mut answer: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}
