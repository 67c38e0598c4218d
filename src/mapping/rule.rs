//! One mapping rule: where the value of a SCIM attribute comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use minijinja::{Environment, UndefinedBehavior};
use serde::{Deserialize, Serialize};

use crate::identity::{Identity, Value as DirectoryValue};
use crate::scim::Value;
use crate::scim::path::AttributePath;

/// The most that one expression may compute, in steps of the template engine.
const EXPRESSION_STEPS_MAX: u64 = 10_000;
/// The longest value that is sent, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Why a manager cannot be made up.
const NAMES_MANAGER: &str = "a manager is another entry: name the directory attribute that holds its DN or its uid, \
                             for example manager";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A directory attribute. Of several values the first in byte order is taken, because LDAP keeps no order; `roles`
    /// and `entitlements` take all.
    Attribute(String),
    /// Always the same text.
    Constant(String),
    /// A template over directory attributes, for example `{{ givenName }} {{ sn }}`. A missing attribute is empty; a
    /// result without any text is no value.
    Expression(String),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The left-hand name as the administrator wrote it.
    pub name: String,
    /// What it stands for.
    pub path: AttributePath,
    /// Where the value comes from.
    pub source: Source,
    /// Whether an entry without a value is in error.
    pub required: bool,
}

/// Why an entry cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// The SCIM attribute.
    pub path: AttributePath,
    /// What is wrong with the directory's value, and the cure. Never contains the value.
    pub message: String,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be set: {}", self.path, self.message)
    }
}

/// The template engine, with no access to anything but the entry.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(EXPRESSION_STEPS_MAX));
    environment
}

impl Rule {
    /// Compiles the expression, if the rule has one.
    pub(super) fn compile(&self, expressions: &mut Environment<'static>) -> Result<(), String> {
        match &self.source {
            Source::Expression(_) if self.path.is_manager() => Err(NAMES_MANAGER.to_owned()),
            Source::Expression(text) => expressions
                .add_template_owned(self.path.to_string(), text.clone())
                .map_err(|error| format!("the expression cannot be read: {error}")),
            Source::Attribute(name) if !is_attribute_name(name) => Err(format!(
                "`{}` is not the name of a directory attribute",
                name.escape_debug()
            )),
            Source::Constant(_) if self.path.is_manager() => Err(NAMES_MANAGER.to_owned()),
            Source::Attribute(_) | Source::Constant(_) => Ok(()),
        }
    }

    /// The directory attributes that the rule needs.
    pub(super) fn attributes(&self, expressions: &Environment<'static>) -> BTreeSet<String> {
        match &self.source {
            Source::Attribute(name) => BTreeSet::from([name.clone()]),
            Source::Constant(_) => BTreeSet::new(),
            Source::Expression(_) => expressions
                .get_template(&self.path.to_string())
                .map(|template| {
                    template
                        .undeclared_variables(false)
                        .into_iter()
                        .filter(|name| name != "range")
                        .collect()
                })
                .unwrap_or_default(),
        }
    }

    /// The value for an entry; `None` when it has none. Whom an entry names as its manager is known to it, what the target
    /// calls him is not.
    pub(super) fn evaluate(
        &self,
        identity: &Identity,
        expressions: &Environment<'static>,
    ) -> Result<Option<Value>, FieldProblem> {
        let value = match &self.source {
            _ if self.path.is_manager() => match identity.members.is_empty() && self.required {
                true => Ok(None),
                false => return Ok(None),
            },
            Source::Constant(text) => Ok(Some(Value::Text(text.clone()))),
            Source::Attribute(name) if self.path.takes_many() => all_texts(identity, name),
            Source::Attribute(name) => first_text(identity, name),
            Source::Expression(_) => self.render(identity, expressions),
        };
        match value {
            Ok(None) if self.required => Err(self.problem(self.cure())),
            Ok(value) => Ok(value),
            Err(message) => Err(self.problem(message)),
        }
    }

    fn cure(&self) -> String {
        match &self.source {
            Source::Attribute(name) => {
                format!("the entry has no {name}; give it one, or map another attribute")
            }
            _ => "its expression gives no text for this entry".to_owned(),
        }
    }

    fn problem(&self, message: String) -> FieldProblem {
        FieldProblem {
            path: self.path.clone(),
            message,
        }
    }

    fn render(
        &self,
        identity: &Identity,
        expressions: &Environment<'static>,
    ) -> Result<Option<Value>, String> {
        let mut values = BTreeMap::new();
        for name in self.attributes(expressions) {
            if let Some(Value::Text(text)) = first_text(identity, &name)? {
                values.insert(name, text);
            }
        }
        let rendered = expressions
            .get_template(&self.path.to_string())
            .and_then(|template| template.render(values))
            .map_err(|error| format!("its expression failed: {}", error.kind()))?;
        let text = rendered.trim();
        if text.is_empty() {
            Ok(None)
        } else {
            checked(text, "the expression's result").map(|text| Some(Value::Text(text)))
        }
    }
}

/// Attribute descriptions without options (RFC 4512 §2.5): what can be asked for and mapped.
fn is_attribute_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_')
}

fn first_text(identity: &Identity, name: &str) -> Result<Option<Value>, String> {
    match identity.values(name).first() {
        None => Ok(None),
        Some(value) => Ok(text_of(value, name)?.map(Value::Text)),
    }
}

fn all_texts(identity: &Identity, name: &str) -> Result<Option<Value>, String> {
    let mut texts = Vec::new();
    for value in identity.values(name) {
        texts.extend(text_of(value, name)?);
    }
    texts.sort();
    texts.dedup();
    Ok((!texts.is_empty()).then_some(Value::Texts(texts)))
}

fn text_of(value: &DirectoryValue, name: &str) -> Result<Option<String>, String> {
    match value {
        DirectoryValue::Bytes(_) => Err(format!(
            "the value of {name} is not valid UTF-8; correct it in the directory"
        )),
        DirectoryValue::Text(text) if text.trim().is_empty() => Ok(None),
        DirectoryValue::Text(text) => checked(text, name).map(Some),
    }
}

fn checked(text: &str, name: &str) -> Result<String, String> {
    if text.len() > VALUE_BYTES_MAX {
        return Err(format!(
            "the value of {name} is longer than 64 KiB; shorten it in the directory"
        ));
    }
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        return Err(format!(
            "the value of {name} contains a control character; remove it in the directory"
        ));
    }
    Ok(text.to_owned())
}
