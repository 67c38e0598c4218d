//! What fuzzers call of LDAP: bytes as a server sends them, and filters as an administrator writes them.

use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::identity::DirectoryType;
use crate::secret::Secret;
use crate::source::ldap::answer::{Answer, paging_cookie};
use crate::source::ldap::clauses;
use crate::source::ldap::entry::Entry;
use crate::source::ldap::frame::{Framed, Message};
use crate::source::ldap::request;
use crate::source::ldap::scope::{Scope, Sought};
use crate::source::{MembershipAttribute, MembershipBy, Search, Security, Settings};

/// The longest message that is accepted here.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Reads a stream of messages, and each as everything that it may be.
pub(in crate::source) fn answers(stream: &[u8]) {
    let both = tokio::io::join(stream, tokio::io::sink());
    let mut framed = Framed::new(both, MESSAGE_BYTES_MAX);
    // Reading from memory never waits.
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(Some(message))) = pin!(framed.next()).poll(&mut context) {
        read(&message);
    }
}

fn read(message: &Message) {
    let _ = Answer::decode(message.body()).map(|(answer, _)| answer.words());
    let _ = paging_cookie(message);
    let _ = Entry::references(message);
    for scope in scopes() {
        let messages = [message.clone()];
        let Ok(mut parts) = scope.parts(&messages) else {
            continue;
        };
        let _ = parts.dn_for_people();
        let _ = scope.primary_group_id(&parts);
        let anchor = scope.anchor(&parts);
        let _ = scope.digest("cn=x", &mut parts);
        if let Ok(anchor) = anchor
            && let Ok(identity) = scope.identity(&parts, anchor.clone())
        {
            assert!(scope.anchor_form.encode(&anchor).is_some());
            assert!(identity.dn.parse::<crate::identity::dn::Dn>().is_ok());
        }
    }
}

/// Reads a filter, and writes it again: what is shown of a filter is what is asked.
pub(in crate::source) fn filter(text: &str) {
    let Ok(filter) = request::filter(text) else {
        return;
    };
    let written = clauses::text(&filter);
    assert_eq!(request::filter(&written).as_ref(), Ok(&filter), "{written}");
    for part in clauses::all(&filter) {
        let _ = clauses::attribute(part);
        assert!(request::filter(&clauses::text(part)).is_ok(), "{written}");
    }
}

/// The searches of a plain directory and of a domain.
fn scopes() -> &'static [Scope] {
    static SCOPES: OnceLock<Vec<Scope>> = OnceLock::new();
    SCOPES.get_or_init(|| {
        let kinds = [DirectoryType::Ldap, DirectoryType::ActiveDirectory];
        let prepared = kinds.into_iter().flat_map(|kind| {
            let settings = settings(kind);
            let prepare = move |sought| Scope::prepare(&settings, sought, "fuzz").ok()?;
            [Sought::Users, Sought::Groups]
                .into_iter()
                .filter_map(prepare)
        });
        prepared.collect()
    })
}

fn settings(directory_type: DirectoryType) -> Settings {
    let search = |filter: &str| Search {
        base: "dc=x".to_owned(),
        filter: filter.to_owned(),
        attributes: vec!["cn".to_owned(), "mail".to_owned()],
    };
    let is_domain = directory_type == DirectoryType::ActiveDirectory;
    let membership = |name: &str, by| MembershipAttribute {
        name: name.to_owned(),
        by,
    };
    Settings {
        directory_type,
        host: "fuzz".to_owned(),
        port: 389,
        fallbacks: Vec::new(),
        peer: None,
        security: Security::Plain,
        ca_certificate: None,
        bind_dn: "cn=reader".to_owned(),
        bind_password: Secret::new("x".to_owned()),
        users: search("(objectClass=person)"),
        groups: Some(search("(objectClass=group)")),
        units: None,
        unit_members: Vec::new(),
        anchor_attribute: if is_domain { "objectGUID" } else { "entryUUID" }.to_owned(),
        membership: vec![
            membership("member", MembershipBy::Dn),
            membership("memberUid", MembershipBy::Uid),
        ],
        uid_attribute: "uid".to_owned(),
        manager_attribute: Some("manager".to_owned()),
        primary_group: is_domain,
        page_entries: 100,
        connect_timeout: Duration::from_secs(1),
        answer_timeout: Duration::from_secs(1),
        message_bytes_max: MESSAGE_BYTES_MAX,
    }
}
