//! Jobs as the API shows them: start, list, read, cancel.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::body::Document;
use crate::admin::problem::Problem;
use crate::admin::routes::{chosen_profile, directory_id, entry_name, job_id, limit};
use crate::document::{Fields, Problems};
use crate::id::JobId;
use crate::job::{Extent, Job, Mode, Trigger};
use crate::scheduler::Refused;

/// POST /directories/{id}/sync
pub(super) async fn start(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(body): Document,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let profile = chosen_profile(&directory, &mut fields, &mut problems);
    let mode = fields
        .parsed("mode", &mut problems, Mode::from_word)
        .unwrap_or_default();
    let only = fields.parsed("only", &mut problems, entry_name);
    fields.finish(&mut problems);
    let profile = problems.verdict(profile).map_err(Problem::invalid)?;
    let key = directory.profile_key(&profile.name);
    let job = admin
        .scheduler
        .enqueue(&key, Trigger::Manual, Extent { mode, only })
        .await
        .map_err(|refused| match refused {
            Refused::Running(job) => Problem::job_running(job),
            Refused::Unknown => Problem::not_found(),
            Refused::Stopping => Problem::stopping(),
            Refused::Store(error) => error.into(),
        })?;
    let answer = json!({ "jobId": job.id, "status": "running", "startedAt": job.queued_at });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// GET /directories/{id}/jobs
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let limit = limit(query.get("limit").map(String::as_str))?;
    let cursor = match query.get("cursor").map(|cursor| Uuid::parse_str(cursor)) {
        None => None,
        Some(Ok(id)) => Some(JobId(id)),
        Some(Err(_)) => {
            return Err(Problem::malformed(
                "cursor must be the nextCursor of an earlier answer",
            ));
        }
    };
    let jobs = admin
        .store
        .jobs(Some(directory.id), cursor, limit + 1)
        .await?;
    let next = (jobs.len() > limit).then(|| jobs[limit - 1].id);
    let live = |job: Job| match admin.scheduler.watch(job.id) {
        Some(live) => live.borrow().clone(),
        None => job,
    };
    let items: Vec<Job> = jobs.into_iter().take(limit).map(live).collect();
    Ok(Json(json!({ "items": items, "nextCursor": next })))
}

/// A job of a directory of the caller's tenant.
pub(super) async fn found(
    admin: &Admin,
    caller: &Caller,
    directory: &str,
    job: &str,
) -> Result<Job, Problem> {
    let directory = admin.directory(directory_id(directory)?, &caller.tenant)?;
    let job = admin.store.job(job_id(job)?).await?;
    job.filter(|job| job.directory_id == directory.id)
        .ok_or_else(Problem::not_found)
}

/// GET /directories/{id}/jobs/{jobId}
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
) -> Result<Json<Job>, Problem> {
    // Watched first: a job that ends in between is then found in the store at its end.
    let live = admin.scheduler.watch(job_id(&job)?);
    let job = found(&admin, &caller, &directory, &job).await?;
    Ok(Json(live.map_or(job, |live| live.borrow().clone())))
}

/// POST /directories/{id}/jobs/{jobId}/cancel
pub(super) async fn cancel(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    let job = found(&admin, &caller, &directory, &job).await?;
    admin.scheduler.cancel(job.id);
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// GET /directories/{id}/jobs/{jobId}/changes
pub(super) async fn changes(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let job = found(&admin, &caller, &directory, &job).await?;
    let limit = limit(query.get("limit").map(String::as_str))?;
    let cursor = match query.get("cursor").map(|cursor| cursor.parse()) {
        None => None,
        Some(Ok(number)) => Some(number),
        Some(Err(_)) => {
            return Err(Problem::malformed(
                "cursor must be the nextCursor of an earlier answer",
            ));
        }
    };
    let lines = admin.store.changes(job.id, cursor, limit + 1).await?;
    let next = (lines.len() > limit).then(|| lines[limit - 1].0.to_string());
    let items: Vec<Value> = lines
        .iter()
        .take(limit)
        .map(|(_, change)| change.to_json())
        .collect();
    Ok(Json(json!({ "items": items, "nextCursor": next })))
}
