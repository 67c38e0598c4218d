//! Swap: values that users hand on to each other, and that a target where they are unique refuses until somebody lets go.
//!
//! A change that is refused because another resource has a value already is kept until all others were sent. Where a user of
//! this plan gives that value up, it is sent again, after that one; where users wait for each other in a circle, one of them
//! is given a value in between.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::identity::RowKey;
use crate::identity::digest::short;
use crate::mapping::resource_type;
use crate::plan::{Action, Class, Step};
use crate::provider::{Lane, Outcome, Refusal};
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Value, encode};
use crate::snapshot::Applied;
use crate::store::Effect;
use crate::sync::create;
use crate::sync::flight::Flight;
use crate::sync::prepare::{Operation, STEPS_PER_TURN, Task, before};
use crate::sync::send::{self, Settled, failed, pass_on, settled};

/// An attribute with one of its values, whose case does not count (RFC 7643 §4.1.1).
pub(super) type Unique = (AttributePath, String);

/// A change of a user that was refused because of a value that another resource has.
pub(super) struct Conflict {
    operation: Operation,
    refusal: Refusal,
    /// The values that he was given in between.
    lent: Vec<AttributeChange>,
    /// Further requests that this took.
    parts: u32,
}

/// Keeps a change of a user's attributes that was refused for such a reason; gives back any other.
pub(super) fn keep(
    flight: &Flight<'_>,
    operation: Operation,
    refusal: Refusal,
) -> Option<(Operation, Refusal)> {
    let changes_user = matches!(operation.step.class, Class::Update | Class::Reactivate);
    if !changes_user || refusal.status == Some(404) || !create::is_conflict(&refusal) {
        return Some((operation, refusal));
    }
    // It waits for others, and who leaves must not wait for those.
    flight.relay.traffic.arrive(&[operation.part()]);
    flight.keep(Conflict {
        operation,
        refusal,
        lent: Vec::new(),
        parts: 0,
    });
    None
}

/// Sends what was kept once more, now that all others were sent, in the order in which values become free.
pub(super) async fn settle(flight: &Flight<'_>, sent: &mpsc::Sender<Settled>) {
    let kept = flight.kept();
    let steps = kept.iter().map(|kept| &kept.operation.step);
    let wanted_values: HashSet<Unique> = steps.flat_map(|step| needed_by(step)).collect();
    let given_up = match wanted_values.is_empty() || flight.stop.is_cancelled() {
        true => HashSet::new(),
        false => given_up(flight, &wanted_values).await,
    };
    let may_pass =
        |kept: &Conflict| needed_by(&kept.operation.step).any(|value| given_up.contains(&value));
    let mut queue = Queue::of(kept.iter().map(|kept| changes(&kept.operation.step)));
    let mut kept: Vec<Option<Conflict>> = kept.into_iter().map(Some).collect();
    while let Some(turn) = queue.next()
        && !flight.stop.is_cancelled()
    {
        let (Turn::Free(at) | Turn::Circle(at)) = turn;
        let Some(mut conflict) = kept[at].take() else {
            continue;
        };
        if !flight.departs(&mut conflict.operation).await {
            give_up(flight, conflict, sent).await;
            continue;
        }
        let lets_go = match turn {
            Turn::Free(_) if may_pass(&conflict) => again(flight, conflict, sent).await,
            Turn::Free(_) => {
                give_up(flight, conflict, sent).await;
                false
            }
            Turn::Circle(_) => {
                kept[at] = stand_in(flight, conflict, &wanted_values, sent).await;
                kept[at].is_some()
            }
        };
        if lets_go {
            queue.lets_go(at);
        }
    }
    // They wait for one that was refused for another reason, or the run ended.
    for conflict in kept.into_iter().flatten() {
        give_up(flight, conflict, sent).await;
    }
}

/// Those of the wanted values that users give up by this plan.
async fn given_up(flight: &Flight<'_>, wanted: &HashSet<Unique>) -> HashSet<Unique> {
    let mut given_up = HashSet::new();
    let mut after = before(Class::Reactivate);
    loop {
        let steps = flight
            .relay
            .store
            .steps(flight.plan.job, after, STEPS_PER_TURN);
        // A store that fails ends the run elsewhere.
        let steps = steps.await.unwrap_or_default();
        let of_users = steps.iter().filter(|(at, _)| at.class <= Class::Update);
        let values = of_users.flat_map(|(_, step)| given_up_by(step));
        given_up.extend(values.filter(|value| wanted.contains(value)));
        match steps.last() {
            Some((last, _)) if last.class <= Class::Update => after = Some(*last),
            _ => return given_up,
        }
    }
}

/// Sends a change once more; answers whether it was made.
async fn again(flight: &Flight<'_>, kept: Conflict, sent: &mpsc::Sender<Settled>) -> bool {
    let Task::Send(request) = &kept.operation.task else {
        return false;
    };
    let lane = send::lane(kept.operation.step.class);
    match flight.relay.provider.submit(request, lane).await {
        Outcome::Refused(refusal) if create::is_conflict(&refusal) => {
            give_up(flight, Conflict { refusal, ..kept }, sent).await;
            false
        }
        outcome => {
            let is_made = matches!(outcome, Outcome::Acknowledged { .. });
            let request = request.clone();
            let settled = send::settle_change(flight, kept.operation, request, outcome).await;
            pass_on(flight, settled, sent).await;
            is_made
        }
    }
}

/// Gives a user who waits in a circle other values in place of those that others wait for; answers what is still to be done
/// for him, if that was possible.
async fn stand_in(
    flight: &Flight<'_>,
    mut kept: Conflict,
    wanted: &HashSet<Unique>,
    sent: &mpsc::Sender<Settled>,
) -> Option<Conflict> {
    let step = kept.operation.step.clone();
    let lends = |change: &AttributeChange| {
        let (path, held) = held(change).filter(|held| wanted.contains(held))?;
        Some(AttributeChange {
            before: change.before.clone(),
            after: Some(Value::Text(stand_in_value(&step.key, &path, &held))),
            path,
        })
    };
    kept.lent = changes(&step).iter().filter_map(lends).collect();
    let lent = kept.lent.clone();
    match change_values(flight, &mut kept, lent, sent).await {
        Outcome::Acknowledged { .. } => return Some(kept),
        Outcome::Refused(_) => {
            let refused = failed(kept.operation, Effect::Nothing, kept.refusal);
            pass_on(flight, refused, sent).await;
        }
        Outcome::Unknown(refusal) => {
            let unknown = failed(kept.operation, Effect::StillUnknown, refusal);
            pass_on(flight, unknown, sent).await;
        }
    }
    None
}

/// Settles a change as refused. Whoever was given other values in between gets back what he had.
async fn give_up(flight: &Flight<'_>, mut kept: Conflict, sent: &mpsc::Sender<Settled>) {
    let back = |change: AttributeChange| AttributeChange {
        before: change.after,
        after: change.before,
        path: change.path,
    };
    let back: Vec<_> = std::mem::take(&mut kept.lent)
        .into_iter()
        .map(back)
        .collect();
    if !back.is_empty() {
        // Where that is refused too, the next run changes what is there then.
        change_values(flight, &mut kept, back, sent).await;
    }
    pass_on(
        flight,
        failed(kept.operation, Effect::Nothing, kept.refusal),
        sent,
    )
    .await;
}

/// Changes some attributes of a kept change's user by a request of its own. It is settled like any other, as a part of the
/// step, so a run that is cut off here is finished by the next one.
async fn change_values(
    flight: &Flight<'_>,
    kept: &mut Conflict,
    values: Vec<AttributeChange>,
    sent: &mpsc::Sender<Settled>,
) -> Outcome {
    let step = &kept.operation.step;
    let Some(applied) = kept.operation.applied.clone() else {
        return Outcome::Refused(kept.refusal.clone()); // not reached: only a linked user is changed
    };
    let (kind, dialect) = (resource_type(step.key.kind), &flight.relay.tenant.dialect);
    let request = encode::update(kind, &applied.id, &applied.attributes, &values, dialect);
    kept.parts += 1;
    let part = Operation {
        step: Arc::new(Step {
            action: Action::Change { changes: values },
            ..Step::clone(step)
        }),
        part: kept.operation.part + kept.parts,
        last_part: false,
        ..kept.operation.clone()
    };
    let outcome = flight.relay.provider.submit(&request, Lane::Ordinary).await;
    if matches!(outcome, Outcome::Acknowledged { .. }) {
        let attributes = send::after_changes(&part);
        kept.operation.applied = Some(Applied {
            attributes,
            ..applied
        });
        let effect = send::acknowledged(&part);
        pass_on(flight, settled(part, effect), sent).await;
    }
    outcome
}

/// A value that nobody has: no mail is ever delivered to it, and a name stays within its domain, which targets may check.
fn stand_in_value(key: &RowKey, path: &AttributePath, held: &str) -> String {
    let digest = short(&[&key.to_key()]);
    let digits: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match held.rsplit_once('@') {
        Some(_) if path.name == "emails" => format!("scim-relay-{digits}@scim-relay.invalid"),
        Some((_, domain)) => format!("scim-relay-{digits}@{domain}"),
        None => format!("scim-relay-{digits}"),
    }
}

fn changes(step: &Step) -> &[AttributeChange] {
    match &step.action {
        Action::Change { changes } => changes,
        _ => &[],
    }
}

/// The values that a step gives up.
pub(super) fn given_up_by(step: &Step) -> impl Iterator<Item = Unique> {
    changes(step).iter().filter_map(held)
}

/// The values that a step needs.
pub(super) fn needed_by(step: &Step) -> impl Iterator<Item = Unique> {
    changes(step).iter().filter_map(wanted)
}

/// A value of an attribute that is unique on many targets.
fn unique(path: &AttributePath, value: Option<&Value>) -> Option<Unique> {
    let is_unique = *path == AttributePath::user_name() || path.name == "emails";
    let value = value.filter(|_| is_unique)?.as_text()?;
    Some((path.clone(), value.to_lowercase()))
}

/// The value that a change gives up.
fn held(change: &AttributeChange) -> Option<Unique> {
    unique(&change.path, change.before.as_ref())
}

/// The value that a change needs.
fn wanted(change: &AttributeChange) -> Option<Unique> {
    unique(&change.path, change.after.as_ref())
}

/// Whose turn it is among changes that wait for each other's values, each by its number.
struct Queue {
    /// For whom each one waits.
    waits: Vec<BTreeSet<usize>>,
    /// Who waits for each one.
    behind: Vec<Vec<usize>>,
    free: VecDeque<usize>,
    /// Those who wait and may be in a circle.
    waiting: BTreeSet<usize>,
}

/// What can be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// All values that this one needs are free.
    Free(usize),
    /// This one waits for others who wait for it.
    Circle(usize),
}

impl Queue {
    fn of<'a>(changes: impl Iterator<Item = &'a [AttributeChange]> + Clone) -> Self {
        let holders: HashMap<Unique, usize> = changes
            .clone()
            .enumerate()
            .flat_map(|(at, changes)| {
                let held = changes.iter().filter_map(held);
                held.map(move |value| (value, at))
            })
            .collect();
        let waits = changes.enumerate().map(|(at, changes)| {
            let wanted = changes.iter().filter_map(wanted);
            let holders = wanted.filter_map(|value| holders.get(&value).copied());
            holders.filter(|holder| *holder != at).collect()
        });
        let waits: Vec<BTreeSet<usize>> = waits.collect();
        let mut behind = vec![Vec::new(); waits.len()];
        for (at, holders) in waits.iter().enumerate() {
            holders.iter().for_each(|holder| behind[*holder].push(at));
        }
        let is_free = |at: &usize| waits[*at].is_empty();
        let free = (0..waits.len()).filter(is_free).collect();
        let waiting = (0..waits.len()).filter(|at| !is_free(at)).collect();
        Self {
            waits,
            behind,
            free,
            waiting,
        }
    }

    /// The next one; `None` when nobody is left who waits for nothing or in a circle. Each has two turns at the most.
    fn next(&mut self) -> Option<Turn> {
        if let Some(at) = self.free.pop_front() {
            return Some(Turn::Free(at));
        }
        while let Some(mut at) = self.waiting.first().copied() {
            let mut passed = BTreeSet::new();
            while passed.insert(at) {
                let next = self.waits[at]
                    .iter()
                    .find(|next| self.waiting.contains(next));
                let Some(next) = next else { break };
                at = *next;
            }
            self.waiting.remove(&at);
            let closes = self.waits[at].iter().any(|next| passed.contains(next));
            if closes {
                return Some(Turn::Circle(at));
            }
        }
        None
    }

    /// The values of this one are free now.
    fn lets_go(&mut self, at: usize) {
        for other in std::mem::take(&mut self.behind[at]) {
            let waits = &mut self.waits[other];
            waits.remove(&at);
            if waits.is_empty() {
                self.waiting.remove(&other);
                self.free.push_back(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The turns of changes `before>after` of userNames, where those in `refused` are refused all the same.
    fn turns(changes: &[&str], refused: &[usize]) -> String {
        let value = |text: &str| Some(Value::Text(text.to_owned()));
        let changes: Vec<Vec<AttributeChange>> = changes
            .iter()
            .map(|change| {
                let (before, after) = change.split_once('>').unwrap();
                vec![AttributeChange {
                    path: AttributePath::user_name(),
                    before: value(before),
                    after: value(after),
                }]
            })
            .collect();
        let mut queue = Queue::of(changes.iter().map(Vec::as_slice));
        let mut told = Vec::new();
        while let Some(turn) = queue.next() {
            let (Turn::Free(at) | Turn::Circle(at)) = turn;
            told.push(match turn {
                Turn::Free(_) => at.to_string(),
                Turn::Circle(_) => format!("({at})"),
            });
            if !refused.contains(&at) {
                queue.lets_go(at);
            }
        }
        told.join(" ")
    }

    #[test]
    fn values_are_taken_when_they_are_free_and_circles_are_opened_once() {
        for (changes, refused, expected) in [
            (&[][..], &[][..], ""),
            (&["a>x", "b>y"], &[], "0 1"),
            (&["a>B", "b>c", "c>d"], &[], "2 1 0"),
            (&["a>b", "b>a"], &[], "(0) 1 0"),
            (&["a>b", "b>c", "c>a"], &[], "(0) 2 1 0"),
            (&["a>b", "b>c", "c>d"], &[2], "2"),
            (&["a>b", "b>a", "x>y", "y>x"], &[0], "(0) (2) 3 2"),
        ] {
            assert_eq!(turns(changes, refused), expected, "{changes:?}");
        }
    }
}
