//! What becomes of the accounts of those who are gone: set inactive, deleted, both or neither, as the profile says.

use serde_json::Value;

use crate::outcomes::disable;
use crate::support::fault_target::{Exchange, Fault, FaultTarget, RetryAfter, Rule};
use crate::support::relay::Relay;
use crate::support::slapd::{PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::{relay, writes};

fn dn(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

/// The accounts of a login name.
fn accounts(target: &FaultTarget, number: usize) -> Vec<Value> {
    let users = target.target().users().into_iter();
    users
        .filter(|user| user["userName"] == format!("u{number:07}"))
        .collect()
}

/// What was sent since, as methods.
fn methods(target: &FaultTarget, from: usize) -> Vec<String> {
    let journal = target.journal().into_iter().skip(from);
    let sent = journal.filter(|exchange: &Exchange| exchange.call.method != "GET");
    sent.map(|exchange| exchange.call.method.clone()).collect()
}

fn between(slapd: &Slapd, target: &FaultTarget, deprovisioning: &str) -> Relay {
    relay(slapd, target).directory(&format!("deprovisioning = \"{deprovisioning}\""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deprovisioning_is_as_the_profile_says() {
    for (word, sent, kept) in [
        ("deactivate", &["PATCH"][..], true),
        ("delete", &["DELETE"], false),
        ("both", &["PATCH", "DELETE"], false),
        ("never", &[], true),
    ] {
        let world = World::new(3, 12, 0);
        let slapd = Slapd::with(&world.ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = between(&slapd, &target, word);
        relay.sync().completed();
        // Whoever is disabled is set inactive, whatever the word.
        disable(&slapd, 1);
        relay.sync().completed();
        assert_eq!(accounts(&target, 1)[0]["active"], false, "{word}");

        let before = target.journal().len();
        slapd.delete(&dn(2));
        let run = relay.sync().completed();
        assert_eq!(methods(&target, before), sent, "{word}");
        assert_eq!(
            run.count("usersDeactivated"),
            u64::from(!sent.is_empty()),
            "{word}"
        );
        let left = accounts(&target, 2);
        assert_eq!(left.len(), usize::from(kept), "{word}");
        assert!(
            left.iter().all(|user| user["active"] == (word == "never")),
            "{word}"
        );
        assert_eq!(relay.sync().completed().writes(), 0, "{word}");

        // Who comes back, as another entry, gets an account where there is none.
        if !kept {
            slapd.add(&world.people[2].ldif());
            relay.sync().completed();
            assert_eq!(accounts(&target, 2).len(), 1, "{word}");
            assert_eq!(accounts(&target, 2)[0]["active"], true, "{word}");
            assert_eq!(relay.sync().completed().writes(), 0, "{word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deprovisioning_by_deletion_is_guarded_and_begins_only_with_the_word() {
    let slapd = Slapd::with(&World::new(4, 20, 2).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = between(&slapd, &target, "both");
    relay.sync().completed();
    let before = writes(&target).len();
    for number in 0..6 {
        slapd.delete(&dn(number));
    }
    let run = relay.sync();
    assert_eq!(run.job["status"], "awaiting_approval", "{run:?}");
    assert_eq!(writes(&target).len(), before, "{run:?}");
    assert_eq!(target.target().users().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deprovisioning_that_the_target_refuses_still_ends_access() {
    let slapd = Slapd::with(&World::new(5, 8, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = between(&slapd, &target, "delete");
    relay.sync().completed();
    let refused = Fault::Status {
        code: 403,
        scim_type: None,
        detail: "users are never deleted here",
        numeric: false,
    };
    target.set_rules(vec![Rule::on("DELETE", "/Users", refused)]);
    slapd.delete(&dn(3));
    let run = relay.sync();
    assert_eq!((run.code, run.count("errorCount")), (Some(3), 1), "{run:?}");
    assert_eq!(accounts(&target, 3)[0]["active"], false, "{run:?}");
    // The next run tries again, and nobody has to be deactivated twice.
    let before = target.journal().len();
    relay.sync();
    assert_eq!(methods(&target, before), ["DELETE"]);
    target.set_rules(Vec::new());
    relay.sync().completed();
    assert!(accounts(&target, 3).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deprovisioning_without_an_answer_is_looked_at() {
    let slapd = Slapd::with(&World::new(6, 8, 2).ldif());
    let lost = Rule::on("DELETE", "/Users", Fault::ApplyThenDrop);
    let off = Rule::on("DELETE", "/Users", Fault::Throttle(RetryAfter::Seconds(1))).first(1);
    for rule in [lost, off] {
        let target = FaultTarget::start(vec![rule]).await;
        let relay = between(&slapd, &target, "delete");
        relay.sync().completed();
        let users = target.target().users().len();
        slapd.delete(&dn(users - 1));
        relay.sync();
        relay.sync().completed();
        assert_eq!(target.target().users().len(), users - 1);
        assert_eq!(relay.sync().completed().writes(), 0);
    }
}
