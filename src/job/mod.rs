//! Jobs: one run of a profile, its state machine, its counters and its errors.

pub mod decision;
pub mod health;
pub mod quarantine;
pub mod schedule;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::id::{DirectoryId, JobId, ProfileKey, ProfileName};
use crate::job::decision::Decision;

/// Errors kept on the job itself; all of them are with its changes.
pub const ERRORS_KEPT: usize = 100;

/// The kind of an error that concerns the job as a whole.
const JOB: &str = "job";

/// What set a job off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobTrigger")]
pub enum Trigger {
    /// A person or a script, through API or command line.
    Manual,
    /// The profile's schedule or interval.
    Schedule,
    /// A job that was cut off by the end of the process goes on.
    Resume,
    /// The directory told of a change.
    Feed,
    /// A longer job of the directory sends, and by schedule or feed whoever leaves must not wait for its end.
    Urgent,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Manual,
        Self::Schedule,
        Self::Resume,
        Self::Feed,
        Self::Urgent,
    ];
}

/// How much a job reads, and whether it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobMode")]
pub enum Mode {
    /// Reads everything.
    #[default]
    Full,
    /// Reads what changed, as far as the directory can tell; else everything.
    Incremental,
    /// Reads everything, and the target too.
    Reconcile,
    /// Like full, but sends nothing.
    Preview,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Full,
        Self::Incremental,
        Self::Reconcile,
        Self::Preview,
    ];

    /// Reads a mode from its word.
    pub fn from_word(word: &str) -> Result<Self, String> {
        match word {
            "full" => Ok(Self::Full),
            "incremental" => Ok(Self::Incremental),
            "reconcile" => Ok(Self::Reconcile),
            "preview" => Ok(Self::Preview),
            other => Err(format!(
                "`{}` is not a mode; use full, incremental, reconcile or preview",
                other.escape_debug()
            )),
        }
    }

    /// Whether the job may send changes to the target.
    pub fn applies(self) -> bool {
        self != Self::Preview
    }
}

/// What a job is asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How much it reads, and whether it sends.
    pub mode: Mode,
    /// The one entry that it is about: a DN, an anchor or a userName; absent for all.
    pub only: Option<String>,
    /// Whether a reconciling job only tells how the target differs, and changes nothing.
    pub report: bool,
    /// The job that it undoes.
    pub undoes: Option<JobId>,
}

impl From<Mode> for Extent {
    fn from(mode: Mode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobStatus")]
pub enum Status {
    /// Waits for its turn.
    Queued,
    /// Under way.
    Running,
    /// Ended; what the guard holds waits for a person.
    AwaitingApproval,
    /// Ended without errors.
    Completed,
    /// Ended; some records failed, or some removals were held for want of proof.
    CompletedWithErrors,
    /// Stopped: nobody can go on until somebody acts.
    Failed,
    /// Stopped by a person.
    Cancelled,
    /// Cut off by the end of the process; a new job goes on where it stopped.
    Interrupted,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::AwaitingApproval,
        Self::Completed,
        Self::CompletedWithErrors,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
    ];

    /// Whether the job has ended.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The word used in API, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Completed => "completed",
            Self::CompletedWithErrors => "completed_with_errors",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a job changed, counted when the target acknowledged it; a preview counts what it would change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "JobCounters")]
pub struct Counters {
    /// Users created.
    pub users_created: u64,
    /// Users with changed attributes.
    pub users_updated: u64,
    /// Users set inactive.
    pub users_deactivated: u64,
    /// Users set active again.
    pub users_reactivated: u64,
    /// Users and groups linked to a resource that the target already had.
    pub linked: u64,
    /// Groups created.
    pub groups_created: u64,
    /// Groups with changed attributes.
    pub groups_updated: u64,
    /// Groups deleted.
    pub groups_deleted: u64,
    /// Members added.
    pub members_added: u64,
    /// Members removed.
    pub members_removed: u64,
    /// Members left out because they are outside the scope or not linked.
    pub members_left_out: u64,
    /// Managers left out because they are outside the scope or not linked.
    pub managers_left_out: u64,
    /// Steps that were planned and not carried out: held, or no longer needed; and entries that are left alone.
    pub skipped: u64,
    /// Linked resources that were found to differ from what they shall be, where the target was read.
    pub drifted: u64,
    /// Attributes of the directory that hold another value at the target, and wait for a person to say which one counts.
    pub conflicts: u64,
}

/// How many requests a job sent to the target, repetitions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "JobRequests")]
pub struct Requests {
    /// GET.
    pub read: u64,
    /// POST, PATCH, DELETE.
    pub write: u64,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "JobProgress")]
pub struct Progress {
    /// `reading`, `observing`, `planning`, `applying`, `done`.
    pub phase: String,
    /// Entries read.
    pub users_read: u64,
    /// Groups read.
    pub groups_read: u64,
    /// Steps of the plan.
    pub steps_planned: u64,
    /// Steps done, whatever became of them.
    pub steps_done: u64,
}

/// What went wrong with one object, or with the job as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectError {
    /// `user`, `group`, or `job`.
    pub kind: String,
    /// The anchor, where there is one.
    pub anchor: Option<String>,
    /// The DN, where it is known.
    pub dn: Option<String>,
    /// What was being done: `read`, `map`, `create`, `update`, `deactivate`, and so on.
    pub operation: String,
    /// Who must act.
    pub fault: Fault,
    /// The HTTP status, where the target answered.
    pub status: Option<u16>,
    /// SCIM `scimType`, where the target sent one.
    pub scim_type: Option<String>,
    /// What happened and what cures it.
    pub detail: String,
}

impl ObjectError {
    /// An error of the job as a whole.
    pub fn of_job(operation: &str, fault: Fault, detail: impl Into<String>) -> Self {
        Self {
            kind: JOB.to_owned(),
            anchor: None,
            dn: None,
            operation: operation.to_owned(),
            fault,
            status: None,
            scim_type: None,
            detail: detail.into(),
        }
    }

    /// Whether it concerns the job as a whole.
    pub fn is_of_job(&self) -> bool {
        self.kind == JOB
    }
}

/// How a job learnt what changed in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeDetection {
    /// The rung of the ladder: `syncrepl`, `dirsync`, `usn_changed`, `modify_timestamp` or `full_scan`; `one_entry` for a
    /// job about one entry alone.
    pub rung: String,
    /// Why it was that one, in words.
    pub reason: String,
}

/// Jobs of earlier versions have the rung alone.
fn change_detection<'de, D: serde::Deserializer<'de>>(
    written: D,
) -> Result<Option<ChangeDetection>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Now(ChangeDetection),
        Earlier(String),
    }
    Ok(
        Option::<Written>::deserialize(written)?.map(|written| match written {
            Written::Now(detection) => detection,
            Written::Earlier(rung) => ChangeDetection {
                rung,
                reason: String::new(),
            },
        }),
    )
}

/// Jobs of earlier versions all do.
fn repairs() -> bool {
    true
}

/// One run of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The directory.
    pub directory_id: DirectoryId,
    /// The profile.
    pub profile: ProfileName,
    /// What set it off.
    pub trigger: Trigger,
    /// How much it reads, and whether it sends.
    pub mode: Mode,
    /// The one entry that it is about: a DN, an anchor or a userName; absent for all.
    #[serde(default)]
    pub only: Option<String>,
    /// Whether it repairs what it finds; a reconciling job that does not only tells how the target differs.
    #[serde(default = "repairs")]
    pub repair: bool,
    /// Where it stands.
    pub status: Status,
    /// What it changed.
    #[serde(flatten)]
    pub counters: Counters,
    /// Errors in all.
    pub error_count: u64,
    /// The first errors.
    pub errors: Vec<ObjectError>,
    /// What waits for a person or for proof, in words.
    pub holds: Vec<String>,
    /// The directory server that answered: as a domain controller calls itself, else host and port; absent until one did.
    #[serde(default)]
    pub directory_server: Option<String>,
    /// What an administrator should know of how the directory was read, in words.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How it was learnt what changed; absent until that is known.
    #[serde(default, deserialize_with = "change_detection")]
    pub change_detection: Option<ChangeDetection>,
    /// Whether the read was proved complete; absent until it ended.
    pub complete_read: Option<bool>,
    /// Whether a removal's reason did not hold any more when it was looked at, so that what was read may not be what is there.
    #[serde(default)]
    pub suspicious: bool,
    /// The digest of the plan, by which an approval names it.
    pub plan_digest: Option<String>,
    /// What became of the plan where it waited for a person.
    #[serde(default)]
    pub decision: Option<Decision>,
    /// The job that it undoes; absent where it undoes none.
    #[serde(default)]
    pub undoes: Option<JobId>,
    /// Requests sent to the target.
    pub requests: Requests,
    /// When it was asked for.
    pub queued_at: DateTime<Utc>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// How far it is.
    pub progress: Progress,
}

impl Job {
    /// A job that waits for its turn.
    pub fn queued(
        id: JobId,
        profile: &ProfileKey,
        trigger: Trigger,
        extent: impl Into<Extent>,
        now: DateTime<Utc>,
    ) -> Self {
        let Extent {
            mode,
            only,
            report,
            undoes,
        } = extent.into();
        Self {
            id,
            directory_id: profile.directory,
            profile: profile.profile.clone(),
            trigger,
            mode,
            only,
            repair: !report,
            status: Status::Queued,
            counters: Counters::default(),
            error_count: 0,
            errors: Vec::new(),
            holds: Vec::new(),
            directory_server: None,
            warnings: Vec::new(),
            change_detection: None,
            complete_read: None,
            suspicious: false,
            plan_digest: None,
            decision: None,
            undoes,
            requests: Requests::default(),
            queued_at: now,
            started_at: None,
            completed_at: None,
            progress: Progress::default(),
        }
    }

    /// Whether it runs beside a longer one, and is about nothing but whoever leaves.
    pub fn is_urgent(&self) -> bool {
        self.trigger == Trigger::Urgent
    }

    /// Whether it is about some entries, and says nothing of the others.
    pub fn is_part(&self) -> bool {
        self.only.is_some() || self.undoes.is_some() || self.is_urgent()
    }

    /// Whether it may send changes to the target.
    pub fn applies(&self) -> bool {
        self.mode.applies() && self.repair
    }

    /// The profile that it runs.
    pub fn profile_key(&self) -> ProfileKey {
        ProfileKey {
            directory: self.directory_id,
            profile: self.profile.clone(),
        }
    }

    /// Begins.
    pub fn start(&mut self, now: DateTime<Utc>) {
        self.status = Status::Running;
        self.started_at.get_or_insert(now);
    }

    /// Ends, once: a job that has ended keeps its end.
    pub fn end(&mut self, status: Status, now: DateTime<Utc>) {
        if !self.status.is_final() {
            self.status = status;
            self.completed_at = Some(now);
            self.progress.phase = "done".to_owned();
        }
    }

    /// Records an error; the first ones are kept on the job, and those of the job as a whole come before all others.
    pub fn record(&mut self, error: ObjectError) {
        self.error_count += 1;
        if error.is_of_job() {
            let at = self.errors.iter().take_while(|kept| kept.is_of_job());
            self.errors.insert(at.count(), error);
            self.errors.truncate(ERRORS_KEPT);
        } else if self.errors.len() < ERRORS_KEPT {
            self.errors.push(error);
        }
    }

    /// How a job that went to its end is to be called.
    pub fn verdict(&self, waits_for_approval: bool) -> Status {
        if waits_for_approval {
            Status::AwaitingApproval
        } else if self.error_count > 0 {
            Status::CompletedWithErrors
        } else {
            Status::Completed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_job_that_an_earlier_version_wrote_is_about_everything() {
        let profile = ProfileKey {
            directory: DirectoryId(Uuid::nil()),
            profile: ProfileName::default(),
        };
        let extent = Extent {
            mode: Mode::Preview,
            only: Some("ann".to_owned()),
            ..Extent::default()
        };
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let mut job = Job::queued(JobId(Uuid::nil()), &profile, Trigger::Manual, extent, now);
        let mut record = serde_json::to_value(&job).unwrap_or_default();
        assert_eq!(record["only"], "ann");
        if let Some(fields) = record.as_object_mut() {
            fields.remove("only");
            fields.remove("repair");
        }
        record["changeDetection"] = "full scan".into();
        job.only = None;
        job.change_detection = Some(ChangeDetection {
            rung: "full scan".to_owned(),
            reason: String::new(),
        });
        assert_eq!(serde_json::from_value::<Job>(record).ok(), Some(job));
    }

    #[test]
    fn a_job_ends_once_and_keeps_its_first_errors() {
        let profile = ProfileKey {
            directory: DirectoryId(Uuid::nil()),
            profile: ProfileName::default(),
        };
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let mut job = Job::queued(
            JobId(Uuid::nil()),
            &profile,
            Trigger::Manual,
            Mode::Full,
            now,
        );
        job.start(now);
        let of_user = ObjectError {
            kind: "user".to_owned(),
            ..ObjectError::of_job("read", Fault::Rejected, "x")
        };
        for _ in 0..150 {
            job.record(of_user.clone());
        }
        let why = ["first", "second"];
        for detail in why {
            job.record(ObjectError::of_job("read", Fault::Transient, detail));
        }
        assert_eq!((job.errors.len(), job.error_count), (ERRORS_KEPT, 152));
        assert_eq!([&job.errors[0].detail, &job.errors[1].detail], why);
        assert_eq!(job.verdict(false), Status::CompletedWithErrors);
        assert_eq!(job.verdict(true), Status::AwaitingApproval);
        job.end(Status::Failed, now);
        job.end(Status::Completed, now);
        assert_eq!(job.status, Status::Failed);
    }
}
