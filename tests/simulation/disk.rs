//! A disk that keeps what was synced apart from what was only written, and the fuse that ends a process in mid-step.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;
use tokio::sync::Notify;

use crate::random::Random;

/// What a disk loses at most of one write, in bytes.
const SECTOR: usize = 512;

/// Counts the steps of a process (writes, syncs, calls of either side) and ends it at one of them.
#[derive(Debug)]
pub struct Fuse {
    left: AtomicI64,
    steps: AtomicU64,
    burnt: AtomicBool,
    notify: Notify,
}

impl Fuse {
    fn new() -> Self {
        Self {
            left: AtomicI64::new(i64::MAX),
            steps: AtomicU64::new(0),
            burnt: AtomicBool::new(false),
            notify: Notify::new(),
        }
    }

    /// Ends the process at its step of that number, counted from now; never without one.
    pub fn set(&self, steps: Option<u64>) {
        let left = steps.map_or(i64::MAX, |steps| steps as i64);
        self.left.store(left, Ordering::SeqCst);
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    pub fn is_burnt(&self) -> bool {
        self.burnt.load(Ordering::SeqCst)
    }

    /// Waits for the end of the process.
    pub async fn burnt(&self) {
        while !self.is_burnt() {
            self.notify.notified().await;
        }
    }

    /// Takes a step; answers whether it is the one that the process does not survive.
    fn step(&self) -> bool {
        self.steps.fetch_add(1, Ordering::SeqCst);
        let last = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if last {
            self.burnt.store(true, Ordering::SeqCst);
            self.notify.notify_one();
        }
        last
    }
}

/// What happens to the machine when the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: everything that was written is there.
    Kill,
    /// The power goes: what was synced is there, and any part of what was written since.
    PowerLoss,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct State {
    live: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Write>,
    /// What a process goes on with that does not know yet that it is dead.
    ghost: Option<Vec<u8>>,
}

impl State {
    fn bytes(&mut self) -> &mut Vec<u8> {
        self.ghost.as_mut().unwrap_or(&mut self.live)
    }

    fn freeze(&mut self) {
        if self.ghost.is_none() {
            self.ghost = Some(self.live.clone());
        }
    }

    fn write(&mut self, write: Write) {
        carry_out(self.bytes(), &write);
        if self.ghost.is_none() {
            self.unsynced.push(write);
        }
    }
}

fn carry_out(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => bytes.resize(*length, 0),
        Write::Bytes(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
    }
}

/// The disk of one process. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    fuse: Arc<Fuse>,
}

impl Disk {
    pub fn new() -> Self {
        Self::holding(Vec::new())
    }

    fn holding(bytes: Vec<u8>) -> Self {
        let state = State {
            synced: bytes.clone(),
            live: bytes,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            fuse: Arc::new(Fuse::new()),
        }
    }

    pub fn fuse(&self) -> &Arc<Fuse> {
        &self.fuse
    }

    /// A step of the process that is none of the disk's; does not return when it is the last one.
    pub async fn step(&self) {
        if self.fuse.step() {
            self.state().freeze();
        }
        if self.fuse.is_burnt() {
            std::future::pending::<()>().await;
        }
    }

    /// The disk as the next process finds it.
    pub fn after(&self, crash: Crash, random: &mut Random) -> Self {
        let mut state = self.state();
        state.freeze();
        Self::holding(match crash {
            Crash::Kill => state.live.clone(),
            Crash::PowerLoss => after_power_loss(&state, random),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, write: Write) {
        let last = self.fuse.step();
        let mut state = self.state();
        if last {
            state.freeze();
        }
        state.write(write);
    }
}

/// Each sector holds what it held at some moment since the last sync; no two need have the same moment.
fn after_power_loss(state: &State, random: &mut Random) -> Vec<u8> {
    let mut bytes = state.synced.clone();
    let count = state.unsynced.len();
    let together = match random.below(4) {
        0 => Some(0),
        1 => Some(random.below(count + 1)),
        _ => None,
    };
    let mut moments = std::collections::HashMap::new();
    for (number, write) in state.unsynced.iter().enumerate() {
        match write {
            Write::Length(length) => {
                // A file that is longer than it was told to be has lost nothing.
                if together.map_or(*length > bytes.len(), |moment| number < moment) {
                    bytes.resize((*length).max(bytes.len()), 0);
                }
            }
            Write::Bytes(at, data) => {
                for (offset, part) in sectors(*at, data) {
                    let moment = *moments
                        .entry(offset / SECTOR)
                        .or_insert_with(|| together.unwrap_or_else(|| random.below(count + 1)));
                    if number < moment {
                        carry_out(&mut bytes, &Write::Bytes(offset, part.to_vec()));
                    }
                }
            }
        }
    }
    bytes
}

/// The parts of a write that lie in one sector each.
fn sectors(at: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = at;
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = SECTOR - at % SECTOR;
        let (part, behind) = rest.split_at(room.min(rest.len()));
        let found = (at, part);
        at += part.len();
        rest = behind;
        Some(found)
    })
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset as usize;
        let mut state = self.state();
        let bytes = state.bytes().get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Write::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let last = self.fuse.step();
        let mut state = self.state();
        if last {
            state.freeze();
        }
        if state.ghost.is_none() {
            let State {
                synced, unsynced, ..
            } = &mut *state;
            for write in unsynced.drain(..) {
                carry_out(synced, &write);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Write::Bytes(offset as usize, data.to_vec()));
        Ok(())
    }
}
