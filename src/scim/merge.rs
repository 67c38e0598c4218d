//! Merge: a resource as it was read, with the operations of a PATCH made on it, for targets that take whole resources.

use serde_json::{Map, Value as Json};

use crate::scim::path::{AttributePath, Elements};
use crate::scim::resource::{attribute, same_name, text_of};
use crate::scim::{Value, encode};

/// Attributes that the target maintains, so that a PUT does not repeat them (RFC 7644 §3.5.1, readOnly).
const READ_ONLY: [&str; 2] = ["meta", "groups"];

/// The body of a PUT: the resource with the operations made, and everything else as it was. What it is known to hold of
/// attributes that the target does not show stands in it too, because a target may take what is missing for its default: a
/// suspended account would be active again.
///
/// # Errors
/// What cannot be done, when an operation is none that [`crate::scim::encode`] writes.
pub fn merged<'a>(
    resource: Json,
    known: impl Iterator<Item = (&'a AttributePath, &'a Value)>,
    operations: &[Json],
) -> Result<Json, String> {
    let Json::Object(mut resource) = resource else {
        return Err("the target's resource is no JSON object".to_owned());
    };
    resource.retain(|name, _| !READ_ONLY.iter().any(|own| same_name(own, name)));
    let hidden: Vec<_> = known
        .filter(|(path, _)| !is_shown(&resource, path))
        .collect();
    for (path, value) in hidden {
        put(&mut resource, path, value.to_json());
    }
    for operation in operations {
        carry_out(&mut resource, operation)?;
    }
    name_extensions(&mut resource);
    Ok(Json::Object(resource))
}

/// Whether a resource shows an attribute, or a part of it.
fn is_shown(resource: &Map<String, Json>, path: &AttributePath) -> bool {
    let named = |object: &'_ Map<String, Json>, name: &str| {
        object.keys().any(|known| same_name(known, name))
    };
    match &path.urn {
        None => named(resource, &path.name),
        Some(urn) => resource
            .iter()
            .filter(|(name, _)| same_name(name, urn))
            .filter_map(|(_, extension)| extension.as_object())
            .any(|extension| named(extension, &path.name)),
    }
}

fn carry_out(resource: &mut Map<String, Json>, operation: &Json) -> Result<(), String> {
    let path = operation["path"].as_str().unwrap_or_default();
    if operation["op"] == "remove" {
        return remove(resource, path);
    }
    let parsed: AttributePath = path.parse()?;
    match &operation["value"] {
        Json::Array(new) if operation["op"] == "add" && parsed.sub.is_none() => {
            if let Some(home) = home(resource, &parsed, true) {
                add_values(field(home, &parsed.name), new);
            }
        }
        value => put(resource, &parsed, value.clone()),
    }
    Ok(())
}

/// Puts a value where the path points to; names and types are found without regard to case.
fn put(resource: &mut Map<String, Json>, path: &AttributePath, value: Json) {
    let Some(home) = home(resource, path, true) else {
        return;
    };
    let place = field(home, &path.name);
    let Some(sub) = &path.sub else {
        *place = value;
        return;
    };
    let object = match &path.element {
        None => object_in(place),
        Some(element) => element_in(place, path, element),
    };
    if let Some(object) = object {
        *field(object, sub) = value;
    }
}

/// The element of a type, made where there is none.
fn element_in<'a>(
    place: &'a mut Json,
    path: &AttributePath,
    element: &str,
) -> Option<&'a mut Map<String, Json>> {
    let elements = array_in(place)?;
    let at = elements.iter().position(|found| is_of_type(found, element));
    let at = at.unwrap_or_else(|| {
        push(elements, encode::new_element(path, element));
        elements.len() - 1
    });
    object_in(elements.get_mut(at)?)
}

fn object_in(place: &mut Json) -> Option<&mut Map<String, Json>> {
    if !place.is_object() {
        *place = Json::Object(Map::new());
    }
    place.as_object_mut()
}

fn array_in(place: &mut Json) -> Option<&mut Vec<Json>> {
    if !place.is_array() {
        *place = Json::Array(Vec::new());
    }
    place.as_array_mut()
}

fn is_of_type(element: &Json, wanted: &str) -> bool {
    let held = attribute(element, "type").and_then(Json::as_str);
    held.is_some_and(|held| held.eq_ignore_ascii_case(wanted))
}

/// A new primary element ends that of another one (RFC 7643 §2.4: at most one).
fn push(elements: &mut Vec<Json>, new: Json) {
    if new["primary"] == true {
        for object in elements.iter_mut().filter_map(Json::as_object_mut) {
            if let Some(primary) = get_mut(object, "primary") {
                *primary = Json::Bool(false);
            }
        }
    }
    elements.push(new);
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
fn add_values(place: &mut Json, new: &[Json]) {
    let Some(there) = array_in(place) else { return };
    for value in new {
        if !there.iter().any(|other| is_same(other, value)) {
            push(there, value.clone());
        }
    }
}

/// Whether two elements are one: those of one value, unless they say that they are of different types.
fn is_same(one: &Json, other: &Json) -> bool {
    let value = |element: &Json| attribute(element, "value").and_then(text_of);
    let kind = |element: &Json| attribute(element, "type").and_then(text_of);
    let types = (kind(one), kind(other));
    let differ = matches!(types, (Some(one), Some(other)) if !one.eq_ignore_ascii_case(&other));
    one == other || (!differ && value(one).is_some() && value(one) == value(other))
}

/// Removes an attribute, a part of it, or the elements that a filter names.
fn remove(resource: &mut Map<String, Json>, path: &str) -> Result<(), String> {
    if let Ok(meant) = path.parse::<Elements>() {
        if let Some(home) = home(resource, &meant.attribute, false)
            && let Some(Json::Array(elements)) = get_mut(home, &meant.attribute.name)
        {
            elements.retain(|element| !is_meant(element, &meant));
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
            .filter(|found| is_of_type(found, element))
            .filter_map(Json::as_object_mut)
            .for_each(|found| take_out(found, sub)),
        (None, Some(Json::Object(object))) => take_out(object, sub),
        _ => {}
    }
    Ok(())
}

/// Whether an element is among those that a removal names: of its type, or with its value, be that a number.
fn is_meant(element: &Json, meant: &Elements) -> bool {
    match same_name(&meant.key, "type") {
        true => is_of_type(element, &meant.value),
        false => {
            let held = attribute(element, &meant.key).and_then(text_of);
            held.as_deref() == Some(meant.value.as_str())
        }
    }
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
            merged(resource, std::iter::empty(), &operations).unwrap(),
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
        let merged = merged(group, std::iter::empty(), &operations).unwrap();
        assert_eq!(
            merged["members"],
            json!([{"value": "1", "display": "x"}, {"value": "3"}])
        );
    }

    #[test]
    fn names_and_types_have_no_case_and_ids_may_be_numbers() {
        let user = json!({
            "Name": {"GivenName": "Ann"},
            "Emails": [{"Type": "Work", "Value": "old@x", "primary": true}, {"type": "Home", "value": "h@x"}],
            "phoneNumbers": [{"type": "home", "value": "1", "primary": true}],
        });
        let operations = [
            json!({"op": "replace", "path": "name.givenName", "value": "Anna"}),
            json!({"op": "replace", "path": "emails[type eq \"work\"].value", "value": "new@x"}),
            json!({"op": "remove", "path": "emails[type eq \"home\"]"}),
            json!({"op": "add", "path": "phoneNumbers", "value": [{"type": "work", "value": "1", "primary": true}]}),
        ];
        let none = std::iter::empty;
        assert_eq!(
            merged(user, none(), &operations).unwrap(),
            json!({
                "Name": {"GivenName": "Anna"},
                "Emails": [{"Type": "Work", "Value": "new@x", "primary": true}],
                "phoneNumbers": [
                    {"type": "home", "value": "1", "primary": false},
                    {"type": "work", "value": "1", "primary": true},
                ],
            })
        );
        let group = json!({"members": [{"value": 1}, {"value": 2, "type": "User"}]});
        let operations = [
            json!({"op": "add", "path": "members", "value": [{"value": "2"}]}),
            json!({"op": "remove", "path": "members[value eq \"1\"]"}),
        ];
        assert_eq!(
            merged(group, none(), &operations).unwrap(),
            json!({"members": [{"value": 2, "type": "User"}]})
        );
    }

    #[test]
    fn what_is_not_shown_stands_there_as_it_is_known() {
        let title = AttributePath::core("title");
        let department = format!("{ENTERPRISE_SCHEMA}:department").parse().unwrap();
        let text = |text: &str| Value::Text(text.to_owned());
        let known = [
            (AttributePath::active(), Value::Bool(false)),
            (AttributePath::work_email(), text("a@x")),
            (AttributePath::display_name(), text("old")),
            (title, text("T")),
            (department, text("R&D")),
        ];
        let resource = json!({"schemas": [USER_SCHEMA], "displayName": "changed there"});
        let operations = [json!({"op": "remove", "path": "title"})];
        let known = known.iter().map(|(path, value)| (path, value));
        assert_eq!(
            merged(resource, known, &operations).unwrap(),
            json!({
                "schemas": [USER_SCHEMA, ENTERPRISE_SCHEMA],
                "active": false,
                "displayName": "changed there",
                "emails": [{"type": "work", "value": "a@x", "primary": true}],
                ENTERPRISE_SCHEMA: {"department": "R&D"},
            })
        );
    }
}
