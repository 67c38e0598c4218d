//! In which order requests go out, and what one that is refused does to the others.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{change_mail, disable, dn, six, user};
use crate::support::fault_target::{Exchange, Fault, FaultTarget, Rule};
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::{
    assert_settled, deactivates, differences, errors_of, operations, relay, writes,
};

fn refused(code: u16) -> Fault {
    Fault::Status {
        code,
        scim_type: (code == 400).then_some("invalidValue"),
        detail: "not like this",
        numeric: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_refused_in_the_middle_stops_the_run_once_and_the_next_one_goes_on() {
    let slapd = Slapd::with(&World::new(11, 60, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let count = AtomicU64::new(0);
    let expired = Rule::on("*", "/", refused(401)).matching(move |call| {
        let earlier = count.fetch_add(u64::from(call.method == "POST"), Ordering::SeqCst);
        earlier >= 20
    });
    target.set_rules(vec![expired]);
    let relay = relay(&slapd, &target);
    let stopped = relay.sync();
    assert_eq!(
        (stopped.code, &stopped.job["status"]),
        (Some(1), &"failed".into()),
        "{stopped:?}"
    );
    let errors = stopped.job["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(
        (&errors[0]["kind"], &errors[0]["status"]),
        (&"job".into(), &401.into()),
        "{errors:?}"
    );
    let detail = errors[0]["detail"].as_str().unwrap();
    assert!(detail.contains("token"), "{detail}");
    let journal = target.journal();
    let after = journal
        .iter()
        .filter(|exchange| exchange.sent == Some(401))
        .count();
    assert!(
        after <= 4,
        "{after} requests with a token that is refused: as many as may be in flight, no more"
    );
    assert_eq!(target.target().counters().users, 20);

    target.set_rules(Vec::new());
    let second = relay.sync().completed();
    assert_eq!(second.count("usersCreated"), 40, "{second:?}");
    assert_settled(&slapd, &target, &relay, "the next run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_change_is_refused_blocks_nobody_and_no_other_leaver() {
    let slapd = Slapd::with(&World::new(11, 20, 2).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();

    let stubborn = user(&target, 3)["id"].as_str().unwrap().to_owned();
    target.set_rules(vec![Rule::on(
        "PATCH",
        &format!("/Users/{stubborn}"),
        refused(400),
    )]);
    (0..20).for_each(|number| change_mail(&slapd, number, &format!("new{number}@example.org")));
    [3, 7, 9]
        .into_iter()
        .for_each(|number| disable(&slapd, number));
    slapd.delete(&dn(11));
    let update = relay.sync();
    assert_eq!(update.code, Some(3), "{update:?}");
    let errors = update.job["errors"].as_array().unwrap();
    assert!(
        errors
            .iter()
            .all(|error| error["dn"] == dn(3) && error["status"] == 400),
        "{errors:?}"
    );
    assert_eq!(update.count("usersDeactivated"), 3, "{update:?}");
    let wrong = differences(&slapd, &target);
    assert!(
        !wrong.is_empty() && wrong.iter().all(|text| text.contains(&dn(3))),
        "{wrong:?}"
    );

    target.set_rules(Vec::new());
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "the next run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deactivation_goes_out_though_an_attribute_of_the_user_is_refused() {
    let slapd = six();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let names_mail = |call: &scim_relay::demo::target::answer::Call| {
        call.body
            .as_ref()
            .is_some_and(|body| body.to_string().contains("emails"))
    };
    target.set_rules(vec![
        Rule::on("PATCH", "/Users", refused(400)).matching(names_mail),
    ]);
    change_mail(&slapd, 3, "refused@example.org");
    disable(&slapd, 3);
    let update = relay.sync();
    assert_eq!(
        (update.code, errors_of(&update, &dn(3)).len()),
        (Some(3), 1),
        "{update:?}"
    );
    assert_eq!(user(&target, 3)["active"], false);
    target.set_rules(Vec::new());
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "the next run");
}

/// The place of a request in the order of sending.
fn rank(write: &Exchange) -> u32 {
    let removes = |operation: &serde_json::Value| operation["op"] == "remove";
    let members = |operation: &serde_json::Value| {
        operation["path"]
            .as_str()
            .is_some_and(|path| path.starts_with("members"))
    };
    let operations = operations(write);
    match (
        write.call.method.as_str(),
        write.call.path.starts_with("/Users"),
    ) {
        ("PATCH", true) if deactivates(write) => 0,
        ("PATCH", false)
            if operations
                .iter()
                .all(|operation| removes(operation) && members(operation)) =>
        {
            1
        }
        (_, true) => 2,
        ("PATCH", false) if operations.iter().all(members) => 4,
        (_, false) => 3,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leavers_go_first_and_references_after_what_they_name() {
    let world = World::new(11, 40, 0);
    let group = |name: &str, members: &[usize]| {
        let members: Vec<String> = members
            .iter()
            .map(|number| format!("member: {}\n", dn(*number)))
            .collect();
        format!(
            "dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\n{}\n",
            members.concat()
        )
    };
    let slapd = Slapd::with(&(world.ldif() + &group("one", &[1, 2, 3]) + &group("two", &[4, 5])));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let before = writes(&target).len();

    (20..30).for_each(|number| change_mail(&slapd, number, &format!("new{number}@example.org")));
    for number in 40..60 {
        slapd.add(&format!(
            "dn: {}\nobjectClass: inetOrgPerson\nuid: u{number:07}\ncn: {number}\nsn: New\n",
            dn(number)
        ));
    }
    slapd.add(&group("three", &[41, 6]));
    slapd.modify(&format!(
        "dn: cn=one,{GROUPS}\nchangetype: modify\ndelete: member\nmember: {}\n-\nadd: member\nmember: {}\n",
        dn(1),
        dn(42)
    ));
    slapd.modrdn(&format!("cn=two,{GROUPS}"), "cn=renamed", None);
    (10..13).for_each(|number| disable(&slapd, number));
    slapd.delete(&format!("uid=u0000014,{PEOPLE}"));
    relay.sync().completed();

    let writes = writes(&target);
    let ranks: Vec<u32> = writes[before..].iter().map(rank).collect();
    assert!(ranks.is_sorted(), "{ranks:?}");
    let count = |wanted: u32| ranks.iter().filter(|rank| **rank == wanted).count();
    assert_eq!([0, 1, 2, 3, 4].map(count), [4, 1, 30, 2, 1]);
    assert_settled(&slapd, &target, &relay, "all at once");
}
