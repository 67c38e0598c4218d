//! The protocol's words (RFC 7643, RFC 7644): attribute paths, values, resources, requests, dialects. No wire.
//!
//! Absent on purpose: HTTP (room `provider`) and anything that a directory says (rooms `identity` and `mapping`).

pub mod dialect;
pub mod encode;
pub mod evidence;
pub mod filter;
pub mod merge;
pub mod pace;
pub mod path;
pub mod resource;
pub mod shape;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scim::path::AttributePath;

/// Schema of users (RFC 7643 §4.1).
pub const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// Schema of groups (RFC 7643 §4.2).
pub const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// Schema of the enterprise extension (RFC 7643 §4.3).
pub const ENTERPRISE_SCHEMA: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
/// Schema of PATCH bodies (RFC 7644 §3.5.2).
pub const PATCH_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// The type of a SCIM resource, which decides its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ResourceType {
    /// `/Users`.
    User,
    /// `/Groups`.
    Group,
}

impl ResourceType {
    /// The endpoint below the base URL (RFC 7644 §3.2).
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    /// The core schema.
    pub fn schema(self) -> &'static str {
        match self {
            Self::User => USER_SCHEMA,
            Self::Group => GROUP_SCHEMA,
        }
    }
}

/// What one attribute of a resource holds, or shall hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    /// A string.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// The values of a multi-valued attribute without types, such as `roles`; sorted, each once.
    Texts(Vec<String>),
    /// The target's id of another user.
    Reference(String),
}

impl Value {
    /// The JSON form of the value itself.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => serde_json::Value::from(text.as_str()),
            Self::Bool(truth) => serde_json::Value::from(*truth),
            Self::Texts(texts) => texts
                .iter()
                .map(|text| serde_json::json!({ "value": text }))
                .collect(),
            Self::Reference(id) => serde_json::json!({ "value": id }),
        }
    }

    /// The values of a multi-valued attribute; none of any other.
    pub fn as_texts(&self) -> &[String] {
        match self {
            Self::Texts(texts) => texts,
            Self::Text(_) | Self::Bool(_) | Self::Reference(_) => &[],
        }
    }

    /// The text of a textual value.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bool(_) | Self::Texts(_) | Self::Reference(_) => None,
        }
    }
}

/// The mapped attributes of a resource, by path. Attributes outside the mapping are not in here and never touched.
pub type Attributes = BTreeMap<AttributePath, Value>;

/// One attribute that differs, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeChange {
    /// Which attribute.
    pub path: AttributePath,
    /// What the target last acknowledged; `None` when it never had a value from us.
    pub before: Option<Value>,
    /// What it shall be; `None` to remove it.
    pub after: Option<Value>,
}

impl AttributeChange {
    /// Whether it takes a value from a list, such as a role.
    pub fn takes_texts(&self) -> bool {
        self.taken_texts().next().is_some()
    }

    /// The texts of a list that it takes.
    pub fn taken_texts(&self) -> impl Iterator<Item = &str> {
        let after = self.after.as_ref().map_or(&[][..], Value::as_texts);
        let before = self.before.as_ref().map_or(&[][..], Value::as_texts);
        let taken = before.iter().filter(|text| !after.contains(text));
        taken.map(String::as_str)
    }

    /// The change as people read it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "attribute": self.path.to_string(),
            "before": self.before.as_ref().map(Value::to_json),
            "after": self.after.as_ref().map(Value::to_json),
        })
    }
}
