//! The admin endpoint: the one inbound door. It reads the store, and asks the scheduler; it runs nothing itself.

mod auth;
mod body;
pub mod conflicts;
mod console;
pub mod explanation;
pub mod links;
mod middleware;
pub mod openapi;
pub mod plans;
pub mod probe;
mod problem;
mod query;
mod readonly;
pub mod routes;
mod server;
mod shares;
pub mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::auth::keyring::Keyring;
use crate::admin::auth::sessions::Cookie;
use crate::admin::probe::Probe;
use crate::admin::problem::Problem;
use crate::admin::server::tls::{self, Tls};
use crate::admin::shares::Shares;
use crate::audit::Event;
use crate::catalog::{Catalog, Entry};
use crate::directory::Directory;
use crate::id::{DirectoryId, TenantName};
use crate::plan::protected::Protected;
use crate::scheduler::Scheduler;
use crate::secret::Secret;
use crate::store::Store;

/// Event streams open at the same time.
const STREAMS_MAX: usize = 128;
/// Of these, of one tenant.
const STREAMS_OF_A_TENANT: usize = 96;
/// Trials of directories at the same time: each holds a connection, and up to some messages of a server that nobody knows yet.
const TRIALS_MAX: usize = 8;
/// Of these, of one tenant.
const TRIALS_OF_A_TENANT: usize = 4;

/// A certificate chain and its private key, in PEM form.
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub chain: Vec<u8>,
    /// The private key.
    pub key: Secret,
}

/// Reads the certificate from where it is kept, again and again, as it may have been renewed; an error names the place and
/// the cure.
pub type ReadCertificate = Arc<dyn Fn() -> Result<Certificate, String> + Send + Sync>;

/// Everything that the endpoint answers from.
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The certificate; without one it speaks plain HTTP.
    pub certificate: Option<ReadCertificate>,
    /// A token beside those of the store, for everything.
    pub token: Option<Secret>,
    /// The tenants and directories.
    pub catalog: Arc<Catalog>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who runs jobs.
    pub scheduler: Scheduler,
    /// Who tries directories.
    pub probe: Arc<dyn Probe>,
}

/// All routes below `/api/v1`, and what it takes to call each.
pub fn routes() -> &'static [routes::Route] {
    routes::ROUTES
}

/// What the handlers share.
struct Admin {
    keyring: Keyring,
    catalog: Arc<Catalog>,
    store: Arc<dyn Store>,
    scheduler: Scheduler,
    probe: Arc<dyn Probe>,
    /// Requests that are being handled, those included that nobody waits for any more.
    requests: TaskTracker,
    /// Places for event streams.
    streams: Shares,
    /// Places for trials of directories.
    trials: Shares,
    stop: CancellationToken,
}

impl Admin {
    /// The directories of a tenant, by name.
    fn directories_of(&self, tenant: &TenantName) -> Vec<Arc<Directory>> {
        let contents = self.catalog.contents();
        let entries = contents.directories_of(tenant);
        entries
            .into_iter()
            .map(|entry| entry.definition.clone())
            .collect()
    }

    /// The tenants in force.
    fn tenants(&self) -> Vec<TenantName> {
        let contents = self.catalog.contents();
        let names = contents.tenants().map(|entry| &entry.definition.name);
        names.cloned().collect()
    }

    /// What of a tenant's target is never linked and never changed.
    fn protected(&self, tenant: &TenantName) -> Protected {
        let contents = self.catalog.contents();
        let tenant = contents.tenant(tenant);
        let protected = tenant.map(|entry| entry.definition.protected.clone());
        protected.unwrap_or_default()
    }

    /// A directory of a tenant, and where it is kept; a foreign one is as if it did not exist.
    fn entry(&self, id: DirectoryId, tenant: &TenantName) -> Result<Entry<Directory>, Problem> {
        let contents = self.catalog.contents();
        contents
            .directory(id)
            .filter(|entry| entry.definition.tenant == *tenant)
            .cloned()
            .ok_or_else(Problem::not_found)
    }

    /// A directory of a tenant; a foreign one is as if it did not exist.
    fn directory(&self, id: DirectoryId, tenant: &TenantName) -> Result<Arc<Directory>, Problem> {
        Ok(self.entry(id, tenant)?.definition)
    }
}

/// Writes an event into the audit log. What it tells of has happened: where it cannot be written, the log says why.
async fn tell(store: &dyn Store, event: Event) {
    if let Err(error) = store.append_audit(vec![event]).await {
        tracing::error!(error = %error, "the audit log could not be written");
    }
}

/// Listens, and serves until it is told to stop; answers the address that it listens on.
///
/// # Errors
/// When the address cannot be listened on, the certificate cannot be used, or the store cannot be read.
pub async fn open(
    settings: Settings,
    stop: CancellationToken,
) -> Result<(SocketAddr, Serving), Error> {
    let refused = |source| Error::Listen {
        address: settings.listen,
        source,
    };
    let tls = settings.certificate.map(Tls::open).transpose();
    let tls = tls.map_err(Error::Certificate)?;
    let listener = TcpListener::bind(settings.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let requests = TaskTracker::new();
    let cookie = Cookie {
        has_tls: tls.is_some(),
        port: address.port(),
    };
    let (store, token) = (settings.store.clone(), settings.token.as_ref());
    let admin = Arc::new(Admin {
        keyring: Keyring::open(store, token, cookie).await?,
        catalog: settings.catalog,
        store: settings.store,
        scheduler: settings.scheduler,
        probe: settings.probe,
        requests: requests.clone(),
        streams: Shares::new(STREAMS_MAX, STREAMS_OF_A_TENANT),
        trials: Shares::new(TRIALS_MAX, TRIALS_OF_A_TENANT),
        stop: stop.clone(),
    });
    let router = routes::router(admin);
    let serving = tokio::spawn(server::serve(listener, tls, router, requests, stop));
    Ok((address, Serving(serving)))
}

/// Whether a certificate and its key can be used together.
///
/// # Errors
/// Names what is wrong and the cure.
pub fn check(certificate: &Certificate) -> Result<(), String> {
    tls::pair(certificate).map(|_| ())
}

/// The endpoint at work.
pub struct Serving(tokio::task::JoinHandle<()>);

impl Serving {
    /// Waits until the last request is answered.
    pub async fn ended(self) {
        if let Err(error) = self.0.await {
            tracing::error!(error = %error, "the admin endpoint ended by a defect");
        }
    }
}

/// Why the endpoint does not listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or is none of this machine.
    #[error(
        "the admin endpoint cannot listen on {address}: {source}; choose another address with server.listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("{0}")]
    Certificate(String),
    /// The tokens cannot be read.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}
