//! A target that fails at large: what fails is left to the next run, and nobody waits for it.

use std::time::Duration;

use super::{change_mail, disable, dn};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::slapd::Slapd;
use crate::support::wait_for;
use crate::support::world::World;
use crate::truth::{assert_settled, deactivates, relay, writes};

const CONCURRENCY: usize = 4;

fn refused() -> Fault {
    Fault::Status {
        code: 400,
        scim_type: Some("invalidValue"),
        detail: "not like this",
        numeric: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_refuses_each_update_is_not_asked_for_all_of_them_and_the_others_go_out() {
    let slapd = Slapd::with(&World::new(11, 60, 2).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target).tenant(&format!("concurrency = {CONCURRENCY}"));
    relay.sync().completed();
    let names_mail = |call: &scim_relay::demo::target::answer::Call| {
        call.body
            .as_ref()
            .is_some_and(|body| body.to_string().contains("emails"))
    };
    target.set_rules(vec![
        Rule::on("PATCH", "/Users", refused()).matching(names_mail),
    ]);
    (0..60).for_each(|number| change_mail(&slapd, number, &format!("new{number}@example.org")));
    let (mut before, mut tried) = (target.journal().len(), Vec::new());
    for run in 0..4 {
        // Somebody leaves and somebody comes, each time.
        disable(&slapd, run);
        slapd.add(&format!(
            "dn: {}\nobjectClass: inetOrgPerson\nuid: u{:07}\ncn: New\nsn: New\n",
            dn(100 + run),
            100 + run
        ));
        let finished = relay.sync();
        assert_eq!(finished.code, Some(3), "run {run}: {finished:?}");
        let counts = ["usersDeactivated", "usersCreated"].map(|name| finished.count(name));
        assert_eq!(counts, [1, 1], "run {run}: {finished:?}");
        let errors = finished.job["errors"].as_array().unwrap();
        let of_job: Vec<&str> = errors
            .iter()
            .filter(|error| error["kind"] == "job")
            .map(|error| error["detail"].as_str().unwrap())
            .collect();
        let journal = target.journal();
        tried.push(
            journal[before..]
                .iter()
                .filter(|exchange| exchange.sent == Some(400))
                .count(),
        );
        before = journal.len();
        // Behind those that are known to fail, until there are no more.
        let expected = [1..2, 1..2, 0..2, 0..1];
        assert!(
            expected[run].contains(&of_job.len()),
            "run {run}: {errors:?}"
        );
        for detail in of_job {
            assert!(
                detail.contains("of `update` failed") && detail.contains("not like this"),
                "run {run}: {detail}"
            );
        }
    }
    assert!(
        (20..20 + CONCURRENCY).contains(&tried[0]) && tried.is_sorted() && tried[1] >= 38,
        "{tried:?}"
    );

    target.set_rules(Vec::new());
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "taken");
    assert_eq!(
        writes(&target)
            .iter()
            .filter(|write| deactivates(write))
            .count(),
        4
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_goes_away_in_the_middle_ends_the_run_which_says_so() {
    let slapd = Slapd::with(&World::new(11, 60, 0).ldif());
    let slow = Fault::Slow(Duration::from_millis(100));
    let target = FaultTarget::start(vec![Rule::on("POST", "/Users", slow)]).await;
    let relay = relay(&slapd, &target).tenant("concurrency = 2");
    let run = relay.spawn_sync();
    wait_for("some users", Duration::from_secs(30), || {
        (target.target().users().len() >= 6).then_some(())
    });
    drop(target);
    let ended = run.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let errors = ended.job["errors"].as_array().unwrap();
    let of_job: Vec<_> = errors
        .iter()
        .filter(|error| error["kind"] == "job")
        .collect();
    let detail = of_job[0]["detail"].as_str().unwrap();
    assert!(
        of_job.len() == 1
            && detail.contains("could not be reached")
            && detail.contains("SCIM base URL"),
        "{errors:?}"
    );
    // Those under way, and no more.
    assert!(errors.len() <= 10, "{errors:?}");
}
