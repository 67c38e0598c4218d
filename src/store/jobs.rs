//! What is asked of jobs, and the lines of their journals.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::id::{DirectoryId, ProfileKey, ProfileName};
use crate::identity::RowKey;
use crate::job::{Job, Mode, ObjectError, Status, Trigger};
use crate::plan::{Action, Class, Reason};
use crate::scim::AttributeChange;

/// One line of the journal: one change that was sent, or that failed, with its before-image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When the outcome was known.
    pub at: DateTime<Utc>,
    /// The row.
    pub key: RowKey,
    /// The entry's DN.
    pub dn: String,
    /// The target's id, where it is known.
    pub id: Option<String>,
    /// What was done, with values before and after.
    pub action: Action,
    /// The class.
    pub class: Class,
    /// Why it was planned.
    pub reason: Reason,
    /// What went wrong; absent when the target acknowledged it.
    pub error: Option<ObjectError>,
}

/// The attributes that an action sets or takes away, each before and after, as people read them.
pub fn attributes_of(action: &Action) -> Vec<Value> {
    match action {
        Action::Change { changes } => changes.iter().map(AttributeChange::to_json).collect(),
        Action::Create { attributes, .. } | Action::Link { attributes, .. } => attributes
            .iter()
            .map(|(path, value)| {
                json!({ "attribute": path.to_string(), "before": null, "after": value.to_json() })
            })
            .collect(),
        Action::Delete { attributes } => attributes
            .iter()
            .map(|(path, value)| {
                json!({ "attribute": path.to_string(), "before": value.to_json(), "after": null })
            })
            .collect(),
        Action::AddMembers(_) | Action::RemoveMembers(_) | Action::SetManager(_) => Vec::new(),
    }
}

impl Change {
    /// The change as people read it: the object, what was done, each attribute before and after, and what went wrong.
    pub fn to_json(&self) -> Value {
        let attributes = attributes_of(&self.action);
        let members: Vec<String> = match &self.action {
            Action::Create { members, .. }
            | Action::AddMembers(members)
            | Action::RemoveMembers(members) => members
                .iter()
                .map(|member| member.anchor.to_string())
                .collect(),
            Action::Change { .. }
            | Action::Link { .. }
            | Action::Delete { .. }
            | Action::SetManager(_) => Vec::new(),
        };
        json!({
            "at": self.at,
            "kind": self.key.kind,
            "anchor": self.key.anchor.to_string(),
            "dn": self.dn,
            "id": self.id,
            "operation": self.class,
            "reason": self.reason,
            "attributes": attributes,
            "members": members,
            "foreignMembers": [],
            "foreignMemberCount": 0,
            "error": self.error,
        })
    }
}

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
    /// What the target was found to hold otherwise; nothing was sent with it.
    Drift(Drift),
}

/// In what a linked resource was found to differ from what it shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// When.
    pub at: DateTime<Utc>,
    /// The row.
    pub key: RowKey,
    /// The entry's DN.
    pub dn: String,
    /// The target's id.
    pub id: String,
    /// Attributes: what the target has, and what it should have.
    pub attributes: Vec<AttributeChange>,
    /// Members that the relay put there and that are there no more.
    pub missing: Vec<RowKey>,
    /// Ids of members that the relay did not put there; the first ones.
    pub foreign: Vec<String>,
    /// How many of those there are.
    pub foreign_count: u64,
    /// Whether the resource itself is there no more.
    pub gone: bool,
}

impl Drift {
    /// Whether there is any.
    pub fn is_any(&self) -> bool {
        self.gone
            || !self.attributes.is_empty()
            || !self.missing.is_empty()
            || self.foreign_count > 0
    }

    /// The word for a line of this kind.
    pub const OPERATION: &str = "drift";

    fn to_json(&self) -> Value {
        let attributes = self.attributes.iter().map(AttributeChange::to_json);
        let missing = self.missing.iter().map(|member| member.anchor.to_string());
        json!({
            "at": self.at,
            "kind": self.key.kind,
            "anchor": self.key.anchor.to_string(),
            "dn": self.dn,
            "id": self.id,
            "operation": Self::OPERATION,
            "reason": if self.gone { "gone" } else { "changed" },
            "attributes": attributes.collect::<Vec<_>>(),
            "members": missing.collect::<Vec<_>>(),
            "foreignMembers": self.foreign,
            "foreignMemberCount": self.foreign_count,
            "error": null,
        })
    }
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
            Self::Drift(drift) => drift.to_json(),
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
                "foreignMembers": [],
                "foreignMemberCount": 0,
                "error": error,
            }),
        }
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<&ObjectError> {
        match self {
            Self::Sent(change) => change.error.as_ref(),
            Self::Unsent(unsent) => Some(&unsent.error),
            Self::Drift(_) => None,
        }
    }

    /// What was done, or was to be.
    pub fn operation(&self) -> &str {
        match self {
            Self::Sent(change) => change.class.as_str(),
            Self::Unsent(unsent) => &unsent.error.operation,
            Self::Drift(_) => Drift::OPERATION,
        }
    }

    /// The DN of the object, where it is known.
    pub fn dn(&self) -> &str {
        match self {
            Self::Sent(change) => &change.dn,
            Self::Unsent(unsent) => unsent.error.dn.as_deref().unwrap_or_default(),
            Self::Drift(drift) => &drift.dn,
        }
    }
}
