//! Trials of a directory: a test of its connection, and one entry mapped.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::body::Document;
use crate::admin::probe::{MappingPreview, PreviewRefused, Stage, TestReport};
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::routes::{chosen_profile, directory_id, entry_name};
use crate::admin::shares::Share;
use crate::document::{Fields, Problems};

/// POST /directories/test
pub(super) async fn test_unsaved(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    query: Query,
    Document(fields): Document,
) -> Result<Json<TestReport>, Problem> {
    let stage = stage(query)?;
    let (directory, password) = admin.catalog.draft_directory(&caller.tenant, fields)?;
    let profile = directory.profiles.first().ok_or_else(Problem::not_found)?;
    let _place = place(&admin, &caller)?;
    let report = admin
        .probe
        .test(&directory, profile, Some(&password), stage);
    Ok(Json(report.await))
}

/// POST /directories/{id}/test
pub(super) async fn test(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Query,
    Document(body): Document,
) -> Result<Json<TestReport>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let stage = stage(query)?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let profile = chosen_profile(&directory, &mut fields, &mut problems);
    fields.finish(&mut problems);
    let profile = problems.verdict(profile).map_err(Problem::invalid)?;
    let _place = place(&admin, &caller)?;
    let report = admin.probe.test(&directory, profile, None, stage);
    Ok(Json(report.await))
}

/// POST /directories/{id}/preview-mapping
pub(super) async fn preview_mapping(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(body): Document,
) -> Result<Json<MappingPreview>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let profile = chosen_profile(&directory, &mut fields, &mut problems);
    let what = "one entry by its DN, its anchor or its userName";
    fields.required_text("entry", what, &mut problems);
    let entry = fields.parsed("entry", &mut problems, entry_name);
    fields.finish(&mut problems);
    let (profile, entry) = problems
        .verdict(profile.zip(entry))
        .map_err(Problem::invalid)?;
    let _place = place(&admin, &caller)?;
    let preview = admin.probe.preview_mapping(&directory, profile, &entry);
    match preview.await {
        Ok(preview) => Ok(Json(preview)),
        Err(PreviewRefused::NotFound(message)) => {
            let mut problems = Problems::default();
            problems.add(None, "/entry", message);
            Err(Problem::invalid(problems))
        }
        Err(PreviewRefused::Directory(error)) => Err(Problem::directory(error.message)),
    }
}

fn place(admin: &Admin, caller: &Caller) -> Result<Share, Problem> {
    let place = admin.trials.take(&caller.tenant);
    place.ok_or_else(Problem::too_many_trials)
}

fn stage(mut query: Query) -> Result<Stage, Problem> {
    let stage = query.parsed("stage", Stage::from_word);
    query.finish()?;
    Ok(stage.unwrap_or_default())
}
