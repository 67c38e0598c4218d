//! Requests: tokens, tenants, what directories show, and what is refused with which problem.

use chrono::{DateTime, Timelike as _, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Site, two_tenants};
use crate::program::{Answer, Api};
use crate::support::relay::API_TOKEN;
use crate::support::slapd::READER_PASSWORD;

/// Checks that an answer is a problem document (RFC 9457) of this status, and gives it.
pub(super) fn problem(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let document = answer.json();
    assert_eq!(document["status"], status);
    assert!(
        document["type"]
            .as_str()
            .unwrap()
            .starts_with("urn:scim-relay:problem:"),
        "{document}"
    );
    for field in ["title", "detail"] {
        assert!(!document[field].as_str().unwrap().is_empty(), "{document}");
    }
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_tokens() {
    let site = Site::new().await;
    let (serving, api, directory) = site.serve();
    let anonymous = Api {
        base: serving.base_url(),
        headers: Vec::new(),
        from: None,
    };
    for path in ["/healthz", "/readyz"] {
        assert_eq!(anonymous.call("GET", path, None).status, 200, "{path}");
    }
    let wrong: Vec<Api> = ["", "x", &API_TOKEN[1..], &format!("{API_TOKEN}x")]
        .iter()
        .map(|token| Api::with_token(serving.base_url(), token))
        .collect();
    let job = Uuid::now_v7();
    let routes = [
        ("GET", "/directories".to_owned()),
        ("GET", format!("/directories/{directory}")),
        ("POST", format!("/directories/{directory}/sync")),
        ("GET", format!("/directories/{directory}/jobs")),
        ("GET", format!("/directories/{directory}/jobs/{job}")),
        (
            "GET",
            format!("/directories/{directory}/jobs/{job}/changes"),
        ),
        ("GET", format!("/directories/{directory}/jobs/{job}/events")),
        (
            "POST",
            format!("/directories/{directory}/jobs/{job}/cancel"),
        ),
    ];
    for (method, path) in &routes {
        let path = format!("/api/v1{path}");
        let answer = anonymous.elsewhere().call(method, &path, None);
        problem(&answer, 401);
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"scim-relay\"")
        );
        for wrong in &wrong {
            let answer = wrong.elsewhere().call(method, &path, None);
            problem(&answer, 401);
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        }
        let basic = anonymous.with("authorization", &format!("Basic {API_TOKEN}"));
        problem(&basic.call(method, &path, None), 401);
    }
    assert_eq!(
        api.jobs(&directory),
        Vec::<Value>::new(),
        "somebody without a token started a job"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_shows_directories_without_their_secrets() {
    let mut site = Site::new().await;
    site.relay = site.relay.directory("syncSchedule = \"*/15 * * * *\"");
    let (_serving, api, directory) = site.serve();
    for path in [
        "/directories".to_owned(),
        format!("/directories/{directory}"),
    ] {
        let answer = api.get(&path);
        assert_eq!(answer.status, 200);
        for secret in [READER_PASSWORD, "LDAP_PASSWORD", "assword", API_TOKEN] {
            assert!(!answer.text.contains(secret), "{secret} in {}", answer.text);
        }
    }
    let shown = api.get(&format!("/directories/{directory}")).json();
    assert_eq!(shown["name"], "hq");
    assert_eq!(shown["host"], "127.0.0.1");
    assert_eq!(shown["port"], site.slapd.port());
    assert_eq!(shown["syncSchedule"], "*/15 * * * *");
    let next: DateTime<Utc> = shown["nextRunAt"].as_str().unwrap().parse().unwrap();
    let ahead = next - Utc::now();
    assert!(
        ahead.num_seconds() > -2 && ahead.num_minutes() < 15,
        "{shown}"
    );
    assert_eq!((next.minute() % 15, next.second()), (0, 0), "{shown}");
    // One tenant: its name may be left out, and must be right when it is there.
    assert_eq!(
        api.with("x-tenant-id", "acme").get("/directories").status,
        200
    );
    for other in ["globex", "", "ACME"] {
        problem(&api.with("x-tenant-id", other).get("/directories"), 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_tenants_do_not_see_each_other() {
    let site = Site::new().await;
    let relay = two_tenants(&site, "info");
    let api = Api::new(relay.base.clone());
    problem(&api.get("/directories"), 400);
    problem(&api.with("x-tenant-id", "initech").get("/directories"), 403);
    let (acme, globex) = (
        api.with("x-tenant-id", "acme"),
        api.with("x-tenant-id", "globex"),
    );
    let names = |api: &Api| -> Vec<String> {
        let listed = api.get("/directories").json();
        let items = listed["items"].as_array().unwrap().iter();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (names(&acme), names(&globex)),
        (vec!["hq-acme".to_owned()], vec!["hq-globex".to_owned()])
    );

    // A job of globex, and the same addresses with ids that nobody has, asked by acme.
    let (ours, theirs) = (acme.directory("hq-acme"), globex.directory("hq-globex"));
    let job = globex.start_job(&theirs);
    globex.finished_job(&theirs, &job);
    let nobody = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    let cases = [
        (
            "GET",
            format!("/directories/{theirs}"),
            format!("/directories/{}", nobody.0),
        ),
        (
            "POST",
            format!("/directories/{theirs}/sync"),
            format!("/directories/{}/sync", nobody.0),
        ),
        (
            "GET",
            format!("/directories/{theirs}/jobs"),
            format!("/directories/{}/jobs", nobody.0),
        ),
        (
            "GET",
            format!("/directories/{theirs}/users"),
            format!("/directories/{}/users", nobody.0),
        ),
        (
            "GET",
            format!("/directories/{theirs}/groups"),
            format!("/directories/{}/groups", nobody.0),
        ),
        (
            "GET",
            format!("/directories/{theirs}/jobs/{job}"),
            format!("/directories/{}/jobs/{}", nobody.0, nobody.1),
        ),
        (
            "GET",
            format!("/directories/{ours}/jobs/{job}"),
            format!("/directories/{ours}/jobs/{}", nobody.1),
        ),
        (
            "GET",
            format!("/directories/{ours}/jobs/{job}/changes"),
            format!("/directories/{ours}/jobs/{}/changes", nobody.1),
        ),
        (
            "POST",
            format!("/directories/{ours}/jobs/{job}/cancel"),
            format!("/directories/{ours}/jobs/{}/cancel", nobody.1),
        ),
        (
            "GET",
            format!("/directories/{ours}/jobs/{job}/events"),
            format!("/directories/{ours}/jobs/{}/events", nobody.1),
        ),
        (
            "GET",
            format!("/directories/{theirs}"),
            "/directories/no-id-at-all".to_owned(),
        ),
    ];
    for (method, foreign, missing) in &cases {
        let ask = |path: &str| acme.call(method, &format!("/api/v1{path}"), None);
        let (foreign, missing) = (ask(foreign), ask(missing));
        problem(&foreign, 404);
        assert_eq!(foreign, missing, "{method}: a foreign id is not like none");
    }
    for path in ["/health", "/statistics", "/audit"] {
        let (seen, whole) = (acme.get(path), globex.get(path));
        assert_eq!((seen.status, whole.status), (200, 200), "{path}");
        assert!(whole.text.contains(&theirs), "{path}: {whole:?}");
        assert!(!seen.text.contains(&theirs), "{path}: {seen:?}");
    }
    assert_eq!(
        globex.jobs(&theirs).len(),
        1,
        "acme started a job of globex"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_refuses_requests_that_make_no_sense() {
    let site = Site::new().await;
    let (_serving, api, directory) = site.serve();
    let sync = format!("/directories/{directory}/sync");
    for path in ["/nothing", "/directories/x/y", "/directories/"] {
        problem(&api.get(path), 404);
    }
    for (method, path) in [
        ("DELETE", "/directories"),
        ("GET", sync.as_str()),
        ("PUT", sync.as_str()),
    ] {
        problem(&api.call(method, &format!("/api/v1{path}"), None), 405);
    }
    for body in ["{", "{\"mode\": }", "nonsense", "{} {}"] {
        problem(&api.post(&sync, body), 400);
    }
    problem(
        &api.post(&sync, &format!("{{\"mode\": \"{}\"}}", "x".repeat(300_000))),
        413,
    );
    let text = api.with("content-type", "text/plain");
    problem(
        &text.call("POST", &format!("/api/v1{sync}"), Some("{}")),
        415,
    );
    for (body, pointer) in [
        (json!({ "mode": "everything" }), "/mode"),
        (json!({ "mode": 1 }), "/mode"),
        (json!({ "modus": "full" }), "/modus"),
        (json!({ "profile": "nobody" }), "/profile"),
        (json!([]), ""),
    ] {
        let document = problem(&api.post(&sync, &body.to_string()), 422);
        let errors = document["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{document}");
        assert_eq!(errors[0]["pointer"], pointer, "{document}");
        assert!(!errors[0]["detail"].as_str().unwrap().is_empty());
    }
    // All mistakes at once.
    let document = problem(&api.post(&sync, r#"{"mode": "x", "a": 1, "b": 2}"#), 422);
    assert_eq!(
        document["errors"].as_array().unwrap().len(),
        3,
        "{document}"
    );
    assert_eq!(
        api.jobs(&directory),
        Vec::<Value>::new(),
        "a refused request started a job"
    );
}
