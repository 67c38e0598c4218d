//! The main promise: the target holds what the directory holds, and a change in the directory costs exactly its requests.

mod edits;
pub mod names;
mod ways;

use serde_json::{Value, json};

use crate::main_job::edits::Edits;
use crate::main_job::names::Names;
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::{Held, assert_equal_to_directory};
use crate::support::relay::{Finished, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, Options, PEOPLE, READER, Slapd};
use crate::support::wait_for;
use crate::support::world::{Person, World};

/// Users of the large world.
const USERS: usize = 1_000;
/// Plain groups of the large world; five special ones come with them.
const PLAIN_GROUPS: usize = 100;
const ALL_GROUPS: u64 = PLAIN_GROUPS as u64 + 5;
/// A part of the tree that no profile here reads.
const OUTSIDE: &str = "ou=elsewhere,dc=example,dc=org";
const UNITS: &str = "dn: ou=elsewhere,dc=example,dc=org\nobjectClass: organizationalUnit\nou: elsewhere\n\n\
                     dn: ou=sales,ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: sales\n\n";

/// OpenLDAP gives everybody 500 entries unless told otherwise.
fn unlimited() -> String {
    format!("limits dn.exact=\"{READER}\" size=unlimited")
}

fn directory(world: &World) -> Slapd {
    Options::new()
        .ldif(UNITS)
        .ldif(&world.ldif())
        .database(&unlimited())
        .start()
}

/// A relay that reads over LDAPS with the test's own authority.
fn over_tls(relay: Relay, slapd: &Slapd) -> Relay {
    relay.directory(&format!(
        "useTLS = true\nallowPlainLdap = false\nport = {}\ncaCertificate = \"file:{}\"",
        slapd.ldaps_port(),
        slapd.ca_pem_path().display()
    ))
}

fn assert_counts(run: &Finished, expected: &[(&str, u64)]) {
    let fields = [
        "usersCreated",
        "usersUpdated",
        "usersDeactivated",
        "usersReactivated",
        "groupsCreated",
        "groupsUpdated",
        "groupsDeleted",
        "membersAdded",
        "membersRemoved",
        "skipped",
    ];
    for (field, _) in expected {
        assert!(fields.contains(field), "{field} is not counted");
    }
    for field in fields {
        let wanted = expected.iter().find(|(name, _)| *name == field);
        let wanted = wanted.map_or(0, |(_, count)| *count);
        assert_eq!(run.count(field), wanted, "{field}: {run:?}");
    }
}

/// A run that finds nothing to do asks nothing of the target.
fn assert_quiet(relay: &Relay) {
    let run = relay.sync().completed();
    assert_eq!(
        run.job["requests"],
        json!({"read": 0, "write": 0}),
        "{run:?}"
    );
    assert_counts(&run, &[]);
    assert_eq!(run.job["completeRead"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn main_job_pushes_a_company_once_and_then_only_what_changes() {
    let world = World::new(11, USERS, PLAIN_GROUPS);
    let slapd = directory(&world);
    let server = Scim2Server::start();
    let journaled = FaultTarget::start(Vec::new()).await;
    let relay = over_tls(Relay::new(&slapd, &server), &slapd);
    let twin = over_tls(Relay::between(&slapd, journaled.base_url(), "any"), &slapd);

    for (relay, target) in [(&relay, &server as &dyn Held), (&twin, &journaled)] {
        let run = relay.sync().completed();
        let members: u64 = memberships(target);
        assert_counts(
            &run,
            &[
                ("usersCreated", USERS as u64),
                ("groupsCreated", ALL_GROUPS),
                ("membersAdded", members),
            ],
        );
        assert_eq!(run.writes(), USERS as u64 + ALL_GROUPS, "{run:?}");
        assert_quiet(relay);
    }
    assert_equal_to_directory(&slapd, &server);
    assert_equal_to_directory(&slapd, &journaled);
    assert_eq!(server.writes() as u64, USERS as u64 + ALL_GROUPS);

    let (server_before, journal_before) = (server.requests().len(), journaled.journal().len());
    let edits = Edits::make(&slapd, &world);
    for relay in [&relay, &twin] {
        let run = relay.sync().completed();
        assert_counts(&run, &edits.counts());
        assert_eq!(run.writes(), edits.requests.len() as u64, "{run:?}");
    }
    assert_equal_to_directory(&slapd, &server);
    assert_equal_to_directory(&slapd, &journaled);
    let names = Names::of(&journaled);
    let written = names.writes(&journaled, journal_before);
    assert_eq!(written, edits.requests);
    let requests = server.requests().split_off(server_before);
    let reads = requests
        .iter()
        .filter(|request| !request.is_write())
        .count();
    assert!(
        reads <= 3,
        "more than what the target is able to do was asked: {requests:?}"
    );
    let names = Names::of(&server);
    let mut written: Vec<String> = requests
        .iter()
        .filter(|request| request.is_write())
        .map(|request| {
            assert!(request.status < 300, "{request:?}");
            names.line(
                &request.method,
                request.path.trim_start_matches("/v2"),
                None,
            )
        })
        .collect();
    written.sort();
    assert_eq!(written, edits.lines_without_bodies());
    assert_quiet(&relay);
    assert_quiet(&twin);
}

fn memberships(target: &dyn Held) -> u64 {
    let groups = target.groups();
    let sizes = groups
        .iter()
        .map(|group| group["members"].as_array().map_or(0, Vec::len));
    sizes.sum::<usize>() as u64
}

/// Locks an account as 389 Directory Server does.
fn lock(slapd: &Slapd, dn: &str) {
    slapd.modify(&format!(
        "dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: nsAccountLock\nnsAccountLock: true\n"
    ));
}

#[test]
fn main_job_comparison_notices_every_kind_of_difference() {
    let world = World::new(6, 6, 2);
    let (slapd, target) = (directory(&world), Scim2Server::start());
    Relay::new(&slapd, &target).sync().completed();
    assert_equal_to_directory(&slapd, &target);
    let id = |resource: &Value| resource["id"].as_str().unwrap().to_owned();
    let groups = target.groups();
    let (user, group) = (id(&target.users()[0]), id(&groups[0]));
    let (member, nobody) = (
        groups[0]["members"][0].clone(),
        format!("members[value eq {}]", groups[0]["members"][0]["value"]),
    );
    let work_mail = r#"emails[type eq "work"].value"#;
    for (path, change, back) in [
        (
            format!("/Users/{user}"),
            json!({"op": "replace", "path": "active", "value": false}),
            json!({"op": "replace", "path": "active", "value": true}),
        ),
        (
            format!("/Users/{user}"),
            json!({"op": "replace", "path": work_mail, "value": "x@y"}),
            json!({"op": "replace", "path": work_mail, "value": target.users()[0]["emails"][0]["value"]}),
        ),
        (
            format!("/Users/{user}"),
            json!({"op": "add", "path": "title", "value": "Boss"}),
            json!({"op": "remove", "path": "title"}),
        ),
        (
            format!("/Groups/{group}"),
            json!({"op": "remove", "path": nobody}),
            json!({"op": "add", "path": "members", "value": [member]}),
        ),
    ] {
        let patch = |operation: &Value| {
            let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]});
            let (status, answer) = target.send("PATCH", &path, Some(&body));
            assert!(status < 300, "{answer}");
        };
        patch(&change);
        let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_equal_to_directory(&slapd, &target)
        }));
        assert!(compared.is_err(), "not noticed: {change}");
        patch(&back);
        assert_equal_to_directory(&slapd, &target);
    }
    slapd.delete(&world.people[0].dn());
    let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        assert_equal_to_directory(&slapd, &target)
    }));
    assert!(compared.is_err(), "an active leaver was not noticed");
}

#[test]
fn main_job_returning_users_come_back_under_their_old_id() {
    let world = World::new(3, 30, 4);
    let (slapd, target) = (directory(&world), Scim2Server::start());
    let relay = Relay::new(&slapd, &target);
    relay.sync().completed();
    let id_of = |uid: &str| {
        let users = target.users();
        let user = users.iter().find(|user| user["userName"] == uid).unwrap();
        user["id"].as_str().unwrap().to_owned()
    };
    let (locked, away) = (&world.people[0], &world.people[1]);
    let ids = [id_of(&locked.uid), id_of(&away.uid)];

    lock(&slapd, &locked.dn());
    slapd.modrdn(&away.dn(), &format!("uid={}", away.uid), Some(OUTSIDE));
    let run = relay.sync().completed();
    assert_eq!(run.count("usersDeactivated"), 2, "{run:?}");
    assert_equal_to_directory(&slapd, &target);
    let active = |id: &str| target.send("GET", &format!("/Users/{id}"), None).1["active"].clone();
    assert_eq!(ids.each_ref().map(|id| active(id)), [false, false]);

    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\ndelete: nsAccountLock\n",
        locked.dn()
    ));
    slapd.modrdn(
        &format!("uid={},{OUTSIDE}", away.uid),
        &format!("uid={}", away.uid),
        Some(PEOPLE),
    );
    // What changed meanwhile comes with the return.
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: sn\nsn: Back\n",
        away.dn()
    ));
    let before = target.requests().len();
    let run = relay.sync().completed();
    assert_eq!(run.count("usersReactivated"), 2, "{run:?}");
    assert_eq!(
        (run.count("usersCreated"), run.count("usersUpdated")),
        (0, 0),
        "{run:?}"
    );
    assert_equal_to_directory(&slapd, &target);
    let requests = &target.requests()[before..];
    let users: Vec<_> = requests
        .iter()
        .filter(|request| request.is_write() && request.path.contains("/Users"))
        .collect();
    let mut paths: Vec<_> = users
        .iter()
        .map(|request| (request.method.as_str(), request.path.clone()))
        .collect();
    paths.sort();
    let mut expected = ids
        .each_ref()
        .map(|id| ("PATCH", format!("/v2/Users/{id}")));
    expected.sort();
    assert_eq!(paths, expected);
    assert_eq!(target.users().len(), 30);
    assert_quiet(&relay);
}

#[test]
fn main_job_moves_and_renames_do_not_touch_memberships_where_the_directory_follows_names() {
    let world = World::new(5, 20, 3);
    let slapd = Options::new()
        .ldif(UNITS)
        .ldif(&world.ldif())
        .overlays("overlay refint\nrefint_attributes member\n")
        .start();
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target);
    relay.sync().completed();
    // Memberships by login name are not DNs, so nobody follows those.
    let named = |dn: &&String| world.posix.iter().all(|uid| !dn.contains(uid));
    let old = world
        .groups
        .iter()
        .flat_map(|group| &group.members)
        .find(named)
        .unwrap();
    slapd.modrdn(old, "uid=moved", Some(&format!("ou=sales,{PEOPLE}")));
    let new = format!("uid=moved,ou=sales,{PEOPLE}");
    // slapd follows the name in the background.
    wait_for(
        "the new name in the groups",
        std::time::Duration::from_secs(10),
        || {
            let left = slapd.search(GROUPS, &format!("(member={old})"), &["cn"]);
            let there = slapd.search(GROUPS, &format!("(member={new})"), &["cn"]);
            (left.is_empty() && !there.is_empty()).then_some(())
        },
    );
    let before = target.requests().len();
    let run = relay.sync().completed();
    assert_counts(&run, &[("usersUpdated", 1)]);
    let writes = target.requests()[before..]
        .iter()
        .filter(|request| request.is_write())
        .count();
    assert_eq!(writes, 1);
    assert_equal_to_directory(&slapd, &target);
    assert_quiet(&relay);
}

#[test]
fn main_job_posix_members_come_and_go_by_login_name() {
    let world = World::new(9, 12, 1);
    let (slapd, target) = (directory(&world), Scim2Server::start());
    let relay = Relay::new(&slapd, &target);
    relay.sync().completed();
    let members = || {
        let groups = target.groups();
        let posix = groups
            .iter()
            .find(|group| group["displayName"] == "posix")
            .unwrap();
        posix["members"].as_array().unwrap().len()
    };
    assert_eq!(members(), 3);
    slapd.modify(&format!(
        "dn: cn=posix,{GROUPS}\nchangetype: modify\ndelete: memberUid\nmemberUid: {}\n-\nadd: memberUid\nmemberUid: {}\nmemberUid: nobody\n",
        world.people[0].uid, world.people[7].uid
    ));
    let run = relay.sync().completed();
    assert_counts(&run, &[("membersAdded", 1), ("membersRemoved", 1)]);
    assert_eq!(run.writes(), 2, "{run:?}");
    assert_equal_to_directory(&slapd, &target);
    // A name that nobody had is somebody's now.
    let nobody = Person {
        uid: "nobody".to_owned(),
        ..world.people[0].clone()
    };
    slapd.add(&nobody.ldif());
    let run = relay.sync().completed();
    // `uid=nobody` is the dangling member of a groupOfNames too.
    assert_counts(&run, &[("usersCreated", 1), ("membersAdded", 2)]);
    assert_equal_to_directory(&slapd, &target);
    assert_quiet(&relay);
}
