//! Resources as targets answer them, read tolerantly (RFC 7644 §3.4; reference: measured targets).

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::scim::dialect::Dialect;
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, GROUP_SCHEMA, USER_SCHEMA, Value};

/// What the relay needs to know of a resource that it found at the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The target's identifier.
    pub id: String,
    /// The identifier that a client gave it.
    pub external_id: Option<String>,
    /// A user's `userName`, a group's `displayName`.
    pub name: Option<String>,
    /// The primary or first e-mail address.
    pub email: Option<String>,
    /// Whether the account is active; absent when the target does not say.
    pub active: Option<bool>,
}

impl Found {
    /// Reads a resource; `None` when it has no usable `id`.
    pub fn from_json(resource: &Json) -> Option<Self> {
        let text = |name: &str| {
            attribute(resource, name)
                .and_then(Json::as_str)
                .map(str::to_owned)
        };
        let id = text_of(attribute(resource, "id")?).filter(|id| !id.is_empty())?;
        Some(Self {
            id,
            external_id: text("externalId").filter(|id| !id.is_empty()),
            name: text("userName").or_else(|| text("displayName")),
            email: primary_email(resource),
            active: attribute(resource, "active").and_then(truth),
        })
    }
}

/// The ids in a group's `members`; `None` when the answer has no such attribute.
pub fn member_ids(resource: &Json) -> Option<Vec<String>> {
    let members = attribute(resource, "members")?.as_array()?;
    Some(
        members
            .iter()
            .filter_map(|member| text_of(attribute(member, "value")?))
            .collect(),
    )
}

/// A text, or a number as one: some servers write ids so.
pub fn text_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The values of certain attributes of a resource, as far as it has them: the inverse of writing them. Of `roles` and
/// `entitlements` only the values for which `is_ours` is true: the others somebody else put there, as members of a
/// group may be (specification page 8, 15). Where elements have no type, the first one is the one that is meant.
pub fn project<'a>(
    resource: &Json,
    paths: impl IntoIterator<Item = &'a AttributePath>,
    is_ours: impl Fn(&AttributePath, &str) -> bool,
    dialect: &Dialect,
) -> Attributes {
    let of_ours = |path: &AttributePath, value| match value {
        Value::Texts(mut texts) => {
            texts.retain(|text| is_ours(path, text));
            (!texts.is_empty()).then_some(Value::Texts(texts))
        }
        value => Some(value),
    };
    paths
        .into_iter()
        .filter_map(|path| {
            let value = value_at(resource, path, dialect.element_types)?;
            Some((path.clone(), of_ours(path, value)?))
        })
        .collect()
}

/// Whether a value is among those of an attribute.
pub fn has_value(attributes: &Attributes, path: &AttributePath, value: &str) -> bool {
    attributes
        .get(path)
        .is_some_and(|held| held.as_texts().iter().any(|text| text == value))
}

fn value_at(resource: &Json, path: &AttributePath, typed: bool) -> Option<Value> {
    let home = match &path.urn {
        Some(urn) if *urn != USER_SCHEMA && *urn != GROUP_SCHEMA => attribute(resource, urn)?,
        _ => resource,
    };
    let mut value = attribute(home, &path.name)?;
    if let Some(element) = &path.element {
        let elements = value.as_array()?;
        let has_type = |found: &&Json| {
            attribute(found, "type")
                .and_then(Json::as_str)
                .is_some_and(|kind| kind.eq_ignore_ascii_case(element))
        };
        let mut of_type = elements.iter().filter(|found| !typed || has_type(found));
        value = of_type.next()?;
    }
    if let Some(sub) = &path.sub {
        value = attribute(value, sub)?;
    }
    match value {
        Json::String(text) if text.is_empty() => None,
        // Some targets answer the id alone (scim-targets: jackson keeps what it is sent).
        Json::String(id) if path.is_manager() => Some(Value::Reference(id.clone())),
        Json::Object(_) if path.is_manager() => {
            let id = attribute(value, "value")?.as_str()?;
            (!id.is_empty()).then(|| Value::Reference(id.to_owned()))
        }
        Json::String(text) if path.name == "active" => {
            truth(&Json::from(text.as_str())).map(Value::Bool)
        }
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Bool(truth) => Some(Value::Bool(*truth)),
        Json::Number(number) => Some(Value::Text(number.to_string())),
        Json::Array(items) if path.takes_many() => {
            let mut texts: Vec<String> = items
                .iter()
                .filter_map(|item| attribute(item, "value")?.as_str().map(str::to_owned))
                .collect();
            texts.sort();
            texts.dedup();
            (!texts.is_empty()).then_some(Value::Texts(texts))
        }
        _ => None,
    }
}

/// One page of a list answer (RFC 7644 §3.4.2), or what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    /// What `totalResults` says, where it says anything.
    pub total: Option<u64>,
    /// The resources of this page.
    pub resources: Vec<Json>,
    /// Where the next page starts, where pages have cursors (RFC 9865 §2).
    pub next_cursor: Option<String>,
}

impl ListPage {
    /// Reads a list answer; refuses anything that is not one, so that a login page is never "no results" (H55).
    pub fn from_json(body: &Json) -> Result<Self, &'static str> {
        let object = body.as_object().ok_or("the answer is not a JSON object")?;
        let total = attribute(body, "totalResults").and_then(number);
        let resources = match attribute(body, "Resources") {
            Some(Json::Array(resources)) => resources.clone(),
            None if total == Some(0) => Vec::new(),
            _ => return Err("the answer has no Resources, so it is not a SCIM list"),
        };
        let is_list = object
            .keys()
            .any(|key| key.eq_ignore_ascii_case("totalResults"))
            || object.keys().any(|key| key.eq_ignore_ascii_case("schemas"));
        if is_list {
            let next_cursor = attribute(body, "nextCursor").and_then(Json::as_str);
            Ok(Self {
                total,
                resources,
                next_cursor: next_cursor
                    .filter(|cursor| !cursor.is_empty())
                    .map(str::to_owned),
            })
        } else {
            Err("the answer is not a SCIM list")
        }
    }
}

/// Whether two names are those of one attribute, or of one schema: case does not count (RFC 7643 §2.1).
pub fn same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// An attribute by name.
pub fn attribute<'a>(resource: &'a Json, name: &str) -> Option<&'a Json> {
    let object = resource.as_object()?;
    object.get(name).or_else(|| {
        object
            .iter()
            .find(|(key, _)| same_name(key, name))
            .map(|(_, value)| value)
    })
}

/// Booleans as servers write them: real ones, and the words that some send.
fn truth(value: &Json) -> Option<bool> {
    match value {
        Json::Bool(truth) => Some(*truth),
        Json::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Json::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn number(value: &Json) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// All e-mail addresses of a resource.
pub fn emails(resource: &Json) -> impl Iterator<Item = &str> {
    let emails = attribute(resource, "emails").and_then(Json::as_array);
    let emails = emails.into_iter().flatten();
    emails.filter_map(|email| attribute(email, "value")?.as_str())
}

fn primary_email(resource: &Json) -> Option<String> {
    let emails = attribute(resource, "emails")?.as_array()?;
    let primary = emails
        .iter()
        .find(|email| attribute(email, "primary").and_then(truth) == Some(true));
    attribute(primary.or_else(|| emails.first())?, "value")?
        .as_str()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn resources_are_read_as_servers_write_them() {
        let found = Found::from_json(&json!({
            "ID": 7, "UserName": "ann", "externalId": "", "active": "False",
            "emails": [{"value": "a@x"}, {"value": "b@x", "primary": true}]
        }));
        assert_eq!(
            found,
            Some(Found {
                id: "7".into(),
                external_id: None,
                name: Some("ann".into()),
                email: Some("b@x".into()),
                active: Some(false)
            })
        );
        assert_eq!(Found::from_json(&json!({"userName": "ann"})), None);
        assert_eq!(Found::from_json(&json!({"id": ""})), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut wanted: Attributes = [
            ("username", "ann"),
            ("email", "ann@x"),
            ("firstName", "Ann"),
            ("department", "R&D"),
            (r#"addresses[type eq "work"].locality"#, "Ulm"),
        ]
        .into_iter()
        .map(|(path, value)| {
            (
                AttributePath::from_rule(path).unwrap(),
                Value::Text(value.into()),
            )
        })
        .collect();
        wanted.insert(AttributePath::active(), Value::Bool(true));
        wanted.insert(
            AttributePath::core("roles"),
            Value::Texts(vec!["a".into(), "b".into()]),
        );
        let body = crate::scim::encode::create(crate::scim::ResourceType::User, &wanted, &[])
            .body
            .unwrap();
        assert_eq!(
            project(&body, wanted.keys(), |_, _| true, &Dialect::default()),
            wanted
        );
        let title = AttributePath::core("title");
        let empty = project(
            &json!({"title": ""}),
            [&title],
            |_, _| true,
            &Dialect::default(),
        );
        assert_eq!(empty, Attributes::new());
    }

    #[test]
    fn roles_of_others_are_not_ours() {
        let roles = AttributePath::core("roles");
        let ours = Attributes::from([(roles.clone(), Value::Texts(vec!["b".into(), "c".into()]))]);
        let is_ours = |path: &AttributePath, value: &str| has_value(&ours, path, value);
        let held = json!({"roles": [{"value": "c", "primary": true}, {"value": "a"}]});
        let wanted = Attributes::from([(roles.clone(), Value::Texts(vec!["c".into()]))]);
        assert_eq!(
            project(&held, [&roles], is_ours, &Dialect::default()),
            wanted
        );
        let held = json!({"roles": [{"value": "a"}]});
        assert_eq!(
            project(&held, [&roles], is_ours, &Dialect::default()),
            Attributes::new()
        );
    }

    #[test]
    fn only_a_list_is_a_list() {
        let empty = json!({"schemas": [], "totalResults": 0});
        assert_eq!(ListPage::from_json(&empty).unwrap().resources.len(), 0);
        let lower = json!({"totalResults": "1", "resources": [{"id": "1"}]});
        assert_eq!(ListPage::from_json(&lower).unwrap().total, Some(1));
        for body in [
            json!({}),
            json!([]),
            json!("<html>"),
            json!({"Resources": []}),
            json!({"totalResults": 3}),
        ] {
            assert!(ListPage::from_json(&body).is_err(), "{body}");
        }
    }
}
