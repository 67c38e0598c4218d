//! Another tenant behind the same address, or a target that was restored from an old copy: what is linked is not there.

use scim_relay::demo::target::answer::Call;
use serde_json::{Value, json};

use super::{change_mail, disable, user};
use crate::linking::edit;
use crate::support::fault_target::FaultTarget;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::Slapd;
use crate::support::world::World;
use crate::truth::{assert_only_ours, assert_settled, deactivates, relay, writes};

fn reconcile(relay: &Relay) -> Finished {
    let arguments = ["sync", "--mode", "reconcile", "--output", "json"];
    relay.spawn(&arguments).wait()
}

fn remove_all(target: &FaultTarget, most: usize) {
    for (kind, resources) in [
        ("Users", target.target().users()),
        ("Groups", target.target().groups()),
    ] {
        for resource in resources.into_iter().take(most) {
            let path = format!("/{kind}/{}", resource["id"].as_str().unwrap());
            let answer = target.target().handle(Call::new("DELETE", &path));
            assert_eq!(answer.status, 204);
        }
    }
}

/// The run stopped before it sent anything, and says what may be wrong and the cure.
fn assert_stopped(run: &Finished, context: &str) {
    assert_eq!(run.code, Some(1), "{context}: {run:?}");
    let errors = run.job["errors"].as_array().unwrap();
    assert_eq!(
        (errors.len(), &errors[0]["kind"], &errors[0]["fault"]),
        (1, &json!("job"), &json!("denied")),
        "{context}: {errors:?}"
    );
    let detail = errors[0]["detail"].as_str().unwrap();
    for words in ["another tenant", "credentials", "guard.foundPercent"] {
        assert!(
            detail.contains(words),
            "{context}: no `{words}` in {detail}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_without_what_is_linked_gets_nothing_and_no_leaver_counts_as_done_there() {
    let slapd = Slapd::with(&World::new(11, 30, 3).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    remove_all(&target, usize::MAX);
    let before = writes(&target).len();
    disable(&slapd, 4);
    change_mail(&slapd, 5, "moved@example.org");
    for run in 1..=2 {
        assert_stopped(&relay.sync(), &format!("run {run}"));
        assert_stopped(&reconcile(&relay), &format!("reconciling run {run}"));
    }
    assert_eq!(writes(&target).len(), before);

    // It was meant: everything is created again.
    let relay = relay.directory("guard = { foundPercent = 0 }");
    let meant = reconcile(&relay);
    assert_eq!(meant.count("usersCreated"), 29, "{meant:?}");
    assert_settled(&slapd, &target, &relay, "created again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_with_strangers_under_our_ids_gets_nothing() {
    let slapd = Slapd::with(&World::new(11, 30, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let given: Vec<(String, Value)> = (0..30)
        .map(|number| user(&target, number))
        .map(|user| {
            let path = format!("/Users/{}", user["id"].as_str().unwrap());
            (path, user["externalId"].clone())
        })
        .collect();
    let replace = |path: &str, value: Value| {
        let change = json!([{"op": "replace", "path": "externalId", "value": value}]);
        edit(&target, path, change);
    };
    for (number, (path, _)) in given.iter().enumerate() {
        replace(path, json!(format!("hr-{number}")));
    }
    let before = writes(&target).len();
    disable(&slapd, 4);
    for run in 1..=2 {
        assert_stopped(&reconcile(&relay), &format!("run {run}"));
    }
    assert_eq!(writes(&target).len(), before);
    assert_eq!(user(&target, 4)["active"], true);
    assert_only_ours(&target, "strangers");

    // The right one is back.
    for (path, external_id) in given {
        replace(&path, external_id);
    }
    reconcile(&relay).completed();
    assert_eq!(
        writes(&target)
            .iter()
            .filter(|write| deactivates(write))
            .count(),
        1
    );
    assert_settled(&slapd, &target, &relay, "back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_lost_a_few_of_many_gets_them_again_and_one_that_lost_more_does_not() {
    for (lost, stops) in [(7, false), (8, true)] {
        let slapd = Slapd::with(&World::new(11, 75, 0).ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();
        remove_all(&target, lost);
        let run = reconcile(&relay);
        if stops {
            assert_stopped(&run, "one in nine");
        } else {
            assert_eq!(
                (run.code, run.count("usersCreated")),
                (Some(3), lost as u64),
                "{run:?}"
            );
            assert_settled(&slapd, &target, &relay, "a few");
        }
    }
}
