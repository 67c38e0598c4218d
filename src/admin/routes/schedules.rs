//! Schedules in words, before they are saved.

use axum::Json;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::body::Document;
use crate::admin::problem::Problem;
use crate::document::{Fields, Problems};
use crate::job::schedule::{CronExpression, Schedule, parse_interval};

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
    let expression = fields.parsed("syncSchedule", &mut problems, CronExpression::parse);
    let interval = fields.parsed("syncInterval", &mut problems, parse_interval);
    if fields.has("syncSchedule") == fields.has("syncInterval") {
        let cure = "send either syncSchedule, 5 fields such as `0 2 * * *`, or syncInterval, such as `15m`";
        fields.refuse("syncSchedule", cure, &mut problems);
    }
    fields.finish(&mut problems);
    let schedule = match (expression, interval) {
        (Some(expression), _) => Some(Schedule::Cron(Box::new(expression))),
        (None, interval) => interval.map(Schedule::Every),
    };
    let schedule = problems.verdict(schedule).map_err(Problem::invalid)?;
    let now = Utc::now();
    let next = |time: &DateTime<Utc>| schedule.next_run(Some(*time), now);
    Ok(Json(SchedulePreview {
        words: schedule.in_words(),
        next_runs: std::iter::successors(next(&now), next)
            .take(TIMES)
            .collect(),
    }))
}
