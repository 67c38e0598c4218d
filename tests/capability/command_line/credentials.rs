//! Secrets as systemd gives them to a unit: files in the directory that CREDENTIALS_DIRECTORY names.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::fault_target::{FaultTarget, Settings};
use crate::support::mirror::assert_equal_to_directory;
use crate::support::relay::Relay;
use crate::support::slapd::{READER_PASSWORD, Slapd};
use crate::support::world::World;

const TOKEN: &str = "canary-scim-9d41c07a";

/// As LoadCredential= puts it there: readable, and by its owner only.
fn put(home: &Path, name: &str, text: &str) {
    let path = home.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o400)).unwrap();
}

/// Both secrets are credentials; the variables that the tests usually name hold something else.
fn relay(slapd: &Slapd, target: &FaultTarget) -> Relay {
    Relay::between(slapd, target.base_url(), "not this one")
        .tenant("auth = { type = \"bearer\", token = \"credential:scim-token\" }")
        .directory("bindPassword = \"credential:bind-password\"")
        .environment("LDAP_PASSWORD", "not this one")
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_takes_both_secrets_from_systemd_credentials() {
    let slapd = Slapd::with(&World::new(3, 8, 2).ldif());
    let settings = Settings {
        token: Some(TOKEN.to_owned()),
        ..Settings::default()
    };
    let target = FaultTarget::start_with(Vec::new(), settings).await;
    let home = tempfile::tempdir().unwrap();
    put(home.path(), "bind-password", READER_PASSWORD);
    // An editor leaves a line end.
    put(home.path(), "scim-token", &format!("{TOKEN}\n"));
    let relay =
        relay(&slapd, &target).environment("CREDENTIALS_DIRECTORY", home.path().to_str().unwrap());
    let run = relay.sync().completed();
    assert_eq!(run.count("usersCreated"), 8);
    assert_equal_to_directory(&slapd, &target);
    // A service finds them too.
    assert_eq!(relay.serve().terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_says_which_credential_is_missing_and_how_to_give_it() {
    let slapd = Slapd::with("");
    let target = FaultTarget::start(Vec::new()).await;
    let home = tempfile::tempdir().unwrap();
    put(home.path(), "bind-password", READER_PASSWORD);
    let there = home.path().to_str().unwrap();

    let run = relay(&slapd, &target).sync();
    assert_eq!(run.code, Some(2), "{run:?}");
    for words in [
        "no systemd credentials here",
        "LoadCredential=scim-token:PATH",
        "LoadCredential=bind-password:PATH",
    ] {
        assert!(run.stderr.contains(words), "no `{words}`: {run:?}");
    }

    let run = relay(&slapd, &target)
        .environment("CREDENTIALS_DIRECTORY", there)
        .sync();
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr
            .contains("no systemd credential scim-token; add LoadCredential=scim-token:PATH")
            && !run.stderr.contains("bind-password"),
        "{run:?}"
    );

    put(home.path(), "scim-token", "\n");
    let run = relay(&slapd, &target)
        .environment("CREDENTIALS_DIRECTORY", there)
        .sync();
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr.contains("credential:scim-token is empty"),
        "{run:?}"
    );
    assert!(target.journal().is_empty());
}
