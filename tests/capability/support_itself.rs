//! The servers and the harness behave as the other tests assume.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::process::run_tool;
use crate::support::relay::Relay;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::{GROUPS, Options, PEOPLE, READER, READER_PASSWORD, SUFFIX, Slapd};
use crate::support::world::World;

#[test]
fn support_slapd_serves_exactly_the_world() {
    let world = World::new(7, 200, 12);
    let slapd = Slapd::with(&world.ldif());

    let people = slapd.search_as(READER, READER_PASSWORD, PEOPLE, "(uid=*)", &[]);
    assert_eq!(people.len(), 200);
    for (found, made) in people.iter().zip(&world.people) {
        assert_eq!(found.dn, made.dn());
        for (attribute, value) in [
            ("uid", &made.uid),
            ("givenName", &made.given_name),
            ("sn", &made.surname),
            ("displayName", &made.display_name),
            ("mail", &made.mail),
            ("telephoneNumber", &made.telephone),
            ("employeeNumber", &made.employee),
        ] {
            assert_eq!(found.values(attribute), [value.as_str()]);
        }
    }
    let groups = slapd.search(GROUPS, "(objectClass=groupOfNames)", &["member", "cn"]);
    assert_eq!(groups.len(), 12 + 4);
    for (found, made) in groups.iter().zip(world.all_groups()) {
        assert_eq!(found.first("cn"), Some(made.name.as_str()));
        assert_eq!(found.values("member"), made.members);
    }
    let posix = slapd.search(GROUPS, "(objectClass=posixGroup)", &["memberUid"]);
    assert_eq!(posix[0].values("memberUid"), world.posix);
}

#[test]
fn support_world_depends_on_the_seed_only() {
    let world = World::new(1, 50, 5);
    assert_eq!(world, World::new(1, 50, 5));
    assert_ne!(world.ldif(), World::new(2, 50, 5).ldif());
    assert!(world.people.iter().any(|person| !person.surname.is_ascii()));
}

#[test]
fn support_slapd_changes_entries_and_keeps_them_over_a_crash() {
    let world = World::new(7, 5, 0);
    let mut slapd = Slapd::with(&world.ldif());
    let url = slapd.url();
    let locked = world.people[1].dn();
    slapd.modify(&format!(
        "dn: {locked}\nchangetype: modify\nreplace: title\ntitle: Chair\n-\nadd: objectClass\nobjectClass: extensibleObject\n-\nadd: nsAccountLock\nnsAccountLock: true\n-\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n"
    ));
    slapd.delete(&world.people[2].dn());
    slapd.modrdn(&world.people[3].dn(), "uid=renamed", Some(SUFFIX));
    slapd.add(&World::new(7, 6, 0).people[5].ldif());

    slapd.kill();
    assert!(std::net::TcpStream::connect(("127.0.0.1", slapd.port())).is_err());
    slapd.restart();

    assert_eq!(slapd.url(), url);
    let uids: Vec<_> = slapd
        .search(SUFFIX, "(uid=*)", &["uid"])
        .iter()
        .map(|entry| entry.dn.clone())
        .collect();
    let here = |number: usize| format!("uid=u{number:07},{PEOPLE}");
    assert_eq!(uids.len(), 5);
    for dn in [
        here(0),
        here(1),
        here(4),
        here(5),
        format!("uid=renamed,{SUFFIX}"),
    ] {
        assert!(uids.contains(&dn), "{dn} is not among {uids:?}");
    }
    let found = slapd.search(
        &locked,
        "(objectClass=*)",
        &["title", "nsAccountLock", "pwdAccountLockedTime"],
    );
    assert_eq!(found[0].first("title"), Some("Chair"));
    assert_eq!(found[0].first("nsAccountLock"), Some("true"));
    assert_eq!(
        found[0].first("pwdAccountLockedTime"),
        Some("000001010000Z")
    );
}

#[test]
fn support_slapd_limits_and_hides_as_its_configuration_says() {
    let world = World::new(7, 40, 0);
    let hidden = world
        .people
        .iter()
        .filter(|person| person.title == "Engineer");
    let hidden = hidden.count();
    assert!(hidden > 0);
    let mut slapd = Options::new()
        .ldif(&world.ldif())
        .database(&format!(
            "access to dn.one=\"{PEOPLE}\" filter=(title=Engineer) by dn.exact=\"{READER}\" none by * break"
        ))
        .start();
    let seen = |slapd: &Slapd| {
        let found = slapd.search_as(READER, READER_PASSWORD, PEOPLE, "(uid=*)", &["uid"]);
        found.len()
    };
    assert_eq!(seen(&slapd), 40 - hidden);
    assert_eq!(slapd.search(PEOPLE, "(uid=*)", &["uid"]).len(), 40);

    slapd.restart_with(&format!("limits dn.exact=\"{READER}\" size=10"));
    let refused = Command::new("ldapsearch")
        .args(["-x", "-LLL", "-H", &slapd.url(), "-D", READER])
        .args(["-w", READER_PASSWORD, "-b", PEOPLE, "(uid=*)", "1.1"])
        .output()
        .unwrap();
    // RFC 4511 §4.1.9: sizeLimitExceeded.
    assert_eq!(refused.status.code(), Some(4));
    assert_eq!(
        String::from_utf8_lossy(&refused.stdout)
            .matches("dn:")
            .count(),
        10
    );
}

#[test]
fn support_slapd_speaks_tls_with_its_own_authority_only() {
    let slapd = Slapd::with("");
    let search = |url: &str, tls: &str, authority: &Path| {
        let mut command = Command::new("ldapsearch");
        command
            .args(["-x", "-LLL", "-H", url, "-D", READER, "-w", READER_PASSWORD])
            .args(["-s", "base", "-b", SUFFIX, "1.1"])
            .env("LDAPTLS_CACERT", authority);
        if !tls.is_empty() {
            command.arg(tls);
        }
        command
    };
    for (url, tls) in [(slapd.ldaps_url(), ""), (slapd.url(), "-ZZ")] {
        let good = run_tool(&mut search(&url, tls, &slapd.ca_pem_path()), "");
        assert!(String::from_utf8_lossy(&good).contains(SUFFIX));
        let foreign = Slapd::with("");
        let bad = search(&url, tls, &foreign.ca_pem_path()).output().unwrap();
        assert!(
            !bad.status.success(),
            "{url} {tls} accepted a foreign authority"
        );
    }
}

#[test]
fn support_two_slapds_run_side_by_side() {
    let first = Slapd::with(&World::new(1, 3, 0).ldif());
    let second = Slapd::with(&World::new(2, 4, 0).ldif());
    assert_eq!(first.search(PEOPLE, "(uid=*)", &["uid"]).len(), 3);
    assert_eq!(second.search(PEOPLE, "(uid=*)", &["uid"]).len(), 4);
}

#[test]
fn support_scim2_server_keeps_users_groups_and_a_log() {
    let mut target = Scim2Server::start();
    assert_eq!(target.users(), Vec::<serde_json::Value>::new());
    let client = reqwest::Client::new();
    let post = |path: &str, token: &str, body: serde_json::Value| {
        let request = client
            .post(format!("{}{path}", target.base_url()))
            .bearer_auth(token)
            .header("content-type", "application/scim+json")
            .body(body.to_string());
        crate::support::block_on(async { request.send().await.unwrap().status().as_u16() })
    };
    let user = |name: &str| json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name});
    assert_eq!(post("/Users", "wrong", user("zoë")), 401);
    assert_eq!(post("/Users", target.token(), user("zoë")), 201);
    assert_eq!(post("/Users", target.token(), user("zoë")), 409);
    let users = target.users();
    assert_eq!(users.len(), 1);
    assert_eq!(users[0]["userName"], "zoë");

    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "displayName": "Staff",
        "members": [{"value": users[0]["id"]}],
    });
    assert_eq!(post("/Groups", target.token(), group), 201);
    let groups = target.groups();
    assert_eq!(groups[0]["members"][0]["value"], users[0]["id"]);

    let seen: Vec<_> = target
        .requests()
        .into_iter()
        .map(|request| (request.method, request.path, request.status))
        .collect();
    let line = |path: &str, status| ("POST".to_owned(), format!("/v2{path}"), status);
    let expected = [
        line("/Users", 401),
        line("/Users", 201),
        line("/Users", 409),
        line("/Groups", 201),
    ];
    assert_eq!(seen, expected);
    assert_eq!(target.writes(), 4);

    let address = target.base_url();
    target.kill();
    let gone = crate::support::block_on(async { client.get(address).send().await });
    assert!(gone.is_err());
}

#[test]
fn support_scim2_server_lists_more_than_one_page() {
    let target = Scim2Server::start();
    for number in 0..501 {
        let name = format!("u{number}");
        let user =
            json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name});
        assert_eq!(target.send("POST", "/Users", Some(&user)).0, 201);
    }
    let mut names: Vec<_> = target
        .users()
        .iter()
        .map(|user| user["userName"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 501);
    assert_eq!(target.requests(), []);
}

#[test]
fn support_relay_writes_the_config_file_with_later_lines_in_place_of_earlier_ones() {
    let (slapd, target) = (Slapd::with(""), Scim2Server::start());
    let relay = Relay::new(&slapd, &target)
        .tenant("rateLimit = 7")
        .directory("nestedGroups = \"flatten\"\nattributeMapping = { username = \"mail\" }")
        .section("log", "level = \"debug\"");
    relay.spawn(&["--version"]).wait();
    let text = std::fs::read_to_string(relay.config_path()).unwrap();
    let config: toml::Table = text.parse().unwrap();
    let tenant = &config["tenants"][0];
    assert_eq!(tenant["rateLimit"].as_integer(), Some(7));
    assert_eq!(tenant["baseUrl"].as_str(), Some(target.base_url().as_str()));
    let directory = &config["directories"][0];
    assert_eq!(directory["port"].as_integer(), Some(slapd.port().into()));
    assert_eq!(directory["nestedGroups"].as_str(), Some("flatten"));
    assert_eq!(
        directory["attributeMapping"]["username"].as_str(),
        Some("mail")
    );
    assert_eq!(config["log"]["level"].as_str(), Some("debug"));
    assert!(
        !text.contains(target.token()),
        "a secret in the config file"
    );
}
