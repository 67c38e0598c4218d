//! Tokens from their issue to their end, what an administrator of some tenants may do, and where a token's text is not.

use std::path::Path;

use scim_relay::audit::{Deed, Record, Verdict};
use scim_relay::store::Settings;
use scim_relay::store::records::AuditFilter;
use serde_json::{Value, json};

use super::{all_permissions, issue, issued};
use crate::admin_api::{Site, two_tenants};
use crate::program::{Answer, Api};

/// What was done and by whom, and the whole audit log as the API shows it, of a relay that has ended.
async fn audit_of(store: &Path) -> (Vec<(Deed, String)>, String) {
    let settings = Settings {
        path: store.to_owned(),
        cache_mib: 4,
    };
    let store = scim_relay::store::open(&settings).unwrap();
    assert!(matches!(
        store.verify_audit(None).await.unwrap(),
        Verdict::Intact { .. }
    ));
    let page = store.audit(AuditFilter::default(), 10_000).await.unwrap();
    let records = page.records;
    let deeds = records
        .iter()
        .map(|record| (record.event.deed, record.event.actor.to_string()));
    let shown: Vec<Value> = records.iter().map(Record::to_json).collect();
    (deeds.collect(), Value::from(shown).to_string())
}

fn pointers(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 422, "{answer:?}");
    let document = answer.json();
    let errors = document["errors"].as_array().unwrap().iter();
    errors
        .map(|error| error["pointer"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_tokens_are_issued_listed_rotated_and_revoked() {
    let site = Site::new().await;
    let relay = two_tenants(&site, "trace");
    let root = Api::new(relay.base.clone());
    let with = |text: &str| Api::with_token(relay.base.clone(), text);
    assert_eq!(
        root.get("/tokens").json(),
        json!({ "items": [], "nextCursor": null })
    );

    let body = json!({
        "name": "reader", "tenants": ["globex"], "permissions": ["directory:read"], "expiresInDays": 30,
    });
    let answer = root.post("/tokens", &body.to_string());
    let reader = issued(&answer);
    assert_eq!(
        answer.header("location"),
        Some(format!("/api/v1/tokens/{}", reader.id).as_str())
    );
    let mut shown = answer.json();
    assert!(shown.as_object_mut().unwrap().remove("token").is_some());
    assert_eq!(root.get(&format!("/tokens/{}", reader.id)).json(), shown);
    assert_eq!(shown["lastUsedAt"], Value::Null);
    let listed = with(&reader.text).get("/directories");
    assert_eq!(listed.status, 200, "{listed:?}");
    assert!(
        listed.text.contains("hq-globex") && !listed.text.contains("hq-acme"),
        "{listed:?}"
    );
    let used = root.get(&format!("/tokens/{}", reader.id)).json();
    assert!(used["lastUsedAt"].is_string(), "{used}");

    // Pages of one.
    let writer = issue(&root, "writer", &["*"], &["directory:write"]);
    let first = root.get("/tokens?limit=1").json();
    assert_eq!(first["items"][0]["id"], reader.id);
    let second = root.get(&format!(
        "/tokens?limit=1&cursor={}",
        first["nextCursor"].as_str().unwrap()
    ));
    let second = second.json();
    assert_eq!(
        (&second["items"][0]["id"], &second["nextCursor"]),
        (&json!(writer.id), &Value::Null)
    );
    for query in ["limit=0", "limit=x", "cursor=x"] {
        assert_eq!(root.get(&format!("/tokens?{query}")).status, 400, "{query}");
    }

    // All mistakes at once, and nothing is issued.
    let wrong = json!({ "name": "", "tenants": ["initech"], "permissions": ["root"], "expiresInDays": 0, "x": 1 });
    let answer = root.post("/tokens", &wrong.to_string());
    assert_eq!(
        pointers(&answer),
        [
            "/name",
            "/tenants/0",
            "/permissions/0",
            "/expiresInDays",
            "/x"
        ]
    );
    assert_eq!(
        pointers(&root.post("/tokens", "")),
        ["/name", "/tenants", "/permissions"]
    );
    let rotate = format!("/tokens/{}/rotate", reader.id);
    for (body, pointer) in [
        (r#"{"overlapSeconds": -1}"#, "/overlapSeconds"),
        (r#"{"overlap": 1}"#, "/overlap"),
    ] {
        assert_eq!(pointers(&root.post(&rotate, body)), [pointer]);
    }
    assert_eq!(
        root.get("/tokens").json()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    // Two at once; then the old one is revoked, and then there is one.
    let answer = root.post(&rotate, "");
    let successor = issued(&answer);
    assert_eq!(answer.json()["replaces"]["id"], reader.id);
    for text in [&reader.text, &successor.text] {
        assert_eq!(with(text).get("/directories").status, 200);
    }
    assert_eq!(root.delete(&format!("/tokens/{}", reader.id)).status, 204);
    assert_eq!(with(&reader.text).get("/directories").status, 401);
    assert_eq!(with(&successor.text).get("/directories").status, 200);
    assert_eq!(root.delete(&format!("/tokens/{}", reader.id)).status, 404);

    // Jobs are asked for and told to stop by somebody, too.
    let acme = root.with("x-tenant-id", "acme");
    let directory = acme.directory("hq-acme");
    let job = acme.start_job(&directory);
    let cancel = format!("/directories/{directory}/jobs/{job}/cancel");
    assert_eq!(acme.post(&cancel, "").status, 202);

    // No text of a token is anywhere but in the answer that issued it.
    let mut traces = vec![
        ("the list", root.get("/tokens").text.into_bytes()),
        (
            "a refusal",
            with(&format!("{}x", writer.text))
                .get("/directories")
                .text
                .into_bytes(),
        ),
        ("the log", relay.program.stderr().into_bytes()),
        ("standard output", relay.program.stdout().into_bytes()),
        (
            "the store",
            std::fs::read(relay.folder.path().join("relay.redb")).unwrap(),
        ),
    ];
    relay.program.signal("TERM");
    let ended = relay.program.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    traces.push(("the log at the end", ended.stderr.into_bytes()));
    traces.push((
        "the store at the end",
        std::fs::read(relay.folder.path().join("relay.redb")).unwrap(),
    ));
    let (deeds, audit) = audit_of(&relay.folder.path().join("relay.redb")).await;
    for (deed, actor) in [
        (Deed::TokenCreate, "token of the configuration"),
        (Deed::TokenUse, &format!("token {} (reader)", reader.id)),
        (Deed::TokenUse, "token of the configuration"),
        (Deed::TokenRotate, "token of the configuration"),
        (Deed::TokenRevoke, "token of the configuration"),
        (Deed::TokenRefuse, "relay"),
        (Deed::JobStart, "token of the configuration"),
        (Deed::JobCancel, "token of the configuration"),
    ] {
        let mut told = deeds.iter();
        assert!(
            told.any(|(other, who)| *other == deed && who.starts_with(actor)),
            "no {deed:?} by {actor}: {audit}"
        );
    }
    traces.push(("the audit log", audit.into_bytes()));
    let holds = |bytes: &[u8], text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    for (name, bytes) in &traces {
        for text in [&reader.text, &writer.text, &successor.text] {
            // The random part by itself would do, too.
            assert!(!holds(bytes, &text[4..40]), "a token is in {name}");
        }
    }
    // They could have been found: other things that were said of the tokens are there.
    for (name, told) in [
        ("the store at the end", "writer"),
        ("the audit log", "token.rotate"),
        ("the log at the end", "a token was refused"),
    ] {
        let (_, bytes) = traces.iter().find(|(other, _)| *other == name).unwrap();
        assert!(holds(bytes, told), "{name} has no {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_an_administrator_of_one_tenant_gives_what_it_has() {
    let site = Site::new().await;
    let relay = two_tenants(&site, "info");
    let root = Api::new(relay.base.clone());
    let strong = issue(&root, "strong", &["acme"], &all_permissions());
    issue(&root, "foreign", &["globex"], &["directory:read"]);
    issue(&root, "both", &["acme", "globex"], &["directory:read"]);
    let clerk = issue(&root, "clerk", &["acme"], &["admin", "directory:read"]);
    let clerk = Api::with_token(relay.base.clone(), &clerk.text);
    let listed = clerk.get("/tokens").json();
    let names: Vec<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["strong", "clerk"]);
    let ask = |tenants: Value, permission: &str| {
        let body = json!({ "name": "x", "tenants": tenants, "permissions": [permission] });
        clerk.post("/tokens", &body.to_string())
    };
    assert_eq!(ask(json!(["acme"]), "directory:read").status, 201);
    let refused = ask(json!(["acme"]), "directory:write");
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("directory:write"), "{refused:?}");
    assert_eq!(ask(json!(["*"]), "directory:read").status, 403);
    // Another tenant and none are refused in the same words.
    let foreign = ask(json!(["globex"]), "directory:read");
    assert_eq!(pointers(&foreign), ["/tenants/0"]);
    assert_eq!(
        foreign.text.replace("globex", "initech"),
        ask(json!(["initech"]), "directory:read").text
    );
    let rotate = clerk.post(&format!("/tokens/{}/rotate", strong.id), "");
    assert_eq!(rotate.status, 403, "{rotate:?}");
    assert_eq!(clerk.delete(&format!("/tokens/{}", strong.id)).status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_tries_are_limited_and_good_tokens_are_not() {
    let site = Site::new().await;
    let relay = two_tenants(&site, "info");
    let good = Api::new(relay.base.clone())
        .with("x-tenant-id", "acme")
        .elsewhere();
    let mut wrong = Api::with_token(relay.base.clone(), "wrong");
    wrong.from = good.from;
    let tries: Vec<Answer> = (0..40).map(|_| wrong.get("/directories")).collect();
    let limited = tries.iter().position(|answer| answer.status == 429);
    let limited = limited.unwrap_or_else(|| panic!("forty wrong tokens at once: {tries:?}"));
    assert!(limited >= 10, "only {limited} tries");
    assert!(tries[..limited].iter().all(|answer| answer.status == 401));
    let wait: u64 = tries[limited]
        .header("retry-after")
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    assert_eq!(
        good.get("/directories").status,
        200,
        "a colleague is locked out"
    );
    assert_eq!(
        wrong.elsewhere().get("/directories").status,
        401,
        "all addresses are one"
    );
    let log = relay.program.stderr();
    assert_eq!(log.matches("a token was refused").count(), 2, "{log}");
}
