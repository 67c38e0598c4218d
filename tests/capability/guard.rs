//! What is too large to go by itself waits for a person: it is read, approved by its digest, rejected, and undone.

mod api;
mod story;
mod windows;

use serde_json::Value;

use crate::support::relay::{Finished, Relay};
use crate::support::slapd::PEOPLE;

/// The DN of a person of the small world.
fn dn(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

/// Runs `jobs` with these arguments.
fn jobs(relay: &Relay, arguments: &[&str]) -> Finished {
    let arguments = [&["jobs"], arguments, &["--output", "json"]].concat();
    relay.spawn(&arguments).wait()
}

/// The id of a run's job, which waits.
fn waiting(run: &Finished) -> String {
    assert_eq!(run.code, Some(4), "{run:?}");
    assert_eq!(run.job["status"], "awaiting_approval", "{run:?}");
    run.job["id"].as_str().unwrap().to_owned()
}

/// The plan of a job, with its steps under `items`.
fn plan(relay: &Relay, job: &str) -> Value {
    let shown = jobs(relay, &["plan", job]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    shown.job
}

/// Approves what waits with a job, as somebody who read the plan.
fn approve(relay: &Relay, job: &str) -> Finished {
    let digest = plan(relay, job)["digest"].as_str().unwrap().to_owned();
    jobs(relay, &["approve", job, "--digest", &digest])
}
