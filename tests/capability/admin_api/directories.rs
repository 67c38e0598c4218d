//! Directories and tenants through the API: created, run, changed and deleted, with nothing in the file.

use std::time::Duration;

use serde_json::{Value, json};

use crate::program::Api;
use crate::support::fault_target::{Fault, FaultTarget, Rule, Settings};
use crate::support::relay::{Relay, Serving};
use crate::support::slapd::{GROUPS, PEOPLE, READER, READER_PASSWORD, SUFFIX, Slapd};
use crate::support::world::World;

const TARGET_TOKEN: &str = "target-token-canary-7d1f";

/// A relay that knows nothing yet, beside a directory of people and an empty target.
pub struct Fresh {
    pub slapd: Slapd,
    pub target: FaultTarget,
    pub relay: Relay,
    pub serving: Serving,
    pub api: Api,
}

impl Fresh {
    pub async fn new(people: usize) -> Self {
        let slapd = Slapd::with(&World::new(3, people, 2).ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = Relay::without_definitions();
        let serving = relay.serve();
        let api = Api::new(serving.base_url());
        Self {
            slapd,
            target,
            relay,
            serving,
            api,
        }
    }

    pub fn tenant(&self) -> Value {
        json!({
            "name": "acme", "baseUrl": self.target.base_url(), "rateLimit": 100_000, "settleSeconds": 0,
            "auth": { "type": "bearer", "token": TARGET_TOKEN },
        })
    }

    pub fn directory(&self) -> Value {
        json!({
            "name": "hq", "type": "ldap", "host": "127.0.0.1", "port": self.slapd.port(), "useTLS": false,
            "allowPlainLdap": true, "bindDN": READER, "bindPassword": READER_PASSWORD, "baseDN": SUFFIX,
            "usersDN": PEOPLE, "groupsDN": GROUPS,
        })
    }

    /// Every create takes a while from now on, and goes alone.
    pub fn slow_creates(&self) {
        let answer = self.api.put("/tenants/acme", r#"{"concurrency": 1}"#);
        assert_eq!(answer.status, 200, "{answer:?}");
        let slow = Fault::Slow(Duration::from_millis(300));
        self.target
            .set_rules(vec![Rule::on("POST", "/Users", slow)]);
    }

    pub fn created(&self) -> String {
        let tenant = self.api.post("/tenants", &self.tenant().to_string());
        assert_eq!(tenant.status, 201, "{tenant:?}");
        let directory = self.api.post("/directories", &self.directory().to_string());
        assert_eq!(directory.status, 201, "{directory:?}");
        directory.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn put(&self, id: &str, fields: &Value) -> crate::program::Answer {
        self.api
            .put(&format!("/directories/{id}"), &fields.to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_a_directory_from_nothing_to_deleted() {
    let site = Fresh::new(9).await;
    let id = site.created();
    let path = format!("/directories/{id}");

    let shown = site.api.get(&path).json();
    assert_eq!(
        (&shown["name"], &shown["kept"], &shown["nextRunAt"]),
        (&json!("hq"), &json!("store"), &Value::Null)
    );
    assert_eq!(shown["attributeMapping"]["username"], "uid");

    let job = site.api.start_job(&id);
    let job = site.api.finished_job(&id, &job);
    assert_eq!(
        (&job["status"], &job["usersCreated"]),
        (&json!("completed"), &json!(9))
    );

    let changed = site.put(&id, &json!({ "syncSchedule": "0 3 * * *", "attributeMapping": { "title": { "constant": "Staff" } }, "guard": { "attributeChanges": 100 } }));
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json();
    assert!(
        changed["nextRunAt"]
            .as_str()
            .unwrap()
            .ends_with("T03:00:00Z"),
        "{changed}"
    );
    assert_eq!(
        (
            &changed["attributeMapping"]["title"]["constant"],
            &changed["host"]
        ),
        (&json!("Staff"), &json!("127.0.0.1"))
    );
    let job = site.api.start_job(&id);
    let job = site.api.finished_job(&id, &job);
    assert_eq!(
        (&job["usersUpdated"], &job["usersCreated"]),
        (&json!(9), &json!(0))
    );

    let before = site.target.journal().len();
    assert_eq!(site.api.delete(&path).status, 204);
    assert_eq!(site.api.get(&path).status, 404);
    assert_eq!(site.api.post(&format!("{path}/sync"), "{}").status, 404);
    assert_eq!(
        site.target.journal().len(),
        before,
        "nothing is sent when a directory is deleted"
    );
    assert_eq!(site.api.delete("/tenants/acme").status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_what_was_entered_survives_a_kill_and_its_secrets_are_nowhere_to_be_seen() {
    let mut site = Fresh::new(5).await;
    let id = site.created();
    let job = site.api.start_job(&id);
    site.api.finished_job(&id, &job);
    site.serving.kill();
    let log = site.serving.log();
    let serving = site.relay.serve();
    let api = Api::new(serving.base_url());
    let job = api.start_job(&id);
    let job = api.finished_job(&id, &job);
    assert_eq!(
        (&job["status"], &job["requests"]["write"]),
        (&json!("completed"), &json!(0))
    );

    let paths = ["/tenants", "/directories"].map(str::to_owned).into_iter();
    let paths = paths.chain(["", "/jobs"].map(|end| format!("/directories/{id}{end}")));
    let answers: Vec<String> = paths
        .map(|path| api.get(&path).json().to_string())
        .collect();
    let second = serving.log();
    assert_eq!(serving.terminate(), Some(0));
    let store = std::fs::read(site.relay.store()).unwrap();
    for secret in [READER_PASSWORD, TARGET_TOKEN] {
        let there = |bytes: &[u8]| {
            bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes())
        };
        assert!(!there(&store), "in the store file");
        assert!(
            !there(log.as_bytes()) && !there(second.as_bytes()),
            "in the log"
        );
        assert!(!there(answers.concat().as_bytes()), "in an answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_a_password_is_asked_for_again_when_it_would_go_elsewhere() {
    let site = Fresh::new(3).await;
    let id = site.created();
    let other = Slapd::with(&World::new(3, 3, 0).ldif());
    for change in [
        json!({ "host": "localhost" }),
        json!({ "port": other.port() }),
        json!({ "fallbackHosts": [format!("127.0.0.1:{}", other.port())] }),
        json!({ "bindDN": "cn=admin,dc=example,dc=org" }),
        json!({ "url": format!("ldap://127.0.0.1:{}", other.port()) }),
    ] {
        let answer = site.put(&id, &change);
        assert_eq!(answer.status, 422, "{change}: {answer:?}");
        assert_eq!(answer.json()["errors"][0]["pointer"], "/bindPassword");
    }
    let further = json!({ "fallbackHosts": ["[::1]:1", "127.0.0.1:2"] });
    let mut entered = further.clone();
    entered["bindPassword"] = json!(READER_PASSWORD);
    for (change, status) in [
        (
            &json!({ "port": other.port(), "bindPassword": READER_PASSWORD }),
            200,
        ),
        (&further, 422),
        (&entered, 200),
        // Another order sends it nowhere else, nor does one server less.
        (&json!({ "fallbackHosts": ["127.0.0.1:2", "[::1]:1"] }), 200),
        (&json!({ "fallbackHosts": ["127.0.0.1:2"] }), 200),
        (&further, 422),
        // One without a port follows the port, which asks for itself.
        (&json!({ "fallbackHosts": ["127.0.0.1:2", "::1"] }), 422),
    ] {
        let answer = site.put(&id, change);
        assert_eq!(answer.status, status, "{change}: {answer:?}");
        let pointer = &answer.json()["errors"][0]["pointer"];
        assert_eq!(
            pointer == "/bindPassword",
            status == 422 && change == &further
        );
    }
    let shown = site.api.get(&format!("/directories/{id}")).json();
    assert_eq!(shown["fallbackHosts"], json!(["127.0.0.1:2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_bad_fields_are_named_with_their_cure_and_change_nothing() {
    let site = Fresh::new(1).await;
    let id = site.created();
    let before = site.api.get(&format!("/directories/{id}")).json();
    let nested = (0..60).fold(json!("x"), |inner, _| json!([inner]));
    for (field, value, cure) in [
        ("colour", json!("red"), "is not a known key"),
        ("name", json!(""), "is empty"),
        ("host", json!(7), "but a text is expected"),
        ("port", json!(70_000), "between 1 and 65535"),
        ("port", json!(1.5), "a whole number is expected"),
        ("fallbackHosts", json!("dc2"), "a list of texts is expected"),
        (
            "fallbackHosts",
            json!(["dc2", "dc2:x"]),
            "between 1 and 65535",
        ),
        (
            "fallbackHosts",
            json!(["ldaps://dc2"]),
            "write host or host:port",
        ),
        (
            "fallbackHosts",
            json!(["dc2:389", "dc2:389"]),
            "names dc2:389 twice",
        ),
        ("fallbackHosts", json!(["127.0.0.1"]), "names 127.0.0.1:"),
        (
            "fallbackHosts",
            json!(["a", "b", "c", "d", "e", "f", "g", "h", "i"]),
            "8 are the most",
        ),
        ("useTLS", json!("yes"), "true or false is expected"),
        ("type", json!("ad"), "ldap, active_directory"),
        ("baseDN", json!("people"), ""),
        (
            "userSearchFilter",
            json!("(objectClass=person"),
            "is not an LDAP filter",
        ),
        ("syncSchedule", json!("0 0 3 * * *"), ""),
        ("syncSchedule", json!("0 0 30 2 *"), ""),
        ("syncSchedule", json!("every day"), ""),
        (
            "caCertificate",
            json!("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----"),
            "certificate",
        ),
        (
            "caCertificate",
            json!("file:/etc/ssl/certs/ca-certificates.crt"),
            "holds no certificate",
        ),
        (
            "attributeMapping",
            json!({ "shoeSize": "x" }),
            "SCIM users have no attribute",
        ),
        (
            "attributeMapping",
            json!({ "password": "userPassword" }),
            "never synchronized",
        ),
        (
            "attributeMapping",
            json!({ "title": { "expression": "{{ title" } }),
            "",
        ),
        ("guard", json!({ "deactivations": -1 }), "between 0"),
        ("url", json!("http://x"), "ldaps:// or ldap://"),
        ("userObjectClasses", nested.clone(), "a list of texts"),
    ] {
        let answer = site.put(&id, &json!({ field: value }));
        assert_eq!(answer.status, 422, "{field}: {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let errors = answer.json()["errors"].clone();
        let errors = errors.as_array().unwrap();
        let named = errors.iter().any(|error| {
            let pointer = error["pointer"].as_str().unwrap();
            pointer.starts_with(&format!("/{field}"))
                && error["detail"].as_str().unwrap().contains(cure)
        });
        assert!(named, "{field}: {errors:?}");
    }
    assert_eq!(site.api.get(&format!("/directories/{id}")).json(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_what_the_file_defines_is_read_only() {
    let site = super::Site::new().await;
    let (_serving, api, directory) = site.serve();
    let path = format!("/directories/{directory}");
    for answer in [
        api.put(&path, r#"{"enabled": false}"#),
        api.delete(&path),
        api.put("/tenants/acme", r#"{"rateLimit": 1}"#),
        api.delete("/tenants/acme"),
    ] {
        assert_eq!(answer.status, 409, "{answer:?}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("scim-relay.toml"), "{detail}");
    }
    assert_eq!(api.get(&path).json()["kept"], "file");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_another_key_or_none_does_not_start_and_rotation_changes_it() {
    let site = Fresh::new(2).await;
    let id = site.created();
    assert_eq!(site.serving.terminate(), Some(0));
    let new_key = "bmV3LXNlYWxpbmcta2V5LWZvci10aGUtdGVzdC0wMTI=";
    let relay = site.relay.environment("NEW_KEY", new_key);
    let rotated = relay
        .spawn(&[
            "secret",
            "rotate",
            "--new-key",
            "env:NEW_KEY",
            "--output",
            "json",
        ])
        .wait();
    assert_eq!(
        (rotated.code, &rotated.job["secrets"]),
        (Some(0), &json!(2)),
        "{rotated:?}"
    );
    let refused = relay.spawn(&["serve"]).wait();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("sealed with another key"),
        "{refused:?}"
    );
    let relay = relay.environment("SEALING_KEY", new_key);
    let serving = relay.serve();
    let api = Api::new(serving.base_url());
    let job = api.start_job(&id);
    assert_eq!(api.finished_job(&id, &job)["usersCreated"], 2);
}

/// Canaries, each where something fails over it: a password that is refused, a token that is refused, and a client's secret
/// and key for an endpoint that answers nonsense.
#[tokio::test(flavor = "multi_thread")]
async fn admin_api_secrets_are_nowhere_when_everything_fails() {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let canaries = [
        "canary-of-a-password-51f3",
        "canary-of-a-token-8c27",
        "canary-of-a-client-secret-e940",
        key.lines().nth(1).unwrap(),
    ];
    let site = Fresh::new(2).await;
    let settings = Settings {
        token: Some("another token".to_owned()),
        ..Settings::default()
    };
    let strict = FaultTarget::start_with(Vec::new(), settings).await;
    let nonsense = format!("{}/no-token-endpoint", site.target.base_url());
    for (name, base, auth, password) in [
        (
            "password",
            site.target.base_url(),
            json!({ "type": "bearer", "token": TARGET_TOKEN }),
            canaries[0],
        ),
        (
            "token",
            strict.base_url(),
            json!({ "type": "bearer", "token": canaries[1] }),
            READER_PASSWORD,
        ),
        (
            "secret",
            site.target.base_url(),
            json!({ "type": "oauth2", "tokenUrl": nonsense, "clientId": "relay", "clientSecret": canaries[2] }),
            READER_PASSWORD,
        ),
        (
            "key",
            site.target.base_url(),
            json!({
                "type": "oauth2", "tokenUrl": nonsense, "clientId": "relay",
                "clientAuthentication": "private_key_jwt", "privateKey": key,
            }),
            READER_PASSWORD,
        ),
    ] {
        let tenant = json!({ "name": name, "baseUrl": base, "auth": auth, "connectTimeoutSeconds": 2, "answerTimeoutSeconds": 2 });
        let created = site.api.post("/tenants", &tenant.to_string());
        assert_eq!(created.status, 201, "{created:?}");
        let api = site.api.with("x-tenant-id", name);
        let mut directory = site.directory();
        directory["bindPassword"] = json!(password);
        let created = api.post("/directories", &directory.to_string());
        assert_eq!(created.status, 201, "{created:?}");
        let id = created.json()["id"].as_str().unwrap().to_owned();
        let tested = api.post(&format!("/directories/{id}/test"), "");
        let job = api.start_job(&id);
        let ended = api.finished_job(&id, &job);
        assert_eq!(ended["status"], "failed", "{ended}");
        let mut answers = vec![tested.text, ended.to_string()];
        for path in [
            "/health".to_owned(),
            "/statistics".to_owned(),
            "/audit".to_owned(),
            "/tenants".to_owned(),
            format!("/tenants/{name}"),
            "/directories".to_owned(),
            format!("/directories/{id}/profiles"),
            format!("/directories/{id}/jobs/{job}/changes"),
            format!("/directories/{id}/users"),
        ] {
            let answer = api.get(&path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            answers.push(answer.text);
        }
        for canary in canaries {
            assert!(!answers.concat().contains(canary), "{name}: {answers:?}");
        }
    }
    let log = site.serving.log();
    assert_eq!(site.serving.terminate(), Some(0));
    let store = std::fs::read(site.relay.store()).unwrap();
    for canary in canaries {
        assert!(!log.contains(canary), "in the log: {canary}");
        let found = store
            .windows(canary.len())
            .any(|part| part == canary.as_bytes());
        assert!(!found, "in the store file: {canary}");
    }
}

/// Ids of one target say nothing at another: nothing is sent there for what is linked elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn admin_api_a_target_that_moves_gets_nothing_for_what_is_linked_elsewhere() {
    let site = Fresh::new(3).await;
    let id = site.created();
    let job = site.api.start_job(&id);
    assert_eq!(site.api.finished_job(&id, &job)["usersCreated"], 3);
    let elsewhere = FaultTarget::start(Vec::new()).await;
    let change =
        json!({ "baseUrl": elsewhere.base_url(), "auth": { "type": "bearer", "token": "x" } });
    let refused = site.api.put("/tenants/acme", &change.to_string());
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("/baseUrl")),
        "{refused:?}"
    );
    // The file's tenants change without asking: the run finds out.
    let moved = super::Site::new().await;
    moved.relay.sync().completed();
    let there = FaultTarget::start(Vec::new()).await;
    let relay = moved
        .relay
        .tenant(&format!("baseUrl = \"{}\"", there.base_url()));
    let run = relay.sync();
    assert_eq!(
        (run.code, &run.job["status"]),
        (Some(1), &json!("failed")),
        "{run:?}"
    );
    let detail = run.job["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("Put baseUrl back"), "{detail}");
    assert_eq!(there.journal().len(), 0, "something was sent");
    let back = relay.tenant(&format!("baseUrl = \"{}\"", moved.target.base_url()));
    assert_eq!(back.sync().completed().writes(), 0);
}

/// A tenant that is deleted and created again is somebody else's: tokens of the first one are not for the second.
#[tokio::test(flavor = "multi_thread")]
async fn admin_api_tokens_of_an_earlier_tenant_are_not_for_its_namesake() {
    let site = Fresh::new(1).await;
    let tenant = site.tenant().to_string();
    assert_eq!(site.api.post("/tenants", &tenant).status, 201);
    let grant = json!({ "name": "old", "tenants": ["acme"],
        "permissions": ["admin", "audit:read", "directory:read", "directory:write"] });
    let token = site.api.post("/tokens", &grant.to_string()).json();
    let old = Api::with_token(site.serving.base_url(), token["token"].as_str().unwrap());
    assert_eq!(old.get("/directories").status, 200);
    assert_eq!(site.api.delete("/tenants/acme").status, 204);
    assert_eq!(old.get("/directories").status, 403);
    assert_eq!(site.api.post("/tenants", &tenant).status, 201);
    for path in ["/directories", "/audit", "/health"] {
        assert_eq!(old.get(path).status, 403, "{path}");
    }
    assert_eq!(old.get("/tenants/acme").status, 404);
    assert_ne!(old.post("/tokens", &grant.to_string()).status, 201);
}
