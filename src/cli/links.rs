//! `links`: what the target already has for entries that are not linked, and what a person decides on it.

use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use crate::admin::links::{self, Place, Verb};
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
  scim-relay links list --directory hq
  scim-relay links list --directory hq --state refused --output json
  scim-relay links accept --directory hq uid=ann,ou=people,dc=example,dc=org
  scim-relay links accept --directory hq --all --kind user
  scim-relay links refuse --directory hq 8b7a3c1e-5f70-4c1f-8d0c-2a7c5b1b9a10
  scim-relay links release --directory hq ann

What is accepted is linked by the next run. What is refused is left alone until it is released.";

/// What is done with proposals.
#[derive(Debug, Subcommand)]
pub(super) enum Deed {
    /// Lists what may belong together, why, and what was decided.
    #[command(after_help = "Example: scim-relay links list --state pending")]
    List {
        /// Only those that stand so: pending, accepted, refused or impossible.
        #[arg(long, value_parser = ["pending", "accepted", "refused", "impossible"])]
        state: Option<String>,
    },
    /// Accepts: the account is the entry's, and the next run links it.
    #[command(after_help = "Example: scim-relay links accept uid=ann,ou=people,dc=example,dc=org")]
    Accept(Chosen),
    /// Refuses: the account is somebody else's, and is not proposed again.
    #[command(after_help = "Example: scim-relay links refuse uid=ann,ou=people,dc=example,dc=org")]
    Refuse(Chosen),
    /// Takes a decision back.
    #[command(after_help = "Example: scim-relay links release --all")]
    Release(Chosen),
}

/// Which proposals are meant.
#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    /// Entries: each by its DN, its anchor or its name.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    entries: Vec<String>,
    /// All that wait; those that cannot be linked are left out.
    #[arg(long)]
    all: bool,
    /// With --all: of this kind.
    #[arg(long, value_enum, requires = "all")]
    kind: Option<EntryKind>,
}

impl Deed {
    fn chosen(&self) -> Option<(Verb, &'static str, &Chosen)> {
        match self {
            Self::List { .. } => None,
            Self::Accept(chosen) => Some((Verb::Accept, "accept", chosen)),
            Self::Refuse(chosen) => Some((Verb::Refuse, "refuse", chosen)),
            Self::Release(chosen) => Some((Verb::Release, "release", chosen)),
        }
    }
}

/// Does it where the proposals are.
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
    let path = format!("{directory}/links");
    let Some((_, word, chosen)) = deed.chosen() else {
        let state = match deed {
            Deed::List { state: Some(state) } => format!("?state={state}"),
            _ => String::new(),
        };
        return Ok(json!({ "items": api.all(&format!("{path}{state}")).await? }));
    };
    let listed = match chosen.all {
        true => Vec::new(),
        false => api.all(&path).await?,
    };
    let body = request(chosen, &listed)?;
    let path = format!("{path}/{word}");
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
    let (relays, directory) = which.here(config, file, store.clone()).await?;
    let contents = relays.catalog().contents();
    let protected = contents.tenant(&directory.tenant);
    let protected = protected.map(|entry| entry.definition.protected.clone());
    let place = Place {
        store: store.as_ref(),
        directory: &directory,
        protected: &protected.unwrap_or_default(),
    };
    let Some((verb, _, chosen)) = deed.chosen() else {
        let state = match deed {
            Deed::List { state } => state.as_deref(),
            _ => None,
        };
        let items = links::all(&place, state).await.map_err(Failure::failed)?;
        return Ok(json!({ "items": items }));
    };
    let listed = links::all(&place, None).await.map_err(Failure::failed)?;
    let body = Node::of_json(request(chosen, &listed)?);
    let hand = Hand {
        actor: Actor::CommandLine,
        at: Utc::now(),
    };
    decided(links::decide(&place, verb, &body, &hand).await)
}

/// What is asked for, as the API takes it: each entry together with the resource that is listed for it.
fn request(chosen: &Chosen, listed: &[Value]) -> Result<Value, Failure> {
    if chosen.all {
        let mut all = json!({ "all": true });
        if let Some(kind) = chosen.kind {
            all["kind"] = kind.to_json();
        }
        return Ok(all);
    }
    let mut links = Vec::new();
    for entry in &chosen.entries {
        let found = of_entry(listed, entry);
        let why = match found.as_slice() {
            [one] => {
                let (kind, anchor, id) = (&one["kind"], &one["anchor"], &one["resource"]["id"]);
                links.push(json!({ "kind": kind, "anchor": anchor, "id": id }));
                continue;
            }
            [] => "nothing is proposed for it; `scim-relay links list` shows all",
            _ => "several entries have this name; name one by its anchor",
        };
        let message = format!("{}: {why}", entry.escape_debug());
        return Err(Failure::new(Ending::Wrong, message));
    }
    Ok(json!({ "links": links }))
}

/// A proposal on one line.
fn told(item: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").escape_debug().to_string();
    let resource = &item["resource"];
    let mut told = format!(
        "{}  {} {}  resource {} ({})  by {}",
        text(&item["state"]),
        text(&item["kind"]),
        text(&item["dn"]),
        text(&resource["id"]),
        text(&resource["name"]),
        text(&item["matchedBy"]),
    );
    if item["formerEntry"] == true {
        told.push_str("  account of a former entry");
    }
    if let Some(obstacle) = item["obstacle"].as_str() {
        told.push_str(&format!("  cannot be linked: {obstacle}"));
    }
    told
}
