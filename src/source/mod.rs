//! The source: reads users, groups and organizational units from an LDAP or Active Directory server.
//!
//! It knows no SCIM, no store and no policy: it says what is there, and what its silence means.

pub mod examination;
pub mod explanation;
mod ldap;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::identity::feed::{Changes, Hint, Ladder, Position, Rung};
use crate::identity::known::Known;
use crate::identity::observation::{Look, Observation, ReadEnd, Statement};
use crate::identity::server::ServerAddress;
use crate::identity::{Anchor, DirectoryType, RowKey};
use crate::secret::Secret;
use crate::source::examination::{Examination, Questions, Server};
use crate::source::explanation::{Explained, Inquiry};

/// The door for fuzzers (`tests/fuzz`).
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    /// Reads a stream of LDAP messages, and each as everything that it may be.
    pub fn answers(stream: &[u8]) {
        super::ldap::fuzzing::answers(stream);
    }

    /// Reads a filter, and writes it again.
    pub fn filter(text: &str) {
        super::ldap::fuzzing::filter(text);
    }
}

/// Everything that is needed to read one profile of one directory.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Active Directory or plain LDAP.
    pub directory_type: DirectoryType,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Servers of the same directory, tried in order when the first cannot be reached; protected in the same way.
    pub fallbacks: Vec<ServerAddress>,
    /// The address that the host was resolved to earlier in a run; absent when it is to be resolved.
    pub peer: Option<SocketAddr>,
    /// How the connection is protected.
    pub security: Security,
    /// PEM of the authorities that are trusted instead of the public roots.
    pub ca_certificate: Option<Vec<u8>>,
    /// The account that reads.
    pub bind_dn: String,
    /// Its password; never empty.
    pub bind_password: Secret,
    /// The users that are in scope.
    pub users: Search,
    /// The groups that are in scope; absent when groups are not synchronized.
    pub groups: Option<Search>,
    /// The organizational units that are in scope as groups; absent when units are no groups.
    pub units: Option<Units>,
    /// Whom units have as members in any of the directory's profiles: what is read gets the names that this takes.
    pub unit_members: Vec<UnitMembers>,
    /// The attribute that becomes the anchor: objectGUID, entryUUID, nsUniqueId, or another.
    pub anchor_attribute: String,
    /// The attributes in which groups name their members.
    pub membership: Vec<MembershipAttribute>,
    /// The user's attribute that a membership by uid names.
    pub uid_attribute: String,
    /// The user's attribute that names a manager, by DN or by uid; absent where managers are not wanted.
    pub manager_attribute: Option<String>,
    /// Whether the users whose primary group a group is are members of it; Active Directory only.
    pub primary_group: bool,
    /// Entries asked for in one page (RFC 2696).
    pub page_entries: u16,
    /// How long to wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// How long to wait for the next message of the server.
    pub answer_timeout: Duration,
    /// The longest message that is accepted, in bytes.
    pub message_bytes_max: usize,
}

impl Settings {
    /// The first server.
    pub fn address(&self) -> ServerAddress {
        ServerAddress {
            host: self.host.clone(),
            port: self.port,
        }
    }

    /// The same for one server alone, and no other in its stead.
    pub fn at(&self, address: &ServerAddress) -> Self {
        Self {
            host: address.host.clone(),
            port: address.port,
            fallbacks: Vec::new(),
            peer: None,
            ..self.clone()
        }
    }

    /// The same for the server that answered before: further connections go there, even where its name has the addresses of
    /// others too.
    pub fn staying_with(&self, server: &Server) -> Self {
        Self {
            peer: server.peer,
            ..self.at(&server.address)
        }
    }
}

/// How a connection to the directory is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// LDAPS: TLS from the first byte.
    Tls,
    /// StartTLS (RFC 4511 §4.14), mandatory: no fall-back to plain text.
    StartTls,
    /// Nothing. Refused by the configuration unless it says so explicitly.
    Plain,
}

/// One search: a subtree, a filter, and the attributes that are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Where the subtree starts.
    pub base: String,
    /// RFC 4515 filter, the whole of it.
    pub filter: String,
    /// Attributes beside the anchor and the members; names as the mapping uses them.
    pub attributes: Vec<String>,
}

/// Organizational units that are in scope as groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// Where and which.
    pub search: Search,
    /// Whom they have as members.
    pub members: UnitMembers,
}

/// Whom an organizational unit has as members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitMembers {
    /// The users right below it.
    Users,
    /// The users and the units right below it.
    UsersAndUnits,
    /// The users below it at any depth.
    UsersBelow,
}

/// An attribute in which groups name their members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipAttribute {
    /// Its name, for example `member`.
    pub name: String,
    /// What its values are.
    pub by: MembershipBy,
}

/// What the values of a membership attribute are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum MembershipBy {
    /// Distinguished names (`member`, `uniqueMember`).
    #[serde(rename = "DN")]
    Dn,
    /// User ids (`memberUid`).
    #[serde(rename = "UID")]
    Uid,
}

/// A group that names somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamingGroup {
    /// Its anchor; absent where that cannot be read.
    pub anchor: Option<Anchor>,
    /// Its distinguished name.
    pub dn: String,
}

/// A connection to a directory, bound and ready.
#[async_trait]
pub trait Source: Send + Sync {
    /// Reads everything in scope: users, then groups, then organizational units where these are groups.
    ///
    /// Every entry is met in `known`; new, changed and unreadable ones go to `sink`, which pushes back when the
    /// receiver is slow. An error of the server in the middle is not an `Err`: it ends the read with
    /// [`crate::identity::observation::Coverage::Partial`], because what was read stands for itself.
    ///
    /// # Errors
    /// When nothing can be read at all: the connection is gone before the first page, the base does not exist, the
    /// filter is refused.
    async fn read(
        &self,
        known: &mut Known,
        sink: mpsc::Sender<Statement>,
    ) -> Result<ReadEnd, Error>;

    /// Reads as [`Source::read`] does, of what is in scope only the entries with these anchors. What is not met may be
    /// out of scope; [`Source::look`] proves it.
    ///
    /// # Errors
    /// As [`Source::read`].
    async fn read_these(
        &self,
        anchors: &[Anchor],
        known: &mut Known,
        sink: mpsc::Sender<Statement>,
    ) -> Result<ReadEnd, Error>;

    /// The groups in scope that name one of these entries as a member, by DN.
    ///
    /// # Errors
    /// When the server does not answer, or answers with an error.
    async fn groups_naming(&self, dns: &[String]) -> Result<Vec<NamingGroup>, Error>;

    /// Which ways of learning what changed the server, the account and the scope allow.
    ///
    /// # Errors
    /// When the server does not answer.
    async fn ladder(&self) -> Result<Ladder, Error>;

    /// The position of now on a rung that is a feed. Taken before a full scan, nothing is lost between the two.
    ///
    /// # Errors
    /// When the server does not give it.
    async fn position(&self, rung: Rung) -> Result<Position, Error>;

    /// What changed since a position, in scope or not.
    ///
    /// # Errors
    /// When the server does not answer, or refuses the feed for another reason than that it cannot tell.
    async fn changes(&self, since: &Position) -> Result<Changes, Error>;

    /// Looks at one entry by its anchor, in the same scope as [`Source::read`]. `Absent` only when the server answered
    /// success without the entry and the search base itself is readable on the same connection.
    ///
    /// # Errors
    /// When the server does not answer, or answers with anything but success.
    async fn look(&self, key: &RowKey) -> Result<Look, Error>;

    /// Looks for the one entry in scope that is called so: by its DN, then by its anchor as it is printed, then by its
    /// name; in the order of [`Source::read`]. `None` proves nothing: see [`Source::look`].
    ///
    /// # Errors
    /// When the server does not answer, answers with an error, or when more than one entry is called so.
    async fn find(&self, selector: &str, names: &Names) -> Result<Option<Observation>, Error>;

    /// Looks for the entry that is called so wherever the server has it, and says which clause of the search for it takes it
    /// in or leaves it out. One that is not found is hidden or missing as far as the server tells the two apart.
    ///
    /// # Errors
    /// When the server does not answer, or answers with an error.
    async fn explain(&self, inquiry: &Inquiry) -> Result<Explained, Error>;

    /// Counts what is in scope, and gathers what an administrator should know before the first run.
    ///
    /// # Errors
    /// When a search base is not there or may not be read, or when the server refuses a filter.
    async fn examine(&self, questions: &Questions) -> Result<Examination, Error>;

    /// Which server answers: where it was reached, and what it said when the connection was opened.
    async fn server(&self) -> Server;

    /// Closes the connection politely (unbind).
    async fn close(&self);
}

/// The way to a directory: how connections to it come about.
#[async_trait]
pub trait Connector: Send + Sync {
    /// See [`open`].
    ///
    /// # Errors
    /// As there.
    async fn open(&self, settings: &Settings) -> Result<Box<dyn Source>, Error>;

    /// See [`listen`].
    ///
    /// # Errors
    /// As there.
    async fn listen(&self, settings: &Settings, since: &Position) -> Result<Box<dyn Bell>, Error>;
}

/// The way over LDAP; the only one outside of simulations.
pub struct Ldap;

#[async_trait]
impl Connector for Ldap {
    async fn open(&self, settings: &Settings) -> Result<Box<dyn Source>, Error> {
        open(settings).await
    }

    async fn listen(&self, settings: &Settings, since: &Position) -> Result<Box<dyn Bell>, Error> {
        listen(settings, since).await
    }
}

/// Connects, protects the connection, binds, and proves that the bind was not anonymous: at the first server of the
/// settings that can be reached. One that refuses the account ends the search, so that a wrong password is tried once.
///
/// # Errors
/// Says which stage failed: network, TLS, authentication.
pub async fn open(settings: &Settings) -> Result<Box<dyn Source>, Error> {
    ldap::open(settings).await
}

/// Connects as [`open`] does, goes as far as is asked for, and closes the connection; answers which server it was.
///
/// # Errors
/// Says which stage failed: network, TLS, authentication.
pub async fn reach(settings: &Settings, depth: Depth) -> Result<Server, Error> {
    ldap::reach(settings, depth).await
}

/// A connection that is told of changes as they happen.
#[async_trait]
pub trait Bell: Send {
    /// Waits until entries changed. A wait that is left in the middle may have ended the connection.
    ///
    /// # Errors
    /// When the connection is lost, or the server gives the feed up.
    async fn ring(&mut self) -> Result<Ring, Error>;
}

/// What a bell tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ring {
    /// These entries may have changed.
    Hints(Vec<Hint>),
    /// It cannot tell which.
    Anything,
}

/// Connects, and listens for what changes after a position.
///
/// # Errors
/// Says which stage failed: network, TLS, authentication, or that the server does not tell.
pub async fn listen(settings: &Settings, since: &Position) -> Result<Box<dyn Bell>, Error> {
    ldap::listen(settings, since).await
}

/// Tries the servers that [`open`] and [`reach`] did not ask, because this one answered before them; says of each that
/// could not take over why.
pub async fn try_further(settings: &Settings, answered: &Server, depth: Depth) -> Vec<String> {
    ldap::try_further(settings, answered, depth).await
}

/// How far [`reach`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// TCP and TLS.
    Connection,
    /// The bind too.
    Authentication,
}

/// The attributes by which people call entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The attribute that becomes the userName; absent when that is made otherwise.
    pub user: Option<String>,
    /// The attribute that becomes a group's name.
    pub group: Option<String>,
    /// The attribute that becomes the name of an organizational unit.
    pub unit: Option<String>,
}

impl Names {
    /// Says that no entry is called so, and what to do.
    pub fn not_found(&self, selector: &str) -> String {
        let selector = selector.escape_debug();
        let user_name = match self.user {
            Some(_) => "or userName",
            None => {
                "but not by userName, because the profile does not take that from one attribute of the directory"
            }
        };
        format!(
            "no entry in scope is called `{selector}`; an entry is named by DN, anchor {user_name}; check the spelling, the \
             search bases and the filters"
        )
    }
}

/// The stage of talking to a directory that failed; the words of the API (`error.code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Name resolution or TCP.
    Network,
    /// The TLS handshake or StartTLS.
    Tls,
    /// The bind.
    Authentication,
    /// The search base.
    BaseDn,
    /// The filter.
    Filter,
    /// The account's rights.
    Permission,
    /// The server's answers while reading.
    Reading,
}

/// Why a directory could not be read: the stage, what happened, and the cure, in words for an administrator.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Which stage failed.
    pub stage: Stage,
    /// Names the server, the object and the cure.
    pub message: String,
    fault: Fault,
}

impl Error {
    /// Makes an error; the message names the server, the object and the cure.
    pub fn new(stage: Stage, fault: Fault, message: String) -> Self {
        Self {
            stage,
            message,
            fault,
        }
    }

    /// Who must act.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}
