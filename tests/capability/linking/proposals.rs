//! Proposals: listed with what matched, accepted, refused and released by a person, through API and command line.

use serde_json::{Value, json};

use super::{GROUP, USER, dn, edit, named, path_of, put, sent};
use crate::program::{Api, run_with};
use crate::support::fault_target::FaultTarget;
use crate::support::relay::{API_TOKEN, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, Slapd};
use crate::support::world::World;
use crate::truth::{anchor_of, assert_settled, errors_of, relay, writes};

/// Runs `scim-relay links …` to its end.
fn links(relay: &Relay, arguments: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["--output", "json", "links"], arguments].concat();
    let environment = relay.variables();
    let ended = run_with(&relay.config_path(), &arguments, &environment);
    let printed = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
    (ended.code, printed)
}

fn items(listed: &Value) -> &Vec<Value> {
    listed["items"]
        .as_array()
        .unwrap_or_else(|| panic!("{listed}"))
}

fn team(slapd: &Slapd) -> String {
    let team = format!("cn=team,{GROUPS}");
    slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\nmember: {}\n",
        dn(1)
    ));
    team
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_populated_target_waits_for_a_person_who_accepts_all_or_some() {
    let slapd = Slapd::with(&World::new(21, 5, 0).ldif());
    let team = team(&slapd);
    let target = FaultTarget::start(Vec::new()).await;
    for number in 1..=3 {
        let name = format!("U{number:07}");
        put(
            &target,
            "/Users",
            json!({"schemas": [USER], "userName": name, "title": "by hand"}),
        );
    }
    put(
        &target,
        "/Groups",
        json!({"schemas": [GROUP], "displayName": "team"}),
    );
    let foreign = json!({"schemas": [USER], "userName": "u0000004", "externalId": "hr-4711"});
    put(&target, "/Users", foreign);
    let relay = relay(&slapd, &target);
    let first = relay.sync();
    assert_eq!(
        (first.code, first.count("usersCreated")),
        (Some(3), 1),
        "{first:?}"
    );
    let warnings = first.job["warnings"].to_string();
    assert!(
        warnings.contains("4 entries") && warnings.contains("scim-relay links list"),
        "{warnings}"
    );
    assert!(errors_of(&first, &dn(1))[0].contains("scim-relay links"));

    let (_, listed) = links(&relay, &["list"]);
    assert_eq!(items(&listed).len(), 5, "{listed}");
    let of = |dn: &str| {
        items(&listed)
            .iter()
            .find(|item| item["dn"] == dn)
            .unwrap()
            .clone()
    };
    let one = of(&dn(1));
    let resource = &one["resource"];
    assert_eq!(
        (
            &one["state"],
            &one["matchedBy"],
            &one["name"],
            &resource["name"],
            &resource["id"]
        ),
        (
            &json!("pending"),
            &json!("userName"),
            &json!("u0000001"),
            &json!("U0000001"),
            &named(&target, 1)["id"]
        )
    );
    assert_eq!(of(&team)["matchedBy"], "displayName");
    let taken = of(&dn(4));
    assert_eq!(
        (&taken["state"], &taken["resource"]["externalId"]),
        (&json!("impossible"), &json!("hr-4711"))
    );
    assert!(
        taken["obstacle"]
            .as_str()
            .unwrap()
            .contains("another externalId")
    );

    // What cannot be linked is not accepted, and nothing else that was named with it.
    let (code, refused) = links(&relay, &["accept", "u0000001", "u0000004"]);
    assert_eq!(code, Some(2), "{refused}");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("another externalId"),
        "{refused}"
    );
    assert_eq!(
        items(&links(&relay, &["list", "--state", "accepted"]).1).len(),
        0
    );

    assert_eq!(
        links(&relay, &["accept", &dn(1)]),
        (Some(0), json!({"decided": 1}))
    );
    let before = writes(&target).len();
    let second = relay.sync();
    assert_eq!(
        (second.count("linked"), second.count("usersCreated")),
        (1, 0),
        "{second:?}"
    );
    let sent_now = &writes(&target)[before..];
    assert_eq!(
        sent_now.len(),
        1,
        "one request links it and brings it up to date"
    );
    let held = named(&target, 1);
    assert_eq!(
        (&held["externalId"], &held["title"]),
        (&json!(anchor_of(&slapd, &dn(1))), &json!("by hand"))
    );

    assert_eq!(
        links(&relay, &["accept", "--all"]),
        (Some(0), json!({"decided": 3}))
    );
    let third = relay.sync();
    assert_eq!(third.count("linked"), 3, "{third:?}");
    let (_, listed) = links(&relay, &["list"]);
    assert_eq!(
        items(&listed).len(),
        1,
        "only what can never be linked is left: {listed}"
    );
    assert_eq!(relay.sync().writes(), 0);
    let audit = run_with(
        &relay.config_path(),
        &["audit", "verify"],
        &relay.variables(),
    );
    assert_eq!(audit.code, Some(0), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_proposal_is_left_alone_until_it_is_released_or_out_of_the_way() {
    let slapd = Slapd::with(&World::new(21, 4, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    for number in [1, 2] {
        let name = format!("u{number:07}");
        put(
            &target,
            "/Users",
            json!({"schemas": [USER], "userName": name}),
        );
    }
    // Even a profile that links by itself keeps to it.
    let relay = relay(&slapd, &target);
    relay.sync();
    assert_eq!(
        links(&relay, &["refuse", "u0000001", &dn(2)]).1["decided"],
        2
    );
    let relay = relay.directory("linking = \"automatic\"");
    let before = writes(&target).len();
    for run in ["first", "second"] {
        let held = relay.sync().completed();
        assert_eq!(
            (held.writes(), held.count("skipped")),
            (0, 2),
            "{run}: {held:?}"
        );
        assert_eq!(
            held.job["requests"]["read"], 0,
            "{run}: nothing is asked for again: {held:?}"
        );
        assert!(
            held.job["warnings"].to_string().contains("--state refused"),
            "{held:?}"
        );
    }
    assert_eq!(
        items(&links(&relay, &["list", "--state", "refused"]).1).len(),
        2
    );
    assert_eq!(writes(&target).len(), before);

    // A person renames one there, which the next reading of the target shows; the other one is released.
    edit(
        &target,
        &path_of(&named(&target, 1)),
        json!([{"op": "replace", "path": "userName", "value": "ann"}]),
    );
    let reconciled = super::reconcile(&relay).completed();
    assert_eq!(
        (
            reconciled.count("usersCreated"),
            reconciled.count("skipped")
        ),
        (1, 1),
        "{reconciled:?}"
    );
    assert_eq!(links(&relay, &["release", "--all"]).1["decided"], 1);
    assert_eq!(relay.sync().completed().count("linked"), 1);
    assert_settled(&slapd, &target, &relay, "released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linking_through_the_api_is_paged_filtered_permitted_and_in_the_audit_log() {
    let slapd = Slapd::with(&World::new(21, 6, 0).ldif());
    team(&slapd);
    let target = FaultTarget::start(Vec::new()).await;
    for number in 1..=5 {
        let name = format!("u{number:07}");
        put(
            &target,
            "/Users",
            json!({"schemas": [USER], "userName": name}),
        );
    }
    put(
        &target,
        "/Groups",
        json!({"schemas": [GROUP], "displayName": "team"}),
    );
    let relay = relay(&slapd, &target);
    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let directory = api.directory("hq");
    let run = || {
        let job = api.start_job(&directory);
        api.finished_job(&directory, &job)
    };
    run();
    let path = format!("/directories/{directory}/links");
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{path}?limit=2{cursor}")).json();
        assert!(page["items"].as_array().unwrap().len() <= 2);
        all.extend(page["items"].as_array().unwrap().clone());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all.len(), 6);
    let count = |query: &str| {
        let page = api.get(&format!("{path}?{query}")).json();
        page["items"]
            .as_array()
            .unwrap_or_else(|| panic!("{page}"))
            .len()
    };
    assert_eq!(
        [
            count("kind=group"),
            count("text=U0000003"),
            count("state=refused"),
            count("kind=user&state=pending")
        ],
        [1, 1, 0, 5]
    );
    assert_eq!(api.get(&format!("{path}?state=linked")).status, 400);

    let accept = format!("{path}/accept");
    let post = |body: Value| api.post(&accept, &body.to_string());
    let chosen = |item: &Value| json!({"kind": item["kind"], "anchor": item["anchor"], "id": item["resource"]["id"]});
    for (body, pointer) in [
        (json!({}), "/links"),
        (json!({"all": true, "links": []}), "/links"),
        (
            json!({"links": [{"kind": "user", "anchor": all[0]["anchor"]}]}),
            "/links/0/id",
        ),
        (
            json!({"links": [{"kind": "user", "anchor": all[0]["anchor"], "id": "other"}]}),
            "/links/0",
        ),
        (
            json!({"links": [{"kind": "user", "anchor": "nobody", "id": "1"}]}),
            "/links/0",
        ),
        (json!({"all": true, "kind": "robot"}), "/kind"),
    ] {
        let answer = post(body.clone());
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            pointer,
            "{body}: {answer:?}"
        );
    }
    let answer = post(json!({"links": [chosen(&all[0])]}));
    assert_eq!((answer.status, answer.json()), (200, json!({"decided": 1})));
    assert_eq!(
        post(json!({"all": true, "kind": "group"})).json()["decided"],
        1
    );
    assert_eq!(count("state=accepted"), 2);
    let shown = api.get(&format!("{path}?state=accepted&kind=user")).json();
    assert!(
        shown["items"][0]["decidedBy"]
            .as_str()
            .unwrap()
            .contains("token"),
        "{shown}"
    );
    assert_eq!(run()["linked"], 2);
    let audit = api.get("/audit?action=link.accept").json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 2, "{audit}");
    let record = audit["items"].to_string();
    assert!(
        record.contains(all[0]["resource"]["id"].as_str().unwrap()),
        "{record}"
    );
    // The command goes through the relay that runs.
    let url = serving.base_url();
    let arguments = ["--output", "json", "links", "list", "--url", url.as_str()];
    let listed = run_with(
        &relay.config_path(),
        &arguments,
        &[("SCIM_RELAY_TOKEN", API_TOKEN)],
    );
    assert_eq!(items(&listed.json()).len(), 4, "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linking_an_entry_that_was_made_anew_needs_consent_to_the_account_that_it_had() {
    for linking in ["propose", "automatic"] {
        let world = World::new(21, 10, 0);
        let slapd = Slapd::with(&world.ldif());
        slapd.add(&format!(
            "dn: cn=both,{GROUPS}\nobjectClass: groupOfNames\ncn: both\nmember: {}\nmember: {}\n",
            dn(1),
            dn(4)
        ));
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target).directory(&format!("linking = \"{linking}\""));
        relay.sync().completed();
        let old = named(&target, 4);
        slapd.delete(&dn(4));
        // Whoever comes after in his name was not put into the group.
        slapd.modify(&format!(
            "dn: cn=both,{GROUPS}\nchangetype: modify\ndelete: member\nmember: {}\n",
            dn(4)
        ));
        relay.sync().completed();
        slapd.add(&world.people[4].ldif());
        if linking == "propose" {
            let proposed = relay.sync();
            assert_eq!(
                (proposed.code, proposed.writes()),
                (Some(3), 0),
                "{proposed:?}"
            );
            let (_, listed) = links(&relay, &["list"]);
            let item = &items(&listed)[0];
            assert_eq!(
                (
                    &item["formerEntry"],
                    &item["state"],
                    &item["resource"]["id"]
                ),
                (&json!(true), &json!("pending"), &old["id"]),
                "{listed}"
            );
            assert_eq!(named(&target, 4)["active"], false);
            assert_eq!(links(&relay, &["accept", &dn(4)]).1["decided"], 1);
        }
        let linked = relay.sync().completed();
        assert_eq!(
            (linked.count("linked"), linked.count("usersCreated")),
            (1, 0),
            "{linked:?}"
        );
        let held = named(&target, 4);
        assert_eq!((&held["id"], &held["active"]), (&old["id"], &json!(true)));
        assert_eq!(held["externalId"], json!(anchor_of(&slapd, &dn(4))));
        assert_settled(&slapd, &target, &relay, linking);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linking_by_the_primary_email_is_proposed_where_the_profile_says_so() {
    let world = World::new(21, 5, 0);
    let slapd = Slapd::with(&world.ldif());
    let mail = |number: usize| {
        let found = slapd.search(&dn(number), "(objectClass=*)", &["mail"]);
        found[0].first("mail").unwrap().to_owned()
    };
    let target = FaultTarget::start(Vec::new()).await;
    let with = |name: &str, number: usize, primary: bool| {
        let other = json!({"value": format!("{name}@elsewhere.example"), "type": "home", "primary": !primary});
        let own = json!({"value": mail(number).to_uppercase(), "type": "work", "primary": primary});
        json!({"schemas": [USER], "userName": name, "emails": [other, own]})
    };
    let one = put(&target, "/Users", with("smith", 1, true));
    // Not its primary address, so it is somebody else's account.
    put(&target, "/Users", with("shared", 2, false));
    for twin in ["first", "second"] {
        put(&target, "/Users", with(twin, 3, true));
    }
    // The name alone is no match any more, and in the way all the same.
    put(
        &target,
        "/Users",
        json!({"schemas": [USER], "userName": "u0000004"}),
    );
    let relay = relay(&slapd, &target).directory("matchingAttribute = \"email\"");
    let first = relay.sync();
    assert_eq!(
        (first.code, first.count("usersCreated")),
        (Some(3), 1 + 1),
        "{first:?}"
    );
    let (_, listed) = links(&relay, &["list"]);
    let of = |number: usize| {
        let dn = dn(number);
        items(&listed)
            .iter()
            .find(|item| item["dn"] == dn)
            .map(|item| (item["state"].clone(), item["matchedBy"].clone()))
    };
    assert_eq!(of(1), Some((json!("pending"), json!("email"))), "{listed}");
    assert_eq!(of(3).unwrap().0, "impossible");
    assert_eq!(of(4), Some((json!("impossible"), json!("userName"))));
    assert_eq!(links(&relay, &["accept", "--all"]).1["decided"], 1);
    let second = relay.sync();
    assert_eq!(second.count("linked"), 1, "{second:?}");
    let held = named(&target, 1);
    assert_eq!(
        (&held["id"], &held["externalId"]),
        (&json!(one), &json!(anchor_of(&slapd, &dn(1))))
    );
    assert_eq!(sent(&writes(&target), "POST", "/Users").len(), 2);
}

#[test]
fn linking_accepted_proposals_at_a_server_by_others() {
    let slapd = Slapd::with(&World::new(21, 4, 0).ldif());
    let target = Scim2Server::start();
    for (name, mail) in [
        ("u0000001", "a@example.org"),
        ("someone", "u2@corp.example"),
    ] {
        let user = json!({"schemas": [USER], "userName": name, "active": true,
            "emails": [{"value": mail, "type": "work", "primary": true}]});
        assert_eq!(target.send("POST", "/Users", Some(&user)).0, 201);
    }
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: mail\nmail: u2@corp.example\n",
        dn(2)
    ));
    let relay = Relay::new(&slapd, &target).directory("matchingAttribute = \"email\"");
    let first = relay.sync();
    assert_eq!(
        (first.code, first.count("usersCreated")),
        (Some(3), 2),
        "{first:?}"
    );
    assert_eq!(
        links(&relay, &["accept", "--all", "--kind", "user"]).1["decided"],
        1
    );
    let second = relay.sync();
    assert_eq!(
        (second.count("linked"), second.count("usersCreated")),
        (1, 0),
        "{second:?}"
    );
    // The one by name was in the way, and can be linked when the profile matches by name.
    let relay = relay.directory("matchingAttribute = \"userName\"");
    relay.sync();
    assert_eq!(links(&relay, &["accept", &dn(1)]).1["decided"], 1);
    assert_eq!(relay.sync().completed().count("linked"), 1);
    let users = target.users();
    for number in [1, 2] {
        let name = format!("u{number:07}");
        let linked = users
            .iter()
            .find(|user| user["userName"] == name.as_str())
            .unwrap();
        assert_eq!(linked["externalId"], json!(anchor_of(&slapd, &dn(number))));
    }
    assert_eq!((users.len(), relay.sync().completed().writes()), (4, 0));
}
