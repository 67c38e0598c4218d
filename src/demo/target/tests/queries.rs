//! Filters, pages and discovery.
use serde_json::json;

use crate::demo::target::answer::Call;
use crate::demo::target::tests::{
    ENTERPRISE, USER, get, names, new_group, new_user, post_user, scim_type,
};
use crate::demo::target::{Options, Target};

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
