//! The *applied* column: what the target acknowledged, what was found there, and what is being sent.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::Utc;
use redb::WriteTransaction;

use super::audit;
use super::codec;
use super::conflicts;
use super::failure::Failure;
use super::holds;
use super::jobs::Journal;
use super::lease;
use super::outcomes;
use super::rows::name_key;
use super::seen;
use super::tables::{COUNTS, DirectoryTables, ProfileTables, Source, WriteTable, open_write};
use crate::identity::{Kind, RowKey};
use crate::plan::tally::Tally;
use crate::plan::{Action, Reason};
use crate::scim::path::AttributePath;
use crate::snapshot::{Applied, Conflict, LinkedCounts, Match};
use crate::store::jobs::Change;
use crate::store::{Author, Effect, Intent, Lease, Settlement};

/// Writes down what is about to be sent.
pub(super) fn intend(
    txn: &WriteTransaction,
    lease: &Lease,
    intents: &[Intent],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut tables = DirectoryTables::write(txn, lease.directory)?;
    for intent in intents {
        let key = codec::intent_key(&intent.key, intent.class, intent.part);
        let record = codec::encode(intent)?;
        tables.intents.insert(key.as_slice(), record.as_slice())?;
    }
    Ok(())
}

/// Writes what became of intents, one after the other: a mark that follows from one outcome stays, unless a later
/// outcome in the list says that this row no longer differs.
pub(super) fn settle(
    txn: &WriteTransaction,
    lease: &Lease,
    author: &Author,
    settlements: Vec<Settlement>,
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut ledger = Ledger::open(txn, lease)?;
    let mut journal = Journal::open(txn, author.job)?;
    let mut changes = Vec::new();
    let mut done = Tally::default();
    for settlement in settlements {
        let row = settlement.key.to_key();
        if author.ledger.is_some() {
            ledger.tally(&settlement, &mut done)?;
        }
        if settlement.effect != Effect::StillUnknown {
            let intent = codec::intent_key(&settlement.key, settlement.class, settlement.part);
            ledger.directory.intents.remove(intent.as_slice())?;
        }
        match settlement.effect {
            Effect::Applied(applied) => ledger.link(&settlement.key, &applied)?,
            Effect::AppliedWithMembers(applied, members) => {
                ledger.link(&settlement.key, &applied)?;
                ledger.add_members(&row, &members)?;
            }
            Effect::MembersAdded(members) => ledger.add_members(&row, &members)?,
            Effect::MembersRemoved(members) => ledger.remove_members(&row, &members)?,
            Effect::Unlinked => ledger.unlink(&settlement.key)?,
            Effect::Found(found) => ledger.find(&row, &found)?,
            Effect::Nothing | Effect::StillUnknown => {}
        }
        if let Some(change) = &settlement.change {
            let (table, rejection) = (&mut ledger.directory.outcomes, settlement.rejection);
            outcomes::note_change(table, &row, change, rejection, settlement.part == 0)?;
        }
        match settlement.clean {
            Some(digest) => {
                seen::clean(&mut ledger.directory, &ledger.profiles, &row, digest)?;
            }
            // Another part of the same step may have cleaned the row already, or a preview may have.
            None => ledger.directory.mark(&row)?,
        }
        if let Some(change) = settlement.change {
            journal.append(&change)?;
            changes.push(audit::event_of(&change, author));
        }
    }
    audit::append(txn, &changes)?;
    if let Some(profile) = &author.ledger {
        holds::note_done(txn, profile, Utc::now(), &done)?;
    }
    ledger.close()
}

/// Writes what was found at the target, or that nothing is there any more.
pub(super) fn record_found(
    txn: &WriteTransaction,
    lease: &Lease,
    found: &[(RowKey, Option<Match>)],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut ledger = Ledger::open(txn, lease)?;
    for (row, found) in found {
        let row = row.to_key();
        match found {
            Some(found) => ledger.find(&row, found)?,
            None => {
                ledger.directory.found.remove(row.as_slice())?;
            }
        }
        ledger.directory.mark(&row)?;
    }
    ledger.close()
}

/// Replaces *applied* of linked rows by what the target holds. A row that was unlinked in the meantime stays so.
pub(super) fn record_observed(
    txn: &WriteTransaction,
    lease: &Lease,
    observed: &[(RowKey, Option<Applied>)],
) -> Result<(), Failure> {
    lease::check(txn, lease)?;
    let mut ledger = Ledger::open(txn, lease)?;
    for (key, applied) in observed {
        let row = key.to_key();
        if !ledger.directory.applied.has(&row)? {
            continue;
        }
        match applied {
            Some(applied) => ledger.link(key, applied)?,
            None => ledger.unlink(key)?,
        }
        ledger.directory.mark(&row)?;
    }
    ledger.close()
}

/// Links and memberships with all that is kept in step with them: counts, names, marks.
struct Ledger<'t> {
    lease: Lease,
    directory: DirectoryTables<WriteTable<'t>>,
    profiles: Vec<ProfileTables<WriteTable<'t>>>,
    counts_table: WriteTable<'t>,
    counts: LinkedCounts,
    /// Rows whose resource is gone, and with it their membership in all groups.
    gone: HashSet<Vec<u8>>,
    /// Rows whose resource is that of another row now, which has its memberships with it.
    handed_on: HashMap<Vec<u8>, Vec<u8>>,
}

impl<'t> Ledger<'t> {
    fn open(txn: &'t WriteTransaction, lease: &Lease) -> Result<Self, Failure> {
        let counts_table = open_write(txn, COUNTS)?;
        let counts = counts_table.read(lease.directory.0.as_bytes(), codec::decode)?;
        Ok(Self {
            lease: *lease,
            directory: DirectoryTables::write(txn, lease.directory)?,
            profiles: ProfileTables::write_all(txn, lease.directory)?,
            counts_table,
            counts: counts.unwrap_or_default(),
            gone: HashSet::new(),
            handed_on: HashMap::new(),
        })
    }

    /// Counts what was acknowledged, before it changes anything here. Whoever has no active account any more leaves groups as
    /// a leaver, and whoever is inactive already is not deactivated once more.
    fn tally(&self, settlement: &Settlement, done: &mut Tally) -> Result<(), Failure> {
        let Some(change) = settlement
            .change
            .as_ref()
            .filter(|line| line.error.is_none())
        else {
            return Ok(());
        };
        let is_active = |row: &RowKey| {
            let active = |bytes: &[u8]| Ok(codec::decode::<Applied>(bytes)?.is_active());
            let active = self.directory.applied.read(&row.to_key(), active)?;
            Ok::<_, Failure>(active.unwrap_or_default())
        };
        let mut members = 0;
        match &change.action {
            Action::RemoveMembers(rows) => {
                for row in rows {
                    members += u64::from(is_active(row)?);
                }
            }
            Action::Delete { .. } if !is_active(&change.key)? => return Ok(()),
            _ => {}
        }
        if settlement.part == 0 || members > 0 {
            let Change {
                key, class, action, ..
            } = change;
            let reason = match settlement.part {
                0 => change.reason,
                _ => Reason::Membership, // the group was counted with the first part
            };
            done.add(key, *class, action, reason, members);
        }
        Ok(())
    }

    /// Sets *applied*. A new id means another resource: its memberships start empty.
    fn link(&mut self, key: &RowKey, applied: &Applied) -> Result<(), Failure> {
        let row = key.to_key();
        let before = self
            .directory
            .applied
            .read(&row, codec::decode::<Applied>)?;
        if let Some(before) = &before {
            self.drop_name(key, before)?;
            self.count(key.kind, before, u64::saturating_sub);
            if before.id != applied.id {
                self.forget_members(&row)?;
                self.gone.insert(row.clone());
            }
        }
        self.take_over(key, applied)?;
        self.count(key.kind, applied, u64::saturating_add);
        if let Some(name) = user_name(key, applied) {
            self.directory
                .user_names
                .insert(name_key(name).as_slice(), row.as_slice())?;
        }
        let record = codec::encode(applied)?;
        self.directory
            .applied
            .insert(row.as_slice(), record.as_slice())?;
        self.directory.found.remove(row.as_slice())?;
        self.directory.decisions.remove(row.as_slice())?;
        // The target acknowledged something else of the attribute, so that conflict is over.
        let lasts =
            |conflict: &Conflict| applied.attributes.get(&conflict.path) == conflict.base.as_ref();
        conflicts::retain(&mut self.directory, self.lease.directory, &row, lasts)?;
        if before.is_none_or(|before| before.id != applied.id) {
            self.mark_rows_naming(&row)?;
        }
        Ok(())
    }

    /// Where the resource was that of another row with this userName, it is that row's no more. What it is a member of goes
    /// with it, so that nothing is inherited: groups that do not name the new row lose it.
    fn take_over(&mut self, key: &RowKey, applied: &Applied) -> Result<(), Failure> {
        let Some(name) = user_name(key, applied).map(name_key) else {
            return Ok(());
        };
        let holder = self.directory.user_names.read(&name, codec::row_key)?;
        let Some(holder) = holder.filter(|holder| holder != key) else {
            return Ok(());
        };
        let row = holder.to_key();
        let theirs = self
            .directory
            .applied
            .read(&row, codec::decode::<Applied>)?;
        if let Some(theirs) = theirs.filter(|theirs| theirs.id == applied.id) {
            self.drop_name(&holder, &theirs)?;
            self.count(holder.kind, &theirs, u64::saturating_sub);
            self.directory.applied.remove(row.as_slice())?;
            conflicts::forget(&mut self.directory, self.lease.directory, &row)?;
            self.handed_on.insert(row, key.to_key());
        }
        Ok(())
    }

    /// Forgets the link.
    fn unlink(&mut self, key: &RowKey) -> Result<(), Failure> {
        let row = key.to_key();
        let Some(before) = self
            .directory
            .applied
            .read(&row, codec::decode::<Applied>)?
        else {
            return Ok(());
        };
        self.drop_name(key, &before)?;
        self.count(key.kind, &before, u64::saturating_sub);
        self.directory.applied.remove(row.as_slice())?;
        self.directory.repairs.remove(row.as_slice())?;
        conflicts::forget(&mut self.directory, self.lease.directory, &row)?;
        self.forget_members(&row)?;
        self.mark_rows_naming(&row)?;
        self.gone.insert(row);
        Ok(())
    }

    fn find(&mut self, row: &[u8], found: &Match) -> Result<(), Failure> {
        let record = codec::encode(found)?;
        self.directory.found.insert(row, record.as_slice())?;
        Ok(())
    }

    /// Members of a group that is not linked have nowhere to be: its resource went away in the meantime.
    fn add_members(&mut self, group: &[u8], members: &[RowKey]) -> Result<(), Failure> {
        if !self.directory.applied.has(group)? {
            return Ok(());
        }
        for key in member_keys(group, members) {
            let table = &mut self.directory.applied_members;
            if table.insert(key.as_slice(), [].as_slice())?.is_none() {
                self.counts.members += 1;
            }
        }
        Ok(())
    }

    fn remove_members(&mut self, group: &[u8], members: &[RowKey]) -> Result<(), Failure> {
        for key in member_keys(group, members) {
            self.remove_membership(&key)?;
        }
        Ok(())
    }

    fn forget_members(&mut self, group: &[u8]) -> Result<(), Failure> {
        let prefix = codec::row_prefix(group);
        for key in self.directory.applied_members.keys_starting_with(&prefix)? {
            self.remove_membership(&key)?;
        }
        Ok(())
    }

    fn remove_membership(&mut self, key: &[u8]) -> Result<(), Failure> {
        if self.directory.applied_members.remove(key)?.is_some() {
            self.counts.members = self.counts.members.saturating_sub(1);
        }
        Ok(())
    }

    fn mark_rows_naming(&mut self, row: &[u8]) -> Result<(), Failure> {
        let names = seen::names_of(&self.profiles, row)?;
        seen::mark_naming(&mut self.directory, &self.profiles, &names)
    }

    fn count(&mut self, kind: Kind, applied: &Applied, step: fn(u64, u64) -> u64) {
        let counts = &mut self.counts;
        match kind {
            Kind::User => {
                counts.users = step(counts.users, 1);
                counts.active_users = step(counts.active_users, u64::from(applied.is_active()));
            }
            Kind::Group => counts.groups = step(counts.groups, 1),
        }
    }

    /// Gives up an acknowledged userName, unless another row has been given it since.
    fn drop_name(&mut self, key: &RowKey, applied: &Applied) -> Result<(), Failure> {
        let Some(name) = user_name(key, applied) else {
            return Ok(());
        };
        let (name, row) = (name_key(name), key.to_key());
        let names = &mut self.directory.user_names;
        if names.read(&name, |holder| Ok(holder == row))? == Some(true) {
            names.remove(name.as_slice())?;
        }
        Ok(())
    }

    /// Takes resources that are gone out of all groups, lets those that were handed on stay there as their new rows, and
    /// writes the counts.
    fn close(mut self) -> Result<(), Failure> {
        if !self.gone.is_empty() || !self.handed_on.is_empty() {
            // There is no index by member: one scan for each batch is cheap against writing one with each membership.
            let mut lost = Vec::new();
            for entry in self.directory.applied_members.after(None)? {
                let entry = entry?;
                let (group, member) = split_membership(entry.0.value())?;
                let heir = self.handed_on.get(member);
                if heir.is_some() || self.gone.contains(member) {
                    lost.push((entry.0.value().to_vec(), group.to_vec(), heir.cloned()));
                }
            }
            for (key, group, heir) in lost {
                self.remove_membership(&key)?;
                if let Some(heir) = heir {
                    let heir = codec::row_key(&heir)?;
                    self.add_members(&group, &[heir])?;
                }
                self.directory.mark(&group)?;
            }
        }
        let counts = codec::encode(&self.counts)?;
        self.counts_table.insert(
            self.lease.directory.0.as_bytes().as_slice(),
            counts.as_slice(),
        )?;
        Ok(())
    }
}

fn user_name<'a>(key: &RowKey, applied: &'a Applied) -> Option<&'a str> {
    let name = applied.attributes.get(&AttributePath::user_name())?;
    name.as_text().filter(|_| key.kind == Kind::User)
}

fn member_keys(group: &[u8], members: &[RowKey]) -> BTreeSet<Vec<u8>> {
    let prefix = codec::row_prefix(group);
    members
        .iter()
        .map(|member| [prefix.as_slice(), &member.to_key()].concat())
        .collect()
}

fn split_membership(key: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    let split = || {
        let (length, rest) = key.split_first_chunk()?;
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
    };
    split().ok_or_else(|| Failure::corrupt("a membership has a key that is not one"))
}
