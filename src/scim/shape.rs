//! Shape: the body of a request as a dialect wants it, from the default manner in which [`crate::scim::encode`] writes it.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use crate::scim::ResourceType;
use crate::scim::dialect::{Dialect, MemberRemovals, PatchPaths};
use crate::scim::encode::{self, Method, Request};
use crate::scim::path::{AttributePath, Elements};

/// The body in the dialect's manner; borrowed where that is the one in which it was written.
pub fn body<'a>(request: &'a Request, dialect: &Dialect) -> Option<Cow<'a, Json>> {
    let body = request.body.as_ref()?;
    if takes_as_written(request, dialect) {
        return Some(Cow::Borrowed(body));
    }
    let mut body = body.clone();
    if request.method == Method::Patch
        && let Some(Json::Array(operations)) = body.get_mut("Operations")
    {
        let shaped = shaped(std::mem::take(operations), request.resource_type, dialect);
        *operations = shaped;
    }
    if !dialect.element_types {
        without_types(&mut body);
    }
    if dialect.booleans_as_text {
        as_text(&mut body);
    }
    Some(Cow::Owned(body))
}

fn takes_as_written(request: &Request, dialect: &Dialect) -> bool {
    let operations_as_written = dialect.patch_paths == PatchPaths::Always
        && dialect.member_removals == MemberRemovals::Filter
        && !dialect.capital_operations;
    dialect.element_types
        && !dialect.booleans_as_text
        && (operations_as_written || request.method != Method::Patch)
}

/// Most operations of a request, as they are before they take the dialect's shape, that one request holds: removals of single
/// members become few where they go as lists.
pub fn operations_max(request: &Request, dialect: &Dialect) -> usize {
    let lists = dialect.member_removals == MemberRemovals::Values
        && request.resource_type == ResourceType::Group
        && encode::operations(request)
            .iter()
            .all(|operation| removed_member(operation).is_some());
    let each = if lists {
        dialect.members_per_operation
    } else {
        1
    };
    dialect.operations_per_request.saturating_mul(each.max(1))
}

/// Elements hold nothing but their values.
fn without_types(json: &mut Json) {
    match json {
        Json::Array(elements) => {
            for element in elements {
                if let Some(element) = element.as_object_mut() {
                    element.retain(|name, _| !["type", "primary"].contains(&name.as_str()));
                }
                without_types(element);
            }
        }
        Json::Object(fields) => fields.values_mut().for_each(without_types),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn shaped(operations: Vec<Json>, resource_type: ResourceType, dialect: &Dialect) -> Vec<Json> {
    let operations = match dialect.member_removals {
        MemberRemovals::Values if resource_type == ResourceType::Group => {
            removed_by_value(operations, dialect.members_per_operation.max(1))
        }
        _ => operations,
    };
    let operations = operations.into_iter();
    let operations = operations.map(|operation| without_path(operation, dialect.patch_paths));
    let capital = |mut operation: Json| {
        if dialect.capital_operations
            && let Some(op) = operation["op"].as_str().map(capitalized)
        {
            operation["op"] = Json::String(op);
        }
        operation
    };
    operations.map(capital).collect()
}

fn capitalized(op: &str) -> String {
    let (first, rest) = op.split_at(op.len().min(1));
    first.to_ascii_uppercase() + rest
}

/// Removals of single members become removals of lists of them.
fn removed_by_value(operations: Vec<Json>, per_operation: usize) -> Vec<Json> {
    let mut others = Vec::new();
    let mut members = Vec::new();
    for operation in operations {
        match removed_member(&operation) {
            Some(member) => members.push(json!({ "value": member })),
            None => others.push(operation),
        }
    }
    let removals = members
        .chunks(per_operation)
        .map(|chunk| json!({ "op": "remove", "path": "members", "value": chunk }));
    removals.chain(others).collect()
}

/// The member that an operation takes out.
fn removed_member(operation: &Json) -> Option<String> {
    let path = operation["path"]
        .as_str()
        .filter(|_| operation["op"] == "remove")?;
    let elements: Elements = path.parse().ok()?;
    (elements.attribute.name == "members").then_some(elements.value)
}

/// What an operation changes stands in its value, where the dialect has no path for it; a removal keeps its path.
fn without_path(operation: Json, paths: PatchPaths) -> Json {
    let path = operation["path"]
        .as_str()
        .filter(|_| paths != PatchPaths::Always && operation["op"] != "remove")
        .and_then(|path| path.parse::<AttributePath>().ok());
    let Some(path) = path else {
        return operation;
    };
    if paths.names(&path) {
        return operation;
    }
    let mut value = Map::new();
    encode::place_json(&mut value, &path, operation["value"].clone());
    json!({ "op": operation["op"], "value": value })
}

fn as_text(json: &mut Json) {
    match json {
        Json::Bool(truth) => {
            let text = if *truth { "True" } else { "False" };
            *json = Json::from(text);
        }
        Json::Array(values) => values.iter_mut().for_each(as_text),
        Json::Object(fields) => fields.values_mut().for_each(as_text),
        Json::Null | Json::Number(_) | Json::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scim::{ENTERPRISE_SCHEMA, PATCH_SCHEMA};

    fn shaped(resource_type: ResourceType, operations: Json, dialect: &Dialect) -> Json {
        let request = Request {
            resource_type,
            method: Method::Patch,
            id: Some("7".into()),
            body: Some(json!({ "schemas": [PATCH_SCHEMA], "Operations": operations })),
            bulk_id: None,
            known: encode::Known::default(),
        };
        body(&request, dialect).unwrap()["Operations"].clone()
    }

    #[test]
    fn the_default_manner_stays_as_it_is() {
        let operations = json!([
            {"op": "replace", "path": "active", "value": true},
            {"op": "remove", "path": "members[value eq \"1\"]"},
        ]);
        let shaped = shaped(ResourceType::Group, operations.clone(), &Dialect::default());
        assert_eq!(shaped, operations);
    }

    #[test]
    fn members_leave_in_lists_where_the_dialect_wants_it() {
        let dialect = Dialect {
            member_removals: MemberRemovals::Values,
            members_per_operation: 2,
            capital_operations: true,
            ..Dialect::default()
        };
        let request = encode::remove_members("7", &["a".into(), "b\"c".into(), "d".into()]);
        assert_eq!(
            body(&request, &dialect).unwrap()["Operations"],
            json!([
                {"op": "Remove", "path": "members", "value": [{"value": "a"}, {"value": "b\"c"}]},
                {"op": "Remove", "path": "members", "value": [{"value": "d"}]},
            ])
        );
    }

    #[test]
    fn lists_of_members_count_as_one_operation() {
        let dialect = |member_removals| Dialect {
            member_removals,
            members_per_operation: 2,
            operations_per_request: 3,
            ..Dialect::default()
        };
        let gone = encode::remove_members("7", &["a".into(), "b".into()]);
        let new = encode::add_members("7", &["a".into()], &Dialect::default());
        for (removals, request, most) in [
            (MemberRemovals::Values, &gone, 6),
            (MemberRemovals::Values, &new, 3),
            (MemberRemovals::Filter, &gone, 3),
        ] {
            assert_eq!(operations_max(request, &dialect(removals)), most);
        }
    }

    #[test]
    fn paths_move_into_the_value() {
        let department = format!("{ENTERPRISE_SCHEMA}:department");
        let operations = json!([
            {"op": "replace", "path": "active", "value": false},
            {"op": "add", "path": department, "value": "R&D"},
            {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "x@y"},
            {"op": "remove", "path": "title"},
        ]);
        let of = |patch_paths| {
            let dialect = Dialect {
                patch_paths,
                booleans_as_text: true,
                ..Dialect::default()
            };
            shaped(ResourceType::User, operations.clone(), &dialect)
        };
        let in_extension =
            json!({"op": "add", "value": {ENTERPRISE_SCHEMA: {"department": "R&D"}}});
        assert_eq!(
            of(PatchPaths::Core),
            json!([
                {"op": "replace", "path": "active", "value": "False"},
                in_extension.clone(),
                {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "x@y"},
                {"op": "remove", "path": "title"},
            ])
        );
        assert_eq!(
            of(PatchPaths::Never),
            json!([
                {"op": "replace", "value": {"active": "False"}},
                in_extension,
                {"op": "replace", "value": {"emails": [{"type": "work", "primary": "True", "value": "x@y"}]}},
                {"op": "remove", "path": "title"},
            ])
        );
    }
}
