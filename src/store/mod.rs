//! The store: what outlives the process. Two columns, *seen* and *applied*, and the plans, intents and jobs between.
//!
//! Every method is one transaction. No read stays open across a network call. Writes to a directory's rows carry a
//! [`Lease`], which fences off a writer that has lost it.

pub mod conflicts;
pub mod feeds;
pub mod holds;
pub mod jobs;
pub mod links;
pub mod records;
mod redb;
pub mod repairs;
pub mod restored;

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::id::{DirectoryId, JobId, ProfileKey, ProfileName, TenantName};
use crate::identity::digest::Digest;
use crate::identity::known::Known;
use crate::identity::{Identity, Kind, MemberKey, RowKey};
use crate::job::Job;
use crate::plan::backoff::Rejection;
use crate::plan::{Class, Plan, Step};
use crate::snapshot::{Applied, LinkedCounts, Match, ProfileState, ResolvedMember, Row, RowError};
use crate::store::conflicts::Conflicts;
use crate::store::feeds::Feeds;
use crate::store::holds::Holds;
use crate::store::jobs::{Change, Drift, JobFilter, JournalLine, UnsentError};
use crate::store::links::Links;
use crate::store::records::Records;
use crate::store::repairs::Repairs;
use crate::store::restored::Restorations;

/// The door for fuzzers (`tests/fuzz`).
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    /// Reads bytes as a record of every kind, and as a key.
    pub fn records(bytes: &[u8]) {
        super::redb::fuzzing::records(bytes);
    }
}

/// Where the store is, and how much memory it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file. It is made with mode 0600 where it does not exist.
    pub path: PathBuf,
    /// The page cache, in MiB.
    pub cache_mib: usize,
}

/// The right to write a directory's rows, with a term that rises each time it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The directory.
    pub directory: DirectoryId,
    /// The term.
    pub term: u64,
}

/// Where a step stands within its plan: class, then number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The class, which decides the order first.
    pub class: Class,
    /// The number within the class.
    pub number: u64,
}

/// What is about to be sent, written down before it is: what a killed process may have left half done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The row.
    pub key: RowKey,
    /// The class of the step.
    pub class: Class,
    /// Which part of the step, where a step takes several requests.
    pub part: u32,
    /// The job.
    pub job: JobId,
    /// Members that the request adds or removes.
    pub members: Vec<RowKey>,
}

/// What became of an intent, to be written in one transaction with what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The row.
    pub key: RowKey,
    /// The class of the step that the intent was for.
    pub class: Class,
    /// The part of the step.
    pub part: u32,
    /// What follows for the row.
    pub effect: Effect,
    /// When given, the row no longer differs, provided that its entry still has this digest; when not, it is marked as
    /// different.
    pub clean: Option<Digest>,
    /// The line in the journal.
    pub change: Option<Change>,
    /// That the target refused it, where that is this row's own affair.
    pub rejection: Option<Rejection>,
}

/// What an outcome means for a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The resource was created or linked, or its attributes were acknowledged: the new *applied*.
    Applied(Applied),
    /// A group was created or linked, together with these members.
    AppliedWithMembers(Applied, Vec<RowKey>),
    /// Members were put into the group.
    MembersAdded(Vec<RowKey>),
    /// Members were taken out of the group.
    MembersRemoved(Vec<RowKey>),
    /// The target no longer has the resource: the row is not linked any more, and its members are forgotten.
    Unlinked,
    /// A resource was found that may belong to the row.
    Found(Match),
    /// Nothing changed: refused, dropped, or found not to have happened. The intent is gone.
    Nothing,
    /// It is still not known what happened: the intent stays, for the next run to look.
    StillUnknown,
}

/// On whose behalf changes are settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The job that sends them.
    pub job: JobId,
    /// The tenant that receives them.
    pub tenant: TenantName,
    /// The profile whose ledger they count in; absent where a person wanted them.
    pub ledger: Option<ProfileKey>,
}

/// What outlives the process.
#[async_trait]
pub trait Store:
    Records + Feeds + Holds + Links + Repairs + Restorations + Conflicts + Send + Sync
{
    /// Takes the right to write a directory's rows; an earlier lease of it no longer works.
    async fn lease(&self, directory: DirectoryId) -> Result<Lease, Error>;

    /// Notes the address of the target that a directory's rows are linked at. Answers the one that was noted before when it
    /// is another one and anything is linked there, or may be; ids of one target say nothing at another. Where nothing is,
    /// the new one is noted, and first contact begins anew.
    async fn bind_target(&self, lease: &Lease, base_url: &str) -> Result<Option<String>, Error>;

    /// The digests of all present rows of a profile.
    async fn known(&self, profile: &ProfileKey) -> Result<Known, Error>;

    /// What a profile knows of its own reads; the default for one that never ran.
    async fn profile_state(&self, profile: &ProfileKey) -> Result<ProfileState, Error>;

    /// Replaces a profile's state.
    async fn save_profile_state(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        state: &ProfileState,
    ) -> Result<(), Error>;

    /// Writes new and changed entries into *seen*, marks their rows as different, and marks every row that names an
    /// entry which appeared or changed its names.
    async fn record_seen(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        entries: Vec<(Identity, Digest)>,
    ) -> Result<(), Error>;

    /// The present rows of a profile that a read did not meet.
    async fn unmet(&self, profile: &ProfileKey, known: Known) -> Result<Vec<RowKey>, Error>;

    /// Marks rows as absent since a time, unless they already are, and as different; and every row that names them.
    async fn record_absent(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        rows: Vec<RowKey>,
        since: DateTime<Utc>,
    ) -> Result<(), Error>;

    /// Forgets of rows what profiles lost of them, because another one has them: it is theirs no more, whatever becomes
    /// of that other one.
    async fn hand_over(&self, lease: &Lease, rows: Vec<RowKey>) -> Result<(), Error>;

    /// Marks every row of a directory as different: its mapping, policy or profiles changed. A profile that is not
    /// among these forgets its fingerprint, so that it looks at every row when it is back.
    async fn mark_all_dirty(&self, lease: &Lease, profiles: &[ProfileName]) -> Result<(), Error>;

    /// Removes what a profile saw and knows of its reads, because it was deleted. What is linked stays so; rows that no
    /// other profile sees are left alone until one does.
    async fn forget_profile(&self, lease: &Lease, profile: &ProfileKey) -> Result<(), Error>;

    /// Removes everything of a directory: rows, links, profiles, jobs with their plans and journals. Leases of it that
    /// were taken before no longer work.
    async fn forget_directory(&self, directory: DirectoryId) -> Result<(), Error>;

    /// Whether every row that is present in one of the profiles is marked, as in a first load.
    async fn all_marked(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
    ) -> Result<bool, Error>;

    /// Marks rows as different.
    async fn mark_dirty(&self, lease: &Lease, rows: Vec<RowKey>) -> Result<(), Error>;

    /// Marks every group that holds a marked group, at any depth, as different: its members may come from there.
    async fn mark_ancestors(&self, lease: &Lease) -> Result<(), Error>;

    /// Rows that differ, in order of their keys, after a given one.
    async fn dirty_rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<Row>, Error>;

    /// Marks rows as no longer different, each provided that its entry still has the digest (any profile's).
    async fn clear_dirty(&self, lease: &Lease, rows: Vec<(RowKey, Digest)>) -> Result<(), Error>;

    /// Rows by key, in the given order; a row that nobody knows is empty.
    async fn rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        keys: Vec<RowKey>,
    ) -> Result<Vec<Row>, Error>;

    /// Rows of a kind that are linked or were ever seen, in order of their keys, after a given one; without the members
    /// of groups.
    async fn listed_rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        kind: Kind,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<Row>, Error>;

    /// Keeps with rows what was met while they were planned; `None` clears such an error, and leaves one that a request
    /// brought until the row no longer differs. Nothing is written where nothing is new.
    async fn note_problems(
        &self,
        lease: &Lease,
        problems: Vec<(RowKey, Option<RowError>)>,
    ) -> Result<(), Error>;

    /// Linked rows with their *applied*, in order of their keys, after a given one.
    async fn linked_rows(
        &self,
        directory: DirectoryId,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Applied)>, Error>;

    /// The target's ids of rows, in the given order; `None` for one that is not linked.
    async fn links(
        &self,
        directory: DirectoryId,
        keys: Vec<RowKey>,
    ) -> Result<Vec<Option<String>>, Error>;

    /// The rows that groups name as members, for each group in the given order; groups that are absent have none.
    async fn members(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        groups: Vec<RowKey>,
    ) -> Result<Vec<Vec<ResolvedMember>>, Error>;

    /// The rows that have these names now, for each in the given order: one at the most, unless the name is a place. Where
    /// profiles differ, the one that read last counts.
    async fn named(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        names: Vec<MemberKey>,
    ) -> Result<Vec<BTreeSet<RowKey>>, Error>;

    /// Whom each of these users names as manager, in the given order: whoever has that name now, or else who had it last,
    /// because servers leave names behind when an entry is renamed or goes. `None` for a user who names nobody or is absent.
    async fn managers(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        users: Vec<RowKey>,
    ) -> Result<Vec<Option<ResolvedMember>>, Error>;

    /// The rows that name each of these, by the names that it has now (as in [`Store::named`]): groups as a member, users as
    /// their manager; for each in the given order.
    async fn rows_naming(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        rows: Vec<RowKey>,
    ) -> Result<Vec<Vec<RowKey>>, Error>;

    /// The members that the relay put into a group, in order.
    async fn applied_members(
        &self,
        directory: DirectoryId,
        group: &RowKey,
    ) -> Result<Vec<RowKey>, Error>;

    /// How many rows are linked.
    async fn linked_counts(&self, directory: DirectoryId) -> Result<LinkedCounts, Error>;

    /// The linked user whose acknowledged userName this is, case ignored.
    async fn holder_of_name(
        &self,
        directory: DirectoryId,
        user_name: &str,
    ) -> Result<Option<RowKey>, Error>;

    /// Writes what was found at the target, or that nothing is there any more, and marks the rows as different.
    async fn record_found(
        &self,
        lease: &Lease,
        found: Vec<(RowKey, Option<Match>)>,
    ) -> Result<(), Error>;

    /// Replaces *applied* of linked rows by what the target really holds, or forgets the link (`None`); marks the rows
    /// as different.
    async fn record_observed(
        &self,
        lease: &Lease,
        observed: Vec<(RowKey, Option<Applied>)>,
    ) -> Result<(), Error>;

    /// Adds steps to a plan that is being made; the store numbers them within their class in the order of the calls.
    async fn add_steps(&self, lease: &Lease, job: JobId, steps: Vec<Step>) -> Result<(), Error>;

    /// Drops all steps of certain rows from a plan that is being made.
    async fn drop_steps(&self, lease: &Lease, job: JobId, rows: Vec<RowKey>) -> Result<(), Error>;

    /// Finishes a plan: counts its steps, computes its digest, stores its head, and drops holds that cover nothing. From then on
    /// it does not change. What waits for a person is held on its rows from then on, unless the plan is a preview.
    async fn seal_plan(&self, lease: &Lease, plan: Plan) -> Result<Plan, Error>;

    /// A plan's head.
    async fn plan(&self, job: JobId) -> Result<Option<Plan>, Error>;

    /// Steps of a plan in order, after a position.
    async fn steps(
        &self,
        job: JobId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<(Position, Step)>, Error>;

    /// Removes a plan and its steps: it was carried out, and the journal tells the rest.
    async fn drop_plan(&self, lease: &Lease, job: JobId) -> Result<(), Error>;

    /// Writes down what is about to be sent. Durable when it returns.
    async fn intend(&self, lease: &Lease, intents: Vec<Intent>) -> Result<(), Error>;

    /// Intents that were never settled.
    async fn intents(&self, directory: DirectoryId) -> Result<Vec<Intent>, Error>;

    /// Writes what became of intents, in one transaction: effects, journal, rows that no longer differ. A row that
    /// becomes linked or unlinked marks every row that names it. Each line of the journal is in the audit log too.
    async fn settle(
        &self,
        lease: &Lease,
        author: &Author,
        settlements: Vec<Settlement>,
    ) -> Result<(), Error>;

    /// Writes a job.
    async fn save_job(&self, job: &Job) -> Result<(), Error>;

    /// A job by id.
    async fn job(&self, id: JobId) -> Result<Option<Job>, Error>;

    /// Jobs, newest first, older than a given one.
    async fn jobs(
        &self,
        filter: JobFilter,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Job>, Error>;

    /// Jobs that have not ended.
    async fn unfinished_jobs(&self) -> Result<Vec<Job>, Error>;

    /// Adds errors that led to no request to a job's journal.
    async fn note_unsent(&self, job: JobId, errors: Vec<UnsentError>) -> Result<(), Error>;

    /// Adds what the target was found to hold otherwise to a job's journal.
    async fn note_drift(&self, job: JobId, lines: Vec<Drift>) -> Result<(), Error>;

    /// Lines of a job's journal, in order, after a number.
    async fn changes(
        &self,
        job: JobId,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, JournalLine)>, Error>;
}

/// Opens the store, makes it where there is none, and brings an older one up to date.
///
/// # Errors
/// When another process holds it, when it is corrupt or newer than this program, when its mode lets others read it, or
/// when the disk refuses.
pub fn open(settings: &Settings) -> Result<Box<dyn Store>, Error> {
    redb::open(settings)
}

/// Opens the store on a disk that is no file, such as one that a simulation takes the power from.
///
/// # Errors
/// As [`open`], but for what only a file has.
pub fn open_on(disk: impl ::redb::StorageBackend) -> Result<Box<dyn Store>, Error> {
    redb::open_on(disk)
}

/// Why the store could not do it; names the file and the cure.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Which of the cases a caller tells apart.
    pub kind: ErrorKind,
    /// Names the file, what happened, and the cure.
    pub message: String,
}

/// The cases that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Another process, or another part of this one, has the file open.
    InUse,
    /// The file is damaged.
    Corrupt,
    /// The file was written by a newer version.
    Newer,
    /// The disk is full, read-only or failing, or the file may not be opened.
    Disk,
    /// The lease was taken by somebody else.
    LeaseLost,
    /// A broken invariant.
    Defect,
}

impl Error {
    /// Makes an error.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self.kind {
            ErrorKind::LeaseLost => Fault::Drifted,
            ErrorKind::Defect => Fault::Defect,
            ErrorKind::InUse | ErrorKind::Corrupt | ErrorKind::Newer | ErrorKind::Disk => {
                Fault::Denied
            }
        }
    }
}
