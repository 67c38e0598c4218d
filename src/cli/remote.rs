//! `sync` and `preview` through the API of a running relay.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::cli::{Ending, Failure, Which};
use crate::config::{Config, secrets};
use crate::job::{Job, Mode};
use crate::secret::Secret;

/// How often a running job is asked how far it is.
const POLL: Duration = Duration::from_millis(250);

struct Api {
    client: Client,
    base: String,
    token: Secret,
}

impl Api {
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value), Failure> {
        let url = format!("{}/api/v1{path}", self.base);
        let mut request = self
            .client
            .request(method, &url)
            .bearer_auth(self.token.expose());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|error| {
            let message = format!(
                "no relay answers at {}: {}; start it, or name its address with --url",
                self.base,
                cause(&error)
            );
            Failure::new(Ending::StoreInUse, message)
        })?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|error| {
            Failure::failed(format!("{url} does not answer as a relay does: {error}"))
        })?;
        if status.is_success() || status == StatusCode::CONFLICT {
            return Ok((status, body));
        }
        let detail = body["detail"].as_str().unwrap_or("no detail");
        Err(Failure::failed(format!(
            "the relay refuses: {status}: {detail}"
        )))
    }
}

/// What is at the bottom of an error, such as a refused connection or an unknown certificate.
fn cause(error: &reqwest::Error) -> String {
    let deeper = std::iter::successors(error.source(), |&error| error.source());
    deeper
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// Starts a job at the running relay and waits for its end.
pub(super) async fn run(
    config: &Config,
    which: &Which,
    mode: Mode,
    output: Output,
) -> Result<Ending, Failure> {
    let api = connect(config, which)?;
    let directory = chosen(&api, which).await?;
    let mut body = json!({ "mode": mode });
    if let Some(only) = &which.only {
        body["only"] = json!(only);
    }
    if let Some(profile) = &which.profile {
        body["profile"] = json!(profile);
    }
    let (status, started) = api
        .call(
            Method::POST,
            &format!("/directories/{directory}/sync"),
            Some(body),
        )
        .await?;
    if status == StatusCode::CONFLICT {
        return Err(Failure::failed(
            started["detail"]
                .as_str()
                .unwrap_or("a job of this profile is running"),
        ));
    }
    let id = started["jobId"].as_str().unwrap_or_default().to_owned();
    let progress = Progress::beside(output);
    loop {
        let (_, job) = api
            .call(
                Method::GET,
                &format!("/directories/{directory}/jobs/{id}"),
                None,
            )
            .await?;
        let job: Job = serde_json::from_value(job).map_err(|error| {
            Failure::failed(format!("the relay's answer is not a job: {error}"))
        })?;
        if let Some(listener) = &progress.listener {
            listener(&job);
        }
        if job.status.is_final() {
            drop(progress);
            output.job(&job);
            return Ok(Ending::of_job(job.status));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn connect(config: &Config, which: &Which) -> Result<Api, Failure> {
    let token = match (std::env::var("SCIM_RELAY_TOKEN"), &config.server.token) {
        (Ok(token), _) if !token.is_empty() => Secret::new(token),
        (_, Some(reference)) => secrets::resolve(reference, "server.token")
            .map_err(|message| Failure::new(Ending::Wrong, message))?,
        _ => {
            let message = "a relay is running; set SCIM_RELAY_TOKEN to its token, so that the command can use its API";
            return Err(Failure::new(Ending::StoreInUse, message));
        }
    };
    let scheme = config.server.tls.as_ref().map_or("http", |_| "https");
    let base = which
        .url
        .clone()
        .unwrap_or_else(|| format!("{scheme}://{}", config.server.listen));
    let client = Client::builder()
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| Failure::failed(format!("the HTTP client does not start: {error}")))?;
    Ok(Api {
        client,
        base: base.trim_end_matches('/').to_owned(),
        token,
    })
}

async fn chosen(api: &Api, which: &Which) -> Result<String, Failure> {
    let (_, listed) = api.call(Method::GET, "/directories", None).await?;
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let found = match &which.directory {
        Some(name) => items
            .iter()
            .find(|item| item["name"] == name.as_str() || item["id"] == name.as_str()),
        None if items.len() == 1 => items.first(),
        None => None,
    };
    let id = found
        .and_then(|item| item["id"].as_str())
        .map(str::to_owned);
    id.ok_or_else(|| {
        let names: Vec<&str> = items
            .iter()
            .filter_map(|item| item["name"].as_str())
            .collect();
        Failure::new(
            Ending::Wrong,
            format!(
                "name the directory with --directory; there are: {}",
                names.join(", ")
            ),
        )
    })
}
