//! Deprovisioning: what becomes of the account of somebody who is gone from the directory or out of scope.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::plan::decide::{Verdict, deactivation};
use crate::plan::linking::Waits;
use crate::plan::{Action, Class, Reason, Step};
use crate::snapshot::Applied;

/// What becomes of the account of somebody who is gone from the directory or out of scope. Whoever is disabled there is
/// deactivated in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deprovisioning {
    /// It is set inactive.
    #[default]
    Deactivate,
    /// It is deleted.
    Delete,
    /// It is set inactive, and deleted once that is acknowledged or refused.
    Both,
    /// It stays as it is.
    Never,
}

impl Deprovisioning {
    /// What of it is done before the grace of somebody who is gone is over. `active` is what his entry said of the account when
    /// it was last there: being disabled is no mere absence, but nothing is deleted early.
    fn in_grace(self, active: Option<bool>) -> Self {
        match (self, active) {
            (Self::Never, _) => Self::Never,
            (_, Some(false)) => Self::Deactivate,
            _ => Self::Never,
        }
    }

    /// Whether the end of his grace changes anything for an account of which the target acknowledged this.
    pub fn waits(self, applied: &Applied, active: Option<bool>) -> bool {
        let concerned = match self {
            Self::Deactivate => applied.is_active(),
            Self::Delete | Self::Both => true,
            Self::Never => false,
        };
        concerned && self.in_grace(active) != self
    }
}

/// The steps of somebody who is gone, on whose account the target acknowledged this. `grace` is when his grace ends, where it
/// does not yet.
pub(super) fn of(
    applied: &Applied,
    deprovisioning: Deprovisioning,
    grace: Option<DateTime<Utc>>,
    active: Option<bool>,
    step: impl Fn(Class, Reason, Action) -> Step,
) -> Verdict {
    use Deprovisioning::{Both, Deactivate, Delete, Never};
    let waits = grace.filter(|_| deprovisioning.waits(applied, active));
    let by_now = match grace {
        Some(_) => deprovisioning.in_grace(active),
        None => deprovisioning,
    };
    let (deactivates, deletes) = match by_now {
        Deactivate => (true, false),
        Delete => (false, true),
        Both => (true, true),
        Never => (false, false),
    };
    let mut steps = Vec::new();
    if let Some(change) = deactivation(applied).filter(|_| deactivates) {
        let changes = vec![change];
        let action = Action::Change { changes };
        steps.push(step(Class::Deactivate, Reason::Absent, action));
    }
    if deletes {
        let attributes = applied.attributes.clone();
        let action = Action::Delete { attributes };
        steps.push(step(Class::Delete, Reason::Absent, action));
    }
    Verdict::of(steps, None).waiting(waits.map(Waits::Grace))
}
