//! Schedules in words, before they are saved.

use axum::Json;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::body::Document;
use crate::admin::problem::Problem;
use crate::document::{Fields, Problems};
use crate::job::schedule::CronExpression;

/// How many of its times are told.
const TIMES: usize = 5;

/// A schedule as people read it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct SchedulePreview {
    /// When it runs, in words.
    words: String,
    /// The next times.
    next_runs: Vec<DateTime<Utc>>,
}

/// POST /schedules/preview
pub(super) async fn preview(Document(body): Document) -> Result<Json<SchedulePreview>, Problem> {
    let mut problems = Problems::default();
    let mut fields = Fields::of(&body, "", &mut problems);
    fields.required_text(
        "syncSchedule",
        "5 fields, such as `0 2 * * *`",
        &mut problems,
    );
    let expression = fields.parsed("syncSchedule", &mut problems, CronExpression::parse);
    fields.finish(&mut problems);
    let expression = problems.verdict(expression).map_err(Problem::invalid)?;
    let next = |time: &DateTime<Utc>| expression.next_after(*time);
    let times = std::iter::successors(expression.next_after(Utc::now()), next);
    Ok(Json(SchedulePreview {
        words: expression.in_words(),
        next_runs: times.take(TIMES).collect(),
    }))
}
