//! Conflicts: somebody changed at the target what the directory says too, and the profile says whose value counts.

mod decisions;
mod table;

use serde_json::{Value, json};

use crate::linking::edit;
use crate::support::fault_target::{Exchange, FaultTarget};
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{PEOPLE, Slapd};

fn dn(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

fn user(target: &FaultTarget, number: usize) -> Value {
    let name = format!("u{number:07}");
    target.target().user_named(&name).unwrap()
}

/// Changes a user as an administrator of the target would.
fn edit_user(target: &FaultTarget, number: usize, operation: Value) {
    let id = user(target, number)["id"].as_str().unwrap().to_owned();
    edit(target, &format!("/Users/{id}"), json!([operation]));
}

/// Gives the person of that number another value in the directory, or none.
fn say(slapd: &Slapd, number: usize, attribute: &str, value: Option<&str>) {
    let value = value.map_or(String::new(), |value| format!("{attribute}: {value}\n"));
    let dn = dn(number);
    slapd.modify(&format!(
        "dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{value}"
    ));
}

fn run(relay: &Relay, mode: &str) -> Finished {
    let run = relay.spawn(&["sync", "--mode", mode, "--output", "json"]);
    run.wait().completed()
}

fn preview(relay: &Relay) -> Finished {
    relay.spawn(&["preview", "--output", "json"]).wait()
}

/// The requests that read one resource, among those after the first so many.
fn reads_of_one(target: &FaultTarget, after: usize) -> usize {
    let of_one = |exchange: &&Exchange| {
        let call = &exchange.call;
        let mut parts = call.path.trim_matches('/').split('/');
        let kind = parts.next().unwrap_or_default();
        call.method == "GET" && matches!(kind, "Users" | "Groups") && parts.next().is_some()
    };
    target.journal()[after..].iter().filter(of_one).count()
}
