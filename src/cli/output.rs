//! What commands print at their end: text for people, JSON for scripts.

use std::io::Write;

use clap::ValueEnum;

use crate::job::{Job, Status};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// Writes to standard output; a closed pipe is nobody's error.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes to standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Output {
    /// Prints why a command failed.
    pub(super) fn failure(self, message: &str) {
        if self == Self::Json {
            line(&serde_json::json!({ "error": message }).to_string());
        }
        note(&format!("error: {message}"));
    }

    /// Prints a job at its end.
    pub(super) fn job(self, job: &Job) {
        match self {
            Self::Json => line(&serde_json::to_string_pretty(job).unwrap_or_default()),
            Self::Text => text(job).iter().for_each(|text| line(text)),
        }
    }
}

fn text(job: &Job) -> Vec<String> {
    let counters = &job.counters;
    let preview = !job.applies();
    let mut lines = vec![format!(
        "{}: {} users and {} groups read{}",
        job.status.as_str().replace('_', " "),
        job.progress.users_read,
        job.progress.groups_read,
        if job.complete_read == Some(false) {
            ", not completely"
        } else {
            ""
        }
    )];
    let changes = [
        (counters.users_created, "users created"),
        (counters.users_updated, "users updated"),
        (counters.users_deactivated, "users deactivated"),
        (counters.users_reactivated, "users reactivated"),
        (counters.linked, "linked"),
        (counters.groups_created, "groups created"),
        (counters.groups_updated, "groups updated"),
        (counters.members_added, "members added"),
        (counters.members_removed, "members removed"),
        (counters.skipped, "steps held or left out"),
        (counters.drifted, "found changed at the target"),
    ];
    let changes: Vec<String> = changes
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let verb = if preview && job.repair {
        "would be: "
    } else {
        ""
    };
    match changes.is_empty() {
        true => lines.push("  nothing to change".to_owned()),
        false => lines.push(format!("  {verb}{}", changes.join(", "))),
    }
    lines.push(format!(
        "  requests to the target: {} read, {} write",
        job.requests.read, job.requests.write
    ));
    let warnings = job.warnings.iter();
    lines.extend(warnings.map(|warning| format!("  warning: {warning}")));
    lines.extend(job.holds.iter().map(|hold| format!("  waits: {hold}")));
    lines.extend(job.errors.iter().map(|error| {
        let who = error
            .dn
            .as_deref()
            .filter(|dn| !dn.is_empty())
            .or(error.anchor.as_deref())
            .unwrap_or(&error.kind);
        format!(
            "  {} {}: {}",
            error.operation,
            who.escape_debug(),
            error.detail
        )
    }));
    let more = job.error_count.saturating_sub(job.errors.len() as u64);
    if more > 0 {
        lines.push(format!("  and {more} more errors"));
    }
    if job.status == Status::Interrupted {
        lines.push("  the next run goes on where this one stopped".to_owned());
    }
    lines
}
