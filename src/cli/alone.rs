//! `sync` and `preview` where no relay runs: one job in this process.

use std::sync::Arc;

use crate::app::Relays;
use crate::cli::output::Output;
use crate::cli::{Ending, Failure, Which, asked_to_stop};
use crate::config::Config;
use crate::job::Mode;
use crate::store::Store;
use crate::sync::Relay;
use crate::sync::stop::Stop;

/// Runs one job of each profile that is meant, one after the other.
pub(super) async fn run(
    config: &Config,
    store: Arc<dyn Store>,
    which: &Which,
    mode: Mode,
    output: Output,
) -> Result<Ending, Failure> {
    let progress = output.progress();
    let relays = Relays::prepare(config, store, progress.listener.clone())
        .map_err(|problems| Failure::new(Ending::Wrong, problems.join("\n")))?;
    let relay = chosen(&relays, which)?;
    let stop = Stop::default();
    let asked = stop.clone();
    tokio::spawn(async move {
        asked_to_stop().await;
        asked.interrupt();
    });
    let job = relays.run_once(&relay, mode, stop).await;
    progress.finish();
    output.job(&job);
    Ok(Ending::of_job(job.status))
}

/// The relay that is meant: by name, or the only one.
fn chosen(relays: &Relays, which: &Which) -> Result<Arc<Relay>, Failure> {
    let all = relays.all();
    let names: Vec<&str> = all
        .iter()
        .map(|relay| relay.directory.name.as_str())
        .collect();
    let found = match &which.directory {
        Some(name) => all
            .iter()
            .find(|relay| relay.directory.name == *name || relay.directory.id.to_string() == *name),
        None if all.len() == 1 => all.first(),
        None => None,
    };
    found.cloned().ok_or_else(|| {
        Failure::new(
            Ending::Wrong,
            format!(
                "name the directory with --directory; there are: {}",
                names.join(", ")
            ),
        )
    })
}
