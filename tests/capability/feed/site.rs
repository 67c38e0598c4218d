//! A small company in a directory that can tell what changed: the same on OpenLDAP and in Active Directory.

use crate::active_directory::domain;
use crate::support::fault_target::FaultTarget;
use crate::support::relay::Relay;
use crate::support::samba::{self, Samba};
use crate::support::slapd::{self, Options, Slapd};

/// Groups keep names in step with people, without telling, as Active Directory does.
const OVERLAYS: &str = "overlay refint\nrefint_attributes member\n";
/// A part of the company that no profile reads.
const UNIT: &str = "ou=elsewhere,dc=example,dc=org";

/// The directory of the company.
pub enum Site {
    /// OpenLDAP.
    OpenLdap(Slapd),
    /// A domain controller.
    Domain(Samba),
}

impl Site {
    /// OpenLDAP with the overlay of the feed.
    pub fn openldap() -> Self {
        let overlays = format!("{OVERLAYS}{}", slapd::SYNCPROV);
        Self::openldap_with(Options::new().overlays(&overlays))
    }

    /// The same with these options.
    pub fn openldap_with(options: Options) -> Self {
        let units = format!(
            "dn: {UNIT}\nobjectClass: organizationalUnit\nou: elsewhere\n\n\
             dn: ou=sales,{}\nobjectClass: organizationalUnit\nou: sales\n\n",
            slapd::PEOPLE
        );
        let site = Self::OpenLdap(options.ldif(&units).start());
        site.populate();
        site
    }

    /// A domain controller.
    pub fn domain() -> Self {
        let samba = Samba::start();
        let unit = format!("OU=sales,{}", samba::PEOPLE);
        samba.add(&format!("dn: {unit}\nobjectClass: organizationalUnit\n\n"));
        let site = Self::Domain(samba);
        site.populate();
        site
    }

    /// Ann and Ben, who are in a-team, and others, so that one who leaves is not a fifth of the company.
    fn populate(&self) {
        let (ann, ben) = (self.add_user("ann"), self.add_user("ben"));
        self.add_group("a-team", &[&ann, &ben]);
        for number in 0..12 {
            let other = self.add_user(&format!("other{number}"));
            self.add_group(&format!("others{number}"), &[&other]);
        }
    }

    /// A relay between the company and a target.
    pub fn relay(&self, target: &FaultTarget) -> Relay {
        let lines = "exclusionFilter = \"(description=hidden)\"\nreconcileInterval = \"never\"";
        match self {
            Self::OpenLdap(slapd) => Relay::between(slapd, target.base_url(), "any"),
            Self::Domain(samba) => domain::relay_of(samba, target),
        }
        .directory(lines)
    }

    /// Where people are.
    pub fn people(&self) -> &'static str {
        match self {
            Self::OpenLdap(_) => slapd::PEOPLE,
            Self::Domain(_) => samba::PEOPLE,
        }
    }

    /// A part of the company that is not read.
    pub fn elsewhere(&self) -> &'static str {
        match self {
            Self::OpenLdap(_) => UNIT,
            Self::Domain(_) => samba::ELSEWHERE,
        }
    }

    /// How the name of a person begins.
    pub fn rdn(&self, name: &str) -> String {
        match self {
            Self::OpenLdap(_) => format!("cn={name}"),
            Self::Domain(_) => format!("CN={name}"),
        }
    }

    /// The DN of a person.
    pub fn person(&self, name: &str) -> String {
        format!("{},{}", self.rdn(name), self.people())
    }

    /// The DN of a group.
    pub fn group(&self, name: &str) -> String {
        let groups = match self {
            Self::OpenLdap(_) => slapd::GROUPS,
            Self::Domain(_) => samba::GROUPS,
        };
        format!("{},{groups}", self.rdn(name))
    }

    /// Adds a person; returns the DN.
    pub fn add_user(&self, name: &str) -> String {
        match self {
            Self::OpenLdap(slapd) => {
                slapd.add(&format!(
                    "dn: {}\nobjectClass: inetOrgPerson\nobjectClass: extensibleObject\nuid: {name}\ngivenName: {name}\n\
                     sn: Test\ndisplayName: {name} Test\nmail: {name}@example.org\n",
                    self.person(name)
                ));
                self.person(name)
            }
            Self::Domain(samba) => samba.add_user(samba::PEOPLE, name, ""),
        }
    }

    /// Adds a group with one member beside these who is in no scope, because some directories want a member.
    pub fn add_group(&self, name: &str, members: &[&str]) {
        match self {
            Self::OpenLdap(slapd) => {
                let members = members.iter().chain([&slapd::READER]);
                let members: String = members
                    .map(|member| format!("member: {member}\n"))
                    .collect();
                slapd.add(&format!(
                    "dn: {}\nobjectClass: groupOfNames\n{members}",
                    self.group(name)
                ));
            }
            Self::Domain(samba) => {
                samba.add_group(samba::GROUPS, name, members);
            }
        }
    }

    /// Changes one entry by a change record without its name.
    pub fn change(&self, dn: &str, lines: &str) {
        let record = format!("dn: {dn}\nchangetype: modify\n{lines}\n");
        match self {
            Self::OpenLdap(slapd) => slapd.modify(&record),
            Self::Domain(samba) => samba.modify(&record),
        }
    }

    /// Locks or unlocks a person's account.
    pub fn lock(&self, name: &str, locked: bool) {
        let lines = match (self, locked) {
            (Self::OpenLdap(_), true) => "replace: nsAccountLock\nnsAccountLock: TRUE",
            (Self::OpenLdap(_), false) => "delete: nsAccountLock",
            (Self::Domain(_), true) => "replace: userAccountControl\nuserAccountControl: 546",
            (Self::Domain(_), false) => "replace: userAccountControl\nuserAccountControl: 544",
        };
        self.change(&self.person(name), lines);
    }

    /// Renames and moves an entry.
    pub fn rename(&self, dn: &str, rdn: &str, superior: Option<&str>) {
        match self {
            Self::OpenLdap(slapd) => slapd.modrdn(dn, rdn, superior),
            Self::Domain(samba) => samba.modrdn(dn, rdn, superior),
        }
    }

    /// Deletes an entry.
    pub fn delete(&self, dn: &str) {
        match self {
            Self::OpenLdap(slapd) => slapd.delete(dn),
            Self::Domain(samba) => samba.delete(dn),
        }
    }
}
