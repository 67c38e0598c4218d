//! Jobs as server-sent events: live progress, the end, and what becomes of streams when the relay stops.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::Site;
use crate::program::{Api, PATIENCE};
use crate::support::relay::API_TOKEN;

/// One event as it came.
#[derive(Debug)]
struct Event {
    name: String,
    id: u64,
    job: Value,
}

/// An event stream that is being read.
struct Events {
    answer: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(api: &Api, directory: &str, job: &str) -> Self {
        let url = format!(
            "{}/api/v1/directories/{directory}/jobs/{job}/events",
            api.base
        );
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(url).bearer_auth(API_TOKEN).timeout(PATIENCE);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self {
            answer,
            text: String::new(),
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue; // keep-alive
                }
                let field = |name: &str| {
                    let mut lines = event.lines().filter_map(|line| line.split_once(": "));
                    let found = lines.find(|(field, _)| *field == name);
                    found.unwrap_or_else(|| panic!("no {name} in {event}")).1
                };
                return Some(Event {
                    name: field("event").to_owned(),
                    id: field("id").parse().unwrap(),
                    job: serde_json::from_str(field("data")).unwrap(),
                });
            }
            let chunk = self.answer.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_events_show_a_job_while_it_runs_and_its_end() {
    let site = Site::new().await;
    site.slow_creates(Duration::from_millis(300));
    let (_serving, api, directory) = site.serve();
    let job = api.start_job(&directory);
    let mut events = Events::open(&api, &directory, &job).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.id), ("job", 1));
    assert_eq!(first.job["id"], job);
    let rest = events.rest().await;
    let (last, between) = rest.split_last().unwrap();
    assert_eq!(last.name, "end");
    assert_eq!(last.job["status"], "completed");
    assert_eq!(last.job, api.job(&directory, &job));
    let ids: Vec<u64> = rest.iter().map(|event| event.id).collect();
    assert_eq!(ids, (2..2 + rest.len() as u64).collect::<Vec<_>>());
    // Step by step, though the store hears of them at the end of the phase only.
    let mut steps: Vec<u64> = between
        .iter()
        .map(|event| {
            assert_eq!(event.name, "job");
            event.job["progress"]["stepsDone"].as_u64().unwrap()
        })
        .collect();
    assert!(steps.is_sorted(), "{steps:?}");
    steps.dedup();
    assert!(steps.len() >= 4, "{rest:?}");

    // Who comes late gets the end at once, and every time.
    for _ in 0..2 {
        let mut late = Events::open(&api, &directory, &job).await.rest().await;
        let end = late.pop().unwrap();
        assert_eq!((end.name.as_str(), end.id), ("end", 1));
        assert_eq!(end.job, last.job);
        assert!(late.is_empty(), "{late:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_events_end_with_a_cancelled_job_for_everybody_who_watches() {
    let site = Site::new().await;
    site.slow_creates(Duration::from_millis(300));
    let (_serving, api, directory) = site.serve();
    let job = api.start_job(&directory);
    let mut watchers = Vec::new();
    for _ in 0..3 {
        let mut events = Events::open(&api, &directory, &job).await;
        assert_eq!(events.next().await.unwrap().name, "job");
        watchers.push(events);
    }
    // One goes away, which concerns nobody else.
    watchers.pop();
    let path = format!("/directories/{directory}/jobs/{job}/cancel");
    assert_eq!(api.post(&path, "").status, 202);
    for mut events in watchers {
        let end = events.rest().await.pop().unwrap();
        assert_eq!(end.name, "end");
        assert_eq!(end.job["status"], "cancelled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_job_that_is_read_is_as_far_as_its_events() {
    let site = Site::new().await;
    site.slow_creates(Duration::from_millis(300));
    let (_serving, api, directory) = site.serve();
    let job = api.start_job(&directory);
    let mut events = Events::open(&api, &directory, &job).await;
    loop {
        let event = events.next().await.unwrap();
        assert_eq!(event.name, "job", "{event:?}");
        let done = event.job["progress"]["stepsDone"].as_u64().unwrap();
        if done > 1 {
            let read = api.job(&directory, &job);
            assert!(read["progress"]["stepsDone"].as_u64().unwrap() >= done);
            let listed = &api.jobs(&directory)[0];
            assert!(listed["progress"]["stepsDone"].as_u64().unwrap() >= done);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_events_and_requests_under_way_end_politely_when_the_relay_stops() {
    let site = Site::new().await;
    site.slow_creates(Duration::from_millis(300));
    let (serving, api, directory) = site.serve();
    let job = api.start_job(&directory);
    let mut events = Events::open(&api, &directory, &job).await;
    assert_eq!(events.next().await.unwrap().name, "job");
    // A request that is half sent, one that has not begun, and a connection that says nothing.
    let body = "{\"mode\": \"full\"}";
    let request = format!(
        "POST /api/v1/directories/{directory}/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut half = TcpStream::connect(serving.address()).unwrap();
    half.set_read_timeout(Some(PATIENCE)).unwrap();
    half.write_all(request.as_bytes()).unwrap();
    // The relay reads the body from here on.
    let mut go_on = [0; 25];
    half.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut begun = TcpStream::connect(serving.address()).unwrap();
    begun.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    let _silent = TcpStream::connect(serving.address()).unwrap();

    let stopping = tokio::task::spawn_blocking(move || serving.terminate_with_log());
    let end = events.rest().await.pop().unwrap();
    assert_eq!(
        (end.name.as_str(), &end.job["status"]),
        ("end", &json!("interrupted"))
    );
    half.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("urn:scim-relay:problem:stopping"),
        "{answer}"
    );
    let (code, log) = stopping.await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("did not end in time"), "{log}");
}
