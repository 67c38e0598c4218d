//! Attributes that the target takes without a word and does not keep.

use serde_json::json;

use super::{dn, user};
use crate::linking::edit;
use crate::support::fault_target::{FaultTarget, Settings};
use crate::support::slapd::Slapd;
use crate::support::world::World;
use crate::truth::{assert_only_ours, relay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_does_not_keep_an_attribute_is_not_patched_for_ever() {
    let slapd = Slapd::with(&World::new(11, 8, 0).ldif());
    let settings = Settings {
        unkept: &["phoneNumbers"],
        ..Settings::default()
    };
    let target = FaultTarget::start_with(Vec::new(), settings).await;
    let relay = relay(&slapd, &target).directory("guard = { attributeChanges = 100 }");
    (0..4).for_each(|number| call(&slapd, number, "+49 30 1"));
    let without = (4..8).map(|number| {
        format!(
            "dn: {}\nchangetype: modify\nreplace: telephoneNumber\n",
            dn(number)
        )
    });
    slapd.modify(&without.collect::<Vec<_>>().join("\n"));
    relay.sync().completed();
    assert_eq!(relay.sync().completed().writes(), 0);
    let reconciled = || {
        let arguments = ["sync", "--mode", "reconcile", "--output", "json"];
        let run = relay.spawn(&arguments).wait().completed();
        let warned = run.job["warnings"]
            .to_string()
            .contains("omittedAttributes");
        (run.count("usersUpdated"), warned)
    };
    let runs: Vec<_> = (0..4).map(|_| reconciled()).collect();
    assert_eq!(runs, [(4, false), (4, false), (0, true), (0, true)]);
    assert_eq!(relay.sync().completed().writes(), 0);

    // What the directory says anew is sent, and other drift is repaired as ever.
    call(&slapd, 1, "+49 30 2");
    assert_eq!(relay.sync().completed().writes(), 1);
    let edited = user(&target, 2)["id"].as_str().unwrap().to_owned();
    let runs: Vec<_> = (0..3)
        .map(|run| {
            let name =
                json!([{"op": "replace", "path": "displayName", "value": format!("Edited {run}")}]);
            edit(&target, &format!("/Users/{edited}"), name);
            reconciled().0
        })
        .collect();
    assert_eq!(runs, [2, 2, 1]);
    assert_only_ours(&target, "not kept");
}

/// Gives the person of that number a telephone number.
fn call(slapd: &Slapd, number: usize, phone: &str) {
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: telephoneNumber\ntelephoneNumber: {phone}\n",
        dn(number)
    ));
}
