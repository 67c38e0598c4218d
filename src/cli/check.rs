//! `check`: the configuration, its secrets, and every connection; nothing is changed anywhere.

use std::collections::BTreeSet;

use serde_json::json;

use crate::admin;
use crate::app;
use crate::cli::output::{Output, line};
use crate::cli::{Ending, Failure};
use crate::config::{Config, secrets};
use crate::source;

/// One thing that was checked.
struct Check {
    what: String,
    problem: Option<String>,
}

/// Checks everything, and tells all that is wrong.
pub(super) async fn run(config: &Config, offline: bool, output: Output) -> Result<Ending, Failure> {
    let settings = app::connections(config);
    let mut checks: Vec<Check> = vec![Check {
        what: "configuration and secrets".to_owned(),
        problem: settings.as_ref().err().map(|all| all.join("; ")),
    }];
    if let Some(tls) = &config.server.tls {
        let read = secrets::server_certificate(tls);
        checks.push(Check {
            what: "certificate of the admin endpoint".to_owned(),
            problem: read.and_then(|read| admin::check(&read)).err(),
        });
    }
    if let Ok(connections) = settings
        && !offline
    {
        let mut tenants = BTreeSet::new();
        for connection in connections {
            let what = format!(
                "directory {} at {}:{}",
                connection.directory.name, connection.source.host, connection.source.port
            );
            checks.push(Check {
                what,
                problem: bind(&connection.source)
                    .await
                    .err()
                    .map(|error| error.to_string()),
            });
            if tenants.insert(connection.tenant.name.clone()) {
                let problem = connection
                    .provider
                    .discover()
                    .await
                    .err()
                    .map(|refusal| refusal.message);
                checks.push(Check {
                    what: format!(
                        "tenant {} at {}",
                        connection.tenant.name, connection.tenant.base_url
                    ),
                    problem,
                });
            }
        }
    }
    let failed = checks.iter().any(|check| check.problem.is_some());
    match output {
        Output::Json => {
            let checks: Vec<_> = checks
                .iter()
                .map(|check| json!({ "check": check.what, "problem": check.problem }))
                .collect();
            line(&json!({ "success": !failed, "checks": checks }).to_string());
        }
        Output::Text => checks.iter().for_each(|check| match &check.problem {
            None => line(&format!("ok      {}", check.what)),
            Some(problem) => line(&format!("failed  {}: {problem}", check.what)),
        }),
    }
    Ok(if failed { Ending::Failed } else { Ending::Done })
}

async fn bind(settings: &source::Settings) -> Result<(), source::Error> {
    let opened = source::open(settings).await?;
    opened.close().await;
    Ok(())
}
