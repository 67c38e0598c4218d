//! Reads: look-ups, pages, single resources, discovery.

use axum::response::Response;
use serde_json::{Value as Json, json};

use super::target::{Asked, Target, html, list, reply};
use crate::fault::Fault;
use crate::provider::{Capabilities, Lane, LookupBy, Provider};
use crate::scim::ResourceType::{Group, User};

type Answer = fn(&Asked) -> Response;

fn user(number: usize) -> Json {
    json!({"id": number.to_string(), "externalId": format!("anchor-{number}"), "userName": format!("User{number}")})
}

/// Pages of a number of users, as the parameters ask for them.
fn pages(asked: &Asked, users: usize) -> Response {
    let number = |name| {
        asked
            .parameter(name)
            .map(|text| text.parse::<usize>().unwrap())
    };
    let start = number("startIndex").unwrap_or(1);
    let count = number("count").unwrap_or(20);
    let page: Vec<Json> = (start..=users).take(count).map(user).collect();
    list(users, &page)
}

async fn ids(provider: &dyn Provider, by: LookupBy, value: &str) -> Vec<String> {
    let found = provider
        .find(User, by, value, Lane::Ordinary)
        .await
        .unwrap();
    found.into_iter().map(|found| found.id).collect()
}

#[tokio::test]
async fn a_look_up_asks_by_filter_and_checks_every_hit() {
    let target = Target::start(|asked| match asked.parameter("filter") {
        Some(r#"externalId eq "a\"b & c""#) => {
            list(1, &[json!({"id": "7", "externalId": "a\"b & c"})])
        }
        Some(r#"userName eq "ann""#) => list(1, &[json!({"id": "8", "userName": "Ann"})]),
        Some(r#"externalId eq "ANCHOR""#) => list(1, &[json!({"id": "9", "externalId": "anchor"})]),
        Some(r#"externalId eq "gone""#) => reply(404, json!({})),
        Some(r#"externalId eq "twice""#) => list(
            2,
            &[
                json!({"id": "1", "externalId": "twice"}),
                json!({"id": "2", "externalId": "twice"}),
            ],
        ),
        _ => list(0, &[]),
    })
    .await;
    let provider = target.provider();
    for (by, value, expected) in [
        (LookupBy::ExternalId, "a\"b & c", vec!["7"]),
        (LookupBy::Name, "ann", vec!["8"]),
        (LookupBy::ExternalId, "ANCHOR", vec![]),
        (LookupBy::ExternalId, "gone", vec![]),
        (LookupBy::ExternalId, "twice", vec!["1", "2"]),
        (LookupBy::ExternalId, "nobody", vec![]),
    ] {
        assert_eq!(ids(&*provider, by, value).await, expected, "{value}");
    }
    assert_eq!(target.asked().len(), 6, "no list was read");
}

#[tokio::test]
async fn a_target_that_does_not_filter_is_noticed_once_and_its_list_read_instead() {
    let ignores: Answer = |asked| pages(asked, 25);
    let refuses: Answer = |asked| match asked.parameter("filter") {
        Some(_) => reply(400, json!({"scimType": "invalidFilter"})),
        None => pages(asked, 25),
    };
    let cannot: Answer = |asked| match asked.parameter("filter") {
        Some(_) => html(501),
        None => pages(asked, 25),
    };
    for answer in [ignores, refuses, cannot] {
        let target = Target::start(answer).await;
        let provider = target.provider();
        assert_eq!(
            ids(&*provider, LookupBy::ExternalId, "anchor-23").await,
            ["23"]
        );
        assert_eq!(target.asked().len(), 1 + 3);
        assert!(
            ids(&*provider, LookupBy::ExternalId, "nobody")
                .await
                .is_empty()
        );
        let asked = target.asked();
        let filtered = asked
            .iter()
            .filter(|asked| asked.parameter("filter").is_some());
        assert_eq!(filtered.count(), 1, "the filter is not tried again");
        assert_eq!(ids(&*provider, LookupBy::Name, "user7").await, ["7"]);
    }
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_no_evidence_of_absence() {
    let answers: [fn() -> Response; 6] = [
        || html(200),
        || html(404),
        || reply(200, json!({})),
        || reply(200, json!({"id": "7"})),
        || reply(500, json!({})),
        || reply(403, json!({})),
    ];
    for answer in answers {
        let target = Target::start(move |_| answer()).await;
        let provider = target.provider();
        let found = provider
            .find(User, LookupBy::Name, "ann", Lane::Ordinary)
            .await;
        assert!(found.is_err(), "{found:?}");
        assert!(provider.list(Group, None).await.is_err());
    }
}

#[tokio::test]
async fn a_passing_failure_of_a_read_is_repeated() {
    let target = Target::start(|asked| match asked.before {
        0 | 1 => reply(502, json!({})),
        _ => pages(asked, 1),
    })
    .await;
    let page = target.provider().list(User, None).await.unwrap();
    assert_eq!((page.resources.len(), page.next), (1, None));
    assert_eq!(target.asked().len(), 3);
}

/// Reads pages to the end.
async fn all(provider: &dyn Provider) -> Result<Vec<String>, Fault> {
    let mut ids = Vec::new();
    let mut start = None;
    loop {
        let page = provider
            .list(User, start.as_ref())
            .await
            .map_err(|refusal| refusal.fault)?;
        ids.extend(
            page.resources
                .into_iter()
                .map(|found| found["id"].as_str().unwrap().to_owned()),
        );
        start = page.next;
        if start.is_none() {
            return Ok(ids);
        }
    }
}

#[tokio::test]
async fn lists_are_read_to_the_end_of_what_the_target_gives() {
    let answers: [(Answer, Result<usize, Fault>); 7] = [
        (|asked| pages(asked, 25), Ok(25)),
        (|asked| pages(asked, 20), Ok(20)),
        (|asked| pages(asked, 0), Ok(0)),
        // No paging, but everything at once.
        (
            |_| list(25, &(1..=25).map(user).collect::<Vec<_>>()),
            Ok(25),
        ),
        // No paging, and always the same first page.
        (
            |_| list(25, &(1..=10).map(user).collect::<Vec<_>>()),
            Err(Fault::Transient),
        ),
        // Fewer than it claims, which who asks for all of them sees from the total.
        (
            |asked| match asked.parameter("startIndex") {
                Some("1") => list(25, &(1..=10).map(user).collect::<Vec<_>>()),
                _ => list(25, &[]),
            },
            Ok(10),
        ),
        // No total: the empty page ends it.
        (
            |asked| match asked.parameter("startIndex") {
                Some("1") => reply(200, json!({"schemas": [], "Resources": [user(1), user(2)]})),
                _ => reply(200, json!({"schemas": [], "Resources": []})),
            },
            Ok(2),
        ),
    ];
    for (at, (answer, expected)) in answers.into_iter().enumerate() {
        let target = Target::start(answer).await;
        let read = all(&*target.provider()).await.map(|ids| ids.len());
        assert_eq!(read, expected, "case {at}");
    }
}

#[tokio::test]
async fn a_list_larger_than_the_relay_reads_is_refused() {
    let target = Target::start(|_| list(1, &[json!({"id": "1", "x": "x".repeat(17 << 20)})])).await;
    let mut settings = super::target::settings(&target.url);
    settings.answer_timeout = std::time::Duration::from_secs(20);
    let provider = crate::provider::open(settings).unwrap();
    let refusal = provider.list(User, None).await.unwrap_err();
    assert!(
        refusal.message.contains("more than the relay reads"),
        "{refusal}"
    );
    let refusal = provider.get(User, "1").await.unwrap_err();
    assert!(
        refusal.message.contains("more than the relay reads"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_resource_is_read_by_its_id_and_must_be_that_one() {
    let target = Target::start(|asked| match asked.path.as_str() {
        "/scim/Users/a%2Fb" => reply(200, json!({"id": "a/b"})),
        "/scim/Users/other" => reply(200, json!({"id": "7"})),
        "/scim/Users/page" => html(404),
        "/scim/Users/refused" => reply(403, json!({})),
        _ => reply(404, json!({})),
    })
    .await;
    let provider = target.provider();
    assert_eq!(
        provider.get(User, "a/b").await.unwrap(),
        Some(json!({"id": "a/b"}))
    );
    assert_eq!(provider.get(User, "gone").await.unwrap(), None);
    for id in ["other", "page", "refused", ".."] {
        assert!(provider.get(User, id).await.is_err(), "{id}");
    }
}

fn described(asked: &Asked) -> Response {
    match asked.path.as_str() {
        "/scim/ServiceProviderConfig" => reply(
            200,
            json!({"patch": {"supported": true}, "filter": {"supported": false}}),
        ),
        "/scim/Schemas" => list(
            1,
            &[
                json!({"id": "urn:acme:User", "attributes": [{"name": "emailVerified", "type": "boolean"}]}),
            ],
        ),
        _ => pages(asked, 3),
    }
}

#[tokio::test]
async fn a_target_is_asked_what_it_can_do() {
    let target = Target::start(described).await;
    let capabilities = target.provider().discover().await.unwrap();
    let expected = Capabilities {
        patch: Some(true),
        filter: Some(false),
        cursors_only: false,
        bulk: None,
        email_verified: Some("urn:acme:User:emailVerified".into()),
    };
    assert_eq!(capabilities, expected);
    assert!(target.asked().iter().all(|asked| asked.method == "GET"));
}

#[tokio::test]
async fn what_a_target_said_of_itself_counts_until_it_refuses_something() {
    let target = Target::start(|asked| match asked.path.as_str() {
        "/scim/Groups/g" => reply(403, json!({})),
        _ => described(asked),
    })
    .await;
    let provider = target.provider();
    let first = provider.discover().await.unwrap();
    let asked = target.asked().len();
    assert_eq!(provider.discover().await.unwrap(), first);
    assert_eq!(target.asked().len(), asked);
    assert!(provider.get(Group, "g").await.is_err());
    assert_eq!(provider.discover().await.unwrap(), first);
    assert_eq!(target.asked().len(), 2 * asked + 1);
}

#[tokio::test]
async fn a_target_without_discovery_gets_the_defaults_when_it_lists_users() {
    let target = Target::start(|asked| match asked.path.as_str() {
        "/scim/Users" => pages(asked, 3),
        _ => html(404),
    })
    .await;
    let capabilities = target.provider().discover().await.unwrap();
    assert_eq!(capabilities, Capabilities::default());
}

#[tokio::test]
async fn an_address_where_no_scim_target_lets_us_in_is_the_operators_to_cure() {
    let answers: [(Answer, Fault, &str); 7] = [
        (|_| html(404), Fault::Denied, "check the SCIM base URL"),
        (|_| html(200), Fault::Denied, "check the SCIM base URL"),
        (
            |_| reply(404, json!({})),
            Fault::Denied,
            "check the SCIM base URL",
        ),
        (
            |_| reply(200, json!({"hello": "world"})),
            Fault::Denied,
            "check the SCIM base URL",
        ),
        (|_| reply(401, json!({})), Fault::Denied, "credentials"),
        // Some describe themselves to anybody.
        (
            |asked| match asked.path.as_str() {
                "/scim/Users" => reply(401, json!({})),
                _ => described(asked),
            },
            Fault::Denied,
            "credentials",
        ),
        (|_| reply(503, json!({})), Fault::Transient, "503"),
    ];
    for (at, (answer, fault, words)) in answers.into_iter().enumerate() {
        let target = Target::start(answer).await;
        let refusal = target.provider().discover().await.unwrap_err();
        assert_eq!(refusal.fault, fault, "case {at}: {refusal}");
        assert!(refusal.message.contains(words), "case {at}: {refusal}");
    }
}

#[tokio::test]
async fn a_look_up_through_a_target_list_that_does_not_add_up_is_no_answer() {
    let target = Target::start(|asked| match asked.parameter("startIndex") {
        Some("1") => list(25, &(1..=10).map(user).collect::<Vec<_>>()),
        Some(_) => list(25, &[]),
        None => reply(501, json!({"detail": "no filters"})),
    })
    .await;
    let provider = target.provider();
    let found = provider
        .find(User, LookupBy::Name, "nobody", Lane::Ordinary)
        .await;
    let refusal = found.unwrap_err();
    assert_eq!(refusal.fault, Fault::Transient);
    assert!(refusal.message.contains("does not add up"), "{refusal}");
}

#[tokio::test]
async fn target_users_are_found_by_their_primary_email_address_alone() {
    let mails = |id: &str, primary: &str, other: &str| {
        json!({"id": id, "userName": id, "emails": [
            {"value": other, "type": "home"}, {"value": primary, "type": "work", "primary": true}]})
    };
    let hits = [
        mails("1", "ANN@example.org", "a@home.example"),
        mails("2", "bob@example.org", "ann@example.org"),
    ];
    let everybody = [
        hits[0].clone(),
        hits[1].clone(),
        mails("3", "x@example.org", "y@example.org"),
    ];
    let (some, all) = (hits.clone(), everybody.clone());
    let filters = Target::start(move |asked| match asked.parameter("filter") {
        Some("emails.value eq \"ann@example.org\"") => list(2, &some),
        _ => list(3, &all),
    })
    .await;
    let ignores = Target::start(move |_| list(3, &everybody)).await;
    for (target, requests) in [(filters, 1), (ignores, 2)] {
        let provider = target.provider();
        let found = provider.find(User, LookupBy::Email, "ann@example.org", Lane::Ordinary);
        let ids: Vec<String> = found
            .await
            .unwrap()
            .into_iter()
            .map(|found| found.id)
            .collect();
        assert_eq!(ids, ["1"], "somebody else's further address is no match");
        assert_eq!(provider.counts().read, requests);
    }
}
