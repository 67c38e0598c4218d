//! What happens to a site between and during runs: people change the directory, the target and the configuration.

use std::collections::BTreeSet;

use scim_relay::demo::target::answer::Call;
use scim_relay::identity::Kind;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::directory;
use crate::directory::{GROUP_PLACES, Group, PLACES, ROOT, User};
use crate::random::Random;
use crate::site::{Site, State};
use crate::target::{self, resources};

const NAMES: [&str; 6] = ["Ann", "Bob", "Eve", "Kim", "Lea", "Tom"];
const TITLES: [&str; 3] = ["Engineer", "Director", "Clerk"];

/// Adds a user, with a name that nobody has.
pub fn add_user(state: &mut State, random: &mut Random) -> String {
    let number = state.fresh();
    let user = User {
        anchor: state.fresh_anchor(),
        cn: format!("Person {number}"),
        place: random.below(PLACES.len()),
        uid: Some(format!("u{number}")),
        given: word(random, &NAMES),
        surname: format!("S{number}"),
        mail: random.percent(80).then(|| format!("u{number}@example.org")),
        title: random.percent(50).then(|| word(random, &TITLES)),
        disabled: random.percent(10),
        contractor: random.percent(20),
    };
    let told = format!("new {user:?}");
    put_user(state, user);
    told
}

/// Adds a group of a few of those who are there.
pub fn add_group(state: &mut State, random: &mut Random) -> String {
    let number = state.fresh();
    let group = Group {
        anchor: state.fresh_anchor(),
        cn: format!("Team {number}"),
        place: usize::from(random.percent(15)),
        members: some_names(state, random),
    };
    let told = format!("new {group:?}");
    put_group(state, group);
    told
}

fn word(random: &mut Random, words: &[&str]) -> String {
    words[random.below(words.len())].to_owned()
}

fn some_names(state: &State, random: &mut Random) -> BTreeSet<String> {
    let users = state.model.users.values().map(User::dn);
    let groups = state.model.groups.values().map(Group::dn);
    let all: Vec<String> = users.chain(groups).collect();
    (0..random.below(5))
        .filter_map(|_| random.pick(&all).cloned())
        .collect()
}

fn put_user(state: &mut State, user: User) {
    state.model.touch(user.anchor);
    state.model.users.insert(user.anchor, user);
}

fn put_group(state: &mut State, group: Group) {
    state.model.touch(group.anchor);
    state.model.groups.insert(group.anchor, group);
}

/// Makes sure that there are users and groups in scope: without any a read is not plausible, and everything waits for a person.
/// And that a group shows a member: a target that never does is believed to hide them.
fn let_some_be_in_scope(state: &mut State) {
    let number = state.fresh();
    let (user, group) = (state.fresh_anchor(), state.fresh_anchor());
    put_user(
        state,
        User {
            anchor: user,
            cn: format!("Last {number}"),
            place: 0,
            uid: Some(format!("last{number}")),
            given: "Last".to_owned(),
            surname: "One".to_owned(),
            mail: None,
            title: None,
            disabled: false,
            contractor: false,
        },
    );
    put_group(
        state,
        Group {
            anchor: group,
            cn: format!("Team {number}"),
            place: 0,
            members: BTreeSet::from([format!("cn=Last {number},ou={},{ROOT}", PLACES[0])]),
        },
    );
}

/// Changes one thing in the directory; answers what.
pub fn of_directory(state: &mut State, random: &mut Random) -> String {
    let users: Vec<Uuid> = state.model.users.keys().copied().collect();
    let groups: Vec<Uuid> = state.model.groups.keys().copied().collect();
    let user = random.pick(&users).copied();
    let group = random.pick(&groups).copied();
    match random.below(24) {
        0..3 => add_user(state, random),
        3 => add_group(state, random),
        4 => restore(state, random),
        5 => recreate(state, random),
        6 => swap(state, random, &users),
        7..16 => match user.and_then(|anchor| state.model.users.get(&anchor).cloned()) {
            Some(user) => of_user(state, random, user),
            None => add_user(state, random),
        },
        _ => match group.and_then(|anchor| state.model.groups.get(&anchor).cloned()) {
            Some(group) => of_group(state, random, group),
            None => add_group(state, random),
        },
    }
}

fn of_user(state: &mut State, random: &mut Random, mut user: User) -> String {
    let before = user.dn();
    let number = state.fresh();
    match random.below(12) {
        0 => user.given = word(random, &NAMES),
        1 => user.mail = random.percent(60).then(|| format!("m{number}@example.org")),
        2 => user.title = random.percent(60).then(|| word(random, &TITLES)),
        3 => user.uid = Some(format!("u{number}")),
        4 => user.uid = user.uid.is_none().then(|| format!("u{number}")),
        5 => user.cn = format!("Person {number}"),
        6 => user.place = random.below(PLACES.len()),
        7 | 8 => user.disabled = !user.disabled,
        9 => user.contractor = !user.contractor,
        _ => return delete_user(state, user),
    }
    let told = format!("changed {user:?}");
    if before != user.dn() && state.integrity {
        state.model.rename_member(&before, &user.dn());
    }
    put_user(state, user);
    told
}

fn delete_user(state: &mut State, user: User) -> String {
    state.model.users.remove(&user.anchor);
    state.model.touch(user.anchor);
    if state.integrity {
        state.model.forget_member(user.anchor, &user.dn());
    }
    let told = format!("deleted {user:?}");
    state.model.deleted_users.push(user);
    told
}

fn of_group(state: &mut State, random: &mut Random, mut group: Group) -> String {
    let before = group.dn();
    match random.below(10) {
        0 => group.cn = format!("Team {}", state.fresh()),
        1 => group.place = random.below(GROUP_PLACES.len()),
        2 => {
            state.model.groups.remove(&group.anchor);
            state.model.touch(group.anchor);
            if state.integrity {
                state.model.forget_member(group.anchor, &before);
            }
            let told = format!("deleted {group:?}");
            state.model.deleted_groups.push(group);
            return told;
        }
        3..6 => {
            let members: Vec<String> = group.members.iter().cloned().collect();
            if let Some(member) = random.pick(&members) {
                group.members.remove(member);
            }
        }
        _ => group.members.extend(some_names(state, random)),
    }
    let told = format!("changed {group:?}");
    if before != group.dn() && state.integrity {
        state.model.rename_member(&before, &group.dn());
    }
    put_group(state, group);
    told
}

/// Somebody or a group that was deleted is back under the old anchor.
fn restore(state: &mut State, random: &mut Random) -> String {
    if random.percent(30) && !state.model.deleted_groups.is_empty() {
        let at = random.below(state.model.deleted_groups.len());
        let group = state.model.deleted_groups.remove(at);
        let told = format!("restored {group:?}");
        state.model.restored(group.anchor);
        put_group(state, group);
        return told;
    }
    if state.model.deleted_users.is_empty() {
        return add_user(state, random);
    }
    let at = random.below(state.model.deleted_users.len());
    let mut user = state.model.deleted_users.remove(at);
    if state.model.named(&user.dn()).is_some() {
        user.cn = format!("Person {}", state.fresh());
    }
    let told = format!("restored {user:?}");
    state.model.restored(user.anchor);
    put_user(state, user);
    told
}

/// Somebody who was deleted, or is there, gets an entry of a new anchor with the same names.
fn recreate(state: &mut State, random: &mut Random) -> String {
    let Some(user) = random.pick(&state.model.deleted_users).cloned() else {
        return add_user(state, random);
    };
    if state.model.named(&user.dn()).is_some() {
        return add_user(state, random);
    }
    let user = User {
        anchor: state.fresh_anchor(),
        ..user
    };
    let told = format!("created anew {user:?}");
    put_user(state, user);
    told
}

/// Two users exchange their uids.
fn swap(state: &mut State, random: &mut Random, users: &[Uuid]) -> String {
    let (Some(one), Some(other)) = (random.pick(users), random.pick(users)) else {
        return add_user(state, random);
    };
    let uid = |anchor| state.model.users[anchor].uid.clone();
    let (first, second) = (uid(one), uid(other));
    for (anchor, uid) in [(one, second), (other, first)] {
        if let Some(user) = state.model.users.get_mut(anchor) {
            user.uid = uid;
        }
        state.model.touch(*anchor);
    }
    format!("the uids of {one} and {other} are exchanged")
}

/// A call with one operation of a PATCH.
pub fn patch(call: Call, operation: Json) -> Call {
    let schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"];
    call.body(json!({ "schemas": schemas, "Operations": [operation] }))
}

/// Somebody else changes one thing at the target; answers what.
pub fn of_target(site: &Site, random: &mut Random) -> String {
    let held = resources(site.target());
    let of_kind = |kind| held.iter().filter(move |found| found.kind == kind);
    let users: Vec<&target::Resource> = of_kind(Kind::User).collect();
    let groups: Vec<&target::Resource> = of_kind(Kind::Group).collect();
    let number = site.lock().fresh();
    let (Some(user), Some(group)) = (random.pick(&users), random.pick(&groups)) else {
        return "nothing at the target".to_owned();
    };
    let patch = |path: String, operation| patch(Call::new("PATCH", &path), operation);
    let replace = |path: &str, value| json!({ "op": "replace", "path": path, "value": value });
    let of_user = format!("/Users/{}", user.id);
    let of_group = format!("/Groups/{}", group.id);
    let call = match random.below(8) {
        0 => Call::new("DELETE", &of_user),
        1 => Call::new("DELETE", &of_group),
        2 => patch(of_user, replace("name.givenName", json!("Edited"))),
        3 => patch(of_user, replace("active", json!(!user.is_active()))),
        4 => patch(
            of_group,
            replace("displayName", json!(format!("Edited {number}"))),
        ),
        5 => {
            let membership = (group.id.clone(), user.id.clone());
            site.lock().foreign_members.insert(membership);
            let value = json!([{ "value": user.id }]);
            patch(
                of_group,
                json!({ "op": "add", "path": "members", "value": value }),
            )
        }
        6 => {
            let path = format!("members[value eq \"{}\"]", user.id);
            patch(of_group, json!({ "op": "remove", "path": path }))
        }
        _ => {
            // The next new user may be called so.
            let taken = match random.percent(50) {
                true => format!("u{}", number + 1),
                false => format!("stranger{number}"),
            };
            let schemas = ["urn:ietf:params:scim:schemas:core:2.0:User"];
            Call::new("POST", "/Users").body(json!({ "schemas": schemas, "userName": taken }))
        }
    };
    let told = format!(
        "somebody else: {} {} {:?}",
        call.method, call.path, call.body
    );
    let status = site.target().handle(call).status;
    format!("{told}: {status}")
}

/// What goes wrong in the next run.
pub fn faults(state: &mut State, random: &mut Random) {
    state.source_faults = directory::Faults::default();
    state.target_faults = target::Faults::default();
    state.changes_midway = random.percent(10);
    let entries: Vec<Uuid> = state.model.anchors.iter().copied().collect();
    let some = |random: &mut Random| -> BTreeSet<Uuid> {
        (0..=random.below(3))
            .filter_map(|_| random.pick(&entries).copied())
            .collect()
    };
    let source = &mut state.source_faults;
    match random.below(16) {
        0 => source.refused = true,
        1 | 2 => source.cut_after = Some(random.below(12)),
        3 => source.empty = true,
        4 | 5 => source.passed_over = some(random),
        6 => source.unreadable = some(random),
        7 => source.looks_failing = 50,
        8 => source.feed_lost = true,
        9 => source.twice = true,
        _ => {}
    }
    let target = &mut state.target_faults;
    match random.below(12) {
        0..3 => target.writes = 20,
        3 => target.writes = 70,
        4 => target.reads = 20,
        5 => target.rejects = some(random),
        6 => target.gone_from = Some(random.below(8) as u64),
        7 => target.denies_from = Some(random.below(8) as u64),
        _ => {}
    }
    let told = format!(
        "  faults: {:?} {:?}, changes midway {}",
        state.source_faults, state.target_faults, state.changes_midway
    );
    state.note(told);
}

/// Nothing happens any more, and nothing goes wrong.
pub fn no_more(site: &Site) {
    let mut state = site.lock();
    let_some_be_in_scope(&mut state);
    state.source_faults = directory::Faults::default();
    state.target_faults = target::Faults::default();
    state.changes_midway = false;
    state.note("at rest");
}
