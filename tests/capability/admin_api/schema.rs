//! The API against its own description, by a tool of others: schemathesis sends what the description allows and what it
//! does not, and compares every answer with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Api, run};
use crate::support::fault_target::FaultTarget;
use crate::support::process::{INSTALL, Process};
use crate::support::relay::{API_TOKEN, Relay, SEALING_KEY};
use crate::support::slapd::{GROUPS, PEOPLE, READER, READER_PASSWORD, SUFFIX, Slapd};
use crate::support::world::World;

/// Far more than it takes.
const RUN: Duration = Duration::from_secs(540);

/// A directory with a second profile, a job that has ended, a token and a tenant, all entered through the API: their ids, by
/// the names that paths have for them.
fn enter(api: &Api, slapd: &Slapd, tenant: &str) -> Value {
    let entered = |path: &str, fields: Value| {
        let answer = api.post(path, &fields.to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap_or_default().to_owned()
    };
    let fields = json!({
        "name": format!("of {tenant}"), "type": "ldap", "host": "127.0.0.1", "port": slapd.port(), "useTLS": false,
        "allowPlainLdap": true, "bindDN": READER, "bindPassword": READER_PASSWORD, "baseDN": SUFFIX,
        "usersDN": PEOPLE, "groupsDN": GROUPS, "connectTimeoutSeconds": 2, "answerTimeoutSeconds": 5,
    });
    let directory = entered("/directories", fields);
    let profile = json!({ "name": "second", "synchronizeGroups": false });
    entered(&format!("/directories/{directory}/profiles"), profile);
    let job = api.start_job(&directory);
    api.finished_job(&directory, &job);
    let token = json!({ "name": "object", "tenants": ["acme"], "permissions": ["audit:read"] });
    let auth = json!({ "type": "bearer", "token": "t" });
    entered(
        "/tenants",
        json!({ "name": tenant, "baseUrl": "http://127.0.0.1:1", "auth": auth }),
    );
    json!({
        "id": directory, "jobId": job, "tokenId": entered("/tokens", token), "name": tenant, "profileId": "second",
    })
}

/// What schemathesis is told besides the description. Values that no schema can refuse are answered with 422.
fn configuration() -> String {
    format!(
        "headers = {{ Connection = \"close\" }}\n\
         [auth.openapi.bearer]\nbearer = \"{API_TOKEN}\"\n\
         [checks.positive_data_acceptance]\n\
         expected-statuses = [\"2xx\", \"401\", \"403\", \"404\", \"409\", \"422\"]\n"
    )
}

fn schemathesis() -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/venv/bin/schemathesis");
    assert!(tool.exists(), "schemathesis is missing; {INSTALL}");
    tool
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_keeps_to_its_description() {
    let people = World::new(3, 9, 2).ldif();
    let entry = people
        .lines()
        .find_map(|line| line.strip_prefix("dn: uid="));
    let slapd = Slapd::with(&people);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "token")
        .tenant("settleSeconds = 0")
        .secrets("key = \"env:SEALING_KEY\"")
        .environment("SEALING_KEY", SEALING_KEY);
    let serving = relay.serve();
    let api = Api::new(serving.base_url()).with("x-tenant-id", "acme");
    let objects = json!({
        "kept": enter(&api, &slapd, "other"), "doomed": enter(&api, &slapd, "doomed"),
    });

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("schemathesis.toml");
    std::fs::write(&config, configuration()).unwrap();
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    let mut command = Command::new(schemathesis());
    command
        .current_dir(folder.path())
        .args(["--config-file", "schemathesis.toml", "run", "--no-color"])
        .args(["--checks", "all", "--max-examples", "25", "--seed", "1"])
        .args([
            "--generation-database",
            "none",
            "--request-timeout",
            "30",
            "--continue-on-failure",
        ])
        .arg(format!("{}/api/v1/openapi.json", serving.base_url()))
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("OBJECTS", objects.to_string())
        .env("SLAPD_PORT", slapd.port().to_string())
        .env("SLAPD_SUFFIX", SUFFIX)
        .env("SLAPD_ENTRY", format!("uid={}", entry.unwrap()))
        .env("SLAPD_READER", READER)
        .env("SLAPD_PASSWORD", READER_PASSWORD)
        .env(
            "PRIVATE_KEY",
            rcgen::KeyPair::generate().unwrap().serialize_pem(),
        )
        .env("PYTHONPATH", support)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut run = Process::spawn("schemathesis", &mut command, folder.path().join("log"));
    let ended = run.wait(RUN);
    assert!(
        ended.success(),
        "{ended}\n{}\nThe relay said: {}",
        run.log(),
        defects(&serving.log())
    );
    assert_eq!(defects(&serving.log()), "", "{}", run.log());
}

/// What the relay says of itself at the level of errors.
fn defects(log: &str) -> String {
    let lines = log
        .lines()
        .filter(|line| line.contains("\"level\":\"ERROR\""));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_description_is_served_to_everybody_and_printed() {
    let relay = Relay::without_definitions();
    let serving = relay.serve();
    let served = Api::with_token(serving.base_url(), "").get("/openapi.json");
    assert_eq!(served.status, 200, "{served:?}");
    assert_eq!(served.header("content-type"), Some("application/json"));
    let printed = run(&["--config", "/nowhere.toml", "openapi"], &[]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(printed, served.json());
    assert_eq!(printed["openapi"], "3.1.1");
    // Every route, and nothing else.
    let described = printed["paths"].as_object().unwrap().iter();
    let mut described: Vec<(String, String)> = described
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let routes = scim_relay::admin::routes().iter();
    let mut routes: Vec<(String, String)> = routes
        .map(|route| (route.method.to_string(), route.path.to_owned()))
        .collect();
    described.sort();
    routes.sort();
    assert_eq!(described, routes);
}
