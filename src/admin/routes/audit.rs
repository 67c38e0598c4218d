//! The audit log as the API shows it: read, never written.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::audit::{Deed, Record};
use crate::catalog::Kept;
use crate::store::records::AuditFilter;

/// What happened under an earlier tenant of the same name is somebody else's, unless one looks at the whole relay.
fn since_tenant(admin: &Admin, caller: &Caller) -> Option<DateTime<Utc>> {
    let contents = admin.catalog.contents();
    match contents.tenant(&caller.tenant).map(|entry| &entry.kept) {
        Some(Kept::InStore(stored)) if !caller.manages_relay => Some(stored.created_at),
        _ => None,
    }
}

/// GET /audit
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let limit = query.limit();
    let filter = AuditFilter {
        relay_wide: caller.manages_relay,
        tenant: Some(caller.tenant.clone()),
        deed: query.parsed("action", Deed::from_word),
        before: query.cursor(|text| text.parse().ok()),
        since: query.time("since").max(since_tenant(&admin, &caller)),
        text: query.text("text"),
    };
    query.finish()?;
    let page = admin.store.audit(filter, limit).await?;
    let items: Vec<Value> = page.records.iter().map(Record::to_json).collect();
    let next = page.next.map(|number| number.to_string());
    Ok(Json(json!({ "items": items, "nextCursor": next })))
}
