//! A small company in a domain, and what a target must hold of it, worked out from what the domain controller says.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use serde_json::{Value, json};

use crate::support::fault_target::FaultTarget;
use crate::support::ldif::Entry;
use crate::support::mirror::{
    Held, Resources, assert_same, by_anchor, folded, group_essence, text, user_essence,
};
use crate::support::relay::Relay;
use crate::support::samba::{DOMAIN, GROUPS, PEOPLE, READER, Samba};

/// People who have an account of their own (SAM_NORMAL_USER_ACCOUNT, MS-SAMR §2.2.1.9).
const PEOPLE_ONLY: &str = "(sAMAccountType=805306368)";

/// A relay that reads people and groups of the company over LDAPS, as the plain account.
pub fn relay_of(samba: &Samba, target: &FaultTarget) -> Relay {
    Relay::of_ldap_port(samba.ldaps_port(), target.base_url(), "any").directory(&lines(samba))
}

/// How people and groups of the company are read.
pub fn lines(samba: &Samba) -> String {
    format!(
        "type = \"active_directory\"\nuseTLS = true\nallowPlainLdap = false\ncaCertificate = \"file:{}\"\n\
         bindDN = \"{READER}\"\nbaseDN = \"{DOMAIN}\"\nusersDN = \"{PEOPLE}\"\ngroupsDN = \"{GROUPS}\"",
        samba.ca_pem_path().display()
    )
}

/// 100 ns since 1601 at so many seconds from now.
pub fn ticks(seconds_from_now: i64) -> String {
    ((Utc::now().timestamp() + seconds_from_now + 11_644_473_600) * 10_000_000).to_string()
}

/// Adds people of every kind, what is like people and is none, and groups of them.
pub fn populate(samba: &Samba) {
    let sales = format!("OU=Sales,{PEOPLE}");
    samba.add(&format!("dn: {sales}\nobjectClass: organizationalUnit\n\n"));
    let ann = samba.add_user(PEOPLE, "ann", "telephoneNumber: +49 30 1\n");
    let ben = samba.add_user(PEOPLE, "ben", "accountExpires: 0\n");
    let never = samba.add_user(PEOPLE, "never", "accountExpires: 9223372036854775807\n");
    samba.add_user(
        PEOPLE,
        "later",
        &format!("accountExpires: {}\n", ticks(86_400)),
    );
    samba.add_user(PEOPLE, "expired", "accountExpires: 132223104000000000\n");
    let disabled = samba.add_user(PEOPLE, "disabled", "");
    samba.replace(&disabled, "userAccountControl", &["546"]);
    samba.add_user(&sales, "sales1", "");
    let mut others = Vec::new();
    for (class, name, further) in [
        ("computer", "PC1", "userAccountControl: 4096\n"),
        (
            "msDS-ManagedServiceAccount",
            "msa1",
            "userAccountControl: 4096\n",
        ),
        (
            "msDS-GroupManagedServiceAccount",
            "gmsa1",
            "userAccountControl: 4096\nmsDS-ManagedPasswordInterval: 30\n",
        ),
    ] {
        let dn = format!("CN={name},{PEOPLE}");
        samba.add(&format!(
            "dn: {dn}\nobjectClass: {class}\nsAMAccountName: {name}$\nmail: {name}@example.org\n{further}"
        ));
        others.push(dn);
    }
    let contact = format!("CN=Kay Contact,{PEOPLE}");
    samba.add(&format!(
        "dn: {contact}\nobjectClass: contact\nsn: Contact\nmail: kay@elsewhere.example\n"
    ));
    others.push(contact);
    others.push("CN=S-1-5-11,CN=ForeignSecurityPrincipals,dc=ad,dc=example,dc=org".to_owned());
    let mut members = vec![ann.as_str(), &ben, &never, &disabled];
    members.extend(others.iter().map(String::as_str));
    // A group that anybody may be in: foreign security principals are refused by global ones.
    samba.add_group(GROUPS, "a-team", &[]);
    samba.replace(
        &format!("CN=a-team,{GROUPS}"),
        "groupType",
        &["-2147483640"],
    );
    samba.replace(
        &format!("CN=a-team,{GROUPS}"),
        "groupType",
        &["-2147483644"],
    );
    samba.replace(&format!("CN=a-team,{GROUPS}"), "member", &members);
    let cycle_a = samba.add_group(GROUPS, "cycle-a", &[&ann]);
    let cycle_b = samba.add_group(GROUPS, "cycle-b", &[&cycle_a, &ben]);
    samba.modify(&format!(
        "dn: {cycle_a}\nchangetype: modify\nadd: member\nmember: {cycle_b}\n"
    ));
    samba.add_group(GROUPS, "nobody", &[]);
}

/// The target holds exactly the people below one base and the groups below the other; whatever else it holds is inactive,
/// or has no members. A disabled or expired account may be missing.
pub fn assert_equal_to_domain(samba: &Samba, target: &FaultTarget, people: &str, groups: &str) {
    let users = target.users();
    let held = by_anchor(&users, user_essence);
    let guids = |base: &str, filter: &str| -> BTreeMap<String, String> {
        let found = samba.guids(base, filter).into_iter();
        found.map(|(guid, dn)| (folded(&dn), guid)).collect()
    };
    let anchors = guids(people, PEOPLE_ONLY);
    let mut wanted: Resources = samba
        .search(people, PEOPLE_ONLY, &[])
        .iter()
        .map(|entry| (anchors[&folded(&entry.dn)].clone(), wanted_user(entry)))
        .collect();
    wanted.retain(|anchor, user| user["active"] == true || held.contains_key(anchor));
    for (anchor, user) in &held {
        assert!(
            wanted.contains_key(anchor) || user["active"] == false,
            "not in the domain, but active: {user}"
        );
    }
    assert_same("user", &wanted, &held);

    let group_anchors = guids(groups, "(objectClass=group)");
    let held_groups = target.groups();
    let by_id: BTreeMap<&str, &str> = users
        .iter()
        .chain(&held_groups)
        .map(|resource| (text(resource, "id"), text(resource, "externalId")))
        .collect();
    let held_groups = by_anchor(&held_groups, |group| group_essence(group, &by_id));
    let wanted: Resources = samba
        .search(groups, "(objectClass=group)", &["cn", "member"])
        .iter()
        .map(|group| {
            let members: BTreeSet<&String> = group
                .values("member")
                .iter()
                .filter_map(|dn| anchors.get(&folded(dn)))
                .filter(|anchor| held.contains_key(*anchor))
                .collect();
            let name = group.first("cn");
            (
                group_anchors[&folded(&group.dn)].clone(),
                json!({"displayName": name, "members": members}),
            )
        })
        .collect();
    for (anchor, group) in &held_groups {
        assert!(
            wanted.contains_key(anchor) || group["members"] == json!([]),
            "not in the domain, but has members: {group}"
        );
    }
    assert_same("group", &wanted, &held_groups);
}

fn wanted_user(entry: &Entry) -> Value {
    let list = |attribute, further: Value| match entry.first(attribute) {
        None => json!([]),
        Some(value) => {
            let mut item = json!({"type": "work", "value": value});
            item.as_object_mut()
                .unwrap()
                .extend(further.as_object().unwrap().clone());
            json!([item])
        }
    };
    let number = |attribute| -> i64 { entry.first(attribute).unwrap().parse().unwrap() };
    let expires = number("accountExpires");
    let has_expired =
        expires != 0 && expires != i64::MAX && expires <= ticks(0).parse::<i64>().unwrap();
    json!({
        "userName": entry.first("sAMAccountName"),
        "givenName": entry.first("givenName"),
        "familyName": entry.first("sn"),
        "displayName": entry.first("displayName"),
        "emails": list("mail", json!({"primary": true})),
        "phoneNumbers": list("telephoneNumber", json!({})),
        "active": number("userAccountControl") & 2 == 0 && !has_expired,
        "title": null,
    })
}
