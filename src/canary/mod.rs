//! The probe of a target: finds out how it wants to be spoken to, on canaries that it creates, reads back and removes.
//!
//! What an experiment shows is judged in [`crate::scim::evidence`]. Absent on purpose: any request about a resource that is not
//! a canary, lists and their filters apart.

mod accounts;
mod aviary;
mod groups;
mod lab;
mod lists;
mod sizes;
mod together;
mod users;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::canary::lab::{Halt, Lab};
use crate::directory::tenant::Tenant;
use crate::directory::tenant::dialect::{self, FIELD};
use crate::fault::Fault;
use crate::provider::{Provider, Refusal};
use crate::scim::evidence::{Difference, Findings};
use crate::scim::path::AttributePath;

/// What is probed, and with what.
pub struct Settings {
    /// The tenant, with its present dialect.
    pub tenant: Arc<Tenant>,
    /// Its provider, whose pace and credentials the probe uses.
    pub provider: Arc<dyn Provider>,
    /// The attributes of users that its profiles map.
    pub mapped: BTreeSet<AttributePath>,
    /// Ends the experiments early; canaries are removed all the same.
    pub stop: CancellationToken,
}

/// Probes the target. Whatever happens on the way, the canaries are removed before this returns, or named in the findings: so it
/// must not be dropped before its end.
pub async fn run(settings: &Settings) -> Findings {
    let before = settings.provider.counts();
    let mut lab = Lab::new(settings, &fresh_name());
    let ended = experiments(&mut lab).await;
    let mut notes = Vec::new();
    let error = match ended {
        Ok(()) => None,
        Err(Halt::Stopped) => {
            notes.push("it was stopped before all experiments were made".to_owned());
            None
        }
        Err(Halt::Refused(refusal)) => Some(refusal.message),
    };
    let left_behind = lab.remove_all().await;
    let after = settings.provider.counts();
    notes.splice(0..0, std::mem::take(&mut lab.notes));
    let present = dialect::shown(&settings.tenant.dialect);
    let differing = dialect::differences(&settings.tenant.dialect, &lab.dialect);
    let mut written = match settings.tenant.written.get(FIELD) {
        Some(serde_json::Value::Object(written)) => written.clone(),
        _ => serde_json::Map::new(),
    };
    let base = serde_json::Value::from(settings.tenant.dialect.base.as_str());
    written.insert("base".to_owned(), base);
    let mut differences = Vec::new();
    for (field, found) in differing {
        differences.push(Difference {
            present: present[&field].clone(),
            found: found.clone(),
            evidence: lab.reasons.remove(&field).unwrap_or_default(),
            field: field.clone(),
        });
        written.insert(field, found);
    }
    Findings {
        complete: error.is_none() && !settings.stop.is_cancelled(),
        error,
        differences,
        dialect: written,
        notes,
        left_behind,
        requests: (after.read + after.write).saturating_sub(before.read + before.write),
    }
}

/// All experiments, those first on which others build.
async fn experiments(lab: &mut Lab<'_>) -> Result<(), Halt> {
    let capabilities = lab.settings.provider.discover().await?;
    let (mut first, second) = accounts::created(lab).await?;
    users::updates(lab, &mut first).await?;
    lists::pages(lab, capabilities.cursors_only).await?;
    groups::all(lab, &first, &second).await?;
    lists::filters(lab, &first).await?;
    users::names(lab, &second).await?;
    together::bulk(lab, capabilities.bulk.is_some()).await
}

/// A name that nothing else at the target begins with.
fn fresh_name() -> String {
    format!(
        "scim-relay-probe-{}",
        &uuid::Uuid::now_v7().simple().to_string()[20..]
    )
}

/// How long the probe waits before it asks again, where the target does not answer.
const PAUSE: Duration = Duration::from_millis(500);

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// An end of the probe that no answer of the target says.
fn halted(message: String) -> Halt {
    Halt::Refused(Refusal {
        fault: Fault::Rejected,
        status: None,
        scim_type: None,
        message,
    })
}
