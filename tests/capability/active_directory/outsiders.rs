//! Members of groups that are nobody in scope: accounts of other domains, contacts, computers. They are counted, and whatever
//! happens to them takes nothing from anybody else.

use crate::active_directory::assert_quiet;
use crate::active_directory::domain::relay_of;
use crate::main_job::names::Names;
use crate::support::fault_target::FaultTarget;
use crate::support::ldif::Entry;
use crate::support::relay::Relay;
use crate::support::samba::{DOMAIN, ELSEWHERE, GROUPS, PEOPLE, Samba};

/// An account of a domain that this one trusts, as no entry of this domain tells more of it.
const STRANGER: &str = "S-1-5-21-1004336348-1177238915-682003330-1187";

/// A group that anybody may be in, those of other domains too.
fn add_local_group(samba: &Samba, name: &str, members: &[&str]) -> String {
    let dn = format!("CN={name},{GROUPS}");
    let members: String = members
        .iter()
        .map(|member| format!("member: {member}\n"))
        .collect();
    samba.add(&format!(
        "dn: {dn}\nobjectClass: group\nsAMAccountName: {name}\ngroupType: -2147483644\n{members}"
    ));
    dn
}

fn change(samba: &Samba, group: &str, what: &str, member: &str) {
    samba.modify(&format!(
        "dn: {group}\nchangetype: modify\n{what}: member\nmember: {member}\n"
    ));
}

/// The requests of the next run, which leaves out so many members; the one after it sends nothing.
fn sent(relay: &Relay, target: &FaultTarget, left_out: u64) -> Vec<String> {
    let before = target.journal().len();
    let run = relay.sync().completed();
    let written = Names::of(target).writes(target, before);
    if !written.is_empty() {
        assert_eq!(run.count("membersLeftOut"), left_out, "{run:?}");
    }
    assert_quiet(relay);
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_members_from_elsewhere_are_counted_and_harm_nobody() {
    let samba = Samba::start();
    let [ann, ben] = ["ann", "ben"].map(|name| samba.add_user(PEOPLE, name, ""));
    let far = samba.add_user(ELSEWHERE, "far", "");
    let computer = format!("CN=PC1,{PEOPLE}");
    samba.add(&format!(
        "dn: {computer}\nobjectClass: computer\nsAMAccountName: PC1$\nuserAccountControl: 4096\n"
    ));
    let contact = format!("CN=Kay Contact,{PEOPLE}");
    samba.add(&format!(
        "dn: {contact}\nobjectClass: contact\nmail: kay@elsewhere.example\n"
    ));
    let team = add_local_group(&samba, "team", &[&ann, &ben, &contact, &computer, &far]);
    // The domain makes an entry for the stranger when it becomes a member.
    change(&samba, &team, "add", &format!("<SID={STRANGER}>"));
    let principals = format!("CN=ForeignSecurityPrincipals,{DOMAIN}");
    let principal = samba.search(&principals, &format!("(cn={STRANGER})"), &["objectClass"]);
    let [Entry { dn: stranger, .. }] = &principal[..] else {
        panic!("the domain has no entry for the stranger: {principal:?}");
    };
    let strangers = add_local_group(&samba, "strangers", &[stranger, &contact]);

    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay_of(&samba, &target);
    let create =
        |name: &str, members: &str| format!(r#"POST /Groups {{"displayName":"{name}"{members}}}"#);
    let mut first = sent(&relay, &target, 4 + 2);
    first.retain(|request| request.contains("/Groups"));
    assert_eq!(
        first,
        [
            create("strangers", ""),
            create("team", r#","members":[{"value":"ann"},{"value":"ben"}]"#),
        ]
    );

    // They go, come back, and are deleted: nobody else is concerned.
    for outsider in [stranger, &contact, &computer, &far] {
        change(&samba, &team, "delete", outsider);
        assert_eq!(sent(&relay, &target, 0), [""; 0], "{outsider}");
        change(&samba, &team, "add", outsider);
        assert_eq!(sent(&relay, &target, 0), [""; 0], "{outsider}");
    }
    for outsider in [stranger, &contact, &computer, &far] {
        samba.delete(outsider);
        assert_eq!(sent(&relay, &target, 0), [""; 0], "{outsider}");
    }

    // One of ours comes and goes among them as ever.
    let left = samba.search(&team, "(objectClass=group)", &["member"]);
    assert_eq!(left[0].values("member").len(), 2, "{left:?}");
    change(&samba, &team, "add", &format!("<SID={STRANGER}>"));
    change(&samba, &team, "delete", &ben);
    assert_eq!(
        sent(&relay, &target, 1),
        [r#"PATCH /Groups/team remove members[value eq "ben"]"#]
    );
    change(&samba, &strangers, "add", &ben);
    assert_eq!(
        sent(&relay, &target, 0),
        [r#"PATCH /Groups/strangers add members=[{"value":"ben"}]"#]
    );
}
