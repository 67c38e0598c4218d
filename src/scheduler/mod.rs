//! The scheduler: when jobs run, one queued or running for each profile, one at a time for each directory. It knows no
//! LDAP and no SCIM.
//!
//! A job is asked for by a person, by the clock, or by the end of an earlier process; whoever asks gets the job that
//! was queued, or the name of the one that already runs. The table of running jobs is in memory, because the store
//! belongs to one process; the jobs themselves are in the store.

mod clock;
mod due;
pub mod forget;
mod listen;
mod overtake;
mod resume;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::{Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::audit::Actor;
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::fault::Fault;
use crate::id::{DirectoryId, JobId, ProfileKey, TenantName};
use crate::job::schedule::Schedule;
use crate::job::{Extent, Job, ObjectError, Status, Trigger};
use crate::store::Store;
use crate::sync::stop::Stop;
use crate::sync::tracker::Feed;
use crate::sync::watch::Ringer;

/// Jobs that run at the same time, over all directories.
const JOBS_AT_ONCE: usize = 4;

/// Jobs of one tenant that run at the same time: there is always a place for another one's.
const JOBS_OF_A_TENANT: usize = JOBS_AT_ONCE - 1;

/// How jobs are run; what stands behind it reads directories and speaks to targets.
#[async_trait]
pub trait Runner: Send + Sync {
    /// The profiles that can run, with their schedules, and whether these are in force.
    fn profiles(&self) -> Vec<Scheduled>;

    /// Listens for changes in a profile's directory, and rings at each that concerns it. Ends when the profile's
    /// definition is not what it was.
    async fn listen(&self, key: &ProfileKey, ringer: &dyn Ringer);

    /// Whether a job of the directory sends, and nobody who leaves goes with it any more.
    fn can_be_overtaken(&self, directory: DirectoryId) -> bool;

    /// Runs a job to its end, and stores that end; what becomes of it on the way goes to those who watch the feed.
    async fn run(&self, job: Feed, stop: Stop) -> Status;
}

/// A profile and when it runs.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// The profile.
    pub key: ProfileKey,
    /// The tenant that it is for.
    pub tenant: TenantName,
    /// When it runs by itself.
    pub schedule: Schedule,
    /// Whether the schedule is in force.
    pub enabled: bool,
    /// Whether it may run as soon as the directory tells of a change.
    pub listens: bool,
}

impl Scheduled {
    /// When a directory's profile runs; a disabled directory's profiles do not, and neither does a disabled profile.
    pub fn of(directory: &Directory, profile: &Profile) -> Self {
        Self {
            key: directory.profile_key(&profile.name),
            tenant: directory.tenant.clone(),
            schedule: profile.schedule.clone(),
            enabled: directory.enabled && profile.enabled,
            listens: profile.listens(),
        }
    }
}

/// Why a job was not queued.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A job of that profile runs already.
    #[error("job {0} of this profile is running; wait until it has ended, or cancel it")]
    Running(JobId),
    /// Nobody configured such a profile.
    #[error("there is no such profile")]
    Unknown,
    /// The relay is shutting down.
    #[error("the relay is shutting down")]
    Stopping,
    /// The store could not keep the job.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// A panic elsewhere does not make a table wrong enough to stop all jobs over.
fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queues jobs and runs them.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    runner: Arc<dyn Runner>,
    running: Mutex<HashMap<ProfileKey, Running>>,
    /// A directory's profiles share its rows, so that one of them runs at a time.
    directories: Mutex<HashMap<DirectoryId, Arc<tokio::sync::Mutex<()>>>>,
    /// The right under which a job of each directory runs, for those that overtake it.
    turns: Mutex<HashMap<DirectoryId, Weak<Turn>>>,
    /// The urgent job of each directory that runs beside a longer one.
    urgent: Mutex<HashMap<DirectoryId, Running>>,
    /// When an urgent job of each profile was last asked for.
    overtook: Mutex<HashMap<ProfileKey, DateTime<Utc>>>,
    /// Profiles whose directory told of a change that is not followed in full yet.
    owed: Mutex<HashSet<ProfileKey>>,
    places: Arc<Semaphore>,
    /// When a job of each profile was last queued: one that ends before it can note its attempt, for want of a secret,
    /// say, is not due again at once.
    queued: Mutex<HashMap<ProfileKey, DateTime<Utc>>>,
    /// The schedule of each profile as it was last seen.
    schedules: Mutex<HashMap<ProfileKey, InForce>>,
    /// Places for jobs of each tenant, fewer than there are in all.
    shares: Mutex<HashMap<TenantName, Arc<Semaphore>>>,
    /// The profiles that are listened for.
    listening: Mutex<HashSet<ProfileKey>>,
    /// Told whenever a job has left its place.
    left: Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
    started: DateTime<Utc>,
}

/// A schedule that is in force.
struct InForce {
    schedule: Schedule,
    /// Since when, where somebody set it after the start: times before it were not missed.
    since: Option<DateTime<Utc>>,
}

#[derive(Clone)]
struct Running {
    job: JobId,
    stop: Stop,
    feed: Feed,
}

/// The right of a job to run, given up when it is dropped.
struct Turn {
    _alone: OwnedMutexGuard<()>,
    _share: Option<OwnedSemaphorePermit>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Scheduler {
    /// A scheduler that waits for jobs; [`Scheduler::start`] begins with the clock.
    pub fn new(store: Arc<dyn Store>, runner: Arc<dyn Runner>) -> Self {
        Self(Arc::new(Inner {
            store,
            runner,
            running: Mutex::default(),
            directories: Mutex::default(),
            turns: Mutex::default(),
            urgent: Mutex::default(),
            overtook: Mutex::default(),
            owed: Mutex::default(),
            places: Arc::new(Semaphore::new(JOBS_AT_ONCE)),
            queued: Mutex::default(),
            schedules: Mutex::default(),
            shares: Mutex::default(),
            listening: Mutex::default(),
            left: Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            started: Utc::now(),
        }))
    }

    /// Goes on with what an earlier process did not finish, and starts the clock.
    ///
    /// # Errors
    /// When the store cannot be read or the clock does not start.
    pub async fn start(&self) -> Result<(), String> {
        self.resume().await.map_err(|error| error.to_string())?;
        let profiles = self.0.runner.profiles().into_iter();
        let enabled = profiles.filter(|profile| profile.enabled);
        let in_force = |Scheduled { key, schedule, .. }: Scheduled| {
            let since = None;
            (key, InForce { schedule, since })
        };
        *lock(&self.0.schedules) = enabled.map(in_force).collect();
        clock::start(self.clone()).await
    }

    fn table(&self) -> MutexGuard<'_, HashMap<ProfileKey, Running>> {
        lock(&self.0.running)
    }

    /// Queues a job for a profile, on behalf of whoever asks, and starts it as soon as there is a place.
    ///
    /// # Errors
    /// When one of that profile runs already, when there is no such profile, or when the relay shuts down.
    pub async fn enqueue(
        &self,
        key: &ProfileKey,
        trigger: Trigger,
        extent: impl Into<Extent> + Send,
        actor: &Actor,
    ) -> Result<Job, Refused> {
        if self.0.stop.is_cancelled() {
            return Err(Refused::Stopping);
        }
        let profiles = self.0.runner.profiles();
        let profile = profiles.into_iter().find(|profile| profile.key == *key);
        let Some(Scheduled { tenant, .. }) = profile else {
            return Err(Refused::Unknown);
        };
        let job = Job::queued(JobId(Uuid::now_v7()), key, trigger, extent, Utc::now());
        let running = Running {
            job: job.id,
            stop: Stop::with(&self.0.stop),
            feed: Feed::new(job.clone()),
        };
        self.take_place(key, &running).await?;
        // It may have been deleted in the meantime, and what is deleted has no jobs any more.
        let is_there = |profile: &Scheduled| profile.key == *key;
        if !self.0.runner.profiles().iter().any(is_there) {
            self.leave_place(key, &running.feed);
            return Err(Refused::Unknown);
        }
        if trigger != Trigger::Feed {
            lock(&self.0.queued).insert(key.clone(), job.queued_at);
        }
        if let Err(error) = self.0.store.queue_job(&job, actor, &tenant).await {
            self.leave_place(key, &running.feed);
            return Err(error.into());
        }
        let scheduler = self.clone();
        let key = key.clone();
        self.0
            .tasks
            .spawn(async move { scheduler.run(key, tenant, running).await });
        Ok(job)
    }

    /// One job runs for each profile. A job whose end is stored no longer counts, though its task may be about to go.
    async fn take_place(&self, key: &ProfileKey, running: &Running) -> Result<(), Refused> {
        let other = self.table().get(key).cloned();
        // Somebody is deciding on its plan just now.
        let is_decided = |other: &Running| other.feed.borrow().status == Status::Queued;
        let same = other.as_ref().filter(|other| other.job == running.job);
        if same.is_some_and(is_decided) {
            return Err(Refused::Running(running.job));
        }
        let other = other.map(|other| other.job);
        if let Some(other) = other {
            let stored = self.0.store.job(other).await?;
            if stored.is_none_or(|job| !job.status.is_final()) {
                return Err(Refused::Running(other));
            }
        }
        let mut table = self.table();
        match table.get(key) {
            Some(newer) if Some(newer.job) != other => Err(Refused::Running(newer.job)),
            _ => {
                table.insert(key.clone(), running.clone());
                Ok(())
            }
        }
    }

    /// A job that somebody approved in the meantime may have the place again, so that its name does not tell whose it is.
    fn leave_place(&self, key: &ProfileKey, feed: &Feed) {
        let mut table = self.table();
        if table
            .get(key)
            .is_some_and(|running| running.feed.same_channel(feed))
        {
            table.remove(key);
        }
        drop(table);
        self.0.left.notify_waiters();
    }

    /// Waits until no other profile of the directory runs, then for one of the tenant's places, and then for a place among
    /// all jobs.
    async fn turn(&self, directory: DirectoryId, tenant: &TenantName) -> Turn {
        let alone = self.alone(directory).await;
        let share = lock(&self.0.shares)
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(JOBS_OF_A_TENANT)))
            .clone();
        Turn {
            _alone: alone,
            // The semaphores are never closed; without a place the job would only run beside one more.
            _share: share.acquire_owned().await.ok(),
            _place: self.0.places.clone().acquire_owned().await.ok(),
        }
    }

    /// Waits until no profile of the directory runs.
    async fn alone(&self, directory: DirectoryId) -> OwnedMutexGuard<()> {
        let alone = lock(&self.0.directories)
            .entry(directory)
            .or_default()
            .clone();
        alone.lock_owned().await
    }

    /// Runs a job in a task of its own, so that a panic in it ends the job and nothing else.
    async fn run(&self, key: ProfileKey, tenant: TenantName, Running { stop, feed, .. }: Running) {
        let turn = tokio::select! {
            turn = self.turn(key.directory, &tenant) => turn,
            () = stop.token().cancelled() => {
                feed.send_modify(|job| job.end(stop.status(), Utc::now()));
                let ended = feed.borrow().clone();
                self.save(&ended).await;
                self.leave_place(&key, &feed);
                return;
            }
        };
        let turn = Arc::new(turn);
        lock(&self.0.turns).insert(key.directory, Arc::downgrade(&turn));
        self.run_now(&feed, stop).await;
        drop(turn);
        self.leave_place(&key, &feed);
        self.follow(key.directory);
    }

    /// Runs a job that has its turn.
    async fn run_now(&self, feed: &Feed, stop: Stop) {
        feed.send_modify(|job| job.start(Utc::now()));
        let runner = self.0.runner.clone();
        let started = feed.clone();
        let ended = tokio::spawn(async move { runner.run(started, stop).await }).await;
        if let Err(panic) = ended {
            let mut job = feed.borrow().clone();
            let detail = "the run ended by a defect of the relay; please report it with the log";
            tracing::error!(job = %job.id, error = %panic, "a job ended by a defect");
            job.record(ObjectError::of_job("run", Fault::Defect, detail));
            job.end(Status::Failed, Utc::now());
            self.save(&job).await;
            feed.send_replace(job);
        }
    }

    async fn save(&self, job: &Job) {
        if let Err(error) = self.0.store.save_job(job).await {
            tracing::error!(job = %job.id, error = %error, "the job's end could not be stored");
        }
    }

    /// Lets no new job begin, asks the running ones to end after their requests in flight, and waits for them.
    pub async fn shut_down(&self, patience: Duration) {
        self.0.stop.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(patience, self.0.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("jobs did not end in time; they are resumed at the next start");
        }
    }
}
