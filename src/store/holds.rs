//! What waits for a person or was refused by one, and what the guard counts over 24 hours.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::audit::Event;
use crate::id::{DirectoryId, JobId, ProfileKey};
use crate::identity::RowKey;
use crate::identity::digest::Digest;
use crate::job::Job;
use crate::plan::held::{Held, HoldKey};
use crate::plan::tally::Ledger;
use crate::store::{Error, Lease};

/// What becomes of the steps that wait with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// They go on waiting, or are being carried out.
    Stays,
    /// They wait no more: the next run plans anew what still differs.
    Ends,
    /// They are not planned again, because a person rejected them.
    Rejected {
        /// Who, as the audit log names them.
        who: String,
        /// The fingerprint that the profile has.
        fingerprint: Option<Digest>,
    },
}

/// Part of [`crate::store::Store`].
#[async_trait]
pub trait Holds {
    /// What a profile did by itself lately.
    async fn ledger(&self, profile: &ProfileKey) -> Result<Ledger, Error>;

    /// Notes since when a profile's definition is another one and no plan of everything was made, or that one was.
    async fn note_definition(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        changed_at: Option<DateTime<Utc>>,
    ) -> Result<(), Error>;

    /// Notes that a profile's first plan was settled in full; what was created until then does not count.
    async fn end_first_load(&self, lease: &Lease, profile: &ProfileKey) -> Result<(), Error>;

    /// Notes that somebody ended a profile's quarantine.
    async fn clear_quarantine(
        &self,
        profile: &ProfileKey,
        at: DateTime<Utc>,
        event: Event,
    ) -> Result<(), Error>;

    /// What is held of rows, for each in the given order.
    async fn held(
        &self,
        directory: DirectoryId,
        rows: Vec<RowKey>,
    ) -> Result<Vec<Vec<Held>>, Error>;

    /// Everything that is held in a directory, in a fixed order, after one of it.
    async fn all_held(
        &self,
        directory: DirectoryId,
        after: Option<HoldKey>,
        limit: usize,
    ) -> Result<Vec<Held>, Error>;

    /// Holds steps, on behalf of a person.
    async fn hold(&self, lease: &Lease, held: Vec<Held>) -> Result<(), Error>;

    /// Forgets what is held, and marks the rows as different.
    async fn release(
        &self,
        directory: DirectoryId,
        held: Vec<HoldKey>,
        events: Vec<Event>,
    ) -> Result<(), Error>;

    /// Writes a job on whose plan was decided, with what becomes of the steps that wait with it, and who decided; answers
    /// whether it still waited: nothing is written where somebody else decided first.
    async fn decide_plan(
        &self,
        job: &Job,
        waiting: Waiting,
        event: Option<Event>,
    ) -> Result<bool, Error>;

    /// Drops the plan of a job that was carried out; what waited with it is planned anew where it still differs.
    async fn end_plan(&self, lease: &Lease, job: JobId) -> Result<(), Error>;
}
