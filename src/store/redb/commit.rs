//! The store and its transactions: how durable each commit is, and one of them from its beginning to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::failure::Failure;
use super::generation::{self, Beside};
use super::readers::Readers;
use super::writer::Writer;
use crate::store::{Error, ErrorKind};

/// Rows of a write that may wait for the disk: more than these are no small matter to write again, nor to keep in memory.
const ROWS_OF_LATER_MAX: usize = 256;

/// How a commit is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// In memory, and on disk with the next commit of another kind. Commits keep their order, so a kill takes back the last of
    /// them and never one before another: for what nothing outside depends on yet, because a run would only do it again.
    Later,
    /// In two phases.
    Bulk,
    /// In two phases, and such that opening after a crash takes milliseconds, for a little more work now: for small
    /// writes that something outside depends on.
    Outbox,
}

impl Commit {
    /// How so many rows are written that a run would only write again.
    pub(super) fn of_rows(rows: usize) -> Self {
        match rows {
            0..=ROWS_OF_LATER_MAX => Self::Later,
            _ => Self::Bulk,
        }
    }
}

/// Carries out a write transaction.
pub(super) fn transact<T>(
    database: &Database,
    commit: Commit,
    work: impl FnOnce(&WriteTransaction) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut txn = database.begin_write()?;
    txn.set_two_phase_commit(true);
    txn.set_quick_repair(commit == Commit::Outbox);
    if commit == Commit::Later {
        txn.set_durability(Durability::None)?;
    }
    let result = work(&txn)?;
    txn.commit()?;
    Ok(result)
}

/// The store behind the trait.
pub(super) struct RedbStore {
    pub(super) database: Arc<Database>,
    pub(super) writer: Writer,
    readers: Readers,
    pub(super) path: PathBuf,
    /// The file beside the store; none where the store is in no file.
    pub(super) beside: Option<Beside>,
}

impl RedbStore {
    /// The store of a database; `path` is for its messages.
    pub(super) fn start(
        database: Database,
        path: &Path,
        beside: Option<Beside>,
    ) -> Result<Self, Error> {
        let database = Arc::new(database);
        let failed = |error| Failure::from(redb::StorageError::Io(error)).into_error(path);
        let writer = Writer::start(database.clone(), path).map_err(failed)?;
        let readers = Readers::start().map_err(failed)?;
        Ok(Self {
            database,
            writer,
            readers,
            path: path.to_owned(),
            beside,
        })
    }

    /// Carries out one write transaction. It is carried out even when the caller no longer waits for it.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        commit: Commit,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.writer.submit(Box::new(move |database| {
            // A caller that no longer waits needs no answer.
            let _ = reply.send(transact(database, commit, work));
        }));
        match answer.await {
            Ok(result) => result.map_err(|failure| failure.into_error(&self.path)),
            Err(_) => Err(self.stopped(
                "the writer stopped at a defect or at a damaged page; start the relay again",
            )),
        }
    }

    /// Carries out a write transaction after which a copy of the file from before is an old one.
    pub(super) async fn write_on<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let written = self.write(Commit::Outbox, move |txn| {
            let done = work(txn)?;
            Ok((done, generation::advance(txn)?))
        });
        let (done, number) = written.await?;
        if let Some(beside) = &self.beside {
            beside.note(number);
        }
        Ok(done)
    }

    /// Carries out one read transaction.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let database = self.database.clone();
        self.readers.submit(Box::new(move || {
            let read = || work(&database.begin_read()?);
            let result = read();
            drop(database);
            // A caller that no longer waits needs no answer.
            Box::new(move || drop(reply.send(result)))
        }));
        match answer.await {
            Ok(result) => result.map_err(|failure| failure.into_error(&self.path)),
            Err(_) => Err(self
                .stopped("a read stopped at a defect or at a damaged page; start the relay again")),
        }
    }

    fn stopped(&self, what: &str) -> Error {
        let file = self.path.display();
        Error::new(ErrorKind::Defect, format!("store file `{file}`: {what}"))
    }
}
