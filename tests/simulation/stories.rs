//! Stories that histories told: each was a mistake, and is told once more in its shortest form.

use std::collections::BTreeSet;

use scim_relay::demo::target::answer::Call;
use scim_relay::identity::Kind;
use scim_relay::job::Mode;
use serde_json::json;
use uuid::Uuid;

use crate::changes;
use crate::directory::{GROUP_PLACES, Group, PLACES, ROOT, User};
use crate::history::History;
use crate::rules::{Guard, Nested, Rules};
use crate::target::{Resource, resources};

/// A company of three users and two groups, the first of them within the second.
pub struct Story {
    pub history: History,
}

const ANN: u128 = 1;
const BOB: u128 = 2;
const EVE: u128 = 3;
const NEW: u128 = 4;
const INNER: u128 = 11;
const OUTER: u128 = 12;
const NEW_GROUP: u128 = 13;

/// Not one that somebody new gets.
fn anchor(number: u128) -> Uuid {
    Uuid::from_u128(0xA000_0000_0000_4000_8000_0000_0000_1000 + number)
}

fn user(number: u128, name: &str) -> User {
    User {
        anchor: anchor(number),
        cn: name.to_owned(),
        place: 0,
        uid: Some(name.to_lowercase()),
        given: name.to_owned(),
        surname: "Smith".to_owned(),
        mail: None,
        title: None,
        disabled: false,
        contractor: false,
    }
}

fn dn(name: &str) -> String {
    format!("cn={name},ou={},{ROOT}", PLACES[0])
}

impl Story {
    pub fn new(nested: Nested) -> Self {
        let history = History::with(Rules {
            title: false,
            contractors: true,
            narrow: false,
            nested,
            automatic: false,
            deprovisioning: "deactivate",
            role_group: None,
            role: false,
            guard: Guard::Open,
            concurrency: 1,
        });
        let story = Self { history };
        for (number, name) in [(ANN, "Ann"), (BOB, "Bob"), (EVE, "Eve")] {
            story.put(user(number, name));
        }
        let inner = format!("cn=Inner,ou={},{ROOT}", GROUP_PLACES[0]);
        story.put_group(INNER, "Inner", [dn("Ann")]);
        story.put_group(OUTER, "Outer", [dn("Bob"), inner]);
        story
    }

    fn put(&self, user: User) {
        let mut state = self.history.site.lock();
        state.model.touch(user.anchor);
        state.model.users.insert(user.anchor, user);
    }

    fn put_group<const N: usize>(&self, number: u128, name: &str, members: [String; N]) {
        let mut state = self.history.site.lock();
        let group = Group {
            anchor: anchor(number),
            cn: name.to_owned(),
            place: 0,
            members: BTreeSet::from(members),
        };
        state.model.touch(group.anchor);
        state.model.groups.insert(group.anchor, group);
    }

    fn delete(&self, number: u128) {
        let mut state = self.history.site.lock();
        state.model.users.remove(&anchor(number));
        state.model.touch(anchor(number));
    }

    /// Something of each kind happens: somebody comes, leaves, is disabled, renamed; groups gain and lose members.
    pub fn goes_on(&self) {
        self.delete(EVE);
        self.put(user(NEW, "Kim"));
        self.put(User {
            disabled: true,
            ..user(BOB, "Bob")
        });
        self.put(User {
            uid: Some("anna".to_owned()),
            ..user(ANN, "Ann")
        });
        self.put_group(INNER, "Inner", [dn("Kim")]);
        self.put_group(OUTER, "Outermost", [dn("Ann")]);
        self.put_group(NEW_GROUP, "New", [dn("Ann"), dn("Bob")]);
    }

    async fn run(&mut self, mode: Mode) {
        self.history.run(mode, None).await.unwrap();
        let violations = self.history.site.violations();
        assert!(
            violations.is_empty(),
            "{}\n{violations:?}",
            self.history.site.trace()
        );
        let mut state = self.history.site.lock();
        state.source_faults = Default::default();
        state.target_faults = Default::default();
    }

    /// The resource of an entry.
    fn resource(&self, number: u128) -> Option<Resource> {
        let held = resources(self.history.site.target());
        let mut held = held.into_iter();
        held.find(|found| found.anchor() == Some(anchor(number)))
    }

    /// Who is in a group, by name.
    fn members(&self, group: u128) -> Vec<String> {
        let members = self.resource(group).unwrap().members();
        let held = resources(self.history.site.target());
        let users = held.iter().filter(|found| found.kind == Kind::User);
        users
            .filter(|found| members.contains(&found.id))
            .map(|found| found.body["userName"].as_str().unwrap().to_owned())
            .collect()
    }

    pub async fn comes_to_rest(mut self) {
        let rested = self.history.come_to_rest().await;
        assert!(rested.is_ok(), "{}\n{rested:?}", self.history.site.trace());
    }
}

#[tokio::test(start_paused = true)]
async fn simulation_story_nobody_gets_an_account_by_what_a_read_did_not_come_to() {
    let mut story = Story::new(Nested::Direct);
    story.history.site.lock().target_faults.rejects = BTreeSet::from([anchor(EVE)]);
    story.run(Mode::Full).await;
    assert!(story.resource(EVE).is_none());
    story.delete(EVE);
    story.history.site.lock().source_faults.cut_after = Some(1);
    story.run(Mode::Full).await;
    assert!(story.resource(EVE).is_none());
    story.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn simulation_story_nobody_gets_an_account_by_an_entry_that_cannot_be_read_any_more() {
    let mut story = Story::new(Nested::Direct);
    story.history.site.lock().target_faults.rejects = BTreeSet::from([anchor(EVE)]);
    story.run(Mode::Full).await;
    story.put(User {
        disabled: true,
        ..user(EVE, "Eve")
    });
    story.history.site.lock().source_faults.unreadable = BTreeSet::from([anchor(EVE)]);
    story.run(Mode::Full).await;
    assert!(story.resource(EVE).is_none());
    story.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn simulation_story_a_group_that_a_read_passed_over_costs_no_membership_of_those_that_hold_it()
 {
    let mut story = Story::new(Nested::Flatten);
    story.run(Mode::Full).await;
    assert_eq!(story.members(OUTER), ["ann", "bob"]);
    story.history.site.lock().source_faults.passed_over = BTreeSet::from([anchor(INNER)]);
    story.run(Mode::Full).await;
    assert_eq!(story.members(OUTER), ["ann", "bob"]);
    story.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn simulation_story_a_reconcile_brings_back_the_name_of_a_group_and_its_members_at_once() {
    let mut story = Story::new(Nested::Direct);
    story.run(Mode::Full).await;
    let (group, ann) = (story.resource(INNER).unwrap(), story.resource(ANN).unwrap());
    for operation in [
        json!({ "op": "replace", "path": "displayName", "value": "Edited" }),
        json!({ "op": "remove", "path": format!("members[value eq \"{}\"]", ann.id) }),
    ] {
        let call = Call::new("PATCH", &format!("/Groups/{}", group.id));
        let patch = changes::patch(call, operation);
        assert_eq!(story.history.site.target().handle(patch).status, 204);
    }
    story.run(Mode::Reconcile).await;
    assert_eq!(story.members(INNER), ["ann"]);
    assert_eq!(story.resource(INNER).unwrap().body["displayName"], "Inner");
    story.comes_to_rest().await;
}

#[tokio::test(start_paused = true)]
async fn simulation_story_a_reconcile_brings_back_a_lost_account_and_another_member_of_its_group_at_once()
 {
    let mut story = Story::new(Nested::Direct);
    story.put_group(INNER, "Inner", [dn("Ann"), dn("Eve")]);
    story.run(Mode::Full).await;
    let group = story.resource(INNER).unwrap();
    let (ann, eve) = (story.resource(ANN).unwrap(), story.resource(EVE).unwrap());
    let removal = json!({ "op": "remove", "path": format!("members[value eq \"{}\"]", ann.id) });
    let call = Call::new("PATCH", &format!("/Groups/{}", group.id));
    let removed = changes::patch(call, removal);
    let deleted = Call::new("DELETE", &format!("/Users/{}", eve.id));
    for call in [removed, deleted] {
        assert_eq!(story.history.site.target().handle(call).status, 204);
    }
    story.run(Mode::Reconcile).await;
    story.run(Mode::Full).await;
    let mut members = story.members(INNER);
    members.sort();
    assert_eq!(members, ["ann", "eve"]);
    story.comes_to_rest().await;
}

/// Groups name a user by the new name already, and the entry that says whose name that is could not be read.
#[tokio::test(start_paused = true)]
async fn simulation_story_whoever_moved_and_could_not_be_read_stays_in_his_groups() {
    let mut story = Story::new(Nested::Direct);
    story.run(Mode::Full).await;
    let moved = User {
        cn: "Ann Moved".to_owned(),
        ..user(ANN, "Ann")
    };
    let new_name = moved.dn();
    story.put(moved);
    story.put_group(INNER, "Inner", [new_name]);
    story.history.site.lock().source_faults.unreadable = BTreeSet::from([anchor(ANN)]);
    story.run(Mode::Full).await;
    assert_eq!(story.members(INNER), ["ann"]);
    story.comes_to_rest().await;
}

/// Somebody goes from a group into one within it, and that one could not be read.
#[tokio::test(start_paused = true)]
async fn simulation_story_what_a_group_within_gives_is_not_taken_while_it_cannot_be_read() {
    let mut story = Story::new(Nested::Flatten);
    story.run(Mode::Full).await;
    let inner = format!("cn=Inner,ou={},{ROOT}", GROUP_PLACES[0]);
    story.put_group(INNER, "Inner", [dn("Ann"), dn("Bob")]);
    story.put_group(OUTER, "Outer", [inner]);
    story.history.site.lock().source_faults.unreadable = BTreeSet::from([anchor(INNER)]);
    story.run(Mode::Full).await;
    assert_eq!(story.members(OUTER), ["ann", "bob"]);
    story.comes_to_rest().await;
}

/// The same of a group that was never read, and that the next read passes over.
#[tokio::test(start_paused = true)]
async fn simulation_story_a_group_that_was_never_read_is_not_forgotten() {
    let mut story = Story::new(Nested::Flatten);
    story.history.site.lock().source_faults.unreadable = BTreeSet::from([anchor(INNER)]);
    story.put_group(OUTER, "Outer", [dn("Ann"), dn("Bob")]);
    story.run(Mode::Full).await;
    let inner = format!("cn=Inner,ou={},{ROOT}", GROUP_PLACES[0]);
    story.put_group(OUTER, "Outer", [dn("Bob"), inner]);
    story.history.site.lock().source_faults.passed_over = BTreeSet::from([anchor(INNER)]);
    story.run(Mode::Full).await;
    assert_eq!(story.members(OUTER), ["ann", "bob"]);
    story.comes_to_rest().await;
}

/// The server takes who was deleted out of a group without telling the feed, and a read could not use that group. Somebody new
/// of the same name is nobody's heir.
#[tokio::test(start_paused = true)]
async fn simulation_story_what_could_not_be_read_is_read_again_before_anybody_joins_by_it() {
    let mut story = Story::new(Nested::Direct);
    story.history.site.lock().has_feed = true;
    story.run(Mode::Full).await;
    story.delete(ANN);
    {
        let mut state = story.history.site.lock();
        state.model.forget_member(anchor(ANN), &dn("Ann"));
        state.source_faults.unreadable = BTreeSet::from([anchor(INNER)]);
    }
    story.run(Mode::Full).await;
    story.put(User {
        uid: Some("another".to_owned()),
        ..user(NEW, "Ann")
    });
    story.run(Mode::Incremental).await;
    assert!(story.members(INNER).is_empty());
    story.comes_to_rest().await;
}

/// Four exchange their names in a circle, and three of them get a role by which their changes wait.
#[tokio::test(start_paused = true)]
async fn simulation_story_names_that_go_round_wait_together() {
    let mut story = Story::new(Nested::Direct);
    story.history.site.lock().rules.guard = Guard::Tight;
    story.put(user(NEW, "Kim"));
    story.put_group(NEW_GROUP, "Staff", []);
    story.history.site.lock().rules.role_group = Some(anchor(NEW_GROUP));
    story.history.site.lock().rules.role = true;
    story.history.decide_all().await.unwrap();
    story.run(Mode::Full).await;
    story.history.decide_all().await.unwrap();
    for (number, name, uid) in [
        (ANN, "Ann", "bob"),
        (BOB, "Bob", "kim"),
        (NEW, "Kim", "eve"),
        (EVE, "Eve", "ann"),
    ] {
        story.put(User {
            uid: Some(uid.to_owned()),
            ..user(number, name)
        });
    }
    story.put_group(NEW_GROUP, "Staff", [dn("Ann"), dn("Bob"), dn("Kim")]);
    story.comes_to_rest().await;
}
