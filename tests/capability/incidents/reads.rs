//! Incidents in which less was read than there is, or the same entry was taken for another one.

use super::{Company, dn, harmless, rdn, rights};
use crate::feed::site::Site;
use crate::incomplete_reads::hidden;
use crate::incomplete_reads::sweep::Scene;
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::{Held as _, Nesting, assert_equal_with};
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{PEOPLE, READER, SUFFIX};
use crate::support::tampering::Lie;
use crate::truth::anchor_of;

const TIME_LIMIT_EXCEEDED: u8 = 3;

fn incremental(relay: &Relay) -> Finished {
    let arguments = ["sync", "--mode", "incremental", "--output", "json"];
    relay.spawn(&arguments).wait()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_01_a_time_limit_deactivates_nobody() {
    let scene = Scene::slapd(30).await;
    for at in [0, 1, 17, 29] {
        scene.tampering.lie(Lie::Ends(TIME_LIMIT_EXCEEDED), at);
        let what = format!("after {at} entries");
        let run = harmless(&scene.target, &what, || scene.run());
        assert!(scene.tampering.told(), "{what}");
        assert_ne!(run.code, Some(0), "{what}: {run:?}");
        let errors = run.job["errors"].to_string();
        assert!(errors.contains("timeLimitExceeded"), "{what}: {run:?}");
    }
    scene.tampering.pass();
    assert_eq!(scene.run().completed().writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_02_an_empty_list_waits_for_a_person() {
    let company = Company::of(12, 0).await;
    let everybody: String = (0..12)
        .map(|number| format!("dn: {}\nchangetype: delete\n\n", dn(number)))
        .collect();
    company.slapd.modify(&everybody);
    let run = company.waiting_run("the list is empty, and rightly so");
    assert!(run.job["holds"].to_string().contains("0 users"), "{run:?}");
    company.harmless_run("it does not wear off");
    // Whoever really means it says so.
    let approved = company.relay.approved(run);
    assert_eq!(approved.count("usersDeactivated"), 12, "{approved:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_03_a_connection_that_fails_is_not_an_empty_directory() {
    let mut company = Company::of(12, 3).await;
    company.slapd.kill();
    let run = company.harmless_run("nobody answers");
    assert_eq!((run.code, &run.job["status"]), (Some(1), &"failed".into()));
    company.slapd.restart();
    company.assert_settled("it answers again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_04_neither_a_move_within_the_scope_nor_a_controller_that_is_gone_disables_anybody()
 {
    let site = Site::domain();
    let target = FaultTarget::start(Vec::new()).await;
    let Site::Domain(samba) = &site else {
        unreachable!()
    };
    // The certificate is to outlive the controller.
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(samba.ca_pem_path(), authority.path()).unwrap();
    let authority = format!("caCertificate = \"file:{}\"", authority.path().display());
    let relay = site.relay(&target).directory(&authority);
    relay.sync().completed();
    let ids = || {
        let users = target.users().into_iter();
        let mut ids: Vec<_> = users.map(|user| user["id"].to_string()).collect();
        ids.sort_unstable();
        ids
    };
    let before = ids();
    let sales = format!("OU=sales,{}", site.people());
    let names = ["ann", "ben"].map(str::to_owned).into_iter();
    for name in names.chain((0..12).map(|number| format!("other{number}"))) {
        site.rename(&site.person(&name), &site.rdn(&name), Some(&sales));
    }
    let run = harmless(&target, "everybody moved", || relay.sync()).completed();
    assert_eq!(run.count("usersCreated"), 0, "{run:?}");
    assert_eq!(ids(), before, "the same accounts");
    drop(site);
    let run = harmless(&target, "the controller is gone", || relay.sync());
    assert_eq!((run.code, &run.job["status"]), (Some(1), &"failed".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_05_a_389_whose_account_lost_its_aci_disables_nobody() {
    let site = Site::ds389();
    let Site::Ds389(server) = &site else {
        unreachable!()
    };
    let target = FaultTarget::start(Vec::new()).await;
    let relay = site.relay(&target);
    relay.sync().completed();
    let aci = |verb: &str, filter: &str| {
        server.modify(&format!(
            "dn: {SUFFIX}\nchangetype: modify\n{verb}: aci\naci: (targetattr != \"userPassword\"){filter}(version 3.0; \
             acl \"reader\"; allow (read, search, compare) userdn = \"ldap:///{READER}\";)\n\n"
        ));
    };
    // Nothing at all is readable, and then the bases and nobody in them: both are success without entries.
    for filter in [
        "(targetfilter = \"(cn=nothing)\")",
        "(targetfilter = \"(objectClass=organizationalUnit)\")",
    ] {
        aci("replace", filter);
        let run = harmless(&target, filter, || relay.sync());
        let waits = run.job["warnings"].to_string();
        assert!(
            run.code != Some(0) || waits.contains("wait for a decision"),
            "{filter}: {run:?}"
        );
    }
    aci("replace", "");
    assert_eq!(relay.sync().completed().writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_07_users_that_a_read_passed_over_are_not_deleted() {
    let scene = Scene::slapd(30).await;
    for (lie, at) in [
        (Lie::DropsEntry, 3),
        (Lie::DropsEntries, 11),
        (Lie::EndsEarly, 1),
        (Lie::RepeatsPage, 2),
    ] {
        scene.tampering.lie(lie, at);
        let what = format!("{lie:?} at {at}");
        harmless(&scene.target, &what, || scene.run());
        assert!(scene.tampering.told(), "{what}");
        scene.tampering.pass();
        assert_eq!(scene.run().completed().writes(), 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_09_an_empty_list_and_a_full_one_delete_and_create_nothing() {
    let mut company = Company::of(12, 3).await;
    for base in ["people", "groups"] {
        let rule = hidden(&format!("dn.one=\"ou={base},{SUFFIX}\""));
        company.slapd.restart_with(&rule);
        company.waiting_run(base);
        company.slapd.restart_with("");
        let run = company.harmless_run("it is back").completed();
        assert_eq!(run.writes(), 0, "{base}: {run:?}");
    }
    company.assert_settled("everything is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_09_memberships_that_cannot_be_read_are_not_removed() {
    let mut company = Company::of(30, 6).await;
    company.slapd.restart_with(&hidden("attrs=member"));
    company.waiting_run("no group shows a member");
    company.slapd.restart_with("");
    let run = company.harmless_run("they are back").completed();
    assert_eq!(run.writes(), 0, "{run:?}");
    company.assert_settled("they are back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_11_a_plain_account_that_sees_no_deleted_entries_takes_nobody_for_one() {
    let site = Site::domain();
    let target = FaultTarget::start(Vec::new()).await;
    let relay = site.relay(&target);
    relay.sync().completed();
    let before = rights(&target);
    harmless(&target, "nobody left", || incremental(&relay)).completed();
    site.delete(&site.person("ben"));
    incremental(&relay).completed();
    let ben = target.target().user_named("ben").unwrap();
    assert_eq!(ben["active"], false, "{ben}");
    let ben = ben["id"].as_str().unwrap();
    let after = rights(&target);
    let lost: Vec<&String> = before.difference(&after).collect();
    // His account and his place in the a-team.
    assert!(
        lost.len() == 2 && lost.iter().all(|right| right.contains(ben)),
        "{lost:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_17_whoever_is_renamed_and_moved_keeps_account_and_memberships() {
    let company = Company::of(20, 4).await;
    let sales = format!("ou=sales,{PEOPLE}");
    company.slapd.add(&format!(
        "dn: {sales}\nobjectClass: organizationalUnit\nou: sales\n"
    ));
    let anchor = anchor_of(&company.slapd, &dn(3));
    let held = || {
        let users = company.target.users().into_iter();
        let mut found = users.filter(|user| user["externalId"] == anchor.as_str());
        found.next().unwrap()
    };
    let before = held();
    company.slapd.modrdn(&dn(3), "uid=married", Some(&sales));
    // And somebody else gets the name that has become free.
    company.slapd.modrdn(&dn(4), &rdn(3), None);
    // Groups of this directory name people by DN and do not follow: what they name now is somebody else or nobody.
    let renamed = harmless_for_accounts(&company);
    assert_eq!(renamed.count("usersCreated"), 0, "{renamed:?}");
    let after = held();
    assert_eq!(
        (&after["id"], &after["userName"], &after["active"]),
        (&before["id"], &"married".into(), &true.into())
    );
}

/// A run in which nobody's account is taken away.
fn harmless_for_accounts(company: &Company) -> Finished {
    let run = company.relay.sync();
    assert_eq!(company.inactive(), 0, "{run:?}");
    assert_eq!(run.count("usersDeactivated"), 0, "{run:?}");
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incident_19_circular_groups_come_to_an_end_and_lose_nobody() {
    let company = Company::of(20, 4).await;
    let company = company.with("nestedGroups = \"flatten\"");
    let run = company.harmless_run("groups in circles are flattened");
    let run = company.relay.with_change_approved(run).completed();
    assert_eq!(run.count("usersDeactivated"), 0, "{run:?}");
    assert_equal_with(&company.slapd, &company.target, Nesting::Flatten);
    assert_eq!(company.relay.sync().completed().writes(), 0);
}
