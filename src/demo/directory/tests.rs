//! The directory as an LDAP client sees it, and the pieces beneath.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::HashSet;
use std::time::Duration;

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::controls::{Control, ControlType, PagedResults as PageControl, RawControl};
use ldap3::{Ldap, LdapConnAsync, Scope, SearchEntry, SearchOptions, drive};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::dn::{Key, assertions, rdn};
use super::ldif::{self, LdifError};
use super::{Directory, DirectoryError, serve};

const COMPANY: &str = include_str!("../../../scim-fixtures/demo/company.ldif");
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

async fn page(
    ldap: &mut Ldap,
    size: i32,
    cookie: Vec<u8>,
    filter: &str,
) -> (Vec<String>, u32, Option<Vec<u8>>) {
    let control = PageControl { size, cookie };
    let search = ldap
        .with_controls(control)
        .search(BASE, Scope::Subtree, filter, vec!["1.1"]);
    let ldap3::SearchResult(found, result) = search.await.unwrap();
    let names = found
        .into_iter()
        .map(|entry| SearchEntry::construct(entry).dn)
        .collect();
    let cookie = result
        .ctrls
        .iter()
        .find_map(|Control(kind, raw)| match kind {
            Some(ControlType::PagedResults) => Some(raw.parse::<PageControl>().cookie),
            _ => None,
        });
    (names, result.rc, cookie)
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let directory = company();
    let mut ldap = bound(&directory).await;
    for size in [1, 7, 25, 26] {
        let (mut seen, mut cookie, mut pages) = (Vec::new(), Vec::new(), 0);
        loop {
            let (names, rc, next) = page(&mut ldap, size, cookie, "(objectClass=person)").await;
            assert_eq!(rc, 0);
            seen.extend(names);
            pages += 1;
            cookie = next.expect("every page carries the control");
            if cookie.is_empty() {
                break;
            }
        }
        assert_eq!(
            (seen.len(), pages),
            (25, (25 + size - 1) / size),
            "page size {size}"
        );
        assert_eq!(
            seen.iter().collect::<HashSet<_>>().len(),
            25,
            "page size {size}"
        );
    }
    let adapters: Vec<Box<dyn Adapter<_, _>>> = vec![
        Box::new(EntriesOnly::new()),
        Box::new(PagedResults::new(10)),
    ];
    let search =
        ldap.streaming_search_with(adapters, BASE, Scope::Subtree, "(mail=*)", vec!["mail"]);
    let mut search = search.await.unwrap();
    let mut found = 0;
    while search.next().await.unwrap().is_some() {
        found += 1;
    }
    assert_eq!((found, search.finish().await.rc), (25, 0));
}

#[tokio::test]
async fn a_cookie_is_good_once_for_its_search_on_its_connection() {
    let directory = company();
    let mut ldap = bound(&directory).await;
    let (_, _, cookie) = page(&mut ldap, 5, vec![], "(mail=*)").await;
    let cookie = cookie.unwrap();
    let mut other = bound(&directory).await;
    assert_eq!(
        page(&mut other, 5, cookie.clone(), "(mail=*)").await.1,
        53,
        "another connection"
    );
    assert_eq!(
        page(&mut ldap, 5, cookie.clone(), "(uid=*)").await.1,
        53,
        "another search"
    );
    assert_eq!(page(&mut ldap, 5, cookie, "(mail=*)").await.1, 53, "spent");
    let (_, _, cookie) = page(&mut ldap, 5, vec![], "(mail=*)").await;
    let (names, rc, end) = page(&mut ldap, 0, cookie.unwrap(), "(mail=*)").await;
    assert_eq!((names.len(), rc, end), (0, 0, Some(vec![])), "given up");
}

#[tokio::test]
async fn the_size_limit_ends_a_search_with_rc_4() {
    let mut ldap = bound(&company()).await;
    for (limit, found, rc) in [(10, 10, 4), (25, 25, 0), (0, 25, 0)] {
        let options = SearchOptions::new().sizelimit(limit);
        let search =
            ldap.with_search_options(options)
                .search(BASE, Scope::Subtree, "(mail=*)", vec!["1.1"]);
        let ldap3::SearchResult(entries, result) = search.await.unwrap();
        assert_eq!((entries.len(), result.rc), (found, rc), "limit {limit}");
    }
    ldap.with_search_options(SearchOptions::new().sizelimit(8));
    let (names, rc, cookie) = page(&mut ldap, 5, vec![], "(mail=*)").await;
    assert_eq!((names.len(), rc), (5, 0));
    ldap.with_search_options(SearchOptions::new().sizelimit(8));
    let (names, rc, cookie) = page(&mut ldap, 5, cookie.unwrap(), "(mail=*)").await;
    assert_eq!(
        (names.len(), rc, cookie),
        (3, 4, Some(vec![])),
        "the limit counts over all pages"
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

#[tokio::test]
async fn changes_are_seen_and_the_uuid_stays() {
    let directory = company();
    let mut ldap = bound(&directory).await;
    let uuid = directory.uuid(LUKAS).unwrap();
    let moved = "uid=lukas.b,ou=sales,ou=people,dc=example,dc=org";

    directory
        .set(LUKAS, "title", &["Principal Engineer"])
        .unwrap();
    directory
        .add_value(LUKAS, "mail", "lb@example.org")
        .unwrap();
    directory
        .remove_value(LUKAS, "telephoneNumber", "+44 20 7946 0001")
        .unwrap();
    assert_eq!(
        count(
            &mut ldap,
            "(&(title=principal*)(mail=lb@*)(!(telephoneNumber=*)))"
        )
        .await,
        1
    );

    directory.rename(LUKAS, moved).unwrap();
    assert_eq!(
        (directory.uuid(LUKAS), directory.uuid(moved)),
        (None, Some(uuid))
    );
    assert_eq!(count(&mut ldap, "(uid=lukas.brandt)").await, 0);
    assert_eq!(
        count(&mut ldap, &format!("(&(uid=lukas.b)(entryUUID={uuid}))")).await,
        1
    );
    assert_eq!(
        count(&mut ldap, &format!("(member={moved})")).await,
        2,
        "references follow"
    );
    assert_eq!(count(&mut ldap, &format!("(member={LUKAS})")).await, 0);

    let group = "cn=on-call,ou=groups,dc=example,dc=org";
    directory
        .remove_value(
            group,
            "member",
            "UID=lukas.b, ou=Sales,ou=people,dc=example,dc=org",
        )
        .unwrap();
    assert_eq!(count(&mut ldap, &format!("(member={moved})")).await, 1);
    directory.delete(moved).unwrap();
    assert_eq!(count(&mut ldap, &format!("(member={moved})")).await, 0);

    let again = format!("dn: {LUKAS}\nobjectClass: inetOrgPerson\nuid: lukas.brandt\n");
    directory.add(&again).unwrap();
    assert_ne!(
        directory.uuid(LUKAS),
        Some(uuid),
        "who comes back is a new entry"
    );
    assert_eq!(
        company().uuid(LUKAS),
        Some(uuid),
        "and the first one is the same in every run"
    );
}

#[tokio::test]
async fn a_renamed_unit_takes_its_people_along() {
    let directory = company();
    let mut ldap = bound(&directory).await;
    let uuid = directory.uuid(LUKAS);
    directory
        .rename(
            "ou=engineering,ou=people,dc=example,dc=org",
            "ou=R\\26D\\, Lab,dc=example,dc=org",
        )
        .unwrap();
    let moved = "uid=lukas.brandt,ou=R&D\\, Lab,dc=example,dc=org";
    assert_eq!(directory.uuid(moved), uuid);
    let unit = entries(
        &mut ldap,
        "ou=R\\26D\\2c lab,dc=example,dc=org",
        Scope::Base,
        "(objectClass=*)",
        &["ou"],
    )
    .await;
    assert_eq!(unit[0].attrs["ou"], ["R&D, Lab"]);
    let members = format!("(member={})", moved.replace('\\', "\\5c"));
    assert_eq!(count(&mut ldap, &members).await, 2);
    assert_eq!(count(&mut ldap, "(member=*ou=engineering*)").await, 0);
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let directory = company();
    let none = "uid=none,dc=example,dc=org";
    let no_entry = || Err(DirectoryError::NoEntry(none.to_owned()));
    assert_eq!(directory.delete(none), no_entry());
    assert_eq!(directory.set(none, "cn", &["x"]), no_entry());
    assert_eq!(directory.rename(none, LUKAS), no_entry());
    assert_eq!(
        directory.delete(BASE),
        Err(DirectoryError::NotALeaf(BASE.to_owned()))
    );
    let taken = "cn=sales,ou=groups,dc=example,dc=org";
    assert_eq!(
        directory.rename(LUKAS, taken),
        Err(DirectoryError::Exists(taken.to_owned()))
    );
    let below_itself = format!("uid=x,{LUKAS}");
    assert_eq!(
        directory.rename(LUKAS, &below_itself),
        Err(DirectoryError::NoParent(below_itself.clone()))
    );
    assert!(directory.uuid(LUKAS).is_some(), "still there");
    let orphan = "uid=a,ou=none,dc=example,dc=org";
    assert_eq!(
        directory.add(&format!("dn: {orphan}\ncn: a\n")),
        Err(DirectoryError::NoParent(orphan.to_owned()))
    );
    assert_eq!(
        directory.add(&format!("dn: {LUKAS}\ncn: a\n")),
        Err(DirectoryError::Exists(LUKAS.to_owned()))
    );
    assert_eq!(
        directory.add("dn: nonsense\ncn: a\n"),
        Err(DirectoryError::NotADn("nonsense".to_owned()))
    );
}

#[test]
fn ldif_is_read() {
    let text = "# comment\n  folded into the comment\nversion: 1\n\ndn: dc=x\ndc: x\ndescription: one\n  two\nDescription:: w6k=\n\
        empty:\n# between\nlast:value\n\n\ndn:: ZGM9w6k=\r\ndc: y\r\n";
    let records = ldif::parse(text).unwrap();
    let texts = |at: usize| -> Vec<(String, Vec<String>)> {
        let attributes = records[at].attributes.iter();
        let text = |value: &Vec<u8>| String::from_utf8(value.clone()).unwrap();
        attributes
            .map(|(name, values)| (name.clone(), values.iter().map(text).collect()))
            .collect()
    };
    let one = |name: &str, values: &[&str]| {
        (
            name.to_owned(),
            values.iter().map(|value| (*value).to_owned()).collect(),
        )
    };
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].dn, "dc=x");
    let expected: Vec<(String, Vec<String>)> = vec![
        one("dc", &["x"]),
        one("description", &["one two", "é"]),
        one("empty", &[""]),
        one("last", &["value"]),
    ];
    assert_eq!(texts(0), expected);
    assert_eq!(
        (records[1].dn.as_str(), texts(1)),
        ("dc=é", vec![one("dc", &["y"])])
    );
    let broken = [
        ("cn: x\n", 1),
        ("dn: dc=x\n\n\ncn: x\n", 4),
        ("dn: dc=x\nno colon\n", 2),
        ("dn: dc=x\nphoto:< file:///x\n", 2),
        ("dn: dc=x\ncn:: ***\n", 2),
        ("dn:: /w==\n", 1),
        ("dn: dc=x\nchangetype: delete\n", 2),
    ];
    for (text, line) in broken {
        let error: LdifError = ldif::parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
    }
}

#[test]
fn distinguished_names_are_compared_by_meaning() {
    let same = [
        ("cn=a,dc=x", "CN = A , DC=X"),
        ("cn=a\\, b,dc=x", "cn=\"a, b\",dc=x"),
        ("cn=a\\2c b,dc=x", "cn=a\\, b,dc=x"),
        ("cn=\\C3\\A9,dc=x", "cn=É,dc=x"),
        ("cn=a+uid=b,dc=x", "UID=b+CN=a,dc=x"),
        ("cn=a  b,dc=x", "cn=a b,dc=x"),
    ];
    for (one, other) in same {
        assert_eq!(Key::parse(one), Key::parse(other), "{one} and {other}");
        assert!(Key::parse(one).is_some(), "{one}");
    }
    for (one, other) in [
        ("cn=a,dc=x", "cn=a,dc=y"),
        ("cn=a\\,dc=x", "cn=a,dc=x"),
        ("cn=a+uid=b", "cn=a,uid=b"),
    ] {
        assert_ne!(Key::parse(one), Key::parse(other), "{one} and {other}");
    }
    for broken in ["cn", "=a", "cn=a,", "cn=\\", "cn=\\fg", "cn=\\ff"] {
        assert_eq!(Key::parse(broken), None, "{broken}");
    }
    assert_eq!(Key::parse("").map(|key| key.depth()), Some(0));
    assert_eq!(rdn("cn=a\\, b,dc=x"), "cn=a\\, b");
    assert_eq!(assertions("cn= a\\  ").unwrap(), [("cn", "a ".to_owned())]);
}
