//! The command line as administrators and scripts use it: help, checks, runs, exit codes, logs, and no secret anywhere.

mod credentials;
mod secrets;
mod terminal;

use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Ended, Program, config_file, run, run_with};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{API_TOKEN, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{READER_PASSWORD, Slapd};
use crate::support::wait_for;
use crate::support::world::World;

/// Writes the relay's configuration file without a run, and gives the environment that it needs.
fn environment<'a>(relay: &Relay, token: &'a str) -> [(&'a str, &'a str); 2] {
    relay.spawn(&["--version"]).wait();
    [("SCIM_TOKEN", token), ("LDAP_PASSWORD", READER_PASSWORD)]
}

#[test]
fn command_line_help_has_examples_for_every_command() {
    let top = run(&["--help"], &[]);
    assert_eq!(top.code, Some(0));
    for command in [
        "serve", "check", "sync", "preview", "token", "audit", "demo",
    ] {
        let examples = top.stdout.split("Examples:").nth(1).unwrap();
        assert!(
            examples.contains(&format!(" {command} ")),
            "no example of {command}: {top:?}"
        );
        let help = run(&[command, "--help"], &[]);
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(help.stdout.contains("Example"), "{help:?}");
        let example = format!(" {command}");
        let shown = help
            .stdout
            .lines()
            .any(|line| line.contains("scim-relay ") && line.contains(&example));
        assert!(shown, "{help:?}");
    }
    let codes = top
        .stdout
        .split("Exit codes:")
        .nth(1)
        .unwrap()
        .replace('\n', " ");
    for code in ["0 done", "1 ", "2 ", "3 ", "4 ", "5 ", "130 interrupted"] {
        assert!(
            codes.contains(code),
            "exit code {code} is not explained: {codes}"
        );
    }
}

#[test]
fn command_line_wrong_arguments() {
    for arguments in [
        &["sink"][..],
        &[],
        &["sync", "--mode", "everything"],
        &["sync", "--colour"],
        &["check", "--output", "xml"],
    ] {
        let ended = run(arguments, &[]);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(
            ended.stderr.contains("--help") && ended.stdout.is_empty(),
            "{ended:?}"
        );
    }
    let ended = run(&["--config", "/nonexistent/relay.toml", "check"], &[]);
    assert_eq!(ended.code, Some(2));
    for word in ["/nonexistent/relay.toml", "--config"] {
        assert!(ended.stderr.contains(word), "{ended:?}");
    }
}

#[test]
fn command_line_check_tells_what_works_and_what_does_not() {
    let slapd = Slapd::with("");
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target);
    let token = target.token().to_owned();
    let good = environment(&relay, &token);
    let config = relay.config_path();
    let directory = format!("directory hq at 127.0.0.1:{}", slapd.port());
    let tenant = format!("tenant acme at {}", target.base_url());
    let check = |more: &[&str], environment: &[(&str, &str)]| {
        run_with(&config, &[&["check"], more].concat(), environment)
    };
    let good = [good[0], good[1], ("SCIM_RELAY_TOKEN", "t")];

    let ended = check(&[], &good);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        "ok      configuration and secrets",
        &format!("ok      {directory}"),
        &format!("ok      {tenant}"),
    ] {
        assert!(
            ended.stdout.lines().any(|other| other == line),
            "no `{line}`: {ended:?}"
        );
    }
    let ended = check(&["--output", "json"], &good);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let whats = json!([
        { "check": "configuration and secrets", "problem": null },
        { "check": directory, "problem": null },
        { "check": tenant, "problem": null },
    ]);
    assert_eq!(ended.json(), json!({ "success": true, "checks": whats }));

    // Wrong on both sides: both are told.
    let wrong = [
        ("SCIM_TOKEN", "no"),
        ("LDAP_PASSWORD", "no"),
        ("SCIM_RELAY_TOKEN", "t"),
    ];
    let ended = check(&["--output", "json"], &wrong);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = ended.json();
    assert_eq!(told["success"], false);
    let problem = |at: usize| told["checks"][at]["problem"].as_str().unwrap().to_owned();
    assert!(problem(1).contains("wrong bind DN or password"), "{told}");
    assert!(
        problem(2).contains("401") && problem(2).contains("token"),
        "{told}"
    );
    let ended = check(&[], &wrong);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains(&format!("failed  {directory}: ")),
        "{ended:?}"
    );
    assert!(
        ended.stdout.contains(&format!("failed  {tenant}: ")),
        "{ended:?}"
    );

    // Offline: nobody is asked, but secrets must be there.
    drop((slapd, target));
    assert_eq!(check(&["--offline"], &wrong).code, Some(0));
    let ended = check(&["--offline"], &[("SCIM_TOKEN", "x")]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("LDAP_PASSWORD is not set"),
        "{ended:?}"
    );
    assert_eq!(check(&[], &good).code, Some(1));
    // The store was never made: a check changes nothing.
    assert!(!relay.store().exists());
}

#[test]
fn command_line_all_mistakes_of_a_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_file(
        &folder,
        r#"[server]
listen = "localhost"
[log]
level = "sometimes=loud=much"
[[tenants]]
name = "acme"
baseUrl = "http://iam.example.org/scim"
auth = { type = "bearer", token = "hunter2-plain" }
[[directories]]
tenant = "acmee"
name = "hq"
type = "ldap"
host = "127.0.0.1"
port = 70000
bindDN = "cn=reader,dc=example,dc=org"
bindPassword = "hunter2-plain"
baseDN = "dc=example,dc=org"
userSearchFilter = "(uid=*"
syncSchedule = "0 24 * * *"
pageSize = 10
"#,
    );
    for command in ["check", "serve", "sync", "preview"] {
        let ended = run_with(&config, &[command], &[]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for word in [
            "line 2: server.listen",
            "line 4: log.level",
            "line 7: tenants.0.baseUrl",
            "line 8: tenants.0.auth.token",
            "line 14: directories.0.port",
            "line 16: directories.0.bindPassword",
            "line 18: directories.0.userSearchFilter",
            "line 19: directories.0.syncSchedule",
            "line 20: directories.0.pageSize",
            "mistakes",
        ] {
            assert!(ended.stderr.contains(word), "no `{word}`: {}", ended.stderr);
        }
        assert!(
            !ended.stderr.contains("hunter2"),
            "a secret is printed: {}",
            ended.stderr
        );
    }
    let json = run_with(&config, &["sync", "--output", "json"], &[]);
    assert!(
        json.json()["error"]
            .as_str()
            .unwrap()
            .contains("userSearchFilter"),
        "{json:?}"
    );
}

/// The job of a command that printed one.
fn job(ended: &Ended, code: i32) -> Value {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    ended.json()
}

#[test]
fn command_line_preview_counts_and_sends_nothing() {
    let world = World::new(9, 6, 2);
    let slapd = Slapd::with(&world.ldif());
    let target = Scim2Server::start();
    let relay = Relay::new(&slapd, &target);
    let environment = environment(&relay, target.token());
    let config = relay.config_path();
    let preview = || {
        job(
            &run_with(&config, &["preview", "--output", "json"], &environment),
            0,
        )
    };
    let counters = |job: &Value| -> Vec<Value> {
        [
            "usersCreated",
            "usersUpdated",
            "usersDeactivated",
            "groupsCreated",
            "groupsUpdated",
            "membersAdded",
            "membersRemoved",
        ]
        .map(|name| job[name].clone())
        .to_vec()
    };
    let first = preview();
    assert_eq!(
        (&first["mode"], &first["requests"]["write"]),
        (&json!("preview"), &json!(0))
    );
    assert_eq!(first["usersCreated"], 6);
    assert_eq!(
        (target.users().len(), target.groups().len(), target.writes()),
        (0, 0, 0)
    );
    let again = preview();
    assert_eq!(
        (counters(&again), &again["planDigest"]),
        (counters(&first), &first["planDigest"])
    );
    let real = relay.sync().completed();
    assert_eq!(
        counters(&real.job),
        counters(&first),
        "it was not what the preview had said"
    );

    let people = &world.people;
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: displayName\ndisplayName: Somebody Else\n",
        people[0].dn()
    ));
    slapd.delete(&people[1].dn());
    let writes = target.writes();
    let text = run_with(&config, &["preview"], &environment);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(
        text.stdout
            .contains("would be: 1 users updated, 1 users deactivated"),
        "{text:?}"
    );
    let second = preview();
    assert_eq!(
        (&second["usersUpdated"], &second["usersDeactivated"]),
        (&json!(1), &json!(1)),
        "{second}"
    );
    assert_eq!(target.writes(), writes);
    let real = relay.sync().completed();
    assert_eq!(
        counters(&real.job),
        counters(&second),
        "it was not what the preview had said"
    );
    let nothing = run_with(&config, &["preview"], &environment);
    assert!(nothing.stdout.contains("nothing to change"), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_uses_a_running_relay_or_says_how() {
    let slapd = Slapd::with(&World::new(9, 3, 0).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "token");
    let serving = relay.serve();
    // Port 0 is no address to call, so the command is told the one that was given.
    let url = serving.base_url();
    let secrets = [("SCIM_TOKEN", "token"), ("LDAP_PASSWORD", READER_PASSWORD)];
    let with_token = [
        secrets[0],
        secrets[1],
        ("SCIM_RELAY_TOKEN", API_TOKEN),
        ("SCIM_RELAY_URL", url.as_str()),
    ];
    // The file must not lend the token: a person at another terminal does not have the service's environment.
    let config = relay.config_path();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("token = \"env:SCIM_RELAY_TOKEN\"\n", ""),
    )
    .unwrap();

    for command in ["sync", "preview"] {
        let refused = run_with(&config, &[command, "--output", "json"], &secrets);
        assert_eq!(refused.code, Some(5), "{refused:?}");
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        let store = relay.store();
        for word in [store.to_str().unwrap(), "SCIM_RELAY_TOKEN"] {
            assert!(error.contains(word), "no `{word}`: {error}");
        }
    }
    assert_eq!(target.target().users().len(), 0);

    let seen = job(
        &run_with(&config, &["preview", "--output", "json"], &with_token),
        0,
    );
    assert_eq!(
        (&seen["usersCreated"], &seen["requests"]["write"]),
        (&json!(3), &json!(0)),
        "{seen}"
    );
    let done = job(
        &run_with(
            &config,
            &["sync", "--output", "json", "--directory", "hq"],
            &with_token,
        ),
        0,
    );
    assert_eq!(
        (&done["usersCreated"], &done["trigger"]),
        (&json!(3), &json!("manual")),
        "{done}"
    );
    let api = crate::program::Api::new(url.clone());
    let listed = api.jobs(&api.directory("hq"));
    assert_eq!(listed[0], done, "it is the running relay's own job");

    let wrong = [
        secrets[0],
        secrets[1],
        ("SCIM_RELAY_TOKEN", "wrong"),
        ("SCIM_RELAY_URL", url.as_str()),
    ];
    let refused = run_with(&config, &["sync"], &wrong);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("401") && refused.stderr.contains("token"),
        "{refused:?}"
    );
    let unknown = run_with(&config, &["sync", "--directory", "branch"], &with_token);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("there are: hq"), "{unknown:?}");
    assert_eq!(serving.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_interrupted_run_says_so_and_is_gone_on_with() {
    let slapd = Slapd::with(&World::new(9, 8, 0).ldif());
    let slow = Fault::Slow(Duration::from_millis(200));
    let target = FaultTarget::start(vec![Rule::on("POST", "/Users", slow)]).await;
    let relay = Relay::between(&slapd, target.base_url(), "token").tenant("concurrency = 1");
    let environment = environment(&relay, "token");
    let config = relay.config_path();
    let program = Program::start(
        &["--config", config.to_str().unwrap(), "sync"],
        &environment,
    );
    wait_for("the first users", Duration::from_secs(30), || {
        (target.target().users().len() >= 2).then_some(())
    });
    program.signal("INT");
    let ended = program.wait();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("the next run goes on where this one stopped"),
        "{ended:?}"
    );
    let there = target.target().users().len();
    assert!(there < 8, "it was not interrupted");
    target.set_rules(Vec::new());
    assert_eq!(
        relay.sync().completed().count("usersCreated"),
        8 - there as u64
    );
}
