//! Organizational units of a domain as groups: a story in each way of treating units within units, and the domain whole.

use std::collections::BTreeMap;

use crate::active_directory::assert_quiet;
use crate::active_directory::domain::relay_of;
use crate::organizational_units::{Placed, assert_holds, wanted};
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::{Held, Nesting};
use crate::support::relay::{Finished, Relay};
use crate::support::samba::{DOMAIN, ELSEWHERE, GROUPS, PEOPLE, Samba};

const UNITS: &str = "organizationalUnits = \"groups\"\nsynchronizeGroups = false";
const PERSON: &str = "(sAMAccountType=805306368)";

fn unit(samba: &Samba, name: &str, above: &str) -> String {
    let dn = format!("OU={name},{above}");
    samba.add(&format!("dn: {dn}\nobjectClass: organizationalUnit\n\n"));
    dn
}

/// What the target holds is what the names in the domain say.
fn assert_mirrored(samba: &Samba, target: &FaultTarget, base: &str, nesting: Nesting) {
    let placed = |(anchor, dn): (String, String)| Placed { dn, anchor };
    let names: BTreeMap<String, String> = samba
        .search(base, "(objectClass=organizationalUnit)", &["name"])
        .iter()
        .map(|unit| (unit.dn.clone(), unit.first("name").unwrap().to_owned()))
        .collect();
    let units = samba.guids(base, "(objectClass=organizationalUnit)");
    let units: Vec<(Placed, String)> = units
        .into_iter()
        .map(placed)
        .filter(|unit| !unit.dn.starts_with("OU=Domain Controllers,"))
        .map(|unit| (names[&unit.dn].clone(), unit))
        .map(|(name, unit)| (unit, name))
        .collect();
    let held: Vec<String> = target
        .users()
        .iter()
        .map(|user| user["externalId"].as_str().unwrap().to_owned())
        .collect();
    let mut people: Vec<Placed> = samba.guids(base, PERSON).into_iter().map(placed).collect();
    // Accounts that are disabled are nobody at the target.
    people.retain(|person| held.contains(&person.anchor));
    assert_holds(target, &wanted(&units, &people, nesting));
}

/// The next run finds its way, writes to no user, and the one after it does nothing.
fn settled(relay: &Relay, samba: &Samba, target: &FaultTarget, nesting: Nesting) -> Finished {
    let run = relay.sync().completed();
    assert_eq!(run.count("usersUpdated"), 0, "{run:?}");
    assert_mirrored(samba, target, PEOPLE, nesting);
    assert_quiet(relay);
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_organizational_units_are_groups() {
    let samba = Samba::start();
    let support = unit(&samba, "Support", PEOPLE);
    for number in 0..6 {
        samba.add_user(PEOPLE, &format!("people{number}"), "");
        samba.add_user(&support, &format!("support{number}"), "");
    }
    for (story, nesting) in (0u64..).zip([Nesting::Direct, Nesting::Nested, Nesting::Flatten]) {
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay_of(&samba, &target)
            .directory(UNITS)
            .directory(nesting.line());
        let named = |name: &str| format!("{name}{story}");
        let sales = unit(&samba, &named("Sales"), PEOPLE);
        let inner = unit(&samba, &named("West"), &sales);
        let mover = samba.add_user(&sales, &named("mover"), "");
        samba.add_user(&inner, &named("inner"), "");
        let run = settled(&relay, &samba, &target, nesting);
        // Those of the stories before are still there.
        assert_eq!(run.count("groupsCreated"), 4 + story, "{run:?}");

        // Somebody moves.
        samba.modrdn(&mover, &format!("CN={}", named("mover")), Some(&support));
        let run = settled(&relay, &samba, &target, nesting);
        assert_eq!(
            (run.count("membersAdded"), run.count("membersRemoved")),
            (1, 1),
            "{run:?}"
        );
        // A unit with others below it is renamed: nothing but its name changes.
        let other = format!("OU={}", named("Revenue"));
        samba.modrdn(&sales, &other, None);
        let run = settled(&relay, &samba, &target, nesting);
        assert_eq!(
            (run.writes(), run.count("groupsUpdated")),
            (1, 1),
            "{run:?}"
        );
        // The unit within is closed, and its person goes up.
        let inner = inner.replace(&sales, &format!("{other},{PEOPLE}"));
        let person = named("inner");
        samba.modrdn(
            &format!("CN={person},{inner}"),
            &format!("CN={person}"),
            Some(PEOPLE),
        );
        samba.delete(&inner);
        settled(&relay, &samba, &target, nesting);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_organizational_units_of_the_whole_domain() {
    let samba = Samba::start();
    let ann = samba.add_user(PEOPLE, "ann", "");
    samba.add_user(ELSEWHERE, "ben", "");
    samba.add_group(GROUPS, "a-team", &[&ann, PEOPLE]);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay_of(&samba, &target).directory(&format!(
        "{UNITS}\nusersDN = \"{DOMAIN}\"\nnestedGroups = \"flatten\""
    ));
    let run = relay.sync().completed();
    assert_eq!(run.job["completeRead"], true, "{run:?}");
    assert_mirrored(&samba, &target, DOMAIN, Nesting::Flatten);
    let groups = target.groups();
    let members = |name: &str| {
        let group = groups.iter().find(|group| group["displayName"] == name);
        group.map(|group| group["members"].as_array().map_or(0, Vec::len))
    };
    // The unit of the domain's controllers is no part of the company.
    let names = ["Domain Controllers", "Company", "Crowd", "Groups", "Users"].map(members);
    assert_eq!(names, [None, Some(2_002), Some(2_000), Some(0), None]);
    assert_quiet(&relay);

    // Beside groups, and a group that names a unit.
    let relay = relay.directory(&format!(
        "synchronizeGroups = true\ngroupsDN = \"{GROUPS}\""
    ));
    let run = relay.sync().completed();
    assert_eq!(
        (run.writes(), run.count("groupsCreated")),
        (1, 1),
        "{run:?}"
    );
    assert_eq!(run.count("membersAdded"), 1, "{run:?}");
    assert_quiet(&relay);
}
