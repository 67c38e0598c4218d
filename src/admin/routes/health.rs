//! Health and statistics of a tenant's directories.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::auth::Caller;
use crate::admin::problem::Problem;
use crate::catalog::Unusable;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::id::JobId;
use crate::job::health::{Colour, Facts, Health, health as health_of};
use crate::job::{Job, Status};
use crate::scheduler::Scheduled;
use crate::snapshot::{LinkedCounts, ProfileState};
use crate::store::jobs::JobFilter;
use crate::store::records::Subject;

/// More jobs of a profile than the store keeps.
const JOBS_MAX: usize = 1_000;

/// GET /health
pub(super) async fn health(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let now = Utc::now();
    let mut worst = Colour::Green;
    let mut directories = Vec::new();
    for directory in admin.directories_of(&caller.tenant) {
        let (status, shown) = directory_health(&admin, &directory, now).await?;
        worst = worst.max(status);
        directories.push(shown);
    }
    let contents = admin.catalog.contents();
    let unusable = contents
        .unusable
        .iter()
        .filter(|unusable| unusable.tenant == caller.tenant);
    for Unusable {
        subject,
        name,
        problem,
        ..
    } in unusable
    {
        let Subject::Directory(id) = subject else {
            continue;
        };
        worst = Colour::Red;
        let reason = format!("its definition cannot be used: {problem}");
        directories.push(json!({ "id": id, "name": name, "status": worst, "reason": reason, "since": null, "openConflicts": 0, "profiles": [] }));
    }
    Ok(Json(json!({ "status": worst, "directories": directories })))
}

/// A directory is as its worst profile is.
async fn directory_health(
    admin: &Admin,
    directory: &Directory,
    now: DateTime<Utc>,
) -> Result<(Colour, Value), Problem> {
    let mut worst: Option<(&Profile, Health)> = None;
    let mut profiles = Vec::new();
    for profile in &directory.profiles {
        let (health, shown) = profile_health(admin, directory, profile, now).await?;
        profiles.push(shown);
        let is_worse = |(_, other): &(_, Health)| health.status > other.status;
        if worst.as_ref().is_none_or(is_worse) {
            worst = Some((profile, health));
        }
    }
    let (status, reason, since) = match worst {
        None => (Colour::Green, "it has no profile".to_owned(), None),
        Some((profile, health)) => {
            let reason = match directory.profiles.len() {
                1 => health.reason,
                _ => format!("profile {}: {}", profile.name, health.reason),
            };
            (health.status, reason, health.since)
        }
    };
    let conflicts = admin.store.conflict_counts(directory.id).await?;
    let shown = json!({
        "id": directory.id,
        "name": directory.name,
        "status": status,
        "reason": reason,
        "since": since,
        "openConflicts": conflicts.open,
        "profiles": profiles,
    });
    Ok((status, shown))
}

async fn profile_health(
    admin: &Admin,
    directory: &Directory,
    profile: &Profile,
    now: DateTime<Utc>,
) -> Result<(Health, Value), Problem> {
    let key = directory.profile_key(&profile.name);
    let filter = JobFilter::of_profile(&key);
    let mut jobs = admin.store.jobs(filter, None, JOBS_MAX).await?;
    // What stands in the way of a profile is said by those of its jobs that are about everything.
    jobs.retain(|job| !job.is_urgent());
    let state = admin.store.profile_state(&key).await?;
    let feed = admin.store.feed_state(&key).await?;
    let scheduled = Scheduled::of(directory, profile);
    let next_run = admin.scheduler.next_run(&scheduled).await?;
    let facts = Facts {
        jobs: &jobs,
        schedule: &profile.schedule,
        enabled: scheduled.enabled,
        next_run,
        last_complete_read: state.last_complete_read,
        full_sync_interval: feed.position.map(|_| profile.full_sync_interval),
    };
    let mut health = health_of(&facts, now);
    let restored = admin.store.restored(&key).await?;
    if let Some(restored) = restored.filter(|_| scheduled.enabled)
        && health.status == Colour::Green
    {
        health = Health {
            status: Colour::Yellow,
            reason: restored.why,
            since: Some(restored.since),
        };
    }
    let running = jobs.iter().find(|job| !job.status.is_final());
    let waits = |job: &&Job| job.status == Status::AwaitingApproval;
    let waiting: Vec<JobId> = jobs.iter().filter(waits).map(|job| job.id).collect();
    let shown = json!({
        "name": profile.name,
        "status": health.status,
        "reason": health.reason,
        "since": health.since,
        "lastAttempt": state.last_attempt,
        "lastCompleteRead": state.last_complete_read,
        "nextRunAt": next_run,
        "runningJobId": running.map(|job| job.id),
        "waitingJobIds": waiting,
        "quarantine": admin.scheduler.quarantine(&key, &profile.schedule).await?,
    });
    Ok((health, shown))
}

/// How a profile is, in a word.
pub(super) async fn of_profile(
    admin: &Admin,
    directory: &Directory,
    profile: &Profile,
) -> Result<Colour, Problem> {
    let (health, _) = profile_health(admin, directory, profile, Utc::now()).await?;
    Ok(health.status)
}

/// What is counted, of one directory or of all.
#[derive(Default)]
struct Counts {
    directories: usize,
    profiles: usize,
    linked: LinkedCounts,
    open_conflicts: u64,
    jobs: BTreeMap<&'static str, u64>,
    last_attempt: Option<DateTime<Utc>>,
    last_complete_read: Option<DateTime<Utc>>,
}

impl Counts {
    fn of(
        directory: &Directory,
        linked: LinkedCounts,
        open_conflicts: u64,
        states: &[ProfileState],
        jobs: &[Job],
    ) -> Self {
        let mut by_status: BTreeMap<_, _> = Status::ALL.map(|status| (status.as_str(), 0)).into();
        for job in jobs {
            *by_status.entry(job.status.as_str()).or_default() += 1;
        }
        Self {
            directories: 1,
            profiles: directory.profiles.len(),
            linked,
            open_conflicts,
            jobs: by_status,
            last_attempt: states.iter().filter_map(|state| state.last_attempt).max(),
            last_complete_read: states
                .iter()
                .filter_map(|state| state.last_complete_read)
                .max(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.directories += other.directories;
        self.profiles += other.profiles;
        self.linked.users += other.linked.users;
        self.linked.active_users += other.linked.active_users;
        self.linked.groups += other.linked.groups;
        self.linked.members += other.linked.members;
        self.open_conflicts += other.open_conflicts;
        for (status, count) in &other.jobs {
            *self.jobs.entry(status).or_default() += count;
        }
        self.last_attempt = self.last_attempt.max(other.last_attempt);
        self.last_complete_read = self.last_complete_read.max(other.last_complete_read);
    }

    fn shown(&self) -> Value {
        let users = &self.linked;
        json!({
            "profiles": self.profiles,
            "users": {
                "linked": users.users,
                "active": users.active_users,
                "inactive": users.users.saturating_sub(users.active_users),
            },
            "groups": { "linked": users.groups },
            "memberships": users.members,
            "openConflicts": self.open_conflicts,
            "jobsLast24Hours": self.jobs,
            "lastAttempt": self.last_attempt,
            "lastCompleteRead": self.last_complete_read,
        })
    }
}

/// GET /statistics
pub(super) async fn statistics(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let since = Some(Utc::now() - chrono::Duration::days(1));
    let mut total = Counts::default();
    let mut items = Vec::new();
    for directory in admin.directories_of(&caller.tenant) {
        let mut states = Vec::new();
        for profile in &directory.profiles {
            let key = directory.profile_key(&profile.name);
            states.push(admin.store.profile_state(&key).await?);
        }
        let linked = admin.store.linked_counts(directory.id).await?;
        let filter = JobFilter {
            since,
            ..JobFilter::of(directory.id)
        };
        let jobs = admin.store.jobs(filter, None, JOBS_MAX).await?;
        let open = admin.store.conflict_counts(directory.id).await?.open;
        let counts = Counts::of(&directory, linked, open, &states, &jobs);
        total.add(&counts);
        let mut shown = counts.shown();
        shown["id"] = json!(directory.id);
        shown["name"] = json!(directory.name);
        items.push(shown);
    }
    let mut shown = total.shown();
    shown["directories"] = json!(total.directories);
    Ok(Json(json!({ "total": shown, "directories": items })))
}
