//! What can be wrong with the target: its address, what answers there, and what it allows.

use super::{Company, STAFF, error_of, fault_company, joiner, tells, words_of};
use crate::support::fault_target::{Fault, FaultTarget, Rule};
use crate::support::relay::{Finished, Relay};
use crate::support::slapd::Slapd;
use crate::support::world::World;

fn status(code: u16, detail: &'static str) -> Fault {
    Fault::Status {
        code,
        scim_type: None,
        detail,
        numeric: false,
    }
}

/// A run that must end with this code, tell all of this, and change nothing at the target.
fn refuses(target: &FaultTarget, relay: &Relay, code: i32, words: &[&str]) -> Finished {
    let before = (target.target().users(), target.target().groups());
    let finished = relay.sync();
    tells(&finished, code, words);
    assert_eq!((target.target().users(), target.target().groups()), before);
    finished
}

/// After the cure one run brings what was held up, and the next has nothing to do.
fn recovers(target: &FaultTarget, relay: &Relay) {
    target.set_rules(Vec::new());
    let cured = relay.sync().completed();
    assert_eq!(
        (cured.count("usersCreated"), cured.writes()),
        (1, 1),
        "{cured:?}"
    );
    assert_eq!(target.target().users().len(), STAFF + 1);
    assert_eq!(relay.sync().completed().writes(), 0);
}

#[test]
fn bad_input_scim_url_not_found() {
    let company = Company::new();
    company.joiner();
    let right = company.target.base_url();
    let wrong = format!("{right}/nowhere");
    let lines = format!("baseUrl = \"{wrong}\"");
    let finished = company.first_run(&lines, &["404", "check the SCIM base URL"]);
    assert_eq!(finished.job["status"], "failed");
    // Where accounts are linked, their ids are not tried out elsewhere.
    let company = company.with(|relay, _| relay.tenant(&lines));
    company.refuses(1, &["linked at", &right, "Put baseUrl back"]);
    let company = company.with(|relay, _| relay.tenant(&format!("baseUrl = \"{right}\"")));
    company.recovers();
}

#[test]
fn bad_input_scim_server_unreachable() {
    let company = Company::new();
    company.joiner();
    let right = company.target.base_url();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let lines = format!("baseUrl = \"http://127.0.0.1:{port}/scim/v2\"");
    company.first_run(
        &lines,
        &["got no answer", "refused", "check the SCIM base URL"],
    );
    let company = company.with(|relay, _| relay.tenant(&lines));
    company.refuses(1, &["linked at", &right, "Put baseUrl back"]);
    let company = company.with(|relay, _| relay.tenant(&format!("baseUrl = \"{right}\"")));
    company.recovers();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_scim_url_answers_with_a_web_page() {
    let (slapd, target, relay) = fault_company().await;
    slapd.add(&joiner());
    target.set_rules(vec![Rule::on("*", "", Fault::Html)]);
    refuses(
        &target,
        &relay,
        1,
        &[
            "HTML page instead of SCIM",
            "check the SCIM base URL",
            "login page",
        ],
    );
    recovers(&target, &relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_scim_url_redirects() {
    let (slapd, target, relay) = fault_company().await;
    slapd.add(&joiner());
    let elsewhere = FaultTarget::start(Vec::new()).await;
    let to = format!("{}/Users", elsewhere.base_url());
    target.set_rules(vec![Rule::on("*", "", Fault::Redirect(to))]);
    refuses(
        &target,
        &relay,
        1,
        &[
            "302",
            "127.0.0.1",
            "redirects are not followed",
            "set the SCIM base URL",
        ],
    );
    // The token never went to the other place, nor did anything else.
    assert_eq!(elsewhere.journal().len(), 0);
    recovers(&target, &relay);
}

#[test]
fn bad_input_target_refuses_the_token() {
    let company = Company::new();
    company.joiner();
    let right = company.target.token().to_owned();
    let company = company.with(|relay, _| relay.environment("SCIM_TOKEN", "not-the-token"));
    let finished = company.refuses(1, &["401", "check the tenant's token"]);
    assert!(
        !format!("{finished:?}").contains("not-the-token"),
        "{finished:?}"
    );
    let company = company.with(|relay, _| relay.environment("SCIM_TOKEN", &right));
    company.recovers();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_target_forbids_everything() {
    let (slapd, target, relay) = fault_company().await;
    slapd.add(&joiner());
    target.set_rules(vec![Rule::on("*", "", status(403, "not for you"))]);
    let finished = refuses(&target, &relay, 1, &["403", "not for you", "credentials"]);
    assert_eq!(finished.job["status"], "failed");
    recovers(&target, &relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_target_revokes_the_token_in_the_middle() {
    let (slapd, target, relay) = fault_company().await;
    for person in &World::new(7, STAFF + 8, 0).people[STAFF..] {
        slapd.add(&person.ldif());
    }
    // One at a time, so that what is sent after the refusal can be counted.
    let relay = relay.tenant("concurrency = 1");
    let written = |target: &FaultTarget| {
        let journal = target.journal();
        journal
            .iter()
            .filter(|exchange| exchange.call.method == "POST")
            .count()
    };
    let before = written(&target);
    // The reads before the first write still work.
    target.set_rules(vec![Rule::on("POST", "", status(401, "revoked"))]);
    let finished = refuses(
        &target,
        &relay,
        1,
        &["401", "revoked", "check the tenant's token"],
    );
    assert_eq!(finished.job["status"], "failed");
    assert_eq!(
        finished.job["errorCount"], 1,
        "one cause, told once: {finished:?}"
    );
    assert!(
        written(&target) <= before + 2,
        "it went on after the refusal"
    );
    target.set_rules(Vec::new());
    assert_eq!(relay.sync().completed().count("usersCreated"), 8);
    assert_eq!(relay.sync().completed().writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_target_forbids_one_record() {
    let (slapd, target, relay) = fault_company().await;
    let people = World::new(7, STAFF + 4, 0).people.split_off(STAFF);
    for person in &people {
        slapd.add(&person.ldif());
    }
    let protected = people[1].uid.clone();
    target.set_rules(vec![
        Rule::on("POST", "/Users", status(403, "protected account")).matching(move |call| {
            call.body
                .as_ref()
                .is_some_and(|body| body["userName"] == protected.as_str())
        }),
    ]);
    let finished = relay.sync();
    tells(
        &finished,
        3,
        &[
            "403",
            "protected account",
            "give the relay's credentials the right",
        ],
    );
    let error = error_of(&finished, &people[1].dn());
    assert_eq!(
        (&error["kind"], &error["status"]),
        (&"user".into(), &403.into())
    );
    assert_eq!(finished.job["errorCount"], 1, "{}", words_of(&finished));
    // All others went through.
    assert_eq!(finished.count("usersCreated"), 3);
    assert_eq!(target.target().users().len(), STAFF + 3);
    recovers_one(&target, &relay);
}

fn recovers_one(target: &FaultTarget, relay: &Relay) {
    target.set_rules(Vec::new());
    let cured = relay.sync().completed();
    assert_eq!(
        (cured.count("usersCreated"), cured.writes()),
        (1, 1),
        "{cured:?}"
    );
    assert_eq!(target.target().users().len(), STAFF + 4);
    assert_eq!(relay.sync().completed().writes(), 0);
}

#[test]
fn bad_input_target_ca() {
    let company = Company::new();
    company.joiner();
    let right = company.target.base_url();
    let foreign = Slapd::with("");
    let folder = tempfile::tempdir().unwrap();
    let der = folder.path().join("ca.der");
    std::fs::write(&der, b"0\x82\x01\x0a\xff").unwrap();
    // The directory's TLS port: the handshake comes first, whatever is spoken after it.
    let url = format!("https://127.0.0.1:{}/scim/v2", company.slapd.ldaps_port());
    let named = "caCertificate of tenant acme";
    let missing = "/nonexistent/ca.pem".into();
    for (authority, code, words) in [
        (
            foreign.ca_pem_path(),
            1,
            [
                "got no answer",
                "check the target's certificate, or set the CA",
            ],
        ),
        (der, 2, [named, "-----BEGIN CERTIFICATE-----"]),
        (missing, 2, [named, "correct the path"]),
    ] {
        let lines = format!(
            "baseUrl = \"{url}\"\ncaCertificate = \"file:{}\"",
            authority.display()
        );
        let broken = Relay::new(&company.slapd, &company.target).tenant(&lines);
        let finished = broken.sync();
        tells(&finished, code, &words);
        assert_eq!(company.target.users().len(), STAFF);
    }
    let own = company.slapd.ca_pem_path();
    let company = company.with(|relay, _| {
        relay.tenant(&format!(
            "baseUrl = \"{right}\"\ncaCertificate = \"file:{}\"",
            own.display()
        ))
    });
    company.recovers();
}
