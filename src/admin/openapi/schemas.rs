//! The schemas of what is answered: those of the types that are answered as they are, and those that handlers put together.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::access::{Permission, TokenId};
use crate::admin::conflicts::ConflictState;
use crate::admin::explanation::Explanation;
use crate::admin::links::ProposalState;
use crate::admin::openapi::{fields, plans};
use crate::admin::probe::{MappingPreview, TestReport};
use crate::admin::problem;
use crate::admin::routes::resources::LinkState;
use crate::admin::routes::schedules::SchedulePreview;
use crate::audit::Deed;
use crate::fault::Fault;
use crate::id::{DirectoryId, JobId};
use crate::job::health::Colour;
use crate::job::quarantine::Quarantine;
use crate::job::{Job, ObjectError, Status};
use crate::scim::evidence::Findings;
use crate::snapshot::Side;

/// All schemas, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
    let mut generator = settings.into_generator();
    let mut schemas = Map::new();
    for (name, schema) in shown(&mut generator).into_iter().chain(fields::schemas()) {
        schemas.insert(name, schema);
    }
    for (name, mut schema) in generator.take_definitions(true) {
        if name == "ProbeReport" {
            let stored =
                json!({ "type": "boolean", "description": "Whether the dialect was stored" });
            merge(&mut schema["properties"], json!({ "stored": stored }));
            if let Some(required) = schema["required"].as_array_mut() {
                required.push(json!("stored"));
            }
        }
        close(&mut schema);
        schemas.insert(name, schema);
    }
    schemas
}

/// An answer has no other fields than those that are described.
fn close(schema: &mut Value) {
    if let Value::Object(object) = schema
        && object.contains_key("properties")
    {
        object.insert("additionalProperties".to_owned(), json!(false));
    }
}

/// An object with exactly these fields.
pub(super) fn object(properties: Value) -> Value {
    let names: Vec<String> = match &properties {
        Value::Object(properties) => properties.keys().cloned().collect(),
        _ => Vec::new(),
    };
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// What handlers put together from several sources.
fn shown(generator: &mut SchemaGenerator) -> Vec<(String, Value)> {
    let colour = of::<Colour>(generator);
    let permission = of::<Permission>(generator);
    let token_id = of::<TokenId>(generator);
    let directory_id = of::<DirectoryId>(generator);
    let job_id = of::<JobId>(generator);
    for register in [
        of::<Job>,
        of::<TestReport>,
        of::<MappingPreview>,
        of::<Explanation>,
        of::<SchedulePreview>,
        of::<Findings>,
        of::<problem::Document>,
    ] {
        register(generator);
    }
    let status = of::<Status>(generator);
    let text = || json!({ "type": "string" });
    let text_or_null = || json!({ "type": ["string", "null"] });
    let time = || json!({ "type": "string", "format": "date-time" });
    let (token, issued) = tokens(&token_id, &permission);
    let quarantine = of::<Option<Quarantine>>(generator);
    let deeds: Vec<&str> = Deed::ALL.iter().map(|deed| deed.as_str()).collect();
    let named = [
        (
            "Health",
            health(&directory_id, &job_id, &colour, &quarantine),
        ),
        ("Statistics", statistics(&directory_id, &status)),
        ("Token", token),
        ("IssuedToken", issued),
        (
            "StartedJob",
            object(
                json!({ "jobId": job_id, "status": { "const": "running" }, "startedAt": time() }),
            ),
        ),
        ("Session", session(&permission)),
        ("Action", json!({ "type": "string", "enum": deeds })),
        (
            "AuditRecord",
            object(json!({
                "sequence": { "type": "integer", "minimum": 1 }, "at": time(), "actor": text(),
                "tenant": text_or_null(), "action": { "$ref": "#/components/schemas/Action" }, "subject": text(),
                "details": { "type": "object", "additionalProperties": text() }, "digest": text(),
            })),
        ),
        ("Change", change(generator)),
        ("Conflict", conflict(generator)),
        (
            "ConflictChoice",
            conflict_choice(json!({ "take": of::<Side>(generator) })),
        ),
        ("ConflictRelease", conflict_choice(json!({}))),
        ("ConflictsDecided", decided()),
        ("LinkProposal", proposal(generator)),
        ("LinkChoice", link_choice()),
        ("LinksDecided", decided()),
        ("LinkedUser", linked(generator, "userName")),
        ("LinkedGroup", linked(generator, "displayName")),
    ];
    let named = named.map(|(name, schema)| (name.to_owned(), schema));
    let plans = plans::schemas(generator, &job_id);
    named.into_iter().chain(plans).collect()
}

/// A token as it is shown, and as it is issued.
fn tokens(token_id: &Value, permission: &Value) -> (Value, Value) {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let time_or_null = json!({ "type": ["string", "null"], "format": "date-time" });
    let token = json!({
        "id": token_id, "name": text, "tenants": list(text), "permissions": list(permission.clone()),
        "createdAt": time, "expiresAt": time_or_null, "lastUsedAt": time_or_null,
    });
    let mut issued = token.clone();
    merge(
        &mut issued,
        json!({ "token": { "type": "string", "pattern": "^srt_" } }),
    );
    let mut issued = object(issued);
    let replaced = object(json!({ "id": token_id, "expiresAt": time_or_null }));
    issued["properties"]["replaces"] = replaced;
    (object(token), issued)
}

/// Whoever calls.
fn session(permission: &Value) -> Value {
    let text = json!({ "type": "string" });
    object(json!({
        "caller": text, "tenants": list(text.clone()), "permissions": list(permission.clone()),
        "csrfToken": { "type": ["string", "null"], "description": "What unsafe requests by cookie repeat in X-CSRF-Token" },
        "endsAt": { "type": ["string", "null"], "format": "date-time" },
    }))
}

/// A reference to a type's schema.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn merge(properties: &mut Value, more: Value) {
    if let (Value::Object(properties), Value::Object(more)) = (properties, more) {
        properties.extend(more);
    }
}

/// How each directory is, and each of its profiles.
fn health(directory_id: &Value, job_id: &Value, colour: &Value, quarantine: &Value) -> Value {
    let text = json!({ "type": "string" });
    let time_or_null = json!({ "type": ["string", "null"], "format": "date-time" });
    let of = |more: Value| {
        let mut properties = json!({
            "name": text, "status": colour, "reason": text, "since": time_or_null,
        });
        merge(&mut properties, more);
        object(properties)
    };
    let of_profile = of(json!({
        "lastAttempt": time_or_null, "lastCompleteRead": time_or_null, "nextRunAt": time_or_null,
        "runningJobId": { "anyOf": [job_id, { "type": "null" }] },
        "waitingJobIds": list(job_id.clone()),
        "quarantine": quarantine,
    }));
    let open = json!({ "type": "integer", "minimum": 0, "description": "Conflicts that wait for a person" });
    let of_directory =
        of(json!({ "id": directory_id, "openConflicts": open, "profiles": list(of_profile) }));
    object(json!({ "status": colour, "directories": list(of_directory) }))
}

fn statistics(directory_id: &Value, status: &Value) -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    let time = json!({ "type": ["string", "null"], "format": "date-time" });
    let counts = |more: Value| {
        let mut properties = json!({
            "profiles": count,
            "users": object(json!({ "linked": count, "active": count, "inactive": count })),
            "groups": object(json!({ "linked": count })),
            "memberships": count,
            "openConflicts": count,
            "jobsLast24Hours": { "type": "object", "propertyNames": status, "additionalProperties": count },
            "lastAttempt": time,
            "lastCompleteRead": time,
        });
        merge(&mut properties, more);
        object(properties)
    };
    let of_directory = counts(json!({ "id": directory_id, "name": { "type": "string" } }));
    object(
        json!({ "total": counts(json!({ "directories": count })), "directories": list(of_directory) }),
    )
}

/// A line of a job's journal.
fn change(generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": "string" });
    let text_or_null = json!({ "type": ["string", "null"] });
    let error = of::<Option<ObjectError>>(generator);
    let attribute = object(json!({ "attribute": text, "before": true, "after": true }));
    object(json!({
        "at": { "type": "string", "format": "date-time" }, "kind": text, "anchor": text_or_null, "dn": text_or_null,
        "id": text_or_null, "operation": text, "reason": text_or_null, "attributes": list(attribute),
        "members": list(text.clone()), "foreignMembers": list(text),
        "foreignMemberCount": { "type": "integer", "minimum": 0 }, "error": error,
    }))
}

/// A resource that may belong to an entry.
fn proposal(generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": "string" });
    let text_or_null = json!({ "type": ["string", "null"] });
    let kind = json!({ "type": "string", "enum": ["user", "group"] });
    let attributes = ["externalId", "userName", "displayName", "email"];
    let resource = object(json!({
        "id": text, "name": text_or_null, "email": text_or_null, "externalId": text_or_null,
        "active": { "type": ["boolean", "null"] },
    }));
    object(json!({
        "kind": kind, "anchor": text, "dn": text, "name": text_or_null, "profile": text, "resource": resource,
        "matchedBy": { "type": "string", "enum": attributes }, "formerEntry": { "type": "boolean" },
        "state": of::<ProposalState>(generator), "obstacle": text_or_null,
        "decidedAt": { "type": ["string", "null"], "format": "date-time" }, "decidedBy": text_or_null,
    }))
}

/// An attribute that somebody changed at the target.
fn conflict(generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": "string" });
    let text_or_null = json!({ "type": ["string", "null"] });
    let time = json!({ "type": "string", "format": "date-time" });
    object(json!({
        "id": { "type": "string", "format": "uuid" }, "kind": { "type": "string", "enum": ["user", "group"] },
        "anchor": text, "dn": text, "name": text_or_null, "profile": text, "resourceId": text, "attribute": text,
        "base": true, "directory": true, "iam": true, "state": of::<ConflictState>(generator), "since": time,
        "takenAt": { "type": ["string", "null"], "format": "date-time" }, "takenBy": text_or_null,
    }))
}

/// How many were decided.
fn decided() -> Value {
    object(json!({ "decided": { "type": "integer", "minimum": 0 } }))
}

/// Which conflicts are decided on: some by their ids, or all that wait.
fn conflict_choice(more: Value) -> Value {
    let choice = |mut properties: Value, named: &str| {
        merge(&mut properties, more.clone());
        let mut choice = object(properties);
        let mut required = vec![json!(named)];
        required.extend(more.get("take").map(|_| json!("take")));
        choice["required"] = required.into();
        choice
    };
    let id = json!({ "type": "string", "format": "uuid" });
    let some = choice(
        json!({ "conflicts": list(id), "all": { "const": false } }),
        "conflicts",
    );
    let kind = json!({ "type": "string", "enum": ["user", "group"] });
    let attribute = json!({ "type": "string", "minLength": 1 });
    let all = choice(
        json!({ "all": { "const": true }, "kind": kind, "attribute": attribute }),
        "all",
    );
    json!({ "oneOf": [some, all] })
}

/// Which proposals are decided on: some by name, or all that wait.
fn link_choice() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    let kind = json!({ "type": "string", "enum": ["user", "group"] });
    let link = object(json!({ "kind": kind, "anchor": text, "id": text }));
    let mut some = object(json!({ "links": list(link), "all": { "const": false } }));
    some["required"] = json!(["links"]);
    let mut all = object(json!({ "all": { "const": true }, "kind": kind }));
    all["required"] = json!(["all"]);
    json!({ "oneOf": [some, all] })
}

/// A user or a group of a directory, with how it stands.
fn linked(generator: &mut SchemaGenerator, name: &str) -> Value {
    let text = json!({ "type": "string" });
    let text_or_null = json!({ "type": ["string", "null"] });
    let time = json!({ "type": "string", "format": "date-time" });
    let error = object(json!({
        "at": time, "operation": text, "fault": of::<Fault>(generator),
        "status": { "type": ["integer", "null"] }, "detail": text,
    }));
    let mut properties = json!({
        "anchor": text, "dn": text_or_null, "id": text_or_null, "state": of::<LinkState>(generator),
        "profile": text_or_null, "lastError": { "anyOf": [error, { "type": "null" }] },
        "leavesAt": { "type": ["string", "null"], "format": "date-time" },
        "nextTryAt": { "type": ["string", "null"], "format": "date-time" },
        "lastChangedAt": { "type": ["string", "null"], "format": "date-time" },
        name: text_or_null,
    });
    if name == "userName" {
        properties["active"] = json!({ "type": ["boolean", "null"] });
    }
    object(properties)
}
