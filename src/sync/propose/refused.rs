//! What the target refused of rows and waits for its next try: it is left out of the plan, and told all the same.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::identity::digest::Digest;
use crate::job::{ObjectError, Trigger};
use crate::plan::{Action, Step, backoff};
use crate::snapshot::{Refused, Row};
use crate::sync::propose::Draft;
use crate::sync::tracker::row_error;
use crate::sync::{Relay, ingest};

/// The waits of a run.
pub(super) struct Backoff {
    /// What decides how entries are sent.
    definition: Digest,
    /// Whether all is tried at once, because a person wants the run.
    is_over: bool,
    /// How many users and groups wait.
    waiting: u64,
    /// When the first of them is tried again.
    next: Option<DateTime<Utc>>,
}

impl Backoff {
    /// Of a run that was set off so.
    pub(super) fn of(relay: &Relay, trigger: Trigger) -> Self {
        Self {
            definition: ingest::definition(relay),
            is_over: trigger == Trigger::Manual,
            waiting: 0,
            next: None,
        }
    }

    /// What an administrator should know of those who wait.
    pub(super) fn told(&self) -> Option<String> {
        let next = self.next?;
        Some(format!(
            "{} users and groups wait for another try, because the target refused the same of them before; the first of them is \
             tried again from {} on: see their errors, correct the entry or the profile, or start a run by hand, which tries all \
             of them at once",
            self.waiting,
            at(next)
        ))
    }

    /// How many of them there are.
    pub(super) fn count(&self) -> u64 {
        self.waiting
    }
}

impl Draft<'_> {
    /// Takes out of what a row needs the steps that wait for their next try, and tells of each; answers whether there were any.
    pub(super) async fn leave_refused(&mut self, row: &Row, steps: &mut Vec<Step>) -> bool {
        if self.backoff.is_over || row.last.refused.is_empty() {
            return false;
        }
        let (definition, now) = (self.backoff.definition, self.now);
        let mut waiting = Vec::new();
        steps.retain(|step| {
            let refused = backoff::waits(step, &row.last, definition, now);
            waiting.extend(refused.map(|refused| told(step, refused)));
            let joins = matches!(step.action, Action::Create { .. } | Action::Link { .. });
            if refused.is_some() && joins {
                self.joining.remove(&row.key);
            }
            let next = refused.map(backoff::next_try);
            self.backoff.next = self.backoff.next.into_iter().chain(next).min();
            refused.is_none()
        });
        let waits = !waiting.is_empty();
        self.backoff.waiting += u64::from(waits);
        for error in waiting {
            self.tracker.record(error).await;
        }
        waits
    }

    /// The same in words, for one row that is explained; nothing is left out.
    pub(super) fn explain_refused(&self, row: &Row, steps: &[Step]) -> Vec<String> {
        let definition = self.backoff.definition;
        let waits = |step| backoff::waits(step, &row.last, definition, self.now);
        let refused = steps.iter().filter_map(waits);
        refused.map(in_words).collect()
    }
}

/// The error that a step waits for its next try.
fn told(step: &Step, refused: &Refused) -> ObjectError {
    let Refused { error, .. } = refused;
    let operation = step.class.as_str();
    ObjectError {
        status: error.status,
        ..row_error(
            &step.key,
            &step.dn,
            operation,
            error.fault,
            in_words(refused),
        )
    }
}

fn in_words(refused: &Refused) -> String {
    let Refused { error, times, .. } = refused;
    format!(
        "{} (refused {times} times in a row, first at {}; sent again from {} on, or at once by a run that is started by hand, or when \
         the entry or the profile is changed)",
        error.detail,
        at(error.at),
        at(backoff::next_try(refused))
    )
}

fn at(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
