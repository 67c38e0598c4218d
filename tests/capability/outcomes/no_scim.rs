//! Answers that are not SCIM, or are given before the work is done, to each kind of request.

use super::{change_mail, created, disable, six};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::truth::{assert_settled, relay, writes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_answers_to_changes_that_are_no_scim_are_not_believed() {
    let elsewhere = FaultTarget::start(Vec::new()).await;
    let redirect = Fault::Redirect(format!("{}/Users", elsewhere.base_url()));
    for (fault, code, effects) in [
        (Fault::Html, 3, 0),
        (redirect, 1, 0),
        (Fault::Accepted202, 3, 2),
    ] {
        let context = format!("{fault:?}");
        let slapd = six();
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();
        target.set_rules(vec![Rule::on("PATCH", "/Users", fault)]);
        change_mail(&slapd, 1, "new@example.org");
        disable(&slapd, 2);
        let before = writes(&target).len();
        let run = relay.sync();
        assert_eq!(run.code, Some(code), "{context}: {run:?}");
        assert_eq!(
            run.count("usersUpdated") + run.count("usersDeactivated"),
            0,
            "{context}: {run:?}"
        );
        let changed: std::collections::BTreeSet<String> = writes(&target)[before..]
            .iter()
            .map(|write| write.call.path.clone())
            .collect();
        assert_eq!(changed.len(), effects, "{context}");
        let before = writes(&target).len();
        target.set_rules(Vec::new());
        relay.sync().completed();
        // What was accepted and is done by now is looked at, and not sent again.
        assert_eq!(writes(&target).len() - before, 2 - effects, "{context}");
        assert_settled(&slapd, &target, &relay, &context);
    }
    assert_eq!(elsewhere.journal().len(), 0, "a redirection was followed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_look_ups_that_are_no_scim_do_not_mean_that_nobody_is_there() {
    let elsewhere = FaultTarget::start(Vec::new()).await;
    let redirect = Fault::Redirect(format!("{}/Users", elsewhere.base_url()));
    for fault in [Fault::Html, redirect, Fault::Accepted202] {
        let context = format!("{fault:?}");
        let slapd = six();
        let looks_up = |call: &scim_relay::demo::target::answer::Call| {
            call.query.iter().any(|(name, _)| name == "filter")
        };
        let rules = vec![
            Rule::on("POST", "/Users", Fault::ApplyThenDrop).nth(2),
            Rule::on("GET", "/Users", fault).matching(looks_up),
        ];
        let target = FaultTarget::start(rules).await;
        let relay = relay(&slapd, &target);
        let run = relay.sync();
        assert_ne!(run.code, Some(0), "{context}: {run:?}");
        let posts = target.journal();
        let posts = posts
            .iter()
            .filter(|exchange| exchange.call.method == "POST");
        let bodies: Vec<_> = posts.map(|post| post.call.body.clone()).collect();
        assert!(
            bodies
                .iter()
                .all(|body| bodies.iter().filter(|other| *other == body).count() == 1),
            "{context}: {bodies:?}"
        );
        target.set_rules(Vec::new());
        relay.sync().completed();
        assert_eq!(created(&target, "/Users"), 6, "{context}");
        assert_settled(&slapd, &target, &relay, &context);
    }
    assert_eq!(elsewhere.journal().len(), 0, "a redirection was followed");
}
