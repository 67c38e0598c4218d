//! Every way in which three values can differ, under every policy, in a run that trusts what was acknowledged and in one that
//! reads the target.

use serde_json::{Value, json};

use super::{dn, edit_user, preview, reads_of_one, run, say, user};
use crate::support::fault_target::FaultTarget;
use crate::support::relay::Relay;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::Slapd;
use crate::support::world::World;
use crate::truth::{assert_only_ours, relay};

/// What was acknowledged, what the directory says and what the target holds, in three letters; `-` is no value.
const TABLE: [&str; 14] = [
    "aaa", "abb", "-bb", "a--", "aba", "-b-", "a-a", // nobody else changed it, or both alike
    "aab", "aa-", "--b", // only somebody at the target
    "abc", "-bc", "a-c", "ab-", // both
];

fn number(letter: char) -> Option<String> {
    (letter != '-').then(|| format!("+49 {letter}"))
}

fn letters(values: &str) -> [Option<String>; 3] {
    let letters: Vec<_> = values.chars().map(number).collect();
    letters.try_into().unwrap()
}

/// Where telephone numbers are edited and read.
trait Phones {
    fn phone(&self, number: usize) -> Option<String>;
    fn set_phone(&self, number: usize, value: Option<&str>);
}

fn work_phone(user: &Value) -> Option<String> {
    let phones = user["phoneNumbers"].as_array()?;
    let work = phones.iter().find(|phone| phone["type"] == "work")?;
    work["value"].as_str().map(str::to_owned)
}

impl Phones for FaultTarget {
    fn phone(&self, number: usize) -> Option<String> {
        work_phone(&user(self, number))
    }

    fn set_phone(&self, number: usize, value: Option<&str>) {
        let operation = match value {
            Some(value) => {
                json!({"op": "replace", "path": "phoneNumbers", "value": [{"type": "work", "value": value}]})
            }
            None => json!({"op": "remove", "path": "phoneNumbers"}),
        };
        edit_user(self, number, operation);
    }
}

impl Phones for Scim2Server {
    fn phone(&self, number: usize) -> Option<String> {
        let name = format!("u{number:07}");
        let users = self.users();
        work_phone(
            users
                .iter()
                .find(|user| user["userName"] == name.as_str())?,
        )
    }

    fn set_phone(&self, number: usize, value: Option<&str>) {
        let name = format!("u{number:07}");
        let users = self.users();
        let mut user = users
            .into_iter()
            .find(|user| user["userName"] == name.as_str())
            .unwrap();
        user["phoneNumbers"] = match value {
            Some(value) => json!([{"type": "work", "value": value}]),
            None => json!([]),
        };
        let path = format!("/Users/{}", user["id"].as_str().unwrap());
        let (status, answer) = self.send("PUT", &path, Some(&user));
        assert_eq!(status, 200, "{answer}");
    }
}

/// Brings the first values to the target, and changes both ends.
fn set_out(slapd: &Slapd, target: &impl Phones, relay: &Relay, policy: &str) {
    for (at, values) in TABLE.iter().enumerate() {
        let [base, _, _] = letters(values);
        say(slapd, at, "telephoneNumber", base.as_deref());
    }
    run(relay, "full");
    for (at, values) in TABLE.iter().enumerate() {
        let [base, directory, iam] = letters(values);
        if directory != base {
            say(slapd, at, "telephoneNumber", directory.as_deref());
        }
        if iam != base && !is_not_tried(policy, values) {
            target.set_phone(at, iam.as_deref());
        }
    }
}

/// A value that came or went at the target is met half by whoever has not looked there: some targets refuse to replace what is
/// gone, and others hold two values then.
fn is_not_tried(policy: &str, values: &str) -> bool {
    policy == "directory_wins" && matches!(values, "ab-" | "-bc")
}

/// What the target shall hold in the end, and what of it is in conflict.
fn expected(policy: &str, mode: &str, values: &str) -> (Option<String>, bool) {
    let [base, directory, iam] = letters(values);
    let somebody_edited = iam != base && iam != directory;
    let seen = mode == "reconcile" || directory != base;
    match (policy, somebody_edited) {
        (_, false) => (directory, false),
        ("directory_wins", true) if seen => (directory, false),
        ("directory_wins", true) => (iam, false),
        (_, true) => (iam, seen),
    }
}

fn check(target: &impl Phones, policy: &str, mode: &str) {
    for (at, values) in TABLE.iter().enumerate() {
        let (holds, _) = expected(policy, mode, values);
        assert_eq!(target.phone(at), holds, "{policy} {mode} {values}");
    }
}

fn in_conflict(policy: &str, mode: &str) -> u64 {
    let conflicts = TABLE
        .iter()
        .filter(|values| expected(policy, mode, values).1);
    conflicts.count() as u64
}

fn policy_of(policy: &str) -> String {
    // Many are changed alike, and the company is small.
    let guard = "guard = { attributeChanges = 100, deactivations = 100 }";
    format!("conflictPolicy = \"{policy}\"\n{guard}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_table_in_a_plain_run_and_its_preview() {
    // Those whom the directory changed.
    let changed = TABLE
        .iter()
        .filter(|values| values[..1] != values[1..2])
        .count();
    for (policy, sent) in [
        ("directory_wins", 10),
        ("local_wins", 3),
        ("manual_review", 3),
    ] {
        let slapd = Slapd::with(&World::new(31, TABLE.len(), 0).ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target).directory(&policy_of(policy));
        set_out(&slapd, &target, &relay, policy);
        let waiting = match policy {
            "manual_review" => in_conflict(policy, "full"),
            _ => 0,
        };
        let before: Vec<_> = (0..TABLE.len()).map(|at| target.phone(at)).collect();
        let looked = target.journal().len();
        let shown = preview(&relay);
        let now: Vec<_> = (0..TABLE.len()).map(|at| target.phone(at)).collect();
        assert_eq!(now, before, "{policy}: a preview sends nothing");
        let looks = match policy {
            "directory_wins" => 0,
            _ => changed,
        };
        assert_eq!(reads_of_one(&target, looked), looks, "{policy}");

        let looked = target.journal().len();
        let done = run(&relay, "full");
        let count = |name| (shown.count(name), done.count(name));
        assert_eq!(count("usersUpdated"), (sent, sent), "{policy}: {done:?}");
        assert_eq!(count("conflicts"), (waiting, waiting), "{policy}");
        assert_eq!(done.writes(), sent, "{policy}");
        check(&target, policy, "full");
        // What is in conflict is known, and needs no second look.
        let looks = match policy {
            "directory_wins" => 0,
            _ => 3,
        };
        assert_eq!(reads_of_one(&target, looked), looks, "{policy}");
        let warned = done.job["warnings"].to_string();
        assert_eq!(
            warned.contains("conflicts resolve"),
            waiting > 0,
            "{warned}"
        );

        // A further run asks for nothing, in a process of its own, and says the same.
        let again = run(&relay, "full");
        let requests = &again.job["requests"];
        assert_eq!(
            (again.writes(), &requests["read"]),
            (0, &json!(0)),
            "{policy}"
        );
        assert_eq!(again.count("conflicts"), waiting, "{policy}");
        assert_only_ours(&target, policy);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_table_in_a_run_that_reads_the_target() {
    for policy in ["directory_wins", "local_wins", "manual_review"] {
        let slapd = Slapd::with(&World::new(31, TABLE.len(), 0).ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target).directory(&policy_of(policy));
        set_out(&slapd, &target, &relay, policy);
        let waiting = match policy {
            "manual_review" => in_conflict(policy, "reconcile"),
            _ => 0,
        };
        let done = run(&relay, "reconcile");
        assert_eq!(done.count("conflicts"), waiting, "{policy}");
        check(&target, policy, "reconcile");
        for mode in ["reconcile", "full", "reconcile"] {
            let again = run(&relay, mode);
            let counts = (
                again.writes(),
                again.count("drifted"),
                again.count("conflicts"),
            );
            assert_eq!(counts, (0, 0, waiting), "{policy} {mode}: {again:?}");
        }
        check(&target, policy, "reconcile");
        assert_only_ours(&target, policy);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_table_at_a_server_by_others() {
    for policy in ["directory_wins", "local_wins", "manual_review"] {
        let slapd = Slapd::with(&World::new(31, TABLE.len(), 0).ldif());
        let target = Scim2Server::start();
        let relay = Relay::new(&slapd, &target).directory(&policy_of(policy));
        set_out(&slapd, &target, &relay, policy);
        run(&relay, "full");
        check(&target, policy, "full");
        let done = run(&relay, "reconcile");
        check(&target, policy, "reconcile");
        if policy == "manual_review" {
            assert_eq!(done.count("conflicts"), in_conflict(policy, "reconcile"));
        }
        assert_eq!(run(&relay, "reconcile").writes(), 0, "{policy}");
        check(&target, policy, "reconcile");
    }
}

/// Sets an account inactive or active at the target.
fn switch(target: &FaultTarget, number: usize, active: bool) {
    let operation = json!({"op": "replace", "path": "active", "value": active});
    edit_user(target, number, operation);
}

fn active(target: &FaultTarget, numbers: std::ops::Range<usize>) -> Vec<bool> {
    let active = numbers.map(|number| user(target, number)["active"] == true);
    active.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflict_policies_keep_nobody_in_who_must_not_log_in() {
    for policy in ["directory_wins", "local_wins", "manual_review"] {
        let slapd = Slapd::with(&World::new(31, 40, 0).ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target).directory(&policy_of(policy));
        run(&relay, "full");
        // 0 to 3: edited at the target, and then disabled or gone; 4 leaves unedited.
        for number in 0..4 {
            let operation = json!({"op": "replace", "path": "displayName", "value": "Local"});
            edit_user(&target, number, operation);
        }
        run(&relay, "reconcile");
        let lock = |number| {
            slapd.modify(&format!(
                "dn: {}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: nsAccountLock\n\
                 nsAccountLock: true\n",
                dn(number)
            ));
        };
        lock(0);
        say(&slapd, 0, "displayName", Some("New"));
        lock(1);
        (2..5).for_each(|number| slapd.delete(&dn(number)));
        let left = run(&relay, "full");
        assert_eq!(left.count("usersDeactivated"), 5, "{policy}: {left:?}");
        assert_eq!(active(&target, 0..5), [false; 5], "{policy}");

        // Whoever is let in again at the target is put out again, whatever the policy is.
        [0, 2]
            .iter()
            .for_each(|number| switch(&target, *number, true));
        let done = run(&relay, "reconcile");
        assert_eq!(active(&target, 0..5), [false; 5], "{policy}: {done:?}");

        // 5 is set inactive at the target, and the directory wants him active.
        switch(&target, 5, false);
        run(&relay, "full");
        assert_eq!(active(&target, 5..6), [false], "{policy}");
        let met = run(&relay, "reconcile");
        assert_eq!(
            active(&target, 5..6),
            [policy == "directory_wins"],
            "{policy}"
        );
        let waits = u64::from(policy == "manual_review");
        assert!(met.count("conflicts") >= waits, "{policy}");
        if policy == "directory_wins" {
            continue;
        }
        // Disabled and enabled again in the directory: that is a new word of it.
        lock(5);
        run(&relay, "full");
        say(&slapd, 5, "nsAccountLock", None);
        let back = run(&relay, "full");
        assert_eq!(back.count("usersReactivated"), 1, "{policy}");
        assert_eq!(active(&target, 5..6), [true], "{policy}");
    }
}
