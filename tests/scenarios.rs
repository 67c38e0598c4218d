//! Golden stories: what happens in a directory, and exactly which plan and which requests follow from it.
//!
//! A story is a folder in `scim-fixtures/scenarios`: `before.ldif`, sometimes `between.ldif`, `after.ldif`, the keys of
//! its directory in `profile.toml`, further profiles among them, and what the run on the last of them did: `plan.txt`
//! (the journal) and `requests.txt` (what the target was sent). With `UPDATE_GOLDEN=1` the last two are written instead of compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scim_relay::app::Relays;
use scim_relay::config;
use scim_relay::demo::directory::{self, Directory};
use scim_relay::demo::target::{Entry, Options, Target, http};
use scim_relay::job::{Job, Mode};
use scim_relay::plan::Action;
use scim_relay::scheduler::Runner as _;
use scim_relay::store::jobs::Change;
use scim_relay::store::jobs::JournalLine;
use scim_relay::store::{self, Store};
use scim_relay::sync::stop::Stop;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const READER: &str = "cn=reader,dc=example,dc=org";
const PASSWORD: &str = "reader-Pa55word";
const TOKEN: &str = "target-t0ken";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_story_ends_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scim-fixtures/scenarios");
    let found = std::fs::read_dir(&folder).expect("the folder of the stories");
    let mut stories: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    stories.sort();
    assert!(stories.len() >= 8, "stories are missing: {stories:?}");
    let mut differences = String::new();
    for story in stories {
        let (plan, requests) = Stage::set().await.play(&story).await;
        compare(&story.join("plan.txt"), &plan, &mut differences);
        compare(&story.join("requests.txt"), &requests, &mut differences);
    }
    assert!(
        differences.is_empty(),
        "{differences}\nIf this is right: UPDATE_GOLDEN=1 cargo test --test scenarios"
    );
}

fn compare(golden: &Path, now: &str, differences: &mut String) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, now).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    if expected != now {
        writeln!(
            differences,
            "{}: expected\n{expected}\nbut now\n{now}",
            golden.display()
        )
        .unwrap();
    }
}

/// A target and a store: what stays from one state of the directory to the next.
struct Stage {
    target: Target,
    target_url: String,
    files: TempDir,
    store: Arc<dyn Store>,
    _stop: DropGuard,
}

impl Stage {
    async fn set() -> Self {
        let options = Options {
            seed: Uuid::nil(),
            ..Options::default()
        };
        let target = Target::new(&options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target_url = format!(
            "http://{}{}",
            listener.local_addr().unwrap(),
            http::BASE_PATH
        );
        let stop = CancellationToken::new();
        let token = Some(TOKEN.to_owned());
        tokio::spawn(http::serve(target.clone(), listener, token, stop.clone()));
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("password"), PASSWORD).unwrap();
        std::fs::write(files.path().join("token"), TOKEN).unwrap();
        let settings = store::Settings {
            path: files.path().join("store.redb"),
            cache_mib: 8,
        };
        Self {
            target,
            target_url,
            store: store::open(&settings).unwrap().into(),
            files,
            _stop: stop.drop_guard(),
        }
    }

    /// Plays one state after the other, and tells the plan and the requests of the last one.
    async fn play(&self, story: &Path) -> (String, String) {
        let profile = std::fs::read_to_string(story.join("profile.toml")).unwrap();
        let texts =
            ["before.ldif", "between.ldif"].map(|name| std::fs::read_to_string(story.join(name)));
        let mut names = Names::default();
        for text in texts.into_iter().flatten() {
            self.settle(&text, &profile).await;
            names.learn(&text, &self.target);
        }
        let sent = self.target.journal().len() as u64;
        let after = std::fs::read_to_string(story.join("after.ldif")).unwrap();
        let jobs = self.settle(&after, &profile).await;
        names.learn(&after, &self.target);
        let requests = self.target.journal_since(sent);
        let mut plan = Vec::new();
        for job in &jobs {
            let changes = self.store.changes(job.id, None, 10_000).await.unwrap();
            let sent = changes.iter().filter_map(|(_, line)| match line {
                JournalLine::Sent(change) => Some(change),
                JournalLine::Unsent(_) | JournalLine::Drift(_) => None, // told with the job's errors
            });
            let told = told_plan(job, sent, &names);
            plan.push(match jobs.as_slice() {
                [_] => told,
                _ => format!("profile {}, {told}", job.profile),
            });
        }
        for again in self.sync(&after, &profile).await {
            assert_eq!(
                again.requests.write,
                0,
                "{}: a further run writes: {again:?}",
                story.display()
            );
        }
        let requests = requests.iter().filter(|entry| entry.is_write());
        (
            plan.join("\n"),
            requests
                .map(|entry| told_request(entry, &names))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }

    /// What a later profile finds may concern an earlier one's groups: as many rounds as there are profiles.
    async fn settle(&self, ldif: &str, profile: &str) -> Vec<Job> {
        let mut jobs = self.sync(ldif, profile).await;
        for _ in 1..jobs.len() {
            jobs.extend(self.sync(ldif, profile).await);
        }
        jobs
    }

    /// One run of each profile in order, with a directory that holds these entries.
    async fn sync(&self, ldif: &str, profile: &str) -> Vec<Job> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let company = Directory::from_ldif(ldif)
            .unwrap()
            .with_reader(READER, PASSWORD);
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        tokio::spawn(directory::server::serve(company, listener, stop));
        let config = config::parse(&self.configuration(port, profile), |_| None).unwrap();
        let file = Path::new("profile.toml");
        let relays = Relays::open(&config, file, self.store.clone(), None).await;
        let relays = relays.unwrap();
        let mut jobs = Vec::new();
        for profile in relays.profiles() {
            let run = relays.run_once(&profile.key, Mode::Full, Stop::default());
            jobs.push(run.await.unwrap());
        }
        jobs
    }

    /// One request at a time, so that their order is the plan's.
    fn configuration(&self, port: u16, profile: &str) -> String {
        let file =
            |name: &str| Value::from(format!("file:{}", self.files.path().join(name).display()));
        format!(
            r#"
[[tenants]]
name = "acme"
baseUrl = "{url}"
auth = {{ type = "bearer", token = {token} }}
rateLimit = 100000
concurrency = 1
settleSeconds = 0
[[directories]]
tenant = "acme"
name = "hq"
type = "ldap"
host = "127.0.0.1"
port = {port}
useTLS = false
allowPlainLdap = true
bindDN = "{READER}"
bindPassword = {password}
baseDN = "dc=example,dc=org"
{profile}"#,
            url = self.target_url,
            token = file("token"),
            password = file("password"),
        )
    }
}

/// Names for people, in place of ids and anchors: the first one that a thing had.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn learn(&mut self, ldif: &str, target: &Target) {
        for entry in ldif.split("\n\n") {
            let value = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(dn), Some(uuid)) = (value("dn: "), value("entryUUID: ")) {
                self.name(uuid, dn.split(',').next().unwrap());
            }
        }
        let by_name = |resource: &Value, kind: &str, name: &str| {
            let text = |name: &str| resource[name].as_str().unwrap().to_owned();
            (text("id"), format!("<{kind} {}>", text(name)))
        };
        for user in target.users() {
            let (id, name) = by_name(&user, "user", "userName");
            self.name(&id, &name);
        }
        for group in target.groups() {
            let (id, name) = by_name(&group, "group", "displayName");
            self.name(&id, &name);
        }
    }

    fn name(&mut self, id: &str, name: &str) {
        self.0
            .entry(id.to_owned())
            .or_insert_with(|| name.to_owned());
    }

    fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }

    /// The externalId stays as it is: it is not the target's.
    fn replace_ids(&self, text: &str) -> String {
        let ids = self.0.iter().filter(|(_, name)| name.starts_with('<'));
        ids.fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
    }

    fn replace(&self, text: &str) -> String {
        let replaced = self.0.iter();
        replaced.fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
    }
}

fn told_plan<'a>(job: &Job, changes: impl Iterator<Item = &'a Change>, names: &Names) -> String {
    let mut told = format!("job: {}\n", job.status.as_str());
    for change in changes {
        let word = |value: Value| value.as_str().unwrap().to_owned();
        let (json, class) = (change.to_json(), change.class.as_str());
        let reason = word(json["reason"].clone());
        writeln!(
            told,
            "\n{class}, {reason}: {} {}",
            change.key.kind, change.dn
        )
        .unwrap();
        for attribute in json["attributes"].as_array().unwrap() {
            let text = |value: &Value| {
                if value.is_null() {
                    "-".to_owned()
                } else {
                    names.replace_ids(&value.to_string())
                }
            };
            let (before, after) = (text(&attribute["before"]), text(&attribute["after"]));
            writeln!(
                told,
                "    {}: {before} -> {after}",
                word(attribute["attribute"].clone())
            )
            .unwrap();
        }
        let sign = if matches!(change.action, Action::RemoveMembers(_)) {
            '-'
        } else {
            '+'
        };
        for member in json["members"].as_array().unwrap() {
            writeln!(told, "    {sign} {}", names.of(member.as_str().unwrap())).unwrap();
        }
    }
    for error in &job.errors {
        let dn = error.dn.as_deref().unwrap_or_default();
        writeln!(
            told,
            "\nerror, {}: {} {dn}\n    {}",
            error.operation,
            error.kind,
            names.replace(&error.detail)
        )
        .unwrap();
    }
    for hold in &job.holds {
        writeln!(told, "\nheld: {hold}").unwrap();
    }
    told
}

fn told_request(entry: &Entry, names: &Names) -> String {
    let call = &entry.call;
    let body = call
        .body
        .as_ref()
        .map(|body| serde_json::to_string_pretty(body).unwrap());
    let text = format!(
        "{} {} -> {}\n{}\n",
        call.method,
        call.path,
        entry.status,
        body.unwrap_or_default()
    );
    names.replace_ids(&text)
}
