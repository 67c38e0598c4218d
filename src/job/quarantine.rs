//! Quarantine: a profile whose jobs fail again and again is tried at growing intervals.

use chrono::{DateTime, Duration, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::job::schedule::Schedule;
use crate::job::{Job, Status};

/// Jobs that fail in a row before a profile is in quarantine.
const FAILURES: u32 = 3;
/// The longest time between two tries.
const LONGEST: Duration = Duration::days(1);

/// A profile in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// Jobs that failed in a row.
    pub failures: u32,
    /// When the first of them ended.
    pub since: DateTime<Utc>,
    /// It is not tried by itself before this time; a job that somebody starts runs at once.
    pub next_try_at: DateTime<Utc>,
}

/// Whether a profile is in quarantine by its jobs, newest first. What failed before somebody cleared it does not count; the
/// first success ends it.
pub fn quarantine<'a>(
    jobs: impl IntoIterator<Item = &'a Job>,
    schedule: &Schedule,
    cleared_at: Option<DateTime<Utc>>,
) -> Option<Quarantine> {
    let says_something = |job: &&&Job| {
        let silent = matches!(
            job.status,
            Status::Queued | Status::Running | Status::Cancelled | Status::Interrupted
        );
        job.applies() && !job.is_part() && !silent
    };
    let failed = |job: &&Job| {
        job.status == Status::Failed && cleared_at.is_none_or(|at| job.completed_at > Some(at))
    };
    let jobs: Vec<&Job> = jobs.into_iter().collect();
    let failed: Vec<&Job> = jobs
        .iter()
        .filter(says_something)
        .copied()
        .take_while(failed)
        .collect();
    let failures = u32::try_from(failed.len()).unwrap_or(u32::MAX);
    let (newest, oldest) = (failed.first()?, failed.last()?);
    if failures < FAILURES {
        return None;
    }
    let last = newest.completed_at?;
    let usual = usual_interval(schedule, last)?;
    let doubled = 2_i32.saturating_pow((failures - FAILURES + 1).min(20));
    let wait = usual.checked_mul(doubled).unwrap_or(LONGEST);
    Some(Quarantine {
        failures,
        since: oldest.completed_at?,
        next_try_at: last + wait.min(LONGEST.max(usual)),
    })
}

/// How long it usually is from one run to the next; `None` where nothing runs by itself.
fn usual_interval(schedule: &Schedule, last: DateTime<Utc>) -> Option<Duration> {
    match schedule {
        Schedule::Manual => None,
        Schedule::Every(interval) => Some(*interval),
        Schedule::Cron(expression) => {
            let next = expression.next_after(last)?;
            Some(expression.next_after(next)? - next)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::{DirectoryId, JobId, ProfileKey, ProfileName};
    use crate::job::{Mode, Trigger};
    use uuid::Uuid;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + 60 * minute, 0).unwrap()
    }

    fn job(minute: i64, status: Status) -> Job {
        let profile = ProfileKey {
            directory: DirectoryId(Uuid::nil()),
            profile: ProfileName::default(),
        };
        let id = JobId(Uuid::from_u128(minute.unsigned_abs().into()));
        let mut job = Job::queued(id, &profile, Trigger::Schedule, Mode::Full, at(minute));
        if status.is_final() {
            job.end(status, at(minute));
        }
        job
    }

    fn next_try(jobs: &[(i64, Status)], cleared: Option<i64>) -> Option<i64> {
        let jobs: Vec<Job> = jobs.iter().map(|(at, status)| job(*at, *status)).collect();
        let schedule = Schedule::Every(Duration::minutes(10));
        let found = quarantine(&jobs, &schedule, cleared.map(at));
        found.map(|found| (found.next_try_at - at(0)).num_minutes())
    }

    #[test]
    fn failures_in_a_row_are_tried_at_growing_intervals_until_one_succeeds() {
        use Status::{Cancelled, Completed, CompletedWithErrors, Failed, Interrupted, Running};
        let failing = |count: i64| (0..count).map(|at| (-at, Failed)).collect::<Vec<_>>();
        for (failures, wait) in [
            (2, None),
            (3, Some(20)),
            (4, Some(40)),
            (5, Some(80)),
            (9, Some(1280)),
            (10, Some(1440)),
            (100, Some(1440)),
        ] {
            assert_eq!(next_try(&failing(failures), None), wait, "{failures}");
        }
        let since = |status| [&[(0, status)][..], &failing(5)].concat();
        for (status, ends) in [
            (Completed, true),
            (CompletedWithErrors, true),
            (Status::AwaitingApproval, true),
            (Running, false),
            (Cancelled, false),
            (Interrupted, false),
        ] {
            assert_eq!(next_try(&since(status), None).is_none(), ends, "{status:?}");
        }
        assert_eq!(
            next_try(&failing(5), Some(-3)),
            Some(20),
            "three since it was cleared"
        );
        assert_eq!(next_try(&failing(5), Some(0)), None);
        let manual = failing(5)
            .iter()
            .map(|(at, status)| job(*at, *status))
            .collect::<Vec<_>>();
        assert_eq!(quarantine(&manual, &Schedule::Manual, None), None);
    }
}
