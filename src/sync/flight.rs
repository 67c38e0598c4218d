//! A flight: what the stages of one apply share.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::identity::RowKey;
use crate::job::ObjectError;
use crate::plan::{Class, Plan, Step};
use crate::provider::{Capabilities, Refusal};
use crate::scim::dialect::Bulk;
use crate::store::{Author, Lease};
use crate::sync::breaker::{Breaker, Ending};
use crate::sync::proof::Reader;
use crate::sync::send::Settled;
use crate::sync::swap::Conflict;
use crate::sync::tracker::Tracker;
use crate::sync::{Relay, target};

/// Members of operations that are prepared and not yet settled, apart from a single step that has more: what bounds the
/// memory that large groups take.
const MEMBERS_MAX: u32 = 40_000;

/// Which part of a plan a flight carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mandate {
    /// What does not wait.
    WhatNothingHolds,
    /// What waited for a person and was approved.
    Approved,
}

/// What the stages of one apply share.
pub(super) struct Flight<'a> {
    pub(super) relay: &'a Relay,
    pub(super) lease: &'a Lease,
    pub(super) plan: &'a Plan,
    pub(super) mandate: Mandate,
    pub(super) reader: &'a Reader<'a>,
    pub(super) tracker: &'a Tracker,
    pub(super) capabilities: Capabilities,
    /// Whether it flies beside a longer one.
    pub(super) urgent: bool,
    /// On whose behalf changes are settled.
    pub(super) author: Author,
    /// Ends the flight after the requests under way.
    pub(super) stop: CancellationToken,
    /// Why the target refused everything, once it did.
    refused: Mutex<Option<Refusal>>,
    /// Whether the target fails at large.
    breaker: Mutex<Breaker>,
    /// Classes of which too many failed.
    given_up: Mutex<BTreeSet<Class>>,
    /// Whether the target is the one that the rows are linked at, once that was looked at.
    same_target: OnceCell<Result<(), Refusal>>,
    /// When a resource was last created.
    created: Mutex<Option<Instant>>,
    /// Rows of which a step was held, dropped or refused: they stay different.
    unfinished: Mutex<HashSet<RowKey>>,
    /// Changes that wait for values of others.
    conflicts: Mutex<Vec<Conflict>>,
    /// How many steps, or requests of steps, were left out as stale.
    left_out: AtomicU64,
    /// Room for members.
    room: Arc<Semaphore>,
    /// The names by which groups refer to users who are created with them; absent where they are not.
    promised: Option<Mutex<HashMap<RowKey, String>>>,
}

/// How long after a creation a target may not know the new resource as a member yet.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// Most users whose groups are created together with them: their names are kept until the wave ends.
const PROMISED_MAX: u64 = 10_000;

impl<'a> Flight<'a> {
    /// A flight that ends when the run is asked to, and earlier when the target refuses everything.
    pub(super) fn new(
        relay: &'a Relay,
        lease: &'a Lease,
        plan: &'a Plan,
        reader: &'a Reader<'a>,
        tracker: &'a Tracker,
        capabilities: Capabilities,
        stop: &CancellationToken,
    ) -> Self {
        let mandate = match tracker.job().is_approved() {
            true => Mandate::Approved,
            false => Mandate::WhatNothingHolds,
        };
        let author = relay.author(plan.job);
        Self {
            mandate,
            relay,
            lease,
            plan,
            reader,
            tracker,
            capabilities,
            urgent: tracker.job().is_urgent() && mandate != Mandate::Approved,
            author: Author {
                // What a person wanted does not count against what goes by itself (specification page 8, 7).
                ledger: author.ledger.filter(|_| mandate != Mandate::Approved),
                ..author
            },
            stop: stop.child_token(),
            refused: Mutex::default(),
            breaker: Mutex::default(),
            given_up: Mutex::default(),
            same_target: OnceCell::new(),
            created: Mutex::default(),
            unfinished: Mutex::default(),
            conflicts: Mutex::default(),
            left_out: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(MEMBERS_MAX as usize)),
            promised: refers(relay, plan).then(Mutex::default),
        }
    }

    /// Whether the flight carries a step out.
    pub(super) fn takes(&self, step: &Step) -> bool {
        match self.mandate {
            Mandate::WhatNothingHolds => !self.plan.holds(step),
            Mandate::Approved => self.plan.asks_for(step),
        }
    }

    /// Whether groups are created together with their new users.
    pub(super) fn refers(&self) -> bool {
        self.promised.is_some()
    }

    /// Gives a user who is about to be created a name by which groups refer to it.
    pub(super) fn promise(&self, row: &RowKey) -> Option<String> {
        let promised = self.promised.as_ref()?;
        let mut promised = promised.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("u{}", promised.len());
        promised.insert(row.clone(), name.clone());
        Some(name)
    }

    /// The name of a user who is about to be created.
    pub(super) fn promised(&self, row: &RowKey) -> Option<String> {
        let promised = self.promised.as_ref()?;
        let promised = promised.lock().unwrap_or_else(PoisonError::into_inner);
        promised.get(row).cloned()
    }

    /// Why the target refused everything, if it did.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until there is room for the members of a turn; it is taken until the permit is dropped.
    pub(super) async fn room_for(&self, members: usize) -> Option<Arc<OwnedSemaphorePermit>> {
        let wanted = u32::try_from(members)
            .unwrap_or(MEMBERS_MAX)
            .min(MEMBERS_MAX);
        // The semaphore is never closed.
        let permit = self.room.clone().acquire_many_owned(wanted).await.ok()?;
        Some(Arc::new(permit))
    }

    /// The target refuses everything: nothing more is sent.
    pub(super) fn halt(&self, refusal: Refusal) {
        let mut slot = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(refusal);
        self.stop.cancel();
    }

    /// Keeps a change that waits for values of others.
    pub(super) fn keep(&self, conflict: Conflict) {
        let mut conflicts = self
            .conflicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conflicts.push(conflict);
    }

    /// Takes out what was kept.
    pub(super) fn kept(&self) -> Vec<Conflict> {
        let mut conflicts = self
            .conflicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut conflicts)
    }

    /// Whether a resource was created just now, which the target may not know everywhere yet.
    pub(super) fn just_created(&self) -> bool {
        let created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        created.is_some_and(|at| at.elapsed() < SETTLED_AFTER)
    }

    /// Takes in what became of an operation; where the target fails at large, that class or the flight ends.
    pub(super) fn count(&self, settled: &Settled) {
        if settled.is_creation() {
            let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
            *created = Some(Instant::now());
        }
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let ending = breaker.count(settled);
        drop(breaker);
        match ending {
            Some(Ending::Run(refusal)) => self.halt(refusal),
            Some(Ending::Class(class, refusal)) => self.give_up(class, &refusal),
            None => {}
        }
    }

    fn give_up(&self, class: Class, refusal: &Refusal) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        if given_up.insert(class) {
            drop(given_up);
            self.tracker.record_sent(ObjectError {
                status: refusal.status,
                scim_type: refusal.scim_type.clone(),
                ..ObjectError::of_job(class.as_str(), refusal.fault, refusal.message.clone())
            });
        }
    }

    /// Whether anything was left to the next run because so much of it failed.
    pub(super) fn gave_up(&self) -> bool {
        Class::ALL.into_iter().any(|class| self.is_given_up(class))
    }

    /// Whether so many of a class failed that no more of them are sent.
    pub(super) fn is_given_up(&self, class: Class) -> bool {
        let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.contains(&class)
    }

    /// Looks, once in a flight, whether the target is the one that the rows are linked at.
    pub(super) async fn same_target(&self) -> Result<(), Refusal> {
        let look = async || {
            target::same_resources(self.relay)
                .await
                .map_err(target::refusal)
        };
        self.same_target.get_or_init(look).await.clone()
    }

    /// Notes that a row stays different.
    pub(super) fn leave_unfinished(&self, row: &RowKey) {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(row.clone());
    }

    /// Leaves out what the directory may not say any more, and notes that its row stays different.
    pub(super) fn leave_out(&self, row: &RowKey) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
        self.leave_unfinished(row);
    }

    /// How much was left out so.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Whether the directory may say something else by now than it said when the plan was made.
    pub(super) fn may_be_stale(&self) -> bool {
        let is_old = self.mandate == Mandate::Approved;
        // What a person wants undone is not what the directory says.
        let is_undo = self.tracker.job().undoes.is_some();
        (is_old || self.relay.traffic.is_read_beside()) && !self.urgent && !is_undo
    }

    /// Whether a step of the row was held, dropped or refused.
    pub(super) fn is_unfinished(&self, row: &RowKey) -> bool {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(row)
    }
}

/// Whether groups and their new users go together: where the dialect wants it, the target takes it, and they are not too many.
fn refers(relay: &Relay, plan: &Plan) -> bool {
    let count = |class| {
        let of_class = plan.counts.iter().find(|(counted, _)| *counted == class);
        of_class.map_or(0, |(_, count)| *count)
    };
    relay.tenant.dialect.bulk == Bulk::WithReferences
        && relay.provider.together_max() > 1
        && (1..=PROMISED_MAX).contains(&count(Class::CreateUser))
        && count(Class::Group) > 0
}
