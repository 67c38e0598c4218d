//! Reading of a mapping: rows that replace the usual ones, each from an attribute, a constant or an expression.

use std::collections::BTreeMap;

use crate::document::{Fields, Node, Problems, Value};
use crate::identity::DirectoryType;
use crate::mapping::default_rules;
use crate::mapping::roles::{GroupName, RoleRule};
use crate::mapping::rule::{Rule, Source};
use crate::scim::path::AttributePath;

/// What the mapping fields say, before it is checked as a whole.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) users: Vec<Rule>,
    pub(super) group_name: Option<Source>,
    pub(super) anchor: Option<String>,
    pub(super) roles: Vec<RoleRule>,
}

/// The usual rules of the directory's type, with the administrator's in their places.
pub(super) fn rules_of(
    fields: &mut Fields<'_>,
    directory_type: DirectoryType,
    problems: &mut Problems,
) -> Rules {
    let mut users: BTreeMap<AttributePath, Rule> = BTreeMap::new();
    for (name, attribute) in default_rules(directory_type) {
        if let Ok(path) = AttributePath::from_rule(name) {
            let rule = Rule {
                name: name.to_owned(),
                required: path == AttributePath::user_name(),
                source: Source::Attribute(attribute.to_owned()),
                path: path.clone(),
            };
            users.insert(path, rule);
        }
    }
    let mut rules = Rules::default();
    let pointer = fields.pointer_of("attributeMapping");
    if let Some(node) = fields.node("attributeMapping") {
        custom_rules(node, &pointer, &mut users, &mut rules.anchor, problems);
    }
    rules.roles = role_rules(fields, &users, problems);
    rules.users = users.into_values().collect();
    rules
}

/// Rows of attributeMapping replace the default rows of the same SCIM attribute; `false` removes one.
fn custom_rules(
    node: &Node,
    pointer: &str,
    users: &mut BTreeMap<AttributePath, Rule>,
    anchor: &mut Option<String>,
    problems: &mut Problems,
) {
    let Value::Table(table) = &node.value else {
        let message = "must be a table, for example { email = \"mail\" }";
        problems.add(node.line, pointer, message);
        return;
    };
    let mut written: BTreeMap<AttributePath, &str> = BTreeMap::new();
    for (name, node) in table {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        let mut refuse = |message: String| problems.add(node.line, &pointer, message);
        if name.eq_ignore_ascii_case("externalId") {
            match &node.value {
                Value::Text(attribute) => *anchor = Some(attribute.clone()),
                _ => refuse("externalId is always the anchor: name its attribute".to_owned()),
            }
            continue;
        }
        let path = match AttributePath::from_rule(name) {
            Ok(path) => path,
            Err(message) => {
                refuse(message);
                continue;
            }
        };
        if let Some(other) = written.insert(path.clone(), name) {
            refuse(format!(
                "maps the same attribute as `{other}`; keep one of the two"
            ));
        }
        match row(node, &pointer, problems) {
            Some(Row::From(source, required)) => {
                let required = required || path == AttributePath::user_name();
                let rule = Rule {
                    name: name.clone(),
                    path: path.clone(),
                    source,
                    required,
                };
                users.insert(path, rule);
            }
            Some(Row::Off) => {
                users.remove(&path);
            }
            None => {}
        }
    }
}

/// Rows of roleMapping: what the members of a group get.
fn role_rules(
    fields: &mut Fields<'_>,
    users: &BTreeMap<AttributePath, Rule>,
    problems: &mut Problems,
) -> Vec<RoleRule> {
    let mut rules: Vec<RoleRule> = Vec::new();
    for (pointer, node) in fields.tables("roleMapping", problems) {
        let mut row = Fields::of(node, &pointer, problems);
        row.required_text("group", "the DN or the anchor of a group", problems);
        let group = row.parsed("group", problems, str::parse::<GroupName>);
        let mut value = |name, problems: &mut Problems| {
            row.parsed(name, problems, |text| match text.trim() {
                "" => Err("must not be empty".to_owned()),
                text => Ok(text.to_owned()),
            })
        };
        let given = [
            ("roles", value("role", problems)),
            ("entitlements", value("entitlement", problems)),
        ];
        row.finish(problems);
        let mut given = given
            .into_iter()
            .filter_map(|(name, value)| Some((AttributePath::core(name), value?)));
        let mut refuse = |message: String| problems.add(node.line, &pointer, message);
        match (group, given.next(), given.next()) {
            (Some(group), Some((path, value)), None) => {
                if users.contains_key(&path) {
                    refuse(format!(
                        "gives {path}, which attributeMapping maps too; keep one of the two"
                    ));
                }
                rules.push(RoleRule { group, path, value });
            }
            (Some(_), _, _) => refuse("needs exactly one of role and entitlement".to_owned()),
            (None, _, _) => {}
        }
    }
    rules
}

/// What one row of attributeMapping says.
enum Row {
    /// Where the value comes from, and whether an entry must have one.
    From(Source, bool),
    /// The attribute is not mapped.
    Off,
}

/// Reads one row; `None` when it is in error.
fn row(node: &Node, pointer: &str, problems: &mut Problems) -> Option<Row> {
    match &node.value {
        Value::Bool(false) => Some(Row::Off),
        Value::Text(attribute) => Some(Row::From(Source::Attribute(attribute.clone()), false)),
        Value::Table(_) => {
            let mut fields = Fields::of(node, pointer, problems);
            let attribute = fields.text("attribute", problems).map(str::to_owned);
            let constant = fields.text("constant", problems).map(str::to_owned);
            let expression = fields.text("expression", problems).map(str::to_owned);
            let required = fields.boolean("required", false, problems);
            fields.finish(problems);
            let sources = [
                attribute.map(Source::Attribute),
                constant.map(Source::Constant),
                expression.map(Source::Expression),
            ];
            let mut sources = sources.into_iter().flatten();
            match (sources.next(), sources.next()) {
                (Some(source), None) => Some(Row::From(source, required)),
                _ => {
                    let message = "needs exactly one of attribute, constant, expression";
                    problems.add(node.line, pointer, message);
                    None
                }
            }
        }
        _ => {
            let message = "must be the name of a directory attribute, a table, or false";
            problems.add(node.line, pointer, message);
            None
        }
    }
}
