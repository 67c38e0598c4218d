//! Managers: whom an entry names as its manager is who the target says it is, by the id that he has there.

use serde_json::{Value, json};

use crate::feed::site::Site;
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{Finished, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::{assert_settled, operations, writes};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const MAPPING: &str = "attributeMapping = { manager = \"manager\" }";

fn user(number: usize) -> String {
    format!("uid=u{number:07},{PEOPLE}")
}

/// So many people, each with a manager by these numbers.
fn directory(people: usize, managers: &[(usize, usize)]) -> Slapd {
    let slapd = Slapd::with(&World::new(41, people, 0).ldif());
    for (report, manager) in managers {
        set(&slapd, *report, &user(*manager));
    }
    slapd
}

fn set(slapd: &Slapd, report: usize, manager: &str) {
    let dn = user(report);
    slapd.modify(&format!(
        "dn: {dn}\nchangetype: modify\nreplace: manager\nmanager: {manager}\n"
    ));
}

fn clear(slapd: &Slapd, report: usize) {
    let dn = user(report);
    slapd.modify(&format!("dn: {dn}\nchangetype: modify\nreplace: manager\n"));
}

fn relay(slapd: &Slapd, target: &FaultTarget) -> Relay {
    Relay::between(slapd, target.base_url(), "any")
        .tenant("settleSeconds = 0")
        .directory(MAPPING)
}

fn resource(target: &FaultTarget, number: usize) -> Value {
    let user = target.target().user_named(&format!("u{number:07}"));
    user.unwrap_or_else(|| panic!("u{number} is not at the target"))
}

fn id(target: &FaultTarget, number: usize) -> String {
    resource(target, number)["id"].as_str().unwrap().to_owned()
}

/// The number of the user's manager at the target.
fn manager(target: &FaultTarget, number: usize) -> Option<usize> {
    let value = resource(target, number)[ENTERPRISE]["manager"]["value"].clone();
    let id = value.as_str()?.to_owned();
    let users = target.target().users();
    let manager = users.iter().find(|user| user["id"] == id.as_str());
    let name = manager.unwrap_or_else(|| panic!("{id} is nobody"))["userName"].clone();
    name.as_str()?[1..].parse().ok()
}

fn managers<const N: usize>(target: &FaultTarget, numbers: [usize; N]) -> [Option<usize>; N] {
    numbers.map(|number| manager(target, number))
}

/// What the last run sent, without the reads.
fn sent(target: &FaultTarget, since: usize) -> Vec<(String, Value)> {
    let writes = writes(target).into_iter().skip(since);
    let told = |write: &crate::support::fault_target::Exchange| {
        let line = format!("{} {}", write.call.method, write.call.path);
        (line, operations(write).into())
    };
    writes.map(|write| told(&write)).collect()
}

/// A run that compares with what the target holds.
fn reconcile(relay: &Relay) -> Finished {
    let run = relay.spawn(&["sync", "--mode", "reconcile", "--output", "json"]);
    run.wait().completed()
}

fn assert_quiet(relay: &Relay) -> Finished {
    let again = relay.sync().completed();
    assert_eq!(
        again.job["requests"],
        json!({"read": 0, "write": 0}),
        "{again:?}"
    );
    again
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_are_set_in_the_run_that_creates_them_whatever_the_order() {
    // A chain, two who manage each other, one who manages himself, one whose manager nobody knows.
    let slapd = directory(9, &[(0, 1), (1, 2), (3, 4), (4, 3), (5, 5), (8, 7)]);
    set(&slapd, 6, &format!("uid=nobody,{PEOPLE}"));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    let first = relay.sync().completed();
    assert_eq!(
        managers(&target, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        [
            Some(1),
            Some(2),
            None,
            Some(4),
            Some(3),
            Some(5),
            None,
            None,
            Some(7)
        ]
    );
    assert_eq!(
        first.writes(),
        9 + 6,
        "one creation each, and each manager after it"
    );
    let counts = ["usersCreated", "usersUpdated", "managersLeftOut"].map(|name| first.count(name));
    assert_eq!(counts, [9, 0, 1], "{first:?}");
    assert_quiet(&relay);

    // Whoever comes later goes with his manager, who is there.
    let since = writes(&target).len();
    slapd.add(&format!(
        "dn: {}\nobjectClass: inetOrgPerson\nuid: u0000010\ncn: Ten\nsn: Ten\nmanager: {}\n",
        user(10),
        user(1)
    ));
    assert_eq!(relay.sync().completed().writes(), 1);
    assert_eq!(sent(&target, since)[0].0, "POST /Users");
    assert_eq!(manager(&target, 10), Some(1));
    assert_settled(&slapd, &target, &relay, "one more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_are_set_where_requests_go_together() {
    for bulk in ["without_references", "with_references"] {
        let slapd = directory(6, &[(0, 1), (1, 0), (2, 1), (5, 4)]);
        slapd.add(&format!(
            "dn: cn=team,{GROUPS}\nobjectClass: groupOfNames\ncn: team\nmember: {}\n",
            user(2)
        ));
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target).tenant(&format!("dialect = {{ bulk = \"{bulk}\" }}"));
        relay.sync().completed();
        assert_eq!(
            managers(&target, [0, 1, 2, 5]),
            [Some(1), Some(0), Some(1), Some(4)]
        );
        assert_quiet(&relay);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_manager_is_one_patch_and_so_is_its_end() {
    let slapd = directory(5, &[(0, 1), (2, 1)]);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let since = writes(&target).len();
    set(&slapd, 0, &user(3));
    clear(&slapd, 2);
    let second = relay.sync().completed();
    assert_eq!(second.count("usersUpdated"), 2, "{second:?}");
    let path = format!("{ENTERPRISE}:manager");
    let mut wanted = vec![
        (
            format!("PATCH /Users/{}", id(&target, 0)),
            json!([{"op": "replace", "path": path, "value": {"value": id(&target, 3)}}]),
        ),
        (
            format!("PATCH /Users/{}", id(&target, 2)),
            json!([{"op": "remove", "path": path}]),
        ),
    ];
    wanted.sort_by(|one, other| one.0.cmp(&other.0));
    let mut patches = sent(&target, since);
    patches.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(patches, wanted);
    assert_quiet(&relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_who_is_renamed_moved_or_gone_stays_until_the_directory_says_otherwise() {
    let slapd = directory(6, &[(0, 1), (2, 3), (4, 5)]);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let since = writes(&target).len();
    // The reports go on naming the old names, as OpenLDAP leaves them.
    slapd.modrdn(&user(1), "cn=Renamed+uid=u0000001", None);
    slapd.delete(&user(3));
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: nsAccountLock\nnsAccountLock: true\n",
        user(5)
    ));
    let second = relay.sync().completed();
    assert_eq!(second.count("usersDeactivated"), 2, "{second:?}");
    assert_eq!(sent(&target, since).len(), 2, "{:?}", sent(&target, since));
    assert_eq!(managers(&target, [0, 2, 4]), [Some(1), Some(3), Some(5)]);
    assert_quiet(&relay);

    // The report follows to the new name: still the same manager.
    set(&slapd, 0, &format!("cn=Renamed+uid=u0000001,{PEOPLE}"));
    assert_eq!(relay.sync().completed().writes(), 0);
    // Somebody else gets the old name of one who is gone.
    let since = writes(&target).len();
    slapd.add(&format!(
        "dn: {}\nobjectClass: inetOrgPerson\nuid: u0000033\nuid: u0000003\ncn: New\nsn: New\n",
        user(3)
    ));
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: uid\nuid: u0000003\nuid: a0000033\n",
        user(3)
    ));
    relay.sync().completed();
    let told = sent(&target, since);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1].0, format!("PATCH /Users/{}", id(&target, 2)));
    assert_quiet(&relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_outside_the_scope_is_left_out_until_he_joins() {
    let slapd = directory(4, &[(0, 1), (3, 1), (2, 1)]);
    let target = FaultTarget::start(Vec::new()).await;
    let outside = relay(&slapd, &target)
        .directory("userSearchFilter = \"(&(objectClass=inetOrgPerson)(!(title=outside)))\"");
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: title\ntitle: outside\n",
        user(1)
    ));
    let first = outside.sync().completed();
    assert_eq!(
        (first.writes(), first.count("managersLeftOut")),
        (3, 3),
        "{first:?}"
    );
    assert_quiet(&outside);
    // One more change of a report meanwhile, who changes from a manager at the target to one who is not.
    set(&slapd, 2, &user(0));
    outside.sync().completed();
    assert_eq!(manager(&target, 2), Some(0));
    set(&slapd, 2, &user(1));
    outside.sync().completed();
    assert_eq!(
        manager(&target, 2),
        None,
        "the earlier one is not his manager any more"
    );

    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: title\ntitle: inside\n",
        user(1)
    ));
    let joined = outside.sync().completed();
    assert_eq!(
        (joined.writes(), joined.count("usersUpdated")),
        (4, 3),
        "{joined:?}"
    );
    assert_eq!(managers(&target, [0, 2, 3]), [Some(1), Some(1), Some(1)]);
    assert_quiet(&outside);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_who_cannot_be_created_leaves_the_report_without_one_and_comes_later() {
    let slapd = directory(3, &[(0, 1), (2, 0)]);
    let refused = Fault::Status {
        code: 400,
        scim_type: Some("invalidValue"),
        detail: "not like this",
        numeric: false,
    };
    let is_manager = |call: &scim_relay::demo::target::answer::Call| {
        let body = call.body.as_ref();
        body.is_some_and(|body| body["userName"] == "u0000001")
    };
    let rule = Rule::on("POST", "/Users", refused).matching(is_manager);
    let target = FaultTarget::start(vec![rule]).await;
    let relay = relay(&slapd, &target);
    assert_eq!(relay.sync().code, Some(3));
    assert_eq!(managers(&target, [0, 2]), [None, Some(0)]);
    target.set_rules(Vec::new());
    relay.sync().completed();
    assert_eq!(managers(&target, [0, 2]), [Some(1), Some(0)]);
    assert_quiet(&relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_cut_off_before_managers_are_set_is_finished_by_the_next_one() {
    let slapd = directory(6, &[(0, 1), (2, 3), (4, 5), (1, 5)]);
    for fault in [Fault::DropBefore, Fault::ApplyThenDrop] {
        let target = FaultTarget::start(vec![Rule::on("PATCH", "/Users", fault).first(20)]).await;
        let relay = relay(&slapd, &target);
        let first = relay.sync();
        assert_eq!(first.count("usersCreated"), 6, "{first:?}");
        target.set_rules(Vec::new());
        relay.sync();
        assert_eq!(
            managers(&target, [0, 1, 2, 3, 4, 5]),
            [Some(1), Some(5), Some(3), None, Some(5), None]
        );
        assert_quiet(&relay);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_manager_at_the_target_is_put_right_and_a_new_store_writes_nothing() {
    let slapd = directory(4, &[(0, 1), (2, 0), (1, 0)]);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target);
    relay.sync().completed();
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{
            "op": "replace",
            "path": format!("{ENTERPRISE}:manager"),
            "value": {"value": id(&target, 3)},
        }],
    });
    let path = format!("/Users/{}", id(&target, 0));
    let call = scim_relay::demo::target::answer::Call::new("PATCH", &path).body(body);
    assert_eq!(target.target().handle(call).status, 204);
    assert_eq!(manager(&target, 0), Some(3));
    let second = reconcile(&relay);
    assert_eq!(
        (second.writes(), manager(&target, 0)),
        (1, Some(1)),
        "{second:?}"
    );
    assert_eq!(reconcile(&relay).writes(), 0);

    let anew = self::relay(&slapd, &target);
    let linked = anew.sync().completed();
    assert_eq!(
        (linked.count("linked"), linked.writes()),
        (4, 0),
        "{linked:?}"
    );
    assert_quiet(&anew);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_may_be_named_by_uid_and_in_the_full_words_of_the_schema() {
    let slapd = directory(3, &[]);
    for (report, manager) in [(0, "U0000002"), (1, "u0000000")] {
        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: employeeType\nemployeeType: {manager}\n",
            user(report)
        ));
    }
    let target = FaultTarget::start(Vec::new()).await;
    let mapping = format!("attributeMapping = {{ \"{ENTERPRISE}:manager\" = \"employeeType\" }}");
    let relay = relay(&slapd, &target).directory("attributeMapping = {}");
    relay.sync().completed();
    // Mapped later, everybody gets one at once.
    let relay = relay.directory(&mapping);
    assert_eq!(relay.sync().completed().writes(), 2);
    assert_eq!(managers(&target, [0, 1, 2]), [Some(2), Some(0), None]);
    assert_quiet(&relay);
}

#[test]
fn a_server_by_others_takes_managers() {
    let slapd = directory(4, &[(0, 1), (1, 0), (2, 1)]);
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target).directory(MAPPING);
    let managers = || {
        let users = target.users();
        [0, 1, 2, 3].map(|number| {
            let name = |user: &&Value| user["userName"] == format!("u{number:07}");
            let user = users.iter().find(name).unwrap();
            let id = user[ENTERPRISE]["manager"]["value"].as_str()?;
            let manager = users.iter().find(|user| user["id"] == id).unwrap();
            manager["userName"].as_str()?[1..].parse::<usize>().ok()
        })
    };
    relay.sync().completed();
    assert_eq!(managers(), [Some(1), Some(0), Some(1), None]);
    assert_eq!(reconcile(&relay).writes(), 0);
    set(&slapd, 2, &user(3));
    clear(&slapd, 1);
    assert_eq!(relay.sync().completed().writes(), 2);
    assert_eq!(managers(), [Some(1), None, Some(3), None]);
    assert_eq!(reconcile(&relay).writes(), 0);
}

/// A run that reads what the directory's feed tells, or everything; answers how many requests it took.
fn run(relay: &Relay, mode: &str, rung: &str) -> u64 {
    let run = relay.spawn(&["sync", "--mode", mode, "--output", "json"]);
    let run = run.wait().completed();
    assert_eq!(run.job["changeDetection"]["rung"], rung, "{run:?}");
    run.writes()
}

/// The userName of the manager of the user of that name.
fn named(target: &FaultTarget, name: &str) -> Option<String> {
    let user = target.target().user_named(name)?;
    let users = target.target().users();
    let id = &user[ENTERPRISE]["manager"]["value"];
    let manager = users.iter().find(|user| user["id"] == *id)?;
    manager["userName"].as_str().map(str::to_owned)
}

async fn follow_a_feed(site: Site, rung: &str) {
    let target = FaultTarget::start(Vec::new()).await;
    let lines = format!("changeDetection = \"{rung}\"\n{MAPPING}");
    let relay = site.relay(&target).directory(&lines);
    let manages = |manager: &str, report: &str| {
        let (manager, report) = (site.person(manager), site.person(report));
        site.change(&report, &format!("replace: manager\nmanager: {manager}"));
    };
    manages("ben", "ann");
    run(&relay, "full", "full_scan");
    run(&relay, "incremental", rung);
    assert_eq!(named(&target, "ann").as_deref(), Some("ben"));
    // A new one with a report who was there, and one who manages him.
    site.add_user("chief");
    manages("chief", "other1");
    manages("ann", "chief");
    assert_eq!(run(&relay, "incremental", rung), 2);
    assert_eq!(named(&target, "other1").as_deref(), Some("chief"));
    assert_eq!(named(&target, "chief").as_deref(), Some("ann"));
    // Renamed: the reports may be rewritten without a word, or not at all.
    site.rename(&site.person("chief"), &site.rdn("boss"), None);
    run(&relay, "incremental", rung);
    assert_eq!(named(&target, "other1").as_deref(), Some("chief"));
    manages("boss", "other2");
    assert_eq!(run(&relay, "incremental", rung), 1);
    assert_eq!(named(&target, "other2").as_deref(), Some("chief"));
    assert_eq!(run(&relay, "full", "full_scan"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_follow_the_feed_of_openldap() {
    follow_a_feed(Site::openldap(), "syncrepl").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn active_directory_managers_follow_the_feed_of_the_domain() {
    follow_a_feed(Site::domain(), "usn_changed").await;
    follow_a_feed(Site::domain(), "dirsync").await;
}
