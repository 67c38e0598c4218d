//! What a call is, what is answered, and the refusals of RFC 7644 section 3.12.
use scim_v2::schema_urns;
use serde_json::{Map, Value, json};

/// A JSON object.
pub type Object = Map<String, Value>;

/// One SCIM request, already taken off the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The HTTP method, upper case.
    pub method: String,
    /// The path below the SCIM base, such as `/Users/42`.
    pub path: String,
    /// The query parameters, decoded.
    pub query: Vec<(String, String)>,
    /// The JSON body, if there was one.
    pub body: Option<Value>,
}

impl Call {
    /// A call without query or body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
            body: None,
        }
    }

    /// The same call with a query parameter more.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same call with a body.
    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The first query parameter of that name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }
}

/// What the service provider answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body, if there is one.
    pub body: Option<Value>,
    /// The `Location` header.
    pub location: Option<String>,
}

impl Answer {
    /// An answer with a body.
    pub fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            body: Some(body),
            location: None,
        }
    }

    /// 204.
    pub fn no_content() -> Self {
        Self {
            status: 204,
            body: None,
            location: None,
        }
    }

    /// An error of RFC 7644 section 3.12: `status` is a string there, as the RFC wants it.
    pub fn error(status: u16, scim_type: Option<&str>, detail: &str) -> Self {
        let mut body = json!({
            "schemas": [schema_urns::ERROR],
            "status": status.to_string(),
            "detail": detail,
        });
        if let Some(scim_type) = scim_type {
            body["scimType"] = scim_type.into();
        }
        Self::new(status, body)
    }
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// RFC 7644 section 3.12.
    pub scim_type: Option<&'static str>,
    /// What is wrong, in words.
    pub detail: String,
}

impl Refusal {
    /// 400 with a `scimType` of RFC 7644 table 9.
    pub fn bad(scim_type: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status: 400,
            scim_type: Some(scim_type),
            detail: detail.into(),
        }
    }

    /// 404 for a path or resource.
    pub fn not_found(what: &str) -> Self {
        Self {
            status: 404,
            scim_type: None,
            detail: format!("{what} not found"),
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Answer::error(refusal.status, refusal.scim_type, &refusal.detail)
    }
}
