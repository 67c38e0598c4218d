//! Tokens: list, issue, show, revoke, rotate.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::TokenId;
use crate::admin::Admin;
use crate::admin::auth::Administrator;
use crate::admin::body::Document;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::routes::created;
use crate::admin::tokens;
use crate::document::{Fields, Problems};

/// How long a token works beside its successor unless asked otherwise: a day.
pub(in crate::admin) const OVERLAP_SECONDS: i64 = 86_400;
/// The longest that it may: 30 days.
pub(in crate::admin) const OVERLAP_SECONDS_MAX: i64 = 30 * OVERLAP_SECONDS;

fn token_id(text: &str) -> Result<TokenId, Problem> {
    Uuid::parse_str(text)
        .map(TokenId)
        .map_err(|_| Problem::not_found())
}

/// GET /tokens
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let limit = query.limit();
    let after = query.cursor(|text| Uuid::parse_str(text).ok().map(TokenId));
    query.finish()?;
    let mut tokens = admin.keyring.list(&administrator);
    tokens.retain(|token| after.is_none_or(|after| token.id > after));
    let next = (tokens.len() > limit).then(|| tokens[limit - 1].id);
    let items: Vec<Value> = tokens.iter().take(limit).map(tokens::shown).collect();
    Ok(Json(json!({ "items": items, "nextCursor": next })))
}

/// POST /tokens
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    Document(body): Document,
) -> Result<Response, Problem> {
    let now = Utc::now();
    let mut tenants = admin.tenants();
    tenants.retain(|tenant| administrator.tenants.include(tenant));
    let grant = tokens::read(&body, &tenants, now).map_err(Problem::invalid)?;
    let (token, text) = admin.keyring.issue(grant, administrator, now).await?;
    let id = token.id.to_string();
    let shown = tokens::shown_once(&token, &text);
    Ok(created(&["tokens", &id], shown))
}

/// GET /tokens/{tokenId}
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let token = admin.keyring.get(token_id(&id)?, &administrator)?;
    Ok(Json(tokens::shown(&token)))
}

/// DELETE /tokens/{tokenId}
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = token_id(&id)?;
    admin.keyring.revoke(id, administrator, Utc::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// POST /tokens/{tokenId}/rotate
pub(super) async fn rotate(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    Path(id): Path<String>,
    Document(body): Document,
) -> Result<Response, Problem> {
    // What a foreign token's answer says must not depend on the body.
    let id = admin.keyring.get(token_id(&id)?, &administrator)?.id;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let overlap = fields.integer(
        "overlapSeconds",
        OVERLAP_SECONDS,
        0..=OVERLAP_SECONDS_MAX,
        &mut problems,
    );
    fields.finish(&mut problems);
    if !problems.0.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let now = Utc::now();
    let end = now + TimeDelta::seconds(overlap);
    let rotated = admin.keyring.rotate(id, end, administrator, now).await?;
    let mut shown = tokens::shown_once(&rotated.new, &rotated.text);
    shown["replaces"] = json!({ "id": rotated.old.id, "expiresAt": rotated.old.expires_at });
    let id = rotated.new.id.to_string();
    Ok(created(&["tokens", &id], shown))
}
