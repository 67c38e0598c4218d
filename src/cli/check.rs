//! `check`: the configuration file, its secrets, and every connection in it; nothing is changed anywhere.

use std::collections::BTreeSet;

use serde_json::json;

use crate::admin;
use crate::app;
use crate::cli::output::{Output, line};
use crate::cli::{Ending, Failure};
use crate::config::{Config, secrets};
use crate::identity::server::ServerAddress;
use crate::source::{self, Depth};

/// One thing that was checked.
struct Check {
    what: String,
    problem: Option<String>,
    warnings: Vec<String>,
}

impl Check {
    fn new(what: String, problem: Option<String>) -> Self {
        Self {
            what,
            problem,
            warnings: Vec::new(),
        }
    }

    fn json(&self) -> serde_json::Value {
        let mut json = json!({ "check": self.what, "problem": self.problem });
        if !self.warnings.is_empty() {
            json["warnings"] = json!(self.warnings);
        }
        json
    }
}

/// Checks everything, and tells all that is wrong.
pub(super) async fn run(config: &Config, offline: bool, output: Output) -> Result<Ending, Failure> {
    let settings = app::connections(config);
    let problem = settings.as_ref().err().map(|all| all.join("; "));
    let mut checks = vec![Check::new("configuration and secrets".to_owned(), problem)];
    if let Some(tls) = &config.server.tls {
        let read = secrets::server_certificate(tls);
        let problem = read.and_then(|read| admin::check(&read)).err();
        let what = "certificate of the admin endpoint".to_owned();
        checks.push(Check::new(what, problem));
    }
    if let Ok(connections) = settings
        && !offline
    {
        let mut tenants = BTreeSet::new();
        for connection in connections {
            checks
                .push(directory(&connection.directory.name.to_string(), &connection.source).await);
            if tenants.insert(connection.tenant.name.clone()) {
                let problem = connection
                    .provider
                    .discover()
                    .await
                    .err()
                    .map(|refusal| refusal.message);
                let what = format!(
                    "tenant {} at {}",
                    connection.tenant.name, connection.tenant.base_url
                );
                checks.push(Check::new(what, problem));
            }
        }
    }
    let failed = checks.iter().any(|check| check.problem.is_some());
    match output {
        Output::Json => {
            let checks: Vec<_> = checks.iter().map(Check::json).collect();
            line(&json!({ "success": !failed, "checks": checks }).to_string());
        }
        Output::Text => checks.iter().for_each(|check| {
            match &check.problem {
                None => line(&format!("ok      {}", check.what)),
                Some(problem) => line(&format!("failed  {}: {problem}", check.what)),
            }
            for warning in &check.warnings {
                line(&format!("warning {}: {warning}", check.what));
            }
        }),
    }
    Ok(if failed { Ending::Failed } else { Ending::Done })
}

/// Binds at the server that a run would read from, and tries those that could take over from it.
async fn directory(name: &str, settings: &source::Settings) -> Check {
    let what = |address: &ServerAddress| format!("directory {name} at {address}");
    let opened = match source::open(settings).await {
        Ok(opened) => opened,
        Err(error) => return Check::new(what(&settings.address()), Some(error.to_string())),
    };
    let server = opened.server().await;
    opened.close().await;
    let mut warnings = server.warnings();
    warnings.extend(source::try_further(settings, &server, Depth::Authentication).await);
    Check {
        warnings,
        ..Check::new(what(&server.address), None)
    }
}
