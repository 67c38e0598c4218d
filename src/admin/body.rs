//! A request's body as a document: JSON, once each field, within its size and in time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::admin::problem::Problem;
use crate::document::{NULL, Node, Value};

/// The longest body that is read, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest name that a message repeats.
const NAME_CHARS_MAX: usize = 64;
/// Whole numbers below this one are exact however they are written: 2 to the power of 53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A request's body as a document; an empty one is an empty table.
pub(super) struct Document(pub(super) Node);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_json = kind.is_none_or(|kind| {
            let kind = kind.to_str().unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        });
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| Problem::too_slow())?
            .map_err(|rejection| match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
                _ => Problem::malformed("the body could not be read to its end"),
            })?;
        if body.is_empty() {
            return Ok(Self(Node {
                value: Value::Table(BTreeMap::new()),
                line: None,
            }));
        }
        if !is_json {
            return Err(Problem::unsupported_media_type());
        }
        parse(&body).map(Self).map_err(Problem::malformed)
    }
}

/// Reads JSON; what is nested deeper than any request needs is refused by the parser's own limit.
fn parse(body: &[u8]) -> Result<Node, String> {
    let json: Json = serde_json::from_slice(body).map_err(|error| match error.classify() {
        // Our own words, with the place at their end.
        Category::Data => error.to_string(),
        _ => format!(
            "the body is not JSON that can be read: line {} column {}",
            error.line(),
            error.column()
        ),
    })?;
    Ok(json.0)
}

/// JSON on its way to a node: a field that is there twice is refused, because the two sides of a proxy may differ in
/// which one they take.
struct Json(Node);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(AnyValue)?;
        Ok(Self(Node { value, line: None }))
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Other("too large a number"), Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        // To JSON Schema, and to some languages' writers, 1.0 is a whole number.
        let is_whole = number.fract() == 0.0 && number.abs() < WHOLE_MAX;
        Ok(match is_whole {
            true => Value::Integer(number as i64),
            false => Value::Other("a fraction or too large a number"),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other(NULL))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Json(node)) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut table = BTreeMap::new();
        while let Some((name, Json(node))) = fields.next_entry::<String, Json>()? {
            if table.contains_key(&name) {
                let name: String = name.escape_debug().take(NAME_CHARS_MAX).collect();
                let message = format!("the field `{name}` is there twice; send it once");
                return Err(de::Error::custom(message));
            }
            table.insert(name, node);
        }
        Ok(Value::Table(table))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn admin_body_becomes_a_document() {
        let node =
            parse(br#"{"a": [1, -2, "x", true, null, 1.5, 99999999999999999999, 3.0, 1e300]}"#)
                .unwrap();
        assert_eq!(
            format!("{:?}", node.value).matches("Node").count(),
            10,
            "{node:?}"
        );
        let shown = format!("{:?}", node.value);
        for part in [
            "Integer(1)",
            "Integer(-2)",
            "Integer(3)",
            "Text(\"x\")",
            "Bool(true)",
            "Other(\"null\")",
            "Other(\"a fraction or too large a number\")",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn admin_body_that_is_no_document_is_refused_with_its_place() {
        let nested = "[".repeat(200_000);
        let objects = "{\"a\":".repeat(50_000);
        let cases: [(&[u8], &str); 9] = [
            (b"{\"mode\":\n  nonsense}", "line 2 column 4"),
            (b"{\"mode\": \"\xff\xfe\"}", "line 1 column"),
            (b"{\"mode\": \"\\ud800\"}", "line 1 column"),
            (b"{\"mode\": 1e400}", "line 1 column"),
            (b"{} {}", "line 1 column 4"),
            (nested.as_bytes(), "line 1 column 128"),
            (objects.as_bytes(), "line 1 column"),
            (
                b"{\"mode\": 1, \"mode\": 2}",
                "the field `mode` is there twice; send it once at line 1 column",
            ),
            (
                b"[{\"x\": {\"a\\u0007\": 1, \"a\\u0007\": 1}}]",
                "`a\\u{7}`",
            ),
        ];
        for (body, place) in cases {
            let message = parse(body).unwrap_err();
            assert!(message.contains(place), "{message}");
        }
    }
}
