//! Trials through the API: saved and unsaved connections, stages, codes, and one entry mapped; profiles by themselves.

use scim_relay::id::DirectoryId;
use scim_relay::snapshot::LinkedCounts;

use serde_json::{Value, json};

use super::directories::Fresh;
use crate::support::samba::{self, Samba};
use crate::support::slapd::{PEOPLE, READER_PASSWORD, SUFFIX};
use crate::support::wait_for;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The stages of a report, each with what became of it.
fn stages(report: &Value) -> Vec<(&str, &str)> {
    let stages = report["stages"].as_array().unwrap();
    stages
        .iter()
        .map(|stage| {
            let word = |name: &str| stage[name].as_str().unwrap();
            (word("name"), word("status"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_tests_a_connection_before_it_is_saved() {
    let site = Fresh::new(7).await;
    let tenant = site.api.post("/tenants", &site.tenant().to_string());
    assert_eq!(tenant.status, 201);
    let test = |change: Value, query: &str| {
        let mut directory = site.directory();
        for (name, value) in change.as_object().unwrap() {
            directory[name] = value.clone();
        }
        let path = format!("/directories/test{query}");
        let answer = site.api.post(&path, &directory.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let good = test(json!({}), "");
    assert_eq!(
        (&good["success"], &good["usersFound"], &good["groupsFound"]),
        (&json!(true), &json!(7), &json!(7)),
        "{good}"
    );
    assert!(good["sample"]["userName"].is_string(), "{good}");
    let warnings = good["warnings"].to_string();
    assert!(warnings.contains("without TLS"), "{warnings}");
    let connected = test(json!({ "bindPassword": "wrong" }), "?stage=connection");
    assert_eq!(connected["success"], true, "{connected}");
    for (change, query, code) in [
        (json!({ "port": 1 }), "", "network"),
        (json!({ "host": "no-such-host.invalid" }), "", "network"),
        (json!({ "useTLS": true }), "?stage=connection", "tls"),
        (json!({ "bindPassword": "wrong" }), "", "authentication"),
        (
            json!({ "bindPassword": "wrong" }),
            "?stage=authentication",
            "authentication",
        ),
        (
            json!({ "usersDN": format!("ou=nowhere,{SUFFIX}") }),
            "",
            "base_dn",
        ),
    ] {
        let report = test(change.clone(), query);
        assert_eq!(
            (&report["success"], &report["error"]["code"]),
            (&json!(false), &json!(code)),
            "{change}: {report}"
        );
        assert!(stages(&report).contains(&(code, "failed")), "{report}");
        assert!(!report.to_string().contains(READER_PASSWORD));
    }
    let listed = site.api.get("/directories").json();
    assert_eq!(listed["items"], json!([]), "a test keeps nothing");
    let missing = site.api.post("/directories/test", r#"{"name": "x"}"#);
    assert_eq!(missing.status, 422, "{missing:?}");
    let stage = site.api.post("/directories/test?stage=all", "{}");
    assert_eq!(stage.status, 400, "{stage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_names_a_filter_that_the_server_refuses() {
    let site = Fresh::new(1).await;
    let tenant = site.api.post("/tenants", &site.tenant().to_string());
    assert_eq!(tenant.status, 201);
    // OpenLDAP takes any filter that can be encoded; a domain controller does not compare in every way.
    let samba = Samba::start();
    for (filter, code) in [
        ("(objectClass=user)", Value::Null),
        ("(displayName~=ann)", json!("filter")),
        ("(&(objectClass=user)(!(cn~=ann)))", json!("filter")),
        (
            "(userAccountControl:1.2.840.113556.1.4.803:=many)",
            json!("filter"),
        ),
    ] {
        let directory = json!({
            "name": "ad", "type": "active_directory", "host": "127.0.0.1", "port": samba.ldaps_port(),
            "caCertificate": std::fs::read_to_string(samba.ca_pem_path()).unwrap(),
            "bindDN": samba::READER, "bindPassword": READER_PASSWORD, "baseDN": samba::DOMAIN,
            "usersDN": samba::CROWD, "synchronizeGroups": false, "userSearchFilter": filter,
        });
        let answer = site.api.post("/directories/test", &directory.to_string());
        let report = answer.json();
        assert_eq!(report["error"]["code"], code, "{filter}: {report}");
        if code.is_string() {
            assert!(stages(&report).contains(&("filter", "failed")), "{report}");
            let words = report["error"]["message"].as_str().unwrap();
            assert!(words.contains("does not take the filter"), "{words}");
        }
    }
}

/// Parsers call themselves for each level, and a stack that runs out would end the relay.
#[tokio::test(flavor = "multi_thread")]
async fn admin_api_a_filter_that_is_nested_too_deep_is_refused_and_the_relay_lives() {
    let site = Fresh::new(1).await;
    let id = site.created();
    let nested = |depth: usize| format!("{}(cn=a){}", "(!".repeat(depth), ")".repeat(depth));
    for name in ["userSearchFilter", "groupSearchFilter", "exclusionFilter"] {
        for depth in [100, 1_000, 10_000, 80_000] {
            let filter = json!({ name: nested(depth) });
            let refused = site.put(&id, &filter);
            let error = &refused.json()["errors"][0];
            assert_eq!(
                (refused.status, &error["pointer"]),
                (422, &json!(format!("/{name}"))),
                "{depth}"
            );
        }
    }
    let fits = site.put(&id, &json!({ "userSearchFilter": nested(60) }));
    assert_eq!(fits.status, 200, "{fits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_tests_a_saved_connection_and_maps_one_entry() {
    let site = Fresh::new(4).await;
    let id = site.created();
    let path = format!("/directories/{id}");
    let report = site.api.post(&format!("{path}/test"), "").json();
    assert_eq!(
        (&report["success"], &report["usersFound"]),
        (&json!(true), &json!(4))
    );
    let user_name = report["sample"]["userName"].as_str().unwrap().to_owned();
    let preview = |entry: &str| {
        let body = json!({ "entry": entry }).to_string();
        site.api.post(&format!("{path}/preview-mapping"), &body)
    };
    let mapped = preview(&user_name);
    assert_eq!(mapped.status, 200, "{mapped:?}");
    assert_eq!(mapped.json()["resource"]["userName"], user_name.as_str());
    for nobody in ["nobody-of-that-name", &format!("uid=nobody,{PEOPLE}"), ""] {
        let refused = preview(nobody);
        assert_eq!(refused.status, 422, "{refused:?}");
        assert_eq!(refused.json()["errors"][0]["pointer"], "/entry");
    }
    assert_eq!(site.target.journal().len(), 0, "nothing is sent by a test");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_profiles_are_entered_run_and_deleted_by_themselves() {
    let site = Fresh::new(6).await;
    let id = site.created();
    let profiles = format!("/directories/{id}/profiles");
    let put = site.put(&id, &json!({ "userSearchFilter": "(uid=nobody)" }));
    assert_eq!(put.status, 200, "{put:?}");
    let everybody = json!({ "name": "everybody", "usersDN": PEOPLE, "synchronizeGroups": false });
    let created = site.api.post(&profiles, &everybody.to_string());
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.json()["id"], "everybody");
    let names = || {
        let listed = site.api.get(&profiles).json();
        let items = listed["items"].as_array().unwrap().clone();
        let names = items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(), ["default", "everybody"]);
    let again = site.api.post(&profiles, &everybody.to_string());
    assert_eq!(
        (again.status, &again.json()["errors"][0]["pointer"]),
        (422, &json!("/name")),
        "{again:?}"
    );

    let started = site.api.post(
        &format!("/directories/{id}/sync"),
        r#"{"profile": "everybody"}"#,
    );
    let job = started.json()["jobId"].as_str().unwrap().to_owned();
    let job = site.api.finished_job(&id, &job);
    assert_eq!(
        (&job["profile"], &job["usersCreated"]),
        (&json!("everybody"), &json!(6))
    );

    let one = format!("{profiles}/everybody");
    let changed = site.api.put(&one, r#"{"syncSchedule": "0 4 * * *"}"#);
    assert_eq!(changed.status, 200, "{changed:?}");
    assert!(changed.json()["nextRunAt"].is_string());
    assert_eq!(changed.json()["usersDN"], PEOPLE, "the rest stays");
    for (fields, pointer) in [
        (r#"{"usersDN": "nonsense"}"#, "/usersDN"),
        (r#"{"host": "evil.example.org"}"#, "/host"),
        (r#"{"name": "other"}"#, "/name"),
    ] {
        let refused = site.api.put(&one, fields);
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{refused:?}"
        );
    }
    let refused = site.api.put(
        &format!("{profiles}/default"),
        r#"{"host": "evil.example.org"}"#,
    );
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("/host"))
    );
    assert_eq!(site.api.delete(&format!("{profiles}/default")).status, 409);
    assert_eq!(site.api.delete(&one).status, 204);
    assert_eq!(site.api.get(&one).status, 404);
    assert_eq!(names(), ["default"]);
    // Its users are released: nothing is sent for them.
    let before = site.target.journal().len();
    let job = site.api.start_job(&id);
    let job = site.api.finished_job(&id, &job);
    assert_eq!(job["usersDeactivated"], 0, "{job}");
    let sent = site.target.journal().split_off(before);
    let of_users = |call: &str| call.starts_with("/Users/");
    assert!(
        sent.iter().all(|sent| !of_users(&sent.call.path)),
        "{sent:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_what_is_deleted_is_forgotten_and_its_job_is_stopped() {
    let site = Fresh::new(12).await;
    let id = site.created();
    site.slow_creates();
    let job = site.api.start_job(&id);
    wait_for("a create on its way", PATIENCE, || {
        (!site.target.journal().is_empty()).then_some(())
    });
    assert_eq!(site.api.delete(&format!("/directories/{id}")).status, 204);
    assert_eq!(
        site.api
            .get(&format!("/directories/{id}/jobs/{job}"))
            .status,
        404
    );
    assert_eq!(site.serving.terminate(), Some(0));
    let creates = site.target.journal();
    let creates = creates.iter().filter(|sent| sent.call.method == "POST");
    assert!(creates.count() < 12, "the job was stopped");
    let settings = scim_relay::store::Settings {
        path: site.relay.store(),
        cache_mib: 4,
    };
    let store = scim_relay::store::open(&settings).unwrap();
    let filter = scim_relay::store::jobs::JobFilter::default();
    let jobs = store.jobs(filter, None, 9).await.unwrap();
    assert_eq!(jobs, [], "the job's record");
    let counts = store.linked_counts(DirectoryId(id.parse().unwrap())).await;
    assert_eq!(counts.unwrap(), LinkedCounts::default());
    drop(store);
    let serving = site.relay.serve();
    let api = crate::program::Api::new(serving.base_url());
    assert_eq!(api.get("/directories").json()["items"], json!([]));
    let audit = api.get("/audit?action=directory.delete").json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 1, "{audit}");
}
