//! Members of a primary group: the domain keeps them with the users, and the relay finds them where it is told to.

use crate::active_directory::assert_quiet;
use crate::active_directory::domain::relay_of;
use crate::main_job::names::Names;
use crate::support::fault_target::FaultTarget;
use crate::support::relay::Relay;
use crate::support::samba::{DOMAIN, GROUPS, PEOPLE, Samba};

const DOMAIN_USERS: &str = "CN=Domain Users,CN=Users,dc=ad,dc=example,dc=org";

/// The requests of the next run; the one after it sends nothing.
fn sent(relay: &Relay, target: &FaultTarget) -> Vec<String> {
    let before = target.journal().len();
    relay.sync().completed();
    let written = Names::of(target).writes(target, before);
    assert_quiet(relay);
    written
}

fn members(target: &FaultTarget, name: &str) -> usize {
    let groups = target.target().groups();
    let group = groups.iter().find(|group| group["displayName"] == name);
    group.unwrap()["members"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_primary_groups_have_members_where_that_is_asked_for() {
    let samba = Samba::start();
    let ann = samba.add_user(PEOPLE, "ann", "");
    // Others, so that one who leaves is not a fifth of the company.
    for number in 0..8 {
        samba.add_user(PEOPLE, &format!("other{number}"), "");
    }
    let team = samba.add_group(GROUPS, "team", &[&ann]);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay_of(&samba, &target).directory(&format!("groupsDN = \"{DOMAIN}\""));
    sent(&relay, &target);
    let relay = relay.directory("primaryGroup = true");
    let add = |group: &str, user: &str| {
        format!("PATCH /Groups/{group} add members=[{{\"value\":\"{user}\"}}]")
    };
    let requests = sent(&relay, &target);
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].starts_with("PATCH /Groups/Domain Users add members="));
    assert_eq!(members(&target, "Domain Users"), 9);

    // One who comes is in it from the beginning.
    let ben = samba.add_user(PEOPLE, "ben", "");
    let requests = sent(&relay, &target);
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(requests[0], add("Domain Users", "ben"));

    // With another primary group the domain moves the names: the old group gets one, the new one loses it.
    let group = samba.search(&team, "(objectClass=group)", &["primaryGroupToken"]);
    let token = group[0].first("primaryGroupToken").unwrap();
    samba.replace(&ann, "primaryGroupID", &[token]);
    assert_eq!(sent(&relay, &target), [""; 0]);
    samba.modify(&format!(
        "dn: {DOMAIN_USERS}\nchangetype: modify\ndelete: member\nmember: {ann}\n"
    ));
    assert_eq!(
        sent(&relay, &target),
        ["PATCH /Groups/Domain Users remove members[value eq \"ann\"]"]
    );

    // Who leaves the scope is no member any more.
    samba.delete(&ben);
    let requests = sent(&relay, &target);
    assert!(
        requests
            .contains(&"PATCH /Groups/Domain Users remove members[value eq \"ben\"]".to_owned()),
        "{requests:?}"
    );
}
