//! Which domain controller answers: every run and every test says what speaks against it.

use scim_relay::admin::probe::Stage;
use serde_json::json;

use crate::active_directory::domain::{lines, relay_of};
use crate::probe::{test, warned};
use crate::support::fault_target::FaultTarget;
use crate::support::samba::{PEOPLE, Samba};

/// What makes this domain controller say that it is a read-only one.
const READ_ONLY: &str = "dn: @ROOTDSE\nchangetype: modify\nadd: supportedCapabilities\nsupportedCapabilities: 1.2.840.113556.1.4.1920\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_read_only_controllers_are_named_and_warned_of() {
    for (ldif, is_read_only) in [("", false), (READ_ONLY, true)] {
        let samba = Samba::start_after(ldif);
        samba.add_user(PEOPLE, "ann", "");
        let report = test(samba.ldaps_port(), &lines(&samba), Stage::All).await;
        assert_eq!(report["success"], true, "{report:#}");
        assert_eq!(warned(&report, "read-only"), is_read_only, "{report:#}");
        // Nothing else is wrong with a plain account.
        assert!(!warned(&report, "less rights"), "{report:#}");

        let target = FaultTarget::start(Vec::new()).await;
        let run = relay_of(&samba, &target).sync().completed();
        assert_eq!(run.job["directoryServer"], "dc1.ad.example.org", "{run:?}");
        let warnings = run.job["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), usize::from(is_read_only), "{run:?}");
        assert_eq!(run.count("usersCreated"), 1, "{run:?}");
        assert_eq!(target.target().users()[0]["userName"], json!("ann"));
    }
}
