//! The command line: `serve`, `check`, `sync`, `preview`, `explain`, `jobs`, `links`, `conflicts`, `secret`, `token`, `audit`,
//! `openapi`, `demo`.

mod alone;
mod audit;
mod check;
mod conflicts;
mod demo;
mod explain;
mod jobs;
mod links;
mod output;
mod place;
mod probe;
mod progress;
mod remote;
mod secret;
mod serve;
mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};

use crate::admin::openapi;
use crate::cli::audit::AuditCommand;
use crate::cli::output::{Output, line};
use crate::cli::progress::BesideTheBar;
use crate::config::{self, Config};
use crate::job::{Mode, Status};
use crate::secret::SecretRef;
use crate::store::Store;
use crate::telemetry;

/// Keeps a tenant's IAM in step with an on-premises directory, over SCIM 2.0.
#[derive(Debug, Parser)]
#[command(
    name = "scim-relay",
    version,
    after_help = "\
Examples:
  scim-relay demo                               see it work, with nothing else installed
  scim-relay --config relay.toml check          try every connection
  scim-relay --config relay.toml preview        what would change, sending nothing
  scim-relay --config relay.toml sync           one run now
  scim-relay --config relay.toml explain ann    why somebody is in scope or not, and what comes next
  scim-relay --config relay.toml links list     accounts that the target already has, to accept or refuse
  scim-relay --config relay.toml conflicts list attributes that somebody changed at the target
  scim-relay --config relay.toml serve          run by schedule, with the admin endpoint
  scim-relay --config relay.toml audit verify   check that nobody changed the audit log
  scim-relay --config relay.toml token list     who may call the admin endpoint

Exit codes: 0 done; 1 failed; 2 wrong arguments or configuration; 3 done, with errors of single records;
4 something waits for approval; 5 the store is in use; 130 interrupted."
)]
struct Arguments {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        default_value = "config/scim-relay.toml",
        env = "SCIM_RELAY_CONFIG"
    )]
    config: PathBuf,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the relay: schedules, jobs and the admin endpoint, until SIGTERM or Ctrl-C.
    #[command(after_help = "Example: scim-relay --config /etc/scim-relay/scim-relay.toml serve")]
    Serve,
    /// Checks the configuration file and every connection in it, and changes nothing unless a probe is asked for.
    #[command(
        after_help = "Examples:\n  scim-relay check\n  scim-relay check --offline             only the file and its secrets\n  scim-relay check --probe --tenant acme  how the target wants to be spoken to"
    )]
    Check {
        /// Connects to nothing.
        #[arg(long)]
        offline: bool,
        /// Finds out how a target wants to be spoken to, instead: creates users and groups there whose names begin with
        /// scim-relay-probe-, and removes them again. Needs --tenant or --directory.
        #[arg(long, conflicts_with = "offline")]
        probe: bool,
        /// The tenant whose target is probed.
        #[arg(long, requires = "probe")]
        tenant: Option<String>,
        /// The directory whose tenant's target is probed.
        #[arg(long, requires = "probe")]
        directory: Option<String>,
    },
    /// Runs one job now and waits for it; through a running relay where there is one.
    #[command(
        after_help = "Examples:\n  scim-relay sync\n  scim-relay sync --directory hq --mode reconcile --output json\n  scim-relay sync --mode reconcile --report\n  scim-relay sync --only uid=ann,ou=people,dc=example,dc=org"
    )]
    Sync {
        #[command(flatten)]
        which: Which,
        /// How much is read.
        #[arg(long, value_enum, default_value_t = SyncMode::Full)]
        mode: SyncMode,
        /// With --mode reconcile: only tells how the target differs, and changes nothing.
        #[arg(long, conflicts_with = "only")]
        report: bool,
    },
    /// Shows what a sync would change, and sends nothing.
    #[command(
        after_help = "Examples:\n  scim-relay preview --directory hq\n  scim-relay preview --only ann"
    )]
    Preview {
        #[command(flatten)]
        which: Which,
    },
    /// Explains one entry: found, in scope and by which clause, at the target, and what the next run does; changes nothing.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Which),
    /// Decides on accounts and groups that the target already has; through a running relay where there is one.
    #[command(after_help = links::EXAMPLES)]
    Links {
        #[command(subcommand)]
        deed: links::Deed,
        #[command(flatten)]
        which: place::Which,
    },
    /// Decides on attributes that somebody changed at the target; through a running relay where there is one.
    #[command(after_help = conflicts::EXAMPLES)]
    Conflicts {
        #[command(subcommand)]
        deed: conflicts::Deed,
        #[command(flatten)]
        which: place::Which,
    },
    /// Lists jobs, reads their plans, approves, rejects and undoes; through a running relay where there is one.
    #[command(after_help = jobs::EXAMPLES)]
    Jobs {
        #[command(subcommand)]
        deed: jobs::Deed,
        #[command(flatten)]
        which: place::Which,
    },
    /// Checks the audit log.
    #[command(after_help = "Example: scim-relay audit verify")]
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// The key that seals passwords and tokens in the store.
    Secret {
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// Issues, lists and revokes tokens of the admin API; through a running relay where there is one.
    #[command(after_help = token::EXAMPLES)]
    Token {
        #[command(subcommand)]
        deed: token::Deed,
        #[command(flatten)]
        reach: Reach,
    },
    /// Prints the OpenAPI 3.1 description of the admin API.
    #[command(after_help = "Example: scim-relay openapi > scim-relay.openapi.json")]
    Openapi,
    /// Plays a small company: a directory, a target and the relay, with nothing else installed.
    #[command(after_help = "Examples:\n  scim-relay demo\n  scim-relay demo --once --output json")]
    Demo {
        /// Plays every change without waiting, and ends.
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Prints a new key: 32 random bytes in base64.
    #[command(
        after_help = "Example: (umask 077; scim-relay secret generate > /etc/scim-relay/secret.key)"
    )]
    Generate,
    /// Seals all stored secrets with another key; the relay must be stopped.
    #[command(
        after_help = "Example: scim-relay secret rotate --new-key file:/etc/scim-relay/new.key"
    )]
    Rotate {
        /// Where the new key is kept: env:NAME, file:PATH or credential:NAME.
        #[arg(long)]
        new_key: SecretRef,
    },
}

/// Which job is meant, and which relay.
#[derive(Debug, clap::Args)]
struct Which {
    /// The directory; not needed when there is only one.
    #[arg(long)]
    directory: Option<String>,
    /// One entry alone: its DN, its anchor or its userName.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    only: Option<String>,
    /// The sync profile of the directory; `default` when absent.
    #[arg(long)]
    profile: Option<String>,
    /// The directory's tenant; not needed when there is only one.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    relay: Reach,
}

/// How a running relay is reached.
#[derive(Debug, clap::Args)]
struct Reach {
    /// The running relay's address; the one of the configuration when absent.
    #[arg(long, global = true, env = "SCIM_RELAY_URL")]
    url: Option<String>,
    /// Where the token for its API is kept: env:NAME or file:PATH; SCIM_RELAY_TOKEN, or server.token of the
    /// configuration, when absent.
    #[arg(long, global = true, value_name = "WHERE")]
    token: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SyncMode {
    /// Everything.
    Full,
    /// What changed, as far as the directory can tell.
    Incremental,
    /// Everything, and the target too.
    Reconcile,
}

impl From<SyncMode> for Mode {
    fn from(mode: SyncMode) -> Self {
        match mode {
            SyncMode::Full => Self::Full,
            SyncMode::Incremental => Self::Incremental,
            SyncMode::Reconcile => Self::Reconcile,
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Done = 0,
    Failed = 1,
    Wrong = 2,
    WithErrors = 3,
    Waiting = 4,
    StoreInUse = 5,
    Interrupted = 130,
}

impl Ending {
    fn of_job(status: Status) -> Self {
        match status {
            Status::Completed => Self::Done,
            Status::CompletedWithErrors => Self::WithErrors,
            Status::AwaitingApproval => Self::Waiting,
            Status::Interrupted | Status::Cancelled => Self::Interrupted,
            Status::Failed | Status::Queued | Status::Running => Self::Failed,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending as u8)
    }
}

/// Why a command could not do its work: what is printed, and how it ends.
#[derive(Debug)]
struct Failure {
    ending: Ending,
    message: String,
}

impl Failure {
    fn new(ending: Ending, message: impl Into<String>) -> Self {
        Self {
            ending,
            message: message.into(),
        }
    }

    fn failed(message: impl std::fmt::Display) -> Self {
        Self::new(Ending::Failed, message.to_string())
    }
}

impl From<crate::store::Error> for Failure {
    fn from(error: crate::store::Error) -> Self {
        let ending = match error.kind {
            crate::store::ErrorKind::InUse => Ending::StoreInUse,
            _ => Ending::Failed,
        };
        Self::new(ending, error.message)
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = arguments.output;
    let ended = match runtime(&arguments.command).enable_all().build() {
        Ok(runtime) => runtime.block_on(Box::pin(run(arguments))),
        Err(error) => Err(Failure::failed(format!(
            "the runtime does not start: {error}"
        ))),
    };
    match ended {
        Ok(ending) => ending.into(),
        Err(failure) => {
            output.failure(&failure.message);
            failure.ending.into()
        }
    }
}

/// One job needs one thread: waking another one for each message of the directory costs more than the work. The store
/// has threads of its own.
fn runtime(command: &Command) -> tokio::runtime::Builder {
    match command {
        Command::Serve | Command::Demo { .. } => tokio::runtime::Builder::new_multi_thread(),
        Command::Check { .. }
        | Command::Sync { .. }
        | Command::Preview { .. }
        | Command::Explain(_)
        | Command::Links { .. }
        | Command::Jobs { .. }
        | Command::Conflicts { .. }
        | Command::Audit { .. }
        | Command::Secret { .. }
        | Command::Openapi
        | Command::Token { .. } => tokio::runtime::Builder::new_current_thread(),
    }
}

async fn run(arguments: Arguments) -> Result<Ending, Failure> {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return Err(Failure::failed(
            "another TLS provider is installed in this process",
        ));
    }
    let output = arguments.output;
    match arguments.command {
        Command::Demo { once } => return demo::run(once, output).await,
        Command::Secret {
            command: SecretCommand::Generate,
        } => return secret::generate(),
        Command::Openapi => {
            line(&format!("{:#}", openapi::document()));
            return Ok(Ending::Done);
        }
        _ => {}
    }
    let config = load(&arguments)?;
    telemetry::start(&config.log, || BesideTheBar)
        .map_err(|message| Failure::new(Ending::Wrong, message))?;
    let file = arguments.config.as_path();
    match arguments.command {
        Command::Serve => serve::run(&config, file, output).await,
        Command::Check {
            probe: true,
            tenant,
            directory,
            ..
        } => probe::run(&config, tenant.as_deref(), directory.as_deref(), output).await,
        Command::Check { offline, .. } => check::run(&config, offline, output).await,
        Command::Sync {
            mode: SyncMode::Full | SyncMode::Incremental,
            report: true,
            ..
        } => Err(Failure::new(
            Ending::Wrong,
            "--report goes with --mode reconcile",
        )),
        Command::Sync {
            which,
            mode,
            report,
        } => sync(&config, file, &which, mode.into(), report, output).await,
        Command::Preview { which } => {
            sync(&config, file, &which, Mode::Preview, false, output).await
        }
        Command::Explain(which) => explain::run(&config, file, &which, output).await,
        Command::Links { deed, which } => links::run(&config, file, &deed, &which, output).await,
        Command::Jobs { deed, which } => jobs::run(&config, file, &deed, &which, output).await,
        Command::Conflicts { deed, which } => {
            conflicts::run(&config, file, &deed, &which, output).await
        }
        Command::Audit { command } => audit::run(&config, command, output).await,
        Command::Secret {
            command: SecretCommand::Rotate { new_key },
        } => secret::rotate(&config, &new_key, output).await,
        Command::Token { deed, reach } => token::run(&config, deed, &reach, output).await,
        // These need no configuration and were carried out above.
        Command::Secret { .. } | Command::Openapi | Command::Demo { .. } => Ok(Ending::Done),
    }
}

fn load(arguments: &Arguments) -> Result<Config, Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    config::load(&arguments.config, environment)
        .map_err(|error| Failure::new(Ending::Wrong, error.to_string()))
}

/// The store belongs to one process: where a relay runs, the job goes through its API; else it runs here.
async fn sync(
    config: &Config,
    file: &Path,
    which: &Which,
    mode: Mode,
    report: bool,
    output: Output,
) -> Result<Ending, Failure> {
    match owner(config, &which.relay)? {
        Owner::Us(store) => alone::run(config, file, store, which, mode, report, output).await,
        Owner::Relay(told) => told.or_else(remote::run(config, which, mode, report, output).await),
    }
}

/// Whose the store is.
enum Owner {
    /// Nobody else's: it is open now.
    Us(Arc<dyn Store>),
    /// A running relay's.
    Relay(Unreached),
}

/// What is said of the store when the relay that should have it cannot be reached.
struct Unreached(Option<String>);

impl Unreached {
    fn or_else<T>(self, ended: Result<T, Failure>) -> Result<T, Failure> {
        match (ended, self.0) {
            (Err(unreached), Some(store)) if unreached.ending == Ending::StoreInUse => {
                Err(Failure::new(
                    Ending::StoreInUse,
                    format!("{store}\n{}", unreached.message),
                ))
            }
            (ended, _) => ended,
        }
    }
}

/// Finds out whose the store is; who names an address means the relay there.
fn owner(config: &Config, reach: &Reach) -> Result<Owner, Failure> {
    if reach.url.is_some() {
        return Ok(Owner::Relay(Unreached(None)));
    }
    match crate::store::open(&config.store) {
        Ok(store) => Ok(Owner::Us(store.into())),
        Err(error) if error.kind == crate::store::ErrorKind::InUse => {
            Ok(Owner::Relay(Unreached(Some(error.message))))
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends when the process is asked to: SIGTERM or Ctrl-C.
async fn asked_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}
