//! The tables by name, and one way to read them whether they are open for reading, for writing, or not there yet.

use std::ops::Bound;

use redb::{
    AccessGuard, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, TableError, WriteTransaction,
};

use super::codec;
use super::failure::Failure;
use crate::id::{DirectoryId, ProfileKey, ProfileName};

/// Keys and values are bytes; [`codec`] gives them meaning.
type Bytes = &'static [u8];
/// A table that is open for writing.
pub(super) type WriteTable<'t> = Table<'t, Bytes, Bytes>;
/// A table that is open for reading; `None` where nothing was ever written to it, which reads as empty.
pub(super) type ReadTable = Option<ReadOnlyTable<Bytes, Bytes>>;

/// `schema` → the version of the tables; `generation` → how far they were written, and in which file; `audit` → where the audit
/// log ends; `key-check` → a constant, sealed.
pub(super) const META: &str = "meta";
/// Directory → the term of its lease.
pub(super) const LEASES: &str = "leases";
/// Directory → the address of the target that its rows are linked at.
pub(super) const TARGETS: &str = "targets";
/// Directory → how many of its rows are linked.
pub(super) const COUNTS: &str = "counts";
/// Directory, profile → the profile's state. Every profile that ever wrote has a row here.
pub(super) const PROFILES: &str = "profiles";
/// Directory, profile → what the guard counts of the last 24 hours.
pub(super) const LEDGERS: &str = "ledgers";
/// Directory, profile → why what is known of it may be old.
pub(super) const RESTORED: &str = "restored";
/// Job → the head of its plan.
pub(super) const PLANS: &str = "plans";
/// Job, class, number → step.
pub(super) const STEPS: &str = "steps";
/// Job → nothing; what is there of its steps is forgotten.
pub(super) const STEPS_LEFT: &str = "steps_left";
/// Job → the job.
pub(super) const JOBS: &str = "jobs";
/// Job, number → line of the journal.
pub(super) const JOURNAL: &str = "journal";
/// Job → nothing; what is there of its lines in the journal is forgotten.
pub(super) const JOURNAL_LEFT: &str = "journal_left";
/// Number → digest and event: the audit log.
pub(super) const AUDIT: &str = "audit";
/// Tenant or directory → its definition, where it was entered through the API.
pub(super) const DEFINITIONS: &str = "definitions";
/// Id → token.
pub(super) const TOKENS: &str = "tokens";

/// An entry of a table.
pub(super) type Entry<'a> = (AccessGuard<'a, Bytes>, AccessGuard<'a, Bytes>);

/// A table that can be read. The first error of a scan is an error of the whole call.
pub(super) trait Source {
    /// The table of the database.
    type Table: ReadableTable<Bytes, Bytes> + ReadableTableMetadata;

    /// The table, unless it is not there yet.
    fn table(&self) -> Option<&Self::Table>;

    /// Reads one value where it lies.
    fn read<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let Some(table) = self.table() else {
            return Ok(None);
        };
        table.get(key)?.map(|value| read(value.value())).transpose()
    }

    /// How many entries it has; not counted one by one.
    fn count(&self) -> Result<u64, Failure> {
        let count = self.table().map(|table| table.len()).transpose()?;
        Ok(count.unwrap_or(0))
    }

    /// Whether there is such a key.
    fn has(&self, key: &[u8]) -> Result<bool, Failure> {
        Ok(self.read(key, |_| Ok(()))?.is_some())
    }

    /// All entries between two bounds, in order; from both ends.
    fn between<'a>(
        &'a self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Entry<'a>, Failure>> + use<'a, Self>, Failure>
    {
        let range = match self.table() {
            Some(table) => Some(table.range::<&[u8]>((from, to))?),
            None => None,
        };
        Ok(range
            .into_iter()
            .flatten()
            .map(|entry| entry.map_err(Failure::from)))
    }

    /// All entries after a key, or all, in order.
    fn after<'a>(
        &'a self,
        key: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<Entry<'a>, Failure>> + use<'a, Self>, Failure> {
        self.between(
            key.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        )
    }

    /// All entries whose keys begin so, in order.
    fn starting_with<'a>(
        &'a self,
        prefix: &[u8],
    ) -> Result<impl Iterator<Item = Result<Entry<'a>, Failure>> + use<'a, Self>, Failure> {
        let prefix = prefix.to_vec();
        let range = self.between(Bound::Included(&prefix), Bound::Unbounded)?;
        Ok(range.take_while(move |entry| {
            entry
                .as_ref()
                .map_or(true, |(key, _)| key.value().starts_with(&prefix))
        }))
    }

    /// The keys that begin so, in order.
    fn keys_starting_with(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        self.starting_with(prefix)?
            .map(|entry| Ok(entry?.0.value().to_vec()))
            .collect()
    }
}

impl Source for WriteTable<'_> {
    type Table = Self;

    fn table(&self) -> Option<&Self> {
        Some(self)
    }
}

impl Source for ReadTable {
    type Table = ReadOnlyTable<Bytes, Bytes>;

    fn table(&self) -> Option<&Self::Table> {
        self.as_ref()
    }
}

/// Opens a table for writing, and makes it where it is not there.
pub(super) fn open_write<'t>(
    txn: &'t WriteTransaction,
    name: &str,
) -> Result<WriteTable<'t>, Failure> {
    Ok(txn.open_table(TableDefinition::<Bytes, Bytes>::new(name))?)
}

/// Opens a table for reading.
pub(super) fn open_read(txn: &ReadTransaction, name: &str) -> Result<ReadTable, Failure> {
    match txn.open_table(TableDefinition::<Bytes, Bytes>::new(name)) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The name of a table of a directory.
pub(super) fn of_directory(directory: DirectoryId, table: &str) -> String {
    format!("d/{directory}/{table}")
}

/// The name of a table of a profile.
pub(super) fn of_profile(profile: &ProfileKey, table: &str) -> String {
    format!("d/{}/p/{}/{table}", profile.directory, profile.profile)
}

/// The tables of a directory.
pub(super) struct DirectoryTables<S> {
    /// Row → what the target last acknowledged.
    pub applied: S,
    /// Group, member → nothing.
    pub applied_members: S,
    /// Row → its conflicts, in order of their attributes.
    pub conflicts: S,
    /// Conflict → row; those that wait for a person.
    pub conflicts_open: S,
    /// Conflict → row; those of which one side was taken.
    pub conflicts_taken: S,
    /// Row → what a person decided on a match.
    pub decisions: S,
    /// Row → nothing; the rows that differ.
    pub dirty: S,
    /// Row → the match at the target.
    pub found: S,
    /// Row, job → steps that are not planned again.
    pub held: S,
    /// Row, class, part → intent.
    pub intents: S,
    /// Row → what last became of it.
    pub outcomes: S,
    /// Row → what was brought back of it when it was last compared.
    pub repairs: S,
    /// Digest of an acknowledged userName → row.
    pub user_names: S,
}

impl<S> DirectoryTables<S> {
    fn open(
        directory: DirectoryId,
        open: impl Fn(&str) -> Result<S, Failure>,
    ) -> Result<Self, Failure> {
        let open = |table| open(&of_directory(directory, table));
        Ok(Self {
            applied: open("applied")?,
            applied_members: open("applied_members")?,
            conflicts: open("conflicts")?,
            conflicts_open: open("conflicts_open")?,
            conflicts_taken: open("conflicts_taken")?,
            decisions: open("decisions")?,
            dirty: open("dirty")?,
            found: open("found")?,
            held: open("held")?,
            intents: open("intents")?,
            outcomes: open("outcomes")?,
            repairs: open("repairs")?,
            user_names: open("user_names")?,
        })
    }
}

impl<'t> DirectoryTables<WriteTable<'t>> {
    /// Opens them for writing.
    pub(super) fn write(
        txn: &'t WriteTransaction,
        directory: DirectoryId,
    ) -> Result<Self, Failure> {
        Self::open(directory, |name| open_write(txn, name))
    }

    /// Marks a row as different. Most rows that are marked for another row's sake have their marks already, and a look costs
    /// less than a page that is written again.
    pub(super) fn mark(&mut self, row: &[u8]) -> Result<(), Failure> {
        if !self.dirty.has(row)? {
            self.dirty.insert(row, [].as_slice())?;
        }
        Ok(())
    }
}

impl DirectoryTables<ReadTable> {
    /// Opens them for reading.
    pub(super) fn read(txn: &ReadTransaction, directory: DirectoryId) -> Result<Self, Failure> {
        Self::open(directory, |name| open_read(txn, name))
    }
}

/// The tables of a profile.
pub(super) struct ProfileTables<S> {
    /// The profile.
    pub profile: ProfileName,
    /// Row → digest; present rows only, so that one scan gives the index that a read is compared against.
    pub digests: S,
    /// Row → what was last read of it.
    pub seen: S,
    /// Name → the present row that has it.
    pub names: S,
    /// Name → the user who had it before he was renamed or went.
    pub former_names: S,
    /// Name, row → nothing; the present rows that name somebody so: groups a member, users a manager.
    pub named_by: S,
    /// Place, row → nothing; the present rows that lie there.
    pub places: S,
}

impl<S> ProfileTables<S> {
    fn open(
        profile: &ProfileKey,
        open: impl Fn(&str) -> Result<S, Failure>,
    ) -> Result<Self, Failure> {
        let open = |table| open(&of_profile(profile, table));
        Ok(Self {
            profile: profile.profile.clone(),
            digests: open("digests")?,
            seen: open("seen")?,
            names: open("names")?,
            former_names: open("former_names")?,
            named_by: open("named_by")?,
            places: open("places")?,
        })
    }
}

impl<'t> ProfileTables<WriteTable<'t>> {
    /// Opens those of every profile of a directory for writing.
    pub(super) fn write_all(
        txn: &'t WriteTransaction,
        directory: DirectoryId,
    ) -> Result<Vec<Self>, Failure> {
        let profiles = open_write(txn, PROFILES)?;
        let mut all = Vec::new();
        for key in profiles.keys_starting_with(directory.0.as_bytes())? {
            let name = key.get(16..).map(<[u8]>::to_vec).unwrap_or_default();
            let name = String::from_utf8(name)
                .map_err(|_| Failure::corrupt("a profile has a name that is not text"))?;
            let profile = ProfileKey {
                directory,
                profile: ProfileName(name),
            };
            all.push(Self::open(&profile, |name| open_write(txn, name))?);
        }
        Ok(all)
    }
}

impl ProfileTables<ReadTable> {
    /// Opens those of one profile for reading.
    pub(super) fn read(txn: &ReadTransaction, profile: &ProfileKey) -> Result<Self, Failure> {
        Self::open(profile, |name| open_read(txn, name))
    }

    /// Opens those of some profiles for reading, in the given order.
    pub(super) fn read_some(
        txn: &ReadTransaction,
        directory: DirectoryId,
        profiles: &[ProfileName],
    ) -> Result<Vec<Self>, Failure> {
        let key = |profile: &ProfileName| ProfileKey {
            directory,
            profile: profile.clone(),
        };
        profiles
            .iter()
            .map(|profile| Self::read(txn, &key(profile)))
            .collect()
    }
}

/// Makes sure that a profile is in the list of its directory.
pub(super) fn enlist(txn: &WriteTransaction, profile: &ProfileKey) -> Result<(), Failure> {
    let key = codec::profile_key(profile);
    let mut profiles = open_write(txn, PROFILES)?;
    if !profiles.has(&key)? {
        let state = codec::encode(&crate::snapshot::ProfileState::default())?;
        profiles.insert(key.as_slice(), state.as_slice())?;
    }
    Ok(())
}
