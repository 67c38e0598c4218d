//! The schemas of plans, their steps, and what is held.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::admin::openapi::schemas::{list, object, of};
use crate::admin::plans::HeldState;
use crate::job::decision::Decision;
use crate::job::quarantine::Quarantine;
use crate::plan::Class;

/// All of them, by name.
pub(super) fn schemas(generator: &mut SchemaGenerator, job_id: &Value) -> Vec<(String, Value)> {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let count = json!({ "type": "integer", "minimum": 0 });
    let truth = json!({ "type": "boolean" });
    let kind = json!({ "type": "string", "enum": ["user", "group"] });
    let classes: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
    let operation = json!({ "type": "string", "enum": classes });
    let counts =
        json!({ "type": "object", "propertyNames": operation, "additionalProperties": count });
    let hold = object(json!({
        "operations": list(operation.clone()), "message": text,
        "releasedBy": { "type": "string", "enum": ["approval", "complete_read"] },
    }));
    let plan = object(json!({
        "jobId": job_id, "profile": text, "digest": text, "preview": truth, "createdAt": time,
        "expiresAt": { "type": ["string", "null"], "format": "date-time" }, "waiting": truth,
        "steps": count, "stepsHeld": count, "stepsForApproval": count,
        "operations": counts, "operationsHeld": counts, "holds": list(hold),
        "decision": of::<Option<Decision>>(generator),
    }));
    let attribute = object(json!({ "attribute": text, "before": true, "after": true }));
    let step = object(json!({
        "kind": kind, "anchor": text, "dn": text, "operation": operation, "reason": text,
        "attributes": list(attribute), "members": list(text.clone()), "held": truth, "forApproval": truth,
    }));
    let held = object(json!({
        "kind": kind, "anchor": text, "dn": text, "profile": text, "jobId": job_id,
        "state": of::<HeldState>(generator), "since": time, "by": { "type": ["string", "null"] },
        "operations": list(operation.clone()),
    }));
    let digest = json!({ "type": "string", "minLength": 1, "description": "The plan's digest, as it was read" });
    let approval = object(json!({ "digest": digest }));
    let mut rejection = approval.clone();
    rejection["required"] = json!([]);
    let mut choice = object(json!({
        "all": { "type": "boolean" }, "anchor": { "type": "string", "minLength": 1 }, "jobId": job_id,
    }));
    choice["required"] = json!([]);
    choice["anyOf"] = json!([
        { "required": ["all"], "properties": { "all": { "const": true } } },
        { "required": ["anchor"] },
        { "required": ["jobId"] },
    ]);
    [
        ("Plan", plan),
        ("Step", step),
        ("Held", held),
        ("Approval", approval),
        ("Rejection", rejection),
        ("HoldChoice", choice),
        ("HoldsReleased", object(json!({ "released": count }))),
        ("Operation", operation),
        (
            "Quarantined",
            object(json!({ "quarantine": of::<Option<Quarantine>>(generator) })),
        ),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
    .into()
}
