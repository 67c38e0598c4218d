//! A target that shows late what it was sent, in look-ups and as members.

use std::time::Duration;

use super::{created, dn, six};
use crate::support::fault_target::{Fault, FaultTarget, Rule, Settings};
use crate::support::slapd::{GROUPS, Slapd};
use crate::support::wait_for;
use crate::support::world::World;
use crate::truth::{assert_settled, relay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_knows_new_users_late_gets_them_as_members_in_the_same_run() {
    let slapd = Slapd::with(&World::new(11, 6, 1).ldif());
    let settings = Settings {
        member_lag: Duration::from_millis(1_500),
        ..Settings::default()
    };
    let target = FaultTarget::start_with(Vec::new(), settings).await;
    let relay = relay(&slapd, &target).tenant("settleSeconds = 1");
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "created with members");

    slapd.add(&format!(
        "dn: {}\nobjectClass: inetOrgPerson\nuid: u0000050\ncn: New\nsn: New\n",
        dn(50)
    ));
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: member\nmember: {}\n",
        format_args!("cn=group 00000,{GROUPS}"),
        dn(50)
    ));
    let second = relay.sync().completed();
    assert_eq!(second.count("membersAdded"), 1, "{second:?}");
    assert_settled(&slapd, &target, &relay, "added to a group that was there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_whose_index_lags_for_longer_than_a_run_gets_nobody_twice() {
    let slapd = six();
    let settings = Settings {
        index_lag: Duration::from_secs(6),
        ..Settings::default()
    };
    let rule = Rule::on("POST", "/Users", Fault::ApplyThenDrop).first(3);
    let target = FaultTarget::start_with(vec![rule], settings).await;
    let relay = relay(&slapd, &target);
    let first = relay.sync();
    assert_eq!(first.code, Some(3), "{first:?}");
    wait_for("a run without errors", Duration::from_secs(60), || {
        (relay.sync().code == Some(0)).then_some(())
    });
    assert_eq!(
        (created(&target, "/Users"), target.target().users().len()),
        (6, 6)
    );
    assert_settled(&slapd, &target, &relay, "in the end");
}
