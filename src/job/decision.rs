//! Decisions on the plan of a job that waits for a person.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::{Job, Status};

/// What became of the plan of a job that waited for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "JobDecision")]
pub struct Decision {
    /// What.
    pub verdict: Verdict,
    /// When.
    pub at: DateTime<Utc>,
    /// Who decided, as the audit log names them.
    pub by: String,
}

/// What became of a plan that waited for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobVerdict")]
pub enum Verdict {
    /// It is carried out.
    Approved,
    /// It is not carried out, and not planned again.
    Rejected,
    /// Nobody decided in time; what still differs is planned again.
    Expired,
    /// Nothing of it differs any more.
    Withdrawn,
}

impl Job {
    /// Goes on with what waited in its plan, because somebody approved it.
    pub fn approve(&mut self, by: String, now: DateTime<Utc>) {
        self.again();
        self.decision = Some(Decision {
            verdict: Verdict::Approved,
            at: now,
            by,
        });
    }

    /// Waits for its turn once more.
    pub fn again(&mut self) {
        self.status = Status::Queued;
        self.completed_at = None;
    }

    /// Does not wait any more.
    pub fn close(&mut self, verdict: Verdict, by: String, now: DateTime<Utc>) {
        self.status = Status::Cancelled;
        self.decision = Some(Decision {
            verdict,
            at: now,
            by,
        });
    }

    /// Whether what waited in its plan is to be carried out, or was.
    pub fn is_approved(&self) -> bool {
        let approved = |decision: &Decision| decision.verdict == Verdict::Approved;
        self.decision.as_ref().is_some_and(approved)
    }
}
