//! Jobs as the API shows them: start, list, read, cancel, and what each changed.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin::auth::Caller;
use crate::admin::body::Document;
use crate::admin::plans;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::routes::{chosen_profile, directory_id, entry_name, job_id};
use crate::admin::{Admin, tell};
use crate::audit::Deed;
use crate::document::{Fields, Problems};
use crate::id::{JobId, ProfileName};
use crate::job::{Extent, Job, Mode, Status, Trigger};
use crate::scheduler::Refused;
use crate::store::jobs::{JobFilter, JournalLine};

/// Lines of a journal that are read in one turn, and turns of one call, so that a filter that nothing passes ends.
const LINES_PER_PAGE: usize = 500;
const PAGES_PER_CALL: usize = 20;

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
    let repair = fields.boolean("repair", true, &mut problems);
    if !repair && (mode != Mode::Reconcile || only.is_some()) {
        let cure = "goes with mode reconcile of everything only; leave it out";
        fields.refuse("repair", cure, &mut problems);
    }
    fields.finish(&mut problems);
    let profile = problems.verdict(profile).map_err(Problem::invalid)?;
    let key = directory.profile_key(&profile.name);
    let extent = Extent {
        mode,
        only,
        report: !repair,
        undoes: None,
    };
    let job = admin
        .scheduler
        .enqueue(&key, Trigger::Manual, extent, &caller.actor)
        .await
        .map_err(refusal)?;
    let answer = json!({ "jobId": job.id, "status": "running", "startedAt": job.queued_at });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// POST /directories/{id}/jobs/{jobId}/undo
pub(super) async fn undo(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
    Document(body): Document,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let job = found(&admin, &caller, &directory, &job).await?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let preview = fields.boolean("preview", false, &mut problems);
    fields.finish(&mut problems);
    problems.verdict(Some(())).map_err(Problem::invalid)?;
    let extent = plans::undoing(&job, preview).map_err(Problem::plan_not_waiting)?;
    let started = admin
        .scheduler
        .enqueue(&job.profile_key(), Trigger::Manual, extent, &caller.actor)
        .await
        .map_err(refusal)?;
    let answer =
        json!({ "jobId": started.id, "status": "running", "startedAt": started.queued_at });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Why a job does not begin.
pub(super) fn refusal(refused: Refused) -> Problem {
    match refused {
        Refused::Running(job) => Problem::job_running(job),
        Refused::Unknown => Problem::not_found(),
        Refused::Stopping => Problem::stopping(),
        Refused::Store(error) => error.into(),
    }
}

/// GET /directories/{id}/jobs
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let limit = query.limit();
    let cursor = query.cursor(|text| Uuid::parse_str(text).ok().map(JobId));
    let filter = JobFilter {
        directory: Some(directory.id),
        profile: query.text("profile").map(ProfileName),
        status: query.word("status", &Status::ALL),
        mode: query.word("mode", &Mode::ALL),
        trigger: query.word("trigger", &Trigger::ALL),
        since: query.time("since"),
        until: query.time("until"),
    };
    query.finish()?;
    let jobs = admin.store.jobs(filter, cursor, limit + 1).await?;
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
    if admin.scheduler.cancel(job.id) {
        let subject = format!("job {}", job.id);
        let event = caller.event(Utc::now(), Deed::JobCancel, subject, Vec::new());
        tell(admin.store.as_ref(), event).await;
    }
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// GET /directories/{id}/jobs/{jobId}/changes
pub(super) async fn changes(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let job = found(&admin, &caller, &directory, &job).await?;
    let limit = query.limit();
    let mut after: Option<u64> = query.cursor(|text| text.parse().ok());
    let errors = query.flag("errors");
    let operation = query.text("operation");
    let text = query.text("text").map(|text| text.to_lowercase());
    query.finish()?;
    let admits = |line: &JournalLine| {
        errors.is_none_or(|errors| errors == line.error().is_some())
            && operation
                .as_ref()
                .is_none_or(|operation| operation == line.operation())
            && text.as_ref().is_none_or(|text| has_text(line, text))
    };
    let mut items = Vec::new();
    for _ in 0..PAGES_PER_CALL {
        let lines = admin.store.changes(job.id, after, LINES_PER_PAGE).await?;
        let ended = lines.len() < LINES_PER_PAGE;
        let count = lines.len();
        for (at, (number, line)) in lines.into_iter().enumerate() {
            after = Some(number);
            items.extend(admits(&line).then(|| line.to_json()));
            if items.len() == limit && !(ended && at + 1 == count) {
                return Ok(page(items, after));
            }
        }
        if ended {
            return Ok(page(items, None));
        }
    }
    Ok(page(items, after))
}

/// Whether the object or what went wrong with it has this text, case ignored.
fn has_text(line: &JournalLine, text: &str) -> bool {
    let detail = line.error().map_or("", |error| &error.detail);
    [line.dn(), detail]
        .iter()
        .any(|part| part.to_lowercase().contains(text))
}

fn page(items: Vec<Value>, next: Option<u64>) -> Json<Value> {
    let next = next.map(|number| number.to_string());
    Json(json!({ "items": items, "nextCursor": next }))
}
