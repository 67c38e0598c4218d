//! Active Directory: a real domain controller, read over LDAPS as a plain account.

pub mod domain;
mod kinds;
mod lifecycle;
mod nesting;
mod organizational_units;
mod outsiders;
mod primary_group;
mod servers;
mod windows;

use serde_json::json;

use crate::active_directory::domain::{assert_equal_to_domain, populate, relay_of};
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::{Held, text};
use crate::support::relay::Relay;
use crate::support::samba::{CROWD_USERS, DOMAIN, Samba};

/// A run that finds nothing to do asks nothing of the target.
fn assert_quiet(relay: &Relay) {
    let run = relay.sync().completed();
    assert_eq!(
        run.job["requests"],
        json!({"read": 0, "write": 0}),
        "{run:?}"
    );
    assert_eq!(run.job["completeRead"], true, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_domain_is_pushed_whole_and_without_what_is_no_person() {
    let samba = Samba::start();
    populate(&samba);
    let target = FaultTarget::start(Vec::new()).await;
    // The domain itself: its search ends with a reference to the configuration, which is no part of it.
    let relay = relay_of(&samba, &target)
        .directory(&format!("usersDN = \"{DOMAIN}\"\ngroupsDN = \"{DOMAIN}\""));
    let run = relay.sync().completed();
    assert_eq!(run.job["completeRead"], true, "{run:?}");
    assert_equal_to_domain(&samba, &target, DOMAIN, DOMAIN);

    let users = target.users();
    let mut names: Vec<&str> = users.iter().map(|user| text(user, "userName")).collect();
    names.retain(|name| !name.starts_with('c') || name.len() != 5);
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "Administrator",
            "ann",
            "ben",
            // A service account that only its creator can tell from a person.
            "dns-dc1",
            "later",
            "never",
            "reader",
            "sales1"
        ]
    );
    let groups = target.groups();
    let members = |name: &str| {
        let group = groups.iter().find(|group| group["displayName"] == name);
        group.unwrap()["members"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(members("crowd"), CROWD_USERS);
    // Primary groups do not name their members.
    assert_eq!(members("Domain Users"), 0);
    // Computers, contacts, service accounts and groups are left out of this one.
    assert_eq!(members("a-team"), 3);
    assert_quiet(&relay);
}
