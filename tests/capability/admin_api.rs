//! The admin endpoint of a running relay: who may call, what it answers, and what becomes of its jobs.

mod audit;
pub mod directories;
mod events;
mod health;
mod jobs;
mod listings;
mod metrics;
mod requests;
mod round_trip;
mod schema;
mod serving;
mod trials;

use std::time::Duration;

use scim_relay::demo::target::answer::Call;
use serde_json::Value;

use crate::program::{Api, Program, config_file};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{API_TOKEN, Relay, Serving};
use crate::support::slapd::{READER_PASSWORD, Slapd};
use crate::support::world::World;

/// Everybody of the company of these tests.
const STAFF: usize = 12;

/// A running relay between a directory of [`STAFF`] people and an empty target.
pub struct Site {
    slapd: Slapd,
    target: FaultTarget,
    relay: Relay,
}

impl Site {
    /// Nothing runs yet; requests go one by one, so that a slow target makes a long job.
    pub async fn new() -> Self {
        let slapd = Slapd::with(&World::new(3, STAFF, 0).ldif());
        let target = FaultTarget::start(Vec::new()).await;
        let relay = Relay::between(&slapd, target.base_url(), "token")
            .tenant("concurrency = 1\nsettleSeconds = 0");
        Self {
            slapd,
            target,
            relay,
        }
    }

    /// A relay of its own, with the same directory and target.
    pub fn relay(&self) -> Relay {
        Relay::between(&self.slapd, self.target.base_url(), "token")
    }

    /// Every create takes so long from now on.
    fn slow_creates(&self, wait: Duration) {
        self.target
            .set_rules(vec![Rule::on("POST", "/Users", Fault::Slow(wait))]);
    }

    fn serve(&self) -> (Serving, Api, String) {
        let serving = self.relay.serve();
        let api = Api::new(serving.base_url());
        let directory = api.directory("hq");
        (serving, api, directory)
    }

    /// Creates of this login name are refused from now on.
    fn refuse(&self, uid: &str) {
        let uid = uid.to_owned();
        let refusal = Fault::Status {
            code: 400,
            scim_type: Some("invalidValue"),
            detail: "no such cost centre",
            numeric: false,
        };
        let of_user = move |call: &Call| {
            let body = call.body.as_ref();
            body.is_some_and(|body| body["userName"] == uid.as_str())
        };
        let rule = Rule::on("POST", "/Users", refusal).matching(of_user);
        self.target.set_rules(vec![rule]);
    }

    /// How many creates of users took effect.
    fn created(&self) -> usize {
        let journal = self.target.journal();
        let created = journal.iter().filter(|exchange| {
            exchange.call.method == "POST"
                && exchange.call.path == "/Users"
                && exchange.took_effect()
        });
        created.count()
    }
}

/// All items of a list, read in pages of this size; the path may have a query.
fn items(api: &Api, path: &str, limit: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    let sign = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = api.get(&format!("{path}{sign}limit={limit}{cursor}"));
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        found.extend(items.iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// A relay for two tenants, each with a directory.
pub struct TwoTenants {
    /// The running program.
    pub program: Program,
    /// Its configuration and its store, `relay.redb`.
    pub folder: tempfile::TempDir,
    /// `http://127.0.0.1:PORT`
    pub base: String,
}

/// Starts it; the log is as fine as `level`.
pub fn two_tenants(site: &Site, level: &str) -> TwoTenants {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("relay.redb");
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ntoken = \"env:TOKEN\"\n[store]\npath = \"{}\"\n[log]\nformat = \"json\"\nlevel = \"{level}\"\n",
        store.display()
    );
    for tenant in ["acme", "globex"] {
        text.push_str(&format!(
            "[[tenants]]\nname = \"{tenant}\"\nbaseUrl = \"{}\"\nauth = {{ type = \"bearer\", token = \"env:SCIM\" }}\n\
             [[directories]]\ntenant = \"{tenant}\"\nname = \"hq-{tenant}\"\ntype = \"ldap\"\nhost = \"127.0.0.1\"\n\
             port = {}\nuseTLS = false\nallowPlainLdap = true\nbindDN = \"cn=reader,dc=example,dc=org\"\n\
             bindPassword = \"env:LDAP\"\nbaseDN = \"ou=people,dc=example,dc=org\"\n",
            site.target.base_url(),
            site.slapd.port()
        ));
        text.push_str(&format!(
            "[[directories.profiles]]\nname = \"of-{tenant}\"\n"
        ));
    }
    let config = config_file(&folder, &text);
    let environment = [
        ("TOKEN", API_TOKEN),
        ("SCIM", "token"),
        ("LDAP", READER_PASSWORD),
    ];
    let mut program = Program::start(
        &["--config", config.to_str().unwrap(), "serve"],
        &environment,
    );
    TwoTenants {
        base: program.listening(),
        program,
        folder,
    }
}
