//! Reading of a tenant's protected list.

use crate::document::{Fields, Problems};
use crate::plan::protected::{Pattern, Protected};

/// Reads the table `protected`.
pub(super) fn read(mut fields: Fields<'_>, problems: &mut Problems) -> Protected {
    let ids = fields.texts("ids", problems).unwrap_or_default();
    if ids.iter().any(|id| id.trim().is_empty()) {
        fields.refuse("ids", "has an empty id; leave it out", problems);
    }
    let user_names = patterns(&mut fields, "userNames", problems);
    let group_names = patterns(&mut fields, "groupNames", problems);
    fields.finish(problems);
    Protected {
        ids: ids.into_iter().collect(),
        user_names,
        group_names,
    }
}

fn patterns(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for text in fields.texts(name, problems).unwrap_or_default() {
        match Pattern::parse(&text) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => fields.refuse(name, format!("has a pattern that {why}"), problems),
        }
    }
    patterns
}
