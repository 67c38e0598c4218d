//! Organizational units as groups: who lies in which, what a move, a rename and a deletion cost, and what must not cost anything.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::linking::{edit, put};
use crate::program::PATIENCE;
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::ldif::Entry;
use crate::support::mirror::{
    Held, Nesting, Resources, assert_same, by_anchor, folded, group_essence, text,
};
use crate::support::relay::{Finished, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, Options, PEOPLE, READER, Slapd};
use crate::support::wait_for;
use crate::truth::{errors_of, operations, writes};

const ON: &str = "organizationalUnits = \"groups\"";
const UNITS_ALONE: &str = "organizationalUnits = \"groups\"\nsynchronizeGroups = false";

/// An entry by its name: where it lies is in that, and in nothing else.
pub struct Placed {
    pub dn: String,
    pub anchor: String,
}

/// The groups that units are, worked out from names alone: each unit with what it is called.
pub fn wanted(units: &[(Placed, String)], people: &[Placed], nesting: Nesting) -> Resources {
    let lies_in = |entry: &Placed, unit: &Placed| {
        let (entry, unit) = (folded(&entry.dn), folded(&unit.dn));
        match nesting {
            Nesting::Flatten => entry.ends_with(&format!(",{unit}")),
            _ => entry
                .split_once(',')
                .is_some_and(|(_, above)| above == unit),
        }
    };
    let group = |(unit, name): &(Placed, String)| {
        let within = units.iter().map(|(unit, _)| unit);
        let within = within.filter(|_| nesting == Nesting::Nested);
        let members = people.iter().chain(within);
        let mut members: Vec<&str> = members
            .filter(|entry| lies_in(entry, unit))
            .map(|entry| entry.anchor.as_str())
            .collect();
        members.sort_unstable();
        let group = json!({ "displayName": name, "members": members });
        (unit.anchor.clone(), group)
    };
    units.iter().map(group).collect()
}

/// The target has these groups; whatever else it has, has no members.
pub fn assert_holds(target: &impl Held, wanted: &Resources) {
    let (users, groups) = (target.users(), target.groups());
    let anchors: BTreeMap<&str, &str> = users
        .iter()
        .chain(&groups)
        .map(|resource| (text(resource, "id"), text(resource, "externalId")))
        .collect();
    let mut held = by_anchor(&groups, |group| group_essence(group, &anchors));
    assert_same("unit", wanted, &held);
    held.retain(|anchor, _| !wanted.contains_key(anchor));
    for group in held.values() {
        assert_eq!(
            group["members"],
            json!([]),
            "no unit, but has members: {group}"
        );
    }
}

fn placed(entry: &Entry) -> Placed {
    Placed {
        dn: entry.dn.clone(),
        anchor: entry.first("entryUUID").unwrap().to_owned(),
    }
}

fn assert_mirrored(slapd: &Slapd, target: &impl Held, nesting: Nesting) {
    let of = |class: &str| {
        let filter = format!("(objectClass={class})");
        slapd.search(PEOPLE, &filter, &["ou", "entryUUID"])
    };
    let units = of("organizationalUnit");
    let units = units.iter();
    let units: Vec<_> = units
        .map(|unit| (placed(unit), unit.first("ou").unwrap().to_owned()))
        .collect();
    let people: Vec<_> = of("inetOrgPerson").iter().map(placed).collect();
    assert_holds(target, &wanted(&units, &people, nesting));
}

fn unit(name: &str, above: &str) -> String {
    format!("dn: ou={name},{above}\nobjectClass: organizationalUnit\nou: {name}\n\n")
}

fn person(uid: &str, unit: &str) -> String {
    format!(
        "dn: uid={uid},{unit}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n\n"
    )
}

fn below(path: &str) -> String {
    format!("{path},{PEOPLE}")
}

/// Sales with a unit and a place that is none, support, an empty unit, and somebody right below the base.
fn company() -> String {
    let (sales, rome) = (below("ou=sales"), below("l=Rome,ou=sales"));
    let mut ldif = unit("sales", PEOPLE) + &unit("support", PEOPLE) + &unit("vacant", PEOPLE);
    ldif += &unit("emea, west", &sales).replace("dn: ou=emea, west", "dn: ou=emea\\, west");
    ldif += &format!("dn: {rome}\nobjectClass: locality\nl: Rome\n\n");
    for (count, unit) in [
        (4, sales.as_str()),
        (3, &below("ou=emea\\2C west,ou=sales")),
        (2, &rome),
        (4, &below("ou=support")),
        (1, PEOPLE),
    ] {
        for number in 0..count {
            let place = unit.split(',').next().unwrap().split('=').nth(1).unwrap();
            let place = place.trim_end_matches("\\2C west").to_lowercase();
            ldif += &person(&format!("{place}{number}"), unit);
        }
    }
    ldif
}

fn emea() -> String {
    below("ou=emea\\, west,ou=sales")
}

fn assert_quiet(relay: &Relay) {
    let run = relay.sync().completed();
    let none = json!({"read": 0, "write": 0});
    assert_eq!(run.job["requests"], none, "{run:?}");
    assert_eq!(run.job["completeRead"], true, "{run:?}");
}

fn assert_members(run: &Finished, added: u64, removed: u64) {
    let counted = (run.count("membersAdded"), run.count("membersRemoved"));
    assert_eq!(counted, (added, removed), "{run:?}");
    assert_eq!(run.count("usersUpdated"), 0, "{run:?}");
}

/// What every way has in common; what differs is worked out from the directory.
fn story(slapd: &Slapd, relay: &Relay, target: &impl Held, nesting: Nesting) {
    let settled = |moves: Option<(u64, u64)>| {
        let run = relay.sync().completed();
        if let Some((added, removed)) = moves {
            assert_members(&run, added, removed);
        }
        assert_mirrored(slapd, target, nesting);
        assert_quiet(relay);
        run
    };
    let first = settled(None);
    assert_eq!(first.count("groupsCreated"), 5, "{first:?}");
    let members = |name: &str| {
        let groups = target.groups();
        let group = groups.iter().find(|group| group["displayName"] == name);
        group.unwrap()["members"].as_array().map_or(0, Vec::len)
    };
    // In the test's own words, too.
    let counts = ["people", "sales", "emea, west", "vacant"].map(members);
    assert_eq!(
        counts,
        match nesting {
            Nesting::Direct => [1, 4, 3, 0],
            Nesting::Nested => [4, 5, 3, 0],
            Nesting::Flatten => [14, 9, 3, 0],
        },
        "{nesting:?}"
    );

    // One leaves a unit and joins another.
    let support = below("ou=support");
    slapd.modrdn(&below("uid=sales0,ou=sales"), "uid=sales0", Some(&support));
    settled(Some((1, 1)));
    // A unit with units below gets another name: a PATCH of its own, and nothing else.
    slapd.modrdn(&below("ou=sales"), "ou=revenue", None);
    let run = settled(Some((0, 0)));
    assert_eq!(
        (run.writes(), run.count("groupsUpdated")),
        (1, 1),
        "{run:?}"
    );
    // A unit goes below another one, with everybody in it.
    let west = below("ou=emea\\, west,ou=revenue");
    slapd.modrdn(&west, "ou=emea\\, west", Some(&support));
    settled(Some(match nesting {
        Nesting::Direct => (0, 0),
        Nesting::Nested => (1, 1),
        Nesting::Flatten => (3, 3),
    }));
    // A unit is closed: one of its people has left, one goes up, one finds a new place.
    let west = below("ou=emea\\, west,ou=support");
    slapd.delete(&format!("uid=emea0,{west}"));
    slapd.modrdn(&format!("uid=emea1,{west}"), "uid=emea1", Some(&support));
    let vacant = below("ou=vacant");
    slapd.modrdn(&format!("uid=emea2,{west}"), "uid=emea2", Some(&vacant));
    slapd.delete(&west);
    let run = settled(None);
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
    // A unit comes, with somebody in it.
    slapd.add(&(unit("legal", PEOPLE) + &person("legal0", &below("ou=legal"))));
    let run = settled(None);
    assert_eq!(run.count("groupsCreated"), 1, "{run:?}");
}

#[test]
fn organizational_units_at_a_foreign_target() {
    for nesting in [Nesting::Direct, Nesting::Flatten, Nesting::Nested] {
        let (slapd, target) = (Slapd::with(&company()), Scim2Server::start());
        let relay = Relay::new(&slapd, &target)
            .directory(UNITS_ALONE)
            .directory(nesting.line());
        story(&slapd, &relay, &target, nesting);
    }
}

/// A target that keeps a journal, and a relay that treats units as groups, besides what the lines say.
async fn site(lines: &str) -> (Slapd, FaultTarget, Relay) {
    let (slapd, target) = (
        Slapd::with(&company()),
        FaultTarget::start(Vec::new()).await,
    );
    let relay = Relay::between(&slapd, target.base_url(), "any")
        .tenant("settleSeconds = 0")
        .directory(ON)
        .directory(lines);
    (slapd, target, relay)
}

fn group(name: &str, member: &str) -> String {
    format!("dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\nmember: {member}\n\n")
}

/// The names of the members of a group, users and groups.
fn members(target: &FaultTarget, group: &str) -> Vec<String> {
    let names: BTreeMap<String, String> = (target.users().iter())
        .map(|user| (user, "userName"))
        .chain(target.groups().iter().map(|group| (group, "displayName")))
        .map(|(resource, name)| {
            (
                text(resource, "id").to_owned(),
                text(resource, name).to_owned(),
            )
        })
        .collect();
    let groups = target.groups();
    let group = groups.iter().find(|found| found["displayName"] == group);
    let members = group.unwrap()["members"].as_array().cloned();
    let members = members.unwrap_or_default();
    let mut members: Vec<String> = members
        .iter()
        .map(|member| names[text(member, "value")].clone())
        .collect();
    members.sort();
    members
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_follow_the_settings() {
    let (slapd, target, relay) = site("").await;
    slapd.add(&group("board", &below("uid=support0,ou=support")));
    slapd.add(&group("everybody", PEOPLE));
    let mut relay = relay.directory("organizationalUnits = \"ignore\"");
    relay.sync_approved().completed();
    assert_eq!(target.groups().len(), 2);
    // Switched on after a first load: every entry is taken in anew, and no user is written.
    relay = relay.directory(ON);
    let mut groups_of_people = 0;
    for nesting in [
        Nesting::Direct,
        Nesting::Flatten,
        Nesting::Nested,
        Nesting::Flatten,
        Nesting::Direct,
    ] {
        relay = relay.directory(nesting.line());
        let run = relay.sync_approved().completed();
        assert_eq!(run.count("usersUpdated"), 0, "{run:?}");
        groups_of_people += run.count("groupsCreated");
        assert_eq!(members(&target, "board"), ["support0"]);
        let of_unit = members(&target, "people");
        assert_eq!(
            of_unit.contains(&"sales0".to_owned()),
            nesting == Nesting::Flatten
        );
        assert_eq!(
            of_unit.contains(&"sales".to_owned()),
            nesting == Nesting::Nested
        );
        // A group may name a unit as its member.
        let through = members(&target, "everybody");
        match nesting {
            Nesting::Direct => assert_eq!(through, [""; 0]),
            Nesting::Flatten => assert_eq!(through.len(), 14),
            Nesting::Nested => assert_eq!(through, ["people"]),
        }
        assert_quiet(&relay);
    }
    assert_eq!(groups_of_people, 5);
    // Switched off: what is there stays as it is, whatever happens in the directory.
    let before = writes(&target).len();
    relay = relay.directory("organizationalUnits = \"ignore\"");
    let run = relay.sync_approved().completed();
    assert_eq!(run.writes(), 0, "{run:?}");
    slapd.modrdn(&below("uid=sales0,ou=sales"), "uid=sales0", Some(PEOPLE));
    relay.sync_approved().completed();
    assert_eq!(writes(&target).len(), before);
    assert_quiet(&relay);
    // And on again: what happened in between is caught up with.
    relay = relay.directory(ON);
    let run = relay.sync_approved().completed();
    assert_members(&run, 1, 1);
    assert_quiet(&relay);
    // Groups that are not synchronized any more stay as they are as well, though units are searched for.
    relay = relay.directory(UNITS_ALONE);
    slapd.delete(&format!("cn=board,{GROUPS}"));
    relay.sync_approved().completed();
    assert_eq!(members(&target, "board"), ["support0"]);
    assert_quiet(&relay);
}

/// Membership lies in the member's own entry, so that is what is looked at before a member leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_keep_a_member_who_is_back_before_it_is_taken_out() {
    let (slapd, target, relay) = site("").await;
    relay.sync().completed();
    let before = writes(&target).len();
    let (sales, support) = (below("ou=sales"), below("ou=support"));
    slapd.delete(&format!("uid=support3,{support}"));
    slapd.modrdn(&format!("uid=sales0,{sales}"), "uid=sales0", Some(&support));
    slapd.modrdn(&format!("uid=sales1,{sales}"), "uid=sales1", Some(&support));
    // The deactivation goes first: while it is on its way, one of the two goes back.
    let slow = Fault::Slow(Duration::from_secs(3));
    target.set_rules(vec![Rule::on("PATCH", "/Users", slow).first(1)]);
    let run = relay.spawn_sync();
    wait_for("the deactivation at the target", PATIENCE, || {
        (writes(&target).len() > before).then_some(())
    });
    slapd.modrdn(&format!("uid=sales0,{support}"), "uid=sales0", Some(&sales));
    let run = run.wait();
    // The leaver, and the one who really moved.
    assert_eq!(run.count("membersRemoved"), 2, "{run:?}");
    assert_eq!(members(&target, "sales"), ["sales0", "sales2", "sales3"]);
    relay.sync().completed();
    assert_mirrored(&slapd, &target, Nesting::Direct);
    assert_quiet(&relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_lose_nobody_when_the_read_is_not_complete() {
    let (mut slapd, target, relay) = site("").await;
    relay.sync().completed();
    let everything = |rule: &str| format!("{rule}\naccess to * by * read");
    let hides = format!(
        "access to dn.base=\"{}\" attrs=entryUUID by * none",
        below("ou=support")
    );
    // A unit without its anchor cannot be told from one that is gone, so the whole read proves no absence.
    slapd.restart_with(&everything(&hides));
    slapd.modrdn(&below("uid=sales0,ou=sales"), "uid=sales0", Some(PEOPLE));
    let before = writes(&target).len();
    let run = relay.sync();
    assert_eq!(run.job["completeRead"], false, "{run:?}");
    assert_eq!(errors_of(&run, &below("ou=support")).len(), 1, "{run:?}");
    assert_eq!(run.count("membersRemoved"), 0, "{run:?}");
    let text = json!(run.job["errors"]).to_string();
    assert!(text.contains("organizational unit `ou=support,"), "{text}");
    assert_eq!(members(&target, "support").len(), 4);
    assert_eq!(members(&target, "sales").len(), 4);
    assert!(writes(&target).len() <= before + 1);
    // A unit that the account may not see is gone for it, as a group would be; its people are not.
    let rule = format!(
        "access to dn.base=\"{}\" by dn.exact=\"{READER}\" search",
        below("ou=support")
    );
    slapd.restart_with(&everything(&rule));
    let run = relay.sync().completed();
    assert_eq!(members(&target, "support"), [""; 0], "{run:?}");
    assert_eq!(run.count("usersDeactivated"), 0, "{run:?}");
    slapd.restart_with(&everything(""));
    relay.sync().completed();
    assert_mirrored(&slapd, &target, Nesting::Direct);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_that_all_go_wait_for_a_person() {
    let (slapd, target, relay) = site("absentGroups = \"empty\"").await;
    relay.sync().completed();
    let before = writes(&target).len();
    // Everybody moves up, and the units are gone: more groups would be emptied than a run may.
    for unit in [
        "ou=emea\\, west,ou=sales",
        "l=Rome,ou=sales",
        "ou=sales",
        "ou=support",
    ] {
        for person in slapd.search(&below(unit), "(objectClass=inetOrgPerson)", &["uid"]) {
            let rdn = format!("uid={}", person.first("uid").unwrap());
            slapd.modrdn(&person.dn, &rdn, Some(PEOPLE));
        }
        slapd.delete(&below(unit));
    }
    let run = relay.sync();
    assert_eq!(run.job["status"], "awaiting_approval", "{run:?}");
    assert_eq!(run.count("membersRemoved"), 0, "{run:?}");
    let sent = writes(&target).split_off(before);
    assert_eq!(sent.len(), 1, "people get their new unit: {sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_are_found_by_name_and_shown_by_a_preview() {
    let (slapd, target, relay) = site("").await;
    relay.sync().completed();
    let before = writes(&target).len();
    slapd.modrdn(&emea(), "ou=apac", None);
    slapd.modrdn(&below("uid=sales0,ou=sales"), "uid=sales0", Some(PEOPLE));
    let job = |arguments: &[&str]| relay.spawn(arguments).wait().completed();
    let preview = job(&["preview", "--output", "json"]);
    assert_eq!(preview.count("groupsUpdated"), 1, "{preview:?}");
    assert_members(&preview, 1, 1);
    assert_eq!(writes(&target).len(), before);
    // One unit alone, by its new name; then by its old DN, which only the store knows.
    let only = |name: &str| job(&["sync", "--output", "json", "--only", name]);
    let run = only("apac");
    assert_eq!(
        (run.writes(), run.count("groupsUpdated")),
        (1, 1),
        "{run:?}"
    );
    slapd.modrdn(&below("ou=apac,ou=sales"), "ou=asia", None);
    let run = only(&below("ou=apac,ou=sales"));
    assert_eq!(
        (run.writes(), run.count("groupsUpdated")),
        (1, 1),
        "{run:?}"
    );
    relay.sync().completed();
    assert_mirrored(&slapd, &target, Nesting::Direct);
    assert_quiet(&relay);
    // A reconcile brings back what somebody changed at the target.
    let groups = target.groups();
    let asia = groups.iter().find(|group| group["displayName"] == "asia");
    let path = format!("/Groups/{}", text(asia.unwrap(), "id"));
    let named = json!([{"op": "replace", "path": "displayName", "value": "x"}]);
    edit(&target, &path, named);
    let run = job(&["sync", "--output", "json", "--mode", "reconcile"]);
    assert_eq!(
        (run.writes(), run.count("groupsUpdated")),
        (1, 1),
        "{run:?}"
    );
    assert_mirrored(&slapd, &target, Nesting::Direct);
}

/// People of another profile lie in the units of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_hold_users_of_every_profile() {
    let second = "userSearchFilter = \"(&(objectClass=inetOrgPerson)(!(uid=emea*)))\"\n\
                  [[profiles]]\nname = \"west\"\nsynchronizeGroups = false\n\
                  userSearchFilter = \"(&(objectClass=inetOrgPerson)(uid=emea*))\"\n";
    let (mut slapd, target, relay) = site(second).await;
    let run = |profile: &str| {
        let asked = ["sync", "--output", "json", "--profile", profile];
        relay.spawn(&asked).wait().completed()
    };
    let settle = |slapd: &Slapd| {
        for profile in ["default", "west", "default"] {
            run(profile);
        }
        assert_mirrored(slapd, &target, Nesting::Direct);
        for profile in ["west", "default"] {
            let quiet = run(profile);
            assert_eq!(quiet.writes(), 0, "{quiet:?}");
        }
    };
    settle(&slapd);
    // The unit's profile runs before that of the people: it may know less of them than the directory.
    let west = emea();
    slapd.modrdn(
        &format!("uid=emea0,{west}"),
        "uid=emea0",
        Some(&below("ou=support")),
    );
    slapd.modrdn(&west, "ou=apac", None);
    run("default");
    assert_eq!(members(&target, "apac").len(), 2);
    settle(&slapd);
    // Whoever comes from the one profile to the other stays in the unit.
    slapd.modrdn(&below("uid=support0,ou=support"), "uid=emea9", None);
    let before = writes(&target).len();
    settle(&slapd);
    let removals = writes(&target).split_off(before);
    let removes = |operation: &Value| operation["op"] == "remove";
    assert!(
        !removals
            .iter()
            .any(|exchange| operations(exchange).iter().any(removes)),
        "{removals:?}"
    );
    // A unit that is gone holds nobody, and the other profile's people are no exception.
    let hides = format!(
        "access to dn.base=\"{}\" by dn.exact=\"{READER}\" search\naccess to * by * read",
        below("ou=apac,ou=sales")
    );
    slapd.restart_with(&hides);
    run("default");
    assert_eq!(members(&target, "apac"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_give_and_take_roles() {
    let role = format!(
        "roleMapping = [{{ group = \"{}\", role = \"seller\" }}]",
        below("ou=sales")
    );
    let (slapd, target, relay) = site(&role).await;
    relay.sync().completed();
    let has = |uid: &str| {
        let user = target.target().user_named(uid).unwrap();
        user["roles"]
            .as_array()
            .is_some_and(|roles| !roles.is_empty())
    };
    assert_eq!(
        ["sales0", "emea0", "support0"].map(has),
        [true, false, false]
    );
    slapd.modrdn(&below("uid=sales0,ou=sales"), "uid=sales0", Some(PEOPLE));
    slapd.modrdn(
        &below("uid=support0,ou=support"),
        "uid=support0",
        Some(&below("ou=sales")),
    );
    relay.sync().completed();
    assert_eq!(["sales0", "support0"].map(has), [false, true]);
    assert_quiet(&relay);
    // Units within count where groups within do.
    let relay = relay.directory(Nesting::Nested.line());
    relay.sync_approved().completed();
    assert_eq!(["sales0", "emea0", "rome0"].map(has), [false, true, false]);
    let relay = relay.directory(Nesting::Flatten.line());
    relay.sync_approved().completed();
    assert_eq!(["sales0", "emea0", "rome0"].map(has), [false, true, true]);
    assert_quiet(&relay);
    // Units that are not searched for any more take no role away.
    let relay = relay.directory("organizationalUnits = \"ignore\"");
    let run = relay.sync();
    assert!(
        json!(run.job["errors"]).to_string().contains("roleMapping"),
        "{run:?}"
    );
    assert_eq!(["emea0", "rome0"].map(has), [true, true]);
}

/// A first load of many units costs one request for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_are_created_with_their_members() {
    let mut ldif = String::new();
    for number in 0..60 {
        let name = format!("unit{number}");
        ldif += &unit(&name, PEOPLE);
        for person in 0..10 {
            ldif += &self::person(
                &format!("u{number}p{person}"),
                &below(&format!("ou={name}")),
            );
        }
    }
    let slapd = Options::new()
        .ldif(&ldif)
        .database(&format!("limits dn.exact=\"{READER}\" size=unlimited"))
        .start();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "any")
        .directory(UNITS_ALONE)
        .directory("pageEntries = 7");
    let run = relay.sync().completed();
    assert_eq!(run.writes(), 600 + 61, "{run:?}");
    assert_mirrored(&slapd, &target, Nesting::Direct);
    assert_quiet(&relay);
}

/// Units in different places may bear one name: each is a group of its own, and none takes a resource that both may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn organizational_units_of_one_name_stay_apart() {
    let (slapd, target, relay) = site("linking = \"automatic\"").await;
    let (first, second) = (below("ou=staff,ou=sales"), below("ou=staff,ou=support"));
    slapd.add(&(unit("staff", &below("ou=sales")) + &person("a", &first)));
    slapd.add(&(unit("staff", &below("ou=support")) + &person("b", &second)));
    let found = put(
        &target,
        "/Groups",
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "staff"}),
    );
    let run = relay.sync();
    for (unit, other) in [(&first, &second), (&second, &first)] {
        let told = errors_of(&run, unit);
        assert!(
            told.len() == 1 && told[0].contains(other.as_str()),
            "{run:?}"
        );
    }
    assert_eq!(members(&target, "staff"), [""; 0]);
    // As soon as only one of them may be it, that one is.
    slapd.modrdn(&second, "ou=crew", None);
    relay.sync().completed();
    assert_mirrored(&slapd, &target, Nesting::Direct);
    assert_eq!(members(&target, "staff"), ["a"]);
    let groups = target.groups();
    let staff = groups.iter().find(|group| group["displayName"] == "staff");
    assert_eq!(staff.unwrap()["id"], json!(found));
    // And where nothing is at the target under the name, both have a group of their own.
    for (above, uid) in [("ou=sales", "c"), ("ou=support", "d")] {
        let desk = below(&format!("ou=desk,{above}"));
        slapd.add(&(unit("desk", &below(above)) + &person(uid, &desk)));
    }
    relay.sync().completed();
    assert_mirrored(&slapd, &target, Nesting::Direct);
    assert_quiet(&relay);
}
