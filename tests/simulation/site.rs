//! The site of a history: directory, target and disk, with everything that is true and everything that goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use scim_relay::demo::target::{Options, Target};
use scim_relay::store::Store;
use uuid::Uuid;

use crate::changes;
use crate::directory::{self, Model};
use crate::disk::Disk;
use crate::random::Random;
use crate::rules::Rules;
use crate::target;

/// What a site holds. Clones are the same site.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    disk: Mutex<Disk>,
    store: Mutex<Option<Weak<dyn Store>>>,
    target: Target,
}

/// Everything that changes in the course of a history.
pub struct State {
    pub model: Model,
    /// The model when the run under way began.
    pub before: Model,
    pub rules: Rules,
    /// Whether the server of the directory rewrites groups when an entry is renamed or goes.
    pub integrity: bool,
    /// Whether the directory has a change feed.
    pub has_feed: bool,
    pub source_faults: directory::Faults,
    pub target_faults: target::Faults,
    /// Whether the directory changes between the reading and the looks.
    pub changes_midway: bool,
    /// Whether the run under way read everything.
    pub was_read: bool,
    /// Ids of resources that the relay created or linked.
    pub ours: BTreeSet<String>,
    /// Those that are linked and do not say whose they are, because the target refused that, by their ids.
    pub unmarked: BTreeMap<String, Uuid>,
    /// Memberships that somebody else put there: group and member.
    pub foreign_members: BTreeSet<(String, String)>,
    /// Whom the writes of the run under way were about, as far as that is known.
    pub writes: Vec<Option<Uuid>>,
    pub looks: Random,
    pub fates: Random,
    midway: Random,
    number: u64,
    trace: Vec<String>,
    violations: Vec<String>,
}

impl State {
    /// A number that no name has yet.
    pub fn fresh(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// An anchor that nobody had yet.
    pub fn fresh_anchor(&mut self) -> Uuid {
        let number = self.fresh();
        Uuid::from_u128(0xA000_0000_0000_4000_8000_0000_0000_0000 + u128::from(number))
    }

    pub fn note(&mut self, line: impl Into<String>) {
        self.trace.push(line.into());
    }

    /// Whether the relay can know by now who belongs to which group.
    pub fn tells_all(&self) -> bool {
        self.source_faults.tell_all() && self.model.unnoticed.is_empty()
    }

    /// Notes that an invariant does not hold.
    pub fn violated(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(format!("  VIOLATION: {what}"));
        self.violations.push(what);
    }
}

impl Site {
    pub fn new(random: &mut Random) -> Self {
        let state = State {
            model: Model::default(),
            before: Model::default(),
            rules: Rules::new(random),
            integrity: random.percent(60),
            has_feed: random.percent(50),
            source_faults: directory::Faults::default(),
            target_faults: target::Faults::default(),
            changes_midway: false,
            was_read: false,
            ours: BTreeSet::new(),
            unmarked: BTreeMap::new(),
            foreign_members: BTreeSet::new(),
            writes: Vec::new(),
            looks: random.fork(),
            fates: random.fork(),
            midway: random.fork(),
            number: 0,
            trace: Vec::new(),
            violations: Vec::new(),
        };
        let options = Options {
            seed: Uuid::from_u128(u128::from(random.next())),
            ..Options::default()
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            disk: Mutex::new(Disk::new()),
            store: Mutex::new(None),
            target: Target::new(&options),
        }))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// The disk of the process that runs now.
    pub fn disk(&self) -> Disk {
        self.0.disk.lock().unwrap().clone()
    }

    pub fn put_disk(&self, disk: Disk) {
        *self.0.disk.lock().unwrap() = disk;
    }

    /// The store of the process that runs now.
    pub fn store(&self) -> Option<Arc<dyn Store>> {
        self.0.store.lock().unwrap().as_ref()?.upgrade()
    }

    pub fn put_store(&self, store: &Arc<dyn Store>) {
        *self.0.store.lock().unwrap() = Some(Arc::downgrade(store));
    }

    /// The directory goes on changing after it was read.
    pub fn after_reading(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.changes_midway) {
            let mut random = state.midway.fork();
            let what = changes::of_directory(&mut state, &mut random);
            state.note(format!("  after the reading: {what}"));
        }
    }

    /// Whether a look is not answered.
    pub fn look_fails(&self) -> bool {
        let mut state = self.lock();
        let share = state.source_faults.looks_failing;
        share > 0 && state.looks.percent(share)
    }

    pub fn trace(&self) -> String {
        let trace = self.lock().trace.join("\n");
        // Anchors and what is the same everywhere, in short.
        let schema = "\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:PatchOp\"]";
        trace
            .replace("a0000000-0000-4000-8000-0000000000", "#")
            .replace(",dc=example,dc=org", "")
            .replace(schema, "")
    }

    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }
}
