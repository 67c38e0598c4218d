//! Conflicts: what is kept of them, what a person decides, and when they are over.

use super::*;
use crate::snapshot::{Conflict, ConflictCounts, Side, Taken};
use crate::store::conflicts::Conflicts as _;

/// Of a user's name: the target acknowledged `was`, the directory says `says`, the target holds `is`.
fn conflict(was: &str, says: &str, is: &str) -> Conflict {
    let value = |text: &str| Some(Value::Text(text.to_owned()));
    Conflict {
        path: AttributePath::user_name(),
        base: value(was),
        directory: value(says),
        iam: value(is),
        since: time(5),
        taken: None,
    }
}

fn taken(side: Side, by: Option<&str>) -> Option<Taken> {
    Some(Taken {
        side,
        at: time(7),
        by: by.map(str::to_owned),
    })
}

impl Fixture {
    async fn note(&self, row: &RowKey, conflicts: &[Conflict]) {
        let noted = vec![(row.clone(), conflicts.to_vec())];
        let noted = self.store.note_conflicts(&self.lease, noted);
        noted.await.unwrap();
    }

    async fn conflicts_of(&self, row: &RowKey) -> Vec<Conflict> {
        let found = self.store.conflicts(DIRECTORY, vec![row.clone()]);
        found.await.unwrap().pop().unwrap()
    }

    async fn counts(&self) -> (u64, u64) {
        let ConflictCounts { open, taken } = self.store.conflict_counts(DIRECTORY).await.unwrap();
        (open, taken)
    }

    async fn linked(&self, row: &RowKey, name: &str) {
        let applied = Effect::Applied(resource("7", name, true));
        self.settle(vec![settlement(row, applied)]).await;
    }
}

#[tokio::test]
async fn a_conflict_is_found_by_its_id_and_decided_and_the_row_is_looked_at_again() {
    let fixture = Fixture::new().await;
    let ann = user(1);
    fixture.see("a", &[entry(&ann, "ann", &[])]).await;
    fixture.linked(&ann, "ann").await;
    fixture.clean().await;
    let open = conflict("ann", "anna", "annie");
    let id = open.id(DIRECTORY, &ann);
    fixture.note(&ann, std::slice::from_ref(&open)).await;
    assert_eq!(fixture.counts().await, (1, 0));
    let decide = |decision: Option<Taken>| {
        let decisions = vec![(id, decision)];
        fixture.store.decide_conflicts(DIRECTORY, decisions, vec![])
    };
    let by_ann = taken(Side::Local, Some("ann"));
    decide(by_ann.clone()).await.unwrap();
    assert_eq!(fixture.counts().await, (0, 1));
    assert_eq!(fixture.dirty().await, std::slice::from_ref(&ann));
    // A run that looked before that notes what it saw: the decision stays.
    fixture.note(&ann, std::slice::from_ref(&open)).await;
    assert_eq!(fixture.conflicts_of(&ann).await[0].taken, by_ann);
    decide(None).await.unwrap();
    assert_eq!(fixture.counts().await, (1, 0));
    decide(by_ann.clone()).await.unwrap();

    let fixture = fixture.reopen();
    let other = conflict("ann", "anna", "ann.b").id(DIRECTORY, &ann);
    let found = fixture
        .store
        .named_conflicts(DIRECTORY, names(), vec![other, id]);
    let found = found.await.unwrap();
    assert!(found[0].is_none(), "other values are another conflict");
    let (row, conflict) = found[1].clone().unwrap();
    assert_eq!((row.key, conflict.taken), (ann.clone(), by_ann));
    // What is over cannot be decided, and nothing else is.
    fixture.note(&ann, &[]).await;
    assert_eq!(fixture.counts().await, (0, 0));
    let gone = fixture.store.named_conflicts(DIRECTORY, names(), vec![id]);
    assert_eq!(gone.await.unwrap(), [None]);
    let late = vec![(id, taken(Side::Directory, Some("bob")))];
    let late = fixture.store.decide_conflicts(DIRECTORY, late, vec![]);
    late.await.unwrap();
    assert_eq!(fixture.counts().await, (0, 0));
}

#[tokio::test]
async fn a_conflict_is_over_when_the_target_acknowledges_something_new_or_the_link_is_gone() {
    let fixture = Fixture::new().await;
    let (ann, bob, cat) = (user(1), user(2), user(3));
    for (row, uid) in [(&ann, "ann"), (&bob, "bob"), (&cat, "cat")] {
        fixture.see("a", &[entry(row, uid, &[])]).await;
        fixture.linked(row, uid).await;
        fixture.note(row, &[conflict(uid, "x", "y")]).await;
    }
    assert_eq!(fixture.counts().await, (3, 0));
    // Something else was acknowledged of the resource: nothing is over.
    fixture.linked(&ann, "ann").await;
    assert_eq!(fixture.counts().await, (3, 0));
    fixture.linked(&ann, "x").await;
    assert_eq!(fixture.conflicts_of(&ann).await, []);
    fixture
        .settle(vec![settlement(&bob, Effect::Unlinked)])
        .await;
    assert_eq!(fixture.counts().await, (1, 0));
    // Whoever is in nobody's scope any more has none.
    let name = profile("a");
    let gone = fixture.store.forget_profile(&fixture.lease, &name);
    gone.await.unwrap();
    assert_eq!(fixture.counts().await, (0, 0));
}

#[tokio::test]
async fn rows_with_conflicts_are_listed_in_order_from_one_on() {
    let fixture = Fixture::new().await;
    let rows = [user(1), user(2), user(3), group(1)];
    for row in &rows {
        fixture.see("a", &[entry(row, &row.to_string(), &[])]).await;
        fixture.linked(row, &row.to_string()).await;
        let open = conflict(&row.to_string(), "x", "y");
        let kept = Conflict {
            path: AttributePath::display_name(),
            base: None,
            taken: taken(Side::Local, None),
            ..open.clone()
        };
        fixture.note(row, &[kept, open]).await;
    }
    let listed = async |from: Option<&RowKey>, limit| {
        let store = &fixture.store;
        let rows = store.conflicting_rows(DIRECTORY, names(), from.cloned(), limit);
        let rows = rows.await.unwrap().into_iter();
        rows.map(|(row, conflicts)| (row.key, conflicts.len()))
            .collect::<Vec<_>>()
    };
    let expected: Vec<_> = rows.iter().cloned().map(|row| (row, 2)).collect();
    assert_eq!(listed(None, 9).await, expected);
    assert_eq!(listed(Some(&rows[2]), 9).await, expected[2..]);
    assert_eq!(listed(Some(&rows[1]), 1).await, expected[1..2]);
    assert_eq!(fixture.counts().await, (4, 4));
    fixture.store.forget_directory(DIRECTORY).await.unwrap();
    assert_eq!(fixture.counts().await, (0, 0));
}
