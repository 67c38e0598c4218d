//! The directory as an LDAP client sees it, and the pieces beneath.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod changes;
mod pages;
mod texts;

use std::collections::HashSet;
use std::time::Duration;

use ldap3::controls::RawControl;
use ldap3::{Ldap, LdapConnAsync, Scope, SearchEntry, SearchOptions, drive};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::demo::directory::Directory;
use crate::demo::directory::server::serve;

const COMPANY: &str = include_str!("../../../../scim-fixtures/demo/company.ldif");
const BASE: &str = "dc=example,dc=org";
const READER: &str = "cn=reader,dc=example,dc=org";
const LUKAS: &str = "uid=lukas.brandt,ou=engineering,ou=people,dc=example,dc=org";

fn company() -> Directory {
    Directory::from_ldif(COMPANY)
        .unwrap()
        .with_reader(READER, "correct horse")
}

async fn connect(directory: &Directory) -> (Ldap, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(directory.clone(), listener, shutdown.clone()));
    let (connection, mut ldap) = LdapConnAsync::new(&url).await.unwrap();
    drive!(connection);
    ldap.with_timeout(Duration::from_secs(10));
    (ldap, shutdown)
}

async fn bound(directory: &Directory) -> Ldap {
    let (mut ldap, _) = connect(directory).await;
    ldap.simple_bind(READER, "correct horse")
        .await
        .unwrap()
        .success()
        .unwrap();
    ldap
}

async fn entries(
    ldap: &mut Ldap,
    base: &str,
    scope: Scope,
    filter: &str,
    attributes: &[&str],
) -> Vec<SearchEntry> {
    let found = ldap
        .search(base, scope, filter, attributes.to_vec())
        .await
        .unwrap();
    let (entries, _) = found.success().unwrap();
    entries.into_iter().map(SearchEntry::construct).collect()
}

async fn count(ldap: &mut Ldap, filter: &str) -> usize {
    entries(ldap, BASE, Scope::Subtree, filter, &["1.1"])
        .await
        .len()
}

#[tokio::test]
async fn only_the_reader_with_its_password_gets_in() {
    let directory = company();
    let (mut ldap, _) = connect(&directory).await;
    let cases = [
        (READER, "wrong", 49),
        ("cn=nobody,dc=example,dc=org", "correct horse", 49),
        (LUKAS, "correct horse", 49),
        (READER, "", 53),
        ("", "", 0),
        ("CN=Reader, DC=example, DC=org", "correct horse", 0),
    ];
    for (dn, password, rc) in cases {
        let result = ldap.simple_bind(dn, password).await.unwrap();
        assert_eq!(result.rc, rc, "{dn} {password}: {result}");
        let result = ldap
            .search(BASE, Scope::Base, "(objectClass=*)", vec!["1.1"])
            .await
            .unwrap()
            .1;
        let may_read = rc == 0 && !dn.is_empty();
        assert_eq!(result.rc, if may_read { 0 } else { 50 }, "{dn} {password}");
    }
    let result = ldap.simple_bind(READER, "wrong").await.unwrap();
    assert_eq!(result.rc, 49);
    let result = ldap
        .search(BASE, Scope::Base, "(objectClass=*)", vec!["1.1"])
        .await
        .unwrap()
        .1;
    assert_eq!(result.rc, 50, "a failed bind ends the earlier one");
}

#[tokio::test]
async fn the_root_dse_says_what_the_server_can() {
    let (mut ldap, _) = connect(&company()).await;
    for asked in [
        &["*", "+"][..],
        &["namingContexts", "supportedControl", "vendorName"],
        &["+"],
    ] {
        let found = entries(&mut ldap, "", Scope::Base, "(objectClass=*)", asked).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].attrs["namingContexts"], [BASE]);
        assert_eq!(
            found[0].attrs["supportedControl"],
            ["1.2.840.113556.1.4.319"]
        );
        assert_eq!(found[0].attrs["vendorName"], ["scim-relay"]);
        assert!(!found[0].attrs.contains_key("entryUUID"));
    }
}

#[tokio::test]
async fn scopes_and_bases() {
    let mut ldap = bound(&company()).await;
    let people = "ou=people,dc=example,dc=org";
    let cases = [
        (BASE, Scope::Base, 1),
        (BASE, Scope::OneLevel, 2),
        (BASE, Scope::Subtree, 37),
        (people, Scope::OneLevel, 3),
        (people, Scope::Subtree, 29),
        ("OU=People , DC=Example,DC=ORG", Scope::Subtree, 29),
        (LUKAS, Scope::OneLevel, 0),
    ];
    for (base, scope, expected) in cases {
        let found = entries(&mut ldap, base, scope, "(objectClass=*)", &["1.1"]).await;
        assert_eq!(found.len(), expected, "{base} {scope:?}");
    }
    let refused = [
        ("ou=none,ou=people,dc=example,dc=org", 32, people),
        ("dc=other", 32, ""),
        ("not a dn", 34, ""),
    ];
    for (base, rc, matched) in refused {
        let result = ldap
            .search(base, Scope::Subtree, "(objectClass=*)", vec!["1.1"])
            .await
            .unwrap()
            .1;
        assert_eq!(
            (result.rc, result.matched.as_str()),
            (rc, matched),
            "{base}"
        );
    }
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let directory = company();
    directory
        .set(LUKAS, "userAccountControl", &["514"])
        .unwrap();
    let uuid = directory.uuid(LUKAS).unwrap();
    let mut ldap = bound(&directory).await;
    let cases = [
        ("(objectClass=person)", 25),
        ("(objectclass=GROUPOFNAMES)", 6),
        ("(uid=LUKAS.brandt)", 1),
        ("(cn=  lukas   brandt )", 1),
        ("(uid=nobody)", 0),
        ("(cn=Chloé Lefèvre)", 1),
        ("(cn=James O'Connell)", 1),
        ("(cn=lu*br*t)", 1),
        ("(cn=*en*en*)", 1),
        ("(cn=*a*k*a*)", 3),
        ("(cn=*ingrid)", 0),
        ("(mail=*)", 25),
        ("(manager=*)", 22),
        ("(!(manager=*))", 15),
        ("(&(objectClass=person)(!(manager=*)))", 3),
        ("(|(uid=lukas.brandt)(uid=aiko.tanaka)(cn=sales))", 3),
        ("(employeeNumber>=1024)", 2),
        ("(employeeNumber<=1001)", 1),
        ("(cn~=lukas brandt)", 1),
        (
            "(member=UID=Lukas.Brandt, OU=engineering, OU=people, DC=example, DC=org)",
            2,
        ),
        ("(member=cn=sales,ou=groups,dc=example,dc=org)", 1),
        ("(userAccountControl:1.2.840.113556.1.4.803:=2)", 1),
        ("(userAccountControl:1.2.840.113556.1.4.803:=3)", 0),
        ("(userAccountControl:1.2.840.113556.1.4.804:=3)", 1),
        ("(ou:dn:=sales)", 9),
        ("(cn:caseExactMatch:=lukas brandt)", 0),
        ("(cn:caseExactMatch:=Lukas Brandt)", 1),
        ("(cn:1.2.3.4:=x)", 0),
        ("(!(cn:1.2.3.4:=x))", 0),
        ("(|(cn:1.2.3.4:=x)(uid=lukas.brandt))", 1),
        ("(modifyTimestamp>=20200101000000Z)", 37),
        ("(modifyTimestamp<=20200101000000Z)", 0),
        (
            "(entryDN=uid=lukas.brandt,ou=Engineering,ou=people,dc=example,dc=org)",
            1,
        ),
        (&format!("(entryUUID={uuid})"), 1),
    ];
    for (filter, expected) in cases {
        assert_eq!(count(&mut ldap, filter).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn only_the_attributes_that_were_asked_for_come() {
    let directory = company();
    let mut ldap = bound(&directory).await;
    let all: &[&str] = &[
        "cn",
        "departmentNumber",
        "displayName",
        "employeeNumber",
        "givenName",
        "mail",
        "manager",
        "objectClass",
        "sn",
        "telephoneNumber",
        "title",
        "uid",
    ];
    let operational: &[&str] = &["createTimestamp", "entryDN", "entryUUID", "modifyTimestamp"];
    let cases: [(&[&str], Vec<&str>); 7] = [
        (&[], all.to_vec()),
        (&["*"], all.to_vec()),
        (&["+"], operational.to_vec()),
        (&["*", "+"], [all, operational].concat()),
        (&["1.1"], vec![]),
        (&["MAIL", "entryuuid", "none"], vec!["entryUUID", "mail"]),
        (&["1.1", "uid"], vec!["uid"]),
    ];
    for (asked, mut expected) in cases {
        let found = entries(&mut ldap, LUKAS, Scope::Base, "(objectClass=*)", asked).await;
        let mut names: Vec<&str> = found[0].attrs.keys().map(String::as_str).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{asked:?}");
    }
    let found = entries(
        &mut ldap,
        LUKAS,
        Scope::Base,
        "(objectClass=*)",
        &["entryUUID"],
    )
    .await;
    assert_eq!(
        found[0].attrs["entryUUID"],
        [directory.uuid(LUKAS).unwrap().to_string()]
    );
    let options = SearchOptions::new().typesonly(true);
    let search =
        ldap.with_search_options(options)
            .search(LUKAS, Scope::Base, "(uid=*)", vec!["mail"]);
    let (found, _) = search.await.unwrap().success().unwrap();
    assert_eq!(
        SearchEntry::construct(found[0].clone()).attrs["mail"],
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn what_it_does_not_do_is_refused() {
    let mut ldap = bound(&company()).await;
    assert_eq!(ldap.delete(LUKAS).await.unwrap().rc, 53);
    let attributes = vec![("cn", HashSet::from(["x"]))];
    assert_eq!(
        ldap.add("cn=x,dc=example,dc=org", attributes)
            .await
            .unwrap()
            .rc,
        53
    );
    for (critical, rc) in [(true, 12), (false, 0)] {
        let control = RawControl {
            ctype: "1.2.3.4.5".to_owned(),
            crit: critical,
            val: None,
        };
        let search =
            ldap.with_controls(control)
                .search(BASE, Scope::Base, "(objectClass=*)", vec!["1.1"]);
        assert_eq!(search.await.unwrap().1.rc, rc, "critical: {critical}");
    }
    assert!(
        ldap.compare(LUKAS, "title", "STAFF engineer")
            .await
            .unwrap()
            .equal()
            .unwrap()
    );
    assert!(
        !ldap
            .compare(LUKAS, "title", "Engineer")
            .await
            .unwrap()
            .equal()
            .unwrap()
    );
    let (exop, result) = {
        let answer = ldap.extended(ldap3::exop::WhoAmI).await.unwrap();
        (answer.0, answer.1)
    };
    assert_eq!(
        (result.rc, exop.val.unwrap()),
        (0, format!("dn:{READER}").into_bytes())
    );
}

#[tokio::test]
async fn shutdown_ends_connections() {
    let (mut ldap, shutdown) = connect(&company()).await;
    ldap.simple_bind(READER, "correct horse")
        .await
        .unwrap()
        .success()
        .unwrap();
    shutdown.cancel();
    let search = ldap.search(BASE, Scope::Base, "(objectClass=*)", vec!["1.1"]);
    let ended = tokio::time::timeout(Duration::from_secs(10), search)
        .await
        .expect("no answer and no end");
    assert!(ended.is_err());
}
