//! The generation: a number that rises with all that the store learns of targets, kept in the file and in a small one beside it,
//! so that a file that was put back from a copy is known for one.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use chrono::Utc;
use redb::{Database, WriteTransaction};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::failure::Failure;
use super::tables::{META, PROFILES, RESTORED, Source as _, open_read, open_write};
use super::{Commit, RedbStore, codec, lease};
use crate::id::ProfileKey;
use crate::store::restored::{Restorations, Restored};
use crate::store::{Error, Lease};

/// The key of the stamp.
const STAMP: &[u8] = b"generation";
/// More than the file beside the store ever has.
const BESIDE_MAX: u64 = 256;

/// What the store says of its own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// Which store it is, since it was made.
    id: Uuid,
    /// Its generation.
    number: u64,
    /// The file in which it was last opened.
    file: Identity,
    /// Whether there was a file beside it.
    beside: bool,
    /// Why it was doubted when it was last opened, if it was.
    doubted: Option<Doubt>,
}

/// Which file it is. A number alone is given to the next file at once, by most file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    inode: u64,
    /// When it came to be, in nanoseconds since 1970; 0 where the file system does not say.
    born: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok();
        let born = born.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let nanoseconds = born.and_then(|time| u64::try_from(time.as_nanos()).ok());
        Self {
            inode: metadata.ino(),
            born: nanoseconds.unwrap_or_default(),
        }
    }
}

/// Why a store may be older than what was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Doubt {
    /// It is behind the file beside it, or another one.
    Older,
    /// The file beside it is not there.
    Alone,
    /// It is another file than before.
    AnotherFile,
}

impl Doubt {
    fn words(self) -> &'static str {
        match self {
            Self::Older => {
                "it is older than what was last written here, as one is that was put back from a backup"
            }
            Self::Alone => {
                "the file beside it is missing, as when it was brought here from somewhere else"
            }
            Self::AnotherFile => {
                "it is another file than the one that was last written, as when its folder was restored or copied"
            }
        }
    }

    /// Whether it means nothing: where it was the same at the last start, that is how this machine keeps files.
    fn is_usual(self, before: Option<Stamp>) -> bool {
        self != Self::Older && before.is_some_and(|stamp| stamp.doubted == Some(self))
    }
}

/// The file beside the store, which says of which store it is, and how far that was last written.
pub(super) struct Beside {
    file: Option<File>,
    id: Uuid,
    last: Mutex<u64>,
}

impl Beside {
    /// Notes a generation that is durable. Where this is lost the file is behind the store, and that means nothing.
    pub(super) fn note(&self, number: Option<u64>) {
        let (Some(file), Some(number)) = (&self.file, number) else {
            return;
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= *last {
            return;
        }
        // Always as long as before, so that it is never cut off; a few bytes wait for no disk.
        let text = format!("{} {number:020}\n", self.id);
        match file.write_all_at(text.as_bytes(), 0) {
            Ok(()) => *last = number,
            Err(error) => {
                tracing::debug!(%error, "the file beside the store could not be written");
            }
        }
    }
}

/// Opens the file beside a store, and marks all profiles where the store is not the file that was last written here.
pub(super) fn open(database: &Database, path: &Path, is_new: bool) -> Result<Beside, Failure> {
    let metadata = std::fs::metadata(path).map_err(redb::StorageError::Io)?;
    let place = beside(path);
    let (file, known) = match open_beside(&place) {
        Ok((file, known)) => (Some(file), known),
        Err(error) => {
            tracing::warn!(file = %place.display(), %error, "the file beside the store cannot be opened, so an old store that is \
                put in its place may not be noticed");
            (None, None)
        }
    };
    let mut txn = database.begin_write()?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(true);
    let before = open_write(&txn, META)?.read(STAMP, codec::decode::<Stamp>)?;
    let identity = Identity::of(&metadata);
    let doubted = doubt(before, known, identity).filter(|_| !is_new);
    let id = before.map_or_else(Uuid::now_v7, |stamp| stamp.id);
    let numbers = [
        before.map(|stamp| stamp.number),
        known
            .filter(|(other, _)| *other == id)
            .map(|(_, number)| number),
    ];
    let stamp = Stamp {
        id,
        number: numbers.into_iter().flatten().max().unwrap_or_default() + 1,
        file: identity,
        beside: file.is_some(),
        doubted,
    };
    put(&txn, stamp)?;
    if let Some(doubt) = doubted.filter(|doubt| !doubt.is_usual(before)) {
        mark_profiles(&txn, path, doubt.words())?;
    }
    txn.commit()?;
    let beside = Beside {
        file,
        id,
        last: Mutex::new(0),
    };
    beside.note(Some(stamp.number));
    Ok(beside)
}

/// Why a store may be older than what was last written here: it is another one, it is behind, or it is another file. A copy of
/// the whole machine, with all that is beside the store, is not told by this.
fn doubt(stamp: Option<Stamp>, beside: Option<(Uuid, u64)>, file: Identity) -> Option<Doubt> {
    match (stamp, beside) {
        (None, None) => None,
        (None, Some(_)) => Some(Doubt::Older),
        (Some(stamp), Some((id, number))) if id != stamp.id || number > stamp.number => {
            Some(Doubt::Older)
        }
        (Some(stamp), None) if stamp.beside => Some(Doubt::Alone),
        (Some(stamp), _) if stamp.file != file => Some(Doubt::AnotherFile),
        (Some(_), _) => None,
    }
}

/// Has all profiles compared anew.
fn mark_profiles(txn: &WriteTransaction, path: &Path, why: &str) -> Result<(), Failure> {
    let profiles = open_write(txn, PROFILES)?.keys_starting_with(&[])?;
    if profiles.is_empty() {
        return Ok(());
    }
    let file = path.display();
    let why = format!(
        "store file `{file}`: {why}. What happened since may be unknown, so directory and target are read and compared before \
         anything is planned, and nothing is taken away from anybody until a run has done that. Decisions of persons since are \
         lost: see what the next runs take away. Where the file is the right one there is nothing to do"
    );
    tracing::warn!("{why}");
    let restored = Restored {
        since: Utc::now(),
        why,
    };
    let record = codec::encode(&restored)?;
    let mut table = open_write(txn, RESTORED)?;
    for profile in profiles {
        // Since the first doubt, or a start each day would renew the wait for ever.
        if !table.has(&profile)? {
            table.insert(profile.as_slice(), record.as_slice())?;
        }
    }
    Ok(())
}

/// Goes on to the next generation; `None` for a store that is in no file.
pub(super) fn advance(txn: &WriteTransaction) -> Result<Option<u64>, Failure> {
    let before = open_write(txn, META)?.read(STAMP, codec::decode::<Stamp>)?;
    let Some(before) = before else {
        return Ok(None);
    };
    let number = before.number + 1;
    put(txn, Stamp { number, ..before })?;
    Ok(Some(number))
}

fn put(txn: &WriteTransaction, stamp: Stamp) -> Result<(), Failure> {
    let record = codec::encode(&stamp)?;
    open_write(txn, META)?.insert(STAMP, record.as_slice())?;
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".generation");
    PathBuf::from(name)
}

/// The file beside the store, and what it says; one that cannot be understood says nothing.
fn open_beside(place: &Path) -> std::io::Result<(File, Option<(Uuid, u64)>)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(place)?;
    let mut text = String::new();
    let read = (&file).take(BESIDE_MAX).read_to_string(&mut text);
    Ok((file, read.ok().and_then(|_| said(&text))))
}

fn said(text: &str) -> Option<(Uuid, u64)> {
    let (id, number) = text.trim_end().split_once(' ')?;
    Some((id.parse().ok()?, number.parse().ok()?))
}

#[async_trait]
impl Restorations for RedbStore {
    async fn restored(&self, profile: &ProfileKey) -> Result<Option<Restored>, Error> {
        let key = codec::profile_key(profile);
        self.read(move |txn| open_read(txn, RESTORED)?.read(&key, codec::decode))
            .await
    }

    async fn note_caught_up(&self, lease: &Lease, profile: &ProfileKey) -> Result<(), Error> {
        let (lease, profile) = (*lease, profile.clone());
        self.write(Commit::Bulk, move |txn| {
            lease::check_for(txn, &lease, profile.directory)?;
            open_write(txn, RESTORED)?.remove(codec::profile_key(&profile).as_slice())?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_doubted_when_it_is_behind_another_or_alone() {
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let file = |inode, born| Identity { inode, born };
        let stamp = Stamp {
            id,
            number: 5,
            file: file(7, 1),
            beside: true,
            doubted: None,
        };
        let alone = Stamp {
            beside: false,
            ..stamp
        };
        let (same, older) = (file(7, 1), Some(Doubt::Older));
        for (stamp, beside, file, expected) in [
            // A new one, or one of an earlier version.
            (None, None, same, None),
            (Some(stamp), Some((id, 5)), same, None),
            // The power was lost before the one beside was written.
            (Some(stamp), Some((id, 4)), same, None),
            (Some(alone), None, same, None),
            (Some(stamp), Some((id, 6)), same, older),
            (Some(stamp), Some((other, 1)), same, older),
            (None, Some((id, 5)), same, older),
            (Some(stamp), None, same, Some(Doubt::Alone)),
            (
                Some(stamp),
                Some((id, 5)),
                file(8, 1),
                Some(Doubt::AnotherFile),
            ),
            (
                Some(stamp),
                Some((id, 5)),
                file(7, 2),
                Some(Doubt::AnotherFile),
            ),
            (Some(alone), None, file(8, 1), Some(Doubt::AnotherFile)),
        ] {
            assert_eq!(doubt(stamp, beside, file), expected, "{stamp:?} {beside:?}");
        }
        // Where each start has another file, that says nothing; that a store is behind always does.
        let after = |doubted| Some(Stamp { doubted, ..stamp });
        for doubt in [Doubt::Alone, Doubt::AnotherFile] {
            assert!(doubt.is_usual(after(Some(doubt))));
            assert!(!doubt.is_usual(after(None)) && !doubt.is_usual(after(older)));
        }
        assert!(!Doubt::Older.is_usual(after(older)));
    }
}
