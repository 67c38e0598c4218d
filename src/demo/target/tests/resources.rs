//! Resources are created, read, replaced and deleted; groups have members.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::demo::target::answer::{Answer, Call};
use crate::demo::target::tests::{
    ENTERPRISE, GROUP, USER, get, id, new_group, new_user, patch, patched, post_user, scim_type,
};
use crate::demo::target::{Options, Target};

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
fn ids_follow_from_the_seed() {
    let options = Options::default();
    let first = new_user(&Target::new(&options), "a");
    assert_eq!(new_user(&Target::new(&options), "b"), first);
    assert_ne!(new_user(&Target::default(), "a"), first);
}
