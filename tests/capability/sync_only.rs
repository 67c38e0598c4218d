//! One entry alone: exactly its requests are sent, and everything else waits for the next run of all.

use serde_json::{Value, json};

use crate::main_job::names::Names;
use crate::program::{Api, PATIENCE};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::mirror::assert_equal_to_directory;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{GROUPS, Options, PEOPLE, Slapd};
use crate::support::wait_for;
use crate::support::world::World;
use crate::truth::{anchor_of, assert_settled, relay};
use scim_relay::demo::target::answer::Call;

fn dn(uid: &str) -> String {
    format!("uid={uid},{PEOPLE}")
}

fn person(uid: &str) -> String {
    format!(
        "dn: {}\nobjectClass: inetOrgPerson\ncn: {uid}\nsn: {uid}\nuid: {uid}\ndisplayName: {uid}\nmail: {uid}@example.org\n\n",
        dn(uid)
    )
}

fn group(name: &str, members: &[&str]) -> String {
    let members: String = members
        .iter()
        .map(|uid| format!("member: {}\n", dn(uid)))
        .collect();
    format!("dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\n{members}\n")
}

fn rename(slapd: &Slapd, uid: &str, name: &str) {
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: displayName\ndisplayName: {name}\n",
        dn(uid)
    ));
}

fn membership(slapd: &Slapd, name: &str, change: &str, uid: &str) {
    slapd.modify(&format!(
        "dn: cn={name},{GROUPS}\nchangetype: modify\n{change}: member\nmember: {}\n",
        dn(uid)
    ));
}

fn only(relay: &Relay, selector: &str) -> Finished {
    relay
        .spawn(&["sync", "--output", "json", "--only", selector])
        .wait()
}

fn preview(relay: &Relay, selector: &str) -> Finished {
    relay
        .spawn(&["preview", "--output", "json", "--only", selector])
        .wait()
}

/// Six people and two groups, all of them at the target.
async fn company() -> (Slapd, FaultTarget, Relay) {
    let people = ["ann", "bob", "cid", "dan", "eve", "fay"].map(person);
    let groups = [
        group("red", &["ann", "bob", "cid"]),
        group("blue", &["dan", "eve"]),
    ];
    let slapd = Slapd::with(&(people.join("") + &groups.join("")));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    (slapd, target, relay)
}

/// What a run wrote, as lines that people can read.
fn written(target: &FaultTarget, run: impl FnOnce() -> Finished) -> (Finished, Vec<String>) {
    let before = target.journal().len();
    let run = run();
    let lines = Names::of(target).writes(target, before);
    (run, lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_sends_what_one_entry_needs_and_leaves_the_rest() {
    let (slapd, target, relay) = company().await;
    // A joiner in a group, two changed users, a leaver who is in a group, and a group of other members.
    slapd.add(&person("joe"));
    membership(&slapd, "blue", "add", "joe");
    rename(&slapd, "ann", "Ann of House");
    rename(&slapd, "bob", "Bob of House");
    slapd.delete(&dn("cid"));
    membership(&slapd, "red", "add", "fay");

    let by_anchor = anchor_of(&slapd, &dn("ann"));
    let (run, lines) = written(&target, || only(&relay, &by_anchor));
    assert_eq!(
        lines,
        ["PATCH /Users/ann replace displayName=\"Ann of House\""]
    );
    let job = run.completed().job;
    assert_eq!(
        (&job["only"], &job["completeRead"], &job["usersUpdated"]),
        (&json!(by_anchor), &Value::Null, &json!(1))
    );
    // Again: nothing to do, and nothing asked of the target.
    let again = only(&relay, &by_anchor).completed();
    assert_eq!(again.job["requests"], json!({"read": 0, "write": 0}));

    let (run, lines) = written(&target, || only(&relay, "joe"));
    assert_eq!(run.completed().count("usersCreated"), 1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("POST /Users {"), "{lines:?}");

    // By a name that only the store knows; the memberships are those of the groups.
    let (run, lines) = written(&target, || only(&relay, &dn("cid")));
    assert_eq!(run.completed().count("usersDeactivated"), 1);
    assert_eq!(lines, ["PATCH /Users/cid replace active=false"]);
    let again = only(&relay, "cid").completed();
    assert_eq!(again.job["requests"], json!({"read": 0, "write": 0}));

    let (run, lines) = written(&target, || only(&relay, "blue"));
    assert_eq!(run.completed().count("membersAdded"), 1);
    assert_eq!(
        lines,
        ["PATCH /Groups/blue add members=[{\"value\":\"joe\"}]"]
    );

    let (run, lines) = written(&target, || relay.sync());
    run.completed();
    assert_eq!(
        lines,
        [
            "PATCH /Groups/red add members=[{\"value\":\"fay\"}]",
            "PATCH /Groups/red remove members[value eq \"cid\"]",
            "PATCH /Users/bob replace displayName=\"Bob of House\"",
        ]
    );
    assert_equal_to_directory(&slapd, &target);
    assert_settled(&slapd, &target, &relay, "all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_follows_groups_that_go_and_users_that_move() {
    let (slapd, target, relay) = company().await;
    slapd.delete(&format!("cn=blue,{GROUPS}"));
    slapd.modrdn(&dn("fay"), "uid=fey", None);
    rename(&slapd, "ann", "Ann of House");

    // The old name leads to the entry, which has another one now.
    let (run, lines) = written(&target, || only(&relay, &dn("fay")));
    assert_eq!(run.completed().count("usersUpdated"), 1);
    assert_eq!(lines, ["PATCH /Users/fey replace userName=\"fey\""]);

    let (run, lines) = written(&target, || only(&relay, &format!("cn=blue,{GROUPS}")));
    assert_eq!(run.completed().count("membersRemoved"), 2);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("PATCH /Groups/blue remove"),
        "{lines:?}"
    );

    let (run, lines) = written(&target, || relay.sync());
    run.completed();
    assert_eq!(
        lines,
        ["PATCH /Users/ann replace displayName=\"Ann of House\""]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_previews_one_entry() {
    let (slapd, target, relay) = company().await;
    rename(&slapd, "ann", "Ann of House");
    rename(&slapd, "bob", "Bob of House");
    slapd.delete(&dn("eve"));
    let (run, lines) = written(&target, || preview(&relay, "ann"));
    assert_eq!((lines.len(), run.completed().count("usersUpdated")), (0, 1));
    let (run, lines) = written(&target, || preview(&relay, "eve"));
    let run = run.completed();
    assert_eq!((lines.len(), run.count("usersDeactivated")), (0, 1));
    assert_eq!(run.count("membersRemoved"), 0, "{run:?}");
    let run = relay.sync().completed();
    assert_eq!(
        (
            run.count("usersUpdated"),
            run.count("usersDeactivated"),
            run.count("membersRemoved")
        ),
        (2, 1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_before_first_contact_looks_for_its_own_resource_and_leaves_the_listing_to_a_full_run()
 {
    let slapd = Slapd::with(&["ann", "bob", "cid"].map(person).join(""));
    let target = FaultTarget::start(Vec::new()).await;
    for uid in ["ann", "bob"] {
        let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": format!("old-{uid}"), "externalId": anchor_of(&slapd, &dn(uid)), "active": true});
        let answer = target
            .target()
            .handle(Call::new("POST", "/Users").body(user));
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let relay = relay(&slapd, &target);
    let run = only(&relay, "ann").completed();
    assert_eq!((run.count("linked"), run.count("usersCreated")), (1, 0));
    assert_eq!(target.target().users().len(), 2);
    let listed = |exchange: &&crate::support::fault_target::Exchange| {
        exchange.call.method == "GET"
            && exchange.call.path == "/Users"
            && exchange.call.query.iter().all(|(name, value)| {
                // Whether the target lets the relay in is asked with one user.
                name != "filter" && (name != "count" || value != "1")
            })
    };
    assert_eq!(target.journal().iter().filter(listed).count(), 0);
    let run = relay.sync().completed();
    assert_eq!((run.count("linked"), run.count("usersCreated")), (1, 1));
    assert!(target.journal().iter().any(|exchange| listed(&exchange)));
    assert_eq!(target.target().users().len(), 3);
    assert_equal_to_directory(&slapd, &target);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_reconciles_one_resource() {
    let (_slapd, target, relay) = company().await;
    for uid in ["ann", "bob"] {
        let user = target.target().user_named(uid).unwrap();
        let path = format!("/Users/{}", user["id"].as_str().unwrap());
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "replace", "path": "active", "value": false}]});
        let answer = target.target().handle(Call::new("PATCH", &path).body(body));
        assert!(answer.status < 300, "{answer:?}");
    }
    let (run, lines) = written(&target, || {
        relay
            .spawn(&[
                "sync",
                "--output",
                "json",
                "--mode",
                "reconcile",
                "--only",
                "ann",
            ])
            .wait()
    });
    assert_eq!(run.completed().count("usersReactivated"), 1);
    assert_eq!(lines, ["PATCH /Users/ann replace active=true"]);
    assert_eq!(target.target().user_named("bob").unwrap()["active"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_fails_with_words_where_nothing_is_proved() {
    let (mut slapd, target, relay) = company().await;
    let refused = |selector: &str, word: &str| {
        let (run, lines) = written(&target, || only(&relay, selector));
        assert_eq!((run.code, lines.len()), (Some(1), 0), "{run:?}");
        assert_eq!(run.job["status"], "failed", "{run:?}");
        let detail = run.job["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{detail}");
    };
    refused("nobody", "no entry in scope is called `nobody`");
    slapd.delete(&dn("bob"));
    // The base cannot be read any more, so that an entry is not found means nothing.
    slapd.restart_with(&format!("access to dn.base=\"{PEOPLE}\" by * search"));
    refused("bob", "may not be read");
    slapd.restart_with(&format!("access to dn.subtree=\"{PEOPLE}\" by * none"));
    refused("ann", "the account may not see it");
    slapd.restart_with("");
    let run = relay.sync().completed();
    assert_eq!(run.count("usersDeactivated"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_gives_nobody_a_name_that_another_new_entry_wants() {
    let (slapd, target, relay) = company().await;
    let twin = |number: usize| {
        format!(
            "dn: cn=twin {number},{PEOPLE}\nobjectClass: inetOrgPerson\ncn: t\nsn: T\nuid: twin\n\n"
        )
    };
    slapd.add(&(twin(1) + &twin(2)));
    let (run, lines) = written(&target, || relay.sync());
    assert_eq!((run.count("usersCreated"), lines.len()), (0, 0));
    let (run, lines) = written(&target, || only(&relay, &format!("cn=twin 1,{PEOPLE}")));
    assert_eq!((run.code, lines.len()), (Some(3), 0), "{run:?}");
    assert!(run.job.to_string().contains("same user name"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_is_asked_for_through_the_api() {
    let world = World::new(3, 5, 0);
    let slapd = Options::new().ldif(&world.ldif()).start();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let directory = api.directory("hq");
    let path = format!("/directories/{directory}/sync");
    for wrong in [json!(""), json!("  "), json!(7), json!("x".repeat(1025))] {
        let refused = api.post(&path, &json!({ "only": wrong }).to_string());
        assert_eq!(refused.status, 422, "{wrong}: {refused:?}");
        assert_eq!(refused.json()["errors"][0]["pointer"], "/only");
    }
    let uid = world.people[1].uid.as_str();
    let started = api.post(&path, &json!({"only": format!(" {uid} ")}).to_string());
    assert_eq!(started.status, 202, "{started:?}");
    let job = api.finished_job(&directory, started.json()["jobId"].as_str().unwrap());
    assert_eq!(
        (&job["status"], &job["usersCreated"], &job["only"]),
        (&json!("completed"), &json!(1), &json!(uid))
    );
    // The command uses the API where a relay runs.
    let uid = world.people[2].uid.as_str();
    let run = relay
        .spawn(&[
            "sync",
            "--output",
            "json",
            "--url",
            &serving.base_url(),
            "--only",
            uid,
        ])
        .wait()
        .completed();
    assert_eq!(run.count("usersCreated"), 1);
    assert_eq!(target.target().users().len(), 2);
    assert_eq!(serving.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sync_only_that_was_cut_off_goes_on_with_that_entry() {
    let world = World::new(3, 5, 0);
    let slapd = Slapd::with(&world.ldif());
    let slow = Rule::on("POST", "/Users", Fault::Slow(PATIENCE));
    let target = FaultTarget::start(vec![slow]).await;
    let relay = relay(&slapd, &target);
    let mut serving = relay.serve();
    let api = Api::new(serving.base_url());
    let directory = api.directory("hq");
    let uid = world.people[1].uid.as_str();
    let body = json!({ "only": uid }).to_string();
    let started = api.post(&format!("/directories/{directory}/sync"), &body);
    assert_eq!(started.status, 202, "{started:?}");
    wait_for("the create at the target", PATIENCE, || {
        (!target.target().users().is_empty()).then_some(())
    });
    serving.kill();
    target.set_rules(Vec::new());
    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let resumed = wait_for("the job that goes on", PATIENCE, || {
        let job = api.jobs(&directory).into_iter().next()?;
        (job["trigger"] == "resume").then_some(job)
    });
    let job = api.finished_job(&directory, resumed["id"].as_str().unwrap());
    assert_eq!(
        (&job["status"], &job["only"]),
        (&json!("completed"), &json!(uid))
    );
    assert_eq!(target.target().users().len(), 1);
    assert_eq!(serving.terminate(), Some(0));
}
