//! `serve`: schedules, jobs and the admin endpoint, until the process is asked to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::app::Relays;
use crate::cli::output::note;
use crate::cli::{Ending, Failure, asked_to_stop};
use crate::config::{Config, secrets};
use crate::scheduler::Scheduler;
use crate::secret::Secret;
use crate::store::Store;

/// How long jobs may take to end once the relay stops; systemd's TimeoutStopSec should be longer.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Runs until SIGTERM or Ctrl-C.
pub(super) async fn run(config: &Config, file: &Path) -> Result<Ending, Failure> {
    let store: Arc<dyn Store> = crate::store::open(&config.store)?.into();
    let wrong = |message| Failure::new(Ending::Wrong, message);
    let token = match &config.server.token {
        Some(reference) => secrets::resolve(reference, "server.token").map_err(wrong)?,
        None => {
            let token = new_token()?;
            note(&format!(
                "the admin API's token for this start: {}",
                token.expose()
            ));
            token
        }
    };
    let relays = Relays::open(config, file, store.clone(), None)
        .await
        .map_err(|problems| wrong(problems.join("\n")))?;
    let running = start(config, Arc::new(relays), store, token).await?;
    asked_to_stop().await;
    tracing::info!("stopping; requests in flight are finished first");
    running.stop().await;
    Ok(Ending::Done)
}

/// A relay at work.
pub(super) struct Running {
    scheduler: Scheduler,
    serving: admin::Serving,
    stop: CancellationToken,
    /// Where the admin endpoint listens.
    pub(super) address: std::net::SocketAddr,
}

/// Starts the scheduler and the admin endpoint.
pub(super) async fn start(
    config: &Config,
    relays: Arc<Relays>,
    store: Arc<dyn Store>,
    token: Secret,
) -> Result<Running, Failure> {
    let scheduler = Scheduler::new(store.clone(), relays.clone());
    let stop = CancellationToken::new();
    let settings = admin::Settings {
        listen: config.server.listen,
        certificate: config
            .server
            .tls
            .clone()
            .map(|tls| -> admin::ReadCertificate {
                Arc::new(move || secrets::server_certificate(&tls))
            }),
        token,
        catalog: relays.catalog().clone(),
        store,
        scheduler: scheduler.clone(),
        probe: relays.clone(),
    };
    let (address, serving) =
        admin::open(settings, stop.clone())
            .await
            .map_err(|error| match error {
                admin::Error::Listen { .. } => Failure::failed(error),
                admin::Error::Certificate(problem) => Failure::new(Ending::Wrong, problem),
            })?;
    scheduler.start().await.map_err(Failure::failed)?;
    tracing::info!(address = %address, directories = relays.catalog().contents().directories().count(), "listening");
    Ok(Running {
        scheduler,
        serving,
        stop,
        address,
    })
}

impl Running {
    /// The scheduler.
    pub(super) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Finishes requests in flight, ends jobs, and closes the endpoint.
    pub(super) async fn stop(self) {
        self.scheduler.shut_down(STOP_PATIENCE).await;
        self.stop.cancel();
        self.serving.ended().await;
    }
}

/// 256 random bits with a prefix that secret scanners can recognize.
pub(super) fn new_token() -> Result<Secret, Failure> {
    use base64::Engine as _;
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("the system gives no random numbers: {error}")))?;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    Ok(Secret::new(format!("srt_{text}")))
}
