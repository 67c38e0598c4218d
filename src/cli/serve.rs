//! `serve`: schedules, jobs and the admin endpoint, until the process is asked to stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::access::{Grant, text_of};
use crate::admin;
use crate::app::Relays;
use crate::audit::{Actor, Deed};
use crate::cli::output::{Output, line};
use crate::cli::{Ending, Failure, asked_to_stop};
use crate::config::{Config, secrets};
use crate::scheduler::Scheduler;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::records::{AuditFilter, AuditPage};
use crate::vault;

/// How long jobs may take to end once the relay stops; systemd's TimeoutStopSec should be longer.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Runs until SIGTERM or Ctrl-C.
pub(super) async fn run(config: &Config, file: &Path, output: Output) -> Result<Ending, Failure> {
    let store: Arc<dyn Store> = crate::store::open(&config.store)?.into();
    let wrong = |message| Failure::new(Ending::Wrong, message);
    let token = match &config.server.token {
        Some(reference) => Some(secrets::resolve(reference, "server.token").map_err(wrong)?),
        None => None,
    };
    let relays = Relays::open(config, file, store.clone(), None)
        .await
        .map_err(|problems| wrong(problems.join("\n")))?;
    if token.is_none() {
        first_token(store.as_ref(), output).await?;
    }
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
    token: Option<Secret>,
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
                admin::Error::Store(error) => error.into(),
            })?;
    relays.catalog().record_start(Utc::now()).await?;
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

/// Issues a token for everything where there is none yet, and shows it this once: somebody must be able to begin.
async fn first_token(store: &dyn Store, output: Output) -> Result<(), Failure> {
    // Where all were revoked, somebody meant it: `token create` issues the next one.
    let ever_issued = AuditFilter {
        deed: Some(Deed::TokenCreate),
        relay_wide: true,
        ..AuditFilter::default()
    };
    if !store.tokens().await?.is_empty()
        || store.audit(ever_issued, 1).await? != AuditPage::default()
    {
        return Ok(());
    }
    let grant = Grant::everything("first");
    let (token, text, event) =
        admin::tokens::issue(grant, Actor::Relay, Utc::now()).map_err(Failure::failed)?;
    store.save_tokens(vec![token.clone()], vec![event]).await?;
    match output {
        Output::Json => {
            line(&json!({ "firstToken": admin::tokens::shown_once(&token, &text) }).to_string())
        }
        Output::Text => line(&format!(
            "the first token of the admin API, which is not shown again: {}",
            text.expose()
        )),
    }
    Ok(())
}

/// A token that lives in memory only.
pub(super) fn new_token() -> Result<Secret, Failure> {
    let random = vault::random().map_err(Failure::failed)?;
    Ok(text_of(&random))
}
