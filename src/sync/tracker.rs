//! The job of a run while it runs: counters, errors and progress, written to the store now and then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::watch;

use crate::fault::Fault;
use crate::identity::RowKey;
use crate::job::{ChangeDetection, Job, ObjectError, Requests, Status};
use crate::provider::{Refusal, RequestCounts};
use crate::store::Store;
use crate::store::jobs::UnsentError;
use crate::sync::Error;

/// Errors that led to no request, held back until they are written together.
const UNSENT_MAX: usize = 256;
/// How old the store's word on a job may be: a run that is over sooner does not wait for the disk at each of its phases.
const STORED_EVERY: Duration = Duration::from_secs(1);

/// Called whenever a job was written or went on, for those who watch.
pub type Listener = Arc<dyn Fn(&Job) + Send + Sync>;

/// A job that others can watch while it changes; they see the newest state, however seldom they look.
pub type Feed = watch::Sender<Job>;

/// A job under way.
pub struct Tracker {
    job: Feed,
    /// Errors that led to no request and are not in the journal yet.
    unsent: Mutex<Vec<UnsentError>>,
    /// When the job was last written.
    stored: Mutex<Option<Instant>>,
    /// Where it is written; nowhere for a job that nobody started.
    store: Option<Arc<dyn Store>>,
    before: RequestCounts,
    listener: Option<Listener>,
}

impl Tracker {
    /// Starts to keep a job; `before` is what the provider had sent by then.
    pub fn new(
        job: Feed,
        store: Arc<dyn Store>,
        before: RequestCounts,
        listener: Option<Listener>,
    ) -> Self {
        Self {
            job,
            unsent: Mutex::default(),
            stored: Mutex::default(),
            store: Some(store),
            before,
            listener,
        }
    }

    /// Keeps a job that nobody started, of which nothing is written: what a run would do is asked, and no more.
    pub(super) fn of_nobody(job: Job) -> Self {
        Self {
            job: Feed::new(job),
            unsent: Mutex::default(),
            stored: Mutex::default(),
            store: None,
            before: RequestCounts::default(),
            listener: None,
        }
    }

    /// The job as it is now.
    pub fn job(&self) -> Job {
        self.job.borrow().clone()
    }

    /// Changes the job; who watches it sees that, the store not yet.
    pub fn update(&self, change: impl FnOnce(&mut Job)) {
        self.job.send_modify(change);
    }

    /// Notes how it was learnt what changed, and why in that way.
    pub fn detected(&self, rung: impl Into<String>, reason: impl Into<String>) {
        let detection = ChangeDetection {
            rung: rung.into(),
            reason: reason.into(),
        };
        self.update(|job| job.change_detection = Some(detection));
    }

    /// Names the phase, and writes the job if it is time.
    pub async fn phase(&self, phase: &str) {
        self.update(|job| job.progress.phase = phase.to_owned());
        self.save().await;
    }

    /// Tells those who watch the command how far the job is.
    pub fn progressed(&self) {
        self.tell(&self.job());
    }

    /// Writes the job unless that was done just now; a store that refuses is reported where the run itself meets it.
    pub async fn save(&self) {
        let job = self.job();
        self.tell(&job);
        if self.is_due() {
            self.write_unsent().await;
            self.write(&job).await;
        }
    }

    /// Whether the job is to be written now; if so, not again for a while.
    fn is_due(&self) -> bool {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let due = stored.is_none_or(|last| last.elapsed() >= STORED_EVERY);
        if due {
            *stored = Some(Instant::now());
        }
        due
    }

    fn tell(&self, job: &Job) {
        if let Some(listener) = &self.listener {
            listener(job);
        }
    }

    async fn write(&self, job: &Job) {
        let Some(store) = &self.store else {
            return;
        };
        if let Err(error) = store.save_job(job).await {
            tracing::error!(job = %job.id, error = %error, "the job's progress could not be stored");
        }
    }

    /// Records an error that led to no request: on the job, and in its journal.
    pub async fn record(&self, error: ObjectError) {
        if self.keep_unsent(&error) >= UNSENT_MAX {
            self.write_unsent().await;
        }
        self.record_sent(error);
    }

    fn keep_unsent(&self, error: &ObjectError) -> usize {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        unsent.push(UnsentError {
            at: Utc::now(),
            error: error.clone(),
        });
        unsent.len()
    }

    async fn write_unsent(&self) {
        let unsent =
            std::mem::take(&mut *self.unsent.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(store) = self.store.as_ref().filter(|_| !unsent.is_empty()) else {
            return;
        };
        let job = self.job().id;
        if let Err(error) = store.note_unsent(job, unsent).await {
            tracing::error!(job = %job, error = %error, "errors of the job could not be stored");
        }
    }

    /// Records an error that a request led to; its line in the journal is written with its outcome.
    pub fn record_sent(&self, error: ObjectError) {
        tracing::debug!(kind = error.kind, anchor = error.anchor, operation = error.operation, fault = %error.fault,
            status = error.status, "an object could not be synchronized");
        self.update(|job| job.record(error));
    }

    /// Records why the run stopped.
    pub fn fail(&self, error: &Error) {
        log_stop(error);
        let of_job = ObjectError::of_job(error.operation(), error.fault(), error.to_string());
        let error = match error {
            Error::Target(refusal) => ObjectError {
                status: refusal.status,
                scim_type: refusal.scim_type.clone(),
                ..of_job
            },
            Error::Source(_) | Error::Store(_) | Error::Moved(_) | Error::Only(_) => of_job,
        };
        self.keep_unsent(&error);
        self.update(|job| job.record(error));
    }

    /// How a run that went to its end is called.
    pub fn verdict(&self, waits_for_approval: bool) -> Status {
        self.job.borrow().verdict(waits_for_approval)
    }

    /// Ends the job and writes it. Who watches it sees the end when it is stored, so that nobody who acts on it then finds
    /// another state there.
    pub async fn end(&self, status: Status, sent: RequestCounts) {
        let mut job = self.job();
        job.requests = Requests {
            read: job.requests.read + sent.read.saturating_sub(self.before.read),
            write: job.requests.write + sent.write.saturating_sub(self.before.write),
        };
        job.end(status, Utc::now());
        self.tell(&job);
        self.write_unsent().await;
        self.write(&job).await;
        self.job.send_replace(job.clone());
        log_end(&job);
    }
}

/// One line in the log for each job: a warning where somebody has to look, so that it is found among the others.
fn log_end(job: &Job) {
    let Requests { read, write } = job.requests;
    let (status, errors) = (job.status.as_str(), job.error_count);
    match job.status {
        Status::Failed => {
            tracing::warn!(job = %job.id, directory_id = %job.directory_id, status, errors, reads = read,
                writes = write, "job ended");
        }
        Status::AwaitingApproval => {
            tracing::warn!(job = %job.id, directory_id = %job.directory_id, status, errors, reads = read,
                writes = write, holds = job.holds.join("; "), "job ended");
        }
        _ => {
            tracing::info!(job = %job.id, directory_id = %job.directory_id, status, errors, reads = read,
                writes = write, "job ended");
        }
    }
}

/// Why a run stopped. What a target answers may quote a user, and the one entry of a job is a name: neither is logged.
fn log_stop(error: &Error) {
    let fault = error.fault();
    match error {
        Error::Source(_) | Error::Store(_) | Error::Moved(_) => {
            tracing::warn!(%fault, error = %error, "the run stopped");
        }
        Error::Target(refusal) => {
            tracing::warn!(%fault, status = refusal.status, "the run stopped: the target refuses");
        }
        Error::Only(_) => tracing::info!(%fault, "the run stopped: the one entry cannot be had"),
    }
}

/// An error of one object at the target.
pub fn target_error(key: &RowKey, dn: &str, operation: &str, refusal: &Refusal) -> ObjectError {
    ObjectError {
        kind: key.kind.as_str().to_owned(),
        anchor: Some(key.anchor.to_string()),
        dn: Some(dn.to_owned()),
        operation: operation.to_owned(),
        fault: refusal.fault,
        status: refusal.status,
        scim_type: refusal.scim_type.clone(),
        detail: refusal.message.clone(),
    }
}

/// An error of one object that was found before anything was sent.
pub fn row_error(
    key: &RowKey,
    dn: &str,
    operation: &str,
    fault: Fault,
    detail: impl Into<String>,
) -> ObjectError {
    ObjectError {
        kind: key.kind.as_str().to_owned(),
        anchor: Some(key.anchor.to_string()),
        dn: Some(dn.to_owned()),
        operation: operation.to_owned(),
        fault,
        status: None,
        scim_type: None,
        detail: detail.into(),
    }
}
