//! Counts the instructions of the pure rooms with valgrind, and holds them against the numbers of `counts.toml`.
//!
//! How busy the machine is does not change the number of instructions, so a few per cent more are a regression and no noise. Each
//! case has a process of its own, in which callgrind counts nothing but the calls: neither the set-up, nor another case that ran
//! before. `tests/run instructions` builds it as it must be and runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod cases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::cases::{CALLS, CASES, Case};

/// A case may take so many per cent more or less than its number. The same code takes up to 2 % more when it is built in another
/// folder.
const TOLERANCE_PERCENT: u64 = 10;

/// The C library answers all but the largest allocations from lists of their size. Else it searches and merges free pieces, which
/// depends on all that was allocated before, and on the order of hash maps: up to 10 % of a small case.
const ALLOCATION: &str = "glibc.malloc.tcache_max=65536:glibc.malloc.tcache_count=1000";

/// What `counts.toml` begins with.
const HEADER: &str = "\
# Instructions of one call of each case of cases.rs. A case that takes 10 % more fails `tests/run instructions`;
# `ACCEPT=1 tests/run instructions` writes the numbers that are further away than that. Another compiler, valgrind or C library
# counts otherwise: then nothing fails, and accepting writes all of them.
";

/// The file of numbers.
#[derive(Default, Deserialize, Serialize)]
struct Counts {
    /// The tools that they depend on.
    counted_with: String,
    /// Instructions of one call, by the case's name.
    instructions: BTreeMap<String, u64>,
}

/// What the present count of a case is to the one that is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    Same,
    More,
    Less,
    New,
}

fn compared(kept: Option<u64>, now: u64) -> Compared {
    match kept {
        None => Compared::New,
        Some(kept) if now * 100 > kept * (100 + TOLERANCE_PERCENT) => Compared::More,
        Some(kept) if now * 100 < kept * (100 - TOLERANCE_PERCENT) => Compared::Less,
        Some(_) => Compared::Same,
    }
}

fn main() -> ExitCode {
    // Cargo says `--bench`; a case is named by the process that counts it.
    let named = std::env::args().nth(1).filter(|name| name != "--bench");
    match named {
        Some(name) => {
            let case = CASES.iter().find(|case| case.name == name);
            run(case.expect("a case of this name"));
            ExitCode::SUCCESS
        }
        None => report(),
    }
}

/// The calls of a case, after a first one that fills what is filled once.
fn run(case: &Case) {
    let mut call = (case.prepare)();
    call();
    instructions_counted_here(&mut *call);
}

/// Callgrind counts from the start of this function to its end, which it knows by the name.
#[inline(never)]
fn instructions_counted_here(call: &mut dyn FnMut()) {
    for _ in 0..CALLS {
        call();
    }
}

/// Where callgrind writes where the instructions of a case are spent.
fn profile(case: &Case) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.callgrind", case.name))
}

/// The instructions of one call.
fn count(case: &Case) -> u64 {
    let profile = profile(case);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*instructions_counted_here*")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe().unwrap())
        .arg(case.name)
        .env_clear()
        .env("PATH", path)
        .env("GLIBC_TUNABLES", ALLOCATION)
        .output()
        .unwrap_or_else(|error| panic!("valgrind does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", case.name);
    let text = std::fs::read_to_string(&profile).unwrap();
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    let calls = u64::try_from(CALLS).unwrap();
    match total.map(|total| total / calls) {
        Some(count) if count > 0 => count,
        _ => panic!("{}: callgrind counted nothing: {said}", case.name),
    }
}

/// Counts all cases, as many at a time as there are processors.
fn count_all() -> BTreeMap<String, u64> {
    let waiting = Mutex::new(CASES.iter());
    let counted = Mutex::new(BTreeMap::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(case) = next else { return };
                    let count = count(case);
                    let name = case.name.to_owned();
                    let twice = counted.lock().unwrap().insert(name, count);
                    assert!(twice.is_none(), "there are two cases {}", case.name);
                }
            });
        }
    });
    counted.into_inner().unwrap()
}

/// The tools whose versions the numbers depend on.
fn tools() -> String {
    let said = |command: &str, arguments: &[&str]| {
        let output = Command::new(command).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{command} does not start: {error}"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    [
        said("rustc", &["--version"]),
        said("valgrind", &["--version"]),
        said("getconf", &["GNU_LIBC_VERSION"]),
        std::env::consts::ARCH.to_owned(),
        vectors().to_owned(),
    ]
    .join(", ")
}

/// What searching and copying bytes is done with, as far as valgrind knows it.
fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "avx2";
    }
    "no avx2"
}

fn path_of_counts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions/counts.toml")
}

fn kept_counts() -> Counts {
    match std::fs::read_to_string(path_of_counts()) {
        Ok(text) => toml::from_str(&text).expect("counts.toml can be read"),
        Err(_) => Counts::default(),
    }
}

/// Counts, says what came out, and fails where a case takes more than its number; or writes the numbers, if that is wanted.
fn report() -> ExitCode {
    let kept = kept_counts();
    let tools = tools();
    let comparable = kept.counted_with == tools;
    let now = count_all();
    let mut failures = Vec::new();
    for case in CASES {
        let (kept, now) = (kept.instructions.get(case.name).copied(), now[case.name]);
        println!("{:<28} {now:>9}  {}", case.name, difference(kept, now));
        let words = match compared(kept, now) {
            Compared::Same => continue,
            Compared::Less => {
                println!("    fewer than are kept: ACCEPT=1 tests/run instructions");
                continue;
            }
            Compared::New => format!("{}: {now} instructions, and no number is kept", case.name),
            Compared::More => format!(
                "{}: {now} instructions, {} are kept: {}. Where they are spent: callgrind_annotate {}",
                case.name,
                kept.unwrap_or_default(),
                difference(kept, now),
                profile(case).display()
            ),
        };
        failures.push(words);
    }
    let gone = kept.instructions.keys();
    let gone = gone.filter(|name| !now.contains_key(*name));
    failures
        .extend(gone.map(|name| format!("{name}: a number is kept, and there is no such case")));
    if std::env::var_os("ACCEPT").is_some_and(|word| !word.is_empty()) {
        accept(&kept, now, tools);
        return ExitCode::SUCCESS;
    }
    if !comparable {
        println!(
            "Nothing is compared: the numbers were counted with {}, and this is {tools}",
            kept.counted_with
        );
        return ExitCode::SUCCESS;
    }
    for failure in &failures {
        println!("FAILED {failure}");
    }
    if failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("If that is meant: ACCEPT=1 tests/run instructions");
    ExitCode::FAILURE
}

/// How much more or less it is, for people.
fn difference(kept: Option<u64>, now: u64) -> String {
    match kept {
        None => "new".to_owned(),
        Some(kept) => format!("{:+.1} %", (now as f64 / kept as f64 - 1.0) * 100.0),
    }
}

/// Writes the numbers. Those that are near enough stay, so that many small steps cannot go unnoticed.
fn accept(kept: &Counts, mut now: BTreeMap<String, u64>, tools: String) {
    for (name, count) in &mut now {
        let before = kept.instructions.get(name).copied();
        if kept.counted_with == tools && compared(before, *count) == Compared::Same {
            *count = before.unwrap_or(*count);
        }
    }
    let counts = Counts {
        counted_with: tools,
        instructions: now,
    };
    let text = toml::to_string(&counts).unwrap();
    std::fs::write(path_of_counts(), format!("{HEADER}{text}")).unwrap();
    println!("The numbers are in tests/instructions/counts.toml");
}
