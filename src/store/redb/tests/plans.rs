//! Plans, jobs, and how long jobs are kept.

use super::*;
use crate::id::ProfileName;
use crate::job::decision::Verdict;
use crate::job::{Counters, Job, Mode, Status, Trigger};
use crate::plan::PlanDigest;
use crate::plan::held::{Held, HeldBy};
use crate::plan::tally::Tally;
use crate::store::Position;
use crate::store::holds::{Holds as _, Waiting};
use crate::store::jobs::Change;
use crate::store::jobs::JobFilter;
use crate::store::redb::codec;
use crate::store::redb::commit::Commit;
use crate::store::redb::failure::Failure;
use crate::store::redb::jobs::ENDED_JOBS_KEPT;
use crate::store::redb::migrations::MIGRATIONS;
use crate::store::redb::tables::{LEDGERS, Source as _, open_write};

fn job(number: u128, directory: DirectoryId, status: Status) -> Job {
    let profile = ProfileKey {
        directory,
        profile: ProfileName::default(),
    };
    let id = JobId(Uuid::from_u128(number));
    let mut job = Job::queued(id, &profile, Trigger::Manual, Mode::Full, time(1));
    job.status = status;
    job.counters = Counters {
        users_created: 3,
        ..Counters::default()
    };
    job
}

#[tokio::test]
async fn a_plan_is_numbered_sealed_read_in_order_and_dropped() {
    let fixture = Fixture::new().await;
    let (store, lease) = (&fixture.store, &fixture.lease);
    let add = async |steps: &[Step]| store.add_steps(lease, JOB, steps.to_vec()).await;
    let (late, early) = (Class::AddMembers, Class::Deactivate);
    add(&[step(&group(1), late), step(&user(1), early)])
        .await
        .unwrap();
    add(&[step(&user(2), early), step(&user(3), early)])
        .await
        .unwrap();
    // Another job's steps are its own.
    let other = JobId(Uuid::from_u128(JOB.0.as_u128() + 1));
    store
        .add_steps(lease, other, vec![step(&user(2), early)])
        .await
        .unwrap();
    store
        .drop_steps(lease, JOB, vec![user(2), user(7)])
        .await
        .unwrap();

    let plan = store.seal_plan(lease, head(JOB)).await.unwrap();
    assert_eq!(plan.counts, [(early, 2), (late, 1)]);
    let steps = store.steps(JOB, None, 99).await.unwrap();
    let at = |class, number| Position { class, number };
    let expected = [
        (at(early, 0), step(&user(1), early)),
        (at(early, 2), step(&user(3), early)),
        (at(late, 0), step(&group(1), late)),
    ];
    assert_eq!(steps, expected);
    let mut digest = PlanDigest::default();
    for (_, step) in &steps {
        digest.feed(&codec::encode(step).unwrap());
    }
    assert_eq!(plan.digest, digest.finish());
    assert_eq!(
        store.steps(JOB, Some(at(early, 0)), 1).await.unwrap(),
        expected[1..2]
    );
    assert_eq!(store.steps(JOB, Some(at(late, 0)), 9).await.unwrap(), []);

    for refused in [
        add(&[step(&user(9), early)]).await,
        store.drop_steps(lease, JOB, vec![user(1)]).await,
        store.seal_plan(lease, head(JOB)).await.map(|_| ()),
    ] {
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Defect);
    }
    let fixture = fixture.reopen();
    let (store, lease) = (&fixture.store, &fixture.lease);
    assert_eq!(store.plan(JOB).await.unwrap(), Some(plan));
    store.drop_plan(lease, JOB).await.unwrap();
    assert_eq!(store.plan(JOB).await.unwrap(), None);
    assert_eq!(store.steps(JOB, None, 9).await.unwrap(), []);
    assert_eq!(store.steps(other, None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn jobs_are_listed_newest_first() {
    let Fixture { store, .. } = Fixture::new().await;
    let elsewhere = DirectoryId(Uuid::from_u128(0xd2));
    let all = [
        job(1, DIRECTORY, Status::Completed),
        job(2, elsewhere, Status::Running),
        job(3, DIRECTORY, Status::AwaitingApproval),
        job(4, DIRECTORY, Status::Queued),
    ];
    for job in &all {
        store.save_job(job).await.unwrap();
    }
    let list = async |directory, before: Option<&Job>, limit| {
        let filter = JobFilter {
            directory,
            ..JobFilter::default()
        };
        let jobs = store.jobs(filter, before.map(|job| job.id), limit);
        let jobs = jobs.await.unwrap();
        jobs.iter()
            .map(|job| job.id.0.as_u128())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 9).await, [4, 3, 2, 1]);
    assert_eq!(list(Some(DIRECTORY), None, 2).await, [4, 3]);
    assert_eq!(list(Some(DIRECTORY), Some(&all[2]), 9).await, [1]);
    assert_eq!(list(Some(elsewhere), None, 9).await, [2]);
    assert_eq!(store.job(all[2].id).await.unwrap().as_ref(), Some(&all[2]));
    assert_eq!(store.job(JOB).await.unwrap(), None);
    let unfinished = store.unfinished_jobs().await.unwrap();
    assert_eq!(unfinished, [all[1].clone(), all[3].clone()]);
    // Replaced, not doubled.
    store
        .save_job(&job(4, DIRECTORY, Status::Failed))
        .await
        .unwrap();
    assert_eq!(store.unfinished_jobs().await.unwrap().len(), 1);
    assert_eq!(list(None, None, 9).await, [4, 3, 2, 1]);
}

#[tokio::test]
async fn old_jobs_go_with_plan_and_journal_but_never_one_that_waits() {
    let fixture = Fixture::new().await;
    let (store, lease) = (&fixture.store, &fixture.lease);
    let old = job(2, DIRECTORY, Status::Completed);
    store
        .save_job(&job(1, DIRECTORY, Status::AwaitingApproval))
        .await
        .unwrap();
    store
        .add_steps(lease, old.id, vec![step(&user(1), Class::Update)])
        .await
        .unwrap();
    store.seal_plan(lease, head(old.id)).await.unwrap();
    let mut line = settlement(&user(1), Effect::Nothing);
    line.change = Some(Change {
        at: time(1),
        key: user(1),
        dn: "uid=x".into(),
        id: None,
        action: Action::AddMembers(vec![]),
        class: Class::Update,
        reason: Reason::New,
        error: None,
    });
    let author = Author {
        job: old.id,
        ..author()
    };
    store.settle(lease, &author, vec![line]).await.unwrap();
    store.save_job(&old).await.unwrap();
    let kept = u128::try_from(ENDED_JOBS_KEPT).unwrap();
    for number in 3..=kept + 1 {
        store
            .save_job(&job(number, DIRECTORY, Status::Failed))
            .await
            .unwrap();
    }
    // As many as are kept: the old one is still there, whole.
    assert!(store.job(old.id).await.unwrap().is_some());
    assert!(store.plan(old.id).await.unwrap().is_some());
    assert_eq!(store.changes(old.id, None, 9).await.unwrap().len(), 1);
    store
        .save_job(&job(kept + 2, DIRECTORY, Status::Cancelled))
        .await
        .unwrap();
    assert_eq!(store.job(old.id).await.unwrap(), None);
    assert_eq!(store.plan(old.id).await.unwrap(), None);
    assert_eq!(store.steps(old.id, None, 9).await.unwrap(), []);
    assert_eq!(store.changes(old.id, None, 9).await.unwrap(), []);
    let waiting = JobId(Uuid::from_u128(1));
    assert!(store.job(waiting).await.unwrap().is_some());
}

#[tokio::test]
async fn an_unfinished_plan_goes_with_the_end_of_its_job() {
    let fixture = Fixture::new().await;
    let (store, lease) = (&fixture.store, &fixture.lease);
    let mut cut_off = job(5, DIRECTORY, Status::Running);
    store.save_job(&cut_off).await.unwrap();
    let steps = vec![step(&user(1), Class::Update)];
    store.add_steps(lease, cut_off.id, steps).await.unwrap();
    store.save_job(&cut_off).await.unwrap();
    assert_eq!(store.steps(cut_off.id, None, 9).await.unwrap().len(), 1);
    cut_off.end(Status::Interrupted, time(2));
    store.save_job(&cut_off).await.unwrap();
    assert_eq!(store.steps(cut_off.id, None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn what_a_person_keeps_and_what_waits_stand_side_by_side() {
    let Fixture { store, lease, .. } = Fixture::new().await;
    let held = |by: HeldBy, class| Held {
        job: JOB,
        profile: ProfileName::default(),
        by,
        since: time(1),
        steps: vec![step(&user(1), class)],
    };
    let person = HeldBy::Person {
        undone: true,
        who: "ann".to_owned(),
        fingerprint: None,
    };
    let waits = held(HeldBy::Waiting, Class::Update);
    let kept = held(person, Class::Deactivate);
    store.hold(&lease, vec![waits.clone()]).await.unwrap();
    store.hold(&lease, vec![kept.clone()]).await.unwrap();
    let all = async || {
        store
            .held(DIRECTORY, vec![user(1)])
            .await
            .unwrap()
            .remove(0)
    };
    assert_eq!(all().await, [waits.clone(), kept.clone()]);
    let listed = store.all_held(DIRECTORY, waits.key(), 9).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&kept), "after the first");

    let mut waiting = job(JOB.0.as_u128(), DIRECTORY, Status::AwaitingApproval);
    store.save_job(&waiting).await.unwrap();
    waiting.close(Verdict::Withdrawn, "relay".to_owned(), time(2));
    let decide = async || store.decide_plan(&waiting, Waiting::Ends, None).await;
    assert!(decide().await.unwrap());
    assert!(
        !decide().await.unwrap(),
        "whoever comes second decides nothing"
    );
    assert_eq!(all().await, std::slice::from_ref(&kept));
    // An undo whose rest was approved by somebody else keeps what went out at once as well.
    let more = held(
        HeldBy::Person {
            undone: true,
            who: "ben".to_owned(),
            fingerprint: None,
        },
        Class::Reactivate,
    );
    store.hold(&lease, vec![more.clone()]).await.unwrap();
    let steps = [kept.steps.clone(), more.steps.clone()].concat();
    assert_eq!(all().await, [Held { steps, ..more }]);
    let rows = vec![kept.key().unwrap()];
    store.release(DIRECTORY, rows, Vec::new()).await.unwrap();
    assert_eq!(all().await, []);
}

/// Records as version 2 of the tables had them: the key of what is held says not by whom, and a changed definition has no date.
#[tokio::test]
async fn what_is_held_and_counted_survives_the_migration_to_version_3() {
    let Fixture { store, lease, .. } = Fixture::new().await;
    let held = Held {
        job: JOB,
        profile: ProfileName::default(),
        by: HeldBy::Waiting,
        since: time(1),
        steps: vec![step(&user(1), Class::Deactivate)],
    };
    store.hold(&lease, vec![held.clone()]).await.unwrap();
    let ledgers = [(profile("a"), true), (profile("b"), false)];
    let tally = Tally {
        deactivations: 3,
        ..Tally::default()
    };
    let hours = vec![(time(1).timestamp().div_euclid(3600), tally)];
    let old = move |txn: &redb::WriteTransaction| -> Result<(), Failure> {
        let name = format!("d/{DIRECTORY}/held");
        let mut table = open_write(txn, &name)?;
        let key = table.keys_starting_with(&[])?.remove(0);
        let record = table.remove(key.as_slice())?.unwrap().value().to_vec();
        table.insert(&key[..key.len() - 1], record.as_slice())?;
        let dated = codec::encode(&(&hours, Some(time(2)), Some(time(3))))?;
        let key = codec::profile_key(&profile("c"));
        open_write(txn, LEDGERS)?.insert(key.as_slice(), dated.as_slice())?;
        for (profile, changed) in &ledgers {
            let record = codec::encode(&(&hours, changed, Some(time(3))))?;
            let key = codec::profile_key(profile);
            open_write(txn, LEDGERS)?.insert(key.as_slice(), record.as_slice())?;
        }
        Ok(())
    };
    store.write(Commit::Outbox, old).await.unwrap();
    store.write(Commit::Outbox, MIGRATIONS[1]).await.unwrap();

    let listed = store.all_held(DIRECTORY, None, 9).await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&held));
    let rows = vec![held.key().unwrap()];
    store.release(DIRECTORY, rows, Vec::new()).await.unwrap();
    assert_eq!(store.all_held(DIRECTORY, None, 9).await.unwrap(), []);
    let epoch = DateTime::UNIX_EPOCH;
    for (name, changed_at) in [("a", Some(epoch)), ("b", None), ("c", Some(time(2)))] {
        let ledger = store.ledger(&profile(name)).await.unwrap();
        assert_eq!(ledger.definition_changed_at, changed_at);
        assert_eq!(ledger.quarantine_cleared_at, Some(time(3)));
        assert_eq!(ledger.spent(time(1)).deactivations, 3);
    }
}
