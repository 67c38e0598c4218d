//! What depends on steps that wait: users who need a value that another one gives up by a step that waits for a person.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::identity::RowKey;
use crate::plan::{Class, Extent, Hold, Release, Step};
use crate::sync::Error;
use crate::sync::prepare::{STEPS_PER_TURN, before};
use crate::sync::propose::Draft;
use crate::sync::swap::{self, Unique};

/// The classes of steps that change values which are unique.
const CHANGES: [Class; 2] = [Class::Reactivate, Class::Update];

/// What the steps of a plan do to unique values.
#[derive(Default)]
struct Changes {
    /// What those that wait give up.
    given_up: Vec<Unique>,
    /// The others, by what they need.
    needing: HashMap<Unique, Vec<Arc<Step>>>,
}

impl Draft<'_> {
    /// What waits with these holds because it needs a value that a waiting step gives up: alone it would be refused, and users
    /// who need each other's values in a circle would never come by them (specification page 8, 6).
    pub(super) async fn depending_on(&self, holds: &[Hold]) -> Result<Option<Hold>, Error> {
        let concerns = |hold: &Hold| hold.classes.iter().any(|class| CHANGES.contains(class));
        if !holds.iter().any(concerns) {
            return Ok(None);
        }
        let waiting = self.changes(holds).await?.depending();
        Ok((!waiting.is_empty()).then(|| hold(waiting)))
    }

    async fn changes(&self, holds: &[Hold]) -> Result<Changes, Error> {
        let mut changes = Changes::default();
        let mut after = before(CHANGES[0]);
        loop {
            let (store, job) = (&self.relay.store, self.tracker.job().id);
            let steps = store.steps(job, after, STEPS_PER_TURN).await?;
            let Some((last, _)) = steps.last() else {
                return Ok(changes);
            };
            after = Some(*last);
            let is_over = !CHANGES.contains(&last.class);
            for (_, step) in steps {
                changes.add(step, holds);
            }
            if is_over {
                return Ok(changes);
            }
        }
    }
}

impl Changes {
    fn add(&mut self, step: Step, holds: &[Hold]) {
        if holds.iter().any(|hold| hold.covers(&step)) {
            self.given_up.extend(swap::given_up_by(&step));
        } else if CHANGES.contains(&step.class) {
            let step = Arc::new(step);
            for value in swap::needed_by(&step) {
                self.needing.entry(value).or_default().push(step.clone());
            }
        }
    }

    /// The rows whose steps need what waiting ones give up; what they give up themselves waits then, too.
    fn depending(mut self) -> BTreeSet<RowKey> {
        let mut depending = BTreeSet::new();
        while let Some(value) = self.given_up.pop() {
            for step in self.needing.remove(&value).unwrap_or_default() {
                depending.insert(step.key.clone());
                self.given_up.extend(swap::given_up_by(&step));
            }
        }
        depending
    }
}

fn hold(rows: BTreeSet<RowKey>) -> Hold {
    let message = format!(
        "{} users need a name or an address that others give up by changes which wait; they wait with them",
        rows.len()
    );
    Hold {
        classes: CHANGES.to_vec(),
        extent: Extent::Rows(rows.into_iter().collect()),
        release: Release::Approval,
        accepts: None,
        message,
    }
}
