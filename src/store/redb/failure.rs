//! What can go wrong inside a transaction, and the words for it that name the file and the cure.

use std::io;
use std::path::Path;

use crate::store::{Error, ErrorKind};

/// An error inside a transaction, before the file's name is known.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database or the disk below it.
    Redb(redb::Error),
    /// A rule of the store itself.
    Rule(Error),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl Failure {
    /// A broken invariant.
    pub(super) fn defect(message: impl Into<String>) -> Self {
        Self::Rule(Error::new(ErrorKind::Defect, message))
    }

    /// A record that cannot be what it should be.
    pub(super) fn corrupt(message: impl Into<String>) -> Self {
        Self::Redb(redb::Error::Corrupted(message.into()))
    }

    /// The error for the caller, with the file's name.
    pub(super) fn into_error(self, path: &Path) -> Error {
        let file = path.display();
        let error = match self {
            Self::Rule(error) => return error,
            Self::Redb(error) => error,
        };
        let kind = kind_of(&error);
        let cure = match kind {
            ErrorKind::InUse => "use the API of the relay that is running, or stop it".to_owned(),
            ErrorKind::Corrupt => {
                "put a backup in its place; without one, move the file away and start again: the next run then links to \
                 what the target already holds"
                    .to_owned()
            }
            ErrorKind::Disk => disk_cure(&error, path),
            ErrorKind::Newer | ErrorKind::LeaseLost | ErrorKind::Defect => "report this as a defect".to_owned(),
        };
        Error::new(kind, format!("store file `{file}`: {error}; {cure}"))
    }
}

fn kind_of(error: &redb::Error) -> ErrorKind {
    use redb::Error as E;
    match error {
        E::DatabaseAlreadyOpen => ErrorKind::InUse,
        E::Corrupted(_)
        | E::RepairAborted
        | E::UpgradeRequired(_)
        | E::TableTypeMismatch { .. }
        | E::TableIsMultimap(_)
        | E::TypeDefinitionChanged { .. } => ErrorKind::Corrupt,
        // What is in the file does not fit its length or its format: that is not the disk's refusal.
        E::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            ErrorKind::Corrupt
        }
        E::Io(_) | E::PreviousIo | E::Unsupported => ErrorKind::Disk,
        _ => ErrorKind::Defect,
    }
}

fn disk_cure(error: &redb::Error, path: &Path) -> String {
    let redb::Error::Io(error) = error else {
        return "the disk refused before; cure that and start the relay again".to_owned();
    };
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on its disk, then start the relay again; nothing that was acknowledged is lost".to_owned()
        }
        io::ErrorKind::FileTooLarge => {
            "raise the limit on the size of a file (`ulimit -f`, systemd's LimitFSIZE), then start the relay again; \
             nothing that was acknowledged is lost"
                .to_owned()
        }
        io::ErrorKind::ReadOnlyFilesystem => "put it on a disk that can be written".to_owned(),
        io::ErrorKind::PermissionDenied => "let the relay's user read and write it (`chown`, `chmod 600`)".to_owned(),
        io::ErrorKind::NotFound => match path.parent().filter(|parent| !parent.exists()) {
            Some(parent) => format!("make the directory `{}`", parent.display()),
            None => "check the path".to_owned(),
        },
        _ => "check the disk, then start the relay again".to_owned(),
    }
}
