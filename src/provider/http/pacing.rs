//! The gate that every request of a tenant passes: rate, requests in flight, two lanes, and pauses that the target asks for.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::provider::Lane;

/// The window that the rate is kept in: a second, and a little more, because requests that leave evenly spaced may
/// arrive closer together.
const WINDOW: Duration = Duration::from_millis(1_020);

/// The share of a second's requests that may leave at once, so that timers of a millisecond do not cost throughput.
const BURST_DIVISOR: u32 = 50;

/// The longest pause between repetitions that the relay chooses itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>;

/// The runtime's clock, which tests can stop; the limiter's own clock cannot be.
#[derive(Clone)]
struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

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

/// The gate of one tenant.
pub(super) struct Pace {
    limiter: Limiter,
    clock: TokioClock,
    in_flight_max: usize,
    repetition: Repetition,
    state: Mutex<State>,
}

struct State {
    urgent: VecDeque<Waiter>,
    ordinary: VecDeque<Waiter>,
    next_ticket: u64,
    in_flight: usize,
    not_before: Instant,
    /// Pauses one after another that the target forced without saying how long.
    throttled: u32,
}

struct Waiter {
    ticket: u64,
    wake: Arc<Notify>,
}

impl State {
    fn queue(&mut self, lane: Lane) -> &mut VecDeque<Waiter> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Ordinary => &mut self.ordinary,
        }
    }

    fn head(&self) -> Option<&Waiter> {
        self.urgent.front().or_else(|| self.ordinary.front())
    }

    fn wake_head(&self) {
        if let Some(head) = self.head() {
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
    pace: &'a Pace,
    lane: Lane,
    ticket: u64,
    wake: Arc<Notify>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.lock();
        let ticket = self.ticket;
        state
            .queue(self.lane)
            .retain(|waiter| waiter.ticket != ticket);
        state.wake_head();
    }
}

/// The right to have one request in flight.
pub(super) struct Permit<'a> {
    pace: &'a Pace,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.lock();
        state.in_flight -= 1;
        state.wake_head();
    }
}

impl Pace {
    /// A gate that lets through at most `rate` requests in any second and `in_flight_max` at a time.
    ///
    /// The limiter admits `burst + t / period` requests in a time `t`, so both together are fitted into the rate: the
    /// burst is taken off what is replenished.
    pub(super) fn new(rate: NonZeroU32, in_flight_max: usize, repetition: Repetition) -> Self {
        let extra = rate.get() / BURST_DIVISOR;
        let period = WINDOW.div_f64(f64::from(rate.get() - extra));
        let burst = NonZeroU32::MIN.saturating_add(extra);
        let quota = Quota::with_period(period)
            .unwrap_or_else(|| Quota::per_second(rate))
            .allow_burst(burst);
        let start = Instant::now();
        let clock = TokioClock { start };
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            in_flight_max,
            repetition,
            state: Mutex::new(State {
                urgent: VecDeque::new(),
                ordinary: VecDeque::new(),
                next_ticket: 0,
                in_flight: 0,
                not_before: start,
                throttled: 0,
            }),
        }
    }

    /// Waits until a request may be sent. A repetition goes before the others of its lane: it has waited already.
    pub(super) async fn enter(&self, lane: Lane, repetition: bool) -> Permit<'_> {
        let place = self.queue_up(lane, repetition);
        loop {
            match self.turn(&place) {
                Turn::Now => return Permit { pace: self },
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

    /// Lets nothing through for as long as the target asks, or, where it does not say, for a pause that grows with
    /// every further such answer.
    pub(super) fn hold(&self, asked: Option<Duration>) {
        let mut state = self.lock();
        let now = Instant::now();
        let pause = asked.unwrap_or_else(|| {
            // The answers to requests that were in flight together count once.
            if now >= state.not_before {
                state.throttled = state.throttled.saturating_add(1);
            }
            self.repetition.pause_after(state.throttled)
        });
        state.not_before = state.not_before.max(now + pause);
    }

    /// Says that the target answered without asking for a pause.
    pub(super) fn flowing(&self) {
        self.lock().throttled = 0;
    }

    fn queue_up(&self, lane: Lane, repetition: bool) -> Place<'_> {
        let wake = Arc::new(Notify::new());
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let waiter = Waiter {
            ticket,
            wake: wake.clone(),
        };
        if repetition {
            state.queue(lane).push_front(waiter);
        } else {
            state.queue(lane).push_back(waiter);
        }
        Place {
            pace: self,
            lane,
            ticket,
            wake,
        }
    }

    fn turn(&self, place: &Place<'_>) -> Turn {
        let mut state = self.lock();
        let first = state.head().is_some_and(|head| head.ticket == place.ticket);
        if !first || state.in_flight >= self.in_flight_max {
            return Turn::Later(None);
        }
        let now = Instant::now();
        if state.not_before > now {
            return Turn::Later(Some(state.not_before));
        }
        if let Err(early) = self.limiter.check() {
            return Turn::Later(Some(now + early.wait_time_from(self.clock.now())));
        }
        state.in_flight += 1;
        Turn::Now
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pace(rate: u32, in_flight_max: usize) -> Arc<Pace> {
        let repetition = Repetition {
            attempts_max: 3,
            pause: Duration::from_millis(100),
        };
        let rate = NonZeroU32::new(rate).unwrap();
        Arc::new(Pace::new(rate, in_flight_max, repetition))
    }

    /// Sends that many requests at once, each in flight for a while, and gives the times at which they left.
    async fn departures(pace: &Arc<Pace>, requests: usize, in_flight: Duration) -> Vec<Instant> {
        let times = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..requests {
            let (pace, times) = (pace.clone(), times.clone());
            tasks.spawn(async move {
                let _permit = pace.enter(Lane::Ordinary, false).await;
                times.lock().unwrap().push(Instant::now());
                tokio::time::sleep(in_flight).await;
            });
        }
        tasks.join_all().await;
        let mut times = Arc::try_unwrap(times).unwrap().into_inner().unwrap();
        times.sort();
        times
    }

    fn most_in_a_second(times: &[Instant]) -> usize {
        let within = |from: &Instant| {
            let until = *from + Duration::from_secs(1);
            times.iter().filter(|t| *t >= from && **t <= until).count()
        };
        times.iter().map(within).max().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_holds_more_than_the_rate_and_little_of_it_is_lost() {
        for rate in [1, 2, 7, 10, 49, 50, 99, 100, 333, 1_000] {
            let pace = pace(rate, 10_000);
            let begun = Instant::now();
            let times = departures(&pace, 1_000, Duration::ZERO).await;
            let most = most_in_a_second(&times);
            assert!(most <= rate as usize, "{most} at {rate}/s");
            let reached = 999.0 / (times[999] - begun).as_secs_f64();
            assert!(reached >= 0.93 * f64::from(rate), "{reached} of {rate}/s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_rest_the_rate_holds_too() {
        let pace = pace(100, 10_000);
        let mut times = departures(&pace, 300, Duration::ZERO).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        times.extend(departures(&pace, 300, Duration::ZERO).await);
        assert!(most_in_a_second(&times) <= 100);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_requests_are_in_flight_than_allowed() {
        let pace = pace(10_000, 4);
        let begun = Instant::now();
        let times = departures(&pace, 40, Duration::from_millis(100)).await;
        for (at, time) in times.iter().enumerate() {
            let overlapping = times[..at]
                .iter()
                .filter(|other| *time - **other < Duration::from_millis(100))
                .count();
            assert!(overlapping < 4, "{overlapping} others in flight");
        }
        assert!(begun.elapsed() < Duration::from_millis(1_100));
    }

    #[tokio::test(start_paused = true)]
    async fn urgent_requests_overtake_all_that_wait() {
        let pace = pace(10, 100);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for lane in [Lane::Ordinary, Lane::Urgent] {
            for _ in 0..20 {
                let (pace, order) = (pace.clone(), order.clone());
                tasks.spawn(async move {
                    let _permit = pace.enter(lane, false).await;
                    order.lock().unwrap().push(lane);
                });
            }
            // The ordinary ones have queued up, and five have left, when the urgent ones come.
            tokio::time::sleep(Duration::from_millis(450)).await;
        }
        tasks.join_all().await;
        let order = order.lock().unwrap();
        assert_eq!(order.len(), 40);
        assert_eq!(order[..5], [Lane::Ordinary; 5]);
        assert_eq!(order[5..25], [Lane::Urgent; 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_stops_everything_until_its_time_even_those_that_wait_already() {
        let pace = pace(10, 100);
        drop(pace.enter(Lane::Ordinary, false).await);
        let waiting = {
            let pace = pace.clone();
            tokio::spawn(async move { departures(&pace, 50, Duration::ZERO).await })
        };
        tokio::task::yield_now().await;
        let asked = Instant::now();
        pace.hold(Some(Duration::from_secs(30)));
        // A shorter wish does not end a longer pause.
        pace.hold(Some(Duration::from_secs(1)));
        drop(pace.enter(Lane::Urgent, true).await);
        assert!(asked.elapsed() >= Duration::from_secs(30));
        let times = waiting.await.unwrap();
        let early = times
            .iter()
            .filter(|t| **t < asked + Duration::from_secs(30));
        assert_eq!(early.count(), 0);
        assert!(times[49] < asked + Duration::from_secs(36));
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_pauses_are_all_kept() {
        let pace = pace(100, 64);
        let log = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..100_u64 {
            let (pace, log) = (pace.clone(), log.clone());
            tasks.spawn(async move {
                for round in 0..100 {
                    let permit = pace.enter(Lane::Ordinary, round % 2 == 1).await;
                    log.lock().unwrap().0.push(Instant::now());
                    tokio::time::sleep(Duration::from_millis(worker + round)).await;
                    let pause = Duration::from_millis(100 * (1 + (worker * round) % 30));
                    let now = Instant::now();
                    pace.hold(Some(pause));
                    log.lock().unwrap().1.push((now, now + pause));
                    drop(permit);
                }
            });
        }
        tasks.join_all().await;
        let log = log.lock().unwrap();
        assert_eq!((log.0.len(), log.1.len()), (10_000, 10_000));
        let early = |time: &Instant| {
            log.1
                .iter()
                .any(|(from, until)| from < time && time < until)
        };
        assert_eq!(log.0.iter().filter(|time| early(time)).count(), 0);
        assert!(most_in_a_second(&log.0) <= 100);
    }

    #[tokio::test(start_paused = true)]
    async fn unexplained_pauses_grow_until_the_target_answers_again() {
        let pace = pace(1_000, 100);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            // Ten answers at once are one sign, not ten.
            (0..10).for_each(|_| pace.hold(None));
            let begun = Instant::now();
            drop(pace.enter(Lane::Ordinary, false).await);
            pauses.push(begun.elapsed().as_millis());
        }
        for (pause, least) in pauses.iter().zip([100, 200, 400]) {
            assert!((least..=least * 3 / 2 + 1).contains(pause), "{pauses:?}");
        }
        pace.flowing();
        let begun = Instant::now();
        pace.hold(None);
        drop(pace.enter(Lane::Ordinary, false).await);
        assert!(begun.elapsed() <= Duration::from_millis(151));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_given_up_holds_nobody_up() {
        let pace = pace(1_000, 1);
        let held = pace.enter(Lane::Ordinary, false).await;
        let given_up =
            tokio::time::timeout(Duration::from_millis(10), pace.enter(Lane::Urgent, false));
        assert!(given_up.await.is_err());
        drop(held);
        let next =
            tokio::time::timeout(Duration::from_millis(10), pace.enter(Lane::Ordinary, false));
        assert!(next.await.is_ok());
    }
}
