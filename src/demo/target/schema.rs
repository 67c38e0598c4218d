//! The schemas that the target serves, and the check of every value against them (RFC 7643 sections 2 and 7).
use scim_v2::filter::AttrPath;
use scim_v2::models::scim_schema::get_schemas;
use scim_v2::schema_urns;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::demo::target::answer::{Object, Refusal};

/// One attribute definition.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub multi_valued: bool,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub case_exact: bool,
    #[serde(default)]
    mutability: String,
    #[serde(default)]
    sub_attributes: Vec<Attribute>,
}

impl Attribute {
    pub fn is_complex(&self) -> bool {
        self.kind == "complex"
    }

    pub fn read_only(&self) -> bool {
        self.mutability == "readOnly"
    }

    pub fn write_only(&self) -> bool {
        self.mutability == "writeOnly"
    }

    /// The sub-attribute of that name, in any case.
    pub fn sub(&self, name: &str) -> Option<&Attribute> {
        find(&self.sub_attributes, name)
    }
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes
        .iter()
        .find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// Where a path of a filter or PATCH operation points to.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The extension that holds the attribute; `None` for the core schema.
    pub extension: Option<&'a str>,
    pub attribute: &'a Attribute,
    pub sub: Option<&'a Attribute>,
}

/// The core schema and the extensions of one resource type.
#[derive(Debug, Clone)]
pub struct Shape {
    pub urn: &'static str,
    attributes: Vec<Attribute>,
    extensions: Vec<(String, Vec<Attribute>)>,
}

/// All that the target knows of schemas: as served at `/Schemas`, and as used for checks.
#[derive(Debug, Clone)]
pub struct Schemas {
    pub served: Vec<Value>,
    pub user: Shape,
    pub group: Shape,
}

impl Schemas {
    /// The schemas of RFC 7643, with `extra` attributes (objects of RFC 7643 section 7) added to the User schema.
    pub fn new(extra: &[Value]) -> Self {
        let mut served: Vec<Value> = get_schemas(vec!["user", "group", "enterprise_user"])
            .ok()
            .and_then(|schemas| serde_json::to_value(schemas).ok())
            .and_then(|schemas| serde_json::from_value(schemas).ok())
            .unwrap_or_default();
        for schema in &mut served {
            let is_user = schema["id"] == schema_urns::USER;
            let is_group = schema["id"] == schema_urns::GROUP;
            let Some(attributes) = schema["attributes"].as_array_mut() else {
                continue;
            };
            if is_user {
                attributes.extend_from_slice(extra);
            }
            for attribute in attributes {
                // RFC 7643 section 4.2 requires it, though the schema printed in section 8.7.1 says otherwise.
                if is_group && attribute["name"] == "displayName" {
                    attribute["required"] = true.into();
                }
            }
        }
        let of = |urn: &str| definitions(&served, urn);
        let user = Shape {
            urn: schema_urns::USER,
            attributes: [common(), of(schema_urns::USER)].concat(),
            extensions: vec![(
                schema_urns::ENTERPRISE_USER.to_owned(),
                of(schema_urns::ENTERPRISE_USER),
            )],
        };
        let group = Shape {
            urn: schema_urns::GROUP,
            attributes: [common(), of(schema_urns::GROUP)].concat(),
            extensions: Vec::new(),
        };
        Self {
            served,
            user,
            group,
        }
    }
}

fn definitions(served: &[Value], urn: &str) -> Vec<Attribute> {
    let schema = served.iter().find(|schema| schema["id"] == urn);
    let attributes = schema.map(|schema| schema["attributes"].clone());
    attributes
        .and_then(|attributes| serde_json::from_value(attributes).ok())
        .unwrap_or_default()
}

/// The common attributes of RFC 7643 section 3.1, which no schema lists.
fn common() -> Vec<Attribute> {
    let date = |name: &str| json!({"name": name, "type": "dateTime", "mutability": "readOnly"});
    let common = json!([
        {"name": "id", "type": "string", "caseExact": true, "mutability": "readOnly"},
        {"name": "externalId", "type": "string", "caseExact": true},
        {"name": "schemas", "type": "string", "caseExact": true, "multiValued": true, "mutability": "readOnly"},
        {"name": "meta", "type": "complex", "mutability": "readOnly", "subAttributes": [
            {"name": "resourceType", "type": "string", "caseExact": true},
            {"name": "location", "type": "string", "caseExact": true},
            date("created"), date("lastModified"),
        ]},
    ]);
    serde_json::from_value(common).unwrap_or_default()
}

impl Shape {
    /// The extension's URN as it is stored, for any case of it.
    pub fn extension(&self, urn: &str) -> Option<&str> {
        let mut urns = self.extensions.iter().map(|(known, _)| known.as_str());
        urns.find(|known| known.eq_ignore_ascii_case(urn))
    }

    /// What a path means; `None` when the schemas have no such attribute.
    pub fn resolve(&self, path: &AttrPath) -> Option<Place<'_>> {
        let (extension, attributes) = match &path.uri {
            Some(uri) if !uri.eq_ignore_ascii_case(self.urn) => {
                let found = &self.extensions;
                let (urn, attributes) = found
                    .iter()
                    .find(|(urn, _)| urn.eq_ignore_ascii_case(uri))?;
                (Some(urn.as_str()), attributes)
            }
            _ => (None, &self.attributes),
        };
        let attribute = find(attributes, &path.name)?;
        let sub = match &path.sub_attr {
            Some(name) => Some(attribute.sub(name)?),
            None => None,
        };
        Some(Place {
            extension,
            attribute,
            sub,
        })
    }

    /// A resource as it is stored: names in the schema's spelling, what only the server sets left out, every value
    /// checked.
    ///
    /// # Errors
    /// 400 `invalidSyntax` for an unknown attribute or a schema that is not named in `schemas`; 400 `invalidValue`
    /// for a value of the wrong type or a required attribute that is missing.
    pub fn admit(&self, resource: &Object) -> Result<Object, Refusal> {
        let named: Vec<&str> = resource
            .get("schemas")
            .and_then(Value::as_array)
            .map(|urns| urns.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let is_named = |urn: &str| named.iter().any(|name| name.eq_ignore_ascii_case(urn));
        if !is_named(self.urn) {
            let detail = format!("\"schemas\" must name {}", self.urn);
            return Err(Refusal::bad("invalidSyntax", detail));
        }
        let mut admitted = Object::new();
        for (key, value) in resource {
            let extension = self
                .extensions
                .iter()
                .find(|(urn, _)| urn.eq_ignore_ascii_case(key));
            let Some((urn, attributes)) = extension else {
                admit_one(&self.attributes, key, value, &mut admitted)?;
                continue;
            };
            if !is_named(urn) {
                let detail = format!("\"schemas\" must name {urn}");
                return Err(Refusal::bad("invalidSyntax", detail));
            }
            let Some(inner) = value.as_object() else {
                return Err(Refusal::bad(
                    "invalidValue",
                    format!("{urn} must be an object"),
                ));
            };
            let mut held = Object::new();
            for (key, value) in inner {
                admit_one(attributes, key, value, &mut held)?;
            }
            if !held.is_empty() {
                admitted.insert(urn.clone(), held.into());
            }
        }
        self.require(&admitted)?;
        Ok(admitted)
    }

    /// # Errors
    /// 400 `invalidValue` naming the first required attribute without a value.
    pub fn require(&self, resource: &Object) -> Result<(), Refusal> {
        let mut required = self
            .attributes
            .iter()
            .filter(|attribute| attribute.required);
        match required.find(|attribute| !resource.contains_key(&attribute.name)) {
            Some(missing) => {
                let detail = format!("{} is required", missing.name);
                Err(Refusal::bad("invalidValue", detail))
            }
            None => Ok(()),
        }
    }
}

fn admit_one(
    attributes: &[Attribute],
    key: &str,
    value: &Value,
    into: &mut Object,
) -> Result<(), Refusal> {
    let Some(attribute) = find(attributes, key) else {
        let detail = format!("the schema has no attribute {key}");
        return Err(Refusal::bad("invalidSyntax", detail));
    };
    if attribute.read_only() || attribute.write_only() {
        return Ok(());
    }
    if let Some(value) = coerce(attribute, value)? {
        into.insert(attribute.name.clone(), value);
    }
    Ok(())
}

/// A value in stored form; `None` for null, an empty list or an object without values, which all mean "unassigned"
/// (RFC 7643 section 2.5).
///
/// # Errors
/// 400 `invalidValue` when the type is not the schema's.
pub fn coerce(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Refusal> {
    if value.is_null() {
        return Ok(None);
    }
    if !attribute.multi_valued {
        return coerce_single(attribute, value);
    }
    let Some(elements) = value.as_array() else {
        return Err(mistyped(attribute, "a list"));
    };
    let mut held = Vec::with_capacity(elements.len());
    for element in elements {
        held.extend(coerce_single(attribute, element)?);
    }
    let primaries = held
        .iter()
        .filter(|element| element["primary"] == true)
        .count();
    if primaries > 1 {
        let detail = format!("{} has more than one primary value", attribute.name);
        return Err(Refusal::bad("invalidValue", detail));
    }
    Ok((!held.is_empty()).then_some(Value::Array(held)))
}

/// One value of an attribute, whether it has one or many.
///
/// # Errors
/// 400 `invalidValue` when the type is not the schema's.
pub fn coerce_single(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Refusal> {
    if value.is_null() {
        return Ok(None);
    }
    let fits = match attribute.kind.as_str() {
        "complex" => return coerce_complex(attribute, value),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "decimal" => value.is_number(),
        _ => value.is_string(),
    };
    if !fits {
        return Err(mistyped(attribute, &format!("of type {}", attribute.kind)));
    }
    if attribute.required && value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Err(mistyped(attribute, "a text that is not empty"));
    }
    Ok(Some(value.clone()))
}

fn coerce_complex(attribute: &Attribute, value: &Value) -> Result<Option<Value>, Refusal> {
    let Some(object) = value.as_object() else {
        return Err(mistyped(attribute, "an object"));
    };
    let mut held = Object::new();
    for (key, value) in object {
        let Some(sub) = attribute.sub(key) else {
            let detail = format!("{} has no sub-attribute {key}", attribute.name);
            return Err(Refusal::bad("invalidSyntax", detail));
        };
        if sub.read_only() {
            continue;
        }
        if let Some(value) = coerce(sub, value)? {
            held.insert(sub.name.clone(), value);
        }
    }
    Ok((!held.is_empty()).then_some(Value::Object(held)))
}

fn mistyped(attribute: &Attribute, wanted: &str) -> Refusal {
    Refusal::bad(
        "invalidValue",
        format!("{} must be {wanted}", attribute.name),
    )
}
