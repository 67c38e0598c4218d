//! Tenants: created, listed, shown, changed and deleted.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Administrator;
use crate::admin::body::Document;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::readonly::{self, OF_TENANT};
use crate::admin::routes::created;
use crate::admin::routes::directories::kept_word;
use crate::catalog::{Entry, Kept};
use crate::directory::shown;
use crate::directory::tenant::Tenant;
use crate::id::TenantName;

/// GET /tenants
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let limit = query.limit();
    let after = query.text("cursor").map(TenantName);
    query.finish()?;
    let contents = admin.catalog.contents();
    let mut items: Vec<&Entry<Tenant>> = contents
        .tenants()
        .filter(|entry| {
            let name = &entry.definition.name;
            administrator.may_manage(name) && after.as_ref().is_none_or(|after| name > after)
        })
        .collect();
    let next = (items.len() > limit).then(|| items[limit - 1].definition.name.clone());
    items.truncate(limit);
    let items: Vec<Value> = items.into_iter().map(as_json).collect();
    Ok(Json(json!({ "items": items, "nextCursor": next })))
}

/// POST /tenants
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    Document(fields): Document,
) -> Result<Response, Problem> {
    if !administrator.may_manage_all() {
        return Err(Problem::only_for_all_tenants());
    }
    let entry = admin
        .catalog
        .create_tenant(fields, &administrator.hand())
        .await?;
    let name = &entry.definition.name.0;
    Ok(created(&["tenants", name], as_json(&entry)))
}

/// GET /tenants/{name}
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let name = managed(&administrator, name)?;
    let contents = admin.catalog.contents();
    let entry = contents.tenant(&name).ok_or_else(Problem::not_found)?;
    Ok(Json(as_json(entry)))
}

/// PUT /tenants/{name}
pub(super) async fn update(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    Path(name): Path<String>,
    Document(mut fields): Document,
) -> Result<Json<Value>, Problem> {
    let name = managed(&administrator, name)?;
    let hand = administrator.hand();
    let contents = admin.catalog.contents();
    let entry = contents.tenant(&name).ok_or_else(Problem::not_found)?;
    readonly::drop_repeated(&mut fields, OF_TENANT, &as_json(entry), &entry.kept)?;
    let entry = admin.catalog.update_tenant(&name, fields, &hand).await?;
    Ok(Json(as_json(&entry)))
}

/// DELETE /tenants/{name}
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Extension(administrator): Extension<Administrator>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let name = managed(&administrator, name)?;
    admin
        .catalog
        .remove_tenant(&name, &administrator.hand())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The name, if the caller may know of such a tenant.
fn managed(administrator: &Administrator, name: String) -> Result<TenantName, Problem> {
    Some(TenantName(name))
        .filter(|name| administrator.may_manage(name))
        .ok_or_else(Problem::not_found)
}

/// A tenant with all its fields but the secrets.
fn as_json(entry: &Entry<Tenant>) -> Value {
    let mut fields = shown::tenant(&entry.definition);
    fields.insert("kept".to_owned(), json!(kept_word(&entry.kept)));
    if let Kept::InStore(stored) = &entry.kept {
        fields.insert("createdAt".to_owned(), json!(stored.created_at));
        fields.insert("updatedAt".to_owned(), json!(stored.updated_at));
    }
    fields.into()
}
