//! Resources that somebody removed at the target.

use scim_relay::demo::target::answer::Call;
use serde_json::json;

use super::{change_mail, created, dn, six, user};
use crate::support::fault_target::FaultTarget;
use crate::support::slapd::Slapd;
use crate::support::world::World;
use crate::truth::{assert_settled, errors_of, relay, writes};

fn remove(target: &FaultTarget, path: &str) {
    let answer = target.target().handle(Call::new("DELETE", path));
    assert_eq!(answer.status, 204, "{path}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_of_a_removed_user_creates_it_again_with_its_memberships() {
    let slapd = Slapd::with(&World::new(11, 6, 3).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let id = user(&target, 2)["id"].as_str().unwrap().to_owned();
    remove(&target, &format!("/Users/{id}"));
    change_mail(&slapd, 2, "again@example.org");
    let first = relay.sync();
    assert_eq!(first.code, Some(3), "{first:?}");
    let errors = errors_of(&first, &dn(2));
    assert!(
        errors.len() == 1 && errors[0].contains("creates it again"),
        "{first:?}"
    );
    let second = relay.sync().completed();
    assert_eq!(second.count("usersCreated"), 1, "{second:?}");
    assert_settled(&slapd, &target, &relay, "created again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_of_a_user_that_was_replaced_by_one_of_ours_goes_to_that_one() {
    let slapd = six();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let held = user(&target, 2);
    remove(&target, &format!("/Users/{}", held["id"].as_str().unwrap()));
    let replacement = json!({"schemas": held["schemas"], "userName": "u0000002", "externalId": held["externalId"]});
    let answer = target
        .target()
        .handle(Call::new("POST", "/Users").body(replacement));
    assert_eq!(answer.status, 201);
    change_mail(&slapd, 2, "again@example.org");
    relay.sync();
    relay.sync().completed();
    assert_eq!(created(&target, "/Users"), 6);
    assert_settled(&slapd, &target, &relay, "linked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deactivation_of_a_removed_user_is_done() {
    let slapd = six();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    remove(
        &target,
        &format!("/Users/{}", user(&target, 2)["id"].as_str().unwrap()),
    );
    slapd.delete(&dn(2));
    let before = writes(&target).len();
    relay.sync().completed();
    assert_eq!(writes(&target).len(), before);
    assert_settled(&slapd, &target, &relay, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_removed_is_created_again_with_its_members() {
    let world = World::new(11, 6, 1);
    let slapd = Slapd::with(&world.ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let groups = target.target().groups();
    let group = groups
        .iter()
        .find(|group| group["displayName"] == "group 00000")
        .unwrap();
    remove(
        &target,
        &format!("/Groups/{}", group["id"].as_str().unwrap()),
    );
    let renamed = "cn=renamed,ou=groups,dc=example,dc=org";
    slapd.modrdn(&world.groups[0].dn(), "cn=renamed", None);
    let first = relay.sync();
    assert_eq!(
        (first.code, errors_of(&first, renamed).len()),
        (Some(3), 1),
        "{first:?}"
    );
    let second = relay.sync().completed();
    assert_eq!(second.count("groupsCreated"), 1, "{second:?}");
    assert_settled(&slapd, &target, &relay, "created again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_group_is_created_again_though_only_a_member_left_it() {
    let world = World::new(11, 6, 1);
    let slapd = Slapd::with(&world.ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let groups = target.target().groups();
    let group = groups
        .iter()
        .find(|group| group["displayName"] == "group 00000")
        .unwrap();
    let path = format!("/Groups/{}", group["id"].as_str().unwrap());
    remove(&target, &path);
    let group = world.groups[0].dn();
    let member = slapd.search(&group, "(objectClass=*)", &["member"])[0]
        .values("member")
        .first()
        .unwrap()
        .to_string();
    slapd.modify(&format!(
        "dn: {group}\nchangetype: modify\ndelete: member\nmember: {member}\n"
    ));
    let first = relay.sync();
    assert_eq!((first.code, errors_of(&first, &group).len()), (Some(3), 1));
    assert_eq!(relay.sync().completed().count("groupsCreated"), 1);
    assert_settled(&slapd, &target, &relay, "created again");
}
