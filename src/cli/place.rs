//! Commands about one directory that a running relay carries out, or this process where none runs.

use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::admin::links::Undecided;
use crate::app::Relays;
use crate::cli::output::{Output, line};
use crate::cli::remote::{self, Api};
use crate::cli::{Ending, Failure, Reach, alone};
use crate::config::Config;
use crate::directory::Directory;
use crate::store::Store;

/// Which directory is meant, and which relay.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The directory; not needed when there is only one.
    #[arg(long, global = true)]
    pub(super) directory: Option<String>,
    /// The directory's tenant; not needed when there is only one.
    #[arg(long, global = true)]
    pub(super) tenant: Option<String>,
    #[command(flatten)]
    pub(super) relay: Reach,
}

impl Which {
    /// The running relay, and the path of the directory there.
    pub(super) async fn there(&self, config: &Config) -> Result<(Api, String), Failure> {
        let mut api = remote::connect(config, &self.relay)?;
        api.tenant.clone_from(&self.tenant);
        let directory = remote::chosen(&api, self.directory.as_deref()).await?;
        Ok((api, format!("/directories/{directory}")))
    }

    /// The directory in the store itself, which no relay has open.
    pub(super) async fn here(
        &self,
        config: &Config,
        file: &Path,
        store: Arc<dyn Store>,
    ) -> Result<(Relays, Arc<Directory>), Failure> {
        let relays = Relays::open(config, file, store, None)
            .await
            .map_err(|problems| Failure::new(Ending::Wrong, problems.join("\n")))?;
        let contents = relays.catalog().contents();
        let (name, tenant) = (self.directory.as_deref(), self.tenant.as_deref());
        let directory = alone::directory(&contents, name, tenant)?;
        Ok((relays, directory))
    }
}

/// Prints what was done: what was listed, each item told on a line, or how much was decided.
pub(super) fn print(done: &Value, output: Output, told: impl Fn(&Value) -> String) {
    match (output, done["items"].as_array()) {
        (Output::Json, _) => line(&format!("{done:#}")),
        (Output::Text, Some(items)) => items.iter().for_each(|item| line(&told(item))),
        (Output::Text, None) => line(&format!("{} decided", done["decided"])),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum EntryKind {
    User,
    Group,
}

impl EntryKind {
    /// As the API has it.
    pub(super) fn to_json(self) -> Value {
        match self {
            Self::User => json!("user"),
            Self::Group => json!("group"),
        }
    }
}

/// How many were decided, as the API answers it.
pub(super) fn decided(count: Result<u64, Undecided>) -> Result<Value, Failure> {
    match count {
        Ok(count) => Ok(json!({ "decided": count })),
        Err(Undecided::Store(error)) => Err(error.into()),
        Err(Undecided::Invalid(problems)) => {
            let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
            Err(Failure::new(Ending::Wrong, lines.join("\n")))
        }
    }
}

/// Those of the listed items whose entry is named so: by its DN, its anchor or its name.
pub(super) fn of_entry<'a>(listed: &'a [Value], entry: &str) -> Vec<&'a Value> {
    let is_meant = |item: &&Value| {
        let mut names = ["anchor", "dn", "name"].iter();
        names.any(|name| {
            let held = item[name].as_str().unwrap_or_default();
            held.to_lowercase() == entry.to_lowercase()
        })
    };
    listed.iter().filter(is_meant).collect()
}
