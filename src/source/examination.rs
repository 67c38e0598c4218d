//! What an examination of a directory asks and finds: counts, a sample, and facts about the server and the account.

use std::fmt;
use std::net::SocketAddr;

use crate::identity::feed::Ladder;
use crate::identity::observation::Observation;
use crate::identity::server::ServerAddress;

/// What is asked beside the scope of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// The filter of the users as the administrator wrote it, together with `(objectClass=computer)`; Active Directory
    /// only, because a computer is a person there and the relay leaves it out by itself.
    pub computers_filter: Option<String>,
    /// The attributes that a user must have.
    pub required: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Examination {
    /// Users in scope.
    pub users: Count,
    /// Groups in scope, organizational units among them where these are groups; absent when neither is synchronized.
    pub groups: Option<Count>,
    /// The first user that the server gave, as a read states it.
    pub sample: Option<Observation>,
    /// Computers that the administrator's filter matches and that are left out.
    pub computers: Option<Count>,
    /// The required attributes that some users lack, and how many lack them.
    pub lacking: Vec<(String, u64)>,
    /// Search bases that are there and may not be read themselves, so that absence below them cannot be proved.
    pub hidden_bases: Vec<String>,
    /// Whether password and answers cross the network without TLS.
    pub plain: bool,
    /// What the account may do that reading does not need.
    pub excess: Vec<Excess>,
    /// The server that answered.
    pub server: Server,
    /// The ways of learning what changed that the server, the account and the scope allow.
    pub ladder: Ladder,
}

/// How many entries a search gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The entries that came.
    pub entries: u64,
    /// Why there may be more; absent when these are all.
    pub cut: Option<String>,
}

impl Count {
    /// Adds what another search gave.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.cut = self.cut.take().or(other.cut);
    }
}

/// A right that reading does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The account may read passwords of users, as hashes or worse.
    ReadsPasswords,
    /// The account may write attributes of users.
    WritesUsers,
}

/// The server that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Which of the servers of the settings it is.
    pub address: ServerAddress,
    /// Where it was reached.
    pub peer: Option<SocketAddr>,
    /// The name that it calls itself, which tells one domain controller from another behind the same address; of Active
    /// Directory only.
    pub name: Option<String>,
    /// Why another one is better to read from.
    pub caveats: Vec<Caveat>,
    /// The servers before it that could not be used, and why.
    pub passed_over: Vec<String>,
}

impl Server {
    /// What it is called in a job: its own name, or else its address.
    pub fn label(&self) -> String {
        let name = self.name.clone();
        name.unwrap_or_else(|| self.address.to_string())
    }

    /// What tells it from the other servers of its directory: its own name, or else its host.
    pub fn identity(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| self.address.host.clone())
    }

    /// What an administrator should know of it.
    pub fn warnings(&self) -> Vec<String> {
        let passed_over = self.passed_over.iter().map(|why| {
            format!(
                "{why}. {} answers in its stead (fallbackHosts)",
                self.address
            )
        });
        let caveats = self.caveats.iter().map(ToString::to_string);
        passed_over.chain(caveats).collect()
    }
}

/// Why another server is better to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caveat {
    /// It is asked as a global catalog.
    GlobalCatalog,
    /// It is a read-only domain controller.
    ReadOnly,
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GlobalCatalog => {
                "the port is that of the global catalog, which holds only a part of the attributes: members of most groups, \
                 expiry dates and others are missing there; use port 636 (LDAPS) or 389 (StartTLS) of a domain controller"
            }
            Self::ReadOnly => {
                "the server is a read-only domain controller, which gets changes late and may be set up not to have all \
                 attributes; read from a writable one where that can be reached"
            }
        })
    }
}
