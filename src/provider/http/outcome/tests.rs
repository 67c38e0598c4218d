//! Every shape of answer, and the outcome that it has.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::scim::ResourceType;
use crate::scim::dialect::Dialect;
use crate::scim::encode;
use serde_json::json;

/// What is expected of an outcome: a word, and the fault of a refusal.
#[derive(Debug, PartialEq)]
enum Seen {
    Done,
    Created(&'static str),
    Refused(Fault),
    Unknown(Fault),
}
use Seen::{Created, Done, Refused, Unknown};

fn seen(outcome: &Outcome) -> Seen {
    match outcome {
        Outcome::Acknowledged { id: None, .. } => Done,
        Outcome::Acknowledged { id: Some(id), .. } => Created(id.clone().leak()),
        Outcome::Refused(refusal) => Refused(refusal.fault),
        Outcome::Unknown(refusal) => Unknown(refusal.fault),
    }
}

fn post() -> Request {
    encode::create(ResourceType::User, &Default::default(), &[])
}

fn patch(operations: Json) -> Request {
    Request {
        resource_type: ResourceType::User,
        method: Method::Patch,
        id: Some("7".into()),
        body: Some(json!({ "Operations": operations })),
        bulk_id: None,
        known: encode::Known::default(),
    }
}

fn replace() -> Request {
    patch(json!([{"op": "replace", "path": "title", "value": "x"}]))
}

fn remove(count: usize) -> Request {
    let ids: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    encode::remove_members("7", &ids)
}

fn delete() -> Request {
    encode::delete(ResourceType::User, "7")
}

fn scim_error(scim_type: &str) -> Body {
    Body::Json(
        json!({"schemas": [ERROR_SCHEMA], "status": "400", "scimType": scim_type, "detail": "no"}),
    )
}

#[test]
fn every_shape_of_answer_has_its_outcome() {
    let json = |json: Json| Body::Json(json);
    let error_inside = || json(json!({"schemas": [ERROR_SCHEMA], "status": "404", "id": "1"}));
    let table = [
        // Creates: only an id proves them.
        (post(), 201, json(json!({"id": "a1"})), Created("a1")),
        (post(), 200, json(json!({"ID": 5})), Created("5")),
        (
            post(),
            201,
            json(json!({"userName": "ann"})),
            Unknown(Fault::Transient),
        ),
        (
            post(),
            201,
            json(json!({"id": ""})),
            Unknown(Fault::Transient),
        ),
        (post(), 201, json(json!([])), Unknown(Fault::Transient)),
        (post(), 201, error_inside(), Unknown(Fault::Transient)),
        (post(), 201, Body::Empty, Unknown(Fault::Transient)),
        (post(), 201, Body::Text, Unknown(Fault::Transient)),
        (post(), 201, Body::TooLong, Unknown(Fault::Transient)),
        (post(), 201, Body::BrokenOff, Unknown(Fault::Transient)),
        (post(), 200, Body::Html, Unknown(Fault::Transient)),
        (post(), 204, Body::Empty, Unknown(Fault::Transient)),
        (
            post(),
            202,
            json(json!({"id": "a1"})),
            Unknown(Fault::Transient),
        ),
        (
            post(),
            409,
            scim_error("uniqueness"),
            Refused(Fault::Rejected),
        ),
        (post(), 409, Body::Empty, Refused(Fault::Rejected)),
        (
            post(),
            400,
            scim_error("uniqueness"),
            Refused(Fault::Rejected),
        ),
        (post(), 400, Body::Html, Refused(Fault::Rejected)),
        (post(), 404, Body::Empty, Refused(Fault::Rejected)),
        (post(), 500, Body::Html, Unknown(Fault::Transient)),
        (post(), 501, Body::Empty, Refused(Fault::Rejected)),
        (post(), 502, Body::Empty, Unknown(Fault::Transient)),
        (post(), 503, Body::Empty, Unknown(Fault::Transient)),
        (post(), 504, Body::Html, Unknown(Fault::Transient)),
        // Changes: the status proves them, unless something else than the target answered.
        (replace(), 204, Body::Empty, Done),
        (replace(), 200, json(json!({"id": "7"})), Done),
        (replace(), 200, json(json!({})), Done),
        (replace(), 200, Body::Text, Done),
        (replace(), 200, Body::TooLong, Done),
        (replace(), 200, Body::Html, Unknown(Fault::Transient)),
        (replace(), 200, Body::BrokenOff, Unknown(Fault::Transient)),
        (replace(), 200, error_inside(), Unknown(Fault::Transient)),
        (replace(), 202, Body::Empty, Unknown(Fault::Transient)),
        (replace(), 404, Body::Empty, Refused(Fault::Drifted)),
        (replace(), 410, Body::Empty, Refused(Fault::Drifted)),
        (
            replace(),
            400,
            scim_error("noTarget"),
            Refused(Fault::Rejected),
        ),
        (replace(), 412, Body::Empty, Refused(Fault::Drifted)),
        (replace(), 428, Body::Empty, Refused(Fault::Rejected)),
        (replace(), 413, Body::Html, Refused(Fault::Rejected)),
        (replace(), 405, Body::Html, Refused(Fault::Rejected)),
        (replace(), 408, Body::Empty, Unknown(Fault::Transient)),
        (replace(), 500, Body::Empty, Unknown(Fault::Transient)),
        (replace(), 599, Body::Empty, Unknown(Fault::Transient)),
        (replace(), 999, Body::Empty, Refused(Fault::Rejected)),
        // Removals of what is not there: one is done, of several none was carried out.
        (remove(1), 400, scim_error("noTarget"), Done),
        (remove(1), 404, scim_error("NoTarget"), Done),
        (
            remove(2),
            400,
            scim_error("noTarget"),
            Refused(Fault::Rejected),
        ),
        (
            remove(1),
            400,
            scim_error("invalidPath"),
            Refused(Fault::Rejected),
        ),
        (delete(), 204, Body::Empty, Done),
        (delete(), 200, json(json!({})), Done),
        (delete(), 404, Body::Empty, Done),
        (delete(), 410, scim_error(""), Done),
        (delete(), 404, Body::Html, Refused(Fault::Drifted)),
        (delete(), 202, Body::Empty, Unknown(Fault::Transient)),
        (delete(), 500, Body::Empty, Unknown(Fault::Transient)),
        // The same for all.
        (post(), 401, Body::Empty, Refused(Fault::Denied)),
        (post(), 403, Body::Html, Refused(Fault::Rejected)),
        (post(), 429, Body::Html, Refused(Fault::Throttled)),
        (delete(), 429, Body::Empty, Refused(Fault::Throttled)),
        (post(), 302, Body::Html, Refused(Fault::Denied)),
        (replace(), 308, Body::Empty, Refused(Fault::Denied)),
    ];
    for (request, status, body, expected) in table {
        let told = format!("{} {status} {body:?}", request.method.as_str());
        let answer = Answer {
            status,
            headers: Default::default(),
            body,
            throttled: false,
        };
        let outcome = classify(&request, "LABEL", &answer);
        assert_eq!(seen(&outcome), expected, "{told}");
        if let Outcome::Refused(refusal) | Outcome::Unknown(refusal) = outcome {
            assert_eq!(refusal.status, Some(status), "{told}");
            assert!(refusal.message.starts_with("LABEL answered"), "{refusal}");
        }
    }
}

#[test]
fn a_message_says_what_the_target_said_bounded_and_harmless() {
    for (body, words) in [
        (
            json!({"scimType": "invalidPath", "detail": "bad path", "status": 400}),
            "invalidPath (bad path)",
        ),
        (json!({"Detail": "", "message": "m"}), "400 (m)"),
        (json!({"error": {"code": 1}}), "400; correct"),
        (json!({"detail": 7, "scimType": null}), "400; correct"),
        (json!({"detail": "a\r\nb\u{1b}[31m"}), r"(a\r\nb\u{1b}[31m)"),
        (json!("text"), "400; correct"),
    ] {
        let answer = Answer {
            status: 400,
            headers: Default::default(),
            body: Body::Json(body),
            throttled: false,
        };
        let message = refusal("PATCH /Users/7", &answer).message;
        assert!(message.contains(words), "{message}");
    }
    let answer = Answer {
        status: 400,
        headers: Default::default(),
        body: Body::Json(json!({"detail": "ä".repeat(10_000)})),
        throttled: false,
    };
    let refusal = refusal("PATCH /Users/7", &answer);
    assert!(refusal.message.chars().count() < 700);
}

#[test]
fn a_redirect_names_the_host_that_it_points_to_and_no_more() {
    let mut headers = reqwest::header::HeaderMap::new();
    let location = "https://login.example.com/?secret=hunter2";
    headers.insert(LOCATION, location.parse().unwrap());
    let answer = Answer {
        status: 302,
        headers,
        body: Body::Empty,
        throttled: false,
    };
    let message = refusal("GET /Users", &answer).message;
    assert!(message.contains("login.example.com") && !message.contains("hunter2"));
}

#[test]
fn what_may_be_sent_twice_is_known() {
    let ids = ["1".to_owned()];
    let add = encode::add_members("7", &ids, &Dialect::default());
    for (request, repeatable) in [
        (post(), false),
        (replace(), true),
        (delete(), true),
        (remove(3), true),
        (add, false),
        (
            patch(json!([{"op": "add", "path": "title", "value": "x"}])),
            true,
        ),
        (
            patch(json!([{"op": "add", "path": "emails", "value": [{"value": "x"}]}])),
            false,
        ),
    ] {
        assert_eq!(is_repeatable(&request), repeatable, "{:?}", request.body);
    }
}

#[test]
fn halves_hold_every_operation_once() {
    let whole = remove(5);
    let [left, right] = halves(&whole).unwrap();
    let joined = [operations(&left), operations(&right)].concat();
    assert_eq!(joined, operations(&whole));
    assert!(halves(&remove(1)).is_none() && halves(&post()).is_none());
}
