//! A relay that is killed at any moment, again and again, ends where one that was never killed does.
#![allow(
    clippy::print_stdout,
    reason = "seed and moments are shown when the test fails"
)]

mod points;

use std::time::{Duration, Instant};

use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::Relay;
use crate::support::slapd::{PEOPLE, Slapd};
use crate::support::world::World;
use crate::truth::{assert_settled, deactivates, enabled, relay};

const USERS: usize = 150;
const PLAIN_GROUPS: usize = 15;
/// Kills of one first load, before it is let go to its end.
const KILLS_OF_A_FIRST_LOAD: usize = 4;
/// Kills of one update, before it is let go to its end.
const KILLS_OF_AN_UPDATE: usize = 2;
const UPDATES_OF_A_ROUND: usize = 3;

/// How many kills at any time there are to be in all: the environment variable KILLS. Each named point has a fifteenth of them.
fn kills_wanted() -> usize {
    std::env::var("KILLS").map_or(60, |number| number.parse().expect("KILLS is a number"))
}

fn seed() -> u64 {
    let given = std::env::var("KILL_SEED").ok();
    given.map_or(20_250_301, |number| {
        number.parse().expect("KILL_SEED is a number")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_runs_lose_nothing_and_repeat_nothing() {
    let mut loops = Loop::new(seed(), kills_wanted());
    println!("KILL_SEED={} KILLS={}", seed(), loops.wanted);
    loops.measure().await;
    while loops.kills < loops.wanted {
        loops.round().await;
    }
    println!(
        "{} kills, {} of them in the middle of sending",
        loops.kills, loops.in_the_middle
    );
    assert!(
        loops.in_the_middle * 5 >= loops.kills,
        "the kills hit nothing: {}",
        loops.in_the_middle
    );
}

struct Loop {
    slapd: Slapd,
    company: Company,
    random: Random,
    wanted: usize,
    kills: usize,
    /// Kills after the first and before the last write of their run.
    in_the_middle: usize,
    first_load: Duration,
    update: Duration,
}

/// One target with one store: what a round works with.
struct Pair {
    target: FaultTarget,
    relay: Relay,
    /// How much of the journal was looked at.
    seen: usize,
}

impl Loop {
    fn new(seed: u64, wanted: usize) -> Self {
        let world = World::new(seed, USERS, PLAIN_GROUPS);
        Self {
            slapd: Slapd::with(&world.ldif()),
            company: Company::of(&world),
            random: Random(seed),
            wanted,
            kills: 0,
            in_the_middle: 0,
            first_load: Duration::ZERO,
            update: Duration::ZERO,
        }
    }

    async fn pair(&self) -> Pair {
        // Slow enough for kills to hit between a request that took effect and its answer.
        let slow = Rule::on("*", "/", Fault::Slow(Duration::from_millis(12)));
        let target = FaultTarget::start(vec![slow]).await;
        // What is killed adds up, so the guard's limit on one plan is raised.
        let relay = relay(&self.slapd, &target)
            .tenant("concurrency = 2")
            .directory("guard = { deactivations = 1000 }");
        Pair {
            target,
            relay,
            seen: 0,
        }
    }

    /// How long the two kinds of run take when nobody kills them.
    async fn measure(&mut self) {
        let mut pair = self.pair().await;
        let begun = Instant::now();
        pair.relay.sync().completed();
        self.first_load = begun.elapsed();
        self.look(&mut pair, "unkilled first load");
        self.change();
        let begun = Instant::now();
        pair.relay.sync().completed();
        self.update = begun.elapsed();
        self.look(&mut pair, "unkilled update");
        assert_settled(&self.slapd, &pair.target, &pair.relay, "unkilled update");
        println!("first load {:?}, update {:?}", self.first_load, self.update);
    }

    /// A first load and some updates on a new target with a new store, each killed and at last let go to its end.
    async fn round(&mut self) {
        let mut pair = self.pair().await;
        for _ in 0..KILLS_OF_A_FIRST_LOAD {
            self.kill(&mut pair, self.first_load);
        }
        self.converge(&mut pair);
        for _ in 0..UPDATES_OF_A_ROUND {
            for _ in 0..KILLS_OF_AN_UPDATE {
                self.change();
                self.kill(&mut pair, self.update);
            }
            self.converge(&mut pair);
        }
    }

    /// Starts a run and kills it somewhere within the time that it would take; one that ended earlier is no kill.
    fn kill(&mut self, pair: &mut Pair, duration: Duration) {
        let wait = duration.mul_f64(self.random.share());
        let before = pair.target.target().counters().writes;
        let mut run = pair.relay.spawn_sync();
        std::thread::sleep(wait);
        let ended = run.ended();
        run.kill();
        let sent = pair.target.target().counters().writes - before;
        let context = format!("kill {} after {wait:?}, {sent} writes", self.kills);
        println!("{context}{}", if ended { ", too late" } else { "" });
        self.kills += usize::from(!ended);
        self.in_the_middle += usize::from(!ended && sent > 0);
        self.look(pair, &context);
    }

    fn converge(&mut self, pair: &mut Pair) {
        let context = format!("KILL_SEED={}, after {} kills", seed(), self.kills);
        let finished = pair.relay.sync();
        assert_eq!(finished.code, Some(0), "{context}: {finished:?}");
        self.look(pair, &context);
        assert_settled(&self.slapd, &pair.target, &pair.relay, &context);
    }

    /// Nobody who is enabled in the directory was deactivated since the last look.
    fn look(&self, pair: &mut Pair, context: &str) {
        let enabled = enabled(&self.slapd);
        let users = pair.target.target().users();
        let journal = pair.target.journal();
        for exchange in journal[pair.seen..]
            .iter()
            .filter(|exchange| exchange.took_effect())
        {
            if deactivates(exchange) {
                let id = exchange.call.path.rsplit('/').next().unwrap();
                let user = users.iter().find(|user| user["id"] == id).unwrap();
                let anchor = user["externalId"].as_str().unwrap();
                assert!(
                    !enabled.contains(anchor),
                    "{context}: {user} was deactivated"
                );
            }
        }
        pair.seen = journal.len();
    }

    /// Some of all that happens in a company.
    fn change(&mut self) {
        for _ in 0..8 {
            let ldif = self.company.mail(&mut self.random);
            self.slapd.modify(&ldif);
        }
        for _ in 0..3 {
            let ldif = self.company.membership(&mut self.random);
            self.slapd.modify(&ldif);
        }
        let ldif = self.company.lock(&mut self.random);
        self.slapd.modify(&ldif);
        let ldif = self.company.joiner();
        self.slapd.add(&ldif);
        let dn = self.company.leaver(&mut self.random);
        self.slapd.delete(&dn);
    }
}

/// Who is there, as far as the changes must know.
struct Company {
    people: Vec<String>,
    groups: Vec<(String, Vec<String>)>,
    locked: Option<String>,
    made: usize,
}

impl Company {
    fn of(world: &World) -> Self {
        Self {
            people: world.people.iter().map(|person| person.dn()).collect(),
            groups: world
                .groups
                .iter()
                .map(|group| (group.dn(), group.members.clone()))
                .collect(),
            locked: None,
            made: 0,
        }
    }

    fn number(&mut self) -> usize {
        self.made += 1;
        self.made
    }

    fn mail(&mut self, random: &mut Random) -> String {
        let number = self.number();
        let dn = &self.people[random.below(self.people.len())];
        format!("dn: {dn}\nchangetype: modify\nreplace: mail\nmail: m{number}@example.org\n")
    }

    /// Somebody joins a group, or leaves one that stays non-empty.
    fn membership(&mut self, random: &mut Random) -> String {
        let person = self.people[random.below(self.people.len())].clone();
        let at = random.below(self.groups.len());
        let (group, members) = &mut self.groups[at];
        let (verb, person) = match members.iter().position(|member| *member == person) {
            Some(at) if members.len() > 1 => ("delete", members.remove(at)),
            None if members.len() > 8 => {
                ("delete", members.swap_remove(random.below(members.len())))
            }
            Some(_) => {
                return format!(
                    "dn: {group}\nchangetype: modify\nreplace: description\ndescription: d\n"
                );
            }
            None => {
                members.push(person.clone());
                ("add", person)
            }
        };
        format!("dn: {group}\nchangetype: modify\n{verb}: member\nmember: {person}\n")
    }

    /// One account is disabled, and the one before it enabled again.
    fn lock(&mut self, random: &mut Random) -> String {
        let dn = self.people[random.below(self.people.len())].clone();
        let mut ldif = String::new();
        if let Some(earlier) = self.locked.replace(dn.clone()) {
            ldif = format!(
                "dn: {earlier}\nchangetype: modify\nreplace: nsAccountLock\n-\ndelete: objectClass\nobjectClass: extensibleObject\n\n"
            );
        }
        ldif + &format!(
            "dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\nreplace: nsAccountLock\nnsAccountLock: true\n"
        )
    }

    fn joiner(&mut self) -> String {
        let name = format!("new{:05}", self.number());
        let dn = format!("uid={name},{PEOPLE}");
        let ldif = format!(
            "dn: {dn}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: New\nmail: {name}@example.org\n"
        );
        self.people.push(dn);
        ldif
    }

    /// Groups go on naming the one who left, as in a directory without referential integrity.
    fn leaver(&mut self, random: &mut Random) -> String {
        loop {
            let at = random.below(self.people.len());
            if self.locked.as_ref() != Some(&self.people[at]) {
                return self.people.swap_remove(at);
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// A number from 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
