//! A SCIM 2.0 service provider in memory (RFC 7643, RFC 7644), as strict as the reference servers, with a journal.
pub mod answer;
mod discovery;
mod filter;
pub mod http;
mod patch;
mod provider;
mod records;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::demo::target::answer::{Answer, Call};
use crate::demo::target::provider::Provider;
use crate::demo::target::records::Kind;

/// How many journal entries a slow subscriber may lag behind before it loses the oldest.
const FEED_CAPACITY: usize = 4096;

/// What may differ from one target to another.
#[derive(Debug, Clone)]
pub struct Options {
    /// Resource ids follow from it, so that two targets have different ids and a test can have the same ones twice.
    pub seed: Uuid,
    /// The resources on a page of a list when the client names no `count`.
    pub page_size: usize,
    /// Whether PATCH answers 200 with the resource instead of 204 without body; RFC 7644 section 3.5.2 allows both.
    pub patch_answers_resource: bool,
    /// Attribute definitions (RFC 7643 section 7) that the User schema has besides the standard ones.
    pub extra_user_attributes: Vec<Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: Uuid::now_v7(),
            page_size: 100,
            patch_answers_resource: false,
            extra_user_attributes: Vec::new(),
        }
    }
}

/// One call as the target saw it, in the order in which calls took effect.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Counts from 1.
    pub sequence: u64,
    /// When it took effect.
    pub at: DateTime<Utc>,
    /// The call; shared, since bodies can be large.
    pub call: Arc<Call>,
    /// The status that the target answered.
    pub status: u16,
    /// The resource that the call created or was about.
    pub resource: Option<String>,
}

impl Entry {
    /// Whether the call asked for a change.
    pub fn is_write(&self) -> bool {
        self.call.method != "GET"
    }
}

/// What a target holds and what it has been asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Users held now.
    pub users: usize,
    /// Groups held now.
    pub groups: usize,
    /// Memberships held now.
    pub members: usize,
    /// Calls that asked for no change.
    pub reads: u64,
    /// Calls that asked for a change.
    pub writes: u64,
    /// Calls answered with 400 or more.
    pub refused: u64,
}

struct State {
    provider: Provider,
    journal: Vec<Entry>,
    reads: u64,
    writes: u64,
    refused: u64,
}

/// The service provider. Clones are the same target.
#[derive(Clone)]
pub struct Target {
    state: Arc<Mutex<State>>,
    feed: broadcast::Sender<Entry>,
}

impl Default for Target {
    fn default() -> Self {
        Self::new(&Options::default())
    }
}

impl Target {
    /// An empty target.
    pub fn new(options: &Options) -> Self {
        let state = State {
            provider: Provider::new(options),
            journal: Vec::new(),
            reads: 0,
            writes: 0,
            refused: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            feed: broadcast::channel(FEED_CAPACITY).0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says under which URL the target is reached, for `meta.location` and the `Location` header.
    pub fn set_base_url(&self, url: &str) {
        self.state().provider.set_base_url(url);
    }

    /// Answers one call. Calls take effect one after the other; a refused one has no effect.
    pub fn handle(&self, call: Call) -> Answer {
        let mut state = self.state();
        let answer = match state.provider.answer(&call) {
            Ok(answer) => answer,
            Err(refusal) => refusal.into(),
        };
        match call.method.as_str() {
            "GET" => state.reads += 1,
            _ => state.writes += 1,
        }
        state.refused += u64::from(answer.status >= 400);
        let created = answer.body.as_ref().and_then(|body| body["id"].as_str());
        let named = call.path.split('/').nth(2);
        let entry = Entry {
            sequence: state.journal.len() as u64 + 1,
            at: Utc::now(),
            status: answer.status,
            resource: created.or(named).map(str::to_owned),
            call: Arc::new(call),
        };
        state.journal.push(entry.clone());
        // Nobody listening is no error.
        let _ = self.feed.send(entry);
        answer
    }

    /// Every call so far, in order.
    pub fn journal(&self) -> Vec<Entry> {
        self.state().journal.clone()
    }

    /// The calls after the entry with that sequence number.
    pub fn journal_since(&self, sequence: u64) -> Vec<Entry> {
        let state = self.state();
        let start = usize::try_from(sequence).unwrap_or(usize::MAX);
        state.journal.get(start..).unwrap_or_default().to_vec()
    }

    /// The calls from now on, as they take effect.
    pub fn subscribe(&self) -> broadcast::Receiver<Entry> {
        self.feed.subscribe()
    }

    /// All users as a client would read them, in the order of their creation.
    pub fn users(&self) -> Vec<Value> {
        self.state().provider.snapshot(Kind::User)
    }

    /// All groups as a client would read them, in the order of their creation.
    pub fn groups(&self) -> Vec<Value> {
        self.state().provider.snapshot(Kind::Group)
    }

    /// The user of that name, in any case.
    pub fn user_named(&self, user_name: &str) -> Option<Value> {
        self.state().provider.user_named(user_name)
    }

    /// The ids of a group's members; `None` when there is no such group.
    pub fn members(&self, group: &str) -> Option<BTreeSet<String>> {
        self.state().provider.members(group)
    }

    /// What the target holds and has been asked.
    pub fn counters(&self) -> Counters {
        let state = self.state();
        Counters {
            reads: state.reads,
            writes: state.writes,
            refused: state.refused,
            ..state.provider.counters()
        }
    }
}
