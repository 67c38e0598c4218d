//! What the target refuses of one row again and again waits longer and longer, and is told all the same; who leaves never waits.

use std::cell::Cell;

use scim_relay::demo::target::answer::Call;
use serde_json::{Value, json};

use super::{change_mail, disable, dn, six, user};
use crate::program::{Api, PATIENCE};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{Relay, Serving};
use crate::support::slapd::{GROUPS, Slapd};
use crate::support::wait_for;
use crate::truth::{assert_settled, relay};

fn refused() -> Fault {
    Fault::Status {
        code: 400,
        scim_type: Some("invalidValue"),
        detail: "not like this",
        numeric: false,
    }
}

fn says(text: &'static str) -> impl Fn(&Call) -> bool + Send + 'static {
    move |call| {
        let body = call.body.as_ref();
        body.is_some_and(|body| body.to_string().contains(text))
    }
}

/// A relay that runs each second by itself.
struct Site {
    slapd: Slapd,
    target: FaultTarget,
    relay: Relay,
    seen: Cell<usize>,
}

struct Running {
    api: Api,
    directory: String,
    _serving: Serving,
}

impl Site {
    /// Six people, of whom two are in a group, are synchronized; then these requests are refused.
    async fn with(rules: Vec<Rule>) -> Self {
        let (slapd, target) = (six(), FaultTarget::start(Vec::new()).await);
        slapd.add(&format!(
            "dn: {}\nobjectClass: groupOfNames\ncn: team\nmember: {}\nmember: {}\n",
            team(),
            dn(0),
            dn(1)
        ));
        let relay = relay(&slapd, &target);
        relay.sync().completed();
        target.set_rules(rules);
        Self {
            relay: relay.directory("syncInterval = \"1s\""),
            seen: Cell::new(target.journal().len()),
            slapd,
            target,
        }
    }

    fn serve(&self) -> Running {
        let serving = self.relay.serve();
        let api = Api::new(serving.base_url());
        let directory = api.directory("hq");
        Running {
            api,
            directory,
            _serving: serving,
        }
    }

    /// How many requests were refused since this was last asked.
    fn refusals(&self) -> usize {
        let journal = self.target.journal();
        let news = &journal[self.seen.replace(journal.len())..];
        let refused = news.iter().filter(|exchange| exchange.sent == Some(400));
        refused.count()
    }

    fn mail(&self, number: usize) -> Value {
        user(&self.target, number)["emails"][0]["value"].clone()
    }

    fn add_to_team(&self, number: usize) {
        let (team, member) = (team(), dn(number));
        self.slapd.modify(&format!(
            "dn: {team}\nchangetype: modify\nadd: member\nmember: {member}\n"
        ));
    }
}

fn team() -> String {
    format!("cn=team,{GROUPS}")
}

impl Running {
    /// Waits for three runs that somebody did not start by hand, the last two of which began after this was called; the last.
    fn next_runs(&self) -> Value {
        let by_itself = || {
            let mut jobs = self.api.jobs(&self.directory);
            jobs.retain(|job| job["trigger"] != "manual" && job["completedAt"].is_string());
            jobs
        };
        let before = by_itself().first().map(|job| job["id"].clone());
        wait_for("three runs by themselves", PATIENCE, || {
            let jobs = by_itself();
            let known = |job: &Value| Some(&job["id"]) == before.as_ref();
            let news = jobs.iter().position(known).unwrap_or(jobs.len());
            (news >= 3).then(|| jobs[0].clone())
        })
    }

    fn by_hand(&self) -> Value {
        let job = wait_for("a free turn", PATIENCE, || {
            let path = format!("/directories/{}/sync", self.directory);
            let answer = self.api.post(&path, "");
            (answer.status == 202).then(|| answer.json()["jobId"].as_str().unwrap().to_owned())
        });
        self.api.finished_job(&self.directory, &job)
    }

    fn user(&self, dn: &str) -> Value {
        let path = format!("/directories/{}/users?limit=100", self.directory);
        let users = self.api.get(&path).json();
        let users = users["items"].as_array().unwrap().clone();
        users.into_iter().find(|user| user["dn"] == dn).unwrap()
    }
}

/// The errors of a job that name an entry.
fn errors_of(job: &Value, dn: &str) -> Vec<Value> {
    let errors = job["errors"].as_array().unwrap().iter();
    errors.filter(|error| error["dn"] == dn).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backoff_of_a_refused_change_is_told_in_each_run_and_ended_by_hand_or_by_a_changed_entry() {
    let site = Site::with(vec![
        Rule::on("PATCH", "/Users", refused()).matching(says("bad")),
    ])
    .await;
    change_mail(&site.slapd, 1, "bad@example.org");
    let running = site.serve();
    let job = running.next_runs();
    assert_eq!(site.refusals(), 1, "{job}");
    assert_eq!(
        (&job["status"], &job["errorCount"], &job["skipped"]),
        (&json!("completed_with_errors"), &json!(1), &json!(1)),
        "{job}"
    );
    let errors = errors_of(&job, &dn(1));
    let detail = errors[0]["detail"].as_str().unwrap();
    for words in ["not like this", "refused 1 times", "sent again from"] {
        assert!(detail.contains(words), "no `{words}` in {detail}");
    }
    assert_eq!(
        (&errors[0]["operation"], &errors[0]["status"]),
        (&json!("update"), &json!(400))
    );
    assert!(
        job["warnings"].to_string().contains("wait for another try"),
        "{job}"
    );
    let listed = running.user(&dn(1));
    assert!(listed["nextTryAt"].is_string(), "{listed}");
    assert_eq!(listed["lastError"]["operation"], "update", "{listed}");
    // Nobody waits for it.
    change_mail(&site.slapd, 2, "fine@example.org");
    running.next_runs();
    assert_eq!(
        (site.refusals(), site.mail(2)),
        (0, json!("fine@example.org"))
    );

    let by_hand = running.by_hand();
    assert_eq!(site.refusals(), 1, "{by_hand}");
    running.next_runs();
    assert_eq!(site.refusals(), 0);
    change_mail(&site.slapd, 1, "bad@another.example.org");
    running.next_runs();
    assert_eq!(site.refusals(), 1);

    // The target does not say that it would take it now.
    site.target.set_rules(Vec::new());
    let job = running.next_runs();
    assert_eq!(errors_of(&job, &dn(1)).len(), 1, "{job}");
    let by_hand = running.by_hand();
    assert_eq!(by_hand["status"], "completed", "{by_hand}");
    assert_eq!(site.mail(1), "bad@another.example.org");
    assert_eq!(running.user(&dn(1))["nextTryAt"], json!(null));
    drop(running);
    assert_settled(&site.slapd, &site.target, &site.relay, "by hand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backoff_ends_with_a_changed_profile_and_outlives_the_process() {
    let site = Site::with(vec![
        Rule::on("PATCH", "/Users", refused()).matching(says("bad")),
    ])
    .await;
    change_mail(&site.slapd, 1, "bad@example.org");
    site.serve().next_runs();
    assert_eq!(site.refusals(), 1);
    site.serve().next_runs();
    assert_eq!(site.refusals(), 0, "the process was started anew");
    let relay = site.relay.directory("exclusionFilter = \"(uid=nobody)\"");
    let site = Site { relay, ..site };
    site.serve().next_runs();
    assert_eq!(site.refusals(), 1, "the profile is another one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backoff_is_not_for_leavers_and_those_who_lose_a_group() {
    for (method, removal) in [("/Users", "active"), ("/Groups", "remove")] {
        let site = Site::with(vec![
            Rule::on("PATCH", method, refused()).matching(says(removal)),
        ])
        .await;
        match removal {
            "active" => disable(&site.slapd, 3),
            _ => site.slapd.modify(&format!(
                "dn: {}\nchangetype: modify\ndelete: member\nmember: {}\n",
                team(),
                dn(1)
            )),
        }
        let running = site.serve();
        let job = running.next_runs();
        assert!(site.refusals() >= 2, "{removal}: {job}");
        site.target.set_rules(Vec::new());
        running.next_runs();
        drop(running);
        assert_settled(&site.slapd, &site.target, &site.relay, removal);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backoff_of_a_creation_keeps_nobody_else_out_of_a_group() {
    let site = Site::with(vec![
        Rule::on("POST", "/Users", refused()).matching(says("u0000008")),
    ])
    .await;
    for number in [8, 9] {
        site.slapd.add(&format!(
            "dn: {}\nobjectClass: inetOrgPerson\nuid: u{number:07}\ncn: New\nsn: New\n",
            dn(number)
        ));
        site.add_to_team(number);
    }
    let running = site.serve();
    let job = running.next_runs();
    assert_eq!(site.refusals(), 1, "{job}");
    let members = || {
        let team = site.target.target().groups().remove(0);
        team["members"].as_array().unwrap().len()
    };
    assert_eq!(members(), 3);
    site.add_to_team(4);
    running.next_runs();
    assert_eq!((site.refusals(), members()), (0, 4));
    site.target.set_rules(Vec::new());
    running.by_hand();
    assert_eq!(members(), 5);
    drop(running);
    assert_settled(&site.slapd, &site.target, &site.relay, "created");
}
