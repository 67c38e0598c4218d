//! How much of what is allowed the relay makes use of: less while the target is throttling or slow, all of it otherwise.

use std::time::Duration;

use tokio::time::Instant;

use crate::scim::pace::Rate;

/// The lowest pace, and what it gains in a second without throttling, as a share of the limit.
const SHARE: f64 = 1.0 / 32.0;
/// How often the pace gains, at most.
const GAIN_EVERY: Duration = Duration::from_secs(1);

/// The share of a new latency in the smoothed one.
const SMOOTHING: f64 = 1.0 / 8.0;
/// The share by which the usual latency follows one that stays longer. One that is shorter it follows at once.
const HABIT: f64 = 1.0 / 4096.0;
/// From how many times the usual latency on the target counts as slow.
const SLOW_TIMES: f64 = 4.0;
/// Latencies below are short, whatever the usual one is.
const SHORT: Duration = Duration::from_millis(250);
/// The time in which fewer requests in flight show in the latency.
const SHOWS_AFTER: Duration = Duration::from_secs(1);

/// The pace: halved whenever the target throttles, and gained back little by little.
pub(super) struct Pace {
    /// The limit, in requests a second.
    most: f64,
    now: f64,
    gained: Instant,
    last: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let most = f64::from(rate.requests()) / f64::from(rate.seconds());
        Self {
            most,
            now: most,
            gained: now,
            last: None,
        }
    }

    /// Requests a second.
    pub(super) fn per_second(&self) -> f64 {
        self.now
    }

    pub(super) fn is_full(&self) -> bool {
        self.now >= self.most
    }

    /// When the next request may leave; none when the pace is that of the limit, which sees to it itself.
    pub(super) fn free_at(&self) -> Option<Instant> {
        let last = self.last.filter(|_| !self.is_full())?;
        Some(last + Duration::from_secs_f64(1.0 / self.now))
    }

    pub(super) fn take(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// The target throttles.
    pub(super) fn halve(&mut self, now: Instant) {
        let least = (self.most * SHARE).max(1.0).min(self.most);
        self.now = (self.now / 2.0).max(least);
        self.gained = now;
    }

    /// The target answers, and throttles not.
    pub(super) fn gain(&mut self, now: Instant) {
        if now - self.gained >= GAIN_EVERY {
            self.now = (self.now + self.most * SHARE).min(self.most);
            self.gained = now;
        }
    }
}

/// How many requests are in flight at most: half as many when answers take several times as long as usual, and one more
/// for each round of answers that do not.
pub(super) struct Room {
    most: usize,
    now: f64,
    halved: Instant,
}

impl Room {
    pub(super) fn new(most: usize, now: Instant) -> Self {
        Self {
            most,
            now: as_number(most),
            halved: now,
        }
    }

    pub(super) fn has_place(&self, in_flight: usize) -> bool {
        as_number(in_flight) + 1.0 <= self.now
    }

    pub(super) fn is_full(&self) -> bool {
        self.now >= as_number(self.most)
    }

    /// How it stands, in requests.
    pub(super) fn requests(&self) -> f64 {
        self.now.floor()
    }

    /// An answer came, soon or late.
    pub(super) fn answered(&mut self, is_slow: bool, now: Instant) {
        if !is_slow {
            self.now = (self.now + 1.0 / self.now).min(as_number(self.most));
        } else if now - self.halved >= SHOWS_AFTER {
            self.now = (self.now / 2.0).max(1.0);
            self.halved = now;
        }
    }
}

/// How long one kind of request takes, in seconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Latency {
    smoothed: f64,
    usual: f64,
}

impl Latency {
    /// Takes a new one in; tells whether the target is slow.
    pub(super) fn is_slow_after(&mut self, latency: Duration) -> bool {
        let latency = latency.as_secs_f64();
        if self.usual == 0.0 {
            (self.smoothed, self.usual) = (latency, latency);
        }
        self.smoothed += (latency - self.smoothed) * SMOOTHING;
        self.usual = self
            .smoothed
            .min(self.usual + (self.smoothed - self.usual).max(0.0) * HABIT);
        self.smoothed > SHORT.as_secs_f64() && self.smoothed > self.usual * SLOW_TIMES
    }
}

fn as_number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
