//! What can be wrong with the store file: damage, another version, another process, others' eyes, no room.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, TableDefinition};

use super::{Company, STAFF, fault_company, tells};
use crate::program::{Ended, PATIENCE, Program, run_with};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::Relay;
use crate::support::slapd::{READER_PASSWORD, Slapd};
use crate::support::wait_for;
use crate::support::world::World;

const META: TableDefinition<&[u8], &[u8]> = TableDefinition::new("meta");

#[test]
fn bad_input_store_file_is_something_else() {
    let company = Company::new();
    company.joiner();
    let store = company.relay.store();
    let backup = std::fs::read(&store).unwrap();
    let other = b"this is no store, but may be somebody's only copy of something".repeat(100);
    std::fs::write(&store, &other).unwrap();
    company.refuses(
        1,
        &[
            store.to_str().unwrap(),
            "put a backup in its place",
            "move the file away",
        ],
    );
    assert_eq!(
        std::fs::read(&store).unwrap(),
        other,
        "the file was changed"
    );
    std::fs::write(&store, backup).unwrap();
    company.recovers();
}

#[test]
fn bad_input_store_file_is_cut_off() {
    let company = Company::new();
    company.joiner();
    let store = company.relay.store();
    let whole = std::fs::read(&store).unwrap();
    std::fs::write(&store, &whole[..whole.len() / 2]).unwrap();
    company.refuses(1, &[store.to_str().unwrap(), "put a backup in its place"]);
    let groups = company.target.groups().len();
    // Without a backup: the file is moved away, and everybody is found again at the target by externalId.
    std::fs::remove_file(&store).unwrap();
    let finished = company.relay.sync().completed();
    assert_eq!(
        (finished.count("usersCreated"), finished.count("linked")),
        (1, (STAFF + groups) as u64)
    );
    assert_eq!(company.target.users().len(), STAFF + 1);
    assert_eq!(company.relay.sync().completed().writes(), 0);
}

#[test]
fn bad_input_store_file_is_damaged_inside() {
    let company = Company::new();
    company.joiner();
    let store = company.relay.store();
    let whole = std::fs::read(&store).unwrap();
    let mut damaged = whole.clone();
    // All pages but the header's.
    for byte in &mut damaged[8192..] {
        *byte ^= 0x5a;
    }
    std::fs::write(&store, &damaged).unwrap();
    company.refuses(1, &[store.to_str().unwrap(), "backup"]);
    std::fs::write(&store, whole).unwrap();
    company.recovers();
}

#[test]
fn bad_input_store_file_of_a_newer_version() {
    let company = Company::new();
    company.joiner();
    let store = company.relay.store();
    let set_version = |version: u32| {
        let database = Database::open(&store).unwrap();
        let txn = database.begin_write().unwrap();
        let mut meta = txn.open_table(META).unwrap();
        let before = meta
            .insert(b"schema".as_slice(), version.to_be_bytes().as_slice())
            .unwrap()
            .map(|before| u32::from_be_bytes(before.value().try_into().unwrap()));
        drop(meta);
        txn.commit().unwrap();
        before.unwrap()
    };
    let ours = set_version(9_999);
    company.refuses(
        1,
        &[
            store.to_str().unwrap(),
            "newer version",
            "9999",
            "install that version",
        ],
    );
    let database = Database::open(&store).unwrap();
    let txn = database.begin_read().unwrap();
    let meta = txn.open_table(META).unwrap();
    let left = meta
        .get(b"schema".as_slice())
        .unwrap()
        .unwrap()
        .value()
        .to_vec();
    assert_eq!(
        left,
        9_999_u32.to_be_bytes(),
        "the refused file was changed"
    );
    drop((meta, txn, database));
    set_version(ours);
    company.recovers();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_store_in_use_by_another_process() {
    let (slapd, target, relay) = fault_company().await;
    slapd.add(&super::joiner());
    target.set_rules(vec![Rule::on(
        "POST",
        "/Users",
        Fault::Slow(Duration::from_secs(2)),
    )]);
    let before = target.journal().len();
    let first = relay.spawn_sync();
    wait_for("the request in flight", PATIENCE, || {
        target.journal()[before..]
            .iter()
            .any(|exchange| exchange.call.method == "POST")
            .then_some(())
    });
    let store = relay.store();
    let words = [
        store.to_str().unwrap(),
        "use the API of the relay that is running, or stop it",
    ];
    tells(&relay.sync(), 5, &words);
    let serve = run_with(
        &relay.config_path(),
        &["serve"],
        &[
            ("SCIM_TOKEN", "token"),
            ("LDAP_PASSWORD", READER_PASSWORD),
            ("SCIM_RELAY_TOKEN", "t"),
        ],
    );
    assert_eq!(serve.code, Some(5), "{serve:?}");
    assert!(serve.stderr.contains(words[1]), "{serve:?}");
    // The first one never noticed.
    assert_eq!(first.wait().completed().count("usersCreated"), 1);
    assert_eq!(relay.sync().completed().writes(), 0);
}

#[test]
fn bad_input_store_file_others_can_read() {
    let company = Company::new();
    company.joiner();
    let store = company.relay.store();
    let set_mode = |mode| {
        std::fs::set_permissions(&store, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o644, 0o640, 0o606] {
        set_mode(mode);
        let cure = format!("chmod 600 {}", store.display());
        company.refuses(1, &["lets others at personal data", &cure]);
    }
    set_mode(0o600);
    company.recovers();
}

#[test]
fn bad_input_store_in_a_directory_that_is_not_there() {
    let company = Company::new();
    company.joiner();
    let right = company.relay.store();
    let company =
        company.with(|relay, _| relay.section("store", "path = \"/nonexistent/place/relay.redb\""));
    company.refuses(
        1,
        &[
            "/nonexistent/place/relay.redb",
            "make the directory `/nonexistent/place`",
        ],
    );
    let company =
        company.with(|relay, _| relay.section("store", &format!("path = \"{}\"", right.display())));
    company.recovers();
}

/// Starts `sync` where no file may grow beyond this size.
fn sync_on_small_disk(relay: &Relay, bytes: Option<u64>) -> Program {
    let config = relay.config_path();
    let arguments = [
        "--config",
        config.to_str().unwrap(),
        "sync",
        "--output",
        "json",
    ];
    let environment = [
        ("SCIM_TOKEN", "token"),
        ("LDAP_PASSWORD", READER_PASSWORD),
        ("SCIM_RELAY_TOKEN", "t"),
    ];
    Program::start_on_small_disk(bytes, &arguments, &environment)
}

fn names_the_full_disk(relay: &Relay, ended: &Ended) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = format!("{}{}", ended.stdout, ended.stderr);
    for word in [
        relay.store().to_str().unwrap(),
        "File too large",
        "raise the limit",
    ] {
        assert!(told.contains(word), "no `{word}`: {ended:?}");
    }
}

/// How often users were created at the target.
fn created(target: &FaultTarget) -> usize {
    let journal = target.target().journal();
    let creates = journal
        .iter()
        .filter(|entry| entry.call.method == "POST" && entry.call.path == "/Users");
    creates.count()
}

async fn empty_site(people: usize) -> (Slapd, FaultTarget, Relay) {
    let slapd = Slapd::with(&World::new(5, people, 3).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "token").tenant("settleSeconds = 0");
    // Writes the configuration file, and no store.
    relay.spawn(&["check", "--offline"]).wait();
    (slapd, target, relay)
}

/// A disk that is full before the directory has been read: at the opening, and at every size until it is large enough.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_disk_full_while_reading() {
    let (_slapd, target, relay) = empty_site(400).await;
    let mut failures = 0;
    let mut bytes = 64 * 1024;
    loop {
        let ended = sync_on_small_disk(&relay, Some(bytes)).wait();
        if ended.code == Some(0) {
            break;
        }
        names_the_full_disk(&relay, &ended);
        failures += 1;
        bytes *= 2;
    }
    assert!(failures > 3, "{failures}");
    assert_eq!(
        (target.target().users().len(), created(&target)),
        (400, 400)
    );
    assert_eq!(relay.sync().completed().writes(), 0);
}

/// A disk that fills up while users are created: what was sent and could not be written down is found again. With the
/// smaller limit not even the log can be written.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_disk_full_while_sending() {
    for bytes in [128 * 1024, 512] {
        let (_slapd, target, relay) = empty_site(60).await;
        let slow = Fault::Slow(Duration::from_millis(100));
        target.set_rules(vec![Rule::on("POST", "/Users", slow)]);
        let program = sync_on_small_disk(&relay, None);
        wait_for("some users", PATIENCE, || {
            (created(&target) >= 10).then_some(())
        });
        program.fill_disk(bytes);
        let ended = program.wait();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        if bytes > 512 {
            let job = ended.json();
            assert_eq!(job["status"], "failed", "{job}");
            let detail = job["errors"][0]["detail"].as_str().unwrap();
            let store = relay.store();
            for word in [store.to_str().unwrap(), "File too large", "raise the limit"] {
                assert!(detail.contains(word), "no `{word}`: {ended:?}");
            }
        }
        let sent = created(&target);
        assert!((10..60).contains(&sent), "{sent} were sent");
        target.set_rules(Vec::new());
        relay.sync().completed();
        let there = target.target().users().len();
        assert_eq!((there, created(&target)), (60, 60), "lost or sent twice");
        assert_eq!(relay.sync().completed().writes(), 0);
    }
}
