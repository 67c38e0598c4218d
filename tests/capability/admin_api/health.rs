//! Health and statistics: what an operator is told of a directory that works, half works, and does not work.

use std::time::Duration;

use serde_json::{Value, json};

use super::{STAFF, Site};
use crate::program::{Api, PATIENCE};
use crate::support::slapd::PEOPLE;
use crate::support::wait_for;

fn health(api: &Api) -> Value {
    let answer = api.get("/health");
    assert_eq!(answer.status, 200, "{answer:?}");
    let health = answer.json();
    let directory = &health["directories"][0];
    assert_eq!(health["status"], directory["status"], "{health}");
    assert_eq!(directory["name"], "hq");
    let profile = &directory["profiles"][0];
    for field in ["status", "reason", "since"] {
        assert_eq!(directory[field], profile[field], "{health}");
    }
    directory.clone()
}

fn run(api: &Api, directory: &str) -> Value {
    let id = api.start_job(directory);
    api.finished_job(directory, &id)
}

fn assert_told(health: &Value, colour: &str, word: &str) {
    assert_eq!(health["status"], colour, "{health}");
    let reason = health["reason"].as_str().unwrap();
    assert!(reason.contains(word), "no `{word}`: {health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_health_follows_the_runs() {
    let mut site = Site::new().await;
    let (_serving, api, directory) = site.serve();
    let never = health(&api);
    assert_told(&never, "yellow", "has not run yet");
    assert_eq!(never["since"], json!(null));
    assert_eq!(never["id"], directory.as_str());

    // One record is refused; the next run is refused, too, and the time stays that of the first.
    site.refuse("u0000004");
    let first = run(&api, &directory);
    assert_eq!(first["status"], "completed_with_errors", "{first}");
    run(&api, &directory);
    let some_failed = health(&api);
    assert_told(&some_failed, "yellow", "no such cost centre");
    assert_eq!(some_failed["since"], first["completedAt"]);

    site.target.set_rules(Vec::new());
    let cured = run(&api, &directory);
    let good = health(&api);
    assert_told(&good, "green", "without errors");
    assert_eq!(good["since"], cured["completedAt"]);
    let profile = &good["profiles"][0];
    assert_eq!(profile["runningJobId"], json!(null));
    assert_eq!(profile["nextRunAt"], json!(null));
    let complete_read = profile["lastCompleteRead"].clone();
    assert!(complete_read.is_string(), "{good}");

    // Nobody answers: red at once, and the last complete read stays apart from the last attempt.
    site.slapd.stop();
    let failed = run(&api, &directory);
    let bad = health(&api);
    assert_told(&bad, "red", "the last run failed");
    let detail = failed["errors"][0]["detail"].as_str().unwrap();
    assert!(bad["reason"].as_str().unwrap().contains(detail), "{bad}");
    assert_eq!(bad["since"], failed["completedAt"]);
    let profile = &bad["profiles"][0];
    assert_eq!(profile["lastCompleteRead"], complete_read);
    assert!(
        profile["lastAttempt"].as_str() > complete_read.as_str(),
        "{bad}"
    );
    site.slapd.restart();

    // A job under way is shown and does not change the colour.
    site.slow_creates(Duration::from_secs(2));
    site.slapd.add(&format!(
        "dn: uid=new,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: new\ncn: New\nsn: New\nmail: new@example.org\n"
    ));
    let id = api.start_job(&directory);
    wait_for("the create", PATIENCE, || {
        (site.created() > STAFF).then_some(())
    });
    let meanwhile = health(&api);
    assert_told(&meanwhile, "red", "the last run failed");
    assert_eq!(meanwhile["profiles"][0]["runningJobId"], id.as_str());
    let last = api.finished_job(&directory, &id);
    assert_eq!(last["status"], "completed", "{last}");
    assert_eq!(health(&api)["since"], last["completedAt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_statistics_count_what_is_linked() {
    let site = Site::new().await;
    let (_serving, api, directory) = site.serve();
    let statistics = || {
        let answer = api.get("/statistics");
        assert_eq!(answer.status, 200, "{answer:?}");
        let statistics = answer.json();
        let mut of_directory = statistics["directories"][0].clone();
        assert_eq!(of_directory["id"], directory.as_str());
        assert_eq!(of_directory["name"], "hq");
        let mut total = statistics["total"].clone();
        assert_eq!(total["directories"], 1);
        for field in ["id", "name"] {
            of_directory.as_object_mut().unwrap().remove(field);
        }
        total.as_object_mut().unwrap().remove("directories");
        assert_eq!(total, of_directory, "one directory is all there is");
        total
    };
    let nothing = statistics();
    assert_eq!(
        nothing["users"],
        json!({"linked": 0, "active": 0, "inactive": 0})
    );
    assert_eq!(nothing["lastAttempt"], json!(null));

    site.slapd.add(&format!(
        "dn: cn=team,{}\nobjectClass: groupOfNames\ncn: team\nmember: uid=u0000001,{PEOPLE}\nmember: uid=u0000002,{PEOPLE}\n",
        crate::support::slapd::GROUPS
    ));
    run(&api, &directory);
    site.slapd.delete(&format!("uid=u0000003,{PEOPLE}"));
    site.refuse("nobody");
    run(&api, &directory);
    let some = statistics();
    assert_eq!(
        some["users"],
        json!({"linked": STAFF, "active": STAFF - 1, "inactive": 1})
    );
    assert_eq!(some["groups"], json!({"linked": 1}));
    assert_eq!(some["memberships"], 2);
    assert_eq!(some["profiles"], 1);
    assert_eq!(some["jobsLast24Hours"]["completed"], 2, "{some}");
    assert_eq!(some["jobsLast24Hours"]["failed"], 0, "{some}");
    assert!(
        some["lastAttempt"].as_str() < some["lastCompleteRead"].as_str(),
        "{some}"
    );
    assert_eq!(api.get("/statistics?since=2026-01-01").status, 400);
}
