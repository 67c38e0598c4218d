//! The audit log's words: who did what, and the chain of digests that makes a change of the log show.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::access::{Token, TokenId};
use crate::id::{JobId, TenantName};

/// What a record's digest begins with, so that it can be taken for nothing else.
const DOMAIN: &[u8] = b"scim-relay audit 1";

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// A caller of the API.
    Token {
        /// The token; `None` for the one that the configuration names.
        id: Option<TokenId>,
        /// What the token is called.
        name: String,
    },
    /// Somebody at the command line of the machine.
    CommandLine,
    /// A job, on behalf of whoever started it.
    Job(JobId),
    /// The relay by itself: a schedule, a restart.
    Relay,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { id: Some(id), name } => write!(f, "token {id} ({name})"),
            Self::Token { id: None, name } => write!(f, "token of the configuration ({name})"),
            Self::CommandLine => f.write_str("command line"),
            Self::Job(job) => write!(f, "job {job}"),
            Self::Relay => f.write_str("relay"),
        }
    }
}

/// What was done. New kinds come at the end: records hold the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// A directory was created.
    DirectoryCreate,
    /// A directory was changed.
    DirectoryUpdate,
    /// A directory was deleted.
    DirectoryDelete,
    /// A tenant was created.
    TenantCreate,
    /// A tenant was changed.
    TenantUpdate,
    /// A tenant was deleted.
    TenantDelete,
    /// A token was issued.
    TokenCreate,
    /// A token was revoked.
    TokenRevoke,
    /// A token was used, for the first time in a while.
    TokenUse,
    /// A token was refused.
    TokenRefuse,
    /// The configuration file's definitions were read.
    ConfigurationRead,
    /// Stored secrets were sealed with another key.
    SecretRotate,
    /// A job was asked for.
    JobStart,
    /// A job was told to stop.
    JobCancel,
    /// A change was sent to a target.
    Change,
    /// A token was given a successor.
    TokenRotate,
    /// A resource of the target was accepted as an entry's.
    LinkAccept,
    /// A resource of the target was refused as an entry's.
    LinkRefuse,
    /// A decision on a resource of the target was taken back.
    LinkRelease,
    /// A target was probed, on canaries.
    TargetProbe,
    /// The plan of a job that waited was approved.
    PlanApprove,
    /// The plan of a job that waited was rejected.
    PlanReject,
    /// Changes that were rejected or undone were given free again.
    HoldRelease,
    /// The quarantine of a profile was ended.
    QuarantineClear,
    /// One side of a conflict was taken.
    ConflictResolve,
    /// A decision on a conflict was taken back.
    ConflictRelease,
    /// A token was exchanged for a session of the console.
    SessionCreate,
    /// Somebody signed out of a session.
    SessionDelete,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::DirectoryCreate,
        Self::DirectoryUpdate,
        Self::DirectoryDelete,
        Self::TenantCreate,
        Self::TenantUpdate,
        Self::TenantDelete,
        Self::TokenCreate,
        Self::TokenRevoke,
        Self::TokenUse,
        Self::TokenRefuse,
        Self::ConfigurationRead,
        Self::SecretRotate,
        Self::JobStart,
        Self::JobCancel,
        Self::Change,
        Self::TokenRotate,
        Self::LinkAccept,
        Self::LinkRefuse,
        Self::LinkRelease,
        Self::TargetProbe,
        Self::PlanApprove,
        Self::PlanReject,
        Self::HoldRelease,
        Self::QuarantineClear,
        Self::ConflictResolve,
        Self::ConflictRelease,
        Self::SessionCreate,
        Self::SessionDelete,
    ];

    /// Reads a deed from its word.
    ///
    /// # Errors
    /// Names the words that there are.
    pub fn from_word(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|deed| deed.as_str() == word);
        found.ok_or_else(|| {
            format!(
                "`{}` is not an action; use {}",
                word.escape_debug(),
                Self::ALL.map(Self::as_str).join(", ")
            )
        })
    }

    /// The word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DirectoryCreate => "directory.create",
            Self::DirectoryUpdate => "directory.update",
            Self::DirectoryDelete => "directory.delete",
            Self::TenantCreate => "tenant.create",
            Self::TenantUpdate => "tenant.update",
            Self::TenantDelete => "tenant.delete",
            Self::TokenCreate => "token.create",
            Self::TokenRevoke => "token.revoke",
            Self::TokenUse => "token.use",
            Self::TokenRefuse => "token.refuse",
            Self::ConfigurationRead => "configuration.read",
            Self::SecretRotate => "secret.rotate",
            Self::JobStart => "job.start",
            Self::JobCancel => "job.cancel",
            Self::Change => "change",
            Self::TokenRotate => "token.rotate",
            Self::LinkAccept => "link.accept",
            Self::LinkRefuse => "link.refuse",
            Self::LinkRelease => "link.release",
            Self::TargetProbe => "target.probe",
            Self::PlanApprove => "plan.approve",
            Self::PlanReject => "plan.reject",
            Self::HoldRelease => "hold.release",
            Self::QuarantineClear => "quarantine.clear",
            Self::ConflictResolve => "conflict.resolve",
            Self::ConflictRelease => "conflict.release",
            Self::SessionCreate => "session.create",
            Self::SessionDelete => "session.delete",
        }
    }
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// By whom.
    pub actor: Actor,
    /// The tenant that it concerns; `None` for what concerns the whole relay.
    pub tenant: Option<TenantName>,
    /// What.
    pub deed: Deed,
    /// To what, for example `directory 0193… (hq)` or `user uid=amy,…`.
    pub subject: String,
    /// What else belongs to it, by name: changed fields, reason, outcome. Never a secret, never an attribute's value.
    pub details: Vec<(String, String)>,
}

impl Event {
    /// What was done to a token, or with it. It concerns a tenant when the token is for that one alone.
    pub fn of_token(
        at: DateTime<Utc>,
        actor: Actor,
        deed: Deed,
        token: &Token,
        details: Vec<(String, String)>,
    ) -> Self {
        Self {
            at,
            actor,
            tenant: token.tenants.only_one().cloned(),
            deed,
            subject: format!("token {} ({})", token.id, token.name),
            details,
        }
    }
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// What was done.
    pub event: Event,
    /// The digest over this record and the one before.
    pub digest: ChainDigest,
}

impl Record {
    /// The record as the API shows it.
    pub fn to_json(&self) -> serde_json::Value {
        let details: serde_json::Map<String, serde_json::Value> = self
            .event
            .details
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        serde_json::json!({
            "sequence": self.sequence,
            "at": self.event.at,
            "actor": self.event.actor.to_string(),
            "tenant": self.event.tenant,
            "action": self.event.deed.as_str(),
            "subject": self.event.subject,
            "details": details,
            "digest": self.digest.to_string(),
        })
    }
}

/// A digest that depends on every record up to its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainDigest(pub [u8; 32]);

impl ChainDigest {
    /// The digest of the next record, given its bytes as they are stored.
    pub fn next(&self, sequence: u64, record: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.0);
        hash.update(sequence.to_be_bytes());
        hash.update(record);
        Self(hash.finalize().into())
    }
}

impl FromStr for ChainDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut digest = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        let is_hexadecimal =
            text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
        }
        is_hexadecimal.then_some(Self(digest)).ok_or_else(|| {
            "a digest of the audit log is 64 hexadecimal digits, as `audit verify` prints them"
                .to_owned()
        })
    }
}

impl fmt::Display for ChainDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a check of the whole log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every record is as it was written.
    Intact {
        /// How many there are.
        records: u64,
        /// The digest of the last one, to be compared with one that was kept elsewhere.
        head: ChainDigest,
    },
    /// Each record fits the one before, but none has the digest that was noted elsewhere: the log was written anew, or
    /// cut off before that record.
    Replaced {
        /// How many there are.
        records: u64,
        /// The digest of the last one.
        head: ChainDigest,
    },
    /// A record was changed, removed, added or moved.
    Broken {
        /// The first record at which it shows.
        sequence: u64,
        /// What is wrong there.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_deeds_read_back_and_keep_their_numbers() {
        for (number, deed) in Deed::ALL.into_iter().enumerate() {
            assert_eq!(Deed::from_word(deed.as_str()), Ok(deed));
            assert_eq!(deed as usize, number, "records hold the number");
        }
        assert_eq!(
            Deed::ALL.last(),
            Some(&Deed::SessionDelete),
            "the last of the enum is the last of the list"
        );
        assert!(Deed::from_word("change.all").is_err_and(|error| error.contains("job.start")));
    }

    #[test]
    fn a_digest_depends_on_everything_before_it_and_reads_back() {
        let first = ChainDigest::default().next(1, b"a");
        for other in [
            ChainDigest::default().next(2, b"a"),
            ChainDigest::default().next(1, b"b"),
            first.next(1, b"a"),
        ] {
            assert_ne!(first, other);
        }
        let text = first.to_string();
        assert_eq!(text.parse(), Ok(first));
        for wrong in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.replacen(&text[..1], "g", 1),
        ] {
            assert!(wrong.parse::<ChainDigest>().is_err(), "{wrong}");
        }
    }
}
