//! Gateways that throttle and lose answers, before a target written by others: the relay waits, and nothing is doubled or lost.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use crate::support::mirror::assert_equal_to_directory;
use crate::support::nginx::{Nginx, Passed};
use crate::support::relay::{Finished, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::Slapd;
use crate::support::world::World;

const USERS: usize = 120;
const GROUPS: usize = 8;
/// What was on its way already when the target said that it was too much, in seconds.
const UNDER_WAY: f64 = 0.15;

struct Site {
    world: World,
    slapd: Slapd,
    target: Scim2Server,
    nginx: Nginx,
    relay: Relay,
}

impl Site {
    /// A company, an empty target, the gateway before it, and the relay in front of both.
    fn behind(gateway: impl FnOnce(&str) -> Nginx, tenant: &str) -> Self {
        let world = World::new(31, USERS, GROUPS);
        let slapd = Slapd::with(&world.ldif());
        let target = Scim2Server::start();
        let nginx = gateway(&target.base_url());
        let relay = Relay::new(&slapd, &target).tenant(&format!(
            "baseUrl = \"{}\"\ncaCertificate = \"file:{}\"\nconcurrency = 8\nsettleSeconds = 0\nrateLimit = 100\n{tenant}",
            nginx.url_of(&target.base_url()),
            nginx.ca_pem_path().display()
        ));
        Self {
            world,
            slapd,
            target,
            nginx,
            relay,
        }
    }

    /// Runs until nothing is left to do, twice at the most, and holds target and directory against each other.
    fn converge(&self) -> Finished {
        let first = self.relay.sync();
        if first.code != Some(0) {
            assert_eq!(first.code, Some(3), "{first:?}");
            self.relay.sync().completed();
        }
        assert_equal_to_directory(&self.slapd, &self.target);
        let requests = self.target.requests();
        let created = requests
            .iter()
            .filter(|request| request.method == "POST" && request.status == 201);
        let wanted = USERS + self.world.all_groups().count() + 1;
        assert_eq!(created.count(), wanted, "created twice, or not at all");
        first
    }

    fn answered(&self, status: u16) -> Vec<Passed> {
        let passed = self.nginx.passed().into_iter();
        passed.filter(|passed| passed.status == status).collect()
    }

    /// That nothing came between a time shortly after the first and the second, in seconds since 1970.
    fn assert_quiet(&self, from: f64, until: f64) {
        let quiet = from + UNDER_WAY..until;
        let passed = self.nginx.passed();
        let early: Vec<&Passed> = passed
            .iter()
            .filter(|passed| quiet.contains(&passed.at))
            .collect();
        assert!(early.is_empty(), "{from} to {until}: {early:#?}");
    }
}

fn said(run: &Finished, words: &str) -> usize {
    run.stderr.matches(words).count()
}

#[test]
fn target_throttling_with_seconds_slows_the_relay_down_and_loses_nothing() {
    let body = r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"429","detail":"slow down"}"#;
    let site = Site::behind(|url| Nginx::with_rate(url, 20, "1", body), "rateBurst = 40");
    let run = site.converge();
    let throttled = site.answered(429);
    for passed in &throttled {
        site.assert_quiet(passed.at, passed.at + 1.0);
    }
    // Bursts of eight at the most, and few of them: the pace has come down to what the gateway lets pass.
    assert!(
        (1..=80).contains(&throttled.len()),
        "{} of {}",
        throttled.len(),
        site.nginx.passed().len()
    );
    assert_eq!(said(&run, "the target throttles: "), 1, "{}", run.stderr);
}

#[test]
fn target_throttling_with_a_date_of_rfc_850_and_no_body_is_waited_for() {
    let until = SystemTime::now() + Duration::from_secs(8);
    let date = DateTime::<Utc>::from(until).format("%A, %d-%b-%y %H:%M:%S GMT");
    let site = Site::behind(|url| Nginx::with_rate(url, 50, &date.to_string(), ""), "");
    let begun = DateTime::<Utc>::from(SystemTime::now()).timestamp();
    let until = DateTime::<Utc>::from(until).timestamp();
    assert!(begun + 2 < until, "the servers took too long to start");
    site.converge();
    let throttled = site.answered(429);
    let first = throttled.first().expect("a throttled request").at;
    let until = f64::from(i32::try_from(until).unwrap());
    assert!(first < until - 1.0, "throttled at {first}, until {until}");
    site.assert_quiet(first, until);
}

#[test]
fn target_throttling_by_a_500_is_known_by_its_text_and_leaves_no_create_in_doubt() {
    let text = "REQUEST_LIMIT_EXCEEDED";
    let site = Site::behind(
        |url| Nginx::with_places(url, 2, text),
        &format!(
            "rateBurst = 100\ndialect = {{ throttling = [{{ status = 500, text = \"{text}\" }}] }}"
        ),
    );
    let run = site.converge();
    assert!(!site.answered(500).is_empty(), "nothing was throttled");
    assert_eq!(said(&run, "the target throttles: "), 1, "{}", run.stderr);
    // What was not carried out need not be looked for: look-ups are those of the first contact, and of no create.
    let requests = site.target.requests();
    let looked_for = requests
        .iter()
        .filter(|request| request.method == "GET" && request.path.contains("filter=externalId"));
    assert_eq!(looked_for.count(), 0, "{requests:#?}");
}

#[test]
fn target_throttling_apart_a_504_after_the_fact_doubles_nothing() {
    let site = Site::behind(|url| Nginx::losing_answers(url, 20), "");
    site.converge();
    let lost = site.answered(504).len();
    assert!(lost > 10, "{lost}");
    // The changes of linked resources, too.
    let mut changes = String::new();
    for person in site.world.people.iter().take(60) {
        changes += &format!(
            "dn: {}\nchangetype: modify\nreplace: mail\nmail: new-{}\n\n",
            person.dn(),
            person.mail
        );
    }
    site.slapd.modify(&changes);
    site.converge();
    assert!(site.answered(504).len() > lost, "no change lost its answer");
    assert_eq!(site.relay.sync().completed().writes(), 0);
}
