//! The file: its mode, its opening, and the version of its tables.

use std::cell::Cell;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, StorageBackend, WriteTransaction};

use super::failure::Failure;
use super::migrations::{MIGRATIONS, Migration};
use super::tables::{META, Source, open_write};
use crate::store::{Error, ErrorKind, Settings};

const SCHEMA: &[u8] = b"schema";
/// The page cache of a store that is in no file.
const CACHE_BYTES: usize = 1024 * 1024;

/// Opens the file, or makes it, and brings its tables up to date.
pub(super) fn open(settings: &Settings) -> Result<Database, Error> {
    if let Some(made) = make(settings)? {
        return Ok(made);
    }
    let path = settings.path.as_path();
    let database = database(private_file(path)?, settings)?;
    migrate(&database, path, MIGRATIONS)?;
    Ok(database)
}

/// Opens the store on another disk than a file, and brings its tables up to date; `path` stands for it in messages.
pub(super) fn open_on(disk: impl StorageBackend, path: &Path) -> Result<Database, Error> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    let database = unless_damaged(path, || builder.create_with_backend(disk))?;
    migrate(&database, path, MIGRATIONS)?;
    Ok(database)
}

/// Makes the file where there is none: under another name, which it loses for its own when it is whole, because redb
/// does not know a file again that it was killed over. `None` when the file is there.
fn make(settings: &Settings) -> Result<Option<Database>, Error> {
    let path = settings.path.as_path();
    let failed = |error: io::Error| Failure::from(redb::StorageError::Io(error)).into_error(path);
    if path.try_exists().map_err(failed)? {
        return Ok(None);
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let file = private_file(&draft)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let in_use = Failure::from(DatabaseError::DatabaseAlreadyOpen);
            return Err(in_use.into_error(path));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // Whoever holds the lock makes the file; it may have been made, of this very draft, before the lock was free.
    if path.try_exists().map_err(failed)? {
        return Ok(None);
    }
    file.set_len(0).map_err(failed)?;
    let database = database(file, settings)?;
    migrate(&database, path, MIGRATIONS)?;
    std::fs::rename(&draft, path).map_err(failed)?;
    if let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        // A new name survives a loss of power only when its directory was written, too.
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
    }
    Ok(Some(database))
}

fn database(file: File, settings: &Settings) -> Result<Database, Error> {
    let reported = Cell::new(false);
    let open = || {
        Builder::new()
            .set_cache_size(settings.cache_mib.saturating_mul(1024 * 1024))
            .set_repair_callback(move |_| {
                if !reported.replace(true) {
                    tracing::info!("the store was not closed in order; checking it");
                }
            })
            .create_file(file)
    };
    unless_damaged(&settings.path, open)
}

/// Opens a database. redb panics on some damage; to whoever starts the relay that is one more damaged file.
fn unless_damaged(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, Error> {
    let failed = |failure: Failure| failure.into_error(path);
    catch_unwind(AssertUnwindSafe(open))
        .map_err(|_| failed(Failure::corrupt("a damaged page")))?
        .map_err(|error| failed(error.into()))
}

/// Opens the file with mode 0600; refuses one that others can read.
fn private_file(path: &Path) -> Result<File, Error> {
    let failed = |error: io::Error| Failure::from(redb::StorageError::Io(error)).into_error(path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let file = path.display();
        return Err(Error::new(
            ErrorKind::Disk,
            format!(
                "store file `{file}`: its mode {mode:04o} lets others at personal data; run `chmod 600 {file}`"
            ),
        ));
    }
    Ok(file)
}

/// Brings the tables to the version that these migrations end in.
pub(super) fn migrate(
    database: &Database,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), Error> {
    let current = u32::try_from(migrations.len()).unwrap_or(u32::MAX - 1) + 1;
    let run = || -> Result<Option<u32>, Failure> {
        let mut txn = database.begin_write()?;
        txn.set_quick_repair(true);
        let version = stored_version(&txn)?;
        match version {
            Some(version) if version > current => return Ok(Some(version)),
            Some(version) if version == current => return Ok(None),
            Some(version) => {
                let done = usize::try_from(version)
                    .unwrap_or_default()
                    .saturating_sub(1);
                for migration in migrations.iter().skip(done) {
                    migration(&txn)?;
                }
            }
            None => {}
        }
        open_write(&txn, META)?.insert(SCHEMA, current.to_be_bytes().as_slice())?;
        txn.commit()?;
        Ok(None)
    };
    match run().map_err(|failure| failure.into_error(path))? {
        None => Ok(()),
        Some(version) => Err(Error::new(
            ErrorKind::Newer,
            format!(
                "store file `{}`: it was written by a newer version (schema {version}, this one knows {current}); \
                 install that version, or put back the backup that was made before the upgrade",
                path.display()
            ),
        )),
    }
}

/// The version in the file; `None` for a file that is new.
fn stored_version(txn: &WriteTransaction) -> Result<Option<u32>, Failure> {
    let is_new = txn.list_tables()?.next().is_none();
    if is_new {
        return Ok(None);
    }
    let version = open_write(txn, META)?.read(SCHEMA, |bytes| {
        let version = bytes.try_into().map(u32::from_be_bytes);
        version.map_err(|_| Failure::corrupt("the version of the tables is no number"))
    })?;
    version
        .filter(|version| *version > 0)
        .map(Some)
        .ok_or_else(|| Failure::corrupt("it does not say which version its tables have"))
}
