//! What can be wrong with single records: each is one error, and all others go through.

use scim_relay::demo::target::Target;

use super::{Company, STAFF, error_of, fault_company, person, tells, user};
use crate::support::fault_ldap::{FaultLdap, Step, entry, entry_named, last_page};
use crate::support::fault_target::FaultTarget;
use crate::support::relay::Relay;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::world::World;

#[test]
fn bad_input_record_without_user_name() {
    let company = Company::new();
    company.slapd.add(&person("nameless", None));
    company.joiner();
    let finished = company.relay.sync();
    tells(&finished, 3, &["userName", "uid"]);
    assert_eq!(
        error_of(&finished, &format!("cn=nameless,{PEOPLE}"))["kind"],
        "user"
    );
    assert_eq!(company.target.users().len(), STAFF + 1);
    // It is told again as long as it lasts, and nothing is sent for it.
    let again = company.relay.sync();
    tells(&again, 3, &["userName"]);
    assert_eq!(again.writes(), 0);

    company.slapd.modify(&format!(
        "dn: cn=nameless,{PEOPLE}\nchangetype: modify\nadd: uid\nuid: named\n"
    ));
    company.relay.sync().completed();
    assert!(user(&company.target.users(), "named").is_some());
}

#[test]
fn bad_input_linked_record_loses_its_user_name() {
    let company = Company::new();
    company.slapd.add(&person("fickle", Some("fickle")));
    company.relay.sync().completed();
    company.slapd.modify(&format!(
        "dn: cn=fickle,{PEOPLE}\nchangetype: modify\ndelete: uid\n"
    ));
    let before = company.target.users();
    let finished = company.refuses(3, &["userName", "uid"]);
    assert_eq!(
        error_of(&finished, &format!("cn=fickle,{PEOPLE}"))["kind"],
        "user"
    );
    // What cannot be mapped is not absent: the account stays as it is.
    assert_eq!(finished.count("usersDeactivated"), 0);
    assert_eq!(
        user(&company.target.users(), "fickle"),
        user(&before, "fickle")
    );

    company.slapd.modify(&format!(
        "dn: cn=fickle,{PEOPLE}\nchangetype: modify\nadd: uid\nuid: fickle\n"
    ));
    assert_eq!(company.relay.sync().completed().writes(), 0);
}

#[test]
fn bad_input_value_that_is_not_utf8() {
    let company = Company::new();
    // An attribute of octets, which slapd takes as they are (RFC 2798 §9.1: audio).
    let photo = |cn: &str, base64: &str| {
        format!(
            "{}audio:: {base64}\n\n",
            person(cn, Some(cn)).trim_end_matches('\n').to_owned() + "\n"
        )
    };
    let company =
        company.with(|relay, _| relay.directory("attributeMapping = { title = \"audio\" }"));
    company.slapd.add(&photo("bytes", "/f7//w=="));
    company.slapd.add(&photo("text", "dGV4dA=="));
    let finished = company.relay.sync();
    tells(&finished, 3, &["audio", "UTF-8"]);
    error_of(&finished, &format!("cn=bytes,{PEOPLE}"));
    assert_eq!(finished.job["errorCount"], 1, "{finished:?}");
    let users = company.target.users();
    assert!(user(&users, "bytes").is_none());
    assert_eq!(user(&users, "text").unwrap()["title"], "text");
}

/// A directory of three people, the second of whom is spoilt on the wire once `spoilt` says so.
async fn wire_directory(
    spoilt: fn(u8) -> Vec<u8>,
) -> (FaultLdap, std::sync::Arc<std::sync::atomic::AtomicBool>) {
    let bad = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = bad.clone();
    let server = FaultLdap::start(move |request| {
        if request.op != 0x63 || !request.subtree || request.base != PEOPLE {
            return None;
        }
        let is_bad = switch.load(std::sync::atomic::Ordering::SeqCst);
        let second = if is_bad {
            spoilt(request.id)
        } else {
            good(request.id, 2)
        };
        let answer = [
            good(request.id, 1),
            second,
            good(request.id, 3),
            last_page(request.id),
        ];
        Some(vec![Step::Send(answer.concat())])
    })
    .await;
    (server, bad)
}

fn attributes(number: u128) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    vec![
        (
            "entryUUID",
            vec![uuid::Uuid::from_u128(number).to_string().into_bytes()],
        ),
        ("uid", vec![format!("u{number}").into_bytes()]),
        ("sn", vec![b"Smith".to_vec()]),
    ]
}

fn good(id: u8, number: u128) -> Vec<u8> {
    entry(id, &format!("uid=u{number},{PEOPLE}"), &attributes(number))
}

async fn spoilt_on_the_wire(spoilt: fn(u8) -> Vec<u8>, words: &[&str]) {
    let (server, bad) = wire_directory(spoilt).await;
    let slapd = Slapd::with("");
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "token")
        .directory(&format!("port = {}", server.address.port()));
    assert_eq!(relay.sync().completed().count("usersCreated"), 3);
    let before = target.target().users();
    bad.store(true, std::sync::atomic::Ordering::SeqCst);
    let finished = relay.sync();
    tells(&finished, 3, words);
    assert_eq!(finished.writes(), 0, "{finished:?}");
    assert_eq!(target.target().users(), before);
    bad.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(relay.sync().completed().writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_user_name_that_is_not_utf8() {
    let spoilt = |id| {
        let mut attributes = attributes(2);
        attributes[1].1 = vec![b"u\xff\xfe2".to_vec()];
        entry(id, &format!("uid=u2,{PEOPLE}"), &attributes)
    };
    spoilt_on_the_wire(spoilt, &["uid", "UTF-8", "uid=u2,"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_dn_that_is_not_utf8() {
    let spoilt = |id| {
        entry_named(
            id,
            b"uid=u\xff2,ou=people,dc=example,dc=org",
            &attributes(2),
        )
    };
    spoilt_on_the_wire(spoilt, &["UTF-8"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_anchor_that_is_none() {
    let spoilt = |id| {
        let mut attributes = attributes(2);
        attributes[0].1 = vec![b"not a uuid".to_vec()];
        entry(id, &format!("uid=u2,{PEOPLE}"), &attributes)
    };
    spoilt_on_the_wire(spoilt, &["cannot be the anchor", "uid=u2,"]).await;
}

#[test]
fn bad_input_two_new_entries_with_one_user_name() {
    let company = Company::new();
    company.slapd.add(&person("first", Some("same")));
    // User names are compared without case (RFC 7643 §4.1.1).
    company.slapd.add(&person("second", Some("SAME")));
    company.joiner();
    let finished = company.relay.sync();
    tells(&finished, 3, &["same user name", "Rename one"]);
    let (first, second) = (format!("cn=first,{PEOPLE}"), format!("cn=second,{PEOPLE}"));
    for (dn, other) in [(&first, &second), (&second, &first)] {
        let detail = error_of(&finished, dn)["detail"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(detail.contains(other.as_str()), "{detail}");
    }
    assert_eq!(finished.job["errorCount"], 2);
    assert_eq!(
        company.target.users().len(),
        STAFF + 1,
        "the joiner, and none of the two"
    );

    company.slapd.modify(&format!(
        "dn: {second}\nchangetype: modify\nreplace: uid\nuid: other\n"
    ));
    assert_eq!(company.relay.sync().completed().count("usersCreated"), 2);
    assert_eq!(company.relay.sync().completed().writes(), 0);
}

#[test]
fn bad_input_new_entry_with_the_user_name_of_a_linked_one() {
    let company = Company::new();
    company.slapd.add(&person("first", Some("same")));
    company.relay.sync().completed();
    let before = company.target.users();
    company.slapd.add(&person("second", Some("Same")));
    company.joiner();
    let finished = company.relay.sync();
    tells(
        &finished,
        3,
        &["user name is taken", "rename one of the two"],
    );
    error_of(&finished, &format!("cn=second,{PEOPLE}"));
    assert_eq!(finished.job["errorCount"], 1);
    let users = company.target.users();
    assert_eq!(users.len(), STAFF + 2);
    assert_eq!(
        user(&users, "same"),
        user(&before, "same"),
        "the linked account was touched"
    );
}

#[test]
fn bad_input_linked_entry_takes_the_user_name_of_another() {
    let company = Company::new();
    company.slapd.add(&person("first", Some("one")));
    company.slapd.add(&person("second", Some("two")));
    company.relay.sync().completed();
    let before = company.target.users();
    company.slapd.modify(&format!(
        "dn: cn=second,{PEOPLE}\nchangetype: modify\nreplace: uid\nuid: one\n"
    ));
    company.joiner();
    let finished = company.relay.sync();
    tells(&finished, 3, &["uni"]);
    error_of(&finished, &format!("cn=second,{PEOPLE}"));
    assert_eq!(finished.count("usersCreated"), 1);
    let users = company.target.users();
    for name in ["one", "two"] {
        assert_eq!(
            user(&users, name),
            user(&before, name),
            "{name} was touched"
        );
    }
}

/// Loads a company with a cycle, a group within a group, and a member that is nobody.
fn odd_groups(mode: &str, target: &Target, relay: Relay) -> Relay {
    let relay = relay.directory(&format!("nestedGroups = \"{mode}\""));
    relay.sync().completed();
    assert_eq!(relay.sync().completed().writes(), 0, "{mode}: not at rest");
    assert_eq!(target.groups().len(), 2 + 4 + 1);
    relay
}

/// How many members the target's group of that name has.
fn members(target: &Target, name: &str) -> usize {
    let groups = target.groups();
    let group = groups
        .iter()
        .find(|group| group["displayName"] == name)
        .unwrap();
    target.members(group["id"].as_str().unwrap()).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_group_cycle() {
    let world = World::new(11, 20, 2);
    let slapd = Slapd::with(&world.ldif());
    let persons = |number: usize| world.cycle[number].members[1].clone();
    let both = if persons(0) == persons(1) { 1 } else { 2 };
    for (mode, expected) in [("direct", 1), ("flatten", both), ("nested", 2)] {
        let target = FaultTarget::start(Vec::new()).await;
        let relay = Relay::between(&slapd, target.base_url(), "token");
        odd_groups(mode, target.target(), relay);
        for name in ["cycle-a", "cycle-b"] {
            assert_eq!(
                members(target.target(), name),
                expected,
                "{name} with {mode}"
            );
        }
    }
}

#[test]
fn bad_input_group_that_names_nobody_we_know() {
    let world = World::new(11, 6, 2);
    let slapd = Slapd::with(&world.ldif());
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target);
    let finished = relay.sync().completed();
    // `uid=nobody` is no entry: left out and counted, and no error, because the group is as good as it can be.
    assert!(finished.count("membersLeftOut") >= 1, "{finished:?}");
    let dangling = |target: &Scim2Server| {
        let groups = target.groups();
        let group = groups
            .iter()
            .find(|group| group["displayName"] == "dangling")
            .unwrap();
        group["members"].as_array().unwrap().len()
    };
    assert_eq!(dangling(&target), 1);
    assert_eq!(relay.sync().completed().writes(), 0);

    // The name becomes somebody: the membership follows.
    slapd.add(&format!(
        "dn: uid=nobody,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: nobody\ncn: Nobody\nsn: Nobody\n"
    ));
    relay.sync().completed();
    assert_eq!(dangling(&target), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_group_with_only_members_we_do_not_know() {
    let (slapd, target, relay) = fault_company().await;
    slapd.add(&format!(
        "dn: cn=ghosts,{GROUPS}\nobjectClass: groupOfNames\ncn: ghosts\nmember: uid=a,{PEOPLE}\nmember: uid=b,{PEOPLE}\n"
    ));
    let finished = relay.sync().completed();
    assert_eq!(finished.count("groupsCreated"), 1);
    assert_eq!(members(target.target(), "ghosts"), 0);
    assert_eq!(relay.sync().completed().writes(), 0);
}
