//! Conflicts: what becomes of an attribute of which the target acknowledged one thing, the directory says another, and the
//! target holds a third (specification page 2, three-way merge).

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::scim::path::AttributePath;
use crate::scim::{Attributes, Value};
use crate::snapshot::{Conflict, Side, Taken};

/// Whose value counts where somebody has changed an attribute at the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// The directory's, at the next change or when the target is read again.
    #[default]
    DirectoryWins,
    /// The target's, until the directory has a new one; then it is asked again.
    LocalWins,
    /// The one that a person takes.
    ManualReview,
}

impl ConflictPolicy {
    /// Whether what the target holds has to be known before anything is sent.
    pub fn looks(self) -> bool {
        self != Self::DirectoryWins
    }

    /// Which side it takes by itself of an attribute that somebody changed at the target.
    fn takes(self) -> Option<Side> {
        match self {
            Self::DirectoryWins => Some(Side::Directory),
            Self::LocalWins => Some(Side::Local),
            Self::ManualReview => None,
        }
    }
}

/// How the three values of an attribute differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The target holds what the directory says.
    None,
    /// The directory has a new value, and nobody changed the target's.
    InDirectory,
    /// Somebody changed the target's value, and the directory says what it said.
    InIam,
    /// Both have a new value, and not the same.
    InBoth,
}

/// How three values of an attribute differ; absent ones are values like others.
pub fn difference(
    base: Option<&Value>,
    directory: Option<&Value>,
    iam: Option<&Value>,
) -> Difference {
    if iam == directory {
        Difference::None
    } else if iam == base {
        Difference::InDirectory
    } else if directory == base {
        Difference::InIam
    } else {
        Difference::InBoth
    }
}

/// What is known of a resource without looking at the target, and what was remembered of it.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The profile's policy.
    pub policy: ConflictPolicy,
    /// The attributes that are under it.
    pub paths: &'a BTreeSet<AttributePath>,
    /// What the target last acknowledged.
    pub base: &'a Attributes,
    /// What the directory says.
    pub directory: &'a Attributes,
    /// The conflicts of an earlier run.
    pub earlier: &'a [Conflict],
}

/// What becomes of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What counts as acknowledged now; where it is not what the directory says, that is sent, conflicts apart.
    pub base: Attributes,
    /// What is not sent, in order of the paths.
    pub conflicts: Vec<Conflict>,
}

impl Known<'_> {
    /// Whether anything is to be sent, or asked again, so that the target has to be looked at. What was decided and what waits
    /// needs no look, as long as the directory says the same.
    pub fn needs_look(&self) -> bool {
        let of_earlier = |conflict: &Conflict| {
            self.paths.contains(&conflict.path)
                && (!self.lasts(conflict) || conflict.decided() == Some(Side::Directory))
        };
        let is_new = |path: &&AttributePath| {
            self.base.get(path) != self.directory.get(path) && self.earlier_of(path).is_none()
        };
        self.earlier.iter().any(of_earlier) || self.paths.iter().any(|path| is_new(&path))
    }

    /// What becomes of it without a look, where none is needed.
    pub fn remembered(&self, now: DateTime<Utc>) -> Merged {
        let lasting = self.earlier.iter().filter(|conflict| self.lasts(conflict));
        let conflicts = lasting.map(|conflict| self.taken(conflict.clone(), Some(conflict), now));
        Merged {
            base: self.base.clone(),
            conflicts: conflicts.collect(),
        }
    }

    /// What becomes of it, given what the target holds.
    pub fn merge(&self, iam: &Attributes, now: DateTime<Utc>) -> Merged {
        let mut base = self.base.clone();
        let mut conflicts = Vec::new();
        for path in self.paths {
            let (was, says, is) = (base.get(path), self.directory.get(path), iam.get(path));
            let moves = match difference(was, says, is) {
                Difference::None => true,
                Difference::InDirectory => false,
                Difference::InIam | Difference::InBoth => {
                    let conflict = Conflict {
                        path: path.clone(),
                        base: was.cloned(),
                        directory: says.cloned(),
                        iam: is.cloned(),
                        since: now,
                        taken: None,
                    };
                    let conflict = self.taken(conflict, self.earlier_of(path), now);
                    let sends = |taken: &Taken| taken.side == Side::Directory;
                    let sends = conflict.taken.as_ref().is_some_and(sends);
                    if !sends {
                        conflicts.push(conflict);
                    }
                    sends
                }
            };
            if moves {
                set(&mut base, path, is.cloned());
            }
        }
        Merged { base, conflicts }
    }

    /// A conflict with the side that was taken: by a person, or by the policy. A person who took the target's value meant
    /// whatever it is; one who took the directory's meant that the value which was shown goes, and not one that came later.
    fn taken(
        &self,
        mut conflict: Conflict,
        earlier: Option<&Conflict>,
        now: DateTime<Utc>,
    ) -> Conflict {
        let same = earlier.filter(|earlier| earlier.iam == conflict.iam);
        conflict.since = same.map_or(now, |same| same.since);
        let decided = earlier.filter(|earlier| match earlier.decided() {
            _ if !self.policy.looks() => false,
            Some(Side::Local) => true,
            Some(Side::Directory) => same.is_some(),
            None => false,
        });
        let side = self.policy.takes();
        let before = same.and_then(|same| same.taken.clone());
        conflict.taken = match decided {
            Some(decided) => decided.taken.clone(),
            None => side.map(|side| match before {
                Some(before) if before.side == side => before,
                _ => Taken {
                    side,
                    at: now,
                    by: None,
                },
            }),
        };
        conflict
    }

    /// The conflict of an attribute that still lasts.
    fn earlier_of(&self, path: &AttributePath) -> Option<&Conflict> {
        let mut earlier = self.earlier.iter();
        earlier.find(|conflict| conflict.path == *path && self.lasts(conflict))
    }

    /// Whether the values are still those of a conflict, as far as can be told without a look.
    fn lasts(&self, conflict: &Conflict) -> bool {
        let path = &conflict.path;
        self.paths.contains(path)
            && conflict.base.as_ref() == self.base.get(path)
            && conflict.directory.as_ref() == self.directory.get(path)
    }
}

/// What counts as acknowledged once the directory wins again: what the target was found to hold, so that it is overwritten.
pub fn given_up(base: &Attributes, conflicts: &[Conflict]) -> Attributes {
    let mut base = base.clone();
    for conflict in conflicts {
        if conflict.base.as_ref() == base.get(&conflict.path) {
            set(&mut base, &conflict.path, conflict.iam.clone());
        }
    }
    base
}

/// Takes out of what a target was found to hold after a lost answer what it is known to hold of somebody else: that was not
/// sent by the relay.
pub fn without_known(held: &mut Attributes, conflicts: &[Conflict]) {
    for conflict in conflicts {
        if held.get(&conflict.path) == conflict.iam.as_ref() {
            set(held, &conflict.path, conflict.base.clone());
        }
    }
}

/// Takes what is in conflict out of what the directory says, so that it does not differ from what was acknowledged.
pub fn withhold(wanted: &mut Attributes, merged: &Merged) {
    for conflict in &merged.conflicts {
        set(wanted, &conflict.path, conflict.base.clone());
    }
}

fn set(attributes: &mut Attributes, path: &AttributePath, value: Option<Value>) {
    match value {
        Some(value) => attributes.insert(path.clone(), value),
        None => attributes.remove(path),
    };
}

#[cfg(test)]
mod tests;
