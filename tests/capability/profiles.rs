//! Several profiles of one directory: who owns whom, hand-overs, populations, deleted profiles, and taking turns.

mod leavers;

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::linking::edit;
use crate::program::{Api, PATIENCE};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{GROUPS, PEOPLE, SUFFIX, Slapd};
use crate::support::wait_for;
use crate::truth::{operations, relay, writes};

const GUESTS: &str = "ou=guests,dc=example,dc=org";
/// The people of the profile `default`, and those of `guests`.
const STAFF: usize = 8;
const VISITORS: usize = 6;
/// Long enough for a call of the API in between, many times over.
const SLOW: Duration = Duration::from_millis(100);

fn person(uid: &str, base: &str) -> String {
    format!(
        "dn: uid={uid},{base}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid} by cn\nsn: {uid}\n\
         displayName: {uid} by name\ntitle: {uid}'s title\n\n"
    )
}

fn group(name: &str, members: &[&str]) -> String {
    let mut ldif = format!("dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\n");
    for member in members {
        writeln!(ldif, "member: {member}").unwrap();
    }
    ldif + "\n"
}

/// The second profile, with another mapping than the first.
fn second(lines: &str) -> String {
    format!(
        "[[profiles]]\nname = \"guests\"\nsynchronizeGroups = false\n\
         attributeMapping = {{ displayName = \"cn\", title = \"title\" }}\n{lines}\n"
    )
}

/// The same for the unit of the guests.
fn guests(lines: &str) -> String {
    second(&format!("usersDN = \"{GUESTS}\"\n{lines}"))
}

/// A directory with two units, each with its profile.
struct Site {
    slapd: Slapd,
    target: FaultTarget,
    relay: Relay,
    /// Requests that were told already.
    told: usize,
}

impl Site {
    async fn new(staff: usize, visitors: usize, ldif: &str, profiles: &str) -> Self {
        let mut text = format!("dn: {GUESTS}\nobjectClass: organizationalUnit\nou: guests\n\n");
        text.extend((0..staff).map(|number| person(&format!("s{number}"), PEOPLE)));
        text.extend((0..visitors).map(|number| person(&format!("g{number}"), GUESTS)));
        let slapd = Slapd::with(&(text + ldif));
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target)
            .tenant("concurrency = 1")
            .directory(profiles);
        Self {
            slapd,
            target,
            relay,
            told: 0,
        }
    }

    fn run(&self, profile: &str, mode: &str) -> Finished {
        let asked = [
            "sync",
            "--output",
            "json",
            "--mode",
            mode,
            "--profile",
            profile,
        ];
        let run = self.relay.spawn(&asked).wait();
        self.relay.with_change_approved(run)
    }

    /// Runs a profile, and tells what it sent.
    fn sends(&mut self, profile: &str) -> Vec<String> {
        self.sends_in_mode(profile, "full")
    }

    fn sends_in_mode(&mut self, profile: &str, mode: &str) -> Vec<String> {
        self.run(profile, mode).completed();
        self.tell()
    }

    /// What was sent since it was told last: the name of the resource, and what became of it.
    fn tell(&mut self) -> Vec<String> {
        let all = writes(&self.target);
        let names: Vec<(String, String)> = self
            .target
            .target()
            .users()
            .iter()
            .chain(&self.target.target().groups())
            .map(|resource| (resource["id"].as_str().unwrap().to_owned(), name(resource)))
            .collect();
        let told = all[self.told..].iter().map(|exchange| {
            let call = &exchange.call;
            let text = match call.method.as_str() {
                "POST" => format!("create {}", name(call.body.as_ref().unwrap())),
                _ => {
                    let words: Vec<String> = operations(exchange).iter().map(word).collect();
                    let id = call.path.rsplit('/').next().unwrap();
                    format!("{id}: {}", words.join(", "))
                }
            };
            names
                .iter()
                .fold(text, |text, (id, name)| text.replace(id, name))
        });
        let told = told.collect();
        self.told = all.len();
        told
    }

    /// Loads everybody, so that a test begins with nothing to do.
    fn load(&mut self) {
        for profile in ["default", "guests", "default"] {
            self.sends(profile);
        }
        self.assert_quiet();
    }

    fn assert_quiet(&self) {
        for profile in ["default", "guests"] {
            let run = self.run(profile, "full").completed();
            assert_eq!(
                run.job["requests"],
                json!({"read": 0, "write": 0}),
                "{run:?}"
            );
        }
    }

    fn replace(&self, dn: &str, attribute: &str, value: &str) {
        self.slapd.modify(&format!(
            "dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"
        ));
    }

    fn lock(&self, dn: &str) {
        self.slapd.modify(&format!(
            "dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nreplace: nsAccountLock\nnsAccountLock: true\n"
        ));
    }

    /// Moves ann, and the name that the team has for her with it, as a directory with referential integrity does.
    fn move_ann(&self, from: &str, to: &str) {
        self.slapd
            .modrdn(&format!("uid=ann,{from}"), "uid=ann", Some(to));
        self.replace(
            &format!("cn=team,{GROUPS}"),
            "member",
            &format!("uid=ann,{to}\nmember: uid=s0,{PEOPLE}"),
        );
    }

    fn serve(&self) -> (crate::support::relay::Serving, Api, String) {
        let serving = self.relay.serve();
        let api = Api::new(serving.base_url());
        let directory = api.directory("hq");
        (serving, api, directory)
    }

    fn created(&self) -> usize {
        let writes = writes(&self.target);
        writes
            .iter()
            .filter(|write| write.call.method == "POST")
            .count()
    }
}

fn name(resource: &Value) -> String {
    let name = resource.get("userName").unwrap_or(&resource["displayName"]);
    name.as_str().unwrap().to_owned()
}

fn word(operation: &Value) -> String {
    let path = operation["path"].as_str().unwrap_or_default();
    match (operation["op"].as_str().unwrap(), &operation["value"]) {
        (op, Value::Null) => format!("{op} {path}"),
        (_, Value::String(value)) => format!("{path}={value}"),
        (_, value) => format!("{path}={value}"),
    }
}

fn ask(api: &Api, directory: &str, profile: &str) -> crate::program::Answer {
    let body = json!({ "profile": profile }).to_string();
    api.post(&format!("/directories/{directory}/sync"), &body)
}

fn job_id(answer: &crate::program::Answer) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["jobId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_overlap_and_the_first_owns() {
    let both = second(&format!(
        "usersDN = \"{SUFFIX}\"\nuserSearchFilter = \"(objectClass=inetOrgPerson)\""
    ));
    let mut site = Site::new(1, 1, "", &both).await;
    // Seen by the second alone, they are its own; then the first sees one of them, and its mapping counts.
    assert_eq!(site.sends("guests").len(), 2);
    assert_eq!(site.sends("default"), ["s0: displayName=s0 by name"]);
    assert_eq!(site.sends("guests"), [""; 0]);
    site.assert_quiet();

    let s0 = format!("uid=s0,{PEOPLE}");
    site.replace(&s0, "cn", "what only the second maps");
    assert_eq!(site.sends("guests"), [""; 0]);
    assert_eq!(site.sends("default"), [""; 0]);
    site.replace(&s0, "displayName", "Anew");
    assert_eq!(site.sends("guests"), [""; 0]);
    assert_eq!(site.sends("default"), ["s0: displayName=Anew"]);
    site.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_hand_over_without_suspension() {
    let more = person("ann", PEOPLE)
        + &group(
            "team",
            &[&format!("uid=ann,{PEOPLE}"), &format!("uid=s0,{PEOPLE}")],
        );
    let mut site = Site::new(STAFF, VISITORS, &more, &guests("")).await;
    site.load();

    // The one that she left runs first: she is there, in the other's scope.
    site.move_ann(PEOPLE, GUESTS);
    let left = site.run("default", "full").completed();
    assert_eq!((left.writes(), left.count("skipped")), (0, 1), "{left:?}");
    assert_eq!(
        site.sends("guests"),
        ["ann: displayName=ann by cn, title=ann's title"]
    );
    assert_eq!(site.sends("default"), [""; 0]);
    site.assert_quiet();
    site.move_ann(GUESTS, PEOPLE);
    assert_eq!(site.sends("guests"), [""; 0]);
    assert_eq!(site.sends("default"), ["ann: displayName=ann by name"]);
    assert_eq!(site.sends("guests"), [""; 0]);
    site.assert_quiet();

    // The one that she came to runs first: she is the other's until that one knows.
    site.move_ann(PEOPLE, GUESTS);
    assert_eq!(site.sends("guests"), [""; 0]);
    assert_eq!(site.sends("default"), [""; 0]);
    assert_eq!(site.sends("guests"), ["ann: displayName=ann by cn"]);
    site.assert_quiet();
    site.move_ann(GUESTS, PEOPLE);
    assert_eq!(site.sends("default"), ["ann: displayName=ann by name"]);
    assert_eq!(site.sends("guests"), [""; 0]);
    site.sends("default");
    site.assert_quiet();

    // No profile sees her any more: the run that finds it deactivates her.
    site.slapd.delete(&format!("uid=ann,{PEOPLE}"));
    assert_eq!(site.sends("guests"), [""; 0]);
    assert_eq!(
        site.sends("default"),
        [
            "ann: active=false",
            "team: remove members[value eq \"ann\"]"
        ]
    );
    // One of the second profile, too, at once by its own run.
    site.slapd.delete(&format!("uid=g0,{GUESTS}"));
    assert_eq!(site.sends("guests"), ["g0: active=false"]);
    site.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_serve_the_population_that_they_name() {
    let mut site = Site::new(
        STAFF,
        VISITORS,
        &person("ann", PEOPLE),
        &format!(
            "population = \"active\"\n{}",
            guests("population = \"inactive\"")
        ),
    )
    .await;
    let (ann, moved) = (format!("uid=ann,{PEOPLE}"), format!("uid=ann,{GUESTS}"));
    site.lock(&format!("uid=s0,{PEOPLE}"));
    // Of the staff all but the locked one; of the guests, who are not locked, nobody.
    assert_eq!(site.sends("default").len(), STAFF);
    assert_eq!(site.sends("guests"), [""; 0]);

    site.lock(&ann);
    site.replace(&ann, "displayName", "Ann B");
    assert_eq!(site.sends("default"), ["ann: active=false"]);
    site.replace(&ann, "displayName", "Ann C");
    assert_eq!(site.sends("default"), [""; 0]);
    site.replace(&ann, "nsAccountLock", "false");
    assert_eq!(
        site.sends("default"),
        ["ann: active=true, displayName=Ann C"]
    );

    site.slapd.modrdn(&ann, "uid=ann", Some(GUESTS));
    assert_eq!(site.sends("guests"), [""; 0]);
    assert_eq!(site.sends("default"), [""; 0]);
    assert_eq!(site.sends("guests"), [""; 0]);
    site.replace(&moved, "nsAccountLock", "true");
    assert_eq!(
        site.sends("guests"),
        [
            "ann: active=false",
            "ann: displayName=ann by cn, title=ann's title"
        ]
    );
    site.replace(&moved, "nsAccountLock", "false");
    site.replace(&moved, "title", "Back");
    assert_eq!(site.sends("guests"), [""; 0]);
    site.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_that_are_deleted_release_their_users() {
    let mixed = group(
        "mixed",
        &[&format!("uid=s0,{PEOPLE}"), &format!("uid=g0,{GUESTS}")],
    );
    let mut site = Site::new(STAFF, VISITORS, &mixed, &guests("")).await;
    site.load();
    site.relay = site.relay.directory("profiles = []");
    let (g0, g1) = (format!("uid=g0,{GUESTS}"), format!("uid=g1,{GUESTS}"));
    assert_eq!(site.sends("default"), [""; 0]);
    assert_eq!(site.sends_in_mode("default", "reconcile"), [""; 0]);
    site.replace(&g0, "title", "Head of guests");
    site.slapd.delete(&g1);
    site.replace(
        &format!("cn=mixed,{GROUPS}"),
        "member",
        &format!("uid=s0,{PEOPLE}"),
    );
    assert_eq!(site.sends("default"), [""; 0]);

    site.relay = site.relay.directory(&guests(""));
    assert_eq!(
        site.sends("guests"),
        ["g1: active=false", "g0: title=Head of guests"]
    );
    assert_eq!(
        site.sends("default"),
        ["mixed: remove members[value eq \"g0\"]"]
    );
    site.assert_quiet();

    // Another profile sees them: they go on with the accounts that they have.
    site.relay = site.relay.directory(&format!(
        "profiles = []\nusersDN = \"{SUFFIX}\"\nuserSearchFilter = \"(objectClass=inetOrgPerson)\""
    ));
    let mut sent = site.sends("default");
    sent.sort();
    let renamed = |uid: &str| format!("{uid}: displayName={uid} by name");
    assert_eq!(sent, ["g0", "g2", "g3", "g4", "g5"].map(renamed));
    assert_eq!(site.sends("default"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_reconcile_each_row_with_its_owners_mapping() {
    let mut site = Site::new(STAFF, VISITORS, "", &guests("")).await;
    site.load();
    for profile in ["default", "guests"] {
        assert_eq!(site.sends_in_mode(profile, "reconcile"), [""; 0]);
    }
    site.assert_quiet();
    for uid in ["s0", "g0"] {
        let user = site.target.target().user_named(uid).unwrap();
        let edited = json!([{"op": "replace", "path": "displayName", "value": "edited"}]);
        let path = format!("/Users/{}", user["id"].as_str().unwrap());
        edit(&site.target, &path, edited);
    }
    assert_eq!(
        site.sends_in_mode("default", "reconcile"),
        ["s0: displayName=s0 by name"]
    );
    assert_eq!(site.sends("guests"), ["g0: displayName=g0 by cn"]);
    site.assert_quiet();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_are_guarded_by_their_own_numbers() {
    let visitors = 8;
    let raised = guests("guard = { plausiblePercent = 0 }");
    let mut site = Site::new(160, visitors, "", &raised).await;
    site.load();
    for number in 1..visitors {
        site.slapd.delete(&format!("uid=g{number},{GUESTS}"));
        site.slapd.delete(&format!("uid=s{number},{PEOPLE}"));
    }
    let held = site.run("guests", "full");
    assert_eq!(held.job["status"], "awaiting_approval", "{held:?}");
    let words = held.job["holds"][0].as_str().unwrap();
    assert!(words.starts_with("7 of 8 active users"), "{words}");
    assert_eq!(site.tell(), [""; 0]);
    // The same number is little for the other.
    assert_eq!(site.sends("default").len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_of_one_directory_take_turns() {
    let site = Site::new(STAFF, VISITORS, "", &guests("")).await;
    site.target
        .set_rules(vec![Rule::on("POST", "/Users", Fault::Slow(SLOW))]);
    let (serving, api, directory) = site.serve();
    let first = job_id(&ask(&api, &directory, "default"));
    wait_for("the first create", PATIENCE, || {
        (site.created() > 0).then_some(())
    });
    let second = job_id(&ask(&api, &directory, "guests"));
    assert_eq!(api.job(&directory, &second)["status"], "queued");
    for (profile, job) in [("default", &first), ("guests", &second)] {
        let again = ask(&api, &directory, profile);
        assert_eq!((again.status, &again.json()["jobId"]), (409, &json!(job)));
    }
    // Cancelled while it waits: it never ran.
    let path = format!("/directories/{directory}/jobs/{second}/cancel");
    assert_eq!(api.post(&path, "").status, 202);
    let cancelled = api.finished_job(&directory, &second);
    assert_eq!(
        (&cancelled["status"], &cancelled["startedAt"]),
        (&json!("cancelled"), &Value::Null)
    );
    let third = job_id(&ask(&api, &directory, "guests"));
    let (first, third) = (
        api.finished_job(&directory, &first),
        api.finished_job(&directory, &third),
    );
    assert_eq!(
        (&first["status"], &third["status"]),
        (&json!("completed"), &json!("completed"))
    );
    let (ended, began) = (first["completedAt"].as_str(), third["startedAt"].as_str());
    let time = |text: Option<&str>| {
        text.unwrap()
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
    };
    assert!(time(ended) <= time(began), "{first} {third}");
    assert_eq!(site.created(), STAFF + VISITORS);
    assert_eq!(serving.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_that_were_cut_off_both_go_on() {
    for killed in [false, true] {
        let site = Site::new(STAFF, VISITORS, "", &guests("")).await;
        site.target
            .set_rules(vec![Rule::on("POST", "/Users", Fault::Slow(SLOW))]);
        let (mut serving, api, directory) = site.serve();
        ask(&api, &directory, "default");
        wait_for("the first creates", PATIENCE, || {
            (site.created() > 2).then_some(())
        });
        job_id(&ask(&api, &directory, "guests"));
        if killed {
            serving.kill();
        } else {
            assert_eq!(serving.terminate(), Some(0));
        }
        assert!(site.created() < STAFF, "it was cut off too late");
        let (serving, api, directory) = site.serve();
        let jobs = wait_for("the end of both jobs", PATIENCE, || {
            let jobs = api.jobs(&directory);
            let ended = jobs
                .iter()
                .filter(|job| job["trigger"] == "resume" && job["completedAt"].is_string());
            (ended.count() == 2).then_some(jobs)
        });
        let told = |field: &str| -> Vec<String> {
            jobs.iter()
                .map(|job| job[field].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            told("status"),
            ["completed", "completed", "interrupted", "interrupted"]
        );
        assert_eq!(serving.terminate(), Some(0));
        assert_eq!(site.created(), STAFF + VISITORS);
        assert_eq!(site.target.target().users().len(), STAFF + VISITORS);
        site.assert_quiet();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_settle_what_another_left_open_with_its_mapping() {
    let narrower = guests("").replace("title = ", "lastName = false, title = ");
    let mut site = Site::new(STAFF, VISITORS, "", &narrower).await;
    site.target
        .set_rules(vec![Rule::on("POST", "/Users", Fault::Slow(SLOW))]);
    let asked = ["sync", "--output", "json"];
    let mut cut_off = site.relay.spawn(&asked);
    wait_for("the first creates", PATIENCE, || {
        (site.created() > 2).then_some(())
    });
    cut_off.kill();
    let made = site.tell().len();
    assert!(made < STAFF, "it was cut off too late");
    let sent = site.sends("guests");
    assert_eq!(sent.len(), VISITORS, "{sent:?}");
    let sent = site.sends("default");
    assert!(
        sent.iter().all(|sent| sent.starts_with("create s")),
        "{sent:?}"
    );
    assert_eq!(made + sent.len(), STAFF);
    site.assert_quiet();
}
