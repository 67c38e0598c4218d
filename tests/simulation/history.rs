//! A history: a site, a relay at it, and what happens to both until they come to rest.

use std::sync::Arc;

use chrono::Utc;
use scim_relay::audit::{Actor, Verdict};
use scim_relay::id::JobId;
use scim_relay::job::{Job, Mode, Status, Trigger};
use scim_relay::provider::Provider as _;
use scim_relay::store::{self, Store};
use scim_relay::sync::stop::Stop;
use scim_relay::sync::tracker::{Feed, Tracker};
use scim_relay::sync::{self, Relay};
use uuid::Uuid;

use crate::changes;
use crate::directory::Way;
use crate::disk::Crash;
use crate::expected;
use crate::random::Random;
use crate::rules::{Configuration, Rules, source_settings};
use crate::site::Site;
use crate::target::Scripted;

/// Runs of one history before it comes to rest.
const RUNS: usize = 8;
/// Runs without faults after which the target must be as it shall be: one for the directory, one for the target.
const RUNS_TO_REST: [Mode; 2] = [Mode::Full, Mode::Reconcile];
/// A run takes about so many steps; a crash is at one of them.
const STEPS_OF_A_RUN: usize = 400;

/// A site with a relay at it.
pub struct History {
    pub site: Site,
    pub random: Random,
    store: Option<Arc<dyn Store>>,
    /// How processes of it may end before their time.
    pub crashes: Vec<Crash>,
    jobs: u128,
    pub configuration: Configuration,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    With(Status),
    /// The process was ended.
    Crashed,
}

impl History {
    /// A small company and a relay that has not run yet; its processes may end in one of these ways.
    pub fn new(seed: u64, crashes: &[Crash]) -> Self {
        let mut random = Random::new(seed);
        let site = Site::new(&mut random);
        let mut state = site.lock();
        let told = format!(
            "{:?}, integrity {}, feed {}",
            state.rules, state.integrity, state.has_feed
        );
        state.note(told);
        for _ in 0..3 + random.below(6) {
            changes::add_user(&mut state, &mut random);
        }
        for _ in 0..2 + random.below(3) {
            changes::add_group(&mut state, &mut random);
        }
        state.rules.role_group = state.model.groups.keys().next().copied();
        let told: Vec<String> = state
            .model
            .users
            .values()
            .map(|user| format!("{user:?}"))
            .chain(
                state
                    .model
                    .groups
                    .values()
                    .map(|group| format!("{group:?}")),
            )
            .collect();
        state.note(told.join("\n"));
        drop(state);
        Self {
            site,
            random,
            store: None,
            crashes: crashes.to_vec(),
            jobs: 0,
            configuration: Configuration::default(),
        }
    }

    /// An empty site under these rules, where nothing happens by itself.
    pub fn with(rules: Rules) -> Self {
        let mut random = Random::new(0);
        let site = Site::new(&mut random);
        site.lock().rules = rules;
        Self {
            site,
            random,
            store: None,
            crashes: Vec::new(),
            jobs: 0,
            configuration: Configuration::default(),
        }
    }

    /// Lets a history happen, and brings it to rest.
    pub async fn happen(&mut self) -> Result<(), String> {
        for _ in 0..RUNS {
            self.something_happens();
            let mode = match self.random.below(20) {
                0..10 => Mode::Full,
                10..17 => Mode::Incremental,
                17 | 18 => Mode::Reconcile,
                _ => Mode::Preview,
            };
            changes::faults(&mut self.site.lock(), &mut self.random);
            let crash = !self.crashes.is_empty() && self.random.percent(30);
            let steps = crash.then(|| {
                let most = 1 + self.random.below(STEPS_OF_A_RUN);
                1 + self.random.below(most) as u64
            });
            self.run(mode, steps).await?;
            self.judge()?;
            self.decide_some(steps).await?;
            self.judge()?;
        }
        self.come_to_rest().await
    }

    /// What happens between two runs.
    fn something_happens(&mut self) {
        let random = &mut self.random;
        let mut state = self.site.lock();
        for _ in 0..random.below(5) {
            let told = changes::of_directory(&mut state, random);
            state.note(told);
        }
        if random.percent(10) {
            let told = state.rules.edit(random);
            state.note(told);
        }
        drop(state);
        if random.percent(25) {
            let told = changes::of_target(&self.site, random);
            self.site.lock().note(told);
        }
    }

    /// Nothing happens any more, and nothing goes wrong: the target comes to be what it shall be (I-4), and after that nothing is
    /// sent (I-5).
    pub async fn come_to_rest(&mut self) -> Result<(), String> {
        changes::no_more(&self.site);
        self.decide_all().await?;
        for mode in RUNS_TO_REST {
            self.run(mode, None).await?;
            self.judge()?;
            self.decide_all().await?;
        }
        let wrong = expected::differences(&self.site);
        if !wrong.is_empty() {
            return Err(format!("I-4: {}", wrong.join("\n     ")));
        }
        for mode in [Mode::Full, Mode::Incremental] {
            self.run(mode, None).await?;
            self.judge()?;
            let needless = expected::needless_writes(&self.site);
            if !needless.is_empty() {
                return Err(format!(
                    "I-5: everything was done, and it is written to {needless:?}"
                ));
            }
        }
        self.prove_the_audit_log().await
    }

    /// I-9: the chain of the audit log holds.
    async fn prove_the_audit_log(&mut self) -> Result<(), String> {
        let verdict = self.store()?.verify_audit(None).await;
        match verdict.map_err(|error| error.to_string())? {
            Verdict::Intact { .. } => Ok(()),
            broken => Err(format!("I-9: {broken:?}")),
        }
    }

    pub fn judge(&self) -> Result<(), String> {
        let violations = self.site.violations();
        match violations.is_empty() {
            true => Ok(()),
            false => Err(violations.join("\n")),
        }
    }

    /// The store of the process that runs now, opened if it is a new one.
    pub fn store(&mut self) -> Result<Arc<dyn Store>, String> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let opened = store::open_on(self.site.disk());
        let opened: Arc<dyn Store> = opened
            .map_err(|error| format!("the store does not open any more: {error}"))?
            .into();
        self.site.put_store(&opened);
        self.store = Some(opened.clone());
        Ok(opened)
    }

    /// One run; with a number of steps the process does not survive that one.
    pub async fn run(&mut self, mode: Mode, steps: Option<u64>) -> Result<Ended, String> {
        let (_, directory) = self.configuration.of(&self.site.lock().rules);
        let profile = directory.profile_key(&directory.profiles[0].name);
        self.jobs += 1;
        let id = JobId(Uuid::from_u128(self.jobs));
        let job = Job::queued(id, &profile, Trigger::Manual, mode, Utc::now());
        self.run_job(job, steps).await
    }

    /// The same of a job that is there already.
    pub async fn run_job(&mut self, mut job: Job, steps: Option<u64>) -> Result<Ended, String> {
        let mode = job.mode;
        let store = self.store()?;
        let (tenant, directory) = {
            let mut state = self.site.lock();
            state.before = state.model.clone();
            state.writes.clear();
            state.was_read = false;
            self.configuration.of(&state.rules)
        };
        let provider = Arc::new(Scripted::new(&self.site, directory.id));
        let profile = Arc::new(directory.profiles[0].clone());
        let relay = Relay {
            connector: Arc::new(Way(self.site.clone())),
            source: source_settings(&directory),
            others: Vec::new(),
            profile,
            tenant: tenant.clone(),
            provider: provider.clone(),
            store: store.clone(),
            traffic: Default::default(),
            directory,
        };
        job.start(Utc::now());
        let fuse = self.site.disk().fuse().clone();
        fuse.set(steps);
        let tracker = Tracker::new(
            Feed::new(job.clone()),
            store.clone(),
            provider.counts(),
            None,
        );
        let stop = Stop::default();
        let running = async {
            let queued = store
                .queue_job(&job, &Actor::CommandLine, &tenant.name)
                .await;
            queued.map_err(|error| error.to_string())?;
            Ok(sync::run(&relay, &tracker, &stop).await)
        };
        let ended = tokio::select! {
            biased;
            () = fuse.burnt() => Ended::Crashed,
            status = Box::pin(running) => match status {
                Ok(status) => Ended::With(status),
                Err(error) => return Err(error),
            },
        };
        fuse.set(None); // what happens between runs has no end
        let ended = match fuse.is_burnt() {
            true => Ended::Crashed, // by a thread of the store, as the run came to its end
            false => ended,
        };
        if let Ended::With(_) = ended {
            let mut state = self.site.lock();
            if state.was_read && state.source_faults.tell_all() {
                state.model.unnoticed.clear();
            }
        }
        let job = tracker.job();
        let errors: Vec<&str> = job
            .errors
            .iter()
            .map(|error| error.detail.as_str())
            .collect();
        self.site.lock().note(format!(
            "run {}: {mode:?} {ended:?} after {} steps, {:?} {:?}",
            job.id.0.as_u128(),
            fuse.steps(),
            job.holds,
            errors
        ));
        drop((relay, tracker, store));
        if ended == Ended::Crashed {
            self.crash();
        }
        Ok(ended)
    }

    /// The process is ended, and a new one finds what it left.
    fn crash(&mut self) {
        let crash = *self.random.pick(&self.crashes).unwrap_or(&Crash::Kill);
        self.store = None;
        let disk = self.site.disk().after(crash, &mut self.random);
        self.site.put_disk(disk);
        self.site.lock().note(format!("crash: {crash:?}"));
    }
}
