//! The fault-injecting target does what its faults say, and its truth stays true.

use std::time::{Duration, Instant, SystemTime};

use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::support::fault_target::{Conflict, Fault, FaultTarget, RetryAfter, Rule, Settings};

fn client() -> Client {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

async fn post(target: &FaultTarget, name: &str) -> reqwest::Result<Response> {
    let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name});
    client()
        .post(format!("{}/Users", target.base_url()))
        .json(&body)
        .send()
        .await
}

async fn list(target: &FaultTarget, filter: Option<&str>) -> Value {
    let mut request = client().get(format!("{}/Users", target.base_url()));
    if let Some(filter) = filter {
        request = request.query(&[("filter", filter)]);
    }
    request.send().await.unwrap().json().await.unwrap()
}

fn on_post(fault: Fault) -> Vec<Rule> {
    vec![Rule::on("POST", "/Users", fault)]
}

#[tokio::test]
async fn faults_answer_and_take_effect_as_they_say() {
    let status = Fault::Status {
        code: 413,
        scim_type: Some("tooMany"),
        detail: "d",
        numeric: true,
    };
    // The fault; the status sent, none for a closed connection; whether the user is there afterwards.
    let cases = [
        (Fault::ApplyThenDrop, None, true),
        (Fault::DropBefore, None, false),
        (Fault::ApplyThenStatus(500), Some(500), true),
        (Fault::ApplyThenStatus(502), Some(502), true),
        (Fault::ApplyThenStatus(504), Some(504), true),
        (status, Some(413), false),
        (Fault::Throttle(RetryAfter::Absent), Some(429), false),
        (Fault::Unavailable(RetryAfter::Absent), Some(503), false),
        (Fault::Html, Some(200), false),
        (
            Fault::Redirect("http://127.0.0.1:1/".to_owned()),
            Some(302),
            false,
        ),
        (Fault::CreatedWithoutId, Some(201), true),
        (Fault::Accepted202, Some(202), true),
        (Fault::NoEffect, Some(204), false),
        (Fault::Slow(Duration::from_millis(50)), Some(201), true),
    ];
    for (fault, expected, applied) in cases {
        let target = FaultTarget::start(on_post(fault.clone())).await;
        let sent = post(&target, "ada")
            .await
            .ok()
            .map(|answer| answer.status().as_u16());
        assert_eq!(sent, expected, "{fault:?}");
        assert_eq!(
            target.target().user_named("ada").is_some(),
            applied,
            "{fault:?}"
        );
        let journal = target.journal();
        assert_eq!(journal.len(), 1, "{fault:?}");
        assert_eq!(
            (journal[0].sent, journal[0].took_effect()),
            (expected, applied),
            "{fault:?}"
        );
        assert_eq!(journal[0].fault.as_ref(), Some(&fault));
    }
}

#[tokio::test]
async fn conflicts_come_in_every_shape() {
    for shape in Conflict::ALL {
        let target = FaultTarget::start(on_post(Fault::Conflict(shape))).await;
        let answer = post(&target, "ada").await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let seen = (
            status,
            body["scimType"].as_str(),
            body["status"].is_number(),
            body.is_object(),
        );
        let expected = match shape {
            Conflict::Uniqueness => (409, Some("uniqueness"), false, true),
            Conflict::WithoutType | Conflict::BareDetail => (409, None, false, true),
            Conflict::NumericStatus | Conflict::OtherReason => (409, None, true, true),
            Conflict::Empty => (409, None, false, false),
            Conflict::BadRequest => (400, Some("invalidValue"), false, true),
            Conflict::ServerError => (500, None, false, true),
            Conflict::HtmlServerError => (500, None, false, false),
        };
        assert_eq!(seen, expected, "{shape:?}: {text}");
        assert_eq!(target.target().counters().users, 0, "{shape:?}");
    }
    let target = FaultTarget::start(on_post(Fault::ConflictAs(Conflict::HtmlServerError))).await;
    assert_eq!(post(&target, "ada").await.unwrap().status(), 201);
    assert_eq!(post(&target, "ADA").await.unwrap().status(), 500);
}

#[tokio::test]
async fn retry_after_comes_in_both_forms() {
    let wait = Duration::from_secs(5);
    for (retry_after, fault) in [
        (
            RetryAfter::Seconds(5),
            Fault::Throttle as fn(RetryAfter) -> Fault,
        ),
        (RetryAfter::Date(wait), Fault::Throttle),
        (RetryAfter::Rfc850Date(wait), Fault::Unavailable),
    ] {
        let target = FaultTarget::start(on_post(fault(retry_after))).await;
        let answer = post(&target, "ada").await.unwrap();
        let value = answer.headers()["retry-after"].to_str().unwrap();
        let seconds = match value.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => httpdate::parse_http_date(value)
                .unwrap()
                .duration_since(SystemTime::now())
                .unwrap(),
        };
        assert!(
            seconds > Duration::from_secs(3) && seconds < Duration::from_secs(7),
            "{value}"
        );
    }
}

#[tokio::test]
async fn rules_choose_requests() {
    let target = FaultTarget::start(vec![
        Rule::on("POST", "/Users", Fault::Accepted202).nth(2),
        Rule::on("*", "/Users", Fault::NoEffect).matching(|call| {
            call.body
                .as_ref()
                .is_some_and(|body| body["userName"] == "eve")
        }),
        Rule::on("POST", "/Groups", Fault::Html),
        Rule::on("POST", "/", Fault::ApplyThenStatus(502)).first(1),
    ])
    .await;
    let mut sent = Vec::new();
    for name in ["a", "b", "c", "eve"] {
        sent.push(post(&target, name).await.unwrap().status().as_u16());
    }
    assert_eq!(sent, [502, 202, 201, 204]);
    target.set_rules(Vec::new());
    assert_eq!(post(&target, "eve").await.unwrap().status(), 201);

    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let settings = Settings {
            seed,
            ..Settings::default()
        };
        let rules = vec![Rule::on("POST", "/Users", Fault::NoEffect).probability(0.3)];
        let target = FaultTarget::start_with(rules, settings).await;
        for number in 0..60 {
            post(&target, &format!("u{number}")).await.unwrap();
        }
        let failed: Vec<bool> = target
            .journal()
            .iter()
            .map(|exchange| exchange.fault.is_some())
            .collect();
        let share = failed.iter().filter(|failed| **failed).count();
        assert!((6..=32).contains(&share), "{share} of 60");
        runs.push(failed);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn lists_can_be_wrong() {
    let target = FaultTarget::start(Vec::new()).await;
    for name in ["a", "b", "c"] {
        post(&target, name).await.unwrap();
    }
    let filter = Some("userName eq \"b\"");
    let cases = [
        (None, filter, 1, 1),
        (
            Some(Fault::TruncatedList {
                keep: 2,
                honest_total: true,
            }),
            None,
            3,
            2,
        ),
        (
            Some(Fault::TruncatedList {
                keep: 2,
                honest_total: false,
            }),
            None,
            2,
            2,
        ),
        (Some(Fault::IgnoreFilter), filter, 3, 3),
        (Some(Fault::FindNothing), filter, 0, 0),
    ];
    for (fault, filter, total, found) in cases {
        let rules = fault.clone().map(|fault| Rule::on("GET", "/Users", fault));
        target.set_rules(rules.into_iter().collect());
        let body = list(&target, filter).await;
        let resources = body["Resources"].as_array().unwrap().len();
        assert_eq!(
            (body["totalResults"].as_u64(), resources),
            (Some(total), found),
            "{fault:?}"
        );
    }
    let group = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "g",
        "members": [{"value": target.target().user_named("a").unwrap()["id"]}]});
    target.set_rules(vec![Rule::on("POST", "/Groups", Fault::HideMembers)]);
    let answer = client()
        .post(format!("{}/Groups", target.base_url()))
        .json(&group)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["members"], json!([]));
    assert_eq!(target.target().counters().members, 1);
}

#[tokio::test]
async fn the_index_lags_behind_but_not_for_ever() {
    let lag = Duration::from_millis(400);
    let settings = Settings {
        index_lag: lag,
        token: Some("secret".to_owned()),
        ..Settings::default()
    };
    let target = FaultTarget::start_with(Vec::new(), settings).await;
    assert_eq!(post(&target, "ada").await.unwrap().status(), 401);
    let users = format!("{}/Users", target.base_url());
    let body =
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada"});
    let answer = client()
        .post(&users)
        .bearer_auth("secret")
        .json(&body)
        .send()
        .await
        .unwrap();
    let made = Instant::now();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let direct = client()
        .get(&location)
        .bearer_auth("secret")
        .send()
        .await
        .unwrap();
    assert_eq!(direct.status(), 200, "by id it is there at once");
    let mut answers = Vec::new();
    while answers.last() != Some(&1) && made.elapsed() < Duration::from_secs(10) {
        let request = client()
            .get(&users)
            .query(&[("filter", "userName eq \"ada\"")]);
        let answer = request.bearer_auth("secret").send().await.unwrap();
        answers.push(
            answer.json::<Value>().await.unwrap()["totalResults"]
                .as_u64()
                .unwrap(),
        );
    }
    assert_eq!((answers.first(), answers.last()), (Some(&0), Some(&1)));
    // The target's clock has milliseconds, and the answer to the creation took a while.
    assert!(made.elapsed() > lag / 2, "{:?}", made.elapsed());
}

#[tokio::test]
async fn what_a_client_gave_up_waiting_for_is_known_to_have_happened() {
    let target = FaultTarget::start(on_post(Fault::Slow(Duration::from_secs(60)))).await;
    let body =
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada"});
    let request = client()
        .post(format!("{}/Users", target.base_url()))
        .timeout(Duration::from_millis(500))
        .json(&body);
    assert!(request.send().await.unwrap_err().is_timeout());
    let journal = target.journal();
    assert_eq!(
        (journal.len(), journal[0].took_effect(), journal[0].sent),
        (1, true, None)
    );
    assert!(target.target().user_named("ada").is_some());
}
