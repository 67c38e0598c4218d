//! What the gate learns of the requests that pass it: their verbs, and how long the target takes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::target::{Target, change, create, reply, settings};
use crate::provider::{Lane, Outcome, Settings, open};
use crate::scim::pace::{Rate, Rates};

#[tokio::test]
async fn creates_that_wait_for_their_limit_let_changes_pass() {
    let target = Target::start(|_| reply(201, json!({"id": "7"}))).await;
    let rates = Rates {
        create: Some(Rate::new(2, 1, None).unwrap()),
        ..Rates::default()
    };
    let provider = open(Settings {
        rates,
        ..settings(&target.url)
    })
    .unwrap();
    let (create, change) = (create(), change());
    let creates = (0..4).map(|_| provider.submit(&create, Lane::Urgent));
    let changes = (0..20).map(|_| provider.submit(&change, Lane::Ordinary));
    tokio::join!(join_all(creates), join_all(changes));
    let asked = target.asked();
    let begun = asked[0].at;
    let of = |method: &str| {
        let of = asked.iter().filter(|asked| asked.method == method);
        of.map(|asked| asked.at - begun).collect::<Vec<_>>()
    };
    let (creates, changes) = (of("POST"), of("PATCH"));
    assert_eq!((creates.len(), changes.len()), (4, 20));
    assert!(creates[3] > Duration::from_millis(1_400), "{creates:?}");
    assert!(changes[19] < Duration::from_millis(1_000), "{changes:?}");
}

/// How many requests a target has, and how many it had at most lately.
#[derive(Default)]
struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[tokio::test]
async fn a_target_that_becomes_slow_gets_fewer_requests_at_a_time() {
    let (load, latency) = (
        Arc::new(Load::default()),
        Arc::new(Mutex::new(Duration::from_millis(20))),
    );
    let (seen, takes) = (load.clone(), latency.clone());
    let target = Target::start_slow(move |_| {
        let takes = *takes.lock().unwrap();
        let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        let seen = seen.clone();
        tokio::spawn(async move {
            tokio::time::sleep(takes).await;
            seen.now.fetch_sub(1, Ordering::SeqCst);
        });
        (takes, reply(204, json!({})))
    })
    .await;
    let patient = Settings {
        answer_timeout: Duration::from_secs(10),
        ..settings(&target.url)
    };
    let provider = open(patient).unwrap();
    let request = change();
    let most_of = async |requests: usize| {
        load.most.store(0, Ordering::SeqCst);
        let outcomes = (0..requests).map(|_| provider.submit(&request, Lane::Ordinary));
        for outcome in join_all(outcomes).await {
            assert!(
                matches!(outcome, Outcome::Acknowledged { .. }),
                "{outcome:?}"
            );
        }
        load.most.load(Ordering::SeqCst)
    };
    assert!(most_of(100).await >= 8);
    *latency.lock().unwrap() = Duration::from_millis(400);
    let begun = Instant::now();
    while most_of(8).await > 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "never fewer");
    }
    *latency.lock().unwrap() = Duration::from_millis(20);
    let begun = Instant::now();
    while most_of(50).await < 8 {
        assert!(begun.elapsed() < Duration::from_secs(30), "never more");
    }
}
