//! The session: a cookie that no script reads, which is worth what its token is worth and no more.

use serde_json::json;

use crate::admin_api::directories::Fresh;
use crate::program::{Answer, Api};

/// The session's cookie as a browser sends it back, and its CSRF token.
fn begun(api: &Api) -> (String, String) {
    let answer = api.post("/session", "");
    assert_eq!(answer.status, 201, "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");
    assert!(
        pair.starts_with("scim_relay_session_") && pair.len() > 60,
        "{pair}"
    );
    let csrf = answer.json()["csrfToken"].as_str().unwrap().to_owned();
    assert!(
        !pair.contains(&csrf),
        "the page may read one and not the other"
    );
    (pair.to_owned(), csrf)
}

/// A caller with this cookie and no token.
fn with_cookie(api: &Api, cookie: &str) -> Api {
    let mut api = api.elsewhere();
    api.headers = vec![("cookie", cookie.to_owned())];
    api
}

#[tokio::test(flavor = "multi_thread")]
async fn console_session_reads_by_its_cookie_and_changes_only_with_the_csrf_token() {
    let fresh = Fresh::new(3).await;
    let directory = fresh.created();
    let (cookie, csrf) = begun(&fresh.api);
    let session = with_cookie(&fresh.api, &cookie);
    assert_eq!(session.get("/directories").status, 200);
    let shown = session.get("/session").json();
    assert_eq!(shown["tenants"], json!(["acme"]));
    assert_eq!(shown["csrfToken"], json!(csrf));

    let path = format!("/directories/{directory}");
    let change = r#"{"name": "renamed"}"#;
    let forged: [&dyn Fn(&Api) -> Answer; 3] = [
        &|api| api.put(&path, change),
        &|api| api.post(&format!("{path}/sync"), "{}"),
        &|api| api.delete(&path),
    ];
    for request in forged {
        for caller in [session.clone(), session.with("x-csrf-token", "guessed")] {
            let answer = request(&caller);
            assert_eq!(answer.status, 403, "{answer:?}");
            assert!(answer.text.contains("X-CSRF-Token"), "{answer:?}");
        }
    }
    assert_eq!(session.get(&path).json()["name"], "hq");
    let own = session.with("x-csrf-token", &csrf);
    assert_eq!(own.put(&path, change).status, 200);
    assert_eq!(session.get(&path).json()["name"], "renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn console_session_ends_when_it_is_ended_or_its_token_is_revoked() {
    let fresh = Fresh::new(3).await;
    fresh.created();
    let (cookie, csrf) = begun(&fresh.api);
    let session = with_cookie(&fresh.api, &cookie);
    let own = session.with("x-csrf-token", &csrf);
    assert_eq!(
        own.post("/session", "").status,
        401,
        "a session begets no session"
    );
    let ended = own.delete("/session");
    assert_eq!(ended.status, 204, "{ended:?}");
    assert!(
        ended.header("set-cookie").unwrap().contains("Max-Age=0"),
        "{ended:?}"
    );
    assert_eq!(session.get("/session").status, 401);

    let body = json!({ "name": "reader", "tenants": ["acme"], "permissions": ["directory:read"] });
    let issued = fresh.api.post("/tokens", &body.to_string()).json();
    let reader = Api::with_token(fresh.api.base.clone(), issued["token"].as_str().unwrap());
    let (cookie, csrf) = begun(&reader);
    let session = with_cookie(&reader, &cookie).with("x-csrf-token", &csrf);
    assert_eq!(session.get("/directories").status, 200);
    assert_eq!(
        session.get("/audit").status,
        403,
        "it permits what its token permits"
    );
    let revoked = fresh
        .api
        .delete(&format!("/tokens/{}", issued["id"].as_str().unwrap()));
    assert_eq!(revoked.status, 204, "{revoked:?}");
    assert_eq!(session.get("/directories").status, 401);

    let audit = fresh.api.get("/audit?limit=200").json().to_string();
    for action in ["session.create", "session.delete"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
    for secret in [cookie.split_once('=').unwrap().1, &csrf] {
        assert!(
            !audit.contains(secret),
            "a session's secret is in the audit log"
        );
        assert!(!fresh.serving.log().contains(secret), "or in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn console_files_carry_their_policy_and_nothing_is_framed() {
    let fresh = Fresh::new(1).await;
    let mut anonymous = fresh.api.clone();
    anonymous.headers.clear();
    let page = anonymous.call("GET", "/", None);
    assert_eq!(page.status, 200, "{page:?}");
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(
        !page.text.contains("<style") && !page.text.contains(" style="),
        "{page:?}"
    );
    assert_eq!(page.text.matches("<script").count(), 1, "{page:?}");
    let mut files = named_in(&page.text);
    let mut seen = 0;
    while seen < files.len() {
        let path = files[seen].clone();
        let file = anonymous.call("GET", &path, None);
        assert_eq!(file.status, 200, "{path}");
        let header = |name: &str| file.header(name);
        assert_eq!(header("content-security-policy"), Some(policy), "{path}");
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
        let elsewhere = file.text.lines().filter(|line| {
            let is_address = line.contains("http://") || line.contains("https://");
            is_address && !line.contains("www.w3.org") && !line.trim_start().starts_with("//")
        });
        assert_eq!(elsewhere.count(), 0, "{path} names another server");
        let more = named_in(&file.text).into_iter();
        let more: Vec<String> = more.filter(|path| !files.contains(path)).collect();
        files.extend(more);
        seen += 1;
    }
    assert!(files.len() > 12, "the modules are followed: {files:?}");
    assert_eq!(anonymous.call("GET", "/console/none.js", None).status, 404);
    assert_eq!(
        anonymous
            .get("/directories")
            .header("x-content-type-options"),
        Some("nosniff")
    );
}

/// The console's files that a page or a module loads.
fn named_in(text: &str) -> Vec<String> {
    let parts = text.split('"');
    let paths = parts.filter_map(|part| match part.strip_prefix("./") {
        Some(module) if module.ends_with(".js") => Some(format!("/console/{module}")),
        _ => part.starts_with("/console/").then(|| part.to_owned()),
    });
    paths.collect()
}
