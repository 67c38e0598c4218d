//! Everything that can go wrong with an answer, by chance, at once.

use super::{change_mail, created, disable};
use crate::support::fault_target::{Fault, FaultTarget, RetryAfter, Rule, Settings};
use crate::support::slapd::Slapd;
use crate::support::world::World;
use crate::truth::{assert_settled, differences, relay};

const USERS: usize = 300;

fn by_chance() -> Vec<Rule> {
    let failed = Fault::Status {
        code: 500,
        scim_type: None,
        detail: "try again",
        numeric: true,
    };
    let mut rules = Vec::new();
    for method in ["POST", "PATCH"] {
        for (share, fault) in [
            (0.04, Fault::ApplyThenDrop),
            (0.04, Fault::ApplyThenStatus(502)),
            (0.02, Fault::ApplyThenStatus(500)),
            (0.02, Fault::ApplyThenStatus(504)),
            (0.01, Fault::DropBefore),
            (0.01, failed.clone()),
            (0.01, Fault::Html),
            (0.01, Fault::Throttle(RetryAfter::Absent)),
        ] {
            rules.push(Rule::on(method, "/", fault).probability(share));
        }
    }
    for (share, fault) in [(0.04, Fault::CreatedWithoutId), (0.04, Fault::Accepted202)] {
        rules.push(Rule::on("POST", "/", fault).probability(share));
    }
    for (share, fault) in [(0.02, Fault::DropBefore), (0.02, failed)] {
        rules.push(Rule::on("GET", "/", fault).probability(share));
    }
    rules
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_and_an_update_through_random_faults_need_two_runs_at_most() {
    let seed = 20_250_302;
    let world = World::new(seed, USERS, 12);
    let slapd = Slapd::with(&world.ldif());
    let settings = Settings {
        seed,
        ..Settings::default()
    };
    let target = FaultTarget::start_with(by_chance(), settings).await;
    let relay = relay(&slapd, &target).tenant("concurrency = 8");
    let groups = world.all_groups().count() + 1;

    let converge = |what: &str| {
        let first = relay.sync();
        if !differences(&slapd, &target).is_empty() {
            let second = relay.sync();
            let wrong = differences(&slapd, &target);
            assert!(
                wrong.is_empty(),
                "seed {seed}, {what}: {wrong:#?}\nfirst {first:?}\nsecond {second:?}"
            );
        }
    };
    converge("first load");
    assert_eq!(
        (created(&target, "/Users"), created(&target, "/Groups")),
        (USERS, groups)
    );
    (0..60).for_each(|number| change_mail(&slapd, number, &format!("new{number}@example.org")));
    (60..70).for_each(|number| disable(&slapd, number));
    converge("update");

    target.set_rules(Vec::new());
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "no faults any more");
    assert_eq!(
        (created(&target, "/Users"), created(&target, "/Groups")),
        (USERS, groups)
    );
}
