//! Conflicts of a directory as the API shows them: listed, resolved, released.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::body::Document;
use crate::admin::conflicts::{self, ConflictState, Filter, Last, Verb};
use crate::admin::links::Undecided;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::routes::{TURNS_PER_CALL, directory_id};
use crate::document::Node;
use crate::id::ConflictId;
use crate::identity::{Kind, RowKey};

/// GET /directories/{id}/conflicts
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let limit = query.limit();
    let filter = Filter {
        kind: query.word("kind", &[Kind::User, Kind::Group]),
        state: query.word("state", &ConflictState::ALL),
        attribute: query.parsed("attribute", str::parse),
        text: query.text("text").map(|text| text.to_lowercase()),
    };
    let mut after = query.cursor(read_cursor);
    query.finish()?;
    let mut items = Vec::new();
    for _ in 0..TURNS_PER_CALL {
        let turned = conflicts::turn(admin.store.as_ref(), &directory, &filter, after);
        let (turned, next) = turned.await?;
        let count = turned.len();
        for (at, item) in turned.iter().enumerate() {
            items.push(item.shown());
            if items.len() == limit && (at + 1 < count || next.is_some()) {
                return Ok(page(&items, Some(item.position())));
            }
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    Ok(page(&items, after))
}

fn page(items: &[Value], next: Option<Last>) -> Json<Value> {
    let next = next.map(|(row, path)| {
        let parts = [row.to_key(), path.to_string().into_bytes()];
        parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    });
    Json(json!({ "items": items, "nextCursor": next }))
}

fn read_cursor(text: &str) -> Option<Last> {
    let (row, path) = text.split_once('.')?;
    let row = RowKey::from_key(&URL_SAFE_NO_PAD.decode(row).ok()?)?;
    let path = String::from_utf8(URL_SAFE_NO_PAD.decode(path).ok()?).ok()?;
    Some((row, path.parse().ok()?))
}

/// POST /directories/{id}/conflicts/{conflictId}/resolve
pub(super) async fn resolve_one(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((id, conflict)): Path<(String, String)>,
    Document(request): Document,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let conflict = Uuid::try_parse(&conflict).map_err(|_| Problem::not_found())?;
    let (store, conflict) = (admin.store.as_ref(), ConflictId(conflict));
    let decided =
        conflicts::decide_one(store, &directory, conflict, &request, &caller.hand()).await;
    match decided {
        Ok(Some(shown)) => Ok(Json(shown)),
        Ok(None) => Err(Problem::not_found()),
        Err(why) => Err(problem(why)),
    }
}

/// POST /directories/{id}/conflicts/resolve
pub(super) async fn resolve(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(request): Document,
) -> Result<Json<Value>, Problem> {
    decide(&admin, &caller, &id, Verb::Resolve, &request).await
}

/// POST /directories/{id}/conflicts/release
pub(super) async fn release(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(request): Document,
) -> Result<Json<Value>, Problem> {
    decide(&admin, &caller, &id, Verb::Release, &request).await
}

async fn decide(
    admin: &Admin,
    caller: &Caller,
    id: &str,
    verb: Verb,
    request: &Node,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(id)?, &caller.tenant)?;
    let store = admin.store.as_ref();
    let decided = conflicts::decide(store, &directory, verb, request, &caller.hand()).await;
    let count = decided.map_err(problem)?;
    Ok(Json(json!({ "decided": count })))
}

fn problem(why: Undecided) -> Problem {
    match why {
        Undecided::Invalid(problems) => Problem::invalid(problems),
        Undecided::Store(error) => error.into(),
    }
}
