//! *Seen*: readings, absence, names, and the marks that follow.

use std::collections::BTreeMap;

use super::*;
use crate::identity::known::Seen as Met;
use crate::identity::place::Place;
use crate::snapshot::{ProfileState, ResolvedMember, Standing};
use crate::store::jobs::JobFilter;

#[tokio::test]
async fn what_was_never_written_reads_as_empty() {
    let Fixture { store, .. } = Fixture::new().await;
    assert!(store.known(&profile("a")).await.unwrap().is_empty());
    assert_eq!(
        store.profile_state(&profile("a")).await.unwrap(),
        ProfileState::default()
    );
    let row = &store.rows(DIRECTORY, names(), vec![user(1)]).await.unwrap()[0];
    assert!(row.seen.is_empty() && row.applied.is_none() && row.found.is_none());
    assert_eq!(
        store
            .members(DIRECTORY, names(), vec![group(1)])
            .await
            .unwrap(),
        [[]]
    );
    assert_eq!(store.links(DIRECTORY, vec![user(1)]).await.unwrap(), [None]);
    assert_eq!(store.holder_of_name(DIRECTORY, "x").await.unwrap(), None);
    assert_eq!(store.intents(DIRECTORY).await.unwrap(), []);
    assert_eq!(store.jobs(JobFilter::default(), None, 9).await.unwrap(), []);
    assert_eq!(
        store.linked_counts(DIRECTORY).await.unwrap(),
        Default::default()
    );
}

#[tokio::test]
async fn a_profiles_state_is_kept() {
    let fixture = Fixture::new().await;
    let state = ProfileState {
        fingerprint: Some(Digest([7; 16])),
        last_attempt: Some(time(9)),
        first_load_done: true,
        ..Default::default()
    };
    fixture
        .store
        .save_profile_state(&fixture.lease, &profile("a"), &state)
        .await
        .unwrap();
    fixture.see("a", &[entry(&user(1), "ann", &[])]).await;
    let fixture = fixture.reopen();
    assert_eq!(
        fixture.store.profile_state(&profile("a")).await.unwrap(),
        state
    );
}

#[tokio::test]
async fn a_read_is_compared_and_what_it_did_not_meet_becomes_absent() {
    let fixture = Fixture::new().await;
    let (ann, bob) = (entry(&user(1), "ann", &[]), entry(&user(2), "bob", &[]));
    fixture.see("a", &[bob.clone(), ann.clone()]).await;
    assert_eq!(fixture.dirty().await, [user(1), user(2)]);
    fixture.clean().await;

    let mut known = fixture.store.known(&profile("a")).await.unwrap();
    assert_eq!(known.meet(&user(1), digest_of(&ann)), Met::Unchanged);
    assert_eq!(known.meet(&user(3), Digest::default()), Met::New);
    let unmet = fixture.store.unmet(&profile("a"), known).await.unwrap();
    assert_eq!(unmet, [user(2)]);
    fixture.miss("a", &unmet, 100).await;
    fixture.miss("a", &[user(2), user(9)], 200).await;
    assert_eq!(fixture.dirty().await, [user(2)]);

    let rows = fixture
        .store
        .rows(DIRECTORY, names(), vec![user(2), user(9)])
        .await
        .unwrap();
    let seen = &rows[0].seen[0].1;
    assert_eq!(seen.standing, Standing::Absent { since: time(100) });
    assert_eq!(seen.identity, bob);
    assert!(rows[1].seen.is_empty());
    // Absent rows are not in the index, so that one that is back counts as new.
    let mut known = fixture.store.known(&profile("a")).await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known.meet(&user(2), digest_of(&bob)), Met::New);
    fixture.clean().await;
    fixture.see("a", std::slice::from_ref(&bob)).await;
    assert_eq!(fixture.dirty().await, [user(2)]);
    assert_eq!(fixture.store.known(&profile("a")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn all_rows_are_marked_until_one_is_not() {
    let fixture = Fixture::new().await;
    let (store, lease) = (&fixture.store, &fixture.lease);
    let all_marked = || async { store.all_marked(DIRECTORY, names()).await.unwrap() };
    assert!(all_marked().await);
    let entries = [1, 2, 3].map(|number| entry(&user(number), &format!("u{number}"), &[]));
    fixture.see("a", &entries).await;
    assert!(all_marked().await);
    // As many marks as rows, and one of them is of a row that is not there any more.
    fixture.miss("a", &[user(2)], 100).await;
    assert!(all_marked().await);
    let first = (user(1), digest_of(&entries[0]));
    store.clear_dirty(lease, vec![first]).await.unwrap();
    assert!(!all_marked().await);
    store.mark_dirty(lease, vec![user(1)]).await.unwrap();
    assert!(all_marked().await);
    fixture.clean().await;
    assert!(!all_marked().await);
}

#[tokio::test]
async fn a_mark_goes_only_with_the_entry_that_it_was_for() {
    let fixture = Fixture::new().await;
    let ann = entry(&user(1), "ann", &[]);
    fixture.see("a", std::slice::from_ref(&ann)).await;
    let clear = async |digest| {
        let rows = vec![(user(1), digest)];
        fixture
            .store
            .clear_dirty(&fixture.lease, rows)
            .await
            .unwrap();
        fixture.dirty().await.is_empty()
    };
    assert!(!clear(Digest([1; 16])).await);
    // A plan from the present entry says nothing of its absence.
    fixture.miss("a", &[user(1)], 5).await;
    assert!(!clear(digest_of(&ann)).await);
    // Any profile's entry counts.
    fixture.see("b", std::slice::from_ref(&ann)).await;
    assert!(clear(digest_of(&ann)).await);
    fixture
        .store
        .mark_all_dirty(&fixture.lease, names())
        .await
        .unwrap();
    let rows = fixture
        .store
        .rows(DIRECTORY, names(), vec![user(1)])
        .await
        .unwrap();
    assert!(clear(rows[0].seen[0].1.digest).await);
}

#[tokio::test]
async fn every_row_is_marked_when_the_mapping_changes() {
    let fixture = Fixture::new().await;
    fixture.see("a", &[entry(&user(1), "ann", &[])]).await;
    fixture.see("b", &[entry(&user(2), "bob", &[])]).await;
    fixture.miss("b", &[user(2)], 5).await;
    fixture.clean().await;
    fixture
        .settle(vec![settlement(
            &group(3),
            Effect::Applied(resource("3", "", true)),
        )])
        .await;
    fixture
        .store
        .mark_all_dirty(&fixture.lease, names())
        .await
        .unwrap();
    assert_eq!(fixture.dirty().await, [user(1), user(2), group(3)]);
    // Page by page.
    let page = async |after| {
        let rows = fixture.store.dirty_rows(DIRECTORY, names(), after, 2);
        let rows = rows.await.unwrap();
        rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, [user(1), user(2)]);
    assert_eq!(page(Some(user(2))).await, [group(3)]);
    assert_eq!(page(Some(group(3))).await, []);
}

#[tokio::test]
async fn groups_are_marked_when_a_member_appears_is_renamed_or_leaves() {
    let fixture = Fixture::new().await;
    let team = entry(&group(1), "team", &["ann", "bob"]);
    fixture
        .see("a", &[team, entry(&group(2), "other", &["eve"])])
        .await;
    fixture.clean().await;
    // Appears, also in another profile than the group's.
    fixture.see("b", &[entry(&user(1), "ann", &[])]).await;
    assert_eq!(fixture.dirty().await, [user(1), group(1)]);
    fixture.clean().await;
    // A change that leaves the names alone is no matter of groups.
    let mut changed = entry(&user(1), "ann", &[]);
    changed.dn = "uid=ann,ou=new".into();
    fixture.see("b", &[changed]).await;
    assert_eq!(fixture.dirty().await, [user(1)]);
    fixture.clean().await;
    // Renamed: the group of the old name and the group of the new one.
    fixture.see("b", &[entry(&user(1), "eve", &[])]).await;
    assert_eq!(fixture.dirty().await, [user(1), group(1), group(2)]);
    fixture.clean().await;
    let naming = fixture
        .store
        .rows_naming(DIRECTORY, names(), vec![user(2), user(1)])
        .await;
    let naming = naming.unwrap();
    assert_eq!(naming, [vec![], vec![group(2)]]);
    let marked = fixture
        .store
        .mark_dirty(&fixture.lease, vec![group(2)])
        .await;
    marked.unwrap();
    assert_eq!(fixture.dirty().await, [group(2)]);
    fixture.clean().await;
    // Leaves.
    fixture.miss("b", &[user(1)], 5).await;
    assert_eq!(fixture.dirty().await, [user(1), group(2)]);
    fixture.clean().await;
    // Back under the same name.
    fixture.see("b", &[entry(&user(1), "eve", &[])]).await;
    assert_eq!(fixture.dirty().await, [user(1), group(2)]);
}

#[tokio::test]
async fn a_manager_keeps_his_reports_until_somebody_else_has_his_name() {
    let fixture = Fixture::new().await;
    let manager = async || {
        let users = vec![user(1), user(2)];
        let managers = fixture.store.managers(DIRECTORY, names(), users).await;
        let rows = managers.unwrap().into_iter();
        rows.map(|named| named.map(|named| named.row))
            .collect::<Vec<_>>()
    };
    // Nobody has the name, and a group that has it is nobody's manager.
    fixture.see("a", &[entry(&user(1), "ann", &["boss"])]).await;
    assert_eq!(manager().await, [Some(None), None]);
    fixture.see("a", &[entry(&group(9), "boss", &[])]).await;
    assert_eq!(manager().await, [Some(None), None]);
    fixture.miss("a", &[group(9)], 4).await;
    assert_eq!(manager().await, [Some(None), None]);
    fixture.clean().await;
    // He appears in another profile, is renamed, and goes: whoever names him is looked at, and he stays who he was.
    fixture.see("b", &[entry(&user(5), "boss", &[])]).await;
    assert_eq!(fixture.dirty().await, [user(1), user(5)]);
    assert_eq!(manager().await, [Some(Some(user(5))), None]);
    fixture.see("b", &[entry(&user(5), "chief", &[])]).await;
    assert_eq!(manager().await, [Some(Some(user(5))), None]);
    fixture.miss("b", &[user(5)], 5).await;
    assert_eq!(manager().await, [Some(Some(user(5))), None]);
    fixture.see("a", &[entry(&user(6), "boss", &[])]).await;
    assert_eq!(manager().await, [Some(Some(user(6))), None]);
    // Who is gone names nobody.
    fixture.miss("a", &[user(1)], 6).await;
    assert_eq!(manager().await, [None, None]);
}

#[tokio::test]
async fn groups_are_marked_when_a_member_is_linked_or_unlinked() {
    let fixture = Fixture::new().await;
    fixture
        .see(
            "a",
            &[
                entry(&user(1), "ann", &[]),
                entry(&group(1), "team", &["ann"]),
            ],
        )
        .await;
    fixture.clean().await;
    let ann = resource("1", "ann", true);
    fixture
        .settle(vec![settlement(&user(1), Effect::Applied(ann.clone()))])
        .await;
    // Its own row too: nothing said that it does not differ any more.
    assert_eq!(fixture.dirty().await, [user(1), group(1)]);
    fixture.clean().await;
    // An update of a linked user is no matter of groups.
    fixture
        .settle(vec![settlement(&user(1), Effect::Applied(ann))])
        .await;
    assert_eq!(fixture.dirty().await, [user(1)]);
    fixture
        .settle(vec![settlement(&user(1), Effect::Unlinked)])
        .await;
    assert_eq!(fixture.dirty().await, [user(1), group(1)]);
}

#[tokio::test]
async fn members_are_resolved_by_the_names_of_present_entries() {
    let fixture = Fixture::new().await;
    fixture
        .see("a", &[entry(&group(1), "team", &["ann", "sub", "ghost"])])
        .await;
    fixture
        .see(
            "b",
            &[
                entry(&user(1), "ann", &[]),
                entry(&group(2), "sub", &["ann"]),
            ],
        )
        .await;
    let members = async |group| -> BTreeMap<_, _> {
        let members = fixture.store.members(DIRECTORY, names(), vec![group]);
        let members = members.await.unwrap();
        let row = |member: &ResolvedMember| (member.name, member.row.clone());
        members[0].iter().map(row).collect()
    };
    let team = BTreeMap::from([
        (name("ann"), Some(user(1))),
        (name("ghost"), None),
        (name("sub"), Some(group(2))),
    ]);
    assert_eq!(members(group(1)).await, team);
    // A member that left means nobody, and a group that left names nobody.
    fixture.miss("b", &[user(1), group(2)], 5).await;
    assert_eq!(members(group(1)).await[&name("ann")], None);
    assert_eq!(members(group(2)).await, BTreeMap::new());
    fixture.clean().await;
    fixture.see("b", &[entry(&user(1), "ann", &[])]).await;
    assert_eq!(fixture.dirty().await, [user(1), group(1)]);
    assert_eq!(members(group(1)).await[&name("ann")], Some(user(1)));
}

#[tokio::test]
async fn names_that_change_hands_end_right() {
    let fixture = Fixture::new().await;
    fixture
        .see(
            "a",
            &[
                entry(&user(1), "ann", &[]),
                entry(&user(2), "bob", &[]),
                entry(&group(1), "team", &["ann"]),
            ],
        )
        .await;
    let holder = async || {
        let members = fixture.store.members(DIRECTORY, names(), vec![group(1)]);
        members.await.unwrap()[0][0].row.clone()
    };
    // Two entries swap their names in one read.
    fixture
        .see(
            "a",
            &[entry(&user(1), "bob", &[]), entry(&user(2), "ann", &[])],
        )
        .await;
    assert_eq!(holder().await, Some(user(2)));
    // Created anew with another anchor; the old entry is found missing afterwards.
    fixture.see("a", &[entry(&user(3), "ann", &[])]).await;
    assert_eq!(holder().await, Some(user(3)));
    fixture.miss("a", &[user(2)], 5).await;
    assert_eq!(holder().await, Some(user(3)));
    // The same in one batch, whichever comes first in order of the keys.
    fixture
        .see(
            "a",
            &[entry(&user(3), "cid", &[]), entry(&user(9), "ann", &[])],
        )
        .await;
    assert_eq!(holder().await, Some(user(9)));
}

#[tokio::test]
async fn a_group_that_drops_a_member_is_no_longer_marked_for_it() {
    let fixture = Fixture::new().await;
    fixture
        .see("a", &[entry(&group(1), "team", &["ann", "bob"])])
        .await;
    fixture
        .see("a", &[entry(&group(1), "team", &["bob"])])
        .await;
    fixture.clean().await;
    fixture.see("a", &[entry(&user(1), "ann", &[])]).await;
    assert_eq!(fixture.dirty().await, [user(1)]);
    fixture.see("a", &[entry(&user(2), "bob", &[])]).await;
    assert_eq!(fixture.dirty().await, [user(1), user(2), group(1)]);
}

/// A unit names whoever has its place as a name: all of them, in any profile, and nobody who left.
#[tokio::test]
async fn many_entries_may_have_a_place_as_their_name() {
    let fixture = Fixture::new().await;
    let dn = |text: &str| text.parse().unwrap();
    let place = |unit: &str| MemberKey::of_place(Place::RightBelow, &dn(unit));
    let unit = |number, name: &str| {
        let mut unit = entry(&group(number), name, &[]);
        unit.members = vec![Member {
            key: place(name),
            name: name.to_owned(),
        }];
        unit
    };
    let lies = |number, uid: &str, unit: &str| {
        let mut user = entry(&user(number), uid, &[]);
        user.names.push(place(unit));
        user
    };
    let members = async || -> Vec<Vec<RowKey>> {
        let units = vec![group(1), group(2)];
        let members = fixture.store.members(DIRECTORY, names(), units).await;
        let rows = members.unwrap().into_iter().map(|members| {
            let rows = members.into_iter().map(|member| member.row.unwrap());
            rows.collect()
        });
        rows.collect()
    };
    let (sales, support) = ("ou=sales", "ou=support");
    fixture.see("a", &[unit(1, sales), unit(2, support)]).await;
    assert_eq!(members().await, [vec![], vec![]]);
    fixture.clean().await;

    let people = [lies(1, "ann", sales), lies(2, "bob", sales)];
    fixture.see("a", &people).await;
    fixture
        .see("b", &[lies(3, "cleo", sales), lies(1, "ann", sales)])
        .await;
    assert_eq!(members().await, [vec![user(1), user(2), user(3)], vec![]]);
    assert_eq!(fixture.dirty().await, [user(1), user(2), user(3), group(1)]);
    let naming = fixture.store.rows_naming(DIRECTORY, names(), vec![user(2)]);
    assert_eq!(naming.await.unwrap(), [[group(1)]]);
    let named = fixture.store.named(
        DIRECTORY,
        names(),
        vec![place(sales), name("bob"), name("x")],
    );
    let wanted = [vec![user(1), user(2), user(3)], vec![user(2)], vec![]];
    assert_eq!(
        named.await.unwrap(),
        wanted.map(|rows| rows.into_iter().collect())
    );
    fixture.clean().await;

    // One moves, one goes.
    fixture.see("a", &[lies(2, "bob", support)]).await;
    assert_eq!(fixture.dirty().await, [user(2), group(1), group(2)]);
    fixture.miss("b", &[user(3)], 5).await;
    assert_eq!(members().await, [vec![user(1)], vec![user(2)]]);
    // Who is gone for one profile is there as long as another sees him.
    fixture.miss("a", &[user(1)], 5).await;
    assert_eq!(members().await, [vec![user(1)], vec![user(2)]]);
}
