//! Bulk: whose outcome is whose, and what becomes of those who have none.

use axum::response::Response;
use serde_json::{Value as Json, json};

use super::target::{Asked, Target, change, create, list, reply, settings};
use crate::provider::{Lane, Outcome, Provider, open};
use crate::scim::dialect::{Bulk, Dialect};
use crate::scim::encode::Request;

/// A provider that knows that the target takes Bulk.
async fn provider(target: &Target, if_match: bool) -> Box<dyn Provider> {
    let mut settings = settings(&target.url);
    settings.dialect = Dialect {
        bulk: Bulk::WithReferences,
        if_match,
        ..Dialect::default()
    };
    let provider = open(settings).unwrap();
    provider.discover().await.unwrap();
    assert_eq!(provider.together_max(), 9);
    provider
}

/// What a target answers that gives these results to Bulk, and 204 to each change that goes alone.
fn answer(asked: &Asked, results: &[Json]) -> Response {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/scim/ServiceProviderConfig") => reply(
            200,
            json!({"patch": {"supported": true}, "bulk": {"supported": true, "maxOperations": 9}}),
        ),
        ("GET", path) if path.ends_with("Users") => list(0, &[]),
        ("GET", _) => reply(200, json!({"id": "7", "meta": {"version": "1"}})),
        ("POST", "/scim/Bulk") => reply(207, json!({"Operations": results})),
        ("PATCH", _) => reply(204, json!({})),
        _ => reply(404, json!({})),
    }
}

fn change_of(id: &str) -> Request {
    Request {
        id: Some(id.to_owned()),
        ..change()
    }
}

/// How each of three changes and a create ended, and which of them went alone besides.
async fn ended(results: Json) -> (Vec<char>, Vec<String>) {
    let results = results.as_array().unwrap().clone();
    let target = Target::start(move |asked| answer(asked, &results)).await;
    let provider = provider(&target, false).await;
    let mut requests: Vec<Request> = ["1", "2", "3"].map(change_of).to_vec();
    requests.push(create());
    let outcomes = provider.submit_together(&requests, Lane::Ordinary).await;
    let words = outcomes.unwrap().into_iter().map(|outcome| match outcome {
        Outcome::Acknowledged { .. } => 'a',
        Outcome::Refused(_) => 'r',
        Outcome::Unknown(_) => '?',
    });
    let alone = target.asked().into_iter();
    let alone = alone.filter(|asked| asked.method == "PATCH");
    (
        words.collect(),
        alone
            .map(|asked| asked.path.replace("/scim/Users/", ""))
            .collect(),
    )
}

#[tokio::test]
async fn each_outcome_belongs_to_its_own_request() {
    let made = json!({"bulkId": "r3", "status": "201", "response": {"id": "9"}});
    let done = |name: &str| json!({"bulkId": name, "status": "204"});
    let refused = |name: &str| json!({"bulkId": name, "status": "400"});
    let of = |id: &str, status: &str| json!({"method": "PATCH", "location": format!("https://x/Users/{id}"), "status": status});
    for (results, words, alone) in [
        // In another order.
        (
            json!([made, refused("r2"), done("r0"), done("r1")]),
            "aara",
            &[][..],
        ),
        // Only the create has a name.
        (
            json!([of("1", "204"), of("2", "400"), of("3", "204"), made]),
            "araa",
            &[],
        ),
        // As many as requests, but one has two answers and another has none; what may be sent twice is sent again, alone.
        (
            json!([done("r0"), refused("r0"), done("r2"), made]),
            "aaaa",
            &["1", "2"],
        ),
        // Without names and in another order: nobody gets another's outcome.
        (
            json!([of("2", "400"), of("1", "204"), of("3", "204"), made]),
            "aaaa",
            &["1", "2"],
        ),
        // The target gave up after the first, and says nothing of the others.
        (json!([refused("r0")]), "raa?", &["2", "3"]),
        // It put two of them off: a change goes again, a create is for those who asked.
        (
            json!([
                done("r0"),
                {"bulkId": "r1", "status": 429},
                done("r2"),
                {"bulkId": "r3", "status": "429"},
            ]),
            "aaar",
            &["2"],
        ),
    ] {
        let (outcomes, mut again) = ended(results.clone()).await;
        again.sort();
        assert_eq!(outcomes.iter().collect::<String>(), words, "{results}");
        assert_eq!(again, alone, "{results}");
    }
}

#[tokio::test]
async fn a_change_that_must_name_its_version_goes_alone() {
    let target = Target::start(|asked| answer(asked, &[])).await;
    let provider = provider(&target, true).await;
    let requests = [change_of("7"), create()];
    let outcomes = provider.submit_together(&requests, Lane::Ordinary).await;
    assert!(
        matches!(outcomes.as_deref(), Some([Outcome::Acknowledged { .. }])),
        "{outcomes:?}"
    );
    let asked = target.asked();
    let last = asked.last().unwrap();
    assert_eq!(
        (last.method.as_str(), last.header("if-match")),
        ("PATCH", "1")
    );
}
