//! What the administrator of a history has configured, as text for the relay and as values for the model.

use std::sync::Arc;
use std::time::Duration;

use scim_relay::config;
use scim_relay::directory::Directory;
use scim_relay::directory::tenant::Tenant;
use scim_relay::secret::Secret;
use scim_relay::source::{MembershipAttribute, MembershipBy, Search, Security, Settings};

use uuid::Uuid;

use crate::directory::{GROUP_PLACES, Group, PLACES, ROOT, User};
use crate::random::Random;

/// How groups within groups are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nested {
    Direct,
    Flatten,
    Kept,
}

/// How much goes without a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Everything.
    Open,
    /// Next to nothing.
    Tight,
    /// What goes where nobody says otherwise.
    Usual,
}

/// The configuration of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether the title is mapped.
    pub title: bool,
    /// Whether contractors are in scope.
    pub contractors: bool,
    /// Whether only the first of [`PLACES`] is searched.
    pub narrow: bool,
    pub nested: Nested,
    /// Whether matches by name are linked without asking.
    pub automatic: bool,
    /// What becomes of the account of a leaver, as the configuration calls it.
    pub deprovisioning: &'static str,
    /// The group whose members have the role.
    pub role_group: Option<Uuid>,
    /// Whether the role is mapped.
    pub role: bool,
    pub guard: Guard,
    /// Requests in flight.
    pub concurrency: usize,
}

/// The role that a group gives.
pub const ROLE: &str = "staff";

impl Rules {
    pub fn new(random: &mut Random) -> Self {
        let nested = [Nested::Direct, Nested::Flatten, Nested::Kept];
        Self {
            title: random.percent(50),
            contractors: random.percent(70),
            narrow: random.percent(20),
            nested: nested[random.below(nested.len())],
            automatic: random.percent(30),
            deprovisioning: ["deactivate", "deactivate", "delete", "both"][random.below(4)],
            role_group: None,
            role: random.percent(50),
            guard: if random.percent(40) {
                Guard::Tight
            } else {
                Guard::Open
            },
            concurrency: if random.percent(70) { 1 } else { 4 },
        }
    }

    /// Changes one of them; answers what was done.
    pub fn edit(&mut self, random: &mut Random) -> String {
        match random.below(5) {
            3 => self.role = !self.role,
            0 => self.title = !self.title,
            1 => self.contractors = !self.contractors,
            2 => self.narrow = !self.narrow,
            _ => {
                let nested = [Nested::Direct, Nested::Flatten, Nested::Kept];
                self.nested = nested[random.below(nested.len())];
            }
        }
        format!("configuration: {self:?}")
    }

    /// Whether a user is in scope.
    pub fn has(&self, user: &User) -> bool {
        (self.contractors || !user.contractor) && (!self.narrow || user.place == 0)
    }

    /// Whether a group is in scope.
    pub fn has_group(&self, group: &Group) -> bool {
        group.place == 0
    }

    /// Whether the account of a leaver is deleted.
    pub fn deletes(&self) -> bool {
        self.deprovisioning != "deactivate"
    }

    /// The group that gives the role, where it is mapped.
    pub fn giver(&self) -> Option<Uuid> {
        self.role_group.filter(|_| self.role)
    }

    fn text(&self) -> String {
        let role = match self.giver() {
            Some(group) => format!("roleMapping = [{{ group = \"{group}\", role = \"{ROLE}\" }}]"),
            None => String::new(),
        };
        let users = match self.narrow {
            true => format!("ou={},{ROOT}", PLACES[0]),
            false => ROOT.to_owned(),
        };
        let exclusion = match self.contractors {
            true => "",
            false => "exclusionFilter = \"(employeeType=contractor)\"",
        };
        let title = if self.title { "title = \"title\"" } else { "" };
        let nested = match self.nested {
            Nested::Direct => "direct",
            Nested::Flatten => "flatten",
            Nested::Kept => "nested",
        };
        let linking = if self.automatic {
            "automatic"
        } else {
            "propose"
        };
        let guard = match self.guard {
            Guard::Tight => {
                "deactivations = 1, groupsEmptied = 0, groupMembersRemoved = 1, membersRemoved = 2, creations = 2, \
                 attributeChanges = 2, plausiblePercent = 1, foundPercent = 1"
            }
            Guard::Open => {
                "deactivations = 1000, groupsEmptied = 1000, groupMembersRemoved = 1000, membersRemoved = 1000, \
                 creations = 1000, attributeChanges = 1000, plausiblePercent = 1, foundPercent = 1"
            }
            Guard::Usual => "foundPercent = 1",
        };
        format!(
            r#"
[[tenants]]
name = "acme"
baseUrl = "https://iam.example.org/scim/v2"
auth = {{ type = "bearer", token = "env:SCIM_TOKEN" }}
concurrency = {concurrency}
settleSeconds = 0

[[directories]]
tenant = "acme"
name = "hq"
type = "ldap"
host = "ldap.example.org"
bindDN = "cn=scim-relay,{ROOT}"
bindPassword = "env:LDAP_PASSWORD"
baseDN = "{ROOT}"
usersDN = "{users}"
groupsDN = "ou={groups},{ROOT}"
{exclusion}
{role}
attributeMapping = {{ {title} }}
nestedGroups = "{nested}"
linking = "{linking}"
deprovisioning = "{deprovisioning}"
guard = {{ {guard} }}
"#,
            concurrency = self.concurrency,
            guard = guard,
            deprovisioning = self.deprovisioning,
            groups = GROUP_PLACES[0],
        )
    }

    /// What the relay makes of it.
    fn read(&self) -> (Arc<Tenant>, Arc<Directory>) {
        let config = config::parse(&self.text(), |_| None);
        let mut config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
        (
            Arc::new(config.tenants.remove(0)),
            Arc::new(config.directories.remove(0)),
        )
    }
}

/// What was read last, because most runs have the rules of the one before.
#[derive(Default)]
pub struct Configuration(Option<(Rules, Arc<Tenant>, Arc<Directory>)>);

impl Configuration {
    /// What the relay makes of these rules.
    pub fn of(&mut self, rules: &Rules) -> (Arc<Tenant>, Arc<Directory>) {
        let known = self.0.take().filter(|(known, ..)| known == rules);
        let known = known.unwrap_or_else(|| {
            let (tenant, directory) = rules.read();
            (rules.clone(), tenant, directory)
        });
        let (_, tenant, directory) = self.0.insert(known);
        (tenant.clone(), directory.clone())
    }
}

/// How the one profile of a directory is read.
pub fn source_settings(directory: &Directory) -> Settings {
    let (connection, profile) = (&directory.connection, &directory.profiles[0]);
    let scope = &profile.scope;
    let seconds = Duration::from_secs(10);
    Settings {
        directory_type: connection.directory_type,
        host: connection.host.clone(),
        port: connection.port,
        fallbacks: Vec::new(),
        peer: None,
        security: Security::Tls,
        ca_certificate: None,
        bind_dn: connection.bind_dn.clone(),
        bind_password: Secret::new("secret".to_owned()),
        users: Search {
            base: scope.users_dn.clone(),
            filter: scope.users_filter.clone(),
            attributes: profile.mapping.user_attributes().into_iter().collect(),
        },
        groups: scope.groups_dn.as_ref().map(|base| Search {
            base: base.clone(),
            filter: scope.groups_filter.clone(),
            attributes: profile.mapping.group_attributes().into_iter().collect(),
        }),
        units: None,
        unit_members: Vec::new(),
        anchor_attribute: connection.anchor_attribute.clone(),
        membership: vec![MembershipAttribute {
            name: "member".to_owned(),
            by: MembershipBy::Dn,
        }],
        uid_attribute: scope.uid_attribute.clone(),
        manager_attribute: None,
        primary_group: false,
        page_entries: connection.page_entries,
        connect_timeout: seconds,
        answer_timeout: seconds,
        message_bytes_max: 1024 * 1024,
    }
}
