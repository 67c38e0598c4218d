//! The gate that every request of a tenant passes: limits, requests in flight, two lanes, and pauses that the target asks for.

mod effort;
mod limit;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::id::TenantName;
use crate::provider::http::pacing::effort::{Latency, Pace, Room};
use crate::provider::http::pacing::limit::Limit;
use crate::provider::{Lane, Settings};
use crate::scim::pace::Verb;

/// The longest pause between repetitions that the relay chooses itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a request is tried, and how long the relay waits in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repetition {
    /// Tries, the first included.
    pub(super) attempts_max: u32,
    /// The first pause.
    pub(super) pause: Duration,
}

impl Repetition {
    /// The pause after the given try (1-based): doubled each time, with up to half of it again at random.
    pub(super) fn pause_after(self, attempt: u32) -> Duration {
        let doubled = self
            .pause
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let pause = doubled.min(LONGEST_PAUSE);
        // Without randomness the pause is only less polite, not wrong.
        let share = getrandom::u32().map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX));
        pause + pause.mul_f64(share / 2.0)
    }
}

/// What a request is, as far as its place in the queue goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) verb: Verb,
    pub(super) lane: Lane,
    /// A repetition goes before the others of its lane: it has waited already.
    pub(super) repetition: bool,
}

/// The gate of one tenant.
pub(super) struct Gate {
    tenant: TenantName,
    repetition: Repetition,
    state: Mutex<State>,
}

struct State {
    /// Who waits: the urgent lane and the ordinary one, by verb, so that nobody waits for the limit of another verb.
    queues: [[VecDeque<Waiter>; 4]; 2],
    next_ticket: i64,
    in_flight: usize,
    /// The limit of all requests together, and those of single verbs.
    all: Limit,
    single: [Option<Limit>; 4],
    pace: Pace,
    room: Room,
    /// By verb, of users and of groups.
    latencies: [[Latency; 2]; 4],
    not_before: Instant,
    /// Pauses one after another that the target forced without saying how long.
    throttled: u32,
}

struct Waiter {
    /// Whoever has the lower one goes first.
    ticket: i64,
    wake: Arc<Notify>,
}

impl State {
    fn queue(&mut self, asking: Asking) -> &mut VecDeque<Waiter> {
        &mut self.queues[asking.lane as usize][asking.verb as usize]
    }

    /// When a request of this verb may leave, all else apart; a time that is over, or none, when it may at once.
    fn free_at(&self, verb: Verb) -> Option<Instant> {
        let single = self.single[verb as usize].as_ref();
        Some(self.not_before)
            .max(self.all.free_at())
            .max(self.pace.free_at())
            .max(single.and_then(Limit::free_at))
    }

    /// Whose turn it is: the first one, in the order of lanes and tickets, whose verb may be sent now.
    fn next(&self, now: Instant) -> Option<i64> {
        self.queues.iter().find_map(|lane| {
            let heads = Verb::ALL.into_iter().filter_map(|verb| {
                let head = lane[verb as usize].front()?;
                let is_free = self.free_at(verb).is_none_or(|time| time <= now);
                is_free.then_some(head.ticket)
            });
            heads.min()
        })
    }

    fn leave(&mut self, verb: Verb, now: Instant) {
        self.in_flight += 1;
        self.all.take(now);
        self.pace.take(now);
        if let Some(limit) = &mut self.single[verb as usize] {
            limit.take(now);
        }
    }

    fn wake_heads(&self) {
        for head in self.queues.iter().flatten().filter_map(VecDeque::front) {
            head.wake.notify_one();
        }
    }
}

enum Turn {
    Now,
    /// Look again at that time, or when woken.
    Later(Option<Instant>),
}

/// A place in the queue; leaves it when dropped, so that a cancelled request holds nobody up.
struct Place<'a> {
    gate: &'a Gate,
    asking: Asking,
    ticket: i64,
    wake: Arc<Notify>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        let ticket = self.ticket;
        state
            .queue(self.asking)
            .retain(|waiter| waiter.ticket != ticket);
        state.wake_heads();
    }
}

/// The right to have one request in flight.
pub(super) struct Permit<'a> {
    gate: &'a Gate,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.in_flight -= 1;
        state.wake_heads();
    }
}

impl Gate {
    /// A gate that keeps the limits of these settings.
    pub(super) fn new(settings: &Settings, repetition: Repetition) -> Self {
        let now = Instant::now();
        let single = |verb| settings.rates.of(verb).map(|rate| Limit::new(rate, now));
        Self {
            tenant: settings.tenant.clone(),
            repetition,
            state: Mutex::new(State {
                queues: Default::default(),
                next_ticket: 0,
                in_flight: 0,
                all: Limit::new(settings.rate, now),
                single: Verb::ALL.map(single),
                pace: Pace::new(settings.rate, now),
                room: Room::new(settings.concurrency, now),
                latencies: Default::default(),
                not_before: now,
                throttled: 0,
            }),
        }
    }

    /// Waits until a request may be sent.
    pub(super) async fn enter(&self, asking: Asking) -> Permit<'_> {
        let place = self.queue_up(asking);
        loop {
            match self.turn(&place) {
                Turn::Now => return Permit { gate: self },
                Turn::Later(None) => place.wake.notified().await,
                Turn::Later(Some(time)) => {
                    tokio::select! {
                        () = sleep_until(time) => {}
                        () = place.wake.notified() => {}
                    }
                }
            }
        }
    }

    /// The target throttles: lets nothing through for as long as it asks, or, where it does not say, for a pause that
    /// grows with every further such answer; and goes on at half the pace.
    pub(super) fn hold(&self, asked: Option<Duration>) {
        let mut state = self.lock();
        let now = Instant::now();
        // The answers to requests that were in flight together count once.
        if now >= state.not_before {
            state.throttled = state.throttled.saturating_add(u32::from(asked.is_none()));
            let was_full = state.pace.is_full();
            state.pace.halve(now);
            if was_full && !state.pace.is_full() {
                tracing::warn!(
                    tenant = %self.tenant,
                    requests_per_second = state.pace.per_second(),
                    "the target throttles: requests are sent more slowly until that is over; lower rateLimit if it happens often"
                );
            }
        }
        let pause = asked.unwrap_or_else(|| self.repetition.pause_after(state.throttled));
        state.not_before = state.not_before.max(now + pause);
    }

    /// Says that the target answered without throttling.
    pub(super) fn flowing(&self) {
        let mut state = self.lock();
        state.throttled = 0;
        if !state.pace.is_full() {
            state.pace.gain(Instant::now());
            if state.pace.is_full() {
                tracing::info!(tenant = %self.tenant, "the target throttles no more: back to the configured pace");
            }
            state.wake_heads();
        }
    }

    /// Says how long an answer took to a request whose work does not depend on its size.
    pub(super) fn took(&self, verb: Verb, of_group: bool, latency: Duration) {
        let mut state = self.lock();
        let known = &mut state.latencies[verb as usize][usize::from(of_group)];
        let is_slow = known.is_slow_after(latency);
        let was_full = state.room.is_full();
        state.room.answered(is_slow, Instant::now());
        match (was_full, state.room.is_full()) {
            (true, false) => tracing::warn!(
                tenant = %self.tenant,
                in_flight = state.room.requests(),
                "the target answers several times more slowly than usual: fewer requests are in flight until it is over"
            ),
            (false, true) => tracing::info!(
                tenant = %self.tenant,
                "the target answers as usual: back to the configured number of requests in flight"
            ),
            _ => {}
        }
    }

    fn queue_up(&self, asking: Asking) -> Place<'_> {
        let wake = Arc::new(Notify::new());
        let mut state = self.lock();
        state.next_ticket += 1;
        let ticket = state.next_ticket;
        // Lower than all that were given before.
        let ticket = if asking.repetition { -ticket } else { ticket };
        let waiter = Waiter {
            ticket,
            wake: wake.clone(),
        };
        let queue = state.queue(asking);
        if asking.repetition {
            queue.push_front(waiter);
        } else {
            queue.push_back(waiter);
        }
        Place {
            gate: self,
            asking,
            ticket,
            wake,
        }
    }

    fn turn(&self, place: &Place<'_>) -> Turn {
        let mut state = self.lock();
        let verb = place.asking.verb;
        let head = state.queue(place.asking).front();
        let is_head = head.is_some_and(|head| head.ticket == place.ticket);
        // Whoever stands before this one, or has to come back, wakes it.
        if !is_head || !state.room.has_place(state.in_flight) {
            return Turn::Later(None);
        }
        let now = Instant::now();
        if state.next(now) == Some(place.ticket) {
            state.leave(verb, now);
            return Turn::Now;
        }
        let free = state.free_at(verb).filter(|time| *time > now);
        Turn::Later(free)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
