//! A profile: who is in scope, what becomes of their attributes, and when.

use chrono::Duration;
use serde::{Deserialize, Serialize};

use crate::id::ProfileName;
use crate::identity::digest::{self, Digest};
use crate::identity::feed::{ChangeDetection, Rung};
use crate::identity::{Identity, Kind};
use crate::job::schedule::{Schedule, parse_interval};
use crate::mapping::Mapping;
use crate::plan::conflict::ConflictPolicy;
use crate::plan::decide::Population;
use crate::plan::deprovisioning::Deprovisioning;
use crate::plan::guard::Limits;
use crate::plan::linking::MatchingAttribute;
use crate::plan::membership::{AbsentGroups, NestedGroups};

/// One way of reading a directory for one target.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name within the directory.
    pub name: ProfileName,
    /// Whether its schedule is in force, as long as its directory's are, and whether it owns users.
    pub enabled: bool,
    /// Who is in scope.
    pub scope: Scope,
    /// What becomes of their attributes.
    pub mapping: Mapping,
    /// The rules of the mapping and all else that decides what is desired, as text, for the fingerprint.
    pub definition: String,
    /// Whom of those in scope it creates and updates.
    pub population: Population,
    /// How groups within groups are treated.
    pub nested_groups: NestedGroups,
    /// What becomes of the account of somebody who is gone or out of scope.
    pub deprovisioning: Deprovisioning,
    /// How long what follows from being gone or out of scope waits, for users and groups; zero for not at all.
    pub grace_period: Duration,
    /// What happens to a group that is deleted or out of scope.
    pub absent_groups: AbsentGroups,
    /// How an entry is linked to an account that the target already has.
    pub linking: Linking,
    /// By what a user may be matched with such an account.
    pub matching: MatchingAttribute,
    /// Whose value counts where somebody has changed an attribute at the target.
    pub conflict_policy: ConflictPolicy,
    /// When it runs by itself.
    pub schedule: Schedule,
    /// When the target is read and compared without being asked.
    pub reconciling: Reconciling,
    /// How it is learnt what changed in the directory.
    pub change_detection: ChangeDetection,
    /// How long a run may rely on that before everything is read again.
    pub full_sync_interval: Duration,
    /// What holds a plan for a person.
    pub limits: Limits,
}

impl Profile {
    /// Whether it may run as soon as the directory tells of a change.
    pub fn listens(&self) -> bool {
        !matches!(
            self.change_detection,
            ChangeDetection::Only(Rung::FullScan | Rung::ModifyTimestamp)
        )
    }

    /// The digest of everything that decides what is desired, the order of the directory's enabled profiles included;
    /// when it changes, every row is looked at again.
    pub fn fingerprint(&self, order: &[ProfileName]) -> Digest {
        let json = serde_json::to_vec(&(&self.scope, order)).unwrap_or_default();
        Digest(digest::short(&[&json, self.definition.as_bytes()]))
    }
}

/// Reads a grace period, `none` or an interval.
pub(super) fn parse_grace_period(text: &str) -> Result<Duration, String> {
    match text {
        "none" => Ok(Duration::zero()),
        text => parse_interval(text),
    }
}

/// When the target is read and compared without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciling {
    /// In the first run after so long.
    Every(Duration),
    /// In each run that reads the whole directory.
    WithFullRuns,
    /// On demand only.
    Never,
}

/// Who is in scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Where users are searched.
    pub users_dn: String,
    /// The filter that users match, all parts put together.
    pub users_filter: String,
    /// The filter of the computers that the administrator's own parts match, and that the whole filter leaves out;
    /// Active Directory only. It decides nothing, so it is no part of the fingerprint.
    #[serde(skip)]
    pub computers_filter: Option<String>,
    /// What that filter was put together from, in order: the field, and its part. It decides nothing by itself, so it is no
    /// part of the fingerprint.
    #[serde(skip)]
    pub users_clauses: Vec<(&'static str, String)>,
    /// Where groups are searched; absent when groups are not synchronized.
    pub groups_dn: Option<String>,
    /// The filter that groups match.
    pub groups_filter: String,
    /// The filter that the organizational units below `users_dn` match which are groups; absent when none are.
    pub units_filter: Option<String>,
    /// The attributes in which groups name members, and what they hold.
    pub membership: Vec<(String, MembershipType)>,
    /// The user's attribute that a membership by uid names.
    pub uid_attribute: String,
    /// Whether the users whose primary group a group is are members of it.
    pub primary_group: bool,
}

impl Scope {
    /// Whether there are groups at all, be they groups or organizational units in the directory.
    pub fn has_groups(&self) -> bool {
        self.groups_dn.is_some() || self.units_filter.is_some()
    }

    /// Whether entries such as this one are searched for.
    pub fn searches_for(&self, identity: &Identity) -> bool {
        match identity.kind {
            Kind::User => true,
            Kind::Group if identity.is_unit() => self.units_filter.is_some(),
            Kind::Group => self.groups_dn.is_some(),
        }
    }
}

/// What a membership attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipType {
    /// Distinguished names.
    #[serde(rename = "DN")]
    Dn,
    /// User ids.
    #[serde(rename = "UID")]
    Uid,
}

/// How an entry is linked to an account that the target already has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Linking {
    /// A person decides.
    #[default]
    Propose,
    /// The relay links by itself, where the account carries no other externalId.
    Automatic,
}
