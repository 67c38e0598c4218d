//! Progress while a job runs: a spinner and a bar on a terminal, a line for each phase in a pipe, nothing for scripts.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::output::{Output, note};
use crate::job::Job;
use crate::sync::tracker::Listener;

/// While nobody knows how much there is to do.
const SPINNER: &str = "{spinner} {msg} {elapsed}";
/// While steps of a plan are sent; it fits into 80 columns with plans of a million steps.
const BAR: &str = "{spinner} {msg} {bar:24} {human_pos} of {human_len} {elapsed}";
const TICK: Duration = Duration::from_millis(120);

/// The terminal is one, and the log and the bar both write to it.
static TERMINAL: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Standard error for the log: a bar makes room for each line.
pub(super) struct BesideTheBar;

impl Write for BesideTheBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TERMINAL.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Progress that is being shown; it disappears when it is dropped.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    pub(super) listener: Option<Listener>,
}

impl Progress {
    /// Starts to show progress beside results of this kind.
    pub(super) fn beside(output: Output) -> Self {
        if output == Output::Json {
            return Self {
                bar: None,
                listener: None,
            };
        }
        if !io::stderr().is_terminal() {
            return Self {
                bar: None,
                listener: Some(lines()),
            };
        }
        let bar = TERMINAL.add(ProgressBar::no_length());
        bar.set_style(style(SPINNER));
        bar.enable_steady_tick(TICK);
        let shown = bar.clone();
        Self {
            bar: Some(bar),
            listener: Some(Arc::new(move |job| show(&shown, job))),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line for each phase.
fn lines() -> Listener {
    let last = Mutex::new(String::new());
    Arc::new(move |job| {
        if let Ok(mut last) = last.lock()
            && *last != job.progress.phase
        {
            note(&job.progress.phase);
            last.clone_from(&job.progress.phase);
        }
    })
}

fn show(bar: &ProgressBar, job: &Job) {
    let progress = &job.progress;
    let counts = progress.phase == "applying" && progress.steps_planned > 0;
    let length = counts.then_some(progress.steps_planned);
    if bar.length() != length {
        bar.set_style(style(if counts { BAR } else { SPINNER }));
        match length {
            Some(length) => bar.set_length(length),
            None => bar.unset_length(),
        }
    }
    bar.set_position(progress.steps_done);
    bar.set_message(progress.phase.clone());
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours; a mistake in one would show as the plain default.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
