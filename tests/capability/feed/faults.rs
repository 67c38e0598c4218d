//! A feed that breaks must never keep a run from reading: what it would have told is found by a full scan.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::fault_ldap::{
    FaultLdap, Request, Step, done, entry, last_page, message, result, tlv,
};
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::Held as _;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{ADMIN, GROUPS, Options, PEOPLE, READER, SYNCPROV};

const BASE: &str = "dc=example,dc=org";
const LINES: &str = "baseDN = \"dc=example,dc=org\"\nusersDN = \"dc=example,dc=org\"\nsynchronizeGroups = false\n\
                     answerTimeoutSeconds = 1";

/// What the feed is answered with, by the request's number.
type Feed = fn(u8) -> Vec<Step>;

/// People of a directory that offers content synchronization, and what becomes of whoever asks for it.
struct Company {
    people: Vec<u8>,
    feed: Feed,
}

/// Nothing changed.
fn nothing(id: u8) -> Vec<Step> {
    // A Sync Done Control without a cookie, that says who left was told.
    let value = tlv(0x30, &tlv(1, &[0xff]));
    let control = [tlv(4, b"1.3.6.1.4.1.4203.1.9.1.3"), tlv(4, &value)].concat();
    let end = tlv(0x65, &result(0, ""));
    vec![Step::Send(message(id, end, &[tlv(0x30, &control)]))]
}

/// The database is older than the cookie.
fn older(id: u8) -> Vec<Step> {
    vec![Step::Send(done(
        id,
        53,
        "consumer state is newer than provider!",
    ))]
}

/// Two servers of one directory, and a relay that goes to one of them.
struct Pair {
    companies: [Arc<Mutex<Company>>; 2],
    servers: [FaultLdap; 2],
    target: FaultTarget,
    relay: Relay,
}

impl Pair {
    async fn begin() -> Self {
        let company = || {
            let people = (1..=12).collect();
            Arc::new(Mutex::new(Company {
                people,
                feed: nothing,
            }))
        };
        let companies = [company(), company()];
        let serve = |company: &Arc<Mutex<Company>>| {
            let script = company.clone();
            FaultLdap::start(move |request| script.lock().unwrap().answer(request))
        };
        let servers = [serve(&companies[0]).await, serve(&companies[1]).await];
        let target = FaultTarget::start(Vec::new()).await;
        let relay = Relay::of_ldap_port(servers[0].address.port(), target.base_url(), "any")
            .directory(LINES);
        incremental(&relay).completed();
        Self {
            companies,
            servers,
            target,
            relay,
        }
    }

    /// A run that reads one of them.
    fn run_at(mut self, server: usize) -> (Self, Finished) {
        let port = self.servers[server].address.port();
        // Two names, because two ports of one host are not taken for two servers.
        let host = ["127.0.0.1", "localhost"][server];
        let lines = format!("host = \"{host}\"\nport = {port}");
        self.relay = self.relay.directory(&lines);
        let run = incremental(&self.relay);
        (self, run)
    }

    fn active(&self) -> usize {
        let users = self.target.users();
        users.iter().filter(|user| user["active"] == true).count()
    }
}

fn person(id: u8, number: u8) -> Vec<u8> {
    let name = format!("p{number}").into_bytes();
    let anchor = format!("00000000-0000-4000-8000-0000000000{number:02}").into_bytes();
    let attributes = [
        ("entryUUID", vec![anchor]),
        ("uid", vec![name.clone()]),
        ("sn", vec![name]),
    ];
    entry(id, &format!("uid=p{number},{BASE}"), &attributes)
}

impl Company {
    fn answer(&self, request: &Request) -> Option<Vec<Step>> {
        let id = request.id;
        let asks = |name: &str| request.attributes.iter().any(|asked| asked == name);
        let found = |attributes: &[(&str, Vec<Vec<u8>>)]| {
            let answer = [entry(id, &request.base, attributes), done(id, 0, "")].concat();
            Some(vec![Step::Send(answer)])
        };
        if request.op != 0x63 {
            return None;
        }
        if asks("supportedControl") {
            let control = b"1.3.6.1.4.1.4203.1.9.1.1".to_vec();
            return found(&[
                ("supportedControl", vec![control]),
                ("namingContexts", vec![BASE.into()]),
            ]);
        }
        if asks("namingContexts") {
            return found(&[("namingContexts", vec![BASE.into()])]);
        }
        if asks("contextCSN") {
            let state = b"20260101000000.000000Z#000000#000#000000".to_vec();
            return found(&[("contextCSN", vec![state])]);
        }
        if request.subtree && asks("objectClass") {
            return Some((self.feed)(id));
        }
        if request.subtree && request.cookie.is_some() {
            let mut people = self.people.iter().map(|number| person(id, *number));
            let mut answer: Vec<u8> = people.by_ref().flatten().collect();
            answer.extend(last_page(id));
            return Some(vec![Step::Send(answer)]);
        }
        let wanted = request.anchor.as_ref()?;
        let there = |number: &&u8| wanted.ends_with(&format!("{number:02}"));
        let mut answer: Vec<u8> = self
            .people
            .iter()
            .filter(there)
            .flat_map(|number| person(id, *number))
            .collect();
        answer.extend(done(id, 0, ""));
        Some(vec![Step::Send(answer)])
    }
}

fn incremental(relay: &Relay) -> Finished {
    relay
        .spawn(&["sync", "--mode", "incremental", "--output", "json"])
        .wait()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_that_breaks_the_connection_is_replaced_by_a_full_scan() {
    let garbage = |id: u8| {
        // A Sync Info Message of a kind that there is not.
        let value = tlv(0x81, &tlv(0xaf, b""));
        let name = tlv(0x80, b"1.3.6.1.4.1.4203.1.9.1.4");
        vec![Step::Send(message(
            id,
            tlv(0x79, &[name, value].concat()),
            &[],
        ))]
    };
    let feeds: [(&str, Feed); 3] = [
        ("closed", |_| vec![Step::Close]),
        ("silent", |_| vec![Step::Silence]),
        ("garbage", garbage),
    ];
    for (what, feed) in feeds {
        let company = Arc::new(Mutex::new(Company {
            people: (1..=12).collect(),
            feed: nothing,
        }));
        let script = company.clone();
        let server = FaultLdap::start(move |request| script.lock().unwrap().answer(request)).await;
        let target = FaultTarget::start(Vec::new()).await;
        let relay =
            Relay::of_ldap_port(server.address.port(), target.base_url(), "any").directory(LINES);
        let first = incremental(&relay).completed();
        assert_eq!(first.count("usersCreated"), 12, "{what}: {first:?}");
        let reason = first.job["changeDetection"]["reason"].to_string();
        assert!(reason.contains("syncrepl"), "{what}: {first:?}");
        company.lock().unwrap().people.retain(|number| *number != 7);
        company.lock().unwrap().feed = feed;
        let second = incremental(&relay).completed();
        assert_eq!(
            second.job["completeRead"],
            json!(true),
            "{what}: {second:?}"
        );
        assert_eq!(second.count("usersDeactivated"), 1, "{what}: {second:?}");
        let users = target.users();
        let active = users.iter().filter(|user| user["active"] == true).count();
        assert_eq!(active, 11, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_servers_that_take_turns_loses_no_leaver_and_nobody_who_is_late() {
    let mut pair = Pair::begin().await;
    // Left at both; and one who is not at the second one yet.
    for company in &pair.companies {
        company.lock().unwrap().people.retain(|number| *number != 7);
    }
    let second = pair.companies[1].clone();
    second.lock().unwrap().people.retain(|number| *number != 9);
    let mut run;
    (pair, run) = pair.run_at(1);
    assert_eq!(run.count("usersDeactivated"), 0, "{run:?}");
    let errors = run.job["errors"].to_string();
    assert!(errors.contains("may not have been replicated"), "{run:?}");
    (pair, run) = pair.run_at(0);
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
    (pair, run) = pair.run_at(1);
    assert_eq!(run.count("usersDeactivated"), 0, "{run:?}");
    (pair, run) = pair.run_at(0);
    assert_eq!(run.count("usersDeactivated"), 0, "{run:?}");
    assert_eq!(pair.active(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_a_server_that_went_back_is_not_trusted_because_another_one_answered_meanwhile() {
    let mut pair = Pair::begin().await;
    let first = pair.companies[0].clone();
    {
        let mut first = first.lock().unwrap();
        first.feed = older;
        first.people.retain(|number| *number != 7);
    }
    let mut run;
    for at in [0, 1, 1, 0, 0] {
        (pair, run) = pair.run_at(at);
        assert_eq!(run.count("usersDeactivated"), 0, "at {at}: {run:?}");
        let errors = run.job["errors"].to_string();
        let is_told = errors.contains("older than at the last run");
        assert_eq!(is_told, at == 0, "at {at}: {run:?}");
    }
    // Answering again proves nothing of what it lacks: somebody has to say that it is right.
    first.lock().unwrap().feed = nothing;
    (pair, run) = pair.run_at(0);
    assert_eq!(run.count("usersDeactivated"), 0, "{run:?}");
    pair.relay = pair.relay.directory("changeDetection = \"full_scan\"");
    (pair, run) = pair.run_at(0);
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
    assert_eq!(pair.active(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_of_two_databases_of_one_server_tells_who_left() {
    let home = tempfile::tempdir().unwrap();
    let other = format!(
        "{SYNCPROV}\ndatabase mdb\nsuffix dc=second\nrootdn {ADMIN}\ndirectory {}\naccess to * by dn.exact={READER} read\n{SYNCPROV}",
        home.path().display()
    );
    let slapd = Options::new().overlays(&other).start();
    let people: Vec<String> = (1..=12)
        .map(|number| format!("uid=p{number},{PEOPLE}"))
        .collect();
    slapd.add("dn: dc=second\nobjectClass: organization\nobjectClass: dcObject\no: second\ndc: second\n\n");
    slapd.add(&format!(
        "dn: cn=team,dc=second\nobjectClass: groupOfNames\ncn: team\nmember: {}\nmember: {}\n\n",
        people[0], people[1]
    ));
    // The state of the people's database is newer than that of the groups'.
    for (number, dn) in people.iter().enumerate() {
        slapd.add(&format!(
            "dn: {dn}\nobjectClass: inetOrgPerson\nuid: p{}\ncn: p\nsn: p\n\n",
            number + 1
        ));
    }
    let target = FaultTarget::start(Vec::new()).await;
    let relay =
        Relay::between(&slapd, target.base_url(), "any").directory("groupsDN = \"dc=second\"");
    incremental(&relay).completed();
    slapd.delete(&people[6]);
    let run = incremental(&relay).completed();
    assert_eq!(run.job["changeDetection"]["rung"], "syncrepl", "{run:?}");
    assert_eq!(run.count("usersDeactivated"), 1, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_that_does_not_tell_of_a_new_name_takes_nobody_out_of_a_group() {
    let slapd = Options::new().overlays(SYNCPROV).start();
    // What holds others need not be of a class that says so.
    let division = |name: &str| format!("cn={name},{PEOPLE}");
    let person = |number: u8, above: &str| format!("uid=p{number},{above}");
    let (old, new) = (division("old"), division("new"));
    slapd.add(&format!(
        "dn: {old}\nobjectClass: organizationalRole\ncn: old\n\n"
    ));
    for number in 1..=12 {
        slapd.add(&format!(
            "dn: {}\nobjectClass: inetOrgPerson\nuid: p{number}\ncn: p\nsn: p\n\n",
            person(number, &old)
        ));
    }
    let (one, two) = (person(1, &old), person(2, &old));
    let team = format!("cn=team,{GROUPS}");
    slapd.add(&format!(
        "dn: {team}\nobjectClass: groupOfNames\ncn: team\nmember: {one}\nmember: {two}\n\n"
    ));
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "any");
    incremental(&relay).completed();
    slapd.modrdn(&old, "cn=new", None);
    slapd.modify(&format!(
        "dn: {team}\nchangetype: modify\nreplace: member\nmember: {}\n\n",
        person(1, &new)
    ));
    let run = incremental(&relay);
    assert_eq!(run.job["changeDetection"]["rung"], "syncrepl", "{run:?}");
    assert_eq!(run.count("membersRemoved"), 1, "{run:?}");
    relay.sync().completed();
    let groups = target.groups();
    assert_eq!(
        groups[0]["members"].as_array().map(Vec::len),
        Some(1),
        "{groups:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feed_does_not_keep_units_from_people_of_another_profile() {
    let slapd = Options::new().overlays(SYNCPROV).start();
    for number in 1..=12 {
        slapd.add(&format!(
            "dn: uid=p{number},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: p{number}\ncn: p\nsn: p\n\n"
        ));
    }
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "any").directory(
        "synchronizeGroups = false\nuserSearchFilter = \"(&(objectClass=inetOrgPerson)(!(uid=p1)))\"\n\
         [[profiles]]\nname = \"west\"\nsynchronizeGroups = false\n\
         userSearchFilter = \"(&(objectClass=inetOrgPerson)(uid=p1))\"\n",
    );
    let run = |relay: &Relay, profile: &str| {
        let asked = ["sync", "--mode", "incremental", "--output", "json"];
        let asked = [&asked[..], &["--profile", profile]].concat();
        relay.spawn(&asked).wait().completed()
    };
    for profile in ["default", "west", "default", "west"] {
        run(&relay, profile);
    }
    let relay = relay.directory("organizationalUnits = \"groups\"");
    for profile in ["default", "west", "default"] {
        run(&relay, profile);
    }
    let groups = target.groups();
    assert_eq!(
        groups[0]["members"].as_array().map(Vec::len),
        Some(12),
        "{groups:?}"
    );
}
