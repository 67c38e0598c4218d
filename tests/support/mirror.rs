//! What a target must hold, worked out from LDAP search results alone, and the comparison with what it does hold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::fault_target::FaultTarget;
use crate::support::ldif::Entry;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};

/// A target whose resources can be listed behind the relay's back.
pub trait Held {
    /// All users.
    fn users(&self) -> Vec<Value>;
    /// All groups with all their members.
    fn groups(&self) -> Vec<Value>;
}

impl Held for Scim2Server {
    fn users(&self) -> Vec<Value> {
        Scim2Server::users(self)
    }

    fn groups(&self) -> Vec<Value> {
        Scim2Server::groups(self)
    }
}

impl Held for FaultTarget {
    fn users(&self) -> Vec<Value> {
        self.target().users()
    }

    fn groups(&self) -> Vec<Value> {
        self.target().groups()
    }
}

/// How the profile under test treats groups within groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nesting {
    /// Users that the group itself names.
    Direct,
    /// Users of the group and of all groups within it.
    Flatten,
    /// Users and groups that the group itself names.
    Nested,
}

impl Nesting {
    /// The line of the config file.
    pub fn line(self) -> &'static str {
        match self {
            Self::Direct => "nestedGroups = \"direct\"",
            Self::Flatten => "nestedGroups = \"flatten\"",
            Self::Nested => "nestedGroups = \"nested\"",
        }
    }
}

/// Users or groups by their anchor, as they are compared.
pub type Resources = BTreeMap<String, Value>;

/// Compares with the default profile: see [`assert_equal_with`].
pub fn assert_equal_to_directory(slapd: &Slapd, target: &impl Held) {
    assert_equal_with(slapd, target, Nesting::Direct);
}

/// Every user and group below the two organizational units is at the target with exactly the mapped attributes and
/// members; whatever else is at the target is inactive, or has no members. A disabled account may be missing.
pub fn assert_equal_with(slapd: &Slapd, target: &impl Held, nesting: Nesting) {
    let people = slapd.search(
        PEOPLE,
        "(objectClass=person)",
        &["*", "entryUUID", "pwdAccountLockedTime"],
    );
    let users = target.users();
    let held = by_anchor(&users, user_essence);
    let mut wanted: Resources = people.iter().map(wanted_user).collect();
    wanted.retain(|anchor, user| user["active"] == true || held.contains_key(anchor));
    for (anchor, user) in &held {
        if !wanted.contains_key(anchor) {
            assert_eq!(
                user["active"], false,
                "not in the directory, but active: {user}"
            );
        }
    }
    assert_same("user", &wanted, &held);

    let groups = slapd.search(GROUPS, GROUP_CLASSES, &["*", "entryUUID"]);
    let held_groups = target.groups();
    let anchors: BTreeMap<&str, &str> = users
        .iter()
        .chain(&held_groups)
        .map(|resource| (text(resource, "id"), text(resource, "externalId")))
        .collect();
    let held_groups = by_anchor(&held_groups, |group| group_essence(group, &anchors));
    let names = Names::of(&people, &groups, &held);
    let wanted: Resources = groups
        .iter()
        .map(|group| {
            let members = names.members(group, nesting);
            let name = group.first("cn");
            (
                anchor(group),
                json!({"displayName": name, "members": members}),
            )
        })
        .collect();
    for (anchor, group) in &held_groups {
        if !wanted.contains_key(anchor) {
            assert_eq!(
                group["members"],
                json!([]),
                "not in the directory, but has members"
            );
        }
    }
    assert_same("group", &wanted, &held_groups);
}

const GROUP_CLASSES: &str =
    "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))";

/// The target has each of these, exactly so.
pub fn assert_same(kind: &str, wanted: &Resources, held: &Resources) {
    for (anchor, resource) in wanted {
        let found = held.get(anchor);
        assert_eq!(
            found,
            Some(resource),
            "{kind} {anchor}: the target, then the directory"
        );
    }
}

/// The resources by externalId, each of which must be there once.
pub fn by_anchor(resources: &[Value], essence: impl Fn(&Value) -> Value) -> Resources {
    let mut found = Resources::new();
    for resource in resources {
        let anchor = text(resource, "externalId").to_owned();
        let twice = found.insert(anchor, essence(resource));
        assert_eq!(twice, None, "two resources with one externalId");
    }
    found
}

/// A text of a resource, which must be there.
pub fn text<'a>(resource: &'a Value, name: &str) -> &'a str {
    resource[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {resource}"))
}

fn anchor(entry: &Entry) -> String {
    entry
        .first("entryUUID")
        .expect("every entry has an entryUUID")
        .to_owned()
}

/// Of several values the first in byte order counts.
fn value<'a>(entry: &'a Entry, attribute: &str) -> Option<&'a str> {
    entry.values(attribute).iter().map(String::as_str).min()
}

fn wanted_user(entry: &Entry) -> (String, Value) {
    let work = |attribute, primary: bool| match (value(entry, attribute), primary) {
        (None, _) => json!([]),
        (Some(value), true) => json!([{"type": "work", "value": value, "primary": true}]),
        (Some(value), false) => json!([{"type": "work", "value": value}]),
    };
    let is_locked = |attribute, word: &str| {
        value(entry, attribute).is_some_and(|value| value.eq_ignore_ascii_case(word))
    };
    let user = json!({
        "userName": value(entry, "uid"),
        "givenName": value(entry, "givenName"),
        "familyName": value(entry, "sn"),
        "displayName": value(entry, "displayName"),
        "emails": work("mail", true),
        "phoneNumbers": work("telephoneNumber", false),
        "active": !is_locked("nsAccountLock", "true") && !is_locked("pwdAccountLockedTime", "000001010000Z"),
        "title": null,
    });
    (anchor(entry), user)
}

/// What is compared of a user.
pub fn user_essence(user: &Value) -> Value {
    let list = |name: &str| match &user[name] {
        Value::Null => json!([]),
        list => list.clone(),
    };
    json!({
        "userName": user["userName"],
        "givenName": user["name"]["givenName"],
        "familyName": user["name"]["familyName"],
        "displayName": user["displayName"],
        "emails": list("emails"),
        "phoneNumbers": list("phoneNumbers"),
        "active": user["active"],
        // Not mapped, so it must never arrive.
        "title": user["title"],
    })
}

/// What is compared of a group.
pub fn group_essence(group: &Value, anchors: &BTreeMap<&str, &str>) -> Value {
    let members = group["members"].as_array().cloned().unwrap_or_default();
    let mut members: Vec<&str> = members
        .iter()
        .map(|member| {
            let id = text(member, "value");
            *anchors
                .get(id)
                .unwrap_or_else(|| panic!("member {id} is nobody: {group}"))
        })
        .collect();
    members.sort_unstable();
    json!({"displayName": group["displayName"], "members": members})
}

/// Who is meant by the names that groups use.
struct Names<'a> {
    users: BTreeMap<String, String>,
    groups: BTreeMap<String, &'a Entry>,
}

impl<'a> Names<'a> {
    /// Users that the target does not have cannot be members.
    fn of(people: &[Entry], groups: &'a [Entry], held: &Resources) -> Self {
        let mut users = BTreeMap::new();
        for person in people
            .iter()
            .filter(|person| held.contains_key(&anchor(person)))
        {
            users.insert(folded(&person.dn), anchor(person));
            for uid in person.values("uid") {
                users.insert(format!("uid:{uid}"), anchor(person));
            }
        }
        let groups = groups
            .iter()
            .map(|group| (folded(&group.dn), group))
            .collect();
        Self { users, groups }
    }

    /// The anchors of a group's members, in order.
    fn members(&self, group: &Entry, nesting: Nesting) -> BTreeSet<String> {
        let mut members = BTreeSet::new();
        let mut entered = BTreeSet::from([folded(&group.dn)]);
        let mut waiting = vec![group];
        while let Some(next) = waiting.pop() {
            let by_dn = ["member", "uniqueMember"]
                .map(|name| next.values(name))
                .concat();
            let uids = next
                .values("memberUid")
                .iter()
                .map(|uid| format!("uid:{uid}"));
            for name in by_dn.iter().map(|dn| folded(dn)).chain(uids) {
                if let Some(user) = self.users.get(&name) {
                    members.insert(user.clone());
                } else if let Some(inner) = self.groups.get(&name)
                    && nesting != Nesting::Direct
                    && entered.insert(name)
                {
                    match nesting {
                        Nesting::Flatten => waiting.push(inner),
                        _ => drop(members.insert(anchor(inner))),
                    }
                }
            }
        }
        members
    }
}

/// A name in the form in which these tests compare it; their names need no more.
pub fn folded(dn: &str) -> String {
    dn.to_lowercase().replace(", ", ",")
}
