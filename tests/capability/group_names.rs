//! Groups that bear one name, where the target takes each name once only, and where it does not.

use crate::support::fault_target::FaultTarget;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::relay;

/// A group of one person, below a unit of its own.
fn group(unit: &str, name: &str) -> String {
    format!(
        "dn: ou={unit},{GROUPS}\nobjectClass: organizationalUnit\nou: {unit}\n\n\
         dn: cn={name},ou={unit},{GROUPS}\nobjectClass: groupOfNames\ncn: {name}\nmember: uid=u0000000,{PEOPLE}\n\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_names_that_must_be_unique_are_given_to_neither_of_two() {
    for (dialect, groups, errors) in [("dialect = { uniqueGroupNames = true }", 1, 2), ("", 3, 0)] {
        let slapd = Slapd::with(&World::new(9, 2, 0).ldif());
        for (unit, name) in [("east", "Team"), ("west", "team"), ("north", "Other")] {
            slapd.add(&group(unit, name));
        }
        let target = FaultTarget::start(Vec::new()).await;
        let relay = relay(&slapd, &target).tenant(dialect);
        let run = relay.sync();
        assert_eq!(run.count("errorCount"), errors, "{dialect}: {run:?}");
        assert_eq!(target.target().groups().len(), groups, "{dialect}");
        if errors > 0 {
            let told = run.job.to_string();
            for unit in ["ou=east", "ou=west"] {
                assert!(told.contains(unit), "{told}");
            }
            // Once one of them has another name, both are there.
            slapd.modrdn(&format!("cn=team,ou=west,{GROUPS}"), "cn=Team West", None);
        }
        relay.sync().completed();
        assert_eq!(target.target().groups().len(), 3, "{dialect}");
    }
}
