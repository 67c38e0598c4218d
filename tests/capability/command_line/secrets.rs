//! Secrets appear nowhere, whatever goes wrong and however much is logged; logs in JSON are JSON.

use serde_json::Value;

use crate::program::{Api, run_with};
use crate::support::fault_target::{Fault, FaultTarget, Rule, Settings};
use crate::support::relay::Relay;
use crate::support::slapd::{READER, Slapd};
use crate::support::world::World;

const PASSWORD: &str = "canary-bind-7f3a91c4";
const TOKEN: &str = "canary-scim-52be08d1";
const API: &str = "canary-admin-e64d7723-0123456789abcdef0123456789";
/// What the target says about a token that it does not like: it repeats it.
const REPEATED: &str = "token canary-scim-52be08d1 has expired";

/// All texts that a secret could leak into, by name.
#[derive(Default)]
struct Traces(Vec<(String, Vec<u8>)>);

impl Traces {
    fn add(&mut self, name: &str, text: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), text.into()));
    }

    fn hold_no_secret(&self) {
        for (name, bytes) in &self.0 {
            assert!(
                !bytes.is_empty() || !name.contains("log"),
                "{name} is empty"
            );
            for secret in [PASSWORD, TOKEN, API] {
                let found = bytes
                    .windows(secret.len())
                    .position(|window| window == secret.as_bytes());
                if let Some(at) = found {
                    let around = &bytes[at.saturating_sub(300)..(at + 60).min(bytes.len())];
                    panic!("{secret} is in {name}: {}", String::from_utf8_lossy(around));
                }
            }
        }
    }
}

/// The reader has the canary for a password.
fn directory() -> Slapd {
    let slapd = Slapd::with(&World::new(2, 4, 1).ldif());
    slapd.modify(&format!(
        "dn: {READER}\nchangetype: modify\nreplace: userPassword\nuserPassword: {PASSWORD}\n"
    ));
    slapd
}

fn unauthorized() -> Fault {
    Fault::Status {
        code: 401,
        scim_type: None,
        detail: REPEATED,
        numeric: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_secrets_appear_nowhere_and_json_logs_are_json() {
    let slapd = directory();
    let settings = Settings {
        token: Some(TOKEN.to_owned()),
        ..Settings::default()
    };
    let target = FaultTarget::start_with(Vec::new(), settings).await;
    let relay = Relay::between(&slapd, target.base_url(), TOKEN)
        .environment("LDAP_PASSWORD", PASSWORD)
        .environment("SCIM_RELAY_TOKEN", API)
        .section("log", "level = \"trace\"");
    let mut traces = Traces::default();
    let mut logs = Vec::new();

    // Alone: a good run, one that the target refuses with the token in its answer, one that the directory refuses.
    let mut run = |relay: &Relay, name: &str, code: i32| {
        let finished = relay.sync();
        assert_eq!(finished.code, Some(code), "{name}: {}", finished.job);
        traces.add(&format!("the job of {name}"), finished.job.to_string());
        traces.add(&format!("the log of {name}"), finished.stderr.clone());
        logs.push(finished.stderr);
    };
    run(&relay, "a good run", 0);
    let joiner = World::new(2, 5, 0).people.pop().unwrap();
    slapd.add(&joiner.ldif());
    target.set_rules(vec![Rule::on("*", "", unauthorized())]);
    run(&relay, "a run that the target refuses", 1);
    target.set_rules(Vec::new());
    let relay = relay.directory("bindDN = \"cn=nobody,dc=example,dc=org\"");
    run(&relay, "a run that the directory refuses", 1);
    let relay = relay.directory(&format!("bindDN = \"{READER}\""));

    // As a service: calls with the right token and with wrong ones, a good job and a refused one.
    let serving = relay.serve();
    let api = Api::with_token(serving.base_url(), API);
    let directory = api.directory("hq");
    for rules in [vec![Rule::on("*", "", unauthorized())], Vec::new()] {
        target.set_rules(rules);
        let job = api.start_job(&directory);
        api.finished_job(&directory, &job);
        traces.add(
            "a job",
            api.get(&format!("/directories/{directory}/jobs/{job}"))
                .text,
        );
        traces.add(
            "its changes",
            api.get(&format!("/directories/{directory}/jobs/{job}/changes"))
                .text,
        );
    }
    traces.add("the directories", api.get("/directories").text);
    traces.add(
        "the jobs",
        api.get(&format!("/directories/{directory}/jobs")).text,
    );
    let near = Api::with_token(serving.base_url(), &format!("{API}x"));
    traces.add("a refusal", near.get("/directories").text);
    logs.push(serving.log());
    traces.add("the log of the service", serving.log());
    traces.add(
        "the store, log of all",
        std::fs::read(relay.store()).unwrap(),
    );
    assert_eq!(target.target().users().len(), 5);

    by_command(&relay, &serving.base_url(), &mut traces, &mut logs);
    assert_eq!(serving.terminate(), Some(0));
    traces.add(
        "the store, log of all, closed",
        std::fs::read(relay.store()).unwrap(),
    );
    traces.hold_no_secret();

    // They could have been found: the target did repeat one, and the search finds other things that were stored.
    let told = traces
        .0
        .iter()
        .filter(|(_, bytes)| holds(bytes, "token *** has expired"));
    assert!(told.count() >= 4, "the target's words are not told");
    let store = std::fs::read(relay.store()).unwrap();
    assert!(
        holds(&store, "u0000001@example.org"),
        "the store is not readable like this"
    );
    are_json(&logs);
}

/// Commands through the API of the running relay, and a check, in text.
fn by_command(relay: &Relay, url: &str, traces: &mut Traces, logs: &mut Vec<String>) {
    let environment = [
        ("SCIM_TOKEN", TOKEN),
        ("LDAP_PASSWORD", PASSWORD),
        ("SCIM_RELAY_TOKEN", API),
        ("SCIM_RELAY_URL", url),
    ];
    for command in ["sync", "check", "preview"] {
        let ended = run_with(&relay.config_path(), &[command], &environment);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        traces.add(&format!("the output of {command}"), ended.stdout);
        traces.add(
            &format!("the messages of {command}, a log"),
            ended.stderr.clone(),
        );
        logs.push(ended.stderr);
    }
}

/// Every line is an event, and there are those of the finest level.
fn are_json(logs: &[String]) {
    let mut traced = 0;
    for line in logs.iter().flat_map(|log| log.lines()) {
        match serde_json::from_str::<Value>(line) {
            Ok(event) => {
                for field in ["timestamp", "level", "target"] {
                    assert!(event[field].is_string(), "no {field}: {line}");
                }
                traced += usize::from(event["level"] == "TRACE" || event["level"] == "DEBUG");
            }
            // What is said to a person beside the log: progress and errors of a command.
            Err(_) => assert!(is_said_to_a_person(line), "no JSON: {line}"),
        }
    }
    assert!(
        traced > 100,
        "{traced} lines of detail: the level did not reach the log"
    );
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn is_said_to_a_person(line: &str) -> bool {
    let phases = [
        "",
        "recovering",
        "reading",
        "observing",
        "planning",
        "applying",
        "done",
    ];
    phases.contains(&line) || line.starts_with("error: ")
}
