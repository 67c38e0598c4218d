//! Several profiles of a directory: what a name means where they differ, and what is forgotten when one takes over.

use super::*;
use crate::snapshot::ProfileState;

impl Fixture {
    /// Notes when a profile last read completely.
    async fn read_at(&self, name: &str, at: i64) {
        let state = ProfileState {
            last_complete_read: Some(time(at)),
            ..Default::default()
        };
        self.store
            .save_profile_state(&self.lease, &profile(name), &state)
            .await
            .unwrap();
    }

    async fn meant_by(&self, text: &str) -> Option<RowKey> {
        let named = self.store.named(DIRECTORY, names(), vec![name(text)]);
        named.await.unwrap().pop()?.pop_first()
    }

    async fn groups_of(&self, row: &RowKey) -> Vec<RowKey> {
        let groups = self
            .store
            .rows_naming(DIRECTORY, names(), vec![row.clone()]);
        groups.await.unwrap().pop().unwrap()
    }
}

#[tokio::test]
async fn a_name_means_whom_the_newest_read_met_under_it() {
    let fixture = Fixture::new().await;
    let (before, now) = (user(1), user(2));
    fixture
        .see(
            "a",
            &[entry(&before, "ann", &[]), entry(&user(3), "cat", &[])],
        )
        .await;
    fixture
        .see(
            "b",
            &[entry(&now, "ann", &[]), entry(&before, "ann.b", &[])],
        )
        .await;
    let (old, new) = (group(1), group(2));
    fixture
        .see(
            "b",
            &[entry(&old, "g1", &["ann"]), entry(&new, "g2", &["ann.b"])],
        )
        .await;
    for (times, ann, groups) in [
        ([1, 2], now.clone(), vec![new.clone()]),
        ([3, 2], before.clone(), vec![old.clone()]),
    ] {
        fixture.read_at("a", times[0]).await;
        fixture.read_at("b", times[1]).await;
        assert_eq!(fixture.meant_by("ann").await, Some(ann), "{times:?}");
        assert_eq!(fixture.groups_of(&before).await, groups, "{times:?}");
        // Whom only one of them sees, that one knows.
        assert_eq!(fixture.meant_by("cat").await, Some(user(3)), "{times:?}");
    }

    // Nobody has the name any more, though the older read says so.
    fixture.read_at("a", 1).await;
    fixture.miss("b", &[now], 2).await;
    assert_eq!(fixture.meant_by("ann").await, None);
    assert_eq!(fixture.meant_by("ann.b").await, Some(before));
}

#[tokio::test]
async fn profiles_that_know_an_entry_by_other_attributes_do_not_contradict_each_other() {
    let fixture = Fixture::new().await;
    let ann = entry(&user(1), "ann", &[]);
    let by_number = Identity {
        names: vec![name("4711")],
        ..ann.clone()
    };
    fixture.see("a", &[ann]).await;
    fixture.see("b", &[by_number]).await;
    fixture.read_at("b", 1).await;
    for known in ["ann", "4711"] {
        assert_eq!(fixture.meant_by(known).await, Some(user(1)), "{known}");
    }
}

#[tokio::test]
async fn what_was_lost_is_forgotten_when_another_profile_has_it() {
    let fixture = Fixture::new().await;
    let ann = entry(&user(1), "ann", &[]);
    for name in ["a", "b"] {
        fixture
            .see(name, &[ann.clone(), entry(&user(2), "bob", &[])])
            .await;
    }
    fixture.miss("a", &[user(1), user(2)], 1).await;
    fixture
        .store
        .hand_over(&fixture.lease, vec![user(1), user(9)])
        .await
        .unwrap();
    let rows = fixture
        .store
        .rows(DIRECTORY, names(), vec![user(1), user(2)])
        .await
        .unwrap();
    let seen: Vec<Vec<&str>> = rows
        .iter()
        .map(|row| row.seen.iter().map(|(name, _)| name.0.as_str()).collect())
        .collect();
    assert_eq!(seen, [vec!["b"], vec!["a", "b"]]);
    assert_eq!(
        fixture.dirty().await,
        [user(1), user(2)],
        "its new owner plans it"
    );
    // Back again, it is new to the one that lost it.
    fixture.see("a", &[ann]).await;
    assert_eq!(fixture.meant_by("ann").await, Some(user(1)));
}
