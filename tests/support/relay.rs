//! The relay's own program, run as its users run it: a config file, a command, an exit code.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::Process;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, PEOPLE, READER, READER_PASSWORD, SUFFIX, Slapd};
use crate::support::wait_for;

/// The bearer token of the relay's own API under [`Relay::serve`].
pub const API_TOKEN: &str = "api-test-token-0123456789abcdef0123456789abcdef";

/// A key that seals secrets in the store.
pub const SEALING_KEY: &str = "c2NpbS1yZWxheS10ZXN0LWtleS0wMTIzNDU2Nzg5YWI=";

const SYNC: Duration = Duration::from_secs(300);
const READY: Duration = Duration::from_secs(30);

/// A relay with its own config file and store, in a temporary directory that goes with it.
pub struct Relay {
    config: toml::Table,
    environment: Vec<(String, String)>,
    runs: std::cell::Cell<u32>,
    directory: TempDir,
}

/// How one run ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The job that was printed; null when none was.
    pub job: Value,
    /// What was printed for people: log lines and errors.
    pub stderr: String,
}

impl Finished {
    /// A count of the job, such as `usersCreated`.
    ///
    /// # Panics
    /// When the job has no such number; the message holds what the run said.
    pub fn count(&self, field: &str) -> u64 {
        self.job[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {field} in the job: {self:?}"))
    }

    /// The requests that changed something at the target.
    pub fn writes(&self) -> u64 {
        self.job["requests"]["write"]
            .as_u64()
            .unwrap_or_else(|| panic!("no requests.write in the job: {self:?}"))
    }

    /// Panics with all that the run said unless it completed without errors; returns itself.
    pub fn completed(self) -> Self {
        assert_eq!(self.code, Some(0), "the run did not complete: {self:?}");
        assert_eq!(self.job["status"], "completed", "{self:?}");
        self
    }
}

/// A `sync` on its way; dropping it kills it.
pub struct Sync {
    process: Process,
    out: PathBuf,
}

impl Sync {
    /// Ends it at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end (SIGTERM) and does not wait.
    pub fn interrupt(&self) {
        self.process.ask_to_end();
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub fn terminate(mut self) -> Finished {
        let status = self.process.terminate(SYNC);
        self.finished(status)
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Finished {
        let status = self.process.wait(SYNC);
        self.finished(status)
    }

    fn finished(&self, status: std::process::ExitStatus) -> Finished {
        let out = std::fs::read_to_string(&self.out).unwrap_or_default();
        Finished {
            code: status.code(),
            job: serde_json::from_str(&out).unwrap_or(Value::Null),
            stderr: self.process.log(),
        }
    }
}

/// A running `serve`; dropping it kills it.
pub struct Serving {
    process: Process,
    address: String,
}

impl Serving {
    /// `http://127.0.0.1:PORT`, without a path.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`, or with whatever address the configuration names.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The log so far, one JSON object a line.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Asks it to end (SIGTERM) and waits; returns the exit code.
    pub fn terminate(self) -> Option<i32> {
        self.terminate_with_log().0
    }

    /// The same, with the whole log.
    pub fn terminate_with_log(mut self) -> (Option<i32>, String) {
        let code = self.process.terminate(READY).code();
        (code, self.log())
    }

    /// Ends it at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

impl Relay {
    /// A relay between this directory and this target, with the defaults of the product otherwise.
    pub fn new(slapd: &Slapd, target: &Scim2Server) -> Self {
        Self::between(slapd, &target.base_url(), target.token())
    }

    /// The same for any SCIM target.
    pub fn between(slapd: &Slapd, base_url: &str, token: &str) -> Self {
        Self::of_ldap_port(slapd.port(), base_url, token)
    }

    /// The same for any LDAP server on a port of this machine.
    pub fn of_ldap_port(port: u16, base_url: &str, token: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("scim-relay-test-")
            .tempdir()
            .expect("a temporary directory");
        let config = toml::toml! {
            [server]
            listen = "127.0.0.1:0"
            token = "env:SCIM_RELAY_TOKEN"
            [store]
            [log]
            level = "info"
            format = "json"
            [[tenants]]
            name = "acme"
            auth = { type = "bearer", token = "env:SCIM_TOKEN" }
            [[directories]]
            tenant = "acme"
            name = "hq"
            type = "ldap"
            host = "127.0.0.1"
            useTLS = false
            allowPlainLdap = true
            bindPassword = "env:LDAP_PASSWORD"
        };
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let relay = Self {
            config,
            environment: vec![
                set("SCIM_TOKEN", token),
                set("LDAP_PASSWORD", READER_PASSWORD),
                set("SCIM_RELAY_TOKEN", API_TOKEN),
            ],
            runs: std::cell::Cell::new(0),
            directory,
        };
        let store = relay.store();
        relay
            .section(
                "store",
                &format!("path = {}", quoted(&store.to_string_lossy())),
            )
            .tenant(&format!(
                "baseUrl = {}\nrateLimit = 100000",
                quoted(base_url)
            ))
            .directory(&format!(
                "port = {}\nbindDN = {}\nbaseDN = {}\nusersDN = {}\ngroupsDN = {}",
                port,
                quoted(READER),
                quoted(SUFFIX),
                quoted(PEOPLE),
                quoted(GROUPS)
            ))
    }

    /// A relay whose file names no tenant and no directory, and a key that seals what is entered through the API.
    pub fn without_definitions() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("scim-relay-test-")
            .tempdir()
            .expect("a temporary directory");
        let config = toml::toml! {
            [server]
            listen = "127.0.0.1:0"
            token = "env:SCIM_RELAY_TOKEN"
            [store]
            [secrets]
            key = "env:SEALING_KEY"
            [log]
            level = "debug"
            format = "json"
        };
        let relay = Self {
            config,
            environment: Vec::new(),
            runs: std::cell::Cell::new(0),
            directory,
        };
        let store = relay.store();
        let path = format!("path = {}", quoted(&store.to_string_lossy()));
        relay
            .section("store", &path)
            .environment("SCIM_RELAY_TOKEN", API_TOKEN)
            .environment("SEALING_KEY", SEALING_KEY)
    }

    /// Adds lines to the tenant, each in place of an earlier one with the same key.
    pub fn tenant(mut self, lines: &str) -> Self {
        merge(first_of(&mut self.config, "tenants"), lines);
        self
    }

    /// Adds lines to the directory, each in place of an earlier one with the same key.
    pub fn directory(mut self, lines: &str) -> Self {
        merge(first_of(&mut self.config, "directories"), lines);
        self
    }

    /// Adds the table `secrets` with these lines.
    pub fn secrets(mut self, lines: &str) -> Self {
        let table = self
            .config
            .entry("secrets")
            .or_insert_with(|| toml::Table::new().into());
        merge(table.as_table_mut().expect("a table"), lines);
        self
    }

    /// Adds lines to `server`, `store` or `log`, each in place of an earlier one with the same key.
    pub fn section(mut self, name: &str, lines: &str) -> Self {
        let table = self
            .config
            .get_mut(name)
            .and_then(toml::Value::as_table_mut);
        merge(table.expect("a section of the config file"), lines);
        self
    }

    /// The environment variables of the relay, for commands of the tests' own.
    pub fn variables(&self) -> Vec<(&str, &str)> {
        let variables = self.environment.iter();
        variables
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// Sets an environment variable of the relay, such as the one that a secret reference names.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the store is.
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("scim-relay.redb")
    }

    /// Where the config file is; each start writes it anew.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("scim-relay.toml")
    }

    /// Runs `sync` to its end.
    pub fn sync(&self) -> Finished {
        self.spawn_sync().wait()
    }

    /// The same, and approves the plan if it waits, as somebody who read it.
    ///
    /// # Panics
    /// When the plan cannot be read.
    pub fn sync_approved(&self) -> Finished {
        self.approved(self.sync())
    }

    /// Approves what waits only because the profile is another one than before, as whoever changed it.
    pub fn with_change_approved(&self, run: Finished) -> Finished {
        let holds = run.job["holds"].as_array().cloned().unwrap_or_default();
        let of_change = |hold: &Value| {
            hold.to_string()
                .contains("scope, filters or mapping were changed")
        };
        match holds.iter().all(of_change) {
            true => self.approved(run),
            false => run,
        }
    }

    /// Approves the plan of a run if it waits.
    ///
    /// # Panics
    /// When the plan cannot be read.
    pub fn approved(&self, run: Finished) -> Finished {
        if run.job["status"] != "awaiting_approval" {
            return run;
        }
        let (job, digest) = (&run.job["id"], &run.job["planDigest"]);
        let (job, digest) = (job.as_str().unwrap(), digest.as_str().unwrap());
        let arguments = [
            "jobs", "approve", job, "--digest", digest, "--output", "json",
        ];
        self.spawn(&arguments).wait()
    }

    /// Starts `sync` and returns at once.
    pub fn spawn_sync(&self) -> Sync {
        self.spawn(&["sync", "--output", "json"])
    }

    /// Starts any command that prints one JSON object; the config file is named already.
    pub fn spawn(&self, arguments: &[&str]) -> Sync {
        let run = self.run_number();
        let out = self.directory.path().join(format!("{run}.out"));
        let (mut command, log) = self.command(run, arguments);
        // The printed object has a file of its own; the process's log keeps what is for people.
        let file = std::fs::File::create(&out).expect("a file for the job");
        Sync {
            process: Process::spawn_with_output("scim-relay", &mut command, log, file),
            out,
        }
    }

    /// Starts `serve`; it listens when this returns.
    pub fn serve(&self) -> Serving {
        let (mut command, log) = self.command(self.run_number(), &["serve"]);
        let mut process = Process::spawn("scim-relay", &mut command, log);
        let address = wait_for("scim-relay's log line `listening`", READY, || {
            let address = listening(&process.log());
            if address.is_none()
                && let Some(status) = process.ended()
            {
                panic!("scim-relay serve ended ({status}): {}", process.log());
            }
            address
        });
        Serving { process, address }
    }

    fn run_number(&self) -> u32 {
        self.runs.set(self.runs.get() + 1);
        self.runs.get()
    }

    fn command(&self, run: u32, arguments: &[&str]) -> (Command, PathBuf) {
        let config = self.config_path();
        let text = toml::to_string(&self.config).expect("the config file as TOML");
        std::fs::write(&config, text).expect("the config file is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_scim-relay"));
        command
            .arg("--config")
            .arg(config)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        (command, self.directory.path().join(format!("{run}.log")))
    }
}

fn first_of<'a>(config: &'a mut toml::Table, name: &str) -> &'a mut toml::Table {
    config
        .get_mut(name)
        .and_then(|list| list.get_mut(0))
        .and_then(toml::Value::as_table_mut)
        .expect("the config file's first table of this name")
}

fn merge(table: &mut toml::Table, lines: &str) {
    table.extend(lines.parse::<toml::Table>().expect("lines in TOML"));
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn listening(log: &str) -> Option<String> {
    log.lines()
        .filter(|line| line.contains("listening"))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|event| event["address"].as_str().map(str::to_owned))
}
