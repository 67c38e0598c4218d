//! When a feed cannot tell, everything is read; and when the server cannot be believed, nobody is removed for it.

use serde_json::json;

use crate::feed::site::Site;
use crate::feed::story::{INCREMENTAL, incremental};
use crate::main_job::names::Names;
use crate::program::PATIENCE;
use crate::support::ds389::Ds389;
use crate::support::fault_target::FaultTarget;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::Options;
use crate::support::wait_for;

/// A company that was synchronized, and the feed with it.
struct Company {
    site: Site,
    target: FaultTarget,
    relay: Relay,
}

impl Company {
    async fn of(site: Site, lines: &str) -> Self {
        let target = FaultTarget::start(Vec::new()).await;
        let relay = site.relay(&target).directory(lines);
        relay.sync().completed();
        Self {
            site,
            target,
            relay,
        }
    }

    /// The next incremental run reads everything, and says so and why.
    fn scans(&self, why: &str) -> Finished {
        let run = incremental(&self.relay);
        says(&run, "full_scan", why);
        run
    }

    fn wrote(&self, before: usize) -> Vec<String> {
        Names::of(&self.target).writes(&self.target, before)
    }

    fn is_active(&self, name: &str) -> bool {
        let users = self.target.target().users();
        let user = users.iter().find(|user| user["userName"] == name);
        user.unwrap()["active"] == true
    }
}

fn says(run: &Finished, rung: &str, why: &str) {
    let detection = &run.job["changeDetection"];
    assert_eq!(detection["rung"], rung, "{run:?}");
    assert!(detection["reason"].to_string().contains(why), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_is_left_when_scope_interval_or_mode_ask_for_it() {
    let company = Company::of(Site::openldap(), "").await;
    says(
        &incremental(&company.relay),
        "syncrepl",
        "the best that there is",
    );
    let full = company.relay.sync().completed();
    says(&full, "full_scan", "mode");

    // Who is in scope may have been so for years: no feed tells.
    let before = company.target.journal().len();
    let relay = company.relay.directory("exclusionFilter = \"(uid=ben)\"");
    let company = Company { relay, ..company };
    let run = company.relay.spawn(INCREMENTAL).wait();
    says(&run, "full_scan", "no position");
    company.relay.with_change_approved(run).completed();
    let wrote = company.wrote(before);
    assert!(
        wrote.contains(&"PATCH /Users/ben replace active=false".to_owned()),
        "{wrote:?}"
    );
    says(&incremental(&company.relay), "syncrepl", "");

    let relay = company.relay.directory("fullSyncInterval = \"1s\"");
    wait_for("the end of the interval", PATIENCE, || {
        let run = incremental(&relay);
        (run.job["changeDetection"]["rung"] == "full_scan").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_without_a_session_log_is_a_full_scan_when_somebody_left() {
    let overlays = "overlay refint\nrefint_attributes member\noverlay syncprov\n";
    let company = Company::of(Site::openldap_with(Options::new().overlays(overlays)), "").await;
    company.site.delete(&company.site.person("ann"));
    let before = company.target.journal().len();
    company.scans("session log");
    assert_eq!(
        company.wrote(before),
        [
            r#"PATCH /Groups/a-team remove members[value eq "ann"]"#,
            "PATCH /Users/ann replace active=false",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_that_cannot_see_deletions_is_no_substitute_for_a_full_scan() {
    let company = Company::of(Site::domain(), "").await;
    company.site.delete(&company.site.person("ann"));
    let before = company.target.journal().len();
    company.scans("Deleted Objects");
    let wrote = company.wrote(before);
    assert!(
        wrote.contains(&"PATCH /Users/ann replace active=false".to_owned()),
        "{wrote:?}"
    );
}

const SYNCREPL: &str = "changeDetection = \"syncrepl\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_389_is_no_substitute_for_a_full_scan() {
    let company = Company::of(Site::ds389(), "").await;
    company.site.delete(&company.site.person("ann"));
    let before = company.target.journal().len();
    company.scans("does not tell of everyone who left");
    let wrote = company.wrote(before);
    assert!(
        wrote.contains(&"PATCH /Users/ann replace active=false".to_owned()),
        "{wrote:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_389_that_cannot_name_entries_is_not_used() {
    // Its increments would end well and tell nothing.
    let unnamed = Company::of(Site::ds389_of(Ds389::start_with("")), SYNCREPL).await;
    unnamed.scans("nsuniqueid:targetUniqueId");
    let by_name = format!("{SYNCREPL}\nanchorAttribute = \"cn\"");
    let other_names = Company::of(Site::ds389(), &by_name).await;
    other_names.scans("entered with anchorAttribute = \\\"nsUniqueId\\\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_389_that_passes_over_something_is_a_full_scan() {
    let site = Site::ds389();
    let Site::Ds389(server) = &site else {
        unreachable!()
    };
    let people = site.people();
    let roles = |lines: fn(&str) -> String| -> String {
        let dns = (0..51).map(|number| format!("cn=role{number},{people}"));
        dns.map(|dn| lines(&dn)).collect()
    };
    server.add(&roles(|dn| {
        format!("dn: {dn}\nobjectClass: organizationalRole\n\n")
    }));
    let mut company = Company::of(site, SYNCREPL).await;
    let Site::Ds389(server) = &mut company.site else {
        unreachable!()
    };
    // The server tells of fifty deletions, and of the fifty-second and later ones.
    server.modify(&roles(|dn| format!("dn: {dn}\nchangetype: delete\n\n")));
    company.scans("so many entries were deleted");

    // The log no longer reaches back to the last run.
    let new_mail = "replace: mail\nmail: new@example.org";
    company.site.change(&company.site.person("ann"), new_mail);
    company.site.change(&company.site.person("ben"), new_mail);
    let Site::Ds389(server) = &mut company.site else {
        unreachable!()
    };
    server.trim_change_log();
    let before = company.target.journal().len();
    company.scans("change log begins at number");
    assert_eq!(company.wrote(before).len(), 2);
    says(&incremental(&company.relay), "syncrepl", "as configured");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_a_restored_389_is_not_believed() {
    let mut company = Company::of(Site::ds389(), "").await;
    let Site::Ds389(server) = &mut company.site else {
        unreachable!()
    };
    server.back_up();
    what_a_backup_lacks(&company);
    let Site::Ds389(server) = &mut company.site else {
        unreachable!()
    };
    server.restore();
    is_not_believed(company, "restored from a backup");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_another_389_behind_the_same_address_proves_no_absence_at_first() {
    let mut company = Company::of(Site::ds389(), "").await;
    let Site::Ds389(server) = &mut company.site else {
        unreachable!()
    };
    server.call_itself("other.example.org");
    company.site.delete(&company.site.person("ann"));
    let before = company.target.journal().len();
    let arguments = ["sync", "--mode", "incremental", "--output", "json"];
    let run = company.relay.spawn(&arguments).wait();
    says(&run, "full_scan", "each counts its changes for itself");
    assert_eq!(run.count("usersDeactivated"), 0, "{run:?}");
    // The group was rewritten, and she is looked at before she is taken out of it.
    assert!(company.is_active("ann"), "{:?}", company.wrote(before));
    let run = company.relay.sync().completed();
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
}

/// A backup of the directory is from before ann was locked, joe came and ben left.
fn what_a_backup_lacks(company: &Company) {
    company.site.lock("ann", true);
    company.site.add_user("joe");
    company.site.delete(&company.site.person("ben"));
    company.relay.sync().completed();
}

/// What that backup says is not believed: joe stays, ann stays locked, until an administrator says that it is to be so.
fn is_not_believed(company: Company, why: &str) {
    let before = company.target.journal().len();
    for _ in 0..2 {
        let run = company
            .relay
            .spawn(&["sync", "--mode", "incremental", "--output", "json"]);
        let run = run.wait();
        says(&run, "full_scan", "");
        assert_eq!(run.job["status"], "completed_with_errors", "{run:?}");
        assert!(run.job["errors"].to_string().contains(why), "{run:?}");
        assert!(
            run.job["holds"].to_string().contains("reactivated"),
            "{run:?}"
        );
        assert!(company.is_active("joe") && !company.is_active("ann"));
        assert!(!company.is_active("ben"));
    }
    assert!(
        company.wrote(before).is_empty(),
        "{:?}",
        company.wrote(before)
    );
    let relay = company.relay.directory("changeDetection = \"full_scan\"");
    let run = relay.sync().completed();
    assert_eq!(run.job["holds"], json!([]), "{run:?}");
    let company = Company { relay, ..company };
    assert!(company.is_active("ann") && company.is_active("ben") && !company.is_active("joe"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_a_restored_openldap_is_not_believed() {
    let mut company = Company::of(Site::openldap(), "").await;
    let Site::OpenLdap(slapd) = &mut company.site else {
        unreachable!()
    };
    slapd.back_up();
    what_a_backup_lacks(&company);
    let Site::OpenLdap(slapd) = &mut company.site else {
        unreachable!()
    };
    slapd.restore();
    is_not_believed(company, "older than at the last run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_a_restored_controller_is_not_believed() {
    let mut company = Company::of(Site::domain(), "").await;
    let Site::Domain(samba) = &mut company.site else {
        unreachable!()
    };
    samba.back_up();
    what_a_backup_lacks(&company);
    let Site::Domain(samba) = &mut company.site else {
        unreachable!()
    };
    samba.restore("");
    is_not_believed(company, "restored from a copy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_another_controller_proves_no_absence_at_first() {
    let mut company = Company::of(Site::domain(), "").await;
    let Site::Domain(samba) = &mut company.site else {
        unreachable!()
    };
    // Another copy of the database, to which not everything was replicated yet: ben is missing.
    samba.delete(&format!("CN=ben,{}", crate::support::samba::PEOPLE));
    samba.back_up();
    // Nor does it know yet that ann was locked.
    company.site.lock("ann", true);
    let only_ann = ["sync", "--only", "ann", "--output", "json"];
    let locked = company.relay.spawn(&only_ann).wait().completed();
    assert_eq!(locked.count("usersDeactivated"), 1, "{locked:?}");
    let Site::Domain(samba) = &mut company.site else {
        unreachable!()
    };
    let invocation = "dn: CN=NTDS Settings,CN=DC1,CN=Servers,CN=Default-First-Site-Name,CN=Sites,CN=Configuration,\
                      dc=ad,dc=example,dc=org\nchangetype: modify\nreplace: invocationId\n\
                      invocationId:: MDEyMzQ1Njc4OWFiY2RlZg==\n";
    samba.restore(invocation);
    let before = company.target.journal().len();
    let run = company
        .relay
        .spawn(&["sync", "--mode", "incremental", "--output", "json"]);
    let run = run.wait();
    says(&run, "full_scan", "their sequence numbers differ");
    assert_eq!(run.job["status"], "completed_with_errors", "{run:?}");
    assert!(
        run.job["errors"]
            .to_string()
            .contains("may not have been replicated")
    );
    assert!(company.wrote(before).is_empty() && company.is_active("ben"));
    assert!(
        run.job["holds"].to_string().contains("reactivated"),
        "{run:?}"
    );
    // The second time it is the same one, and what is missing is missing.
    let run = company.relay.sync().completed();
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
    assert_eq!(run.count("usersReactivated"), 1, "{run:?}");
}
