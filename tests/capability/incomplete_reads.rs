//! A read that broke off, or that saw only a part, takes nothing away from anybody, and the job says why.

pub mod sweep;

use serde_json::{Value, json};

use crate::feed::site::Site;
use crate::support::fault_target::{Exchange, FaultTarget};
use crate::support::mirror::{Held as _, assert_equal_to_directory};
use crate::support::proxy::Proxy;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{GROUPS, Options, PEOPLE, READER, SUFFIX, Slapd};
use crate::support::world::World;

const USERS: usize = 100;
const GROUP_COUNT: usize = 12;
/// Entries on a page, so that a read has several.
const PAGE: &str = "pageEntries = 20";

/// A directory and a target that are equal, and what is needed to make the directory's answers worse.
struct Scene {
    world: World,
    slapd: Slapd,
    proxy: Proxy,
    target: FaultTarget,
    relay: Relay,
    /// Bytes of answers of one whole read.
    whole: u64,
}

impl Scene {
    async fn synchronized() -> Self {
        let world = World::new(21, USERS, GROUP_COUNT);
        let slapd = Options::new()
            .ldif(&world.ldif())
            .ldif(
                "dn: ou=nobody,dc=example,dc=org\nobjectClass: organizationalUnit\nou: nobody\n\n",
            )
            .start();
        let proxy = Proxy::start(slapd.port());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = Relay::between(&slapd, target.base_url(), "any").directory(&format!(
            "port = {}\n{PAGE}\nanswerTimeoutSeconds = 5",
            proxy.port()
        ));
        relay.sync().completed();
        assert_equal_to_directory(&slapd, &target);
        proxy.pass();
        relay.sync().completed();
        let whole = proxy.sent();
        Self {
            world,
            slapd,
            proxy,
            target,
            relay,
            whole,
        }
    }

    /// What nobody may lose: active users, and members of groups.
    fn rights(&self) -> (Vec<Value>, Vec<Value>) {
        let mut users = self.target.users();
        users.retain(|user| user["active"] == true);
        let users = users.iter().map(|user| user["id"].clone()).collect();
        let groups = self.target.groups();
        let groups = groups
            .iter()
            .map(|group| json!([group["id"], group["members"]]))
            .collect();
        (users, groups)
    }

    /// Runs and makes sure that nobody lost anything and that the job names the cause.
    fn run_without_loss(&self, what: &str, cause: &str) -> Finished {
        let before = self.rights();
        let run = self.relay.sync();
        assert_eq!(
            self.rights(),
            before,
            "{what}: somebody lost something: {run:?}"
        );
        for field in ["usersDeactivated", "membersRemoved"] {
            assert_eq!(run.job[field], 0, "{what}: {run:?}");
        }
        // What an earlier mistake would take away waits already, and the job says so.
        let still_waits = run.job["warnings"]
            .to_string()
            .contains("wait for a decision");
        assert!(
            run.job["status"] != "completed" || still_waits,
            "{what}: a success is claimed: {run:?}"
        );
        assert!(
            said(&run).to_lowercase().contains(&cause.to_lowercase()),
            "{what}: `{cause}` is not named in {run:?}"
        );
        run
    }

    /// The cause is gone: nothing was lost, so nothing is to be done.
    fn assert_recovered(&self, what: &str) {
        let run = self.relay.sync().completed();
        assert_eq!(run.writes(), 0, "{what}: {run:?}");
        assert_eq!(run.job["completeRead"], true, "{what}");
        assert_equal_to_directory(&self.slapd, &self.target);
    }
}

/// What the job says for people.
fn said(run: &Finished) -> String {
    let details = run.job["errors"].as_array().unwrap();
    let details = details.iter().filter_map(|error| error["detail"].as_str());
    let holds = run.job["holds"].as_array().unwrap();
    let holds = holds.iter().filter_map(Value::as_str);
    let warnings = run.job["warnings"].as_array().unwrap();
    let warnings = warnings.iter().filter_map(Value::as_str);
    details
        .chain(holds)
        .chain(warnings)
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_read_cut_at_any_byte_takes_nothing_away() {
    let scene = Scene::synchronized().await;
    for share in [1, 5, 15, 30, 45, 60, 75, 90, 97] {
        let what = format!("cut after {share} %");
        scene.proxy.cut_after(scene.whole * share / 100);
        let run = scene.run_without_loss(&what, "127.0.0.1");
        assert!(scene.proxy.reached(), "{what}: the cut never came");
        assert_ne!(run.job["completeRead"], true, "{what}");
        scene.proxy.pass();
        scene.assert_recovered(&what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_read_of_a_killed_slapd_takes_nothing_away() {
    let mut scene = Scene::synchronized().await;
    scene.proxy.stall_after(scene.whole * 3 / 10);
    let before = scene.rights();
    let sync = scene.relay.spawn_sync();
    scene.proxy.wait_reached();
    scene.slapd.kill();
    scene.proxy.pass();
    let run = sync.wait();
    assert_eq!(
        (run.code, &run.job["completeRead"]),
        (Some(3), &json!(false)),
        "{run:?}"
    );
    assert!(said(&run).contains("not read completely"), "{run:?}");
    assert_eq!(scene.rights(), before);

    let run = scene.run_without_loss("slapd is gone", "127.0.0.1");
    assert_eq!(
        (run.code, &run.job["status"]),
        (Some(1), &json!("failed")),
        "{run:?}"
    );
    scene.slapd.restart();
    scene.assert_recovered("slapd is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_read_by_limits_takes_nothing_away() {
    let mut scene = Scene::synchronized().await;
    for (limit, partial, cause) in [
        ("size=10", true, "size limit"),
        ("size.prtotal=30", true, "limit"),
        ("size.prtotal=disabled", false, "page"),
    ] {
        scene
            .slapd
            .restart_with(&format!("limits dn.exact=\"{READER}\" {limit}"));
        let run = scene.run_without_loss(limit, cause);
        if partial {
            assert_eq!(
                (run.code, &run.job["completeRead"]),
                (Some(3), &json!(false)),
                "{run:?}"
            );
        }
        scene.slapd.restart_with("");
        scene.assert_recovered(limit);
    }
}

/// An access rule that hides something from the reading account only.
pub fn hidden(what: &str) -> String {
    format!("access to {what} by dn.exact=\"{READER}\" none by * break")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_read_by_access_rules_takes_nothing_away() {
    let mut scene = Scene::synchronized().await;
    let half_by_number = format!("dn.regex=\"^uid=u00000[0-4].,{PEOPLE}$\"");
    for (what, rule, status, cause) in [
        // Too few to make the read implausible, too many to be leavers.
        (
            "a tenth of the users is hidden",
            &format!("dn.regex=\"^uid=u000001.,{PEOPLE}$\""),
            "awaiting_approval",
            "10 of 100 active users",
        ),
        (
            "three of seventeen groups are hidden",
            &format!("dn.regex=\"^cn=group 0000[1-3],{GROUPS}$\""),
            "awaiting_approval",
            "3 of 17 groups",
        ),
        (
            "half of the users are hidden",
            &half_by_number,
            "awaiting_approval",
            "50 users",
        ),
        (
            "all users are hidden",
            &format!("dn.one=\"{PEOPLE}\""),
            "awaiting_approval",
            "0 users",
        ),
        (
            "all groups are hidden",
            &format!("dn.one=\"{GROUPS}\""),
            "awaiting_approval",
            "0 groups",
        ),
        (
            "the anchor is hidden",
            &"attrs=entryUUID".to_owned(),
            "completed_with_errors",
            "entryUUID",
        ),
        (
            "the base is hidden",
            &format!("dn.subtree=\"{PEOPLE}\""),
            "failed",
            PEOPLE,
        ),
    ] {
        scene.slapd.restart_with(&hidden(rule));
        let run = scene.run_without_loss(what, cause);
        assert_eq!(run.job["status"], status, "{what}: {run:?}");
        if run.job["completeRead"] == false {
            let first = &run.job["errors"][0];
            assert_eq!(
                first["kind"], "job",
                "{what}: what concerns all comes first: {run:?}"
            );
        }
        scene.slapd.restart_with("");
        scene.assert_recovered(what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_read_by_a_wrong_scope_takes_nothing_away() {
    let mut scene = Scene::synchronized().await;
    for (what, lines, status, cause) in [
        (
            "a base without entries",
            "usersDN = \"ou=nobody,dc=example,dc=org\"",
            "awaiting_approval",
            "0 users",
        ),
        (
            "a typo in the users' filter",
            "userSearchFilter = \"(objectClass=inetOrgPersn)\"",
            "awaiting_approval",
            "0 users",
        ),
        (
            "a typo in the groups' filter",
            "groupSearchFilter = \"(objectClass=groupOfNmes)\"",
            "awaiting_approval",
            "0 groups",
        ),
        (
            "a base that does not exist",
            "usersDN = \"ou=peple,dc=example,dc=org\"",
            "failed",
            "ou=peple",
        ),
    ] {
        let usual = format!(
            "usersDN = \"{PEOPLE}\"\nuserSearchFilter = \"(objectClass=person)\"\ngroupSearchFilter = \"(|(objectClass=groupOfNames)(objectClass=posixGroup))\""
        );
        scene.relay = scene.relay.directory(&usual).directory(lines);
        let run = scene.run_without_loss(what, cause);
        assert_eq!(run.job["status"], status, "{what}: {run:?}");
        // It does not wear off.
        scene.run_without_loss(what, cause);
        scene.relay = scene.relay.directory(&usual);
        scene.assert_recovered(what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_read_of_an_emptied_unit_takes_nothing_away() {
    let scene = Scene::synchronized().await;
    scene.slapd.modrdn(PEOPLE, "ou=parked", None);
    scene.slapd.add(&format!(
        "dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n"
    ));
    let run = scene.run_without_loss("everybody is elsewhere", "0 users");
    assert_eq!(
        (run.code, &run.job["status"]),
        (Some(4), &json!("awaiting_approval")),
        "{run:?}"
    );
    assert_eq!(run.job["completeRead"], true, "{run:?}");
    scene.slapd.delete(PEOPLE);
    scene
        .slapd
        .modrdn(&format!("ou=parked,{SUFFIX}"), "ou=people", None);
    scene.assert_recovered("everybody is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_read_without_an_attribute_is_a_change_and_no_absence() {
    let mut scene = Scene::synchronized().await;
    let before = scene.rights();
    scene.slapd.restart_with(&hidden("attrs=mail"));
    let run = scene.relay.sync();
    assert_eq!(run.job["completeRead"], true, "{run:?}");
    assert_eq!(scene.rights(), before, "somebody lost access: {run:?}");
    scene.slapd.restart_with("");
    scene.relay.sync().completed();
    assert_equal_to_directory(&scene.slapd, &scene.target);
    assert_eq!(scene.rights(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_read_holds_real_removals_and_sends_what_entries_state_themselves() {
    let mut scene = Scene::synchronized().await;
    let people = scene.world.people.clone();
    let groups = scene.world.groups.clone();
    // The first ten entries of each search will be seen; the leaver is one of them, and then is not there.
    let (locked, changed, gone) = (&people[5], &people[3], &people[2]);
    let in_posix = 1;
    let in_groups = scene
        .world
        .all_groups()
        .filter(|group| group.members.contains(&gone.dn()))
        .count();
    let (shrunk, grown) = (
        groups
            .iter()
            .find(|group| group.members.len() > 2 && group.members[1] != gone.dn())
            .unwrap(),
        &groups[9],
    );
    let newcomer = people
        .iter()
        .find(|person| person.uid != gone.uid && !grown.members.contains(&person.dn()))
        .unwrap();
    scene.slapd.delete(&gone.dn());
    scene.slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: nsAccountLock\nnsAccountLock: true\n",
        locked.dn()
    ));
    scene.slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: mail\nmail: other@example.org\n",
        changed.dn()
    ));
    scene.slapd.modify(&format!(
        "dn: {}\nchangetype: modify\ndelete: member\nmember: {}\n",
        shrunk.dn(),
        shrunk.members[1]
    ));
    scene.slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: member\nmember: {}\n",
        grown.dn(),
        newcomer.dn()
    ));

    scene
        .slapd
        .restart_with(&format!("limits dn.exact=\"{READER}\" size=10"));
    let run = scene.relay.sync();
    assert_eq!(
        (run.code, &run.job["completeRead"]),
        (Some(3), &json!(false)),
        "{run:?}"
    );
    for (field, count) in [
        ("usersDeactivated", 1),
        ("usersUpdated", 1),
        ("membersAdded", 1),
        ("membersRemoved", 0),
        ("skipped", 1),
    ] {
        assert_eq!(run.count(field), count, "{field}: {run:?}");
    }
    let active = |uid: &str| scene.target.target().user_named(uid).unwrap()["active"].clone();
    assert_eq!(
        (active(&locked.uid), active(&gone.uid)),
        (json!(false), json!(true))
    );
    assert!(
        run.job["holds"].to_string().contains("complete read"),
        "{run:?}"
    );

    scene.slapd.restart_with("");
    let run = scene.relay.sync().completed();
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
    assert_eq!(
        run.count("membersRemoved"),
        1 + in_groups as u64 + in_posix,
        "{run:?}"
    );
    assert_equal_to_directory(&scene.slapd, &scene.target);
    scene.assert_recovered("all is done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn incomplete_reads_of_389_end_with_the_limit_of_its_account() {
    let site = Site::ds389();
    let Site::Ds389(server) = &site else {
        unreachable!()
    };
    let target = FaultTarget::start(Vec::new()).await;
    let relay = site.relay(&target).directory("pageEntries = 5");
    relay.sync().completed();
    // A page looks at more entries than the server lets anybody look at; the default is 5,000.
    server.modify(
        "dn: cn=config,cn=ldbm database,cn=plugins,cn=config\nchangetype: modify\nreplace: nsslapd-lookthroughlimit\n\
         nsslapd-lookthroughlimit: 10\n\n",
    );
    let before = target.journal().len();
    let run = relay.sync();
    assert_eq!(run.job["completeRead"], false, "{run:?}");
    assert!(said(&run).contains("adminLimitExceeded"), "{run:?}");
    let lost = |exchange: &Exchange| exchange.call.method != "GET";
    let journal = target.journal();
    assert!(!journal[before..].iter().any(lost), "{run:?}");
    server.modify(&format!(
        "dn: {READER}\nchangetype: modify\nadd: nsPagedLookThroughLimit\nnsPagedLookThroughLimit: -1\n\n"
    ));
    relay.sync().completed();
}
