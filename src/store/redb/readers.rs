//! The readers: some threads that carry out read transactions, as few of them as there are reads at once.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

/// Reads that go on at once at the most.
const READERS: usize = 4;

/// One read transaction; what it gives answers the caller.
pub(super) type Task = Box<dyn FnOnce() -> Answer + Send>;
/// Passes on what was read.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// The threads. The one that rested last goes first, and another one is started only where none rests: what a thread read of a
/// large group stays with the allocator for it, and is taken again by the next read that it carries out. Dropping them ends the
/// threads once everything that was asked for is read.
pub(super) struct Readers {
    desk: Arc<Mutex<Desk>>,
}

#[derive(Default)]
struct Desk {
    threads: Vec<Reader>,
    /// The numbers of those that have nothing to do.
    resting: Vec<usize>,
    /// What nobody does yet.
    waiting: VecDeque<Task>,
}

struct Reader {
    queue: mpsc::Sender<Task>,
    thread: JoinHandle<()>,
}

impl Readers {
    /// Starts the first thread.
    pub(super) fn start() -> io::Result<Self> {
        let desk = Arc::default();
        let first = start_another(&desk, &mut lock(&desk))?;
        lock(&desk).resting.push(first);
        Ok(Self { desk })
    }

    /// Gives a read to a thread that rests, to another one, or to the first that has done what it does.
    pub(super) fn submit(&self, task: Task) {
        let mut desk = lock(&self.desk);
        let number = match desk.resting.pop() {
            None if desk.threads.len() < READERS => start_another(&self.desk, &mut desk).ok(),
            resting => resting,
        };
        match number.and_then(|number| desk.threads.get(number)) {
            // The caller sees that no answer comes.
            Some(reader) => drop(reader.queue.send(task)),
            None => desk.waiting.push_back(task),
        }
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts another thread, which has nothing to do yet; its number.
fn start_another(shared: &Arc<Mutex<Desk>>, desk: &mut Desk) -> io::Result<usize> {
    let (queue, tasks) = mpsc::channel();
    let (number, shared) = (desk.threads.len(), shared.clone());
    let thread = thread::Builder::new()
        .name(format!("store-reader-{number}"))
        .spawn(move || carry_out(number, &shared, &tasks))?;
    desk.threads.push(Reader { queue, thread });
    Ok(number)
}

fn carry_out(number: usize, desk: &Mutex<Desk>, tasks: &mpsc::Receiver<Task>) {
    let mut next = None;
    while let Some(task) = next.take().or_else(|| tasks.recv().ok()) {
        // The caller of a task that panics sees that no answer comes, and the others keep their thread.
        let answer = panic::catch_unwind(AssertUnwindSafe(task));
        let mut desk = lock(desk);
        next = desk.waiting.pop_front();
        if next.is_none() {
            // Before the answer, or whoever asks again at once would wake another one.
            desk.resting.push(number);
        }
        drop(desk);
        if let Ok(answer) = answer {
            answer();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let threads = mem::take(&mut lock(&self.desk).threads);
        for Reader { queue, thread } in threads {
            drop(queue);
            // Whoever waits for an answer of a thread that panicked sees that none comes.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Barrier;

    /// Asks for a read that tells the name of its thread.
    fn ask(readers: &Readers, read: impl FnOnce() + Send + 'static) -> mpsc::Receiver<String> {
        let (reply, answer) = mpsc::channel();
        readers.submit(Box::new(move || {
            read();
            let name = thread::current().name().unwrap().to_owned();
            Box::new(move || reply.send(name).unwrap())
        }));
        answer
    }

    #[test]
    fn reads_that_follow_each_other_are_those_of_one_thread() {
        let readers = Readers::start().unwrap();
        let first = ask(&readers, || ()).recv().unwrap();
        for _ in 0..1_000 {
            assert_eq!(ask(&readers, || ()).recv().unwrap(), first);
        }
    }

    #[test]
    fn reads_go_on_beside_each_other_and_whoever_finds_no_thread_waits() {
        let readers = Readers::start().unwrap();
        // None of the first goes on before all of them have begun.
        let all = Arc::new(Barrier::new(READERS + 1));
        let ask_at = |all: &Arc<Barrier>| {
            let all = all.clone();
            let begin = move || {
                all.wait();
            };
            ask(&readers, begin)
        };
        let first: Vec<_> = (0..READERS).map(|_| ask_at(&all)).collect();
        let waiting = ask(&readers, || ());
        all.wait();
        let mut names: Vec<_> = first.iter().map(|answer| answer.recv().unwrap()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), READERS);
        assert!(names.contains(&waiting.recv().unwrap()));
    }

    #[test]
    fn a_read_that_panics_answers_nobody_and_leaves_its_thread_to_the_next() {
        let readers = Readers::start().unwrap();
        let none: Option<u32> = None;
        for _ in 0..2 * READERS {
            let defect = move || assert_eq!(none, Some(1), "a defect");
            assert!(ask(&readers, defect).recv().is_err());
        }
        assert!(ask(&readers, || ()).recv().is_ok());
    }

    #[test]
    fn whoever_asked_before_the_end_is_answered() {
        let readers = Readers::start().unwrap();
        let answers: Vec<_> = (0..100).map(|_| ask(&readers, || ())).collect();
        drop(readers);
        assert!(answers.iter().all(|answer| answer.recv().is_ok()));
    }
}
