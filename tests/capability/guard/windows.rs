//! Limits over a day, and plans that are older than the directory.

use std::time::Duration;

use super::{approve, dn, plan, waiting};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::slapd::{PEOPLE, SUFFIX, Slapd};
use crate::support::world::World;
use crate::truth::relay;

fn inactive(target: &FaultTarget) -> usize {
    let users = target.target().users().into_iter();
    users.filter(|user| user["active"] == false).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guard_a_slow_bleed_waits_when_a_day_s_limit_is_reached() {
    let slapd = Slapd::with(&World::new(12, 200, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    for (at, number) in (0..10).enumerate() {
        slapd.delete(&dn(number));
        relay.sync().completed();
        assert_eq!(inactive(&target), at + 1);
    }
    slapd.delete(&dn(10));
    let job = waiting(&relay.sync());
    assert_eq!(inactive(&target), 10, "10 of 200 are the limit of a day");
    let told = plan(&relay, &job)["holds"].to_string();
    assert!(told.contains("after 10 in the last 24 hours"), "{told}");
    // What a person wanted does not count: the eleventh goes, and the twelfth waits all the same.
    assert_eq!(approve(&relay, &job).job["status"], "completed");
    assert_eq!(inactive(&target), 11);
    // Joiners, and changes of others, never wait for that.
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: sn\nsn: Other\n",
        dn(50)
    ));
    assert_eq!(relay.sync().completed().writes(), 1);
    slapd.delete(&dn(11));
    waiting(&relay.sync());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guard_an_approved_plan_leaves_out_whoever_is_back() {
    let elsewhere = format!("ou=elsewhere,{SUFFIX}");
    let unit = format!("dn: {elsewhere}\nobjectClass: organizationalUnit\nou: elsewhere\n\n");
    let slapd = Slapd::with(&format!("{}\n{unit}", World::new(13, 60, 3).ldif()));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    for number in 0..8 {
        let rdn = format!("uid=u{number:07}");
        slapd.modrdn(&dn(number), &rdn, Some(&elsewhere));
    }
    let job = waiting(&relay.sync());
    // One is back before the approval, and a run has seen it; another one is back, and none has.
    let back = |number: usize| {
        let rdn = format!("uid=u{number:07}");
        slapd.modrdn(&format!("{rdn},{elsewhere}"), &rdn, Some(PEOPLE));
    };
    back(0);
    relay.sync().completed();
    back(1);
    let applied = approve(&relay, &job);
    assert_eq!(
        applied.job["status"], "completed_with_errors",
        "{applied:?}"
    );
    assert_eq!(applied.count("usersDeactivated"), 6);
    assert_eq!(inactive(&target), 6);
    relay.sync().completed();
    assert_eq!(relay.sync().completed().writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guard_an_undo_leaves_alone_what_a_later_job_changed() {
    let slapd = Slapd::with(&World::new(14, 40, 2).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let call = |number: usize, title: &str| {
        let dn = dn(number);
        slapd.modify(&format!(
            "dn: {dn}\nchangetype: modify\nreplace: sn\nsn: {title}\n"
        ));
    };
    call(1, "First");
    call(2, "First");
    let run = relay.sync().completed();
    let job = run.job["id"].as_str().unwrap();
    call(2, "Second");
    relay.sync().completed();
    let undone = super::jobs(&relay, &["undo", job]);
    assert_eq!(undone.job["status"], "completed_with_errors", "{undone:?}");
    assert_eq!(undone.count("usersUpdated"), 1);
    assert!(
        undone.job["errors"].to_string().contains("a later job"),
        "{undone:?}"
    );
    let names = |name: &str| {
        let users = target.target().users().into_iter();
        users
            .filter(|user| user["name"]["familyName"] == name)
            .count()
    };
    assert_eq!((names("First"), names("Second")), (0, 1));
    assert_eq!(relay.sync().completed().writes(), 0, "undone stays undone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guard_an_approved_plan_that_meets_no_target_waits_again() {
    let slapd = Slapd::with(&World::new(15, 60, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    (0..8).for_each(|number| slapd.delete(&dn(number)));
    let job = waiting(&relay.sync());
    let refused = Fault::StatusAfter(Duration::ZERO, 401);
    target.set_rules(vec![Rule::on("PATCH", "/Users", refused)]);
    let refused = approve(&relay, &job);
    assert_eq!(waiting(&refused), job, "{refused:?}");
    assert!(
        refused.job["warnings"]
            .to_string()
            .contains("approve it once more"),
        "{refused:?}"
    );
    // Runs in between leave alone what waits.
    target.set_rules(Vec::new());
    assert_eq!(relay.sync().completed().writes(), 0);
    assert_eq!(inactive(&target), 0);
    let applied = approve(&relay, &job);
    assert_eq!(applied.count("usersDeactivated"), 8, "{applied:?}");
    assert_eq!(inactive(&target), 8);
    assert_eq!(relay.sync().completed().writes(), 0);
}
