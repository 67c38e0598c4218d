//! The seeded simulation: the engine itself between a scripted directory and a scripted target, on a disk that forgets.
//!
//! Each seed is a history: entries come, change, leave and return, groups too, the configuration is edited, both sides fail, other
//! people work at the target, and the process ends in the middle of a step. Every request is held against what is true at that
//! moment, and at the end the target is compared with a model of what it shall hold, which knows nothing of the relay's planning.
//!
//! `SEEDS=50000 tests/run simulation` tries more of them, `SEED=123 tests/run simulation` one again.
#![allow(
    clippy::too_many_lines,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod changes;
mod decisions;
mod directory;
mod disk;
mod expected;
mod history;
mod masses;
mod random;
mod rules;
mod site;
mod stories;
mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use scim_relay::job::Mode;
use tokio::runtime::Runtime;

use crate::disk::Crash;
use crate::history::{Ended, History};
use crate::rules::Nested;
use crate::site::Site;
use crate::stories::Story;

/// Histories unless SEEDS says otherwise.
const SEEDS: u64 = 2_000;
/// Failures that are shown; the others are counted.
const SHOWN: usize = 3;
/// More steps than any of the runs has that are ended at each of theirs.
const STEPS_MAX: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

/// A runtime whose clock runs as fast as it can.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Lets one history happen; answers what is wrong, with the whole course.
fn happen(seed: u64) -> Result<(), String> {
    let mut history = History::new(seed, &[Crash::Kill, Crash::PowerLoss]);
    let site = history.site.clone();
    let ended = catch_unwind(AssertUnwindSafe(|| runtime().block_on(history.happen())));
    told(&site, ended)
}

/// What went wrong, with the whole course.
fn told(site: &Site, ended: std::thread::Result<Result<(), String>>) -> Result<(), String> {
    let wrong = match ended {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(wrong)) => wrong,
        Err(_) => "a panic".to_owned(),
    };
    Err(format!("{}\n\n{wrong}", site.trace()))
}

/// Tries all cases on all processors; `again` says how one of them is tried again.
fn try_all(
    cases: &[u64],
    again: impl Fn(u64) -> String,
    attempt: impl Fn(u64) -> Result<(), String> + Sync,
) {
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(case) = cases.get(at) else { return };
                    if let Err(wrong) = attempt(*case) {
                        failures.lock().unwrap().push((*case, wrong));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    for (case, wrong) in failures.iter().take(SHOWN) {
        println!("{wrong}\n\nagain: {}\n", again(*case));
    }
    for (case, wrong) in &failures {
        let last = wrong.rsplit("\n\n").next().unwrap_or_default();
        println!("{case}: {last}");
    }
    let failed: Vec<u64> = failures.iter().map(|(case, _)| *case).collect();
    let (wrong, all) = (failed.len(), cases.len());
    assert!(failed.is_empty(), "{wrong} of {all} went wrong: {failed:?}");
}

/// The seeds that are wanted: some, or so many.
fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seeds) => seeds.split(',').map(|seed| seed.parse().unwrap()).collect(),
        Err(_) => (1..=number("SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

#[test]
fn simulation_of_histories_with_faults_and_crashes() {
    let again = |seed| format!("SEED={seed} tests/run simulation_of_histories");
    try_all(&seeds(), again, happen);
}

/// A run that ends at its step of that number, as the first run of a relay or as a later one, and what follows.
fn crashed_at(step: u64, crash: Crash, is_first: bool) -> Result<Ended, String> {
    let mut story = Story::new(Nested::Flatten);
    story.history.crashes = vec![crash];
    let site = story.history.site.clone();
    let mut how = Ended::Crashed;
    let course = async {
        if !is_first {
            story.history.run(Mode::Full, None).await?;
            story.goes_on();
        }
        how = story.history.run(Mode::Full, Some(step)).await?;
        story.history.come_to_rest().await
    };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime().block_on(course)));
    told(&site, ended).map(|()| how)
}

/// Lets the process end at each of its steps in turn, until there are no more.
fn crash_at_every_step(name: &str, crash: Crash) {
    for is_first in [true, false] {
        let last = AtomicU64::new(0);
        let again = |step| format!("STEP={step} tests/run {name}");
        let steps = match number("STEP") {
            Some(step) => vec![step],
            None => (1..=STEPS_MAX).collect(),
        };
        try_all(&steps, again, |step| {
            if last.load(Ordering::Relaxed) > 0 {
                return Ok(()); // the run is shorter
            }
            if crashed_at(step, crash, is_first)? != Ended::Crashed {
                last.store(step, Ordering::Relaxed);
            }
            Ok(())
        });
        let last = last.into_inner();
        println!("first run: {is_first}; it has {last} steps");
        assert!(last > 50 || steps.len() == 1, "a run of {last} steps");
    }
}

#[test]
fn simulation_of_a_kill_at_every_step() {
    crash_at_every_step("simulation_of_a_kill", Crash::Kill);
}

#[test]
fn simulation_of_a_power_loss_at_every_step() {
    crash_at_every_step("simulation_of_a_power_loss", Crash::PowerLoss);
}
