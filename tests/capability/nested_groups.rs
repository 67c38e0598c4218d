//! Groups within groups: left out, flattened to their users, or kept; with cycles, dangling names and changes deep inside.

use serde_json::json;

use crate::support::fault_target::FaultTarget;
use crate::support::mirror::{Held, Nesting, assert_equal_with};
use crate::support::relay::{Finished, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::world::World;

/// Two groups that no path joins to a cycle, `top` over `deep` over `bottom`, in both orders of creation, and the
/// cycle `a`, `b`, `c` with a member that nobody is and a group that names itself.
const TREE: &[(&str, &[&str])] = &[
    ("top", &["uid=u0000000", "cn=deep"]),
    ("deep", &["uid=u0000001", "cn=bottom"]),
    ("bottom", &["uid=u0000002", "uid=u0000000", "uid=nobody"]),
    ("last", &["uid=u0000003"]),
    ("over last", &["cn=last"]),
    ("over both", &["cn=over last", "cn=top"]),
    ("a", &["uid=u0000004", "cn=b"]),
    ("b", &["uid=u0000005", "cn=c", "cn=b"]),
    ("c", &["uid=u0000006", "cn=a", "cn=nothing"]),
    ("only itself", &["cn=only itself"]),
];

fn dn(name: &str) -> String {
    match name.starts_with("uid=") {
        true => format!("{name},{PEOPLE}"),
        false => format!("{name},{GROUPS}"),
    }
}

/// So few memberships are soon beyond the limit of a day.
const ROOM: &str = "guard = { membersRemoved = 1000 }";

fn directory() -> Slapd {
    let mut ldif = World::new(8, 10, 0).ldif();
    for (name, members) in TREE {
        ldif.push_str(&format!(
            "dn: cn={name},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\n"
        ));
        for member in *members {
            ldif.push_str(&format!("member: {}\n", dn(member)));
        }
        ldif.push('\n');
    }
    Slapd::with(&ldif)
}

/// The members of a group at the target, by the names that people know them by.
fn members(target: &impl Held, group: &str) -> Vec<String> {
    let (users, groups) = (target.users(), target.groups());
    let name = |id: &serde_json::Value| {
        let user = users
            .iter()
            .find(|user| user["id"] == *id)
            .map(|user| &user["userName"]);
        let group = groups
            .iter()
            .find(|group| group["id"] == *id)
            .map(|group| &group["displayName"]);
        user.or(group).unwrap().as_str().unwrap().to_owned()
    };
    let group = groups
        .iter()
        .find(|found| found["displayName"] == group)
        .unwrap();
    let listed = group["members"].as_array().cloned().unwrap_or_default();
    let mut members: Vec<String> = listed.iter().map(|member| name(&member["value"])).collect();
    members.sort();
    members
}

fn assert_quiet(relay: &Relay) {
    let run = relay.sync().completed();
    assert_eq!(
        run.job["requests"],
        json!({"read": 0, "write": 0}),
        "{run:?}"
    );
}

/// What the tests say of each way, against any target: first load, changes deep inside, and what they cost.
fn story(slapd: &Slapd, relay: &Relay, target: &impl Held, nesting: Nesting) {
    relay.sync().completed();
    assert_equal_with(slapd, target, nesting);
    let (flat, cycle) = (
        ["u0000000", "u0000001", "u0000002"],
        ["u0000004", "u0000005", "u0000006"],
    );
    // In the test's own words, too, so that the two ways of working it out cannot be wrong together.
    let expected: [(&str, &[&str]); 4] = match nesting {
        Nesting::Direct => [
            ("top", &flat[..1]),
            ("b", &cycle[1..2]),
            ("over last", &[]),
            ("only itself", &[]),
        ],
        Nesting::Flatten => [
            ("top", &flat),
            ("b", &cycle),
            ("over last", &["u0000003"]),
            ("only itself", &[]),
        ],
        Nesting::Nested => [
            ("top", &["deep", "u0000000"]),
            ("b", &["c", "u0000005"]),
            ("over last", &["last"]),
            ("only itself", &[]),
        ],
    };
    for (group, wanted) in expected {
        assert_eq!(members(target, group), wanted, "{nesting:?} {group}");
    }
    assert_quiet(relay);

    // One comes and one goes at the bottom; one comes into the cycle.
    modify(
        slapd,
        "bottom",
        &format!(
            "add: member\nmember: {}\n-\ndelete: member\nmember: {}\n",
            dn("uid=u0000007"),
            dn("uid=u0000002")
        ),
    );
    modify(
        slapd,
        "c",
        &format!("add: member\nmember: {}\n", dn("uid=u0000008")),
    );
    let run = relay.sync().completed();
    assert_equal_with(slapd, target, nesting);
    // `bottom` itself, and its three ancestors; `c` itself, and the two others of the cycle.
    let (added, removed) = if nesting == Nesting::Flatten {
        (4 + 3, 4)
    } else {
        (1 + 1, 1)
    };
    assert_members(&run, added, removed);

    // A whole branch goes, and another comes.
    modify(
        slapd,
        "deep",
        &format!("delete: member\nmember: {}\n", dn("cn=bottom")),
    );
    modify(
        slapd,
        "last",
        &format!("add: member\nmember: {}\n", dn("cn=bottom")),
    );
    let run = relay.sync().completed();
    assert_equal_with(slapd, target, nesting);
    match nesting {
        Nesting::Direct => assert_members(&run, 0, 0),
        Nesting::Nested => assert_members(&run, 1, 1),
        // u0 and u7 come to `last` and `over last`; u7 leaves `deep` and `top`, u0 leaves `deep` only; `over both` has both still.
        Nesting::Flatten => assert_members(&run, 4, 3),
    }
    assert_quiet(relay);

    // A group within is renamed, and its holders do not follow (no refint): it dangles for them.
    slapd.modrdn(&dn("cn=deep"), "cn=deeper", None);
    relay.sync().completed();
    assert_equal_with(slapd, target, nesting);
    // Its old name comes back to it.
    slapd.modrdn(&dn("cn=deeper"), "cn=deep", None);
    relay.sync().completed();
    assert_equal_with(slapd, target, nesting);
    // And it is deleted.
    slapd.delete(&dn("cn=deep"));
    relay.sync().completed();
    assert_equal_with(slapd, target, nesting);
    assert_quiet(relay);
}

fn modify(slapd: &Slapd, group: &str, change: &str) {
    slapd.modify(&format!(
        "dn: cn={group},{GROUPS}\nchangetype: modify\n{change}"
    ));
}

fn assert_members(run: &Finished, added: u64, removed: u64) {
    let counted = (run.count("membersAdded"), run.count("membersRemoved"));
    assert_eq!(counted, (added, removed), "{run:?}");
}

#[test]
fn nested_groups_at_a_foreign_target() {
    for nesting in [Nesting::Direct, Nesting::Flatten, Nesting::Nested] {
        let (slapd, target) = (directory(), Scim2Server::start());
        let relay = Relay::new(&slapd, &target).directory(nesting.line());
        let relay = relay.directory(ROOM);
        story(&slapd, &relay, &target, nesting);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nested_groups_at_a_strict_target() {
    for nesting in [Nesting::Direct, Nesting::Flatten, Nesting::Nested] {
        let (slapd, target) = (directory(), FaultTarget::start(Vec::new()).await);
        let relay = Relay::between(&slapd, target.base_url(), "any").directory(nesting.line());
        let relay = relay.directory(ROOM);
        story(&slapd, &relay, &target, nesting);
        let refused: Vec<_> = target
            .journal()
            .into_iter()
            .filter(|exchange| exchange.sent >= Some(400))
            .collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nested_groups_are_planned_anew_when_the_setting_changes() {
    let (slapd, target) = (directory(), FaultTarget::start(Vec::new()).await);
    let mut relay = Relay::between(&slapd, target.base_url(), "any");
    for nesting in [
        Nesting::Direct,
        Nesting::Flatten,
        Nesting::Nested,
        Nesting::Direct,
        Nesting::Nested,
        Nesting::Flatten,
        Nesting::Direct,
    ] {
        relay = relay.directory(nesting.line());
        // Another setting takes memberships away, and that waits for a person.
        let run = relay.sync_approved().completed();
        assert_equal_with(&slapd, &target, nesting);
        assert_eq!(run.job["usersUpdated"], 0, "{run:?}");
        assert_quiet(&relay);
    }
}
