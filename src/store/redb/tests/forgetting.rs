//! Profiles and directories that were deleted: what goes, what stays, and what was never touched.

use super::*;
use crate::job::{Job, Mode, Status, Trigger};
use crate::snapshot::ProfileState;
use crate::store::Intent;
use crate::store::jobs::JobFilter;
use redb::{ReadableDatabase as _, TableHandle as _};

const OTHER: DirectoryId = DirectoryId(Uuid::from_u128(0xd2));

/// The names of the tables that belong to something.
fn tables(fixture: &Fixture, of: &str) -> Vec<String> {
    let txn = fixture.store.database.begin_read().unwrap();
    let names = txn.list_tables().unwrap();
    let mut names: Vec<String> = names
        .map(|table| table.name().to_owned())
        .filter(|name| name.starts_with(of))
        .collect();
    names.sort();
    names
}

async fn linked(fixture: &Fixture, row: &RowKey, id: &str) {
    let applied = Effect::Applied(resource(id, id, true));
    fixture.settle(vec![settlement(row, applied)]).await;
}

#[tokio::test]
async fn a_forgotten_profile_leaves_links_and_what_others_saw() {
    let fixture = Fixture::new().await;
    let (shared, released, never_linked) = (user(1), user(2), user(3));
    let seen = |row: &RowKey, uid: &str| entry(row, uid, &[]);
    fixture
        .see(
            "b",
            &[
                seen(&shared, "ann"),
                seen(&released, "bob"),
                seen(&never_linked, "cat"),
            ],
        )
        .await;
    fixture.see("a", &[seen(&shared, "ann")]).await;
    fixture
        .see("a", &[entry(&group(7), "team", &["ann", "bob"])])
        .await;
    linked(&fixture, &shared, "1").await;
    linked(&fixture, &released, "2").await;

    let lease = &fixture.lease;
    fixture
        .store
        .forget_profile(lease, &profile("b"))
        .await
        .unwrap();
    let fixture = fixture.reopen();
    let keys = vec![shared.clone(), released.clone(), never_linked.clone()];
    let rows = fixture.store.rows(DIRECTORY, names(), keys).await.unwrap();
    let owners: Vec<_> = rows
        .iter()
        .map(|row| row.owner().map(|(name, _)| &name.0))
        .collect();
    assert_eq!(owners, [Some(&"a".to_owned()), None, None]);
    let ids: Vec<_> = rows
        .iter()
        .map(|row| row.applied.as_ref().map(|applied| applied.id.as_str()))
        .collect();
    assert_eq!(ids, [Some("1"), Some("2"), None]);
    assert!(!fixture.dirty().await.contains(&never_linked));
    assert!(fixture.store.known(&profile("b")).await.unwrap().is_empty());
    assert_eq!(tables(&fixture, &format!("d/{DIRECTORY}/p/b/")), [""; 0]);
    assert!(!tables(&fixture, &format!("d/{DIRECTORY}/p/a/")).is_empty());

    // Seen again by another, it goes on with its link, and the group that names it is looked at.
    for row in fixture
        .store
        .dirty_rows(DIRECTORY, names(), None, 9)
        .await
        .unwrap()
    {
        if let Some((_, seen)) = row.owner() {
            let cleaned = fixture
                .store
                .clear_dirty(&fixture.lease, vec![(row.key.clone(), seen.digest)]);
            cleaned.await.unwrap();
        }
    }
    fixture.see("a", &[seen(&released, "bob")]).await;
    assert_eq!(fixture.dirty().await, [released.clone(), group(7)]);
    let row = &fixture
        .store
        .rows(DIRECTORY, names(), vec![released])
        .await
        .unwrap()[0];
    assert_eq!(
        row.applied.as_ref().map(|applied| applied.id.as_str()),
        Some("2")
    );
}

#[tokio::test]
async fn a_profile_that_is_not_listed_any_more_looks_at_everything_when_it_is_back() {
    let fixture = Fixture::new().await;
    let state = ProfileState {
        fingerprint: Some(Digest([7; 16])),
        first_load_done: true,
        ..Default::default()
    };
    for name in ["a", "b"] {
        let key = profile(name);
        let saved = fixture
            .store
            .save_profile_state(&fixture.lease, &key, &state);
        saved.await.unwrap();
    }
    let listed = [ProfileName("a".to_owned())];
    fixture
        .store
        .mark_all_dirty(&fixture.lease, &listed)
        .await
        .unwrap();
    assert_eq!(
        fixture.store.profile_state(&profile("a")).await.unwrap(),
        state
    );
    let unlisted = ProfileState {
        fingerprint: None,
        ..state
    };
    assert_eq!(
        fixture.store.profile_state(&profile("b")).await.unwrap(),
        unlisted
    );
}

#[tokio::test]
async fn a_forgotten_directory_leaves_nothing_but_its_term() {
    let fixture = Fixture::new().await;
    fixture.see("a", &[entry(&user(1), "ann", &[])]).await;
    linked(&fixture, &user(1), "1").await;
    let intent = Intent {
        key: user(1),
        class: Class::Update,
        part: 0,
        job: JOB,
        members: Vec::new(),
    };
    fixture
        .store
        .intend(&fixture.lease, vec![intent])
        .await
        .unwrap();
    let elsewhere = ProfileKey {
        directory: OTHER,
        profile: ProfileName::default(),
    };
    let other = fixture.store.lease(OTHER).await.unwrap();
    let seen = entry(&user(9), "zoe", &[]);
    let digest = digest_of(&seen);
    fixture
        .store
        .record_seen(&other, &elsewhere, vec![(seen, digest)])
        .await
        .unwrap();
    let job_of = |number: u128, key: &ProfileKey| {
        let id = JobId(Uuid::from_u128(number));
        let mut job = Job::queued(id, key, Trigger::Manual, Mode::Full, time(1));
        job.end(Status::AwaitingApproval, time(2));
        job
    };
    let (gone, kept) = (job_of(1, &profile("a")), job_of(2, &elsewhere));
    for job in [&gone, &kept] {
        fixture.store.save_job(job).await.unwrap();
    }
    let plan = head(gone.id);
    fixture.store.seal_plan(&fixture.lease, plan).await.unwrap();

    fixture.store.forget_directory(DIRECTORY).await.unwrap();
    let fixture = fixture.reopen();
    assert_eq!(tables(&fixture, &format!("d/{DIRECTORY}/")), [""; 0]);
    let jobs = fixture.store.jobs(JobFilter::default(), None, 9).await;
    assert_eq!(jobs.unwrap(), [kept]);
    assert_eq!(fixture.store.plan(gone.id).await.unwrap(), None);
    assert_eq!(
        fixture.store.linked_counts(DIRECTORY).await.unwrap(),
        Default::default()
    );
    assert_eq!(
        fixture.store.profile_state(&profile("a")).await.unwrap(),
        Default::default()
    );
    assert_eq!(fixture.store.intents(DIRECTORY).await.unwrap(), []);
    assert_eq!(fixture.store.known(&elsewhere).await.unwrap().len(), 1);
    // Whoever was still writing cannot bring it back.
    let late = fixture
        .store
        .mark_dirty(&fixture.lease, vec![user(1)])
        .await;
    assert_eq!(late.unwrap_err().kind, ErrorKind::LeaseLost);
    assert!(fixture.store.lease(DIRECTORY).await.unwrap().term > fixture.lease.term);
}
