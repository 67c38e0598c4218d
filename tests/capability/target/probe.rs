//! The probe of a target finds what each server needs, and leaves nothing behind.

use serde_json::{Value, json};

use super::{BETTER_AUTH, CANAILLE, DJANGO, Facts, JACKSON, STRICT, story};
use crate::support::scim_servers::{Product, ScimServer, ScimTarget};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::Slapd;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const PROBE: [&str; 6] = ["check", "--probe", "--tenant", "acme", "--output", "json"];

/// Everything that a server holds, in a fixed order.
fn state(target: &dyn ScimTarget) -> (Vec<String>, Vec<String>) {
    let texts = |resources: Vec<Value>| {
        let mut texts: Vec<String> = resources.iter().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    (texts(target.users()), texts(target.groups()))
}

/// Probes a server on which somebody is already, who stays as he is.
fn probed(target: &dyn ScimTarget, dialect: &'static str, facts: &Facts) -> Value {
    let slapd = Slapd::with("");
    let (status, somebody) = target.send(
        "POST",
        "/Users",
        Some(&json!({"schemas": [USER], "userName": "somebody", "externalId": "somebody",
            "name": {"givenName": "Some", "familyName": "Body", "formatted": "Some Body"}, "displayName": "Some Body",
            "active": true, "emails": [{"value": "somebody@example.org"}]})),
    );
    assert_eq!(status, 201, "{somebody}");
    let before = state(target);
    let all = Facts {
        dialect,
        lacks: &[],
        cannot: facts.cannot,
        ..*facts
    };
    let probe = story::relay(&slapd, target, &all).spawn(&PROBE).wait();
    let found = probe.job.clone();
    assert_eq!(
        probe.code,
        Some(0),
        "{probe:?}\n{:#}\n{}",
        found,
        target.log()
    );
    assert_eq!(before, state(target), "{found:#}");
    assert_eq!(found["leftBehind"], json!([]), "{found:#}");
    found
}

/// A field of the dialect that was found.
fn field<'a>(found: &'a Value, name: &str) -> &'a Value {
    &found["dialect"][name]
}

fn notes(found: &Value) -> String {
    found["notes"].to_string()
}

/// With the dialect that was found, a new server of the same kind goes through the whole story.
fn is_enough(target: &dyn ScimTarget, found: &Value, facts: &Facts) {
    let dialect = toml::Value::try_from(&found["dialect"])
        .unwrap()
        .to_string();
    let facts = Facts {
        dialect: Box::leak(dialect.into_boxed_str()),
        lacks: facts.lacks,
        cannot: facts.cannot,
        ..*facts
    };
    story::Story::new(target, &facts).tell();
}

#[test]
fn target_probe_of_scim2_server() {
    let found = probed(&Scim2Server::start(), "{}", &STRICT);
    assert_eq!(field(&found, "bulk"), "with_references", "{found:#}");
    assert_eq!(
        found["differences"].as_array().unwrap().len(),
        1,
        "{found:#}"
    );
    is_enough(&Scim2Server::start(), &found, &STRICT);
}

#[test]
fn target_probe_of_scimmy() {
    let found = probed(&ScimServer::start(Product::Scimmy), "{}", &STRICT);
    is_enough(&ScimServer::start(Product::Scimmy), &found, &STRICT);
}

#[test]
fn target_probe_of_better_auth() {
    let target = ScimServer::start(Product::BetterAuth);
    let found = probed(&target, "{ membersPerOperation = 1000 }", &BETTER_AUTH);
    assert_eq!(field(&found, "membersPerOperation"), 100, "{found:#}");
    is_enough(
        &ScimServer::start(Product::BetterAuth),
        &found,
        &BETTER_AUTH,
    );
}

#[test]
fn target_probe_of_jackson() {
    let found = probed(&ScimServer::start(Product::Jackson), "{}", &JACKSON);
    assert_eq!(field(&found, "membersReadable"), false, "{found:#}");
    assert_eq!(field(&found, "membersPerCreate"), 0, "{found:#}");
    is_enough(&ScimServer::start(Product::Jackson), &found, &JACKSON);
}

#[test]
fn target_probe_of_django_scim2() {
    let found = probed(&ScimServer::start(Product::Django), "{}", &DJANGO);
    assert_eq!(field(&found, "memberRemovals"), "values", "{found:#}");
    assert_eq!(field(&found, "userUpdates"), "put", "{found:#}");
    is_enough(&ScimServer::start(Product::Django), &found, &DJANGO);
}

#[test]
fn target_probe_of_canaille() {
    let found = probed(&ScimServer::start(Product::Canaille), "{}", &CANAILLE);
    assert_eq!(field(&found, "paging"), "none", "{found:#}");
    assert!(notes(&found).contains("synchronizeGroups"), "{found:#}");
    is_enough(&ScimServer::start(Product::Canaille), &found, &CANAILLE);
}
