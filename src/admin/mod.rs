//! The admin endpoint: the one inbound door. It reads the store, and asks the scheduler; it runs nothing itself.

mod auth;
mod problem;
mod routes;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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
    /// The tenants that the token is for.
    pub tenants: Vec<TenantName>,
    /// The directories.
    pub directories: Vec<Arc<Directory>>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who runs jobs.
    pub scheduler: Scheduler,
}

/// What the handlers share.
struct Admin {
    token: auth::Token,
    tenants: Vec<TenantName>,
    directories: Vec<Arc<Directory>>,
    store: Arc<dyn Store>,
    scheduler: Scheduler,
}

impl Admin {
    /// A directory of a tenant; a foreign one is as if it did not exist.
    fn directory(&self, id: DirectoryId, tenant: &TenantName) -> Option<&Arc<Directory>> {
        self.directories
            .iter()
            .find(|directory| directory.id == id && directory.tenant == *tenant)
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
        tenants: settings.tenants,
        directories: settings.directories,
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
