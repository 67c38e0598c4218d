//! `token`: issues, lists and revokes tokens; through the API of a running relay, or in the store when none runs.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use clap::Subcommand;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::TokenId;
use crate::admin::tokens;
use crate::audit::{self, Actor, Event};
use crate::cli::output::{Output, line};
use crate::cli::remote::{self, Api};
use crate::cli::{Ending, Failure, Owner, Reach, owner};
use crate::config::Config;
use crate::document::Node;
use crate::id::TenantName;
use crate::job::schedule::parse_interval;
use crate::store::Store;
use crate::store::records::Subject;

/// What the help shows.
pub(super) const EXAMPLES: &str = "\
Examples:
  scim-relay token create --name dashboard --permission directory:read --tenant acme --expires-in 90d
  scim-relay token create --name operations --permission directory:read --permission directory:write --tenant '*'
  scim-relay token list --output json
  scim-relay token revoke 01932f5e-8a50-7c3e-9d1c-0c7e6a1f2b34

Permissions: directory:read, directory:write, audit:read, admin (tenants and tokens).
Through a running relay a token with the permission admin is needed; where none runs, the store itself is written.";

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Deed {
    /// Issues a token and shows it, this once.
    #[command(
        after_help = "Example: scim-relay token create --name exporter --permission audit:read --tenant acme --expires-in 90d"
    )]
    Create {
        /// What it is for, in words.
        #[arg(long)]
        name: String,
        /// What it permits; may be given several times.
        #[arg(long = "permission", required = true)]
        permissions: Vec<String>,
        /// The tenant that it is for, or '*' for all, also those of the future; may be given several times.
        #[arg(long = "tenant", required = true)]
        tenants: Vec<String>,
        /// How long it works, such as 12h or 90d; without end when absent.
        #[arg(long, value_parser = parse_interval)]
        expires_in: Option<TimeDelta>,
    },
    /// Lists tokens; their texts are not known any more.
    #[command(after_help = "Example: scim-relay token list --output json")]
    List,
    /// Revokes a token: the next request with it is refused.
    #[command(after_help = "Example: scim-relay token revoke 01932f5e-8a50-7c3e-9d1c-0c7e6a1f2b34")]
    Revoke {
        /// Its id, as `token list` shows it.
        id: Uuid,
    },
}

/// Does it where the tokens are.
pub(super) async fn run(
    config: &Config,
    deed: Deed,
    reach: &Reach,
    output: Output,
) -> Result<Ending, Failure> {
    let done = match owner(config, reach)? {
        Owner::Us(store) => alone(config, store, &deed).await?,
        Owner::Relay(told) => {
            let api = remote::connect(config, reach);
            told.or_else(match api {
                Ok(api) => through(&api, &deed).await,
                Err(failure) => Err(failure),
            })?
        }
    };
    show(&deed, &done, output);
    Ok(Ending::Done)
}

/// What a token is to be, as the API takes it.
fn asked(deed: &Deed) -> Result<Value, Failure> {
    let Deed::Create {
        name,
        permissions,
        tenants,
        expires_in,
    } = deed
    else {
        return Ok(Value::Null);
    };
    let mut body = json!({ "name": name, "permissions": permissions, "tenants": tenants });
    if let Some(span) = expires_in {
        body["expiresAt"] = json!(Utc::now() + *span);
    }
    Ok(body)
}

async fn through(api: &Api, deed: &Deed) -> Result<Value, Failure> {
    let (status, answer) = match deed {
        Deed::Create { .. } => {
            api.call(Method::POST, "/tokens", Some(asked(deed)?))
                .await?
        }
        Deed::List => return Ok(json!({ "items": api.all("/tokens").await? })),
        Deed::Revoke { id } => {
            let path = format!("/tokens/{id}");
            api.call(Method::DELETE, &path, None).await?
        }
    };
    match status {
        StatusCode::CONFLICT => Err(Failure::failed(
            answer["detail"].as_str().unwrap_or("the relay refuses"),
        )),
        _ => Ok(answer),
    }
}

async fn alone(config: &Config, store: Arc<dyn Store>, deed: &Deed) -> Result<Value, Failure> {
    let (actor, now) = (Actor::CommandLine, Utc::now());
    match deed {
        Deed::Create { .. } => {
            let body = Node::of_json(asked(deed)?);
            let tenants = tenants(config, store.as_ref()).await?;
            let grant = tokens::read(&body, &tenants, now).map_err(|problems| {
                let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
                Failure::new(Ending::Wrong, lines.join("\n"))
            })?;
            let (token, text, event) = tokens::issue(grant, actor, now).map_err(Failure::failed)?;
            store.save_tokens(vec![token.clone()], vec![event]).await?;
            Ok(tokens::shown_once(&token, &text))
        }
        Deed::List => {
            let tokens = store.tokens().await?;
            let items: Vec<Value> = tokens.iter().map(tokens::shown).collect();
            Ok(json!({ "items": items }))
        }
        Deed::Revoke { id } => {
            let id = TokenId(*id);
            let tokens = store.tokens().await?;
            let found = tokens.iter().find(|token| token.id == id);
            let token = found.ok_or_else(|| {
                Failure::failed(format!(
                    "there is no token {id}; `scim-relay token list` shows all"
                ))
            })?;
            let event = Event::of_token(now, actor, audit::Deed::TokenRevoke, token, Vec::new());
            store.remove_token(id, event).await?;
            Ok(Value::Null)
        }
    }
}

/// The tenants of the file and of the store.
async fn tenants(config: &Config, store: &dyn Store) -> Result<Vec<TenantName>, Failure> {
    let stored = store.definitions().await?.into_iter();
    let stored = stored.filter_map(|definition| match definition.subject {
        Subject::Tenant(name) => Some(name),
        Subject::Directory(_) => None,
    });
    let in_file = config.tenants.iter().map(|tenant| tenant.name.clone());
    Ok(in_file.chain(stored).collect())
}

fn show(deed: &Deed, done: &Value, output: Output) {
    match (output, deed) {
        (Output::Json, Deed::Revoke { id }) => line(&json!({ "revoked": id }).to_string()),
        (Output::Json, _) => line(&serde_json::to_string_pretty(done).unwrap_or_default()),
        (Output::Text, Deed::Create { .. }) => {
            let text = |field: &str| done[field].as_str().unwrap_or_default().to_owned();
            line(&format!("issued {} ({})", text("id"), text("name")));
            line("the token, which is not shown again:");
            line(&text("token"));
        }
        (Output::Text, Deed::List) => {
            let items = done["items"].as_array().into_iter().flatten();
            items.for_each(|item| line(&told(item)));
        }
        (Output::Text, Deed::Revoke { id }) => line(&format!("revoked {id}")),
    }
}

/// A token on one line.
fn told(token: &Value) -> String {
    let text = |field: &str| token[field].as_str().map(str::to_owned);
    let words = |field: &str| {
        let items = token[field].as_array().into_iter().flatten();
        items
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",")
    };
    let until = text("expiresAt").map_or("without end".to_owned(), |end| format!("until {end}"));
    let used = text("lastUsedAt").map_or("never used".to_owned(), |last| format!("used {last}"));
    format!(
        "{}  {}  tenants {}  {}  {until}  {used}",
        text("id").unwrap_or_default(),
        text("name").unwrap_or_default(),
        words("tenants"),
        words("permissions"),
    )
}
