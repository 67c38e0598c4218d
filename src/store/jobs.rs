//! What is asked of jobs, and the lines of their journals.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::id::{DirectoryId, ProfileKey, ProfileName};
use crate::job::{Job, Mode, ObjectError, Status, Trigger};
use crate::store::Change;

/// Which jobs are asked for; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this directory.
    pub directory: Option<DirectoryId>,
    /// Of this profile.
    pub profile: Option<ProfileName>,
    /// That stand so.
    pub status: Option<Status>,
    /// That read so much.
    pub mode: Option<Mode>,
    /// That were set off so.
    pub trigger: Option<Trigger>,
    /// Asked for at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Asked for before this time.
    pub until: Option<DateTime<Utc>>,
}

impl JobFilter {
    /// All jobs of a profile.
    pub fn of_profile(profile: &ProfileKey) -> Self {
        Self {
            profile: Some(profile.profile.clone()),
            ..Self::of(profile.directory)
        }
    }

    /// All jobs of a directory.
    pub fn of(directory: DirectoryId) -> Self {
        Self {
            directory: Some(directory),
            ..Self::default()
        }
    }

    /// Whether a job is among those asked for, its directory apart.
    pub fn admits(&self, job: &Job) -> bool {
        self.profile
            .as_ref()
            .is_none_or(|profile| *profile == job.profile)
            && self.status.is_none_or(|status| status == job.status)
            && self.mode.is_none_or(|mode| mode == job.mode)
            && self.trigger.is_none_or(|trigger| trigger == job.trigger)
            && self.since.is_none_or(|since| job.queued_at >= since)
            && self.until.is_none_or(|until| job.queued_at < until)
    }

    /// Whether a job, and with it all older ones, is older than what is asked for. Clocks are set, so there is a day's
    /// grace.
    pub fn is_older_than(&self, job: &Job) -> bool {
        self.since
            .is_some_and(|since| job.queued_at + chrono::Duration::days(1) < since)
    }
}

/// One line of a job's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalLine {
    /// A change that was sent, whatever became of it.
    Sent(Change),
    /// An error that led to no request.
    Unsent(UnsentError),
}

/// An error that was met before anything was sent for its object: while it was read, mapped, looked up or proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsentError {
    /// When.
    pub at: DateTime<Utc>,
    /// What went wrong.
    pub error: ObjectError,
}

impl JournalLine {
    /// The line as people read it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Sent(change) => change.to_json(),
            Self::Unsent(UnsentError { at, error }) => json!({
                "at": at,
                "kind": error.kind,
                "anchor": error.anchor,
                "dn": error.dn,
                "id": null,
                "operation": error.operation,
                "reason": null,
                "attributes": [],
                "members": [],
                "error": error,
            }),
        }
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<&ObjectError> {
        match self {
            Self::Sent(change) => change.error.as_ref(),
            Self::Unsent(unsent) => Some(&unsent.error),
        }
    }

    /// What was done, or was to be.
    pub fn operation(&self) -> &str {
        match self {
            Self::Sent(change) => change.class.as_str(),
            Self::Unsent(unsent) => &unsent.error.operation,
        }
    }

    /// The DN of the object, where it is known.
    pub fn dn(&self) -> &str {
        match self {
            Self::Sent(change) => &change.dn,
            Self::Unsent(unsent) => unsent.error.dn.as_deref().unwrap_or_default(),
        }
    }
}
