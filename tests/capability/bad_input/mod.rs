//! Whatever is wrong around the relay: it says what, names the cure, harms nothing, and goes on once it is cured.

mod directory;
mod records;
mod store;
mod target;

use serde_json::Value;

use crate::support::fault_target::FaultTarget;
use crate::support::relay::{Finished, Relay};
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{PEOPLE, Slapd};
use crate::support::world::World;

/// People of the company of these tests.
const STAFF: usize = 3;

/// A directory, a target that already holds its people and a group, and the relay between.
struct Company {
    slapd: Slapd,
    target: Scim2Server,
    relay: Relay,
}

impl Company {
    fn new() -> Self {
        let world = World::new(7, STAFF, 1);
        let slapd = Slapd::with(&world.ldif());
        let target = Scim2Server::start();
        let relay = Relay::new(&slapd, &target);
        relay.sync().completed();
        assert_eq!(target.users().len(), STAFF);
        Self {
            slapd,
            target,
            relay,
        }
    }

    /// Changes the relay's configuration.
    fn with(self, change: impl FnOnce(Relay, &Slapd) -> Relay) -> Self {
        let relay = change(self.relay, &self.slapd);
        Self { relay, ..self }
    }

    /// Adds somebody to the directory.
    fn joiner(&self) {
        self.slapd.add(&joiner());
    }

    /// A first run with a store of its own and the tenant changed, which must fail, tell all of this, and leave the target as
    /// it is.
    fn first_run(&self, tenant: &str, words: &[&str]) -> Finished {
        let users = self.target.users();
        let finished = Relay::new(&self.slapd, &self.target).tenant(tenant).sync();
        tells(&finished, 1, words);
        assert_eq!(self.target.users(), users);
        finished
    }

    /// A run that must end with this code, tell all of this, and leave the target as it is.
    fn refuses(&self, code: i32, words: &[&str]) -> Finished {
        let before = (self.target.users(), self.target.groups());
        let writes = self.target.writes();
        let finished = self.relay.sync();
        tells(&finished, code, words);
        assert_eq!(self.target.writes(), writes, "{finished:?}");
        assert_eq!((self.target.users(), self.target.groups()), before);
        finished
    }

    /// After the cure one run brings the joiner, and the next has nothing to do.
    fn recovers(&self) {
        let cured = self.relay.sync().completed();
        assert_eq!(
            (cured.count("usersCreated"), cured.writes()),
            (1, 1),
            "{cured:?}"
        );
        assert_eq!(self.target.users().len(), STAFF + 1);
        assert_eq!(self.relay.sync().completed().writes(), 0);
    }
}

/// The person who joins while something is wrong.
fn joiner() -> String {
    World::new(7, STAFF + 1, 0).people[STAFF].ldif()
}

/// The same with the target that fails on demand; nothing is wrong with it yet.
async fn fault_company() -> (Slapd, FaultTarget, Relay) {
    let slapd = Slapd::with(&World::new(7, STAFF, 1).ldif());
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "token");
    relay.sync().completed();
    (slapd, target, relay)
}

/// The words of all errors of a run, those of the configuration too.
fn words_of(finished: &Finished) -> String {
    let mut words = finished.job["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for error in finished.job["errors"].as_array().into_iter().flatten() {
        words.push_str(&format!(
            "\n{} {}",
            error["dn"].as_str().unwrap_or_default(),
            error["detail"].as_str().unwrap_or_default()
        ));
    }
    words
}

fn tells(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    let told = words_of(finished);
    for word in words {
        assert!(told.contains(word), "no `{word}` in: {told}\n{finished:?}");
    }
}

/// The one error of a job about an entry.
fn error_of<'a>(finished: &'a Finished, dn: &str) -> &'a Value {
    let errors = finished.job["errors"].as_array().unwrap();
    let mut of_entry = errors.iter().filter(|error| error["dn"] == dn);
    let error = of_entry.next();
    let error = error.unwrap_or_else(|| panic!("no error about {dn}: {finished:?}"));
    assert!(
        of_entry.next().is_none(),
        "two errors about {dn}: {finished:?}"
    );
    error
}

/// A person under another name than the login name, so that this can change or be missing.
fn person(cn: &str, uid: Option<&str>) -> String {
    let uid = uid.map(|uid| format!("uid: {uid}\n")).unwrap_or_default();
    format!(
        "dn: cn={cn},{PEOPLE}\nobjectClass: inetOrgPerson\ncn: {cn}\nsn: {cn}\n{uid}mail: {cn}@example.org\n\n"
    )
}

/// The target's user of that name.
fn user<'a>(users: &'a [Value], name: &str) -> Option<&'a Value> {
    users.iter().find(|user| user["userName"] == name)
}
