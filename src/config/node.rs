//! TOML text as a document whose fields know their lines.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{Node, Problem, Value};

/// Reads TOML; a text that is none is one problem with its line.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let lines = Lines(text);
    match DeTable::parse(text) {
        Ok(table) => Ok(Node {
            value: of_table(table.get_ref(), &lines),
            line: Some(1),
        }),
        Err(error) => Err(Problem {
            line: error.span().map(|span| lines.of(span.start)),
            pointer: String::new(),
            message: format!("this is not TOML: {}", error.message()),
        }),
    }
}

struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn of(&self, at: usize) -> usize {
        self.0
            .as_bytes()
            .iter()
            .take(at)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }
}

fn of_table(table: &DeTable<'_>, lines: &Lines<'_>) -> Value {
    let fields = table.iter().map(|(name, value)| {
        let mut node = of_value(value, lines);
        node.line = Some(lines.of(name.span().start));
        (name.get_ref().to_string(), node)
    });
    Value::Table(fields.collect())
}

fn of_value(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let read = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number that is too large"), Value::Integer),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| of_value(item, lines)).collect())
        }
        DeValue::Table(table) => of_table(table, lines),
    };
    Node {
        value: read,
        line: Some(lines.of(value.span().start)),
    }
}

/// Sets a field of a table from an environment variable: a number or a truth value where it reads as one.
pub(super) fn set(document: &mut Node, table: &str, key: &str, text: &str) {
    let value = match (text.parse::<i64>(), text) {
        (Ok(number), _) => Value::Integer(number),
        (_, "true") => Value::Bool(true),
        (_, "false") => Value::Bool(false),
        _ => Value::Text(text.to_owned()),
    };
    let Value::Table(root) = &mut document.value else {
        return;
    };
    let home = root.entry(table.to_owned()).or_insert_with(|| Node {
        value: Value::Table(BTreeMap::new()),
        line: None,
    });
    if let Value::Table(fields) = &mut home.value {
        fields.insert(key.to_owned(), Node { value, line: None });
    }
}
