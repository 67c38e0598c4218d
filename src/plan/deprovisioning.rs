//! Deprovisioning: what becomes of the account of somebody who is gone from the directory or out of scope.

use serde::{Deserialize, Serialize};

use crate::plan::decide::{Verdict, deactivation};
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

/// The steps of somebody who is gone, on whose account the target acknowledged this.
pub(super) fn of(
    applied: &Applied,
    deprovisioning: Deprovisioning,
    step: impl Fn(Class, Reason, Action) -> Step,
) -> Verdict {
    use Deprovisioning::{Both, Deactivate, Delete, Never};
    let (deactivates, deletes) = match deprovisioning {
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
    Verdict::of(steps, None)
}
