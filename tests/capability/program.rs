//! The program with any arguments, as a shell starts it, and calls of the admin API, for the tests of both.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Process, run_tool, signal};
use crate::support::relay::API_TOKEN;
use crate::support::{block_on, wait_for};

/// More than any command of these tests takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A started program, with what it printed in files of their own; dropping it kills it.
pub struct Program {
    process: Process,
    directory: TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed for scripts.
    pub stdout: String,
    /// What it printed for people, and its log.
    pub stderr: String,
}

impl Ended {
    /// The one JSON object on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Program {
    /// Starts `scim-relay` with these arguments.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scim-relay"));
        command.args(arguments);
        Self::start_command(&mut command, environment)
    }

    /// Starts a tool that runs `scim-relay` in its turn.
    pub fn start_tool(tool: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_command(Command::new(tool).args(arguments), environment)
    }

    /// The same on what behaves as a full disk: no file may grow beyond this size, or none at all after [`Program::fill_disk`].
    pub fn start_on_small_disk(
        bytes: Option<u64>,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new("sh");
        // The shell counts blocks of 512 bytes; an ignored signal turns into an error of the write.
        let blocks = bytes.map_or("unlimited".to_owned(), |bytes| (bytes / 512).to_string());
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_scim-relay")])
            .args(arguments);
        Self::start_command(&mut command, environment)
    }

    /// From now on it can write nothing beyond the first so many bytes of a file, its log included.
    pub fn fill_disk(&self, bytes: u64) {
        let (id, limit) = (self.process.id().to_string(), format!("--fsize={bytes}"));
        run_tool(Command::new("prlimit").args(["--pid", &id, &limit]), "");
    }

    fn start_command(command: &mut Command, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["SCIM_RELAY_TOKEN", "SCIM_RELAY_URL", "SCIM_RELAY_CONFIG"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        let output = File::create(directory.path().join("out")).unwrap();
        let log = directory.path().join("err");
        Self {
            process: Process::spawn_with_output("scim-relay", command, log, output),
            directory,
        }
    }

    /// What it has printed on standard output so far.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("out")).unwrap()
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        self.process.log()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(&self.process.id().to_string(), name);
    }

    /// Waits until it says where its admin endpoint listens, in a JSON log.
    pub fn listening(&mut self) -> String {
        wait_for("the log line `listening`", PATIENCE, || {
            let log = self.stderr();
            assert!(self.process.ended().is_none(), "it ended: {log}");
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = lines.find(|line| line["message"] == "listening")?;
            Some(format!("http://{}", line["address"].as_str().unwrap()))
        })
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let code = self.process.wait(PATIENCE).code();
        Ended {
            code,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

/// Runs `scim-relay` to its end.
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    Program::start(arguments, environment).wait()
}

/// Runs `scim-relay --config FILE …` to its end.
pub fn run_with(config: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let config = config.to_str().unwrap();
    run(&[&["--config", config], arguments].concat(), environment)
}

/// A configuration file of a test's own.
pub fn config_file(directory: &TempDir, text: &str) -> PathBuf {
    let path = directory.path().join("relay.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// An answer of the admin API.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers but the date and the request's id.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The admin API of a running relay, for one caller.
#[derive(Clone)]
pub struct Api {
    /// `http://127.0.0.1:PORT`
    pub base: String,
    /// Sent with every request.
    pub headers: Vec<(&'static str, String)>,
    /// The address that requests come from; every one of 127.0.0.0/8 is this machine's, and refusals are counted for each.
    pub from: Option<Ipv4Addr>,
}

impl Api {
    /// With the token of the tests.
    pub fn new(base: String) -> Self {
        Self::with_token(base, API_TOKEN)
    }

    /// With another token.
    pub fn with_token(base: String, token: &str) -> Self {
        Self {
            base,
            headers: vec![("authorization", format!("Bearer {token}"))],
            from: None,
        }
    }

    /// The same caller with a header more.
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        let mut api = self.clone();
        api.headers.push((name, value.to_owned()));
        api
    }

    /// The same caller from an address that nobody has called from yet, so that earlier refusals do not count.
    pub fn elsewhere(&self) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(1);
        let [_, high, middle, low] = (LAST.fetch_add(1, Ordering::Relaxed) + 1).to_be_bytes();
        let mut api = self.clone();
        api.from = Some(Ipv4Addr::new(127, high, middle, low));
        api
    }

    /// One request; the path begins below the host.
    pub fn call(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let url = format!("{}{path}", self.base);
        block_on(async {
            let client = reqwest::Client::builder()
                .no_proxy()
                .local_address(self.from.map(IpAddr::V4))
                .build()
                .unwrap();
            let mut request = client
                .request(method.parse().unwrap(), url)
                .timeout(PATIENCE);
            for (name, value) in &self.headers {
                request = request.header(*name, value);
            }
            if let Some(body) = body {
                request = request.body(body.to_owned());
            }
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let mut headers: Vec<(String, String)> = answer
                .headers()
                .iter()
                .filter(|(name, _)| *name != "date" && *name != "x-request-id")
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect();
            headers.sort();
            let text = answer.text().await.unwrap();
            Answer {
                status,
                headers,
                text,
            }
        })
    }

    /// GET below `/api/v1`.
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", &format!("/api/v1{path}"), None)
    }

    /// POST below `/api/v1`, as JSON.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, body)
    }

    /// PUT below `/api/v1`, as JSON.
    pub fn put(&self, path: &str, body: &str) -> Answer {
        self.send("PUT", path, body)
    }

    /// DELETE below `/api/v1`.
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", &format!("/api/v1{path}"), None)
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let path = format!("/api/v1{path}");
        self.with("content-type", "application/json")
            .call(method, &path, Some(body))
    }

    /// The id of the directory of this name.
    pub fn directory(&self, name: &str) -> String {
        let listed = self.get("/directories");
        assert_eq!(listed.status, 200, "{listed:?}");
        let listed = listed.json();
        let items = listed["items"].as_array().unwrap();
        let found = items.iter().find(|item| item["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    }

    /// Starts a job and answers its id.
    pub fn start_job(&self, directory: &str) -> String {
        let answer = self.post(&format!("/directories/{directory}/sync"), "");
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["jobId"].as_str().unwrap().to_owned()
    }

    /// A job as it is now.
    pub fn job(&self, directory: &str, job: &str) -> Value {
        let answer = self.get(&format!("/directories/{directory}/jobs/{job}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// A job at its end.
    pub fn finished_job(&self, directory: &str, job: &str) -> Value {
        wait_for("the end of the job", PATIENCE, || {
            let job = self.job(directory, job);
            let status = job["status"].as_str().unwrap();
            (!matches!(status, "queued" | "running")).then_some(job)
        })
    }

    /// All jobs, newest first.
    pub fn jobs(&self, directory: &str) -> Vec<Value> {
        let listed = self.get(&format!("/directories/{directory}/jobs?limit=200"));
        assert_eq!(listed.status, 200, "{listed:?}");
        listed.json()["items"].as_array().unwrap().clone()
    }
}
