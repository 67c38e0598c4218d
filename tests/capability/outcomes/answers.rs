//! Answers that do not say what happened, and answers that ask to wait.

use std::time::Duration;

use super::{change_mail, created, disable, dn, six};
use crate::support::fault_target::{Fault, FaultTarget, RetryAfter, Rule, Settings};
use crate::support::slapd::{GROUPS, Options, Slapd};
use crate::support::world::World;
use crate::truth::{assert_settled, operations, relay, writes};

/// Faults of a creation after which it is not known, or is wrongly known, whether it took effect.
fn unclear() -> Vec<Fault> {
    vec![
        Fault::ApplyThenDrop,
        Fault::ApplyThenStatus(500),
        Fault::ApplyThenStatus(502),
        Fault::ApplyThenStatus(503),
        Fault::ApplyThenStatus(504),
        Fault::Slow(Duration::from_millis(2_500)),
        Fault::CreatedWithoutId,
        Fault::Accepted202,
        Fault::DropBefore,
        Fault::Status {
            code: 500,
            scim_type: None,
            detail: "try again",
            numeric: false,
        },
        Fault::Unavailable(RetryAfter::Absent),
        Fault::Html,
        Fault::NoEffect,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_with_an_unclear_answer_is_made_once() {
    let world = World::new(11, 6, 1);
    let slapd = Slapd::with(&world.ldif());
    let groups = world.all_groups().count() + 1;
    for fault in unclear() {
        let rules = vec![
            Rule::on("POST", "/Users", fault.clone()).nth(2),
            Rule::on("POST", "/Groups", fault.clone()).nth(1),
        ];
        let target = FaultTarget::start(rules).await;
        // The longest wait for an answer is the sum of the two.
        let relay =
            relay(&slapd, &target).tenant("connectTimeoutSeconds = 1\nanswerTimeoutSeconds = 1");
        let context = format!("{fault:?}");
        let first = relay.sync();
        assert_eq!(
            (first.code, first.count("usersCreated")),
            (Some(0), 6),
            "{context}: {first:?}"
        );
        assert_eq!(created(&target, "/Users"), 6, "{context}");
        assert_eq!(created(&target, "/Groups"), groups, "{context}");
        assert_settled(&slapd, &target, &relay, &context);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_shows_late_in_look_ups_is_waited_for() {
    let slapd = six();
    let settings = Settings {
        index_lag: Duration::from_millis(1_500),
        ..Settings::default()
    };
    let rule = Rule::on("POST", "/Users", Fault::ApplyThenDrop).first(3);
    let target = FaultTarget::start_with(vec![rule], settings).await;
    let relay = relay(&slapd, &target).tenant("settleSeconds = 1");
    relay.sync().completed();
    let posts = target
        .journal()
        .into_iter()
        .filter(|exchange| exchange.call.method == "POST");
    assert_eq!(posts.count(), 6, "a creation was sent twice");
    assert_settled(&slapd, &target, &relay, "index lag");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_says_how_long_to_wait_is_left_alone_until_then() {
    let slapd = six();
    let wait = Duration::from_secs(1);
    let forms = [
        RetryAfter::Seconds(1),
        RetryAfter::Date(wait),
        RetryAfter::Rfc850Date(wait),
    ];
    for form in forms {
        for fault in [Fault::Throttle(form), Fault::Unavailable(form)] {
            let target =
                FaultTarget::start(vec![Rule::on("POST", "/Users", fault.clone()).nth(3)]).await;
            // One at a time, so that no request is on its way when the target asks to wait.
            let relay = relay(&slapd, &target).tenant("concurrency = 1");
            relay.sync().completed();
            let journal = target.journal();
            let asked = journal
                .iter()
                .position(|exchange| exchange.fault.is_some())
                .unwrap();
            let waited = journal[asked + 1].at - journal[asked].at;
            assert!(
                waited >= wait,
                "{fault:?}: the next request came after {waited:?}"
            );
            assert!(
                waited < wait * 4,
                "{fault:?}: the next request came after {waited:?}"
            );
            assert_settled(&slapd, &target, &relay, &format!("{fault:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_added_once_whatever_the_answer() {
    let world = World::new(11, 6, 0);
    let group = "cn=team,ou=groups,dc=example,dc=org";
    let ldif =
        |members: &str| format!("dn: {group}\nobjectClass: groupOfNames\ncn: team\n{members}\n");
    for fault in [
        Fault::ApplyThenDrop,
        Fault::ApplyThenStatus(502),
        Fault::DropBefore,
        Fault::Html,
    ] {
        let first = ldif(&format!("member: {}", dn(0)));
        let slapd = Options::new().ldif(&world.ldif()).ldif(&first).start();
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();

        target.set_rules(vec![Rule::on("PATCH", "/Groups", fault.clone()).nth(1)]);
        let more: Vec<String> = (1..6)
            .map(|number| format!("member: {}\n", dn(number)))
            .collect();
        slapd.modify(&format!(
            "dn: {group}\nchangetype: modify\nadd: member\n{}",
            more.concat()
        ));
        let context = format!("{fault:?}");
        let update = relay.sync();
        assert_eq!(
            (update.code, update.count("membersAdded")),
            (Some(0), 5),
            "{context}: {update:?}"
        );
        let added: usize = writes(&target)
            .iter()
            .filter(|write| write.call.method == "PATCH")
            .flat_map(operations)
            .map(|operation| operation["value"].as_array().unwrap().len())
            .sum();
        assert_eq!(added, 5, "{context}: members were sent twice");
        assert_settled(&slapd, &target, &relay, &context);

        // A removal may be sent again: what is gone stays gone.
        target.set_rules(vec![Rule::on("PATCH", "/Groups", fault).nth(1)]);
        slapd.modify(&format!(
            "dn: {group}\nchangetype: modify\ndelete: member\nmember: {}\n",
            dn(3)
        ));
        let update = relay.sync().completed();
        assert_eq!(update.count("membersRemoved"), 1, "{context}");
        assert_settled(&slapd, &target, &relay, &context);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_was_acknowledged_and_not_carried_out_is_found_by_a_reconciling_run() {
    let slapd = six();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    target.set_rules(vec![Rule::on("PATCH", "/Users", Fault::NoEffect).nth(1)]);
    change_mail(&slapd, 2, "lost@example.org");
    relay.sync().completed();
    assert_eq!(
        super::user(&target, 2)["emails"][0]["value"],
        "u0000002@example.org"
    );
    assert_eq!(relay.sync().completed().writes(), 0);
    let reconciled = relay
        .spawn(&["sync", "--mode", "reconcile", "--output", "json"])
        .wait()
        .completed();
    assert_eq!(reconciled.count("usersUpdated"), 1);
    assert_settled(&slapd, &target, &relay, "reconciled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_page_or_a_redirection_instead_of_a_list_stops_the_run_before_anything_is_sent() {
    let slapd = Slapd::with(&World::new(11, 6, 0).ldif());
    let elsewhere = FaultTarget::start(Vec::new()).await;
    for fault in [
        Fault::Html,
        Fault::Redirect(format!("{}/Users", elsewhere.base_url())),
    ] {
        let target = FaultTarget::start(vec![Rule::on("GET", "/Users", fault.clone())]).await;
        let relay = relay(&slapd, &target);
        let stopped = relay.sync();
        assert_eq!(stopped.code, Some(1), "{fault:?}: {stopped:?}");
        assert_eq!(
            (stopped.writes(), writes(&target).len()),
            (0, 0),
            "{fault:?}"
        );
        assert_eq!(
            elsewhere.journal().len(),
            0,
            "{fault:?}: the redirection was followed"
        );
        let errors = stopped.job["errors"].as_array().unwrap();
        let detail = errors[0]["detail"].as_str().unwrap();
        assert!(
            errors.len() == 1 && detail.contains("SCIM base URL"),
            "{fault:?}: {errors:?}"
        );
        target.set_rules(Vec::new());
        relay.sync().completed();
        assert_settled(&slapd, &target, &relay, &format!("{fault:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_took_effect_unseen_is_taken_back_when_the_directory_goes_back() {
    let world = World::new(11, 8, 0);
    let group = format!("cn=team,{GROUPS}");
    let slapd = Slapd::with(&world.ldif());
    slapd.add(&format!(
        "dn: {group}\nobjectClass: groupOfNames\ncn: team\nmember: {}\nmember: {}\n",
        dn(1),
        dn(2)
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let members = |first: &str, second: &str| {
        slapd.modify(&format!(
            "dn: {group}\nchangetype: modify\n{first}: member\nmember: {}\n-\n{second}: member\nmember: {}\n",
            dn(2),
            dn(3)
        ));
    };

    target.set_rules(vec![Rule::on("PATCH", "/", Fault::ApplyThenStatus(502))]);
    change_mail(&slapd, 4, "for.a.moment@example.org");
    disable(&slapd, 5);
    members("delete", "add");
    let unclear = relay.sync();
    assert_eq!(unclear.code, Some(3), "{unclear:?}");
    assert_eq!(super::user(&target, 5)["active"], false);

    target.set_rules(Vec::new());
    change_mail(&slapd, 4, "u0000004@example.org");
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\ndelete: nsAccountLock\n",
        dn(5)
    ));
    members("add", "delete");
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_creation_cannot_be_looked_at_is_not_made_again() {
    let world = World::new(11, 6, 1);
    let slapd = Slapd::with(&world.ldif());
    // The look-up finds it, and reading it fails: it is known to be there, and no more.
    let failing = Rule::on("GET", "/Groups/", Fault::ApplyThenStatus(502));
    let rules = vec![
        Rule::on("POST", "/Groups", Fault::ApplyThenDrop).nth(1),
        failing,
    ];
    let target = FaultTarget::start(rules).await;
    let relay = relay(&slapd, &target);
    let first = relay.sync();
    assert_eq!(
        (first.code, &first.job["errorCount"]),
        (Some(3), &1.into()),
        "{first:?}"
    );
    target.set_rules(Vec::new());
    relay.sync().completed();
    assert_eq!(created(&target, "/Groups"), world.all_groups().count() + 1);
    assert_settled(&slapd, &target, &relay, "looked at by the next run");
}
