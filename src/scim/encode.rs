//! Requests from intentions: bodies of POST and PATCH as the default manner writes them (specification page 4).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::scim::dialect::{Dialect, ElementUpdates};
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Attributes, PATCH_SCHEMA, ResourceType, Value};

/// An HTTP method that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Create (RFC 7644 §3.3).
    Post,
    /// Change (RFC 7644 §3.5.2); where the target has no PATCH, the provider makes a PUT of it.
    Patch,
    /// Replace (RFC 7644 §3.5.1).
    Put,
    /// Remove (RFC 7644 §3.6).
    Delete,
}

impl Method {
    /// The method's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// One request that writes, ready for the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Users or groups.
    pub resource_type: ResourceType,
    /// The method.
    pub method: Method,
    /// The target's id; absent for a create.
    pub id: Option<String>,
    /// The body.
    pub body: Option<Json>,
    /// The name by which others that go with it refer to what it creates (RFC 7644 §3.7.2).
    pub bulk_id: Option<String>,
    /// What the resource is known to hold, where it may have to be sent whole.
    pub known: Known,
}

/// What the target acknowledged of a resource: what a read of it does not show is not taken away by sending it back whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Attributes.
    pub attributes: Attributes,
    /// The ids of a group's members that stay in it.
    pub members: Vec<String>,
}

/// A create, with the ids of the members that go with it.
pub fn create(resource_type: ResourceType, attributes: &Attributes, members: &[String]) -> Request {
    let mut body = Map::new();
    for (path, value) in attributes {
        place(&mut body, path, value);
    }
    if !members.is_empty() {
        body.insert("members".to_owned(), member_values(members));
    }
    let mut schemas = vec![resource_type.schema().to_owned()];
    schemas.extend(body.keys().filter(|key| key.starts_with("urn:")).cloned());
    body.insert("schemas".to_owned(), json!(schemas));
    Request {
        resource_type,
        method: Method::Post,
        id: None,
        body: Some(Json::Object(body)),
        bulk_id: None,
        known: Known::default(),
    }
}

/// Puts the members of a create in place of those that it has.
pub fn set_members(create: &mut Request, members: &[String]) {
    let body = create.body.as_mut().and_then(Json::as_object_mut);
    if let Some(body) = body {
        match members.is_empty() {
            true => body.remove("members"),
            false => body.insert("members".to_owned(), member_values(members)),
        };
    }
}

/// A create with only the first so many of its members.
pub fn with_first_members(mut create: Request, count: usize) -> Request {
    let members = create
        .body
        .as_mut()
        .and_then(|body| body.get_mut("members"));
    if let Some(Json::Array(members)) = members {
        members.truncate(count);
    }
    create
}

fn place(body: &mut Map<String, Json>, path: &AttributePath, value: &Value) {
    place_json(body, path, value.to_json());
}

/// Puts one attribute where RFC 7643 wants it: extensions under their URN, elements into arrays, subs into objects.
pub fn place_json(body: &mut Map<String, Json>, path: &AttributePath, value: Json) {
    let home = match &path.urn {
        Some(urn) => child(body, urn),
        None => Some(body),
    };
    let Some(home) = home else { return };
    match (&path.element, &path.sub) {
        (Some(element), sub) => {
            let elements = home
                .entry(path.name.clone())
                .or_insert_with(|| Json::Array(Vec::new()));
            if let Json::Array(elements) = elements {
                put_in_element(
                    elements,
                    path,
                    element,
                    sub.as_deref().unwrap_or("value"),
                    value,
                );
            }
        }
        (None, Some(sub)) => {
            if let Some(object) = child(home, &path.name) {
                object.insert(sub.clone(), value);
            }
        }
        (None, None) => {
            home.insert(path.name.clone(), value);
        }
    }
}

fn put_in_element(
    elements: &mut Vec<Json>,
    path: &AttributePath,
    element: &str,
    sub: &str,
    value: Json,
) {
    let at = elements.iter().position(|found| found["type"] == element);
    let at = at.unwrap_or_else(|| {
        elements.push(new_element(path, element));
        elements.len() - 1
    });
    elements[at][sub] = value;
}

/// The work address is the primary one: the relay writes at most one e-mail of that type.
pub(super) fn new_element(path: &AttributePath, element: &str) -> Json {
    if path.urn.is_none() && path.name == "emails" && element == "work" {
        json!({ "type": element, "primary": true })
    } else {
        json!({ "type": element })
    }
}

/// The object under a name, made where there is none; `None` where a mapping put a plain value there, which
/// [`crate::mapping`] refuses.
fn child<'a>(parent: &'a mut Map<String, Json>, name: &str) -> Option<&'a mut Map<String, Json>> {
    parent
        .entry(name.to_owned())
        .or_insert_with(|| Json::Object(Map::new()))
        .as_object_mut()
}

/// A PATCH that changes attributes: one operation for each, path always, `op` in lower case.
///
/// `base` is what the target last acknowledged; it tells whether an element of a multi-valued attribute exists, which
/// decides between a replace of its sub-attribute and an add of the element (RFC 7644 §3.5.2.1, noTarget).
pub fn update(
    resource_type: ResourceType,
    id: &str,
    base: &Attributes,
    changes: &[AttributeChange],
    dialect: &Dialect,
) -> Request {
    let mut operations = Vec::with_capacity(changes.len());
    let mut added: BTreeMap<String, Vec<&AttributeChange>> = BTreeMap::new();
    for change in changes {
        match &change.after {
            _ if change.path.takes_many() => operations.extend(of_values(change)),
            _ if change.path.element.is_some() && sends_all_elements(dialect, &change.path) => {
                operations.push(all_elements(base, changes, &change.path));
            }
            None => operations.push(removal(base, changes, &change.path)),
            Some(_) if needs_new_element(base, &change.path) => {
                added
                    .entry(change.path.whole_element().to_string())
                    .or_default()
                    .push(change);
            }
            Some(value) => operations.push(json!({
                "op": if change.before.is_some() { "replace" } else { "add" },
                "path": change.path.to_string(),
                "value": value.to_json(),
            })),
        }
    }
    operations.extend(
        added
            .values()
            .filter_map(|changes| element_addition(changes)),
    );
    operations.dedup();
    patch(resource_type, id, operations)
}

/// Whether all elements go anew where one changes: where the dialect wants that, and where it has no path that could name one,
/// because what stands in the value takes the place of all.
fn sends_all_elements(dialect: &Dialect, path: &AttributePath) -> bool {
    dialect.element_updates == ElementUpdates::Whole || !dialect.patch_paths.names(path)
}

/// All elements of an attribute that the relay maintains, in place of those that are there.
fn all_elements(base: &Attributes, changes: &[AttributeChange], path: &AttributePath) -> Json {
    let changed = |other: &AttributePath| changes.iter().any(|change| change.path == *other);
    let is_meant = |other: &AttributePath| other.urn == path.urn && other.name == path.name;
    let kept = base.iter().filter(|(other, _)| !changed(other));
    let new = changes
        .iter()
        .filter_map(|change| Some((&change.path, change.after.as_ref()?)));
    let whole = AttributePath {
        element: None,
        sub: None,
        ..path.clone()
    };
    let name = whole.to_string();
    match elements(kept.chain(new).filter(|(other, _)| is_meant(other))) {
        Some(elements) => json!({ "op": "replace", "path": name, "value": elements }),
        None => json!({ "op": "remove", "path": name }),
    }
}

/// The elements of one multi-valued attribute that parts of them make up; `None` of no parts.
fn elements<'a>(parts: impl Iterator<Item = (&'a AttributePath, &'a Value)>) -> Option<Json> {
    let mut body = Map::new();
    for (path, value) in parts {
        let path = AttributePath {
            urn: None,
            ..path.clone()
        };
        place(&mut body, &path, value);
    }
    body.into_iter().next().map(|(_, elements)| elements)
}

/// Values of `roles` and `entitlements` leave one by one and come together, so that those of others stay.
fn of_values(change: &AttributeChange) -> impl Iterator<Item = Json> {
    let texts = |value: &Option<Value>| -> BTreeSet<String> {
        let texts = value.as_ref().map_or(&[][..], Value::as_texts);
        texts.iter().cloned().collect()
    };
    let (before, after) = (texts(&change.before), texts(&change.after));
    let path = &change.path;
    let gone = before.difference(&after).map(|value| {
        let filter = crate::scim::filter::eq("value", value);
        json!({ "op": "remove", "path": format!("{path}[{filter}]") })
    });
    let new = Value::Texts(after.difference(&before).cloned().collect());
    let added = (!new.as_texts().is_empty())
        .then(|| json!({ "op": "add", "path": path.to_string(), "value": new.to_json() }));
    gone.chain(added).collect::<Vec<_>>().into_iter()
}

fn needs_new_element(base: &Attributes, path: &AttributePath) -> bool {
    path.element.is_some() && !base.keys().any(|known| known.shares_element(path))
}

fn element_addition(changes: &[&AttributeChange]) -> Option<Json> {
    let first = changes.first()?;
    let parts = changes
        .iter()
        .filter_map(|change| Some((&change.path, change.after.as_ref()?)));
    let path = AttributePath {
        element: None,
        sub: None,
        ..first.path.clone()
    };
    Some(json!({ "op": "add", "path": path.to_string(), "value": elements(parts)? }))
}

/// Removing the last known sub-attribute of an element removes the element, so that no empty one is left behind.
fn removal(base: &Attributes, changes: &[AttributeChange], path: &AttributePath) -> Json {
    let stays = |known: &AttributePath| {
        changes
            .iter()
            .find(|change| change.path == *known)
            .is_none_or(|change| change.after.is_some())
    };
    let element_stays = base
        .keys()
        .filter(|known| known.shares_element(path))
        .any(stays);
    let path = if path.element.is_some() && !element_stays {
        path.whole_element()
    } else {
        path.clone()
    };
    json!({ "op": "remove", "path": path.to_string() })
}

/// A PATCH that adds members, in operations of the dialect's size. Empty input gives an empty operation list.
pub fn add_members(id: &str, members: &[String], dialect: &Dialect) -> Request {
    let chunks = members.chunks(dialect.members_per_operation.max(1));
    let operations = chunks
        .map(|chunk| json!({ "op": "add", "path": "members", "value": member_values(chunk) }))
        .collect();
    patch(ResourceType::Group, id, operations)
}

/// A PATCH that removes members: one operation for each, always with a value filter.
pub fn remove_members(id: &str, members: &[String]) -> Request {
    let operations = members
        .iter()
        .map(|member| json!({ "op": "remove", "path": format!("members[{}]", crate::scim::filter::eq("value", member)) }))
        .collect();
    patch(ResourceType::Group, id, operations)
}

/// A removal of the whole resource.
pub fn delete(resource_type: ResourceType, id: &str) -> Request {
    Request {
        resource_type,
        method: Method::Delete,
        id: Some(id.to_owned()),
        body: None,
        bulk_id: None,
        known: Known::default(),
    }
}

/// The operations of a PATCH; none of any other request.
pub fn operations(request: &Request) -> &[Json] {
    let operations = request
        .body
        .as_ref()
        .and_then(|body| body.get("Operations"));
    operations
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A PATCH as several with at most so many operations each, in order.
pub fn in_parts(request: &Request, most: usize) -> Vec<Request> {
    let operations = operations(request);
    match &request.id {
        Some(id) if operations.len() > most => operations
            .chunks(most.max(1))
            .map(|part| patch(request.resource_type, id, part.to_vec()))
            .collect(),
        _ => vec![request.clone()],
    }
}

fn member_values(members: &[String]) -> Json {
    members.iter().map(|id| json!({ "value": id })).collect()
}

fn patch(resource_type: ResourceType, id: &str, operations: Vec<Json>) -> Request {
    Request {
        resource_type,
        method: Method::Patch,
        id: Some(id.to_owned()),
        body: Some(json!({ "schemas": [PATCH_SCHEMA], "Operations": operations })),
        bulk_id: None,
        known: Known::default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scim::dialect::PatchPaths;

    fn attributes(rows: &[(&str, &str)]) -> Attributes {
        rows.iter()
            .map(|(path, value)| {
                (
                    AttributePath::from_rule(path).unwrap(),
                    Value::Text((*value).into()),
                )
            })
            .collect()
    }

    fn change(path: &str, before: Option<&str>, after: Option<&str>) -> AttributeChange {
        let value = |text: Option<&str>| text.map(|text| Value::Text(text.to_owned()));
        AttributeChange {
            path: AttributePath::from_rule(path).unwrap(),
            before: value(before),
            after: value(after),
        }
    }

    fn operations(request: Request) -> Json {
        request.body.unwrap()["Operations"].take()
    }

    #[test]
    fn a_create_has_each_attribute_in_its_place() {
        let mut wanted = attributes(&[
            ("username", "ann"),
            ("email", "ann@x"),
            ("firstName", "Ann"),
            ("department", "R&D"),
            (r#"addresses[type eq "work"].locality"#, "Ulm"),
            (r#"addresses[type eq "work"].country"#, "DE"),
        ]);
        wanted.insert(AttributePath::active(), Value::Bool(true));
        wanted.insert(
            AttributePath::core("roles"),
            Value::Texts(vec!["admin".into()]),
        );
        let body = create(ResourceType::User, &wanted, &[]).body.unwrap();
        assert_eq!(
            body,
            json!({
                "schemas": [crate::scim::USER_SCHEMA, crate::scim::ENTERPRISE_SCHEMA],
                "userName": "ann",
                "active": true,
                "name": {"givenName": "Ann"},
                "emails": [{"type": "work", "primary": true, "value": "ann@x"}],
                "addresses": [{"type": "work", "locality": "Ulm", "country": "DE"}],
                "roles": [{"value": "admin"}],
                crate::scim::ENTERPRISE_SCHEMA: {"department": "R&D"},
            })
        );
    }

    #[test]
    fn an_update_replaces_what_is_there_and_adds_elements_that_are_not() {
        let base = attributes(&[("email", "old@x"), ("title", "T")]);
        let changes = [
            change("email", Some("old@x"), Some("new@x")),
            change("phone", None, Some("1")),
            change("lastName", None, Some("Doe")),
            change("title", Some("T"), None),
        ];
        assert_eq!(
            operations(update(
                ResourceType::User,
                "7",
                &base,
                &changes,
                &Dialect::default()
            )),
            json!([
                {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "new@x"},
                {"op": "add", "path": "name.familyName", "value": "Doe"},
                {"op": "remove", "path": "title"},
                {"op": "add", "path": "phoneNumbers", "value": [{"type": "work", "value": "1"}]},
            ])
        );
    }

    #[test]
    fn without_paths_one_element_does_not_replace_the_others() {
        let home = r#"emails[type eq "home"].value"#;
        let base = attributes(&[("email", "old@x"), (home, "h@x")]);
        let changes = [change("email", Some("old@x"), Some("new@x"))];
        for (patch_paths, element_updates) in [
            (PatchPaths::Never, ElementUpdates::Filter),
            (PatchPaths::Always, ElementUpdates::Whole),
        ] {
            let dialect = Dialect {
                patch_paths,
                element_updates,
                ..Dialect::default()
            };
            let update = update(ResourceType::User, "7", &base, &changes, &dialect);
            assert_eq!(
                operations(update),
                json!([{"op": "replace", "path": "emails", "value": [
                    {"type": "home", "value": "h@x"},
                    {"type": "work", "value": "new@x", "primary": true},
                ]}])
            );
        }
    }

    #[test]
    fn roles_are_put_and_taken_one_by_one() {
        let roles = AttributePath::core("roles");
        let value = |texts: &[&str]| {
            (!texts.is_empty())
                .then(|| Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect()))
        };
        for (before, after, wanted) in [
            (
                &[][..],
                &["a", "b"][..],
                json!([{"op": "add", "path": "roles", "value": [{"value": "a"}, {"value": "b"}]}]),
            ),
            (
                &["a", "b"],
                &["b", "c"],
                json!([
                    {"op": "remove", "path": "roles[value eq \"a\"]"},
                    {"op": "add", "path": "roles", "value": [{"value": "c"}]},
                ]),
            ),
            (
                &["a"],
                &[],
                json!([{"op": "remove", "path": "roles[value eq \"a\"]"}]),
            ),
        ] {
            let change = AttributeChange {
                path: roles.clone(),
                before: value(before),
                after: value(after),
            };
            let request = update(
                ResourceType::User,
                "7",
                &Attributes::new(),
                &[change],
                &Dialect::default(),
            );
            assert_eq!(operations(request), wanted);
        }
    }

    #[test]
    fn the_last_part_of_an_element_takes_the_element_with_it() {
        let city = r#"addresses[type eq "work"].locality"#;
        let country = r#"addresses[type eq "work"].country"#;
        let base = attributes(&[(city, "Ulm"), (country, "DE")]);
        let one = [change(city, Some("Ulm"), None)];
        assert_eq!(
            operations(update(
                ResourceType::User,
                "7",
                &base,
                &one,
                &Dialect::default()
            )),
            json!([{"op": "remove", "path": city}])
        );
        let both = [
            change(city, Some("Ulm"), None),
            change(country, Some("DE"), None),
        ];
        let whole = json!([{"op": "remove", "path": "addresses[type eq \"work\"]"}]);
        assert_eq!(
            operations(update(
                ResourceType::User,
                "7",
                &base,
                &both,
                &Dialect::default()
            )),
            whole
        );
    }

    #[test]
    fn members_go_in_chunks_and_never_leave_without_a_filter() {
        let ids: Vec<String> = (0..250).map(|n| n.to_string()).collect();
        let added = operations(add_members("g", &ids, &Dialect::default()));
        let sizes: Vec<usize> = added
            .as_array()
            .unwrap()
            .iter()
            .map(|op| op["value"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(
            operations(remove_members("g", &["a\"b".into()])),
            json!([{"op": "remove", "path": "members[value eq \"a\\\"b\"]"}])
        );
    }
}
