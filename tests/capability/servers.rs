//! Several servers of one directory: they are tried in order, and a run stays with the one that answered.

use std::fmt::Write as _;

use scim_relay::admin::probe::Stage;
use serde_json::{Value, json};

use crate::probe::test;
use crate::support::fault_ldap::{FaultLdap, Step, message, result, tlv};
use crate::support::fault_target::FaultTarget;
use crate::support::mirror::{Held as _, assert_equal_to_directory};
use crate::support::proxy::Proxy;
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::{GROUPS, PEOPLE, Slapd, free_port};

const USERS: usize = 60;
/// Entries on a page, so that a read has several.
const PAGE: &str = "pageEntries = 20\nanswerTimeoutSeconds = 5";

fn dn(number: usize) -> String {
    format!("uid=u{number:02},{PEOPLE}")
}

/// The people and a group of all of them; the same entries on each server, as replicas have them.
fn ldif() -> String {
    let mut ldif = String::new();
    for number in 0..USERS {
        write!(
            ldif,
            "dn: {}\nobjectClass: inetOrgPerson\nuid: u{number:02}\ncn: u{number:02}\nsn: Person\n\
             displayName: Person {number}\nentryUUID: 00000000-0000-4000-8000-{number:012}\n\n",
            dn(number)
        )
        .unwrap();
    }
    write!(
        ldif,
        "dn: cn=all,{GROUPS}\nobjectClass: groupOfNames\ncn: all\nentryUUID: 00000000-0000-4000-9000-000000000001\n"
    )
    .unwrap();
    for number in 0..USERS {
        writeln!(ldif, "member: {}", dn(number)).unwrap();
    }
    ldif
}

/// Two servers of one directory, each behind a proxy that can keep it from answering and counts what it says.
struct Site {
    slapds: [Slapd; 2],
    proxies: [Proxy; 2],
    target: FaultTarget,
    relay: Relay,
}

impl Site {
    async fn new() -> Self {
        let slapds = [Slapd::with(&ldif()), Slapd::with(&ldif())];
        let proxies = [0, 1].map(|at: usize| Proxy::start(slapds[at].port()));
        let target = FaultTarget::start(Vec::new()).await;
        let relay = Relay::between(&slapds[0], target.base_url(), "any").directory(&format!(
            "port = {}\nfallbackHosts = [\"localhost:{}\"]\n{PAGE}",
            proxies[0].port(),
            proxies[1].port()
        ));
        Self {
            slapds,
            proxies,
            target,
            relay,
        }
    }

    fn address(&self, at: usize) -> String {
        // Two names, because two ports of one host are not taken for two servers.
        let host = ["127.0.0.1", "localhost"][at];
        format!("{host}:{}", self.proxies[at].port())
    }

    /// The server does not answer any more: it is not even heard.
    fn down(&self, at: usize) {
        self.proxies[at].cut_after(0);
    }

    fn active(&self) -> usize {
        let users = self.target.users();
        users.iter().filter(|user| user["active"] == true).count()
    }

    /// The run read from this server, and heard nothing of the other one.
    fn assert_only(&self, run: &Finished, at: usize) {
        assert_eq!(run.job["directoryServer"], self.address(at), "{run:?}");
        assert_eq!(self.proxies[1 - at].sent(), 0, "{run:?}");
    }

    /// The next run reads from this server for the first time since the other one; it does not know yet whether that one was
    /// further.
    fn changes_to(&self, at: usize) {
        let run = self.relay.sync();
        self.assert_only(&run, at);
        assert_eq!(run.job["status"], "completed_with_errors", "{run:?}");
        let errors = run.job["errors"].to_string();
        assert!(errors.contains("may not have been replicated"), "{run:?}");
        assert_eq!(run.writes(), 0, "{run:?}");
    }
}

fn warnings(run: &Finished) -> String {
    run.job["warnings"].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_are_tried_in_order_and_the_job_says_which_answered() {
    let site = Site::new().await;
    let run = site.relay.sync().completed();
    site.assert_only(&run, 0);
    assert_eq!(run.job["warnings"], json!([]), "{run:?}");
    assert_eq!(run.count("usersCreated"), USERS as u64);

    site.down(0);
    site.changes_to(1);
    let run = site.relay.sync().completed();
    site.assert_only(&run, 1);
    assert_eq!(run.job["warnings"].as_array().unwrap().len(), 1, "{run:?}");
    for words in [
        format!("ldap://{}: bind", site.address(0)),
        format!("{} answers in its stead (fallbackHosts)", site.address(1)),
    ] {
        assert!(warnings(&run).contains(&words), "{words}: {run:?}");
    }
    // The same people, whichever server tells of them.
    assert_eq!(run.writes(), 0, "{run:?}");
    assert_equal_to_directory(&site.slapds[1], &site.target);

    // The next run begins with the first again.
    site.proxies[0].pass();
    site.proxies[1].pass();
    site.changes_to(0);

    site.down(0);
    site.down(1);
    let run = site.relay.sync();
    assert_eq!(run.job["status"], "failed", "{run:?}");
    let error = run.job["errors"][0]["detail"].as_str().unwrap();
    for at in [0, 1] {
        assert!(error.contains(&site.address(at)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_that_are_busy_are_passed_over() {
    for code in [51, 52] {
        let busy = FaultLdap::start(move |request| {
            let answer = message(request.id, tlv(0x61, &result(code, "later")), &[]);
            (request.op == 0x60).then(|| vec![Step::Send(answer)])
        })
        .await;
        let site = Site::new().await;
        let second = site.address(1);
        let relay = site
            .relay
            .directory(&format!("port = {}", busy.address.port()));
        let run = relay.sync().completed();
        assert_eq!(run.job["directoryServer"], second, "{run:?}");
        assert!(warnings(&run).contains("later"), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_with_a_certificate_that_does_not_verify_are_passed_over_and_told_of() {
    let site = Site::new().await;
    let [first, second] = &site.slapds;
    let lines = |slapd: &Slapd| {
        format!(
            "port = {}\nfallbackHosts = [\"localhost:{}\"]\nuseTLS = true\nallowPlainLdap = false\n\
             caCertificate = \"file:{}\"",
            first.ldaps_port(),
            second.ldaps_port(),
            slapd.ca_pem_path().display()
        )
    };
    let relay = site.relay.directory(&lines(second));
    let run = relay.sync().completed();
    let answered = format!("localhost:{}", second.ldaps_port());
    assert_eq!(run.job["directoryServer"], answered, "{run:?}");
    let said = warnings(&run);
    assert!(
        said.contains("no trusted authority signed") && said.contains("TLS handshake"),
        "{said}"
    );
    // The second one has to prove itself just as well.
    let other = crate::support::tls::Certificates::generate().ca;
    let relay = relay.directory(&format!("caCertificate = {}", toml::Value::from(other)));
    let run = relay.sync();
    assert_eq!(run.job["status"], "failed", "{run:?}");
    assert_eq!(run.writes(), 0, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_are_not_asked_again_for_a_password_that_the_first_refused() {
    let mut site = Site::new().await;
    site.relay = site.relay.environment("LDAP_PASSWORD", "wrong");
    for command in ["sync", "check"] {
        let run = site.relay.spawn(&[command, "--output", "json"]).wait();
        assert_ne!(run.code, Some(0), "{run:?}");
        let said = run.job.to_string();
        assert!(said.contains("wrong bind DN or password"), "{run:?}");
        assert!(site.proxies[0].sent() > 0);
        assert_eq!(site.proxies[1].sent(), 0, "{command}: {run:?}");
    }
    // A server that does not answer says nothing of the password, so the next one does.
    site.down(0);
    let run = site.relay.sync();
    let error = run.job["errors"][0].to_string();
    for words in [
        "wrong bind DN or password",
        &format!("ldap://127.0.0.1:{}", site.proxies[0].port()),
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_that_die_in_the_middle_of_a_read_are_not_replaced_in_it() {
    let site = Site::new().await;
    site.relay.sync().completed();
    site.proxies[0].pass();
    site.relay.sync().completed();
    let whole = site.proxies[0].sent();
    // What the second one has lost is not gone.
    for number in 0..3 {
        site.slapds[1].delete(&dn(number));
    }
    for share in [40, 60, 90] {
        site.proxies[0].cut_after(whole * share / 100);
        let run = site.relay.sync();
        assert!(site.proxies[0].reached());
        site.assert_only(&run, 0);
        assert_eq!(run.job["completeRead"], false, "{run:?}");
        assert_eq!(site.active(), USERS, "{run:?}");
        site.proxies[0].pass();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_that_die_between_a_read_and_a_look_leave_removals_waiting() {
    let site = Site::new().await;
    site.relay.sync().completed();
    for slapd in &site.slapds {
        slapd.delete(&dn(7));
    }
    site.proxies[0].pass();
    let preview = site.relay.spawn(&["preview", "--output", "json"]).wait();
    assert_eq!(preview.code, Some(0), "{preview:?}");
    // As far as the preview, and no byte further: just before the look.
    site.proxies[0].cut_after(site.proxies[0].sent());
    let run = site.relay.sync();
    site.assert_only(&run, 0);
    assert_eq!(run.job["completeRead"], true, "{run:?}");
    assert_eq!(site.active(), USERS, "{run:?}");
    let errors = run.job["errors"].to_string();
    assert!(errors.contains("could not be proved"), "{run:?}");

    // The next run may read from the other one, which proves it.
    let run = site.relay.sync();
    assert_eq!(run.job["directoryServer"], site.address(1), "{run:?}");
    assert_eq!(site.active(), USERS - 1, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_that_come_back_in_the_middle_of_a_run_wait_for_the_next_one() {
    let mut site = Site::new().await;
    // A second profile, in whose scope a leaver is looked for on a connection of its own.
    site.relay = site.relay.directory(&format!(
        "usersDN = \"{PEOPLE}\"\n[[profiles]]\nname = \"others\"\nusersDN = \"{GROUPS}\"\nsynchronizeGroups = false"
    ));
    let sync = ["sync", "--output", "json", "--profile", "default"];
    site.relay.spawn(&sync).wait().completed();
    site.proxies[0].pass();
    site.down(0);
    for _ in 0..2 {
        assert_eq!(site.relay.spawn(&sync).wait().writes(), 0);
    }
    site.slapds[1].delete(&dn(7));
    // Stopped in the middle of the read.
    site.proxies[1].stall_after(4_000);
    let run = site.relay.spawn(&sync);
    site.proxies[1].wait_reached();
    site.proxies[0].pass();
    site.proxies[1].pass();
    let run = run.wait().completed();
    // The first one, which still has the leaver, was not asked again.
    site.assert_only(&run, 1);
    assert_eq!(site.active(), USERS - 1, "{run:?}");
}

/// What a test of the directory with these lines says, and the warnings of it.
async fn tested(port: u16, lines: &str, stage: Stage) -> (Value, String) {
    let report = test(port, lines, stage).await;
    let warnings = report["warnings"].to_string();
    (report, warnings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_that_could_not_take_over_are_told_of_by_a_test() {
    let site = Site::new().await;
    let ports = [0, 1].map(|at: usize| site.slapds[at].port());
    let nobody = free_port();
    let fallbacks = |of: &[u16]| {
        let of: Vec<String> = of.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("fallbackHosts = {}", toml::Value::from(of))
    };
    for stage in [Stage::Connection, Stage::Authentication, Stage::All] {
        // All are well.
        let (report, said) = tested(ports[0], &fallbacks(&[ports[1]]), stage).await;
        assert_eq!(report["success"], true, "{report:#}");
        assert!(!said.contains("fallbackHosts"), "{report:#}");

        // The first is down.
        let (report, said) = tested(nobody, &fallbacks(&[ports[1]]), stage).await;
        assert_eq!(report["success"], true, "{report:#}");
        for words in [
            format!("ldap://127.0.0.1:{nobody}: "),
            format!("127.0.0.1:{} answers in its stead", ports[1]),
        ] {
            assert!(said.contains(&words), "{words}: {report:#}");
        }

        // The second is down, which a run would not notice.
        let (report, said) = tested(ports[0], &fallbacks(&[nobody, ports[1]]), stage).await;
        assert_eq!(report["success"], true, "{report:#}");
        assert!(said.contains("could not take over"), "{report:#}");
        assert!(said.contains(&nobody.to_string()), "{report:#}");
        assert!(!said.contains(&ports[1].to_string()), "{report:#}");

        // Both are down.
        let other = free_port();
        let (report, _) = tested(nobody, &fallbacks(&[other]), stage).await;
        assert_eq!(report["error"]["code"], "network", "{report:#}");
        let error = report["error"]["message"].as_str().unwrap();
        for port in [nobody, other] {
            assert!(error.contains(&port.to_string()), "{error}");
        }
    }
    // A wrong password is tried once only.
    let lines = format!(
        "{}\npassword = \"wrong\"",
        fallbacks(&[site.proxies[1].port()])
    );
    let (report, _) = tested(ports[0], &lines, Stage::All).await;
    assert_eq!(report["error"]["code"], "authentication", "{report:#}");
    assert_eq!(site.proxies[1].sent(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn servers_that_could_not_take_over_are_told_of_by_check() {
    let site = Site::new().await;
    let check = |relay: &Relay| {
        let ended = relay.spawn(&["check", "--output", "json"]).wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.job["checks"][1].clone()
    };
    let checked = check(&site.relay);
    assert_eq!(
        checked,
        json!({ "check": format!("directory hq at {}", site.address(0)), "problem": null })
    );
    for (down, answers, words) in [
        (1, 0, "could not take over"),
        (0, 1, "answers in its stead"),
    ] {
        site.down(down);
        let checked = check(&site.relay);
        let what = format!("directory hq at {}", site.address(answers));
        assert_eq!(checked["check"], what, "{checked}");
        let warnings = checked["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{checked}");
        let said = warnings[0].as_str().unwrap();
        assert!(
            said.contains(words) && said.contains(&site.address(down)),
            "{said}"
        );
        site.proxies[down].pass();
    }
}
