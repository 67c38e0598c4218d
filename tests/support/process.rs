//! A child process that writes to a log file and never outlives the test that started it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::support::wait_for;

/// A running child; dropping it kills it, by its own process id.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its standard output and error in the file `log`.
    ///
    /// # Panics
    /// When the program is not installed; the message names the command that installs it.
    pub fn spawn(name: &'static str, command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a log file for the child");
        let output = file.try_clone().expect("a second handle of the log file");
        Self::start(name, command, log, output, file)
    }

    /// The same with the standard output elsewhere; the log has the standard error only.
    pub fn spawn_with_output(
        name: &'static str,
        command: &mut Command,
        log: PathBuf,
        output: File,
    ) -> Self {
        let file = File::create(&log).expect("a log file for the child");
        Self::start(name, command, log, output, file)
    }

    fn start(
        name: &'static str,
        command: &mut Command,
        log: PathBuf,
        output: File,
        error: File,
    ) -> Self {
        let child = command
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(error))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({error}); {INSTALL}"));
        Self { name, child, log }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, when the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("the state of the child is known")
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait_for(&format!("the end of {}", self.name), limit, || self.ended())
    }

    /// Ends the process at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        self.child.wait().expect("the child can be waited for");
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.ended() {
            return status;
        }
        self.ask_to_end();
        self.wait(limit)
    }

    /// Asks the process to end (SIGTERM) and does not wait.
    pub fn ask_to_end(&self) {
        signal(&self.id().to_string(), "TERM");
    }

    /// What the process has printed so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to the process `id`; one that has ended already is no error.
pub fn signal(id: &str, signal: &str) {
    // The shell's own kill: no further package, and no unsafe call.
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {id}")])
        .stderr(Stdio::null())
        .status();
    assert!(sent.is_ok(), "a shell is there");
}

/// What to do when a server is missing.
pub const INSTALL: &str = "run tests/run, which installs what the tests need";

/// Runs a tool to its end with `input` on its standard input and returns what it printed.
///
/// # Panics
/// When the tool is missing or fails; the message holds what it said.
pub fn run_tool(command: &mut Command, input: &str) -> Vec<u8> {
    use std::io::Write as _;

    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} does not start ({error}); {INSTALL}"));
    let mut stdin = child.stdin.take().expect("a pipe to the tool");
    std::thread::scope(|scope| {
        // A second thread: a tool that answers before it has read all must not block us.
        // A tool that fails early closes the pipe; its own message says why, below.
        scope.spawn(move || {
            let _ = stdin.write_all(input.as_bytes());
        });
        let output = child.wait_with_output().expect("the tool's output");
        assert!(
            output.status.success(),
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    })
}
