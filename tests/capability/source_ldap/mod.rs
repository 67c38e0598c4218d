//! The LDAP source against a real slapd, and against a server that lies.

mod examine;
mod faults;
mod listening;
mod opening;
mod openldap;
mod ranges;

use std::time::Duration;

use scim_relay::identity::digest::Digest;
use scim_relay::identity::known::Known;
use scim_relay::identity::observation::{Coverage, Observation, ReadEnd, Statement};
use scim_relay::identity::{DirectoryType, Identity, RowKey};
use scim_relay::secret::Secret;
use scim_relay::source::{
    Error, MembershipAttribute, MembershipBy, Search, Security, Settings, Source,
};
use tokio::sync::mpsc;

/// Longer than any of these reads should ever take.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(port: u16) -> Settings {
    Settings {
        directory_type: DirectoryType::Ldap,
        host: "127.0.0.1".into(),
        port,
        fallbacks: Vec::new(),
        peer: None,
        security: Security::Plain,
        ca_certificate: None,
        bind_dn: "cn=reader,dc=example,dc=org".into(),
        bind_password: Secret::new("secret".into()),
        users: Search {
            base: "ou=people,dc=example,dc=org".into(),
            filter: "(objectClass=inetOrgPerson)".into(),
            attributes: vec!["uid".into(), "mail".into(), "cn".into(), "jpegPhoto".into()],
        },
        groups: Some(Search {
            base: "ou=groups,dc=example,dc=org".into(),
            filter: "(|(objectClass=groupOfNames)(objectClass=posixGroup))".into(),
            attributes: vec!["cn".into()],
        }),
        units: None,
        unit_members: Vec::new(),
        manager_attribute: None,
        anchor_attribute: "entryUUID".into(),
        membership: vec![
            MembershipAttribute {
                name: "member".into(),
                by: MembershipBy::Dn,
            },
            MembershipAttribute {
                name: "memberUid".into(),
                by: MembershipBy::Uid,
            },
        ],
        uid_attribute: "uid".into(),
        primary_group: false,
        page_entries: 400,
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(10),
        message_bytes_max: 16 * 1024 * 1024,
    }
}

async fn open(settings: &Settings) -> Result<Box<dyn Source>, Error> {
    tokio::time::timeout(PATIENCE, scim_relay::source::open(settings))
        .await
        .expect("opening took too long")
}

async fn refused(settings: &Settings) -> Error {
    match open(settings).await {
        Ok(_) => panic!("the server should have been refused"),
        Err(error) => error,
    }
}

/// Reads everything, and gives what was stated.
async fn read(
    source: &dyn Source,
    known: &mut Known,
) -> (Result<ReadEnd, Error>, Vec<Observation>) {
    let (sink, mut receiver) = mpsc::channel(8);
    let collect = async {
        let mut stated = Vec::new();
        while let Some(statement) = receiver.recv().await {
            if let Statement::Entry(observation) = statement {
                stated.push(observation);
            }
        }
        stated
    };
    let both = async { tokio::join!(source.read(known, sink), collect) };
    tokio::time::timeout(PATIENCE, both)
        .await
        .expect("reading took too long")
}

fn identities(stated: &[Observation]) -> Vec<&Identity> {
    stated
        .iter()
        .filter_map(|observation| match observation {
            Observation::Present(identity, _) => Some(&**identity),
            Observation::Unreadable(_) => None,
        })
        .collect()
}

fn rows(stated: &[Observation]) -> Vec<(RowKey, Digest)> {
    stated
        .iter()
        .filter_map(|observation| match observation {
            Observation::Present(identity, digest) => Some((identity.key(), *digest)),
            Observation::Unreadable(_) => None,
        })
        .collect()
}

fn why_partial(end: &ReadEnd) -> &str {
    match &end.coverage {
        Coverage::Partial(why) => why,
        Coverage::Complete => panic!("the read should not count as complete"),
    }
}
