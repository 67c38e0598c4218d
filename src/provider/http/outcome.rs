//! What an answer means: status, headers and body to an outcome or a refusal, and the words that go with it. Pure.

use reqwest::header::LOCATION;
use serde_json::Value as Json;

use crate::fault::Fault;
use crate::provider::http::client::{Answer, Body};
use crate::provider::{Outcome, Refusal};
use crate::scim::encode::{Method, Request, operations};
use crate::scim::resource::{Found, attribute};

/// Schema of error bodies (RFC 7644 §3.12).
const ERROR_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
/// The most that is kept of what a target says about an error, in characters.
const DETAIL_CHARS_MAX: usize = 500;

/// A refusal that the operator must act on before anything is sent.
pub(super) fn denied(message: String) -> Refusal {
    Refusal {
        fault: Fault::Denied,
        status: None,
        scim_type: None,
        message,
    }
}

/// What became of a request that writes, from its answer.
pub(super) fn classify(request: &Request, label: &str, answer: &Answer) -> Outcome {
    let gone = matches!(answer.status, 404 | 410);
    match answer.status {
        200..300 => classify_success(request.method, label, answer),
        // A page for people may come from anywhere, so it does not prove that the resource is gone.
        _ if gone && request.method == Method::Delete && answer.body != Body::Html => done(),
        _ => match refusal(label, answer) {
            refusal if refusal.fault == Fault::Transient => Outcome::Unknown(refusal),
            refusal if is_no_target(&refusal) && removals(request) == Some(1) => done(),
            refusal if gone && request.method != Method::Post => Outcome::Refused(Refusal {
                fault: Fault::Drifted,
                ..refusal
            }),
            refusal => Outcome::Refused(refusal),
        },
    }
}

fn classify_success(method: Method, label: &str, answer: &Answer) -> Outcome {
    let unknown = |why: &str| {
        Outcome::Unknown(Refusal {
            fault: Fault::Transient,
            status: Some(answer.status),
            scim_type: None,
            message: format!("{label} answered {} {why}", answer.status),
        })
    };
    match &answer.body {
        _ if answer.status == 202 => {
            unknown("(accepted, not carried out yet); what became of it is looked up")
        }
        Body::Html => unknown(
            "with an HTML page instead of SCIM; check whether a proxy or a login page stands before the target",
        ),
        Body::BrokenOff => unknown("but the answer broke off; what became of it is looked up"),
        Body::Json(body) if is_error(body) => {
            let status = attribute(body, "status").and_then(status_number);
            unknown(&format!(
                "with an error inside ({}); {}",
                status.map_or("no status".to_owned(), |status| status.to_string()),
                detail(body).unwrap_or_else(|| "without detail".to_owned())
            ))
        }
        Body::Json(body) if method == Method::Post => match Found::from_json(body) {
            Some(found) => Outcome::Acknowledged {
                id: Some(found.id),
                resource: Some(body.clone()),
            },
            None => unknown("without the id of what was created; it is looked up"),
        },
        _ if method == Method::Post => unknown("without a resource; it is looked up"),
        Body::Json(body) => Outcome::Acknowledged {
            id: None,
            resource: body.is_object().then(|| body.clone()),
        },
        // A group with very many members is answered at length; the status says enough.
        Body::Empty | Body::Text | Body::TooLong => done(),
    }
}

fn done() -> Outcome {
    Outcome::Acknowledged {
        id: None,
        resource: None,
    }
}

/// The body of a successful read, which must be JSON and no error.
pub(super) fn json_of(label: &str, answer: Answer) -> Result<Json, Refusal> {
    let odd = |what: &str| Refusal {
        fault: Fault::Transient,
        status: Some(answer.status),
        scim_type: None,
        message: format!("{label} answered {} {what}", answer.status),
    };
    if !(200..300).contains(&answer.status) {
        return Err(refusal(label, &answer));
    }
    match answer.body {
        Body::Json(body) if !is_error(&body) => Ok(body),
        Body::Json(_) => Err(odd("with an error inside")),
        Body::Html => Err(odd(
            "with an HTML page instead of SCIM; check the SCIM base URL, and whether a login page stands before it",
        )),
        Body::TooLong => Err(odd("with more than the relay reads; lower the page size")),
        Body::BrokenOff => Err(odd("but the answer broke off")),
        Body::Empty | Body::Text => Err(odd("without JSON; check the SCIM base URL")),
    }
}

/// What a status other than success means, with what the target said and the cure.
pub(super) fn refusal(label: &str, answer: &Answer) -> Refusal {
    let (fault, cure) = judge(if answer.throttled { 429 } else { answer.status });
    let body = match &answer.body {
        Body::Json(body) => Some(body),
        _ => None,
    };
    let scim_type = body
        .and_then(|body| attribute(body, "scimType")?.as_str())
        .map(clean)
        .filter(|text| !text.is_empty());
    let mut message = format!("{label} answered {}", answer.status);
    if let Some(scim_type) = &scim_type {
        message = format!("{message} {scim_type}");
    }
    if let Some(host) = redirect_host(answer) {
        message = format!("{message} and points to {host}");
    }
    if let Some(detail) = body.and_then(detail) {
        message = format!("{message} ({detail})");
    }
    Refusal {
        fault,
        status: Some(answer.status),
        scim_type,
        message: format!("{message}; {cure}"),
    }
}

/// Who must act on a status, and how.
fn judge(status: u16) -> (Fault, &'static str) {
    match status {
        300..=399 => (
            Fault::Denied,
            "redirects are not followed: set the SCIM base URL to the address that answers itself",
        ),
        401 => (
            Fault::Denied,
            "check the tenant's token or client credentials",
        ),
        403 => (
            Fault::Rejected,
            "give the relay's credentials the right to do this at the target",
        ),
        404 | 410 => (
            Fault::Rejected,
            "it is not there: check the resource at the target, and the SCIM base URL",
        ),
        405 | 501 => (
            Fault::Rejected,
            "the target does not support this request: check the SCIM base URL and what the target documents",
        ),
        408 | 425 | 500 | 502..600 => (
            Fault::Transient,
            "it is looked at again later; if this lasts, see the target's own log",
        ),
        409 => (
            Fault::Rejected,
            "the target holds another resource with a value that must be unique: link it, or change the value",
        ),
        412 => (
            Fault::Drifted,
            "the resource changed at the target meanwhile; it is looked at again",
        ),
        413 => (
            Fault::Rejected,
            "the request is too large for the target: lower the members for each request",
        ),
        428 => (
            Fault::Rejected,
            "the target wants to be told the version that is changed: set ifMatch = true in the tenant's dialect",
        ),
        429 => (
            Fault::Throttled,
            "lower rateLimit, rateLimits or concurrency of the tenant if this lasts",
        ),
        _ => (
            Fault::Rejected,
            "correct the value in the directory, or the mapping",
        ),
    }
}

/// Whether the target says that a path leads nowhere (RFC 7644 §3.12), which means "done" to a removal.
pub(super) fn is_no_target(refusal: &Refusal) -> bool {
    let is = |scim_type: &str| scim_type.eq_ignore_ascii_case("noTarget");
    refusal.scim_type.as_deref().is_some_and(is)
}

/// How many operations a PATCH has when all of them are removals; `None` for other requests.
pub(super) fn removals(request: &Request) -> Option<usize> {
    let operations = operations(request);
    let only = request.method == Method::Patch
        && !operations.is_empty()
        && operations
            .iter()
            .all(|operation| operation["op"] == "remove");
    only.then_some(operations.len())
}

/// A PATCH of removals in two halves; `None` when it cannot be divided.
pub(super) fn halves(request: &Request) -> Option<[Request; 2]> {
    let count = removals(request).filter(|count| *count > 1)?;
    let (left, right) = operations(request).split_at(count / 2);
    Some([left, right].map(|part| {
        let mut half = request.clone();
        if let Some(body) = &mut half.body {
            body["Operations"] = Json::from(part);
        }
        half
    }))
}

/// Whether sending it twice does the same as sending it once: not a create, and not an `add` to a multi-valued
/// attribute, which some targets carry out twice.
pub(super) fn is_repeatable(request: &Request) -> bool {
    let adds_values = |operation: &Json| {
        operation["op"] == "add"
            && !operation["value"].is_string()
            && !operation["value"].is_boolean()
    };
    request.method != Method::Post && !operations(request).iter().any(adds_values)
}

fn is_error(body: &Json) -> bool {
    let schemas = attribute(body, "schemas").and_then(Json::as_array);
    schemas.is_some_and(|schemas| schemas.iter().any(|schema| schema == ERROR_SCHEMA))
}

fn status_number(value: &Json) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

/// What the target says about an error, under the RFC's name or one of those that servers use.
fn detail(body: &Json) -> Option<String> {
    [
        "detail",
        "message",
        "error_description",
        "description",
        "error",
    ]
    .iter()
    .filter_map(|name| attribute(body, name)?.as_str())
    .find(|text| !text.trim().is_empty())
    .map(clean)
}

/// Bounded, and without characters that could forge a line or colour a terminal.
fn clean(text: &str) -> String {
    let text = text.trim();
    let mut cleaned = String::new();
    for character in text.chars().take(DETAIL_CHARS_MAX) {
        if character.is_control() {
            cleaned.extend(character.escape_default());
        } else {
            cleaned.push(character);
        }
    }
    if text.chars().nth(DETAIL_CHARS_MAX).is_some() {
        cleaned.push('…');
    }
    cleaned
}

fn redirect_host(answer: &Answer) -> Option<String> {
    if !(300..400).contains(&answer.status) {
        return None;
    }
    let location: reqwest::Url = answer.headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
    location.host_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
