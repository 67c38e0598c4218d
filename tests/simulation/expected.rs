//! What the target shall hold, worked out from the directory's truth alone and not by the relay's own planning.

use std::collections::{BTreeMap, BTreeSet};

use scim_relay::identity::Kind;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::directory::{Group, Model, User};
use crate::rules::{Nested, ROLE, Rules};
use crate::site::Site;
use crate::target::{Resource, resources};

/// Whether an entry's account shall be active: it is in scope and enabled.
pub fn may_log_in(model: &Model, rules: &Rules, anchor: Uuid) -> bool {
    let user = model.users.get(&anchor);
    user.is_some_and(|user| rules.has(user) && !user.disabled)
}

/// Who shall be in a group, as far as each has a resource; nobody where the group itself is not in scope.
pub fn members(model: &Model, rules: &Rules, group: Uuid) -> BTreeSet<(Kind, Uuid)> {
    members_in_style(model, rules, rules.nested, group)
}

/// Who shall have the role: the members of the group that gives it, and of groups within unless these do not count.
pub fn have_the_role(model: &Model, rules: &Rules, group: Uuid) -> BTreeSet<Uuid> {
    let style = match rules.nested {
        Nested::Direct => Nested::Direct,
        Nested::Flatten | Nested::Kept => Nested::Flatten,
    };
    let members = members_in_style(model, rules, style, group);
    members.into_iter().map(|(_, anchor)| anchor).collect()
}

fn members_in_style(
    model: &Model,
    rules: &Rules,
    style: Nested,
    group: Uuid,
) -> BTreeSet<(Kind, Uuid)> {
    let mut found = BTreeSet::new();
    let group = model.groups.get(&group);
    if let Some(group) = group.filter(|group| rules.has_group(group)) {
        gather(model, rules, style, group, &mut BTreeSet::new(), &mut found);
        found.remove(&(Kind::Group, group.anchor)); // nothing is a member of itself
    }
    found
}

fn gather(
    model: &Model,
    rules: &Rules,
    style: Nested,
    group: &Group,
    met: &mut BTreeSet<Uuid>,
    found: &mut BTreeSet<(Kind, Uuid)>,
) {
    if !met.insert(group.anchor) {
        return;
    }
    for member in group.members.iter().filter_map(|dn| model.named(dn)) {
        match member {
            (Kind::User, anchor) => {
                if rules.has(&model.users[&anchor]) {
                    found.insert(member);
                }
            }
            (Kind::Group, anchor) => {
                let within = &model.groups[&anchor];
                match style {
                    _ if !rules.has_group(within) => {}
                    Nested::Direct => {}
                    Nested::Kept => {
                        found.insert(member);
                    }
                    Nested::Flatten => gather(model, rules, style, within, met, found),
                }
            }
        }
    }
}

/// How the target differs from what it shall hold.
pub fn differences(site: &Site) -> Vec<String> {
    compared(site, |comparison| comparison.all())
}

/// Whom the last run wrote to, apart from those whose name is taken: they are tried again in each run.
pub fn needless_writes(site: &Site) -> Vec<Option<Uuid>> {
    let blocked = compared(site, |comparison| comparison.blocked());
    let mut writes = site.lock().writes.clone();
    writes.retain(|subject| subject.is_none_or(|anchor| !blocked.contains(&anchor)));
    writes
}

fn compared<T>(site: &Site, look: impl FnOnce(&Comparison<'_>) -> T) -> T {
    let held = resources(site.target());
    let state = site.lock();
    look(&Comparison {
        model: &state.model,
        rules: &state.rules,
        held: &held,
        foreign_members: &state.foreign_members,
    })
}

struct Comparison<'a> {
    model: &'a Model,
    rules: &'a Rules,
    held: &'a [Resource],
    foreign_members: &'a BTreeSet<(String, String)>,
}

impl<'a> Comparison<'a> {
    fn all(&self) -> Vec<String> {
        let mut wrong = self.twins();
        let blocked = self.blocked();
        for user in self.users_in_scope() {
            wrong.extend(self.user(user, &blocked));
        }
        for resource in self.held.iter().filter(|found| found.kind == Kind::User) {
            let in_scope = |anchor: &Uuid| {
                let user = self.model.users.get(anchor);
                user.is_some_and(|user| self.rules.has(user))
            };
            let gone = resource.anchor().is_some_and(|anchor| !in_scope(&anchor));
            if gone && (resource.is_active() || self.rules.deletes()) {
                wrong.push(format!("a leaver has an account: {}", resource.body));
            }
        }
        for group in self.model.groups.values() {
            wrong.extend(self.group(group));
        }
        for resource in self.held.iter().filter(|found| found.kind == Kind::Group) {
            wrong.extend(self.members_of(resource));
        }
        wrong
    }

    fn users_in_scope(&self) -> impl Iterator<Item = &'a User> {
        let users = self.model.users.values();
        users.filter(|user| self.rules.has(user))
    }

    fn resource(&self, kind: Kind, anchor: Uuid) -> Option<&'a Resource> {
        let mut held = self.held.iter();
        held.find(|found| found.kind == kind && found.anchor() == Some(anchor))
    }

    /// I-2: resources with one externalId.
    fn twins(&self) -> Vec<String> {
        let mut met = BTreeSet::new();
        let ours = self.held.iter().filter(|found| found.external_id.is_some());
        let twins = ours.filter(|found| !met.insert((found.kind, &found.external_id)));
        twins
            .map(|found| format!("I-2: twice at the target: {}", found.body))
            .collect()
    }

    /// Users who cannot have their userName: two want it, or it is held by somebody who keeps it.
    fn blocked(&self) -> BTreeSet<Uuid> {
        let name = |user: &User| user.uid.as_ref().map(|uid| uid.to_lowercase());
        let mut wanted: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
        for user in self.users_in_scope() {
            if let Some(name) = name(user) {
                wanted.entry(name).or_default().push(user.anchor);
            }
        }
        let holders: BTreeMap<String, &Resource> = self
            .held
            .iter()
            .filter(|found| found.kind == Kind::User)
            .filter_map(|found| Some((found.body["userName"].as_str()?.to_lowercase(), found)))
            .collect();
        let mut blocked = BTreeSet::new();
        loop {
            let before = blocked.len();
            for user in self.users_in_scope() {
                let Some(name) = name(user) else { continue };
                let is_shared = wanted[&name].len() > 1;
                let own = self.resource(Kind::User, user.anchor);
                let holder = holders
                    .get(&name)
                    .filter(|holder| own.is_none_or(|own| own.id != holder.id));
                let is_held = holder
                    .is_some_and(|holder| self.keeps_its_name(holder, own.is_some(), &blocked));
                if is_shared || is_held {
                    blocked.insert(user.anchor);
                }
            }
            if blocked.len() == before {
                return blocked;
            }
        }
    }

    /// Whether a resource that has somebody's name is not expected to give it up.
    fn keeps_its_name(&self, holder: &Resource, is_linked: bool, blocked: &BTreeSet<Uuid>) -> bool {
        let takes_over = self.rules.automatic && !is_linked;
        let Some(anchor) = holder.anchor() else {
            return !takes_over; // somebody else's account
        };
        let user = self.model.users.get(&anchor);
        match user.filter(|user| self.rules.has(user)) {
            None => !takes_over || holder.is_active(),
            Some(user) => user.uid.is_none() || blocked.contains(&anchor),
        }
    }

    fn user(&self, user: &User, blocked: &BTreeSet<Uuid>) -> Vec<String> {
        let is_blocked = blocked.contains(&user.anchor);
        let is_mappable = user.uid.is_some();
        let Some(resource) = self.resource(Kind::User, user.anchor) else {
            let is_due = is_mappable && !user.disabled && !is_blocked;
            return is_due
                .then(|| format!("no account of {user:?}"))
                .into_iter()
                .collect();
        };
        let mut wrong = Vec::new();
        if user.disabled && resource.is_active() {
            wrong.push(format!("active, and disabled: {user:?}"));
        }
        if is_blocked || !is_mappable {
            return wrong;
        }
        let shall = self.attributes(user);
        for (path, value) in shall {
            let held = resource.body.pointer(path).cloned().unwrap_or_default();
            if held != value {
                wrong.push(format!("{path} of {user:?} is {held} and shall be {value}"));
            }
        }
        if let Some(group) = self.rules.giver() {
            let shall = have_the_role(self.model, self.rules, group).contains(&user.anchor);
            let roles = resource.body["roles"].as_array().into_iter().flatten();
            let has = roles.into_iter().any(|role| role["value"] == ROLE);
            if has != shall {
                wrong.push(format!("the role of {user:?}: {has}, and shall be {shall}"));
            }
        }
        wrong
    }

    /// The values of a user's mapped attributes, by JSON pointer.
    fn attributes(&self, user: &User) -> Vec<(&'static str, Json)> {
        let mut shall = vec![
            ("/userName", json!(user.uid)),
            ("/active", json!(!user.disabled)),
            ("/name/givenName", json!(user.given)),
            ("/name/familyName", json!(user.surname)),
            (
                "/displayName",
                json!(format!("{} {}", user.given, user.surname)),
            ),
            ("/emails/0/value", json!(user.mail)),
        ];
        if self.rules.title {
            shall.push(("/title", json!(user.title)));
        }
        shall
    }

    fn group(&self, group: &Group) -> Option<String> {
        if !self.rules.has_group(group) {
            return None;
        }
        let name = &group.cn;
        match self.resource(Kind::Group, group.anchor) {
            Some(found) if found.body["displayName"] == *name => None,
            Some(found) => Some(format!("{group:?} is called {}", found.body["displayName"])),
            // A resource of that name may be the same group; a person decides.
            None => {
                let mut held = self.held.iter();
                let is_taken = held
                    .any(|found| found.kind == Kind::Group && found.body["displayName"] == *name);
                (!is_taken).then(|| format!("no group for {group:?}"))
            }
        }
    }

    fn members_of(&self, group: &Resource) -> Vec<String> {
        let Some(anchor) = group.anchor() else {
            return Vec::new(); // somebody else's
        };
        let wanted: BTreeSet<String> = members(self.model, self.rules, anchor)
            .into_iter()
            .filter_map(|(kind, anchor)| Some(self.resource(kind, anchor)?.id.clone()))
            .collect();
        let held = group.members();
        let missing = wanted.difference(&held);
        let mut wrong: Vec<String> = missing
            .map(|id| format!("{id} is missing in the group {}", group.body))
            .collect();
        let foreign = |id: &&String| {
            let membership = (group.id.clone(), (*id).clone());
            self.foreign_members.contains(&membership)
        };
        let more = held.difference(&wanted).filter(|id| !foreign(id));
        wrong.extend(more.map(|id| format!("{id} shall not be in the group {}", group.body)));
        wrong
    }
}
