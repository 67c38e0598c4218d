//! The two ends compared: what a real directory holds, and what a target that keeps the truth holds after a run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::fault_target::{Exchange, FaultTarget};
use crate::support::ldif::Entry;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{GROUPS, PEOPLE, Slapd};

/// A relay between the two that does not wait for look-ups to settle.
pub fn relay(slapd: &Slapd, target: &FaultTarget) -> Relay {
    Relay::between(slapd, target.base_url(), "any").tenant("settleSeconds = 0")
}

/// Panics unless the target holds what the directory says, and a further run has nothing to send.
pub fn assert_settled(slapd: &Slapd, target: &FaultTarget, relay: &Relay, context: &str) {
    let differences = differences(slapd, target);
    assert!(differences.is_empty(), "{context}: {differences:#?}");
    assert_only_ours(target, context);
    let again = relay.sync().completed();
    assert_eq!(
        again.writes(),
        0,
        "{context}: a second run writes: {again:?}"
    );
}

/// Panics if any request was to change a resource that is not ours, or asked for an answer before the work is done.
pub fn assert_only_ours(target: &FaultTarget, context: &str) {
    for exchange in target.journal() {
        let (call, strangers) = (&exchange.call, &exchange.strangers);
        assert!(
            strangers.is_empty(),
            "{context}: {} {} concerns {strangers:?}",
            call.method,
            call.path
        );
        assert!(
            !exchange.headers.contains_key("prefer"),
            "{context}: {call:?}"
        );
    }
}

/// In what the target is not what the directory says, in words; resources without `externalId` are nobody's concern.
pub fn differences(slapd: &Slapd, target: &FaultTarget) -> Vec<String> {
    let people = people(slapd);
    let users = by_external_id(target.target().users());
    let mut wrong = Vec::new();
    let mut ids = BTreeMap::new();
    for entry in &people {
        let anchor = anchor(entry);
        match users.get(anchor).map_or(&[][..], Vec::as_slice) {
            [] if is_disabled(entry) => {}
            [user] => {
                ids.insert(anchor, user["id"].as_str().unwrap().to_owned());
                wrong.extend(differing_user(entry, user));
            }
            found => wrong.push(format!("{} has {} resources", entry.dn, found.len())),
        }
    }
    let known: BTreeSet<&str> = people.iter().map(anchor).collect();
    for (external_id, found) in &users {
        if !known.contains(external_id.as_str()) && found.iter().any(|user| user["active"] == true)
        {
            wrong.push(format!("{} is active and has left", found[0]["userName"]));
        }
    }
    wrong.extend(differing_groups(slapd, target, &people, &ids));
    wrong
}

/// The anchors of all people whose accounts are enabled now.
pub fn enabled(slapd: &Slapd) -> BTreeSet<String> {
    let people = people(slapd);
    let enabled = people.iter().filter(|entry| !is_disabled(entry));
    enabled.map(|entry| anchor(entry).to_owned()).collect()
}

/// The anchor of the entry with this DN.
pub fn anchor_of(slapd: &Slapd, dn: &str) -> String {
    let found = slapd.search(dn, "(objectClass=*)", &["entryUUID"]);
    anchor(&found[0]).to_owned()
}

/// The requests that changed something, in the order in which they did.
pub fn writes(target: &FaultTarget) -> Vec<Exchange> {
    let journal = target.journal().into_iter();
    journal.filter(Exchange::took_effect).collect()
}

/// The operations of a PATCH.
pub fn operations(exchange: &Exchange) -> Vec<Value> {
    let body = exchange.call.body.as_ref();
    let operations = body.and_then(|body| body["Operations"].as_array());
    operations.cloned().unwrap_or_default()
}

/// Whether a request sets an account inactive.
pub fn deactivates(exchange: &Exchange) -> bool {
    let sets = |operation: &Value| operation["path"] == "active" && operation["value"] == false;
    operations(exchange).iter().any(sets)
}

/// The errors of a job that name this entry, as their texts.
pub fn errors_of(finished: &Finished, dn: &str) -> Vec<String> {
    let errors = finished.job["errors"].as_array().unwrap();
    let of_entry = errors.iter().filter(|error| error["dn"] == dn);
    of_entry
        .map(|error| error["detail"].as_str().unwrap().to_owned())
        .collect()
}

fn people(slapd: &Slapd) -> Vec<Entry> {
    slapd.search(PEOPLE, "(objectClass=inetOrgPerson)", &["*", "entryUUID"])
}

fn anchor(entry: &Entry) -> &str {
    entry.first("entryUUID").unwrap()
}

fn is_disabled(entry: &Entry) -> bool {
    entry.first("nsAccountLock") == Some("true")
}

fn by_external_id(resources: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for resource in resources {
        if let Some(external_id) = resource["externalId"].as_str().map(str::to_owned) {
            found.entry(external_id).or_default().push(resource);
        }
    }
    found
}

fn differing_user(entry: &Entry, user: &Value) -> Vec<String> {
    let work = |list: &Value| {
        let elements = list.as_array()?.iter();
        let mut work = elements.filter(|element| element["type"] == "work");
        Some(work.next()?["value"].clone())
    };
    let mut wrong = Vec::new();
    for (attribute, held) in [
        ("uid", user["userName"].clone()),
        ("displayName", user["displayName"].clone()),
        ("givenName", user["name"]["givenName"].clone()),
        ("sn", user["name"]["familyName"].clone()),
        ("mail", work(&user["emails"]).unwrap_or_default()),
        (
            "telephoneNumber",
            work(&user["phoneNumbers"]).unwrap_or_default(),
        ),
    ] {
        let wanted = entry.first(attribute).map_or(Value::Null, Value::from);
        if held != wanted {
            wrong.push(format!("{}: {attribute} is {held}, not {wanted}", entry.dn));
        }
    }
    if user["active"] != !is_disabled(entry) {
        wrong.push(format!("{}: active is {}", entry.dn, user["active"]));
    }
    wrong
}

fn differing_groups(
    slapd: &Slapd,
    target: &FaultTarget,
    people: &[Entry],
    ids: &BTreeMap<&str, String>,
) -> Vec<String> {
    let entries = slapd.search(
        GROUPS,
        "(|(objectClass=groupOfNames)(objectClass=posixGroup))",
        &["cn", "member", "memberUid", "entryUUID"],
    );
    let groups = by_external_id(target.target().groups());
    let members = |group: &Value| {
        target
            .target()
            .members(group["id"].as_str().unwrap())
            .unwrap()
    };
    let mut wrong = Vec::new();
    for entry in &entries {
        let names = |person: &&Entry| {
            let uid = person.first("uid").unwrap();
            entry.values("member").contains(&person.dn)
                || entry.values("memberUid").iter().any(|named| named == uid)
        };
        let named = people.iter().filter(names);
        let wanted: BTreeSet<String> = named
            .filter_map(|person| ids.get(anchor(person)).cloned())
            .collect();
        match groups.get(anchor(entry)).map_or(&[][..], Vec::as_slice) {
            [group] => {
                if group["displayName"].as_str() != entry.first("cn") {
                    wrong.push(format!(
                        "{}: displayName is {}",
                        entry.dn, group["displayName"]
                    ));
                }
                let held = members(group);
                if held != wanted {
                    let names = |ids: BTreeSet<&String>| {
                        ids.into_iter()
                            .map(|id| name_of(target, id))
                            .collect::<Vec<_>>()
                    };
                    let (missing, surplus) = (
                        wanted.difference(&held).collect(),
                        held.difference(&wanted).collect(),
                    );
                    wrong.push(format!(
                        "{}: lacks {:?}, still has {:?}",
                        entry.dn,
                        names(missing),
                        names(surplus)
                    ));
                }
            }
            found => wrong.push(format!("{} has {} resources", entry.dn, found.len())),
        }
    }
    let known: BTreeSet<&str> = entries.iter().map(anchor).collect();
    for (external_id, found) in &groups {
        if !known.contains(external_id.as_str())
            && found.iter().any(|group| !members(group).is_empty())
        {
            wrong.push(format!(
                "{} is gone and has members",
                found[0]["displayName"]
            ));
        }
    }
    wrong
}

fn name_of(target: &FaultTarget, id: &str) -> String {
    let users = target.target().users();
    let user = users.iter().find(|user| user["id"] == id);
    user.map_or_else(
        || id.to_owned(),
        |user| format!("{} active {}", user["userName"], user["active"]),
    )
}
