//! Jobs: started, refused, listed, cancelled, cut off, resumed, and run by schedule.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{STAFF, Site, items};
use crate::program::{Api, PATIENCE};
use crate::support::fault_ldap::{FaultLdap, Step};
use crate::support::wait_for;
use crate::support::world::World;

/// Long enough for a call of the API in between, many times over.
const SLOW: Duration = Duration::from_millis(150);

fn wait_for_creates(site: &Site, count: usize) {
    wait_for("creates at the target", PATIENCE, || {
        (site.created() >= count).then_some(())
    });
}

fn time(job: &Value, field: &str) -> DateTime<Utc> {
    job[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {job}"))
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_job_from_start_to_end() {
    let site = Site::new().await;
    site.slow_creates(SLOW);
    let (serving, api, directory) = site.serve();
    let before = Utc::now();
    let started = api.post(&format!("/directories/{directory}/sync"), "");
    assert_eq!(started.status, 202, "{started:?}");
    let started = started.json();
    assert_eq!(started["status"], "running");
    assert!(time(&started, "startedAt") >= before);
    let id = started["jobId"].as_str().unwrap();

    wait_for_creates(&site, 1);
    let running = api.job(&directory, id);
    assert_eq!(
        (&running["status"], &running["mode"]),
        (&json!("running"), &json!("full"))
    );
    assert_eq!(running["progress"]["phase"], "applying");
    for body in ["", r#"{"mode": "preview"}"#] {
        let second = api.post(&format!("/directories/{directory}/sync"), body);
        assert_eq!(second.status, 409, "{second:?}");
        let problem = second.json();
        assert_eq!(problem["jobId"], id);
        assert!(
            problem["detail"].as_str().unwrap().contains(id),
            "{problem}"
        );
    }

    let job = api.finished_job(&directory, id);
    assert_eq!(
        (&job["status"], &job["trigger"]),
        (&json!("completed"), &json!("manual"))
    );
    assert_eq!(job["usersCreated"], STAFF, "{job}");
    assert_eq!(job["requests"]["write"], STAFF, "{job}");
    assert_eq!(job["errors"], json!([]));
    assert_eq!(job["directoryId"], directory.as_str());
    assert!(time(&job, "completedAt") > time(&job, "startedAt"));
    assert_eq!(site.target.target().users().len(), STAFF);
    assert_eq!(serving.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_lists_jobs_and_changes_page_by_page() {
    let site = Site::new().await;
    let (_serving, api, directory) = site.serve();
    let people = World::new(3, STAFF, 0).people;
    let first = api.start_job(&directory);
    api.finished_job(&directory, &first);
    site.slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: displayName\ndisplayName: New Name\n",
        people[0].dn()
    ));
    let second = api.start_job(&directory);
    let job = api.finished_job(&directory, &second);
    assert_eq!(
        (&job["usersUpdated"], &job["requests"]["write"]),
        (&json!(1), &json!(1)),
        "{job}"
    );
    let third = api.start_job(&directory);
    api.finished_job(&directory, &third);

    let jobs = format!("/directories/{directory}/jobs");
    assert_eq!(
        pages(&api, &jobs, "id", 1),
        [third.clone(), second.clone(), first.clone()]
    );
    assert_eq!(
        pages(&api, &jobs, "id", 2),
        [third, second.clone(), first.clone()]
    );
    for query in ["limit=0", "limit=201", "limit=x", "cursor=x"] {
        let refused = api.get(&format!("{jobs}?{query}"));
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
    }

    // The second job: one line, with what was and what is.
    let lines = api.get(&format!("{jobs}/{second}/changes")).json();
    assert_eq!(lines["nextCursor"], json!(null));
    let lines = lines["items"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!(line["dn"], people[0].dn().as_str());
    assert_eq!(line["operation"], "update");
    assert_eq!(
        line["attributes"],
        json!([{ "attribute": "displayName", "before": people[0].display_name, "after": "New Name" }])
    );
    // The first: everybody once, whatever the page's size.
    let mut all = pages(&api, &format!("{jobs}/{first}/changes"), "dn", 5);
    all.sort();
    let mut expected: Vec<String> = people.iter().map(|person| person.dn()).collect();
    expected.sort();
    assert_eq!(all, expected);
}

/// This field of all items of a list, read in pages of this size.
fn pages(api: &Api, path: &str, field: &str, limit: usize) -> Vec<String> {
    let items = items(api, path, limit);
    let fields = items.iter().map(|item| item[field].as_str().unwrap());
    fields.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_cancels_a_job() {
    let site = Site::new().await;
    site.slow_creates(SLOW);
    let (serving, api, directory) = site.serve();
    let id = api.start_job(&directory);
    wait_for_creates(&site, 1);
    let path = format!("/directories/{directory}/jobs/{id}/cancel");
    assert_eq!(api.post(&path, "").status, 202);
    let job = api.finished_job(&directory, &id);
    assert_eq!(job["status"], "cancelled", "{job}");
    let created = site.created();
    assert!(
        (1..STAFF).contains(&created),
        "{created} created before the end"
    );
    assert_eq!(
        job["usersCreated"], created,
        "what was in flight was finished and counted: {job}"
    );
    assert_eq!(job["errorCount"], 0, "{job}");
    // A second try changes nothing.
    assert_eq!(api.post(&path, "").status, 202);
    assert_eq!(api.job(&directory, &id), job);

    // It is not resumed by itself, and the next run brings the rest.
    assert_eq!(serving.terminate(), Some(0));
    let (_serving, api, _) = site.serve();
    assert_eq!(api.jobs(&directory).len(), 1);
    site.target.set_rules(Vec::new());
    let next = api.start_job(&directory);
    let next = api.finished_job(&directory, &next);
    assert_eq!(next["usersCreated"], STAFF - created, "{next}");
    assert_eq!(site.created(), STAFF);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_cancels_a_job_that_waits_for_the_directory() {
    // It lets the relay in, and then never answers a search for entries.
    let silent = FaultLdap::start(|request| {
        (request.op == 0x63 && request.subtree).then(|| vec![Step::Silence])
    })
    .await;
    let mut site = Site::new().await;
    site.relay = site
        .relay
        .directory(&format!("port = {}", silent.address.port()));
    let (serving, api, directory) = site.serve();
    let reading = |id: &str| {
        wait_for("the reading of the directory", PATIENCE, || {
            (api.job(&directory, id)["progress"]["phase"] == "reading").then_some(())
        });
    };
    let cancelled = api.start_job(&directory);
    reading(&cancelled);
    let start = Instant::now();
    api.post(
        &format!("/directories/{directory}/jobs/{cancelled}/cancel"),
        "",
    );
    assert_eq!(
        api.finished_job(&directory, &cancelled)["status"],
        "cancelled"
    );
    let interrupted = api.start_job(&directory);
    reading(&interrupted);
    assert_eq!(serving.terminate(), Some(0));
    // Neither waited until the directory's time was over, which is 30 s.
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );

    site.relay = site
        .relay
        .directory(&format!("port = {}", site.slapd.port()));
    is_resumed(&site, &interrupted, 3);
}

/// What must be true after a start that follows a job that was cut off.
fn is_resumed(site: &Site, cut_off: &str, jobs_then: usize) {
    site.target.set_rules(Vec::new());
    let (_serving, api, directory) = site.serve();
    let before = api.job(&directory, cut_off);
    assert_eq!(before["status"], "interrupted", "{before}");
    let jobs = api.jobs(&directory);
    assert_eq!(
        (jobs.len(), &jobs[1]["id"]),
        (jobs_then, &json!(cut_off)),
        "{jobs:?}"
    );
    let resumed = api.finished_job(&directory, jobs[0]["id"].as_str().unwrap());
    assert_eq!(
        (&resumed["trigger"], &resumed["status"]),
        (&json!("resume"), &json!("completed")),
        "{resumed}"
    );
    assert_eq!(site.created(), STAFF, "lost or sent twice");
    assert_eq!(site.target.target().users().len(), STAFF);
    let next = api.start_job(&directory);
    assert_eq!(api.finished_job(&directory, &next)["requests"]["write"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_sigterm_finishes_what_is_in_flight_and_a_restart_resumes() {
    let site = Site::new().await;
    site.slow_creates(SLOW);
    let (serving, api, directory) = site.serve();
    let id = api.start_job(&directory);
    wait_for_creates(&site, 2);
    assert_eq!(serving.terminate(), Some(0));
    let journal = site.target.journal();
    assert!(
        journal.iter().all(|exchange| exchange.sent.is_some()),
        "a request was torn off"
    );
    assert!(
        (2..STAFF).contains(&site.created()),
        "{} created",
        site.created()
    );
    is_resumed(&site, &id, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_kill_is_survived_and_a_restart_resumes() {
    let site = Site::new().await;
    site.slow_creates(SLOW);
    let (mut serving, api, directory) = site.serve();
    let id = api.start_job(&directory);
    wait_for_creates(&site, 3);
    serving.kill();
    assert!(
        (3..STAFF).contains(&site.created()),
        "{} created",
        site.created()
    );
    is_resumed(&site, &id, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_schedule_runs_by_itself_one_at_a_time() {
    let mut site = Site::new().await;
    site.relay = site.relay.directory("syncInterval = \"1s\"");
    // The first job takes longer than two more would be due.
    site.slow_creates(Duration::from_millis(250));
    let (_serving, api, directory) = site.serve();
    wait_for_creates(&site, 1);
    let by_hand = api.post(&format!("/directories/{directory}/sync"), "");
    assert_eq!(by_hand.status, 409, "{by_hand:?}");
    let jobs = wait_for("four jobs by schedule", PATIENCE, || {
        let mut jobs = api.jobs(&directory);
        // One that looks for leavers beside a long one is another matter.
        jobs.retain(|job| !job["completedAt"].is_null() && job["trigger"] != "urgent");
        (jobs.len() >= 4).then_some(jobs)
    });
    let jobs: Vec<&Value> = jobs.iter().rev().collect();
    let took = time(jobs[0], "completedAt") - time(jobs[0], "startedAt");
    assert!(
        took > TimeDelta::seconds(2),
        "the first job was not long: {took}"
    );
    assert_eq!(jobs[0]["usersCreated"], STAFF);
    for pair in jobs.windows(2) {
        assert!(
            time(pair[1], "startedAt") >= time(pair[0], "completedAt"),
            "two at a time: {pair:?}"
        );
        // What was missed comes once, and not in a burst.
        let apart = time(pair[1], "startedAt") - time(pair[0], "startedAt");
        assert!(apart >= TimeDelta::seconds(1), "{apart} apart: {pair:?}");
        assert_eq!(pair[1]["requests"]["write"], 0);
    }
    assert!(
        jobs.iter()
            .all(|job| job["trigger"] == "schedule" && job["status"] == "completed"),
        "{jobs:?}"
    );
}
