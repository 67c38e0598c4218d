//! The admin endpoint of a running relay: who may call, what it answers, and what becomes of its jobs.

mod directories;
mod events;
mod jobs;
mod requests;
mod serving;

use std::time::Duration;

use crate::program::Api;
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{Relay, Serving};
use crate::support::slapd::Slapd;
use crate::support::world::World;

/// Everybody of the company of these tests.
const STAFF: usize = 12;

/// A running relay between a directory of [`STAFF`] people and an empty target.
struct Site {
    slapd: Slapd,
    target: FaultTarget,
    relay: Relay,
}

impl Site {
    /// Nothing runs yet; requests go one by one, so that a slow target makes a long job.
    async fn new() -> Self {
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
