//! The target's behaviour, call by call, in tables; and once over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod patches;
mod queries;
mod resources;
mod shell;

use serde_json::{Value, json};

use crate::demo::target::Target;
use crate::demo::target::answer::{Answer, Call};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn post_user(target: &Target, mut user: Value) -> Answer {
    if user.get("schemas").is_none() {
        user["schemas"] = json!([USER]);
    }
    target.handle(Call::new("POST", "/Users").body(user))
}

fn new_user(target: &Target, name: &str) -> String {
    let answer = post_user(
        target,
        json!({"userName": name, "externalId": format!("ext-{name}")}),
    );
    assert_eq!(answer.status, 201, "{answer:?}");
    id(&answer)
}

fn new_group(target: &Target, name: &str, members: &[&str]) -> String {
    let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
    let group = json!({"schemas": [GROUP], "displayName": name, "members": members});
    let answer = target.handle(Call::new("POST", "/Groups").body(group));
    assert_eq!(answer.status, 201, "{answer:?}");
    id(&answer)
}

fn id(answer: &Answer) -> String {
    answer.body.as_ref().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn patch(target: &Target, path: &str, operations: Value) -> Answer {
    let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
    target.handle(Call::new("PATCH", path).body(body))
}

fn get(target: &Target, path: &str) -> Value {
    let answer = target.handle(Call::new("GET", path));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.unwrap()
}

fn scim_type(answer: &Answer) -> &str {
    let body = answer.body.as_ref();
    body.and_then(|body| body["scimType"].as_str())
        .unwrap_or_default()
}

fn patched() -> Value {
    json!({
        "schemas": [USER, ENTERPRISE], "userName": "ada", "title": "Engineer", "active": true,
        "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"value": "ada@work", "type": "work", "primary": true}, {"value": "ada@home", "type": "home"}],
        ENTERPRISE: {"department": "R&D"},
    })
}

fn names(target: &Target, filter: &str) -> Vec<String> {
    let answer = target.handle(Call::new("GET", "/Users").query("filter", filter));
    assert_eq!(answer.status, 200, "{filter}: {answer:?}");
    let body = answer.body.unwrap();
    let found = body["Resources"].as_array().unwrap().iter();
    found
        .map(|user| user["userName"].as_str().unwrap().to_owned())
        .collect()
}
