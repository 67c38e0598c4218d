//! Logging set-up: what is written, in which form, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::TryInitError;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One readable line each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a tracing filter such as `info,scim_relay::source=debug`.
    pub level: String,
    /// Text for people, JSON for machines.
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: Format::Text,
        }
    }
}

/// A crate that tells its own affairs at a level that is meant for the relay's.
const QUIET: &str = "tokio_cron_scheduler=warn";

impl Settings {
    /// Checks the level expression.
    pub fn filter(&self) -> Result<EnvFilter, String> {
        // What the settings say of the same crate comes later, and wins.
        EnvFilter::try_new(format!("{QUIET},{}", self.level))
            .map_err(|error| format!("`{}` is not a log level or filter: {error}", self.level))
    }
}

/// Starts logging to what leads to standard error; values are escaped by the formatters, so a value cannot forge a line.
pub fn start<W>(settings: &Settings, writer: W) -> Result<(), String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    use tracing_subscriber::util::SubscriberInitExt;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(settings.filter()?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer)
        // It would complain on standard error, and panic where that cannot be written, as on a full disk.
        .log_internal_errors(false);
    let started: Result<(), TryInitError> = match settings.format {
        Format::Text => builder.with_target(false).finish().try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| format!("logging cannot be started: {error}"))
}
