//! Creations that the target refuses because it has such a resource: ours, or somebody else's.

use serde_json::{Value, json};

use scim_relay::demo::target::answer::Call;

use super::{created, dn, six};
use crate::support::fault_target::{Conflict, Fault, FaultTarget, Rule};
use crate::support::slapd::{GROUPS, Slapd};
use crate::support::world::World;
use crate::truth::{anchor_of, assert_settled, differences, errors_of, relay};

fn put(target: &FaultTarget, path: &str, body: Value) -> String {
    let answer = target.target().handle(Call::new("POST", path).body(body));
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body.unwrap()["id"].as_str().unwrap().to_owned()
}

fn a_user(name: &str, external_id: &str) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "externalId": external_id})
}

/// Two people more than there were.
fn hire_two(slapd: &Slapd) {
    let world = World::new(11, 8, 0);
    world.people[6..]
        .iter()
        .for_each(|person| slapd.add(&person.ldif()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_of_any_shape_with_a_resource_of_ours_links_it() {
    for shape in Conflict::ALL {
        let slapd = six();
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();

        hire_two(&slapd);
        slapd.add(&format!(
            "dn: cn=team,{GROUPS}\nobjectClass: groupOfNames\ncn: team\nmember: {}\n",
            dn(6)
        ));
        put(
            &target,
            "/Users",
            a_user("u0000006", &anchor_of(&slapd, &dn(6))),
        );
        let anchor = anchor_of(&slapd, &format!("cn=team,{GROUPS}"));
        let schema = "urn:ietf:params:scim:schemas:core:2.0:Group";
        let group = json!({"schemas": [schema], "displayName": "team", "externalId": anchor});
        put(&target, "/Groups", group);
        let context = format!("{shape:?}");
        let posts = created(&target, "/Users");
        target.set_rules(vec![
            Rule::on("POST", "/Users", Fault::ConflictAs(shape)),
            Rule::on("POST", "/Groups", Fault::Conflict(shape)),
        ]);
        let update = relay.sync();
        assert_eq!(update.code, Some(0), "{context}: {update:?}");
        assert_eq!(created(&target, "/Users") - posts, 1, "{context}");
        // The group has its member with the same run or the next one.
        let second = relay.sync().completed();
        assert!(second.writes() <= 1, "{context}: {second:?}");
        assert_settled(&slapd, &target, &relay, &context);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_of_any_shape_with_somebody_else_concerns_that_row_only() {
    for shape in Conflict::ALL {
        let slapd = six();
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();

        hire_two(&slapd);
        let foreign = put(&target, "/Users", a_user("u0000006", "somebody-else"));
        target.set_rules(vec![Rule::on("POST", "/Users", Fault::ConflictAs(shape))]);
        let context = format!("{shape:?}");
        for run in ["first", "second"] {
            let update = relay.sync();
            assert_eq!(update.code, Some(3), "{context}, {run}: {update:?}");
            let errors = errors_of(&update, &dn(6));
            assert_eq!(errors.len(), 1, "{context}, {run}: {update:?}");
            assert_eq!(update.job["errorCount"], 1, "{context}, {run}: {update:?}");
            // What it is, and what cures it.
            assert!(errors[0].contains(&foreign), "{context}, {run}: {errors:?}");
            assert!(errors[0].contains("rename"), "{context}, {run}: {errors:?}");
            assert_eq!(
                differences(&slapd, &target),
                [format!("{} has 0 resources", dn(6))],
                "{context}"
            );
            if run == "second" {
                assert_eq!(
                    update.writes(),
                    0,
                    "{context}: what is known to be taken is tried again"
                );
            }
        }
        let held = target.target().user_named("u0000006").unwrap();
        assert_eq!(
            (&held["id"], &held["externalId"]),
            (&json!(foreign), &json!("somebody-else"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_name_is_free_again_after_either_of_the_two_was_renamed() {
    for at_the_target in [true, false] {
        let slapd = six();
        let target = FaultTarget::start(Vec::new()).await;
        let foreign = put(&target, "/Users", a_user("u0000002", "somebody-else"));
        let relay = relay(&slapd, &target);
        let first = relay.sync();
        assert_eq!(errors_of(&first, &dn(2)).len(), 1, "{first:?}");
        assert_eq!(created(&target, "/Users"), 5);
        let cured = if at_the_target {
            let rename = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{"op": "replace", "path": "userName", "value": "other"}]});
            let answer = target
                .target()
                .handle(Call::new("PATCH", &format!("/Users/{foreign}")).body(rename));
            assert!(answer.status < 300);
            relay
                .spawn(&["sync", "--mode", "reconcile", "--output", "json"])
                .wait()
        } else {
            slapd.modrdn(&dn(2), "uid=other", None);
            relay.sync()
        };
        let cured = cured.completed();
        assert_eq!(
            (cured.count("usersCreated"), cured.writes()),
            (1, 1),
            "{cured:?}"
        );
        assert_settled(
            &slapd,
            &target,
            &relay,
            &format!("renamed at the target: {at_the_target}"),
        );
    }
}
