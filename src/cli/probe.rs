//! `check --probe`: the probe of a target, and what it found in words.

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::app::target;
use crate::app::{self, Connected};
use crate::cli::output::{Output, line};
use crate::cli::{Ending, Failure, asked_to_stop};
use crate::config::Config;
use crate::id::TenantName;
use crate::scim::evidence::Findings;

/// Probes the target of a tenant of the configuration file, which is consent as both were named; Ctrl-C ends it, and canaries are
/// removed all the same.
pub(super) async fn run(
    config: &Config,
    tenant: Option<&str>,
    directory: Option<&str>,
    output: Output,
) -> Result<Ending, Failure> {
    let connections = app::connections(config).map_err(|all| Failure::failed(all.join("; ")))?;
    let tenant = meant(&connections, tenant, directory)?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let asking = tokio::spawn(async move {
        asked_to_stop().await;
        asked.cancel();
    });
    let findings = target::probe(&connections, &tenant, stop.clone()).await;
    asking.abort();
    let findings = findings.ok_or_else(|| no_directory(&tenant))?;
    match output {
        Output::Json => {
            let mut shown = json!(findings);
            shown["tenant"] = json!(tenant.0);
            line(&shown.to_string());
        }
        Output::Text => words(&tenant, &findings).iter().for_each(|text| line(text)),
    }
    Ok(match (findings.complete, stop.is_cancelled()) {
        (_, true) => Ending::Interrupted,
        (true, false) if findings.left_behind.is_empty() => Ending::Done,
        _ => Ending::Failed,
    })
}

/// The tenant whose target is meant. Consent has a name: it is never guessed.
fn meant(
    connections: &[Connected],
    tenant: Option<&str>,
    directory: Option<&str>,
) -> Result<TenantName, Failure> {
    let names = |connected: &&Connected| {
        tenant.is_none_or(|name| connected.tenant.name.0 == name)
            && directory.is_none_or(|name| connected.directory.name == name)
    };
    let mut found: Vec<&TenantName> = connections
        .iter()
        .filter(names)
        .map(|connected| &connected.tenant.name)
        .collect();
    found.dedup();
    let wrong = |message: String| Failure::new(Ending::Wrong, message);
    match (tenant, directory, found.as_slice()) {
        (None, None, _) => Err(wrong(
            "--probe creates users and groups on a target and removes them again; say which one with --tenant or --directory"
                .to_owned(),
        )),
        (_, _, [one]) => Ok((*one).clone()),
        (_, Some(directory), []) => Err(wrong(format!("there is no directory {directory} in the configuration file"))),
        (Some(tenant), None, []) => Err(no_directory(&TenantName(tenant.to_owned()))),
        (_, Some(_), _) | (Some(_), None, _) => Err(wrong(
            "several tenants have a directory of this name; say which one with --tenant".to_owned(),
        )),
    }
}

fn no_directory(tenant: &TenantName) -> Failure {
    let message = format!(
        "no directory of the configuration file belongs to a tenant {tenant}; one that was entered through the API is probed by \
         POST /directories/{{id}}/probe"
    );
    Failure::new(Ending::Wrong, message)
}

/// The findings for people.
fn words(tenant: &TenantName, findings: &Findings) -> Vec<String> {
    let mut lines = vec![format!(
        "probed  tenant {tenant}, with {} requests",
        findings.requests
    )];
    if let Some(error) = &findings.error {
        lines.push(format!("failed  {error}"));
    }
    for difference in &findings.differences {
        lines.push(format!(
            "differs {}: {} instead of {}",
            difference.field, difference.found, difference.present
        ));
        for experiment in &difference.evidence {
            lines.push(format!("        sent: {}", experiment.request));
            lines.push(format!("        answered: {}", experiment.answer));
            lines.push(format!("        expected: {}", experiment.expected));
        }
    }
    lines.extend(findings.notes.iter().map(|note| format!("note    {note}")));
    for left in &findings.left_behind {
        let id = left.id.as_deref().unwrap_or("unknown");
        lines.push(format!(
            "LEFT    {} {} (id {id}): {}",
            left.endpoint, left.name, left.cure
        ));
    }
    match findings.differences.is_empty() {
        true if findings.complete => {
            lines.push("ok      the tenant's dialect is what the target needs".to_owned())
        }
        true => {}
        false => lines.push(format!("dialect = {}", in_toml(&findings.dialect))),
    }
    lines
}

/// A table as one line of TOML.
fn in_toml(table: &Map<String, Value>) -> String {
    let value = toml::Value::try_from(table);
    value.map_or_else(|error| error.to_string(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn target_probe_prints_a_line_that_can_be_pasted() {
        let table = json!({
            "base": "rfc7644", "pageResources": 7, "membersReadable": false, "userFilters": ["a\"b"],
            "throttling": [{"status": 500, "text": "LIMIT"}],
        });
        let line = format!("dialect = {}", in_toml(table.as_object().unwrap()));
        assert!(!line.contains('\n'), "{line}");
        let read: toml::Table = line.parse().unwrap();
        assert_eq!(serde_json::to_value(&read["dialect"]).unwrap(), table);
    }
}
