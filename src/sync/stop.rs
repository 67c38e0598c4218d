//! What ends a run before its time, and what its end is called then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::job::Status;

/// Ends one run. Clones end the same run.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    by_person: Arc<AtomicBool>,
}

impl Stop {
    /// One that the end of the process asks for as well.
    pub fn with(process: &CancellationToken) -> Self {
        Self {
            token: process.child_token(),
            by_person: Arc::default(),
        }
    }

    /// A person wants the run to end, and not to be gone on with by itself.
    pub fn cancel(&self) {
        self.by_person.store(true, Ordering::SeqCst);
        self.token.cancel();
    }

    /// The process ends; the run is to be gone on with.
    pub fn interrupt(&self) {
        self.token.cancel();
    }

    /// Is cancelled when the run is asked to end.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// What the run's end is called, once it was asked for.
    pub fn status(&self) -> Status {
        if self.by_person.load(Ordering::SeqCst) {
            Status::Cancelled
        } else {
            Status::Interrupted
        }
    }
}
