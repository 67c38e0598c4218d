//! The protected list: resources of the target that are never linked and never changed, whatever the directory says.

use std::collections::BTreeSet;

use crate::identity::Kind;
use crate::plan::decide::{Verdict, name_path};
use crate::plan::linking::Waits;
use crate::plan::{Action, Class, Step};
use crate::scim::{Attributes, Value};
use crate::snapshot::{Applied, Match, Row};

/// Which resources of a target are protected (hazard H51).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// The target's ids, of users and groups.
    pub ids: BTreeSet<String>,
    /// What userNames look like.
    pub user_names: Vec<Pattern>,
    /// What displayNames of groups look like.
    pub group_names: Vec<Pattern>,
}

impl Protected {
    /// Whether a resource is on the list, by its id or by its name.
    pub fn has(&self, kind: Kind, id: &str, name: Option<&str>) -> bool {
        self.ids.contains(id) || name.is_some_and(|name| self.has_name(kind, name))
    }

    /// Whether a linked resource is on the list.
    pub fn has_applied(&self, kind: Kind, applied: &Applied) -> bool {
        self.has(kind, &applied.id, name_in(kind, &applied.attributes))
    }

    /// Whether a resource that was found is on the list.
    pub fn has_found(&self, kind: Kind, found: &Match) -> bool {
        let resource = found.resource.as_ref();
        self.has(
            kind,
            &found.id,
            resource.and_then(|found| found.name.as_deref()),
        )
    }

    /// Whether the row's resource is on the list, or the one that may become its own.
    pub fn covers(&self, row: &Row) -> bool {
        let kind = row.key.kind;
        match (&row.applied, &row.found) {
            (Some(applied), _) => self.has_applied(kind, applied),
            (None, Some(found)) => self.has_found(kind, found),
            (None, None) => false,
        }
    }

    /// Why a step may not give a resource the name that it would: whoever has it would be on the list from then on, and
    /// could not be deactivated any more.
    pub(super) fn forbids_name(&self, step: &Step) -> Option<String> {
        let path = name_path(step.key.kind);
        let name = match &step.action {
            Action::Create { attributes, .. } | Action::Link { attributes, .. } => {
                name_in(step.key.kind, attributes)
            }
            Action::Change { changes } => {
                let change = changes.iter().find(|change| change.path == path);
                change.and_then(|change| change.after.as_ref()?.as_text())
            }
            Action::AddMembers(_)
            | Action::RemoveMembers(_)
            | Action::SetManager(_)
            | Action::Delete { .. } => None,
        };
        let name = name.filter(|name| self.has_name(step.key.kind, name))?;
        Some(format!(
            "the {path} `{}` is on the tenant's protected list, so nobody is given it; rename the entry, or change the \
             tenant's protected",
            name.escape_debug()
        ))
    }

    fn has_name(&self, kind: Kind, name: &str) -> bool {
        let patterns = match kind {
            Kind::User => &self.user_names,
            Kind::Group => &self.group_names,
        };
        patterns.iter().any(|pattern| pattern.matches(name))
    }
}

fn name_in(kind: Kind, attributes: &Attributes) -> Option<&str> {
    attributes.get(&name_path(kind)).and_then(Value::as_text)
}

/// What a name looks like: `*` stands for any characters, `?` for one; the case of letters does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is empty, or would protect everybody.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("is empty; name a userName, or a pattern such as admin*".to_owned()),
            _ if text.chars().all(|c| c == '*') => Err(
                "protects everybody, so that nobody would be deactivated; name them more exactly"
                    .to_owned(),
            ),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name looks so.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.0.to_lowercase().chars().collect();
        let name: Vec<char> = name.to_lowercase().chars().collect();
        let (mut at, mut of_name) = (0, 0);
        // Where the last star stands, and up to where it was taken to reach.
        let mut star = None;
        while of_name < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, of_name));
                    at += 1;
                }
                Some(&c) if c == '?' || c == name[of_name] => {
                    at += 1;
                    of_name += 1;
                }
                _ => {
                    let Some((starred, reached)) = star else {
                        return false;
                    };
                    star = Some((starred, reached + 1));
                    at = starred + 1;
                    of_name = reached + 1;
                }
            }
        }
        pattern[at..].iter().all(|&c| c == '*')
    }
}

impl Verdict {
    /// What is left of it where the resource is on the protected list, or would get a name that is.
    pub(super) fn within(mut self, protected: &Protected, row: &Row) -> Self {
        if self.steps.is_empty() {
            return self;
        }
        if protected.covers(row) {
            return Self {
                waits: Some(Waits::Protected),
                ..Self::nothing()
            };
        }
        let forbidden = self
            .steps
            .iter()
            .find_map(|step| protected.forbids_name(step));
        if let Some(problem) = forbidden {
            // Whoever must not log in is deactivated all the same.
            self.steps.retain(|step| step.class == Class::Deactivate);
            return Self::of(self.steps, Some(problem));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn target_protected_names_are_matched_by_simple_patterns() {
        for (pattern, name, expected) in [
            ("admin", "Admin", true),
            ("admin", "admin2", false),
            ("admin*", "admin", true),
            ("admin*", "ADMIN.east", true),
            ("*admin", "adm", false),
            ("*-admin", "it-x-admin", true),
            ("a*b*c", "axxbyybc", true),
            ("a*b*c", "axxbyyb", false),
            ("break?lass", "breakglass", true),
            ("break?lass", "breaklass", false),
            ("sv?.*", "svc.backup", true),
            ("ä*", "Ärger", true),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name}");
        }
        assert!(Pattern::parse("").is_err() && Pattern::parse("**").is_err());
    }
}
