//! Directories as the API shows them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::admin::routes::directory_id;
use crate::directory::Directory;
use crate::identity::DirectoryType;
use crate::job::schedule::Schedule;
use crate::scheduler::Scheduled;

/// GET /directories
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let mut items = Vec::new();
    for directory in admin
        .directories
        .iter()
        .filter(|directory| directory.tenant == caller.tenant)
    {
        items.push(shown(&admin, directory).await?);
    }
    Ok(Json(json!({ "items": items, "nextCursor": null })))
}

/// GET /directories/{id}
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let directory = admin
        .directory(directory_id(&id)?, &caller.tenant)
        .ok_or_else(Problem::not_found)?;
    Ok(Json(shown(&admin, directory).await?))
}

/// A directory without its password.
async fn shown(admin: &Admin, directory: &Directory) -> Result<Value, Problem> {
    let connection = &directory.connection;
    let kind = match connection.directory_type {
        DirectoryType::ActiveDirectory => "active_directory",
        DirectoryType::Ldap => "ldap",
    };
    let mut shown = json!({
        "id": directory.id,
        "name": directory.name,
        "type": kind,
        "host": connection.host,
        "port": connection.port,
        "useTLS": connection.use_tls,
        "startTLS": connection.start_tls,
        "bindDN": connection.bind_dn,
        "baseDN": connection.base_dn,
        "enabled": directory.enabled,
    });
    if let Some(profile) = directory.profiles.first() {
        let schedule = match &profile.schedule {
            Schedule::Cron(expression) => Some(expression.as_str().to_owned()),
            Schedule::Manual | Schedule::Every(_) => None,
        };
        let scheduled = Scheduled {
            key: directory.profile_key(&profile.name),
            schedule: profile.schedule.clone(),
            enabled: directory.enabled,
        };
        shown["usersDN"] = json!(profile.scope.users_dn);
        shown["groupsDN"] = json!(profile.scope.groups_dn);
        shown["nestedGroups"] = json!(profile.nested_groups);
        shown["syncSchedule"] = json!(schedule);
        shown["nextRunAt"] = json!(admin.scheduler.next_run(&scheduled).await?);
    }
    Ok(shown)
}
