//! What a plan does, or what was done, as far as the guard counts it; and the ledger of the last 24 hours.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::identity::digest::{Digest, short};
use crate::identity::{Kind, RowKey};
use crate::plan::{Action, Class, Reason};
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Value};

/// Values of one attribute that are counted one by one. With more different ones each count may be too low by one in so many,
/// which is known and counted against the limit.
const VALUES_COUNTED: usize = 64;

/// The hours of the ledger that count.
const HOURS: i64 = 24;

/// What a plan does, or what was done, as far as the guard counts it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Users deactivated or deleted.
    pub deactivations: u64,
    /// Those of them who are gone or out of scope.
    pub absent_users: u64,
    /// Whether there are deletions among them.
    pub deletes: bool,
    /// Groups emptied, because they are gone or out of scope.
    pub groups_emptied: u64,
    /// Members taken out of groups, other than users who leave themselves.
    pub members_removed: u64,
    /// The same for each group that goes on without them.
    pub from_group: BTreeMap<RowKey, u64>,
    /// Users created.
    pub users_created: u64,
    /// Groups created.
    pub groups_created: u64,
    /// What attributes of users were given, apart from `active`.
    pub attributes: BTreeMap<AttributePath, Values>,
}

impl Tally {
    /// Counts a step. `members` are those whom it takes out of a group and who do not leave themselves.
    pub fn add(
        &mut self,
        key: &RowKey,
        class: Class,
        action: &Action,
        reason: Reason,
        members: u64,
    ) {
        match (action, class) {
            (Action::Delete { .. }, _) => self.leaves(reason, true),
            (Action::Change { .. }, Class::Deactivate) => self.leaves(reason, false),
            (Action::Create { .. }, _) => match key.kind {
                Kind::User => self.users_created += 1,
                Kind::Group => self.groups_created += 1,
            },
            (Action::RemoveMembers(_), _) => {
                self.members_removed += members;
                match reason {
                    Reason::Absent => self.groups_emptied += 1,
                    _ if members > 0 => {
                        *self.from_group.entry(key.clone()).or_default() += members;
                    }
                    _ => {}
                }
            }
            (Action::Change { changes }, Class::Update | Class::SetManager) => {
                changes.iter().for_each(|change| self.attribute(change));
            }
            _ => {}
        }
    }

    fn leaves(&mut self, reason: Reason, deleted: bool) {
        self.deactivations += 1;
        self.absent_users += u64::from(reason == Reason::Absent);
        self.deletes |= deleted;
    }

    fn attribute(&mut self, change: &AttributeChange) {
        if change.path == AttributePath::active() {
            return;
        }
        let values = self.attributes.entry(change.path.clone()).or_default();
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let of_list = |value: &Value| matches!(value, Value::Texts(_));
        if before.is_some_and(of_list) || after.is_some_and(of_list) {
            // Of several values each counts by itself: a role that everybody gets, or loses.
            let had = before.map_or(&[][..], Value::as_texts);
            let has = after.map_or(&[][..], Value::as_texts);
            let gained = has.iter().filter(|text| !had.contains(text));
            let lost = had.iter().filter(|text| !has.contains(text));
            gained.for_each(|text| values.given(&[b"+", text.as_bytes()]));
            lost.for_each(|text| values.given(&[b"-", text.as_bytes()]));
            return;
        }
        match after {
            None => values.blanked += 1,
            Some(value) => values.given(&[value.to_json().to_string().as_bytes()]),
        }
    }

    /// Takes in what another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.deactivations += other.deactivations;
        self.absent_users += other.absent_users;
        self.deletes |= other.deletes;
        self.groups_emptied += other.groups_emptied;
        self.members_removed += other.members_removed;
        for (group, count) in &other.from_group {
            *self.from_group.entry(group.clone()).or_default() += count;
        }
        self.users_created += other.users_created;
        self.groups_created += other.groups_created;
        for (path, values) in &other.attributes {
            self.attributes
                .entry(path.clone())
                .or_default()
                .merge(values);
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an attribute was given, over many users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// How many lost it.
    pub blanked: u64,
    /// How many got each value, by its digest; the frequent ones (Misra and Gries, Finding repeated elements, 1982).
    given: Vec<(Digest, u64)>,
    /// How much too low each of those counts may be.
    missed: u64,
}

impl Values {
    fn given(&mut self, parts: &[&[u8]]) {
        self.count(Digest(short(parts)), 1);
    }

    fn count(&mut self, value: Digest, times: u64) {
        if let Some((_, count)) = self.given.iter_mut().find(|(known, _)| *known == value) {
            *count += times;
            return;
        }
        self.given.push((value, times));
        if self.given.len() > VALUES_COUNTED {
            let least = self.given.iter().map(|(_, count)| *count).min();
            let least = least.unwrap_or_default();
            self.missed += least;
            self.given.retain_mut(|(_, count)| {
                *count -= least;
                *count > 0
            });
        }
    }

    fn merge(&mut self, other: &Self) {
        self.blanked += other.blanked;
        self.missed += other.missed;
        for (value, count) in &other.given {
            self.count(*value, *count);
        }
    }

    /// How many got the same value at the most, together with those who got it before.
    pub fn alike(&self, before: Option<&Self>) -> u64 {
        let times = |value: &Digest| {
            let mut given = before.into_iter().flat_map(|before| &before.given);
            given
                .find(|(known, _)| known == value)
                .map_or(0, |(_, count)| *count)
        };
        let together = |(value, count): &(Digest, u64)| count + times(value);
        let most = self.given.iter().map(together).max();
        let missed = self.missed + before.map_or(0, |before| before.missed);
        most.map_or(0, |most| most + missed)
    }
}

/// What was done by itself in the last 24 hours, hour by hour, and what is kept in mind of a profile besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Each hour since 1970 in which something was done, in order.
    hours: Vec<(i64, Tally)>,
    /// Since when scope, filters or mapping are others, if no plan of everything was made since.
    pub definition_changed_at: Option<DateTime<Utc>>,
    /// When somebody ended the profile's quarantine.
    pub quarantine_cleared_at: Option<DateTime<Utc>>,
}

impl Ledger {
    /// Takes in what was done.
    pub fn add(&mut self, now: DateTime<Utc>, done: &Tally) {
        let hour = hour(now);
        self.hours.retain(|(then, _)| is_recent(*then, hour));
        match self.hours.iter_mut().find(|(then, _)| *then == hour) {
            Some((_, tally)) => tally.merge(done),
            None => self.hours.push((hour, done.clone())),
        }
    }

    /// What was done in the last 24 hours; the hour that has not passed whole counts whole.
    pub fn spent(&self, now: DateTime<Utc>) -> Tally {
        let mut spent = Tally::default();
        let recent = self
            .hours
            .iter()
            .filter(|(then, _)| is_recent(*then, hour(now)));
        recent.for_each(|(_, tally)| spent.merge(tally));
        spent
    }

    /// Creations of a first load do not count.
    pub fn forget_creations(&mut self) {
        for (_, tally) in &mut self.hours {
            tally.users_created = 0;
            tally.groups_created = 0;
        }
    }
}

fn hour(time: DateTime<Utc>) -> i64 {
    time.timestamp().div_euclid(3600)
}

/// A clock that was set back does not forgive anything.
fn is_recent(then: i64, now: i64) -> bool {
    then >= now - HOURS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::Anchor;

    fn key(kind: Kind, name: &str) -> RowKey {
        RowKey {
            kind,
            anchor: Anchor::Text(name.into()),
        }
    }

    fn given(value: Option<&str>) -> Action {
        Action::Change {
            changes: vec![AttributeChange {
                path: AttributePath::display_name(),
                before: Some(Value::Text("before".into())),
                after: value.map(|text| Value::Text(text.into())),
            }],
        }
    }

    fn updated(values: impl IntoIterator<Item = Option<String>>) -> Values {
        let mut tally = Tally::default();
        let user = key(Kind::User, "u");
        for value in values {
            let action = given(value.as_deref());
            tally.add(&user, Class::Update, &action, Reason::Changed, 0);
        }
        tally
            .attributes
            .remove(&AttributePath::display_name())
            .unwrap_or_default()
    }

    #[test]
    fn a_frequent_value_is_found_among_any_number_of_others() {
        let values = (0..10_000).map(|at| match at % 3 {
            0 => Some("same".to_owned()),
            _ => Some(format!("value {at}")),
        });
        let alike = updated(values).alike(None);
        assert!((3_334..=3_334 + 10_000 / 60).contains(&alike), "{alike}");
        let different = updated((0..10_000).map(|at| Some(at.to_string()))).alike(None);
        assert!(different <= 10_000 / 60, "{different}");
        let few = updated((0..90).map(|at| Some((at % 3).to_string())));
        assert_eq!((few.alike(None), few.blanked), (30, 0), "few values: exact");
        assert_eq!(updated([None, None]).blanked, 2);
        let (x, y) = (|| Some("x".to_owned()), || Some("y".to_owned()));
        let before = updated([x(), x(), y()]);
        assert_eq!(
            updated([y(), y()]).alike(Some(&before)),
            3,
            "of the same value only"
        );
        assert_eq!(updated([Some("z".to_owned())]).alike(Some(&before)), 1);
    }

    #[test]
    fn a_role_that_many_lose_counts_whatever_else_they_have() {
        let texts = |texts: &[&str]| {
            Some(Value::Texts(
                texts.iter().map(|text| (*text).into()).collect(),
            ))
        };
        let mut tally = Tally::default();
        for at in 0..10 {
            let own = format!("own {at}");
            let action = Action::Change {
                changes: vec![AttributeChange {
                    path: AttributePath::display_name(),
                    before: texts(&["admin", &own]),
                    after: texts(&[&own]),
                }],
            };
            let user = key(Kind::User, &own);
            tally.add(&user, Class::Update, &action, Reason::Changed, 0);
        }
        assert_eq!(
            tally.attributes[&AttributePath::display_name()].alike(None),
            10
        );
    }

    #[test]
    fn the_ledger_counts_a_day_and_no_more() {
        let at = |hours: i64| DateTime::from_timestamp(hours * 3600 + 1800, 0).unwrap();
        let one = Tally {
            deactivations: 1,
            ..Tally::default()
        };
        let mut ledger = Ledger::default();
        for hour in [100, 100, 110, 124] {
            ledger.add(at(hour), &one);
        }
        for (hour, expected) in [(124, 4), (125, 2), (134, 2), (135, 1), (149, 0), (90, 4)] {
            assert_eq!(ledger.spent(at(hour)).deactivations, expected, "{hour}");
        }
        let group = key(Kind::Group, "g");
        let mut leaving = Tally::default();
        let removal = Action::RemoveMembers(Vec::new());
        for (reason, members) in [(Reason::Membership, 3), (Reason::Absent, 9)] {
            leaving.add(&group, Class::RemoveMembers, &removal, reason, members);
        }
        ledger.add(at(149), &leaving);
        let spent = ledger.spent(at(149));
        assert_eq!((spent.members_removed, spent.groups_emptied), (12, 1));
        assert_eq!(spent.from_group, BTreeMap::from([(group, 3)]));
    }
}
