//! The audit log: its chain against an editor of the file, its pages, and how large a record can get.

use redb::{Database, ReadableTable, Table, TableDefinition};

use super::*;
use crate::audit::{Actor, ChainDigest, Deed, Event, Record, Verdict};
use crate::fault::Fault;
use crate::job::{Job, Mode, ObjectError, Trigger};
use crate::plan::{Action, Reason};
use crate::store::jobs::Change;
use crate::store::records::{AuditFilter, Records};

type Bytes = &'static [u8];
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

const AUDIT: TableDefinition<Bytes, Bytes> = TableDefinition::new("audit");
const META: TableDefinition<Bytes, Bytes> = TableDefinition::new("meta");
/// Records of the log that is edited.
const RECORDS: u64 = 3_000;

fn event(number: i64) -> Event {
    Event {
        at: time(number),
        actor: Actor::CommandLine,
        tenant: (number % 3 > 0).then(|| TenantName(format!("tenant {}", number % 3))),
        deed: Deed::ALL[usize::try_from(number).unwrap() % Deed::ALL.len()],
        subject: format!("object {number}"),
        details: vec![("reason".to_owned(), "x".to_owned())],
    }
}

/// A log of so many records, written in several transactions.
async fn log(count: u64) -> Fixture {
    let fixture = Fixture::new().await;
    let events: Vec<Event> = (1..=count)
        .map(|number| event(number.cast_signed()))
        .collect();
    for part in events.chunks(700) {
        fixture.store.append_audit(part.to_vec()).await.unwrap();
    }
    fixture
}

async fn verified(fixture: &Fixture, noted: Option<ChainDigest>) -> Verdict {
    fixture.store.verify_audit(noted).await.unwrap()
}

/// Closes the store, lets somebody edit the log with a tool of their own, and opens it again.
fn edited(fixture: Fixture, edit: impl FnOnce(&mut Table<'_, Bytes, Bytes>)) -> Fixture {
    let Fixture {
        folder,
        store,
        lease,
    } = fixture;
    drop(store);
    let database = Database::open(path(&folder)).unwrap();
    let txn = database.begin_write().unwrap();
    edit(&mut txn.open_table(AUDIT).unwrap());
    txn.commit().unwrap();
    drop(database);
    let store = open(&settings(&folder)).unwrap();
    Fixture {
        folder,
        store,
        lease,
    }
}

fn key_of(sequence: u64) -> [u8; 8] {
    sequence.to_be_bytes()
}

fn take(table: &mut Table<'_, Bytes, Bytes>, sequence: u64) -> Vec<u8> {
    let key = key_of(sequence);
    let taken = table.remove(key.as_slice()).unwrap();
    taken.unwrap().value().to_vec()
}

fn put(table: &mut Table<'_, Bytes, Bytes>, sequence: u64, record: &[u8]) {
    table.insert(key_of(sequence).as_slice(), record).unwrap();
}

#[tokio::test]
async fn an_untouched_log_is_intact_and_has_every_digest_it_ever_had() {
    let fixture = log(RECORDS).await;
    let Verdict::Intact { records, head } = verified(&fixture, None).await else {
        panic!("the log is not intact");
    };
    assert_eq!(records, RECORDS);
    let page = fixture
        .store
        .audit(AuditFilter::default(), 2)
        .await
        .unwrap();
    assert_eq!(page.records[0].digest, head);
    let earlier = page.records[1].digest;
    let fixture = fixture.reopen();
    fixture.store.append_audit(vec![event(9)]).await.unwrap();
    for noted in [head, earlier, ChainDigest::default()] {
        let verdict = verified(&fixture, Some(noted)).await;
        let Verdict::Intact { records, head: now } = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(records, RECORDS + 1);
        assert_ne!(now, head);
    }
    let never = verified(&fixture, Some(ChainDigest([7; 32]))).await;
    assert!(matches!(never, Verdict::Replaced { .. }), "{never:?}");
    let empty = Fixture::new().await;
    let head = ChainDigest::default();
    let nothing = Verdict::Intact { records: 0, head };
    assert_eq!(verified(&empty, Some(head)).await, nothing);
}

/// An edit of the log, and the record at which it must show.
type Edit = (&'static str, u64, fn(&mut Table<'_, Bytes, Bytes>));

const EDITS: [Edit; 10] = [
    ("one bit of a record", 1_500, |table| {
        let mut record = take(table, 1_500);
        *record.last_mut().unwrap() ^= 1;
        put(table, 1_500, &record);
    }),
    ("one bit of a digest", 1_500, |table| {
        let mut record = take(table, 1_500);
        record[3] ^= 1;
        put(table, 1_500, &record);
    }),
    ("a record with a digest made for it", 1_501, |table| {
        let before = take(table, 1_499);
        put(table, 1_499, &before);
        let mut record = take(table, 1_500);
        *record.last_mut().unwrap() ^= 1;
        let digest = ChainDigest(before[..32].try_into().unwrap());
        let digest = digest.next(1_500, &record[32..]);
        put(table, 1_500, &[&digest.0, &record[32..]].concat());
    }),
    ("a record removed", 1_500, |table| {
        take(table, 1_500);
    }),
    ("a record removed and the gap closed", 1_500, |table| {
        for sequence in 1_500..RECORDS {
            let next = take(table, sequence + 1);
            put(table, sequence, &next);
        }
    }),
    ("two records swapped", 1_500, |table| {
        let (one, two) = (take(table, 1_500), take(table, 1_501));
        put(table, 1_500, &two);
        put(table, 1_501, &one);
    }),
    ("a record inserted", 1_500, |table| {
        for sequence in (1_500..=RECORDS).rev() {
            let record = take(table, sequence);
            put(table, sequence + 1, &record);
        }
        let copy = take(table, 1_400);
        put(table, 1_400, &copy);
        put(table, 1_500, &copy);
    }),
    ("a record before the first", 1, |table| {
        let copy = take(table, 1);
        put(table, 1, &copy);
        put(table, 0, &copy);
    }),
    ("a record after the last", RECORDS + 1, |table| {
        let copy = take(table, RECORDS);
        put(table, RECORDS, &copy);
        put(table, RECORDS + 1, &copy);
    }),
    ("the tail cut off", RECORDS - 9, |table| {
        for sequence in RECORDS - 9..=RECORDS {
            take(table, sequence);
        }
    }),
];

#[tokio::test]
async fn every_edit_of_the_log_shows_at_its_place() {
    for (what, place, edit) in EDITS {
        let fixture = edited(log(RECORDS).await, edit);
        match verified(&fixture, None).await {
            Verdict::Broken { sequence, problem } => {
                assert_eq!(sequence, place, "{what}: {problem}");
            }
            intact => panic!("{what}: {intact:?}"),
        }
    }
}

#[tokio::test]
async fn an_edited_log_goes_on_and_stays_broken() {
    let cut = EDITS.iter().find(|(what, ..)| what.contains("cut off"));
    let fixture = edited(log(RECORDS).await, cut.unwrap().2);
    fixture.store.append_audit(vec![event(1)]).await.unwrap();
    let verdict = verified(&fixture, None).await;
    assert!(
        matches!(verdict, Verdict::Broken { sequence, .. } if sequence == RECORDS - 9),
        "{verdict:?}"
    );
    // Without its end written down, nothing of what is there is written over.
    let Fixture {
        folder,
        store,
        lease,
    } = fixture;
    drop(store);
    let database = Database::open(path(&folder)).unwrap();
    let txn = database.begin_write().unwrap();
    {
        let mut meta = txn.open_table(META).unwrap();
        assert!(meta.remove(b"audit".as_slice()).unwrap().is_some());
    }
    let before = entries(&txn.open_table(AUDIT).unwrap());
    txn.commit().unwrap();
    drop(database);
    let store = open(&settings(&folder)).unwrap();
    store.append_audit(vec![event(2)]).await.unwrap();
    let fixture = Fixture {
        folder,
        store,
        lease,
    };
    let verdict = verified(&fixture, None).await;
    assert!(matches!(verdict, Verdict::Broken { .. }), "{verdict:?}");
    let mut after = Vec::new();
    let fixture = edited(fixture, |table| after = entries(table));
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 1);
    drop(fixture);
}

fn entries(table: &impl ReadableTable<Bytes, Bytes>) -> Entries {
    let all = table.range::<&[u8]>(..).unwrap();
    all.map(|entry| {
        let (key, value) = entry.unwrap();
        (key.value().to_vec(), value.value().to_vec())
    })
    .collect()
}

/// Somebody who knows the format can write a whole log anew; only a digest that was noted elsewhere tells.
#[tokio::test]
async fn a_log_that_was_written_anew_lacks_the_digest_that_was_noted() {
    let Verdict::Intact { head, .. } = verified(&log(50).await, None).await else {
        panic!("the log is not intact");
    };
    let shorter = log(49).await;
    let verdict = verified(&shorter, None).await;
    assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?}");
    let verdict = verified(&shorter, Some(head)).await;
    assert!(
        matches!(verdict, Verdict::Replaced { records: 49, .. }),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn records_are_filtered_and_paged_newest_first() {
    let fixture = log(40).await;
    let all = async |filter: AuditFilter, limit| {
        let mut found: Vec<Record> = Vec::new();
        let mut before = None;
        loop {
            let filter = AuditFilter {
                before,
                ..filter.clone()
            };
            let page = fixture.store.audit(filter, limit).await.unwrap();
            assert!(page.records.len() <= limit);
            found.extend(page.records);
            before = page.next;
            if before.is_none() {
                return found.iter().map(|found| found.sequence).collect::<Vec<_>>();
            }
        }
    };
    let newest_first = |admits: fn(i64) -> bool| -> Vec<u64> {
        let numbers = (1..=40).rev().filter(|number| admits(*number));
        numbers.map(i64::cast_unsigned).collect()
    };
    let tenant = Some(TenantName("tenant 1".into()));
    for limit in [1, 3, 40, 100] {
        assert_eq!(
            all(AuditFilter::default(), limit).await,
            newest_first(|_| true)
        );
        let of_tenant = AuditFilter {
            tenant: tenant.clone(),
            ..AuditFilter::default()
        };
        assert_eq!(
            all(of_tenant.clone(), limit).await,
            newest_first(|number| number % 3 == 1)
        );
        let with_relay = AuditFilter {
            relay_wide: true,
            ..of_tenant
        };
        assert_eq!(
            all(with_relay, limit).await,
            newest_first(|number| number % 3 != 2)
        );
        let of_kind = AuditFilter {
            deed: Some(Deed::ALL[7]),
            ..AuditFilter::default()
        };
        assert_eq!(
            all(of_kind, limit).await,
            newest_first(|number| number % i64::try_from(Deed::ALL.len()).unwrap() == 7)
        );
        let with_text = AuditFilter {
            text: Some("OBJECT 1".into()),
            since: Some(time(12)),
            ..AuditFilter::default()
        };
        assert_eq!(
            all(with_text, limit).await,
            newest_first(|number| (12..20).contains(&number))
        );
    }
}

fn change(members: u128, error: Option<&str>) -> Change {
    Change {
        at: time(3),
        key: group(1),
        dn: "cn=everybody".into(),
        id: Some("g".into()),
        action: Action::AddMembers((0..members).map(user).collect()),
        class: Class::AddMembers,
        reason: Reason::Membership,
        error: error.map(|detail| ObjectError {
            kind: "group".into(),
            ..ObjectError::of_job("add_members", Fault::Rejected, detail)
        }),
    }
}

#[tokio::test]
async fn every_change_that_was_sent_is_in_the_log_and_no_group_makes_a_record_large() {
    let fixture = Fixture::new().await;
    let mut settlements = Vec::new();
    for (members, error) in [(2, None), (100, Some("no such group")), (50_000, None)] {
        let mut settled = settlement(&group(1), Effect::Nothing);
        settled.change = Some(change(members, error));
        settlements.push(settled);
    }
    fixture.settle(settlements).await;
    let page = fixture
        .store
        .audit(AuditFilter::default(), 9)
        .await
        .unwrap();
    let details = |number: usize, name: &str| -> Option<String> {
        let details = &page.records[number].event.details;
        let found = details.iter().find(|(detail, _)| detail == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(page.records.len(), 3);
    let newest = &page.records[0].event;
    assert_eq!(
        (newest.deed, &newest.subject[..]),
        (Deed::Change, "group cn=everybody")
    );
    assert_eq!(newest.actor, Actor::Job(JOB));
    assert_eq!(newest.tenant, Some(author().tenant));
    assert_eq!(details(0, "memberCount").unwrap(), "50000");
    assert_eq!(details(0, "members").unwrap().split(' ').count(), 100);
    assert_eq!(details(0, "membersDigest").unwrap().len(), 64);
    assert!(format!("{newest:?}").len() < 8_000);
    assert_eq!(details(1, "members").unwrap().split(' ').count(), 100);
    assert_eq!(details(1, "memberCount"), None);
    assert_eq!(details(1, "outcome").unwrap(), "rejected: no such group");
    assert_eq!(details(2, "outcome").unwrap(), "acknowledged");
}

#[tokio::test]
async fn a_job_and_who_asked_for_it_are_written_together() {
    let fixture = Fixture::new().await;
    let mut job = Job::queued(
        JOB,
        &profile("a"),
        Trigger::Manual,
        Mode::Reconcile,
        time(5),
    );
    let acme = author().tenant;
    let queued = fixture.store.queue_job(&job, &Actor::CommandLine, &acme);
    queued.await.unwrap();
    assert_eq!(fixture.store.job(JOB).await.unwrap().as_ref(), Some(&job));
    job.start(time(6));
    fixture.store.save_job(&job).await.unwrap();
    let page = fixture
        .store
        .audit(AuditFilter::default(), 9)
        .await
        .unwrap();
    let [record] = &page.records[..] else {
        panic!("{page:?}");
    };
    assert_eq!(record.event.deed, Deed::JobStart);
    assert_eq!(record.event.actor, Actor::CommandLine);
    assert_eq!(record.event.tenant, Some(acme));
    let mode = ("mode".to_owned(), "reconcile".to_owned());
    assert!(record.event.details.contains(&mode), "{record:?}");
}
