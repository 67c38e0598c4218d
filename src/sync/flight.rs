//! A flight: what the stages of one apply share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::identity::RowKey;
use crate::plan::{Class, Plan};
use crate::provider::{Capabilities, Refusal};
use crate::scim::dialect::Bulk;
use crate::store::{Author, Lease};
use crate::sync::Relay;
use crate::sync::proof::Reader;
use crate::sync::swap::Conflict;
use crate::sync::tracker::Tracker;

/// Members of operations that are prepared and not yet settled, apart from a single step that has more: what bounds the
/// memory that large groups take.
const MEMBERS_MAX: u32 = 40_000;

/// What the stages of one apply share.
pub(super) struct Flight<'a> {
    pub(super) relay: &'a Relay,
    pub(super) lease: &'a Lease,
    pub(super) plan: &'a Plan,
    pub(super) reader: &'a Reader<'a>,
    pub(super) tracker: &'a Tracker,
    pub(super) capabilities: Capabilities,
    /// On whose behalf changes are settled.
    pub(super) author: Author,
    /// Ends the flight after the requests under way.
    pub(super) stop: CancellationToken,
    /// Why the target refused everything, once it did.
    refused: Mutex<Option<Refusal>>,
    /// Rows of which a step was held, dropped or refused: they stay different.
    unfinished: Mutex<HashSet<RowKey>>,
    /// Changes that wait for values of others.
    conflicts: Mutex<Vec<Conflict>>,
    /// Room for members.
    room: Arc<Semaphore>,
    /// The names by which groups refer to users who are created with them; absent where they are not.
    promised: Option<Mutex<HashMap<RowKey, String>>>,
}

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
        Self {
            relay,
            lease,
            plan,
            reader,
            tracker,
            capabilities,
            author: relay.author(plan.job),
            stop: stop.child_token(),
            refused: Mutex::default(),
            unfinished: Mutex::default(),
            conflicts: Mutex::default(),
            room: Arc::new(Semaphore::new(MEMBERS_MAX as usize)),
            promised: refers(relay, plan).then(Mutex::default),
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

    /// Notes that a row stays different.
    pub(super) fn leave_unfinished(&self, row: &RowKey) {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(row.clone());
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
