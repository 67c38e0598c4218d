//! Groups within groups in a domain: a cycle, a group that names itself, and a chain as deep as nobody means it.

use serde_json::Value;

use crate::active_directory::assert_quiet;
use crate::active_directory::domain::relay_of;
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::Nesting;
use crate::support::relay::Relay;
use crate::support::samba::{GROUPS, PEOPLE, Samba};

const DEPTH: usize = 200;

fn chain(number: usize) -> String {
    format!("chain{number:03}")
}

fn of(unit: &str, name: &str) -> String {
    format!("CN={name},{unit}")
}

/// `cycle0` names `cycle1`, that one `cycle2`, and that one the first; each has one of the people. `itself` names itself
/// and one of the people. `chain000` names `chain001`, and so on; the last one names one of the people.
fn domain() -> Samba {
    let samba = Samba::start();
    let people = ["c0", "c1", "c2", "own", "deep", "deeper"];
    let people = people.map(|name| samba.add_user(PEOPLE, name, ""));
    for (at, person) in people[..3].iter().enumerate() {
        samba.add_group(GROUPS, &format!("cycle{at}"), &[person]);
    }
    for at in 0..3 {
        let next = of(GROUPS, &format!("cycle{}", (at + 1) % 3));
        add_member(&samba, &format!("cycle{at}"), &next);
    }
    let itself = samba.add_group(GROUPS, "itself", &[&people[3]]);
    add_member(&samba, "itself", &itself);
    let mut below = people[4].clone();
    for number in (0..DEPTH).rev() {
        below = samba.add_group(GROUPS, &chain(number), &[&below]);
    }
    samba
}

fn add_member(samba: &Samba, group: &str, member: &str) {
    let group = of(GROUPS, group);
    samba.modify(&format!(
        "dn: {group}\nchangetype: modify\nadd: member\nmember: {member}\n"
    ));
}

/// The members of each group at the target, by the names that people know them by.
fn assert_members(target: &FaultTarget, wanted: &[(String, Vec<String>)]) {
    let (users, groups) = (target.target().users(), target.target().groups());
    let name = |id: &Value| {
        let user = users.iter().find(|user| user["id"] == *id);
        let group = groups.iter().find(|group| group["id"] == *id);
        let user = user.map(|user| &user["userName"]);
        let name = user.or(group.map(|group| &group["displayName"]));
        name.unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(groups.len(), wanted.len());
    for (group, members) in wanted {
        let found = groups.iter().find(|found| found["displayName"] == **group);
        let held = found.unwrap()["members"].as_array().cloned();
        let held = held.unwrap_or_default();
        let mut held: Vec<String> = held.iter().map(|member| name(&member["value"])).collect();
        held.sort_unstable();
        assert_eq!(held, *members, "{group}");
    }
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What the groups hold when the people at the end of the chain are these.
fn wanted(nesting: Nesting, deep: &[&str]) -> Vec<(String, Vec<String>)> {
    let mut wanted = vec![("itself".to_owned(), texts(&["own"]))];
    wanted.extend((0..3).map(|at| {
        let members = match nesting {
            Nesting::Flatten => texts(&["c0", "c1", "c2"]),
            Nesting::Nested => vec![format!("c{at}"), format!("cycle{}", (at + 1) % 3)],
            Nesting::Direct => vec![format!("c{at}")],
        };
        (format!("cycle{at}"), members)
    }));
    wanted.extend((0..DEPTH).map(|number| {
        let members = match nesting {
            _ if number == DEPTH - 1 => texts(deep),
            Nesting::Flatten => texts(deep),
            Nesting::Nested => vec![chain(number + 1)],
            Nesting::Direct => Vec::new(),
        };
        (chain(number), members)
    }));
    wanted
}

fn check(relay: &Relay, target: &FaultTarget, wanted: &[(String, Vec<String>)]) {
    assert_members(target, wanted);
    assert_quiet(relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_cycles_and_deep_chains_of_groups_come_to_an_end() {
    let samba = domain();
    let last = chain(DEPTH - 1);
    for (nesting, changed) in [
        (Nesting::Direct, 1),
        (Nesting::Flatten, DEPTH as u64),
        (Nesting::Nested, 1),
    ] {
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay_of(&samba, &target).directory(nesting.line());
        // One who leaves the end of the chain leaves two hundred groups.
        let relay = relay.directory("guard = { membersRemoved = 1000 }");
        relay.sync().completed();
        check(&relay, &target, &wanted(nesting, &["deep"]));

        // One comes at the far end, and goes again.
        add_member(&samba, &last, &of(PEOPLE, "deeper"));
        let run = relay.sync().completed();
        assert_eq!(run.count("membersAdded"), changed, "{nesting:?}: {run:?}");
        check(&relay, &target, &wanted(nesting, &["deep", "deeper"]));
        samba.replace(&of(GROUPS, &last), "member", &[&of(PEOPLE, "deep")]);
        let run = relay.sync().completed();
        assert_eq!(run.count("membersRemoved"), changed, "{nesting:?}: {run:?}");
        check(&relay, &target, &wanted(nesting, &["deep"]));

        // One more in the cycle is in all of it.
        add_member(&samba, "cycle1", &of(PEOPLE, "deeper"));
        let run = relay.sync().completed();
        let everywhere = if nesting == Nesting::Flatten { 3 } else { 1 };
        assert_eq!(
            run.count("membersAdded"),
            everywhere,
            "{nesting:?}: {run:?}"
        );
        let cycle = [of(PEOPLE, "c1"), of(GROUPS, "cycle2")];
        samba.replace(
            &of(GROUPS, "cycle1"),
            "member",
            &cycle.each_ref().map(String::as_str),
        );
        let run = relay.sync().completed();
        assert_eq!(
            run.count("membersRemoved"),
            everywhere,
            "{nesting:?}: {run:?}"
        );
        check(&relay, &target, &wanted(nesting, &["deep"]));
    }
}
