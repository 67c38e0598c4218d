//! Changes that name the version that they are about, and throttling that does not look like it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::header::{ETAG, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::target::{Asked, Target, change, create, html, reply, settings};
use crate::fault::Fault;
use crate::provider::{Lane, Outcome, Provider, Settings, open};
use crate::scim::ResourceType;
use crate::scim::dialect::Dialect;
use crate::scim::encode;
use crate::scim::pace::Throttling;

fn conditional(target: &Target) -> Box<dyn Provider> {
    let dialect = Dialect {
        if_match: true,
        ..Dialect::default()
    };
    let settings = Settings {
        dialect,
        ..settings(&target.url)
    };
    open(settings).unwrap()
}

/// A target that wants to be told the version of its one resource, which changes by itself before the first few writes.
async fn strict(by_others: usize, by_header: bool) -> Target {
    let version = Arc::new(Mutex::new((1, by_others)));
    Target::start(move |asked: &Asked| {
        let mut version = version.lock().unwrap();
        let tag = format!("W/\"{}\"", version.0);
        if asked.method == "GET" {
            let body =
                json!({"id": "7", "meta": if by_header { json!({}) } else { json!({"version": tag}) }});
            let answer = reply(200, body);
            return match by_header {
                true => ([(ETAG, tag)], answer).into_response(),
                false => answer,
            };
        }
        if asked.header("if-match").is_empty() {
            return reply(428, json!({}));
        }
        if version.1 > 0 {
            *version = (version.0 + 1, version.1 - 1);
        }
        if asked.header("if-match") != format!("W/\"{}\"", version.0) {
            return reply(412, json!({}));
        }
        version.0 += 1;
        reply(204, json!({}))
    })
    .await
}

#[tokio::test]
async fn a_change_names_the_version_that_was_read_just_before() {
    for by_header in [true, false] {
        let target = strict(0, by_header).await;
        let provider = conditional(&target);
        for request in [
            change(),
            encode::delete(ResourceType::User, "7"),
            encode::add_members("7", &["1".into()], &Dialect::default()),
        ] {
            let outcome = provider.submit(&request, Lane::Urgent).await;
            assert!(
                matches!(outcome, Outcome::Acknowledged { .. }),
                "{outcome:?}"
            );
        }
        let asked = target.asked();
        let methods: Vec<&str> = asked.iter().map(|asked| asked.method.as_str()).collect();
        assert_eq!(methods, ["GET", "PATCH", "GET", "DELETE", "GET", "PATCH"]);
        assert_eq!(asked[4].parameter("excludedAttributes"), Some("members"));
    }
}

#[tokio::test]
async fn a_version_that_was_overtaken_is_read_again_once_and_not_for_ever() {
    for (by_others, requests, done) in [(1, 4, true), (9, 4, false)] {
        let target = strict(by_others, true).await;
        let outcome = conditional(&target).submit(&change(), Lane::Urgent).await;
        assert_eq!(matches!(outcome, Outcome::Acknowledged { .. }), done);
        if let Outcome::Refused(refusal) = outcome {
            assert_eq!((refusal.status, refusal.fault), (Some(412), Fault::Drifted));
        }
        assert_eq!(target.asked().len(), requests);
    }
}

#[tokio::test]
async fn a_target_that_wants_a_version_is_refused_with_the_cure_and_asked_once() {
    let target = strict(0, true).await;
    let outcome = target.provider().submit(&change(), Lane::Urgent).await;
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(refusal.message.contains("ifMatch = true"), "{refusal}");
    assert_eq!(target.asked().len(), 1);
}

#[tokio::test]
async fn what_is_gone_is_said_to_be_gone_with_conditions_too() {
    let target = Target::start(|_| reply(404, json!({}))).await;
    let provider = conditional(&target);
    let gone = provider.submit(&change(), Lane::Urgent).await;
    assert!(matches!(gone, Outcome::Refused(refusal) if refusal.fault == Fault::Drifted));
    let delete = encode::delete(ResourceType::User, "7");
    let deleted = provider.submit(&delete, Lane::Urgent).await;
    assert!(
        matches!(deleted, Outcome::Acknowledged { .. }),
        "{deleted:?}"
    );
}

/// A provider whose target says "too many requests" by a 500 with this text.
fn knowing(target: &Target) -> Box<dyn Provider> {
    let sign = Throttling {
        status: 500,
        text: "REQUEST_LIMIT_EXCEEDED".into(),
    };
    let dialect = Dialect {
        throttling: vec![sign],
        ..Dialect::default()
    };
    let settings = Settings {
        dialect,
        ..settings(&target.url)
    };
    open(settings).unwrap()
}

#[tokio::test]
async fn a_500_that_means_too_many_requests_is_repeated_even_for_a_create() {
    let said: [fn() -> Response; 3] = [
        || reply(500, json!({"detail": "REQUEST_LIMIT_EXCEEDED: slow down"})),
        || (reply(500, json!({})).status(), "REQUEST_LIMIT_EXCEEDED").into_response(),
        || {
            let status = reply(500, json!({})).status();
            (status, [(RETRY_AFTER, "1")], "<p>REQUEST_LIMIT_EXCEEDED").into_response()
        },
    ];
    for said in said {
        let target = Target::start(move |asked| match asked.before {
            0 => said(),
            _ => reply(201, json!({"id": "7"})),
        })
        .await;
        let outcome = knowing(&target).submit(&create(), Lane::Ordinary).await;
        assert!(
            matches!(outcome, Outcome::Acknowledged { .. }),
            "{outcome:?}"
        );
        let asked = target.asked();
        assert_eq!(asked.len(), 2);
        if said().headers().contains_key(RETRY_AFTER) {
            assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
        }
    }
}

#[tokio::test]
async fn another_500_with_or_without_the_knowledge_leaves_a_create_in_doubt() {
    let told = Arc::new(AtomicUsize::new(0));
    for limit in [true, false] {
        let told = told.clone();
        let target = Target::start(move |_| {
            told.fetch_add(1, Ordering::SeqCst);
            match limit {
                true => reply(500, json!({"detail": "REQUEST_LIMIT_EXCEEDED"})),
                false => html(500),
            }
        })
        .await;
        let provider = match limit {
            true => target.provider(),
            false => knowing(&target),
        };
        let outcome = provider.submit(&create(), Lane::Ordinary).await;
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    }
    assert_eq!(told.load(Ordering::SeqCst), 2);
}
