//! Progress as a person sees it: bars on a terminal, which leave nothing behind, and plain lines in a pipe.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::environment;
use crate::program::{Ended, Program, run_with};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::Relay;
use crate::support::slapd::{READER_PASSWORD, Slapd};
use crate::support::world::World;

const USERS: usize = 150;
const COLUMNS: usize = 80;
const PHASES: [&str; 5] = ["reading", "observing", "planning", "applying", "done"];

/// A target that takes so long that a bar has something to show.
async fn slow_target() -> FaultTarget {
    let slow = Fault::Slow(Duration::from_millis(25));
    FaultTarget::start(vec![Rule::on("POST", "/Users", slow)]).await
}

fn relay(slapd: &Slapd, target: &FaultTarget, log: &str) -> Relay {
    Relay::between(slapd, target.base_url(), "any")
        .section("log", &format!("level = \"{log}\"\nformat = \"text\""))
}

/// Runs `scim-relay` on a terminal of 80 columns; the output is all that reached the terminal, from both of its streams.
fn on_terminal(relay: &Relay, arguments: &str) -> Ended {
    let secrets = environment(relay, "any");
    let command = format!(
        "stty cols {COLUMNS} rows 24; exec {} --config {} {arguments}",
        env!("CARGO_BIN_EXE_scim-relay"),
        relay.config_path().display()
    );
    // `script` gives a pseudo-terminal to what it runs, and passes its exit code on.
    let arguments = ["-qec", command.as_str(), "/dev/null"];
    Program::start_tool("script", &arguments, &secrets).wait()
}

/// What a terminal shows, in lines: enough of ECMA-48 for progress bars.
#[derive(Default)]
struct Screen {
    lines: Vec<Vec<char>>,
    at: (usize, usize),
    cursor_hidden: bool,
    /// Every line that was ever shown, as it was when the cursor left it or came back to its start.
    shown: BTreeSet<String>,
}

impl Screen {
    fn of(text: &str) -> Self {
        let mut screen = Self::default();
        let mut rest = text.chars();
        while let Some(char) = rest.next() {
            match char {
                '\r' => screen.go(screen.at.0, 0),
                '\n' => screen.go(screen.at.0 + 1, screen.at.1),
                '\u{1b}' => screen.escape(&mut rest),
                char => screen.put(char),
            }
        }
        screen
    }

    fn line(&mut self) -> &mut Vec<char> {
        let row = self.at.0;
        if self.lines.len() <= row {
            self.lines.resize(row + 1, Vec::new());
        }
        &mut self.lines[row]
    }

    fn go(&mut self, row: usize, column: usize) {
        let line: String = self.line().iter().collect();
        self.shown.insert(line.trim_end().to_owned());
        self.at = (row, column);
    }

    fn put(&mut self, char: char) {
        if self.at.1 == COLUMNS {
            self.go(self.at.0 + 1, 0);
        }
        let column = self.at.1;
        let line = self.line();
        if line.len() <= column {
            line.resize(column + 1, ' ');
        }
        line[column] = char;
        self.at.1 += 1;
    }

    fn escape(&mut self, rest: &mut std::str::Chars<'_>) {
        assert_eq!(rest.next(), Some('['), "a sequence that is not known here");
        let mut numbers = String::new();
        let end = loop {
            match rest.next().expect("the end of a sequence") {
                char @ ('0'..='9' | ';' | '?') => numbers.push(char),
                char => break char,
            }
        };
        let count = numbers.parse().unwrap_or(1);
        match (end, numbers.as_str()) {
            ('m', _) => {}
            ('A', _) => self.go(self.at.0.saturating_sub(count), self.at.1),
            ('B', _) => self.go(self.at.0 + count, self.at.1),
            ('K', "2") => {
                self.go(self.at.0, self.at.1);
                self.line().clear();
            }
            ('K', "" | "0") => {
                let column = self.at.1;
                self.line().truncate(column);
            }
            ('J', "" | "0") => {
                let (row, column) = self.at;
                self.line().truncate(column);
                self.lines.truncate(row + 1);
            }
            ('l', "?25") => self.cursor_hidden = true,
            ('h', "?25") => self.cursor_hidden = false,
            other => panic!("{other:?} is not known here"),
        }
    }

    /// The lines at the end, without empty ones after the last.
    fn text(&self) -> Vec<String> {
        let lines = self
            .lines
            .iter()
            .map(|line| line.iter().collect::<String>());
        let mut lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_shows_a_bar_on_a_terminal_and_leaves_nothing_of_it() {
    let slapd = Slapd::with(&World::new(9, USERS, 3).ldif());
    let target = slow_target().await;
    let relay = relay(&slapd, &target, "info");
    let ended = on_terminal(&relay, "sync");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let screen = Screen::of(&ended.stdout);
    assert!(!screen.cursor_hidden, "{ended:?}");

    let groups = target.target().groups().len();
    let all = format!(" of {} ", USERS + groups);
    let steps = |line: &String| -> Option<usize> {
        let (before, _) = line.split_once(" of ")?;
        before.rsplit(' ').next()?.parse().ok()
    };
    let bars: Vec<&String> = screen
        .shown
        .iter()
        .filter(|line| line.contains("applying "))
        .collect();
    let positions: BTreeSet<usize> = bars.iter().filter_map(|bar| steps(bar)).collect();
    assert!(
        positions.len() >= 5 && bars.iter().any(|bar| bar.contains(&all)),
        "no bar that moves to{all}: {bars:#?}"
    );
    for bar in &bars {
        assert!(bar.chars().count() < COLUMNS, "it may wrap: {bar}");
    }
    assert!(
        screen.shown.iter().any(|line| line.contains(" reading ")),
        "{:#?}",
        screen.shown
    );

    // The log and the result, each line whole, and nothing else.
    let left = screen.text();
    let result = left
        .iter()
        .position(|line| line.starts_with("completed: 150 users"))
        .unwrap_or_else(|| panic!("no result: {left:#?}"));
    assert_eq!(left.len(), result + 3, "{left:#?}");
    let log = left[..result].concat();
    assert!(
        log.contains(" INFO ") && log.contains(": job ended job="),
        "{left:#?}"
    );
    assert!(left[0].starts_with("20"), "{left:#?}");
    for leftover in ["applying", "reading", "done"] {
        assert!(
            !left.iter().any(|line| line.contains(leftover)),
            "{leftover} is left: {left:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_prints_plain_lines_in_a_pipe() {
    let slapd = Slapd::with(&World::new(9, 20, 1).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target, "error");
    let secrets = environment(&relay, "any");
    let ended = run_with(&relay.config_path(), &["sync"], &secrets);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.lines().collect::<Vec<_>>(), PHASES);
    assert!(
        ended.stdout.starts_with("completed: 20 users") && !ended.stdout.contains(['\u{1b}', '\r']),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_json_is_clean_on_a_terminal_and_beside_one() {
    let slapd = Slapd::with(&World::new(9, USERS, 1).ldif());
    let target = slow_target().await;
    let relay = relay(&slapd, &target, "error");
    let ended = on_terminal(&relay, "sync --output json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains('\u{1b}'), "{ended:?}");
    assert_eq!(ended.json()["usersCreated"], USERS, "{ended:?}");

    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("job.json");
    let arguments = format!("sync --output json > {}", file.display());
    let ended = on_terminal(&relay, &arguments);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    let job: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(job["status"], "completed");
    let secrets = [("SCIM_TOKEN", "any"), ("LDAP_PASSWORD", READER_PASSWORD)];
    let piped = run_with(
        &relay.config_path(),
        &["sync", "--output", "json"],
        &secrets,
    );
    assert_eq!(piped.json()["status"], "completed");
    assert_eq!(piped.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_error_after_a_bar_stands_alone() {
    let slapd = Slapd::with(&World::new(9, 5, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = relay(&slapd, &target, "error");
    let ended = on_terminal(&relay, "sync --directory branch");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let screen = Screen::of(&ended.stdout);
    let expected = "error: name the directory with --directory; there are: hq";
    assert_eq!(screen.text(), [expected], "{ended:?}");
    assert!(!screen.cursor_hidden);
}
