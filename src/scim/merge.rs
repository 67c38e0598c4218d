//! Merge: a resource as it was read, with the operations of a PATCH made on it, for targets that take whole resources.

use serde_json::{Map, Value as Json};

use crate::scim::encode;
use crate::scim::path::{AttributePath, Elements};
use crate::scim::resource::same_name;

/// Attributes that the target maintains, so that a PUT does not repeat them (RFC 7644 §3.5.1, readOnly).
const READ_ONLY: [&str; 2] = ["meta", "groups"];

/// The body of a PUT: the resource with the operations made, and everything else as it was.
///
/// # Errors
/// What cannot be done, when an operation is none that [`crate::scim::encode`] writes.
pub fn merged(resource: Json, operations: &[Json]) -> Result<Json, String> {
    let Json::Object(mut resource) = resource else {
        return Err("the target's resource is no JSON object".to_owned());
    };
    resource.retain(|name, _| !READ_ONLY.iter().any(|own| own.eq_ignore_ascii_case(name)));
    for operation in operations {
        carry_out(&mut resource, operation)?;
    }
    name_extensions(&mut resource);
    Ok(Json::Object(resource))
}

fn carry_out(resource: &mut Map<String, Json>, operation: &Json) -> Result<(), String> {
    let path = operation["path"].as_str().unwrap_or_default();
    let adds = operation["op"] == "add";
    if operation["op"] == "remove" {
        return remove(resource, path);
    }
    let parsed: AttributePath = path.parse()?;
    match (&operation["value"], home(resource, &parsed, true)) {
        (Json::Array(new), Some(home)) if adds && parsed.sub.is_none() => {
            add_values(field(home, &parsed.name), new);
        }
        (value, Some(home)) if parsed.sub.is_none() => {
            *field(home, &parsed.name) = value.clone();
        }
        _ => encode::place_json(resource, &parsed, operation["value"].clone()),
    }
    Ok(())
}

/// The object that holds an attribute: the resource, or an extension in it.
fn home<'a>(
    resource: &'a mut Map<String, Json>,
    path: &AttributePath,
    make: bool,
) -> Option<&'a mut Map<String, Json>> {
    let Some(urn) = &path.urn else {
        return Some(resource);
    };
    if make && !resource.keys().any(|name| same_name(name, urn)) {
        resource.insert(urn.clone(), Json::Object(Map::new()));
    }
    let (_, extension) = resource.iter_mut().find(|(name, _)| same_name(name, urn))?;
    extension.as_object_mut()
}

/// A field by its name without regard to case (RFC 7643 §2.1), made where there is none.
fn field<'a>(object: &'a mut Map<String, Json>, name: &str) -> &'a mut Json {
    let known = object.keys().find(|known| same_name(known, name)).cloned();
    object
        .entry(known.unwrap_or_else(|| name.to_owned()))
        .or_insert(Json::Null)
}

/// Values that are there already stay single.
fn add_values(field: &mut Json, new: &[Json]) {
    if !field.is_array() {
        *field = Json::Array(Vec::new());
    }
    let Json::Array(there) = field else { return };
    for value in new {
        let known = |other: &Json| {
            other == value || own_value(other).is_some_and(|own| Some(own) == own_value(value))
        };
        if !there.iter().any(known) {
            there.push(value.clone());
        }
    }
}

fn own_value(element: &Json) -> Option<&str> {
    element.get("value")?.as_str()
}

/// Removes an attribute, a part of it, or the elements that a filter names.
fn remove(resource: &mut Map<String, Json>, path: &str) -> Result<(), String> {
    if let Ok(meant) = path.parse::<Elements>() {
        if let Some(home) = home(resource, &meant.attribute, false)
            && let Some(Json::Array(elements)) = get_mut(home, &meant.attribute.name)
        {
            elements.retain(|element| element[&meant.key] != meant.value.as_str());
        }
        return Ok(());
    }
    let path: AttributePath = path.parse()?;
    let Some(home) = home(resource, &path, false) else {
        return Ok(());
    };
    let Some(sub) = &path.sub else {
        take_out(home, &path.name);
        return Ok(());
    };
    match (&path.element, get_mut(home, &path.name)) {
        (Some(element), Some(Json::Array(elements))) => elements
            .iter_mut()
            .filter(|found| found["type"] == element.as_str())
            .filter_map(Json::as_object_mut)
            .for_each(|found| take_out(found, sub)),
        (None, Some(Json::Object(object))) => take_out(object, sub),
        _ => {}
    }
    Ok(())
}

fn get_mut<'a>(object: &'a mut Map<String, Json>, name: &str) -> Option<&'a mut Json> {
    let (_, value) = object
        .iter_mut()
        .find(|(known, _)| same_name(known, name))?;
    Some(value)
}

fn take_out(object: &mut Map<String, Json>, name: &str) {
    object.retain(|known, _| !same_name(known, name));
}

/// Every extension that has values is named in `schemas` (RFC 7643 §3).
fn name_extensions(resource: &mut Map<String, Json>) {
    let extensions: Vec<String> = resource
        .keys()
        .filter(|name| name.starts_with("urn:"))
        .cloned()
        .collect();
    let Some(Json::Array(schemas)) = get_mut(resource, "schemas") else {
        return;
    };
    for urn in extensions {
        let named = schemas
            .iter()
            .filter_map(Json::as_str)
            .any(|named| same_name(named, &urn));
        if !named {
            schemas.push(Json::String(urn));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scim::{ENTERPRISE_SCHEMA, USER_SCHEMA};
    use serde_json::json;

    #[test]
    fn what_is_not_mapped_survives() {
        let resource = json!({
            "schemas": [USER_SCHEMA],
            "id": "7",
            "meta": {"version": "W/\"3\""},
            "groups": [{"value": "g"}],
            "UserName": "ann",
            "title": "T",
            "name": {"givenName": "Ann", "familyName": "Doe", "middleName": "X"},
            "emails": [
                {"type": "work", "value": "old@x", "primary": true},
                {"type": "home", "value": "home@x"},
            ],
            "roles": [{"value": "a"}, {"value": "b"}],
            "photos": [{"value": "https://x"}],
        });
        let operations = [
            json!({"op": "replace", "path": "userName", "value": "anna"}),
            json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": "new@x"}),
            json!({"op": "remove", "path": "emails[type eq \"home\"]"}),
            json!({"op": "remove", "path": "title"}),
            json!({"op": "remove", "path": "name.middleName"}),
            json!({"op": "add", "path": "phoneNumbers", "value": [{"type": "work", "value": "1"}]}),
            json!({"op": "remove", "path": "roles[value eq \"a\"]"}),
            json!({"op": "add", "path": "roles", "value": [{"value": "b"}, {"value": "c"}]}),
            json!({"op": "add", "path": format!("{ENTERPRISE_SCHEMA}:department"), "value": "R&D"}),
            json!({"op": "replace", "path": "active", "value": false}),
            json!({"op": "remove", "path": "nickName"}),
            json!({"op": "remove", "path": "urn:x:2.0:User:a"}),
        ];
        assert_eq!(
            merged(resource, &operations).unwrap(),
            json!({
                "schemas": [USER_SCHEMA, ENTERPRISE_SCHEMA],
                "id": "7",
                "UserName": "anna",
                "active": false,
                "name": {"givenName": "Ann", "familyName": "Doe"},
                "emails": [{"type": "work", "value": "new@x", "primary": true}],
                "phoneNumbers": [{"type": "work", "value": "1"}],
                "roles": [{"value": "b"}, {"value": "c"}],
                "photos": [{"value": "https://x"}],
                ENTERPRISE_SCHEMA: {"department": "R&D"},
            })
        );
    }

    #[test]
    fn members_come_and_go_and_others_stay() {
        let group = json!({"id": "g", "displayName": "G", "members": [{"value": "1", "display": "x"}, {"value": "2"}]});
        let operations = [
            json!({"op": "add", "path": "members", "value": [{"value": "1"}, {"value": "3"}]}),
            json!({"op": "remove", "path": "members[value eq \"2\"]"}),
        ];
        let merged = merged(group, &operations).unwrap();
        assert_eq!(
            merged["members"],
            json!([{"value": "1", "display": "x"}, {"value": "3"}])
        );
    }
}
