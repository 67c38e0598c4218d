//! *Applied*: intents, settlements, what is kept in step with links, and the counts against a recount.

use proptest::prelude::*;
use redb::backends::InMemoryBackend;

use super::*;
use crate::plan::{Action, Reason};
use crate::snapshot::{LinkDecision, LinkedCounts, Match, MatchedBy};
use crate::store::Intent;
use crate::store::jobs::Change;
use crate::store::jobs::JournalLine;
use crate::store::links::Links as _;
use crate::store::redb::{codec, links};

pub(super) fn intent(row: &RowKey, part: u32) -> Intent {
    Intent {
        key: row.clone(),
        class: Class::Update,
        part,
        job: JOB,
        members: vec![user(1)],
    }
}

#[tokio::test]
async fn an_intent_lasts_until_its_outcome_is_known() {
    let fixture = Fixture::new().await;
    let all = [
        intent(&user(1), 0),
        intent(&user(1), 1),
        intent(&group(1), 0),
    ];
    fixture
        .store
        .intend(&fixture.lease, all.to_vec())
        .await
        .unwrap();
    let fixture = fixture.reopen();
    let intents = async || fixture.store.intents(DIRECTORY).await.unwrap();
    assert_eq!(intents().await, all);
    fixture
        .settle(vec![
            settlement(&user(1), Effect::StillUnknown),
            settlement(&group(1), Effect::Nothing),
        ])
        .await;
    assert_eq!(intents().await, all[..2]);
    fixture
        .settle(vec![settlement(&user(1), Effect::Unlinked)])
        .await;
    assert_eq!(intents().await, all[1..2]);
}

#[tokio::test]
async fn a_settlement_writes_link_name_journal_and_mark_together() {
    let fixture = Fixture::new().await;
    let ann = entry(&user(1), "ann", &[]);
    fixture.see("a", std::slice::from_ref(&ann)).await;
    let found = Match {
        id: "7".into(),
        by: MatchedBy::Name,
        resource: None,
    };
    let record = async |found: Option<Match>| {
        let found = vec![(user(1), found)];
        let recorded = fixture.store.record_found(&fixture.lease, found);
        recorded.await.unwrap();
    };
    record(Some(found.clone())).await;
    let row = async || {
        let rows = fixture.store.rows(DIRECTORY, names(), vec![user(1)]);
        rows.await.unwrap().remove(0)
    };
    assert_eq!(row().await.found, Some(found.clone()));
    record(None).await;
    assert_eq!(row().await.found, None);
    record(Some(found)).await;

    let change = Change {
        at: time(3),
        key: user(1),
        dn: "uid=ann".into(),
        id: Some("7".into()),
        action: Action::AddMembers(vec![user(2)]),
        class: Class::Link,
        reason: Reason::NameMatches,
        error: None,
    };
    let mut linked = settlement(&user(1), Effect::Applied(resource("7", "Ann", true)));
    linked.change = Some(change.clone());
    let mut stale = linked.clone();
    stale.clean = Some(Digest([9; 16]));
    fixture.settle(vec![stale]).await;
    assert_eq!(fixture.dirty().await, [user(1)]);
    linked.clean = Some(digest_of(&ann));
    fixture.settle(vec![linked]).await;
    assert_eq!(fixture.dirty().await, []);

    assert_eq!(row().await.applied, Some(resource("7", "Ann", true)));
    assert_eq!(row().await.found, None);
    let links = fixture.store.links(DIRECTORY, vec![user(2), user(1)]).await;
    assert_eq!(links.unwrap(), [None, Some("7".to_owned())]);
    let lines = fixture.store.changes(JOB, None, 9).await.unwrap();
    let sent = JournalLine::Sent(change);
    assert_eq!(lines, [(0, sent.clone()), (1, sent.clone())]);
    let lines = fixture.store.changes(JOB, Some(0), 9).await.unwrap();
    assert_eq!(lines, [(1, sent)]);
    let last = fixture.store.changes(JOB, Some(u64::MAX), 9).await;
    assert_eq!(last.unwrap(), []);
}

#[tokio::test]
async fn user_names_lead_to_their_holders() {
    let fixture = Fixture::new().await;
    let link = async |row, name| {
        let applied = resource("x", name, true);
        fixture
            .settle(vec![settlement(&row, Effect::Applied(applied))])
            .await;
    };
    let holder = async |name| {
        let holder = fixture.store.holder_of_name(DIRECTORY, name);
        holder.await.unwrap()
    };
    link(user(1), "Ann@Example").await;
    link(group(1), "staff").await;
    assert_eq!(holder("aNN@example").await, Some(user(1)));
    assert_eq!(holder("staff").await, None);
    // Renamed, and another one takes the name over.
    link(user(1), "ann2").await;
    assert_eq!(holder("ann@example").await, None);
    link(user(2), "ANN2").await;
    link(user(1), "ann3").await;
    assert_eq!(holder("ann2").await, Some(user(2)));
    fixture
        .settle(vec![settlement(&user(2), Effect::Unlinked)])
        .await;
    assert_eq!(holder("ann2").await, None);
}

#[tokio::test]
async fn memberships_follow_their_group_and_their_member() {
    let fixture = Fixture::new().await;
    let members = async |row| {
        let members = fixture.store.applied_members(DIRECTORY, &row);
        members.await.unwrap()
    };
    // A group that is not linked has no members.
    fixture
        .settle(vec![settlement(
            &group(1),
            Effect::MembersAdded(vec![user(1)]),
        )])
        .await;
    assert_eq!(members(group(1)).await, []);
    let team = Effect::AppliedWithMembers(resource("g", "", true), vec![user(2), user(1)]);
    let other = Effect::AppliedWithMembers(resource("h", "", true), vec![user(1)]);
    fixture
        .settle(vec![
            settlement(&user(1), Effect::Applied(resource("1", "ann", true))),
            settlement(&group(1), team),
            settlement(&group(2), other),
            settlement(&group(1), Effect::MembersAdded(vec![user(3), user(1)])),
            settlement(&group(1), Effect::MembersRemoved(vec![user(2), user(8)])),
        ])
        .await;
    assert_eq!(members(group(1)).await, [user(1), user(3)]);
    assert_eq!(members(group(2)).await, [user(1)]);
    // A user that the target lost is in no group any more, also when nobody names it: it must be added again.
    fixture
        .settle(vec![settlement(&user(1), Effect::Unlinked)])
        .await;
    assert_eq!(members(group(1)).await, [user(3)]);
    assert_eq!(members(group(2)).await, []);
    assert_eq!(fixture.dirty().await, [user(1), group(1), group(2)]);
    // The same group under a new id starts empty; under its own id it keeps what it has.
    fixture
        .settle(vec![settlement(
            &group(1),
            Effect::Applied(resource("g", "", true)),
        )])
        .await;
    assert_eq!(members(group(1)).await, [user(3)]);
    let anew = Effect::AppliedWithMembers(resource("g2", "", true), vec![user(4)]);
    fixture.settle(vec![settlement(&group(1), anew)]).await;
    assert_eq!(members(group(1)).await, [user(4)]);
    fixture
        .settle(vec![settlement(&group(1), Effect::Unlinked)])
        .await;
    assert_eq!(members(group(1)).await, []);
}

#[tokio::test]
async fn what_the_target_holds_replaces_what_was_applied() {
    let fixture = Fixture::new().await;
    fixture
        .settle(
            [1, 2, 3]
                .map(|number| {
                    let (id, name) = (format!("x{number}"), format!("u{number}"));
                    settlement(&user(number), Effect::Applied(resource(&id, &name, true)))
                })
                .into(),
        )
        .await;
    let observed = vec![
        (user(1), Some(resource("x1", "ann", false))),
        (user(2), None),
        (user(7), Some(resource("y", "ghost", true))),
    ];
    fixture
        .store
        .record_observed(&fixture.lease, observed)
        .await
        .unwrap();
    // What was settled without saying that it is clean differs as well.
    assert_eq!(fixture.dirty().await, [user(1), user(2), user(3)]);
    let linked = fixture.store.linked_rows(DIRECTORY, None, 1).await;
    assert_eq!(linked.unwrap(), [(user(1), resource("x1", "ann", false))]);
    let rest = fixture.store.linked_rows(DIRECTORY, Some(user(1)), 9).await;
    assert_eq!(rest.unwrap(), [(user(3), resource("x3", "u3", true))]);
    let counts = fixture.store.linked_counts(DIRECTORY).await.unwrap();
    assert_eq!((counts.users, counts.active_users), (2, 1));
}

#[tokio::test]
async fn linking_the_account_of_a_former_entry_takes_its_memberships_along_so_that_none_is_inherited()
 {
    let fixture = Fixture::new().await;
    let entries = [
        entry(&user(1), "ann", &[]),
        entry(&user(2), "bob", &[]),
        entry(&user(3), "amy", &[]),
        entry(&group(1), "team", &[]),
    ];
    fixture.see("a", &entries).await;
    let old = settlement(&user(1), Effect::Applied(resource("x", "ann", false)));
    let group_of_both =
        Effect::AppliedWithMembers(resource("g", "team", true), vec![user(1), user(2)]);
    fixture
        .settle(vec![old, settlement(&group(1), group_of_both)])
        .await;
    fixture.clean().await;
    let new = settlement(&user(3), Effect::Applied(resource("x", "Ann", true)));
    fixture.settle(vec![new]).await;
    let store = &fixture.store;
    let members = store.applied_members(DIRECTORY, &group(1)).await.unwrap();
    assert_eq!(
        members,
        [user(2), user(3)],
        "what the target holds is known"
    );
    assert!(
        fixture.dirty().await.contains(&group(1)),
        "and is looked at again"
    );
    let links = store
        .links(DIRECTORY, vec![user(1), user(3)])
        .await
        .unwrap();
    assert_eq!(links, [None, Some("x".to_owned())]);
    let holder = store.holder_of_name(DIRECTORY, "ann").await.unwrap();
    assert_eq!(holder, Some(user(3)));
    let counts = store.linked_counts(DIRECTORY).await.unwrap();
    assert_eq!(
        (counts.users, counts.active_users, counts.members),
        (1, 1, 2)
    );
}

#[tokio::test]
async fn linking_decisions_are_kept_until_the_row_is_linked() {
    let fixture = Fixture::new().await;
    let ann = entry(&user(1), "ann", &[]);
    fixture.see("a", std::slice::from_ref(&ann)).await;
    let found = Match {
        id: "7".into(),
        by: MatchedBy::Name,
        resource: None,
    };
    let (store, lease) = (&fixture.store, &fixture.lease);
    let found = vec![(user(1), Some(found))];
    store.record_found(lease, found).await.unwrap();
    fixture.clean().await;
    let decision = |accepted| LinkDecision {
        id: "7".into(),
        accepted,
        at: DateTime::UNIX_EPOCH,
        by: "token".into(),
    };
    let decide = async |decision: Option<LinkDecision>| {
        let decisions = vec![(user(1), decision)];
        let decided = store.decide_links(DIRECTORY, decisions, Vec::new());
        decided.await.unwrap();
    };
    let rows = || store.matched_rows(DIRECTORY, names(), None, 9);
    decide(Some(decision(true))).await;
    assert_eq!(fixture.dirty().await, [user(1)], "the next run looks at it");
    let row = rows().await.unwrap().remove(0);
    assert_eq!(row.decided(), Some(&decision(true)));
    decide(None).await;
    assert_eq!(rows().await.unwrap()[0].decision, None);
    decide(Some(decision(false))).await;
    let linked = Effect::Applied(resource("8", "ann", true));
    fixture.settle(vec![settlement(&user(1), linked)]).await;
    assert_eq!(rows().await.unwrap(), []);
    let row = store
        .rows(DIRECTORY, names(), vec![user(1)])
        .await
        .unwrap()
        .remove(0);
    assert_eq!(row.decision, None);
}

#[test]
fn linking_matches_of_an_earlier_version_are_read() {
    let earlier = codec::encode(&("7", MatchedBy::TakenName)).unwrap();
    let read = links::found(&earlier).unwrap();
    assert_eq!((read.id.as_str(), read.by), ("7", MatchedBy::TakenName));
    let now = codec::encode(&read).unwrap();
    assert_eq!(links::found(&now).unwrap(), read);
    assert!(links::found(&[1]).is_err());
}

#[derive(Clone, Debug)]
enum Operation {
    Settle(RowKey, Effect),
    Observe(RowKey, Option<Applied>),
}

fn a_row() -> impl Strategy<Value = RowKey> {
    (0..6_u128, any::<bool>())
        .prop_map(|(number, is_user)| if is_user { user(number) } else { group(number) })
}

fn a_resource() -> impl Strategy<Value = Applied> {
    (0..3_u8, 0..4_u8, any::<bool>())
        .prop_map(|(id, name, active)| resource(&id.to_string(), &name.to_string(), active))
}

fn an_operation() -> impl Strategy<Value = Operation> {
    let members = || proptest::collection::vec(a_row(), 0..5);
    let effect = prop_oneof![
        4 => a_resource().prop_map(Effect::Applied),
        3 => (a_resource(), members()).prop_map(|(a, m)| Effect::AppliedWithMembers(a, m)),
        3 => members().prop_map(Effect::MembersAdded),
        2 => members().prop_map(Effect::MembersRemoved),
        2 => Just(Effect::Unlinked),
    ];
    prop_oneof![
        8 => (a_row(), effect).prop_map(|(row, effect)| Operation::Settle(row, effect)),
        2 => (a_row(), proptest::option::of(a_resource()))
            .prop_map(|(row, resource)| Operation::Observe(row, resource)),
    ]
}

async fn recount(store: &RedbStore) -> LinkedCounts {
    let mut counts = LinkedCounts::default();
    for (row, applied) in store.linked_rows(DIRECTORY, None, 1000).await.unwrap() {
        match row.kind {
            Kind::User => {
                counts.users += 1;
                counts.active_users += u64::from(applied.is_active());
            }
            Kind::Group => counts.groups += 1,
        }
    }
    // Of all groups, so that members of a group that is not linked would be found.
    for number in 0..6 {
        for row in [user(number), group(number)] {
            let members = store.applied_members(DIRECTORY, &row).await.unwrap();
            counts.members += members.len() as u64;
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn counts_and_names_are_what_a_recount_finds(
        batches in proptest::collection::vec(proptest::collection::vec(an_operation(), 1..4), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let database = redb::Builder::new()
                .create_with_backend(InMemoryBackend::new())
                .unwrap();
            let store = RedbStore::start(database, std::path::Path::new("memory"), None).unwrap();
            let lease = store.lease(DIRECTORY).await.unwrap();
            for batch in batches {
                let (mut settlements, mut observed) = (Vec::new(), Vec::new());
                for operation in batch {
                    match operation {
                        Operation::Settle(row, effect) => settlements.push(settlement(&row, effect)),
                        Operation::Observe(row, applied) => observed.push((row, applied)),
                    }
                }
                store.settle(&lease, &author(), settlements).await.unwrap();
                store.record_observed(&lease, observed).await.unwrap();
                let counts = store.linked_counts(DIRECTORY).await.unwrap();
                assert_eq!(counts, recount(&store).await);
                // Whoever a name leads to has that name.
                for name in ["0", "1", "2", "3"] {
                    let Some(holder) = store.holder_of_name(DIRECTORY, name).await.unwrap() else {
                        continue;
                    };
                    let rows = store.rows(DIRECTORY, &[], vec![holder]).await.unwrap();
                    let applied = rows[0].applied.as_ref().unwrap();
                    let held = &applied.attributes[&AttributePath::user_name()];
                    assert_eq!(held.as_text(), Some(name));
                }
            }
        });
    }
}
