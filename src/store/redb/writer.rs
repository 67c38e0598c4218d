//! The writer: one thread that carries out write transactions one after the other, and removes leftovers between them.

use std::io;
use std::path::Path;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use redb::Database;

use super::leftovers;

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

/// Carries out what is in the queue until that is closed. After each task, and as long as there is none, one part of the
/// leftovers goes, so that a task waits for no more than one part, and the parts for no more than one task.
fn carry_out(database: &Database, tasks: &mpsc::Receiver<Task>, path: &Path) {
    let (mut are_left, mut can_be_removed) = (true, true);
    loop {
        let task = match are_left {
            true => tasks.try_recv(),
            false => tasks.recv().map_err(TryRecvError::from),
        };
        match task {
            Ok(task) => task(database),
            Err(TryRecvError::Empty) => {}
            // What is left is found at the next start.
            Err(TryRecvError::Disconnected) => return,
        }
        are_left = can_be_removed
            && leftovers::remove_part(database).unwrap_or_else(|failure| {
                can_be_removed = false;
                let error = failure.into_error(path);
                tracing::warn!(%error, "what is left of forgotten jobs could not be removed; the next start tries again");
                false
            });
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
