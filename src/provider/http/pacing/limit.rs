//! One limit: so many requests in any window, some of them at once after a rest.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::scim::pace::Rate;

/// What a window is longer than it says, because requests that leave evenly spaced may arrive closer together.
const SLACK: Duration = Duration::from_millis(20);

/// A limit and what was sent under it. Looking at it takes nothing from it, since a request is under two of them.
pub(super) struct Limit {
    most: usize,
    window: Duration,
    /// The time between two requests at an even pace.
    period: Duration,
    /// How far requests may be ahead of that pace.
    ahead: Duration,
    /// When the next one leaves at that pace.
    even: Instant,
    /// When the last ones left, as many as a window may hold.
    left: VecDeque<Instant>,
}

impl Limit {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let window = Duration::from_secs(u64::from(rate.seconds())) + SLACK;
        let period = window / rate.requests();
        Self {
            most: usize::try_from(rate.requests()).unwrap_or(usize::MAX),
            window,
            period,
            ahead: period * (rate.burst() - 1),
            even: now,
            left: VecDeque::new(),
        }
    }

    /// When the next request may leave; a time that is over, or none, when it may at once.
    pub(super) fn free_at(&self) -> Option<Instant> {
        let spaced = self.even.checked_sub(self.ahead);
        let oldest = self.left.front().filter(|_| self.left.len() >= self.most);
        spaced.max(oldest.map(|left| *left + self.window))
    }

    /// Notes that a request leaves.
    pub(super) fn take(&mut self, now: Instant) {
        self.even = self.even.max(now) + self.period;
        if self.left.len() >= self.most {
            self.left.pop_front();
        }
        self.left.push_back(now);
    }
}
