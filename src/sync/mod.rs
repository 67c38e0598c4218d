//! The four flights: ingest, observe, propose, apply. Each starts and ends in the store, so each can be run, repeated
//! and resumed alone. [`run`] is where to start reading.

mod adopt;
mod apply;
mod approved;
mod breaker;
mod conflicts;
mod create;
mod drift;
pub mod explain;
mod feed;
mod flight;
mod ingest;
mod observe;
mod only;
mod ownership;
mod prepare;
mod problems;
mod proof;
mod propose;
mod recover;
mod repairs;
mod restored;
mod roles;
mod send;
mod settle;
pub mod stop;
mod swap;
mod target;
mod together;
pub mod tracker;
pub mod traffic;
mod urgent;
mod waiting;
pub mod watch;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::directory::tenant::Tenant;
use crate::fault::Fault;
use crate::id::{JobId, ProfileKey, ProfileName};
use crate::identity::Identity;
use crate::job::{Job, Mode, Status};
use crate::mapping::Desired;
use crate::plan::Plan;
use crate::provider::{Provider, Refusal};
use crate::source::Connector;
use crate::store::{Author, Lease, Store};
use crate::sync::proof::Reader;
use crate::sync::propose::Rows;
use crate::sync::stop::Stop;
use crate::sync::tracker::Tracker;
use crate::sync::traffic::Traffic;

/// Everything that a run of one profile needs.
pub struct Relay {
    /// The directory, with all of its profiles.
    pub directory: Arc<Directory>,
    /// The profile that runs.
    pub profile: Arc<Profile>,
    /// The tenant that receives.
    pub tenant: Arc<Tenant>,
    /// The way to the directory.
    pub connector: Arc<dyn Connector>,
    /// How the directory is reached, secrets included.
    pub source: crate::source::Settings,
    /// The same for its other profiles: what is absent here may be in their scope.
    pub others: Vec<(ProfileName, crate::source::Settings)>,
    /// The tenant's IAM; shared by all directories of the tenant.
    pub provider: Arc<dyn Provider>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// What else is sent for the directory at the same time.
    pub traffic: Arc<Traffic>,
}

impl Relay {
    /// The profiles whose word counts, in order: those that are enabled, and behind them the one that runs, if it is not.
    fn counted(&self) -> Vec<ProfileName> {
        let mut names = self.directory.owners();
        if !names.contains(&self.profile.name) {
            names.push(self.profile.name.clone());
        }
        names
    }

    /// What an entry shall be at the target, as far as the target can keep it. What membership gives comes on top.
    fn desired(&self, profile: &Profile, identity: &Identity, now: DateTime<Utc>) -> Desired {
        let mut desired = profile.mapping.desired(identity, now);
        if let Ok(attributes) = &mut desired.resource {
            self.tenant.dialect.project(attributes);
        }
        desired
    }

    /// The key of the profile.
    pub fn key(&self) -> ProfileKey {
        self.directory.profile_key(&self.profile.name)
    }

    /// On whose behalf a job's changes are settled.
    fn author(&self, job: JobId) -> Author {
        Author {
            job,
            tenant: self.tenant.name.clone(),
            ledger: Some(self.key()),
        }
    }
}

/// Runs a job to its end: reads the directory, plans the difference, and sends what nothing holds.
///
/// The job's end is recorded in the tracker whatever happens; `stop` ends the run after the requests in flight.
pub async fn run(relay: &Relay, tracker: &Tracker, stop: &Stop) -> Status {
    let ended = flights(relay, tracker, stop).await;
    let status = match ended {
        Ok(waits) if !stop.token().is_cancelled() => tracker.verdict(waits),
        Ok(_) => stop.status(),
        Err(error) => {
            tracker.fail(&error);
            match approved::waits_again(relay, tracker).await {
                true => Status::AwaitingApproval,
                false => Status::Failed,
            }
        }
    };
    tracker.end(status, relay.provider.counts()).await;
    status
}

/// The flights of one run; answers whether something waits for a person.
async fn flights(relay: &Relay, tracker: &Tracker, stop: &Stop) -> Result<bool, Error> {
    let job = tracker.job();
    if job.is_urgent() && !job.is_approved() {
        return Box::pin(urgent::flights(relay, tracker, stop)).await;
    }
    let lease = relay.store.lease(relay.directory.id).await?;
    if job.is_approved() {
        return Box::pin(approved::carry_out(relay, &lease, tracker, stop)).await;
    }
    let Job {
        mode, only, repair, ..
    } = job;
    if !repair {
        target::same_address(relay, &lease).await?;
        tokio::select! {
            told = Box::pin(observe::report(relay, tracker)) => told?,
            () = stop.token().cancelled() => {}
        }
        return Ok(false);
    }
    let reader = Reader::new(relay);
    // Until something is sent, a run can be left anywhere: what it wrote down holds, and the next one starts with it.
    let plan = tokio::select! {
        plan = Box::pin(up_to_the_plan(relay, &lease, &reader, tracker, mode, only)) => plan?,
        () = stop.token().cancelled() => return Ok(false),
    };
    if mode.applies() {
        Box::pin(apply::carry_out(
            relay,
            &lease,
            &plan,
            &reader,
            tracker,
            stop.token(),
        ))
        .await?;
    }
    reader.close().await;
    if mode.applies() && !stop.token().is_cancelled() {
        waiting::settle_definition(relay, &lease, tracker).await?;
        restored::settle(relay, &lease, tracker).await?;
    }
    // Nobody decides on a preview: whoever wants it runs the profile.
    Ok(mode.applies() && plan.waits_for_approval())
}

/// Looks at what an earlier run left open, reads, and plans.
async fn up_to_the_plan(
    relay: &Relay,
    lease: &Lease,
    reader: &Reader<'_>,
    tracker: &Tracker,
    mode: Mode,
    only: Option<String>,
) -> Result<Plan, Error> {
    let undoes = tracker.job().undoes;
    if only.is_none() && undoes.is_none() {
        // First of all, so that a run that fails early is not asked for again at once.
        ingest::note_attempt(relay, lease, tracker.job().trigger).await?;
    }
    target::same_address(relay, lease).await?;
    if mode.applies() {
        waiting::expire(relay, lease).await?;
    }
    let in_doubt = match mode.applies() {
        true => recover::settle_open_intents(relay, lease, tracker).await?,
        false => Default::default(),
    };
    if let Some(undoes) = undoes {
        return propose::undo::plan(relay, lease, undoes, &in_doubt, tracker).await;
    }
    if let Some(selector) = only {
        let row = only::read_entry(relay, lease, reader, tracker, &selector).await?;
        if let Some(row) = &row {
            only::read_resource(relay, lease, mode, row, tracker).await?;
        }
        let rows = Rows::These(row.into_iter().collect());
        return propose::make_plan(relay, lease, rows, &in_doubt, tracker).await;
    }
    ingest::read_directory(relay, lease, reader, tracker).await?;
    ownership::settle_disagreements(relay, lease, reader, tracker).await?;
    restored::tell(relay, tracker).await?;
    if let Some(occasion) = observe::occasion(relay, &tracker.job()).await? {
        observe::read_target(relay, lease, mode, occasion, tracker).await?;
    }
    propose::make_plan(relay, lease, Rows::AllThatDiffer, &in_doubt, tracker).await
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory could not be read at all.
    #[error(transparent)]
    Source(#[from] crate::source::Error),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The target refuses everything.
    #[error(transparent)]
    Target(#[from] Refusal),
    /// The rows are linked at another target than the one that answers under the tenant's address now; the text says why and
    /// names the cure.
    #[error("{0}")]
    Moved(String),
    /// The one entry that the job is about cannot be had; the text names it and the cure.
    #[error("{0}")]
    Only(String),
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Source(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Target(refusal) => refusal.fault,
            Self::Moved(_) => Fault::Denied,
            Self::Only(_) => Fault::Rejected,
        }
    }

    /// Which part of the run it was.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Source(_) | Self::Only(_) => "read",
            Self::Store(_) => "store",
            Self::Target(_) | Self::Moved(_) => "send",
        }
    }
}
