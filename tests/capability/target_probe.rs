//! The probe of a target whatever goes wrong: what it takes for it, that it notices what only seems to work, and that it removes
//! what it created.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin_api::directories::Fresh;
use crate::program::Api;
use crate::support::fault_target::{Fault, FaultTarget, RetryAfter, Rule};
use crate::support::relay::Relay;
use crate::support::wait_for;

const PROBE: [&str; 6] = ["check", "--probe", "--tenant", "acme", "--output", "json"];
const PATIENCE: Duration = Duration::from_secs(60);

fn refused(code: u16) -> Fault {
    Fault::Status {
        code,
        scim_type: None,
        detail: "not now",
        numeric: false,
    }
}

/// A relay of which only the tenant matters.
fn relay(target: &FaultTarget) -> Relay {
    Relay::of_ldap_port(1, target.base_url(), "t").tenant("settleSeconds = 0")
}

/// Probes a target with these faults; the exit code and what was printed.
async fn probed(rules: Vec<Rule>) -> (FaultTarget, Option<i32>, Value) {
    let target = FaultTarget::start(rules).await;
    let ended = relay(&target).spawn(&PROBE).wait();
    assert!(ended.job.is_object(), "{ended:?}");
    (target, ended.code, ended.job)
}

/// The names of everything that the target holds.
fn held(target: &FaultTarget) -> Vec<String> {
    let text =
        |resource: &Value, name: &str| resource[name].as_str().unwrap_or_default().to_owned();
    let users = target.target().users();
    let groups = target.target().groups();
    let users = users.iter().map(|user| text(user, "userName"));
    users
        .chain(groups.iter().map(|group| text(group, "displayName")))
        .collect()
}

fn is_patch_with(text: &'static str) -> impl Fn(&scim_relay::demo::target::answer::Call) -> bool {
    move |call| {
        call.body
            .as_ref()
            .is_some_and(|body| body.to_string().contains(text))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_notices_what_is_confirmed_and_not_done() {
    let (target, code, found) = probed(vec![
        Rule::on("PATCH", "/Users", Fault::NoEffect).matching(is_patch_with("type eq")),
        Rule::on("PATCH", "/Groups", Fault::NoEffect).matching(is_patch_with("value eq")),
        Rule::on("GET", "/Users", Fault::IgnoreFilter),
        Rule::on("GET", "/Groups", Fault::FindNothing)
            .matching(|call| call.query.iter().any(|(name, _)| name == "filter")),
    ])
    .await;
    assert_eq!(code, Some(0), "{found:#}");
    let dialect = &found["dialect"];
    assert_eq!(dialect["elementUpdates"], "whole", "{found:#}");
    assert_eq!(dialect["groupUpdates"], "put", "{found:#}");
    assert_eq!(dialect["userFilters"], json!([]), "{found:#}");
    assert_eq!(dialect["groupFilters"], json!([]), "{found:#}");
    for difference in found["differences"].as_array().unwrap() {
        let evidence = difference["evidence"].as_array().unwrap();
        assert!(!evidence.is_empty(), "{difference:#}");
        for part in ["request", "answer", "expected"] {
            assert_ne!(evidence[0][part], "", "{difference:#}");
        }
    }
    assert_eq!(held(&target), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_recognizes_groups_that_hide_their_members() {
    let (target, code, found) = probed(vec![
        Rule::on("GET", "/Groups", Fault::HideMembers),
        Rule::on("POST", "/Groups", Fault::HideMembers),
        Rule::on("PATCH", "/Groups", Fault::HideMembers),
    ])
    .await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(found["dialect"]["membersReadable"], false, "{found:#}");
    assert_eq!(found["dialect"]["membersPerCreate"], 0, "{found:#}");
    assert_eq!(held(&target), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_finds_the_size_that_a_target_takes() {
    let many = |most: usize| {
        move |call: &scim_relay::demo::target::answer::Call| {
            let operations = call.body.as_ref().map(|body| body["Operations"].clone());
            let operations = operations.unwrap_or_default();
            let values = operations.as_array().into_iter().flatten();
            values.into_iter().any(|one| {
                one["value"]
                    .as_array()
                    .is_some_and(|list| list.len() > most)
            })
        }
    };
    let target = FaultTarget::start(vec![
        Rule::on("PATCH", "/Groups", refused(400)).matching(many(10)),
    ])
    .await;
    let relay = relay(&target).tenant("dialect = { membersPerOperation = 500 }");
    let ended = relay.spawn(&PROBE).wait();
    assert_eq!(ended.job["dialect"]["membersPerOperation"], 10, "{ended:?}");
    assert_eq!(held(&target), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_removes_its_canaries_after_an_error() {
    let (target, code, found) = probed(vec![Rule::on("PATCH", "/Groups", refused(401))]).await;
    assert_eq!(code, Some(1), "{found:#}");
    assert_eq!(found["complete"], false, "{found:#}");
    assert!(
        found["error"].as_str().unwrap().contains("401"),
        "{found:#}"
    );
    assert_eq!(found["leftBehind"], json!([]), "{found:#}");
    assert_eq!(held(&target), [""; 0]);
    let created = target
        .journal()
        .iter()
        .filter(|seen| seen.call.method == "POST" && seen.took_effect())
        .count();
    assert!(created >= 3, "{created} were there to be removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_finds_canaries_whose_creation_was_not_answered() {
    let (target, code, found) = probed(vec![
        Rule::on("POST", "/Users", Fault::ApplyThenDrop).nth(2),
        Rule::on("POST", "/Users", Fault::CreatedWithoutId).nth(3),
        Rule::on("POST", "/Groups", Fault::ApplyThenStatus(504)).nth(1),
        Rule::on("DELETE", "/Users", Fault::Unavailable(RetryAfter::Absent)).first(2),
        Rule::on("DELETE", "/Groups", Fault::DropBefore).nth(1),
    ])
    .await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(held(&target), [""; 0], "{found:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_names_what_it_could_not_remove() {
    let (target, code, found) = probed(vec![Rule::on("DELETE", "/Users", refused(403))]).await;
    assert_eq!(code, Some(1), "{found:#}");
    let left = found["leftBehind"].as_array().unwrap();
    let users = target.target().users();
    assert_eq!(left.len(), users.len(), "{found:#}");
    for user in users {
        let id = user["id"].as_str().unwrap();
        let named = left.iter().find(|left| left["id"] == id).unwrap();
        assert_eq!(named["name"], user["userName"], "{named}");
        let name = user["userName"].as_str().unwrap();
        assert!(
            name.to_lowercase().starts_with("scim-relay-probe-"),
            "{name}"
        );
        let by_hand = format!("DELETE {}/Users/{id}", target.base_url());
        assert!(
            named["cure"].as_str().unwrap().contains(&by_hand),
            "{named}"
        );
        assert_eq!(user["active"], false, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_removes_its_canaries_when_it_is_interrupted() {
    let slow = Fault::Slow(Duration::from_millis(100));
    let target = FaultTarget::start(vec![Rule::on("*", "", slow)]).await;
    let relay = relay(&target);
    let probe = relay.spawn(&PROBE);
    let created = || {
        let seen = target.journal();
        seen.iter()
            .any(|seen| seen.call.path == "/Groups" && seen.took_effect())
    };
    wait_for("the first group of the probe", PATIENCE, || {
        created().then_some(())
    });
    let ended = probe.terminate();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(ended.job["complete"], false, "{ended:?}");
    assert_eq!(ended.job["leftBehind"], json!([]), "{ended:?}");
    assert_eq!(held(&target), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_needs_a_name_on_the_command_line() {
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&target);
    for (arguments, word) in [
        (&["check", "--probe"][..], "--tenant"),
        (&["check", "--probe", "--tenant", "nobody"], "nobody"),
        (&["check", "--probe", "--directory", "nowhere"], "nowhere"),
    ] {
        let ended = relay.spawn(arguments).wait();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(word), "{ended:?}");
    }
    assert!(
        target.journal().is_empty(),
        "nothing is sent without consent"
    );
    let ended = relay
        .spawn(&["check", "--probe", "--directory", "hq", "--output", "json"])
        .wait();
    assert_eq!(
        (ended.code, &ended.job["tenant"]),
        (Some(0), &json!("acme")),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn target_probe_through_the_api_takes_consent_and_stores_what_it_found() {
    let site = Fresh::new(1).await;
    let path = format!("/directories/{}/probe", site.created());
    site.target.set_rules(vec![
        Rule::on("PATCH", "/Groups", Fault::NoEffect).matching(is_patch_with("value eq")),
    ]);
    for body in ["", "{}", r#"{"consent": false}"#, r#"{"store": true}"#] {
        let answer = site.api.post(&path, body);
        assert_eq!(answer.status, 422, "{answer:?}");
        let errors = answer.json()["errors"].clone();
        assert_eq!(errors[0]["pointer"], "/consent", "{errors}");
    }
    assert!(
        site.target.journal().is_empty(),
        "nothing is sent without consent"
    );

    let answer = site.api.post(&path, r#"{"consent": true}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = answer.json();
    assert_eq!(found["dialect"]["groupUpdates"], "put", "{found:#}");
    assert_eq!(
        (&found["stored"], &found["complete"]),
        (&json!(false), &json!(true)),
        "{found:#}"
    );
    let tenant = || site.api.get("/tenants/acme").json();
    assert_eq!(tenant()["dialect"]["groupUpdates"], "as_advertised");

    // Whoever may not change the tenant may probe, and not store.
    let token = json!({ "name": "writer", "tenants": ["acme"], "permissions": ["directory:write"], "expiresInDays": 1 });
    let token = site.api.post("/tokens", &token.to_string()).json();
    let writer = Api::with_token(site.serving.base_url(), token["token"].as_str().unwrap());
    let before = site.target.journal().len();
    let answer = writer.post(&path, r#"{"consent": true, "store": true}"#);
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(site.target.journal().len(), before);

    let answer = site.api.post(&path, r#"{"consent": true, "store": true}"#);
    assert_eq!(answer.json()["stored"], true, "{answer:?}");
    assert_eq!(tenant()["dialect"]["groupUpdates"], "put");
    let again = site
        .api
        .post(&path, r#"{"consent": true, "store": true}"#)
        .json();
    assert_eq!(
        (&again["differences"], &again["stored"]),
        (&json!([]), &json!(false)),
        "{again:#}"
    );
    let audit = site.api.get("/audit?limit=200").json().to_string();
    for action in ["target.probe", "tenant.update"] {
        assert!(audit.contains(action), "{audit}");
    }
    assert_eq!(held(&site.target), [""; 0]);
}
