//! Drift: what was changed at the target is told of attribute by attribute, and brought back by a reconciling run; lists that
//! are cut short prove nothing.

use serde_json::{Value, json};

use scim_relay::demo::target::answer::Call;

use super::{USER, dn, edit, named, path_of, put, reconcile, sent};
use crate::program::Api;
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{Finished, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, Slapd};
use crate::support::world::World;
use crate::truth::{anchor_of, assert_settled, relay, writes};

fn with_team() -> (Slapd, String) {
    let slapd = Slapd::with(&World::new(21, 12, 0).ldif());
    let team = format!("cn=team,{GROUPS}");
    slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\nmember: {}\nmember: {}\nmember: {}\n",
        dn(1),
        dn(2),
        dn(3)
    ));
    (slapd, team)
}

/// Only tells.
fn report(relay: &Relay) -> Finished {
    let arguments = [
        "sync",
        "--mode",
        "reconcile",
        "--report",
        "--output",
        "json",
    ];
    relay.spawn(&arguments).wait().completed()
}

/// The lines of a job about drift, as the API shows them.
fn drift_of(relay: &Relay, job: &Value) -> Vec<Value> {
    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let directory = api.directory("hq");
    let job = job["id"].as_str().unwrap();
    let lines = api.get(&format!(
        "/directories/{directory}/jobs/{job}/changes?operation=drift&limit=200"
    ));
    lines.json()["items"].as_array().unwrap().clone()
}

fn members_of(target: &FaultTarget) -> (String, Vec<String>) {
    let group = target.target().groups().remove(0)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let members = target
        .target()
        .members(&group)
        .unwrap()
        .into_iter()
        .collect();
    (format!("/Groups/{group}"), members)
}

fn id_of(target: &FaultTarget, number: usize) -> String {
    named(target, number)["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_of_the_target_is_reported_without_a_change_and_then_repaired() {
    let (slapd, team) = with_team();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let clean = report(&relay);
    assert_eq!(
        (clean.writes(), clean.count("drifted")),
        (0, 0),
        "{clean:?}"
    );

    // By hand: a name, an account, an attribute that is not ours, members in and out, and a deleted account.
    edit(
        &target,
        &path_of(&named(&target, 4)),
        json!([
            {"op": "replace", "path": "displayName", "value": "Edited"},
            {"op": "add", "path": "nickName", "value": "Al"},
        ]),
    );
    edit(
        &target,
        &path_of(&named(&target, 5)),
        json!([{"op": "replace", "path": "active", "value": false}]),
    );
    edit(
        &target,
        &path_of(&named(&target, 6)),
        json!([{"op": "add", "path": "nickName", "value": "Bo"}]),
    );
    let (group, _) = members_of(&target);
    let (out, foreign) = (id_of(&target, 2), id_of(&target, 7));
    edit(
        &target,
        &group,
        json!([
            {"op": "remove", "path": format!("members[value eq \"{out}\"]")},
            {"op": "add", "path": "members", "value": [{"value": foreign}]},
        ]),
    );
    let deleted = path_of(&named(&target, 8));
    assert_eq!(
        target.target().handle(Call::new("DELETE", &deleted)).status,
        204
    );
    // What the directory says meanwhile is no drift, and is no concern of a report.
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: telephoneNumber\ntelephoneNumber: 1\n",
        dn(9)
    ));

    let before = writes(&target).len();
    let told = report(&relay);
    assert_eq!(
        (
            told.writes(),
            told.count("drifted"),
            told.job["repair"].clone()
        ),
        (0, 4, json!(false)),
        "{told:?}"
    );
    assert_eq!(writes(&target).len(), before);
    let lines = drift_of(&relay, &told.job);
    let of = |dn: &str| {
        lines
            .iter()
            .find(|line| line["dn"] == dn)
            .unwrap_or_else(|| panic!("{dn}: {lines:?}"))
    };
    let edited = of(&dn(4));
    let attribute = &edited["attributes"][0];
    assert_eq!(
        edited["attributes"].as_array().unwrap().len(),
        1,
        "{edited}"
    );
    assert_eq!(
        (&attribute["attribute"], &attribute["before"]),
        (&json!("displayName"), &json!("Edited"))
    );
    let wanted = slapd.search(&dn(4), "(objectClass=*)", &["displayName"]);
    assert_eq!(
        attribute["after"],
        json!(wanted[0].first("displayName").unwrap())
    );
    assert_eq!(
        of(&dn(5))["attributes"],
        json!([{"attribute": "active", "before": false, "after": true}])
    );
    assert_eq!(of(&dn(8))["reason"], "gone");
    let group_line = of(&team);
    assert_eq!(
        group_line["members"],
        json!([anchor_of(&slapd, &dn(2))]),
        "{group_line}"
    );
    assert_eq!(
        (
            &group_line["foreignMembers"],
            &group_line["foreignMemberCount"]
        ),
        (&json!([foreign]), &json!(1))
    );

    // An ordinary run does not know of it, and sends what the directory says.
    assert_eq!(relay.sync().completed().writes(), 1);
    let repaired = reconcile(&relay);
    assert_eq!(
        (repaired.code, repaired.count("drifted")),
        (Some(3), 3),
        "a deleted account is an error: {repaired:?}"
    );
    assert_eq!(
        (
            repaired.count("usersUpdated"),
            repaired.count("usersReactivated"),
            repaired.count("usersCreated")
        ),
        (1, 1, 1),
        "{repaired:?}"
    );
    let (_, members) = members_of(&target);
    assert!(
        members.contains(&out) && members.contains(&foreign),
        "others' members are left: {members:?}"
    );
    // The foreign member is told of again, and nothing else is left.
    let left = report(&relay);
    assert_eq!(left.count("drifted"), 1, "{left:?}");
    edit(
        &target,
        &group,
        json!([{"op": "remove", "path": format!("members[value eq \"{foreign}\"]")}]),
    );
    assert_settled(&slapd, &target, &relay, "repaired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_of_memberships_is_not_concluded_from_a_target_that_shows_none() {
    let (slapd, _) = with_team();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    target.set_rules(vec![Rule::on("GET", "/Groups", Fault::HideMembers)]);
    let run = reconcile(&relay).completed();
    assert_eq!((run.writes(), run.count("drifted")), (0, 0), "{run:?}");
    assert!(
        run.job["warnings"].to_string().contains("membersReadable"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_of_memberships_keeps_nobody_in_a_group_that_he_leaves_in_the_same_run() {
    let (slapd, team) = with_team();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let left = id_of(&target, 3);
    // It shows one member of three, so at least one of those who leave is not shown.
    target.set_rules(vec![Rule::on("GET", "/Groups", Fault::ShowMembers(1))]);
    for number in [1, 2] {
        slapd.modify(&format!(
            "dn: {team}\nchangetype: modify\ndelete: member\nmember: {}\n",
            dn(number)
        ));
    }
    reconcile(&relay).completed();
    assert_eq!(members_of(&target).1, [left]);
}

/// Pages after the first are empty, although the total counts them.
fn cut_after_the_first_page(path: &'static str) -> Rule {
    let cut = Fault::TruncatedList {
        keep: 0,
        honest_total: true,
    };
    let later = |call: &Call| {
        call.query
            .iter()
            .any(|(name, value)| name == "startIndex" && value != "1")
    };
    Rule::on("GET", path, cut).matching(later)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_the_target_that_is_cut_short_neither_creates_nor_removes() {
    let (slapd, _) = with_team();
    let target = FaultTarget::start(Vec::new()).await;
    let first = relay(&slapd, &target).tenant("dialect = { pageResources = 4 }");
    first.sync().completed();
    let all = (
        target.target().users().len(),
        target.target().groups().len(),
    );
    let lying = || Fault::TruncatedList {
        keep: 2,
        honest_total: false,
    };
    let unfiltered = |call: &Call| call.query.iter().all(|(name, _)| name != "filter");
    for (what, rules) in [
        (
            "honest",
            vec![
                cut_after_the_first_page("/Users"),
                cut_after_the_first_page("/Groups"),
            ],
        ),
        (
            "lying",
            vec![Rule::on("GET", "/Users", lying()).matching(unfiltered)],
        ),
    ] {
        target.set_rules(rules);
        let before = writes(&target).len();
        let run = reconcile(&first).completed();
        assert_eq!(
            (run.writes(), run.count("drifted")),
            (0, 0),
            "{what}: {run:?}"
        );
        assert_eq!(
            run.job["warnings"].to_string().contains("not whole"),
            what == "honest",
            "{run:?}"
        );
        // At first contact, nobody who is not in the list is created a second time.
        let second = relay(&slapd, &target).tenant("dialect = { pageResources = 4 }");
        let contact = second.sync().completed();
        if what == "honest" {
            assert_eq!(contact.count("usersCreated"), 0, "{contact:?}");
        }
        let sent_now = writes(&target).split_off(before);
        assert_eq!(
            sent(&sent_now, "POST", "/").len(),
            0,
            "{what}: {sent_now:?}"
        );
        assert_eq!(
            (
                target.target().users().len(),
                target.target().groups().len()
            ),
            all,
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_the_target_whose_pages_overlap_leads_to_look_ups() {
    let slapd = Slapd::with(&World::new(21, 9, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    // Somebody whom only a look-up finds, because the second page repeats one of the first and the list ends early.
    for number in 0..9 {
        put(
            &target,
            "/Users",
            json!({"schemas": [USER], "userName": format!("u{number:07}"),
            "externalId": anchor_of(&slapd, &dn(number))}),
        );
    }
    target.set_rules(vec![cut_after_the_first_page("/Users")]);
    let relay = relay(&slapd, &target).tenant("dialect = { pageResources = 5 }");
    let run = relay.sync().completed();
    assert_eq!(
        (run.count("linked"), run.count("usersCreated")),
        (9, 0),
        "{run:?}"
    );
    assert_eq!(target.target().users().len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_is_compared_as_often_as_the_profile_says() {
    let slapd = Slapd::with(&World::new(21, 4, 0).ldif());
    for (interval, repaired) in [
        ("1s", true),
        ("full_run", true),
        ("1d", false),
        ("never", false),
    ] {
        let target = FaultTarget::start(Vec::new()).await;
        let relay =
            relay(&slapd, &target).directory(&format!("reconcileInterval = \"{interval}\""));
        relay.sync().completed();
        let path = path_of(&named(&target, 1));
        edit(
            &target,
            &path,
            json!([{"op": "replace", "path": "displayName", "value": "Edited"}]),
        );
        let run = match interval {
            // The interval has to pass.
            "1s" => crate::support::wait_for(
                "a run after a second",
                std::time::Duration::from_secs(20),
                || {
                    let run = relay.sync().completed();
                    (run.writes() > 0).then_some(run)
                },
            ),
            _ => relay.sync().completed(),
        };
        assert_eq!(run.writes(), u64::from(repaired), "{interval}: {run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linking_reports_go_with_reconciling_everything_only() {
    let slapd = Slapd::with(&World::new(21, 3, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let directory = api.directory("hq");
    let path = format!("/directories/{directory}/sync");
    for body in [
        json!({"repair": false}),
        json!({"mode": "preview", "repair": false}),
        json!({"mode": "reconcile", "only": "u0000001", "repair": false}),
    ] {
        let answer = api.post(&path, &body.to_string());
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!("/repair")),
            "{body}"
        );
    }
    // One that was never run before has nothing to compare.
    let answer = api.post(
        &path,
        &json!({"mode": "reconcile", "repair": false}).to_string(),
    );
    let job = api.finished_job(&directory, answer.json()["jobId"].as_str().unwrap());
    assert_eq!(
        (&job["status"], &job["drifted"], &job["requests"]["write"]),
        (&json!("completed"), &json!(0), &json!(0))
    );
    drop(serving);
    let wrong = relay.spawn(&["sync", "--report"]).wait();
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

#[test]
fn drift_is_told_of_a_target_by_others_and_repaired_there() {
    let (slapd, team) = with_team();
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target);
    relay.sync().completed();
    let user = |name: &str| {
        let users = target.users();
        users
            .into_iter()
            .find(|user| user["userName"] == name)
            .unwrap()
    };
    let patch = |path: String, operation: Value| {
        let schema = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
        let body = json!({"schemas": [schema], "Operations": [operation]});
        let (status, answer) = target.send("PATCH", &path, Some(&body));
        assert!(status < 300, "{answer}");
    };
    let id = |user: &Value| user["id"].as_str().unwrap().to_owned();
    let path = format!("/Users/{}", id(&user("u0000004")));
    patch(
        path,
        json!({"op": "replace", "path": "displayName", "value": "Edited"}),
    );
    let group = target.groups().remove(0);
    let out = id(&user("u0000001"));
    let remove = json!({"op": "remove", "path": format!("members[value eq \"{out}\"]")});
    patch(format!("/Groups/{}", id(&group)), remove);

    let told = report(&relay);
    assert_eq!((told.writes(), told.count("drifted")), (0, 2), "{told:?}");
    let lines = drift_of(&relay, &told.job);
    let team = lines
        .iter()
        .find(|line| line["dn"] == team.as_str())
        .unwrap();
    assert_eq!(team["members"], json!([anchor_of(&slapd, &dn(1))]));
    let repaired = reconcile(&relay).completed();
    assert_eq!(
        (
            repaired.count("usersUpdated"),
            repaired.count("membersAdded")
        ),
        (1, 1),
        "{repaired:?}"
    );
    assert_eq!(report(&relay).count("drifted"), 0);
}
