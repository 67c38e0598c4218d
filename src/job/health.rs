//! Health: what a profile's jobs, its schedule and its last complete read say of it, as a colour with a reason.

use chrono::{DateTime, Duration, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::job::schedule::Schedule;
use crate::job::{Job, Status};

/// How long a scheduled run may be late: one interval, but not less and not more than this.
const LATE_MIN: Duration = Duration::minutes(5);
const LATE_MAX: Duration = Duration::hours(1);
/// How long a scheduled profile may go without a complete read: so many intervals, but not less than a day, and not less than
/// so many intervals of full scans.
const INTERVALS_WITHOUT_READ: i32 = 3;
const WITHOUT_READ_MIN: Duration = Duration::days(1);
const FULL_SCANS_WITHOUT_READ: i32 = 2;

/// How a profile or a directory is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// The last run ended without errors.
    Green,
    /// Some records failed, or something waits for a person.
    Yellow,
    /// It cannot connect, it fails, or it is overdue.
    Red,
}

/// How a profile is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The colour.
    pub status: Colour,
    /// Why, in words.
    pub reason: String,
    /// Since when; absent for a profile that never ran.
    pub since: Option<DateTime<Utc>>,
}

/// What is known of a profile.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its jobs, newest first.
    pub jobs: &'a [Job],
    /// When it runs by itself.
    pub schedule: &'a Schedule,
    /// Whether that is in force.
    pub enabled: bool,
    /// When it is due next; may lie in the past.
    pub next_run: Option<DateTime<Utc>>,
    /// When its last read that was proved complete ended.
    pub last_complete_read: Option<DateTime<Utc>>,
    /// How long its runs rely on a change feed before everything is read; absent when each reads everything.
    pub full_sync_interval: Option<Duration>,
}

/// How the profile is at this time.
///
/// A job that runs, was cancelled or was cut off says nothing, and neither does a preview: the colour stays what it was.
pub fn health(facts: &Facts<'_>, now: DateTime<Utc>) -> Health {
    if !facts.enabled {
        let reason = "it is disabled: nothing runs by schedule";
        return of(Colour::Green, reason, None);
    }
    let outcome = last_outcome(facts);
    if outcome.status == Colour::Red {
        return outcome;
    }
    overdue(facts, now)
        .or_else(|| stale(facts, now))
        .or_else(|| still_waits(facts).filter(|_| outcome.status == Colour::Green))
        .unwrap_or(outcome)
}

/// A plan that waits for a person goes on waiting, however well later runs end.
fn still_waits(facts: &Facts<'_>) -> Option<Health> {
    let waits = |job: &&Job| job.status == Status::AwaitingApproval;
    let oldest = facts.jobs.iter().rev().find(waits)?;
    Some(of(Colour::Yellow, reason(oldest), oldest.completed_at))
}

fn of(status: Colour, reason: impl Into<String>, since: Option<DateTime<Utc>>) -> Health {
    Health {
        status,
        reason: reason.into(),
        since,
    }
}

/// What the newest job that says something says, and since when jobs have said so without a break.
fn last_outcome(facts: &Facts<'_>) -> Health {
    let mut telling = facts
        .jobs
        .iter()
        .filter(|job| job.applies())
        .filter_map(|job| Some((colour(job.status)?, job)));
    let Some((status, newest)) = telling.next() else {
        return never_ran(facts);
    };
    let unbroken = telling
        .take_while(|(other, _)| *other == status)
        .last()
        .map_or(newest, |(_, oldest)| oldest);
    of(status, reason(newest), unbroken.completed_at)
}

fn colour(status: Status) -> Option<Colour> {
    match status {
        Status::Completed => Some(Colour::Green),
        Status::CompletedWithErrors | Status::AwaitingApproval => Some(Colour::Yellow),
        Status::Failed => Some(Colour::Red),
        Status::Queued | Status::Running | Status::Cancelled | Status::Interrupted => None,
    }
}

/// A profile that will run by itself needs nobody; one that waits for a person should not be taken for a healthy one.
fn never_ran(facts: &Facts<'_>) -> Health {
    if facts.jobs.iter().any(|job| !job.status.is_final()) {
        return of(Colour::Green, "the first run is under way", None);
    }
    match facts.next_run {
        Some(next) => {
            let reason = format!(
                "it has not run yet; the first run is due at {}",
                text_of(next)
            );
            of(Colour::Green, reason, None)
        }
        None => of(
            Colour::Yellow,
            "it has not run yet, and nothing starts it: start a sync, or give it a schedule",
            None,
        ),
    }
}

fn reason(job: &Job) -> String {
    let first = job.errors.first();
    let first_error = || first.map_or("no reason was recorded", |error| error.detail.as_str());
    match job.status {
        Status::Failed => format!("the last run failed: {}", first_error()),
        Status::AwaitingApproval => {
            let holds = job.holds.join("; ");
            format!("the plan of job {} waits for a person: {holds}", job.id)
        }
        Status::CompletedWithErrors => match first {
            // What concerns the job as a whole comes first, and says more than a number.
            Some(error) if error.is_of_job() => error.detail.clone(),
            _ => format!(
                "the last run had errors ({}); the first: {}",
                job.error_count,
                first_error()
            ),
        },
        _ => "the last run ended without errors".to_owned(),
    }
}

/// The time between two runs by schedule.
fn interval(schedule: &Schedule, next_run: DateTime<Utc>) -> Option<Duration> {
    match schedule {
        Schedule::Manual => None,
        Schedule::Every(interval) => Some(*interval),
        Schedule::Cron(expression) => Some(expression.next_after(next_run)? - next_run),
    }
}

/// A run that should have started and has not; while one is under way the next one waits for it.
fn overdue(facts: &Facts<'_>, now: DateTime<Utc>) -> Option<Health> {
    let due = facts.next_run?;
    let late = interval(facts.schedule, due)?.clamp(LATE_MIN, LATE_MAX);
    let is_under_way = facts.jobs.iter().any(|job| !job.status.is_final());
    if is_under_way || now - due <= late {
        return None;
    }
    let reason = format!(
        "overdue: a run was due at {} and did not start; the relay's log says why",
        text_of(due)
    );
    Some(of(Colour::Red, reason, Some(due)))
}

/// Runs end, but none reads the directory to its end, so that nobody who left is noticed.
fn stale(facts: &Facts<'_>, now: DateTime<Utc>) -> Option<Health> {
    let interval = interval(facts.schedule, facts.next_run?)?;
    let full_scans = facts.full_sync_interval.unwrap_or_default() * FULL_SCANS_WITHOUT_READ;
    let allowed = (interval * INTERVALS_WITHOUT_READ)
        .max(WITHOUT_READ_MIN)
        .max(full_scans);
    // Before the first complete read the time counts from the first try.
    let first_try = || facts.jobs.last().map(|job| job.queued_at);
    let since = facts.last_complete_read.or_else(first_try)? + allowed;
    if now <= since {
        return None;
    }
    let last = facts.last_complete_read.map_or_else(
        || "the directory was never read completely".to_owned(),
        |last| {
            format!(
                "the directory was last read completely at {}",
                text_of(last)
            )
        },
    );
    let reason = format!("{last}, so nobody who left since is noticed; the jobs' errors say why");
    Some(of(Colour::Red, reason, Some(since)))
}

fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fault::Fault;
    use crate::id::{DirectoryId, JobId, ProfileKey, ProfileName};
    use crate::job::schedule::CronExpression;
    use crate::job::{Mode, ObjectError, Trigger};
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
        let (trigger, mode) = (Trigger::Schedule, Mode::Incremental);
        let mut job = Job::queued(id, &profile, trigger, mode, at(minute));
        job.start(at(minute));
        match status {
            Status::Failed => {
                job.record(ObjectError::of_job("read", Fault::Denied, "no route"));
            }
            Status::CompletedWithErrors => job.record(ObjectError {
                kind: "user".to_owned(),
                ..ObjectError::of_job("map", Fault::Rejected, "no mail")
            }),
            Status::AwaitingApproval => job.holds = vec!["12 deactivations".to_owned()],
            _ => {}
        }
        if status.is_final() {
            job.end(status, at(minute + 1));
        }
        job
    }

    /// A profile that runs every ten minutes and was last started at the newest of these, told newest first.
    fn told(jobs: &[(i64, Status)], now: i64) -> (Colour, String, Option<i64>) {
        let jobs: Vec<Job> = jobs.iter().map(|(at, status)| job(*at, *status)).collect();
        let newest = jobs.first().map(|job| job.queued_at);
        let last_complete = jobs.iter().find(|job| job.status == Status::Completed);
        let facts = Facts {
            jobs: &jobs,
            schedule: &Schedule::Every(Duration::minutes(10)),
            enabled: true,
            next_run: Some(newest.map_or(at(0), |last| last + Duration::minutes(10))),
            last_complete_read: last_complete.and_then(|job| job.completed_at),
            full_sync_interval: None,
        };
        let health = health(&facts, at(now));
        let since = health.since.map(|since| (since - at(0)).num_minutes());
        (health.status, health.reason, since)
    }

    #[test]
    fn the_last_outcome_gives_the_colour_and_its_unbroken_run_the_time() {
        use Status::{AwaitingApproval, Completed, CompletedWithErrors, Failed};
        let (status, reason, since) = told(&[(30, Completed), (20, Completed), (10, Failed)], 31);
        assert_eq!((status, since), (Colour::Green, Some(21)));
        assert_eq!(reason, "the last run ended without errors");
        let (status, reason, since) = told(&[(30, Failed), (20, Failed), (10, Completed)], 31);
        assert_eq!((status, since), (Colour::Red, Some(21)));
        assert!(reason.contains("failed: no route"), "{reason}");
        let (status, reason, since) =
            told(&[(30, CompletedWithErrors), (20, AwaitingApproval)], 31);
        assert_eq!((status, since), (Colour::Yellow, Some(21)));
        assert!(
            reason.contains("errors (1); the first: no mail"),
            "{reason}"
        );
        let (_, reason, _) = told(&[(30, AwaitingApproval)], 31);
        assert!(reason.contains("12 deactivations"), "{reason}");
        let later = [(30, Completed), (20, AwaitingApproval), (10, Completed)];
        let (status, reason, since) = told(&later, 31);
        assert_eq!((status, since), (Colour::Yellow, Some(21)), "{reason}");
        let decided = [(30, Completed), (20, Status::Cancelled), (10, Completed)];
        assert_eq!(told(&decided, 31).0, Colour::Green);
    }

    #[test]
    fn jobs_that_say_nothing_change_nothing() {
        use Status::{Cancelled, Completed, Failed, Interrupted, Queued, Running};
        for silent in [Queued, Running, Cancelled, Interrupted] {
            let (status, _, since) = told(&[(30, silent), (20, Failed), (10, Failed)], 31);
            assert_eq!((status, since), (Colour::Red, Some(11)), "{silent:?}");
            let (status, _, since) = told(&[(30, Failed), (20, silent), (10, Failed)], 31);
            assert_eq!((status, since), (Colour::Red, Some(11)), "{silent:?}");
        }
        let mut preview = job(30, Failed);
        preview.mode = Mode::Preview;
        let facts = Facts {
            jobs: &[preview, job(20, Completed)],
            schedule: &Schedule::Manual,
            enabled: true,
            next_run: None,
            last_complete_read: None,
            full_sync_interval: None,
        };
        assert_eq!(health(&facts, at(31)).status, Colour::Green);
        let disabled = Facts {
            jobs: &[job(20, Failed)],
            enabled: false,
            ..facts
        };
        let disabled = health(&disabled, at(31));
        assert_eq!(disabled.status, Colour::Green);
        assert!(disabled.reason.contains("disabled"), "{disabled:?}");
    }

    #[test]
    fn a_run_that_does_not_start_is_overdue_after_an_interval() {
        use Status::{Completed, Running};
        assert_eq!(told(&[(0, Completed)], 20).0, Colour::Green);
        let (status, reason, since) = told(&[(0, Completed)], 21);
        assert_eq!((status, since), (Colour::Red, Some(10)));
        assert!(reason.contains("overdue"), "{reason}");
        // A long run keeps the next one waiting.
        assert_eq!(
            told(&[(0, Running), (-10, Completed)], 300).0,
            Colour::Green
        );
        // A nightly run is late after an hour, not after a day.
        let nightly = CronExpression::parse("0 2 * * *").unwrap();
        let due = nightly.next_after(at(0)).unwrap();
        let jobs = [job(0, Completed)];
        let facts = Facts {
            jobs: &jobs,
            schedule: &Schedule::Cron(Box::new(nightly)),
            enabled: true,
            next_run: Some(due),
            last_complete_read: Some(due),
            full_sync_interval: None,
        };
        let colour = |late| health(&facts, due + late).status;
        assert_eq!(colour(Duration::minutes(60)), Colour::Green);
        assert_eq!(colour(Duration::minutes(61)), Colour::Red);
    }

    #[test]
    fn runs_that_never_read_to_the_end_turn_red() {
        let day = 24 * 60;
        let newest = (day + 5, Status::CompletedWithErrors);
        let oldest = (0, Status::CompletedWithErrors);
        assert_eq!(told(&[(day - 5, newest.1), oldest], day).0, Colour::Yellow);
        let (status, reason, since) = told(&[newest, oldest], day + 6);
        assert_eq!((status, since), (Colour::Red, Some(day)));
        assert!(reason.contains("never read completely"), "{reason}");
        let (status, reason, since) = told(&[newest, (0, Status::Completed)], day + 6);
        assert_eq!((status, since), (Colour::Red, Some(day + 1)));
        assert!(reason.contains("last read completely at"), "{reason}");
    }

    #[test]
    fn runs_that_rely_on_a_feed_may_go_longer_without_reading_everything() {
        let day = 24 * 60;
        let jobs = [job(2 * day, Status::Completed)];
        for (interval, late, colour) in [
            (None, 1, Colour::Red),
            (Some(Duration::days(1)), 1, Colour::Green),
            (Some(Duration::days(1)), day + 1, Colour::Red),
        ] {
            let facts = Facts {
                jobs: &jobs,
                schedule: &Schedule::Every(Duration::minutes(10)),
                enabled: true,
                next_run: Some(at(day + late + 10)),
                last_complete_read: Some(at(0)),
                full_sync_interval: interval,
            };
            let health = health(&facts, at(day + late));
            assert_eq!(health.status, colour, "{interval:?} {late} {health:?}");
        }
    }

    #[test]
    fn a_profile_that_never_ran_is_green_only_where_something_starts_it() {
        let (status, reason, since) = told(&[], 0);
        assert_eq!((status, since), (Colour::Green, None));
        assert!(reason.contains("first run is due at"), "{reason}");
        let facts = Facts {
            jobs: &[],
            schedule: &Schedule::Manual,
            enabled: true,
            next_run: None,
            last_complete_read: None,
            full_sync_interval: None,
        };
        let by_hand = health(&facts, at(0));
        assert_eq!(by_hand.status, Colour::Yellow);
        assert!(by_hand.reason.contains("start a sync"), "{by_hand:?}");
        assert_eq!(told(&[], 11).0, Colour::Red, "the first run is overdue");
    }
}
