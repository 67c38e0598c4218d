//! The plan: what must change, in what order, and why. Pure; reading, sending and storing happen elsewhere.

pub mod backoff;
pub mod conflict;
pub mod decide;
pub mod deprovisioning;
pub mod grace;
pub mod guard;
pub mod held;
pub mod linking;
pub mod membership;
pub mod protected;
pub mod tally;
pub mod undo;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::{DirectoryId, JobId, ProfileName};
use crate::identity::RowKey;
use crate::identity::digest::Digest;
use crate::scim::path::AttributePath;
use crate::scim::{AttributeChange, Attributes};
use crate::snapshot::Baseline;

/// The classes of steps in the order in which they are carried out: leavers first, references after what they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Accounts set inactive.
    Deactivate,
    /// Members taken out of groups.
    RemoveMembers,
    /// Accounts set active again.
    Reactivate,
    /// Attributes changed.
    Update,
    /// Resources that exist at the target are taken under management.
    Link,
    /// Users created.
    CreateUser,
    /// Groups created, renamed or linked.
    Group,
    /// Members put into groups.
    AddMembers,
    /// Resources deleted: right after those of leavers who are set inactive. It stands last because its number is in stored keys.
    Delete,
    /// Managers of users set who were created or linked by the same plan.
    SetManager,
}

impl Class {
    /// All classes, in order.
    pub const ALL: [Self; 10] = [
        Self::Deactivate,
        Self::RemoveMembers,
        Self::Reactivate,
        Self::Update,
        Self::Link,
        Self::CreateUser,
        Self::Group,
        Self::AddMembers,
        Self::Delete,
        Self::SetManager,
    ];

    /// Whether the class takes something away from a person, so that it waits for proof.
    pub fn is_removal(self) -> bool {
        matches!(self, Self::Deactivate | Self::RemoveMembers | Self::Delete)
    }

    /// Whether the class gives something to a person, so that what the entry said long ago is not enough for it.
    pub fn is_grant(self) -> bool {
        matches!(
            self,
            Self::Reactivate | Self::Link | Self::CreateUser | Self::Group | Self::AddMembers
        )
    }

    /// The word used in logs, holds and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deactivate => "deactivate",
            Self::RemoveMembers => "remove_members",
            Self::Reactivate => "reactivate",
            Self::Update => "update",
            Self::Link => "link",
            Self::CreateUser => "create_user",
            Self::Group => "group",
            Self::AddMembers => "add_members",
            Self::Delete => "delete",
            Self::SetManager => "set_manager",
        }
    }
}

/// Why a step is in the plan; for people, never for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The entry is new.
    New,
    /// Mapped attributes differ from what the target acknowledged.
    Changed,
    /// The entry says that the account is disabled or expired.
    Disabled,
    /// The entry is no longer there or out of scope, by a complete read.
    Absent,
    /// The account is enabled or in scope again.
    Back,
    /// The group's membership differs.
    Membership,
    /// The target has a resource with this externalId.
    ExternalIdMatches,
    /// The target has a resource with this name, and the profile links such matches by itself.
    NameMatches,
    /// An earlier run was cut off after it had sent this; the target was found to hold it.
    Recovered,
    /// A person accepted that the resource is the entry's.
    Accepted,
    /// The target has a resource with this primary e-mail address, and the profile links such matches by itself.
    EmailMatches,
    /// A person wants undone what an earlier job did.
    Undone,
}

impl Reason {
    /// The word used in the API and the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Disabled => "disabled",
            Self::Absent => "absent",
            Self::Back => "back",
            Self::Membership => "membership",
            Self::ExternalIdMatches => "external_id_matches",
            Self::NameMatches => "name_matches",
            Self::Recovered => "recovered",
            Self::Accepted => "accepted",
            Self::EmailMatches => "email_matches",
            Self::Undone => "undone",
        }
    }
}

/// What one step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Creates the resource, with the members that can go with it.
    Create {
        /// All mapped attributes.
        attributes: Attributes,
        /// A group's members.
        members: Vec<RowKey>,
    },
    /// Changes attributes of the linked resource; setting `active` is one of them.
    Change {
        /// Each attribute, before and after.
        changes: Vec<AttributeChange>,
    },
    /// Takes a resource of the target under management and brings it up to date.
    Link {
        /// The target's id.
        id: String,
        /// All mapped attributes.
        attributes: Attributes,
    },
    /// Puts members into the linked group.
    AddMembers(Vec<RowKey>),
    /// Takes members out of the linked group; only such as the relay put there.
    RemoveMembers(Vec<RowKey>),
    /// Deletes the linked resource.
    Delete {
        /// What the target last acknowledged of it.
        attributes: Attributes,
    },
    /// Makes the user who has this row the manager of the linked user; his id at the target is not known before he is linked.
    SetManager(RowKey),
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The row.
    pub key: RowKey,
    /// The entry's DN, for people.
    pub dn: String,
    /// When it is carried out.
    pub class: Class,
    /// What it does.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The entry that it was planned from; a newer one leaves the row to the next run.
    pub based_on: Digest,
    /// Whether this is the row's last step, after which nothing differs any more.
    pub last_of_row: bool,
}

impl Step {
    /// Whether it takes a role or an entitlement from a user.
    pub fn takes_roles(&self) -> bool {
        let Action::Change { changes } = &self.action else {
            return false;
        };
        changes.iter().any(AttributeChange::takes_texts)
    }

    /// The values of an attribute that it takes from a user.
    pub fn taken(&self, path: &AttributePath) -> Vec<&str> {
        let Action::Change { changes } = &self.action else {
            return Vec::new();
        };
        let of_path = changes.iter().filter(|change| change.path == *path);
        of_path.flat_map(AttributeChange::taken_texts).collect()
    }

    /// Whether it takes something away: an account, a membership, a value.
    pub fn takes_away(&self) -> bool {
        let Action::Change { changes } = &self.action else {
            return self.class.is_removal();
        };
        let takes = |change: &AttributeChange| change.after.is_none() || change.takes_texts();
        self.class.is_removal() || changes.iter().any(takes)
    }

    fn changes_any_of(&self, paths: &[AttributePath]) -> bool {
        let Action::Change { changes } = &self.action else {
            return false;
        };
        changes.iter().any(|change| paths.contains(&change.path))
    }
}

/// Why steps wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The classes that wait.
    pub classes: Vec<Class>,
    /// Which steps of these classes.
    pub extent: Extent,
    /// What releases it.
    pub release: Release,
    /// The read that becomes the usual one when somebody approves.
    pub accepts: Option<Baseline>,
    /// What tripped and what cures it, with the numbers.
    pub message: String,
}

/// Which steps of its classes a hold is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// All.
    All,
    /// Those of these rows, which are in order.
    Rows(Vec<RowKey>),
    /// Those that change any of these attributes.
    Attributes(Vec<AttributePath>),
    /// Those that empty a group because it is gone or out of scope.
    Emptying,
    /// Those that create.
    Creating,
    /// Those that take something away.
    TakingAway,
}

impl Hold {
    /// Whether a step waits for it.
    pub fn covers(&self, step: &Step) -> bool {
        let in_extent = || match &self.extent {
            Extent::All => true,
            Extent::Rows(rows) => rows.binary_search(&step.key).is_ok(),
            Extent::Attributes(paths) => step.changes_any_of(paths),
            Extent::Emptying => step.reason == Reason::Absent,
            Extent::Creating => matches!(step.action, Action::Create { .. }),
            Extent::TakingAway => step.takes_away(),
        };
        self.classes.contains(&step.class) && in_extent()
    }
}

/// What releases a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// The next read that is proved complete.
    CompleteRead,
    /// A person who approves the plan by its digest.
    Approval,
}

/// How long a plan waits for a person; the directory has moved on then.
pub const APPROVABLE: TimeDelta = TimeDelta::days(7);

/// The head of a stored plan; its steps are stored beside it, in the order in which they are carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The job that made it; a job makes one plan.
    pub job: JobId,
    /// The directory.
    pub directory: DirectoryId,
    /// The profile.
    pub profile: ProfileName,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Whether it is a preview, which is never carried out.
    pub preview: bool,
    /// How many steps of each class, in order.
    pub counts: Vec<(Class, u64)>,
    /// How many of them wait, for whatever reason.
    pub held: Vec<(Class, u64)>,
    /// How many steps wait for a person.
    pub for_approval: u64,
    /// What waits.
    pub holds: Vec<Hold>,
    /// The digest over all steps, by which an approval names the plan; hexadecimal.
    pub digest: String,
}

impl Plan {
    /// Whether a step waits, for whatever reason.
    pub fn holds(&self, step: &Step) -> bool {
        self.holds.iter().any(|hold| hold.covers(step))
    }

    /// Whether a step waits for a person, and for nothing else.
    pub fn asks_for(&self, step: &Step) -> bool {
        let mut covering = self.holds.iter().filter(|hold| hold.covers(step));
        let asks = |hold: &Hold| hold.release == Release::Approval;
        covering.next().is_some_and(asks) && covering.all(asks)
    }

    /// Whether anything waits for a person.
    pub fn waits_for_approval(&self) -> bool {
        self.for_approval > 0
    }

    /// How many steps wait.
    pub fn steps_held(&self) -> u64 {
        self.held.iter().map(|(_, count)| count).sum()
    }

    /// When it expires, if nobody decides on it.
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.created_at + APPROVABLE
    }

    /// How many steps there are.
    pub fn steps(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// Computes the digest of a plan from its steps, fed in order.
#[derive(Default)]
pub struct PlanDigest(Sha256);

impl PlanDigest {
    /// Adds one step, as its record in the store.
    pub fn feed(&mut self, record: &[u8]) {
        self.0.update((record.len() as u64).to_le_bytes());
        self.0.update(record);
    }

    /// The digest in hexadecimal.
    pub fn finish(self) -> String {
        self.0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
