//! The API of a running relay, and `sync` and `preview` through it.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::cli::{Ending, Failure, Reach, Which};
use crate::config::{Config, secrets};
use crate::job::{Job, Mode};
use crate::secret::Secret;

/// How often a running job is asked how far it is.
const POLL: Duration = Duration::from_millis(250);

/// The API of a running relay.
pub(super) struct Api {
    client: Client,
    base: String,
    token: Secret,
    /// Sent as `X-Tenant-ID`.
    pub(super) tenant: Option<String>,
}

impl Api {
    /// All pages of a list.
    pub(super) async fn all(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let begin = format!(
            "{path}{}limit=200",
            if path.contains('?') { '&' } else { '?' }
        );
        let mut items = Vec::new();
        let mut page = begin.clone();
        loop {
            let (_, answer) = self.call(Method::GET, &page, None).await?;
            items.extend(answer["items"].as_array().cloned().unwrap_or_default());
            match answer["nextCursor"].as_str() {
                Some(cursor) => page = format!("{begin}&cursor={cursor}"),
                None => return Ok(items),
            }
        }
    }

    /// One request; an answer that is no success, and no conflict, is a failure.
    pub(super) async fn call(
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
        if let Some(tenant) = &self.tenant {
            request = request.header("x-tenant-id", tenant);
        }
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
        if status == StatusCode::NO_CONTENT {
            return Ok((status, Value::Null));
        }
        let body: Value = answer.json().await.map_err(|error| {
            Failure::failed(format!("{url} does not answer as a relay does: {error}"))
        })?;
        if status.is_success() || status == StatusCode::CONFLICT {
            return Ok((status, body));
        }
        Err(refusal(status, &body))
    }
}

/// What a problem document says, with every field at fault.
fn refusal(status: StatusCode, problem: &Value) -> Failure {
    let detail = problem["detail"].as_str().unwrap_or("no detail");
    let fields = problem["errors"].as_array().into_iter().flatten();
    let fields = fields.filter_map(|field| {
        let (pointer, detail) = (field["pointer"].as_str()?, field["detail"].as_str()?);
        Some(format!("\n  {}: {detail}", pointer.trim_start_matches('/')))
    });
    let message = format!(
        "the relay refuses: {status}: {detail}{}",
        fields.collect::<String>()
    );
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => Failure::new(Ending::Wrong, message),
        _ => Failure::failed(message),
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
    report: bool,
    output: Output,
) -> Result<Ending, Failure> {
    let mut api = connect(config, &which.relay)?;
    api.tenant.clone_from(&which.tenant);
    let directory = chosen(&api, which.directory.as_deref()).await?;
    let mut body = json!({ "mode": mode });
    if let Some(only) = &which.only {
        body["only"] = json!(only);
    }
    if report {
        body["repair"] = json!(false);
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
    let id = started["jobId"].as_str().unwrap_or_default();
    until_its_end(&api, &directory, id, output).await
}

/// Waits for the end of a job, and prints it.
pub(super) async fn until_its_end(
    api: &Api,
    directory: &str,
    id: &str,
    output: Output,
) -> Result<Ending, Failure> {
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

/// The token that a command uses: the one that it is told, `SCIM_RELAY_TOKEN`, or that of the configuration.
fn token(config: &Config, reach: &Reach) -> Result<Secret, Failure> {
    let wrong = |message| Failure::new(Ending::Wrong, message);
    if let Some(told) = &reach.token {
        let reference = told
            .parse()
            .map_err(|message| wrong(format!("--token: {message}")))?;
        return secrets::resolve(&reference, "--token").map_err(wrong);
    }
    match (std::env::var("SCIM_RELAY_TOKEN"), &config.server.token) {
        (Ok(token), _) if !token.is_empty() => Ok(Secret::new(token)),
        (_, Some(reference)) => secrets::resolve(reference, "server.token").map_err(wrong),
        _ => {
            let message = "a relay is running; set SCIM_RELAY_TOKEN to a token of it, or name one with --token, so that \
                           the command can use its API";
            Err(Failure::new(Ending::StoreInUse, message))
        }
    }
}

/// Where the API is and with which token; nothing is sent yet.
pub(super) fn connect(config: &Config, reach: &Reach) -> Result<Api, Failure> {
    let token = token(config, reach)?;
    let scheme = config.server.tls.as_ref().map_or("http", |_| "https");
    let base = reach
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
        tenant: None,
    })
}

/// The id of the directory that is meant: by name or id, or the only one.
pub(super) async fn chosen(api: &Api, directory: Option<&str>) -> Result<String, Failure> {
    let (_, listed) = api.call(Method::GET, "/directories", None).await?;
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let found = match directory {
        Some(name) => items
            .iter()
            .find(|item| item["name"] == name || item["id"] == name),
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
