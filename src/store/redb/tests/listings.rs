//! What people ask of rows and jobs: lists in pages, last outcomes, errors without a request, filters.

use super::*;
use crate::fault::Fault;
use crate::job::{Job, Mode, ObjectError, Status, Trigger};
use crate::plan::backoff::Rejection;
use crate::plan::{Action, Reason};
use crate::snapshot::{LastOutcome, Refused, RowError};
use crate::store::jobs::Change;
use crate::store::jobs::{JobFilter, JournalLine, UnsentError};
use crate::store::redb::{codec, outcomes};

#[tokio::test]
async fn rows_of_a_kind_are_listed_once_whichever_column_knows_them() {
    let fixture = Fixture::new().await;
    let seen = |numbers: &[u128], kind| -> Vec<Identity> {
        let rows = numbers.iter().map(|number| key(kind, *number));
        rows.map(|row| entry(&row, &format!("u{:?}", row.anchor), &["x"]))
            .collect()
    };
    fixture.see("a", &seen(&[1, 4, 6], Kind::User)).await;
    fixture.see("b", &seen(&[2, 4, 9], Kind::User)).await;
    fixture.see("b", &seen(&[3, 7], Kind::Group)).await;
    fixture
        .settle(
            [user(4), user(5), group(1)]
                .iter()
                .map(|row| settlement(row, Effect::Applied(resource("x", "u", true))))
                .collect(),
        )
        .await;
    let all = async |kind, limit| {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let rows = fixture
                .store
                .listed_rows(DIRECTORY, names(), kind, after, limit);
            let rows = rows.await.unwrap();
            assert!(rows.len() <= limit);
            let Some(last) = rows.last() else {
                return found;
            };
            after = Some(last.key.clone());
            for row in &rows {
                let mut members = row.seen.iter().map(|(_, seen)| &seen.identity.members);
                assert!(members.all(Vec::is_empty), "{row:?}");
            }
            found.extend(rows.into_iter().map(|row| row.key));
        }
    };
    for limit in [1, 2, 5, 100] {
        assert_eq!(all(Kind::User, limit).await, [1, 2, 4, 5, 6, 9].map(user));
        assert_eq!(all(Kind::Group, limit).await, [1, 3, 7].map(group));
    }
}

fn error(operation: &str, detail: &str, at: i64, sent: bool) -> RowError {
    RowError {
        at: time(at),
        operation: operation.into(),
        fault: Fault::Rejected,
        status: None,
        detail: detail.into(),
        sent,
    }
}

fn change(class: Class, at: i64, refusal: Option<(Fault, &str)>) -> Change {
    Change {
        at: time(at),
        key: user(1),
        dn: "uid=ann".into(),
        id: None,
        action: Action::Change { changes: vec![] },
        class,
        reason: Reason::Changed,
        error: refusal.map(|(fault, detail)| ObjectError::of_job("x", fault, detail)),
    }
}

impl Fixture {
    async fn outcome(&self) -> LastOutcome {
        let rows = self.store.rows(DIRECTORY, names(), vec![user(1)]);
        rows.await.unwrap().remove(0).last
    }

    async fn sent(&self, change: Change, clean: Option<Digest>) {
        let mut settled = settlement(&user(1), Effect::Nothing);
        settled.clean = clean;
        settled.change = Some(change);
        self.settle(vec![settled]).await;
    }

    async fn problem(&self, problem: Option<RowError>) {
        let noted = self
            .store
            .note_problems(&self.lease, vec![(user(1), problem)]);
        noted.await.unwrap();
    }
}

#[tokio::test]
async fn an_error_stays_with_its_row_until_the_row_is_brought_up_to_date() {
    use Class::{Deactivate, Update};
    let fixture = Fixture::new().await;
    let ann = entry(&user(1), "ann", &[]);
    fixture.see("a", std::slice::from_ref(&ann)).await;
    let last = async || fixture.outcome().await.error;
    assert_eq!(fixture.outcome().await, LastOutcome::default());

    let refused = Some((Fault::Rejected, "no such title"));
    fixture.sent(change(Update, 1, refused), None).await;
    assert_eq!(
        last().await,
        Some(error("update", "no such title", 1, true))
    );
    // The same again keeps its time; another one takes its place; one that stops the run says nothing of the row.
    fixture.sent(change(Update, 2, refused), None).await;
    assert_eq!(
        last().await,
        Some(error("update", "no such title", 1, true))
    );
    let other = Some((Fault::Rejected, "no such office"));
    fixture.sent(change(Update, 3, other), None).await;
    fixture
        .sent(change(Update, 4, Some((Fault::Denied, "401"))), None)
        .await;
    let standing = error("update", "no such office", 3, true);
    assert_eq!(last().await, Some(standing.clone()));
    assert_eq!(fixture.outcome().await.changed_at, None);
    // What is done by another operation, or can be planned, is not yet up to date.
    fixture.sent(change(Deactivate, 5, None), None).await;
    fixture.problem(None).await;
    assert_eq!(last().await, Some(standing));
    assert_eq!(fixture.outcome().await.changed_at, Some(time(5)));
    fixture.sent(change(Update, 6, None), None).await;
    let done = LastOutcome {
        changed_at: Some(time(6)),
        ..LastOutcome::default()
    };
    assert_eq!(fixture.outcome().await, done);

    // Met while planning: kept, replaced, cleared when it is solved, and when the row is found to be as it should.
    for (at, detail, kept) in [(7, "no mail", 7), (8, "no mail", 7), (9, "no sn", 9)] {
        fixture.problem(Some(error("map", detail, at, false))).await;
        assert_eq!(last().await, Some(error("map", detail, kept, false)));
    }
    fixture.problem(None).await;
    assert_eq!(fixture.outcome().await, done);
    fixture
        .problem(Some(error("map", "no sn", 10, false)))
        .await;
    let stale = vec![(user(1), Digest([9; 16]))];
    fixture
        .store
        .clear_dirty(&fixture.lease, stale)
        .await
        .unwrap();
    assert!(last().await.is_some());
    fixture.clean().await;
    assert_eq!(fixture.outcome().await, done);
    // A row that a refusal and its cure meet in one settlement is up to date.
    let mut settled = [refused, None].map(|refusal| {
        let mut settled = settlement(&user(1), Effect::Nothing);
        settled.change = Some(change(Deactivate, 11, refusal));
        settled
    });
    settled[1].clean = Some(digest_of(&ann));
    fixture.settle(settled.into()).await;
    assert_eq!(last().await, None);
}

#[tokio::test]
async fn refusals_are_counted_for_each_operation_until_it_is_done() {
    use Class::{Reactivate, Update};
    let fixture = Fixture::new().await;
    let ann = entry(&user(1), "ann", &[]);
    fixture.see("a", std::slice::from_ref(&ann)).await;
    let refuse = async |class, at, cause: u8, part| {
        let mut settled = settlement(&user(1), Effect::Nothing);
        settled.part = part;
        settled.change = Some(change(class, at, Some((Fault::Rejected, "no"))));
        settled.rejection = Some(Rejection {
            cause: Digest([cause; 16]),
            anew: false,
        });
        fixture.settle(vec![settled]).await;
    };
    let counted = async || -> Vec<(String, u32, i64)> {
        let refused = fixture.outcome().await.refused.into_iter();
        let since = |at| (0..9).find(|minute| time(*minute) == at).unwrap();
        refused
            .map(|one| (one.error.operation, one.times, since(one.error.at)))
            .collect()
    };
    let of = |operation: &str, times, since| (operation.to_owned(), times, since);
    refuse(Update, 1, 1, 0).await;
    refuse(Update, 1, 1, 1).await;
    refuse(Reactivate, 2, 2, 0).await;
    refuse(Update, 3, 1, 0).await;
    let both = [of("update", 2, 1), of("reactivate", 1, 2)];
    assert_eq!(counted().await, both);
    // What fails otherwise is no refusal, and takes none back.
    let failed = Some((Fault::Transient, "503"));
    fixture.sent(change(Update, 4, failed), None).await;
    assert_eq!(counted().await, both);
    refuse(Update, 5, 3, 0).await;
    assert_eq!(
        counted().await,
        [of("update", 1, 5), of("reactivate", 1, 2)]
    );
    fixture.sent(change(Reactivate, 6, None), None).await;
    assert_eq!(counted().await, [of("update", 1, 5)]);
    fixture.clean().await;
    assert_eq!(counted().await, []);
    assert_eq!(fixture.outcome().await.error, None);
}

#[test]
fn an_outcome_of_an_earlier_version_is_one_without_refusals() {
    let earlier = (Some(time(1)), Some(error("update", "no", 2, true)));
    let written = codec::encode(&earlier).unwrap();
    let read = outcomes::decode(&written).unwrap();
    assert_eq!((read.changed_at, read.error), earlier);
    assert_eq!(read.refused, []);
    let now = LastOutcome {
        refused: vec![Refused {
            cause: Digest([1; 16]),
            times: 3,
            last_at: time(4),
            error: error("update", "no", 2, true),
        }],
        ..outcomes::decode(&written).unwrap()
    };
    let written = codec::encode(&now).unwrap();
    assert_eq!(outcomes::decode(&written).unwrap(), now);
    assert!(outcomes::decode(&written[..3]).is_err());
}

#[tokio::test]
async fn the_journal_has_errors_that_led_to_no_request_in_their_place() {
    let fixture = Fixture::new().await;
    let unsent = |at: i64| UnsentError {
        at: time(at),
        error: ObjectError::of_job("map", Fault::Rejected, format!("error {at}")),
    };
    let note = async |errors: &[UnsentError]| {
        let noted = fixture.store.note_unsent(JOB, errors.to_vec());
        noted.await.unwrap();
    };
    note(&[unsent(1), unsent(2)]).await;
    fixture.sent(change(Class::Update, 3, None), None).await;
    note(&[unsent(4)]).await;
    fixture.sent(change(Class::Update, 5, None), None).await;
    let sent = |at| JournalLine::Sent(change(Class::Update, at, None));
    let all = [
        (0, JournalLine::Unsent(unsent(1))),
        (1, JournalLine::Unsent(unsent(2))),
        (2, sent(3)),
        (3, JournalLine::Unsent(unsent(4))),
        (4, sent(5)),
    ];
    let lines = async |after, limit| fixture.store.changes(JOB, after, limit).await.unwrap();
    assert_eq!(lines(None, 9).await, all);
    for (at, (number, _)) in all.iter().enumerate() {
        assert_eq!(lines(Some(*number), 9).await, all[at + 1..]);
        assert_eq!(
            lines(at.checked_sub(1).map(|at| all[at].0), 1).await,
            all[at..=at]
        );
    }
    let other = JobId(Uuid::from_u128(JOB.0.as_u128() + 1));
    assert_eq!(fixture.store.changes(other, None, 9).await.unwrap(), []);
}

/// What is asked for, and whether a job of this number is among it.
type Case = (JobFilter, fn(u128) -> bool);

#[tokio::test]
async fn jobs_are_filtered_and_their_pages_stay_whole() {
    let fixture = Fixture::new().await;
    for number in 0..24_u32 {
        let name = ["a", "b"][(number % 2) as usize];
        let (trigger, mode) = (
            Trigger::ALL[(number % 3) as usize],
            Mode::ALL[(number % 4) as usize],
        );
        let id = JobId(Uuid::from_u128(number.into()));
        let at = time(i64::from(number) * 86_400);
        let mut job = Job::queued(id, &profile(name), trigger, mode, at);
        if number % 5 == 0 {
            job.end(Status::Failed, at);
        }
        fixture.store.save_job(&job).await.unwrap();
    }
    let all = async |filter: &JobFilter, limit| {
        let mut found: Vec<u128> = Vec::new();
        let mut before = None;
        loop {
            let jobs = fixture.store.jobs(filter.clone(), before, limit);
            let jobs = jobs.await.unwrap();
            let Some(last) = jobs.last() else {
                return found;
            };
            before = Some(last.id);
            found.extend(jobs.iter().map(|job| job.id.0.as_u128()));
        }
    };
    let any = JobFilter::of(DIRECTORY);
    let filters: [Case; 6] = [
        (any.clone(), |_| true),
        (JobFilter::of_profile(&profile("b")), |number| {
            number % 2 == 1
        }),
        (
            JobFilter {
                status: Some(Status::Failed),
                ..any.clone()
            },
            |number| number % 5 == 0,
        ),
        (
            JobFilter {
                trigger: Some(Trigger::Schedule),
                mode: Some(Mode::Preview),
                ..any.clone()
            },
            |number| number % 3 == 1 && number % 4 == 3,
        ),
        (
            JobFilter {
                since: Some(time(7 * 86_400)),
                until: Some(time(20 * 86_400)),
                ..any
            },
            |number| (7..20).contains(&number),
        ),
        (JobFilter::of(DirectoryId(Uuid::from_u128(0xd2))), |_| false),
    ];
    for (filter, admits) in filters {
        let expected: Vec<u128> = (0..24).rev().filter(|number| admits(*number)).collect();
        for limit in [1, 4, 50] {
            assert_eq!(all(&filter, limit).await, expected, "{filter:?}");
        }
    }
}
