//! A small company in a directory that can tell what changed: the same on OpenLDAP, on 389 Directory Server and in Active
//! Directory.

use crate::active_directory::domain;
use crate::support::ds389::Ds389;
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
    /// 389 Directory Server.
    Ds389(Ds389),
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
        let site = Self::OpenLdap(options.ldif(&units()).start());
        site.populate();
        site
    }

    /// 389 Directory Server.
    pub fn ds389() -> Self {
        Self::ds389_of(Ds389::start())
    }

    /// The same with a server that was begun already.
    pub fn ds389_of(server: Ds389) -> Self {
        server.add(&units());
        let site = Self::Ds389(server);
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
            Self::Ds389(server) => Relay::of_ldap_port(server.port(), target.base_url(), "any")
                .directory("anchorAttribute = \"nsUniqueId\""),
            Self::Domain(samba) => domain::relay_of(samba, target),
        }
        .directory(lines)
    }

    /// Where people are.
    pub fn people(&self) -> &'static str {
        match self {
            Self::OpenLdap(_) | Self::Ds389(_) => slapd::PEOPLE,
            Self::Domain(_) => samba::PEOPLE,
        }
    }

    /// A part of the company that is not read.
    pub fn elsewhere(&self) -> &'static str {
        match self {
            Self::OpenLdap(_) | Self::Ds389(_) => UNIT,
            Self::Domain(_) => samba::ELSEWHERE,
        }
    }

    /// How the name of a person begins.
    pub fn rdn(&self, name: &str) -> String {
        match self {
            Self::OpenLdap(_) | Self::Ds389(_) => format!("cn={name}"),
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
            Self::OpenLdap(_) | Self::Ds389(_) => slapd::GROUPS,
            Self::Domain(_) => samba::GROUPS,
        };
        format!("{},{groups}", self.rdn(name))
    }

    /// Adds entries.
    fn add(&self, ldif: &str) {
        match self {
            Self::OpenLdap(slapd) => slapd.add(ldif),
            Self::Ds389(server) => server.add(ldif),
            Self::Domain(samba) => samba.add(ldif),
        }
    }

    /// Adds a person; returns the DN.
    pub fn add_user(&self, name: &str) -> String {
        match self {
            Self::OpenLdap(_) | Self::Ds389(_) => {
                self.add(&format!(
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
            Self::OpenLdap(_) | Self::Ds389(_) => {
                let members = members.iter().chain([&slapd::READER]);
                let members: String = members
                    .map(|member| format!("member: {member}\n"))
                    .collect();
                self.add(&format!(
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
            Self::Ds389(server) => server.modify(&record),
            Self::Domain(samba) => samba.modify(&record),
        }
    }

    /// Locks or unlocks a person's account.
    pub fn lock(&self, name: &str, locked: bool) {
        let lines = match (self, locked) {
            (Self::OpenLdap(_) | Self::Ds389(_), true) => {
                "replace: nsAccountLock\nnsAccountLock: TRUE"
            }
            (Self::OpenLdap(_) | Self::Ds389(_), false) => "delete: nsAccountLock",
            (Self::Domain(_), true) => "replace: userAccountControl\nuserAccountControl: 546",
            (Self::Domain(_), false) => "replace: userAccountControl\nuserAccountControl: 544",
        };
        self.change(&self.person(name), lines);
    }

    /// Renames and moves an entry.
    pub fn rename(&self, dn: &str, rdn: &str, superior: Option<&str>) {
        match self {
            Self::OpenLdap(slapd) => slapd.modrdn(dn, rdn, superior),
            Self::Ds389(server) => server.modrdn(dn, rdn, superior),
            Self::Domain(samba) => samba.modrdn(dn, rdn, superior),
        }
    }

    /// Deletes an entry.
    pub fn delete(&self, dn: &str) {
        match self {
            Self::OpenLdap(slapd) => slapd.delete(dn),
            Self::Ds389(server) => server.delete(dn),
            Self::Domain(samba) => samba.delete(dn),
        }
    }
}

/// Units of the company beside those that every server has.
fn units() -> String {
    format!(
        "dn: {UNIT}\nobjectClass: organizationalUnit\nou: elsewhere\n\n\
         dn: ou=sales,{}\nobjectClass: organizationalUnit\nou: sales\n\n",
        slapd::PEOPLE
    )
}
