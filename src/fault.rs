//! Who must act on an error: the one classification that jobs, metrics and the API share.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who must act, and so what a run does about it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The machine: a time-out, a 5xx, a busy server. Backed off and retried; then the row is left different.
    Transient,
    /// The machine: a 429. The pace to that target slows down.
    Throttled,
    /// The machine: what was believed of the target is no longer so (404 on a linked id). Looked at again.
    Drifted,
    /// The data's owner: this one record is refused. The others go on.
    Rejected,
    /// The operator: credentials, rights, TLS, addresses. Stops the run.
    Denied,
    /// The developers: a broken invariant. Stops the run, loudly.
    Defect,
}

impl Fault {
    /// The word used in job errors, metric labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Drifted => "drifted",
            Self::Rejected => "rejected",
            Self::Denied => "denied",
            Self::Defect => "defect",
        }
    }

    /// Whether a run cannot go on after such a fault.
    pub fn stops_the_run(self) -> bool {
        matches!(self, Self::Denied | Self::Defect)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
