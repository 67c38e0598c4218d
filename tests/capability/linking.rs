//! What is at the target already: linked when it is ours, proposed when it might be, left alone when it is not.

mod drift;
mod proposals;
mod protected;

use serde_json::{Value, json};

use scim_relay::demo::target::answer::Call;

use crate::support::fault_target::{Exchange, FaultTarget};
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::{anchor_of, assert_settled, deactivates, differences, errors_of, relay, writes};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

fn dn(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

/// Makes a resource as an administrator of the target would; answers its id.
pub fn put(target: &FaultTarget, path: &str, body: Value) -> String {
    let answer = target.target().handle(Call::new("POST", path).body(body));
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Changes a resource as an administrator of the target would.
pub fn edit(target: &FaultTarget, path: &str, operations: Value) {
    let body = json!({"schemas": [PATCH], "Operations": operations});
    let answer = target.target().handle(Call::new("PATCH", path).body(body));
    assert!(answer.status < 300, "{answer:?}");
}

fn named(target: &FaultTarget, number: usize) -> Value {
    target
        .target()
        .user_named(&format!("u{number:07}"))
        .unwrap()
}

fn path_of(user: &Value) -> String {
    format!("/Users/{}", user["id"].as_str().unwrap())
}

fn reconcile(relay: &Relay) -> Finished {
    relay
        .spawn(&["sync", "--mode", "reconcile", "--output", "json"])
        .wait()
}

/// The requests of the relay that changed something; those of the test's administrator did not come over the network.
fn sent<'a>(writes: &'a [Exchange], method: &str, path: &str) -> Vec<&'a Exchange> {
    let of = |write: &&Exchange| write.call.method == method && write.call.path.starts_with(path);
    writes.iter().filter(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_with_our_external_id_is_linked_and_brought_up_to_date_by_one_request() {
    let world = World::new(21, 5, 0);
    let slapd = Slapd::with(&world.ldif());
    let team = format!("cn=team,{GROUPS}");
    slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\nmember: {}\nmember: {}\n",
        dn(1),
        dn(2)
    ));
    let target = FaultTarget::start(Vec::new()).await;
    // Under another name, without an address, inactive, and with an attribute that is not ours.
    let old = json!({"schemas": [USER], "userName": "old", "externalId": anchor_of(&slapd, &dn(1)),
        "active": false, "nickName": "Al"});
    let old = put(&target, "/Users", old);
    let group = json!({"schemas": [GROUP], "displayName": "Old team", "externalId": anchor_of(&slapd, &team)});
    let group = put(&target, "/Groups", group);

    let relay = relay(&slapd, &target);
    let first = relay.sync().completed();
    assert_eq!(
        (
            first.count("linked"),
            first.count("usersCreated"),
            first.count("groupsCreated")
        ),
        (2, 4, 0)
    );
    let writes = writes(&target);
    assert_eq!(
        (
            sent(&writes, "POST", "/Users").len(),
            sent(&writes, "POST", "/Groups").len()
        ),
        (4, 0)
    );
    assert_eq!(sent(&writes, "PATCH", &format!("/Users/{old}")).len(), 1);
    // The name, then the members, which may name users that are created only now.
    assert_eq!(sent(&writes, "PATCH", &format!("/Groups/{group}")).len(), 2);
    let held = named(&target, 1);
    assert_eq!(
        (&held["id"], &held["nickName"]),
        (&json!(old), &json!("Al"))
    );
    assert_settled(&slapd, &target, &relay, "linked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_is_ours_and_up_to_date_is_linked_without_a_request() {
    let slapd = Slapd::with(&World::new(21, 5, 2).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    relay(&slapd, &target).sync().completed();
    let before = writes(&target).len();
    // A second relay, with a store of its own.
    let second = relay(&slapd, &target);
    let linked = second.sync().completed();
    assert_eq!(
        linked.count("usersCreated") + linked.count("groupsCreated"),
        0
    );
    // Memberships too are known by reading: some targets keep a member twice that is added twice.
    assert_eq!(linked.writes(), 0, "{linked:?}");
    assert_eq!(linked.count("membersAdded"), 0);
    assert_eq!(writes(&target).len(), before);
    assert_settled(&slapd, &target, &second, "linked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_name_without_an_external_id_is_a_proposal_that_writes_nothing() {
    let slapd = Slapd::with(&World::new(21, 4, 0).ldif());
    let team = format!("cn=team,{GROUPS}");
    slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\nmember: {}\n",
        dn(1)
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let found = put(
        &target,
        "/Users",
        json!({"schemas": [USER], "userName": "U0000001", "title": "by hand"}),
    );
    let group = put(
        &target,
        "/Groups",
        json!({"schemas": [GROUP], "displayName": "team"}),
    );
    let relay = relay(&slapd, &target);
    for run in ["first", "second"] {
        let finished = relay.sync();
        assert_eq!(
            (finished.code, &finished.job["errorCount"]),
            (Some(3), &json!(2)),
            "{run}: {finished:?}"
        );
        for (dn, id) in [(dn(1), &found), (team.clone(), &group)] {
            let errors = errors_of(&finished, &dn);
            assert!(
                errors.len() == 1 && errors[0].contains(id.as_str()),
                "{run}: {finished:?}"
            );
            assert!(
                errors[0].contains("rename") && errors[0].contains("linking = \"automatic\""),
                "{errors:?}"
            );
        }
    }
    let writes = writes(&target);
    assert_eq!(
        (writes.len(), sent(&writes, "POST", "/Users").len()),
        (3, 3)
    );
    assert_eq!(named(&target, 1)["title"], "by hand");
    assert_eq!(named(&target, 1)["externalId"], Value::Null);

    // The cure that the error names.
    let relay = relay.directory("linking = \"automatic\"");
    let linked = relay.sync().completed();
    assert_eq!(
        (linked.count("linked"), linked.count("usersCreated")),
        (2, 0),
        "{linked:?}"
    );
    let held = named(&target, 1);
    assert_eq!(held["id"], json!(found));
    assert_eq!(held["externalId"], json!(anchor_of(&slapd, &dn(1))));
    assert_settled(&slapd, &target, &relay, "linked automatically");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_name_with_another_external_id_is_never_linked() {
    for linking in ["propose", "automatic"] {
        let slapd = Slapd::with(&World::new(21, 4, 0).ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let body = json!({"schemas": [USER], "userName": "u0000001", "externalId": "hr-4711", "title": "Chair"});
        let id = put(&target, "/Users", body);
        let before = named(&target, 1);
        let relay = relay(&slapd, &target).directory(&format!("linking = \"{linking}\""));
        let finished = relay.sync();
        assert_eq!(
            (finished.code, finished.count("usersCreated")),
            (Some(3), 3),
            "{linking}: {finished:?}"
        );
        let errors = errors_of(&finished, &dn(1));
        assert!(
            errors.len() == 1 && errors[0].contains(&id) && errors[0].contains("rename"),
            "{errors:?}"
        );
        assert_eq!(named(&target, 1), before, "{linking}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_store_is_made_anew_from_the_external_ids() {
    let slapd = Slapd::with(&World::new(21, 60, 6).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let before = writes(&target).len();
    std::fs::remove_file(relay.store()).unwrap();
    // Somebody changes while nothing is known.
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: mail\nmail: new@example.org\n",
        dn(7)
    ));
    let again = relay.sync().completed();
    assert_eq!(
        again.count("usersCreated")
            + again.count("groupsCreated")
            + again.count("usersDeactivated"),
        0
    );
    let writes = writes(&target).split_off(before);
    assert_eq!(sent(&writes, "POST", "/").len(), 0);
    assert_eq!(writes.iter().filter(|write| deactivates(write)).count(), 0);
    assert_eq!(sent(&writes, "PATCH", "/Users").len(), 1);
    assert_settled(&slapd, &target, &relay, "made anew");

    // What it knows again is enough to take a leaver out.
    slapd.delete(&dn(8));
    assert_eq!(relay.sync().completed().count("usersDeactivated"), 1);
    assert_settled(&slapd, &target, &relay, "after a leaver");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconciling_run_brings_mapped_values_back_and_leaves_the_others() {
    let slapd = Slapd::with(&World::new(21, 10, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    assert_eq!(reconcile(&relay).completed().writes(), 0);

    edit(
        &target,
        &path_of(&named(&target, 1)),
        json!([
            {"op": "replace", "path": "displayName", "value": "Edited"},
            {"op": "add", "path": "nickName", "value": "Al"},
        ]),
    );
    edit(
        &target,
        &path_of(&named(&target, 2)),
        json!([{"op": "replace", "path": "active", "value": false}]),
    );
    edit(
        &target,
        &path_of(&named(&target, 3)),
        json!([{"op": "remove", "path": "emails[type eq \"work\"]"}]),
    );
    edit(
        &target,
        &path_of(&named(&target, 4)),
        json!([{"op": "add", "path": "title", "value": "Chair"}]),
    );
    assert_eq!(
        relay.sync().completed().writes(),
        0,
        "an ordinary run trusts what was acknowledged"
    );
    let reconciled = reconcile(&relay).completed();
    assert_eq!(reconciled.writes(), 3, "{reconciled:?}");
    assert_eq!(
        (
            reconciled.count("usersUpdated"),
            reconciled.count("usersReactivated")
        ),
        (2, 1)
    );
    assert_eq!(
        (&named(&target, 1)["nickName"], &named(&target, 4)["title"]),
        (&json!("Al"), &json!("Chair"))
    );
    assert_settled(&slapd, &target, &relay, "reconciled");
    assert_eq!(reconcile(&relay).completed().writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconciling_run_creates_again_what_was_deleted_at_the_target() {
    let world = World::new(21, 10, 3);
    let slapd = Slapd::with(&world.ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let deleted = named(&target, 4);
    assert_eq!(
        target
            .target()
            .handle(Call::new("DELETE", &path_of(&deleted)))
            .status,
        204
    );
    let reconciled = reconcile(&relay);
    assert_eq!(reconciled.code, Some(3), "{reconciled:?}");
    let errors = reconciled.job["errors"].as_array().unwrap();
    let expected = (&json!("drifted"), &deleted["externalId"]);
    assert_eq!(
        (errors.len(), (&errors[0]["fault"], &errors[0]["anchor"])),
        (1, expected),
        "{errors:?}"
    );
    assert_eq!(errors[0]["dn"], json!(dn(4)), "{errors:?}");
    assert_eq!(reconciled.count("usersCreated"), 1);
    assert_settled(&slapd, &target, &relay, "created again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_was_made_anew_under_the_same_name_does_not_inherit_the_account() {
    let world = World::new(21, 10, 0);
    let slapd = Slapd::with(&world.ldif());
    let team = format!("cn=team,{GROUPS}");
    slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\nmember: {}\nmember: {}\n",
        dn(1),
        dn(4)
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let old = named(&target, 4);
    slapd.delete(&dn(4));
    slapd.add(&world.people[4].ldif());
    for run in ["first", "second"] {
        let finished = relay.sync();
        assert_eq!(finished.code, Some(3), "{run}: {finished:?}");
        let errors = errors_of(&finished, &dn(4));
        assert!(
            errors.len() == 1 && errors[0].contains("same person"),
            "{run}: {finished:?}"
        );
        let held = named(&target, 4);
        assert_eq!(
            (&held["id"], &held["externalId"]),
            (&old["id"], &old["externalId"]),
            "{run}"
        );
        assert_eq!(held["active"], false, "{run}");
        if run == "second" {
            assert_eq!(finished.writes(), 0);
        }
    }
    let group = target.target().groups().remove(0);
    let members = target
        .target()
        .members(group["id"].as_str().unwrap())
        .unwrap();
    assert_eq!(
        members,
        [named(&target, 1)["id"].as_str().unwrap().to_owned()].into()
    );
    assert_eq!(
        differences(&slapd, &target),
        [format!("{} has 0 resources", dn(4))]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_resources_with_our_external_id_are_for_a_person_to_sort_out() {
    let slapd = Slapd::with(&World::new(21, 5, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    for name in ["one", "other"] {
        let twin = json!({"schemas": [USER], "userName": name, "active": true,
            "externalId": anchor_of(&slapd, &dn(1))});
        put(&target, "/Users", twin);
    }
    let relay = relay(&slapd, &target);
    for _ in 0..2 {
        let run = relay.sync();
        assert_eq!(run.code, Some(3), "{run:?}");
        assert_eq!(errors_of(&run, &dn(1)).len(), 1, "{run:?}");
    }
    // The others are there, each once, and neither of the two was touched.
    assert_eq!(target.target().users().len(), 2 + 4);
    assert_eq!(writes(&target).len(), 4);
}
