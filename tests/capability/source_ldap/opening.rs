//! Against a server that lies at the bind, at StartTLS, and when it is asked for one entry.

use scim_relay::fault::Fault;
use scim_relay::identity::server::ServerAddress;
use scim_relay::identity::{Anchor, Kind, RowKey};
use scim_relay::source::examination::Server;
use scim_relay::source::{Security, Settings, Stage};

use super::faults::{Answer, BASE, person, send, users_only};
use super::{open, refused};
use crate::support::fault_ldap::{FaultLdap, Step, done, entry, message, reference, result, tlv};

#[tokio::test]
async fn a_run_stays_with_the_address_that_its_server_had() {
    let server = FaultLdap::start(|_| None).await;
    let settings = users_only(&server);
    let first = open(&settings).await.unwrap().server().await;
    assert_eq!(first.address, settings.address());
    assert_eq!(first.peer, Some(server.address));
    // By name it would be elsewhere now, or nowhere.
    let renamed = ServerAddress {
        host: "no-such-host.invalid".to_owned(),
        port: 1,
    };
    let moved = Server {
        address: renamed,
        ..first
    };
    let again = settings.staying_with(&moved);
    let again = open(&again).await.unwrap().server().await;
    assert_eq!(again.peer, Some(server.address));
}

#[tokio::test]
async fn a_bind_that_is_no_bind_is_refused() {
    let cases: [(u8, Answer, &str); 7] = [
        (
            0x60,
            |id| send(&[message(id, tlv(0x61, b"\x0a\x05"), &[])]),
            "bind",
        ),
        (
            0x60,
            |id| send(&[message(id, tlv(0x61, b""), &[])]),
            "a result without a code",
        ),
        (0x60, |id| send(&[person(id, 1)]), "bind"),
        (
            0x60,
            |id| {
                let body = [
                    tlv(10, &[49]),
                    tlv(4, b"\xff"),
                    tlv(4, b"\xfe data 533, v1"),
                ]
                .concat();
                send(&[message(id, tlv(0x61, &body), &[])])
            },
            "the account is disabled",
        ),
        (0x60, |_| vec![Step::Silence], "no answer for 1 seconds"),
        (
            0x60,
            |_| send(&[b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]),
            "is not LDAP",
        ),
        (
            0x77,
            |id| {
                send(&[message(
                    id,
                    tlv(0x78, &[result(0, ""), tlv(0x8b, b"")].concat()),
                    &[],
                )])
            },
            "treats it as anonymous",
        ),
    ];
    for (op, answer, words) in cases {
        let server =
            FaultLdap::start(move |request| (request.op == op).then(|| answer(request.id))).await;
        let error = refused(&users_only(&server)).await;
        assert!(error.message.contains(words), "{words}: {error}");
    }
    // A server that cannot say who we are is believed when it shows its root.
    let server = FaultLdap::start(|request| {
        let unsupported = message(request.id, tlv(0x78, &result(2, "unsupported")), &[]);
        (request.op == 0x77).then(|| send(&[unsupported]))
    })
    .await;
    open(&users_only(&server)).await.unwrap();
}

#[tokio::test]
async fn start_tls_is_all_or_nothing() {
    let cases: [(Answer, &str); 3] = [
        (
            |id| send(&[message(id, tlv(0x78, &result(2, "no TLS here")), &[])]),
            "no TLS here",
        ),
        // What comes in plain text behind the answer must not be taken for the server's.
        (
            |id| send(&[message(id, tlv(0x78, &result(0, "")), &[]), person(id, 1)]),
            "more than its answer",
        ),
        (|id| send(&[message(id, tlv(0x78, b""), &[])]), "StartTLS"),
    ];
    for (answer, words) in cases {
        let server =
            FaultLdap::start(move |request| (request.op == 0x77).then(|| answer(request.id))).await;
        let settings = Settings {
            security: Security::StartTls,
            ..users_only(&server)
        };
        let error = refused(&settings).await;
        assert!(error.message.contains(words), "{words}: {error}");
    }
}

#[tokio::test]
async fn absence_is_only_believed_of_a_readable_base_and_one_server() {
    let key = RowKey {
        kind: Kind::User,
        anchor: Anchor::Uuid(uuid::Uuid::from_u128(1)),
    };
    let cases: [(Answer, Answer, Stage, Fault); 4] = [
        (
            |id| send(&[done(id, 0, "")]),
            |id| send(&[done(id, 0, "")]),
            Stage::Permission,
            Fault::Denied,
        ),
        (
            |id| send(&[entry(id, BASE, &[]), done(id, 0, "")]),
            |id| send(&[reference(id, "ldap://other/"), done(id, 0, "")]),
            Stage::Reading,
            Fault::Denied,
        ),
        (
            |id| send(&[entry(id, BASE, &[]), done(id, 0, "")]),
            |id| send(&[person(id, 1), person(id, 2), done(id, 0, "")]),
            Stage::Reading,
            Fault::Defect,
        ),
        (
            |id| send(&[entry(id, BASE, &[]), done(id, 0, "")]),
            |id| send(&[done(id, 51, "")]),
            Stage::Reading,
            Fault::Transient,
        ),
    ];
    for (base, look, stage, fault) in cases {
        let server = FaultLdap::start(move |request| match request.op {
            0x63 if request.subtree => Some(look(request.id)),
            0x63 => Some(base(request.id)),
            _ => None,
        })
        .await;
        let source = open(&users_only(&server)).await.unwrap();
        let error = source.look(&key).await.unwrap_err();
        assert_eq!((error.stage, error.fault()), (stage, fault), "{error}");
    }
}
