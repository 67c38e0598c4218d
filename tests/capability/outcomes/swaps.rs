//! Values that must be unique at the target and go from one user to another: they end right, in one run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::dn;
use crate::support::fault_target::{Conflict, Fault, FaultTarget, Rule};
use crate::support::relay::Relay;
use crate::support::scim_servers::{Product, ScimServer, ScimTarget};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::{anchor_of, assert_settled, differences, operations, writes};

/// Their login names are not in their DNs, so that they can be changed alone.
fn directory(people: usize) -> Slapd {
    let slapd = Slapd::with(&World::new(11, people, 0).ldif());
    for number in 0..people {
        slapd.modrdn(&dn(number), &format!("cn=p{number}"), None);
        name(&slapd, number, number);
    }
    slapd
}

/// Gives a person the login name and the mail address of that number.
fn name(slapd: &Slapd, person: usize, number: usize) {
    slapd.modify(&format!(
        "dn: cn=p{person},{PEOPLE}\nchangetype: modify\nreplace: uid\nuid: u{number:07}\n-\n\
         replace: mail\nmail: u{number:07}@example.org\n"
    ));
}

fn relay(slapd: &Slapd, target: &FaultTarget) -> Relay {
    crate::truth::relay(slapd, target)
}

fn work_mail(user: &Value) -> Option<String> {
    let mails = user["emails"].as_array()?;
    let work = mails.iter().find(|mail| mail["type"] == "work")?;
    Some(work["value"].as_str()?.to_lowercase())
}

/// The mail address that a request sets.
fn sets_mail(body: &Value) -> Option<String> {
    let operations = body["Operations"].as_array()?;
    let mail = |operation: &&Value| operation["path"] == "emails[type eq \"work\"].value";
    let operation = operations.iter().find(mail)?;
    Some(operation["value"].as_str()?.to_lowercase())
}

/// Refuses mail addresses that another user has, as better-auth does, with an answer of that shape.
fn unique_mails(target: &FaultTarget, shape: Conflict) -> Rule {
    let truth = target.target().clone();
    Rule::on("PATCH", "/Users", Fault::Conflict(shape)).matching(move |call| {
        let Some(mail) = call.body.as_ref().and_then(sets_mail) else {
            return false;
        };
        truth.users().iter().any(|user| {
            let is_other = !call.path.ends_with(user["id"].as_str().unwrap());
            is_other && work_mail(user).as_ref() == Some(&mail)
        })
    })
}

/// The stand-ins that were ever sent.
fn stand_ins(target: &FaultTarget) -> usize {
    let sent = writes(target).into_iter();
    sent.filter(|write| format!("{:?}", operations(write)).contains("scim-relay-"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_mails_that_change_hands_end_right_in_one_run() {
    for (story, moves, stand_ins_wanted) in [
        ("two swap", &[(0, 1), (1, 0)][..], 1),
        ("three in a circle", &[(0, 1), (1, 2), (2, 0)], 1),
        ("a chain of three", &[(0, 1), (1, 2), (2, 9)], 0),
        ("the chain the other way", &[(2, 1), (1, 0), (0, 9)], 0),
        (
            "two pairs and a chain behind",
            &[(0, 1), (1, 0), (2, 3), (3, 2), (4, 9), (5, 4)],
            2,
        ),
    ] {
        for shape in [
            Conflict::Uniqueness,
            Conflict::BadRequest,
            Conflict::BareDetail,
        ] {
            let slapd = directory(6);
            let target = FaultTarget::start(Vec::new()).await;
            let relay = relay(&slapd, &target);
            relay.sync().completed();
            target.set_rules(vec![unique_mails(&target, shape)]);
            moves
                .iter()
                .for_each(|(person, number)| name(&slapd, *person, *number));
            let second = relay.sync().completed();
            assert_eq!(
                second.count("usersUpdated"),
                moves.len() as u64,
                "{story}: {second:?}"
            );
            assert_eq!(stand_ins(&target), stand_ins_wanted, "{story}");
            assert_settled(&slapd, &target, &relay, story);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_alone_that_swap_end_right_and_no_stand_in_could_be_delivered() {
    let slapd = directory(3);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    target.set_rules(vec![unique_mails(&target, Conflict::Uniqueness)]);
    for (person, number) in [(0, 1), (1, 0)] {
        slapd.modify(&format!(
            "dn: cn=p{person},{PEOPLE}\nchangetype: modify\nreplace: mail\nmail: u{number:07}@example.org\n"
        ));
    }
    relay.sync().completed();
    let mails: BTreeSet<String> = writes(&target)
        .iter()
        .filter_map(|write| sets_mail(write.call.body.as_ref()?))
        .filter(|mail| mail.starts_with("scim-relay-"))
        .collect();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(
        mails
            .iter()
            .all(|mail| mail.ends_with("@scim-relay.invalid")),
        "{mails:?}"
    );
    assert_settled(&slapd, &target, &relay, "mails");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_a_stranger_holds_is_refused_once_and_nobody_keeps_a_stand_in() {
    let slapd = directory(4);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let stranger = serde_json::json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "u0000009",
    });
    let call = scim_relay::demo::target::answer::Call::new("POST", "/Users").body(stranger);
    assert_eq!(target.target().handle(call).status, 201);
    // One wants the stranger's name, and another the one that he has.
    name(&slapd, 0, 9);
    name(&slapd, 1, 0);
    let since = target.journal().len();
    let second = relay.sync();
    assert_eq!(second.code, Some(3), "{second:?}");
    let tried = target.journal()[since..]
        .iter()
        .filter(|exchange| exchange.call.method == "PATCH")
        .count();
    assert_eq!(
        (tried, stand_ins(&target)),
        (2, 0),
        "whoever waits for one who is refused is not tried again"
    );
    name(&slapd, 0, 8);
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "another name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_in_which_one_is_refused_gives_back_what_was_lent() {
    let slapd = directory(2);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let id = |number: usize| {
        target
            .target()
            .user_named(&format!("u{number:07}"))
            .unwrap()["id"]
            .clone()
    };
    let ids = [id(0), id(1)];
    // Whoever is not given a stand-in is refused for another reason.
    let refused = Fault::Status {
        code: 400,
        scim_type: Some("invalidValue"),
        detail: "no",
        numeric: false,
    };
    let truth = target.target().clone();
    let stubborn = Rule::on("PATCH", "/Users", refused).matching(move |call| {
        let lent = truth.users().into_iter().find(|user| {
            user["userName"]
                .as_str()
                .unwrap()
                .starts_with("scim-relay-")
        });
        lent.is_some_and(|lent| !call.path.ends_with(lent["id"].as_str().unwrap()))
    });
    target.set_rules(vec![stubborn]);
    name(&slapd, 0, 1);
    name(&slapd, 1, 0);
    assert_eq!(relay.sync().code, Some(3));
    assert_eq!(stand_ins(&target), 1);
    assert_eq!([id(0), id(1)], ids, "each has the name that he had");
    target.set_rules(Vec::new());
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "not refused any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cut_off_within_a_circle_is_finished_by_the_next_ones() {
    for after in [0, 2] {
        let slapd = directory(3);
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();
        for (person, number) in [(0, 1), (1, 2), (2, 0)] {
            name(&slapd, person, number);
        }
        // Everything is lost from a request on: first those that are refused, then the stand-in, and so on.
        let seen = std::sync::atomic::AtomicU64::new(0);
        let lost = Rule::on("PATCH", "/Users", Fault::ApplyThenDrop)
            .matching(move |_| seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= 3 + after);
        target.set_rules(vec![lost]);
        relay.sync();
        target.set_rules(Vec::new());
        relay.sync();
        assert_settled(&slapd, &target, &relay, &format!("cut off after {after}"));
        assert!(differences(&slapd, &target).is_empty());
    }
}

/// The login name and the mail address of each user, by externalId.
fn held(target: &dyn ScimTarget) -> BTreeMap<String, (String, Option<String>)> {
    let users = target.users().into_iter();
    let of = |user: Value| {
        let text = |name: &str| user[name].as_str().unwrap().to_owned();
        (text("externalId"), (text("userName"), work_mail(&user)))
    };
    users.map(of).collect()
}

fn swaps_on(target: &dyn ScimTarget) {
    let slapd = directory(4);
    let relay =
        Relay::between(&slapd, &target.base_url(), target.token()).tenant("settleSeconds = 0");
    relay.sync().completed();
    let before = held(target);
    for (person, number) in [(0, 1), (1, 2), (2, 0)] {
        name(&slapd, person, number);
    }
    let second = relay.sync().completed();
    assert_eq!(
        second.count("usersUpdated"),
        3,
        "{second:?}\n{}",
        target.log()
    );
    let after = held(target);
    let wanted = |number: usize| {
        let name = format!("u{number:07}");
        (name.clone(), Some(format!("{name}@example.org")))
    };
    for (person, number) in [(0, 1), (1, 2), (2, 0), (3, 3)] {
        let anchor = anchor_of(&slapd, &format!("cn=p{person},{PEOPLE}"));
        assert_eq!(
            (&before[&anchor], &after[&anchor]),
            (&wanted(person), &wanted(number))
        );
    }
    assert_eq!(relay.sync().completed().writes(), 0);
}

#[test]
fn names_that_change_hands_end_right_at_servers_by_others() {
    swaps_on(&Scim2Server::start());
    swaps_on(&ScimServer::start(Product::Scimmy));
    // Here addresses are unique too.
    swaps_on(&ScimServer::start(Product::BetterAuth));
}
