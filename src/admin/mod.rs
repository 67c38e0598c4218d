//! The admin endpoint: the one inbound door. It reads the store, and asks the scheduler; it runs nothing itself.

mod auth;
pub mod probe;
mod problem;
mod query;
mod routes;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin::problem::Problem;
use crate::catalog::{Catalog, Entry};
use crate::directory::Directory;
use crate::id::{DirectoryId, TenantName};
use crate::scheduler::Scheduler;
use crate::secret::Secret;
use crate::store::Store;

/// Everything that the endpoint answers from.
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The bearer token.
    pub token: Secret,
    /// The tenants and directories.
    pub catalog: Arc<Catalog>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who runs jobs.
    pub scheduler: Scheduler,
}

/// What the handlers share.
struct Admin {
    token: auth::Token,
    catalog: Arc<Catalog>,
    store: Arc<dyn Store>,
    scheduler: Scheduler,
}

impl Admin {
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

/// Listens, and serves until it is told to stop; answers the address that it listens on.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn open(
    settings: Settings,
    stop: CancellationToken,
) -> Result<(SocketAddr, Serving), Error> {
    let refused = |source| Error {
        address: settings.listen,
        source,
    };
    let listener = TcpListener::bind(settings.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let admin = Arc::new(Admin {
        token: auth::Token::of(&settings.token),
        catalog: settings.catalog,
        store: settings.store,
        scheduler: settings.scheduler,
    });
    let serving = tokio::spawn(server::serve(listener, routes::router(admin), stop));
    Ok((address, Serving(serving)))
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
#[error(
    "the admin endpoint cannot listen on {address}: {source}; choose another address with server.listen"
)]
pub struct Error {
    /// The address.
    pub address: SocketAddr,
    source: std::io::Error,
}
