//! What happens at the demo's company: joiners, changes, leavers.

use crate::demo::directory::{Directory, DirectoryError};

/// One change in the directory.
pub struct Act {
    /// What happens, for people.
    pub title: &'static str,
    /// Makes it happen.
    pub play: fn(&Directory) -> Result<(), DirectoryError>,
}

const ENGINEERING: &str = "ou=engineering,ou=people,dc=example,dc=org";
const SALES: &str = "ou=sales,ou=people,dc=example,dc=org";

/// The story: each kind of change once.
pub fn acts() -> Vec<Act> {
    vec![
        Act {
            title: "A joiner: Nadia Haddad starts in engineering",
            play: joiner,
        },
        Act {
            title: "She is put on call",
            play: |company| {
                company.add_value(
                    "cn=on-call,ou=groups,dc=example,dc=org",
                    "member",
                    "uid=nadia.haddad,ou=engineering,ou=people,dc=example,dc=org",
                )
            },
        },
        Act {
            title: "A name change: Hanna Lindqvist is now Hanna Berg",
            play: |company| {
                let dn = "uid=hanna.lindqvist,ou=sales,ou=people,dc=example,dc=org";
                company.set(dn, "sn", &["Berg"])?;
                company.set(dn, "displayName", &["Hanna Berg"])?;
                company.set(dn, "mail", &["hanna.berg@example.org"])
            },
        },
        Act {
            title: "A move: Rohan Mehta goes from engineering to sales",
            play: moved,
        },
        Act {
            title: "A group gets a new name: leadership becomes management",
            play: |company| {
                company.set(
                    "cn=leadership,ou=groups,dc=example,dc=org",
                    "cn",
                    &["management"],
                )
            },
        },
        Act {
            title: "A locked account: Yusuf Demir",
            play: |company| {
                company.set(
                    &format!("uid=yusuf.demir,{ENGINEERING}"),
                    "nsAccountLock",
                    &["true"],
                )
            },
        },
        Act {
            title: "A leaver: Kwame Mensah is deleted",
            play: |company| company.delete(&format!("uid=kwame.mensah,{SALES}")),
        },
        Act {
            title: "Yusuf Demir's account is unlocked",
            play: |company| {
                company.set(
                    &format!("uid=yusuf.demir,{ENGINEERING}"),
                    "nsAccountLock",
                    &[],
                )
            },
        },
    ]
}

/// More of the same, for those who go on watching.
pub fn encores() -> Vec<Act> {
    vec![
        Act {
            title: "Chloe Lefevre gets a new title",
            play: |company| {
                company.set(
                    &format!("uid=chloe.lefevre,{ENGINEERING}"),
                    "title",
                    &["Principal Engineer"],
                )
            },
        },
        Act {
            title: "Nadia Haddad is no longer on call",
            play: |company| {
                company.remove_value(
                    "cn=on-call,ou=groups,dc=example,dc=org",
                    "member",
                    "uid=nadia.haddad,ou=engineering,ou=people,dc=example,dc=org",
                )
            },
        },
        Act {
            title: "Mateus Carvalho leaves",
            play: |company| company.delete(&format!("uid=mateus.carvalho,{SALES}")),
        },
    ]
}

fn joiner(company: &Directory) -> Result<(), DirectoryError> {
    company.add(&format!(
        "dn: uid=nadia.haddad,{ENGINEERING}
objectClass: top
objectClass: person
objectClass: organizationalPerson
objectClass: inetOrgPerson
uid: nadia.haddad
cn: Nadia Haddad
givenName: Nadia
sn: Haddad
displayName: Nadia Haddad
mail: nadia.haddad@example.org
title: Software Engineer
departmentNumber: Engineering
employeeNumber: 1042
telephoneNumber: +44 20 7946 0042
"
    ))?;
    company.add_value(
        "cn=engineering,ou=groups,dc=example,dc=org",
        "member",
        &format!("uid=nadia.haddad,{ENGINEERING}"),
    )
}

fn moved(company: &Directory) -> Result<(), DirectoryError> {
    let (from, to) = (
        format!("uid=rohan.mehta,{ENGINEERING}"),
        format!("uid=rohan.mehta,{SALES}"),
    );
    company.rename(&from, &to)?;
    company.set(&to, "departmentNumber", &["Sales"])?;
    company.remove_value("cn=engineering,ou=groups,dc=example,dc=org", "member", &to)?;
    company.add_value("cn=sales,ou=groups,dc=example,dc=org", "member", &to)
}
