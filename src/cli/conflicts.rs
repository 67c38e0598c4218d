//! `conflicts`: attributes that somebody changed at the target, and which side a person takes.

use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use crate::admin::conflicts::{self, Verb};
use crate::audit::Actor;
use crate::catalog::Hand;
use crate::cli::output::Output;
use crate::cli::place::{EntryKind, Which, decided, of_entry, print};
use crate::cli::{Ending, Failure, Owner, owner};
use crate::config::Config;
use crate::document::Node;
use crate::store::Store;

/// What the help shows.
pub(super) const EXAMPLES: &str = "\
Examples:
  scim-relay conflicts list --directory hq
  scim-relay conflicts list --directory hq --state local --output json
  scim-relay conflicts resolve --directory hq --take directory uid=ann,ou=people,dc=example,dc=org
  scim-relay conflicts resolve --directory hq --take local --all --attribute displayName
  scim-relay conflicts release --directory hq ann

The directory's value is sent by the next run; the target's stays until the directory has a new one.";

/// What is done with conflicts.
#[derive(Debug, Subcommand)]
pub(super) enum Deed {
    /// Lists what differs, and what was decided.
    #[command(after_help = "Example: scim-relay conflicts list --state open")]
    List {
        /// Only those that stand so: open, directory or local.
        #[arg(long, value_parser = ["open", "directory", "local"])]
        state: Option<String>,
    },
    /// Takes one side.
    #[command(after_help = "Example: scim-relay conflicts resolve --take directory ann")]
    Resolve {
        /// Whose value counts.
        #[arg(long, value_enum)]
        take: Take,
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Takes a decision back.
    #[command(after_help = "Example: scim-relay conflicts release --all")]
    Release {
        #[command(flatten)]
        chosen: Chosen,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Take {
    /// The directory's value is sent.
    Directory,
    /// The target's value stays.
    Local,
}

/// Which conflicts are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    /// Conflicts by their ids, or all of an entry by its DN, its anchor or its name.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    conflicts: Vec<String>,
    /// All that wait, or that were decided.
    #[arg(long)]
    all: bool,
    /// With --all: of this kind.
    #[arg(long, value_enum, requires = "all")]
    kind: Option<EntryKind>,
    /// Only those of this SCIM attribute.
    #[arg(long)]
    attribute: Option<String>,
}

/// What is done, in the words of the API.
struct Order<'a> {
    verb: Verb,
    path: &'static str,
    take: Option<&'static str>,
    chosen: &'a Chosen,
}

impl Deed {
    fn order(&self) -> Option<Order<'_>> {
        let (verb, path, take, chosen) = match self {
            Self::List { .. } => return None,
            Self::Resolve { take, chosen } => {
                let take = match take {
                    Take::Directory => "directory",
                    Take::Local => "local",
                };
                (Verb::Resolve, "resolve", Some(take), chosen)
            }
            Self::Release { chosen } => (Verb::Release, "release", None, chosen),
        };
        Some(Order {
            verb,
            path,
            take,
            chosen,
        })
    }

    fn state(&self) -> Option<&str> {
        match self {
            Self::List { state } => state.as_deref(),
            _ => None,
        }
    }
}

/// Does it where the conflicts are.
pub(super) async fn run(
    config: &Config,
    file: &Path,
    deed: &Deed,
    which: &Which,
    output: Output,
) -> Result<Ending, Failure> {
    let done = match owner(config, &which.relay)? {
        Owner::Us(store) => here(config, file, store, deed, which).await?,
        Owner::Relay(told) => told.or_else(through(config, deed, which).await)?,
    };
    print(&done, output, told);
    Ok(Ending::Done)
}

async fn through(config: &Config, deed: &Deed, which: &Which) -> Result<Value, Failure> {
    let (api, directory) = which.there(config).await?;
    let path = format!("{directory}/conflicts");
    let Some(order) = deed.order() else {
        let state = deed.state().map(|state| format!("?state={state}"));
        let path = format!("{path}{}", state.unwrap_or_default());
        return Ok(json!({ "items": api.all(&path).await? }));
    };
    let listed = match order.chosen.all {
        true => Vec::new(),
        false => api.all(&path).await?,
    };
    let body = request(&order, &listed)?;
    let path = format!("{path}/{}", order.path);
    Ok(api.call(Method::POST, &path, Some(body)).await?.1)
}

/// In the store itself, which no relay has open.
async fn here(
    config: &Config,
    file: &Path,
    store: Arc<dyn Store>,
    deed: &Deed,
    which: &Which,
) -> Result<Value, Failure> {
    let (_, directory) = which.here(config, file, store.clone()).await?;
    let store = store.as_ref();
    let Some(order) = deed.order() else {
        let items = conflicts::all(store, &directory, deed.state()).await?;
        return Ok(json!({ "items": items }));
    };
    let listed = conflicts::all(store, &directory, None).await?;
    let body = Node::of_json(request(&order, &listed)?);
    let hand = Hand {
        actor: Actor::CommandLine,
        at: Utc::now(),
    };
    decided(conflicts::decide(store, &directory, order.verb, &body, &hand).await)
}

/// What is asked for, as the API takes it.
fn request(order: &Order<'_>, listed: &[Value]) -> Result<Value, Failure> {
    let chosen = order.chosen;
    let mut body = json!({});
    if let Some(take) = order.take {
        body["take"] = json!(take);
    }
    if chosen.all {
        body["all"] = json!(true);
        if let Some(kind) = chosen.kind {
            body["kind"] = kind.to_json();
        }
        if let Some(attribute) = &chosen.attribute {
            body["attribute"] = json!(attribute);
        }
        return Ok(body);
    }
    let mut ids = Vec::new();
    for name in &chosen.conflicts {
        let by_id = listed.iter().filter(|item| item["id"] == name.as_str());
        let mut found: Vec<&Value> = by_id.collect();
        if found.is_empty() {
            found = of_entry(listed, name);
        }
        let asked = chosen.attribute.as_deref();
        found.retain(|item| asked.is_none_or(|asked| item["attribute"] == asked));
        if found.is_empty() {
            let name = name.escape_debug();
            let message =
                format!("{name}: has no such conflict; `scim-relay conflicts list` shows all");
            return Err(Failure::new(Ending::Wrong, message));
        }
        ids.extend(found.into_iter().map(|item| item["id"].clone()));
    }
    body["conflicts"] = json!(ids);
    Ok(body)
}

/// A conflict on one line.
fn told(item: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").escape_debug().to_string();
    let value = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    };
    let by = match item["takenBy"].as_str() {
        Some(by) => format!("  by {}", by.escape_debug()),
        None => String::new(),
    };
    format!(
        "{}  {}  {} {}  {}  directory {}  target {}  before {}{by}",
        text(&item["id"]),
        text(&item["state"]),
        text(&item["kind"]),
        text(&item["dn"]),
        text(&item["attribute"]),
        value(&item["directory"]),
        value(&item["iam"]),
        value(&item["base"]),
    )
}
