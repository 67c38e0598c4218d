//! Leavers overtake: while a load runs for long, whoever leaves is cut off at once, and the load goes on and ends right.

use serde_json::Value;

use crate::outcomes::disable;
use crate::program::{Api, PATIENCE};
use crate::support::fault_target::{Exchange, FaultTarget};
use crate::support::relay::{Relay, Serving};
use crate::support::slapd::{GROUPS, Options, PEOPLE, READER, SYNCPROV, Slapd};
use crate::support::wait_for;
use crate::support::world::{Person, World};
use crate::truth::{anchor_of, assert_settled, deactivates, operations, relay, writes};

/// Who is there before the load, and with it.
const FEW: usize = 10;
const MANY: usize = 1_500;

fn dn(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

fn team() -> String {
    format!("cn=team,{GROUPS}")
}

/// A relay that serves, and creates a whole company beside the few who are there.
struct Load {
    slapd: Slapd,
    target: FaultTarget,
    relay: Relay,
    serving: Serving,
    api: Api,
    directory: String,
}

impl Load {
    /// With these lines of the profile; the target takes fifty requests a second. Answers when the load has begun to create.
    async fn begin(lines: &str) -> Self {
        let world = World::new(31, MANY, 0);
        let ldif = |people: &[Person]| people.iter().map(Person::ldif).collect::<String>();
        let members: String = (0..FEW)
            .map(|number| format!("member: {}\n", dn(number)))
            .collect();
        let team = format!(
            "dn: {}\nobjectClass: groupOfNames\ncn: team\n{members}\n",
            team()
        );
        let slapd = Options::new()
            .overlays(SYNCPROV)
            .database(&format!("limits dn.exact=\"{READER}\" size=unlimited"))
            .ldif(&ldif(&world.people[..FEW]))
            .ldif(&team)
            .start();
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target)
            .tenant("rateLimit = 50")
            .directory(lines)
            .directory("guard = { creations = 10000 }");
        relay.sync().completed();
        slapd.add(&ldif(&world.people[FEW..]));
        let (serving, api, directory) = Self::serve(&relay);
        let load = Self {
            slapd,
            target,
            relay,
            serving,
            api,
            directory,
        };
        // Feed or schedule may have been faster.
        load.api
            .post(&format!("/directories/{}/sync", load.directory), "");
        wait_for("the load", PATIENCE, || {
            (load.target.target().users().len() > FEW + 60).then_some(())
        });
        load
    }

    fn serve(relay: &Relay) -> (Serving, Api, String) {
        let serving = relay.serve();
        let api = Api::new(serving.base_url());
        let directory = api.directory("hq");
        (serving, api, directory)
    }

    fn listens(&self) {
        wait_for("listening for changes", PATIENCE, || {
            let log = self.serving.log();
            log.contains("\"listening for changes\"").then_some(())
        });
    }

    /// Waits until no job runs and none is to follow.
    fn quiet(&self) -> Vec<Value> {
        wait_for("the end of all jobs", PATIENCE * 3, || {
            let jobs = self.api.jobs(&self.directory);
            let ended = jobs.iter().all(|job| job["completedAt"].is_string());
            (ended && !jobs.is_empty()).then_some(jobs)
        })
    }

    /// The numbers of two of the load who were created, and of one who was not.
    fn some(&self) -> (usize, usize, usize) {
        let users = self.target.target().users();
        let is_there = |number: &usize| {
            let name = format!("u{number:07}");
            users.iter().any(|user| user["userName"] == name.as_str())
        };
        let mut there = (FEW..MANY).filter(is_there);
        let (disabled, deleted) = (there.next().unwrap(), there.next().unwrap());
        let missing = self.last_in_the_plan();
        assert!(!is_there(&missing));
        (disabled, deleted, missing)
    }

    /// Plans are in order of the anchors.
    fn last_in_the_plan(&self) -> usize {
        let people =
            self.slapd
                .search(PEOPLE, "(objectClass=inetOrgPerson)", &["uid", "entryUUID"]);
        let last = people
            .iter()
            .max_by_key(|entry| entry.first("entryUUID").unwrap().to_owned());
        last.unwrap().first("uid").unwrap()[1..].parse().unwrap()
    }

    /// One is disabled, another deleted, a third taken out of the group, and one deleted whose turn has not come.
    fn leave(&self) -> Leavers {
        let (disabled, deleted, missing) = self.some();
        let anchors =
            [disabled, deleted, missing].map(|number| anchor_of(&self.slapd, &dn(number)));
        disable(&self.slapd, disabled);
        self.slapd.delete(&dn(deleted));
        self.slapd.delete(&dn(missing));
        self.slapd.modify(&format!(
            "dn: {}\nchangetype: modify\ndelete: member\nmember: {}\n",
            team(),
            dn(3)
        ));
        let ids = self.ids();
        Leavers {
            inactive: [&anchors[0], &anchors[1]].map(|anchor| ids(anchor)),
            never: anchors[2].clone(),
        }
    }

    fn ids(&self) -> impl Fn(&str) -> String {
        let users = self.target.target().users();
        move |anchor| {
            let mut users = users.iter();
            let user = users.find(|user| user["externalId"] == anchor).unwrap();
            user["id"].as_str().unwrap().to_owned()
        }
    }

    /// Where in the journal the last of them was cut off, once that is so.
    fn cut_off(&self, leavers: &Leavers) -> usize {
        wait_for("the leavers' end", PATIENCE * 2, || self.find(leavers))
    }

    fn find(&self, leavers: &Leavers) -> Option<usize> {
        let writes = writes(&self.target);
        let find = |test: &dyn Fn(&Exchange) -> bool| writes.iter().position(test);
        let mut ends = Vec::new();
        for id in &leavers.inactive {
            let path = format!("/Users/{id}");
            ends.push(find(&|sent| {
                sent.call.path.ends_with(&path) && deactivates(sent)
            })?);
        }
        ends.push(find(&|sent| removes_members(sent))?);
        ends.into_iter().max()
    }

    /// Panics unless they were cut off long before the load was over, and both ends are equal then.
    fn assert_overtaken(self, leavers: &Leavers) -> Vec<Value> {
        let cut_off = self.cut_off(leavers);
        let jobs = self.quiet();
        let all = writes(&self.target);
        let is_creation = |sent: &Exchange| sent.call.method == "POST";
        let later = all[cut_off..]
            .iter()
            .filter(|sent| is_creation(sent))
            .count();
        assert!(
            later > MANY / 2,
            "only {later} were created after the leavers had gone: {jobs:#?}"
        );
        let created = all.iter().any(|sent| {
            let body = sent.call.body.as_ref();
            body.is_some_and(|body| body["externalId"] == leavers.never.as_str())
        });
        assert!(!created, "somebody was created who had left");
        assert_eq!(self.serving.terminate(), Some(0));
        assert_settled(&self.slapd, &self.target, &self.relay, "after the load");
        jobs
    }
}

/// Who left: by their ids at the target, and by the anchor of one who never had any.
struct Leavers {
    inactive: [String; 2],
    never: String,
}

fn removes_members(sent: &Exchange) -> bool {
    let removes = |operation: &Value| operation["op"] == "remove";
    sent.call.path.contains("/Groups/") && operations(sent).iter().any(removes)
}

fn triggers(jobs: &[Value]) -> Vec<&str> {
    jobs.iter()
        .map(|job| job["trigger"].as_str().unwrap())
        .collect()
}

const SELDOM: &str = "syncSchedule = \"0 4 1 1 *\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leavers_that_a_feed_tells_of_overtake_a_load() {
    let load = Load::begin(SELDOM).await;
    load.listens();
    let leavers = load.leave();
    let jobs = load.assert_overtaken(&leavers);
    let triggers = triggers(&jobs);
    assert!(triggers.contains(&"urgent"), "{triggers:?}");
    let failed = jobs.iter().filter(|job| job["status"] != "completed");
    assert_eq!(failed.count(), 0, "{jobs:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leavers_that_the_schedule_finds_overtake_a_load() {
    let lines = "syncInterval = \"3s\"\nchangeDetection = \"full_scan\"";
    let load = Load::begin(lines).await;
    let leavers = load.leave();
    let jobs = load.assert_overtaken(&leavers);
    let urgent: Vec<&Value> = jobs
        .iter()
        .filter(|job| job["trigger"] == "urgent")
        .collect();
    let sum = |field: &str| {
        urgent
            .iter()
            .map(|job| job[field].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(
        (
            sum("usersDeactivated"),
            sum("membersRemoved"),
            sum("usersCreated")
        ),
        (2, 1, 0),
        "{urgent:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leavers_overtake_a_load_that_is_killed_in_the_middle() {
    let mut load = Load::begin(SELDOM).await;
    load.listens();
    let leavers = load.leave();
    wait_for("the first leaver", PATIENCE, || {
        writes(&load.target).iter().any(deactivates).then_some(())
    });
    load.serving.kill();
    let (serving, api, directory) = Load::serve(&load.relay);
    load = Load {
        serving,
        api,
        directory,
        ..load
    };
    load.assert_overtaken(&leavers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leavers_go_though_the_load_is_cancelled() {
    let load = Load::begin(SELDOM).await;
    load.listens();
    let jobs = load.api.jobs(&load.directory);
    let long = jobs.iter().find(|job| job["status"] == "running").unwrap();
    let path = format!(
        "/directories/{}/jobs/{}",
        load.directory,
        long["id"].as_str().unwrap()
    );
    let leavers = load.leave();
    wait_for("the urgent job", PATIENCE, || {
        let jobs = load.api.jobs(&load.directory);
        triggers(&jobs).contains(&"urgent").then_some(())
    });
    load.api.post(&format!("{path}/cancel"), "");
    let jobs = load.assert_overtaken(&leavers);
    let ended = jobs.iter().find(|job| job["id"] == long["id"]).unwrap();
    assert_eq!(ended["status"], "cancelled", "{jobs:#?}");
}
