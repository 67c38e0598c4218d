//! Plans that wait for a person, and what persons decided on them; the same for the API and the command line.

use chrono::Utc;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::{Deed, Event};
use crate::catalog::Hand;
use crate::id::{JobId, TenantName};
use crate::job::decision::Verdict;
use crate::job::{Extent, Job, Mode, Status};
use crate::plan::held::{Held, HeldBy, HoldKey};
use crate::plan::{Class, Plan, Release, Step};
use crate::store::holds::Waiting;
use crate::store::jobs::Change;
use crate::store::{Error, Store};

/// Held rows read in one turn.
const ROWS_PER_TURN: usize = 500;

/// How steps that are not planned stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeldState {
    /// Nobody has decided on their plan yet.
    Waiting,
    /// Somebody rejected them.
    Rejected,
    /// Somebody undid what they did.
    Undone,
}

impl HeldState {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Waiting, Self::Rejected, Self::Undone];

    /// How these stand.
    pub(crate) fn of(held: &Held) -> Self {
        match held.by {
            HeldBy::Waiting => Self::Waiting,
            HeldBy::Person { undone: false, .. } => Self::Rejected,
            HeldBy::Person { undone: true, .. } => Self::Undone,
        }
    }
}

/// Why nothing was decided on a plan.
#[derive(Debug)]
pub(crate) enum Undecided {
    /// It does not wait, or is another one; in words.
    Conflict(String),
    /// The store cannot do it.
    Store(Error),
}

impl From<Error> for Undecided {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// The plan of a job as it is shown.
pub(crate) fn shown(plan: &Plan, job: &Job) -> Value {
    let counts = |counts: &[(Class, u64)]| -> serde_json::Map<String, Value> {
        let count = |(class, count): &(Class, u64)| (class.as_str().to_owned(), json!(count));
        counts.iter().map(count).collect()
    };
    let holds: Vec<Value> = plan
        .holds
        .iter()
        .map(|hold| {
            json!({
                "operations": hold.classes.iter().map(|class| class.as_str()).collect::<Vec<_>>(),
                "releasedBy": match hold.release {
                    Release::Approval => "approval",
                    Release::CompleteRead => "complete_read",
                },
                "message": hold.message,
            })
        })
        .collect();
    let waits = job.status == Status::AwaitingApproval;
    json!({
        "jobId": plan.job,
        "profile": plan.profile,
        "digest": plan.digest,
        "preview": plan.preview,
        "createdAt": plan.created_at,
        "expiresAt": waits.then(|| plan.expires_at()),
        "waiting": waits,
        "steps": plan.steps(),
        "stepsHeld": plan.steps_held(),
        "stepsForApproval": plan.for_approval,
        "operations": counts(&plan.counts),
        "operationsHeld": counts(&plan.held),
        "holds": holds,
        "decision": job.decision,
    })
}

/// A step of a plan as it is shown: the object, what is to be done, each attribute before and after, why, and whether it waits.
pub(crate) fn step_shown(plan: &Plan, step: &Step) -> Value {
    let change = Change {
        at: plan.created_at,
        key: step.key.clone(),
        dn: step.dn.clone(),
        id: None,
        action: step.action.clone(),
        class: step.class,
        reason: step.reason,
        error: None,
    };
    let mut shown = change.to_json();
    if let Value::Object(fields) = &mut shown {
        for name in ["at", "id", "foreignMembers", "foreignMemberCount", "error"] {
            fields.remove(name);
        }
        fields.insert("held".to_owned(), plan.holds(step).into());
        fields.insert("forApproval".to_owned(), plan.asks_for(step).into());
    }
    shown
}

/// The job whose plan is to be decided on, and its plan.
///
/// # Errors
/// When it does not wait, or `digest` names another plan.
async fn waiting(
    store: &dyn Store,
    job: JobId,
    digest: Option<&str>,
) -> Result<(Job, Plan), Undecided> {
    let conflict = |detail: String| Undecided::Conflict(detail);
    let found = store.job(job).await?;
    let Some(found) = found.filter(|job| job.status == Status::AwaitingApproval) else {
        return Err(decided_already());
    };
    let Some(plan) = store.plan(job).await? else {
        let cure = "its plan is not there any more; run the profile again";
        return Err(conflict(cure.to_owned()));
    };
    if plan.preview {
        let cure = "a preview is never carried out; run the profile";
        return Err(conflict(cure.to_owned()));
    }
    if plan.expires_at() <= Utc::now() {
        let detail = format!(
            "the plan expired at {}; run the profile again",
            plan.expires_at().to_rfc3339()
        );
        return Err(conflict(detail));
    }
    match digest {
        Some(digest) if digest != plan.digest => Err(conflict(format!(
            "the plan of this job has the digest {}; read that plan, and approve it by its digest",
            plan.digest
        ))),
        _ => Ok((found, plan)),
    }
}

fn decided_already() -> Undecided {
    Undecided::Conflict("the job does not wait for an approval".to_owned())
}

/// Approves a plan by its digest: its job goes on with what waits in it. Nothing is carried out yet.
///
/// # Errors
/// When the job does not wait, the digest is another one, or the store cannot do it.
pub(crate) async fn approve(
    store: &dyn Store,
    job: JobId,
    digest: &str,
    tenant: &TenantName,
    hand: &Hand,
) -> Result<Job, Undecided> {
    let (mut job, plan) = waiting(store, job, Some(digest)).await?;
    job.approve(hand.actor.to_string(), hand.at);
    let event = event(Deed::PlanApprove, &job, &plan, tenant, hand);
    let decided = store.decide_plan(&job, Waiting::Stays, Some(event)).await?;
    decided.then_some(job).ok_or_else(decided_already)
}

/// Rejects a plan: what waits in it is not planned again, until the directory has something new.
///
/// # Errors
/// When the job does not wait, the digest is another one, or the store cannot do it.
pub(crate) async fn reject(
    store: &dyn Store,
    job: JobId,
    digest: Option<&str>,
    tenant: &TenantName,
    hand: &Hand,
) -> Result<Job, Undecided> {
    let (mut job, plan) = waiting(store, job, digest).await?;
    let who = hand.actor.to_string();
    job.close(Verdict::Rejected, who.clone(), hand.at);
    let state = store.profile_state(&job.profile_key()).await?;
    let waiting = Waiting::Rejected {
        who,
        fingerprint: state.fingerprint,
    };
    let event = event(Deed::PlanReject, &job, &plan, tenant, hand);
    let decided = store.decide_plan(&job, waiting, Some(event)).await?;
    decided.then_some(job).ok_or_else(decided_already)
}

/// What undoes a job.
///
/// # Errors
/// When there is nothing to undo yet, or never; in words.
pub(crate) fn undoing(job: &Job, preview: bool) -> Result<Extent, String> {
    if !job.status.is_final() {
        return Err("the job has not ended; cancel it, or wait until it has".to_owned());
    }
    if !job.applies() {
        return Err("the job changed nothing, so there is nothing to undo".to_owned());
    }
    let mode = match preview {
        true => Mode::Preview,
        false => Mode::Full,
    };
    Ok(Extent {
        undoes: Some(job.id),
        ..Extent::from(mode)
    })
}

fn event(deed: Deed, job: &Job, plan: &Plan, tenant: &TenantName, hand: &Hand) -> Event {
    Event {
        at: hand.at,
        actor: hand.actor.clone(),
        tenant: Some(tenant.clone()),
        deed,
        subject: format!("job {}", job.id),
        details: vec![
            ("digest".to_owned(), plan.digest.clone()),
            ("steps".to_owned(), plan.for_approval.to_string()),
        ],
    }
}

/// Steps that are held on a row, as they are shown.
pub(crate) fn held_shown(held: &Held) -> Option<Value> {
    let first = held.steps.first()?;
    let by = match &held.by {
        HeldBy::Waiting => None,
        HeldBy::Person { who, .. } => Some(who),
    };
    Some(json!({
        "kind": first.key.kind,
        "anchor": first.key.anchor.to_string(),
        "dn": first.dn,
        "profile": held.profile,
        "jobId": held.job,
        "state": HeldState::of(held),
        "since": held.since,
        "by": by,
        "operations": held.steps.iter().map(|step| step.class.as_str()).collect::<Vec<_>>(),
    }))
}

/// Which held steps are given free.
pub(crate) struct Chosen {
    /// Of this row, by its anchor; of all where absent.
    pub(crate) anchor: Option<String>,
    /// With this job; with all where absent.
    pub(crate) job: Option<JobId>,
}

/// Gives free what persons rejected or undid: the next run plans it again. Answers how many rows there were. What waits with
/// a plan stays: that plan is decided on.
///
/// # Errors
/// When the store cannot do it.
pub(crate) async fn release(
    store: &dyn Store,
    directory: &crate::directory::Directory,
    chosen: &Chosen,
    hand: &Hand,
) -> Result<u64, Error> {
    let (mut released, mut after) = (0, None);
    loop {
        let turn = store.all_held(directory.id, after, ROWS_PER_TURN).await?;
        let last = turn.last().and_then(Held::key);
        let free: Vec<HoldKey> = turn
            .iter()
            .filter(|held| held.by != HeldBy::Waiting && chosen.admits(held))
            .filter_map(Held::key)
            .collect();
        if !free.is_empty() {
            released += free.len() as u64;
            let event = Event {
                at: hand.at,
                actor: hand.actor.clone(),
                tenant: Some(directory.tenant.clone()),
                deed: Deed::HoldRelease,
                subject: format!("directory {} ({})", directory.id, directory.name),
                details: vec![("rows".to_owned(), free.len().to_string())],
            };
            store.release(directory.id, free, vec![event]).await?;
        }
        after = last;
        if after.is_none() {
            return Ok(released);
        }
    }
}

impl Chosen {
    fn admits(&self, held: &Held) -> bool {
        let is_its = |anchor: &String| {
            held.row()
                .is_some_and(|row| row.anchor.to_string() == *anchor)
        };
        self.job.is_none_or(|job| job == held.job) && self.anchor.as_ref().is_none_or(is_its)
    }
}
