//! The seeded simulation: the engine itself between a scripted directory and a scripted target, on a disk that forgets.
//!
//! Each seed is a history: entries come, change, leave and return, groups too, the configuration is edited, both sides fail, other
//! people work at the target, and the process ends in the middle of a step. Every request is held against what is true at that
//! moment, and at the end the target is compared with a model of what it shall hold, which knows nothing of the relay's planning.
//!
//! `SEEDS=50000 tests/run simulation` tries more of them, `SEED=123 tests/run simulation` one again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod changes;
mod directory;
mod disk;
mod expected;
mod history;
mod random;
mod rules;
mod site;
mod stories;
mod target;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Crash;
use crate::history::History;

/// Histories unless SEEDS says otherwise.
const SEEDS: u64 = 2_000;
/// Failures that are shown; the others are counted.
const SHOWN: usize = 3;
/// Seeds that once failed: each found a mistake.
const FOUND: &[u64] = &[];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

/// Lets one history happen; answers what is wrong, with the whole course.
fn happen(seed: u64, crashes: &[Crash]) -> Result<(), String> {
    let mut history = History::new(seed, crashes);
    let site = history.site.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(history.happen())));
    let wrong = match ended {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(wrong)) => wrong,
        Err(_) => "a panic".to_owned(),
    };
    Err(format!("{}\n\n{wrong}", site.trace()))
}

/// Lets the histories of many seeds happen on all processors.
fn happen_all(name: &str, seeds: &[u64], crashes: &[Crash]) {
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(seed) = seeds.get(at) else { return };
                    if let Err(wrong) = happen(*seed, crashes) {
                        failures.lock().unwrap().push((*seed, wrong));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    for (seed, wrong) in failures.iter().take(SHOWN) {
        println!("{wrong}\n\nagain: SEED={seed} tests/run {name}\n");
    }
    for (seed, wrong) in &failures {
        let last = wrong.rsplit("\n\n").next().unwrap_or_default();
        println!("seed {seed}: {last}");
    }
    let failed: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    assert!(
        failed.is_empty(),
        "{} of {} histories went wrong: {failed:?}",
        failed.len(),
        seeds.len()
    );
}

/// The seeds that are wanted: one, or so many and those that once failed.
fn seeds() -> Vec<u64> {
    match number("SEED") {
        Some(seed) => vec![seed],
        None => {
            let many = 1..=number("SEEDS").unwrap_or(SEEDS);
            many.chain(FOUND.iter().copied()).collect()
        }
    }
}

#[test]
fn simulation_of_histories_with_faults_and_kills() {
    happen_all(
        "simulation_of_histories",
        &seeds(),
        &[Crash::Kill, Crash::PowerLoss],
    );
}
