//! A store file that was put back from a copy: it is noticed, everything is compared first, and nobody pays for it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::outcomes::{change_mail_ldif, created, disable};
use crate::program::Api;
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::wait_for;
use crate::support::world::World;
use crate::truth::{assert_settled, deactivates, relay, writes};

const PEOPLE_AT_FIRST: usize = 30;

struct Company {
    slapd: Slapd,
    target: FaultTarget,
    relay: Relay,
}

fn dn(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

impl Company {
    async fn new() -> Self {
        let slapd = Slapd::with(&World::new(11, PEOPLE_AT_FIRST, 0).ldif());
        slapd.add(&format!(
            "dn: cn=team,{GROUPS}\nobjectClass: groupOfNames\ncn: team\nmember: {}\nmember: {}\n",
            dn(1),
            dn(2)
        ));
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target);
        relay.sync().completed();
        Self {
            slapd,
            target,
            relay,
        }
    }

    fn joins(&self, number: usize) {
        self.slapd.add(&format!(
            "dn: {}\nobjectClass: inetOrgPerson\nuid: u{number:07}\ncn: New\nsn: New\n",
            dn(number)
        ));
    }

    fn leaves(&self, number: usize) {
        self.slapd.delete(&dn(number));
    }

    fn team(&self, change: &str, number: usize) {
        let member = dn(number);
        self.slapd.modify(&format!(
            "dn: cn=team,{GROUPS}\nchangetype: modify\n{change}: member\nmember: {member}\n"
        ));
    }

    fn is_active(&self, number: usize) -> bool {
        let user = self.target.target().user_named(&format!("u{number:07}"));
        user.unwrap()["active"] == true
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.relay.store().into_os_string();
        name.push(".generation");
        name.into()
    }
}

/// What a job says of the store.
fn told(run: &Finished) -> Vec<String> {
    let warnings = run.job["warnings"].as_array().cloned().unwrap_or_default();
    let texts = warnings
        .iter()
        .map(|text| text.as_str().unwrap().to_owned());
    texts.filter(|text| text.contains("store file")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_store_is_compared_first_and_doubles_and_removes_nobody() {
    let company = Company::new().await;
    let backup = std::fs::read(company.relay.store()).unwrap();
    // What the backup does not know: who came, who left, who was renamed, and who is in the team.
    company.joins(40);
    company.joins(41);
    company
        .slapd
        .modify(&change_mail_ldif(3, "new@example.org"));
    company.leaves(4);
    company.team("add", 5);
    company.team("add", 40);
    company.team("delete", 2);
    company.relay.sync().completed();
    assert!(!company.is_active(4));

    std::fs::write(company.relay.store(), &backup).unwrap();
    // What nobody told the target yet; one of those who leave is unknown to the backup.
    company.joins(42);
    company.leaves(6);
    disable(&company.slapd, 7);
    company.leaves(41);
    let before = company.target.journal().len();
    let first = company.relay.sync();
    let said = told(&first);
    assert!(
        said.len() == 1 && said[0].contains("put back from a backup"),
        "{first:?}"
    );
    assert_eq!(
        (first.count("usersCreated"), first.count("usersDeactivated")),
        (1, 0),
        "{first:?}"
    );
    assert!(
        first.job["holds"]
            .to_string()
            .contains("restored from an old copy"),
        "{first:?}"
    );
    assert!(
        first.job["warnings"]
            .to_string()
            .contains("Look at them: u0000041"),
        "{first:?}"
    );
    let since = company.target.journal().split_off(before);
    let sent: Vec<String> = since
        .iter()
        .filter(|exchange| exchange.call.method != "GET")
        .map(|exchange| format!("{} {:?}", exchange.call.path, exchange.call.body))
        .collect();
    assert_eq!(sent.len(), 1, "only the one who is new: {sent:#?}");
    assert_eq!(created(&company.target, "/Users"), PEOPLE_AT_FIRST + 3);

    // Whoever leaves, leaves with the next run, and the store is believed again.
    let second = company.relay.sync().completed();
    assert_eq!(told(&second), Vec::<String>::new());
    assert_eq!(second.count("usersDeactivated"), 2, "{second:?}");
    assert!(!company.is_active(6) && !company.is_active(7));
    // Nobody but a person can take this one's access away.
    assert!(company.is_active(41));
    assert_eq!(company.relay.sync().completed().writes(), 0);
    let deactivated = writes(&company.target)
        .iter()
        .filter(|write| deactivates(write))
        .count();
    assert_eq!(deactivated, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_store_that_came_with_its_folder_or_alone_is_compared_and_costs_nothing_else() {
    let company = Company::new().await;
    let (store, beside) = (company.relay.store(), company.beside());
    for alone in [false, true] {
        let copy = store.with_extension("copy");
        std::fs::copy(&store, &copy).unwrap();
        std::fs::rename(&copy, &store).unwrap();
        if alone {
            std::fs::remove_file(&beside).unwrap();
        }
        let first = company.relay.sync().completed();
        let words = if alone { "is missing" } else { "another file" };
        assert!(told(&first)[0].contains(words), "{first:?}");
        assert_eq!(first.writes(), 0, "{first:?}");
        let second = company.relay.sync().completed();
        assert_eq!(told(&second), Vec::<String>::new());
        assert_settled(&company.slapd, &company.target, &company.relay, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_store_takes_no_account_from_whom_it_was_handed_to_since() {
    let company = Company::new().await;
    let relay = company.relay.directory("linking = \"automatic\"");
    let company = Company { relay, ..company };
    company.relay.sync().completed();
    let backup = std::fs::read(company.relay.store()).unwrap();
    // Somebody is hired again: another entry with the same userName.
    company.leaves(4);
    company.relay.sync().completed();
    assert!(!company.is_active(4));
    company.joins(4);
    company.relay.sync().completed();
    company.relay.sync().completed();
    assert!(company.is_active(4));

    std::fs::write(company.relay.store(), &backup).unwrap();
    let before = writes(&company.target).len();
    for run in 1..=3 {
        let ended = company.relay.sync();
        assert!(company.is_active(4), "run {run}: {ended:?}");
        assert_eq!(told(&ended).len(), usize::from(run == 1), "{ended:?}");
    }
    let since = writes(&company.target).split_off(before);
    assert_eq!(since.len(), 0, "{since:#?}");
    assert_settled(&company.slapd, &company.target, &company.relay, "handed on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_store_is_told_in_health_until_it_was_compared() {
    let company = Company::new().await;
    let backup = std::fs::read(company.relay.store()).unwrap();
    company.joins(40);
    company.relay.sync().completed();
    std::fs::write(company.relay.store(), &backup).unwrap();
    let serving = company.relay.serve();
    assert!(
        serving.log().contains("put back from a backup"),
        "{}",
        serving.log()
    );
    let api = Api::new(serving.base_url());
    let health = || -> Value {
        let health = api.get("/health").json();
        let profile = &health["directories"][0]["profiles"][0];
        json!([profile["status"], profile["reason"]])
    };
    let told = health();
    assert_eq!(told[0], "yellow", "{told}");
    assert!(
        told[1].as_str().unwrap().contains("put back from a backup"),
        "{told}"
    );
    let directory = api.directory("hq");
    let job = api.start_job(&directory);
    let job = api.finished_job(&directory, &job);
    assert_eq!(
        (&job["status"], &job["usersCreated"], &job["linked"]),
        (&json!("completed"), &json!(0), &json!(1)),
        "{job}"
    );
    assert_eq!(health()[0], "green");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_a_kill_or_a_new_start_left_is_no_old_one() {
    let company = Company::new().await;
    company.target.set_rules(vec![Rule::on(
        "POST",
        "/Users",
        Fault::Slow(Duration::from_millis(100)),
    )]);
    (50..80).for_each(|number| company.joins(number));
    let mut run = company.relay.spawn_sync();
    wait_for("some of them", Duration::from_secs(60), || {
        (created(&company.target, "/Users") > PEOPLE_AT_FIRST + 8).then_some(())
    });
    run.kill();
    company.target.set_rules(Vec::new());
    let next = company.relay.sync();
    assert_eq!(told(&next), Vec::<String>::new(), "{next:?}");
    // One of an earlier version has no file beside it, and neither has one that was lost.
    std::fs::remove_file(company.relay.store()).unwrap();
    let anew = company.relay.sync().completed();
    assert_eq!(told(&anew), Vec::<String>::new(), "{anew:?}");
    assert_settled(&company.slapd, &company.target, &company.relay, "made anew");
}

/// What a changed profile takes away is asked of a person, though the first run has compared the store and asked nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_store_is_no_way_around_the_approval_of_a_changed_profile() {
    let company = Company::new().await;
    let backup = std::fs::read(company.relay.store()).unwrap();
    company.joins(40);
    company.relay.sync().completed();
    std::fs::write(company.relay.store(), &backup).unwrap();
    let relay = company
        .relay
        .directory("exclusionFilter = \"(uid=u0000003)\"");
    let first = relay.sync();
    assert_eq!(told(&first).len(), 1, "{first:?}");
    let second = relay.sync();
    assert_eq!(second.job["status"], "awaiting_approval", "{second:?}");
    assert!(company.target.target().user_named("u0000003").unwrap()["active"] == true);
}

/// A plan from before the copy may be about accounts that are somebody else's by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_store_has_no_plan_carried_out_before_it_was_compared() {
    let company = Company::new().await;
    (10..17).for_each(|number| company.leaves(number));
    let waits = company.relay.sync();
    assert_eq!(waits.job["status"], "awaiting_approval", "{waits:?}");
    let backup = std::fs::read(company.relay.store()).unwrap();
    company.relay.sync().completed();
    std::fs::write(company.relay.store(), &backup).unwrap();

    let refused = company.relay.approved(waits);
    assert_eq!(refused.job["status"], "awaiting_approval", "{refused:?}");
    assert!(
        refused.job["errors"].to_string().contains("old copy"),
        "{refused:?}"
    );
    assert!(company.is_active(10));
    assert_eq!(told(&company.relay.sync()).len(), 1);
    let applied = company.relay.approved(refused);
    assert_eq!(applied.count("usersDeactivated"), 7, "{applied:?}");
}
