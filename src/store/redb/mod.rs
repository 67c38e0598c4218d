//! The store in one redb file: one writer thread, short read transactions, every method one transaction.

mod applied;
mod audit;
mod codec;
mod commit;
mod conflicts;
mod definitions;
mod failure;
mod feed;
mod file;
mod forget;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod generation;
mod holds;
mod jobs;
mod lease;
mod leftovers;
mod links;
mod migrations;
mod naming;
mod outcomes;
mod plans;
mod readers;
mod records;
mod repairs;
mod rows;
mod seen;
mod tables;
mod target;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use redb::{StorageBackend, WriteTransaction};

use crate::id::{DirectoryId, JobId, ProfileKey, ProfileName};
use crate::identity::digest::Digest;
use crate::identity::known::Known;
use crate::identity::{Identity, Kind, MemberKey, RowKey};
use crate::job::{Job, Status};
use crate::plan::{Plan, Step};
use crate::snapshot::{Applied, LinkedCounts, Match, ProfileState, ResolvedMember, Row, RowError};
use crate::store::jobs::{Drift, JobFilter, JournalLine, UnsentError};
use crate::store::{Author, Error, Intent, Lease, Position, Settings, Settlement, Store};

use commit::{Commit, RedbStore};

/// Opens the store; see [`crate::store::open`].
pub(super) fn open(settings: &Settings) -> Result<Box<dyn Store>, Error> {
    let path = settings.path.as_path();
    let is_new = !path.exists();
    let database = file::open(settings)?;
    let beside =
        generation::open(&database, path, is_new).map_err(|failure| failure.into_error(path))?;
    Ok(Box::new(RedbStore::start(database, path, Some(beside))?))
}

/// Opens the store on another disk than a file; see [`crate::store::open_on`].
pub(super) fn open_on(disk: impl StorageBackend) -> Result<Box<dyn Store>, Error> {
    let path = Path::new("memory");
    let database = file::open_on(disk, path)?;
    Ok(Box::new(RedbStore::start(database, path, None)?))
}

#[async_trait]
impl Store for RedbStore {
    async fn lease(&self, directory: DirectoryId) -> Result<Lease, Error> {
        self.write(Commit::Later, move |txn| lease::take(txn, directory))
            .await
    }

    async fn bind_target(&self, lease: &Lease, base_url: &str) -> Result<Option<String>, Error> {
        let (lease, base_url) = (*lease, base_url.to_owned());
        // As good as always; a commit costs more than a look.
        let (directory, same) = (lease.directory, base_url.clone());
        let is_bound = self.read(move |txn| target::is_bound(txn, directory, &same));
        if is_bound.await? {
            return Ok(None);
        }
        self.write(Commit::Outbox, move |txn| {
            target::bind(txn, &lease, &base_url)
        })
        .await
    }

    async fn known(&self, profile: &ProfileKey) -> Result<Known, Error> {
        let profile = profile.clone();
        self.read(move |txn| seen::known(txn, &profile)).await
    }

    async fn profile_state(&self, profile: &ProfileKey) -> Result<ProfileState, Error> {
        let profile = profile.clone();
        self.read(move |txn| rows::profile_state(txn, &profile))
            .await
    }

    async fn save_profile_state(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        state: &ProfileState,
    ) -> Result<(), Error> {
        let (lease, profile, state) = (*lease, profile.clone(), state.clone());
        self.write(Commit::Later, move |txn| {
            seen::save_profile_state(txn, &lease, &profile, &state)
        })
        .await
    }

    async fn record_seen(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        entries: Vec<(Identity, Digest)>,
    ) -> Result<(), Error> {
        let (lease, profile) = (*lease, profile.clone());
        self.write(Commit::of_rows(entries.len()), move |txn| {
            seen::record_seen(txn, &lease, &profile, entries)
        })
        .await
    }

    async fn unmet(&self, profile: &ProfileKey, known: Known) -> Result<Vec<RowKey>, Error> {
        let profile = profile.clone();
        self.read(move |txn| seen::unmet(txn, &profile, &known))
            .await
    }

    async fn record_absent(
        &self,
        lease: &Lease,
        profile: &ProfileKey,
        rows: Vec<RowKey>,
        since: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (lease, profile) = (*lease, profile.clone());
        self.write(Commit::of_rows(rows.len()), move |txn| {
            seen::record_absent(txn, &lease, &profile, rows, since)
        })
        .await
    }

    async fn hand_over(&self, lease: &Lease, rows: Vec<RowKey>) -> Result<(), Error> {
        let lease = *lease;
        self.write(Commit::of_rows(rows.len()), move |txn| {
            seen::hand_over(txn, &lease, &rows)
        })
        .await
    }

    async fn mark_all_dirty(&self, lease: &Lease, profiles: &[ProfileName]) -> Result<(), Error> {
        let (lease, profiles) = (*lease, profiles.to_vec());
        self.write(Commit::Bulk, move |txn| {
            seen::mark_all_dirty(txn, &lease, &profiles)
        })
        .await
    }

    async fn forget_profile(&self, lease: &Lease, profile: &ProfileKey) -> Result<(), Error> {
        let (lease, profile) = (*lease, profile.clone());
        let forget = move |txn: &WriteTransaction| forget::profile(txn, &lease, &profile);
        self.write(Commit::Outbox, forget).await
    }

    async fn forget_directory(&self, directory: DirectoryId) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| forget::directory(txn, directory))
            .await
    }

    async fn all_marked(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
    ) -> Result<bool, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| seen::all_marked(txn, directory, &profiles))
            .await
    }

    async fn mark_dirty(&self, lease: &Lease, rows: Vec<RowKey>) -> Result<(), Error> {
        let lease = *lease;
        let unmarked = self.read(move |txn| seen::unmarked(txn, lease.directory, rows));
        let rows = unmarked.await?;
        if rows.is_empty() {
            return Ok(());
        }
        let commit = Commit::of_rows(rows.len());
        let mark = move |txn: &WriteTransaction| seen::mark_dirty(txn, &lease, &rows);
        self.write(commit, mark).await
    }

    async fn mark_ancestors(&self, lease: &Lease) -> Result<(), Error> {
        let lease = *lease;
        let any = self.read(move |txn| seen::any_group_dirty(txn, lease.directory));
        if !any.await? {
            return Ok(());
        }
        self.write(Commit::Bulk, move |txn| seen::mark_ancestors(txn, &lease))
            .await
    }

    async fn dirty_rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| rows::dirty_rows(txn, directory, &profiles, after.as_ref(), limit))
            .await
    }

    async fn clear_dirty(&self, lease: &Lease, rows: Vec<(RowKey, Digest)>) -> Result<(), Error> {
        let lease = *lease;
        let commit = Commit::of_rows(rows.len());
        let clear = move |txn: &WriteTransaction| seen::clear_dirty(txn, &lease, rows);
        self.write(commit, clear).await
    }

    async fn rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        keys: Vec<RowKey>,
    ) -> Result<Vec<Row>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| rows::rows(txn, directory, &profiles, keys))
            .await
    }

    async fn listed_rows(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        kind: Kind,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| {
            rows::listed_rows(txn, directory, &profiles, kind, after.as_ref(), limit)
        })
        .await
    }

    async fn note_problems(
        &self,
        lease: &Lease,
        problems: Vec<(RowKey, Option<RowError>)>,
    ) -> Result<(), Error> {
        let lease = *lease;
        let news = self
            .read(move |txn| outcomes::news(txn, lease.directory, problems))
            .await?;
        if news.is_empty() {
            return Ok(());
        }
        self.write(Commit::of_rows(news.len()), move |txn| {
            outcomes::write(txn, &lease, &news)
        })
        .await
    }

    async fn linked_rows(
        &self,
        directory: DirectoryId,
        after: Option<RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Applied)>, Error> {
        self.read(move |txn| rows::linked_rows(txn, directory, after.as_ref(), limit))
            .await
    }

    async fn links(
        &self,
        directory: DirectoryId,
        keys: Vec<RowKey>,
    ) -> Result<Vec<Option<String>>, Error> {
        self.read(move |txn| rows::links(txn, directory, &keys))
            .await
    }

    async fn members(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        groups: Vec<RowKey>,
    ) -> Result<Vec<Vec<ResolvedMember>>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| rows::members(txn, directory, &profiles, &groups))
            .await
    }

    async fn named(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        names: Vec<MemberKey>,
    ) -> Result<Vec<BTreeSet<RowKey>>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| rows::named(txn, directory, &profiles, &names))
            .await
    }

    async fn managers(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        users: Vec<RowKey>,
    ) -> Result<Vec<Option<ResolvedMember>>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| rows::managers(txn, directory, &profiles, &users))
            .await
    }

    async fn rows_naming(
        &self,
        directory: DirectoryId,
        profiles: &[ProfileName],
        rows: Vec<RowKey>,
    ) -> Result<Vec<Vec<RowKey>>, Error> {
        let profiles = profiles.to_vec();
        self.read(move |txn| rows::rows_naming(txn, directory, &profiles, &rows))
            .await
    }

    async fn applied_members(
        &self,
        directory: DirectoryId,
        group: &RowKey,
    ) -> Result<Vec<RowKey>, Error> {
        let group = group.clone();
        self.read(move |txn| rows::applied_members(txn, directory, &group))
            .await
    }

    async fn linked_counts(&self, directory: DirectoryId) -> Result<LinkedCounts, Error> {
        self.read(move |txn| rows::linked_counts(txn, directory))
            .await
    }

    async fn holder_of_name(
        &self,
        directory: DirectoryId,
        user_name: &str,
    ) -> Result<Option<RowKey>, Error> {
        let user_name = user_name.to_owned();
        self.read(move |txn| rows::holder_of_name(txn, directory, &user_name))
            .await
    }

    async fn record_found(
        &self,
        lease: &Lease,
        found: Vec<(RowKey, Option<Match>)>,
    ) -> Result<(), Error> {
        let lease = *lease;
        let record = move |txn: &WriteTransaction| applied::record_found(txn, &lease, &found);
        self.write(Commit::Bulk, record).await
    }

    async fn record_observed(
        &self,
        lease: &Lease,
        observed: Vec<(RowKey, Option<Applied>)>,
    ) -> Result<(), Error> {
        let lease = *lease;
        let record = move |txn: &WriteTransaction| applied::record_observed(txn, &lease, &observed);
        self.write(Commit::Outbox, record).await
    }

    async fn add_steps(&self, lease: &Lease, job: JobId, steps: Vec<Step>) -> Result<(), Error> {
        let lease = *lease;
        let commit = Commit::of_rows(steps.len());
        let add = move |txn: &WriteTransaction| plans::add_steps(txn, &lease, job, &steps);
        self.write(commit, add).await
    }

    async fn drop_steps(&self, lease: &Lease, job: JobId, rows: Vec<RowKey>) -> Result<(), Error> {
        let lease = *lease;
        let drop = move |txn: &WriteTransaction| plans::drop_steps(txn, &lease, job, rows);
        self.write(Commit::Bulk, drop).await
    }

    async fn seal_plan(&self, lease: &Lease, plan: Plan) -> Result<Plan, Error> {
        let lease = *lease;
        let seal = move |txn: &WriteTransaction| plans::seal(txn, &lease, plan);
        self.write(Commit::Later, seal).await
    }

    async fn plan(&self, job: JobId) -> Result<Option<Plan>, Error> {
        self.read(move |txn| plans::plan(txn, job)).await
    }

    async fn steps(
        &self,
        job: JobId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<(Position, Step)>, Error> {
        self.read(move |txn| plans::steps(txn, job, after, limit))
            .await
    }

    async fn drop_plan(&self, lease: &Lease, job: JobId) -> Result<(), Error> {
        let lease = *lease;
        self.write(Commit::Later, move |txn| plans::drop_plan(txn, &lease, job))
            .await
    }

    async fn intend(&self, lease: &Lease, intents: Vec<Intent>) -> Result<(), Error> {
        let lease = *lease;
        self.write_on(move |txn| applied::intend(txn, &lease, &intents))
            .await
    }

    async fn intents(&self, directory: DirectoryId) -> Result<Vec<Intent>, Error> {
        self.read(move |txn| rows::intents(txn, directory)).await
    }

    async fn settle(
        &self,
        lease: &Lease,
        author: &Author,
        settlements: Vec<Settlement>,
    ) -> Result<(), Error> {
        let (lease, author) = (*lease, author.clone());
        self.write_on(move |txn| applied::settle(txn, &lease, &author, settlements))
            .await
    }

    async fn save_job(&self, job: &Job) -> Result<(), Error> {
        let job = job.clone();
        let is_running = job.status == Status::Running;
        let save = move |txn: &WriteTransaction| jobs::save(txn, &job);
        match is_running {
            true => self.write(Commit::Later, save).await,
            false => self.write_on(save).await,
        }
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        self.read(move |txn| jobs::job(txn, id)).await
    }

    async fn jobs(
        &self,
        filter: JobFilter,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        self.read(move |txn| jobs::jobs(txn, &filter, before, limit))
            .await
    }

    async fn unfinished_jobs(&self) -> Result<Vec<Job>, Error> {
        self.read(jobs::unfinished).await
    }

    async fn note_unsent(&self, job: JobId, errors: Vec<UnsentError>) -> Result<(), Error> {
        let note = move |txn: &WriteTransaction| jobs::note_unsent(txn, job, &errors);
        self.write(Commit::Bulk, note).await
    }

    async fn note_drift(&self, job: JobId, lines: Vec<Drift>) -> Result<(), Error> {
        self.write(Commit::Bulk, move |txn| jobs::note_drift(txn, job, &lines))
            .await
    }

    async fn changes(
        &self,
        job: JobId,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, JournalLine)>, Error> {
        self.read(move |txn| jobs::changes(txn, job, after, limit))
            .await
    }
}
