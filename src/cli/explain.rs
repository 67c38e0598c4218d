//! `explain`: one entry, found or not, in scope or not and why, at the target, and what the next run would do.

use std::path::Path;
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::Relays;
use crate::cli::output::{Output, line};
use crate::cli::remote;
use crate::cli::{Ending, Failure, Owner, Reach, alone, owner};
use crate::config::Config;
use crate::id::ProfileName;
use crate::store::Store;

/// What the help shows.
pub(super) const EXAMPLES: &str = "\
Examples:
  scim-relay explain ann
  scim-relay explain uid=ann,ou=people,dc=example,dc=org --directory hq
  scim-relay explain 8b7a3c1e-5f70-4c1f-8d0c-2a7c5b1b9a10 --profile contractors --output json

It changes nothing: the directory and the target are only asked. Exit code 0, whether or not the entry is found.";

/// Which entry is meant, where, and which relay.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The entry: its DN, its anchor or its userName; a group by its name too. It need not be in scope.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    entry: String,
    /// The directory; not needed when there is only one.
    #[arg(long)]
    directory: Option<String>,
    /// The sync profile that is explained; the one that the entry belongs to when absent.
    #[arg(long)]
    profile: Option<String>,
    /// The directory's tenant; not needed when there is only one.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    relay: Reach,
}

/// Explains the entry where the store is.
pub(super) async fn run(
    config: &Config,
    file: &Path,
    which: &Which,
    output: Output,
) -> Result<Ending, Failure> {
    let explanation = match owner(config, &which.relay)? {
        Owner::Us(store) => Box::pin(here(config, file, store, which)).await?,
        Owner::Relay(told) => told.or_else(through(config, which).await)?,
    };
    match output {
        Output::Json => line(&serde_json::to_string_pretty(&explanation).unwrap_or_default()),
        Output::Text => text(&explanation).iter().for_each(|text| line(text)),
    }
    Ok(Ending::Done)
}

async fn through(config: &Config, which: &Which) -> Result<Value, Failure> {
    let mut api = remote::connect(config, &which.relay)?;
    api.tenant.clone_from(&which.tenant);
    let directory = remote::chosen(&api, which.directory.as_deref()).await?;
    let mut body = json!({ "entry": which.entry });
    if let Some(profile) = &which.profile {
        body["profile"] = json!(profile);
    }
    let path = format!("/directories/{directory}/explain");
    Ok(api.call(Method::POST, &path, Some(body)).await?.1)
}

/// With the store itself, which no relay has open.
async fn here(
    config: &Config,
    file: &Path,
    store: Arc<dyn Store>,
    which: &Which,
) -> Result<Value, Failure> {
    let relays = Relays::open(config, file, store, None)
        .await
        .map_err(|problems| Failure::new(Ending::Wrong, problems.join("\n")))?;
    let contents = relays.catalog().contents();
    let (name, tenant) = (which.directory.as_deref(), which.tenant.as_deref());
    let directory = alone::directory(&contents, name, tenant)?;
    let profile = which.profile.clone().map(ProfileName);
    if let Some(profile) = &profile
        && directory.profile(profile).is_none()
    {
        let names = directory.profile_names();
        return Err(alone::wrong(
            "profile",
            names.iter().map(|known| known.0.as_str()).collect(),
        ));
    }
    let entry = which.entry.trim();
    let explained = relays.explain(&directory, profile.as_ref(), entry).await;
    Ok(json!(explained.map_err(Failure::failed)?))
}

/// The explanation for people.
fn text(explanation: &Value) -> Vec<String> {
    let mut lines = vec![plain(&explanation["summary"]), String::new()];
    let mut say = |what: &str, text: String| lines.push(format!("{what:<10}{text}"));
    let entry = &explanation["entry"];
    if entry.is_object() {
        say(
            "entry",
            format!("{} {}", plain(&entry["kind"]), plain(&entry["dn"])),
        );
        say("anchor", plain(&entry["anchor"]));
    }
    for other in items(&explanation["absence"]["candidates"]) {
        say("could be", plain(other));
    }
    for other in items(&explanation["alsoCalledSo"]) {
        say(
            "called so",
            format!("{}, which is not in scope", plain(other)),
        );
    }
    for profile in items(&explanation["profiles"]) {
        let name = plain(&profile["profile"]);
        let owns = match explanation["owner"] == profile["profile"] {
            true => ", to which it belongs",
            false => "",
        };
        say(
            "profile",
            format!("{name}{owns}: {}", plain(&profile["message"])),
        );
    }
    for clause in items(&explanation["scope"]["clauses"]) {
        let (name, filter) = (plain(&clause["clause"]), plain(&clause["text"]));
        let verdict = match (clause["passes"].as_bool(), clause["reason"].as_str()) {
            (Some(true), _) => "yes".to_owned(),
            (_, Some(_)) => format!("NO: {}", plain(&clause["reason"])),
            (_, None) => "NO".to_owned(),
        };
        say("clause", format!("{name} {filter}: {verdict}"));
    }
    if explanation["account"].is_object() {
        say("account", plain(&explanation["account"]["message"]));
    }
    for problem in items(&explanation["mapped"]["problems"]) {
        say("mapping", plain(problem));
    }
    if let Some(resource) = explanation["mapped"]["resource"].as_object() {
        let hidden = ["schemas", "meta"];
        let shown = resource
            .iter()
            .filter(|(name, _)| !hidden.contains(&name.as_str()));
        for (name, value) in shown {
            say("mapped", format!("{name} = {}", shown_value(value)));
        }
    }
    at_target(&explanation["target"], &mut say);
    members(&explanation["members"], &mut say);
    after(&explanation["next"], &mut say);
    lines
}

fn at_target(target: &Value, say: &mut impl FnMut(&str, String)) {
    if target["linked"].is_object() {
        say(
            "linked",
            format!("to resource {}", plain(&target["linked"]["id"])),
        );
    }
    say("target", plain(&target["message"]));
    for one in items(&target["differences"]) {
        let (found, expected) = (shown_value(&one["found"]), shown_value(&one["expected"]));
        let attribute = plain(&one["attribute"]);
        say(
            "differs",
            format!("{attribute} is {found} there, and shall be {expected}"),
        );
    }
    if target["lastChangedAt"].is_string() {
        say(
            "changed",
            format!("last at {}", plain(&target["lastChangedAt"])),
        );
    }
    if target["lastError"].is_string() {
        say("error", plain(&target["lastError"]));
    }
}

fn members(members: &Value, say: &mut impl FnMut(&str, String)) {
    if !members.is_object() {
        return;
    }
    let (named, linked) = (&members["named"], &members["linked"]);
    say(
        "members",
        format!(
            "{named} named, {linked} with a resource, {} left out",
            members["leftOut"]
        ),
    );
    for one in items(&members["firstLeftOut"]) {
        say(
            "left out",
            format!("{}: {}", plain(&one["name"]), plain(&one["reason"])),
        );
    }
    if let (Some(missing), Some(others)) = (
        members["missingAtTarget"].as_u64(),
        members["othersAtTarget"].as_u64(),
    ) {
        say(
            "target",
            format!(
                "{missing} members are not there any more, and {others} were put there by others"
            ),
        );
    }
}

fn after(next: &Value, say: &mut impl FnMut(&str, String)) {
    let steps = items(&next["steps"]);
    if steps.is_empty() {
        say("next run", plain(&next["message"]));
    }
    for step in steps {
        say("next run", plain(&step["message"]));
        for change in items(&step["attributes"]) {
            let (before, after) = (
                shown_value(&change["before"]),
                shown_value(&change["after"]),
            );
            say(
                "",
                format!("{}: {before} -> {after}", plain(&change["attribute"])),
            );
        }
    }
    if next["problem"].is_string() {
        say("problem", plain(&next["problem"]));
    }
    for wait in items(&next["waits"]) {
        say("but", plain(wait));
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// A text as it can stand on a terminal.
fn plain(value: &Value) -> String {
    let text = value.as_str().unwrap_or("-");
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::String(_) => plain(value),
        Value::Null => "nothing".to_owned(),
        other => plain(&Value::String(other.to_string())),
    }
}
