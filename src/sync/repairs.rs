//! Repairs: a value that a target takes and does not keep is brought back a few times, and not for ever (hazard H52).

use std::collections::BTreeMap;

use crate::identity::Kind;
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Attributes};
use crate::snapshot::Repair;
use crate::sync::tracker::Tracker;

/// How often in a row the same value is brought back where the target shows the same other one.
const TRIES: u8 = 2;

/// The drift of a row now, in the light of what was brought back before.
pub(super) struct Judged {
    /// What the next comparison has to know.
    pub(super) repairs: Vec<Repair>,
    /// What is brought back.
    pub(super) changes: Vec<AttributeChange>,
    /// What the target does not keep.
    pub(super) unkept: Vec<AttributePath>,
}

/// Divides the drift of a row. Whether an account is active is always brought back: whoever left must not get in because
/// somebody keeps reactivating his account.
pub(super) fn judge(before: &[Repair], drift: Vec<AttributeChange>) -> Judged {
    let active = AttributePath::active();
    let mut judged = Judged {
        repairs: Vec::new(),
        changes: Vec::new(),
        unkept: Vec::new(),
    };
    for change in drift {
        if change.path == active {
            judged.changes.push(change);
            continue;
        }
        let earlier = before.iter().find(|repair| repair.change == change);
        let times = earlier.map_or(0, |repair| repair.times).min(TRIES) + 1;
        let repair = Repair {
            change: change.clone(),
            times,
        };
        judged.repairs.push(repair);
        if times > TRIES {
            judged.unkept.push(change.path);
        } else {
            judged.changes.push(change);
        }
    }
    judged
}

/// What the target holds, but for what it does not keep: that counts as acknowledged.
pub(super) fn believed(
    mut held: Attributes,
    acknowledged: &Attributes,
    unkept: &[AttributePath],
) -> Attributes {
    for path in unkept {
        match acknowledged.get(path) {
            Some(value) => held.insert(path.clone(), value.clone()),
            None => held.remove(path),
        };
    }
    held
}

/// What a target does not keep, for how many resources.
#[derive(Default)]
pub(super) struct Unkept(BTreeMap<(Kind, AttributePath), u64>);

impl Unkept {
    pub(super) fn count(&mut self, kind: Kind, paths: Vec<AttributePath>) {
        for path in paths {
            *self.0.entry((kind, path)).or_default() += 1;
        }
    }

    /// Says so, once for each attribute.
    pub(super) fn tell(self, tracker: &Tracker) {
        for ((kind, path), count) in self.0 {
            let warning = format!(
                "the target takes {path} of {count} {kind}s and shows another value each time, or none: it is not brought back \
                 any more. If it never keeps it, name it in omittedAttributes of the tenant's dialect"
            );
            tracker.update(|job| job.warnings.push(warning));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::Value;

    fn change(path: AttributePath, after: &str) -> AttributeChange {
        AttributeChange {
            path,
            before: None,
            after: Some(Value::Text(after.to_owned())),
        }
    }

    #[test]
    fn the_same_drift_is_brought_back_twice_and_another_one_anew() {
        let name = AttributePath::user_name;
        let mut repairs = Vec::new();
        let mut judged = |after: &str| {
            let judged = judge(&repairs, vec![change(name(), after)]);
            repairs = judged.repairs;
            (judged.changes.len(), judged.unkept.len())
        };
        let seen: Vec<_> = (0..4).map(|_| judged("a")).collect();
        assert_eq!(seen, [(1, 0), (1, 0), (0, 1), (0, 1)]);
        // The directory says something else.
        let seen: Vec<_> = (0..3).map(|_| judged("b")).collect();
        assert_eq!(seen, [(1, 0), (1, 0), (0, 1)]);
        // What stayed once begins anew.
        assert!(judge(&repairs, Vec::new()).repairs.is_empty());
    }

    #[test]
    fn an_account_is_deactivated_again_however_often_somebody_reactivates_it() {
        let change = AttributeChange {
            path: AttributePath::active(),
            before: Some(Value::Bool(true)),
            after: Some(Value::Bool(false)),
        };
        let mut repairs = Vec::new();
        for _ in 0..9 {
            let judged = judge(&repairs, vec![change.clone()]);
            assert_eq!((judged.changes.len(), judged.unkept.len()), (1, 0));
            repairs = judged.repairs;
        }
    }
}
