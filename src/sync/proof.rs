//! The proof of a removal: just before something is taken away, one look whether its own reason still holds.

use std::collections::{BTreeSet, HashMap};

use chrono::Utc;
use tokio::sync::Mutex;

use crate::identity::observation::Look;
use crate::identity::{Kind, RowKey};
use crate::plan::{Reason, Step};
use crate::snapshot::Seen;
use crate::source::{self, Source};
use crate::sync::{Error, Relay};

/// The connection to the directory, opened when it is first needed and again when it was lost.
pub(super) struct Reader<'a> {
    settings: &'a source::Settings,
    source: Mutex<Option<std::sync::Arc<dyn Source>>>,
    /// What looks for absent entries found in this run; a leaver may be a member of many groups.
    absent: Mutex<HashMap<RowKey, bool>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a source::Settings) -> Self {
        Self {
            settings,
            source: Mutex::new(None),
            absent: Mutex::default(),
        }
    }

    /// The open connection.
    pub(super) async fn source(&self) -> Result<std::sync::Arc<dyn Source>, source::Error> {
        let mut slot = self.source.lock().await;
        if let Some(source) = slot.as_ref() {
            return Ok(source.clone());
        }
        let opened: std::sync::Arc<dyn Source> = source::open(self.settings).await?.into();
        *slot = Some(opened.clone());
        Ok(opened)
    }

    /// Looks at one entry; a connection that was lost in the meantime is opened once more.
    async fn look(&self, key: &RowKey) -> Result<Look, source::Error> {
        match self.source().await?.look(key).await {
            Ok(look) => Ok(look),
            Err(error) if error.fault() == crate::fault::Fault::Transient => {
                *self.source.lock().await = None;
                self.source().await?.look(key).await
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an entry that a complete read did not meet is really not there, or out of scope.
    pub(super) async fn is_absent(&self, key: &RowKey) -> Result<bool, source::Error> {
        if let Some(absent) = self.absent.lock().await.get(key) {
            return Ok(*absent);
        }
        let absent = self.look(key).await? == Look::Absent;
        self.absent.lock().await.insert(key.clone(), absent);
        Ok(absent)
    }

    pub(super) async fn close(&self) {
        if let Some(source) = self.source.lock().await.take() {
            source.close().await;
        }
    }
}

/// Whether the reason for a removal still holds.
pub(super) enum Proof {
    /// It does.
    Holds,
    /// It does not, or could not be looked at; the text says what was found.
    Fails(String),
}

/// Looks at the entry of a removal. The look answers the removal's own reason: was it absent, is it still; was it
/// disabled, is it still; did the group's entry name these members, does it still (specification page 8, 1).
pub(super) async fn of_removal(
    relay: &Relay,
    reader: &Reader<'_>,
    step: &Step,
    seen: &Seen,
) -> Result<Proof, Error> {
    let unproved = |error: source::Error| {
        Proof::Fails(format!(
            "the removal could not be proved, because the directory did not answer: {error}"
        ))
    };
    if step.reason == Reason::Absent {
        return Ok(match reader.is_absent(&step.key).await {
            Ok(true) => Proof::Holds,
            Ok(false) => Proof::Fails(
                "the entry was missing when the directory was read, but it is there".to_owned(),
            ),
            Err(error) => unproved(error),
        });
    }
    let look = match reader.look(&step.key).await {
        Ok(look) => look,
        Err(error) => return Ok(unproved(error)),
    };
    Ok(match (step.reason, look) {
        (_, Look::Absent) => {
            Proof::Fails("the entry changed since it was read: it is not there any more".to_owned())
        }
        (Reason::Disabled, Look::Present(identity)) => {
            match relay.profile.mapping.desired(&identity, Utc::now()).active {
                Some(false) => Proof::Holds,
                _ => Proof::Fails(
                    "the account was disabled when it was read, but it is enabled".to_owned(),
                ),
            }
        }
        (_, Look::Present(identity)) if step.key.kind == Kind::Group => {
            let names = |members: &[crate::identity::Member]| -> BTreeSet<_> {
                members.iter().map(|member| member.key).collect()
            };
            if names(&identity.members) == names(&seen.identity.members) {
                Proof::Holds
            } else {
                Proof::Fails("the group's members changed since it was read".to_owned())
            }
        }
        (_, Look::Present(_)) => Proof::Holds,
    })
}
