//! Requests as lines that people can read, the same for every target.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::fault_target::FaultTarget;
use crate::support::mirror::Held;

/// Resources by what people call them, so that requests to different targets can be compared.
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// The resources of a target.
    pub fn of(target: &dyn Held) -> Self {
        let name = |resource: &Value, attribute: &str| {
            let text = |name: &str| resource[name].as_str().unwrap().to_owned();
            (text("id"), text(attribute))
        };
        let users = target.users();
        let groups = target.groups();
        let users = users.iter().map(|user| name(user, "userName"));
        Self(
            users
                .chain(groups.iter().map(|group| name(group, "displayName")))
                .collect(),
        )
    }

    /// The requests that write, after the first so many, as sorted lines.
    pub fn writes(&self, target: &FaultTarget, after: usize) -> Vec<String> {
        let journal = target.journal();
        let mut lines: Vec<String> = journal[after..]
            .iter()
            .filter(|exchange| exchange.call.method != "GET")
            .map(|exchange| {
                assert!(exchange.took_effect(), "{exchange:?}");
                self.line(
                    &exchange.call.method,
                    &exchange.call.path,
                    exchange.call.body.as_ref(),
                )
            })
            .collect();
        lines.sort();
        lines
    }

    /// `PATCH /Users/ann` and what it asks for, with names in place of ids.
    pub fn line(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let mut line = format!("{method} {path}");
        if let Some(body) = body {
            let mut asked = match body["Operations"].as_array() {
                Some(operations) => operations.iter().map(operation).collect(),
                None => vec![self.created(body)],
            };
            asked.sort();
            line = format!("{line} {}", asked.join(" + "));
        }
        for (id, name) in &self.0 {
            line = line.replace(id, name);
        }
        line
    }

    /// The body of a create without what no test can foretell; members, whose order means nothing, by name.
    fn created(&self, body: &Value) -> String {
        let mut body = body.clone();
        let object = body.as_object_mut().unwrap();
        assert!(object.remove("schemas").is_some());
        assert!(object.remove("externalId").is_some());
        if let Some(members) = object.get_mut("members").and_then(Value::as_array_mut) {
            members.sort_by_key(|member| self.0[member["value"].as_str().unwrap()].clone());
        }
        body.to_string()
    }
}

fn operation(operation: &Value) -> String {
    let text = |name: &str| operation[name].as_str().unwrap_or("-");
    match &operation["value"] {
        Value::Null => format!("{} {}", text("op"), text("path")),
        value => format!("{} {}={value}", text("op"), text("path")),
    }
}
