//! Wiring: settings in, rooms opened, tasks started.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use uuid::Uuid;

use crate::config::{Config, secrets};
use crate::directory::profile::{MembershipType, Profile};
use crate::directory::tenant::{Auth, Tenant};
use crate::directory::{Connection, Directory};
use crate::id::{JobId, ProfileKey, TenantName};
use crate::job::{Job, Mode, Status, Trigger};
use crate::provider::{self, Provider};
use crate::scheduler::{Runner, Scheduled};
use crate::source::{self, MembershipAttribute, MembershipBy, Search, Security};
use crate::store::Store;
use crate::sync::stop::Stop;
use crate::sync::tracker::{Listener, Tracker};
use crate::sync::{self, Relay};

/// The longest message of a directory server that is accepted, in bytes: an entry with 100,000 members is about 8 MiB.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Tries of a request that may be repeated safely.
const ATTEMPTS_MAX: u32 = 5;
/// The first pause before a repetition.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// All profiles, ready to run.
pub struct Relays {
    relays: Vec<Arc<Relay>>,
    directories: Vec<Arc<Directory>>,
    tenants: Vec<TenantName>,
    store: Arc<dyn Store>,
    listener: Option<Listener>,
}

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
    /// The tenant's IAM.
    pub provider: Arc<dyn Provider>,
}

/// Resolves the secrets of a configuration; nothing is connected yet.
///
/// # Errors
/// Every secret and certificate that cannot be had, in one list.
pub fn connections(config: &Config) -> Result<Vec<Connected>, Vec<String>> {
    let mut problems = Vec::new();
    let mut providers: HashMap<&TenantName, (Arc<Tenant>, Arc<dyn Provider>)> = HashMap::new();
    for tenant in &config.tenants {
        match open_provider(tenant) {
            Ok(provider) => {
                providers.insert(&tenant.name, (Arc::new(tenant.clone()), provider));
            }
            Err(wrong) => problems.extend(wrong),
        }
    }
    let mut connections = Vec::new();
    for directory in config.directories.iter().cloned().map(Arc::new) {
        for profile in &directory.profiles {
            match (
                source_settings(&directory, profile),
                providers.get(&directory.tenant),
            ) {
                (Ok(source), Some((tenant, provider))) => connections.push(Connected {
                    directory: directory.clone(),
                    profile: Arc::new(profile.clone()),
                    tenant: tenant.clone(),
                    source,
                    provider: provider.clone(),
                }),
                (Ok(_), None) => {} // its tenant's problems are listed already
                (Err(wrong), _) => problems.extend(wrong),
            }
        }
    }
    if problems.is_empty() {
        Ok(connections)
    } else {
        Err(problems)
    }
}

impl Relays {
    /// Prepares every profile of a configuration.
    ///
    /// # Errors
    /// Every secret and certificate that cannot be had, in one list.
    pub fn prepare(
        config: &Config,
        store: Arc<dyn Store>,
        listener: Option<Listener>,
    ) -> Result<Self, Vec<String>> {
        let mut directories: Vec<Arc<Directory>> = Vec::new();
        let mut relays = Vec::new();
        for Connected {
            directory,
            profile,
            tenant,
            source,
            provider,
        } in connections(config)?
        {
            if !directories.iter().any(|known| known.id == directory.id) {
                directories.push(directory.clone());
            }
            relays.push(Arc::new(Relay {
                directory,
                profile,
                tenant,
                source,
                provider,
                store: store.clone(),
            }));
        }
        let tenants = config
            .tenants
            .iter()
            .map(|tenant| tenant.name.clone())
            .collect();
        Ok(Self {
            relays,
            directories,
            tenants,
            store,
            listener,
        })
    }

    /// The directories.
    pub fn directories(&self) -> &[Arc<Directory>] {
        &self.directories
    }

    /// The tenants.
    pub fn tenants(&self) -> &[TenantName] {
        &self.tenants
    }

    /// All profiles.
    pub fn all(&self) -> &[Arc<Relay>] {
        &self.relays
    }

    fn relay(&self, key: &ProfileKey) -> Option<&Arc<Relay>> {
        self.relays.iter().find(|relay| relay.key() == *key)
    }

    /// Runs one job of a profile by itself, without a scheduler, and answers the job at its end.
    pub async fn run_once(&self, relay: &Arc<Relay>, mode: Mode, stop: Stop) -> Job {
        let mut job = Job::queued(
            JobId(Uuid::now_v7()),
            &relay.key(),
            Trigger::Manual,
            mode,
            Utc::now(),
        );
        job.start(Utc::now());
        let tracker = self.tracker(relay, job);
        sync::run(relay, &tracker, mode, &stop).await;
        tracker.job()
    }

    fn tracker(&self, relay: &Relay, job: Job) -> Tracker {
        Tracker::new(
            job,
            self.store.clone(),
            relay.provider.counts(),
            self.listener.clone(),
        )
    }
}

#[async_trait]
impl Runner for Relays {
    fn profiles(&self) -> Vec<Scheduled> {
        let scheduled = |relay: &Arc<Relay>| Scheduled {
            key: relay.key(),
            schedule: relay.profile.schedule.clone(),
            enabled: relay.directory.enabled,
        };
        self.relays.iter().map(scheduled).collect()
    }

    async fn run(&self, job: Job, stop: Stop) -> Status {
        let key = job.profile_key();
        match self.relay(&key) {
            Some(relay) => {
                let mode = job.mode;
                let tracker = self.tracker(relay, job);
                sync::run(relay, &tracker, mode, &stop).await
            }
            None => Status::Failed, // not reached: the scheduler queues only profiles that are listed
        }
    }
}

fn open_provider(tenant: &Tenant) -> Result<Arc<dyn Provider>, Vec<String>> {
    let mut problems = Vec::new();
    let name = &tenant.name;
    let mut take =
        |result: Result<_, String>| result.map_err(|problem| problems.push(problem)).ok();
    let auth = match &tenant.auth {
        Auth::Bearer(token) => take(secrets::resolve(
            token,
            &format!("the SCIM token of tenant {name}"),
        ))
        .map(provider::Auth::Bearer),
        Auth::OAuth2 {
            token_url,
            client_id,
            client_secret,
            scope,
        } => take(secrets::resolve(
            client_secret,
            &format!("the client secret of tenant {name}"),
        ))
        .map(|client_secret| provider::Auth::ClientCredentials {
            token_url: token_url.clone(),
            client_id: client_id.clone(),
            client_secret,
            scope: scope.clone(),
        }),
    };
    let ca_certificate = certificate(
        tenant.ca_certificate.as_ref(),
        &format!("caCertificate of tenant {name}"),
    );
    let ca_certificate = ca_certificate
        .map_err(|problem| problems.push(problem))
        .ok()
        .flatten();
    let (Some(auth), true) = (auth, problems.is_empty()) else {
        return Err(problems);
    };
    let settings = provider::Settings {
        tenant: name.clone(),
        base_url: tenant.base_url.clone(),
        auth,
        requests_per_second: tenant.rate_limit,
        concurrency: tenant.concurrency,
        ca_certificate,
        connect_timeout: Duration::from_secs(u64::from(tenant.connect_timeout_s)),
        answer_timeout: Duration::from_secs(u64::from(tenant.answer_timeout_s)),
        attempts_max: ATTEMPTS_MAX,
        retry_pause: RETRY_PAUSE,
        dialect: tenant.dialect.clone(),
    };
    match provider::open(settings) {
        Ok(provider) => Ok(provider.into()),
        Err(refusal) => Err(vec![format!("tenant {name}: {refusal}")]),
    }
}

fn certificate(pem: Option<&crate::directory::Pem>, what: &str) -> Result<Option<Vec<u8>>, String> {
    pem.map(|pem| secrets::certificate(pem, what)).transpose()
}

/// How a profile's directory is reached and what is asked of it, the password included.
fn source_settings(
    directory: &Directory,
    profile: &Profile,
) -> Result<source::Settings, Vec<String>> {
    let connection = &directory.connection;
    let what = format!("the bind password of directory {}", directory.name);
    let password = secrets::resolve(&connection.bind_password, &what);
    let ca = certificate(
        connection.ca_certificate.as_ref(),
        &format!("caCertificate of directory {}", directory.name),
    );
    let (bind_password, ca_certificate) = match (password, ca) {
        (Ok(password), Ok(ca)) => (password, ca),
        (password, ca) => return Err([password.err(), ca.err()].into_iter().flatten().collect()),
    };
    let scope = &profile.scope;
    let attributes = |names: std::collections::BTreeSet<String>| names.into_iter().collect();
    Ok(source::Settings {
        directory_type: connection.directory_type,
        host: connection.host.clone(),
        port: connection.port,
        security: security(connection),
        ca_certificate,
        bind_dn: connection.bind_dn.clone(),
        bind_password,
        users: Search {
            base: scope.users_dn.clone(),
            filter: scope.users_filter.clone(),
            attributes: attributes(profile.mapping.user_attributes()),
        },
        groups: scope.groups_dn.as_ref().map(|base| Search {
            base: base.clone(),
            filter: scope.groups_filter.clone(),
            attributes: attributes(profile.mapping.group_attributes()),
        }),
        anchor_attribute: connection.anchor_attribute.clone(),
        membership: scope
            .membership
            .iter()
            .map(|(name, by)| MembershipAttribute {
                name: name.clone(),
                by: match by {
                    MembershipType::Dn => MembershipBy::Dn,
                    MembershipType::Uid => MembershipBy::Uid,
                },
            })
            .collect(),
        uid_attribute: scope.uid_attribute.clone(),
        page_entries: connection.page_entries,
        connect_timeout: Duration::from_secs(u64::from(connection.connect_timeout_s)),
        answer_timeout: Duration::from_secs(u64::from(connection.answer_timeout_s)),
        message_bytes_max: MESSAGE_BYTES_MAX,
    })
}

fn security(connection: &Connection) -> Security {
    match (connection.use_tls, connection.start_tls) {
        (true, _) => Security::Tls,
        (false, true) => Security::StartTls,
        (false, false) if matches!(connection.host.as_str(), "127.0.0.1" | "::1" | "localhost") => {
            Security::Plain
        }
        (false, false) => {
            tracing::warn!(
                host = connection.host,
                "the bind password crosses the network without TLS (allowPlainLdap)"
            );
            Security::Plain
        }
    }
}
