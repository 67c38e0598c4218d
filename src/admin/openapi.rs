//! The OpenAPI 3.1 document of the API, made of the table of routes.

mod fields;
mod plans;
mod schemas;

use serde_json::{Map, Value, json};

use crate::admin::problem::MEDIA_TYPE;
use crate::admin::query::{LIMIT, LIMIT_MAX, VALUE_CHARS_MAX};
use crate::admin::routes::tokens::{OVERLAP_SECONDS, OVERLAP_SECONDS_MAX};
use crate::admin::routes::{Answer, Body, ROUTES, Route, Scope};

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "scim-relay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The admin API of scim-relay: directories, their jobs, what they changed, and who may call.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/api/v1" }],
        "paths": paths,
        "components": {
            "schemas": schemas::schemas(),
            "securitySchemes": { "bearer": {
                "type": "http", "scheme": "bearer",
                "description": "A token that `scim-relay token create` or POST /tokens issued",
            }, "session": {
                "type": "apiKey", "in": "cookie", "name": "__Host-scim_relay_session",
                "description": "What POST /session exchanges a token for (scim_relay_session_ and the port where there is no TLS); \
                                unsafe methods repeat csrfToken in X-CSRF-Token",
            } },
        },
    })
}

/// One method of a path.
fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = route.path_parameters().map(in_path).collect();
    if route.scope == Scope::Tenant {
        parameters.push(json!({
            "name": "X-Tenant-ID", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1 },
            "description": "The tenant; needed where the token is for several",
        }));
    }
    parameters.extend(route.query.iter().map(|name| in_query(route.id, name)));
    let permissions: Vec<&str> = route.permission.iter().map(|one| one.as_str()).collect();
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [tag(route.path)],
        "parameters": parameters,
        "responses": responses(route),
        "security": [{ "bearer": permissions }, { "session": permissions }],
    });
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({
            "required": body.required,
            "content": { "application/json": { "schema": body_schema(body) } },
        });
    }
    operation
}

/// What a path is about: the last of its parts that is a collection.
fn tag(path: &str) -> &str {
    let is_name = |part: &&str| !part.is_empty() && !part.starts_with('{');
    path.split('/').find(is_name).unwrap_or_default()
}

fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn text(most: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most })
}

fn in_path(name: &str) -> Value {
    let (about, schema) = match name {
        "id" => ("The directory", named("DirectoryId")),
        "jobId" => ("The job", named("JobId")),
        "tokenId" => ("The token", named("TokenId")),
        "conflictId" => (
            "The conflict, which has another id when it is about other values",
            json!({ "type": "string", "format": "uuid" }),
        ),
        "profileId" => (
            "The profile's name",
            json!({ "type": "string", "pattern": "^[a-z0-9_-]{1,64}$" }),
        ),
        _ => (
            "The tenant's name",
            json!({ "type": "string", "minLength": 1 }),
        ),
    };
    json!({ "name": name, "in": "path", "required": true, "description": about, "schema": schema })
}

fn in_query(route: &str, name: &str) -> Value {
    let time = || json!({ "type": "string", "format": "date-time" });
    let (about, schema) = match name {
        "limit" => (
            "How many items at the most",
            json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT }),
        ),
        "cursor" => ("The nextCursor of an earlier answer", text(VALUE_CHARS_MAX)),
        "text" => (
            "A part of a name or of other text, case ignored",
            text(VALUE_CHARS_MAX),
        ),
        "status" => ("Jobs that stand there", named("JobStatus")),
        "mode" => ("Jobs of this mode", named("JobMode")),
        "trigger" => ("Jobs that were set off so", named("JobTrigger")),
        "since" => ("From this time on", time()),
        "until" => ("Before this time", time()),
        "state" if route == "listLinks" => ("Proposals that stand so", named("ProposalState")),
        "state" if route == "listConflicts" => ("Conflicts that stand so", named("ConflictState")),
        "attribute" => ("Conflicts of this SCIM attribute", text(VALUE_CHARS_MAX)),
        "kind" => (
            "Entries of this kind",
            json!({ "type": "string", "enum": ["user", "group"] }),
        ),
        "state" if route == "listHolds" => ("What is held so", named("HeldState")),
        "operation" if route == "listSteps" => ("Steps of this kind", named("Operation")),
        "held" => (
            "Only steps that wait, or only those that do not",
            json!({ "type": "boolean" }),
        ),
        "state" => ("Entries that stand so", named("LinkState")),
        "action" => ("Records of this action", named("Action")),
        "errors" => (
            "Only lines with an error, or only those without",
            json!({ "type": "boolean" }),
        ),
        "stage" => (
            "Where the test stops; everything is tested without it",
            json!({ "type": "string", "enum": ["connection", "authentication"] }),
        ),
        "profile" => ("Jobs of this profile", text(VALUE_CHARS_MAX)),
        _ => ("What was done", text(VALUE_CHARS_MAX)),
    };
    json!({ "name": name, "in": "query", "required": false, "description": about, "schema": schema })
}

fn body_schema(body: &Body) -> Value {
    let object = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let entry = json!({
        "type": "string", "minLength": 1, "description": "One entry by its DN, its anchor or its userName",
    });
    let profile = json!({ "type": "string", "description": "The profile; `default` without it" });
    let repair = json!({
        "type": "boolean", "default": true,
        "description": "false with mode reconcile: tells how the target differs, and changes nothing",
    });
    match body.schema {
        "Sync" => object(
            json!({ "profile": profile, "mode": named("JobMode"), "only": entry, "repair": repair }),
            json!([]),
        ),
        "Undo" => object(
            json!({ "preview": { "type": "boolean", "default": false, "description": "Only shows what would be put back" } }),
            json!([]),
        ),
        "Take" => object(json!({ "take": named("Side") }), json!(["take"])),
        "Test" => object(json!({ "profile": profile }), json!([])),
        "PreviewMapping" => object(
            json!({ "profile": profile, "entry": entry }),
            json!(["entry"]),
        ),
        "PreviewUnsavedMapping" => object(
            json!({ "directory": named("NewDirectory"), "entry": entry }),
            json!(["directory", "entry"]),
        ),
        "PreviewSchedule" => object(
            json!({
                "syncSchedule": { "type": "string", "format": "cron", "minLength": 1 },
                "syncInterval": { "type": "string", "format": "interval", "minLength": 1 },
            }),
            json!([]),
        ),
        "Explain" => object(
            json!({
                "entry": entry,
                "profile": { "type": "string", "description": "The profile; the one that the entry belongs to without it" },
            }),
            json!(["entry"]),
        ),
        "ProbeTarget" => object(
            json!({
                "consent": { "const": true, "description": "That users and groups are created on the target, and removed again" },
                "store": { "type": "boolean", "default": false, "description": "Whether the dialect that is found becomes the tenant's; takes the permission admin" },
            }),
            json!(["consent"]),
        ),
        "Rotate" => object(
            json!({ "overlapSeconds": { "type": "integer", "minimum": 0, "maximum": OVERLAP_SECONDS_MAX, "default": OVERLAP_SECONDS } }),
            json!([]),
        ),
        name => named(name),
    }
}

fn responses(route: &Route) -> Value {
    let mut responses = json!({ route.success.to_string(): success(route) });
    let mut problems = vec![400, 401, 403, 429, 431, 500, 503];
    if route.path_parameters().next().is_some() {
        problems.push(404);
    }
    if route.body.is_some() {
        problems.extend([408, 413, 415, 422]);
    }
    problems.extend(route.problems);
    problems.sort_unstable();
    for status in problems {
        responses[status.to_string()] = problem(status);
    }
    responses
}

fn success(route: &Route) -> Value {
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let (about, content) = match route.answer {
        Answer::Nothing => ("Done", None),
        Answer::One(name) => ("Done", Some(json(named(name)))),
        Answer::List(name) => {
            let page = json!({
                "type": "object",
                "properties": {
                    "items": { "type": "array", "items": named(name) },
                    "nextCursor": { "type": ["string", "null"], "description": "Where the next page begins; null at the end" },
                },
                "required": ["items", "nextCursor"],
                "additionalProperties": false,
            });
            ("One page", Some(json(page)))
        }
        Answer::Events => {
            let about = "Server-sent events: `job` at each change and `end` at the end, each with the Job as its data";
            let event = json!({
                "type": "object",
                "properties": {
                    "event": { "enum": ["job", "end"] },
                    "id": { "type": "string" },
                    "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": named("Job") },
                },
                "required": ["event", "id", "data"],
            });
            (
                about,
                Some(json!({ "text/event-stream": { "schema": event } })),
            )
        }
    };
    let mut response = json!({ "description": about, "headers": headers(route.success) });
    if let Some(content) = content {
        response["content"] = content;
    }
    response
}

fn problem(status: u16) -> Value {
    let about = match status {
        400 => "The request cannot be read, or names no tenant where it must",
        401 => "No valid token",
        403 => "The token does not permit this, or not for this tenant",
        404 => "There is no such thing, or it belongs to another tenant",
        408 => "The body did not arrive in time",
        409 => "The state of things does not allow this",
        413 => "The body is too large",
        415 => "The body is not application/json",
        422 => "Some values cannot be used; errors names each",
        429 => "Too many requests without a valid token",
        431 => "The header is too large",
        503 => "Not now: the relay stops, starts or is busy",
        _ => "The relay failed; its log says why",
    };
    json!({
        "description": about,
        "headers": headers(status),
        "content": { MEDIA_TYPE: { "schema": named("Problem") } },
    })
}

fn headers(status: u16) -> Value {
    let header = |about: &str, required: bool, kind: &str| json!({ "description": about, "required": required, "schema": { "type": kind } });
    let mut headers = json!({
        "X-Request-Id": header("The request in the relay's log; the caller's own id where it sent one", true, "string"),
    });
    match status {
        201 => headers["Location"] = header("Where it is now", true, "string"),
        401 => headers["WWW-Authenticate"] = header("The challenge (RFC 6750)", true, "string"),
        429 => headers["Retry-After"] = header("Seconds to wait", true, "integer"),
        503 => headers["Retry-After"] = header("Seconds to wait", false, "integer"),
        _ => {}
    }
    headers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.insert(reference.clone());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn openapi_every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 30, "{found:?}");
        for reference in &found {
            let schema = document.pointer(reference.trim_start_matches('#'));
            assert!(schema.is_some(), "{reference} leads nowhere");
        }
        for name in document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
        {
            let reference = format!("#/components/schemas/{name}");
            let is_watched = name == "Job";
            assert!(
                is_watched || found.contains(&reference),
                "{name} is not used"
            );
        }
    }

    #[test]
    fn openapi_every_route_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = ROUTES.iter().map(|route| route.id).collect();
        assert_eq!(names.len(), ROUTES.len());
    }
}
