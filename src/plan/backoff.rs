//! Backoff: what the target refuses of one row again and again is sent at growing intervals; who leaves never waits.

use chrono::{DateTime, TimeDelta, Utc};

use crate::identity::digest::{self, Digest};
use crate::plan::Step;
use crate::snapshot::{LastOutcome, Refused, RowError};

/// How long a step waits after it was refused once, twice, and so on; the last one from then on.
const WAITS: [TimeDelta; 5] = [
    TimeDelta::minutes(15),
    TimeDelta::hours(1),
    TimeDelta::hours(6),
    TimeDelta::hours(12),
    TimeDelta::hours(24),
];
/// The longest wait for a value that another resource has: somebody may give it up at any time.
const TAKEN_LONGEST: TimeDelta = TimeDelta::hours(1);

/// That the target refused a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// See [`cause`].
    pub cause: Digest,
    /// Whether the tries are counted anew, because a person wanted this one.
    pub anew: bool,
}

/// Whether a step waits at all. What takes an account, a membership or a role away is tried in each run.
pub fn may_wait(step: &Step) -> bool {
    !step.class.is_removal() && !step.takes_roles()
}

/// The digest of a step with the entry that it was planned from and the definition by which: any other is new, and is sent at once.
pub fn cause(step: &Step, definition: Digest) -> Digest {
    let written = postcard::to_stdvec(&(step.class, &step.action)).unwrap_or_default();
    Digest(digest::short(&[&written, &step.based_on.0, &definition.0]))
}

/// Counts a refusal. Of the requests of one step only the `first` counts, or a step of many would wait longer.
pub fn count(refused: &mut Vec<Refused>, rejection: Rejection, error: RowError, first: bool) {
    let of_operation = |known: &&mut Refused| known.error.operation == error.operation;
    let last_at = error.at;
    let Some(known) = refused.iter_mut().find(of_operation) else {
        refused.push(Refused {
            cause: rejection.cause,
            times: 1,
            last_at,
            error,
        });
        return;
    };
    let is_same = known.cause == rejection.cause;
    let since = if is_same { known.error.at } else { last_at };
    *known = Refused {
        cause: rejection.cause,
        times: match is_same && !rejection.anew {
            true => known.times.saturating_add(u32::from(first)),
            false => 1,
        },
        last_at,
        error: RowError { at: since, ..error },
    };
}

/// When what was refused is sent again by itself.
pub fn next_try(refused: &Refused) -> DateTime<Utc> {
    let number = usize::try_from(refused.times.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = WAITS.get(number).or(WAITS.last()).copied();
    let wait = wait.unwrap_or_default();
    refused.last_at
        + match refused.error.status {
            Some(409) => wait.min(TAKEN_LONGEST),
            _ => wait,
        }
}

/// What was refused of a row and is what a step would send, where that one has to wait for its next try.
pub fn waits<'a>(
    step: &Step,
    last: &'a LastOutcome,
    definition: Digest,
    now: DateTime<Utc>,
) -> Option<&'a Refused> {
    if last.refused.is_empty() || !may_wait(step) {
        return None;
    }
    let mut refused = last.refused.iter();
    let known = refused.find(|known| known.error.operation == step.class.as_str())?;
    let waits = now < next_try(known) && known.cause == cause(step, definition);
    waits.then_some(known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fault::Fault;
    use crate::identity::{Anchor, Kind, RowKey};
    use crate::plan::{Action, Class, Reason};
    use crate::scim::path::AttributePath;
    use crate::scim::{AttributeChange, Value};

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + 60 * minute, 0).unwrap()
    }

    fn error(minute: i64, status: u16) -> RowError {
        RowError {
            at: at(minute),
            operation: "update".to_owned(),
            fault: Fault::Rejected,
            status: Some(status),
            detail: "not like this".to_owned(),
            sent: true,
        }
    }

    fn update(before: Option<Value>, after: Option<Value>) -> Step {
        let change = AttributeChange {
            path: AttributePath::work_email(),
            before,
            after,
        };
        Step {
            key: RowKey {
                kind: Kind::User,
                anchor: Anchor::Text("a".into()),
            },
            dn: String::new(),
            class: Class::Update,
            action: Action::Change {
                changes: vec![change],
            },
            reason: Reason::Changed,
            based_on: Digest::default(),
            last_of_row: true,
        }
    }

    fn mail(value: &str) -> Step {
        update(None, Some(Value::Text(value.to_owned())))
    }

    const DEFINITION: Digest = Digest([7; 16]);

    /// The minutes from the last of so many refusals to the next try.
    fn wait_after(times: u32, status: u16) -> i64 {
        let rejection = Rejection {
            cause: cause(&mail("a"), DEFINITION),
            anew: false,
        };
        let mut refused = Vec::new();
        (0..times)
            .for_each(|minute| count(&mut refused, rejection, error(minute.into(), status), true));
        let [refused] = &refused[..] else {
            unreachable!("{refused:?}")
        };
        assert_eq!((refused.times, refused.error.at), (times, at(0)));
        (next_try(refused) - refused.last_at).num_minutes()
    }

    #[test]
    fn what_is_refused_again_waits_longer_and_a_day_at_the_most() {
        for (times, rejected, taken) in [
            (1, 15, 15),
            (2, 60, 60),
            (3, 360, 60),
            (4, 720, 60),
            (5, 1440, 60),
            (90, 1440, 60),
        ] {
            assert_eq!(wait_after(times, 400), rejected, "{times}");
            assert_eq!(wait_after(times, 409), taken, "{times}");
        }
    }

    #[test]
    fn only_the_same_waits_and_whoever_asks_for_it_begins_anew() {
        let step = mail("a");
        let rejection = Rejection {
            cause: cause(&step, DEFINITION),
            anew: false,
        };
        let mut last = LastOutcome::default();
        count(&mut last.refused, rejection, error(0, 400), true);
        // Further requests of one step, in the same run.
        count(&mut last.refused, rejection, error(0, 400), false);
        assert_eq!(last.refused[0].times, 1);
        let waits_at =
            |step: &Step, definition, minute| waits(step, &last, definition, at(minute)).is_some();
        assert!(waits_at(&step, DEFINITION, 14));
        assert!(!waits_at(&step, DEFINITION, 15));
        assert!(!waits_at(&mail("b"), DEFINITION, 1), "another value");
        assert!(!waits_at(&step, Digest([8; 16]), 1), "another definition");
        let mut changed = step.clone();
        changed.based_on = Digest([1; 16]);
        assert!(!waits_at(&changed, DEFINITION, 1), "a changed entry");
        let mut other = step.clone();
        other.class = Class::Reactivate;
        assert!(!waits_at(&other, DEFINITION, 1), "another operation");

        count(&mut last.refused, rejection, error(20, 400), true);
        assert_eq!(last.refused[0].times, 2);
        let anew = Rejection {
            anew: true,
            ..rejection
        };
        count(&mut last.refused, anew, error(30, 400), true);
        let known = &last.refused[0];
        assert_eq!((known.times, known.error.at), (1, at(0)));
        assert_eq!(next_try(known), at(45));
    }

    #[test]
    fn who_leaves_or_loses_a_role_never_waits() {
        let roles = |values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned());
            Some(Value::Texts(values.collect()))
        };
        let loses = update(roles(&["admin", "user"]), roles(&["user"]));
        let gains = update(roles(&["user"]), roles(&["admin", "user"]));
        assert!(!may_wait(&loses) && may_wait(&gains));
        for class in Class::ALL {
            let mut step = mail("a");
            step.class = class;
            assert_eq!(may_wait(&step), !class.is_removal(), "{class:?}");
        }
    }
}
