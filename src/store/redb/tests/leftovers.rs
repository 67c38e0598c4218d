//! Leftovers: what is gone at once of a forgotten job, and what leaves the file in parts behind it.

use std::ops::Range;
use std::sync::mpsc;
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase as _, TableHandle as _, WriteTransaction};

use super::*;
use crate::fault::Fault;
use crate::job::{Job, Mode, ObjectError, Status, Trigger};
use crate::store::Position;
use crate::store::jobs::UnsentError;
use crate::store::redb::commit::{Commit, transact};
use crate::store::redb::leftovers::{AT_ONCE, PART, remove_part};
use crate::store::redb::tables::{
    JOURNAL, JOURNAL_LEFT, STEPS, STEPS_LEFT, Source as _, open_read, open_write,
};
use crate::store::redb::writer::TASKS_AT_MOST;
use crate::store::redb::{codec, forget, jobs, plans};

/// More than two parts of lines, and more than one of steps.
const LINES: usize = 2 * PART + 10;
const STEPS_OF_PLAN: usize = PART + 5;

/// More than go at once.
const MANY: usize = AT_ONCE + 1;

const OLD: u128 = 1;
const NEXT: u128 = 2;

fn id(number: u128) -> JobId {
    JobId(Uuid::from_u128(number))
}

fn job(number: u128, status: Status) -> Job {
    let mut job = Job::queued(
        id(number),
        &profile("a"),
        Trigger::Manual,
        Mode::Full,
        time(1),
    );
    job.status = status;
    job
}

/// Some step of a plan.
fn any() -> Step {
    step(&user(1), Class::Update)
}

fn write(database: &Database, work: impl FnOnce(&WriteTransaction)) {
    let work = |txn: &WriteTransaction| {
        work(txn);
        Ok(())
    };
    transact(database, Commit::Outbox, work).unwrap();
}

/// Jobs that ended, as many as are kept, of which the oldest has a plan and a journal of many rows and the next one of few.
fn fill(txn: &WriteTransaction, lease: &Lease) {
    let kept = u128::try_from(jobs::ENDED_JOBS_KEPT).unwrap();
    for (number, lines, steps) in [(OLD, LINES, STEPS_OF_PLAN), (NEXT, 7, 3)] {
        let error = UnsentError {
            at: time(1),
            error: ObjectError::of_job("read", Fault::Transient, "away"),
        };
        jobs::note_unsent(txn, id(number), &vec![error; lines]).unwrap();
        plans::add_steps(txn, lease, id(number), &vec![any(); steps]).unwrap();
        plans::seal(txn, lease, head(id(number))).unwrap();
    }
    for number in OLD..=kept {
        jobs::save(txn, &job(number, Status::Completed)).unwrap();
    }
}

/// The end of one job more than are kept.
fn one_more_ends(txn: &WriteTransaction) {
    let last = u128::try_from(jobs::ENDED_JOBS_KEPT).unwrap() + 1;
    jobs::save(txn, &job(last, Status::Completed)).unwrap();
}

/// How many lines and steps the file has.
fn rows(txn: &ReadTransaction) -> usize {
    let count = |name| open_read(txn, name).unwrap().count().unwrap();
    usize::try_from(count(JOURNAL) + count(STEPS)).unwrap()
}

/// What is read of a job: its record, its plan's head, and how many lines and steps.
fn read(txn: &ReadTransaction, number: u128) -> (bool, bool, usize, usize) {
    let job = id(number);
    (
        jobs::job(txn, job).unwrap().is_some(),
        plans::plan(txn, job).unwrap().is_some(),
        jobs::changes(txn, job, None, usize::MAX).unwrap().len(),
        plans::steps(txn, job, None, usize::MAX).unwrap().len(),
    )
}

const GONE: (bool, bool, usize, usize) = (false, false, 0, 0);
const NEXT_WHOLE: (bool, bool, usize, usize) = (true, true, 7, 3);

/// Rows of the next job, which is kept.
const KEPT: usize = 7 + 3;
const ALL: usize = LINES + STEPS_OF_PLAN + KEPT;

#[tokio::test]
async fn a_forgotten_job_is_gone_at_once_and_leaves_in_parts_with_other_writes_between() {
    let Fixture { store, lease, .. } = Fixture::new().await;
    // The writer waits until all is in its queue, so that what comes between is not left to chance.
    let (go, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    store.writer.submit(Box::new(move |database| {
        write(database, |txn| fill(txn, &lease));
        wait.recv().unwrap();
    }));
    store.writer.submit(Box::new(|database| {
        write(database, one_more_ends);
    }));
    // A part goes after so many tasks, whatever waits behind them; the first two are above.
    for number in 0..3 * u128::try_from(TASKS_AT_MOST).unwrap() {
        let tell = tell.clone();
        store.writer.submit(Box::new(move |database| {
            write(database, |txn| {
                jobs::save(txn, &job(1_000 + number, Status::Running)).unwrap();
            });
            let txn = database.begin_read().unwrap();
            let of_all = jobs::jobs(&txn, &Default::default(), None, usize::MAX).unwrap();
            let is_listed = of_all.iter().any(|job| job.id == id(OLD));
            tell.send((rows(&txn), is_listed, read(&txn, OLD), read(&txn, NEXT)))
                .unwrap();
        }));
    }
    go.send(()).unwrap();
    drop(tell);
    let told: Vec<_> = told.iter().collect();
    let mut left: Vec<usize> = told.iter().map(|(rows, ..)| *rows).collect();
    left.dedup();
    let after = |parts: usize| ALL - parts * PART;
    assert_eq!(left, [ALL, after(1), after(2), after(3)]);
    for (_, is_listed, old, next) in told {
        assert_eq!((is_listed, old, next), (false, GONE, NEXT_WHOLE));
    }
}

#[tokio::test]
async fn a_store_that_was_closed_in_the_middle_goes_on_when_it_is_opened() {
    let Fixture {
        folder,
        store,
        lease,
    } = Fixture::new().await;
    drop(store);
    let database = file::open(&settings(&folder)).unwrap();
    write(&database, |txn| fill(txn, &lease));
    // As an earlier version left it.
    for list in [STEPS_LEFT, JOURNAL_LEFT] {
        write(&database, |txn| {
            let mut tables = txn.list_tables().unwrap();
            if let Some(table) = tables.find(|table| table.name() == list) {
                txn.delete_table(table).unwrap();
            }
        });
    }
    assert!(!remove_part(&database).unwrap(), "nothing is left over");
    write(&database, one_more_ends);
    let count = |database: &Database| rows(&database.begin_read().unwrap());
    assert_eq!(count(&database), ALL);
    assert!(remove_part(&database).unwrap());
    assert_eq!(count(&database), ALL - PART);
    drop(database);

    let store = open(&settings(&folder)).unwrap();
    assert_eq!(read(&store.database.begin_read().unwrap(), OLD), GONE);
    // Nobody writes.
    let all_is_removed = async {
        while count(&store.database) > KEPT {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_is_removed)
        .await
        .expect("what is left over should go by itself");
    let txn = store.database.begin_read().unwrap();
    assert_eq!(read(&txn, OLD), GONE);
    assert_eq!(read(&txn, NEXT), NEXT_WHOLE);
    for list in [STEPS_LEFT, JOURNAL_LEFT] {
        assert_eq!(open_read(&txn, list).unwrap().count().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_job_that_plans_again_has_nothing_of_its_dropped_plan() {
    let Fixture { store, lease, .. } = Fixture::new().await;
    let both = move |txn: &WriteTransaction| {
        plans::add_steps(txn, &lease, JOB, &vec![any(); MANY])?;
        plans::seal(txn, &lease, head(JOB))?;
        plans::drop_plan(txn, &lease, JOB)?;
        assert!(open_write(txn, STEPS_LEFT)?.has(&codec::job_key(JOB))?);
        plans::add_steps(txn, &lease, JOB, &[any()])?;
        plans::seal(txn, &lease, head(JOB))
    };
    let plan = store.write(Commit::Outbox, both).await.unwrap();
    assert_eq!(plan.counts, [(Class::Update, 1)]);
    let first = Position {
        class: Class::Update,
        number: 0,
    };
    assert_eq!(
        store.steps(JOB, None, 9).await.unwrap(),
        [(first, any())],
        "what was written again is not removed"
    );
    // And where the second one is empty.
    let emptied = move |txn: &WriteTransaction| {
        plans::drop_plan(txn, &lease, JOB)?;
        plans::seal(txn, &lease, head(JOB))
    };
    let plan = store.write(Commit::Outbox, emptied).await.unwrap();
    assert_eq!(plan.counts, []);
    assert_eq!(store.steps(JOB, None, 9).await.unwrap(), []);
}

/// What each of these removes in its own transaction, which does not wait for the writer to find time.
#[tokio::test]
async fn no_transaction_removes_many_rows_of_a_job_itself() {
    let Fixture { store, lease, .. } = Fixture::new().await;
    type Removal = fn(&WriteTransaction, &Lease);
    let removals: [(Range<u128>, Removal); 3] = [
        (10..12, |txn, _| {
            jobs::save(txn, &job(10, Status::Interrupted)).unwrap()
        }),
        (20..22, |txn, lease| {
            plans::drop_plan(txn, lease, id(20)).unwrap()
        }),
        (30..32, |txn, _| forget::directory(txn, DIRECTORY).unwrap()),
    ];
    for (numbers, removal) in removals {
        let (first, other) = (numbers.start, numbers.end - 1);
        let removed = move |txn: &WriteTransaction| {
            let count = |txn: &WriteTransaction| open_write(txn, STEPS)?.count();
            for number in numbers {
                jobs::save(txn, &job(number, Status::Running))?;
                plans::add_steps(txn, &lease, id(number), &vec![any(); MANY])?;
            }
            let before = count(txn)?;
            removal(txn, &lease);
            Ok((before, count(txn)?))
        };
        let (before, after) = store.write(Commit::Outbox, removed).await.unwrap();
        assert_eq!(before, after);
        assert_eq!(store.steps(id(first), None, 9).await.unwrap(), []);
        let is_of_directory = first == 30;
        let left = store
            .steps(id(other), None, usize::MAX)
            .await
            .unwrap()
            .len();
        assert_eq!(left, if is_of_directory { 0 } else { MANY });
    }
    assert_eq!(store.job(id(30)).await.unwrap(), None);
}

#[tokio::test]
async fn a_few_rows_go_at_once_and_are_not_listed() {
    let Fixture { store, lease, .. } = Fixture::new().await;
    let dropped = move |txn: &WriteTransaction| {
        plans::add_steps(txn, &lease, JOB, &vec![any(); AT_ONCE])?;
        plans::seal(txn, &lease, head(JOB))?;
        plans::drop_plan(txn, &lease, JOB)?;
        let listed = open_write(txn, STEPS_LEFT)?.count()?;
        Ok((open_write(txn, STEPS)?.count()?, listed))
    };
    let left = store.write(Commit::Outbox, dropped).await.unwrap();
    assert_eq!(left, (0, 0));
}
