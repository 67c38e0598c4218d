//! `demo`: a small company in memory, a target in memory, and the relay between them, the same code as `serve`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::Relays;
use crate::audit::Actor;
use crate::cli::output::{Output, line};
use crate::cli::serve::{self, Running};
use crate::cli::{Ending, Failure, asked_to_stop};
use crate::config::{self, Config};
use crate::demo::directory::{self, Directory};
use crate::demo::story;
use crate::demo::target::{self, Entry, Target};
use crate::id::{JobId, ProfileKey};
use crate::job::{Job, Mode, Trigger};
use crate::scheduler::{Refused, Runner as _};
use crate::secret::Secret;
use crate::store::Store;
use crate::telemetry;

/// The company.
const COMPANY: &str = include_str!("../../scim-fixtures/demo/company.ldif");
/// The account that reads it.
const READER: &str = "cn=scim-relay,dc=example,dc=org";
/// How long each change waits for the one before it, when somebody watches.
const PAUSE: Duration = Duration::from_secs(4);

/// Plays the demo; `once` plays every change without waiting, and ends.
pub(super) async fn run(once: bool, output: Output) -> Result<Ending, Failure> {
    let quiet = telemetry::Settings {
        level: "warn".to_owned(),
        ..telemetry::Settings::default()
    };
    telemetry::start(&quiet, std::io::stderr).map_err(Failure::failed)?;
    let stage = Stage::set().await?;
    let ended = if once {
        play_once(&stage, output).await
    } else {
        play(&stage).await
    };
    stage.strike().await;
    ended
}

/// Everything that the demo started.
struct Stage {
    company: Directory,
    target: Target,
    relay: Running,
    store: Arc<dyn Store>,
    profile: ProfileKey,
    token: Secret,
    target_url: String,
    files: PathBuf,
    stop: CancellationToken,
}

impl Stage {
    async fn set() -> Result<Self, Failure> {
        let password = serve::new_token()?;
        let target_token = serve::new_token()?;
        let token = serve::new_token()?;
        let stop = CancellationToken::new();
        let company = Directory::from_ldif(COMPANY)
            .map_err(Failure::failed)?
            .with_reader(READER, password.expose());
        let directory_listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(Failure::failed)?;
        let ldap_port = directory_listener
            .local_addr()
            .map_err(Failure::failed)?
            .port();
        tokio::spawn(directory::server::serve(
            company.clone(),
            directory_listener,
            stop.clone(),
        ));
        let target = Target::default();
        let target_listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(Failure::failed)?;
        let address = target_listener.local_addr().map_err(Failure::failed)?;
        let target_url = format!("http://{address}{}", target::http::BASE_PATH);
        let served_token = Some(target_token.expose().to_owned());
        tokio::spawn(target::http::serve(
            target.clone(),
            target_listener,
            served_token,
            stop.clone(),
        ));

        let files = private_folder()?;
        let password_file = secret_file(&files, "bind-password", &password)?;
        let token_file = secret_file(&files, "scim-token", &target_token)?;
        let config = configuration(&files, ldap_port, &target_url, &password_file, &token_file)?;
        let store: Arc<dyn Store> = crate::store::open(&config.store)?.into();
        let relays = Relays::open(&config, &files, store.clone(), None)
            .await
            .map_err(|all| Failure::failed(all.join("\n")))?;
        let profile = relays
            .profiles()
            .into_iter()
            .next()
            .map(|profile| profile.key);
        let profile = profile.ok_or_else(|| Failure::failed("the demo has no directory"))?;
        let relay = serve::start(
            &config,
            Arc::new(relays),
            store.clone(),
            Some(token.clone()),
        )
        .await?;
        Ok(Self {
            company,
            target,
            relay,
            store,
            profile,
            token,
            target_url,
            files,
            stop,
        })
    }

    /// Runs a job to its end through the scheduler, as the API would; after one that somebody started there just now.
    async fn sync(&self) -> Result<Job, Failure> {
        let scheduler = self.relay.scheduler();
        loop {
            match scheduler
                .enqueue(
                    &self.profile,
                    Trigger::Manual,
                    Mode::Full,
                    &Actor::CommandLine,
                )
                .await
            {
                Ok(job) => return self.ended(job.id).await,
                Err(Refused::Running(other)) => {
                    self.ended(other).await?;
                }
                Err(refused) => return Err(Failure::failed(refused)),
            }
        }
    }

    /// Waits for the end of a job.
    async fn ended(&self, id: JobId) -> Result<Job, Failure> {
        loop {
            let job = self.store.job(id).await?;
            if let Some(job) = job.filter(|job| job.status.is_final()) {
                return Ok(job);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn strike(self) {
        self.relay.stop().await;
        self.stop.cancel();
        if let Err(error) = std::fs::remove_dir_all(&self.files) {
            tracing::warn!(folder = %self.files.display(), error = %error, "the demo's files could not be removed");
        }
    }
}

/// Waits for nobody: every change, each with its job, and a report.
async fn play_once(stage: &Stage, output: Output) -> Result<Ending, Failure> {
    let first = stage.sync().await?;
    if output == Output::Text {
        summary(stage, &first);
    }
    let mut ending = Ending::of_job(first.status);
    let mut report = Vec::new();
    for act in story::acts() {
        let from = stage.target.journal().len() as u64;
        (act.play)(&stage.company).map_err(Failure::failed)?;
        let job = stage.sync().await?;
        ending = ending.max(Ending::of_job(job.status));
        let calls: Vec<String> = stage
            .target
            .journal_since(from)
            .iter()
            .filter(|entry| entry.is_write())
            .map(told)
            .collect();
        if output == Output::Text {
            line(&format!("\n{}", act.title));
            calls.iter().for_each(|call| line(&format!("    {call}")));
        }
        report.push(json!({ "change": act.title, "job": job, "calls": calls }));
    }
    if output == Output::Json {
        let counters = stage.target.counters();
        let report = json!({
            "firstSync": first,
            "changes": report,
            "target": { "users": counters.users, "groups": counters.groups, "members": counters.members },
        });
        line(&serde_json::to_string_pretty(&report).unwrap_or_default());
    }
    Ok(ending)
}

/// Plays for somebody who watches, until Ctrl-C.
async fn play(stage: &Stage) -> Result<Ending, Failure> {
    let first = stage.sync().await?;
    summary(stage, &first);
    let base = format!("http://{}", stage.relay.address);
    line(&format!(
        "\nconsole         {base}/ (sign in with the token)"
    ));
    line(&format!("admin endpoint  {base}/api/v1"));
    line(&format!("token           {}", stage.token.expose()));
    line(&format!(
        "try             curl -H 'Authorization: Bearer {}' {base}/api/v1/directories",
        stage.token.expose()
    ));
    line(&format!("SCIM target     {}", stage.target_url));
    line(
        "\nThe directory changes every few seconds now; each change is followed by the SCIM calls that it causes. Ctrl-C ends it.",
    );
    let mut calls = stage.target.subscribe();
    let watch = async {
        for act in story::acts().into_iter().chain(story::encores()) {
            tokio::time::sleep(PAUSE).await;
            while calls.try_recv().is_ok() {}
            line(&format!("\n{}", act.title));
            (act.play)(&stage.company).map_err(Failure::failed)?;
            stage.sync().await?;
            show_calls(&mut calls);
        }
        line("\nThat was the whole story; the relay runs on. Ctrl-C ends it.");
        std::future::pending::<Result<Ending, Failure>>().await
    };
    tokio::select! {
        ended = watch => ended,
        () = asked_to_stop() => {
            line("\nending");
            Ok(Ending::Done)
        }
    }
}

fn show_calls(calls: &mut broadcast::Receiver<Entry>) {
    while let Ok(entry) = calls.try_recv() {
        if entry.is_write() {
            line(&format!("    {}", told(&entry)));
        }
    }
}

/// One SCIM call on one line.
fn told(entry: &Entry) -> String {
    let body = entry.call.body.as_ref();
    let operations = body
        .and_then(|body| body.get("Operations"))
        .and_then(|operations| operations.as_array());
    let what = match operations {
        Some(operations) => operations
            .iter()
            .map(|operation| {
                let text = |name: &str| operation[name].as_str().unwrap_or_default().to_owned();
                let value = operation
                    .get("value")
                    .map(|value| format!(" {value}"))
                    .unwrap_or_default();
                format!("{} {}{value}", text("op"), text("path"))
            })
            .collect::<Vec<_>>()
            .join("; "),
        None => body
            .and_then(|body| {
                body["userName"]
                    .as_str()
                    .or_else(|| body["displayName"].as_str())
            })
            .unwrap_or_default()
            .to_owned(),
    };
    format!(
        "{} {} -> {}  {what}",
        entry.call.method, entry.call.path, entry.status
    )
}

fn summary(stage: &Stage, job: &Job) {
    let counters = stage.target.counters();
    line("A company of 25 people and 6 groups, read over LDAP, is now in the SCIM target:");
    line(&format!(
        "    {} users and {} groups created, {} members put into groups, with {} writing requests",
        job.counters.users_created,
        job.counters.groups_created,
        job.counters.members_added,
        job.requests.write
    ));
    line(&format!(
        "    the target holds {} users, {} groups, {} memberships",
        counters.users, counters.groups, counters.members
    ));
    for user in stage.target.users().iter().take(3) {
        let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
        line(&format!(
            "    for example {} ({})",
            text("displayName"),
            text("userName")
        ));
    }
}

fn configuration(
    folder: &Path,
    ldap_port: u16,
    target_url: &str,
    password: &Path,
    token: &Path,
) -> Result<Config, Failure> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
[store]
path = {store}
[[tenants]]
name = "demo"
baseUrl = {base_url}
auth = {{ type = "bearer", token = {token} }}
rateLimit = 1000
concurrency = 8
[[directories]]
tenant = "demo"
name = "company"
type = "ldap"
host = "127.0.0.1"
port = {ldap_port}
useTLS = false
allowPlainLdap = true
bindDN = {reader}
bindPassword = {password}
baseDN = "dc=example,dc=org"
nestedGroups = "flatten"
attributeMapping = {{ title = "title", employeeNumber = "employeeNumber", department = "departmentNumber" }}
"#,
        store = quoted(&folder.join("demo.redb").display().to_string()),
        base_url = quoted(target_url),
        token = quoted(&format!("file:{}", token.display())),
        reader = quoted(READER),
        password = quoted(&format!("file:{}", password.display())),
    );
    config::parse(&text, |_| None).map_err(|problems| {
        let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        Failure::failed(format!(
            "the demo's own configuration is wrong: {}",
            lines.join("; ")
        ))
    })
}

/// A folder that nobody else can read.
fn private_folder() -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = std::env::temp_dir().join(format!("scim-relay-demo-{}", Uuid::now_v7()));
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(Failure::failed)?;
    Ok(folder)
}

fn secret_file(folder: &Path, name: &str, secret: &Secret) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    std::fs::write(&path, secret.expose()).map_err(Failure::failed)?;
    Ok(path)
}
