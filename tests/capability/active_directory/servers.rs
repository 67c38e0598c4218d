//! Which domain controller answers: every run and every test says what speaks against it.

use scim_relay::admin::probe::Stage;
use serde_json::json;
use uuid::Uuid;

use crate::active_directory::assert_quiet;
use crate::active_directory::domain::{lines, relay_of};
use crate::probe::{test, warned};
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::Held as _;
use crate::support::proxy::Proxy;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn active_directory_global_catalogs_are_read_for_users_and_refused_for_groups() {
    let samba = Samba::start();
    let ann = samba.add_user(PEOPLE, "ann", "");
    for number in 0..8 {
        samba.add_user(PEOPLE, &format!("other{number}"), "");
    }
    // An address of this machine of its own, because the port is what the catalog is known by.
    let [.., a, b, c] = *Uuid::now_v7().as_bytes();
    let host = [127, a, b, c.clamp(1, 254)];
    let catalog = Proxy::on((host, 3268).into(), samba.global_catalog_port());
    let host = host.map(|byte| byte.to_string()).join(".");
    let catalog_lines =
        format!("host = \"{host}\"\nport = 3268\nuseTLS = false\nallowPlainLdap = true");
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay_of(&samba, &target).directory(&catalog_lines);
    let groups = [
        "global catalog",
        "members of groups",
        "636 (LDAPS)",
        "synchronizeGroups",
    ];

    let run = relay.sync();
    assert_eq!(run.job["status"], "failed", "{run:?}");
    let error = run.job["errors"][0]["detail"].as_str().unwrap();
    assert_eq!(run.job["completeRead"], json!(null), "{run:?}");
    assert_eq!(target.users(), [json!(null); 0], "{run:?}");
    let mut table: toml::Table = lines(&samba).parse().unwrap();
    table.extend(catalog_lines.parse::<toml::Table>().unwrap());
    let report = test(3268, &table.to_string(), Stage::All).await;
    assert_eq!(report["error"]["code"], "network", "{report:#}");
    let told = report["error"]["message"].as_str().unwrap();
    for words in groups {
        assert!(error.contains(words), "{words}: {error}");
        assert!(told.contains(words), "{words}: {told}");
    }

    // Nor is a feed of the same server followed there that began on its other port.
    let moved = FaultTarget::start(Vec::new()).await;
    let relay_before = relay_of(&samba, &moved);
    relay_before.sync().completed();
    relay_before.sync().completed();
    let run = relay_before.directory(&catalog_lines).sync();
    assert_eq!(run.job["status"], "failed", "{run:?}");
    assert!(run.job["errors"].to_string().contains("global catalog"));

    // Users only: with a warning, and leavers leave.
    let relay = relay.directory("synchronizeGroups = false");
    let run = relay.sync().completed();
    assert_eq!(run.count("usersCreated"), 9, "{run:?}");
    let warnings = run.job["warnings"].to_string();
    assert!(warnings.contains("global catalog"), "{run:?}");
    assert_quiet(&relay);
    samba.delete(&ann);
    let run = relay.sync().completed();
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
    table.insert("synchronizeGroups".to_owned(), false.into());
    let report = test(3268, &table.to_string(), Stage::All).await;
    assert!(warned(&report, "global catalog"), "{report:#}");

    // Even beside a profile that reads groups, and so cannot run here.
    samba.delete(&format!("CN=other0,{PEOPLE}"));
    let relay =
        relay.directory("[[profiles]]\nname = \"groups\"\nuserSearchFilter = \"(cn=nobody)\"");
    let sync = ["sync", "--output", "json", "--profile", "default"];
    // The profiles are others than before, so whatever that would take away waits for a person.
    let run = relay.spawn(&sync).wait();
    assert_eq!(run.code, Some(4), "{run:?}");
    let (job, digest) = (
        run.job["id"].as_str().unwrap(),
        run.job["planDigest"].as_str().unwrap(),
    );
    let approve = [
        "jobs", "approve", job, "--digest", digest, "--output", "json",
    ];
    let run = relay.spawn(&approve).wait().completed();
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");

    // A catalog that would stand in for a controller is told of before it has to.
    table.remove("synchronizeGroups");
    table.remove("port");
    table.insert("host".to_owned(), "127.0.0.1".into());
    table.insert(
        "fallbackHosts".to_owned(),
        vec![format!("{host}:3268")].into(),
    );
    let before = catalog.sent();
    let report = test(samba.port(), &table.to_string(), Stage::All).await;
    assert_eq!(report["success"], true, "{report:#}");
    assert!(warned(&report, "global catalog"), "{report:#}");
    assert_eq!(catalog.sent(), before);
}
