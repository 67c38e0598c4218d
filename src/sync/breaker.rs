//! Breaker: notices that a target fails at large, so that a run does not fail row by row (hazard H46). What fails at large is
//! left to the next run, and everything else goes on.

use std::collections::{BTreeMap, VecDeque};

use crate::fault::Fault;
use crate::plan::Class;
use crate::provider::Refusal;
use crate::store::Effect;
use crate::sync::send::Settled;

/// The latest outcomes that are judged together.
const LATEST: usize = 100;
/// Fewer than these tell nothing.
const LEAST: usize = 20;
/// A greater share of them that failed is too much.
const FAILED_PERCENT: usize = 40;
/// Requests in a row that could not even be sent, each after all its tries.
const UNREACHED: u32 = 5;

/// What the latest operations of a flight came to.
#[derive(Default)]
pub(super) struct Breaker {
    /// Whether each of a class failed, the oldest first.
    latest: BTreeMap<Class, VecDeque<bool>>,
    unreached: u32,
}

/// What is not to go on, and why.
pub(super) enum Ending {
    /// The run.
    Run(Refusal),
    /// One class of its steps.
    Class(Class, Refusal),
}

/// What one operation says of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// It is there and does what it is asked.
    Works,
    /// It failed.
    Fails,
    /// No connection.
    Unreached,
    /// It answers; the outcome is the row's own affair.
    Answers,
}

impl Breaker {
    /// Takes in what became of an operation; answers what is not to go on when the target fails at large.
    pub(super) fn count(&mut self, settled: &Settled) -> Option<Ending> {
        let sign = settled.sent.then(|| sign(settled))?;
        let class = settled.operation.step.class;
        let why = self.note(class, sign)?;
        let last = settled.refusal.as_ref()?;
        let refusal = Refusal {
            message: format!("{why}; the last one: {}", last.message),
            ..last.clone()
        };
        Some(match sign {
            Sign::Unreached => Ending::Run(refusal),
            _ => Ending::Class(class, refusal),
        })
    }

    fn note(&mut self, class: Class, sign: Sign) -> Option<String> {
        if sign == Sign::Unreached {
            self.unreached += 1;
            return (self.unreached >= UNREACHED).then(|| {
                format!(
                    "the target could not be reached {UNREACHED} times in a row, so the run ended; the next one begins with \
                     whoever leaves"
                )
            });
        }
        self.unreached = 0;
        if sign == Sign::Answers {
            return None;
        }
        let latest = self.latest.entry(class).or_default();
        if latest.len() == LATEST {
            latest.pop_front();
        }
        latest.push_back(sign == Sign::Fails);
        let failed = latest.iter().filter(|failed| **failed).count();
        let count = latest.len();
        (sign == Sign::Fails && count >= LEAST && failed * 100 > count * FAILED_PERCENT).then(|| {
            format!(
                "{failed} of the latest {count} of `{}` failed, so no more of them are sent; the next run goes on behind them",
                class.as_str()
            )
        })
    }
}

/// Rows that failed in the last run do not count, or a few that always fail would keep all others from their turn; and
/// whoever leaves is always tried, whatever became of the others.
fn sign(settled: &Settled) -> Sign {
    let operation = &settled.operation;
    let Some(refusal) = &settled.refusal else {
        return match operation.step.class.is_removal() {
            true => Sign::Answers,
            false => Sign::Works,
        };
    };
    let nothing_sent = refusal.status.is_none() && settled.effect == Effect::Nothing;
    match refusal.fault {
        Fault::Transient if nothing_sent => Sign::Unreached,
        Fault::Transient | Fault::Throttled | Fault::Rejected
            if !operation.step.class.is_removal()
                && !operation.failed_before
                && !matches!(settled.effect, Effect::Found(_)) =>
        {
            Sign::Fails
        }
        _ => Sign::Answers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended_after(signs: impl IntoIterator<Item = Sign>) -> Option<usize> {
        let mut breaker = Breaker::default();
        let ends = signs
            .into_iter()
            .position(|sign| breaker.note(Class::Update, sign).is_some());
        ends.map(|at| at + 1)
    }

    #[test]
    fn more_than_two_of_five_that_fail_are_too_many_and_fewer_than_twenty_tell_nothing() {
        use Sign::{Answers, Fails, Works};
        assert_eq!(ended_after(vec![Fails; 40]), Some(20));
        assert_eq!(
            ended_after([vec![Works; 12], vec![Fails; 8]].concat()),
            None
        );
        assert_eq!(
            ended_after([vec![Works; 12], vec![Fails; 9]].concat()),
            Some(21)
        );
        assert_eq!(
            ended_after([Works, Works, Works, Fails, Fails].repeat(60)),
            None
        );
        // Those that say nothing of the target neither help nor harm.
        assert_eq!(
            ended_after([vec![Answers; 500], vec![Fails; 19]].concat()),
            None
        );
        // A target that breaks in the middle is noticed soon, however long it worked.
        assert_eq!(
            ended_after([vec![Works; 10_000], vec![Fails; 50]].concat()),
            Some(10_041)
        );
    }

    #[test]
    fn one_class_that_fails_leaves_the_others_alone() {
        let mut breaker = Breaker::default();
        let mut fails =
            |class, times: usize| (0..times).any(|_| breaker.note(class, Sign::Fails).is_some());
        assert!(fails(Class::Update, 20));
        assert!(!fails(Class::CreateUser, 19));
        assert!(fails(Class::CreateUser, 1));
    }

    #[test]
    fn five_times_without_a_connection_in_a_row_end_a_run() {
        use Sign::{Answers, Unreached, Works};
        assert_eq!(ended_after(vec![Unreached; 9]), Some(5));
        for sign in [Works, Answers] {
            let mut signs = vec![Unreached; 4];
            signs.push(sign);
            assert_eq!(ended_after(signs.repeat(3)), None);
        }
    }
}
