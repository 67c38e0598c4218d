//! Wiring: settings in, rooms opened, tasks started.

mod explain;
pub mod probe;
mod reach;
pub mod target;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use tracing::Instrument;
use uuid::Uuid;

use crate::app::reach::{not_stored, open_provider, sources};
use crate::audit::Actor;
use crate::catalog::{self, Catalog, Contents};
use crate::config::{Config, secrets};
use crate::directory::Directory;
use crate::directory::profile::Profile;
use crate::directory::tenant::Tenant;
use crate::fault::Fault;
use crate::id::{DirectoryId, JobId, ProfileKey, ProfileName, TenantName};
use crate::job::{Extent, Job, ObjectError, Status, Trigger};
use crate::provider::{Provider, RequestCounts};
use crate::scheduler::{Runner, Scheduled};
use crate::scim::dialect::Dialect;
use crate::secret::Secret;
use crate::source;
use crate::store::Store;
use crate::sync::stop::Stop;
use crate::sync::tracker::{Feed, Listener, Tracker};
use crate::sync::traffic::Traffic;
use crate::sync::watch::Ringer;
use crate::sync::{self, Relay};
use crate::vault::{self, Vault};

/// Every profile, ready to run.
pub struct Relays {
    catalog: Arc<Catalog>,
    /// One provider for each tenant, so that all of its directories share its rate limit.
    providers: Mutex<HashMap<TenantName, Reached>>,
    store: Arc<dyn Store>,
    listener: Option<Listener>,
    /// What the jobs of each directory that run at the same time know of each other.
    traffic: Mutex<HashMap<DirectoryId, Arc<Traffic>>>,
}

/// How often it is looked whether a definition is still the one that is listened for.
const DEFINITION_LOOK: Duration = Duration::from_secs(1);

/// How often it is looked whether a secret that was missing is there.
const SECRETS_LOOK: Duration = Duration::from_secs(60);

/// A tenant and the way to its IAM.
type Reached = (Arc<Tenant>, Arc<dyn Provider>);

/// A profile with everything that is needed to reach its directory and its target, secrets included.
pub struct Connected {
    /// The directory.
    pub directory: Arc<Directory>,
    /// The profile.
    pub profile: Arc<Profile>,
    /// The tenant.
    pub tenant: Arc<Tenant>,
    /// How the directory is reached.
    pub source: source::Settings,
    /// How the directory is reached for its other profiles.
    pub others: Vec<(ProfileName, source::Settings)>,
    /// The tenant's IAM.
    pub provider: Arc<dyn Provider>,
}

/// Resolves the secrets of a configuration file; nothing is connected yet.
///
/// # Errors
/// Every secret and certificate that cannot be had, in one list.
pub fn connections(config: &Config) -> Result<Vec<Connected>, Vec<String>> {
    let mut problems = Vec::new();
    let mut providers: HashMap<&TenantName, Reached> = HashMap::new();
    for tenant in &config.tenants {
        match open_provider(tenant, &not_stored) {
            Ok(provider) => {
                providers.insert(&tenant.name, (Arc::new(tenant.clone()), provider));
            }
            Err(wrong) => problems.extend(wrong),
        }
    }
    let mut connections = Vec::new();
    for directory in config.directories.iter().cloned().map(Arc::new) {
        let sources = match sources(&directory, &not_stored) {
            Ok(sources) => sources,
            Err(wrong) => {
                problems.extend(wrong);
                continue;
            }
        };
        let Some((tenant, provider)) = providers.get(&directory.tenant) else {
            continue; // its problems are listed already
        };
        for (profile, (name, source)) in directory.profiles.iter().zip(&sources) {
            let others = sources.iter().filter(|(other, _)| other != name);
            connections.push(Connected {
                directory: directory.clone(),
                profile: Arc::new(profile.clone()),
                tenant: tenant.clone(),
                source: source.clone(),
                others: others.cloned().collect(),
                provider: provider.clone(),
            });
        }
    }
    if problems.is_empty() {
        Ok(connections)
    } else {
        Err(problems)
    }
}

/// The key of the configuration, ready for use.
///
/// # Errors
/// When it cannot be had, or is none.
pub fn vault(config: &Config) -> Result<Option<Vault>, String> {
    let Some(reference) = &config.secrets_key else {
        return Ok(None);
    };
    let key = secrets::resolve(reference, "secrets.key")?;
    vault::open(&vault::Settings { key })
        .map(Some)
        .map_err(|error| error.to_string())
}

impl Relays {
    /// Opens the catalog, and proves that everything the configuration file names can be had.
    ///
    /// # Errors
    /// Every secret and certificate that cannot be had, in one list; or that the key is not the store's.
    pub async fn open(
        config: &Config,
        file: &Path,
        store: Arc<dyn Store>,
        listener: Option<Listener>,
    ) -> Result<Self, Vec<String>> {
        connections(config)?;
        let settings = catalog::Settings {
            file: file.to_owned(),
            tenants: config.tenants.clone(),
            directories: config.directories.clone(),
            store: store.clone(),
            vault: vault(config).map_err(|problem| vec![problem])?,
        };
        let catalog = catalog::open(settings)
            .await
            .map_err(|error| vec![error.to_string()])?;
        Ok(Self {
            catalog: Arc::new(catalog),
            providers: Mutex::default(),
            store,
            listener,
            traffic: Mutex::default(),
        })
    }

    /// The definitions in force.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// A profile with everything that is needed to run it, as it is defined now.
    ///
    /// # Errors
    /// Every secret and certificate that cannot be had, in one list.
    pub fn connect(&self, key: &ProfileKey) -> Result<Connected, Vec<String>> {
        let contents = self.catalog.contents();
        let unknown = || vec![format!("there is no profile {key}")];
        let entry = contents.directory(key.directory).ok_or_else(unknown)?;
        let directory = entry.definition.clone();
        let profile = directory.profile(&key.profile).ok_or_else(unknown)?.clone();
        let mut others = self.sources_of(&contents, &directory, None)?;
        let at = others.iter().position(|(name, _)| *name == key.profile);
        let (_, source) = others.remove(at.ok_or_else(unknown)?);
        let (tenant, provider) = self.reach(&contents, &directory.tenant)?;
        Ok(Connected {
            directory,
            profile: Arc::new(profile),
            tenant,
            source,
            others,
            provider,
        })
    }

    /// How a directory is reached for each of its profiles; one that is not saved comes with its password.
    fn sources_of(
        &self,
        contents: &Contents,
        directory: &Directory,
        password: Option<&Secret>,
    ) -> Result<Vec<(ProfileName, source::Settings)>, Vec<String>> {
        let entry = contents.directory(directory.id);
        let is_same =
            entry.is_some_and(|entry| std::ptr::eq(&raw const *entry.definition, directory));
        let stored = |field: &str| match password {
            Some(password) => Ok(password.clone()),
            None if is_same => {
                let id = Some(directory.id);
                self.catalog.secret(contents, &directory.tenant, id, field)
            }
            None => Err("the directory was changed just now; try again".to_owned()),
        };
        sources(directory, &stored)
    }

    /// How the target of a directory wants to be spoken to; that of one which is not saved may not be there any more.
    fn dialect_of(&self, directory: &Directory) -> Dialect {
        let contents = self.catalog.contents();
        let tenant = contents.tenant(&directory.tenant);
        tenant
            .map(|tenant| tenant.definition.dialect.clone())
            .unwrap_or_default()
    }

    /// How a directory is reached for one of its profiles.
    fn settings_of(
        &self,
        directory: &Directory,
        profile: &Profile,
        password: Option<&Secret>,
    ) -> Result<source::Settings, Vec<String>> {
        let contents = self.catalog.contents();
        let sources = self.sources_of(&contents, directory, password)?;
        let mut sources = sources.into_iter();
        let found = sources.find(|(name, _)| *name == profile.name);
        found
            .map(|(_, settings)| settings)
            .ok_or_else(|| vec![format!("there is no profile {}", profile.name)])
    }

    /// A tenant's IAM; opened anew when the tenant was changed.
    fn reach(&self, contents: &Contents, name: &TenantName) -> Result<Reached, Vec<String>> {
        let tenant = contents
            .tenant(name)
            .ok_or_else(|| vec![format!("there is no tenant {name}")])?;
        let tenant = tenant.definition.clone();
        let mut providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((known, provider)) = providers.get(name)
            && Arc::ptr_eq(known, &tenant)
        {
            return Ok((tenant, provider.clone()));
        }
        let secret = |field: &str| self.catalog.secret(contents, name, None, field);
        let provider = open_provider(&tenant, &secret)?;
        providers.insert(name.clone(), (tenant.clone(), provider.clone()));
        Ok((tenant, provider))
    }

    fn relay(&self, key: &ProfileKey) -> Result<Relay, Vec<String>> {
        let connected = self.connect(key)?;
        Ok(Relay {
            directory: connected.directory,
            profile: connected.profile,
            tenant: connected.tenant,
            connector: Arc::new(source::Ldap),
            source: connected.source,
            others: connected.others,
            provider: connected.provider,
            store: self.store.clone(),
            traffic: self.traffic_of(key.directory),
        })
    }

    fn traffic_of(&self, directory: DirectoryId) -> Arc<Traffic> {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.entry(directory).or_default().clone()
    }

    /// Runs one job of a profile by itself, without a scheduler, for whoever sits at the machine; answers the job at its
    /// end.
    ///
    /// # Errors
    /// When the store cannot keep the job.
    pub async fn run_once(
        &self,
        key: &ProfileKey,
        extent: impl Into<Extent>,
        stop: Stop,
    ) -> Result<Job, crate::store::Error> {
        let id = JobId(Uuid::now_v7());
        let mut job = Job::queued(id, key, Trigger::Manual, extent, Utc::now());
        job.start(Utc::now());
        let contents = self.catalog.contents();
        if let Some(entry) = contents.directory(key.directory) {
            let tenant = &entry.definition.tenant;
            self.store
                .queue_job(&job, &Actor::CommandLine, tenant)
                .await?;
        }
        Ok(self.carry_out(Feed::new(job), stop).await)
    }

    /// Goes on with a job whose plan was approved, without a scheduler; answers the job at its end.
    pub async fn go_on(&self, mut job: Job, stop: Stop) -> Job {
        job.start(Utc::now());
        self.carry_out(Feed::new(job), stop).await
    }

    /// Runs a job to its end, and stores that end.
    async fn carry_out(&self, feed: Feed, stop: Stop) -> Job {
        let key = feed.borrow().profile_key();
        match self.relay(&key) {
            Ok(relay) => {
                let tracker = Tracker::new(
                    feed,
                    self.store.clone(),
                    relay.provider.counts(),
                    self.listener.clone(),
                );
                let names = tracing::info_span!("run", directory = %relay.directory.name, profile = %relay.profile.name);
                sync::run(&relay, &tracker, &stop).instrument(names).await;
                tracker.job()
            }
            Err(problems) => {
                let tracker = Tracker::new(
                    feed,
                    self.store.clone(),
                    RequestCounts::default(),
                    self.listener.clone(),
                );
                let detail = problems.join("; ");
                tracing::warn!(directory = %key.directory, profile = %key.profile, error = detail, "the run cannot begin");
                tracker
                    .record(ObjectError::of_job("connect", Fault::Denied, detail))
                    .await;
                tracker.end(Status::Failed, RequestCounts::default()).await;
                tracker.job()
            }
        }
    }
}

#[async_trait]
impl Runner for Relays {
    fn profiles(&self) -> Vec<Scheduled> {
        let contents = self.catalog.contents();
        let mut profiles = Vec::new();
        for directory in contents.directories().map(|entry| &entry.definition) {
            let of = |profile| Scheduled::of(directory, profile);
            profiles.extend(directory.profiles.iter().map(of));
        }
        profiles
    }

    async fn listen(&self, key: &ProfileKey, ringer: &dyn Ringer) {
        let definition = |contents: &Contents| {
            let entry = contents.directory(key.directory);
            entry.map(|entry| entry.definition.clone())
        };
        let before = definition(&self.catalog.contents());
        let changed = async {
            loop {
                tokio::time::sleep(DEFINITION_LOOK).await;
                let now = definition(&self.catalog.contents());
                let same = before.as_ref().zip(now.as_ref());
                if same.is_none_or(|(before, now)| !Arc::ptr_eq(before, now)) {
                    return;
                }
            }
        };
        match self.relay(key) {
            Ok(relay) => tokio::select! {
                () = sync::watch::watch(&relay, ringer) => {}
                () = changed => {}
            },
            // Its runs say what is wrong; a secret that is missing may come back without a change of the definition.
            Err(_) => tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(SECRETS_LOOK) => {}
            },
        }
    }

    fn can_be_overtaken(&self, directory: DirectoryId) -> bool {
        self.traffic_of(directory).lease().is_some()
    }

    async fn run(&self, job: Feed, stop: Stop) -> Status {
        self.carry_out(job, stop).await.status
    }
}
