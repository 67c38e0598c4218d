//! What is a person in a domain, and what only looks like one.

use crate::active_directory::domain::{assert_equal_to_domain, populate, relay_of};
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::{Held, text};
use crate::support::samba::{GROUPS, PEOPLE, Samba};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_people_are_people_whatever_filter_is_written() {
    let samba = Samba::start();
    populate(&samba);
    for filter in ["(objectClass=person)", "(objectClass=user)", "(cn=*)"] {
        let target = FaultTarget::start(Vec::new()).await;
        let relay =
            relay_of(&samba, &target).directory(&format!("userSearchFilter = \"{filter}\""));
        let run = relay.sync().completed();
        // Of a-team one disabled user, a computer, two service accounts, a contact and a foreign security principal; and
        // two groups within groups.
        assert_eq!(run.count("membersLeftOut"), 8, "{run:?}");
        assert_equal_to_domain(&samba, &target, PEOPLE, GROUPS);
        let users = target.users();
        let mut names: Vec<&str> = users.iter().map(|user| text(user, "userName")).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["ann", "ben", "later", "never", "sales1"],
            "{filter}"
        );
    }
}
