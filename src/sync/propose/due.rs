//! Rows that come to differ by the passing of time alone, without a word of the directory: accounts that expire, and those who
//! are gone and whose grace period ends.

use chrono::{DateTime, Utc};

use crate::identity::RowKey;
use crate::job::Job;
use crate::plan::grace::Grace;
use crate::plan::linking::Waits;
use crate::snapshot::{FeedState, Row, Seen, Standing};
use crate::sync::Error;
use crate::sync::ownership::{self, Present};
use crate::sync::propose::Draft;

impl Draft<'_> {
    /// An account that expires is looked at in each run, because its entry does not change when it does.
    pub(super) fn stays_marked(&mut self, seen: &Seen) -> bool {
        seen.standing == Standing::Present && self.note_expiry(seen)
    }

    /// Notes when the account of an entry expires, and answers whether it does.
    fn note_expiry(&mut self, seen: &Seen) -> bool {
        let mapping = &self.relay.profile.mapping;
        let expires = mapping.expires_later(&seen.identity, self.now);
        self.note_due(expires);
        expires.is_some()
    }

    /// Notes when a row that waits for the end of a grace period is due; an account that expires has no grace then.
    pub(super) fn note_end_of_grace(&mut self, seen: &Seen, waits: Option<Waits>) {
        if let Some(ends) = waits.and_then(Waits::until) {
            self.note_due(Some(ends));
            self.note_expiry(seen);
        }
    }

    fn note_due(&mut self, due: Option<DateTime<Utc>>) {
        self.next_due = self.next_due.into_iter().chain(due).min();
    }

    /// Keeps when the next row is due, for the scheduler, and answers where the profile stands in the feed. A run about some entries
    /// knows nothing of the others; an urgent one has looked at all that were due.
    pub(super) async fn keep_next_due(&self, job: &Job) -> Result<FeedState, Error> {
        let (store, key) = (&self.relay.store, self.relay.key());
        let mut feed = store.feed_state(&key).await?;
        let known = match job.is_urgent() {
            true => feed.next_due.filter(|due| *due > self.now),
            false => feed
                .next_due
                .filter(|_| job.only.is_some() || job.undoes.is_some()),
        };
        let due = known.into_iter().chain(self.next_due).min();
        if feed.next_due != due {
            feed.next_due = due;
            store.save_feed_state(self.lease, &key, &feed).await?;
        }
        Ok(feed)
    }

    /// The grace period that holds for a row: its owner's, whichever run finds it gone.
    pub(super) fn grace_of(&self, row: &Row) -> Grace {
        let owner = self.relay.profile_of(row);
        Grace {
            period: owner.grace_period,
            now: self.now,
            changed_at: self
                .changed_at
                .filter(|_| owner.name == self.relay.profile.name),
        }
    }

    /// Without those members of a group who stay in it although it does not name them any more, and when the first of these is to
    /// be decided again. That no profile sees them, because theirs was deleted, means nothing; and whoever is gone stays until the
    /// end of the grace period, since servers take those who are gone out of groups.
    pub(super) async fn without_those_who_stay(
        &self,
        present: Vec<RowKey>,
        wanted: &[RowKey],
    ) -> Result<(Present, Option<DateTime<Utc>>), Error> {
        let mut first = None;
        let stays = |row: &Row| {
            let Some((_, seen)) = row.owner() else {
                return true;
            };
            let ends = self.grace_of(row).ends(seen);
            first = first.into_iter().chain(ends).min();
            ends.is_some()
        };
        let present = ownership::without(self.relay, present, wanted, stays).await?;
        Ok((present, first))
    }
}
