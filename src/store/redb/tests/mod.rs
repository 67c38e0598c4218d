//! Tests of the store: the contract of every method, on a real file unless the test is about something else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod applied;
mod audit;
mod conflicts;
mod forgetting;
mod leftovers;
mod listings;
mod opening;
mod plans;
mod profiles;
mod seen;

use std::path::PathBuf;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use uuid::Uuid;

use super::RedbStore;
use super::file;
use crate::id::{DirectoryId, JobId, ProfileKey, ProfileName, TenantName};
use crate::identity::digest::Digest;
use crate::identity::{Anchor, Identity, Kind, Member, MemberKey, RowKey};
use crate::plan::{Action, Class, Plan, Reason, Step};
use crate::scim::Value;
use crate::scim::path::AttributePath;
use crate::snapshot::Applied;
use crate::store::{Author, Effect, ErrorKind, Lease, Settings, Settlement, Store};

const DIRECTORY: DirectoryId = DirectoryId(Uuid::from_u128(0xd1));
const JOB: JobId = JobId(Uuid::from_u128(0x10b));

fn author() -> Author {
    Author {
        job: JOB,
        tenant: TenantName("acme".into()),
        ledger: None,
    }
}

/// A step of a plan.
fn step(row: &RowKey, class: Class) -> Step {
    Step {
        key: row.clone(),
        dn: "uid=x".into(),
        class,
        action: Action::RemoveMembers(vec![user(1)]),
        reason: Reason::Membership,
        based_on: Digest::default(),
        last_of_row: true,
    }
}

/// The head of a plan, before it is sealed.
fn head(job: JobId) -> Plan {
    Plan {
        job,
        directory: DIRECTORY,
        profile: ProfileName::default(),
        created_at: time(1),
        preview: false,
        counts: Vec::new(),
        held: Vec::new(),
        for_approval: 0,
        holds: Vec::new(),
        digest: String::new(),
    }
}

/// A store in a directory of its own, with a lease on one directory.
struct Fixture {
    folder: TempDir,
    store: RedbStore,
    lease: Lease,
}

impl Fixture {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = open(&settings(&folder)).unwrap();
        let lease = store.lease(DIRECTORY).await.unwrap();
        Self {
            folder,
            store,
            lease,
        }
    }

    /// Closes the store and opens it again.
    fn reopen(self) -> Self {
        let Self {
            folder,
            store,
            lease,
        } = self;
        drop(store);
        let store = open(&settings(&folder)).unwrap();
        Self {
            folder,
            store,
            lease,
        }
    }

    async fn see(&self, name: &str, entries: &[Identity]) {
        let entries = entries
            .iter()
            .map(|entry| (entry.clone(), digest_of(entry)))
            .collect();
        self.store
            .record_seen(&self.lease, &profile(name), entries)
            .await
            .unwrap();
    }

    async fn miss(&self, name: &str, rows: &[RowKey], at: i64) {
        self.store
            .record_absent(&self.lease, &profile(name), rows.to_vec(), time(at))
            .await
            .unwrap();
    }

    async fn settle(&self, settlements: Vec<Settlement>) {
        self.store
            .settle(&self.lease, &author(), settlements)
            .await
            .unwrap();
    }

    /// The keys of the rows that differ.
    async fn dirty(&self) -> Vec<RowKey> {
        let rows = self.store.dirty_rows(DIRECTORY, names(), None, 1000);
        rows.await.unwrap().into_iter().map(|row| row.key).collect()
    }

    /// Removes all marks.
    async fn clean(&self) {
        let rows = self.store.dirty_rows(DIRECTORY, names(), None, 1000);
        let rows = rows.await.unwrap();
        let digests = rows
            .iter()
            .map(|row| (row.key.clone(), row.owner().unwrap().1.digest))
            .collect();
        self.store.clear_dirty(&self.lease, digests).await.unwrap();
        assert_eq!(self.dirty().await, []);
    }
}

fn settings(folder: &TempDir) -> Settings {
    Settings {
        path: path(folder),
        cache_mib: 16,
    }
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("state.redb")
}

fn open(settings: &Settings) -> Result<RedbStore, crate::store::Error> {
    RedbStore::start(file::open(settings)?, &settings.path, None)
}

/// The kind of error that opening the file gives.
fn refusal(settings: &Settings) -> (ErrorKind, String) {
    let error = open(settings).err().expect("the file should be refused");
    (error.kind, error.message)
}

fn profile(name: &str) -> ProfileKey {
    ProfileKey {
        directory: DIRECTORY,
        profile: ProfileName(name.to_owned()),
    }
}

/// The profiles of the tests, in order.
fn names() -> &'static [ProfileName] {
    static NAMES: LazyLock<[ProfileName; 2]> =
        LazyLock::new(|| ["a", "b"].map(|name| ProfileName(name.to_owned())));
    NAMES.as_slice()
}

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn name(text: &str) -> MemberKey {
    MemberKey::of_uid(text)
}

fn key(kind: Kind, number: u128) -> RowKey {
    RowKey {
        kind,
        anchor: Anchor::Uuid(Uuid::from_u128(number)),
    }
}

fn user(number: u128) -> RowKey {
    key(Kind::User, number)
}

fn group(number: u128) -> RowKey {
    key(Kind::Group, number)
}

/// An entry of a row, under one name, with members.
fn entry(row: &RowKey, uid: &str, members: &[&str]) -> Identity {
    let mut members: Vec<_> = members
        .iter()
        .map(|member| Member {
            key: name(member),
            name: (*member).to_owned(),
        })
        .collect();
    members.sort();
    Identity {
        kind: row.kind,
        anchor: row.anchor.clone(),
        dn: format!("uid={uid}"),
        attributes: Default::default(),
        members,
        names: vec![name(uid)],
    }
}

fn digest_of(entry: &Identity) -> Digest {
    Digest(crate::identity::digest::short(&[
        format!("{entry:?}").as_bytes()
    ]))
}

fn resource(id: &str, user_name: &str, active: bool) -> Applied {
    Applied {
        id: id.to_owned(),
        attributes: [
            (
                AttributePath::user_name(),
                Value::Text(user_name.to_owned()),
            ),
            (AttributePath::active(), Value::Bool(active)),
        ]
        .into(),
    }
}

fn settlement(key: &RowKey, effect: Effect) -> Settlement {
    Settlement {
        key: key.clone(),
        class: Class::Update,
        part: 0,
        effect,
        clean: None,
        change: None,
        rejection: None,
    }
}
