//! Writes: what is repeated, what is not, and what the outcome is.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::target::{Target, broken_off, change, create, html, list, reply, settings};
use crate::fault::Fault;
use crate::provider::{Lane, LookupBy, Outcome, RequestCounts, open};
use crate::scim::ResourceType;
use crate::scim::dialect::Dialect;
use crate::scim::encode;

fn fault_of(outcome: &Outcome) -> (&'static str, Fault) {
    match outcome {
        Outcome::Refused(refusal) => ("refused", refusal.fault),
        Outcome::Unknown(refusal) => ("unknown", refusal.fault),
        Outcome::Acknowledged { .. } => panic!("acknowledged"),
    }
}

#[tokio::test]
async fn a_create_whose_outcome_is_unclear_is_sent_once() {
    let answers: [fn() -> Response; 5] = [
        || reply(500, json!({"detail": "x"})),
        || html(200),
        || broken_off(201),
        || reply(202, json!({})),
        || reply(201, json!({"userName": "ann"})),
    ];
    for answer in answers {
        let target = Target::start(move |_| answer()).await;
        let provider = target.provider();
        let outcome = provider.submit(&create(), Lane::Ordinary).await;
        assert_eq!(
            fault_of(&outcome),
            ("unknown", Fault::Transient),
            "{outcome:?}"
        );
        assert_eq!(target.asked().len(), 1);
        assert_eq!(provider.counts(), RequestCounts { read: 0, write: 1 });
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_unknown_and_a_create_is_sent_once() {
    let target = Target::start_slow(|_| (Duration::from_secs(60), html(200))).await;
    let begun = Instant::now();
    let outcome = target.provider().submit(&create(), Lane::Ordinary).await;
    assert_eq!(fault_of(&outcome), ("unknown", Fault::Transient));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(target.asked().len(), 1);
}

#[tokio::test]
async fn an_answer_that_trickles_is_cut_off() {
    let target = Target::start(|_| {
        let drops = futures_util::stream::repeat(b" ").then(async |drop| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, std::io::Error>(&drop[..])
        });
        Body::from_stream(drops).into_response()
    })
    .await;
    let begun = Instant::now();
    let outcome = target.provider().submit(&create(), Lane::Ordinary).await;
    assert_eq!(fault_of(&outcome), ("unknown", Fault::Transient));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_dropped_connection_is_unknown_and_a_create_is_sent_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 1_000]).await;
        }
    });
    let provider = open(settings(&url)).unwrap();
    let outcome = provider.submit(&create(), Lane::Ordinary).await;
    assert_eq!(fault_of(&outcome), ("unknown", Fault::Transient));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let outcome = provider.submit(&change(), Lane::Ordinary).await;
    assert_eq!(fault_of(&outcome), ("unknown", Fault::Transient));
    assert_eq!(connections.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_target_that_is_not_there_is_a_refusal_since_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let provider = open(settings(&format!("http://{address}"))).unwrap();
    let outcome = provider.submit(&create(), Lane::Ordinary).await;
    assert_eq!(
        fault_of(&outcome),
        ("refused", Fault::Transient),
        "{outcome:?}"
    );
    assert_eq!(provider.counts(), RequestCounts::default());
}

#[tokio::test]
async fn a_create_is_sent_again_when_the_target_comes_up_in_between() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut settings = settings(&format!("http://{address}"));
    settings.attempts_max = 10;
    settings.retry_pause = Duration::from_millis(20);
    let provider = open(settings).unwrap();
    let request = create();
    let up = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let listener = TcpListener::bind(address).await.unwrap();
        let app = axum::Router::new().fallback(async || reply(201, json!({"id": "7"})));
        tokio::spawn(async { axum::serve(listener, app).await });
    };
    let (outcome, ()) = tokio::join!(provider.submit(&request, Lane::Ordinary), up);
    assert!(
        matches!(outcome, Outcome::Acknowledged { id: Some(_), .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn changes_and_deletes_are_repeated_until_they_are_clear_or_the_tries_are_used_up() {
    for (failures, tries, clear) in [(2, 3, true), (9, 3, false)] {
        for request in [change(), encode::delete(ResourceType::User, "7")] {
            let target = Target::start(move |asked| match asked.before {
                before if before < failures => reply(500, json!({})),
                _ => reply(204, json!({})),
            })
            .await;
            let outcome = target.provider().submit(&request, Lane::Ordinary).await;
            assert_eq!(matches!(outcome, Outcome::Acknowledged { .. }), clear);
            assert_eq!(matches!(outcome, Outcome::Unknown(_)), !clear);
            assert_eq!(target.asked().len(), tries);
        }
    }
}

#[tokio::test]
async fn an_addition_of_members_whose_outcome_is_unclear_is_sent_once() {
    let target = Target::start(|_| reply(504, json!({}))).await;
    let request = encode::add_members("g", &["1".into()], &Dialect::default());
    let outcome = target.provider().submit(&request, Lane::Ordinary).await;
    assert_eq!(fault_of(&outcome), ("unknown", Fault::Transient));
    assert_eq!(target.asked().len(), 1);
}

#[tokio::test]
async fn a_429_is_repeated_after_the_time_that_it_names_and_holds_the_others() {
    let target = Target::start(|asked| match asked.before {
        0 => (reply(429, json!({})).status(), [(RETRY_AFTER, "1")]).into_response(),
        _ => reply(201, json!({"id": "7"})),
    })
    .await;
    let provider = target.provider();
    let first = create();
    let other = async {
        // The other one comes when the first has been told to wait.
        while provider.counts().write == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        provider.submit(&create(), Lane::Urgent).await
    };
    let (first, other) = tokio::join!(provider.submit(&first, Lane::Ordinary), other);
    assert!(matches!(first, Outcome::Acknowledged { .. }), "{first:?}");
    assert!(matches!(other, Outcome::Acknowledged { .. }), "{other:?}");
    let asked = target.asked();
    assert_eq!(asked.len(), 3);
    for later in &asked[1..] {
        assert!(later.at - asked[0].at >= Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_target_that_stays_busy_is_a_refusal_in_the_end() {
    let target = Target::start(|_| reply(429, json!({"detail": "slow down"}))).await;
    let outcome = target.provider().submit(&create(), Lane::Ordinary).await;
    assert_eq!(fault_of(&outcome), ("refused", Fault::Throttled));
    assert_eq!(target.asked().len(), 3);
}

#[tokio::test]
async fn a_doubt_is_not_forgotten_when_a_later_try_is_turned_away() {
    let target = Target::start(|asked| match asked.before {
        0 => reply(500, json!({})),
        _ => reply(429, json!({})),
    })
    .await;
    let outcome = target.provider().submit(&change(), Lane::Ordinary).await;
    assert_eq!(fault_of(&outcome), ("unknown", Fault::Throttled));
}

#[tokio::test]
async fn target_redirects_are_followed_on_no_method_and_the_token_goes_nowhere_else() {
    let elsewhere = Target::start(|_| reply(201, json!({"id": "7"}))).await;
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.url.clone();
        let target = Target::start(move |_| {
            let status = reply(status, json!({})).status();
            (status, [(LOCATION, location.clone())]).into_response()
        })
        .await;
        let provider = target.provider();
        for request in [create(), change(), encode::delete(ResourceType::User, "7")] {
            let outcome = provider.submit(&request, Lane::Ordinary).await;
            assert_eq!(fault_of(&outcome), ("refused", Fault::Denied), "{status}");
            assert!(
                matches!(outcome, Outcome::Refused(refusal) if refusal.message.contains("127.0.0.1"))
            );
        }
        let found = provider.find(ResourceType::User, LookupBy::Name, "ann", Lane::Ordinary);
        let refusals = [
            found.await.map(|_| ()),
            provider.get(ResourceType::User, "7").await.map(|_| ()),
            provider.list(ResourceType::User, None).await.map(|_| ()),
            provider.discover().await.map(|_| ()),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap_err().fault, Fault::Denied, "{status}");
        }
    }
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test]
async fn a_403_concerns_the_row_unless_reads_are_refused_too() {
    for (reads, fault) in [
        (200, Fault::Rejected),
        (403, Fault::Denied),
        (401, Fault::Denied),
        (500, Fault::Rejected),
    ] {
        let target = Target::start(move |asked| match (asked.method.as_str(), reads) {
            ("GET", 200) => list(0, &[]),
            ("GET", status) => reply(status, json!({})),
            _ => reply(403, json!({})),
        })
        .await;
        let provider = target.provider();
        for _ in 0..2 {
            let outcome = provider.submit(&change(), Lane::Urgent).await;
            assert_eq!(fault_of(&outcome), ("refused", fault), "{outcome:?}");
        }
        if reads == 200 {
            assert_eq!(provider.counts(), RequestCounts { read: 1, write: 2 });
        }
    }
}

#[tokio::test]
async fn a_large_answer_to_a_change_is_not_read_and_does_not_matter() {
    let target =
        Target::start(|_| reply(200, json!({"id": "7", "members": "x".repeat(3 << 20)}))).await;
    let outcome = target.provider().submit(&change(), Lane::Ordinary).await;
    assert_eq!(
        outcome,
        Outcome::Acknowledged {
            id: None,
            resource: None
        }
    );
}

#[tokio::test]
async fn removals_of_which_some_are_done_already_are_all_done_in_the_end() {
    // The target refuses the whole request when one member is not there (RFC 7644 §3.5.2).
    let members: Arc<Mutex<Vec<usize>>> = Arc::new(Mutex::new((0..20).collect()));
    members
        .lock()
        .unwrap()
        .retain(|member| ![3, 11].contains(member));
    let held = members.clone();
    let target = Target::start(move |asked| {
        let mut held = held.lock().unwrap();
        let body = asked.json();
        let mut left = held.clone();
        for operation in body["Operations"].as_array().unwrap() {
            let path = operation["path"].as_str().unwrap();
            let at = left
                .iter()
                .position(|member| path == format!("members[value eq \"{member}\"]"));
            match at {
                Some(at) => drop(left.remove(at)),
                None => return reply(400, json!({"scimType": "noTarget"})),
            }
        }
        *held = left;
        reply(204, json!({}))
    })
    .await;
    let ids: Vec<String> = (0..16).map(|n: usize| n.to_string()).collect();
    let outcome = target
        .provider()
        .submit(&encode::remove_members("g", &ids), Lane::Urgent)
        .await;
    assert!(
        matches!(outcome, Outcome::Acknowledged { .. }),
        "{outcome:?}"
    );
    assert_eq!(*members.lock().unwrap(), [16, 17, 18, 19]);
    assert!(target.asked().len() <= 16, "{}", target.asked().len());
}
