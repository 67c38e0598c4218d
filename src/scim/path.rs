//! Attribute paths (RFC 7644 §3.5.2) in the forms that a mapping may use, and their short aliases.

use std::fmt;
use std::str::FromStr;

use scim_v2::filter::{AttrExp, CompValue, CompareOp, PatchPath, ValFilter};
use serde::{Deserialize, Serialize};

use crate::scim::ENTERPRISE_SCHEMA;

/// `attribute`, `attribute.sub`, `attribute[type eq "work"].sub`, each with or without a schema URN before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttributePath {
    /// The extension's schema; `None` for the core schema.
    pub urn: Option<String>,
    /// The attribute.
    pub name: String,
    /// The `type` of the element of a multi-valued attribute.
    pub element: Option<String>,
    /// The sub-attribute.
    pub sub: Option<String>,
}

/// Short names of the usual attributes (specification page 4), and what they stand for.
const ALIASES: [(&str, &str); 19] = [
    ("username", "userName"),
    ("email", r#"emails[type eq "work"].value"#),
    ("firstName", "name.givenName"),
    ("lastName", "name.familyName"),
    ("displayName", "displayName"),
    ("phone", r#"phoneNumbers[type eq "work"].value"#),
    ("mobile", r#"phoneNumbers[type eq "mobile"].value"#),
    ("title", "title"),
    (
        "department",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
    ),
    (
        "division",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division",
    ),
    (
        "organization",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:organization",
    ),
    (
        "costCenter",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter",
    ),
    (
        "employeeNumber",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber",
    ),
    (
        "manager",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
    ),
    ("language", "preferredLanguage"),
    ("locale", "locale"),
    ("timezone", "timezone"),
    ("userType", "userType"),
    ("nickName", "nickName"),
];

/// Attributes that a mapping may not write, and why.
const FORBIDDEN: [(&str, &str); 7] = [
    ("id", "the target assigns it (RFC 7643 §3.1)"),
    ("meta", "the target maintains it (RFC 7643 §3.1)"),
    ("schemas", "the relay derives it from the mapped attributes"),
    ("password", "passwords are never synchronized"),
    ("active", "it follows from the entry's lifecycle"),
    (
        "groups",
        "membership is changed on groups only (RFC 7643 §4.1.2)",
    ),
    (
        "members",
        "it follows from the group's membership attribute",
    ),
];

/// Attributes of the core schema that have parts, so that a mapping must name the part.
const WITH_PARTS: [(&str, &str); 7] = [
    ("name", "name.givenName"),
    ("emails", "emails[type eq \"work\"].value"),
    ("phoneNumbers", "phoneNumbers[type eq \"work\"].value"),
    ("addresses", "addresses[type eq \"work\"].locality"),
    ("ims", "ims[type eq \"xmpp\"].value"),
    ("photos", "photos[type eq \"photo\"].value"),
    (
        "x509Certificates",
        "x509Certificates[type eq \"work\"].value",
    ),
];

/// Sub-attributes of a multi-valued attribute (RFC 7643 §2.4).
const ELEMENT_PARTS: &[&str] = &["value", "display", "type", "primary"];
/// The attributes of a user with their sub-attributes (RFC 7643 §4.1).
const USER_ATTRIBUTES: [(&str, &[&str]); 19] = [
    ("externalId", &[]),
    ("userName", &[]),
    (
        "name",
        &[
            "formatted",
            "familyName",
            "givenName",
            "middleName",
            "honorificPrefix",
            "honorificSuffix",
        ],
    ),
    ("displayName", &[]),
    ("nickName", &[]),
    ("profileUrl", &[]),
    ("title", &[]),
    ("userType", &[]),
    ("preferredLanguage", &[]),
    ("locale", &[]),
    ("timezone", &[]),
    ("emails", ELEMENT_PARTS),
    ("phoneNumbers", ELEMENT_PARTS),
    ("ims", ELEMENT_PARTS),
    ("photos", ELEMENT_PARTS),
    (
        "addresses",
        &[
            "formatted",
            "streetAddress",
            "locality",
            "region",
            "postalCode",
            "country",
            "type",
            "primary",
        ],
    ),
    ("entitlements", ELEMENT_PARTS),
    ("roles", ELEMENT_PARTS),
    ("x509Certificates", ELEMENT_PARTS),
];
/// The attributes of the enterprise extension that a mapping may write (RFC 7643 §4.3).
const ENTERPRISE_ATTRIBUTES: [(&str, &[&str]); 6] = [
    ("employeeNumber", &[]),
    ("costCenter", &[]),
    ("organization", &[]),
    ("division", &[]),
    ("department", &[]),
    (MANAGER, &["value"]),
];
/// The attribute that refers to another user (RFC 7643 §4.3).
const MANAGER: &str = "manager";

impl AttributePath {
    /// A plain attribute of the core schema.
    pub fn core(name: &str) -> Self {
        Self {
            urn: None,
            name: name.to_owned(),
            element: None,
            sub: None,
        }
    }

    /// `active`, which the lifecycle writes.
    pub fn active() -> Self {
        Self::core("active")
    }

    /// `externalId`, which is always the anchor.
    pub fn external_id() -> Self {
        Self::core("externalId")
    }

    /// `userName`.
    pub fn user_name() -> Self {
        Self::core("userName")
    }

    /// `displayName`.
    pub fn display_name() -> Self {
        Self::core("displayName")
    }

    /// The primary e-mail address as the aliases write it.
    pub fn work_email() -> Self {
        Self {
            urn: None,
            name: "emails".to_owned(),
            element: Some("work".to_owned()),
            sub: Some("value".to_owned()),
        }
    }

    /// The enterprise extension's `manager`, which refers to another user; the whole of it, since of its parts only `value`
    /// is a client's to write (RFC 7643 §4.3).
    pub fn manager() -> Self {
        Self {
            urn: Some(ENTERPRISE_SCHEMA.to_owned()),
            ..Self::core(MANAGER)
        }
    }

    /// Whether it refers to another user.
    pub fn is_manager(&self) -> bool {
        self.name == MANAGER && self.urn.as_deref() == Some(ENTERPRISE_SCHEMA)
    }

    /// Reads the left side of a mapping rule: an alias or a path, checked against what a mapping may write.
    pub fn from_rule(text: &str) -> Result<Self, String> {
        let alias = ALIASES
            .iter()
            .find(|(alias, _)| alias.eq_ignore_ascii_case(text));
        let path: Self = alias.map_or(text, |(_, path)| path).parse()?;
        let enterprise = path
            .urn
            .as_deref()
            .is_none_or(|urn| urn == ENTERPRISE_SCHEMA);
        let refused = FORBIDDEN
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&path.name));
        if let Some((name, why)) = refused.filter(|_| enterprise) {
            return Err(format!("`{name}` cannot be mapped: {why}"));
        }
        let path = path.spelled_as_known()?;
        if let Some(sub @ ("type" | "primary")) = path.sub.as_deref()
            && path.urn.is_none()
        {
            return Err(format!(
                "`{sub}` cannot be mapped: the brackets of the path say the type, and the work address is the primary one"
            ));
        }
        let whole = path.urn.is_none()
            && path.element.is_none()
            && (path.sub.is_none() || path.name != "name");
        let parts = WITH_PARTS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&path.name));
        match parts.filter(|_| whole) {
            Some((name, example)) => Err(format!(
                "`{name}` has parts; name one, for example {example}"
            )),
            None => Ok(path),
        }
    }

    /// The path in the RFC's spelling. What a schema of the RFC does not have is refused; other extensions are the
    /// target's own.
    fn spelled_as_known(mut self) -> Result<Self, String> {
        let known: &[(&str, &[&str])] = match self.urn.as_deref() {
            None => &USER_ATTRIBUTES,
            Some(ENTERPRISE_SCHEMA) => &ENTERPRISE_ATTRIBUTES,
            Some(_) => return Ok(self),
        };
        let attribute = known
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&self.name));
        let Some((name, parts)) = attribute else {
            return Err(format!(
                "SCIM users have no attribute `{}` (RFC 7643 §4.1); one of an extension is written with the extension's \
                 schema before it, urn:...:{}",
                self.name, self.name
            ));
        };
        if let Some(sub) = &self.sub {
            let part = parts.iter().find(|part| part.eq_ignore_ascii_case(sub));
            let part = part.ok_or_else(|| {
                format!(
                    "`{name}` has no part `{sub}` (RFC 7643 §4.1); it has: {}",
                    parts.join(", ")
                )
            })?;
            self.sub = Some((*part).to_owned());
        }
        self.name = (*name).to_owned();
        if self.is_manager() {
            self.sub = None;
        }
        Ok(self)
    }

    /// Whether all values of a directory attribute go into this one (RFC 7643 §4.1.2: roles, entitlements).
    pub fn takes_many(&self) -> bool {
        self.sub.is_none()
            && self.element.is_none()
            && ["roles", "entitlements"].contains(&self.name.as_str())
    }

    /// The same path as the RFC writes it, whole element instead of one of its sub-attributes.
    pub fn whole_element(&self) -> Self {
        Self {
            sub: None,
            ..self.clone()
        }
    }

    /// Whether both are parts of one element of one multi-valued attribute.
    pub fn shares_element(&self, other: &Self) -> bool {
        self.element.is_some()
            && self.urn == other.urn
            && self.name == other.name
            && self.element == other.element
    }
}

impl FromStr for AttributePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed: PatchPath = text.parse().map_err(|_| {
            format!(
                "`{text}` is not an alias or a SCIM attribute path; examples: email, name.givenName, \
                 phoneNumbers[type eq \"home\"].value, {ENTERPRISE_SCHEMA}:department"
            )
        })?;
        let (attribute, element, sub) = match parsed {
            PatchPath::Attr(attribute) => {
                let sub = attribute.sub_attr.clone();
                (attribute, None, sub)
            }
            PatchPath::Value(path) => {
                let element = element_type(&path.filter).ok_or_else(|| {
                    format!("`{text}`: in brackets only `type eq \"...\"` can be mapped")
                })?;
                let sub = path.sub_attr.ok_or_else(|| {
                    format!(
                        "`{text}` names a whole element; add the sub-attribute, for example .value"
                    )
                })?;
                (path.attr, Some(element), Some(sub))
            }
        };
        Ok(Self {
            urn: attribute.uri,
            name: attribute.name,
            element,
            sub,
        })
    }
}

fn element_type(filter: &ValFilter) -> Option<String> {
    let (key, value) = compared(filter)?;
    key.eq_ignore_ascii_case("type").then_some(value)
}

/// What a filter of one comparison compares with what.
fn compared(filter: &ValFilter) -> Option<(String, String)> {
    match filter {
        ValFilter::Attr(AttrExp::Comparison(path, CompareOp::Eq, CompValue::Str(value)))
            if path.sub_attr.is_none() =>
        {
            Some((path.name.clone(), value.clone()))
        }
        _ => None,
    }
}

/// Whole elements of a multi-valued attribute, as a removal names them: `members[value eq "7"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    /// The attribute.
    pub attribute: AttributePath,
    /// The sub-attribute by which they are told apart.
    pub key: String,
    /// What it holds.
    pub value: String,
}

impl FromStr for Elements {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed: Option<PatchPath> = text.parse().ok();
        let elements = parsed.and_then(|parsed| match parsed {
            PatchPath::Value(path) if path.sub_attr.is_none() => {
                let (key, value) = compared(&path.filter)?;
                let attribute = AttributePath {
                    urn: path.attr.uri,
                    ..AttributePath::core(&path.attr.name)
                };
                Some(Self {
                    attribute,
                    key,
                    value,
                })
            }
            PatchPath::Value(_) | PatchPath::Attr(_) => None,
        });
        elements.ok_or_else(|| format!("`{text}` names no whole elements"))
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(urn) = &self.urn {
            write!(f, "{urn}:")?;
        }
        f.write_str(&self.name)?;
        if let Some(element) = &self.element {
            write!(f, "[type eq {}]", serde_json::Value::from(element.as_str()))?;
        }
        if let Some(sub) = &self.sub {
            write!(f, ".{sub}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_alias_is_a_path_that_reads_back() {
        for (alias, path) in ALIASES {
            let read = AttributePath::from_rule(alias).unwrap();
            assert_eq!(read.to_string(), path, "{alias}");
        }
        assert_eq!(
            AttributePath::from_rule("email").unwrap(),
            AttributePath::work_email()
        );
    }

    #[test]
    fn what_a_mapping_may_not_write_is_refused_with_the_reason() {
        for (path, word) in [
            ("password", "never"),
            ("id", "target assigns"),
            ("members", "membership"),
            ("emails", "has parts"),
            ("emails.value", "has parts"),
            ("name", "has parts"),
            ("emails[type eq \"work\"]", "sub-attribute"),
            ("emails[type eq \"home\"].Primary", "work address"),
            ("phoneNumbers[type eq \"home\"].type", "brackets"),
            ("emails[value eq \"x\"].type", "type eq"),
            (
                &format!("{ENTERPRISE_SCHEMA}:manager.displayName"),
                "no part",
            ),
            ("a b", "not an alias"),
            ("", "not an alias"),
        ] {
            let error = AttributePath::from_rule(path).unwrap_err();
            assert!(error.contains(word), "{path}: {error}");
        }
    }

    #[test]
    fn a_manager_is_one_attribute_however_it_is_written() {
        for text in ["", ".value"] {
            let path = AttributePath::from_rule(&format!("{ENTERPRISE_SCHEMA}:Manager{text}"));
            assert_eq!(path.unwrap(), AttributePath::manager());
        }
        let of_others = AttributePath::from_rule("urn:acme:2.0:User:manager").unwrap();
        assert!(!of_others.is_manager());
    }

    #[test]
    fn a_custom_extension_is_free_to_use_any_name() {
        let path = AttributePath::from_rule("urn:acme:2.0:User:groups").unwrap();
        assert_eq!(path.urn.as_deref(), Some("urn:acme:2.0:User"));
    }
}
