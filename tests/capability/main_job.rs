//! The main promise: the target holds what the directory holds, and a change in the directory costs exactly its requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::support::fault_target::{FaultTarget, Settings};
use crate::support::mirror::{Held, assert_equal_to_directory};
use crate::support::relay::{Finished, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, Options, PEOPLE, READER, SUFFIX, Slapd};
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

/// Resources by what people call them, so that requests to different targets can be compared.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(target: &dyn Held) -> Self {
        let name = |resource: &Value, attribute: &str| {
            let text = |name: &str| resource[name].as_str().unwrap().to_owned();
            (text("id"), text(attribute))
        };
        let users = target.users();
        let groups = target.groups();
        let users = users.iter().map(|user| name(user, "userName"));
        Self(
            users
                .chain(groups.iter().map(|group| name(group, "displayName")))
                .collect(),
        )
    }

    /// The requests that write, after the first so many, as sorted lines.
    fn writes(&self, target: &FaultTarget, after: usize) -> Vec<String> {
        let journal = target.journal();
        let mut lines: Vec<String> = journal[after..]
            .iter()
            .filter(|exchange| exchange.call.method != "GET")
            .map(|exchange| {
                assert!(exchange.took_effect(), "{exchange:?}");
                self.line(
                    &exchange.call.method,
                    &exchange.call.path,
                    exchange.call.body.as_ref(),
                )
            })
            .collect();
        lines.sort();
        lines
    }

    /// `PATCH /Users/ann` and what it asks for, with names in place of ids.
    fn line(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let mut line = format!("{method} {path}");
        if let Some(body) = body {
            let mut asked = match body["Operations"].as_array() {
                Some(operations) => operations.iter().map(operation).collect(),
                None => vec![self.created(body)],
            };
            asked.sort();
            line = format!("{line} {}", asked.join(" + "));
        }
        for (id, name) in &self.0 {
            line = line.replace(id, name);
        }
        line
    }

    /// The body of a create without what no test can foretell; members, whose order means nothing, by name.
    fn created(&self, body: &Value) -> String {
        let mut body = body.clone();
        let object = body.as_object_mut().unwrap();
        assert!(object.remove("schemas").is_some());
        assert!(object.remove("externalId").is_some());
        if let Some(members) = object.get_mut("members").and_then(Value::as_array_mut) {
            members.sort_by_key(|member| self.0[member["value"].as_str().unwrap()].clone());
        }
        body.to_string()
    }
}

fn operation(operation: &Value) -> String {
    let text = |name: &str| operation[name].as_str().unwrap_or("-");
    match &operation["value"] {
        Value::Null => format!("{} {}", text("op"), text("path")),
        value => format!("{} {}={value}", text("op"), text("path")),
    }
}

/// The ten edits, and the requests that they need.
struct Edits {
    requests: Vec<String>,
    members_removed: u64,
}

impl Edits {
    /// Edits the directory. People who are renamed or moved are in no group: this directory does not follow names.
    fn make(slapd: &Slapd, world: &World) -> Self {
        let groups = groups_of(slapd);
        let mut alone = world
            .people
            .iter()
            .filter(|person| !groups.contains_key(&person.dn()));
        let mut in_groups = world.people.iter().filter(|person| {
            groups
                .get(&person.dn())
                .is_some_and(|names| names.iter().all(|name| name.starts_with("group ")))
        });
        let mut next = || alone.next().unwrap();
        let (renamed, moved) = (next(), next());
        let (changed, added) = (next(), next());
        let (disabled, deleted) = (in_groups.next().unwrap(), in_groups.next_back().unwrap());
        let mut requests = Vec::new();
        people_edits(slapd, renamed, changed, disabled, &mut requests);
        slapd.modrdn(
            &moved.dn(),
            &format!("uid={}", moved.uid),
            Some(&format!("ou=sales,{PEOPLE}")),
        );
        slapd.delete(&deleted.dn());
        requests.push(format!("PATCH /Users/{} replace active=false", deleted.uid));
        let left: &[String] = &groups[&deleted.dn()];
        for group in left {
            requests.push(format!(
                "PATCH /Groups/{group} remove members[value eq \"{}\"]",
                deleted.uid
            ));
        }
        // Three groups that no other edit touches.
        let untouched: Vec<_> = world
            .groups
            .iter()
            .filter(|group| !left.contains(&group.name) && group.members.len() > 2)
            .collect();
        let (grown, shrunk, named) = (untouched[0], untouched[1], untouched[2]);
        let leaving = world
            .people
            .iter()
            .find(|person| person.dn() == shrunk.members[1])
            .unwrap();
        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\nadd: member\nmember: {}\n",
            grown.dn(),
            added.dn()
        ));
        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\ndelete: member\nmember: {}\n",
            shrunk.dn(),
            leaving.dn()
        ));
        slapd.modrdn(&named.dn(), "cn=renamed group", None);
        requests.push(format!(
            "PATCH /Groups/{} add members=[{{\"value\":\"{}\"}}]",
            grown.name, added.uid
        ));
        requests.push(format!(
            "PATCH /Groups/{} remove members[value eq \"{}\"]",
            shrunk.name, leaving.uid
        ));
        requests
            .push("PATCH /Groups/renamed group replace displayName=\"renamed group\"".to_owned());
        new_entries(slapd, added, &mut requests);
        requests.sort();
        let members_removed = left.len() as u64 + 1;
        Self {
            requests,
            members_removed,
        }
    }

    fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("usersCreated", 1),
            ("usersUpdated", 2),
            ("usersDeactivated", 2),
            ("groupsCreated", 1),
            ("groupsUpdated", 1),
            ("membersAdded", 3),
            ("membersRemoved", self.members_removed),
        ]
    }

    fn lines_without_bodies(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .requests
            .iter()
            .map(|line| {
                let end = [" replace ", " remove ", " add ", " {"]
                    .iter()
                    .filter_map(|word| line.find(word))
                    .min();
                line[..end.unwrap()].to_owned()
            })
            .collect();
        lines.sort();
        lines
    }
}

fn people_edits(
    slapd: &Slapd,
    renamed: &Person,
    changed: &Person,
    disabled: &Person,
    requests: &mut Vec<String>,
) {
    slapd.modrdn(&renamed.dn(), "uid=newname", None);
    slapd.modify(&format!(
        "dn: uid=newname,{PEOPLE}\nchangetype: modify\nreplace: sn\nsn: Newton\n-\nreplace: displayName\ndisplayName: N. Newton\n"
    ));
    requests.push(
        "PATCH /Users/newname replace displayName=\"N. Newton\" + replace name.familyName=\"Newton\" + replace \
         userName=\"newname\""
            .to_owned(),
    );
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: mail\nmail: new@example.org\n",
        changed.dn()
    ));
    requests.push(format!(
        "PATCH /Users/{} replace emails[type eq \"work\"].value=\"new@example.org\"",
        changed.uid
    ));
    lock(slapd, &disabled.dn());
    requests.push(format!(
        "PATCH /Users/{} replace active=false",
        disabled.uid
    ));
}

fn new_entries(slapd: &Slapd, other: &Person, requests: &mut Vec<String>) {
    let joiner = Person {
        uid: "joiner".to_owned(),
        given_name: "Jo".to_owned(),
        surname: "Iner".to_owned(),
        display_name: "Jo Iner".to_owned(),
        mail: "jo@example.org".to_owned(),
        telephone: "+49 1".to_owned(),
        ..other.clone()
    };
    slapd.add(&joiner.ldif());
    slapd.add(&format!(
        "dn: cn=newcomers,{GROUPS}\nobjectClass: groupOfNames\ncn: newcomers\nmember: {}\nmember: {}\n",
        joiner.dn(),
        other.dn()
    ));
    let user = json!({
        "userName": "joiner",
        "active": true,
        "displayName": "Jo Iner",
        "name": {"givenName": "Jo", "familyName": "Iner"},
        "emails": [{"type": "work", "primary": true, "value": "jo@example.org"}],
        "phoneNumbers": [{"type": "work", "value": "+49 1"}],
    });
    requests.push(format!("POST /Users {user}"));
    let mut members = [joiner.uid, other.uid.clone()];
    members.sort();
    let members: Vec<Value> = members.iter().map(|uid| json!({"value": uid})).collect();
    requests.push(format!(
        "POST /Groups {}",
        json!({"displayName": "newcomers", "members": members})
    ));
}

/// The groups that name a person by DN or uid, by the person's DN.
fn groups_of(slapd: &Slapd) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for group in slapd.search(GROUPS, "(cn=*)", &["cn", "member", "memberUid"]) {
        let name = group.first("cn").unwrap();
        let uids = group
            .values("memberUid")
            .iter()
            .map(|uid| format!("uid={uid},{PEOPLE}"));
        for dn in group.values("member").iter().cloned().chain(uids) {
            found.entry(dn).or_default().push(name.to_owned());
        }
    }
    found
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

#[test]
fn main_job_reads_over_starttls_and_trusts_the_named_authority_only() {
    let world = World::new(2, 8, 1);
    let (slapd, target) = (directory(&world), Scim2Server::start());
    let foreign = Slapd::with("");
    let start_tls = |authority: &Slapd| {
        Relay::new(&slapd, &target).directory(&format!(
            "startTLS = true\nallowPlainLdap = false\ncaCertificate = \"file:{}\"",
            authority.ca_pem_path().display()
        ))
    };
    let run = start_tls(&foreign).sync();
    assert_eq!(
        (run.code, &run.job["status"]),
        (Some(1), &json!("failed")),
        "{run:?}"
    );
    let detail = run.job["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("certificate"), "{detail}");
    assert_eq!(target.requests(), []);
    start_tls(&slapd).sync().completed();
    assert_equal_to_directory(&slapd, &target);
}

/// A token endpoint for one client; its first token is stale already.
#[derive(Default)]
struct TokenEndpoint {
    issued: AtomicU64,
    asked: Mutex<Vec<String>>,
}

impl TokenEndpoint {
    async fn start() -> (Arc<Self>, String) {
        let endpoint = Arc::new(Self::default());
        let shared = endpoint.clone();
        let answer =
            move |headers: HeaderMap, body: String| async move { shared.answer(&headers, body) };
        let router = axum::Router::new().route("/token", axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (endpoint, url)
    }

    fn answer(&self, headers: &HeaderMap, body: String) -> (StatusCode, String) {
        self.asked.lock().unwrap().push(body);
        // `relay:s3cret-canary` in base64.
        if headers
            .get("authorization")
            .is_none_or(|value| value != "Basic cmVsYXk6czNjcmV0LWNhbmFyeQ==")
        {
            return (
                StatusCode::UNAUTHORIZED,
                json!({"error": "invalid_client"}).to_string(),
            );
        }
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let token = json!({"access_token": format!("token-{number}"), "token_type": "Bearer", "expires_in": 3600});
        (StatusCode::OK, token.to_string())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn main_job_fetches_a_token_with_client_credentials_and_renews_a_refused_one() {
    let world = World::new(4, 10, 2);
    let slapd = directory(&world);
    let settings = Settings {
        token: Some("token-1".to_owned()),
        ..Settings::default()
    };
    let target = FaultTarget::start_with(Vec::new(), settings).await;
    let (endpoint, url) = TokenEndpoint::start().await;
    let relay = |secret: &str| {
        Relay::between(&slapd, target.base_url(), "not used")
            .tenant(&format!(
                "auth = {{ type = \"oauth2\", tokenUrl = \"{url}\", clientId = \"relay\", clientSecret = \"env:CLIENT_SECRET\", scope = \"scim\" }}"
            ))
            .environment("CLIENT_SECRET", secret)
    };
    let run = relay("wrong-canary").sync();
    assert_eq!(
        (run.code, &run.job["status"]),
        (Some(1), &json!("failed")),
        "{run:?}"
    );
    assert!(
        run.job["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("check the token URL"),
        "{run:?}"
    );
    assert!(
        !format!("{run:?}").contains("wrong-canary"),
        "a secret in the output: {run:?}"
    );

    endpoint.asked.lock().unwrap().clear();
    let run = relay("s3cret-canary").sync().completed();
    assert_equal_to_directory(&slapd, &target);
    assert!(
        !format!("{run:?}").contains("s3cret-canary"),
        "a secret in the output"
    );
    // One at the start, one in place of the refused one, however many requests were under way.
    let asked = endpoint.asked.lock().unwrap().clone();
    assert_eq!(asked, ["grant_type=client_credentials&scope=scim"; 2]);
    assert!(slapd.search(SUFFIX, "(uid=*)", &["uid"]).len() == 10);
}
