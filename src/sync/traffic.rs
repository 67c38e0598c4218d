//! Traffic: what the long flight of a directory, and a short urgent one beside it, know of each other.
//!
//! Both write with one lease. The urgent one reads the directory while the other sends, so the other looks again at what it
//! prepared before that, clears no mark any more, and leaves alone the rows that the urgent one takes over.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::identity::RowKey;
use crate::plan::Class;
use crate::store::Lease;

/// One request of a step: the row, the class, and the part.
pub(super) type Part = (RowKey, Class, u32);

/// What the flights of one directory know of each other.
#[derive(Default)]
pub struct Traffic {
    state: Mutex<State>,
    /// Told whenever something that was under way is settled.
    arrived: Notify,
    /// Held while marks are cleared or a profile's state is changed, so that neither is undone by what the other flight writes.
    alone: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// The lease of the long flight, while it may be overtaken.
    lease: Option<Lease>,
    /// Whether the directory was read beside it, or is.
    read_beside: bool,
    /// How often that was done.
    news: u64,
    /// Rows that an urgent flight has taken over.
    taken: HashSet<RowKey>,
    /// What the long flight has sent, or is about to send, and not settled.
    under_way: HashSet<Part>,
}

/// Whether an operation of the long flight may be sent.
pub(super) enum Departure {
    /// It may.
    Free,
    /// The directory was read since it was prepared, for the so manieth time: it is to be looked at again.
    Look(u64),
    /// An urgent flight has taken its row over.
    Taken,
}

/// The long flight may be overtaken for as long as this is there.
pub(super) struct Overtakable<'a>(&'a Traffic);

impl Drop for Overtakable<'_> {
    fn drop(&mut self) {
        *self.0.state() = State::default();
        self.0.arrived.notify_waiters();
    }
}

/// The directory is read beside the long flight for as long as this is there.
pub(super) struct Reading<'a>(&'a Traffic);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.state().news += 1;
    }
}

impl Traffic {
    /// A panic elsewhere leaves nothing here half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the flight that writes with this lease may be overtaken.
    pub(super) fn overtakable(&self, lease: &Lease) -> Overtakable<'_> {
        self.state().lease = Some(*lease);
        Overtakable(self)
    }

    /// The lease of a flight that may be overtaken now.
    pub fn lease(&self) -> Option<Lease> {
        self.state().lease
    }

    /// Begins to read the directory beside the long flight, which from here on clears no mark: what is read may mark a row for a
    /// reason that its entry does not show.
    pub(super) async fn read_beside(&self) -> Reading<'_> {
        let _alone = self.alone().await;
        self.state().read_beside = true;
        Reading(self)
    }

    /// Whether the directory was read since the plan of the long flight was made.
    pub(super) fn is_read_beside(&self) -> bool {
        self.state().read_beside
    }

    /// How often the directory was read beside the long flight.
    pub(super) fn news(&self) -> u64 {
        self.state().news
    }

    /// What is written while this is held is not mixed with what the other flight writes.
    pub(super) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.alone.lock().await
    }

    /// Whether an operation that was prepared after so many readings may be sent; if so, it is under way.
    pub(super) fn departs(&self, part: Part, news: u64) -> Departure {
        let mut state = self.state();
        if state.taken.contains(&part.0) {
            return Departure::Taken;
        }
        if state.news != news {
            return Departure::Look(state.news);
        }
        state.under_way.insert(part);
        Departure::Free
    }

    /// These are settled, or wait for others.
    pub(super) fn arrive(&self, parts: &[Part]) {
        let mut state = self.state();
        for part in parts {
            state.under_way.remove(part);
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// The rows that the long flight is busy with.
    pub(super) fn busy(&self) -> HashSet<RowKey> {
        let state = self.state();
        state
            .under_way
            .iter()
            .map(|(row, ..)| row.clone())
            .collect()
    }

    /// Takes rows over: the long flight sends nothing more for them. Answers those of all taken rows with which it is busy still.
    pub(super) fn take_over(&self, rows: impl IntoIterator<Item = RowKey>) -> HashSet<RowKey> {
        let mut state = self.state();
        state.taken.extend(rows);
        let busy = state.under_way.iter().map(|(row, ..)| row);
        busy.filter(|row| state.taken.contains(*row))
            .cloned()
            .collect()
    }

    /// Whether an urgent flight has taken a row over.
    pub(super) fn is_taken(&self, row: &RowKey) -> bool {
        self.state().taken.contains(row)
    }

    /// Waits until the long flight is busy with none of these rows.
    pub(super) async fn settled(&self, rows: &HashSet<RowKey>) {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // Counted before the state is read, so that what arrives in between is not missed.
            arrived.as_mut().enable();
            if self.busy().is_disjoint(rows) {
                return;
            }
            arrived.await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::id::DirectoryId;
    use crate::identity::{Anchor, Kind};

    fn part(name: &str) -> Part {
        let row = RowKey {
            kind: Kind::User,
            anchor: Anchor::Text(name.into()),
        };
        (row, Class::Update, 0)
    }

    #[tokio::test]
    async fn what_was_prepared_before_the_directory_was_read_is_looked_at_again() {
        let traffic = Traffic::default();
        assert!(matches!(traffic.departs(part("a"), 0), Departure::Free));
        let reading = traffic.read_beside().await;
        assert!(traffic.is_read_beside());
        // What goes while it is read arrives before anything is concluded of its row.
        assert!(matches!(traffic.departs(part("b"), 0), Departure::Free));
        drop(reading);
        assert_eq!(traffic.busy(), HashSet::from([part("a").0, part("b").0]));
        assert!(matches!(traffic.departs(part("c"), 0), Departure::Look(1)));
        assert!(matches!(traffic.departs(part("c"), 1), Departure::Free));
    }

    #[tokio::test]
    async fn a_row_is_in_one_flight_at_a_time() {
        let traffic = Traffic::default();
        assert!(matches!(traffic.departs(part("a"), 0), Departure::Free));
        let busy = traffic.take_over([part("a").0, part("b").0]);
        assert_eq!(busy, HashSet::from([part("a").0]));
        assert!(matches!(traffic.departs(part("b"), 0), Departure::Taken));
        let settled = traffic.settled(&busy);
        tokio::pin!(settled);
        let waits = futures_util::poll!(settled.as_mut());
        assert!(waits.is_pending());
        traffic.arrive(&[part("a")]);
        settled.await;
    }

    #[test]
    fn a_flight_that_has_ended_is_not_overtaken_and_leaves_nothing_behind() {
        let traffic = Traffic::default();
        let directory = DirectoryId(uuid::Uuid::nil());
        let lease = Lease { directory, term: 7 };
        let overtakable = traffic.overtakable(&lease);
        assert_eq!(traffic.lease(), Some(lease));
        traffic.take_over([part("a").0]);
        drop(overtakable);
        assert_eq!(traffic.lease(), None);
        assert!(!traffic.is_taken(&part("a").0));
    }
}
