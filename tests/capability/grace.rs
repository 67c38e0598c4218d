//! The grace period: whoever is gone keeps what he has until it is over, and whoever is back in time has lost nothing.

use serde_json::{Value, json};

use crate::outcomes::disable;
use crate::program::{Api, PATIENCE};
use crate::support::fault_target::FaultTarget;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{GROUPS, Options, PEOPLE, SUFFIX, SYNCPROV, Slapd};
use crate::support::wait_for;
use crate::support::world::World;
use crate::truth::{assert_settled, deactivates, relay, writes};

/// As Active Directory does by itself, the server takes those who leave out of groups.
const REFINT: &str = "overlay refint\nrefint_attributes member\n";

fn rdn(number: usize) -> String {
    format!("uid=u{number:07}")
}

fn dn(number: usize) -> String {
    format!("{},{PEOPLE}", rdn(number))
}

/// A company of so many with a unit that is out of scope, and the group `team` of the first two and the last one.
fn company(people: usize, overlays: &str) -> Slapd {
    let members: String = [0, 1, people - 1]
        .map(|number| format!("member: {}\n", dn(number)))
        .concat();
    Options::new()
        .overlays(overlays)
        .ldif(&World::new(21, people, 0).ldif())
        .ldif(&format!(
            "dn: ou=elsewhere,{SUFFIX}\nobjectClass: organizationalUnit\nou: elsewhere\n\n\
             dn: cn=team,{GROUPS}\nobjectClass: groupOfNames\ncn: team\n{members}\n"
        ))
        .start()
}

/// Moves somebody out of scope. The groups do not name him any more, as on a server that counts only who is in scope.
fn leave(slapd: &Slapd, number: usize) {
    slapd.modify(&member("delete", number));
    let away = format!("ou=elsewhere,{SUFFIX}");
    slapd.modrdn(&dn(number), &rdn(number), Some(&away));
}

fn come_back(slapd: &Slapd, number: usize) {
    let away = format!("{},ou=elsewhere,{SUFFIX}", rdn(number));
    slapd.modrdn(&away, &rdn(number), Some(PEOPLE));
    slapd.modify(&member("add", number));
}

fn member(change: &str, number: usize) -> String {
    let (group, who) = (format!("cn=team,{GROUPS}"), dn(number));
    format!("dn: {group}\nchangetype: modify\n{change}: member\nmember: {who}\n")
}

fn user(target: &FaultTarget, number: usize) -> Value {
    let name = format!("u{number:07}");
    let mut users = target.target().users().into_iter();
    users.find(|user| user["userName"] == name).unwrap()
}

/// Whether somebody's account is active, and whether he is in the group.
fn standing(target: &FaultTarget, number: usize) -> (bool, bool) {
    let user = user(target, number);
    let group = target.target().groups().pop().unwrap();
    let members = group["members"].as_array().cloned().unwrap_or_default();
    let is_member = members.iter().any(|member| member["value"] == user["id"]);
    (user["active"] == true, is_member)
}

/// How many the run says to be in their grace.
fn waiting(run: &Finished) -> usize {
    let warnings = run.job["warnings"].as_array().unwrap();
    let told = warnings.iter().filter_map(Value::as_str);
    told.filter(|text| text.contains("gracePeriod"))
        .map(|text| text.split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

fn with_grace(relay: Relay, period: &str) -> Relay {
    relay.directory(&format!("gracePeriod = \"{period}\""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_pardons_whoever_is_back_in_time() {
    let slapd = company(8, "");
    let target = FaultTarget::start(Vec::new()).await;
    let relay = with_grace(relay(&slapd, &target), "7d");
    relay.sync().completed();
    let before = writes(&target).len();
    // One who was taken out of the group while he was in scope leaves it at once; the other one is merely gone.
    slapd.modify(&member("delete", 1));
    relay.sync().completed();
    assert_eq!(standing(&target, 1), (true, false));
    leave(&slapd, 0);
    let run = relay.sync().completed();
    assert_eq!((run.writes(), waiting(&run)), (0, 1), "{run:?}");
    let run = relay.sync().completed();
    assert_eq!((run.writes(), waiting(&run)), (0, 1), "{run:?}");
    assert_eq!(standing(&target, 0), (true, true));

    come_back(&slapd, 0);
    let run = relay.sync().completed();
    assert_eq!((run.writes(), waiting(&run)), (0, 0), "{run:?}");
    assert!(!writes(&target).iter().any(deactivates));
    assert_settled(&slapd, &target, &relay, "back in time");
    assert_eq!(writes(&target).len(), before + 1, "the one membership");
    // Nothing is remembered: a new absence has its whole grace.
    leave(&slapd, 0);
    assert_eq!(waiting(&relay.sync().completed()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_that_is_taken_away_or_shortened_is_over_for_those_who_wait() {
    for (shorter, deprovisioning) in [("none", "deactivate"), ("1s", "delete")] {
        let slapd = company(8, "");
        let target = FaultTarget::start(Vec::new()).await;
        let relay =
            relay(&slapd, &target).directory(&format!("deprovisioning = \"{deprovisioning}\""));
        let relay = with_grace(relay, "7d");
        relay.sync().completed();
        leave(&slapd, 0);
        assert_eq!(waiting(&relay.sync().completed()), 1);
        // Whoever is disabled goes at once.
        disable(&slapd, 2);
        let run = relay.sync().completed();
        assert_eq!((run.count("usersDeactivated"), waiting(&run)), (1, 1));
        assert!(!standing(&target, 2).0 && standing(&target, 0) == (true, true));

        let relay = with_grace(relay, shorter);
        let run = wait_for("the end of the grace", PATIENCE, || {
            let run = relay.sync().completed();
            (waiting(&run) == 0).then_some(run)
        });
        assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
        match deprovisioning {
            "delete" => assert_eq!(target.target().users().len(), 7),
            _ => assert_eq!(standing(&target, 0), (false, false)),
        }
        assert_settled(&slapd, &target, &relay, shorter);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_comes_before_the_guard_and_holds_for_groups_and_single_runs() {
    let slapd = company(20, "");
    let target = FaultTarget::start(Vec::new()).await;
    let relay = with_grace(relay(&slapd, &target), "7d");
    relay.sync().completed();
    // One of them is looked at alone first.
    slapd.delete(&dn(19));
    let only = ["sync", "--output", "json", "--only", &dn(19)];
    let run = relay.spawn(&only).wait().completed();
    assert_eq!((run.writes(), waiting(&run)), (0, 1), "{run:?}");
    for number in 13..19 {
        slapd.delete(&dn(number));
    }
    slapd.delete(&format!("cn=team,{GROUPS}"));
    let run = relay.sync().completed();
    assert_eq!((run.writes(), waiting(&run)), (0, 8), "{run:?}");
    assert_eq!(standing(&target, 0), (true, true), "the group is gone");
    // The guard counts them when they are about to be deactivated.
    let relay = with_grace(relay, "none");
    let run = relay.sync();
    assert_eq!(run.job["status"], "awaiting_approval", "{run:?}");
    assert_eq!(run.count("usersDeactivated"), 0);
}

/// Whoever leaves the scope because the profile was changed waits for a person: when the grace ends, nobody would be asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_is_no_way_around_the_approval_of_a_changed_profile() {
    let slapd = company(8, "");
    let target = FaultTarget::start(Vec::new()).await;
    let relay = with_grace(relay(&slapd, &target), "7d");
    relay.sync().completed();
    leave(&slapd, 0);
    assert_eq!(waiting(&relay.sync().completed()), 1);
    let relay = relay.directory("exclusionFilter = \"(uid=u0000003)\"");
    let run = relay.sync();
    assert_eq!(run.job["status"], "awaiting_approval", "{run:?}");
    assert_eq!(waiting(&run), 1, "who left before has his grace: {run:?}");
    assert_eq!(run.job["progress"]["stepsPlanned"], 1, "{run:?}");
    // Later runs leave it alone, and whoever approves the plan need not wait for the end of a grace.
    let later = relay.sync().completed();
    let warnings = later.job["warnings"].to_string();
    assert!(warnings.contains("wait for a decision"), "{later:?}");
    assert_eq!(later.writes(), 0);
    assert!(standing(&target, 3).0);
    let applied = relay.approved(run);
    assert_eq!(applied.count("usersDeactivated"), 1, "{applied:?}");
    assert!(!standing(&target, 3).0 && standing(&target, 0).0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_ends_by_itself_on_time() {
    let slapd = company(8, &format!("{REFINT}{SYNCPROV}"));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = with_grace(relay(&slapd, &target), "6s").directory("syncSchedule = \"0 4 1 1 *\"");
    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let directory = api.directory("hq");
    let started = api.post(&format!("/directories/{directory}/sync"), "");
    let first = api.finished_job(&directory, started.json()["jobId"].as_str().unwrap());
    assert_eq!(first["status"], "completed", "{first}");
    wait_for("listening for changes", PATIENCE, || {
        let log = serving.log();
        log.contains("\"listening for changes\"").then_some(())
    });

    let of_state = |state: &str| {
        let users = api.get(&format!("/directories/{directory}/users?state={state}"));
        users.json()["items"].as_array().unwrap().clone()
    };
    slapd.delete(&dn(0));
    let leaving = wait_for("the leaver's grace", PATIENCE, || of_state("leaving").pop());
    assert_eq!(
        (&leaving["userName"], &leaving["active"]),
        (&json!("u0000000"), &json!(true))
    );
    let leaves_at: chrono::DateTime<chrono::Utc> =
        leaving["leavesAt"].as_str().unwrap().parse().unwrap();
    // No change in the directory and no schedule: the end of the grace alone sets it off.
    let gone = wait_for("the end of the grace", PATIENCE, || {
        of_state("absent").pop()
    });
    assert_eq!(gone["leavesAt"], json!(null), "{gone}");
    wait_for("the deactivation", PATIENCE, || {
        (standing(&target, 0) == (false, false)).then_some(())
    });
    let jobs = api.get(&format!("/directories/{directory}/jobs?limit=100"));
    let jobs = jobs.json()["items"].as_array().unwrap().clone();
    let last = &jobs[0];
    assert_eq!(last["trigger"], "schedule", "{jobs:#?}");
    let began: chrono::DateTime<chrono::Utc> = last["startedAt"].as_str().unwrap().parse().unwrap();
    assert!(began >= leaves_at, "{began} is before {leaves_at}");
    let fed = jobs.iter().find(|job| job["trigger"] == "feed").unwrap();
    assert_eq!(
        (&fed["status"], &fed["requests"]["write"]),
        (&json!("completed"), &json!(0)),
        "{fed}"
    );
    let health = api.get("/health").json();
    assert_eq!(health["directories"][0]["status"], "green", "{health}");
}
