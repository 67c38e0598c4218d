//! Directories: created, listed, shown, changed and deleted.

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
use crate::admin::readonly::{self, OF_DIRECTORY};
use crate::admin::routes::{created, directory_id};
use crate::catalog::{Entry, Kept};
use crate::directory::{Directory, shown};
use crate::scheduler::Scheduled;
use crate::scheduler::forget::Deleted;

/// GET /directories
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let limit = query.limit();
    let after = query.text("cursor");
    let text = query.text("text").map(|text| text.to_lowercase());
    query.finish()?;
    let contents = admin.catalog.contents();
    let mut found = contents.directories_of(&caller.tenant);
    found.retain(|entry| {
        let name = &entry.definition.name;
        after.as_ref().is_none_or(|after| name > after)
            && text
                .as_ref()
                .is_none_or(|text| name.to_lowercase().contains(text))
    });
    let next = (found.len() > limit).then(|| found[limit - 1].definition.name.clone());
    let mut items = Vec::new();
    for entry in found.into_iter().take(limit) {
        items.push(as_json(&admin, entry).await?);
    }
    Ok(Json(json!({ "items": items, "nextCursor": next })))
}

/// POST /directories
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Document(fields): Document,
) -> Result<Response, Problem> {
    let entry = admin
        .catalog
        .create_directory(&caller.tenant, fields, &caller.hand())
        .await?;
    let id = entry.definition.id.to_string();
    Ok(created(
        &["directories", &id],
        as_json(&admin, &entry).await?,
    ))
}

/// GET /directories/{id}
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let entry = admin.entry(directory_id(&id)?, &caller.tenant)?;
    Ok(Json(as_json(&admin, &entry).await?))
}

/// PUT /directories/{id}
pub(super) async fn update(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(mut fields): Document,
) -> Result<Json<Value>, Problem> {
    let id = directory_id(&id)?;
    let entry = admin.entry(id, &caller.tenant)?;
    let (shown, hand) = (as_json(&admin, &entry).await?, caller.hand());
    readonly::drop_repeated(&mut fields, OF_DIRECTORY, &shown, &entry.kept)?;
    let before = entry.definition.profile_names();
    let entry = admin
        .catalog
        .update_directory(&caller.tenant, id, fields, &hand)
        .await?;
    let after = entry.definition.profile_names();
    for name in before.iter().filter(|name| !after.contains(name)) {
        let key = entry.definition.profile_key(name);
        admin.scheduler.forget(Deleted::Profile(key));
    }
    Ok(Json(as_json(&admin, &entry).await?))
}

/// DELETE /directories/{id}
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = directory_id(&id)?;
    let hand = caller.hand();
    admin
        .catalog
        .remove_directory(&caller.tenant, id, &hand)
        .await?;
    admin.scheduler.forget(Deleted::Directory(id));
    Ok(StatusCode::NO_CONTENT)
}

/// A directory with all its fields but the password, and when it runs next.
async fn as_json(admin: &Admin, entry: &Entry<Directory>) -> Result<Value, Problem> {
    let directory = &entry.definition;
    let mut fields = shown::directory(directory);
    fields.insert("kept".to_owned(), json!(kept_word(&entry.kept)));
    if let Kept::InStore(stored) = &entry.kept {
        fields.insert("createdAt".to_owned(), json!(stored.created_at));
        fields.insert("updatedAt".to_owned(), json!(stored.updated_at));
    }
    if let Some(profile) = directory.profiles.first() {
        let scheduled = Scheduled::of(directory, profile);
        let next = admin.scheduler.next_run(&scheduled).await?;
        fields.insert("nextRunAt".to_owned(), json!(next));
    }
    Ok(fields.into())
}

/// Where a definition is kept: whether the API may change it.
pub(super) fn kept_word(kept: &Kept) -> &'static str {
    match kept {
        Kept::InFile => "file",
        Kept::InStore(_) => "store",
    }
}
