//! The journal, and the target over HTTP.
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::demo::target::http;

use crate::demo::target::answer::Call;
use crate::demo::target::tests::{USER, new_user};
use crate::demo::target::{Options, Target};

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
