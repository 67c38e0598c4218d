//! Memberships that go out in several requests, and memberships of somebody whom a read missed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::dn;
use crate::support::fault_ldap::{self, FaultLdap, Step};
use crate::support::fault_target::{Exchange, Fault, FaultTarget, Rule};
use crate::support::relay::Relay;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::{assert_settled, errors_of, operations, relay, writes};

/// The ids that a PATCH adds to a group.
fn added(exchange: &Exchange) -> BTreeSet<String> {
    let values = operations(exchange)
        .into_iter()
        .filter(|operation| operation["op"] == "add" && operation["path"] == "members")
        .flat_map(|operation| operation["value"].as_array().cloned().unwrap_or_default());
    values
        .map(|member| member["value"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_large_membership_step_that_fails_late_is_sent_again_and_nothing_else() {
    // Each of the three requests fails once: long after the last one was acknowledged, or as the last one.
    for failing in 1..=3 {
        let group = format!("cn=team,{GROUPS}");
        let ldif = format!(
            "{}\ndn: {group}\nobjectClass: groupOfNames\ncn: team\nmember: {}\n",
            World::new(11, 7, 0).ldif(),
            dn(0)
        );
        let slapd = Slapd::with(&ldif);
        let target = FaultTarget::start(Vec::new()).await;
        let relay =
            relay(&slapd, &target).tenant("concurrency = 4\ndialect = { membersPerRequest = 2 }");
        relay.sync().completed();
        for number in 1..7 {
            slapd.modify(&format!(
                "dn: {group}\nchangetype: modify\nadd: member\nmember: {}\n",
                dn(number)
            ));
        }
        let late = Fault::StatusAfter(Duration::from_secs(1), 400);
        target.set_rules(vec![Rule::on("PATCH", "/Groups", late).nth(failing)]);
        let before = writes(&target).len();
        let first = relay.sync();
        assert_eq!(
            (first.code, errors_of(&first, &group).len()),
            (Some(3), 1),
            "request {failing}: {first:?}"
        );
        assert_eq!(writes(&target).len() - before, 2, "request {failing}");
        let journal = target.journal();
        let refused = journal
            .iter()
            .find(|exchange| exchange.fault.is_some())
            .unwrap();

        let known = writes(&target).len();
        let second = relay.sync().completed();
        let sent: Vec<Exchange> = writes(&target).split_off(known);
        assert_eq!(sent.len(), 1, "request {failing}: {second:?}");
        assert_eq!(added(&sent[0]), added(refused), "request {failing}");
        assert_eq!(second.count("membersAdded"), 2, "{second:?}");
        assert_settled(&slapd, &target, &relay, &format!("request {failing}"));
    }
}

const PEOPLE_COUNT: usize = 6;

/// The anchor of the person of that number; the group's is one more.
fn anchor(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn values(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn person(id: u8, number: usize) -> Vec<u8> {
    let uid = format!("u{number:07}");
    let attributes = [
        ("objectClass", values(&["person", "inetOrgPerson"])),
        ("uid", values(&[&uid])),
        ("sn", values(&["Nym"])),
        ("mail", values(&[&format!("{uid}@example.org")])),
        ("entryUUID", values(&[&anchor(number)])),
    ];
    fault_ldap::entry(id, &dn(number), &attributes)
}

fn team(id: u8) -> Vec<u8> {
    let members: Vec<String> = (0..PEOPLE_COUNT).map(dn).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let attributes = [
        ("objectClass", values(&["groupOfNames"])),
        ("cn", values(&["team"])),
        ("member", values(&members)),
        ("entryUUID", values(&[&anchor(PEOPLE_COUNT)])),
    ];
    fault_ldap::entry(id, &format!("cn=team,{GROUPS}"), &attributes)
}

/// A directory whose paged reads miss the last person while `misses` is set; looks at one entry find everybody.
async fn forgetful(misses: Arc<AtomicBool>) -> FaultLdap {
    FaultLdap::start(move |request| {
        let id = request.id;
        if request.op != 0x63 || !request.subtree {
            return None;
        }
        let of_people = request.base == PEOPLE;
        if !of_people && request.base != GROUPS {
            return None;
        }
        let mut answer = Vec::new();
        let end = match &request.anchor {
            // Only a read of everything is paged.
            None => {
                let hidden = usize::from(misses.load(Ordering::SeqCst));
                match of_people {
                    true => (0..PEOPLE_COUNT - hidden)
                        .for_each(|number| answer.extend(person(id, number))),
                    false => answer.extend(team(id)),
                }
                fault_ldap::last_page(id)
            }
            Some(asked) => {
                let found = (0..=PEOPLE_COUNT).find(|number| anchor(*number) == *asked);
                match found {
                    Some(PEOPLE_COUNT) => answer.extend(team(id)),
                    Some(number) => answer.extend(person(id, number)),
                    None => {}
                }
                fault_ldap::done(id, 0, "")
            }
        };
        answer.extend(end);
        Some(vec![Step::Send(answer)])
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whom_a_complete_read_missed_keeps_account_and_membership() {
    let misses = Arc::new(AtomicBool::new(false));
    let directory = forgetful(misses.clone()).await;
    let target = FaultTarget::start(Vec::new()).await;
    let port = directory.address.port();
    let relay = Relay::of_ldap_port(port, target.base_url(), "any").tenant("settleSeconds = 0");
    let first = relay.sync().completed();
    assert_eq!(
        first.count("membersAdded"),
        PEOPLE_COUNT as u64,
        "{first:?}"
    );
    let group = || -> Value { target.target().groups()[0]["members"].clone() };
    let members = group();
    assert_eq!(members.as_array().unwrap().len(), PEOPLE_COUNT);
    let known = writes(&target).len();

    misses.store(true, Ordering::SeqCst);
    let missed = relay.sync();
    assert_eq!(missed.job["completeRead"], true, "{missed:?}");
    assert_eq!(
        (missed.code, &missed.job["status"]),
        (Some(3), &Value::from("completed_with_errors")),
        "{missed:?}"
    );
    assert_eq!(
        writes(&target).len(),
        known,
        "something was taken: {missed:?}"
    );
    assert_eq!(group(), members);
    for field in ["usersDeactivated", "membersRemoved"] {
        assert_eq!(missed.count(field), 0, "{field}: {missed:?}");
    }
    let said = errors_of(&missed, &format!("cn=team,{GROUPS}"));
    assert!(
        said.len() == 1 && said[0].contains("1 members were not taken out"),
        "{missed:?}"
    );
    let said = errors_of(&missed, &dn(PEOPLE_COUNT - 1));
    assert!(
        said.len() == 1 && said[0].contains("it is there"),
        "{missed:?}"
    );

    misses.store(false, Ordering::SeqCst);
    let again = relay.sync().completed();
    assert_eq!((again.writes(), group()), (0, members), "{again:?}");
}
