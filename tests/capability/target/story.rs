//! The story: people and teams come, change, leave and come back, and the target follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Facts, Step};
use crate::support::ldif::Entry;
use crate::support::relay::{Finished, Relay};
use crate::support::scim_servers::ScimTarget;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::truth::{anchor_of, errors_of};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const USERS: usize = 12;
/// What is read of entries to compare them.
const PERSON: &[&str] = &["*", "entryUUID"];

/// What is mapped: the left-hand name, the directory's attribute, and where it is in a user.
const MAPPED: [(&str, &str, At); 14] = {
    use At::{Element, Enterprise, Plain};
    [
        ("username", "uid", Plain("/userName")),
        ("name.formatted", "cn", Plain("/name/formatted")),
        ("firstName", "givenName", Plain("/name/givenName")),
        ("lastName", "sn", Plain("/name/familyName")),
        ("displayName", "displayName", Plain("/displayName")),
        ("email", "mail", Element("emails", "work", "value")),
        (
            "phone",
            "telephoneNumber",
            Element("phoneNumbers", "work", "value"),
        ),
        (
            "mobile",
            "mobile",
            Element("phoneNumbers", "mobile", "value"),
        ),
        ("title", "title", Plain("/title")),
        ("userType", "employeeType", Plain("/userType")),
        ("language", "preferredLanguage", Plain("/preferredLanguage")),
        ("department", "departmentNumber", Enterprise("department")),
        (
            "employeeNumber",
            "employeeNumber",
            Enterprise("employeeNumber"),
        ),
        (CITY, "l", Element("addresses", "work", "locality")),
    ]
};
/// The left-hand name of the one address that is mapped.
pub const CITY: &str = "addresses[type eq \"work\"].locality";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Where an attribute is.
#[derive(Clone, Copy)]
enum At {
    /// A JSON pointer.
    Plain(&'static str),
    /// Of the elements of a multi-valued attribute the one of this type, and there this.
    Element(&'static str, &'static str, &'static str),
    /// An attribute of the enterprise extension.
    Enterprise(&'static str),
}

impl At {
    fn of(self, user: &Value) -> Option<&str> {
        match self {
            // Some servers say "" of what nobody has.
            Self::Plain(pointer) => user
                .pointer(pointer)?
                .as_str()
                .filter(|text| !text.is_empty()),
            Self::Enterprise(name) => user[ENTERPRISE][name].as_str(),
            Self::Element(list, kind, name) => {
                let elements = user[list].as_array()?.iter();
                // Some servers keep no types.
                let is_of = |of: &Value| of.is_null() || of == kind;
                let mut of_kind = elements.filter(|element| is_of(&element["type"]));
                let found = of_kind.next()?[name].as_str();
                assert_eq!(of_kind.next(), None, "two elements of one type: {user}");
                found
            }
        }
    }
}

fn dn(number: usize) -> String {
    format!("uid=u{number:02},{PEOPLE}")
}

fn group_dn(name: &str) -> String {
    format!("cn={name},{GROUPS}")
}

/// A person; those with even numbers have all attributes, the others only what most have.
fn person(number: usize) -> String {
    let mut ldif = format!(
        "dn: {}\nobjectClass: inetOrgPerson\nobjectClass: extensibleObject\nuid: u{number:02}\ncn: u{number:02}\n\
         sn: Last{number}\ndisplayName: First{number} Last{number}\n\
         mail: u{number:02}@example.org\n",
        dn(number)
    );
    if number != 7 {
        writeln!(ldif, "givenName: First{number}").unwrap();
    }
    if number.is_multiple_of(2) {
        write!(
            ldif,
            "telephoneNumber: +49 30 {number}\nmobile: +49 170 {number}\ntitle: Title {number}\nemployeeType: staff\n\
             preferredLanguage: de\ndepartmentNumber: D{number}\nemployeeNumber: {number}\nl: Ulm\n"
        )
        .unwrap();
    }
    ldif
}

fn team(name: &str, members: impl IntoIterator<Item = usize>) -> String {
    let mut ldif = format!(
        "dn: {}\nobjectClass: groupOfNames\ncn: {name}\n",
        group_dn(name)
    );
    // A group of this class must have a member; this one is in no scope.
    writeln!(ldif, "member: cn=nobody,{GROUPS}").unwrap();
    for number in members {
        writeln!(ldif, "member: {}", dn(number)).unwrap();
    }
    ldif
}

fn company() -> String {
    let people = (1..=USERS).map(person);
    let teams = [
        team("everybody", 1..=USERS),
        team("admins", [1, 2]),
        team("interns", [5, 6, 7]),
        team("nobody", []),
    ];
    people.chain(teams).collect::<Vec<_>>().join("\n")
}

/// A directory, a relay, a server, and what is known of the server.
pub struct Story<'a> {
    slapd: Slapd,
    relay: Relay,
    target: &'a dyn ScimTarget,
    facts: &'a Facts,
}

impl<'a> Story<'a> {
    /// The company before its first run.
    pub fn new(target: &'a dyn ScimTarget, facts: &'a Facts) -> Self {
        let slapd = Slapd::with(&company());
        let mut said = String::new();
        for (step, reason) in facts.cannot {
            writeln!(said, "{step:?} is left out: {reason}").unwrap();
        }
        for (attribute, reason) in facts.lacks {
            writeln!(said, "{attribute} is not mapped: {reason}").unwrap();
        }
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        Self {
            relay: relay(&slapd, target, facts),
            slapd,
            target,
            facts,
        }
    }

    /// All of it.
    pub fn tell(mut self) {
        self.first_contact();
        self.settled("after the first contact");
        self.conflict();
        self.settled("after the conflict");
        self.lost_creates();
        self.settled("after lost creates");
        self.changes();
        self.settled("after changes of people");
        self.lifecycle();
        self.settled("after people went and came back");
        if self.can(Step::Groups) {
            self.memberships();
            self.settled("after changes of groups");
        }
        self.drift();
        self.settled("after the target was changed by hand");
        if self.can(Step::LostLinks) {
            self.lost_links();
            self.settled("after all links were lost");
        }
    }

    fn can(&self, step: Step) -> bool {
        can(self.facts, step)
    }

    /// What the server holds is what the directory says, and neither a further run nor a comparison writes anything.
    fn settled(&self, when: &str) {
        self.assert_equal(when);
        let again = self.relay.sync();
        self.completed(&again, when);
        assert_eq!(
            again.writes(),
            0,
            "{when}: a second run writes: {}",
            self.said(&again)
        );
        let again = self.reconcile();
        self.completed(&again, when);
        assert_eq!(
            again.writes(),
            0,
            "{when}: a comparison writes: {}",
            self.said(&again)
        );
    }

    fn run(&self, what: &str) -> Finished {
        let finished = self.relay.sync();
        self.completed(&finished, what);
        finished
    }

    fn completed(&self, finished: &Finished, what: &str) {
        assert_eq!(
            finished.job["status"],
            "completed",
            "{what}: {}",
            self.said(finished)
        );
    }

    fn said(&self, finished: &Finished) -> String {
        format!(
            "{:#}\n{}\nthe target:\n{}",
            finished.job,
            finished.stderr,
            self.target.log()
        )
    }

    fn reconcile(&self) -> Finished {
        let arguments = ["sync", "--mode", "reconcile", "--output", "json"];
        self.relay.spawn(&arguments).wait()
    }

    /// Somebody with our externalId is there under another name, and somebody else has a name of ours.
    fn first_contact(&mut self) {
        if self.can(Step::AdoptUser) {
            let anchor = anchor_of(&self.slapd, &dn(1));
            self.put("/Users", json!({"schemas": [USER], "userName": "old", "externalId": anchor,
                "name": {"givenName": "Old", "familyName": "Name"}, "displayName": "Old Name", "active": false,
                "emails": [{"type": "work", "primary": true, "value": "old@example.org"}]}));
        }
        if self.can(Step::AdoptGroup) {
            let anchor = anchor_of(&self.slapd, &group_dn("admins"));
            let name = if self.can(Step::RenameGroup) {
                "old"
            } else {
                "admins"
            };
            self.put(
                "/Groups",
                json!({"schemas": [GROUP], "displayName": name, "externalId": anchor}),
            );
        }
        let taken = self.somebody_else("u03");
        let first = self.relay.sync();
        assert_eq!(
            first.job["status"],
            "completed_with_errors",
            "{}",
            self.said(&first)
        );
        self.assert_only_error(&first, &dn(3));
        let adopted = u64::from(self.can(Step::AdoptUser)) + u64::from(self.can(Step::AdoptGroup));
        assert_eq!(first.count("linked"), adopted, "{}", self.said(&first));
        self.remove(&taken);
        self.run("once the name is free");
    }

    /// A name is taken that was free when the target was read.
    fn conflict(&mut self) {
        let taken = self.somebody_else("u13");
        self.slapd.add(&person(13));
        let number = dn(13);
        self.slapd.modify(&format!(
            "dn: {}\nchangetype: modify\nadd: member\nmember: {number}\n",
            group_dn("everybody")
        ));
        for _ in 0..2 {
            let run = self.relay.sync();
            assert_eq!(
                run.job["status"],
                "completed_with_errors",
                "{}",
                self.said(&run)
            );
            self.assert_only_error(&run, &number);
            // Who has the name was found, too.
            let (_, id) = taken.rsplit_once('/').unwrap();
            let said = errors_of(&run, &number).concat();
            assert!(said.contains(id), "{said}: {}", self.said(&run));
        }
        self.remove(&taken);
        self.run("once the name is free");
    }

    /// Resources of ours were made and nobody was told of it; the create that follows finds them.
    fn lost_creates(&mut self) {
        if self.can(Step::FindUser) {
            self.slapd.add(&person(14));
            let anchor = anchor_of(&self.slapd, &dn(14));
            self.put(
                "/Users",
                json!({"schemas": [USER], "userName": "u14", "externalId": anchor, "active": true,
                "name": {"givenName": "First14", "familyName": "Last14"}, "displayName": "First14",
                "emails": [{"type": "work", "primary": true, "value": "u14@example.org"}]}),
            );
        }
        if self.can(Step::FindGroup) {
            self.slapd.add(&team("lost", [3, 4]));
            let anchor = anchor_of(&self.slapd, &group_dn("lost"));
            self.put(
                "/Groups",
                json!({"schemas": [GROUP], "displayName": "lost", "externalId": anchor}),
            );
        }
        let held = |story: &Self| (story.target.users().len(), story.target.groups().len());
        let before = held(self);
        let run = self.run("creates that were lost");
        assert_eq!(before, held(self), "{}", self.said(&run));
        // A group that was found instead of created may get its members in the run after that.
        self.run("members of what was found");
    }

    /// Every mapped attribute changes, comes and goes; one person is renamed.
    fn changes(&mut self) {
        let change = |number: usize, lines: &str| {
            self.slapd
                .modify(&format!("dn: {}\nchangetype: modify\n{lines}", dn(number)));
        };
        let all = "replace: cn\ncn: Mx Änne O'Neil\n-\nreplace: givenName\ngivenName: Änne \"Anna\"\n-\nreplace: sn\nsn: O'Neil\n-\n\
            replace: displayName\ndisplayName: Änne O'Neil\n-\nreplace: mail\nmail: anne@example.org\n-\n\
            replace: telephoneNumber\ntelephoneNumber: +49 30 99\n-\nreplace: mobile\nmobile: +49 170 99\n-\n\
            replace: title\ntitle: Chair\n-\nreplace: employeeType\nemployeeType: board\n-\n\
            replace: preferredLanguage\npreferredLanguage: fr\n-\nreplace: departmentNumber\ndepartmentNumber: D99\n-\n\
            replace: employeeNumber\nemployeeNumber: 99\n-\nreplace: l\nl: Bern\n";
        // It had all of them, it had few.
        change(2, all);
        change(3, &all.replace("anne@", "anne3@"));
        let none = [
            "givenName",
            "telephoneNumber",
            "mobile",
            "title",
            "employeeType",
            "preferredLanguage",
            "departmentNumber",
            "employeeNumber",
            "l",
        ];
        change(4, &none.map(|name| format!("delete: {name}\n")).join("-\n"));
        change(6, "delete: mobile\n-\ndelete: departmentNumber\n");
        change(
            7,
            "add: givenName\ngivenName: Seven\n-\nadd: mobile\nmobile: +49 170 7\n-\nadd: employeeNumber\nemployeeNumber: 7\n",
        );
        self.run("changes of attributes");
        self.assert_equal("changes of attributes");
        if self.can(Step::RenameUser) {
            self.slapd.modrdn(&dn(8), "uid=u88", None);
            // The directory's administrator follows in the groups.
            self.slapd.modify(&format!(
                "dn: {}\nchangetype: modify\ndelete: member\nmember: {}\n-\nadd: member\nmember: uid=u88,{PEOPLE}\n",
                group_dn("everybody"),
                dn(8)
            ));
            self.run("a new userName");
        } else {
            self.stays_as_it_is(&dn(8), "uid=u88", &format!("uid=u88,{PEOPLE}"), "uid=u08");
        }
    }

    /// A name that cannot be changed is not sent, and what the target has is no error.
    fn stays_as_it_is(&self, dn: &str, new: &str, new_dn: &str, old: &str) {
        self.slapd.modrdn(dn, new, None);
        let run = self.run("a name that cannot be changed");
        assert_eq!(run.writes(), 0, "{}", self.said(&run));
        self.slapd.modrdn(new_dn, old, None);
        self.run("the name from before");
    }

    /// People are suspended, leave, and come back.
    fn lifecycle(&mut self) {
        let lock = |number: usize, change: &str| {
            self.slapd.modify(&format!(
                "dn: {}\nchangetype: modify\n{change}\n",
                dn(number)
            ));
        };
        lock(5, "add: nsAccountLock\nnsAccountLock: true");
        lock(
            10,
            "add: nsAccountLock\nnsAccountLock: true\n-\nreplace: title\ntitle: Retired",
        );
        self.slapd.delete(&dn(11));
        self.run("people are suspended");
        self.settled("people are suspended");
        self.assert_active();
        lock(5, "delete: nsAccountLock");
        lock(10, "replace: nsAccountLock\nnsAccountLock: false");
        self.run("people come back");
        self.assert_active();
    }

    /// Members come and go, a group is renamed, one comes, one goes.
    fn memberships(&mut self) {
        let change = |name: &str, lines: String| {
            self.slapd.modify(&format!(
                "dn: {}\nchangetype: modify\n{lines}\n",
                group_dn(name)
            ));
        };
        change(
            "admins",
            format!(
                "delete: member\nmember: {}\n-\nadd: member\nmember: {}\nmember: {}",
                dn(2),
                dn(3),
                dn(4)
            ),
        );
        change("nobody", format!("add: member\nmember: {}", dn(9)));
        change(
            "everybody",
            format!(
                "delete: member\nmember: {}\nmember: {}\nmember: {}",
                dn(1),
                dn(2),
                dn(9)
            ),
        );
        self.slapd.add(&team("new", [1, 12]));
        self.run("members come and go");
        self.assert_equal("members come and go");
        if self.can(Step::RenameGroup) {
            self.slapd
                .modrdn(&group_dn("admins"), "cn=Administrators", None);
            self.run("a group is renamed");
            self.assert_equal("a group is renamed");
        } else {
            let other = group_dn("Administrators");
            self.stays_as_it_is(
                &group_dn("admins"),
                "cn=Administrators",
                &other,
                "cn=admins",
            );
        }
        // The last one goes, and then the group.
        change("nobody", format!("delete: member\nmember: {}", dn(9)));
        self.slapd.delete(&group_dn("interns"));
        self.run("groups are emptied");
    }

    /// Somebody changes at the target what the directory says otherwise.
    fn drift(&mut self) {
        let [renamed, disabled, deleted] = [2, 5, 7].map(|number| self.user_path(&dn(number)));
        self.edit(
            &renamed,
            json!([{"op": "replace", "path": "name.familyName", "value": "Drifted"}]),
        );
        self.edit(
            &disabled,
            json!([{"op": "replace", "path": "active", "value": false}]),
        );
        if self.can(Step::RenameGroup) {
            let everybody = self.group_path("everybody");
            self.edit(
                &everybody,
                json!([{"op": "replace", "path": "displayName", "value": "Drifted"}]),
            );
        }
        if self.can(Step::CreateAgain) {
            self.remove(&deleted);
        }
        let repaired = self.reconcile();
        if self.can(Step::CreateAgain) {
            // What was removed is an error that says so.
            self.assert_only_error(&repaired, &dn(7));
        } else {
            self.completed(&repaired, "drift");
        }
        self.run("what was removed is complete again");
    }

    /// A second relay knows nothing, and finds everything.
    fn lost_links(&mut self) {
        let resources = self.target.users().len() + self.target.groups().len();
        self.relay = relay(&self.slapd, self.target, self.facts);
        let run = self.run("links are found again");
        assert_eq!(
            run.count("usersCreated") + run.count("groupsCreated"),
            0,
            "{}",
            self.said(&run)
        );
        let after = self.target.users().len() + self.target.groups().len();
        assert_eq!(resources, after, "{}", self.said(&run));
    }

    /// Somebody who is not ours and has this name; answers the path.
    fn somebody_else(&self, name: &str) -> String {
        let email = match self.facts.email_is_name {
            true => name.to_owned(),
            false => format!("other-{name}"),
        };
        self.put("/Users", json!({"schemas": [USER], "userName": name, "externalId": format!("other-{name}"),
            "name": {"givenName": "Some", "familyName": "Body", "formatted": "Some Body"}, "displayName": "Some Body",
            "active": true, "emails": [{"value": format!("{email}@example.org")}]}))
    }

    /// Makes a resource as an administrator of the target would; answers its path.
    fn put(&self, path: &str, body: Value) -> String {
        let (status, made) = self.target.send("POST", path, Some(&body));
        assert_eq!(status, 201, "{made}");
        format!("{path}/{}", made["id"].as_str().unwrap())
    }

    fn edit(&self, path: &str, operations: Value) {
        let body = json!({"schemas": [PATCH], "Operations": operations});
        let (status, answer) = self.target.send("PATCH", path, Some(&body));
        assert!(status < 300, "{path}: {status} {answer}");
    }

    fn remove(&self, path: &str) {
        let (status, answer) = self.target.send("DELETE", path, None);
        assert!(status < 300, "{path}: {status} {answer}");
    }

    fn user_path(&self, dn: &str) -> String {
        let found = self.slapd.search(dn, "(objectClass=*)", PERSON);
        let users = self.target.users();
        let (attribute, name) = self.facts.key;
        let key = found[0].first(attribute).unwrap();
        let user = users.iter().find(|user| user[name] == key);
        format!("/Users/{}", user.expect("a user")["id"].as_str().unwrap())
    }

    fn group_path(&self, name: &str) -> String {
        let groups = self.target.groups();
        let group = groups.iter().find(|group| group["displayName"] == name);
        format!(
            "/Groups/{}",
            group.expect("a group")["id"].as_str().unwrap()
        )
    }

    /// As many are active as there are people who are not suspended.
    fn assert_active(&self) {
        let users = self.target.users();
        let active = users.iter().filter(|user| user["active"] == true);
        let open = "(&(objectClass=inetOrgPerson)(!(nsAccountLock=TRUE)))";
        let people = self.slapd.search(PEOPLE, open, &["uid"]);
        assert_eq!(active.count(), people.len(), "{users:#?}");
    }

    fn assert_only_error(&self, finished: &Finished, dn: &str) {
        let all = finished.job["errors"].as_array().unwrap().len();
        let of_entry = errors_of(finished, dn).len();
        assert!(
            all == of_entry && all > 0,
            "not of {dn} alone: {}",
            self.said(finished)
        );
    }

    fn assert_equal(&self, when: &str) {
        let wrong = self.differences();
        assert!(
            wrong.is_empty(),
            "{when}: {wrong:#?}\nthe target:\n{}",
            self.target.log()
        );
    }

    /// In what the target is not what the directory says, in words.
    fn differences(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let people = self
            .slapd
            .search(PEOPLE, "(objectClass=inetOrgPerson)", PERSON);
        let (attribute, name) = self.facts.key;
        let users = by(name, self.target.users(), &mut wrong);
        let key = |entry: &'_ Entry| entry.first(attribute).unwrap().to_owned();
        let mut members: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in &people {
            match users.get(&key(entry)) {
                Some(user) => {
                    members.insert(&entry.dn, user["id"].as_str().unwrap());
                    wrong.extend(self.differing(entry, user));
                }
                None => wrong.push(format!("{} is not there", entry.dn)),
            }
        }
        let known: BTreeSet<String> = people.iter().map(key).collect();
        for (_, user) in users.iter().filter(|(key, _)| !known.contains(*key)) {
            if user["active"] != false {
                wrong.push(format!("not in the directory, but active: {user}"));
            }
        }
        if self.can(Step::Groups) {
            let ids = users.values().filter_map(|user| user["id"].as_str());
            wrong.extend(self.differing_groups(&ids.collect(), &members));
        }
        wrong
    }

    /// The same of groups; of the users the ids, and those of people by their DN.
    fn differing_groups(
        &self,
        ids: &BTreeSet<&str>,
        members: &BTreeMap<&str, &str>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let teams = self
            .slapd
            .search(GROUPS, "(objectClass=groupOfNames)", PERSON);
        let groups = by("externalId", self.target.groups(), &mut wrong);
        for (anchor_of_group, group) in &groups {
            let entry = teams.iter().find(|entry| anchor(entry) == anchor_of_group);
            let listed = group["members"].as_array().map_or(&[][..], Vec::as_slice);
            // A server may keep the id of an account that it has no more.
            let held: Vec<&str> = listed
                .iter()
                .map(|member| member["value"].as_str().unwrap())
                .filter(|id| ids.contains(id))
                .collect();
            let unique: BTreeSet<&str> = held.iter().copied().collect();
            let wanted = entry.map_or(&[][..], |entry| entry.values("member"));
            let wanted: BTreeSet<&str> = wanted
                .iter()
                .filter_map(|dn| members.get(dn.as_str()).copied())
                .collect();
            if unique != wanted || held.len() != unique.len() {
                wrong.push(format!("members {held:?} instead of {wanted:?} in {group}"));
            }
            let name = entry.and_then(|entry| entry.first("cn"));
            if name.is_some_and(|name| group["displayName"] != name) {
                wrong.push(format!("{name:?} is called otherwise: {group}"));
            }
        }
        let missing = teams
            .iter()
            .filter(|entry| !groups.contains_key(anchor(entry)));
        wrong.extend(missing.map(|entry| format!("{} is not there", entry.dn)));
        wrong
    }

    fn differing(&self, entry: &Entry, user: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, attribute, at) in mapped(self.facts) {
            let (wanted, held) = (entry.first(attribute), at.of(user));
            if wanted != held {
                wrong.push(format!(
                    "{}: {name} is {held:?}, not {wanted:?}: {user}",
                    entry.dn
                ));
            }
        }
        if user["active"] != (entry.first("nsAccountLock") != Some("true")) {
            wrong.push(format!("{}: active is {}", entry.dn, user["active"]));
        }
        wrong
    }
}

fn mapped(facts: &Facts) -> impl Iterator<Item = (&'static str, &'static str, At)> {
    let lacks: Vec<&str> = facts.lacks.iter().map(|(name, _)| *name).collect();
    MAPPED
        .into_iter()
        .filter(move |(name, ..)| !lacks.contains(name))
}

/// A relay between a directory and a server, as the facts tell.
pub fn relay(slapd: &Slapd, target: &dyn ScimTarget, facts: &Facts) -> Relay {
    let mapping: toml::Table = mapped(facts)
        .map(|(name, attribute, _)| (name.to_owned(), attribute.into()))
        .chain(
            facts
                .lacks
                .iter()
                .map(|(name, _)| ((*name).to_owned(), false.into())),
        )
        .collect();
    Relay::between(slapd, &target.base_url(), target.token())
        .tenant("settleSeconds = 0")
        .tenant(&format!("dialect = {}", facts.dialect))
        .directory(&format!(
            "attributeMapping = {}",
            toml::Value::from(mapping)
        ))
        .directory(&format!("synchronizeGroups = {}", can(facts, Step::Groups)))
}

fn anchor(entry: &Entry) -> &str {
    entry.first("entryUUID").unwrap()
}

/// The resources by what each of them has once.
fn by(name: &str, resources: Vec<Value>, wrong: &mut Vec<String>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for resource in resources {
        let Some(key) = resource[name].as_str().map(str::to_owned) else {
            wrong.push(format!("without {name}: {resource}"));
            continue;
        };
        if let Some(other) = found.insert(key, resource) {
            wrong.push(format!("twice: {other}"));
        }
    }
    found
}

fn can(facts: &Facts, step: Step) -> bool {
    facts.cannot.iter().all(|(cannot, _)| *cannot != step)
}
