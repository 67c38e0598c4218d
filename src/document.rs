//! Reading of named fields from a document, TOML or JSON alike, so that every mistake is found in one pass.
//!
//! A configuration file and an API request describe the same things in the same words; both become a [`Node`], and
//! what is wrong comes out as [`Problem`]s with the line or the pointer of the field at fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

/// How null is described.
pub const NULL: &str = "null";

/// A value with its place in the document.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// The line, counted from 1, where the document has lines.
    pub line: Option<usize>,
}

/// A value of a document.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A boolean.
    Bool(bool),
    /// An array.
    List(Vec<Node>),
    /// A table or object.
    Table(BTreeMap<String, Node>),
    /// Anything that no field takes: a fraction, a date, null.
    Other(&'static str),
}

impl Value {
    fn describe(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(what) => what,
        }
    }
}

impl Node {
    /// A value of a JSON document.
    pub fn of_json(json: serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::String(text) => Value::Text(text),
            serde_json::Value::Bool(truth) => Value::Bool(truth),
            serde_json::Value::Number(number) => number.as_i64().map_or(
                Value::Other("a fraction or too large a number"),
                Value::Integer,
            ),
            serde_json::Value::Array(items) => {
                Value::List(items.into_iter().map(Self::of_json).collect())
            }
            serde_json::Value::Object(fields) => Value::Table(
                fields
                    .into_iter()
                    .map(|(name, value)| (name, Self::of_json(value)))
                    .collect(),
            ),
            serde_json::Value::Null => Value::Other(NULL),
        };
        Self { value, line: None }
    }

    /// Whether it is JSON's null.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Other(NULL))
    }

    /// The value as JSON; what no field takes becomes null.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) => text.clone().into(),
            Value::Integer(number) => (*number).into(),
            Value::Bool(truth) => (*truth).into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(fields) => fields
                .iter()
                .map(|(name, node)| (name.clone(), node.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Other(_) => serde_json::Value::Null,
        }
    }
}

/// One mistake: where, and what cures it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, where the document has lines.
    pub line: Option<usize>,
    /// The field as a JSON pointer (RFC 6901), for example `/directories/0/port`.
    pub pointer: String,
    /// What is wrong and what to write instead. Never contains the value of a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        let field = self.pointer.trim_start_matches('/').replace('/', ".");
        if field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{field}: {}", self.message)
        }
    }
}

/// All mistakes of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, line: Option<usize>, pointer: &str, message: impl Into<String>) {
        self.0.push(Problem {
            line,
            pointer: pointer.to_owned(),
            message: message.into(),
        });
    }

    /// The value when nothing is wrong.
    pub fn verdict<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

/// The fields of one table, taken one by one; what nobody took is unknown and reported.
#[derive(Debug)]
pub struct Fields<'a> {
    table: Option<&'a BTreeMap<String, Node>>,
    line: Option<usize>,
    pointer: String,
    known: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    /// Starts reading a node as a table.
    pub fn of(node: &'a Node, pointer: &str, problems: &mut Problems) -> Self {
        let table = match &node.value {
            Value::Table(table) => Some(table),
            other => {
                problems.add(
                    node.line,
                    pointer,
                    format!("is {}, but a table is expected", other.describe()),
                );
                None
            }
        };
        Self {
            table,
            line: node.line,
            pointer: pointer.to_owned(),
            known: BTreeSet::new(),
        }
    }

    /// A table that is not there: every field has its default.
    pub fn absent(pointer: &str) -> Self {
        Self {
            table: None,
            line: None,
            pointer: pointer.to_owned(),
            known: BTreeSet::new(),
        }
    }

    /// The pointer of a field.
    pub fn pointer_of(&self, name: &str) -> String {
        format!(
            "{}/{}",
            self.pointer,
            name.replace('~', "~0").replace('/', "~1")
        )
    }

    /// Reports a mistake of a field that was read.
    pub fn refuse(&self, name: &str, message: impl Into<String>, problems: &mut Problems) {
        let line = self
            .table
            .and_then(|table| table.get(name))
            .and_then(|node| node.line);
        problems.add(line.or(self.line), &self.pointer_of(name), message);
    }

    /// Whether the field is there.
    pub fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// The field as it is.
    pub fn node(&mut self, name: &'static str) -> Option<&'a Node> {
        self.known.insert(name);
        self.table?.get(name)
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        problems: &mut Problems,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(name)?;
        let value = read(&node.value);
        if value.is_none() {
            self.refuse(
                name,
                format!("is {}, but {expected} is expected", node.value.describe()),
                problems,
            );
        }
        value
    }

    /// A text.
    pub fn text(&mut self, name: &'static str, problems: &mut Problems) -> Option<&'a str> {
        self.typed(name, "a text", problems, |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A text that must be there and not be empty.
    pub fn required_text(
        &mut self,
        name: &'static str,
        what: &str,
        problems: &mut Problems,
    ) -> Option<&'a str> {
        let present = self.has(name);
        let text = self.text(name, problems);
        if !present && self.table.is_some() {
            problems.add(
                self.line,
                &self.pointer_of(name),
                format!("is missing: {what}"),
            );
        }
        if text == Some("") {
            self.refuse(name, format!("is empty: {what}"), problems);
            return None;
        }
        text
    }

    /// A text that is read further.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name, problems)?;
        read(text)
            .map_err(|message| self.refuse(name, message, problems))
            .ok()
    }

    /// A boolean, with its default.
    pub fn boolean(&mut self, name: &'static str, default: bool, problems: &mut Problems) -> bool {
        let value = self.typed(name, "true or false", problems, |value| match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        });
        value.unwrap_or(default)
    }

    /// A whole number within a range, with its default.
    pub fn integer(
        &mut self,
        name: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> i64 {
        let value = self.typed(name, "a whole number", problems, |value| match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        });
        match value {
            Some(number) if !range.contains(&number) => {
                let message = format!(
                    "is {number}, but must lie between {} and {}",
                    range.start(),
                    range.end()
                );
                self.refuse(name, message, problems);
                default
            }
            Some(number) => number,
            None => default,
        }
    }

    /// One of a few words, with its default.
    pub fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        default: T,
        words: &[(&str, T)],
        problems: &mut Problems,
    ) -> T {
        let chosen = self.parsed(name, problems, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!(
                    "is `{}`, but must be one of: {}",
                    text.escape_debug(),
                    words.join(", ")
                )
            })
        });
        chosen.unwrap_or(default)
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &'static str, problems: &mut Problems) -> Option<Vec<String>> {
        self.typed(name, "a list of texts", problems, |value| match value {
            Value::List(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// A list of tables, each with its pointer.
    pub fn tables(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
    ) -> Vec<(String, &'a Node)> {
        let items = self.typed(name, "a list of tables", problems, |value| match value {
            Value::List(items) => Some(items.as_slice()),
            _ => None,
        });
        let pointer = self.pointer_of(name);
        items
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(|(at, node)| (format!("{pointer}/{at}"), node))
            .collect()
    }

    /// The entries of a table whose keys are chosen by who writes it, each with its pointer.
    pub fn entries(
        &mut self,
        name: &'static str,
        problems: &mut Problems,
    ) -> Vec<(&'a str, String, &'a Node)> {
        let table = self.typed(name, "a table", problems, |value| match value {
            Value::Table(table) => Some(table),
            _ => None,
        });
        let within = Self::absent(&self.pointer_of(name));
        table
            .into_iter()
            .flatten()
            .map(|(key, node)| (key.as_str(), within.pointer_of(key), node))
            .collect()
    }

    /// The fields of a table within this one; absent when it is not there.
    pub fn table(&mut self, name: &'static str, problems: &mut Problems) -> Fields<'a> {
        let pointer = self.pointer_of(name);
        match self.node(name) {
            Some(node) => Fields::of(node, &pointer, problems),
            None => Fields::absent(&pointer),
        }
    }

    /// Whether the table itself is there.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Reports every field that nobody asked for.
    pub fn finish(self, problems: &mut Problems) {
        for (name, node) in self.table.into_iter().flatten() {
            if self.known.contains(name.as_str()) {
                continue;
            }
            let nearest = self
                .known
                .iter()
                .map(|known| (distance(known, name), known))
                .min()
                .filter(|(distance, known)| *distance <= known.len() / 3 + 1);
            let hint = nearest.map_or(String::new(), |(_, known)| {
                format!("; did you mean `{known}`?")
            });
            problems.add(
                node.line,
                &self.pointer_of(name),
                format!("is not a known key{hint}"),
            );
        }
    }
}

/// Levenshtein distance, case ignored, for "did you mean".
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.to_lowercase().chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let cost = if a == *b {
                corner
            } else {
                1 + corner.min(row[j]).min(row[j + 1])
            };
            corner = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: Value, line: usize) -> Node {
        Node {
            value,
            line: Some(line),
        }
    }

    #[test]
    fn every_mistake_is_found_in_one_pass() {
        let table = Value::Table(BTreeMap::from([
            ("host".to_owned(), node(Value::Integer(3), 2)),
            ("port".to_owned(), node(Value::Integer(70_000), 3)),
            ("prot".to_owned(), node(Value::Integer(7), 4)),
            ("type".to_owned(), node(Value::Text("ad".into()), 5)),
        ]));
        let document = node(table, 1);
        let mut problems = Problems::default();
        let mut fields = Fields::of(&document, "/directories/0", &mut problems);
        assert_eq!(fields.text("host", &mut problems), None);
        assert_eq!(fields.integer("port", 636, 1..=65_535, &mut problems), 636);
        assert_eq!(
            fields.choice(
                "type",
                1,
                &[("ldap", 1), ("active_directory", 2)],
                &mut problems
            ),
            1
        );
        assert_eq!(
            fields.required_text("name", "a short name", &mut problems),
            None
        );
        assert!(fields.boolean("enabled", true, &mut problems));
        fields.finish(&mut problems);
        let text: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "line 2: directories.0.host: is a number, but a text is expected",
                "line 3: directories.0.port: is 70000, but must lie between 1 and 65535",
                "line 5: directories.0.type: is `ad`, but must be one of: ldap, active_directory",
                "line 1: directories.0.name: is missing: a short name",
                "line 4: directories.0.prot: is not a known key; did you mean `port`?",
            ]
        );
    }
}
