//! The clock: asks once a second what is due.
//!
//! tokio-cron-scheduler is only the clock. It takes no 5-field expressions, joins the two day fields by AND and forgets
//! missed runs, so what is due is decided by [`crate::job::schedule`].

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::audit::Actor;
use crate::job::{Mode, Trigger};
use crate::scheduler::{Refused, Scheduled, Scheduler};

/// Every second, in the clock's own notation.
const EVERY_SECOND: &str = "* * * * * *";

/// Starts the clock; it ends with the scheduler.
pub(super) async fn start(scheduler: Scheduler) -> Result<(), String> {
    let failed = |error| format!("the clock does not start: {error}");
    // A tick that finds the last one still waiting is dropped: what is due stays due.
    let (tick, mut ticks) = mpsc::channel::<()>(1);
    let mut clock = JobScheduler::new().await.map_err(failed)?;
    let job = Job::new(EVERY_SECOND, move |_, _| {
        let _ = tick.try_send(());
    });
    clock.add(job.map_err(failed)?).await.map_err(failed)?;
    clock.start().await.map_err(failed)?;
    let stop = scheduler.0.stop.clone();
    let tasks = scheduler.0.tasks.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                tick = ticks.recv() => match tick {
                    Some(()) => {
                        scheduler.queue_what_is_due().await;
                        scheduler.listen();
                    }
                    None => break,
                },
            }
        }
        if let Err(error) = clock.shutdown().await {
            tracing::debug!(error = %error, "the clock did not stop");
        }
    });
    Ok(())
}

impl Scheduler {
    /// Queues what is due by now. Missed times coalesce: however many there were, a profile runs once.
    async fn queue_what_is_due(&self) {
        let profiles = self.0.runner.profiles().into_iter();
        for profile in profiles.filter(|profile| profile.enabled) {
            if let Err(error) = self.queue_if_due(&profile).await {
                tracing::error!(profile = %profile.key, error = %error, "a scheduled job could not be queued");
            }
        }
    }

    async fn queue_if_due(&self, profile: &Scheduled) -> Result<(), Refused> {
        if !self.due(profile, None).await? {
            return Ok(());
        }
        let (key, mode) = (&profile.key, Mode::Incremental);
        let queued = self.enqueue(key, Trigger::Schedule, mode, &Actor::Relay);
        match queued.await {
            Ok(_) | Err(Refused::Running(_)) => self.overtake_if_due(profile).await,
            Err(Refused::Stopping) => Ok(()),
            Err(refused) => Err(refused),
        }
    }
}
