//! What the demo does to the directory, as a client sees it.
use ldap3::Scope;

use crate::demo::directory::{Directory, DirectoryError};

use crate::demo::directory::tests::{BASE, LUKAS, bound, company, count, entries};

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
fn an_entry_of_a_backup_keeps_its_uuid() {
    let uuid = "00000000-0000-4000-8000-000000000001";
    let ldif = |uuid: &str| format!("dn: dc=example,dc=org\ndc: example\nentryUUID: {uuid}\n");
    let directory = Directory::from_ldif(&ldif(uuid)).unwrap();
    let kept = directory.uuid("dc=example,dc=org").unwrap();
    assert_eq!(kept.to_string(), uuid);
    let refused = Directory::from_ldif(&ldif("7")).err();
    assert_eq!(
        refused,
        Some(DirectoryError::NotAUuid("dc=example,dc=org".into()))
    );
}
