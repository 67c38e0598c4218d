//! `audit verify`: the chain of the audit log, checked on the file.

use clap::Subcommand;
use serde_json::json;

use crate::audit::{ChainDigest, Verdict};
use crate::cli::output::{Output, line};
use crate::cli::{Ending, Failure};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Checks that no record was changed, removed, added or moved. The relay must be stopped.
    #[command(after_help = "\
Examples:
  scim-relay audit verify
  scim-relay audit verify --expect-head 5d0c…   also that nothing before that record was written anew")]
    Verify {
        /// The digest that an earlier check printed, kept elsewhere.
        #[arg(long, value_name = "HEX")]
        expect_head: Option<ChainDigest>,
    },
}

/// Carries out the command.
pub(super) async fn run(
    config: &Config,
    command: AuditCommand,
    output: Output,
) -> Result<Ending, Failure> {
    let AuditCommand::Verify { expect_head } = command;
    let path = &config.store.path;
    // Opening it would make it.
    if !path.try_exists().map_err(Failure::failed)? {
        return Err(Failure::failed(format!(
            "there is no store at `{}`; store.path of the configuration says where it is",
            path.display()
        )));
    }
    let store = crate::store::open(&config.store)?;
    let verdict = store.verify_audit(expect_head).await?;
    let (ending, shown, text) = match verdict {
        Verdict::Intact { records, head } => (
            Ending::Done,
            json!({ "intact": true, "records": records, "head": head.to_string() }),
            format!("the audit log is intact: {records} records, head {head}"),
        ),
        Verdict::Replaced { records, head } => (
            Ending::Failed,
            json!({
                "intact": false,
                "records": records,
                "head": head.to_string(),
                "problem": "no record has the expected digest",
            }),
            format!(
                "the audit log is not the one that was noted: its {records} records fit together, head {head}, but none \
                 has the expected digest; it was written anew, or cut off before that record"
            ),
        ),
        Verdict::Broken { sequence, problem } => (
            Ending::Failed,
            json!({ "intact": false, "sequence": sequence, "problem": problem }),
            format!("the audit log is broken at record {sequence}: {problem}"),
        ),
    };
    match output {
        Output::Json => line(&shown.to_string()),
        Output::Text => line(&text),
    }
    Ok(ending)
}
