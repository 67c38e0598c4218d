//! Roles by membership: directory groups give SCIM roles and entitlements, exactly and to nobody else.

use std::time::Duration;

use serde_json::{Value, json};

use crate::linking::edit;
use crate::program::PATIENCE;
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::Relay;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::wait_for;
use crate::support::world::World;
use crate::truth::{operations, writes};

fn user(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

fn group(name: &str, members: &[String]) -> String {
    let members: String = members.iter().map(|dn| format!("member: {dn}\n")).collect();
    format!("dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\n{members}\n")
}

fn member(slapd: &Slapd, group: &str, how: &str, dn: &str) {
    slapd.modify(&format!(
        "dn: cn={group},{GROUPS}\nchangetype: modify\n{how}: member\nmember: {dn}\n"
    ));
}

/// Two groups, `staff` with `admins` within; u1 is in `staff`, u2 in `admins`, u9 keeps each of them from being empty.
fn directory() -> Slapd {
    let slapd = Slapd::with(&World::new(31, 12, 0).ldif());
    slapd.add(&group("admins", &[user(2), user(9)]));
    slapd.add(&group(
        "staff",
        &[user(1), format!("cn=admins,{GROUPS}"), user(9)],
    ));
    slapd
}

fn relay(slapd: &Slapd, target: &FaultTarget, further: &str) -> Relay {
    let mapping = format!(
        "roleMapping = [{{ group = \"CN=Admins, {GROUPS}\", role = \"admin\" }}, \
         {{ group = \"cn=staff,{GROUPS}\", role = \"employee\" }}, \
         {{ group = \"cn=staff,{GROUPS}\", entitlement = \"vpn\" }}]\n{further}"
    );
    Relay::between(slapd, target.base_url(), "any")
        .tenant("settleSeconds = 0")
        .directory(&mapping)
}

fn held(target: &FaultTarget, number: usize, attribute: &str) -> Vec<String> {
    let user = target
        .target()
        .user_named(&format!("u{number:07}"))
        .unwrap();
    let values = user[attribute].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value["value"].as_str().unwrap().to_owned();
    let mut values: Vec<String> = values.iter().map(text).collect();
    values.sort();
    values
}

fn path(target: &FaultTarget, number: usize) -> String {
    let user = target.target().user_named(&format!("u{number:07}"));
    format!("/Users/{}", user.unwrap()["id"].as_str().unwrap())
}

/// The operations that one run sent for users, by path of the resource.
fn of_users(target: &FaultTarget, since: usize) -> Vec<(String, Value)> {
    let mut sent: Vec<(String, Value)> = writes(target)[since..]
        .iter()
        .filter(|exchange| exchange.call.path.starts_with("/Users/"))
        .map(|exchange| (exchange.call.path.clone(), operations(exchange).into()))
        .collect();
    sent.sort_by(|a, b| a.0.cmp(&b.0));
    sent
}

fn assert_quiet(relay: &Relay) {
    let again = relay.sync().completed();
    assert_eq!(again.job["requests"], json!({"read": 0, "write": 0}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_that_changes_is_one_patch_of_the_roles_that_change() {
    let slapd = directory();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target, "nestedGroups = \"flatten\"");
    relay.sync().completed();
    assert_eq!(held(&target, 1, "roles"), ["employee"]);
    assert_eq!(held(&target, 2, "roles"), ["admin", "employee"]);
    assert_eq!(held(&target, 2, "entitlements"), ["vpn"]);
    assert!(held(&target, 3, "roles").is_empty());
    let created = writes(&target)
        .iter()
        .filter(|exchange| {
            exchange.call.method == "PATCH" && exchange.call.path.starts_with("/Users")
        })
        .count();
    assert_eq!(created, 0, "roles go with the creation");
    assert_quiet(&relay);

    // u1 becomes an admin, u2 leaves the nested group and with it both roles; nobody else is written.
    let before = writes(&target).len();
    member(&slapd, "admins", "add", &user(1));
    member(&slapd, "admins", "delete", &user(2));
    relay.sync().completed();
    let mut wanted = vec![
        (
            path(&target, 1),
            json!([{"op": "add", "path": "roles", "value": [{"value": "admin"}]}]),
        ),
        (
            path(&target, 2),
            json!([
                {"op": "remove", "path": "entitlements[value eq \"vpn\"]"},
                {"op": "remove", "path": "roles[value eq \"admin\"]"},
                {"op": "remove", "path": "roles[value eq \"employee\"]"},
            ]),
        ),
    ];
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(of_users(&target, before), wanted);
    assert_quiet(&relay);

    // A branch goes out of the upper group: those below it are looked at, and only they.
    let before = writes(&target).len();
    member(&slapd, "staff", "delete", &format!("cn=admins,{GROUPS}"));
    relay.sync().completed();
    assert_eq!(
        of_users(&target, before),
        [],
        "u1 and u9 are in staff themselves"
    );
    member(&slapd, "staff", "delete", &user(1));
    relay.sync().completed();
    assert_eq!(held(&target, 1, "roles"), ["admin"]);
    assert!(held(&target, 1, "entitlements").is_empty());
    assert_quiet(&relay);

    // Somebody who is renamed keeps what the group, which names the new name, gives.
    let before = writes(&target).len();
    slapd.modrdn(&user(1), "uid=u0000099", None);
    member(&slapd, "admins", "delete", &user(1));
    member(&slapd, "admins", "add", &user(99));
    relay.sync().completed();
    let sent = of_users(&target, before);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].1[0]["path"], "userName");
    assert_eq!(held(&target, 99, "roles"), ["admin"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn direct_members_only_where_groups_within_do_not_count() {
    let slapd = directory();
    let target = FaultTarget::start(Vec::new()).await;
    relay(&slapd, &target, "").sync().completed();
    assert_eq!(held(&target, 1, "roles"), ["employee"]);
    assert_eq!(held(&target, 2, "roles"), ["admin"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_somebody_else_gave_are_left_and_the_relays_own_are_brought_back() {
    let slapd = directory();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target, "");
    relay.sync().completed();
    // Of u1 nothing of ours is left, and of somebody else's there is more.
    let foreign =
        json!([{"op": "add", "path": "roles", "value": [{"value": "owner", "type": "local"}]}]);
    edit(&target, &path(&target, 2), foreign.clone());
    edit(&target, &path(&target, 3), foreign);
    edit(
        &target,
        &path(&target, 1),
        json!([{"op": "remove", "path": "roles"}]),
    );
    let before = writes(&target).len();
    let reconcile = ["sync", "--mode", "reconcile", "--output", "json"];
    relay.spawn(&reconcile).wait().completed();
    let wanted = json!([{"op": "add", "path": "roles", "value": [{"value": "employee"}]}]);
    assert_eq!(of_users(&target, before), [(path(&target, 1), wanted)]);
    assert_eq!(held(&target, 2, "roles"), ["admin", "owner"]);

    // Leaving takes away what the group gave, and nothing else.
    member(&slapd, "admins", "delete", &user(2));
    relay.sync().completed();
    assert_eq!(held(&target, 2, "roles"), ["owner"]);
    assert_eq!(held(&target, 3, "roles"), ["owner"]);
    let again = relay.spawn(&reconcile).wait().completed();
    assert_eq!(again.writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_are_all_missing_take_no_role_away() {
    let slapd = directory();
    let target = FaultTarget::start(Vec::new()).await;
    let usual = "groupSearchFilter = \"(objectClass=groupOfNames)\"";
    let relay = relay(&slapd, &target, usual);
    relay.sync().completed();
    let before = writes(&target).len();
    let relay = relay.directory("groupSearchFilter = \"(objectClass=groupOfNmes)\"");
    for _ in 0..2 {
        let run = relay.sync();
        assert_eq!(run.job["completeRead"], true, "{run:?}");
        let holds = run.job["holds"].to_string();
        assert!(holds.contains("users keep roles"), "{run:?}");
        assert_eq!(of_users(&target, before), [], "{run:?}");
    }
    // A member who left in the meantime loses the role when the groups are back, and nobody else does.
    member(&slapd, "admins", "delete", &user(2));
    let relay = relay.directory(usual);
    relay.sync_approved().completed();
    let wanted = json!([{"op": "remove", "path": "roles[value eq \"admin\"]"}]);
    assert_eq!(of_users(&target, before), [(path(&target, 2), wanted)]);
    assert_quiet(&relay);
}

/// The group names a user by a name that he gets only after he was read: for the run he is no member any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_is_renamed_while_the_directory_is_read_keeps_his_roles() {
    let slapd = directory();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target, "");
    relay.sync().completed();
    let before = writes(&target).len();
    member(&slapd, "admins", "delete", &user(2));
    member(&slapd, "admins", "add", &user(98));
    // Members leave before users are updated: while that request is on its way, the user gets the new name.
    let slow = Fault::Slow(Duration::from_secs(3));
    target.set_rules(vec![Rule::on("PATCH", "/Groups", slow).first(1)]);
    let run = relay.spawn_sync();
    wait_for("the member's removal at the target", PATIENCE, || {
        (writes(&target).len() > before).then_some(())
    });
    slapd.modrdn(&user(2), "uid=u0000098", None);
    let run = run.wait();
    let told = run.job["errors"].to_string();
    assert!(told.contains("renamed since it was read"), "{run:?}");
    assert_eq!(of_users(&target, before), [], "{run:?}");
    assert_eq!(held(&target, 2, "roles"), ["admin"]);
    relay.sync().completed();
    assert_eq!(held(&target, 98, "roles"), ["admin"]);
    assert_quiet(&relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_found_takes_nothing_away_and_is_told_of() {
    let slapd = directory();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target, "");
    relay.sync().completed();
    slapd.modrdn(&format!("cn=admins,{GROUPS}"), "cn=operators", None);
    let run = relay.sync();
    assert_eq!(run.job["status"], "completed_with_errors", "{run:?}");
    let told = run.job["errors"][0]["detail"].as_str().unwrap();
    assert!(
        told.contains("roleMapping") && told.contains("Admins"),
        "{told}"
    );
    assert_eq!(held(&target, 2, "roles"), ["admin"]);
    // One that is deleted takes its roles with it.
    slapd.delete(&format!("cn=staff,{GROUPS}"));
    relay.sync();
    assert!(held(&target, 1, "roles").is_empty());
    assert_eq!(held(&target, 2, "roles"), ["admin"]);
}
