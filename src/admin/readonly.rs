//! Fields that only the relay sets: a change may repeat them as they are shown, so that what GET answers can be sent back.

use chrono::DateTime;
use serde_json::Value as Json;

use crate::admin::problem::Problem;
use crate::catalog::Kept;
use crate::document::{Node, Problems, Value};

/// Those of a directory.
pub(super) const OF_DIRECTORY: &[&str] = &["id", "kept", "createdAt", "updatedAt", NEXT_RUN];
/// Those of a profile.
pub(super) const OF_PROFILE: &[&str] = &["id", NEXT_RUN];
/// Those of the profile `default`, whose name is given and which is enabled as its directory is.
pub(super) const OF_DEFAULT_PROFILE: &[&str] = &["id", "name", "enabled", NEXT_RUN];
/// Those of a tenant.
pub(super) const OF_TENANT: &[&str] = &["kept", "createdAt", "updatedAt"];

const NEXT_RUN: &str = "nextRunAt";

/// Takes the fields of these names out of a change, each of which must be as it is shown now.
///
/// # Errors
/// 422 with every one that differs. What the file defines is left to the answer that nothing of it can be changed.
pub(super) fn drop_repeated(
    fields: &mut Node,
    names: &[&str],
    shown: &Json,
    kept: &Kept,
) -> Result<(), Problem> {
    let Value::Table(fields) = &mut fields.value else {
        return Ok(());
    };
    let mut problems = Problems::default();
    for name in names {
        let Some(node) = fields.remove(*name) else {
            continue;
        };
        let shown = &shown[*name];
        // It moves with each run, so that it may be another one by now for whoever repeats it.
        let has_moved = || *name == NEXT_RUN && (node.is_null() || is_time(&node));
        if !is_same(&node, shown) && !has_moved() {
            let message = format!(
                "is set by the relay alone, and is {shown} now; leave it out, or send it as GET shows it"
            );
            problems.add(None, &format!("/{name}"), message);
        }
    }
    match (kept, problems.0.is_empty()) {
        (Kept::InFile, _) | (_, true) => Ok(()),
        (Kept::InStore(_), false) => Err(Problem::invalid(problems)),
    }
}

fn is_same(node: &Node, shown: &Json) -> bool {
    match &node.value {
        Value::Other(_) => node.is_null() && shown.is_null(),
        _ => node.to_json() == *shown,
    }
}

fn is_time(node: &Node) -> bool {
    matches!(&node.value, Value::Text(text) if DateTime::parse_from_rfc3339(text).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// What is left of a change of something that is in the file or in the store; `None` when it is refused.
    fn left(change: Json, shown: &Json) -> Option<Json> {
        let mut fields = Node::of_json(change);
        let stored = Kept::InStore(crate::catalog::Sealed::default());
        let dropped = drop_repeated(&mut fields, OF_DIRECTORY, shown, &stored);
        dropped.ok().map(|()| fields.to_json())
    }

    #[test]
    fn what_is_shown_may_be_repeated_and_nothing_else() {
        let shown = json!({ "id": "a", "kept": "store", "nextRunAt": "2001-09-09T03:00:00Z", "name": "hq" });
        let mut change = shown.clone();
        assert_eq!(left(change.clone(), &shown), Some(json!({ "name": "hq" })));
        for once in [json!("2001-09-08T03:00:00Z"), json!(null)] {
            change["nextRunAt"] = once;
            assert!(left(change.clone(), &shown).is_some(), "it was so once");
        }
        for (name, value) in [
            ("id", json!("b")),
            ("id", json!(null)),
            ("kept", json!("file")),
            ("kept", json!(1.5)),
            ("createdAt", json!("2001-09-09T03:00:00Z")),
            ("nextRunAt", json!("soon")),
        ] {
            assert_eq!(left(json!({ name: value }), &shown), None, "{name} {value}");
        }
        let never = json!({ "nextRunAt": null });
        assert_eq!(left(never.clone(), &never), Some(json!({})));
        assert_eq!(left(json!({ "nextRunAt": 1.5 }), &never), None);
    }
}
