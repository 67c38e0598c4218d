//! Against a server that gives members in parts, as Active Directory does unasked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use scim_relay::identity::Anchor;
use scim_relay::identity::known::Known;
use scim_relay::identity::observation::{Coverage, Look, Observation};
use scim_relay::source::Settings;

use super::faults::{BASE, send, uuid};
use super::{open, read, settings, why_partial};
use crate::support::fault_ldap::{FaultLdap, Request, Step, done, entry, last_page};

/// How a server that gives members in parts behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ranges {
    Honest,
    OtherCase,
    SkipsOne,
    FewerThanSaid,
    EndsEarly,
    ChangesOnce,
    ChangesAlways,
    Vanishes,
    Endless,
}

const MEMBERS: usize = 3_200;
const RANGE: usize = 1_500;

fn member_range(request: &Request, how: Ranges, reads: &AtomicUsize) -> Vec<Step> {
    let id = request.id;
    let dn = "cn=big,ou=groups,dc=example,dc=org";
    let wanted = request.attributes.iter().find_map(|name| {
        name.strip_prefix("member;range=")?
            .split('-')
            .next()?
            .parse()
            .ok()
    });
    let first: usize = wanted.unwrap_or(0);
    let read = if request.subtree {
        0
    } else {
        reads.fetch_add(1, Ordering::SeqCst)
    };
    if how == Ranges::Vanishes && !request.subtree {
        return send(&[done(id, 32, "")]);
    }
    let member = |n: usize| format!("uid=u{n},{BASE}").into_bytes();
    let until = (first + RANGE).min(MEMBERS);
    let last = how != Ranges::Endless && until == MEMBERS;
    let until = if how == Ranges::Endless {
        first + RANGE
    } else {
        until
    };
    let skipped = usize::from(how == Ranges::SkipsOne && first > 0);
    let mut values: Vec<_> = (first + skipped..until).map(member).collect();
    if how == Ranges::FewerThanSaid {
        values.pop();
    }
    let start = first + skipped;
    let name = match (last, how) {
        (true, _) => format!("member;range={start}-*"),
        (false, Ranges::OtherCase) => format!("Member;Range={start}-{}", until - 1),
        (false, _) => format!("member;range={start}-{}", until - 1),
    };
    let version = match how {
        Ranges::ChangesAlways => read,
        Ranges::ChangesOnce => usize::from(read > 0),
        _ => 0,
    };
    let mut attributes = vec![
        ("entryUUID", vec![uuid(9)]),
        ("modifyTimestamp", vec![version.to_string().into_bytes()]),
        ("member", Vec::new()),
    ];
    if !(how == Ranges::EndsEarly && first > 0) {
        attributes.push((name.as_str(), values));
    }
    let end = if request.subtree {
        last_page(id)
    } else {
        done(id, 0, "")
    };
    send(&[entry(id, dn, &attributes), end])
}

async fn big_group(how: Ranges) -> (FaultLdap, Settings) {
    let reads = Arc::new(AtomicUsize::new(0));
    let server = FaultLdap::start(move |request| {
        let base_check = request.attributes == ["1.1"];
        (request.op == 0x63 && request.base.contains("ou=groups") && !base_check)
            .then(|| member_range(request, how, &reads))
    })
    .await;
    let settings = Settings {
        message_bytes_max: 1024 * 1024,
        ..settings(server.address.port())
    };
    (server, settings)
}

#[tokio::test]
async fn members_that_come_in_parts_are_read_to_the_last_or_not_believed() {
    for (how, gap) in [
        (Ranges::Honest, None),
        (Ranges::OtherCase, None),
        (Ranges::ChangesOnce, None),
        (Ranges::SkipsOne, Some("were asked for")),
        (Ranges::FewerThanSaid, Some("were announced")),
        (Ranges::EndsEarly, Some("ended before")),
        (Ranges::ChangesAlways, Some("it changed 3 times")),
        (Ranges::Vanishes, Some("noSuchObject")),
        (Ranges::Endless, Some("1048576 bytes")),
    ] {
        let (_server, settings) = big_group(how).await;
        let source = open(&settings).await.unwrap();
        let (end, stated) = read(&*source, &mut Known::default()).await;
        let end = end.unwrap();
        assert_eq!(end.groups, 1, "{how:?}");
        match (gap, &stated[..]) {
            (None, [Observation::Present(group, _)]) => {
                assert_eq!(end.coverage, Coverage::Complete, "{how:?}");
                assert_eq!(group.members.len(), MEMBERS);
                let Look::Present(seen) = source.look(&group.key()).await.unwrap() else {
                    panic!("the group should be there");
                };
                assert_eq!(seen, *group);
            }
            (Some(words), [Observation::Unreadable(group)]) => {
                assert!(why_partial(&end).contains(words), "{how:?}: {end:?}");
                assert!(group.problem.contains(words), "{how:?}: {}", group.problem);
                assert_eq!(group.anchor, Some(Anchor::Uuid(uuid::Uuid::from_u128(9))));
            }
            (_, stated) => panic!("{how:?}: {stated:?}"),
        }
    }
}
