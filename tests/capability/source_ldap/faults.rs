//! Against a server that lies: every way to make a cut list look whole must fail, in bounded time.

use std::time::Duration;

use scim_relay::fault::Fault;
use scim_relay::identity::known::Known;
use scim_relay::identity::observation::{Coverage, Observation};
use scim_relay::identity::{Anchor, DirectoryType};
use scim_relay::source::Settings;
use tokio::sync::mpsc;

use super::{PATIENCE, identities, open, read, settings, why_partial};
use crate::support::fault_ldap::{
    FaultLdap, Step, done, entry, entry_named, last_page, message, page, reference, result, tlv,
};

pub const BASE: &str = "ou=people,dc=example,dc=org";

pub fn uuid(n: u128) -> Vec<u8> {
    uuid::Uuid::from_u128(n).to_string().into_bytes()
}

pub fn person(id: u8, n: u128) -> Vec<u8> {
    let attributes = [
        ("entryUUID", vec![uuid(n)]),
        ("uid", vec![format!("u{n}").into_bytes()]),
    ];
    entry(id, &format!("uid=u{n},{BASE}"), &attributes)
}

pub fn users_only(server: &FaultLdap) -> Settings {
    Settings {
        groups: None,
        page_entries: 10,
        answer_timeout: Duration::from_secs(1),
        message_bytes_max: 1024 * 1024,
        ..settings(server.address.port())
    }
}

/// A server that answers the first page of users with what `first` makes, and further pages as an honest one does.
async fn answering(
    first: impl Fn(u8) -> Vec<Step> + Send + Sync + 'static,
) -> (FaultLdap, Settings) {
    let server = FaultLdap::start(move |request| {
        let starts = request.subtree && request.cookie.as_deref() == Some(b"");
        starts.then(|| first(request.id))
    })
    .await;
    let settings = users_only(&server);
    (server, settings)
}

pub type Answer = fn(u8) -> Vec<Step>;

pub fn send(parts: &[Vec<u8>]) -> Vec<Step> {
    vec![Step::Send(parts.concat())]
}

/// Answers that must never pass for a whole read, with a word of what is said about them.
const LIES: &[(&str, Answer)] = &[
    ("without saying whether", |id| {
        send(&[person(id, 1), done(id, 0, "")])
    }),
    ("timeLimitExceeded", |id| {
        send(&[person(id, 1), done(id, 3, "")])
    }),
    ("sizeLimitExceeded", |id| {
        send(&[person(id, 1), done(id, 4, "")])
    }),
    ("result 10 (referral)", |id| {
        send(&[person(id, 1), done(id, 10, "")])
    }),
    ("adminLimitExceeded", |id| {
        send(&[person(id, 1), done(id, 11, "")])
    }),
    ("busy", |id| send(&[person(id, 1), done(id, 51, "")])),
    ("unavailable", |id| send(&[person(id, 1), done(id, 52, "")])),
    ("unwillingToPerform", |id| {
        send(&[person(id, 1), done(id, 53, "cookie is old")])
    }),
    ("closed the connection", |id| {
        vec![Step::Send(person(id, 1)), Step::Close]
    }),
    ("no answer for 1 seconds", |id| {
        vec![Step::Send(person(id, 1)), Step::Silence]
    }),
    ("ended the connection: result 52", |id| {
        let name = tlv(0x8a, b"1.3.6.1.4.1.1466.20036");
        let body = [result(52, "shutting down"), name].concat();
        send(&[person(id, 1), message(0, tlv(0x78, &body), &[])])
    }),
    // Active Directory puts the name of the notice outside of the answer.
    ("ended the connection: result 52", |id| {
        let operation = [
            tlv(0x78, &result(52, "bye")),
            tlv(0x8a, b"1.3.6.1.4.1.1466.20036"),
        ];
        send(&[person(id, 1), message(0, operation.concat(), &[])])
    }),
    ("held by another server", |id| {
        let uri = "ldap://other.example.org/ou=far,ou=people,dc=example,dc=org";
        send(&[person(id, 1), reference(id, uri), last_page(id)])
    }),
    ("has no `entryuuid`", |id| {
        let nameless = entry(
            id,
            &format!("uid=x,{BASE}"),
            &[("uid", vec![b"x".to_vec()])],
        );
        send(&[person(id, 1), nameless, last_page(id)])
    }),
    ("more entries in a page", |id| {
        let ranged = |n| {
            let attributes = [
                ("entryUUID", vec![uuid(n)]),
                ("mail;range=0-0", vec![vec![b'x']]),
            ];
            entry(id, &format!("uid=u{n},{BASE}"), &attributes)
        };
        send(&[(1..=11).flat_map(ranged).collect(), last_page(id)])
    }),
    ("does not have the form", |id| {
        let attributes = [("entryUUID", vec![b"not a uuid".to_vec()])];
        let odd = entry(id, &format!("uid=x,{BASE}"), &attributes);
        send(&[odd, last_page(id)])
    }),
    ("where 1048576 are accepted", |id| {
        vec![
            Step::Send(person(id, 1)),
            Step::Flood([&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff][..], &[0; 4096]].concat()),
        ]
    }),
    ("more than 32 deep", |id| {
        let nested: Vec<u8> = (0..20_000u32)
            .rev()
            .flat_map(|inside| [&[0x30, 0x84][..], &(6 * inside).to_be_bytes()].concat())
            .collect();
        let deep = tlv(0x30, &[tlv(2, &[id]), tlv(0x64, &nested)].concat());
        send(&[person(id, 1), deep])
    }),
    ("longer than what it is in", |id| {
        let broken = tlv(0x30, &[tlv(2, &[id]), vec![0x64, 4, 4, 100, 1, 2]].concat());
        send(&[person(id, 1), broken])
    }),
    ("an indefinite length", |id| {
        send(&[person(id, 1), vec![0x30, 0x80, 2, 1, id, 0, 0]])
    }),
    ("answers no request", |id| {
        send(&[person(id + 1, 1), last_page(id + 1)])
    }),
    ("answers no request", |id| {
        send(&[person(id, 1), message(id, tlv(0x79, b""), &[])])
    }),
    ("a paging control", |id| {
        let control = tlv(
            0x30,
            &[tlv(4, b"1.2.840.113556.1.4.319"), tlv(4, &tlv(0x30, b""))].concat(),
        );
        send(&[
            person(id, 1),
            message(id, tlv(0x65, &result(0, "")), &[control]),
        ])
    }),
    ("a result without", |id| {
        send(&[person(id, 1), message(id, tlv(0x65, b""), &[])])
    }),
    ("a name", |id| {
        send(&[person(id, 1), message(id, tlv(0x64, &tlv(2, b"")), &[])])
    }),
];

#[tokio::test]
async fn no_lie_passes_for_a_whole_read() {
    for (words, answer) in LIES {
        let (_server, settings) = answering(answer).await;
        let source = open(&settings).await.unwrap();
        let (end, stated) = read(&*source, &mut Known::default()).await;
        match end {
            Ok(end) => {
                let why = why_partial(&end);
                assert!(why.contains(words), "{words}: {why}");
                assert!(why.contains("ldap://127.0.0.1:"), "{why}");
                assert_eq!(end.users, identities(&stated).len() as u64);
            }
            Err(error) => {
                assert!(error.message.contains(words), "{words}: {error}");
                assert!(stated.is_empty(), "{words}");
            }
        }
    }
}

#[tokio::test]
async fn the_same_lies_in_the_second_page_do_not_pass_either() {
    for (words, answer) in LIES {
        let server = FaultLdap::start(move |request| match request.cookie.as_deref() {
            Some(b"") => Some(send(&[person(request.id, 100), page(request.id, b"two")])),
            Some(b"two") => Some(answer(request.id)),
            _ => None,
        })
        .await;
        let source = open(&users_only(&server)).await.unwrap();
        let (end, stated) = read(&*source, &mut Known::default()).await;
        let end = end.unwrap();
        assert!(why_partial(&end).contains(words), "{words}: {end:?}");
        assert_eq!(end.users, identities(&stated).len() as u64);
        assert!(end.users >= 1);
    }
}

#[tokio::test]
async fn a_server_that_never_gets_on_is_left() {
    let server = FaultLdap::start(|request| {
        (request.subtree).then(|| match request.cookie.as_deref() {
            Some(b"") => send(&[person(request.id, 1), page(request.id, b"same")]),
            _ => send(&[page(request.id, b"same")]),
        })
    })
    .await;
    let source = open(&users_only(&server)).await.unwrap();
    let (end, _) = read(&*source, &mut Known::default()).await;
    let end = end.unwrap();
    assert!(why_partial(&end).contains("the same page"), "{end:?}");
}

#[tokio::test]
async fn a_session_cut_at_any_byte_is_not_whole() {
    let whole = |id| [person(id, 1), person(id, 2), last_page(id)].concat();
    let length = whole(1).len();
    let (_server, settings) = answering(move |id| vec![Step::Send(whole(id))]).await;
    let source = open(&settings).await.unwrap();
    let (end, _) = read(&*source, &mut Known::default()).await;
    assert_eq!(end.unwrap().coverage, Coverage::Complete);
    for cut in 0..length {
        let (_server, settings) =
            answering(move |id| vec![Step::Send(whole(id)[..cut].to_vec()), Step::Close]).await;
        let source = open(&settings).await.unwrap();
        let (end, _) = read(&*source, &mut Known::default()).await;
        if let Ok(end) = end {
            why_partial(&end);
        }
    }
}

#[tokio::test]
async fn repeated_entries_count_once_and_unreadable_names_are_there() {
    let (_server, settings) = answering(|id| {
        let attributes = [
            ("ENTRYUUID", vec![uuid(3)]),
            ("userPassword", vec![b"x".to_vec()]),
        ];
        let odd = entry_named(id, b"uid=\xff,dc=example", &attributes);
        send(&[
            person(id, 1),
            person(id, 2),
            person(id, 1),
            odd,
            last_page(id),
        ])
    })
    .await;
    let source = open(&settings).await.unwrap();
    let (end, stated) = read(&*source, &mut Known::default()).await;
    let end = end.unwrap();
    assert_eq!((end.coverage, end.users), (Coverage::Complete, 3));
    assert_eq!(identities(&stated).len(), 2);
    let Some(Observation::Unreadable(odd)) = stated.last() else {
        panic!("the name that is not UTF-8 should have been stated")
    };
    assert_eq!(odd.anchor, Some(Anchor::Uuid(uuid::Uuid::from_u128(3))));
    assert!(odd.problem.contains("not UTF-8"), "{}", odd.problem);
}

#[tokio::test]
async fn two_entries_with_one_chosen_anchor_are_not_one() {
    let (_server, mut settings) = answering(|id| {
        let with_number = |uid: &str| {
            let attributes = [("employeeNumber", vec![b"42".to_vec()])];
            entry(id, &format!("uid={uid},{BASE}"), &attributes)
        };
        send(&[
            with_number("a"),
            with_number("b"),
            with_number("a"),
            last_page(id),
        ])
    })
    .await;
    settings.anchor_attribute = "employeeNumber".into();
    let source = open(&settings).await.unwrap();
    let (end, stated) = read(&*source, &mut Known::default()).await;
    assert_eq!(end.unwrap().users, 1);
    let [
        Observation::Present(first, _),
        Observation::Unreadable(second),
    ] = &stated[..]
    else {
        panic!("{stated:?}")
    };
    assert!(first.dn.starts_with("uid=a") && second.dn.starts_with("uid=b"));
}

#[tokio::test]
async fn references_out_of_an_active_directory_are_no_gap() {
    let guid = uuid::Uuid::from_u128(5).to_bytes_le().to_vec();
    let server = FaultLdap::start(move |request| {
        let id = request.id;
        let configuration = "CN=Configuration,DC=example,DC=org";
        if request.op != 0x63 {
            return None;
        }
        if request.base.is_empty() {
            let contexts = ["DC=example,DC=org", configuration];
            let contexts = contexts.map(|name| name.as_bytes().to_vec()).to_vec();
            let root = entry(id, "", &[("namingContexts", contexts)]);
            return Some(send(&[root, done(id, 0, "")]));
        }
        let person = entry(
            id,
            "CN=Ann,DC=example,DC=org",
            &[("objectGUID", vec![guid.clone()])],
        );
        let elsewhere = reference(id, &format!("ldap://dc/{configuration}"));
        (request.subtree).then(|| send(&[person, elsewhere, last_page(id)]))
    })
    .await;
    let mut settings = users_only(&server);
    settings.directory_type = DirectoryType::ActiveDirectory;
    settings.anchor_attribute = "objectGUID".into();
    settings.users.base = "DC=example,DC=org".into();
    let source = open(&settings).await.unwrap();
    let (end, stated) = read(&*source, &mut Known::default()).await;
    assert_eq!(end.unwrap().coverage, Coverage::Complete);
    let anchor = Anchor::Uuid(uuid::Uuid::from_u128(5));
    assert_eq!(identities(&stated)[0].anchor, anchor);
}

#[tokio::test]
async fn a_slow_receiver_slows_the_server_down() {
    let flood = |id| {
        let photo = vec![0xff; 64 * 1024];
        let attributes = [("entryUUID", vec![uuid(1)]), ("jpegPhoto", vec![photo])];
        vec![Step::Flood(entry(
            id,
            &format!("uid=u1,{BASE}"),
            &attributes,
        ))]
    };
    let (server, mut settings) = answering(flood).await;
    // Each entry is stated as one that cannot be used, so each has to be received.
    settings.anchor_attribute = "employeeNumber".into();
    let source = open(&settings).await.unwrap();
    let (sink, mut receiver) = mpsc::channel(1);
    let mut known = Known::default();
    let stalled = async {
        receiver.recv().await.unwrap();
        // The server writes as fast as it can; it has stopped when nothing more is taken for a while.
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let sent = server.sent();
            if sent == before {
                break sent;
            }
            before = sent;
            assert!(sent < 64 * 1024 * 1024, "the server was never slowed down");
        }
    };
    let both = async {
        tokio::select! {
            end = source.read(&mut known, sink) => panic!("{end:?}"),
            sent = stalled => sent,
        }
    };
    let sent = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert!(sent > 0);
    // What was given up in the middle is not taken up again.
    let (end, _) = read(&*source, &mut Known::default()).await;
    assert_eq!(end.unwrap_err().fault(), Fault::Transient);
}
