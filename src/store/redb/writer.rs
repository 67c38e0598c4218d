//! The writer: one thread that carries out write transactions one after the other.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use redb::Database;

/// One transaction, which answers its caller by itself.
pub(super) type Task = Box<dyn FnOnce(&Database) + Send>;

/// The thread and its queue. Dropping it lets the queue run empty first, so that nothing that was asked for is lost.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(database: Arc<Database>) -> io::Result<Self> {
        let (queue, tasks) = mpsc::channel::<Task>();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                for task in tasks {
                    task(&database);
                }
            })?;
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

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told its caller already.
            let _ = thread.join();
        }
    }
}
