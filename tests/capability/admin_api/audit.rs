//! The audit log: who asked for what, every change that was sent, and a check that finds an edit.

use std::time::Duration;

use serde_json::{Value, json};

use super::{STAFF, Site, items};
use crate::program::{PATIENCE, run_with};
use crate::support::relay::API_TOKEN;
use crate::support::slapd::READER_PASSWORD;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_audit_says_who_did_what() {
    let site = Site::new().await;
    site.slow_creates(Duration::from_millis(150));
    let (serving, api, directory) = site.serve();
    let cancelled = api.start_job(&directory);
    wait_for("a create", PATIENCE, || (site.created() > 0).then_some(()));
    let cancel = format!("/directories/{directory}/jobs/{cancelled}/cancel");
    assert_eq!(api.post(&cancel, "").status, 202);
    api.finished_job(&directory, &cancelled);
    // There is nothing to cancel any more, and so nothing to say.
    assert_eq!(api.post(&cancel, "").status, 202);
    site.target.set_rules(Vec::new());
    let job = api.start_job(&directory);
    api.finished_job(&directory, &job);
    assert_eq!(serving.terminate(), Some(0));
    let alone = site.relay.sync().completed();
    let (_serving, api, _) = site.serve();

    let all = items(&api, "/audit", 7);
    let sequences: Vec<u64> = all
        .iter()
        .map(|item| item["sequence"].as_u64().unwrap())
        .collect();
    let count = u64::try_from(all.len()).unwrap();
    assert_eq!(sequences, (1..=count).rev().collect::<Vec<_>>());
    let of = |action: &str| items(&api, &format!("/audit?action={action}"), 3);
    let told = |items: &[Value], field: &str| -> Vec<String> {
        let fields = items
            .iter()
            .map(|item| item[field].as_str().unwrap().to_owned());
        fields.collect()
    };
    let token = "token of the configuration (server.token)";
    let starts = of("job.start");
    assert_eq!(told(&starts, "actor"), ["command line", token, token]);
    let subject = |id: &str| format!("job {id}");
    let last = alone.job["id"].as_str().unwrap();
    assert_eq!(
        told(&starts, "subject"),
        [subject(last), subject(&job), subject(&cancelled)]
    );
    assert_eq!(starts[0]["details"]["directory"], directory.as_str());
    assert_eq!(starts[0]["tenant"], "acme");
    let cancels = of("job.cancel");
    assert_eq!(told(&cancels, "subject"), [subject(&cancelled)]);
    assert_eq!(told(&cancels, "actor"), [token]);
    let changes = of("change");
    assert_eq!(changes.len(), STAFF);
    for change in &changes {
        let details = &change["details"];
        assert_eq!(
            (&details["operation"], &details["outcome"]),
            (&json!("create_user"), &json!("acknowledged"))
        );
        let subject = change["subject"].as_str().unwrap();
        assert!(subject.starts_with("user uid="), "{change}");
        let actor = change["actor"].as_str().unwrap();
        assert!([subject_of(&job), subject_of(&cancelled)].contains(&actor.to_owned()));
    }
    assert_eq!(items(&api, "/audit?text=U0000003", 9).len(), 1);
    assert_eq!(items(&api, "/audit?text=Command", 9).len(), 1);
    let since = starts[0]["at"].as_str().unwrap();
    let since = items(&api, &format!("/audit?since={since}"), 9);
    // The start of the job; then the start of the relay, and the first use of the token after it.
    assert_eq!(
        told(&since, "action"),
        ["token.use", "configuration.read", "job.start"]
    );
    assert_eq!(since[2..], starts[..1]);
    for query in ["action=x", "since=x", "cursor=x", "limit=0", "actor=x"] {
        let refused = api.get(&format!("/audit?{query}"));
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
    }
}

/// What a killed relay had sent is on record all the same: the next run looks what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn admin_api_audit_has_what_a_killed_run_had_sent() {
    let site = Site::new().await;
    // Each create takes effect at once, and its answer comes too late.
    site.slow_creates(Duration::from_secs(60));
    let mut killed = site.relay.spawn_sync();
    wait_for("a create", PATIENCE, || (site.created() > 0).then_some(()));
    killed.kill();
    assert_eq!(site.created(), 1);
    site.target.set_rules(Vec::new());
    site.relay.sync().completed();
    assert_eq!(site.created(), STAFF);

    let (_serving, api, _) = site.serve();
    let changes = items(&api, "/audit?action=change", 5);
    assert_eq!(changes.len(), STAFF, "{changes:?}");
    for user in site.target.target().users() {
        let of_user = |change: &&Value| change["details"]["anchor"] == user["externalId"];
        assert_eq!(changes.iter().filter(of_user).count(), 1, "{user}");
    }
    let recovered = |change: &&Value| change["details"]["reason"] == "recovered";
    assert_eq!(changes.iter().filter(recovered).count(), 1, "{changes:?}");
}

fn subject_of(job: &str) -> String {
    format!("job {job}")
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_audit_is_verified_on_the_file() {
    let site = Site::new().await;
    let secrets = [
        ("SCIM_TOKEN", "token"),
        ("LDAP_PASSWORD", READER_PASSWORD),
        ("SCIM_RELAY_TOKEN", API_TOKEN),
    ];
    let verify = |more: &[&str]| {
        let arguments = [&["audit", "verify", "--output", "json"], more].concat();
        run_with(&site.relay.config_path(), &arguments, &secrets)
    };
    // Nothing is made where nothing is.
    site.relay.spawn(&["--version"]).wait();
    let nothing = verify(&[]);
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert!(!site.relay.store().exists());

    let (serving, api, directory) = site.serve();
    let job = api.start_job(&directory);
    api.finished_job(&directory, &job);
    let in_use = verify(&[]);
    assert_eq!(in_use.code, Some(5), "{in_use:?}");
    assert!(in_use.stderr.contains("stop it"), "{in_use:?}");
    let newest = items(&api, "/audit", 50).remove(0);
    assert_eq!(serving.terminate(), Some(0));

    let intact = verify(&[]);
    assert_eq!(intact.code, Some(0), "{intact:?}");
    let head = newest["digest"].as_str().unwrap();
    assert_eq!(
        intact.json(),
        json!({"intact": true, "records": STAFF + 3, "head": head}),
        "the users, the start of the relay, the job, and the first use of the token"
    );
    site.relay.sync().completed();
    let later = verify(&["--expect-head", head]);
    assert_eq!(later.code, Some(0), "{later:?}");
    assert_eq!(later.json()["records"], STAFF + 4);
    let other = verify(&["--expect-head", &"0a".repeat(32)]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert_eq!(other.json()["intact"], false);
    let malformed = verify(&["--expect-head", "x"]);
    assert_eq!(malformed.code, Some(2), "{malformed:?}");

    edit(&site.relay.store(), 5);
    let broken = verify(&[]);
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert_eq!(broken.json()["sequence"], 5);
}

/// Changes one record of the log behind the relay's back.
fn edit(store: &std::path::Path, sequence: u64) {
    let table = redb::TableDefinition::<&[u8], &[u8]>::new("audit");
    let database = redb::Database::open(store).unwrap();
    let txn = database.begin_write().unwrap();
    {
        let mut table = txn.open_table(table).unwrap();
        let key = sequence.to_be_bytes();
        let mut record = table
            .remove(key.as_slice())
            .unwrap()
            .unwrap()
            .value()
            .to_vec();
        *record.last_mut().unwrap() ^= 1;
        table.insert(key.as_slice(), record.as_slice()).unwrap();
    }
    txn.commit().unwrap();
}
