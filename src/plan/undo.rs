//! Undo: what a job changed, as its journal tells, becomes steps that put it back.
//!
//! An account that the job created is deactivated and not deleted, and a group that it created loses its members: whatever
//! others did with them since stays. Deletions, and links to accounts that were there before, cannot be put back.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::digest::Digest;
use crate::identity::{Kind, RowKey};
use crate::plan::{Action, Class, Reason, Step};
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Value};
use crate::snapshot::Applied;

/// What a job changed of one row, all its steps together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Net {
    /// The entry's DN.
    pub dn: String,
    /// Each attribute, before the first change and after the last one.
    attributes: BTreeMap<AttributePath, (Option<Value>, Option<Value>)>,
    /// Members put into the group.
    added: BTreeSet<RowKey>,
    /// Members taken out of the group.
    removed: BTreeSet<RowKey>,
    /// Whether the resource was created.
    created: bool,
    /// What cannot be put back, in words.
    pub lasting: Option<&'static str>,
}

impl Net {
    /// Takes in the next change that was acknowledged.
    pub fn add(&mut self, dn: &str, action: &Action) {
        dn.clone_into(&mut self.dn);
        match action {
            Action::Create { members, .. } => {
                self.created = true;
                self.joined(members);
            }
            Action::Change { changes } => {
                for change in changes {
                    let net = self
                        .attributes
                        .entry(change.path.clone())
                        .or_insert_with(|| (change.before.clone(), None));
                    net.1.clone_from(&change.after);
                }
            }
            Action::AddMembers(members) => self.joined(members),
            Action::RemoveMembers(members) => {
                for member in members {
                    if !self.added.remove(member) {
                        self.removed.insert(member.clone());
                    }
                }
            }
            Action::Link { .. } => {
                self.lasting =
                    Some("it was linked to a resource that was there before, and stays linked");
            }
            Action::Delete { .. } => {
                self.lasting =
                    Some("it was deleted, which cannot be undone; a new run creates it anew");
            }
            Action::SetManager(_) => {
                self.lasting = Some("its manager stays as it is");
            }
        }
    }

    fn joined(&mut self, members: &[RowKey]) {
        for member in members {
            if !self.removed.remove(member) {
                self.added.insert(member.clone());
            }
        }
    }

    /// The steps that put a row back, as far as it still is what the job made of it; and whether anything of it was changed
    /// since, which is left as it is. `members` are those whom the relay put into the group, in order.
    pub fn steps(
        &self,
        key: &RowKey,
        applied: &Applied,
        members: &[RowKey],
        based_on: Digest,
    ) -> (Vec<Step>, bool) {
        let step = |class, action| Step {
            key: key.clone(),
            dn: self.dn.clone(),
            class,
            action,
            reason: Reason::Undone,
            based_on,
            last_of_row: false,
        };
        let mut changes = Vec::new();
        let mut changed_since = false;
        for (path, (before, after)) in &self.attributes {
            let now = applied.attributes.get(path);
            if now == before.as_ref() || self.created {
                continue;
            }
            if now == after.as_ref() {
                changes.push(AttributeChange {
                    path: path.clone(),
                    before: after.clone(),
                    after: before.clone(),
                });
            } else {
                changed_since = true;
            }
        }
        if self.created && key.kind == Kind::User && applied.is_active() {
            let path = AttributePath::active();
            changes.push(AttributeChange {
                before: applied.attributes.get(&path).cloned(),
                after: Some(Value::Bool(false)),
                path,
            });
        }
        let mut steps = of_changes(key.kind, changes)
            .map(|(class, changes)| step(class, Action::Change { changes }))
            .collect::<Vec<_>>();
        let is_there = |member: &&RowKey| members.binary_search(member).is_ok();
        let leave: Vec<RowKey> = self.added.iter().filter(is_there).cloned().collect();
        let back: Vec<RowKey> = self
            .removed
            .iter()
            .filter(|member| !is_there(member))
            .cloned()
            .collect();
        if !leave.is_empty() {
            steps.push(step(Class::RemoveMembers, Action::RemoveMembers(leave)));
        }
        if !back.is_empty() {
            steps.push(step(Class::AddMembers, Action::AddMembers(back)));
        }
        (steps, changed_since)
    }
}

/// A deactivation goes alone, as everywhere (see [`crate::plan::decide`]).
fn of_changes(
    kind: Kind,
    changes: Vec<AttributeChange>,
) -> impl Iterator<Item = (Class, Vec<AttributeChange>)> {
    let active = AttributePath::active();
    let (deactivating, others): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| change.path == active && change.after == Some(Value::Bool(false)));
    let reactivates = others.iter().any(|change| change.path == active);
    let class = match (kind, reactivates) {
        (Kind::Group, _) => Class::Group,
        (Kind::User, true) => Class::Reactivate,
        (Kind::User, false) => Class::Update,
    };
    [(Class::Deactivate, deactivating), (class, others)]
        .into_iter()
        .filter(|(_, changes)| !changes.is_empty())
}

/// The step that would do again what a step of an undo takes back: it is held once that is carried out.
pub fn again(step: &Step) -> Step {
    let turned = |change: &AttributeChange| AttributeChange {
        path: change.path.clone(),
        before: change.after.clone(),
        after: change.before.clone(),
    };
    let action = match &step.action {
        Action::Change { changes } => Action::Change {
            changes: changes.iter().map(turned).collect(),
        },
        Action::AddMembers(members) => Action::RemoveMembers(members.clone()),
        Action::RemoveMembers(members) => Action::AddMembers(members.clone()),
        other => other.clone(),
    };
    Step {
        action,
        ..step.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Anchor;

    fn row(kind: Kind, name: &str) -> RowKey {
        RowKey {
            kind,
            anchor: Anchor::Text(name.into()),
        }
    }

    fn text(value: &str) -> Option<Value> {
        Some(Value::Text(value.into()))
    }

    fn change(path: AttributePath, before: Option<Value>, after: Option<Value>) -> Action {
        let changes = vec![AttributeChange {
            path,
            before,
            after,
        }];
        Action::Change { changes }
    }

    fn applied(name: &str, active: bool) -> Applied {
        Applied {
            id: "7".into(),
            attributes: [
                (AttributePath::display_name(), Value::Text(name.into())),
                (AttributePath::active(), Value::Bool(active)),
            ]
            .into(),
        }
    }

    fn undone(
        actions: &[Action],
        key: &RowKey,
        now: &Applied,
        members: &[RowKey],
    ) -> (Vec<(Class, Action)>, bool) {
        let mut net = Net::default();
        actions.iter().for_each(|action| net.add("dn", action));
        let (steps, changed) = net.steps(key, now, members, Digest::default());
        (
            steps
                .into_iter()
                .map(|step| (step.class, step.action))
                .collect(),
            changed,
        )
    }

    #[test]
    fn changes_are_put_back_to_what_was_before_the_first_of_them() {
        let (user, name) = (row(Kind::User, "u"), AttributePath::display_name);
        let (off, on) = (Some(Value::Bool(false)), Some(Value::Bool(true)));
        let twice = [
            change(name(), text("a"), text("b")),
            change(name(), text("b"), text("c")),
        ];
        let back = change(name(), text("c"), text("a"));
        assert_eq!(
            undone(&twice, &user, &applied("c", true), &[]),
            (vec![(Class::Update, back)], false)
        );
        assert_eq!(
            undone(&twice, &user, &applied("d", true), &[]),
            (vec![], true),
            "changed since"
        );
        assert_eq!(
            undone(&twice, &user, &applied("a", true), &[]),
            (vec![], false),
            "back already"
        );
        let left = [change(AttributePath::active(), on.clone(), off.clone())];
        let returns = change(AttributePath::active(), off.clone(), on.clone());
        assert_eq!(
            undone(&left, &user, &applied("a", false), &[]),
            (vec![(Class::Reactivate, returns.clone())], false)
        );
        let both = [returns, change(name(), text("a"), text("b"))];
        let expected = vec![
            (Class::Deactivate, left[0].clone()),
            (Class::Update, change(name(), text("b"), text("a"))),
        ];
        assert_eq!(
            undone(&both, &user, &applied("b", true), &[]),
            (expected, false)
        );
    }

    #[test]
    fn whoever_was_created_is_deactivated_and_members_go_back() {
        let create = |members: &[RowKey]| Action::Create {
            attributes: applied("a", true).attributes,
            members: members.to_vec(),
        };
        let user = row(Kind::User, "u");
        let (on, off) = (Some(Value::Bool(true)), Some(Value::Bool(false)));
        let leaves = vec![(Class::Deactivate, change(AttributePath::active(), on, off))];
        assert_eq!(
            undone(&[create(&[])], &user, &applied("b", true), &[]),
            (leaves, false)
        );
        assert_eq!(
            undone(&[create(&[])], &user, &applied("a", false), &[]),
            (vec![], false)
        );
        let group = row(Kind::Group, "g");
        let [a, b, c] = ["a", "b", "c"].map(|name| row(Kind::User, name));
        let actions = [
            create(&[a.clone(), b.clone()]),
            Action::RemoveMembers(vec![b.clone(), c.clone()]),
            Action::AddMembers(vec![b.clone()]),
        ];
        let expected = vec![
            (
                Class::RemoveMembers,
                Action::RemoveMembers(vec![a.clone(), b.clone()]),
            ),
            (Class::AddMembers, Action::AddMembers(vec![c])),
        ];
        assert_eq!(
            undone(&actions, &group, &applied("g", true), &[a, b]),
            (expected, false)
        );
    }

    #[test]
    fn what_is_held_after_an_undo_is_what_would_do_it_again() {
        let user = row(Kind::User, "u");
        let mut net = Net::default();
        let forth = change(AttributePath::display_name(), text("a"), text("b"));
        net.add("dn", &forth);
        let (steps, _) = net.steps(&user, &applied("b", true), &[], Digest::default());
        assert_eq!(again(&steps[0]).action, forth);
    }
}
