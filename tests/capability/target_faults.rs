//! Thousands of requests to a target that fails in every way at once: nothing doubled, nothing lost, no loop, and polite all along.
//!
//! `REQUESTS=10000 tests/run target_faults` is the full size; `FAULT_SEED` gives another course of the same.
#![allow(
    clippy::print_stdout,
    reason = "the seed and the figures are for whoever runs it by hand"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::outcomes::{change_mail_ldif, created, disable};
use crate::support::fault_target::{
    Conflict, Exchange, Fault, FaultTarget, RetryAfter, Rule, Settings,
};
use crate::support::slapd::{Options, READER, Slapd};
use crate::support::world::World;
use crate::truth::{assert_settled, differences, relay};

/// Of all requests, and of PATCH alone.
const RATE: usize = 250;
const PATCH_RATE: usize = 120;
const CONCURRENCY: usize = 8;
/// Tries of one request, the first included.
const TRIES: usize = 5;
/// Runs in which everything has to be there, whatever went wrong with what.
const RUNS: usize = 4;
/// What an answer needs to the relay, and what the relay had sent before to the target, on a machine that does other things too.
const UNDER_WAY: Duration = Duration::from_millis(150);

fn number(name: &str, usual: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(usual, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

/// Every fault for writes, those without a consequence for reads, each with its share of the requests.
fn faults() -> Vec<Rule> {
    let failed = Fault::Status {
        code: 500,
        scim_type: None,
        detail: "try again",
        numeric: true,
    };
    let second = Duration::from_secs(1);
    let throttling = [
        (0.003, Fault::Throttle(RetryAfter::Seconds(1))),
        (0.003, Fault::Throttle(RetryAfter::Date(second))),
        (0.003, Fault::Throttle(RetryAfter::Rfc850Date(second))),
        (0.002, Fault::Throttle(RetryAfter::Absent)),
        (0.002, Fault::Unavailable(RetryAfter::Seconds(1))),
    ];
    let harmless = [
        (0.02, Fault::DropBefore),
        (0.01, failed),
        (0.01, Fault::Slow(Duration::from_millis(300))),
    ];
    let mut rules = Vec::new();
    for (share, fault) in throttling.into_iter().chain(harmless) {
        rules.push(Rule::on("*", "/", fault).probability(share));
    }
    let conflicts = Conflict::ALL.map(|shape| (0.002, Fault::Conflict(shape)));
    let after_effect = [
        (0.03, Fault::ApplyThenDrop),
        (0.03, Fault::ApplyThenStatus(500)),
        (0.01, Fault::ApplyThenStatus(504)),
        // Longer than the relay waits.
        (0.005, Fault::Slow(Duration::from_millis(1_500))),
    ];
    for (share, fault) in conflicts.into_iter().chain(after_effect) {
        for method in ["POST", "PATCH"] {
            rules.push(Rule::on(method, "/", fault.clone()).probability(share));
        }
    }
    rules
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_faults_by_the_thousand_double_and_lose_nothing_and_are_met_politely() {
    let requests = usize::try_from(number("REQUESTS", 1_000)).unwrap();
    let seed = number("FAULT_SEED", 20_261_121);
    println!("FAULT_SEED={seed} REQUESTS={requests}");
    let users = requests / 4;
    let world = World::new(seed, users, users / 20);
    let slapd = Options::new()
        .ldif(&world.ldif())
        .database(&format!("limits dn.exact=\"{READER}\" size=unlimited"))
        .start();
    let settings = Settings {
        seed,
        ..Settings::default()
    };
    let target = FaultTarget::start_with(faults(), settings).await;
    let relay = relay(&slapd, &target).tenant(&format!(
        "rateLimit = {RATE}\nrateBurst = 50\nrateLimits = {{ update = {PATCH_RATE} }}\nconcurrency = {CONCURRENCY}\n\
         answerTimeoutSeconds = 1"
    ));
    let groups = world.all_groups().count() + 1;
    let begun = Instant::now();

    let mut round = 0;
    let mut runs = 0;
    while target.journal().len() < requests {
        let mut run = 0;
        while run == 0 || !differences(&slapd, &target).is_empty() {
            run += 1;
            assert!(
                run <= RUNS,
                "seed {seed}, round {round}: {:#?}",
                differences(&slapd, &target)
            );
            let seen = target.journal().len();
            let finished = relay.sync();
            assert!(
                matches!(finished.code, Some(0 | 3)),
                "seed {seed}: {finished:?}"
            );
            assert_polite(&target.journal()[seen..], seed);
        }
        runs += run;
        let made = (created(&target, "/Users"), created(&target, "/Groups"));
        assert_eq!(made, (users, groups), "seed {seed}, round {round}");
        round += 1;
        change(&slapd, users, round);
    }
    let journal = target.journal();
    // Each connection is used until the target ends it, or the relay gives up waiting on it, or the run is over.
    let ended = journal.iter().filter(|exchange| exchange.sent.is_none());
    let (connections, allowed) = (
        target.connections(),
        ended.count() + (CONCURRENCY + 1) * runs,
    );
    assert!(connections <= allowed, "{connections} of {allowed}");
    report(&journal, runs, connections, begun.elapsed());

    target.set_rules(Vec::new());
    relay.sync().completed();
    assert_settled(&slapd, &target, &relay, "no faults any more");
}

/// A new mail address for everybody, and a few who leave.
fn change(slapd: &Slapd, users: usize, round: usize) {
    let changes = (0..users)
        .map(|number| change_mail_ldif(number, &format!("round{round}.{number}@example.org")));
    slapd.modify(&changes.collect::<Vec<_>>().join("\n"));
    (0..3).for_each(|leaver| disable(slapd, (round - 1) * 3 + leaver));
}

/// What one run sent, in the order of its arrival: within the limits, not before it was allowed, and nothing again and again.
fn assert_polite(sent: &[Exchange], seed: u64) {
    let patches: Vec<&Exchange> = sent
        .iter()
        .filter(|one| one.call.method == "PATCH")
        .collect();
    for (most, exchanges) in [(RATE, sent.iter().collect()), (PATCH_RATE, patches)] {
        for window in exchanges.windows(most + 1) {
            let took = window[most].at - window[0].at;
            assert!(
                took > Duration::from_secs(1),
                "seed {seed}: {} requests in {took:?}",
                most + 1
            );
        }
    }
    for (at, exchange) in sent.iter().enumerate() {
        let wait = match &exchange.fault {
            Some(Fault::Throttle(asked) | Fault::Unavailable(asked)) => asked.wait(),
            _ => continue,
        };
        let later = sent[at + 1..].iter().map(|later| later.at - exchange.at);
        let early: Vec<Duration> = later
            .filter(|after| (UNDER_WAY..wait).contains(after))
            .collect();
        assert!(early.is_empty(), "seed {seed}: {early:?} of {wait:?}");
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for exchange in sent.iter().filter(|exchange| exchange.call.method != "GET") {
        let call = &exchange.call;
        let same = format!("{} {} {:?}", call.method, call.path, call.body);
        *times.entry(same).or_default() += 1;
    }
    let loops = times.iter().filter(|(_, times)| **times > TRIES);
    let loops: Vec<_> = loops.collect();
    assert!(loops.is_empty(), "seed {seed}: {loops:#?}");
}

fn report(journal: &[Exchange], runs: usize, connections: usize, took: Duration) {
    let mut faults: BTreeMap<String, usize> = BTreeMap::new();
    for fault in journal
        .iter()
        .filter_map(|exchange| exchange.fault.as_ref())
    {
        *faults.entry(format!("{fault:?}")).or_default() += 1;
    }
    println!(
        "{} requests, {} of them with a fault, {runs} runs, {connections} connections, {took:.0?}",
        journal.len(),
        faults.values().sum::<usize>()
    );
    for (fault, times) in faults {
        println!("{times:6} {fault}");
    }
}
