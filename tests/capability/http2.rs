//! HTTP/2 by ALPN to a target behind TLS: every request takes it, and connections that the server ends cost nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::fault_target::{Exchange, Fault, FaultTarget, Rule};
use crate::support::mirror::assert_equal_to_directory;
use crate::support::nginx::{Nginx, Passed};
use crate::support::relay::Relay;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{Options, READER, Slapd};
use crate::support::wait_for;
use crate::support::world::World;
use crate::truth::{assert_settled, writes};

const USERS: usize = 400;
const PATIENCE: Duration = Duration::from_secs(60);

fn directory(world: &World) -> Slapd {
    Options::new()
        .ldif(&world.ldif())
        .database(&format!("limits dn.exact=\"{READER}\" size=unlimited"))
        .start()
}

fn through(relay: Relay, nginx: &Nginx, base_url: &str) -> Relay {
    relay.tenant(&format!(
        "baseUrl = \"{}\"\ncaCertificate = \"file:{}\"\nconcurrency = 8",
        nginx.url_of(base_url),
        nginx.ca_pem_path().display()
    ))
}

fn assert_all_http2(passed: &[Passed]) {
    for request in passed {
        assert_eq!(request.protocol, "HTTP/2.0", "{request:?}");
    }
}

#[test]
fn http2_carries_a_first_load_on_few_connections() {
    let world = World::new(5, USERS, 30);
    let (slapd, target) = (directory(&world), Scim2Server::start());
    let nginx = Nginx::before(&target.base_url(), 1_000_000);
    let relay = through(Relay::new(&slapd, &target), &nginx, &target.base_url());
    let run = relay.sync().completed();
    assert_eq!(run.count("usersCreated"), USERS as u64);
    assert_equal_to_directory(&slapd, &target);
    let passed = nginx.passed();
    assert_all_http2(&passed);
    let sent = passed.iter().filter(|request| request.method != "GET");
    assert_eq!(sent.count() as u64, run.writes());
    assert_eq!(target.writes() as u64, run.writes());
    // Eight requests at once, as streams of one connection; some more are opened before the first one is known to be HTTP/2.
    let connections: BTreeSet<u64> = passed.iter().map(|request| request.connection).collect();
    assert!(connections.len() <= 8, "{} connections", connections.len());
    assert_eq!(relay.sync().completed().writes(), 0);
    assert_eq!(nginx.passed().len(), passed.len());
}

/// The creations of the target's journal, whatever became of them.
fn creations(target: &FaultTarget) -> Vec<Exchange> {
    let journal = target.journal().into_iter();
    journal
        .filter(|exchange| exchange.call.method == "POST")
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_connections_that_the_server_ends_lose_and_double_nothing() {
    let world = World::new(6, USERS, 30);
    let slapd = directory(&world);
    // Slow enough for several reloads to fall into one run.
    let slow = Rule::on("*", "/", Fault::Slow(Duration::from_millis(15)));
    let target = FaultTarget::start(vec![slow]).await;
    let nginx = Nginx::before(target.base_url(), 40);
    let relay = through(
        Relay::between(&slapd, target.base_url(), "any").tenant("settleSeconds = 0"),
        &nginx,
        target.base_url(),
    );

    // GOAWAY after each 40 requests, and three reloads besides.
    let mut sync = relay.spawn_sync();
    for part in 1..=3 {
        wait_for("a part of the first load", PATIENCE, || {
            assert!(!sync.ended(), "it ended before reload {part}");
            (creations(&target).len() > part * USERS / 5).then_some(())
        });
        nginx.reload();
    }
    let run = sync.wait().completed();
    assert_eq!(run.count("usersCreated"), USERS as u64, "{run:?}");
    let groups = world.all_groups().count() + 1;
    assert_eq!(creations(&target).len(), USERS + groups, "sent twice");
    assert_settled(&slapd, &target, &relay, "first load");
    let workers: BTreeSet<u32> = nginx
        .passed()
        .iter()
        .map(|request| request.worker)
        .collect();
    assert_eq!(workers.len(), 4, "each reload fell into the run");

    // The same with changes.
    let before = writes(&target).len();
    for person in world.people.iter().take(150) {
        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: mail\nmail: new-{}\n",
            person.dn(),
            person.mail
        ));
    }
    let mut sync = relay.spawn_sync();
    wait_for("the first changes", PATIENCE, || {
        assert!(!sync.ended(), "it ended before the reload");
        (writes(&target).len() > before + 30).then_some(())
    });
    nginx.reload();
    assert_eq!(sync.wait().completed().count("usersUpdated"), 150);
    assert_settled(&slapd, &target, &relay, "changes");
    assert_all_http2(&nginx.passed());
    let connections: BTreeSet<u64> = nginx
        .passed()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert!(connections.len() > 14, "{} connections", connections.len());
}
