//! scim2-server (a SCIM service provider written by others) behind gunicorn with keep-alive, as the target of the tests.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::process::{INSTALL, Process, signal};
use crate::support::{block_on, wait_for};

const READY: Duration = Duration::from_secs(30);
const PAGE: u64 = 500;

/// One request that the target answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query as they came.
    pub path: String,
    /// The status that was answered.
    pub status: u16,
}

impl Request {
    /// Whether it was sent to change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// A running target; dropping it kills it.
pub struct Scim2Server {
    // Empty once it was killed.
    process: Option<Process>,
    port: u16,
    token: String,
    client: reqwest::Client,
    directory: TempDir,
}

impl Scim2Server {
    /// Starts an empty target on a free port; ready when it returns.
    pub fn start() -> Self {
        let gunicorn = root().join("tests/.cache/venv/bin/gunicorn");
        assert!(gunicorn.exists(), "scim2-server is missing; {INSTALL}");
        let directory = tempfile::Builder::new()
            .prefix("scim-relay-target-")
            .tempdir()
            .expect("a temporary directory");
        // The listening socket is ours and is handed over as standard input: no other process can take the port meanwhile.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on 127.0.0.1");
        let port = listener.local_addr().expect("the bound address").port();
        let token = Uuid::now_v7().to_string();
        let mut command = Command::new(gunicorn);
        command
            .args(["scim2_app:application", "--bind", "fd://0", "--chdir"])
            .arg(root().join("tests/support"))
            .args(["--workers", "1", "--threads", "8", "--keep-alive", "60"])
            .args(["--timeout", "0", "--no-control-socket"])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SCIM2_SERVER_TOKEN", &token)
            .env("SCIM2_SERVER_SECRET", Uuid::now_v7().to_string())
            .env("SCIM2_SERVER_REQUESTS", directory.path().join("requests"))
            .env("SCIM2_SERVER_PID", directory.path().join("pid"))
            .stdin(Stdio::from(OwnedFd::from(listener)));
        let log = directory.path().join("log");
        let server = Self {
            process: Some(Process::spawn("gunicorn", &mut command, log)),
            port,
            token,
            // Each call has a runtime of its own, and a connection cannot outlive the runtime it was made in.
            client: reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .build()
                .expect("an HTTP client"),
            directory,
        };
        server.wait_ready();
        server
    }

    /// The URL that the relay's tenant gets as `baseUrl`.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v2", self.port)
    }

    /// The only bearer token that the target accepts.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// All users, read page by page through the SCIM API.
    pub fn users(&self) -> Vec<Value> {
        self.list("Users")
    }

    /// All groups with all their members.
    pub fn groups(&self) -> Vec<Value> {
        self.list("Groups")
    }

    /// Sends one request of the test's own; returns the status and the body (null when there is none).
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.base_url());
        block_on(async {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            let mut request = self
                .client
                .request(method, url)
                .bearer_auth(&self.token)
                .header("content-type", "application/scim+json")
                .header("x-test", "1");
            if let Some(body) = body {
                request = request.body(body.to_string());
            }
            let answer = request.send().await.expect("the target answers");
            let status = answer.status().as_u16();
            let text = answer.text().await.expect("the answer's body");
            (
                status,
                serde_json::from_str(&text).unwrap_or(Value::String(text)),
            )
        })
    }

    /// Every request so far, without the test's own, in the order of the answers.
    pub fn requests(&self) -> Vec<Request> {
        let text = std::fs::read_to_string(self.directory.path().join("requests"))
            .expect("the target's request log");
        text.lines()
            .map(|line| {
                let mut words = line.splitn(3, ' ');
                let mut next = || words.next().expect("three words in a log line").to_owned();
                let method = next();
                let status = next().parse().expect("a status in a log line");
                let path = next();
                Request {
                    method,
                    path,
                    status,
                }
            })
            .collect()
    }

    /// How many requests that change something were answered so far.
    pub fn writes(&self) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.is_write())
            .count()
    }

    /// Ends the target at once; its memory, and so its users, are lost.
    pub fn kill(&mut self) {
        let Some(master) = self.process.take() else {
            return;
        };
        // The master first: it would start a new worker.
        drop(master);
        if let Ok(worker) = std::fs::read_to_string(self.directory.path().join("pid")) {
            signal(&worker, "KILL");
        }
    }

    fn wait_ready(&self) {
        wait_for("an answer of scim2-server", READY, || {
            block_on(async {
                let url = format!("{}/ServiceProviderConfig", self.base_url());
                let request = self
                    .client
                    .get(url)
                    .header("x-test", "1")
                    .timeout(Duration::from_secs(5));
                request.send().await.ok()?.error_for_status().ok()
            })
        });
    }

    fn list(&self, kind: &str) -> Vec<Value> {
        let mut found = Vec::new();
        loop {
            let from = found.len() + 1;
            let path = format!("/{kind}?startIndex={from}&count={PAGE}");
            let (status, page) = self.send("GET", &path, None);
            assert_eq!(status, 200, "{path} answered {page}");
            let rows = page["Resources"].as_array().cloned().unwrap_or_default();
            let total = page["totalResults"].as_u64().expect("totalResults");
            let last = rows.is_empty();
            found.extend(rows);
            if last || found.len() as u64 >= total {
                assert_eq!(found.len() as u64, total, "{kind}: a page is missing");
                return found;
            }
        }
    }
}

impl Drop for Scim2Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
