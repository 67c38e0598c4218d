//! Steps that wait on their rows: for a person who has not decided on their plan yet, or because somebody rejected or undid
//! them. Whatever else a row needs goes on.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{JobId, ProfileName};
use crate::identity::RowKey;
use crate::identity::digest::Digest;
use crate::plan::decide::Verdict;
use crate::plan::{Action, Class, Reason, Step};
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Value};
use crate::snapshot::{Row, Standing};

/// Steps of one row that are not planned again, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The job whose plan they are of, or which was undone.
    pub job: JobId,
    /// The profile of that job.
    pub profile: ProfileName,
    /// What keeps them.
    pub by: HeldBy,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// What keeps steps from being planned again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldBy {
    /// They are in a plan on which nobody has decided yet.
    Waiting,
    /// A person rejected or undid them: until the directory has something new, the profile is changed, or a person releases
    /// them (specification page 8, 8).
    Person {
        /// Whether what they did was undone; else they were rejected.
        undone: bool,
        /// Who, as the audit log names them.
        who: String,
        /// The fingerprint that the profile had.
        fingerprint: Option<Digest>,
    },
}

impl Held {
    /// The row.
    pub fn row(&self) -> Option<&RowKey> {
        self.steps.first().map(|step| &step.key)
    }

    /// What it is found by.
    pub fn key(&self) -> Option<HoldKey> {
        Some(HoldKey {
            row: self.row()?.clone(),
            job: self.job,
            by_person: self.by != HeldBy::Waiting,
        })
    }

    /// Whether it still counts where the profile is as it is now.
    pub fn counts(&self, now: Option<Digest>) -> bool {
        match &self.by {
            HeldBy::Waiting => true,
            HeldBy::Person { fingerprint, .. } => *fingerprint == now,
        }
    }
}

/// What is left of what a row needs, and which of the holds still mean something: one whose steps are not wanted any more
/// does not, since the directory has something new.
///
/// `unsure` says that the row may need more than is known.
pub fn without(verdict: Verdict, holds: &[Held], unsure: bool) -> (Verdict, Vec<bool>) {
    if holds.is_empty() {
        return (verdict, Vec::new());
    }
    // Whatever keeps a row from being decided says nothing of what it would need.
    let undecided = unsure || verdict.problem.is_some() || verdict.waits.is_some();
    // What puts something back is wanted by a person, not by the directory.
    let puts_back = |held: &Held| {
        held.by == HeldBy::Waiting && held.steps.iter().any(|step| step.reason == Reason::Undone)
    };
    let mut meant: Vec<bool> = holds
        .iter()
        .map(|held| undecided || puts_back(held))
        .collect();
    let mut steps = Vec::with_capacity(verdict.steps.len());
    let mut is_less = false;
    for mut step in verdict.steps {
        let mut is_left = true;
        for (held, meant) in holds.iter().zip(&mut meant) {
            for other in &held.steps {
                let (touched, left) = subtract(&mut step, other);
                *meant |= touched;
                is_less |= touched;
                is_left &= left;
            }
        }
        if is_left {
            steps.push(step);
        }
    }
    if is_less {
        // A row of which something waits stays different.
        steps.iter_mut().for_each(|step| step.last_of_row = false);
    }
    let created_later = |step: &Step| matches!(step.action, Action::AddMembers(_));
    let is_created =
        |step: &Step| matches!(step.action, Action::Create { .. } | Action::Link { .. });
    let creation_held = holds
        .iter()
        .zip(&meant)
        .any(|(held, meant)| *meant && held.steps.iter().any(is_created));
    if creation_held && !steps.iter().any(is_created) {
        steps.retain(|step| !created_later(step));
    }
    (Verdict { steps, ..verdict }, meant)
}

/// Takes out of a step what another one does; whether there was any of it, and whether anything is left.
fn subtract(step: &mut Step, other: &Step) -> (bool, bool) {
    let leaves = |step: &Step| matches!(step.class, Class::Deactivate | Class::Delete);
    if leaves(step) && leaves(other) && step.reason != other.reason {
        return (false, true); // who is disabled now leaves for another reason than that he was missing
    }
    match (&mut step.action, &other.action) {
        (Action::Create { .. }, Action::Create { .. })
        | (Action::Delete { .. }, Action::Delete { .. }) => (true, false),
        (Action::Link { id, .. }, Action::Link { id: theirs, .. }) if id == theirs => (true, false),
        (Action::SetManager(to), Action::SetManager(theirs)) if to == theirs => (true, false),
        (Action::AddMembers(members), Action::AddMembers(theirs))
        | (Action::RemoveMembers(members), Action::RemoveMembers(theirs)) => {
            let before = members.len();
            members.retain(|member| theirs.binary_search(member).is_err());
            (members.len() < before, !members.is_empty())
        }
        (Action::Change { changes }, Action::Change { changes: theirs }) => {
            let before = changes.len();
            changes.retain(|change| {
                let is_same = |held: &&AttributeChange| {
                    held.path == change.path && held.after == change.after
                };
                !theirs.iter().any(|held| is_same(&held))
            });
            (changes.len() < before, !changes.is_empty())
        }
        _ => (false, true),
    }
}

/// Whether a step that was planned some time ago still is what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is.
    Current,
    /// It was carried out.
    Done,
    /// It is not, for this reason.
    Stale(&'static str),
}

/// Compares a step that was planned some time ago with its row as it is now.
pub fn freshness(step: &Step, row: &Row) -> Freshness {
    let Some((_, seen)) = row.owner() else {
        return Freshness::Stale("the entry is in no profile's scope any more");
    };
    if let (Action::Change { changes }, Some(applied)) = (&step.action, &row.applied) {
        let holds = |path: &AttributePath, value: &Option<Value>| {
            applied.attributes.get(path) == value.as_ref()
        };
        if changes
            .iter()
            .all(|change| holds(&change.path, &change.after))
        {
            return Freshness::Done;
        }
        if !changes
            .iter()
            .all(|change| holds(&change.path, &change.before))
        {
            return Freshness::Stale("the account was changed since the plan was made");
        }
    }
    let is_absent = seen.standing != Standing::Present;
    match (is_absent, step.reason) {
        (_, Reason::Undone) | (true, Reason::Absent) => Freshness::Current,
        (true, _) => Freshness::Stale("the entry is gone by now"),
        (false, Reason::Absent) => Freshness::Stale("the entry is back"),
        (false, _) if seen.digest != step.based_on => {
            Freshness::Stale("the entry was changed since the plan was made")
        }
        (false, _) => Freshness::Current,
    }
}

/// Which steps are held: a row's, of a job, and by whom. In this order they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldKey {
    /// The row.
    pub row: RowKey,
    /// The job.
    pub job: JobId,
    /// Whether a person keeps them; else they wait for one. Of an undo a row may have some of either kind.
    pub by_person: bool,
}

#[cfg(test)]
mod tests;
