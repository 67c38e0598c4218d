//! The headers that a tenant's requests carry besides those that the relay sets itself.

use crate::directory::tenant::read_secret;
use crate::document::{Fields, Node, Problems, Value};
use crate::secret::SecretRef;

/// Headers that the relay sets, that concern one connection alone (RFC 9110 §7.6.1), or that would make another request
/// of it. Those that begin with `if-` belong to the last kind.
const RESERVED: [&str; 24] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "prefer",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];
/// The longest name, and the longest value, in bytes: servers refuse a request whose headers are longer than 8 KiB or so.
const NAME_BYTES_MAX: usize = 100;
const VALUE_BYTES_MAX: usize = 4096;

/// A header of every request to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name, as it was written.
    pub name: String,
    /// What it says.
    pub value: HeaderValue,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// A text that everybody may know.
    Text(String),
    /// Where the secret is kept.
    Secret(SecretRef),
}

impl Header {
    /// The name of its secret among those of the tenant, where it has one.
    pub fn secret_field(&self) -> Option<String> {
        matches!(self.value, HeaderValue::Secret(_)).then(|| secret_field(&self.name))
    }
}

/// The name that the secret of a header has among those of the tenant.
pub fn secret_field(header: &str) -> String {
    format!("{FIELD}/{header}")
}

/// The field of a tenant.
pub const FIELD: &str = "headers";

/// Reads the table `headers` of a tenant; one that comes from the API has its secrets in the store.
pub(super) fn read(
    fields: &mut Fields<'_>,
    from_api: bool,
    problems: &mut Problems,
) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    for (name, pointer, node) in fields.entries(FIELD, problems) {
        let same = |other: &Header| other.name.eq_ignore_ascii_case(name);
        let wrong = match check_name(name) {
            Ok(()) if headers.iter().any(same) => Some("is there twice".to_owned()),
            checked => checked.err(),
        };
        if let Some(wrong) = wrong {
            problems.add(node.line, &pointer, wrong);
            continue;
        }
        let value = read_value(node, &pointer, from_api, problems);
        headers.extend(value.map(|value| Header {
            name: name.to_owned(),
            value,
        }));
    }
    headers
}

fn read_value(
    node: &Node,
    pointer: &str,
    from_api: bool,
    problems: &mut Problems,
) -> Option<HeaderValue> {
    let Value::Text(text) = &node.value else {
        let mut fields = Fields::of(node, pointer, problems);
        let what = "where the value is kept, for example env:IAM_API_KEY";
        let secret = read_secret(&mut fields, "secret", what, from_api, problems);
        fields.finish(problems);
        return secret.map(HeaderValue::Secret);
    };
    let checked = match text.parse::<SecretRef>() {
        Ok(_) => Err("names a secret: write { secret = \"...\" } around it".to_owned()),
        Err(_) => check_value(text),
    };
    checked
        .map_err(|wrong| problems.add(node.line, pointer, wrong))
        .ok()?;
    Some(HeaderValue::Text(text.clone()))
}

fn check_name(name: &str) -> Result<(), String> {
    // RFC 9110 §5.6.2
    let sound = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(sound) {
        return Err(format!(
            "is no name of a header: 1 to {NAME_BYTES_MAX} letters, digits and hyphens"
        ));
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("if-") {
        return Err(
            "is set by the relay alone, or would make another request of it; leave it out"
                .to_owned(),
        );
    }
    Ok(())
}

/// Whether a header may have this value, secret or not; the value is not repeated.
///
/// # Errors
/// When it is empty, too long, or has characters that would end the header or that servers read differently.
pub fn check_value(value: &str) -> Result<(), String> {
    let visible = |c: char| c == ' ' || c.is_ascii_graphic();
    if value.is_empty() || value.len() > VALUE_BYTES_MAX || value.trim() != value {
        return Err(format!(
            "must be 1 to {VALUE_BYTES_MAX} characters, without spaces around them"
        ));
    }
    match value.chars().all(visible) {
        true => Ok(()),
        false => {
            Err("must be of visible ASCII characters and spaces; check for a line break".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value as Json, json};

    fn read_json(headers: Json, from_api: bool) -> (Vec<Header>, Vec<(String, String)>) {
        let node = Node::of_json(json!({ "headers": headers }));
        let mut problems = Problems::default();
        let mut fields = Fields::of(&node, "", &mut problems);
        let headers = read(&mut fields, from_api, &mut problems);
        let said = problems.0.into_iter();
        (
            headers,
            said.map(|problem| (problem.pointer, problem.message))
                .collect(),
        )
    }

    #[test]
    fn target_headers_that_are_the_relays_own_or_that_break_out_are_refused_all_at_once() {
        let wrong = json!({
            "Authorization": "a", "HOST": "a", "Connection": "a", "transfer-encoding": "a", "If-None-Match": "*",
            "X-HTTP-Method-Override": "DELETE", "User-Agent": "a",
            "": "a", "X A": "a", "X\r\nY": "a", "Ä": "a",
            "X-1": "a\r\nX-2: b", "X-3": "", "X-4": " a", "X-5": "ä", "X-6": 5, "X-7": "env:KEY",
            "X-8": "a".repeat(4097), "X-9": { "secrte": "env:KEY" }, "X-10": { "secret": "hunter2" },
        });
        let count = wrong.as_object().unwrap().len();
        let (read, said) = read_json(wrong, false);
        assert_eq!(read, []);
        let at: std::collections::BTreeSet<&String> = said.iter().map(|(at, _)| at).collect();
        // X-9 has a key that is unknown and one that is missing.
        assert_eq!(at.len(), count + 1, "{said:?}");
        assert!(!format!("{said:?}").contains("hunter2"));
        let (_, said) = read_json(json!({ "X-A": "a", "x-a": "b" }), false);
        assert_eq!(
            said,
            [("/headers/x-a".to_owned(), "is there twice".to_owned())]
        );
    }

    #[test]
    fn target_headers_are_texts_or_name_their_secrets() {
        let (headers, said) = read_json(
            json!({ "X-Tenant": "acme: 1", "X-Key": { "secret": "env:KEY" } }),
            false,
        );
        assert_eq!(said, []);
        let values: Vec<&HeaderValue> = headers.iter().map(|header| &header.value).collect();
        let expected = [
            &HeaderValue::Secret(SecretRef::Env("KEY".into())),
            &HeaderValue::Text("acme: 1".into()),
        ];
        assert_eq!(values, expected);
        // What is entered through the API is in the store, and no reference is taken from there.
        let (headers, said) = read_json(json!({ "X-Key": {} }), true);
        assert_eq!(said, []);
        assert_eq!(headers[0].value, HeaderValue::Secret(SecretRef::Stored));
    }
}
