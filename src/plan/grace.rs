//! The grace period: how long somebody who is gone keeps what the relay gave him, in case he comes back.

use chrono::{DateTime, Duration, Utc};

use crate::plan::decide::Verdict;
use crate::plan::linking::Waits;
use crate::snapshot::{Seen, Standing};

/// The grace period of a profile, and when it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grace {
    /// How long; zero for none.
    pub period: Duration,
    /// The time of the run.
    pub now: DateTime<Utc>,
    /// Since when scope, filters or mapping are others: whoever is gone since then waits for a person instead, because nobody
    /// would be asked when a grace period ends.
    pub changed_at: Option<DateTime<Utc>>,
}

impl Grace {
    /// When the grace of an entry ends that is gone; `None` where it is there, or that time is over.
    pub fn ends(&self, seen: &Seen) -> Option<DateTime<Utc>> {
        let Standing::Absent { since } = seen.standing else {
            return None;
        };
        if self.changed_at.is_some_and(|changed| changed <= since) {
            return None;
        }
        let ends = since.checked_add_signed(self.period)?;
        (ends > self.now).then_some(ends)
    }
}

impl Verdict {
    /// The same of a row that waits besides, if it does: it is decided again whatever becomes of the steps.
    pub fn waiting(mut self, waits: Option<Waits>) -> Self {
        if waits.is_some() {
            self.steps
                .iter_mut()
                .for_each(|step| step.last_of_row = false);
            self.waits = self.waits.or(waits);
        }
        self
    }
}
