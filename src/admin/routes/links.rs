//! Link proposals of a directory as the API shows them: listed, accepted, refused, released.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::body::Document;
use crate::admin::links::{self, Filter, Place, ProposalState, Undecided, Verb};
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::routes::{TURNS_PER_CALL, directory_id};
use crate::document::Node;
use crate::identity::{Kind, RowKey};

/// GET /directories/{id}/links
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
        state: query.word("state", &ProposalState::ALL),
        text: query.text("text").map(|text| text.to_lowercase()),
    };
    let mut after = query.cursor(|text| RowKey::from_key(&URL_SAFE_NO_PAD.decode(text).ok()?));
    query.finish()?;
    let protected = admin.protected(&caller.tenant);
    let place = Place {
        store: admin.store.as_ref(),
        directory: &directory,
        protected: &protected,
    };
    let mut items = Vec::new();
    for _ in 0..TURNS_PER_CALL {
        let (proposals, next) = links::turn(&place, &filter, after).await?;
        let count = proposals.len();
        for (at, proposal) in proposals.iter().enumerate() {
            items.push(proposal.shown());
            if items.len() == limit && (at + 1 < count || next.is_some()) {
                return Ok(page(&items, Some(&proposal.key)));
            }
        }
        after = next;
        if after.is_none() {
            return Ok(page(&items, None));
        }
    }
    Ok(page(&items, after.as_ref()))
}

fn page(items: &[Value], next: Option<&RowKey>) -> Json<Value> {
    let next = next.map(|row| URL_SAFE_NO_PAD.encode(row.to_key()));
    Json(json!({ "items": items, "nextCursor": next }))
}

/// POST /directories/{id}/links/accept
pub(super) async fn accept(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(request): Document,
) -> Result<Json<Value>, Problem> {
    decide(&admin, &caller, &id, Verb::Accept, &request).await
}

/// POST /directories/{id}/links/refuse
pub(super) async fn refuse(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(request): Document,
) -> Result<Json<Value>, Problem> {
    decide(&admin, &caller, &id, Verb::Refuse, &request).await
}

/// POST /directories/{id}/links/release
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
    let protected = admin.protected(&caller.tenant);
    let place = Place {
        store: admin.store.as_ref(),
        directory: &directory,
        protected: &protected,
    };
    let decided = links::decide(&place, verb, request, &caller.hand()).await;
    match decided {
        Ok(count) => Ok(Json(json!({ "decided": count }))),
        Err(Undecided::Invalid(problems)) => Err(Problem::invalid(problems)),
        Err(Undecided::Store(error)) => Err(error.into()),
    }
}
