//! Dialects on the wire: whole resources, operations in parts, pages by cursor and all at once, searches in the body.

use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use super::target::{Target, change, list, reply, settings};
use crate::fault::Fault;
use crate::provider::{Lane, LookupBy, Outcome, Provider, open};
use crate::scim::ResourceType::{Group, User};
use crate::scim::dialect::{Dialect, Paging, PatchPaths, Updates};
use crate::scim::encode;
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, Value};

fn provider(target: &Target, dialect: Dialect) -> Box<dyn Provider> {
    let mut settings = settings(&target.url);
    settings.dialect = dialect;
    open(settings).unwrap()
}

async fn all(provider: &dyn Provider) -> Result<Vec<String>, Fault> {
    let mut ids = Vec::new();
    let mut start = None;
    loop {
        let page = provider.list(User, start.as_ref()).await;
        let page = page.map_err(|refusal| refusal.fault)?;
        let total = page.total;
        let id = |found: &Json| found["id"].as_str().unwrap().to_owned();
        ids.extend(page.resources.iter().map(id));
        start = page.next;
        if start.is_none() {
            // Whoever needs all of them looks at the total.
            return match total {
                Some(total) if total > ids.len() as u64 => Err(Fault::Drifted),
                _ => Ok(ids),
            };
        }
    }
}

#[tokio::test]
async fn a_target_without_patch_gets_the_resource_back_whole() {
    let held = Arc::new(Mutex::new(
        json!({"id": "7", "title": "T", "nickName": "kept", "meta": {"version": "1"}}),
    ));
    let kept = held.clone();
    let target = Target::start(move |asked| match asked.method.as_str() {
        "GET" if asked.path.ends_with("ServiceProviderConfig") => reply(
            200,
            json!({"patch": {"supported": false}, "authenticationSchemes": []}),
        ),
        "GET" if asked.path.ends_with("/Users/7") => reply(200, kept.lock().unwrap().clone()),
        "GET" if asked.path.ends_with("/Users/8") => reply(404, json!({})),
        "GET" => list(0, &[]),
        "PUT" => {
            *kept.lock().unwrap() = asked.json();
            reply(200, asked.json())
        }
        _ => reply(501, json!({})),
    })
    .await;
    let provider = provider(&target, Dialect::default());
    assert!(!provider.puts(User));
    provider.discover().await.unwrap();
    assert!(provider.puts(User) && provider.puts(Group));
    let outcome = provider.submit(&change(), Lane::Ordinary).await;
    assert!(
        matches!(outcome, Outcome::Acknowledged { .. }),
        "{outcome:?}"
    );
    let expected = json!({"id": "7", "title": "x", "nickName": "kept"});
    assert_eq!(*held.lock().unwrap(), expected);
    let mut missing = change();
    missing.id = Some("8".into());
    match provider.submit(&missing, Lane::Ordinary).await {
        Outcome::Refused(refusal) => assert_eq!(refusal.status, Some(404)),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_group_is_not_sent_back_without_members_that_it_is_known_to_have() {
    let ids = |ids: std::ops::Range<usize>| ids.map(|id| id.to_string()).collect::<Vec<_>>();
    for (readable, shown, known, sent) in [
        (true, Some(0..1), ids(0..1), true),
        (true, Some(0..0), ids(0..0), true),
        (true, None, ids(0..0), true),
        // Nobody of ours is shown, be it as no list or as an empty one.
        (true, Some(0..0), ids(0..1), false),
        (true, None, ids(0..2), false),
        // A list that ends early; a few who were taken out by hand are no reason.
        (true, Some(0..100), ids(0..130), false),
        (true, Some(0..100), ids(0..120), true),
        (false, Some(0..1), ids(0..1), false),
    ] {
        let group = match shown.clone() {
            Some(shown) => {
                let members = ids(shown).into_iter().map(|id| json!({ "value": id }));
                json!({"id": "g", "displayName": "G", "members": members.collect::<Vec<_>>()})
            }
            None => json!({"id": "g", "displayName": "G"}),
        };
        let target = Target::start(move |asked| match asked.method.as_str() {
            "GET" => reply(200, group.clone()),
            _ => reply(200, asked.json()),
        })
        .await;
        let dialect = Dialect {
            group_updates: Updates::Put,
            members_readable: readable,
            ..Dialect::default()
        };
        let mut request = encode::add_members("g", &["new".to_owned()], &dialect);
        request.known.members = known;
        let outcome = provider(&target, dialect)
            .submit(&request, Lane::Urgent)
            .await;
        let acknowledged = matches!(outcome, Outcome::Acknowledged { .. });
        assert_eq!(acknowledged, sent, "{readable} {shown:?}: {outcome:?}");
        let puts = target
            .asked()
            .iter()
            .filter(|asked| asked.method == "PUT")
            .count();
        assert_eq!(puts, usize::from(sent), "{readable} {shown:?}");
    }
}

#[tokio::test]
async fn somebody_suspended_stays_so_where_the_target_does_not_show_it() {
    let target = Target::start(|asked| match asked.method.as_str() {
        "GET" => reply(200, json!({"id": "7", "title": "T"})),
        _ => reply(200, asked.json()),
    })
    .await;
    let dialect = Dialect {
        user_updates: Updates::Put,
        ..Dialect::default()
    };
    let mut request = change();
    let suspended = (AttributePath::active(), Value::Bool(false));
    request.known.attributes = Attributes::from([suspended]);
    provider(&target, dialect)
        .submit(&request, Lane::Ordinary)
        .await;
    let sent = target.asked().last().unwrap().json();
    assert_eq!(sent, json!({"id": "7", "title": "x", "active": false}));
}

#[tokio::test]
async fn operations_go_in_parts_that_the_target_takes() {
    let target =
        Target::start(
            |asked| match asked.json()["Operations"].as_array().unwrap().len() {
                1 | 2 if asked.before < 2 => reply(204, json!({})),
                1 | 2 => reply(400, json!({"scimType": "invalidValue"})),
                _ => reply(413, json!({})),
            },
        )
        .await;
    let dialect = Dialect {
        operations_per_request: 2,
        patch_paths: PatchPaths::Never,
        content_type: "application/json".into(),
        ..Dialect::default()
    };
    let provider = provider(&target, dialect);
    let ids: Vec<String> = (0..3).map(|id: usize| id.to_string()).collect();
    let dialect = Dialect {
        members_per_operation: 1,
        ..Dialect::default()
    };
    let request = encode::add_members("g", &ids, &dialect);
    let outcome = provider.submit(&request, Lane::Ordinary).await;
    assert!(
        matches!(outcome, Outcome::Acknowledged { .. }),
        "{outcome:?}"
    );
    let asked = target.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].header("content-type"), "application/json");
    assert_eq!(
        asked[1].json()["Operations"],
        json!([{"op": "add", "value": {"members": [{"value": "2"}]}}])
    );
    // The first part of this one is done when the second is refused.
    let target = Target::start(|asked| match asked.before {
        0 => reply(204, json!({})),
        _ => reply(400, json!({})),
    })
    .await;
    let half_done = self::provider(
        &target,
        Dialect {
            operations_per_request: 2,
            ..Dialect::default()
        },
    );
    let outcome = half_done.submit(&request, Lane::Ordinary).await;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test]
async fn cursors_are_followed_to_their_end_and_must_add_up() {
    let page = |from: usize, to: usize, next: Option<&str>, total: usize| {
        let users: Vec<Json> = (from..=to)
            .map(|id| json!({"id": id.to_string()}))
            .collect();
        let mut body = json!({"schemas": [], "totalResults": total, "Resources": users});
        if let Some(next) = next {
            body["nextCursor"] = json!(next);
        }
        reply(200, body)
    };
    for (total, expected) in [(5, Ok(5)), (6, Err(Fault::Drifted))] {
        let target = Target::start(move |asked| match asked.parameter("cursor") {
            Some("") => page(1, 2, Some("a"), total),
            // A page may be empty, and the list goes on.
            Some("a") => page(1, 0, Some("b"), total),
            Some("b") => page(3, 5, None, total),
            other => panic!("cursor {other:?}"),
        })
        .await;
        let dialect = Dialect {
            paging: Paging::Cursor,
            ..Dialect::default()
        };
        let read = all(&*provider(&target, dialect)).await;
        assert_eq!(read.map(|ids| ids.len()), expected);
        assert!(
            target
                .asked()
                .iter()
                .all(|asked| asked.parameter("startIndex").is_none())
        );
    }
    // So does one that leads back, however many pages later.
    let target = Target::start(move |asked| match asked.parameter("cursor") {
        Some("a") => page(3, 4, Some("b"), 9),
        Some("b") => page(5, 6, Some("a"), 9),
        _ => page(1, 2, Some("a"), 9),
    })
    .await;
    let dialect = Dialect {
        paging: Paging::Cursor,
        ..Dialect::default()
    };
    let read = all(&*provider(&target, dialect)).await;
    assert_eq!(read, Err(Fault::Transient));
    assert_eq!(target.asked().len(), 3);
    // A cursor that stands still ends the reading, not the patience.
    let target = Target::start(move |_| page(1, 0, Some("a"), 5)).await;
    let dialect = Dialect {
        paging: Paging::Cursor,
        ..Dialect::default()
    };
    let read = all(&*provider(&target, dialect)).await;
    assert_eq!(read, Err(Fault::Transient));
}

#[tokio::test]
async fn a_target_that_has_cursors_only_says_so() {
    let target = Target::start(|asked| match asked.path.as_str() {
        "/scim/ServiceProviderConfig" => reply(
            200,
            json!({"patch": {"supported": true}, "pagination": {"cursor": true, "index": false}}),
        ),
        _ => list(0, &[]),
    })
    .await;
    let provider = provider(&target, Dialect::default());
    provider.discover().await.unwrap();
    assert_eq!(all(&*provider).await, Ok(Vec::new()));
    assert_eq!(target.asked().last().unwrap().parameter("cursor"), Some(""));
}

#[tokio::test]
async fn whether_a_target_is_there_is_asked_as_it_is_asked_for_lists() {
    let filters = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (paging, user_filters, expected) in [
        (
            Paging::Index,
            filters(&["userName"]),
            &["startIndex", "count"][..],
        ),
        (Paging::Cursor, filters(&[]), &["cursor", "count"]),
        (Paging::None, filters(&["userName"]), &["filter"]),
        (Paging::None, filters(&[]), &[]),
    ] {
        let target = Target::start(|_| list(0, &[])).await;
        let dialect = Dialect {
            paging,
            user_filters,
            ..Dialect::default()
        };
        provider(&target, dialect).discover().await.unwrap();
        let asked = target.asked();
        let users: Vec<_> = asked
            .iter()
            .filter(|asked| asked.path == "/scim/Users")
            .collect();
        assert_eq!(users.len(), 1);
        for name in ["startIndex", "count", "cursor", "filter"] {
            let wanted = expected.contains(&name);
            assert_eq!(
                users[0].parameter(name).is_some(),
                wanted,
                "{name}: {paging:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_list_without_pages_has_everything_or_nothing() {
    let users = |count: usize| {
        (0..count)
            .map(|id| json!({"id": id.to_string()}))
            .collect::<Vec<_>>()
    };
    for (total, expected) in [(3, Ok(3)), (4, Err(Fault::Drifted))] {
        let target = Target::start(move |_| list(total, &users(3))).await;
        let dialect = Dialect {
            paging: Paging::None,
            ..Dialect::default()
        };
        let read = all(&*provider(&target, dialect)).await;
        assert_eq!(read.map(|ids| ids.len()), expected);
        assert!(target.asked()[0].query.is_empty());
    }
}

#[tokio::test]
async fn look_ups_by_search_keep_names_out_of_the_address() {
    let target = Target::start(|asked| match asked.json()["filter"].as_str() {
        Some(_) => list(1, &[json!({"id": "7", "userName": "ann"})]),
        None => list(0, &[]),
    })
    .await;
    let dialect = Dialect {
        post_search: true,
        ..Dialect::default()
    };
    let provider = provider(&target, dialect);
    let found = provider
        .find(User, LookupBy::Name, "ann", Lane::Ordinary)
        .await;
    assert_eq!(found.unwrap().len(), 1);
    assert_eq!(all(&*provider).await, Ok(Vec::new()));
    let asked = target.asked();
    assert!(
        asked
            .iter()
            .all(|asked| asked.path == "/scim/Users/.search" && asked.query.is_empty())
    );
    assert_eq!(asked[0].json()["filter"], "userName eq \"ann\"");
    assert_eq!(asked[1].json()["startIndex"], 1);
    assert_eq!(provider.counts().read, 2);
}

#[tokio::test]
async fn an_attribute_that_is_not_filtered_is_looked_for_in_the_list() {
    let target = Target::start(|asked| match asked.parameter("filter") {
        Some(_) => list(0, &[]),
        None => list(
            1,
            &[json!({"id": "7", "externalId": "a", "displayName": "G"})],
        ),
    })
    .await;
    let dialect = Dialect {
        group_filters: ["displayName".to_owned()].into(),
        group_updates: Updates::Patch,
        ..Dialect::default()
    };
    let provider = provider(&target, dialect);
    let found = |by, value| provider.find(Group, by, value, Lane::Ordinary);
    assert_eq!(found(LookupBy::ExternalId, "a").await.unwrap().len(), 1);
    assert_eq!(found(LookupBy::Name, "G").await.unwrap().len(), 0);
}

#[tokio::test]
async fn look_ups_without_filters_share_one_list_until_something_is_changed() {
    let users: Vec<Json> = (1..=30)
        .map(|id| json!({"id": id.to_string(), "externalId": format!("a{id}")}))
        .collect();
    let target = Target::start(move |asked| match asked.method.as_str() {
        "GET" => {
            let start: usize = asked.parameter("startIndex").unwrap().parse().unwrap();
            list(users.len(), &users[start - 1..(start + 9).min(users.len())])
        }
        _ => reply(200, json!({})),
    })
    .await;
    let dialect = Dialect {
        user_filters: [].into(),
        page_resources: 10,
        ..Dialect::default()
    };
    let provider = provider(&target, dialect);
    for id in 1..=30 {
        let anchor = format!("a{id}");
        let found = provider.find(User, LookupBy::ExternalId, &anchor, Lane::Ordinary);
        assert_eq!(found.await.unwrap()[0].id, id.to_string());
    }
    // Three pages each time that it was read; a slow machine may have read it more than once.
    let read = target.asked().len();
    assert!(read % 3 == 0 && read < 45, "{read}");
    provider.submit(&change(), Lane::Ordinary).await;
    let found = provider.find(User, LookupBy::ExternalId, "a7", Lane::Ordinary);
    assert_eq!(found.await.unwrap().len(), 1);
    assert_eq!(target.asked().len(), read + 1 + 3);
}
