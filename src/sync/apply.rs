//! Apply: what nothing holds is sent, in the order of the plan, and what the target acknowledges becomes *applied*.
//!
//! Three stages run at once, joined by bounded channels: [`prepare`] proves removals, resolves ids and writes intents;
//! [`send`] speaks to the target; [`settle`] commits outcomes in groups. A kill therefore leaves at most
//! those unsettled that are in the two channels, in the two groups that are being written, and in flight, each with its intent, and the next run looks at them before it does anything else.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::plan::{Class, Plan};
use crate::provider::{Capabilities, Refusal};
use crate::store::Lease;
use crate::sync::proof::Reader;
use crate::sync::tracker::Tracker;
use crate::sync::{Error, Relay, prepare, send, settle};

/// Operations prepared and not yet sent.
const PREPARED_MAX: usize = 512;
/// Outcomes known and not yet committed.
const OUTCOMES_MAX: usize = 512;
/// Classes that may be under way at the same time; each line starts when the one before it is settled, because it
/// needs ids that the earlier ones bring, or must not overtake them.
const WAVES: [&[Class]; 5] = [
    &[Class::Deactivate],
    &[Class::RemoveMembers],
    &[
        Class::Reactivate,
        Class::Update,
        Class::Link,
        Class::CreateUser,
    ],
    &[Class::Group],
    &[Class::AddMembers],
];

/// What the stages of one apply share.
pub(super) struct Flight<'a> {
    pub(super) relay: &'a Relay,
    pub(super) lease: &'a Lease,
    pub(super) plan: &'a Plan,
    pub(super) reader: &'a Reader<'a>,
    pub(super) tracker: &'a Tracker,
    pub(super) capabilities: Capabilities,
    /// Ends the flight after the requests under way.
    pub(super) stop: CancellationToken,
    /// Why the target refused everything, once it did.
    refused: Mutex<Option<Refusal>>,
    /// Rows of which a step was held, dropped or refused: they stay different.
    unfinished: Mutex<std::collections::HashSet<crate::identity::RowKey>>,
}

impl Flight<'_> {
    /// The target refuses everything: nothing more is sent.
    pub(super) fn halt(&self, refusal: Refusal) {
        let mut slot = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(refusal);
        self.stop.cancel();
    }

    /// Notes that a row stays different.
    pub(super) fn leave_unfinished(&self, row: &crate::identity::RowKey) {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(row.clone());
    }

    /// Whether a step of the row was held, dropped or refused.
    pub(super) fn is_unfinished(&self, row: &crate::identity::RowKey) -> bool {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(row)
    }
}

/// Carries a plan out, except for what it holds.
pub(super) async fn carry_out(
    relay: &Relay,
    lease: &Lease,
    plan: &Plan,
    reader: &Reader<'_>,
    tracker: &Tracker,
    stop: &CancellationToken,
) -> Result<(), Error> {
    tracker.phase("applying").await;
    let held: u64 = plan
        .counts
        .iter()
        .filter(|(class, _)| plan.holds_class(*class))
        .map(|(_, count)| count)
        .sum();
    tracker.update(|job| job.counters.skipped += held);
    if plan.steps() > held {
        let flight = Flight {
            relay,
            lease,
            plan,
            reader,
            tracker,
            capabilities: relay.provider.discover().await?,
            stop: stop.child_token(),
            refused: Mutex::new(None),
            unfinished: Mutex::default(),
        };
        flight.fly().await?;
    }
    if held == 0 && !stop.is_cancelled() {
        relay.store.drop_plan(lease, plan.job).await?;
        note_first_load(relay, lease, tracker).await?;
    }
    Ok(())
}

/// The first load ends with the first plan that was settled in full (specification page 8, 7).
async fn note_first_load(relay: &Relay, lease: &Lease, tracker: &Tracker) -> Result<(), Error> {
    if tracker.job().error_count > 0 {
        return Ok(());
    }
    let mut state = relay.store.profile_state(&relay.key()).await?;
    if !state.first_load_done {
        state.first_load_done = true;
        relay
            .store
            .save_profile_state(lease, &relay.key(), &state)
            .await?;
    }
    Ok(())
}

impl Flight<'_> {
    async fn fly(&self) -> Result<(), Error> {
        for wave in WAVES {
            let (prepared, to_send) = mpsc::channel(PREPARED_MAX);
            let (sent, to_settle) = mpsc::channel(OUTCOMES_MAX);
            tokio::try_join!(
                prepare::feed(self, wave, prepared),
                async {
                    send::all(self, to_send, sent).await;
                    Ok(())
                },
                settle::all(self, to_settle),
            )?;
            self.tracker.save().await;
            if self.stop.is_cancelled() {
                break;
            }
        }
        match self
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            Some(refusal) => Err(Error::Target(refusal)),
            None => Ok(()),
        }
    }
}
