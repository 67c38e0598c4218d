//! What can be wrong with the directory server, the way to it, and the account that reads.

use std::net::TcpListener;

use super::Company;
use crate::support::slapd::{PEOPLE, SUFFIX, Slapd};

#[test]
fn bad_input_directory_server_unreachable() {
    let mut company = Company::new();
    company.joiner();
    let address = format!("127.0.0.1:{}", company.slapd.port());
    company.slapd.kill();
    let finished = company.refuses(1, &[&address, "refused", "check host, port and firewall"]);
    assert_eq!(finished.job["status"], "failed");
    company.slapd.restart();
    company.recovers();
}

#[test]
fn bad_input_directory_server_silent() {
    // It accepts connections and says nothing: a firewall that swallows, or a server that hangs.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let company = Company::new();
    company.joiner();
    let company = company
        .with(|relay, _| relay.directory(&format!("port = {port}\nanswerTimeoutSeconds = 1")));
    company.refuses(1, &[&format!("127.0.0.1:{port}"), "check"]);
    let company = company.with(|relay, slapd| relay.directory(&format!("port = {}", slapd.port())));
    company.recovers();
}

#[test]
fn bad_input_name_does_not_resolve() {
    let company = Company::new();
    company.joiner();
    // RFC 6761: no such name ever resolves.
    let company = company.with(|relay, _| relay.directory("host = \"directory.invalid\""));
    company.refuses(
        1,
        &[
            "directory.invalid",
            "cannot be resolved",
            "check host, port and firewall",
        ],
    );
    let company = company.with(|relay, _| relay.directory("host = \"127.0.0.1\""));
    company.recovers();
}

#[test]
fn bad_input_bind_refused() {
    let company = Company::new();
    company.joiner();
    let company =
        company.with(|relay, _| relay.directory("bindDN = \"cn=nobody,dc=example,dc=org\""));
    company.refuses(
        1,
        &[
            "cn=nobody,dc=example,dc=org",
            "invalidCredentials",
            "wrong bind DN or password",
        ],
    );
    let company =
        company.with(|relay, _| relay.directory("bindDN = \"cn=reader,dc=example,dc=org\""));
    company.recovers();
}

#[test]
fn bad_input_base_dn_does_not_exist() {
    let company = Company::new();
    company.joiner();
    let company =
        company.with(|relay, _| relay.directory("usersDN = \"ou=staff,dc=example,dc=org\""));
    company.refuses(
        1,
        &[
            "ou=staff,dc=example,dc=org",
            "noSuchObject",
            "check the search base",
        ],
    );
    let company = company.with(|relay, _| relay.directory(&format!("usersDN = \"{PEOPLE}\"")));
    company.recovers();
}

#[test]
fn bad_input_base_dn_of_another_server() {
    let company = Company::new();
    company.joiner();
    let company = company.with(|relay, _| {
        relay.directory("baseDN = \"dc=example,dc=com\"\nusersDN = \"ou=people,dc=example,dc=com\"")
    });
    company.refuses(1, &["ou=people,dc=example,dc=com", "check the search base"]);
    let company = company.with(|relay, _| {
        relay.directory(&format!("baseDN = \"{SUFFIX}\"\nusersDN = \"{PEOPLE}\""))
    });
    company.recovers();
}

#[test]
fn bad_input_filter_with_a_mistake() {
    let company = Company::new();
    company.joiner();
    let company = company
        .with(|relay, _| relay.directory("userSearchFilter = \"(&(objectClass=person)(mail=*)\""));
    company.refuses(2, &["directories.0.userSearchFilter", "line "]);
    let company =
        company.with(|relay, _| relay.directory("userSearchFilter = \"(objectClass=person)\""));
    company.recovers();
}

#[test]
fn bad_input_filter_that_matches_nobody() {
    let company = Company::new();
    let company = company.with(|relay, _| relay.directory("userSearchFilter = \"(uid=nobody)\""));
    let finished = company.refuses(4, &[]);
    assert_eq!(finished.job["status"], "awaiting_approval");
    let holds = finished.job["holds"].to_string();
    for word in ["0 users", "Check base DN, filters", "approves the plan"] {
        assert!(holds.contains(word), "no `{word}` in {holds}");
    }
    let company =
        company.with(|relay, _| relay.directory("userSearchFilter = \"(objectClass=person)\""));
    company.joiner();
    company.recovers();
}

/// Over LDAPS with the certificate authority in this file.
fn over_tls(company: Company, authority: &str) -> Company {
    company.with(|relay, slapd| {
        relay.directory(&format!(
            "port = {}\nuseTLS = true\ncaCertificate = \"file:{authority}\"",
            slapd.ldaps_port()
        ))
    })
}

#[test]
fn bad_input_ca_of_somebody_else() {
    let company = Company::new();
    company.joiner();
    let foreign = Slapd::with("");
    let company = over_tls(company, foreign.ca_pem_path().to_str().unwrap());
    company.refuses(
        1,
        &[
            "ldaps://127.0.0.1",
            "no trusted authority signed",
            "give the CA certificate of the directory",
        ],
    );
    let own = company.slapd.ca_pem_path();
    over_tls(company, own.to_str().unwrap()).recovers();
}

#[test]
fn bad_input_ca_is_not_pem() {
    let company = Company::new();
    company.joiner();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.der");
    std::fs::write(&path, b"0\x82\x01\x0a, no PEM").unwrap();
    let company = over_tls(company, path.to_str().unwrap());
    company.refuses(
        2,
        &[
            "caCertificate of directory hq",
            "-----BEGIN CERTIFICATE-----",
        ],
    );
    // The right first line, and nothing that can be a certificate after it.
    std::fs::write(
        &path,
        "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    company.refuses(1, &["the CA certificate"]);
    let own = company.slapd.ca_pem_path();
    over_tls(company, own.to_str().unwrap()).recovers();
}

#[test]
fn bad_input_ca_file_missing() {
    let company = Company::new();
    company.joiner();
    let company = over_tls(company, "/nonexistent/ca.pem");
    company.refuses(
        2,
        &[
            "caCertificate of directory hq",
            "/nonexistent/ca.pem",
            "correct the path",
        ],
    );
    let own = company.slapd.ca_pem_path();
    over_tls(company, own.to_str().unwrap()).recovers();
}
