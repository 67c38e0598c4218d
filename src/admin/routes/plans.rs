//! Plans as the API shows them: read, approve by digest, reject; and what is held on rows.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::body::Document;
use crate::admin::plans::{self, Chosen, HeldState, Undecided};
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::routes::jobs::{found, refusal};
use crate::admin::routes::{chosen_profile, directory_id, job_id};
use crate::audit::Deed;
use crate::document::{Fields, Problems};
use crate::id::JobId;
use crate::identity::RowKey;
use crate::job::Job;
use crate::plan::held::{Held, HoldKey};
use crate::plan::{Class, Plan, Step};
use crate::store::Position;

/// Steps and held rows that are read in one turn, and turns of one call, so that a filter that nothing passes ends.
const ITEMS_PER_TURN: usize = 500;
const TURNS_PER_CALL: usize = 20;

/// GET /directories/{id}/jobs/{jobId}/plan
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let job = found(&admin, &caller, &directory, &job).await?;
    let plan = plan_of(&admin, &job).await?;
    Ok(Json(plans::shown(&plan, &job)))
}

async fn plan_of(admin: &Admin, job: &Job) -> Result<Plan, Problem> {
    let plan = admin.store.plan(job.id).await?;
    plan.ok_or_else(Problem::not_found)
}

/// GET /directories/{id}/jobs/{jobId}/plan/steps
pub(super) async fn steps(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let job = found(&admin, &caller, &directory, &job).await?;
    let plan = plan_of(&admin, &job).await?;
    let limit = query.limit();
    let mut after = query.cursor(position);
    let operation = query.word("operation", &Class::ALL);
    let held = query.flag("held");
    let text = query.text("text").map(|text| text.to_lowercase());
    query.finish()?;
    let admits = |step: &Step| {
        operation.is_none_or(|class| class == step.class)
            && held.is_none_or(|held| held == plan.holds(step))
            && text
                .as_ref()
                .is_none_or(|text| step.dn.to_lowercase().contains(text))
    };
    let mut items = Vec::new();
    for _ in 0..TURNS_PER_CALL {
        let steps = admin.store.steps(job.id, after, ITEMS_PER_TURN).await?;
        let ended = steps.len() < ITEMS_PER_TURN;
        let count = steps.len();
        for (at, (position, step)) in steps.into_iter().enumerate() {
            after = Some(position);
            items.extend(admits(&step).then(|| plans::step_shown(&plan, &step)));
            if items.len() == limit && !(ended && at + 1 == count) {
                return Ok(page(&items, after.map(cursor)));
            }
        }
        if ended {
            return Ok(page(&items, None));
        }
    }
    Ok(page(&items, after.map(cursor)))
}

fn cursor(position: Position) -> String {
    format!("{}-{}", position.class.as_str(), position.number)
}

fn position(text: &str) -> Option<Position> {
    let (class, number) = text.rsplit_once('-')?;
    let class = Class::ALL
        .into_iter()
        .find(|known| known.as_str() == class)?;
    let number = number.parse().ok()?;
    Some(Position { class, number })
}

fn page(items: &[Value], next: Option<String>) -> Json<Value> {
    Json(json!({ "items": items, "nextCursor": next }))
}

/// POST /directories/{id}/jobs/{jobId}/approve
pub(super) async fn approve(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
    Document(body): Document,
) -> Result<(StatusCode, Json<Job>), Problem> {
    let job = found(&admin, &caller, &directory, &job).await?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let digest = fields.required_text(
        "digest",
        "the digest of the plan that you read",
        &mut problems,
    );
    fields.finish(&mut problems);
    let digest = problems.verdict(digest).map_err(Problem::invalid)?;
    let hand = caller.hand();
    let (store, tenant) = (admin.store.as_ref(), &caller.tenant);
    let decide = || plans::approve(store, job.id, digest, tenant, &hand);
    let gone_on = admin.scheduler.go_on(&job, decide).await;
    let job = gone_on.map_err(refusal)?.map_err(undecided)?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// POST /directories/{id}/jobs/{jobId}/reject
pub(super) async fn reject(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path((directory, job)): Path<(String, String)>,
    Document(body): Document,
) -> Result<Json<Job>, Problem> {
    let job = found(&admin, &caller, &directory, &job).await?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let digest = fields.text("digest", &mut problems);
    fields.finish(&mut problems);
    problems.verdict(Some(())).map_err(Problem::invalid)?;
    let store = admin.store.as_ref();
    let hand = caller.hand();
    plans::reject(store, job.id, digest, &caller.tenant, &hand)
        .await
        .map(Json)
        .map_err(undecided)
}

fn undecided(undecided: Undecided) -> Problem {
    match undecided {
        Undecided::Conflict(detail) => Problem::plan_not_waiting(detail),
        Undecided::Store(error) => error.into(),
    }
}

/// GET /directories/{id}/holds
pub(super) async fn held(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let limit = query.limit();
    let mut after = query.cursor(held_place);
    let state = query.word("state", &HeldState::ALL);
    let text = query.text("text").map(|text| text.to_lowercase());
    query.finish()?;
    let admits = |held: &Held| {
        let dn = held.steps.first().map(|step| step.dn.to_lowercase());
        state.is_none_or(|state| state == HeldState::of(held))
            && text
                .as_ref()
                .is_none_or(|text| dn.is_some_and(|dn| dn.contains(text)))
    };
    let mut items = Vec::new();
    for _ in 0..TURNS_PER_CALL {
        let turn = admin
            .store
            .all_held(directory.id, after, ITEMS_PER_TURN)
            .await?;
        let (count, ended) = (turn.len(), turn.len() < ITEMS_PER_TURN);
        after = None;
        for (at, held) in turn.iter().enumerate() {
            after = held.key();
            items.extend(plans::held_shown(held).filter(|_| admits(held)));
            if items.len() == limit && !(ended && at + 1 == count) {
                return Ok(page(&items, after.map(held_cursor)));
            }
        }
        if ended {
            return Ok(page(&items, None));
        }
    }
    Ok(page(&items, after.map(held_cursor)))
}

fn held_cursor(key: HoldKey) -> String {
    let by = [u8::from(key.by_person)];
    URL_SAFE_NO_PAD.encode([&by[..], key.job.0.as_bytes(), &key.row.to_key()].concat())
}

fn held_place(text: &str) -> Option<HoldKey> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (by, rest) = bytes.split_first()?;
    let (job, row) = rest.split_at_checked(16)?;
    Some(HoldKey {
        row: RowKey::from_key(row)?,
        job: JobId(Uuid::from_slice(job).ok()?),
        by_person: *by != 0,
    })
}

/// POST /directories/{id}/holds/release
pub(super) async fn release(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(body): Document,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let all = fields.boolean("all", false, &mut problems);
    let anchor = fields.parsed("anchor", &mut problems, |text| match text {
        "" => Err("is empty: the anchor of an entry".to_owned()),
        anchor => Ok(anchor.to_owned()),
    });
    let job = fields.parsed("jobId", &mut problems, |text| {
        job_id(text).map_err(|_| "is not the id of a job".to_owned())
    });
    if !all && anchor.is_none() && job.is_none() {
        let cure = "name an anchor, a jobId, or all";
        fields.refuse("all", cure, &mut problems);
    }
    fields.finish(&mut problems);
    problems.verdict(Some(())).map_err(Problem::invalid)?;
    let chosen = Chosen { anchor, job };
    let released =
        plans::release(admin.store.as_ref(), &directory, &chosen, &caller.hand()).await?;
    Ok(Json(json!({ "released": released })))
}

/// POST /directories/{id}/quarantine
pub(super) async fn clear_quarantine(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(body): Document,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let profile = chosen_profile(&directory, &mut fields, &mut problems);
    fields.finish(&mut problems);
    let profile = problems.verdict(profile).map_err(Problem::invalid)?;
    let key = directory.profile_key(&profile.name);
    let subject = format!("profile {} of directory {}", profile.name, directory.name);
    let at = Utc::now();
    let event = caller.event(at, Deed::QuarantineClear, subject, Vec::new());
    admin.store.clear_quarantine(&key, at, event).await?;
    let quarantine = admin.scheduler.quarantine(&key, &profile.schedule).await?;
    Ok(Json(json!({ "quarantine": quarantine })))
}
