//! Ten edits of a directory, and the requests that they need at the target.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::main_job::lock;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};
use crate::support::world::{Person, World};

/// The ten edits, and the requests that they need.
pub struct Edits {
    /// The requests, sorted, as [`super::names::Names`] writes them.
    pub requests: Vec<String>,
    members_removed: u64,
}

impl Edits {
    /// Edits the directory. People who are renamed or moved are in no group: this directory does not follow names.
    pub fn make(slapd: &Slapd, world: &World) -> Self {
        let groups = groups_of(slapd);
        let mut alone = world
            .people
            .iter()
            .filter(|person| !groups.contains_key(&person.dn()));
        let mut in_groups = world.people.iter().filter(|person| {
            groups
                .get(&person.dn())
                .is_some_and(|names| names.iter().all(|name| name.starts_with("group ")))
        });
        let mut next = || alone.next().unwrap();
        let (renamed, moved) = (next(), next());
        let (changed, added) = (next(), next());
        let (disabled, deleted) = (in_groups.next().unwrap(), in_groups.next_back().unwrap());
        let mut requests = Vec::new();
        people_edits(slapd, renamed, changed, disabled, &mut requests);
        slapd.modrdn(
            &moved.dn(),
            &format!("uid={}", moved.uid),
            Some(&format!("ou=sales,{PEOPLE}")),
        );
        slapd.delete(&deleted.dn());
        requests.push(format!("PATCH /Users/{} replace active=false", deleted.uid));
        let left: &[String] = &groups[&deleted.dn()];
        for group in left {
            requests.push(format!(
                "PATCH /Groups/{group} remove members[value eq \"{}\"]",
                deleted.uid
            ));
        }
        // Three groups that no other edit touches.
        let untouched: Vec<_> = world
            .groups
            .iter()
            .filter(|group| !left.contains(&group.name) && group.members.len() > 2)
            .collect();
        let (grown, shrunk, named) = (untouched[0], untouched[1], untouched[2]);
        let leaving = world
            .people
            .iter()
            .find(|person| person.dn() == shrunk.members[1])
            .unwrap();
        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\nadd: member\nmember: {}\n",
            grown.dn(),
            added.dn()
        ));
        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\ndelete: member\nmember: {}\n",
            shrunk.dn(),
            leaving.dn()
        ));
        slapd.modrdn(&named.dn(), "cn=renamed group", None);
        requests.push(format!(
            "PATCH /Groups/{} add members=[{{\"value\":\"{}\"}}]",
            grown.name, added.uid
        ));
        requests.push(format!(
            "PATCH /Groups/{} remove members[value eq \"{}\"]",
            shrunk.name, leaving.uid
        ));
        requests
            .push("PATCH /Groups/renamed group replace displayName=\"renamed group\"".to_owned());
        new_entries(slapd, added, &mut requests);
        requests.sort();
        let members_removed = left.len() as u64 + 1;
        Self {
            requests,
            members_removed,
        }
    }

    /// What the job counts.
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("usersCreated", 1),
            ("usersUpdated", 2),
            ("usersDeactivated", 2),
            ("groupsCreated", 1),
            ("groupsUpdated", 1),
            ("membersAdded", 3),
            ("membersRemoved", self.members_removed),
        ]
    }

    /// The requests without what they ask for, for targets that keep no bodies.
    pub fn lines_without_bodies(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .requests
            .iter()
            .map(|line| {
                let end = [" replace ", " remove ", " add ", " {"]
                    .iter()
                    .filter_map(|word| line.find(word))
                    .min();
                line[..end.unwrap()].to_owned()
            })
            .collect();
        lines.sort();
        lines
    }
}

fn people_edits(
    slapd: &Slapd,
    renamed: &Person,
    changed: &Person,
    disabled: &Person,
    requests: &mut Vec<String>,
) {
    slapd.modrdn(&renamed.dn(), "uid=newname", None);
    slapd.modify(&format!(
        "dn: uid=newname,{PEOPLE}\nchangetype: modify\nreplace: sn\nsn: Newton\n-\nreplace: displayName\ndisplayName: N. Newton\n"
    ));
    requests.push(
        "PATCH /Users/newname replace displayName=\"N. Newton\" + replace name.familyName=\"Newton\" + replace \
         userName=\"newname\""
            .to_owned(),
    );
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: mail\nmail: new@example.org\n",
        changed.dn()
    ));
    requests.push(format!(
        "PATCH /Users/{} replace emails[type eq \"work\"].value=\"new@example.org\"",
        changed.uid
    ));
    lock(slapd, &disabled.dn());
    requests.push(format!(
        "PATCH /Users/{} replace active=false",
        disabled.uid
    ));
}

fn new_entries(slapd: &Slapd, other: &Person, requests: &mut Vec<String>) {
    let joiner = Person {
        uid: "joiner".to_owned(),
        given_name: "Jo".to_owned(),
        surname: "Iner".to_owned(),
        display_name: "Jo Iner".to_owned(),
        mail: "jo@example.org".to_owned(),
        telephone: "+49 1".to_owned(),
        ..other.clone()
    };
    slapd.add(&joiner.ldif());
    slapd.add(&format!(
        "dn: cn=newcomers,{GROUPS}\nobjectClass: groupOfNames\ncn: newcomers\nmember: {}\nmember: {}\n",
        joiner.dn(),
        other.dn()
    ));
    let user = json!({
        "userName": "joiner",
        "active": true,
        "displayName": "Jo Iner",
        "name": {"givenName": "Jo", "familyName": "Iner"},
        "emails": [{"type": "work", "primary": true, "value": "jo@example.org"}],
        "phoneNumbers": [{"type": "work", "value": "+49 1"}],
    });
    requests.push(format!("POST /Users {user}"));
    let mut members = [joiner.uid, other.uid.clone()];
    members.sort();
    let members: Vec<Value> = members.iter().map(|uid| json!({"value": uid})).collect();
    requests.push(format!(
        "POST /Groups {}",
        json!({"displayName": "newcomers", "members": members})
    ));
}

/// The groups that name a person by DN or uid, by the person's DN.
fn groups_of(slapd: &Slapd) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for group in slapd.search(GROUPS, "(cn=*)", &["cn", "member", "memberUid"]) {
        let name = group.first("cn").unwrap();
        let uids = group
            .values("memberUid")
            .iter()
            .map(|uid| format!("uid={uid},{PEOPLE}"));
        for dn in group.values("member").iter().cloned().chain(uids) {
            found.entry(dn).or_default().push(name.to_owned());
        }
    }
    found
}
