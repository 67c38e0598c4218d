//! A directory's users and groups as the API shows them: what is linked, its state, and what stands in its way.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::routes::directory_id;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::identity::{Kind, RowKey};
use crate::plan::backoff::next_try;
use crate::plan::decide::name_path;
use crate::plan::grace::Grace;
use crate::plan::membership::AbsentGroups;
use crate::plan::protected::Protected;
use crate::scim::Value as ScimValue;
use crate::snapshot::{MatchedBy, Row, Seen, Standing};

/// Rows that are read in one turn, and turns of one call, so that a filter that nothing passes ends.
const ROWS_PER_TURN: usize = 500;
const TURNS_PER_CALL: usize = 8;

/// How an entry stands with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::admin) enum LinkState {
    /// The entry is in scope and its resource is managed.
    Linked,
    /// The entry is in scope and will be created or linked, unless its last error says why not.
    Pending,
    /// The entry is in scope, disabled, and has no resource: it is not created.
    Disabled,
    /// The target has a resource that may be the entry's: a person must decide.
    Proposed,
    /// The target has such a resource, and a person decided that it is not the entry's.
    Refused,
    /// The target has such a resource, and it belongs to another entry, or there are several.
    Taken,
    /// The resource, or the one that may be the entry's, is on the tenant's protected list: it is left alone.
    Protected,
    /// The entry is gone or out of scope, and keeps what it has at the target until the grace period is over.
    Leaving,
    /// The entry is gone or out of scope.
    Absent,
}

impl LinkState {
    const ALL: [Self; 9] = [
        Self::Linked,
        Self::Pending,
        Self::Disabled,
        Self::Proposed,
        Self::Refused,
        Self::Taken,
        Self::Protected,
        Self::Leaving,
        Self::Absent,
    ];
}

/// GET /directories/{id}/users
pub(super) async fn users(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>, Problem> {
    list(&admin, &caller, &id, query, Kind::User).await
}

/// GET /directories/{id}/groups
pub(super) async fn groups(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>, Problem> {
    list(&admin, &caller, &id, query, Kind::Group).await
}

async fn list(
    admin: &Admin,
    caller: &Caller,
    id: &str,
    mut query: Query,
    kind: Kind,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(id)?, &caller.tenant)?;
    let limit = query.limit();
    let state = query.word("state", &LinkState::ALL);
    let text = query.text("text").map(|text| text.to_lowercase());
    let mut after = query.cursor(|text| row_of(text).filter(|row| row.kind == kind));
    query.finish()?;
    let names = directory.owners();
    let protected = admin.protected(&caller.tenant);
    let now = Utc::now();
    let mut items = Vec::new();
    for _ in 0..TURNS_PER_CALL {
        let rows = admin
            .store
            .listed_rows(directory.id, &names, kind, after, ROWS_PER_TURN)
            .await?;
        let ended = rows.len() < ROWS_PER_TURN;
        let last = rows.last().map(|row| row.key.clone());
        after = last.clone();
        for row in rows {
            let item = Item::of(&directory, &protected, &row, now);
            if !item.passes(state, text.as_deref()) {
                continue;
            }
            items.push(item.shown(&row));
            if items.len() == limit && !(ended && last.as_ref() == Some(&row.key)) {
                return Ok(page(&items, Some(&row.key)));
            }
        }
        if ended {
            return Ok(page(&items, None));
        }
    }
    Ok(page(&items, after.as_ref()))
}

fn page(items: &[Value], next: Option<&RowKey>) -> Json<Value> {
    let next = next.map(|row| URL_SAFE_NO_PAD.encode(row.to_key()));
    Json(json!({ "items": items, "nextCursor": next }))
}

fn row_of(cursor: &str) -> Option<RowKey> {
    RowKey::from_key(&URL_SAFE_NO_PAD.decode(cursor).ok()?)
}

/// What a row comes to.
struct Item {
    state: LinkState,
    profile: Option<String>,
    dn: Option<String>,
    name: Option<String>,
    active: Option<bool>,
    leaves_at: Option<DateTime<Utc>>,
}

impl Item {
    fn of(directory: &Directory, protected: &Protected, row: &Row, now: DateTime<Utc>) -> Self {
        let owner = row.owner();
        let profile = owner.and_then(|(name, _)| directory.profile(name));
        let present = owner.filter(|(_, seen)| seen.standing == Standing::Present);
        let desired = profile
            .zip(present)
            .map(|(profile, (_, seen))| profile.mapping.desired(&seen.identity, now));
        let wanted_active = desired.as_ref().and_then(|desired| desired.active);
        let wanted = desired.and_then(|desired| desired.resource.ok());
        // What the target holds under a name is what people look for there.
        let attributes = row.applied.as_ref().map(|applied| &applied.attributes);
        let path = name_path(row.key.kind);
        let name = attributes
            .or(wanted.as_ref())
            .and_then(|attributes| attributes.get(&path))
            .and_then(ScimValue::as_text);
        let leaves_at = profile.and_then(|profile| leaves_at(profile, row, now));
        Self {
            state: match protected.covers(row) {
                true => LinkState::Protected,
                false if leaves_at.is_some() => LinkState::Leaving,
                false => state(row, present.map(|(_, seen)| seen), wanted_active),
            },
            profile: owner.map(|(name, _)| name.to_string()),
            dn: owner.map(|(_, seen)| seen.identity.dn.clone()),
            name: name.map(str::to_owned),
            active: row.applied.as_ref().map(|applied| applied.is_active()),
            leaves_at,
        }
    }

    fn passes(&self, state: Option<LinkState>, text: Option<&str>) -> bool {
        let has_text = |text: &str| {
            let mut parts = self.dn.iter().chain(&self.name);
            parts.any(|part| part.to_lowercase().contains(text))
        };
        state.is_none_or(|state| state == self.state) && text.is_none_or(has_text)
    }

    fn shown(self, row: &Row) -> Value {
        let error = row.last.error.as_ref().map(|error| {
            json!({
                "at": error.at,
                "operation": error.operation,
                "fault": error.fault,
                "status": error.status,
                "detail": error.detail,
            })
        });
        let mut shown = json!({
            "anchor": row.key.anchor.to_string(),
            "dn": self.dn,
            "id": row.applied.as_ref().map(|applied| &applied.id),
            "state": self.state,
            "profile": self.profile,
            "leavesAt": self.leaves_at,
            "lastError": error,
            "nextTryAt": row.last.refused.iter().map(next_try).min(),
            "lastChangedAt": row.last.changed_at,
        });
        match row.key.kind {
            Kind::User => {
                shown["userName"] = json!(self.name);
                shown["active"] = json!(self.active);
            }
            Kind::Group => shown["displayName"] = json!(self.name),
        }
        shown
    }
}

/// When a linked row whose entry is gone loses what it has at the target, where its grace period is not over.
fn leaves_at(profile: &Profile, row: &Row, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (applied, (_, seen)) = (row.applied.as_ref()?, row.owner()?);
    let grace = Grace {
        period: profile.grace_period,
        now,
        changed_at: None,
    };
    let active = || profile.mapping.desired(&seen.identity, now).active;
    let waits = match row.key.kind {
        Kind::User => profile.deprovisioning.waits(applied, active()),
        Kind::Group => profile.absent_groups == AbsentGroups::Empty,
    };
    grace.ends(seen).filter(|_| waits)
}

fn state(row: &Row, present: Option<&Seen>, wanted_active: Option<bool>) -> LinkState {
    match (present, &row.applied, &row.found) {
        (None, _, _) => LinkState::Absent,
        (Some(_), Some(_), _) => LinkState::Linked,
        (Some(_), None, Some(_)) if row.decided().is_some_and(|one| !one.accepted) => {
            LinkState::Refused
        }
        (Some(_), None, Some(found)) if found.is_proposal() => LinkState::Proposed,
        (Some(_), None, Some(found)) if found.by != MatchedBy::ExternalId => LinkState::Taken,
        (Some(_), None, None) if wanted_active == Some(false) => LinkState::Disabled,
        (Some(_), None, _) => LinkState::Pending,
    }
}
