//! What fuzzers call of the store: records and keys as a damaged file may hold them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::Event;
use crate::job::Job;
use crate::plan::{Plan, Step};
use crate::snapshot::{
    Applied, FeedState, LastOutcome, LinkDecision, LinkedCounts, ProfileState, Repair, Seen,
};
use crate::store::Intent;
use crate::store::jobs::{Change, Drift, UnsentError};
use crate::store::redb::{codec, links, outcomes};

/// Reads bytes as a record of every kind, and as a key.
pub(in crate::store) fn records(bytes: &[u8]) {
    record::<Seen>(bytes);
    record::<Applied>(bytes);
    record::<LinkDecision>(bytes);
    record::<LastOutcome>(bytes);
    let _ = outcomes::decode(bytes);
    record::<ProfileState>(bytes);
    record::<FeedState>(bytes);
    record::<LinkedCounts>(bytes);
    record::<Vec<Repair>>(bytes);
    record::<Job>(bytes);
    record::<Plan>(bytes);
    record::<Step>(bytes);
    record::<Intent>(bytes);
    record::<Change>(bytes);
    record::<UnsentError>(bytes);
    record::<Drift>(bytes);
    record::<Event>(bytes);
    let _ = links::found(bytes);
    let _ = codec::step_position(bytes);
    let _ = codec::line_of_key(bytes);
    let _ = codec::number(bytes);
    let _ = codec::directory_id(bytes);
    if let Ok(key) = codec::row_key(bytes) {
        assert_eq!(key.to_key(), bytes);
    }
}

/// What can be read can be written, and is the same then.
fn record<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(record) = codec::decode::<T>(bytes) else {
        return;
    };
    let written = codec::encode(&record).unwrap_or_default();
    let again = codec::decode::<T>(&written).and_then(|again| codec::encode(&again));
    assert!(
        again.is_ok_and(|again| again == written),
        "it reads back as another"
    );
}
