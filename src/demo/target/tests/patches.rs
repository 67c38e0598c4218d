//! What PATCH changes, and what it refuses.
use serde_json::{Value, json};

use crate::demo::target::Target;
use crate::demo::target::answer::Answer;
use crate::demo::target::tests::{
    ENTERPRISE, USER, get, id, names, new_user, patch, patched, post_user, scim_type,
};

#[test]
fn patch_changes_what_its_path_says() {
    let urn = |name: &str| format!("{ENTERPRISE}:{name}");
    let work_and =
        |more: Value| json!([{"value": "ada@work", "type": "work", "primary": true}, more]);
    let cases = [
        (
            "replace text",
            json!([{"op": "replace", "path": "title", "value": "CTO"}]),
            "/title",
            json!("CTO"),
        ),
        (
            "op and path in any case",
            json!([{"op": "Replace", "path": "TITLE", "value": "CTO"}]),
            "/title",
            json!("CTO"),
        ),
        (
            "add where absent",
            json!([{"op": "add", "path": "nickName", "value": "A"}]),
            "/nickName",
            json!("A"),
        ),
        (
            "remove",
            json!([{"op": "remove", "path": "title"}]),
            "/title",
            Value::Null,
        ),
        (
            "remove what is absent",
            json!([{"op": "remove", "path": "nickName"}]),
            "/nickName",
            Value::Null,
        ),
        (
            "replace by null",
            json!([{"op": "replace", "path": "title", "value": null}]),
            "/title",
            Value::Null,
        ),
        (
            "deactivate",
            json!([{"op": "replace", "path": "active", "value": false}]),
            "/active",
            json!(false),
        ),
        (
            "sub-attribute",
            json!([{"op": "replace", "path": "name.familyName", "value": "L"}]),
            "/name",
            json!({"givenName": "Ada", "familyName": "L"}),
        ),
        (
            "remove sub-attribute",
            json!([{"op": "remove", "path": "name.givenName"}]),
            "/name",
            json!({"familyName": "King"}),
        ),
        (
            "complex is merged",
            json!([{"op": "replace", "path": "name", "value": {"familyName": "L"}}]),
            "/name",
            json!({"givenName": "Ada", "familyName": "L"}),
        ),
        (
            "filter path",
            json!([{"op": "replace", "path": "emails[type eq \"home\"].value", "value": "new"}]),
            "/emails",
            work_and(json!({"value": "new", "type": "home"})),
        ),
        (
            "remove by filter",
            json!([{"op": "remove", "path": "emails[type eq \"home\"]"}]),
            "/emails",
            json!([{"value": "ada@work", "type": "work", "primary": true}]),
        ),
        (
            "remove by filter without a match",
            json!([{"op": "remove", "path": "emails[type eq \"fax\"]"}]),
            "/emails/1/type",
            json!("home"),
        ),
        (
            "primary moves",
            json!([{"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true}]),
            "/emails",
            json!([{"value": "ada@work", "type": "work", "primary": false}, {"value": "ada@home", "type": "home", "primary": true}]),
        ),
        (
            "add a value",
            json!([{"op": "add", "path": "emails", "value": [{"value": "x", "type": "other"}]}]),
            "/emails/2",
            json!({"value": "x", "type": "other"}),
        ),
        (
            "add the same value",
            json!([{"op": "add", "path": "emails", "value": [{"value": "ada@home", "type": "home"}]}]),
            "/emails/2",
            Value::Null,
        ),
        (
            "replace the list",
            json!([{"op": "replace", "path": "emails", "value": [{"value": "x"}]}]),
            "/emails",
            json!([{"value": "x"}]),
        ),
        (
            "remove the list",
            json!([{"op": "remove", "path": "emails"}]),
            "/emails",
            Value::Null,
        ),
        (
            "extension",
            json!([{"op": "replace", "path": urn("department"), "value": "Sales"}]),
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
            json!({"department": "Sales"}),
        ),
        (
            "extension, complex",
            json!([{"op": "add", "path": urn("manager.value"), "value": "7"}]),
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/manager",
            json!({"value": "7"}),
        ),
        (
            "last of an extension",
            json!([{"op": "remove", "path": urn("department")}]),
            "/schemas",
            json!([USER]),
        ),
        (
            "core URN",
            json!([{"op": "replace", "path": format!("{USER}:title"), "value": "CTO"}]),
            "/title",
            json!("CTO"),
        ),
        (
            "without path",
            json!([{"op": "replace", "value": {"title": "CTO", "name.givenName": "A", urn("division"): "D", ENTERPRISE: {"costCenter": "9"}}}]),
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
            json!({"department": "R&D", "division": "D", "costCenter": "9"}),
        ),
        (
            "in order",
            json!([{"op": "remove", "path": "title"}, {"op": "add", "path": "title", "value": "CTO"}]),
            "/title",
            json!("CTO"),
        ),
    ];
    for (name, operations, pointer, expected) in cases {
        let target = Target::default();
        let path = format!("/Users/{}", id(&post_user(&target, patched())));
        let answer = patch(&target, &path, operations);
        assert_eq!(answer, Answer::no_content(), "{name}");
        let user = get(&target, &path);
        assert_eq!(
            user.pointer(pointer).cloned().unwrap_or_default(),
            expected,
            "{name}: {user}"
        );
    }
}

#[test]
fn a_refused_patch_changes_nothing() {
    let cases = [
        (
            "no match",
            json!({"op": "replace", "path": "emails[type eq \"fax\"].value", "value": "x"}),
            "noTarget",
        ),
        (
            "no match to add to",
            json!({"op": "add", "path": "emails[type eq \"fax\"].value", "value": "x"}),
            "noTarget",
        ),
        ("remove without path", json!({"op": "remove"}), "noTarget"),
        (
            "remove with value",
            json!({"op": "remove", "path": "emails", "value": [{"value": "ada@home"}]}),
            "invalidValue",
        ),
        (
            "required",
            json!({"op": "remove", "path": "userName"}),
            "mutability",
        ),
        (
            "required by null",
            json!({"op": "replace", "path": "userName", "value": null}),
            "mutability",
        ),
        (
            "read-only",
            json!({"op": "replace", "path": "id", "value": "x"}),
            "mutability",
        ),
        (
            "read-only groups",
            json!({"op": "add", "path": "groups", "value": [{"value": "x"}]}),
            "mutability",
        ),
        (
            "unknown attribute",
            json!({"op": "add", "path": "shoeSize", "value": 4}),
            "invalidPath",
        ),
        (
            "unknown in filter",
            json!({"op": "remove", "path": "emails[nick eq \"x\"]"}),
            "invalidPath",
        ),
        (
            "no path at all",
            json!({"op": "add", "path": "emails[", "value": 4}),
            "invalidPath",
        ),
        (
            "filter on one value",
            json!({"op": "replace", "path": "name[givenName eq \"Ada\"].familyName", "value": "x"}),
            "invalidPath",
        ),
        (
            "wrong type",
            json!({"op": "replace", "path": "active", "value": "False"}),
            "invalidValue",
        ),
        (
            "no value",
            json!({"op": "add", "path": "title"}),
            "invalidValue",
        ),
        (
            "unknown op",
            json!({"op": "move", "path": "title", "value": "x"}),
            "invalidSyntax",
        ),
        (
            "taken name",
            json!({"op": "replace", "path": "userName", "value": "BOB"}),
            "uniqueness",
        ),
    ];
    for (name, operation, expected) in cases {
        let target = Target::default();
        new_user(&target, "bob");
        let path = format!("/Users/{}", id(&post_user(&target, patched())));
        let before = get(&target, &path);
        let first = json!({"op": "replace", "path": "title", "value": "half done"});
        let answer = patch(&target, &path, json!([first, operation]));
        let status = if expected == "uniqueness" { 409 } else { 400 };
        assert_eq!(
            (answer.status, scim_type(&answer)),
            (status, expected),
            "{name}: {answer:?}"
        );
        assert_eq!(get(&target, &path), before, "{name}");
        assert_eq!(
            names(&target, "userName eq \"ada\""),
            ["ada"],
            "{name}: the index stands too"
        );
    }
}
