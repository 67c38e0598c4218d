//! Plans through the API: previewed, waiting, approved while the relay is ended in the middle, rejected, undone.

use serde_json::{Value, json};

use super::dn;
use crate::program::{Api, PATIENCE};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{Relay, Serving};
use crate::support::slapd::Slapd;
use crate::support::wait_for;
use crate::support::world::World;
use crate::truth::relay;

struct Office {
    slapd: Slapd,
    target: FaultTarget,
    relay: Relay,
    serving: Serving,
    api: Api,
    directory: String,
}

impl Office {
    async fn open() -> Self {
        let slapd = Slapd::with(&World::new(17, 60, 3).ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();
        let (serving, api, directory) = Self::serve(&relay);
        Self {
            slapd,
            target,
            relay,
            serving,
            api,
            directory,
        }
    }

    fn serve(relay: &Relay) -> (Serving, Api, String) {
        let serving = relay.serve();
        let api = Api::new(serving.base_url());
        let directory = api.directory("hq");
        (serving, api, directory)
    }

    fn path(&self, job: &str, rest: &str) -> String {
        format!("/directories/{}/jobs/{job}{rest}", self.directory)
    }

    /// Runs a job to its end.
    fn run(&self, body: &Value) -> Value {
        let path = format!("/directories/{}/sync", self.directory);
        self.ended(self.api.post(&path, &body.to_string()).json())
    }

    fn ended(&self, started: Value) -> Value {
        let job = started["jobId"].as_str().unwrap();
        self.api.finished_job(&self.directory, job)
    }

    fn inactive(&self) -> usize {
        let users = self.target.target().users().into_iter();
        users.filter(|user| user["active"] == false).count()
    }

    fn health(&self) -> Value {
        self.api.get("/health").json()["directories"][0].clone()
    }
}

fn leave(slapd: &Slapd, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| slapd.delete(&dn(number)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guard_plans_are_read_decided_on_and_undone_through_the_api() {
    let mut office = Office::open().await;
    leave(&office.slapd, 0..10);
    let preview = office.run(&json!({ "mode": "preview" }));
    let preview = preview["id"].as_str().unwrap().to_owned();
    let foreseen = office.api.get(&office.path(&preview, "/plan")).json();
    assert_eq!(
        (
            &foreseen["preview"],
            &foreseen["stepsForApproval"],
            &foreseen["waiting"]
        ),
        (&json!(true), &foreseen["stepsHeld"], &json!(false)),
        "{foreseen:#}"
    );
    let of_preview = json!({ "digest": foreseen["digest"] }).to_string();
    let refused = office
        .api
        .post(&office.path(&preview, "/approve"), &of_preview);
    assert_eq!(
        refused.status, 409,
        "a preview is never carried out: {refused:?}"
    );

    let waits = office.run(&json!({}));
    assert_eq!(waits["status"], "awaiting_approval", "{waits:#}");
    let job = waits["id"].as_str().unwrap().to_owned();
    let plan = office.api.get(&office.path(&job, "/plan")).json();
    assert_eq!(
        plan["operationsHeld"], foreseen["operationsHeld"],
        "the same planner"
    );
    let steps = office
        .api
        .get(&office.path(&job, "/plan/steps?operation=deactivate&held=true&limit=4"))
        .json();
    assert_eq!(steps["items"].as_array().unwrap().len(), 4);
    let rest = format!(
        "/plan/steps?held=true&limit=200&cursor={}",
        steps["nextCursor"].as_str().unwrap()
    );
    let rest = office.api.get(&office.path(&job, &rest)).json();
    let all = rest["items"].as_array().unwrap().len() + 4;
    assert_eq!(json!(all), plan["stepsHeld"], "{rest:#}");
    // A run that ends well does not make it forgotten.
    assert_eq!(office.run(&json!({}))["status"], "completed");
    let health = office.health();
    assert_eq!(health["status"], "yellow", "{health:#}");
    assert_eq!(health["profiles"][0]["waitingJobIds"], json!([job]));

    for (body, status) in [
        ("{}", 422),
        (r#"{"digest": "0000"}"#, 409),
        (r#"{"digest": 7}"#, 422),
    ] {
        let answer = office.api.post(&office.path(&job, "/approve"), body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    assert_eq!(office.inactive(), 0);

    // The relay is ended while the approved plan is carried out, and goes on with it at the next start.
    let slow = Fault::Slow(std::time::Duration::from_millis(200));
    office
        .target
        .set_rules(vec![Rule::on("PATCH", "/Users", slow)]);
    let digest = json!({ "digest": plan["digest"] }).to_string();
    let approved = office.api.post(&office.path(&job, "/approve"), &digest);
    assert_eq!(approved.status, 202, "{approved:?}");
    assert_eq!(approved.json()["decision"]["verdict"], "approved");
    wait_for("the first to leave", PATIENCE, || {
        (office.inactive() > 0).then_some(())
    });
    office.serving.kill();
    office.target.set_rules(Vec::new());
    (office.serving, office.api, office.directory) = Office::serve(&office.relay);
    let ended = office.api.finished_job(&office.directory, &job);
    assert_eq!(
        (&ended["status"], office.inactive()),
        (&json!("completed"), 10),
        "{ended:#}"
    );
    assert_eq!(office.run(&json!({}))["requests"]["write"], 0);
    assert_eq!(office.health()["status"], "green");
    let audit = office.api.get("/audit?action=plan.approve").json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 1, "{audit:#}");

    // Undone, and so it stays.
    let undone = office.api.post(&office.path(&job, "/undo"), "");
    let undone = office.ended(undone.json());
    assert_eq!(
        (&undone["undoes"], office.inactive()),
        (&json!(job), 0),
        "{undone:#}"
    );
    assert_eq!(office.run(&json!({}))["requests"]["write"], 0);
    let holds = format!("/directories/{}/holds?state=undone", office.directory);
    assert!(
        !office.api.get(&holds).json()["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    // Others leave, and somebody says no.
    leave(&office.slapd, 20..30);
    let waits = office.run(&json!({}));
    let job = waits["id"].as_str().unwrap();
    let rejected = office.api.post(&office.path(job, "/reject"), "");
    assert_eq!(
        rejected.json()["decision"]["verdict"],
        "rejected",
        "{rejected:?}"
    );
    assert_eq!(office.run(&json!({}))["requests"]["write"], 0);
    assert_eq!(office.inactive(), 0);
    let again = office.api.post(&office.path(job, "/reject"), "");
    assert_eq!(again.status, 409, "{again:?}");
}
