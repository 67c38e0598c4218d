//! Values that canaries get: fitting for each attribute, different each time, and recognizable.

use crate::scim::path::AttributePath;
use crate::scim::{Attributes, Value};

/// The domain of canaries' addresses, where no mail arrives (RFC 2606, RFC 7505).
const DOMAIN: &str = "example.com";

/// What is tried where no profile maps anything.
const USUAL: [&str; 9] = [
    "username",
    "firstName",
    "lastName",
    "displayName",
    "email",
    "phone",
    "title",
    "nickName",
    "department",
];

/// The attributes that are tried: those that are mapped, as far as a canary can have a harmless value there.
pub(super) fn tried<'a>(mapped: impl IntoIterator<Item = &'a AttributePath>) -> Vec<AttributePath> {
    let mut paths: Vec<AttributePath> = mapped
        .into_iter()
        // What gives rights or refers to somebody is not tried on the target.
        .filter(|path| {
            !path.takes_many() && path.name != "manager" && **path != AttributePath::active()
        })
        .cloned()
        .collect();
    if paths.is_empty() {
        let usual = USUAL
            .iter()
            .filter_map(|name| AttributePath::from_rule(name).ok());
        paths.extend(usual);
    }
    for needed in [AttributePath::user_name(), AttributePath::external_id()] {
        if !paths.contains(&needed) {
            paths.push(needed);
        }
    }
    paths
}

/// Attributes without which many targets create nobody.
pub(super) fn is_needed(path: &AttributePath) -> bool {
    let names = [
        "userName",
        "externalId",
        "name",
        "emails",
        "active",
        "displayName",
    ];
    let is_other_element = path
        .element
        .as_deref()
        .is_some_and(|element| element != "work");
    path.urn.is_none() && names.contains(&path.name.as_str()) && !is_other_element
}

/// Attributes that a user can do without, so that their removal is tried.
pub(super) fn is_removable(path: &AttributePath) -> bool {
    let names = [
        "title",
        "nickName",
        "userType",
        "preferredLanguage",
        "locale",
        "timezone",
    ];
    path.element.is_none() && (path.urn.is_some() || names.contains(&path.name.as_str()))
}

/// The attributes of a canary of this name.
pub(super) fn of_user(paths: &[AttributePath], name: &str, number: u32) -> Attributes {
    let mut attributes: Attributes = paths
        .iter()
        .map(|path| (path.clone(), value(path, name, number)))
        .collect();
    attributes.insert(AttributePath::active(), Value::Bool(false));
    attributes
}

/// A value for an attribute; another number gives another value.
pub(super) fn value(path: &AttributePath, name: &str, number: u32) -> Value {
    let one_of = |values: [&str; 2]| values[number as usize % 2].to_owned();
    let part = path.sub.as_deref().unwrap_or_default();
    let text = match (path.name.as_str(), part) {
        ("userName" | "externalId", _) if path.urn.is_none() => name.to_owned(),
        ("emails", _) => {
            let element = path.element.as_deref().unwrap_or("work");
            let local = name.split('@').next().unwrap_or(name);
            format!("{local}-{element}-{number}@{DOMAIN}")
        }
        ("phoneNumbers", _) => {
            // Each type has a number of its own.
            let element = path.element.as_deref().map_or(0, str::len) % 10;
            format!("+1 202 555 0{element}{:02}", number % 100)
        }
        ("preferredLanguage", _) => one_of(["en", "de"]),
        ("locale", _) => one_of(["en-US", "de-DE"]),
        ("timezone", _) => one_of(["Europe/Berlin", "Europe/Paris"]),
        ("addresses", "country") => one_of(["DE", "FR"]),
        ("profileUrl" | "photos", _) => format!("https://{DOMAIN}/probe/{number}"),
        _ => format!("Probe {number}"),
    };
    Value::Text(text)
}

/// A name that is an e-mail address, for targets that take no other.
pub(super) fn as_address(name: &str) -> String {
    format!("{name}@{DOMAIN}")
}
