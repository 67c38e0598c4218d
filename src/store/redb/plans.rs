//! Plans: steps in the order in which they are carried out, and the head that seals them.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use redb::{ReadTransaction, WriteTransaction};

use super::codec;
use super::failure::Failure;
use super::holds;
use super::lease;
use super::leftovers::{self, Rows};
use super::tables::{PLANS, STEPS, Source, WriteTable, open_read, open_write};
use crate::id::JobId;
use crate::identity::RowKey;
use crate::plan::held::{Held, HeldBy};
use crate::plan::{Class, Plan, PlanDigest, Step};
use crate::store::{Lease, Position};

/// Steps that wait and are written together.
const HELD_PER_TURN: usize = 1_000;

/// Adds steps to a plan that is being made.
pub(super) fn add_steps(
    txn: &WriteTransaction,
    lease: &Lease,
    job: JobId,
    steps: &[Step],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    make_ready(txn, job)?;
    let mut table = open_write(txn, STEPS)?;
    let mut next = BTreeMap::new();
    for step in steps {
        let number = match next.get(&step.class) {
            Some(number) => *number,
            None => next_number(&table, job, step.class)?,
        };
        next.insert(step.class, number + 1);
        let position = Position {
            class: step.class,
            number,
        };
        let record = codec::encode(step)?;
        table.insert(codec::step_key(job, position).as_slice(), record.as_slice())?;
    }
    Ok(())
}

/// Drops all steps of rows.
pub(super) fn drop_steps(
    txn: &WriteTransaction,
    lease: &Lease,
    job: JobId,
    rows: Vec<RowKey>,
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    make_ready(txn, job)?;
    let rows: HashSet<RowKey> = rows.into_iter().collect();
    let mut table = open_write(txn, STEPS)?;
    let mut dropped = Vec::new();
    for entry in table.starting_with(&codec::job_key(job))? {
        let (key, step) = entry?;
        // The row is the first field of `Step`, which can be read alone.
        if rows.contains(&codec::decode::<RowKey>(step.value())?) {
            dropped.push(key.value().to_vec());
        }
    }
    for key in dropped {
        table.remove(key.as_slice())?;
    }
    Ok(())
}

/// Finishes a plan. What waits of it may be a million steps, so not all of them are in memory at once.
pub(super) fn seal(txn: &WriteTransaction, lease: &Lease, mut plan: Plan) -> Result<Plan, Failure> {
    lease::check_for(txn, lease, plan.directory)?;
    make_ready(txn, plan.job)?;
    let (mut counts, mut held) = (BTreeMap::new(), BTreeMap::new());
    let mut digest = PlanDigest::default();
    let mut tripped = vec![false; plan.holds.len()];
    let mut waiting = Vec::new();
    {
        let steps = open_write(txn, STEPS)?;
        for entry in steps.starting_with(&codec::job_key(plan.job))? {
            let (key, record) = entry?;
            let class = codec::step_position(key.value())?.class;
            *counts.entry(class).or_default() += 1;
            digest.feed(record.value());
            if !plan.holds.iter().any(|hold| hold.classes.contains(&class)) {
                continue;
            }
            let step: Step = codec::decode(record.value())?;
            for (hold, tripped) in plan.holds.iter().zip(&mut tripped) {
                *tripped |= hold.covers(&step);
            }
            if plan.holds(&step) {
                *held.entry(class).or_default() += 1;
            }
            if plan.asks_for(&step) {
                plan.for_approval += 1;
                waiting.push(waits(&plan, step));
            }
            if waiting.len() >= HELD_PER_TURN {
                hold(txn, &plan, &mut waiting)?;
            }
        }
    }
    hold(txn, &plan, &mut waiting)?;
    let mut tripped = tripped.into_iter();
    plan.holds.retain(|_| tripped.next().unwrap_or_default());
    plan.counts = counts.into_iter().collect();
    plan.held = held.into_iter().collect();
    plan.digest = digest.finish();
    if plan.preview {
        remove_other_previews(txn, &plan)?;
    }
    let head = codec::encode(&plan)?;
    open_write(txn, PLANS)?.insert(codec::job_key(plan.job).as_slice(), head.as_slice())?;
    Ok(plan)
}

/// Of a profile the newest preview is kept: a plan may be as large as the directory.
fn remove_other_previews(txn: &WriteTransaction, plan: &Plan) -> Result<(), Failure> {
    let mut older = Vec::new();
    for entry in open_write(txn, PLANS)?.after(None)? {
        let other: Plan = codec::decode(entry?.1.value())?;
        let is_its = other.directory == plan.directory && other.profile == plan.profile;
        if other.preview && is_its {
            older.push(other.job);
        }
    }
    older.into_iter().try_for_each(|job| remove(txn, job))
}

/// Holds what waits for a person; for what a preview would do nobody does.
fn hold(txn: &WriteTransaction, plan: &Plan, waiting: &mut Vec<Held>) -> Result<(), Failure> {
    let waiting = std::mem::take(waiting);
    match plan.preview {
        true => Ok(()),
        false => holds::hold(txn, plan.directory, &waiting),
    }
}

fn waits(plan: &Plan, step: Step) -> Held {
    Held {
        job: plan.job,
        profile: plan.profile.clone(),
        by: HeldBy::Waiting,
        since: plan.created_at,
        steps: vec![step],
    }
}

/// A plan's head.
pub(super) fn plan(txn: &ReadTransaction, job: JobId) -> Result<Option<Plan>, Failure> {
    open_read(txn, PLANS)?.read(&codec::job_key(job), codec::decode)
}

/// Steps of a plan in order.
pub(super) fn steps(
    txn: &ReadTransaction,
    job: JobId,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<(Position, Step)>, Failure> {
    if leftovers::are_forgotten(txn, Rows::Steps, job)? {
        return Ok(Vec::new());
    }
    let table = open_read(txn, STEPS)?;
    let prefix = codec::job_key(job);
    let after = after.map(|position| codec::step_key(job, position));
    let from = after.as_deref().unwrap_or(&prefix);
    // No step has the bare prefix as its key, so that excluding it loses nothing.
    let entries = table.after(Some(from))?;
    let mut steps = Vec::new();
    for entry in entries.take(limit) {
        let (key, step) = entry?;
        if !key.value().starts_with(&prefix) {
            break;
        }
        steps.push((
            codec::step_position(key.value())?,
            codec::decode(step.value())?,
        ));
    }
    Ok(steps)
}

/// Removes a plan.
pub(super) fn drop_plan(txn: &WriteTransaction, lease: &Lease, job: JobId) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    remove(txn, job)
}

/// Removes a plan's head, and forgets its steps.
pub(super) fn remove(txn: &WriteTransaction, job: JobId) -> Result<(), Failure> {
    open_write(txn, PLANS)?.remove(codec::job_key(job).as_slice())?;
    leftovers::forget(txn, Rows::Steps, job)
}

/// Whether a plan was finished.
pub(super) fn is_sealed(txn: &WriteTransaction, job: JobId) -> Result<bool, Failure> {
    open_write(txn, PLANS)?.has(&codec::job_key(job))
}

/// Refuses to change a plan that is finished; of one that was dropped before it nothing is in the way.
fn make_ready(txn: &WriteTransaction, job: JobId) -> Result<(), Failure> {
    if is_sealed(txn, job)? {
        return Err(Failure::defect(format!(
            "the plan of job {job} is finished and cannot change"
        )));
    }
    leftovers::clear(txn, Rows::Steps, job)
}

fn next_number(table: &WriteTable<'_>, job: JobId, class: Class) -> Result<u64, Failure> {
    let first = codec::step_key(job, Position { class, number: 0 });
    let last = codec::step_key(
        job,
        Position {
            class,
            number: u64::MAX,
        },
    );
    let mut steps = table.between(Bound::Included(&first), Bound::Included(&last))?;
    match steps.next_back() {
        Some(entry) => Ok(codec::step_position(entry?.0.value())?.number + 1),
        None => Ok(0),
    }
}
