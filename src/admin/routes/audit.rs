//! The audit log as the API shows it: read, never written.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::admin::routes::query::Asked;
use crate::audit::{Deed, Record};
use crate::store::records::AuditFilter;

/// GET /audit
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let asked = Asked::of(query, &["since", "text", "action"])?;
    let deed = asked.text("action").map(|word| Deed::from_word(&word));
    let filter = AuditFilter {
        relay_wide: caller.manages_relay,
        tenant: Some(caller.tenant),
        deed: deed.transpose().map_err(Problem::malformed)?,
        before: asked.cursor(|text| text.parse().ok())?,
        since: asked.time("since")?,
        text: asked.text("text"),
    };
    let page = admin.store.audit(filter, asked.limit()?).await?;
    let items: Vec<Value> = page.records.iter().map(Record::to_json).collect();
    let next = page.next.map(|number| number.to_string());
    Ok(Json(json!({ "items": items, "nextCursor": next })))
}
