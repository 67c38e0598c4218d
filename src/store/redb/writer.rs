//! The writer: one thread that carries out write transactions one after the other, and removes leftovers when it is quiet.

use std::io;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redb::Database;

use super::leftovers;

/// How long nobody must have written before a part of the leftovers goes. One change is a dozen writes, one after the other with
/// less between them, and none of these is to wait for a part.
const QUIET: Duration = Duration::from_millis(20);
/// Tasks after which a part goes although there are more.
pub(super) const TASKS_AT_MOST: usize = 64;

/// One transaction, which answers its caller by itself.
pub(super) type Task = Box<dyn FnOnce(&Database) + Send>;

/// The thread and its queue. Dropping it lets the queue run empty first, so that nothing that was asked for is lost.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread; `path` is for its messages.
    pub(super) fn start(database: Arc<Database>, path: &Path) -> io::Result<Self> {
        let (queue, tasks) = mpsc::channel::<Task>();
        let path = path.to_owned();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || carry_out(&database, &tasks, &path))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Adds a transaction to the queue. When the thread is gone the task is dropped, and with it the caller's answer.
    pub(super) fn submit(&self, task: Task) {
        if let Some(queue) = &self.queue {
            // The caller sees that no answer comes.
            let _ = queue.send(task);
        }
    }
}

/// Carries out what is in the queue until that is closed. When it is quiet, or busy for long, one part of the leftovers goes: a
/// task waits for no more than one part.
fn carry_out(database: &Database, tasks: &mpsc::Receiver<Task>, path: &Path) {
    let (mut are_left, mut can_be_removed) = (true, true);
    let (mut since_part, mut patience) = (0, QUIET);
    loop {
        let task = match are_left {
            true if since_part < TASKS_AT_MOST => tasks.recv_timeout(patience),
            true => Err(RecvTimeoutError::Timeout),
            false => tasks.recv().map_err(RecvTimeoutError::from),
        };
        match task {
            Ok(task) => {
                task(database);
                since_part += 1;
                patience = QUIET;
                are_left = can_be_removed;
            }
            Err(RecvTimeoutError::Timeout) => {
                // Once it is quiet, the parts follow each other until it is not.
                since_part = 0;
                patience = Duration::ZERO;
                are_left = leftovers::remove_part(database).unwrap_or_else(|failure| {
                    can_be_removed = false;
                    let error = failure.into_error(path);
                    tracing::warn!(%error, "what is left of forgotten jobs could not be removed; the next start tries again");
                    false
                });
            }
            // What is left is found at the next start.
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told its caller already.
            let _ = thread.join();
        }
    }
}
