//! Near real time: a change in the directory reaches the target without waiting for the schedule, and what is no news
//! starts nothing.

use serde_json::Value;

use crate::active_directory::domain::ticks;
use crate::feed::site::Site;
use crate::main_job::names::Names;
use crate::program::{Api, PATIENCE};
use crate::support::fault_target::{Exchange, FaultTarget};
use crate::support::relay::{Relay, Serving};
use crate::support::slapd::{Options, READER, SYNCPROV};
use crate::support::wait_for;

/// Due once a year.
const SELDOM: &str = "syncSchedule = \"0 4 1 1 *\"";

/// A relay that serves and listens.
struct Listening {
    site: Site,
    target: FaultTarget,
    _relay: Relay,
    serving: Serving,
    api: Api,
    directory: String,
}

impl Listening {
    async fn begin(site: Site) -> Self {
        Self::begin_with(site, SELDOM).await
    }

    /// The same with another schedule.
    async fn begin_with(site: Site, schedule: &str) -> Self {
        let target = FaultTarget::start(Vec::new()).await;
        let relay = site.relay(&target).directory(schedule);
        let relay = relay.environment("SCIM_RELAY_LOG_LEVEL", "info,scim_relay::sync::watch=debug");
        let serving = relay.serve();
        let api = Api::new(serving.base_url());
        let directory = api.directory("hq");
        let started = api.post(&format!("/directories/{directory}/sync"), "");
        let first = api.finished_job(&directory, started.json()["jobId"].as_str().unwrap());
        assert_eq!(first["status"], "completed", "{first}");
        let listening = Self {
            site,
            target,
            _relay: relay,
            serving,
            api,
            directory,
        };
        listening.wait_for_ears(1);
        listening
    }

    /// Waits until it has begun to listen for the so manieth time.
    fn wait_for_ears(&self, times: usize) {
        wait_for("listening for changes", PATIENCE, || {
            let log = self.serving.log();
            (log.matches("\"listening for changes\"").count() >= times).then_some(())
        });
    }

    /// Waits until the target got this request, after the first so many.
    fn arrives(&self, before: usize, request: &str) {
        wait_for(request, PATIENCE, || {
            let journal = self.target.journal();
            let names = Names::of(&self.target);
            let mut taken = journal[before..].iter().filter(|sent| sent.took_effect());
            taken
                .any(|Exchange { call, .. }| {
                    names.line(&call.method, &call.path, call.body.as_ref()) == request
                })
                .then_some(())
        });
    }

    /// Makes a change, and waits until it has arrived as this request.
    fn brings(&self, request: &str, change: impl FnOnce(&Site)) {
        let before = self.target.journal().len();
        change(&self.site);
        self.arrives(before, request);
    }

    /// The jobs that the directory set off, all of which have ended.
    fn jobs(&self) -> Vec<Value> {
        wait_for("the end of all jobs", PATIENCE, || {
            let jobs = self
                .api
                .get(&format!("/directories/{}/jobs?limit=100", self.directory));
            let jobs = jobs.json()["items"].as_array().unwrap().clone();
            let ended = jobs.iter().all(|job| job["completedAt"].is_string());
            let fed = jobs.into_iter().filter(|job| job["trigger"] == "feed");
            ended.then(|| fed.collect())
        })
    }
}

/// Whether some connection to a port of this machine was closed there and not here yet (CLOSE_WAIT).
fn is_left_by_its_peer(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut fields = table.lines().map(|line| line.split_whitespace().skip(2));
    let peer = format!(":{port:04X}");
    fields.any(|mut fields| {
        let remote = fields.next().unwrap_or_default();
        remote.ends_with(&peer) && fields.next() == Some("08")
    })
}

const NEW_MAIL: &str = r#"PATCH /Users/ann replace emails[type eq "work"].value="new@example.org""#;

fn new_mail(site: &Site) {
    site.change(&site.person("ann"), "replace: mail\nmail: new@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_of_openldap_brings_changes_at_once() {
    let listening = Listening::begin(Site::openldap()).await;
    let site = &listening.site;
    // No news: an attribute that is not read, an entry that is in no scope.
    site.change(&site.person("ben"), "replace: description\ndescription: x");
    listening.brings(NEW_MAIL, new_mail);
    let job = listening.jobs().pop().unwrap();
    assert_eq!(job["changeDetection"]["rung"], "syncrepl", "{job}");
    listening.brings("PATCH /Users/ann replace active=false", |site| {
        site.delete(&site.person("ann"));
    });
    listening.brings(
        r#"PATCH /Groups/c-team replace displayName="c-team""#,
        |site| {
            site.rename(&site.group("a-team"), &site.rdn("c-team"), None);
        },
    );
    let jobs = listening.jobs();
    assert_eq!(jobs.len(), 3, "{jobs:#?}");
    assert!(
        jobs.iter().all(|job| job["status"] == "completed"),
        "{jobs:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_of_389_brings_changes_and_departures_at_once() {
    let mut listening = Listening::begin(Site::ds389()).await;
    let site = &listening.site;
    // No news: an attribute that is not read.
    site.change(&site.person("ben"), "replace: description\ndescription: x");
    listening.brings(NEW_MAIL, new_mail);
    listening.brings("PATCH /Users/ann replace active=false", |site| {
        site.lock("ann", true);
    });
    listening.brings("PATCH /Users/other3 replace active=false", |site| {
        site.delete(&site.person("other3"));
    });
    let jobs = listening.jobs();
    let by_feed = |job: &Value| job["changeDetection"]["rung"] == "syncrepl";
    assert!(jobs.iter().all(by_feed), "{jobs:#?}");

    // The server does not know the position any more, and says so to whoever listens from it.
    let Site::Ds389(server) = &mut listening.site else {
        unreachable!()
    };
    server.call_itself("other.example.org");
    server.restart();
    let why = "each counts its changes for itself";
    wait_for("a run of everything", PATIENCE, || {
        let jobs = listening.jobs().into_iter();
        let reason = |job: &Value| job["changeDetection"]["reason"].to_string();
        jobs.map(|job| reason(&job))
            .any(|reason| reason.contains(why))
            .then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_gathers_a_burst() {
    let listening = Listening::begin(Site::openldap()).await;
    let before = listening.target.journal().len();
    for number in 0..12 {
        for mail in ["a", "b", "c", "d", "e"] {
            let site = &listening.site;
            let person = site.person(&format!("other{number}"));
            site.change(
                &person,
                &format!("replace: mail\nmail: {mail}{number}@example.org"),
            );
        }
    }
    for number in 0..12 {
        listening.arrives(
            before,
            &format!(
                "PATCH /Users/other{number} replace emails[type eq \"work\"].value=\"e{number}@example.org\""
            ),
        );
    }
    let jobs = listening.jobs();
    assert!(jobs.len() < 60, "{}", jobs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_goes_on_after_the_server_was_away() {
    let mut listening = Listening::begin(Site::openldap()).await;
    let before = listening.target.journal().len();
    let Site::OpenLdap(slapd) = &mut listening.site else {
        unreachable!()
    };
    slapd.kill();
    wait_for("a second failure of the same kind", PATIENCE, || {
        let log = listening.serving.log();
        log.contains("still not listening for changes")
            .then_some(())
    });
    let log = listening.serving.log();
    let refused = |line: &&str| line.contains("WARN") && line.contains("refused");
    assert_eq!(log.lines().filter(refused).count(), 1, "{log}");
    slapd.restart();
    // Perhaps before the relay listens again: it goes on from the position that it stored.
    new_mail(&listening.site);
    listening.arrives(before, NEW_MAIL);
    listening.wait_for_ears(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_of_active_directory_brings_changes_and_no_logons() {
    let listening = Listening::begin(Site::domain()).await;
    listening.brings(NEW_MAIL, new_mail);
    listening.brings("PATCH /Users/ann replace active=false", |site| {
        site.lock("ann", true);
    });
    listening.brings("PATCH /Users/ann replace active=true", |site| {
        site.lock("ann", false);
    });
    let jobs = listening.jobs();
    // Each of these tools logged on, as the relay did for each job, and each logon changed an entry.
    assert_eq!(jobs.len(), 3, "{jobs:#?}");
    assert_eq!(jobs[0]["changeDetection"]["rung"], "dirsync", "{jobs:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_or_not_an_account_expires_in_time() {
    let listening = Listening::begin(Site::domain()).await;
    let expires = format!("replace: accountExpires\naccountExpires: {}", ticks(6));
    let before = listening.target.journal().len();
    listening.brings(NEW_MAIL, |site| {
        site.change(&site.person("ann"), &expires);
        new_mail(site);
    });
    listening.arrives(before, "PATCH /Users/ann replace active=false");
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_that_was_silent_for_long_is_no_news_by_that() {
    let overlays = format!("overlay refint\nrefint_attributes member\n{SYNCPROV}");
    let options = Options::new().overlays(&overlays);
    let listening = Listening::begin(Site::openldap_with(options.global("idletimeout 1"))).await;
    let site = &listening.site;
    listening.brings(NEW_MAIL, new_mail);
    let Site::OpenLdap(slapd) = site else {
        unreachable!()
    };
    // Nothing is asked on it for longer than the server allows.
    wait_for("the server's end of a connection", PATIENCE, || {
        is_left_by_its_peer(slapd.port()).then_some(())
    });
    let no_news = || listening.serving.log().matches("is no news").count();
    let before = no_news();
    site.change(&site.person("ben"), "replace: description\ndescription: x");
    wait_for("a look at what changed", PATIENCE, || {
        (no_news() > before).then_some(())
    });
    let jobs = listening.jobs();
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_does_not_try_a_refused_password_again_and_again() {
    let often = "syncInterval = \"1s\"";
    let mut listening = Listening::begin_with(Site::openldap(), often).await;
    let Site::OpenLdap(slapd) = &mut listening.site else {
        unreachable!()
    };
    slapd.modify(&format!(
        "dn: {READER}\nchangetype: modify\nreplace: userPassword\nuserPassword: another\n\n"
    ));
    slapd.restart();
    let refused = |line: &str| line.contains("not listening") && line.contains("Credentials");
    wait_for("the refusal", PATIENCE, || {
        listening.serving.log().lines().any(refused).then_some(())
    });
    // The pause after a lost connection would be over by then, and the next one too.
    let failed = format!("/directories/{}/jobs?status=failed", listening.directory);
    wait_for("four runs by schedule", PATIENCE, || {
        let jobs = listening.api.get(&failed).json();
        (jobs["items"].as_array().unwrap().len() >= 4).then_some(())
    });
    let log = listening.serving.log();
    let told = |line: &&str| line.contains("listening for changes");
    let last = log.lines().rfind(told).unwrap();
    let refusals = log.lines().filter(|line| refused(line)).count();
    assert!(refused(last) && refusals == 1, "{log}");
}
