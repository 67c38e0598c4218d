//! The fields that requests may have: of a directory, its profiles, a tenant and a token, each with its kind.

mod tables;

use serde_json::{Map, Value, json};

use crate::admin::openapi::fields::tables::{
    BEARER, CONNECTION, OAUTH2, OAUTH2_JWT, PROFILE, TENANT, TOKEN,
};

/// A field of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// What a field takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// A text in a notation of this name.
    Format(&'static str),
    /// A text that is never shown.
    Secret,
    Truth,
    Number(i64, i64),
    /// A limit: requests for each second, or a table of requests, seconds and burst.
    Rate,
    Words(&'static [&'static str]),
    Texts,
    Table(&'static [Field]),
    /// A list of tables.
    Tables(&'static [Field]),
    /// SCIM attributes, each with where its value comes from.
    Mapping,
    /// HTTP headers, each with its value or its secret.
    Headers,
    /// Further profiles of a directory.
    Profiles,
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
    }
}

const fn needed(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: true,
    }
}

/// What is shown although a request leaves it out, and has no value then.
const SHOWN_AS_NULL: [&str; 10] = [
    "rateBurst",
    "caCertificate",
    "clientCertificate",
    "exclusionFilter",
    "groupsDN",
    "syncInterval",
    "emailVerifiedAttribute",
    "scope",
    "keyId",
    "audience",
];

/// What a schema is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Something new: required fields must be there.
    Create,
    /// A change: what is left out stays, and null brings a default back.
    Change,
    /// An answer: everything is there but the secrets.
    Shown,
}

/// The schemas of everything that is entered: for creating it, changing it, and as it is shown.
pub(super) fn schemas() -> Vec<(String, Value)> {
    let mut schemas = Vec::new();
    for (purpose, suffix) in [
        (Use::Create, "New"),
        (Use::Change, "Change"),
        (Use::Shown, ""),
    ] {
        let named = |name: &str| match purpose {
            Use::Create => format!("{suffix}{name}"),
            Use::Change => format!("{name}{suffix}"),
            Use::Shown => name.to_owned(),
        };
        schemas.push((named("Directory"), directory(purpose)));
        schemas.push((named("Profile"), profile(purpose)));
        schemas.push((named("Tenant"), tenant(purpose)));
    }
    let mut token = object(TOKEN, Use::Create);
    let properties = &mut token["properties"];
    properties["name"]["maxLength"] = json!(100);
    properties["tenants"]["minItems"] = json!(1);
    properties["tenants"]["description"] = json!("The tenants' names, or [\"*\"] for all of them");
    properties["permissions"] = json!({
        "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/Permission" },
    });
    schemas.push(("NewToken".to_owned(), token));
    schemas
}

fn directory(purpose: Use) -> Value {
    let fields: Vec<Field> = CONNECTION.iter().chain(PROFILE).copied().collect();
    let mut schema = object(&fields, purpose);
    schema["properties"]["name"]["maxLength"] = json!(128);
    schema["properties"]["name"]["pattern"] = json!("^[^\\s\\u0000-\\u001f]");
    match purpose {
        Use::Create => {
            // Its address has two forms.
            schema["anyOf"] = json!([{ "required": ["host"] }, { "required": ["url"] }]);
            schema["properties"]["profiles"] = of(Kind::Profiles, purpose);
        }
        Use::Change => schema["properties"]["profiles"] = nullable(of(Kind::Profiles, purpose)),
        Use::Shown => {}
    }
    let id = json!({ "$ref": "#/components/schemas/DirectoryId" });
    add(&mut schema, purpose, "id", id);
    add_kept(&mut schema, purpose);
    add_next_run(&mut schema, purpose);
    schema
}

fn profile(purpose: Use) -> Value {
    let own = [needed("name", Kind::Text), field("enabled", Kind::Truth)];
    let fields: Vec<Field> = own.iter().chain(PROFILE).copied().collect();
    let mut schema = object(&fields, purpose);
    schema["properties"]["name"]["pattern"] = json!("^[a-z0-9_-]{1,64}$");
    add_next_run(&mut schema, purpose);
    add(&mut schema, purpose, "id", json!({ "type": "string" }));
    schema
}

fn tenant(purpose: Use) -> Value {
    let mut schema = object(TENANT, purpose);
    schema["properties"]["name"]["pattern"] = json!("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$");
    // How it is authenticated changes as a whole, and may keep its secret.
    let of_auth = |fields: &[Field]| {
        let optional = |mut field: Field| {
            field.required &= !(purpose == Use::Change && matches!(field.kind, Kind::Secret));
            field
        };
        let fields: Vec<Field> = fields.iter().copied().map(optional).collect();
        match purpose {
            Use::Shown => object(&fields, Use::Shown),
            Use::Create => object(&fields, Use::Create),
            Use::Change => with_null(object(&fields, Use::Create)),
        }
    };
    let ways = [BEARER, OAUTH2, OAUTH2_JWT].map(of_auth);
    schema["properties"]["auth"] = json!({ "oneOf": ways });
    match purpose {
        Use::Create => require(&mut schema, "auth"),
        Use::Change => {}
        Use::Shown => require(&mut schema, "auth"),
    }
    add_kept(&mut schema, purpose);
    schema
}

/// What is shown as null may be sent as null.
fn with_null(mut schema: Value) -> Value {
    for name in SHOWN_AS_NULL {
        if let Some(property) = schema["properties"].get_mut(name) {
            *property = nullable(property.take());
        }
    }
    schema
}

fn require(schema: &mut Value, name: &str) {
    if let Some(required) = schema["required"].as_array_mut() {
        required.push(json!(name));
    }
}

/// Adds a field that only the relay sets, and that a change may repeat as it is shown.
fn add(schema: &mut Value, purpose: Use, name: &str, property: Value) {
    add_repeatable(schema, purpose, name, property);
    if purpose == Use::Shown {
        require(schema, name);
    }
}

fn add_repeatable(schema: &mut Value, purpose: Use, name: &str, mut property: Value) {
    if purpose == Use::Create {
        return;
    }
    if purpose == Use::Change {
        property["description"] = json!("Set by the relay alone: as GET shows it, or left out");
    }
    schema["properties"][name] = property;
}

fn add_kept(schema: &mut Value, purpose: Use) {
    let places = json!({ "type": "string", "enum": ["file", "store"] });
    add(schema, purpose, "kept", places);
    for name in ["createdAt", "updatedAt"] {
        let time = json!({ "type": "string", "format": "date-time" });
        add_repeatable(schema, purpose, name, time);
    }
}

fn add_next_run(schema: &mut Value, purpose: Use) {
    let time = json!({ "type": ["string", "null"], "format": "date-time" });
    add(schema, purpose, "nextRunAt", time);
}

/// An object with these fields and no others.
fn object(fields: &[Field], purpose: Use) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        let is_hidden = matches!(field.kind, Kind::Secret) || field.name == "url";
        if purpose == Use::Shown && is_hidden {
            continue;
        }
        let mut schema = of(field.kind, purpose);
        if field.required && matches!(field.kind, Kind::Text | Kind::Format(_)) {
            schema["minLength"] = json!(1);
        }
        let may_be_null = match purpose {
            Use::Create => false,
            Use::Change => !field.required,
            Use::Shown => SHOWN_AS_NULL.contains(&field.name),
        };
        if may_be_null {
            schema = nullable(schema);
        }
        if purpose == Use::Shown || purpose == Use::Create && field.required {
            required.push(field.name);
        }
        properties.insert(field.name.to_owned(), schema);
    }
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}

fn of(kind: Kind, purpose: Use) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Secret => {
            json!({ "type": "string", "minLength": 1, "format": "password", "writeOnly": true })
        }
        Kind::Format(format) => json!({ "type": "string", "format": format }),
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::Number(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Rate => rate(),
        Kind::Words(words) => json!({ "type": "string", "enum": words }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        // A table within another is changed field by field, as the whole is.
        Kind::Table(fields) if purpose == Use::Change => object(fields, Use::Change),
        Kind::Table(fields) => {
            let mut table = object(fields, Use::Create);
            if purpose == Use::Shown {
                table["required"] = json!([]);
            }
            table
        }
        Kind::Tables(fields) => json!({ "type": "array", "items": object(fields, Use::Create) }),
        Kind::Headers => json!({ "type": "object", "additionalProperties": header(purpose) }),
        Kind::Mapping => json!({ "type": "object", "additionalProperties": row() }),
        Kind::Profiles => {
            json!({ "type": "array", "items": { "$ref": "#/components/schemas/NewProfile" } })
        }
    }
}

/// A limit of one kind of request.
fn rate() -> Value {
    let table = [
        needed("requests", Kind::Number(1, 100_000)),
        field("seconds", Kind::Number(1, 3_600)),
        field("burst", Kind::Number(1, 100_000)),
    ];
    json!({ "oneOf": [of(Kind::Number(1, 100_000), Use::Create), object(&table, Use::Create)] })
}

/// Where the value of a mapped attribute comes from; false leaves it out.
fn row() -> Value {
    let from = |source: &str| {
        json!({
            "type": "object",
            "properties": { source: { "type": "string" }, "required": { "type": "boolean" } },
            "required": [source],
            "additionalProperties": false,
        })
    };
    json!({ "oneOf": [
        { "type": "string" }, { "const": false }, from("attribute"), from("constant"), from("expression"),
    ] })
}

/// What a header says, or a secret, which is shown as an empty object and kept when that is sent back.
fn header(purpose: Use) -> Value {
    let fields: &[Field] = match purpose {
        Use::Create => &[needed("secret", Kind::Secret)],
        Use::Change | Use::Shown => &[field("secret", Kind::Secret)],
    };
    let secret = match purpose {
        Use::Shown => object(fields, Use::Shown),
        Use::Create | Use::Change => object(fields, Use::Create),
    };
    json!({ "oneOf": [{ "type": "string", "minLength": 1 }, secret] })
}

fn nullable(mut schema: Value) -> Value {
    if let Some(ways) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        ways.push(json!({ "type": "null" }));
        return schema;
    }
    schema["type"] = json!([schema["type"], "null"]);
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    schema
}

#[cfg(test)]
mod tests;
