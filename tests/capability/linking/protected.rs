//! The protected list: what is on it is never linked and never changed, whichever job runs and whatever the directory says.

use serde_json::{Value, json};

use super::{GROUP, USER, dn, edit, named, path_of, put, reconcile};
use crate::program::Api;
use crate::support::fault_target::FaultTarget;
use crate::support::relay::Relay;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, Slapd};
use crate::support::world::World;
use crate::truth::{anchor_of, assert_settled, errors_of, relay, writes};

fn with_team(world: &World) -> (Slapd, String) {
    let slapd = Slapd::with(&world.ldif());
    let team = format!("cn=team,{GROUPS}");
    slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\nmember: {}\nmember: {}\n",
        dn(1),
        dn(2)
    ));
    (slapd, team)
}

fn warned(job: &Value) -> bool {
    job["warnings"].to_string().contains("protected list")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protected_resource_is_never_linked_nor_created_nor_brought_up_to_date() {
    let (slapd, team) = with_team(&World::new(21, 6, 0));
    let target = FaultTarget::start(Vec::new()).await;
    // By name, by externalId, and a group: each would be linked without the list.
    let root = put(
        &target,
        "/Users",
        json!({"schemas": [USER], "userName": "u0000001", "title": "root"}),
    );
    let ours = json!({"schemas": [USER], "userName": "Breakglass", "externalId": anchor_of(&slapd, &dn(2))});
    put(&target, "/Users", ours);
    let group =
        json!({"schemas": [GROUP], "displayName": "team", "externalId": anchor_of(&slapd, &team)});
    put(&target, "/Groups", group);
    let before = (target.target().users(), target.target().groups());
    let relay = relay(&slapd, &target).directory("linking = \"automatic\"").tenant(&format!(
        "protected = {{ ids = [\"{root}\"], userNames = [\"break*\", \"*05\"], groupNames = [\"TEAM\"] }}"
    ));
    for run in ["first", "second"] {
        let finished = relay.sync();
        assert_eq!(finished.count("skipped"), 3, "{run}: {finished:?}");
        assert!(warned(&finished.job), "{finished:?}");
        assert_eq!(finished.count("linked"), 0, "{run}: {finished:?}");
        // Nobody is given a name that is on the list, because he could not be deactivated any more.
        let errors = errors_of(&finished, &dn(5));
        assert!(
            errors.len() == 1 && errors[0].contains("protected"),
            "{finished:?}"
        );
        assert_eq!(
            (finished.code, finished.job["errorCount"].as_u64()),
            (Some(3), Some(1))
        );
    }
    for user in &before.0 {
        let held = target.target().users();
        assert!(held.contains(user), "{user} was changed: {held:?}");
    }
    assert_eq!(target.target().groups(), before.1);
    let links = crate::program::run_with(
        &relay.config_path(),
        &["--output", "json", "links", "accept", "u0000001"],
        &relay.variables(),
    );
    assert!(
        links.code == Some(2) && links.stdout.contains("protected list"),
        "{links:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linked_target_resource_that_becomes_protected_is_left_alone_by_every_job() {
    let world = World::new(21, 24, 0);
    let (slapd, team) = with_team(&world);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let group = target.target().groups()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let list = format!(
        "protected = {{ ids = [\"{group}\"], userNames = [\"U0000004\", \"?0000003\"], groupNames = [] }}"
    );
    let relay = relay.tenant(&list);
    assert_eq!(relay.sync().completed().writes(), 0);

    // A leaver, somebody who is disabled, a renamed group that loses a member, and a role taken away at the target.
    slapd.delete(&dn(4));
    slapd.modify(&format!("dn: {}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: nsAccountLock\nnsAccountLock: true\n", dn(3)));
    slapd.modify(&format!(
        "dn: {team}\nchangetype: modify\ndelete: member\nmember: {}\n-\nadd: member\nmember: {}\n",
        dn(1),
        dn(6)
    ));
    slapd.delete(&dn(5));
    let before = writes(&target).len();
    let run = relay.sync().completed();
    assert_eq!(
        (run.count("usersDeactivated"), run.count("skipped")),
        (1, 3),
        "{run:?}"
    );
    assert!(warned(&run.job), "{run:?}");
    assert_eq!(
        writes(&target).len() - before,
        1,
        "only the leaver who is not on the list"
    );
    assert_eq!(named(&target, 5)["active"], false);
    for number in [3, 4] {
        assert_eq!(named(&target, number)["active"], true);
    }
    // Nor does a reconciling run bring anything back, nor a job about the one entry.
    edit(
        &target,
        &path_of(&named(&target, 3)),
        json!([{"op": "replace", "path": "displayName", "value": "Edited"}]),
    );
    let before = writes(&target).len();
    let reconciled = reconcile(&relay).completed();
    assert_eq!(reconciled.count("skipped"), 3, "{reconciled:?}");
    let only = relay
        .spawn(&["sync", "--only", &dn(3), "--output", "json"])
        .wait();
    assert_eq!(only.count("skipped"), 1, "{only:?}");
    assert_eq!(writes(&target).len(), before);
    assert_eq!(named(&target, 3)["displayName"], "Edited");

    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let directory = api.directory("hq");
    let of = |list: &str| {
        api.get(&format!("/directories/{directory}/{list}?state=protected"))
            .json()
    };
    let users = of("users");
    let mut names: Vec<&str> = users["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["userName"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["u0000003", "u0000004"], "{users}");
    assert_eq!(of("groups")["items"].as_array().unwrap().len(), 1);
    drop(serving);

    // What was held is made good when it is on the list no more.
    let relay = relay.tenant("protected = { ids = [], userNames = [], groupNames = [] }");
    assert_eq!(relay.sync().completed().count("usersDeactivated"), 2);
    assert_settled(&slapd, &target, &relay, "released");
}

#[test]
fn a_protected_account_of_a_target_by_others_outlives_its_entry() {
    let slapd = Slapd::with(&World::new(21, 20, 0).ldif());
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target);
    relay.sync().completed();
    let relay = relay.tenant("protected = { userNames = [\"*0001\"] }");
    slapd.delete(&dn(1));
    slapd.delete(&dn(2));
    let run = relay.sync().completed();
    assert_eq!(
        (run.count("usersDeactivated"), run.count("skipped")),
        (1, 1),
        "{run:?}"
    );
    let users = target.users();
    let active =
        |name: &str| users.iter().find(|user| user["userName"] == name).unwrap()["active"].clone();
    assert_eq!(
        (active("u0000001"), active("u0000002")),
        (json!(true), json!(false))
    );
}
