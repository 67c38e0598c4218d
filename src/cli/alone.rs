//! `sync` and `preview` where no relay runs: one job in this process.

use std::path::Path;
use std::sync::Arc;

use crate::app::Relays;
use crate::catalog::Contents;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::cli::{Ending, Failure, Which, asked_to_stop};
use crate::config::Config;
use crate::directory::Directory;
use crate::id::{ProfileKey, ProfileName};
use crate::job::{Extent, Mode};
use crate::store::Store;
use crate::sync::stop::Stop;

/// Runs one job of the profile that is meant.
pub(super) async fn run(
    config: &Config,
    file: &Path,
    store: Arc<dyn Store>,
    which: &Which,
    mode: Mode,
    report: bool,
    output: Output,
) -> Result<Ending, Failure> {
    let progress = Progress::beside(output);
    let relays = Relays::open(config, file, store, progress.listener.clone())
        .await
        .map_err(|problems| Failure::new(Ending::Wrong, problems.join("\n")))?;
    let key = chosen(&relays, which)?;
    let stop = Stop::default();
    let asked = stop.clone();
    tokio::spawn(async move {
        asked_to_stop().await;
        asked.interrupt();
    });
    let extent = Extent {
        mode,
        only: which.only.clone(),
        report,
        undoes: None,
    };
    let job = relays.run_once(&key, extent, stop).await?;
    drop(progress);
    output.job(&job);
    Ok(Ending::of_job(job.status))
}

/// The profile that is meant: of the directory by name or id, or of the only one; by name, or `default`.
fn chosen(relays: &Relays, which: &Which) -> Result<ProfileKey, Failure> {
    let contents = relays.catalog().contents();
    let directory = directory(
        &contents,
        which.directory.as_deref(),
        which.tenant.as_deref(),
    )?;
    let profile = which.profile.clone().map(ProfileName).unwrap_or_default();
    if directory.profile(&profile).is_none() {
        let names = directory.profiles.iter().map(|known| known.name.0.as_str());
        return Err(wrong("profile", names.collect()));
    }
    Ok(directory.profile_key(&profile))
}

/// The directory that is meant: by name or id, or the only one, of a tenant where that is named.
pub(super) fn directory(
    contents: &Contents,
    name: Option<&str>,
    tenant: Option<&str>,
) -> Result<Arc<Directory>, Failure> {
    let of_tenant =
        |directory: &&Arc<Directory>| tenant.is_none_or(|tenant| directory.tenant.0 == tenant);
    let all: Vec<&Arc<Directory>> = contents
        .directories()
        .map(|entry| &entry.definition)
        .filter(of_tenant)
        .collect();
    let found = match name {
        Some(name) => all
            .iter()
            .find(|directory| directory.name == name || directory.id.to_string() == name),
        None if all.len() == 1 => all.first(),
        None => None,
    };
    let found = found.ok_or_else(|| {
        let names = all.iter().map(|directory| directory.name.as_str());
        wrong("directory", names.collect())
    })?;
    Ok((*found).clone())
}

pub(super) fn wrong(option: &str, names: Vec<&str>) -> Failure {
    let names = names.join(", ");
    let message = format!("name the {option} with --{option}; there are: {names}");
    Failure::new(Ending::Wrong, message)
}
