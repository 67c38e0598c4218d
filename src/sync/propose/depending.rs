//! What depends on steps that wait: users who need a value that another one gives up by a step which waits.

use std::collections::{BTreeSet, HashSet};

use crate::identity::RowKey;
use crate::identity::digest::short;
use crate::plan::{Class, Extent, Hold, Release, Step};
use crate::sync::Error;
use crate::sync::prepare::{STEPS_PER_TURN, before};
use crate::sync::propose::Draft;
use crate::sync::swap::{self, Unique};

/// The classes of steps that change values which are unique.
const CHANGES: [Class; 2] = [Class::Reactivate, Class::Update];

/// A unique value in short: a plan may have a million of them.
type Value = [u8; 16];

impl Draft<'_> {
    /// What waits with these holds because it needs a value that a waiting step gives up: alone it would be refused, and users
    /// who need each other's values in a circle would never come by them (specification page 8, 6).
    pub(super) async fn depending_on(&self, holds: &[Hold]) -> Result<Vec<Hold>, Error> {
        let mut depending = Vec::new();
        for release in [Release::CompleteRead, Release::Approval] {
            let of_release = |hold: &&Hold| {
                hold.release == release && hold.classes.iter().any(|class| CHANGES.contains(class))
            };
            let rows = self
                .rows_depending_on(&holds.iter().filter(of_release).collect::<Vec<_>>())
                .await?;
            if !rows.is_empty() {
                depending.push(hold(rows, release));
            }
        }
        Ok(depending)
    }

    async fn rows_depending_on(&self, holds: &[&Hold]) -> Result<BTreeSet<RowKey>, Error> {
        let mut depending = BTreeSet::new();
        if holds.is_empty() {
            return Ok(depending);
        }
        let waits = |step: &Step| holds.iter().any(|hold| hold.covers(step));
        let mut needed = HashSet::new();
        self.each_change(|step| {
            if !waits(step) {
                needed.extend(swap::needed_by(step).map(value));
            }
        })
        .await?;
        let mut given_up = HashSet::new();
        // What one who waits gives up may be needed by another one, so it takes a pass for each link of the longest chain.
        let mut is_more = !needed.is_empty();
        while std::mem::take(&mut is_more) {
            self.each_change(|step| {
                let depends = || swap::needed_by(step).any(|need| given_up.contains(&value(need)));
                if !depending.contains(&step.key) && (waits(step) || depends()) {
                    let gives = swap::given_up_by(step).map(value);
                    let gives: Vec<Value> = gives.filter(|value| needed.contains(value)).collect();
                    is_more |= gives.iter().any(|value| !given_up.contains(value));
                    given_up.extend(gives);
                    if !waits(step) {
                        depending.insert(step.key.clone());
                    }
                }
            })
            .await?;
        }
        Ok(depending)
    }

    async fn each_change(&self, mut take: impl FnMut(&Step)) -> Result<(), Error> {
        let (store, job) = (&self.relay.store, self.tracker.job().id);
        let mut after = before(CHANGES[0]);
        loop {
            let steps = store.steps(job, after, STEPS_PER_TURN).await?;
            let changes = steps.iter().filter(|(at, _)| CHANGES.contains(&at.class));
            changes.for_each(|(_, step)| take(step));
            after = match steps.last() {
                Some((last, _)) if CHANGES.contains(&last.class) => Some(*last),
                _ => return Ok(()),
            };
        }
    }
}

fn value((path, text): Unique) -> Value {
    short(&[path.to_string().as_bytes(), text.as_bytes()])
}

fn hold(rows: BTreeSet<RowKey>, release: Release) -> Hold {
    let message = format!(
        "{} users need a name or an address that others give up by changes which wait; they wait with them",
        rows.len()
    );
    Hold {
        classes: CHANGES.to_vec(),
        extent: Extent::Rows(rows.into_iter().collect()),
        release,
        accepts: None,
        message,
    }
}
