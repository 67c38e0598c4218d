//! The demo shows the whole product with nothing else installed, and leaves nothing behind.

use serde_json::json;

use super::program::{Api, PATIENCE, Program, run};
use crate::support::wait_for;

/// What a job counts.
const COUNTERS: [&str; 10] = [
    "usersCreated",
    "usersUpdated",
    "usersDeactivated",
    "usersReactivated",
    "groupsCreated",
    "groupsUpdated",
    "groupsDeleted",
    "membersAdded",
    "membersRemoved",
    "skipped",
];

fn left_in(folder: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn demo_once_plays_every_change_and_counts_what_it_did() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_str().unwrap();
    let ended = run(
        &["demo", "--once", "--output", "json"],
        &[("TMPDIR", folder)],
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = ended.json();
    let first = &report["firstSync"];
    assert_eq!(first["status"], "completed", "{first}");
    assert_eq!(first["usersCreated"], 25, "{first}");
    assert_eq!(first["groupsCreated"], 6, "{first}");
    // One request for each user and each group, the members with it.
    assert_eq!(first["requests"]["write"], 31, "{first}");

    // Each change of the story, what the job counts for it, and how many requests that takes; nothing else happens.
    let expected = [
        (
            "A joiner",
            json!({ "usersCreated": 1, "membersAdded": 2 }),
            3,
        ),
        ("She is put on call", json!({ "membersAdded": 1 }), 1),
        ("A name change", json!({ "usersUpdated": 1 }), 1),
        (
            "A move",
            json!({ "usersUpdated": 1, "membersAdded": 1, "membersRemoved": 1 }),
            3,
        ),
        ("A group gets a new name", json!({ "groupsUpdated": 1 }), 1),
        ("A locked account", json!({ "usersDeactivated": 1 }), 1),
        (
            "A leaver",
            json!({ "usersDeactivated": 1, "membersRemoved": 2 }),
            3,
        ),
        ("Yusuf Demir's account", json!({ "usersReactivated": 1 }), 1),
    ];
    let changes = report["changes"].as_array().unwrap();
    assert_eq!(changes.len(), expected.len(), "{report}");
    for (change, (title, counters, writes)) in changes.iter().zip(expected) {
        assert!(
            change["change"].as_str().unwrap().starts_with(title),
            "{change}"
        );
        let job = &change["job"];
        assert_eq!(job["status"], "completed", "{change}");
        for name in COUNTERS {
            let expected = counters[name].as_u64().unwrap_or_default();
            assert_eq!(job[name], expected, "{name} of {title}: {change}");
        }
        assert_eq!(job["requests"]["write"], writes, "{change}");
        assert_eq!(
            change["calls"].as_array().unwrap().len(),
            writes,
            "{change}"
        );
    }
    assert_eq!(
        report["target"],
        json!({ "users": 26, "groups": 6, "members": 57 })
    );
    assert_eq!(left_in(&temporary), Vec::<std::path::PathBuf>::new());
}

#[test]
fn demo_answers_the_api_with_the_token_it_prints_and_ends_cleanly() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_str().unwrap();
    let demo = Program::start(&["demo"], &[("TMPDIR", folder)]);
    let printed = |name: &str| {
        wait_for(name, PATIENCE, || {
            let text = demo.stdout();
            // A line that is being written is not whole yet.
            let mut lines = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            let line = lines.find(|line| line.starts_with(name))?;
            Some(line[name.len()..].trim().to_owned())
        })
    };
    let endpoint = printed("admin endpoint");
    let token = printed("token");
    let base = endpoint.strip_suffix("/api/v1").unwrap().to_owned();
    assert_eq!(
        Api::with_token(base.clone(), "wrong")
            .get("/directories")
            .status,
        401
    );
    let api = Api::with_token(base, &token);
    let company = api.directory("company");
    let first = api.jobs(&company).pop().unwrap();
    assert_eq!(first["usersCreated"], 25, "{first}");
    assert_ne!(left_in(&temporary), Vec::<std::path::PathBuf>::new());

    demo.signal("INT");
    let ended = demo.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(left_in(&temporary), Vec::<std::path::PathBuf>::new());
}
