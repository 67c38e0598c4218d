//! What persons decide on conflicts: one and many, either way, taken back, and what comes after.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{dn, edit_user, preview, reads_of_one, run, say, user};
use crate::program::{Api, run_with};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{API_TOKEN, Relay};
use crate::support::slapd::{GROUPS, Slapd};
use crate::support::world::World;
use crate::truth::{anchor_of, assert_only_ours, relay};

const MANUAL: &str = "conflictPolicy = \"manual_review\"";

/// Runs `scim-relay conflicts …` to its end.
fn conflicts(relay: &Relay, arguments: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["--output", "json", "conflicts"], arguments].concat();
    let ended = run_with(&relay.config_path(), &arguments, &relay.variables());
    let printed = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
    (ended.code, printed)
}

fn items(listed: &Value) -> Vec<Value> {
    let items = listed["items"].as_array();
    items.unwrap_or_else(|| panic!("{listed}")).clone()
}

/// The numbers of the users that a list names, which stand so.
fn standing(relay: &Relay, state: &str) -> BTreeSet<usize> {
    let (_, listed) = conflicts(relay, &["list", "--state", state]);
    let number = |item: Value| item["name"].as_str().unwrap()[1..].parse().unwrap();
    items(&listed).into_iter().map(number).collect()
}

fn rename(target: &FaultTarget, number: usize, name: &str) {
    let operation = json!({"op": "replace", "path": "displayName", "value": name});
    edit_user(target, number, operation);
}

fn name(target: &FaultTarget, number: usize) -> String {
    let user = user(target, number);
    user["displayName"].as_str().unwrap().to_owned()
}

/// Eight users, of whom the first six have another name at the target; the first three have a new one in the directory, too.
fn set_out(slapd: &Slapd, target: &FaultTarget, relay: &Relay) {
    run(relay, "full");
    (0..6).for_each(|number| rename(target, number, &format!("Local {number}")));
    (0..3).for_each(|number| say(slapd, number, "displayName", Some(&format!("New {number}"))));
    assert_eq!(run(relay, "reconcile").count("conflicts"), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_is_resolved_either_way_one_by_one_or_all_at_once() {
    let world = World::new(31, 8, 0);
    let slapd = Slapd::with(&world.ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target).directory(MANUAL);
    set_out(&slapd, &target, &relay);
    let (_, listed) = conflicts(&relay, &["list"]);
    assert_eq!(items(&listed).len(), 6);
    let first = items(&listed).into_iter().find(|item| item["dn"] == dn(0));
    let first = first.unwrap();
    let shown = [
        "kind",
        "anchor",
        "attribute",
        "base",
        "directory",
        "iam",
        "state",
    ];
    assert_eq!(
        shown.map(|field| first[field].clone()),
        [
            json!("user"),
            json!(anchor_of(&slapd, &dn(0))),
            json!("displayName"),
            json!(world.people[0].display_name),
            json!("New 0"),
            json!("Local 0"),
            json!("open")
        ]
    );

    // Either way, by id or by name, of one that the directory changed and of one that it did not.
    let take = |side, which: &[&str]| {
        let arguments = [&["resolve", "--take", side], which].concat();
        conflicts(&relay, &arguments)
    };
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        take("directory", &[id, "u0000003"]),
        (Some(0), json!({"decided": 2}))
    );
    assert_eq!(
        take("local", &["u0000001", &dn(4)]),
        (Some(0), json!({"decided": 2}))
    );
    assert_eq!(
        take("local", &["u0000007"]).0,
        Some(2),
        "it has no conflict"
    );
    let states = ["open", "directory", "local"].map(|state| standing(&relay, state));
    assert_eq!(states, [[2, 5].into(), [0, 3].into(), [1, 4].into()]);
    assert_eq!(preview(&relay).count("usersUpdated"), 2);
    let sent = run(&relay, "full");
    assert_eq!((sent.writes(), sent.count("conflicts")), (2, 2), "{sent:?}");
    let of_directory = ["New 0", &world.people[3].display_name].map(str::to_owned);
    assert_eq!([0, 3].map(|number| name(&target, number)), of_directory);
    for mode in ["full", "reconcile"] {
        let again = run(&relay, mode);
        let counts = (
            again.writes(),
            again.count("conflicts"),
            again.count("drifted"),
        );
        assert_eq!(counts, (0, 2, 0), "{mode}: {again:?}");
    }
    assert_eq!(standing(&relay, "directory"), [].into());

    // A new word of the directory on what was kept is asked anew, one on something else is not.
    say(&slapd, 1, "displayName", Some("Newer 1"));
    say(&slapd, 4, "mail", Some("four@example.org"));
    let asked = run(&relay, "full");
    assert_eq!(
        (asked.writes(), asked.count("conflicts")),
        (1, 3),
        "{asked:?}"
    );
    assert_eq!(
        [1, 4].map(|number| name(&target, number)),
        ["Local 1", "Local 4"]
    );
    assert_eq!(standing(&relay, "local"), [4].into());

    // What was decided is taken back; nothing is sent.
    assert_eq!(take("directory", &["u0000005"]).1["decided"], 1);
    assert_eq!(conflicts(&relay, &["release", "u0000005"]).1["decided"], 1);
    assert_eq!(run(&relay, "full").writes(), 0);
    assert_eq!(standing(&relay, "open"), [1, 2, 5].into());

    // A third value at the target is another conflict: nobody decided on that one.
    assert_eq!(take("directory", &["u0000002"]).1["decided"], 1);
    rename(&target, 2, "Yet another");
    let met = run(&relay, "full");
    assert_eq!((met.writes(), met.count("conflicts")), (0, 3), "{met:?}");
    assert_eq!(name(&target, 2), "Yet another");

    assert_eq!(
        take("directory", &["--all", "--kind", "group"]).1["decided"],
        0
    );
    assert_eq!(
        take("directory", &["--all", "--attribute", "title"]).1["decided"],
        0
    );
    let all = ["--all", "--attribute", "displayName"];
    assert_eq!(take("directory", &all).1["decided"], 3);
    let done = run(&relay, "full");
    assert_eq!((done.writes(), done.count("conflicts")), (3, 0), "{done:?}");
    assert_eq!(
        [1, 2].map(|number| name(&target, number)),
        ["Newer 1", "New 2"]
    );
    assert_eq!(standing(&relay, "local"), [4].into(), "what was kept stays");

    // Once the directory wins again, nothing is kept.
    let relay = relay.directory("conflictPolicy = \"directory_wins\"");
    assert_eq!(run(&relay, "full").writes(), 1);
    assert_eq!(name(&target, 4), world.people[4].display_name);
    assert_eq!(items(&conflicts(&relay, &["list"]).1).len(), 0);
    assert_only_ours(&target, "resolved");
    let verified = run_with(
        &relay.config_path(),
        &["audit", "verify"],
        &relay.variables(),
    );
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_that_the_target_wins_is_remembered_until_it_is_none_any_more() {
    let world = World::new(31, 8, 0);
    let slapd = Slapd::with(&world.ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target).directory("conflictPolicy = \"local_wins\"");
    run(&relay, "full");
    for number in [0, 1, 2] {
        rename(&target, number, &format!("Local {number}"));
        say(
            &slapd,
            number,
            "displayName",
            Some(&format!("New {number}")),
        );
    }
    assert_eq!(run(&relay, "full").writes(), 0);
    assert_eq!(standing(&relay, "local"), [0, 1, 2].into());
    // The directory changes again: asked again, and kept again. Something else of the same user is sent.
    say(&slapd, 0, "displayName", Some("Newer 0"));
    say(&slapd, 0, "mail", Some("zero@example.org"));
    let before = target.journal().len();
    assert_eq!(run(&relay, "full").writes(), 1);
    assert_eq!(reads_of_one(&target, before), 1);
    assert_eq!(name(&target, 0), "Local 0");
    let (_, listed) = conflicts(&relay, &["list"]);
    let zero = items(&listed).into_iter().find(|item| item["dn"] == dn(0));
    assert_eq!(zero.unwrap()["directory"], "Newer 0");

    // Somebody undoes the edit: the directory's value is sent. Or does what the directory says: nothing is.
    rename(&target, 1, &world.people[1].display_name);
    rename(&target, 2, "New 2");
    assert_eq!(run(&relay, "reconcile").writes(), 1);
    assert_eq!(
        [1, 2].map(|number| name(&target, number)),
        ["New 1", "New 2"]
    );
    assert_eq!(standing(&relay, "local"), [0].into());
    // A person may take the directory's side of what the policy kept.
    let taken = conflicts(&relay, &["resolve", "--take", "directory", "u0000000"]);
    assert_eq!(taken.1["decided"], 1);
    assert_eq!(run(&relay, "full").writes(), 1);
    assert_eq!(name(&target, 0), "Newer 0");

    // Under review what the policy kept waits, and what a person kept does not.
    rename(&target, 3, "Local 3");
    rename(&target, 4, "Local 4");
    run(&relay, "reconcile");
    let kept = conflicts(&relay, &["resolve", "--take", "local", "u0000004"]);
    assert_eq!(kept.1["decided"], 1);
    let relay = relay.directory(MANUAL);
    let before = target.journal().len();
    assert_eq!(run(&relay, "full").count("conflicts"), 1);
    assert_eq!(reads_of_one(&target, before), 0);
    let states = ["open", "local"].map(|state| standing(&relay, state));
    assert_eq!(states, [[3].into(), [4].into()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_of_a_group_name_is_one_and_its_members_go_on() {
    let slapd = Slapd::with(&World::new(31, 4, 0).ldif());
    let team = format!("cn=team,{GROUPS}");
    slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\nmember: {}\n",
        dn(1)
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target).directory(MANUAL);
    run(&relay, "full");
    let group = || target.target().groups()[0].clone();
    let path = format!("/Groups/{}", group()["id"].as_str().unwrap());
    let called = json!([{"op": "replace", "path": "displayName", "value": "Our team"}]);
    crate::linking::edit(&target, &path, called);
    slapd.modrdn(&team, "cn=crew", None);
    slapd.modify(&format!(
        "dn: cn=crew,{GROUPS}\nchangetype: modify\nadd: member\nmember: {}\n",
        dn(2)
    ));
    let met = run(&relay, "full");
    assert_eq!(
        (met.count("membersAdded"), met.count("conflicts")),
        (1, 1),
        "{met:?}"
    );
    assert_eq!(group()["displayName"], "Our team");
    assert_eq!(group()["members"].as_array().unwrap().len(), 2);
    assert_eq!(run(&relay, "full").job["requests"]["read"], 0);
    let (_, listed) = conflicts(&relay, &["list"]);
    assert_eq!(items(&listed)[0]["kind"], "group");
    let taken = conflicts(
        &relay,
        &["resolve", "--take", "directory", "--all", "--kind", "group"],
    );
    assert_eq!(taken.1["decided"], 1);
    assert_eq!(run(&relay, "full").count("groupsUpdated"), 1);
    assert_eq!(group()["displayName"], "crew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_policies_hold_nobody_back_who_leaves_while_the_target_cannot_be_looked_at() {
    let slapd = Slapd::with(&World::new(31, 40, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target).directory(MANUAL);
    run(&relay, "full");
    let refuses = Fault::Status {
        code: 500,
        scim_type: None,
        detail: "not now",
        numeric: false,
    };
    target.set_rules(vec![Rule::on("GET", "/Users/", refuses)]);
    for number in 0..20 {
        say(
            &slapd,
            number,
            "displayName",
            Some(&format!("New {number}")),
        );
    }
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: nsAccountLock\nnsAccountLock: \
         true\n",
        dn(0)
    ));
    slapd.delete(&dn(30));
    let run_now = || relay.sync();
    let before = target.journal().len();
    let met = run_now();
    assert_eq!(met.code, Some(3), "{met:?}");
    assert_eq!(
        (met.count("usersDeactivated"), met.count("usersUpdated")),
        (2, 0),
        "{met:?}"
    );
    assert_eq!(
        [0, 30].map(|number| user(&target, number)["active"] == false),
        [true; 2]
    );
    // It is not asked for each of them, however often a request is repeated.
    let journal = target.journal();
    let reads = journal[before..].iter().map(|exchange| &exchange.call);
    let reads = reads.filter(|call| call.method == "GET" && call.path.starts_with("/Users/"));
    let looked_at: BTreeSet<&String> = reads.map(|call| &call.path).collect();
    assert!((5..20).contains(&looked_at.len()), "{looked_at:?}");
    target.set_rules(Vec::new());
    let cured = run(&relay, "full");
    assert_eq!(
        (cured.writes(), cured.count("usersUpdated")),
        (20, 20),
        "{cured:?}"
    );
    assert_eq!(run(&relay, "full").job["requests"]["read"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_list_is_paged_filtered_counted_and_decided_through_the_api() {
    let slapd = Slapd::with(&World::new(31, 8, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target).directory(MANUAL);
    set_out(&slapd, &target, &relay);
    let phone = json!({"op": "replace", "path": "phoneNumbers", "value": [{"type": "work", "value": "+49 9"}]});
    edit_user(&target, 0, phone);
    run(&relay, "reconcile");
    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let directory = api.directory("hq");
    let path = format!("/directories/{directory}/conflicts");
    for limit in [1, 2, 3, 50] {
        let (mut all, mut cursor) = (BTreeSet::new(), String::new());
        loop {
            let page = api.get(&format!("{path}?limit={limit}{cursor}")).json();
            let found = items(&page);
            assert!(found.len() <= limit);
            all.extend(found.iter().map(|item| item["id"].to_string()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(all.len(), 7, "in pages of {limit}");
    }
    let list = |query: &str| items(&api.get(&format!("{path}?{query}")).json());
    let counts = [
        "kind=group",
        "kind=user&state=open",
        "state=local",
        "attribute=displayName",
        "text=U0000003",
    ];
    assert_eq!(counts.map(|query| list(query).len()), [0, 7, 0, 6, 1]);
    assert_eq!(api.get(&format!("{path}?state=pending")).status, 400);
    let told = |path: &str, at: &str| api.get(path).json().pointer(at).cloned().unwrap();
    let open = || {
        [
            told("/health", "/directories/0/openConflicts"),
            told("/statistics", "/total/openConflicts"),
        ]
    };
    assert_eq!(open(), [json!(7), json!(7)]);

    let all = list("limit=50");
    let id = |at: usize| all[at]["id"].as_str().unwrap();
    let one = format!("{path}/{}/resolve", id(0));
    let taken = api.post(&one, r#"{"take": "local"}"#);
    assert_eq!(taken.status, 200, "{taken:?}");
    let taken = taken.json();
    assert_eq!(
        (&taken["id"], &taken["state"]),
        (&all[0]["id"], &json!("local"))
    );
    assert!(
        taken["takenBy"].as_str().unwrap().contains("token"),
        "{taken}"
    );
    assert_eq!(
        api.post(&one, r#"{"take": "local"}"#).status,
        422,
        "it is decided so"
    );
    let unknown = format!("{path}/{directory}/resolve");
    assert_eq!(api.post(&unknown, r#"{"take": "local"}"#).status, 404);

    let many = format!("{path}/resolve");
    for (body, pointer) in [
        (json!({"all": true}), "/take"),
        (json!({"take": "iam", "all": true}), "/take"),
        (json!({"take": "local"}), "/conflicts"),
        (
            json!({"take": "local", "all": true, "conflicts": []}),
            "/conflicts",
        ),
        (json!({"take": "local", "conflicts": ["x"]}), "/conflicts/0"),
        (
            json!({"take": "local", "conflicts": [id(1), directory]}),
            "/conflicts/1",
        ),
        (
            json!({"take": "local", "conflicts": [id(1)], "kind": "user"}),
            "/kind",
        ),
        (
            json!({"take": "local", "all": true, "kind": "robot"}),
            "/kind",
        ),
    ] {
        let answer = api.post(&many, &body.to_string());
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            pointer,
            "{body}: {answer:?}"
        );
    }
    assert_eq!(list("state=open").len(), 6, "all that are named, or none");
    let body = json!({"take": "directory", "conflicts": [id(1), id(2)]});
    assert_eq!(api.post(&many, &body.to_string()).json()["decided"], 2);
    assert_eq!(open(), [json!(4), json!(4)]);
    let job = api.start_job(&directory);
    let job = api.finished_job(&directory, &job);
    assert_eq!(
        (&job["conflicts"], &job["requests"]["write"]),
        (&json!(4), &json!(2))
    );
    let release = format!("{path}/release");
    assert_eq!(api.post(&release, r#"{"all": true}"#).json()["decided"], 1);
    assert_eq!(list("state=open").len(), 5);

    let audit = api.get("/audit?action=conflict.resolve").json();
    assert_eq!(items(&audit).len(), 3, "{audit}");
    let text = audit.to_string();
    assert!(
        text.contains("displayName") && !text.contains("Local "),
        "names, no values: {text}"
    );
    assert_eq!(
        items(&api.get("/audit?action=conflict.release").json()).len(),
        1
    );
    // The command goes through the relay that runs.
    let url = serving.base_url();
    let command = |arguments: &[&str]| {
        let fixed = ["--output", "json", "conflicts", "--url", url.as_str()];
        let token = [("SCIM_RELAY_TOKEN", API_TOKEN)];
        run_with(&relay.config_path(), &[&fixed, arguments].concat(), &token).json()
    };
    assert_eq!(items(&command(&["list", "--state", "open"])).len(), 5);
    let taken = command(&["resolve", "--take", "local", "--all"]);
    assert_eq!(taken["decided"], 5);
    assert_eq!(open(), [json!(0), json!(0)]);
}
