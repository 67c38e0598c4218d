//! Trials: a test of a directory's connection, one entry mapped, and the probe of a target.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use chrono::Utc;
use serde_json::{Value, json};

use crate::access::Permission;
use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::body::Document;
use crate::admin::explanation::Explanation;
use crate::admin::probe::{MappingPreview, PreviewRefused, Stage, TestReport};
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::routes::{chosen_profile, directory_id, entry_name};
use crate::admin::shares::Share;
use crate::audit::Deed;
use crate::directory::tenant::dialect::FIELD;
use crate::document::{Fields, Node, Problems};

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
    let entry = chosen_entry(&mut fields, &mut problems);
    fields.finish(&mut problems);
    let (profile, entry) = problems
        .verdict(profile.zip(entry))
        .map_err(Problem::invalid)?;
    let _place = place(&admin, &caller)?;
    let probe = &admin.probe;
    let preview = probe.preview_mapping(&directory, profile, None, &entry);
    preview.await.map(Json).map_err(not_previewed)
}

/// POST /directories/preview-mapping
pub(super) async fn preview_unsaved_mapping(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Document(body): Document,
) -> Result<Json<MappingPreview>, Problem> {
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let entry = chosen_entry(&mut fields, &mut problems);
    let draft = fields.node("directory").cloned();
    if draft.is_none() {
        let what = "is missing: the directory as it would be created";
        fields.refuse("directory", what, &mut problems);
    }
    fields.finish(&mut problems);
    let (draft, entry) = problems
        .verdict(draft.zip(entry))
        .map_err(Problem::invalid)?;
    let drafted = admin.catalog.draft_directory(&caller.tenant, draft);
    let (directory, password) =
        drafted.map_err(|refused| Problem::from(refused).within("/directory"))?;
    let profile = directory.profiles.first().ok_or_else(Problem::not_found)?;
    let _place = place(&admin, &caller)?;
    let probe = &admin.probe;
    let preview = probe.preview_mapping(&directory, profile, Some(&password), &entry);
    preview.await.map(Json).map_err(not_previewed)
}

fn not_previewed(refused: PreviewRefused) -> Problem {
    match refused {
        PreviewRefused::NotFound(message) => {
            let mut problems = Problems::default();
            problems.add(None, "/entry", message);
            Problem::invalid(problems)
        }
        PreviewRefused::Directory(error) => Problem::directory(error.message),
    }
}

/// POST /directories/{id}/explain
pub(super) async fn explain(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(body): Document,
) -> Result<Json<Explanation>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    let is_named = fields.has("profile");
    let profile = chosen_profile(&directory, &mut fields, &mut problems);
    let entry = chosen_entry(&mut fields, &mut problems);
    fields.finish(&mut problems);
    let (profile, entry) = problems
        .verdict(profile.zip(entry))
        .map_err(Problem::invalid)?;
    let _place = place(&admin, &caller)?;
    let profile = is_named.then_some(&profile.name);
    let explained = admin.probe.explain(&directory, profile, &entry).await;
    explained.map(Json).map_err(Problem::directory)
}

/// POST /directories/{id}/probe
pub(super) async fn probe_target(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Document(body): Document,
) -> Result<Json<Value>, Problem> {
    let directory = admin.directory(directory_id(&id)?, &caller.tenant)?;
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    if !fields.boolean("consent", false, &mut problems) {
        let message = "must be true: the probe creates users and groups on the target, whose names begin with scim-relay-probe-, \
                       and removes them again";
        fields.refuse("consent", message, &mut problems);
    }
    let store = fields.boolean("store", false, &mut problems);
    fields.finish(&mut problems);
    problems.verdict(Some(())).map_err(Problem::invalid)?;
    if store {
        may_store(&admin, &caller)?;
    }
    let _place = place(&admin, &caller)?;
    let subject = format!("tenant {} (directory {})", caller.tenant, directory.name);
    let event = caller.event(Utc::now(), Deed::TargetProbe, subject, Vec::new());
    admin.store.append_audit(vec![event]).await?;
    let stop = admin.stop.child_token();
    let probed = admin.probe.probe_target(&caller.tenant, stop).await;
    let findings = probed.map_err(Problem::directory)?;
    let store = store && findings.complete && !findings.differences.is_empty();
    if store {
        let change = json!({ FIELD: findings.dialect });
        let catalog = &admin.catalog;
        catalog
            .update_tenant(&caller.tenant, Node::of_json(change), &caller.hand())
            .await?;
    }
    let mut shown = json!(findings);
    shown["stored"] = json!(store);
    Ok(Json(shown))
}

/// Says before anything is sent whether the tenant's dialect can be stored.
fn may_store(admin: &Admin, caller: &Caller) -> Result<(), Problem> {
    if !caller.manages_tenant {
        return Err(Problem::permission_missing(Permission::Admin));
    }
    admin.catalog.may_change_tenant(&caller.tenant)?;
    Ok(())
}

/// The one entry that a body names.
fn chosen_entry(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<String> {
    let what = "one entry by its DN, its anchor or its userName";
    fields.required_text("entry", what, problems);
    fields.parsed("entry", problems, entry_name)
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
