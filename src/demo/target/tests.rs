//! The target's behaviour, call by call, in tables; and once over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Answer, Call, Options, Target, http};

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

fn names(target: &Target, filter: &str) -> Vec<String> {
    let answer = target.handle(Call::new("GET", "/Users").query("filter", filter));
    assert_eq!(answer.status, 200, "{filter}: {answer:?}");
    let body = answer.body.unwrap();
    let found = body["Resources"].as_array().unwrap().iter();
    found
        .map(|user| user["userName"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_user_is_created_read_and_deleted() {
    let target = Target::default();
    target.set_base_url("http://target.example/scim/v2/");
    let answer = post_user(
        &target,
        json!({
            "schemas": [USER, ENTERPRISE], "USERNAME": "Ada", "externalId": "a-1", "id": "mine", "password": "x",
            "active": true, "name": {"GivenName": "Ada"}, "title": null, "roles": [],
            ENTERPRISE: {"department": "R&D", "manager": {"value": "7", "displayName": "read-only"}},
        }),
    );
    assert_eq!(answer.status, 201);
    let user = answer.body.clone().unwrap();
    let id = id(&answer);
    let location = format!("http://target.example/scim/v2/Users/{id}");
    assert_ne!(id, "mine");
    assert_eq!(answer.location.as_deref(), Some(location.as_str()));
    assert_eq!(user["meta"]["location"], location);
    let created = user["meta"]["created"].clone();
    let expected = json!({
        "schemas": [USER, ENTERPRISE], "id": id, "externalId": "a-1", "userName": "Ada", "active": true,
        "name": {"givenName": "Ada"}, ENTERPRISE: {"department": "R&D", "manager": {"value": "7"}},
        "meta": {"resourceType": "User", "created": created, "lastModified": created, "location": location},
    });
    assert_eq!(user, expected);

    let path = format!("/Users/{id}");
    assert_eq!(get(&target, &path), expected);
    let part =
        target.handle(Call::new("GET", &path).query("attributes", "USERNAME,name.givenName"));
    let schemas = json!([USER, ENTERPRISE]);
    let expected =
        json!({"schemas": schemas, "id": id, "userName": "Ada", "name": {"givenName": "Ada"}});
    assert_eq!(part.body.unwrap(), expected);
    let manager = format!("{ENTERPRISE}:manager.value");
    let part = target.handle(Call::new("GET", &path).query("attributes", &manager));
    assert_eq!(part.body.unwrap()[ENTERPRISE]["department"], "R&D");

    assert_eq!(
        target.handle(Call::new("DELETE", &path)),
        Answer::no_content()
    );
    assert_eq!(target.handle(Call::new("DELETE", &path)).status, 404);
    assert_eq!(target.handle(Call::new("GET", &path)).status, 404);
    let again = post_user(&target, json!({"userName": "ADA"}));
    assert_eq!(again.status, 201, "the name is free again");
}

#[test]
fn what_is_not_a_valid_resource_is_refused() {
    let target = Target::default();
    new_user(&target, "Taken");
    let cases = [
        (
            "no schemas",
            "/Users",
            json!({"userName": "u"}),
            400,
            "invalidSyntax",
        ),
        (
            "other schema",
            "/Users",
            json!({"schemas": [GROUP], "userName": "u"}),
            400,
            "invalidSyntax",
        ),
        (
            "no userName",
            "/Users",
            json!({"schemas": [USER]}),
            400,
            "invalidValue",
        ),
        (
            "blank userName",
            "/Users",
            json!({"schemas": [USER], "userName": " "}),
            400,
            "invalidValue",
        ),
        (
            "taken",
            "/Users",
            json!({"schemas": [USER], "userName": "tAKEN"}),
            409,
            "uniqueness",
        ),
        (
            "text for a boolean",
            "/Users",
            json!({"schemas": [USER], "userName": "u", "active": "True"}),
            400,
            "invalidValue",
        ),
        (
            "unknown",
            "/Users",
            json!({"schemas": [USER], "userName": "u", "shoeSize": 4}),
            400,
            "invalidSyntax",
        ),
        (
            "unknown sub",
            "/Users",
            json!({"schemas": [USER], "userName": "u", "name": {"nick": "x"}}),
            400,
            "invalidSyntax",
        ),
        (
            "emails as text",
            "/Users",
            json!({"schemas": [USER], "userName": "u", "emails": "x"}),
            400,
            "invalidValue",
        ),
        (
            "two primaries",
            "/Users",
            json!({"schemas": [USER], "userName": "u",
            "emails": [{"value": "a", "primary": true}, {"value": "b", "primary": true}]}),
            400,
            "invalidValue",
        ),
        (
            "extension not named",
            "/Users",
            json!({"schemas": [USER], "userName": "u", ENTERPRISE: {"division": "x"}}),
            400,
            "invalidSyntax",
        ),
        (
            "manager as text",
            "/Users",
            json!({"schemas": [USER, ENTERPRISE], "userName": "u", ENTERPRISE: {"manager": "x"}}),
            400,
            "invalidValue",
        ),
        (
            "no displayName",
            "/Groups",
            json!({"schemas": [GROUP]}),
            400,
            "invalidValue",
        ),
        (
            "unknown member",
            "/Groups",
            json!({"schemas": [GROUP], "displayName": "g", "members": [{"value": "x"}]}),
            400,
            "invalidValue",
        ),
        ("not an object", "/Users", json!([1]), 400, "invalidSyntax"),
        ("no such collection", "/Devices", json!({}), 404, ""),
        ("not on a resource", "/Users/1", json!({}), 405, ""),
    ];
    for (name, path, body, status, expected) in cases {
        let answer = target.handle(Call::new("POST", path).body(body));
        assert_eq!(
            (answer.status, scim_type(&answer)),
            (status, expected),
            "{name}: {answer:?}"
        );
        let body = answer.body.unwrap();
        assert_eq!(
            body["schemas"],
            json!(["urn:ietf:params:scim:api:messages:2.0:Error"]),
            "{name}"
        );
        assert_eq!(body["status"], status.to_string(), "{name}");
    }
    let counters = target.counters();
    assert_eq!(
        (
            counters.users,
            counters.groups,
            counters.writes,
            counters.refused
        ),
        (1, 0, 18, 17)
    );
}

#[test]
fn filters_find_what_they_say() {
    let target = Target::default();
    let people = [
        json!({"userName": "Ada", "externalId": "A-1", "title": "Engineer", "active": true,
            "emails": [{"value": "ada@example.org", "type": "work"}, {"value": "ada@home.net", "type": "home"}]}),
        json!({"userName": "bob", "externalId": "a-1", "active": false, "name": {"familyName": "O'Malley \"B\""}}),
        json!({"schemas": [USER, ENTERPRISE], "userName": "Cleo", "title": "engineer, sr",
            "emails": [{"value": "cleo@example.org", "type": "home"}], ENTERPRISE: {"department": "Sales"}}),
    ];
    for person in people {
        assert_eq!(post_user(&target, person).status, 201);
    }
    let department = format!("{ENTERPRISE}:department eq \"sales\"");
    let core = format!("{USER}:userName sw \"c\"");
    let schemas = format!("schemas eq \"{ENTERPRISE}\"");
    let cases: [(&str, &[&str]); 27] = [
        ("userName eq \"ADA\"", &["Ada"]),
        ("USERNAME EQ \"bob\"", &["bob"]),
        ("userName eq \"nobody\"", &[]),
        ("externalId eq \"A-1\"", &["Ada"]),
        ("externalId eq \"a-1\"", &["bob"]),
        ("title co \"NGINE\"", &["Ada", "Cleo"]),
        ("title ew \"sr\"", &["Cleo"]),
        ("title pr", &["Ada", "Cleo"]),
        ("not (title pr)", &["bob"]),
        ("title eq null", &["bob"]),
        ("title ne \"Engineer\"", &["bob", "Cleo"]),
        ("active eq true", &["Ada"]),
        ("active eq false", &["bob"]),
        ("name.familyName eq \"o'malley \\\"b\\\"\"", &["bob"]),
        ("emails co \"example.org\"", &["Ada", "Cleo"]),
        ("emails.value eq \"ada@home.net\"", &["Ada"]),
        (
            "emails[type eq \"home\" and value co \"example\"]",
            &["Cleo"],
        ),
        (
            "emails[type eq \"work\"] or userName eq \"bob\"",
            &["Ada", "bob"],
        ),
        ("emails[not (type eq \"work\")]", &["Ada", "Cleo"]),
        ("title pr and emails.type eq \"work\"", &["Ada"]),
        ("userName gt \"b\" and userName le \"bob\"", &["bob"]),
        ("meta.created lt \"2020-01-01T00:00:00Z\"", &[]),
        (
            "meta.created ge \"2020-01-01T00:00:00+01:00\"",
            &["Ada", "bob", "Cleo"],
        ),
        (
            "meta.resourceType eq \"User\" and userName sw \"A\"",
            &["Ada"],
        ),
        (&department, &["Cleo"]),
        (&core, &["Cleo"]),
        (&schemas, &["Cleo"]),
    ];
    for (filter, expected) in cases {
        assert_eq!(names(&target, filter), expected, "{filter}");
    }
    for refused in [
        "userName eqq \"x\"",
        "shoeSize eq 4",
        "name.nick pr",
        "emails[nick eq \"x\"]",
        "",
    ] {
        let answer = target.handle(Call::new("GET", "/Users").query("filter", refused));
        assert_eq!(
            (answer.status, scim_type(&answer)),
            (400, "invalidFilter"),
            "{refused}"
        );
    }
}

#[test]
fn groups_are_found_by_their_members() {
    let target = Target::default();
    let (ada, bob) = (new_user(&target, "ada"), new_user(&target, "bob"));
    let inner = new_group(&target, "Inner", &[&ada]);
    let outer = new_group(&target, "Outer", &[&inner, &bob]);
    let cases = [
        (format!("members.value eq \"{ada}\""), vec![&inner]),
        (format!("members[value eq \"{bob}\"]"), vec![&outer]),
        ("members[type eq \"Group\"]".to_owned(), vec![&outer]),
        ("members.type eq \"user\"".to_owned(), vec![&inner, &outer]),
        (
            format!("displayName eq \"outer\" and members eq \"{inner}\""),
            vec![&outer],
        ),
        (format!("id eq \"{inner}\""), vec![&inner]),
    ];
    for (filter, expected) in cases {
        let call = Call::new("GET", "/Groups").query("filter", &filter);
        let body = target.handle(call).body.unwrap();
        let found: Vec<&str> = body["Resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| group["id"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{filter}");
    }
}

#[test]
fn lists_are_paged() {
    let target = Target::default();
    for number in 0..250 {
        new_user(&target, &format!("user{number}"));
    }
    let cases = [
        (None, None, 1, 100, Some("user0")),
        (Some("101"), None, 101, 100, Some("user100")),
        (Some("201"), Some("100"), 201, 50, Some("user200")),
        (Some("251"), None, 251, 0, None),
        (Some("0"), Some("3"), 1, 3, Some("user0")),
        (Some("-5"), Some("-1"), 1, 0, None),
        (None, Some("5000"), 1, 250, Some("user0")),
    ];
    for (start, count, start_index, items, first) in cases {
        let mut call = Call::new("GET", "/Users");
        for (name, value) in [("startIndex", start), ("count", count)] {
            call = match value {
                Some(value) => call.query(name, value),
                None => call,
            };
        }
        let body = target.handle(call.clone()).body.unwrap();
        let resources = body["Resources"].as_array().unwrap();
        assert_eq!(
            (&body["totalResults"], &body["startIndex"]),
            (&json!(250), &json!(start_index)),
            "{call:?}"
        );
        assert_eq!(
            (&body["itemsPerPage"], resources.len()),
            (&json!(items), items),
            "{call:?}"
        );
        let found = resources
            .first()
            .map(|user| user["userName"].as_str().unwrap());
        assert_eq!(found, first, "{call:?}");
        let filtered = target
            .handle(call.query("filter", "userName sw \"user\""))
            .body
            .unwrap();
        assert_eq!(filtered, body, "with a filter that all match");
    }
    assert_eq!(
        target
            .handle(Call::new("GET", "/Users").query("count", "x"))
            .status,
        400
    );
}

fn patched() -> Value {
    json!({
        "schemas": [USER, ENTERPRISE], "userName": "ada", "title": "Engineer", "active": true,
        "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"value": "ada@work", "type": "work", "primary": true}, {"value": "ada@home", "type": "home"}],
        ENTERPRISE: {"department": "R&D"},
    })
}

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

#[test]
fn members_change_one_by_one_and_atomically() {
    let target = Target::default();
    let ids: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|name| new_user(&target, name))
        .collect();
    let group = new_group(&target, "G", &[&ids[0]]);
    let path = format!("/Groups/{group}");
    let held = || -> Vec<usize> {
        let members = target.members(&group).unwrap();
        ids.iter()
            .enumerate()
            .filter(|(_, id)| members.contains(*id))
            .map(|(index, _)| index)
            .collect()
    };
    let add = |ids: &[&String]| {
        let members: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
        json!({"op": "add", "path": "members", "value": members})
    };
    let remove = |id: &str| json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")});
    let unknown = "no-such-id".to_owned();
    let steps = [
        ("add", json!([add(&[&ids[0], &ids[1]])]), 204, vec![0, 1]),
        (
            "remove one, add one",
            json!([remove(&ids[0]), add(&[&ids[2]])]),
            204,
            vec![1, 2],
        ),
        (
            "remove who is not there",
            json!([remove(&ids[0])]),
            204,
            vec![1, 2],
        ),
        (
            "refused after changes",
            json!([remove(&ids[1]), add(&[&ids[0]]), add(&[&unknown])]),
            400,
            vec![1, 2],
        ),
        (
            "refused after remove all",
            json!([{"op": "remove", "path": "members"}, add(&[&ids[0]]), {"op": "remove", "path": "displayName"}]),
            400,
            vec![1, 2],
        ),
        ("itself", json!([add(&[&group])]), 400, vec![1, 2]),
        (
            "sub-attribute",
            json!([{"op": "replace", "path": format!("members[value eq \"{}\"].value", ids[1]), "value": ids[0]}]),
            400,
            vec![1, 2],
        ),
        (
            "replace",
            json!([{"op": "replace", "path": "members", "value": [{"value": ids[0]}]}]),
            204,
            vec![0],
        ),
        (
            "without path",
            json!([{"op": "add", "value": {"members": [{"value": ids[1]}]}}]),
            204,
            vec![0, 1],
        ),
        (
            "by another filter",
            json!([{"op": "remove", "path": format!("members[value sw \"{}\"]", ids[1])}]),
            204,
            vec![0],
        ),
        (
            "all",
            json!([{"op": "remove", "path": "members"}]),
            204,
            vec![],
        ),
    ];
    for (name, operations, status, expected) in steps {
        let answer = patch(&target, &path, operations);
        assert_eq!(
            (answer.status, held()),
            (status, expected),
            "{name}: {answer:?}"
        );
    }
    assert_eq!(patch(&target, &path, json!([add(&[&ids[0]])])).status, 204);
    let shown = get(&target, &path);
    let member = json!([{"value": ids[0], "type": "User", "$ref": format!("/Users/{}", ids[0])}]);
    assert_eq!(shown["members"], member);
    let without = target.handle(Call::new("GET", &path).query("excludedAttributes", "members"));
    assert_eq!(without.body.unwrap().get("members"), None);
    target.handle(Call::new("DELETE", &format!("/Users/{}", ids[0])));
    assert_eq!(
        held(),
        Vec::<usize>::new(),
        "a deleted user is no member any more"
    );
}

#[test]
fn put_replaces_the_resource() {
    let target = Target::default();
    new_user(&target, "bob");
    let id = id(&post_user(&target, patched()));
    let path = format!("/Users/{id}");
    let put = |body: Value| target.handle(Call::new("PUT", &path).body(body));
    let answer = put(json!({"schemas": [USER], "userName": "Ada", "title": "CTO"}));
    assert_eq!(answer.status, 200);
    let user = answer.body.unwrap();
    assert_eq!((&user["title"], &user["id"]), (&json!("CTO"), &json!(id)));
    assert_eq!(
        (user.get("emails"), &user["schemas"]),
        (None, &json!([USER]))
    );
    assert_eq!(
        put(json!({"schemas": [USER], "userName": "BOB"})).status,
        409
    );
    assert_eq!(get(&target, &path)["userName"], "Ada");
    assert_eq!(
        target
            .handle(Call::new("PUT", "/Users/none").body(patched()))
            .status,
        404
    );
}

#[test]
fn one_member_of_100_000_costs_no_walk_over_the_others() {
    let target = Target::default();
    let ids: Vec<String> = (0..100_000)
        .map(|number| new_user(&target, &format!("u{number}")))
        .collect();
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let path = format!("/Groups/{}", new_group(&target, "everyone", &all));
    let started = Instant::now();
    for id in &ids[..1000] {
        let remove = json!([{"op": "remove", "path": format!("members[value eq \"{id}\"]")}]);
        assert_eq!(patch(&target, &path, remove).status, 204);
    }
    // A walk or copy of 99,000 members takes milliseconds even in a release build; 1,000 of them take far longer.
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(target.counters().members, 99_000);
}

#[test]
fn discovery_describes_the_target() {
    let emails_verified = json!({"name": "emailVerified", "type": "boolean", "multiValued": false});
    let target = Target::new(&Options {
        extra_user_attributes: vec![emails_verified],
        ..Options::default()
    });
    let config = get(&target, "/ServiceProviderConfig");
    assert_eq!(
        (&config["patch"]["supported"], &config["bulk"]["supported"]),
        (&json!(true), &json!(false))
    );
    let schemas = get(&target, "/Schemas");
    assert_eq!(
        (&schemas["totalResults"], &schemas["Resources"][0]["id"]),
        (&json!(3), &json!(USER))
    );
    let user = get(&target, &format!("/Schemas/{USER}"));
    let attributes = user["attributes"].as_array().unwrap();
    assert!(
        attributes
            .iter()
            .any(|attribute| attribute["name"] == "emailVerified")
    );
    let types = get(&target, "/ResourceTypes");
    assert_eq!(types["Resources"][1]["endpoint"], "/Groups");
    assert_eq!(
        get(&target, "/ResourceTypes/User")["schemaExtensions"][0]["schema"],
        ENTERPRISE
    );
    for missing in ["/Schemas/none", "/Bulk", "/Users/1/2", "/"] {
        assert_eq!(
            target.handle(Call::new("GET", missing)).status,
            404,
            "{missing}"
        );
    }
    assert_eq!(
        post_user(&target, json!({"userName": "u", "emailVerified": true})).status,
        201
    );
    assert_eq!(
        post_user(&target, json!({"userName": "v", "emailVerified": "yes"})).status,
        400
    );
}

#[test]
fn the_journal_has_every_call_in_order() {
    let target = Target::default();
    let mut feed = target.subscribe();
    let ada = new_user(&target, "ada");
    target.handle(Call::new("GET", "/Users"));
    target.handle(Call::new("DELETE", "/Users/none"));
    let journal = target.journal();
    let seen: Vec<_> = journal
        .iter()
        .map(|entry| (entry.sequence, entry.status, entry.is_write()))
        .collect();
    assert_eq!(seen, [(1, 201, true), (2, 200, false), (3, 404, true)]);
    assert_eq!(journal[0].resource.as_deref(), Some(ada.as_str()));
    assert_eq!(journal[0].call.body.as_ref().unwrap()["userName"], "ada");
    assert_eq!(target.journal_since(2).len(), 1);
    assert_eq!(target.journal_since(9).len(), 0);
    for expected in 1..=3 {
        assert_eq!(feed.try_recv().unwrap().sequence, expected);
    }
    assert_eq!(target.user_named("ADA").unwrap()["id"], ada);
}

#[test]
fn ids_follow_from_the_seed() {
    let options = Options::default();
    let first = new_user(&Target::new(&options), "a");
    assert_eq!(new_user(&Target::new(&options), "b"), first);
    assert_ne!(new_user(&Target::default(), "a"), first);
}

#[tokio::test]
async fn it_answers_over_http() {
    let target = Target::new(&Options {
        patch_answers_resource: true,
        ..Options::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/scim/v2", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(http::serve(
        target.clone(),
        listener,
        Some("secret".to_owned()),
        shutdown.clone(),
    ));
    let client = reqwest::Client::new();
    let users = format!("{base}/Users");

    for token in [None, Some("wrong"), Some("")] {
        let mut request = client.get(&users);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401, "{token:?}");
        assert!(answer.headers().contains_key("www-authenticate"));
    }
    let body = json!({"schemas": [USER], "userName": "ada"});
    let answer = client
        .post(&users)
        .bearer_auth("secret")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["content-type"], "application/scim+json");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&users), "{location}");

    let patch = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "add", "path": "title", "value": "x"}]});
    let answer = client
        .patch(&location)
        .bearer_auth("secret")
        .json(&patch)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap()["title"].clone()
        ),
        (200, json!("x"))
    );
    let filter = [("filter", "userName eq \"ADA\" and title pr")];
    let answer = client
        .get(&users)
        .bearer_auth("secret")
        .query(&filter)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["totalResults"], 1);
    let answer = client
        .post(&users)
        .bearer_auth("secret")
        .body("{")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    let answer = client
        .get(base.replace("/scim/v2", "/Users"))
        .bearer_auth("secret")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);

    drop(client);
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), server)
        .await
        .unwrap()
        .unwrap();
}
