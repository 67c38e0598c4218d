//! `jobs`: what ran, what it planned and changed, and what a person decides on it.

use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use clap::Subcommand;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::admin::plans::{self, Chosen, Undecided};
use crate::app::Relays;
use crate::audit::Actor;
use crate::catalog::Hand;
use crate::cli::output::{Output, line};
use crate::cli::place::Which;
use crate::cli::progress::Progress;
use crate::cli::remote::{self, Api};
use crate::cli::{Ending, Failure, Owner, alone, asked_to_stop, owner};
use crate::config::Config;
use crate::directory::Directory;
use crate::id::JobId;
use crate::job::{Job, Status};
use crate::plan::held::Held;
use crate::store::Store;
use crate::store::jobs::JobFilter;
use crate::sync::stop::Stop;

/// Jobs that are listed, and lines that are read in one turn.
const JOBS_LISTED: usize = 20;
const LINES_PER_TURN: usize = 200;

/// What the help shows.
pub(super) const EXAMPLES: &str = "\
Examples:
  scim-relay jobs list --status awaiting_approval
  scim-relay jobs plan 01a2b3c4-0000-7000-8000-000000000001
  scim-relay jobs approve 01a2b3c4-0000-7000-8000-000000000001 --digest 8f3a…
  scim-relay jobs reject 01a2b3c4-0000-7000-8000-000000000001
  scim-relay jobs undo 01a2b3c4-0000-7000-8000-000000000001 --preview

What is approved is carried out at once, and nothing else. What is rejected or undone is not planned again until the directory
has something new, the profile is changed, or `jobs release` says so.";

/// What is done with jobs.
#[derive(Debug, Subcommand)]
pub(super) enum Deed {
    /// Lists the newest jobs.
    #[command(after_help = "Example: scim-relay jobs list --status awaiting_approval")]
    List {
        /// Only those that stand so, such as awaiting_approval or failed.
        #[arg(long, value_parser = Status::ALL.map(Status::as_str))]
        status: Option<String>,
    },
    /// Shows a job.
    #[command(after_help = "Example: scim-relay jobs show 01a2b3c4-0000-7000-8000-000000000001")]
    Show {
        /// Its id.
        job: JobId,
    },
    /// Shows what a job would do: each step with its reason, and what waits.
    #[command(
        after_help = "Example: scim-relay jobs plan 01a2b3c4-0000-7000-8000-000000000001 --held"
    )]
    Plan {
        /// Its id.
        job: JobId,
        /// Only what waits.
        #[arg(long)]
        held: bool,
    },
    /// Approves the plan of a job that waits: what waits in it is carried out.
    #[command(
        after_help = "Example: scim-relay jobs approve 01a2b3c4-0000-7000-8000-000000000001 --digest 8f3a…"
    )]
    Approve {
        /// The job's id.
        job: JobId,
        /// The digest of the plan that you read.
        #[arg(long)]
        digest: String,
    },
    /// Rejects the plan of a job that waits: what waits in it is not planned again.
    #[command(after_help = "Example: scim-relay jobs reject 01a2b3c4-0000-7000-8000-000000000001")]
    Reject {
        /// The job's id.
        job: JobId,
    },
    /// Puts back what a job changed, and keeps it so.
    #[command(
        after_help = "Example: scim-relay jobs undo 01a2b3c4-0000-7000-8000-000000000001 --preview"
    )]
    Undo {
        /// The job's id.
        job: JobId,
        /// Only shows what would be put back.
        #[arg(long)]
        preview: bool,
    },
    /// Lists what waits on users and groups for a person, or was rejected or undone by one.
    #[command(after_help = "Example: scim-relay jobs holds")]
    Holds,
    /// Lets rejected and undone changes be planned again.
    #[command(after_help = "Example: scim-relay jobs release --all")]
    Release {
        /// Of this entry, by its anchor.
        #[arg(required_unless_present_any = ["all", "job"])]
        anchor: Option<String>,
        /// Of this job.
        #[arg(long)]
        job: Option<JobId>,
        /// All.
        #[arg(long, conflicts_with_all = ["anchor", "job"])]
        all: bool,
    },
}

/// Does it where the jobs are.
pub(super) async fn run(
    config: &Config,
    file: &Path,
    deed: &Deed,
    which: &Which,
    output: Output,
) -> Result<Ending, Failure> {
    match owner(config, &which.relay)? {
        Owner::Us(store) => here(config, file, store, deed, which, output).await,
        Owner::Relay(told) => told.or_else(through(config, deed, which, output).await),
    }
}

async fn through(
    config: &Config,
    deed: &Deed,
    which: &Which,
    output: Output,
) -> Result<Ending, Failure> {
    let mut api: Api = remote::connect(config, &which.relay)?;
    api.tenant.clone_from(&which.tenant);
    let directory = remote::chosen(&api, which.directory.as_deref()).await?;
    let root = format!("/directories/{directory}");
    let read = async |path: String| -> Result<Value, Failure> {
        found(api.call(Method::GET, &path, None).await?)
    };
    let send = async |path: String, body: Value| -> Result<Value, Failure> {
        found(api.call(Method::POST, &path, Some(body)).await?)
    };
    match deed {
        Deed::List { status } => {
            let status = status.as_ref().map(|status| format!("&status={status}"));
            let path = format!(
                "{root}/jobs?limit={JOBS_LISTED}{}",
                status.unwrap_or_default()
            );
            print_jobs(&read(path).await?, output);
        }
        Deed::Show { job } => print_job(read(format!("{root}/jobs/{job}")).await?, output)?,
        Deed::Plan { job, held } => {
            let plan = read(format!("{root}/jobs/{job}/plan")).await?;
            let filter = if *held { "?held=true" } else { "" };
            let steps = api
                .all(&format!("{root}/jobs/{job}/plan/steps{filter}"))
                .await?;
            print_plan(plan, steps, output);
        }
        Deed::Approve { job, digest } => {
            let path = format!("{root}/jobs/{job}/approve");
            send(path, json!({ "digest": digest })).await?;
            return remote::until_its_end(&api, &directory, &job.to_string(), output).await;
        }
        Deed::Reject { job } => {
            print_job(
                send(format!("{root}/jobs/{job}/reject"), json!({})).await?,
                output,
            )?;
        }
        Deed::Undo { job, preview } => {
            let path = format!("{root}/jobs/{job}/undo");
            let started = send(path, json!({ "preview": preview })).await?;
            let id = started["jobId"].as_str().unwrap_or_default();
            return remote::until_its_end(&api, &directory, id, output).await;
        }
        Deed::Holds => print_holds(api.all(&format!("{root}/holds")).await?, output),
        Deed::Release { anchor, job, all } => {
            let mut body = json!({ "all": all });
            if let Some(anchor) = anchor {
                body["anchor"] = json!(anchor);
            }
            if let Some(job) = job {
                body["jobId"] = json!(job);
            }
            print_released(&send(format!("{root}/holds/release"), body).await?, output);
        }
    }
    Ok(Ending::Done)
}

/// A conflict is an answer that names what is in the way.
fn found((status, answer): (StatusCode, Value)) -> Result<Value, Failure> {
    if status == StatusCode::CONFLICT {
        let detail = answer["detail"].as_str().unwrap_or("a conflict");
        return Err(Failure::failed(detail));
    }
    Ok(answer)
}

/// In the store itself, which no relay has open.
async fn here(
    config: &Config,
    file: &Path,
    store: Arc<dyn Store>,
    deed: &Deed,
    which: &Which,
    output: Output,
) -> Result<Ending, Failure> {
    let progress = Progress::beside(output);
    let relays = Relays::open(config, file, store.clone(), progress.listener.clone())
        .await
        .map_err(|problems| Failure::new(Ending::Wrong, problems.join("\n")))?;
    let contents = relays.catalog().contents();
    let (name, tenant) = (which.directory.as_deref(), which.tenant.as_deref());
    let directory = alone::directory(&contents, name, tenant)?;
    let store = store.as_ref();
    let hand = Hand {
        actor: Actor::CommandLine,
        at: Utc::now(),
    };
    match deed {
        Deed::List { status } => {
            let status = status.as_ref();
            let asked = Status::ALL
                .into_iter()
                .find(|known| status.is_some_and(|status| status == known.as_str()));
            let filter = JobFilter {
                status: asked,
                ..JobFilter::of(directory.id)
            };
            let jobs = store.jobs(filter, None, JOBS_LISTED).await?;
            print_jobs(&json!({ "items": jobs }), output);
        }
        Deed::Show { job } => output.job(&job_of(store, &directory, *job).await?),
        Deed::Plan { job, held } => {
            let job = job_of(store, &directory, *job).await?;
            let (plan, steps) = plan_of(store, &job, *held).await?;
            print_plan(plan, steps, output);
        }
        Deed::Approve { job, digest } => {
            let job = job_of(store, &directory, *job).await?;
            let approved = plans::approve(store, job.id, digest, &directory.tenant, &hand).await;
            let job = relays.go_on(approved.map_err(failure)?, stop()).await;
            drop(progress);
            output.job(&job);
            return Ok(Ending::of_job(job.status));
        }
        Deed::Reject { job } => {
            let job = job_of(store, &directory, *job).await?;
            let rejected = plans::reject(store, job.id, None, &directory.tenant, &hand).await;
            output.job(&rejected.map_err(failure)?);
        }
        Deed::Undo { job, preview } => {
            let job = job_of(store, &directory, *job).await?;
            let extent = plans::undoing(&job, *preview).map_err(Failure::failed)?;
            let job = relays.run_once(&job.profile_key(), extent, stop()).await?;
            drop(progress);
            output.job(&job);
            return Ok(Ending::of_job(job.status));
        }
        Deed::Holds => print_holds(held_in(store, &directory).await?, output),
        Deed::Release { anchor, job, .. } => {
            let chosen = Chosen {
                anchor: anchor.clone(),
                job: *job,
            };
            let released = plans::release(store, &directory, &chosen, &hand).await?;
            print_released(&json!({ "released": released }), output);
        }
    }
    Ok(Ending::Done)
}

/// Ends a run when the process is asked to end.
fn stop() -> Stop {
    let stop = Stop::default();
    let asked = stop.clone();
    tokio::spawn(async move {
        asked_to_stop().await;
        asked.interrupt();
    });
    stop
}

fn failure(undecided: Undecided) -> Failure {
    match undecided {
        Undecided::Conflict(detail) => Failure::failed(detail),
        Undecided::Store(error) => error.into(),
    }
}

async fn job_of(store: &dyn Store, directory: &Directory, id: JobId) -> Result<Job, Failure> {
    let job = store.job(id).await?;
    job.filter(|job| job.directory_id == directory.id)
        .ok_or_else(|| {
            let message =
                "there is no such job in this directory; `scim-relay jobs list` shows them";
            Failure::new(Ending::Wrong, message)
        })
}

async fn plan_of(store: &dyn Store, job: &Job, held: bool) -> Result<(Value, Vec<Value>), Failure> {
    let plan = store.plan(job.id).await?.ok_or_else(|| {
        Failure::new(
            Ending::Wrong,
            "the job has no plan, or it was carried out whole",
        )
    })?;
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let steps = store.steps(job.id, after, LINES_PER_TURN).await?;
        let Some((last, _)) = steps.last() else {
            return Ok((plans::shown(&plan, job), items));
        };
        after = Some(*last);
        let meant = steps.iter().filter(|(_, step)| !held || plan.holds(step));
        items.extend(meant.map(|(_, step)| plans::step_shown(&plan, step)));
    }
}

async fn held_in(store: &dyn Store, directory: &Directory) -> Result<Vec<Value>, Failure> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let turn = store.all_held(directory.id, after, LINES_PER_TURN).await?;
        after = turn.last().and_then(Held::key);
        items.extend(turn.iter().filter_map(plans::held_shown));
        if after.is_none() {
            return Ok(items);
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn print_jobs(answer: &Value, output: Output) {
    if output == Output::Json {
        return line(&format!("{answer:#}"));
    }
    for job in answer["items"].as_array().into_iter().flatten() {
        let (id, status) = (text(&job["id"]), text(&job["status"]));
        let (at, mode) = (text(&job["queuedAt"]), text(&job["mode"]));
        line(&format!(
            "{id}  {at}  {mode}  {status}  {}",
            job["holds"]
                .as_array()
                .into_iter()
                .flatten()
                .map(text)
                .collect::<Vec<_>>()
                .join("; ")
        ));
    }
}

fn print_job(job: Value, output: Output) -> Result<(), Failure> {
    let job: Job = serde_json::from_value(job)
        .map_err(|error| Failure::failed(format!("the relay's answer is not a job: {error}")))?;
    output.job(&job);
    Ok(())
}

fn print_plan(mut plan: Value, steps: Vec<Value>, output: Output) {
    if output == Output::Json {
        plan["items"] = steps.into();
        return line(&format!("{plan:#}"));
    }
    line(&format!("plan {}", text(&plan["digest"])));
    for hold in plan["holds"].as_array().into_iter().flatten() {
        line(&format!("  waits: {}", text(&hold["message"])));
    }
    if let Some(expires) = plan["expiresAt"].as_str() {
        line(&format!("  expires {expires}"));
    }
    steps.iter().for_each(|step| line(&told(step)));
}

/// A step on one line.
fn told(step: &Value) -> String {
    let mut told = format!(
        "{} {} {} {}  ({})",
        if step["held"] == true {
            "waits"
        } else {
            "     "
        },
        text(&step["operation"]),
        text(&step["kind"]),
        text(&step["dn"]),
        text(&step["reason"]),
    );
    for change in step["attributes"].as_array().into_iter().flatten() {
        let attribute = text(&change["attribute"]);
        let (before, after) = (text(&change["before"]), text(&change["after"]));
        told.push_str(&format!("\n        {attribute}: {before} -> {after}"));
    }
    let members = step["members"].as_array().map_or(0, Vec::len);
    if members > 0 {
        told.push_str(&format!("\n        {members} members"));
    }
    told
}

fn print_holds(items: Vec<Value>, output: Output) {
    if output == Output::Json {
        return line(&format!("{:#}", json!({ "items": items })));
    }
    for item in items {
        let operations = item["operations"].as_array().into_iter().flatten();
        let operations: Vec<String> = operations.map(text).collect();
        line(&format!(
            "{}  {} {}  {}  job {}",
            text(&item["state"]),
            text(&item["kind"]),
            text(&item["dn"]),
            operations.join(", "),
            text(&item["jobId"]),
        ));
    }
}

fn print_released(answer: &Value, output: Output) {
    match output {
        Output::Json => line(&format!("{answer:#}")),
        Output::Text => line(&format!("{} released", text(&answer["released"]))),
    }
}
