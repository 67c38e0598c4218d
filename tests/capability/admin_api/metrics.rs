//! Metrics in the OpenMetrics text format, for whoever may see directories.

use serde_json::json;

use super::directories::Fresh;
use crate::program::Api;

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_metrics_tell_what_is_linked_and_how_it_is() {
    let site = Fresh::new(5).await;
    let id = site.created();
    let measure = |api: &Api| api.call("GET", "/metrics", None);
    assert_eq!(
        measure(&Api::with_token(site.serving.base_url(), "x")).status,
        401
    );
    let before = measure(&site.api);
    assert_eq!(before.status, 200, "{before:?}");
    let kind = before.header("content-type").unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(before.text.ends_with("# EOF\n"), "{}", before.text);
    let line = |of: &str, value: u64| format!("scim_relay_{of} {value}\n");
    let directory = r#"{tenant="acme",directory="hq"}"#;
    assert!(
        before
            .text
            .contains(&line(&format!("linked_users{directory}"), 0))
    );
    let job = site.api.start_job(&id);
    site.api.finished_job(&id, &job);
    let after = measure(&site.api).text;
    let profile = r#"{tenant="acme",directory="hq",profile="default"}"#;
    for (of, value) in [
        (format!("linked_users{directory}"), 5),
        (format!("linked_active_users{directory}"), 5),
        (format!("health{profile}"), 0),
    ] {
        assert!(after.contains(&line(&of, value)), "{of} {value} in {after}");
    }
    assert!(after.contains(&format!("last_complete_read_timestamp_seconds{profile}")));
    // Another tenant's token sees nothing of it.
    let other = json!({ "name": "globex", "baseUrl": site.target.base_url(), "auth": { "type": "bearer", "token": "x" } });
    assert_eq!(site.api.post("/tenants", &other.to_string()).status, 201);
    let grant =
        json!({ "name": "scrape", "tenants": ["globex"], "permissions": ["directory:read"] });
    let token = site.api.post("/tokens", &grant.to_string()).json();
    let foreign = Api::with_token(site.serving.base_url(), token["token"].as_str().unwrap());
    let foreign = measure(&foreign);
    assert_eq!(foreign.status, 200);
    assert!(!foreign.text.contains("acme"), "{}", foreign.text);
}
