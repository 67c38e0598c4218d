//! Profiles of a directory: created, listed, shown, changed and deleted.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::body::Document;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::readonly::{self, OF_DEFAULT_PROFILE, OF_PROFILE};
use crate::admin::routes::{created, directory_id};
use crate::directory::profile::Profile;
use crate::directory::{Directory, shown};
use crate::id::ProfileName;
use crate::scheduler::Scheduled;
use crate::scheduler::forget::Deleted;

/// GET /directories/{id}/profiles: in the order in which they own users.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let limit = query.limit();
    let after = query.text("cursor");
    query.finish()?;
    let profiles = &directory.profiles;
    let from = match &after {
        None => 0,
        Some(after) => {
            let last = profiles.iter().position(|known| known.name.0 == *after);
            last.map_or(profiles.len(), |last| last + 1)
        }
    };
    let mut items = Vec::new();
    for profile in profiles.iter().skip(from).take(limit) {
        items.push(as_json(&admin, &directory, profile).await?);
    }
    let next = profiles
        .get(from + limit)
        .and_then(|_| profiles.get(from + limit - 1))
        .map(|last| &last.name);
    Ok(Json(json!({ "items": items, "nextCursor": next })))
}

/// POST /directories/{id}/profiles
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(fields): Document,
) -> Result<Response, Problem> {
    let id = directory_id(&id)?;
    let hand = caller.hand();
    let entry = admin
        .catalog
        .create_profile(&caller.tenant, id, fields, &hand)
        .await?;
    let directory = &entry.definition;
    let profile = directory.profiles.last().ok_or_else(Problem::not_found)?;
    let place = ["directories", &id.to_string(), "profiles", &profile.name.0];
    let shown = as_json(&admin, directory, profile).await?;
    Ok(created(&place, shown))
}

/// GET /directories/{id}/profiles/{profileId}
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((id, profile)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    found(&admin, &directory, &ProfileName(profile)).await
}

/// PUT /directories/{id}/profiles/{profileId}
pub(super) async fn update(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((id, profile)): Path<(String, String)>,
    Document(mut fields): Document,
) -> Result<Json<Value>, Problem> {
    let (id, profile) = (directory_id(&id)?, ProfileName(profile));
    let hand = caller.hand();
    let entry = admin.entry(id, &caller.tenant)?;
    let Json(shown) = found(&admin, &entry.definition, &profile).await?;
    let names = match profile == ProfileName::default() {
        true => OF_DEFAULT_PROFILE,
        false => OF_PROFILE,
    };
    readonly::drop_repeated(&mut fields, names, &shown, &entry.kept)?;
    let entry = admin
        .catalog
        .update_profile(&caller.tenant, id, &profile, fields, &hand)
        .await?;
    found(&admin, &entry.definition, &profile).await
}

/// DELETE /directories/{id}/profiles/{profileId}
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((id, profile)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (id, profile) = (directory_id(&id)?, ProfileName(profile));
    let hand = caller.hand();
    let entry = admin
        .catalog
        .remove_profile(&caller.tenant, id, &profile, &hand)
        .await?;
    let key = entry.definition.profile_key(&profile);
    admin.scheduler.forget(Deleted::Profile(key));
    Ok(StatusCode::NO_CONTENT)
}

async fn found(
    admin: &Admin,
    directory: &Directory,
    name: &ProfileName,
) -> Result<Json<Value>, Problem> {
    let profile = directory.profile(name).ok_or_else(Problem::not_found)?;
    Ok(Json(as_json(admin, directory, profile).await?))
}

/// A profile with all its fields, and when it runs next.
async fn as_json(
    admin: &Admin,
    directory: &Directory,
    profile: &Profile,
) -> Result<Value, Problem> {
    let mut fields = shown::profile_of(directory, profile);
    fields.insert("id".to_owned(), json!(profile.name));
    fields.insert("name".to_owned(), json!(profile.name));
    fields.insert("enabled".to_owned(), json!(profile.enabled));
    let scheduled = Scheduled::of(directory, profile);
    let next = admin.scheduler.next_run(&scheduled).await?;
    fields.insert("nextRunAt".to_owned(), json!(next));
    Ok(fields.into())
}
