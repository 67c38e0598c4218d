//! The relay is killed at named steps of its run rather than at any time, told from what has reached its two ends.

use super::{Loop, Pair, kills_wanted, seed};
use crate::support::fault_target::{Exchange, Fault, Rule};
use crate::support::proxy::Proxy;
use crate::support::wait_for;
use std::time::Duration;

/// Longer than any wait here; who is held so long is killed before.
const HELD: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_secs(120);
/// Kills of one first load, and the latest of its writes at which each comes: later ones find fewer left.
const FIRST_LOAD: (usize, usize) = (2, 60);
/// The same of one update.
const UPDATE: (usize, usize) = (2, 4);

/// Every read of this company has more.
const READ_BYTES: usize = 30_000;

/// Where a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Its plan is stored, and the first request that changes something has arrived and not been applied.
    BeforeTheFirstWrite,
    /// Request N has arrived and not been applied.
    BeforeItIsApplied,
    /// Request N has been applied and not been answered.
    BeforeItIsAnswered,
    /// Byte N of what the directory says has passed, and nothing after it.
    WhileItReads,
    /// It was asked to end while request N is under way.
    WhileItStops,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_at_the_first_write_loses_nothing_and_repeats_nothing() {
    Loop::kills_at(Point::BeforeTheFirstWrite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_at_a_request_that_is_not_applied_yet_loses_nothing_and_repeats_nothing() {
    Loop::kills_at(Point::BeforeItIsApplied).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_at_a_request_that_is_applied_and_not_answered_loses_nothing_and_repeats_nothing() {
    Loop::kills_at(Point::BeforeItIsAnswered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_at_a_byte_of_the_directory_s_answer_loses_nothing_and_repeats_nothing() {
    Loop::kills_at(Point::WhileItReads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_at_the_stop_loses_nothing_and_repeats_nothing() {
    Loop::kills_at(Point::WhileItStops).await;
}

impl Loop {
    /// A fifteenth of the kills of the loop at any time, at this point.
    async fn kills_at(point: Point) {
        let mut loops = Self::new(seed(), kills_wanted().div_ceil(15));
        println!("KILL_SEED={} {} kills {point:?}", seed(), loops.wanted);
        while loops.kills < loops.wanted {
            loops.round_at(point).await;
        }
    }

    /// A first load and an update on a new target with a new store, each killed at this point and then let go to its end.
    async fn round_at(&mut self, point: Point) {
        let mut pair = self.pair().await;
        pair.target.set_rules(Vec::new());
        let proxy = Proxy::start(self.slapd.port());
        pair.relay = pair.relay.directory(&format!("port = {}", proxy.port()));
        for _ in 0..FIRST_LOAD.0 {
            self.kill_at(point, &mut pair, &proxy, FIRST_LOAD.1);
        }
        proxy.pass();
        self.converge(&mut pair);
        for _ in 0..UPDATE.0 {
            self.change();
            self.kill_at(point, &mut pair, &proxy, UPDATE.1);
        }
        self.converge(&mut pair);
    }

    fn kill_at(&mut self, point: Point, pair: &mut Pair, proxy: &Proxy, writes: usize) {
        let number = match point {
            Point::BeforeTheFirstWrite => 1,
            Point::WhileItReads => self.random.below(READ_BYTES),
            _ => 1 + self.random.below(writes),
        };
        let fault = match point {
            Point::BeforeTheFirstWrite | Point::BeforeItIsApplied => {
                Some(Fault::StatusAfter(HELD, 503))
            }
            Point::BeforeItIsAnswered | Point::WhileItStops => Some(Fault::Slow(HELD)),
            Point::WhileItReads => None,
        };
        let context = format!("kill {} {point:?} at {number}", self.kills);
        println!("{context}");
        let before = pair.target.journal().len();
        match fault {
            Some(fault) => {
                let rule = Rule::on("*", "/", fault).matching(|call| call.method != "GET");
                pair.target.set_rules(vec![rule.nth(number as u64)]);
            }
            None => proxy.stall_after(number as u64),
        }
        let mut run = pair.relay.spawn_sync();
        wait_for(&context, LIMIT, || {
            let journal = pair.target.journal();
            let is_there = match point {
                Point::WhileItReads => proxy.reached(),
                _ => journal[before..].iter().any(is_held),
            };
            assert!(is_there || !run.ended(), "{context}: the run has ended");
            is_there.then_some(())
        });
        if point == Point::WhileItStops {
            run.interrupt();
            std::thread::sleep(Duration::from_millis(100).mul_f64(self.random.share()));
        }
        assert!(!run.ended(), "{context}: it ended by itself");
        run.kill();
        proxy.pass();
        pair.target.set_rules(Vec::new());
        self.kills += 1;
        self.look(pair, &context);
    }
}

/// Whether a request is where the fault holds it: not applied, or applied and not answered.
fn is_held(exchange: &Exchange) -> bool {
    match exchange.fault {
        Some(Fault::StatusAfter(..)) => true,
        Some(Fault::Slow(_)) => exchange.truth.is_some() && exchange.sent.is_none(),
        _ => false,
    }
}
