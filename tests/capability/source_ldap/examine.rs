//! Examining and finding, against a server that answers what slapd cannot be brought to answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use scim_relay::fault::Fault;
use scim_relay::identity::feed::Rung;
use scim_relay::identity::observation::Observation;
use scim_relay::source::examination::{Examination, Questions};
use scim_relay::source::{Error, Names, Settings, Stage};

use super::faults::{Answer, BASE, person, send, users_only};
use super::open;
use crate::support::fault_ldap::{
    FaultLdap, Step, done, entry, last_page, message, page, reference, result, tlv,
};

async fn examined(settings: &Settings) -> Result<Examination, Error> {
    let source = open(settings).await.unwrap();
    let examined = source.examine(&Questions::default()).await;
    source.close().await;
    examined
}

/// A server that answers a count so.
async fn counting(count: Answer) -> FaultLdap {
    FaultLdap::start(move |request| {
        (request.subtree && request.cookie.is_some()).then(|| count(request.id))
    })
    .await
}

#[tokio::test]
async fn a_count_that_gives_nothing_says_whose_fault_it_is() {
    let cases: [(Answer, Stage, Fault); 6] = [
        (|id| send(&[done(id, 18, "")]), Stage::Filter, Fault::Denied),
        (|id| send(&[done(id, 2, "")]), Stage::Filter, Fault::Denied),
        (
            |id| send(&[done(id, 50, "")]),
            Stage::Permission,
            Fault::Denied,
        ),
        (
            |id| send(&[done(id, 12, "")]),
            Stage::Reading,
            Fault::Denied,
        ),
        (
            |id| send(&[done(id, 51, "")]),
            Stage::Reading,
            Fault::Transient,
        ),
        // A connection that is lost in the middle has counted nothing.
        (
            |id| vec![Step::Send(person(id, 1)), Step::Close],
            Stage::Network,
            Fault::Transient,
        ),
    ];
    for (count, stage, fault) in cases {
        let server = counting(count).await;
        let error = examined(&users_only(&server)).await.unwrap_err();
        assert_eq!((error.stage, error.fault()), (stage, fault), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_reason_is_the_filters_where_another_filter_is_taken() {
    for code in [1, 53, 80] {
        let counts = AtomicUsize::new(0);
        let server = FaultLdap::start(move |request| {
            let is_count = request.subtree && request.cookie.is_some();
            is_count.then(|| match counts.fetch_add(1, Ordering::Relaxed) {
                0 => send(&[done(request.id, code, "")]),
                _ => send(&[person(request.id, 1), page(request.id, b"more")]),
            })
        })
        .await;
        let error = examined(&users_only(&server)).await.unwrap_err();
        assert_eq!((error.stage, error.fault()), (Stage::Filter, Fault::Denied));
    }
    let server = counting(|id| send(&[done(id, 53, "")])).await;
    let error = examined(&users_only(&server)).await.unwrap_err();
    assert_eq!(error.stage, Stage::Reading, "{error}");
}

#[tokio::test]
async fn a_count_that_was_cut_is_a_lower_bound() {
    let cases: [(Answer, u64, &str); 4] = [
        (
            |id| send(&[person(id, 1), person(id, 2), done(id, 4, "")]),
            2,
            "sizeLimitExceeded",
        ),
        (
            |id| send(&[person(id, 1), done(id, 0, "")]),
            1,
            "without saying whether",
        ),
        (
            |id| send(&[person(id, 1), reference(id, "ldap://other/"), last_page(id)]),
            1,
            "held by another server",
        ),
        // The same cookie again and again, after nothing.
        (|id| send(&[page(id, b"more")]), 0, ""),
    ];
    for (count, entries, words) in cases {
        let server = counting(count).await;
        match examined(&users_only(&server)).await {
            Ok(examination) => {
                assert_eq!(examination.users.entries, entries);
                let cut = examination.users.cut.unwrap();
                assert!(cut.contains(words), "{words}: {cut}");
            }
            Err(error) => {
                assert_eq!(entries, 0, "{error}");
                assert!(error.message.contains("again and again"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_server_announces_is_named() {
    let server = FaultLdap::start(|request| {
        let root = request.base.is_empty() && !request.subtree && request.op == 0x63;
        root.then(|| {
            let controls = ["1.2.840.113556.1.4.841", "1.2.840.113556.1.4.528", "1.2.3"];
            let attributes = [
                (
                    "supportedcontrol",
                    controls.map(|oid| oid.as_bytes().to_vec()).to_vec(),
                ),
                ("highestCommittedUSN", vec![b"12".to_vec()]),
                ("changelog", Vec::new()),
            ];
            send(&[entry(request.id, "", &attributes), done(request.id, 0, "")])
        })
    })
    .await;
    let examination = examined(&users_only(&server)).await.unwrap();
    let rungs: Vec<_> = examination.ladder.0.iter().collect();
    let [syncrepl, timestamps, full] = rungs[..] else {
        panic!("{rungs:?}")
    };
    let why = "the server does not offer it";
    assert_eq!(syncrepl.obstacle.as_deref(), Some(why));
    assert!(timestamps.obstacle.is_none() && timestamps.blind.is_some());
    assert_eq!(full.rung, Rung::FullScan);
    assert!(examination.plain && examination.sample.is_none());
}

/// The end of a search for a base that is not there, below this name.
fn not_found(id: u8, matched: &[u8]) -> Vec<u8> {
    let body = [tlv(10, &[32]), tlv(4, matched), tlv(4, b"")].concat();
    message(id, tlv(0x65, &body), &[])
}

#[tokio::test]
async fn a_base_is_judged_by_what_the_server_matches_and_never_trusted_with_a_line() {
    // It matches something for a name that nobody has, and nothing for the base.
    let server = FaultLdap::start(|request| {
        let id = request.id;
        let answer = match (request.op, request.base.as_str()) {
            (0x63, "") => done(id, 32, ""),
            (0x63, BASE) => not_found(id, b""),
            (0x63, _) => not_found(id, b"DC=Example, DC=org"),
            _ => return None,
        };
        Some(send(&[answer]))
    })
    .await;
    let error = examined(&users_only(&server)).await.unwrap_err();
    assert_eq!(error.stage, Stage::Permission, "{error}");
    let server = FaultLdap::start(|request| {
        (request.op == 0x63).then(|| send(&[not_found(request.id, b"dc=a\nERROR forged\xff")]))
    })
    .await;
    let error = examined(&users_only(&server)).await.unwrap_err();
    assert_eq!(error.stage, Stage::BaseDn, "{error}");
    assert!(!error.message.contains('\n'), "{error}");
    // A server that matches nothing at all cannot be judged by that.
    let server = FaultLdap::start(|request| {
        (request.op == 0x63).then(|| send(&[message(request.id, tlv(0x65, &result(32, "")), &[])]))
    })
    .await;
    let error = examined(&users_only(&server)).await.unwrap_err();
    assert_eq!(error.stage, Stage::BaseDn, "{error}");
    assert!(
        error.message.contains("or the account may not see it"),
        "{error}"
    );
}

#[tokio::test]
async fn an_entry_that_is_found_and_cannot_be_used_is_stated_as_such() {
    let server = FaultLdap::start(|request| {
        let found = request.op == 0x63 && request.base.starts_with("uid=");
        found.then(|| {
            let nameless = entry(request.id, &request.base, &[("uid", vec![b"x".to_vec()])]);
            send(&[nameless, done(request.id, 0, "")])
        })
    })
    .await;
    let source = open(&users_only(&server)).await.unwrap();
    let dn = format!("uid=x,{BASE}");
    let found = source.find(&dn, &Names::default()).await.unwrap();
    let Some(Observation::Unreadable(unreadable)) = found else {
        panic!("an entry without an anchor: {found:?}");
    };
    assert_eq!((unreadable.dn, unreadable.anchor), (dn, None));
    assert!(unreadable.problem.contains("entryuuid"));
}
