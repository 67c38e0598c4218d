//! Sealing a plan: what it does is weighed, and the guard says what of it waits.

use std::collections::BTreeMap;

use crate::identity::RowKey;
use crate::identity::observation::Coverage;
use crate::job::{Counters, Mode};
use crate::plan::guard::{self, Evidence};
use crate::plan::tally::Tally;
use crate::plan::{Action, Class, Plan, Step};
use crate::snapshot::Row;
use crate::sync::ownership::{self, Present};
use crate::sync::propose::Draft;
use crate::sync::{Error, restored};

/// What a plan does, as far as the guard weighs it.
#[derive(Default)]
pub(super) struct Weights {
    plan: Tally,
    /// How many members of ours a group has that loses some.
    members: BTreeMap<RowKey, u64>,
    /// Those who leave a group and lose their account as well, in order.
    leavers: BTreeMap<RowKey, Vec<RowKey>>,
    /// Whether anything is taken away.
    takes_away: bool,
    /// Groups that lose users who are absent and still have their accounts.
    in_doubt: Vec<RowKey>,
}

impl Weights {
    /// Takes in who leaves a group.
    pub(super) fn loses(&mut self, group: &RowKey, present: &Present) {
        if !present.leavers.is_empty() {
            self.leavers.insert(group.clone(), present.leavers.clone());
        }
        if present.in_doubt {
            self.in_doubt.push(group.clone());
        }
        self.members
            .insert(group.clone(), present.members.len() as u64);
    }

    fn add(&mut self, row: &Row, step: &Step) {
        let none = Vec::new();
        let leavers = self.leavers.get(&row.key).unwrap_or(&none);
        let members = match &step.action {
            Action::RemoveMembers(members) => {
                let stays = |member: &&RowKey| leavers.binary_search(member).is_err();
                members.iter().filter(stays).count() as u64
            }
            _ => 0,
        };
        self.plan
            .add(&step.key, step.class, &step.action, step.reason, members);
    }
}

impl Draft<'_> {
    /// Weighs a step, unless it went by itself before and failed: what is tried again is nothing new.
    pub(super) fn weigh(&mut self, row: &Row, step: &Step) {
        let last = row.last.error.as_ref();
        self.weights.takes_away |= step.takes_away();
        // Only what concerns one account is the same as before; a group may lose more by now.
        let is_single = matches!(
            step.class,
            Class::Deactivate | Class::Delete | Class::CreateUser
        );
        let is_retry = is_single
            && last.is_some_and(|error| error.sent && error.operation == step.class.as_str());
        if !is_retry {
            self.weights.add(row, step);
        }
    }

    /// Finishes the plan.
    pub(super) async fn seal(mut self) -> Result<Plan, Error> {
        self.problems.close().await?;
        let job = self.tracker.job();
        if !self.colliding.is_empty() {
            let rows = self.colliding.iter().cloned().collect();
            self.relay
                .store
                .drop_steps(self.lease, job.id, rows)
                .await?;
        }
        let evidence = self.evidence().await?;
        let held = self.held.settle(self.relay).await?;
        let refused = self.backoff.told();
        let members = Counters {
            skipped: self.waiting.left_alone() + self.backoff.count(),
            ..self.members
        };
        let waiting = self.waiting.told(&self.relay.directory.name);
        self.tracker.update(|job| {
            job.warnings.extend(waiting);
            job.warnings.extend(held);
            job.warnings.extend(refused);
            job.counters.members_left_out = members.members_left_out;
            job.counters.skipped += members.skipped;
            job.counters.managers_left_out = members.managers_left_out;
            if job.mode == Mode::Preview {
                job.counters = members;
            }
        });
        let mut holds = guard::holds(&self.relay.profile.limits, &evidence);
        let depending = self.depending_on(&holds).await?;
        holds.extend(depending);
        let draft = Plan {
            job: job.id,
            directory: self.relay.directory.id,
            profile: self.relay.profile.name.clone(),
            created_at: self.now,
            preview: !job.applies(),
            counts: Vec::new(),
            held: Vec::new(),
            for_approval: 0,
            holds,
            digest: String::new(),
        };
        let plan = self.relay.store.seal_plan(self.lease, draft).await?;
        // Where everything that it would take away waits already, it is a reason to look all the same.
        let implausible = guard::implausible_read(&self.relay.profile.limits, &evidence);
        let untold = implausible.filter(|hold| !plan.holds.contains(hold));
        self.tracker.update(|job| {
            job.warnings.extend(untold.map(|hold| hold.message));
        });
        Ok(plan)
    }

    async fn evidence(&mut self) -> Result<Evidence, Error> {
        let (relay, job) = (self.relay, self.tracker.job());
        let state = relay.store.profile_state(&relay.key()).await?;
        let feed = self.keep_next_due(&job).await?;
        let ledger = relay.store.ledger(&relay.key()).await?;
        let limits = &relay.profile.limits;
        let weights = std::mem::take(&mut self.weights);
        let spent = ledger.spent(self.now);
        let is_small = guard::is_small(limits, &weights.plan, &spent);
        let coverage = match job.complete_read {
            Some(false) => Coverage::Partial("see the job's errors".to_owned()),
            // Where not everything was read, entries were looked at by themselves, and each absence proved by an answer
            // about it.
            Some(true) | None => Coverage::Complete,
        };
        Ok(Evidence {
            coverage,
            rights_in_doubt: feed.rights_in_doubt(),
            implausible: state.implausible,
            baseline: state.baseline,
            first_load_done: state.first_load_done,
            restored: restored::is_noted(relay).await?,
            definition_changed: self.changed_at.is_some(),
            takes_away: weights.takes_away,
            linked: ownership::linked_counts(relay, !is_small).await?,
            plan: weights.plan,
            spent,
            members: weights.members,
            groups_of_leavers: weights.in_doubt,
        })
    }
}
