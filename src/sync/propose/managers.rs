//! Who a user's manager is at the target. One who is linked goes with the user's other attributes; one who is created or
//! linked by the same plan is set when that is done, so managers are looked at a second time once all users were decided.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::identity::digest::short;
use crate::identity::{Kind, RowKey};
use crate::plan::decide;
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, Value};
use crate::snapshot::{MatchedBy, Row, Standing};
use crate::sync::propose::Draft;
use crate::sync::{Error, Relay};

/// Whom a user has as manager.
pub(super) enum Manager {
    /// One who has a resource at the target, by its id.
    Known(String),
    /// One who has none yet.
    Waits(RowKey),
    /// Nobody in scope has the name, or ever had it.
    Nobody,
}

/// The managers of some users; who names none is not in it.
pub(super) type Managers = HashMap<RowKey, Manager>;

impl Draft<'_> {
    /// Whom the users among these rows have as managers.
    pub(super) async fn managers_of(&self, rows: &[&Row]) -> Result<Managers, Error> {
        if self.relay.profile.mapping.manager_attribute().is_none() {
            return Ok(Managers::new());
        }
        let users = rows.iter().filter(|row| row.key.kind == Kind::User);
        let users: Vec<RowKey> = users.map(|row| row.key.clone()).collect();
        let names = self.relay.counted();
        let store = &self.relay.store;
        let directory = self.relay.directory.id;
        let named = store.managers(directory, &names, users.clone()).await?;
        let rows = named.iter().flatten();
        let ids = ids_of(self.relay, rows.filter_map(|named| named.row.clone())).await?;
        let manager = |row: Option<RowKey>| match row {
            None => Manager::Nobody,
            Some(row) => match ids.get(&row) {
                Some(id) => Manager::Known(id.clone()),
                None => Manager::Waits(row),
            },
        };
        let of_users = users.into_iter().zip(named);
        Ok(of_users
            .filter_map(|(user, named)| Some((user, manager(named?.row))))
            .collect())
    }

    /// The manager who has this row.
    pub(super) async fn manager_of(&self, row: Option<RowKey>) -> Result<Manager, Error> {
        let Some(row) = row else {
            return Ok(Manager::Nobody);
        };
        let mut ids = ids_of(self.relay, std::iter::once(row.clone())).await?;
        Ok(match ids.remove(&row) {
            Some(id) => Manager::Known(id),
            None => Manager::Waits(row),
        })
    }

    /// Adds to what a user shall be whom he has as manager.
    pub(super) fn add_manager(
        &mut self,
        attributes: &mut Attributes,
        row: &Row,
        managers: &Managers,
    ) {
        if let Some(Manager::Nobody) = managers.get(&row.key) {
            self.members.managers_left_out += 1;
        }
        attributes.extend(value_of(row, managers));
    }

    /// Plans the managers of all marked users who were not linked when these were decided.
    pub(super) async fn set_managers(&mut self) -> Result<(), Error> {
        if self.relay.profile.mapping.manager_attribute().is_none() {
            return Ok(());
        }
        let mut after = None;
        while let Some(rows) = self.next_marked(Kind::User, &mut after).await? {
            self.set_managers_of(&rows).await?;
        }
        Ok(())
    }

    /// The same for the users among these rows.
    pub(super) async fn set_managers_of(&mut self, rows: &[Row]) -> Result<(), Error> {
        let mine: Vec<&Row> = rows.iter().filter(|row| self.is_mine(row)).collect();
        let managers = self.managers_of(&mine).await?;
        let mut steps = Vec::new();
        let mut clean = Vec::new();
        for row in mine {
            let (Some(Manager::Waits(manager)), Some((_, seen))) =
                (managers.get(&row.key), row.owner())
            else {
                continue;
            };
            if seen.standing != Standing::Present
                || !(row.applied.is_some() || self.joining.has(&row.key))
            {
                continue;
            }
            if !self.manager_is_as_acknowledged(row).await? {
                continue;
            }
            let joins = self.joining.has(manager).then(|| manager.clone());
            if joins.is_none() {
                self.members.managers_left_out += 1;
            }
            let profile = &self.relay.profile;
            let desired = self.relay.desired(profile, &seen.identity, self.now);
            match decide::manager(row, seen, &desired, joins, &self.policy) {
                Some(mut step) => {
                    step.last_of_row =
                        !self.stays_marked(seen) && !self.roles.withholds_from(&row.key);
                    let mut step = vec![step];
                    self.leave_refused(row, &mut step).await;
                    step.iter().for_each(|step| self.count(step));
                    steps.append(&mut step);
                }
                None if self.undecided.contains(&short(&[&row.key.to_key()])) => {
                    clean.push((row.key.clone(), seen.digest));
                }
                None => {}
            }
        }
        let store = &self.relay.store;
        if !clean.is_empty() {
            self.all_marked = false;
            store.clear_dirty(self.lease, clean).await?;
        }
        if !steps.is_empty() {
            let job = self.tracker.job().id;
            store.add_steps(self.lease, job, steps).await?;
        }
        Ok(())
    }
}

/// The manager that a user shall have. While that one has no resource it stays as it is.
pub(super) fn value_of(row: &Row, managers: &Managers) -> Option<(AttributePath, Value)> {
    let path = AttributePath::manager();
    let value = match managers.get(&row.key)? {
        Manager::Known(id) => Value::Reference(id.clone()),
        Manager::Waits(_) => row.applied.as_ref()?.attributes.get(&path)?.clone(),
        Manager::Nobody => return None,
    };
    Some((path, value))
}

/// The ids at the target of those of the rows that have one: that they are linked to, or that was found to be theirs.
async fn ids_of(
    relay: &Relay,
    rows: impl Iterator<Item = RowKey>,
) -> Result<BTreeMap<RowKey, String>, Error> {
    let rows: BTreeSet<RowKey> = rows.collect();
    let rows: Vec<RowKey> = rows.into_iter().collect();
    let links = relay.store.links(relay.directory.id, rows.clone()).await?;
    let (mut ids, mut unlinked) = (BTreeMap::new(), Vec::new());
    for (row, link) in rows.into_iter().zip(links) {
        match link {
            Some(id) => {
                ids.insert(row, id);
            }
            None => unlinked.push(row),
        }
    }
    for row in relay.rows(unlinked).await? {
        if let Some(found) = row.found.filter(|found| found.by == MatchedBy::ExternalId) {
            ids.insert(row.key, found.id);
        }
    }
    Ok(ids)
}
