//! Bulk on a server written by others: fewer requests, the same state, whatever becomes of an answer.

use crate::support::mirror::assert_equal_to_directory;
use crate::support::proxy::Proxy;
use crate::support::relay::Relay;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::anchor_of;

const WITH_REFERENCES: &str = r#"dialect = { bulk = "with_references" }"#;
const WITHOUT_REFERENCES: &str = r#"dialect = { bulk = "without_references" }"#;

fn dn(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

/// The writes that arrived, as methods and paths.
fn writes(target: &Scim2Server, from: usize) -> Vec<String> {
    let requests = target.requests();
    let writes = requests.iter().filter(|request| request.is_write());
    let named = writes.map(|request| format!("{} {}", request.method, request.path));
    named.skip(from).collect()
}

#[test]
fn target_bulk_takes_a_first_load_of_users_and_their_groups_in_one_request() {
    let slapd = Slapd::with(&World::new(5, 120, 12).ldif());
    for (dialect, requests) in [(WITH_REFERENCES, 1), (WITHOUT_REFERENCES, 2)] {
        let target = Scim2Server::start();
        let relay = Relay::new(&slapd, &target).tenant(dialect);
        let first = relay.sync().completed();
        assert_eq!(first.count("usersCreated"), target.users().len() as u64);
        let load = writes(&target, 0);
        assert_eq!(load.len(), requests, "{dialect}: {load:?}");
        assert!(
            load.iter().all(|write| write.ends_with("/Bulk")),
            "{load:?}"
        );
        assert_equal_to_directory(&slapd, &target);
        assert_eq!(relay.sync().completed().writes(), 0, "{dialect}");
        // Changes of users and groups go together too; a leaver goes first.
        for number in 0..5 {
            slapd.modify(&format!(
                "dn: {}\nchangetype: modify\nreplace: telephoneNumber\ntelephoneNumber: +49 {requests} {number}\n",
                dn(number)
            ));
        }
        let changed = relay.sync().completed();
        assert_eq!(changed.count("usersUpdated"), 5);
        assert_eq!(writes(&target, requests).len(), 1);
        assert_equal_to_directory(&slapd, &target);
    }
}

#[test]
fn target_bulk_gives_each_operation_its_own_outcome() {
    let slapd = Slapd::with(&World::new(6, 20, 3).ldif());
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target).tenant(WITH_REFERENCES);
    // Somebody else has the name of one of them, and nobody manages that account.
    let taken = serde_json::json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "u0000003",
    });
    let first = relay.sync().completed();
    assert_eq!(first.count("errorCount"), 0);
    slapd.modrdn(&dn(3), "uid=renamed", None);
    relay.sync().completed();
    assert_eq!(target.send("POST", "/Users", Some(&taken)).0, 201);
    for number in [4, 5] {
        let values = format!("replace: telephoneNumber\ntelephoneNumber: +49 {number}\n");
        slapd.modify(&format!("dn: {}\nchangetype: modify\n{values}", dn(number)));
    }
    slapd.modrdn(&format!("uid=renamed,{PEOPLE}"), "uid=u0000003", None);
    let run = relay.sync();
    assert_eq!(run.code, Some(3), "{run:?}");
    // The one whose name is taken is refused, and the others are carried out.
    assert_eq!((run.count("usersUpdated"), run.count("errorCount")), (2, 1));
}

#[test]
fn target_bulk_answers_that_break_off_double_nothing_and_lose_nothing() {
    let world = World::new(7, 15, 3);
    let whole = {
        let slapd = Slapd::with(&world.ldif());
        let target = Scim2Server::start();
        let proxy = Proxy::start(port_of(&target));
        let relay = through(&slapd, &target, &proxy);
        relay.sync().completed();
        proxy.sent()
    };
    for twelfth in 4..12 {
        let slapd = Slapd::with(&world.ldif());
        let target = Scim2Server::start();
        let proxy = Proxy::start(port_of(&target));
        let relay = through(&slapd, &target, &proxy);
        proxy.cut_after(whole * twelfth / 12);
        let run = relay.spawn_sync();
        proxy.wait_reached();
        proxy.pass();
        run.wait();
        relay.sync().completed();
        assert_equal_to_directory(&slapd, &target);
        let (users, groups) = (target.users().len(), target.groups().len());
        assert_eq!(users, names(&target.users(), "userName"), "{twelfth}");
        assert_eq!(groups, names(&target.groups(), "displayName"), "{twelfth}");
        assert_eq!(relay.sync().completed().writes(), 0, "{twelfth}");
        // Whom the relay put into a group, it takes out again: it knows of all of them.
        leave_groups(&slapd, &world);
        relay.sync().completed();
        assert_equal_to_directory(&slapd, &target);
    }
}

/// The last member of each group with several leaves it.
fn leave_groups(slapd: &Slapd, world: &World) {
    for group in world.groups.iter().filter(|group| group.members.len() > 1) {
        let leaver = group.members.last().unwrap();
        let change = format!("changetype: modify\ndelete: member\nmember: {leaver}\n");
        slapd.modify(&format!("dn: {}\n{change}", group.dn()));
    }
}

#[test]
fn target_bulk_puts_users_who_are_linked_in_the_same_run_into_their_new_groups() {
    let world = World::new(8, 12, 4);
    let slapd = Slapd::with(&world.ldif());
    let target = Scim2Server::start();
    for number in [0, 3, 6, 9] {
        let user = serde_json::json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": format!("old-{number}"), "externalId": anchor_of(&slapd, &dn(number)),
        });
        assert_eq!(target.send("POST", "/Users", Some(&user)).0, 201);
    }
    let relay = Relay::new(&slapd, &target).tenant(WITH_REFERENCES);
    let run = relay.sync().completed();
    assert_eq!((run.count("linked"), run.count("usersCreated")), (4, 8));
    assert_equal_to_directory(&slapd, &target);
    assert_eq!(relay.sync().completed().writes(), 0);
}

/// How many different names there are.
fn names(resources: &[serde_json::Value], name: &str) -> usize {
    let names = resources.iter().map(|resource| resource[name].to_string());
    names.collect::<std::collections::BTreeSet<_>>().len()
}

fn port_of(target: &Scim2Server) -> u16 {
    let url: reqwest::Url = target.base_url().parse().unwrap();
    url.port().unwrap()
}

fn through(slapd: &Slapd, target: &Scim2Server, proxy: &Proxy) -> Relay {
    let mut url: reqwest::Url = target.base_url().parse().unwrap();
    url.set_port(Some(proxy.port())).unwrap();
    Relay::between(slapd, url.as_str(), target.token())
        .tenant(&format!("{WITH_REFERENCES}\nsettleSeconds = 0"))
}
