//! What fuzzers call of the provider: an answer as a target, or what stands before it, may send it.

use reqwest::header::HeaderMap;
use serde_json::Value as Json;

use crate::provider::http::client::{Answer, Body, body};
use crate::provider::http::outcome::{classify, halves, is_repeatable, json_of, refusal};
use crate::scim::ResourceType;
use crate::scim::dialect::Dialect;
use crate::scim::encode::{self, Request};
use crate::scim::path::AttributePath;
use crate::scim::resource::{self, Found, ListPage};

/// Reads an answer to every kind of request.
pub(in crate::provider) fn answer(status: u16, bytes: &[u8]) {
    let answer = || Answer {
        status,
        headers: HeaderMap::new(),
        body: body(bytes, &[]),
        throttled: status == 429,
    };
    for request in requests() {
        let _ = classify(&request, "the target", &answer());
        let _ = halves(&request).is_some() && is_repeatable(&request);
    }
    let _ = refusal("the target", &answer());
    let _ = json_of("the target", answer());
    let Body::Json(json) = answer().body else {
        return;
    };
    found(&json);
    if let Ok(page) = ListPage::from_json(&json) {
        page.resources.iter().for_each(found);
    }
}

fn requests() -> Vec<Request> {
    let members = ["1".to_owned(), "2".to_owned()];
    let dialect = Dialect::default();
    let create = encode::create(ResourceType::Group, &Default::default(), &members);
    vec![
        create,
        encode::add_members("7", &members, &dialect),
        encode::remove_members("7", &members),
        encode::delete(ResourceType::User, "7"),
    ]
}

fn found(json: &Json) {
    let _ = Found::from_json(json);
    let _ = resource::member_ids(json);
    let _ = resource::emails(json).count();
    let paths = [
        AttributePath::active(),
        AttributePath::user_name(),
        AttributePath::work_email(),
        AttributePath::manager(),
        AttributePath::core("roles"),
    ];
    let held = resource::project(json, &paths, |_, _| true, &Dialect::default());
    assert!(held.len() <= paths.len());
}
