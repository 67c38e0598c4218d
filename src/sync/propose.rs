//! Propose: the rows that differ become a stored plan, and the guard says what of it waits.

mod around;
mod depending;
mod due;
pub(super) mod foresee;
mod held;
mod joining;
mod leavers;
mod managers;
mod matches;
pub(super) mod members;
mod merge;
mod names;
mod policy;
mod refused;
pub(super) mod undo;
mod weigh;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};

use crate::fault::Fault;
use crate::identity::digest::short;
use crate::identity::{Anchor, Kind, RowKey};
use crate::job::{Counters, Mode};
use crate::plan::decide::{self, Policy, Verdict};
use crate::plan::linking::Waits;
use crate::plan::membership::{self, Named, NestedGroups};
use crate::plan::{Action, Class, Plan, Reason, Step};
use crate::snapshot::{Row, Seen};
use crate::store::Lease;
use crate::sync::problems::Problems;
use crate::sync::propose::held::HeldRows;
use crate::sync::propose::joining::Joining;
use crate::sync::propose::managers::{Manager, Managers};
use crate::sync::propose::matches::Waiting;
use crate::sync::propose::merge::Merging;
use crate::sync::propose::refused::Backoff;
use crate::sync::propose::weigh::Weights;
use crate::sync::roles::Roles;
use crate::sync::tracker::{Tracker, row_error, target_error};
use crate::sync::{Error, Relay, conflicts, ownership};

/// Rows looked at in one turn.
const ROWS_PER_TURN: usize = 1_000;

/// Which rows a plan is for.
pub(super) enum Rows {
    /// All that differ.
    AllThatDiffer,
    /// These; the others keep their marks.
    These(Vec<RowKey>),
    /// All that differ and are linked, as far as something is taken away.
    Leavers,
    /// The same of these.
    LeaversAmong(Vec<RowKey>),
}

/// Plans what differs, and stores the plan.
pub(super) async fn make_plan(
    relay: &Relay,
    lease: &Lease,
    rows: Rows,
    in_doubt: &HashSet<RowKey>,
    tracker: &Tracker,
) -> Result<Plan, Error> {
    tracker.phase("planning").await;
    let mut draft = Draft::new(relay, lease, in_doubt, tracker).await?;
    let is_about_all = matches!(rows, Rows::AllThatDiffer);
    if is_about_all || tracker.job().is_urgent() {
        draft.changed_at = relay
            .store
            .ledger(&relay.key())
            .await?
            .definition_changed_at;
    }
    match rows {
        Rows::AllThatDiffer => {
            let (store, names) = (&relay.store, relay.counted());
            draft.all_marked = store.all_marked(relay.directory.id, &names).await?;
            let mut after = None;
            draft.add_all(Kind::User, &mut after).await?;
            draft.set_managers().await?;
            // Names of users mean nothing to groups.
            (draft.names, draft.linking) = Default::default();
            match relay.profile.nested_groups {
                NestedGroups::Direct => {}
                NestedGroups::Flatten => relay.store.mark_ancestors(lease).await?,
                NestedGroups::Nested => draft.mark_groups_naming_new_groups(&after).await?,
            }
            draft.add_all(Kind::Group, &mut after).await?;
        }
        Rows::These(keys) => draft.add_these(keys).await?,
        Rows::Leavers => draft.add_leavers().await?,
        Rows::LeaversAmong(keys) => draft.add_leavers_among(keys).await?,
    }
    let withheld = draft.roles.told();
    let plan = draft.seal().await?;
    note_plan(&plan, withheld, tracker);
    conflicts::tell(relay, tracker).await?;
    Ok(plan)
}

/// Tells with the job what its plan is, and what waits of it.
fn note_plan(plan: &Plan, withheld: Option<String>, tracker: &Tracker) {
    tracker.update(|job| {
        job.plan_digest = Some(plan.digest.clone());
        job.progress.steps_planned = plan.steps();
        let holds = plan.holds.iter().map(|hold| hold.message.clone());
        job.holds = holds.chain(withheld).collect();
        if job.mode == Mode::Preview {
            job.counters = would_change(plan, job.counters);
        }
    });
}

/// What a preview counts: the steps as if each had been acknowledged.
fn would_change(plan: &Plan, counted: Counters) -> Counters {
    let mut counters = counted;
    for (class, count) in &plan.counts {
        match class {
            Class::Reactivate => counters.users_reactivated += count,
            Class::Update => counters.users_updated += count,
            Class::CreateUser => counters.users_created += count,
            Class::Link => counters.linked += count,
            // Counted while the plan is made: a step has several members, a leaver may have several steps, and a manager who
            // goes with a creation is a part of it.
            Class::Deactivate | Class::Delete => {}
            Class::Group | Class::AddMembers | Class::RemoveMembers | Class::SetManager => {}
        }
    }
    counters
}

/// A plan that is being made.
struct Draft<'a> {
    relay: &'a Relay,
    lease: &'a Lease,
    tracker: &'a Tracker,
    policy: Policy,
    now: DateTime<Utc>,
    /// Since when scope, filters or mapping are others, where the plan is about all that differs because of it.
    changed_at: Option<DateTime<Utc>>,
    /// Whether all rows have their marks yet, as in a first load, so that none has to be marked for another one's sake.
    all_marked: bool,
    /// Users and groups that become linked if this plan is carried out.
    joining: Joining,
    /// Who is to be created under which name, by a short digest of kind and name in lower case. In a first load these are all,
    /// so no more is kept of each than finds it again, in a tree, which never needs room for itself twice.
    names: BTreeMap<[u8; 16], Anchor>,
    /// Who is to be linked to which resource, by a short digest of kind and id; the same.
    linking: BTreeMap<[u8; 16], Anchor>,
    colliding: BTreeSet<RowKey>,
    roles: Roles,
    /// Users who differ in nothing but that they may get a manager by this plan, by a short digest of their keys.
    undecided: HashSet<[u8; 16]>,
    problems: Problems<'a>,
    /// Rows of which it is not known what an earlier run did; they are left alone.
    in_doubt: &'a HashSet<RowKey>,
    anybody_linked: bool,
    /// What the guard weighs.
    weights: Weights,
    held: HeldRows,
    backoff: Backoff,
    members: Counters,
    waiting: Waiting,
    merging: Merging,
    /// When the next row differs by the passing of time alone.
    next_due: Option<DateTime<Utc>>,
}

impl<'a> Draft<'a> {
    async fn new(
        relay: &'a Relay,
        lease: &'a Lease,
        in_doubt: &'a HashSet<RowKey>,
        tracker: &'a Tracker,
    ) -> Result<Self, Error> {
        let now = Utc::now();
        let linked = relay.store.linked_counts(relay.directory.id).await?;
        let conflicts = relay.store.conflict_counts(relay.directory.id).await?;
        Ok(Self {
            relay,
            lease,
            tracker,
            policy: policy::of(relay, now),
            now,
            changed_at: None,
            all_marked: false,
            joining: Joining::default(),
            names: BTreeMap::new(),
            linking: BTreeMap::new(),
            colliding: BTreeSet::new(),
            undecided: HashSet::new(),
            roles: match tracker.job().is_urgent() {
                true => Roles::of_now(relay).await?, // what is wrong with the mapping is for the others to tell
                false => Roles::find(relay, tracker).await?,
            },
            problems: Problems::new(relay, lease, tracker),
            in_doubt,
            anybody_linked: linked.users > 0,
            weights: Weights::default(),
            held: HeldRows::of(tracker),
            backoff: Backoff::of(relay, tracker.job().trigger),
            members: Counters::default(),
            waiting: Waiting::default(),
            merging: Merging::new(conflicts),
            next_due: None,
        })
    }

    /// Decides what each row of a kind needs that differs. All users come before all groups, because a user that is
    /// about to be linked makes the groups that name it differ.
    async fn add_all(&mut self, kind: Kind, after: &mut Option<RowKey>) -> Result<(), Error> {
        while let Some(rows) = self.next_marked(kind, after).await? {
            self.add_rows(rows).await?;
        }
        Ok(())
    }

    /// The next marked rows of a kind, after those that were given before; `None` after the last.
    async fn next_marked(
        &self,
        kind: Kind,
        after: &mut Option<RowKey>,
    ) -> Result<Option<Vec<Row>>, Error> {
        let names = self.relay.counted();
        let (store, directory) = (&self.relay.store, self.relay.directory.id);
        let rows = store.dirty_rows(directory, &names, after.clone(), ROWS_PER_TURN);
        let mut rows = rows.await?;
        rows.retain(|row| row.key.kind == kind);
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        *after = Some(last.key.clone());
        Ok(Some(rows))
    }

    /// Decides what these rows need, whether they are marked or not. What other rows want is not planned, but a name
    /// that one of them wants too is not given away.
    async fn add_these(&mut self, keys: Vec<RowKey>) -> Result<(), Error> {
        let names = self.relay.counted();
        let store = &self.relay.store;
        let rows = store.rows(self.relay.directory.id, &names, keys).await?;
        if rows
            .iter()
            .any(|row| self.wants_names_apart(row.key.kind) && row.applied.is_none())
        {
            self.note_wanted_names(&rows).await?;
        }
        for row in rows {
            self.add_rows(vec![row.clone()]).await?;
            self.set_managers_of(&[row]).await?;
        }
        Ok(())
    }

    /// Decides what each of these rows, all of one kind and in order, needs.
    async fn add_rows(&mut self, rows: Vec<Row>) -> Result<(), Error> {
        let mut steps = Vec::new();
        let mut clean = Vec::new();
        let mine: Vec<&Row> = rows.iter().filter(|row| self.is_mine(row)).collect();
        let around = self.around(&mine).await?;
        self.held.load(self.relay, &mine).await?;
        for row in mine {
            let Some((_, seen)) = row.owner() else {
                continue;
            };
            let fresh = match self.with_fresh_match(row, seen).await {
                Err(Error::Target(refusal)) if refusal.fault == Fault::Rejected => {
                    let error = target_error(&row.key, &seen.identity.dn, "link", &refusal);
                    self.problems.add(&row.key, error).await;
                    continue;
                }
                fresh => fresh?,
            };
            let row = fresh.as_ref().unwrap_or(row);
            let verdict = self.decide(row, seen, &around).await?;
            let unsure = self.merging.waits(&row.key) || self.roles.withholds_from(&row.key);
            let (mut verdict, is_held) = self.held.without(&row.key, verdict, unsure);
            let is_refused = self.leave_refused(row, &mut verdict.steps).await;
            let waits = matches!(around.managers.get(&row.key), Some(Manager::Waits(_)));
            let stays_marked = is_held
                || is_refused
                || self.stays_marked(seen)
                || self.roles.withholds_from(&row.key)
                || self.merging.waits(&row.key);
            if waits && !stays_marked && verdict.is_clean() {
                self.undecided.insert(short(&[&row.key.to_key()]));
            }
            if stays_marked || waits {
                verdict
                    .steps
                    .iter_mut()
                    .for_each(|step| step.last_of_row = false);
            } else if verdict.is_clean() {
                clean.push((row.key.clone(), seen.digest));
            }
            self.take(row, seen, verdict, &mut steps).await;
        }
        self.keep_merged().await?;
        let store = &self.relay.store;
        if !clean.is_empty() {
            self.all_marked = false;
            store.clear_dirty(self.lease, clean).await?;
        }
        self.problems.keep().await?;
        self.mark_rows_naming_joiners(&steps).await?;
        if !steps.is_empty() {
            let job = self.tracker.job().id;
            store.add_steps(self.lease, job, steps).await?;
        }
        Ok(())
    }

    /// A row belongs to the first profile that sees it, or to whoever lost it where none does; the others leave it alone.
    /// So does this run with a row of which it is not known what an earlier one did, or whether the entry is there.
    fn is_mine(&self, row: &Row) -> bool {
        self.relay.owns(row)
            && !self.in_doubt.contains(&row.key)
            && !ownership::is_disputed(self.relay, row)
    }

    async fn take(&mut self, row: &Row, seen: &Seen, verdict: Verdict, steps: &mut Vec<Step>) {
        self.waiting.count(verdict.waits);
        self.note_end_of_grace(seen, verdict.waits);
        match verdict.problem {
            Some(problem) => self.cannot_map(&row.key, &seen.identity.dn, problem).await,
            None if self.merging.waits(&row.key) => {}
            None => self.problems.none(row),
        }
        self.count_all(row, &verdict.steps);
        steps.extend(verdict.steps);
    }

    /// Counts the steps of a row, and weighs them.
    fn count_all(&mut self, row: &Row, steps: &[Step]) {
        let deletes = steps.iter().any(|step| step.class == Class::Delete);
        for step in steps {
            // Whoever is deactivated and deleted leaves once.
            if !deletes || step.class != Class::Deactivate {
                self.count(step);
                self.weigh(row, step);
            }
        }
    }

    async fn cannot_map(&mut self, key: &RowKey, dn: &str, problem: String) {
        let error = row_error(key, dn, "map", Fault::Rejected, problem);
        self.problems.add(key, error).await;
    }

    fn count(&mut self, step: &Step) {
        match (&step.action, step.class) {
            (Action::Change { .. }, Class::Deactivate) | (Action::Delete { .. }, _) => {
                self.members.users_deactivated += 1;
            }
            (Action::Create { members, .. }, Class::Group) => {
                self.members.groups_created += 1;
                self.members.members_added += members.len() as u64;
            }
            (_, Class::SetManager) if step.reason == Reason::Changed => {
                self.members.users_updated += 1;
            }
            (Action::Change { .. }, Class::Group) => self.members.groups_updated += 1,
            (Action::Link { .. }, Class::Group) => self.members.linked += 1,
            (Action::AddMembers(members), _) => self.members.members_added += members.len() as u64,
            (Action::RemoveMembers(members), _) => {
                self.members.members_removed += members.len() as u64;
            }
            _ => {}
        }
    }

    async fn decide_user(
        &mut self,
        row: &Row,
        seen: &Seen,
        groups: &HashMap<RowKey, BTreeSet<RowKey>>,
        managers: &Managers,
    ) -> Result<Verdict, Error> {
        let mut desired = self
            .relay
            .desired(&self.relay.profile, &seen.identity, self.now);
        if let Ok(attributes) = &mut desired.resource {
            self.roles.add_to(self.relay, attributes, row, groups);
            self.add_manager(attributes, row, managers);
            self.relay.tenant.dialect.project(attributes);
        }
        let merged = self.merged(row, seen, &mut desired).await?;
        let row = merged.as_ref().unwrap_or(row);
        let verdict = decide::user(row, seen, desired, &self.policy_for(row, seen));
        let Some(step) = verdict.steps.first() else {
            return Ok(verdict);
        };
        match &step.action {
            Action::Link { .. } => {
                self.joining.add(&row.key);
                Ok(verdict)
            }
            Action::Create { .. } => {
                let name = names::created(&verdict).unwrap_or_default();
                match self.rival(row, seen, &name).await? {
                    Some(problem) => Ok(Verdict::problem(problem)),
                    None => {
                        self.joining.add(&row.key);
                        Ok(verdict)
                    }
                }
            }
            _ => Ok(verdict),
        }
    }

    async fn decide_group(
        &mut self,
        row: &Row,
        seen: &Seen,
        named: &Named,
    ) -> Result<Verdict, Error> {
        if !self.relay.profile.scope.searches_for(&seen.identity) {
            return Ok(Verdict::nothing()); // not synchronized any more, so it stays as it is
        }
        let mut desired = self
            .relay
            .desired(&self.relay.profile, &seen.identity, self.now);
        let merged = self.merged(row, seen, &mut desired).await?;
        let row = merged.as_ref().unwrap_or(row);
        let wanted = membership::membership(&row.key, self.relay.profile.nested_groups, named);
        let present = match &row.applied {
            Some(_) => {
                let directory = self.relay.directory.id;
                let put = self.relay.store.applied_members(directory, &row.key);
                put.await?
            }
            None => Vec::new(),
        };
        let (members, unlinked) = self.linked_or_joining(wanted.members, &present).await?;
        self.members.members_left_out += wanted.left_out + unlinked;
        let (present, ends) = self.without_those_who_stay(present, &members).await?;
        let policy = self.policy_for(row, seen);
        let verdict = decide::group(row, seen, desired, &members, &present.members, &policy)
            .waiting(ends.map(Waits::GraceOfMembers));
        self.weights.loses(&row.key, &present);
        if self.wants_names_apart(Kind::Group)
            && let Some(name) = names::created(&verdict)
            && let Some(problem) = self.rival(row, seen, &name).await?
        {
            return Ok(Verdict::problem(problem));
        }
        if verdict
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::Create { .. } | Action::Link { .. }))
        {
            self.joining.add(&row.key);
        }
        Ok(verdict)
    }
}
