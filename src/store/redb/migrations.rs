//! Migrations: what brings the tables of an older version to this one.

use chrono::{DateTime, Utc};
use redb::{TableDefinition, TableHandle as _, WriteTransaction};

use super::codec;
use super::failure::Failure;
use super::holds::held_key;
use super::tables::{LEDGERS, PLANS, STEPS, Source as _, open_write};
use crate::plan::held::Held;
use crate::plan::tally::Tally;

/// Brings tables from one version to the next.
pub(super) type Migration = fn(&WriteTransaction) -> Result<(), Failure>;

/// The steps from version 1 on; the file's version is one more than their number when they have all been taken.
pub(super) const MIGRATIONS: &[Migration] = &[without_plans, with_dated_changes];

/// To version 2: plans say which of their steps wait. Those of version 1 do not; what still differs is planned anew.
fn without_plans(txn: &WriteTransaction) -> Result<(), Failure> {
    for name in [PLANS, STEPS] {
        txn.delete_table(TableDefinition::<&[u8], &[u8]>::new(name))?;
    }
    Ok(())
}

/// To version 3: what a person keeps and what waits of one row and job have keys of their own, and a changed definition has a date.
fn with_dated_changes(txn: &WriteTransaction) -> Result<(), Failure> {
    let is_held = |name: &str| name.starts_with("d/") && name.split('/').nth(2) == Some("held");
    let tables = txn.list_tables()?.map(|table| table.name().to_owned());
    let tables: Vec<String> = tables.filter(|name| is_held(name)).collect();
    for name in tables {
        let mut table = open_write(txn, &name)?;
        for key in table.keys_starting_with(&[])? {
            let Some(record) = table
                .remove(key.as_slice())?
                .map(|old| old.value().to_vec())
            else {
                continue;
            };
            if let Some(key) = codec::decode::<Held>(&record)?.key() {
                table.insert(held_key(&key).as_slice(), record.as_slice())?;
            }
        }
    }
    date_changes(txn)
}

fn date_changes(txn: &WriteTransaction) -> Result<(), Failure> {
    type Before = (Vec<(i64, Tally)>, bool, Option<DateTime<Utc>>);
    let mut ledgers = open_write(txn, LEDGERS)?;
    for profile in ledgers.keys_starting_with(&[])? {
        // The last stores of version 2 have the date already: where that is there, nothing can be mistaken for the old form.
        let old = |record: &[u8]| Ok(codec::decode::<Before>(record).ok());
        let Some((hours, changed, cleared_at)) = ledgers.read(&profile, old)?.flatten() else {
            continue;
        };
        // When is not known, so whoever is gone may be gone because of it.
        let changed_at = changed.then_some(DateTime::UNIX_EPOCH);
        let record = codec::encode(&(hours, changed_at, cleared_at))?;
        ledgers.insert(profile.as_slice(), record.as_slice())?;
    }
    Ok(())
}
