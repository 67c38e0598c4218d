//! The row of the store: what the directory last said, what the target last acknowledged, what was found there.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::id::{ConflictId, DirectoryId, ProfileName};
use crate::identity::digest::{self, Digest};
use crate::identity::feed::Position;
use crate::identity::{Identity, MemberKey, RowKey};
use crate::scim::path::AttributePath;
use crate::scim::resource::Found;
use crate::scim::{AttributeChange, Attributes, Value};

/// The *seen* column: what one profile last read of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The entry in canonical form. Kept when the entry is absent, for people to read.
    pub identity: Identity,
    /// The digest of the entry as the server sent it.
    pub digest: Digest,
    /// Whether the entry was there at the last complete read.
    pub standing: Standing,
}

/// Whether an entry is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It was there when it was last read.
    Present,
    /// A complete read did not meet it: deleted, or out of scope.
    Absent {
        /// When that was first found.
        since: DateTime<Utc>,
    },
}

/// The *applied* column: what the target last acknowledged. A row that has it is *linked*, and its user *managed*.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The target's id of the resource.
    pub id: String,
    /// The mapped attributes, `active` and `externalId` among them.
    pub attributes: Attributes,
}

impl Applied {
    /// Whether the target may hold the account active: a target that does not say so may let it log in.
    pub fn is_active(&self) -> bool {
        self.attributes.get(&AttributePath::active()) != Some(&Value::Bool(false))
    }
}

/// The *found* column: a resource at the target that is not linked to this entry and may belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The target's id of the resource.
    pub id: String,
    /// What it was recognized by.
    pub by: MatchedBy,
    /// The resource as it was found, for people and for the protected list; absent where its externalId said all.
    pub resource: Option<Found>,
}

impl Match {
    /// A resource that is recognized so.
    pub fn of(resource: &Found, by: MatchedBy) -> Self {
        Self {
            id: resource.id.clone(),
            by,
            resource: Some(resource.clone()),
        }
    }

    /// Whether it can be linked when somebody consents: a person, or the profile for all.
    pub fn is_proposal(&self) -> bool {
        matches!(
            self.by,
            MatchedBy::Name | MatchedBy::Email | MatchedBy::FormerEntry
        )
    }
}

/// What a resource was recognized by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchedBy {
    /// Its externalId is the anchor: it is ours.
    ExternalId,
    /// Its userName or displayName is the one that we would give, and it has no externalId: a proposal.
    Name,
    /// Its name is the one that we would give, but its externalId is another one, or its name does not count: never ours.
    TakenName,
    /// Its primary e-mail address is the one that we would give, and it has no externalId: a proposal.
    Email,
    /// Its primary e-mail address is the one that we would give, but its externalId is another one: never ours.
    TakenEmail,
    /// It is one of several that are recognized alike: which of them is meant cannot be told.
    Several,
    /// It is the inactive account of an entry that is gone and had the same userName: a proposal.
    FormerEntry,
}

/// A value of a linked resource that a reconciling run brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// What the target showed, and what it was given instead.
    pub change: AttributeChange,
    /// How often in a row.
    pub times: u8,
}

/// Whose value of an attribute counts, where the target holds another one than the directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The directory's value is sent.
    Directory,
    /// The value that the target holds stays.
    Local,
}

/// That one side was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Which.
    pub side: Side,
    /// When.
    pub at: DateTime<Utc>,
    /// Who decided it, as the audit log names them; `None` where the profile's policy did.
    pub by: Option<String>,
}

/// One attribute of a linked resource that holds another value than the directory says and than the relay put there. It lasts
/// as long as the target has not acknowledged anything new of the attribute and the directory says the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Which attribute.
    pub path: AttributePath,
    /// What the target last acknowledged.
    pub base: Option<Value>,
    /// What the directory says.
    pub directory: Option<Value>,
    /// What the target holds.
    pub iam: Option<Value>,
    /// When these values were first met together.
    pub since: DateTime<Utc>,
    /// Which side was taken; `None` while it waits for a person.
    pub taken: Option<Taken>,
}

impl Conflict {
    /// Its id within a directory.
    pub fn id(&self, directory: DirectoryId, row: &RowKey) -> ConflictId {
        let values = serde_json::to_vec(&(&self.directory, &self.iam)).unwrap_or_default();
        ConflictId::of_digest(digest::short(&[
            b"conflict",
            directory.0.as_bytes(),
            &row.to_key(),
            self.path.to_string().as_bytes(),
            &values,
        ]))
    }

    /// Whether it waits for a person.
    pub fn is_open(&self) -> bool {
        self.taken.is_none()
    }

    /// The side that a person took.
    pub fn decided(&self) -> Option<Side> {
        let by_person = self.taken.as_ref().filter(|taken| taken.by.is_some());
        by_person.map(|taken| taken.side)
    }
}

/// How many conflicts a directory has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConflictCounts {
    /// Those that wait for a person.
    pub open: u64,
    /// Those of which one side was taken.
    pub taken: u64,
}

impl ConflictCounts {
    /// Whether there are any.
    pub fn any(self) -> bool {
        self.open + self.taken > 0
    }
}

/// What a person decided on a match. It holds for that one resource, and says nothing of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDecision {
    /// The target's id of the resource.
    pub id: String,
    /// Whether it is to be linked; else it is left alone, and so is the entry as long as this resource is in its way.
    pub accepted: bool,
    /// When it was decided.
    pub at: DateTime<Utc>,
    /// Who decided it, as the audit log names them.
    pub by: String,
}

/// One row of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// User or group, by anchor.
    pub key: RowKey,
    /// What each profile last saw, in the order of the profiles.
    pub seen: Vec<(ProfileName, Seen)>,
    /// What the target last acknowledged.
    pub applied: Option<Applied>,
    /// What was found at the target.
    pub found: Option<Match>,
    /// What a person decided on a match, be it this one or an earlier one.
    pub decision: Option<LinkDecision>,
    /// What last became of it.
    pub last: LastOutcome,
}

/// What last became of a row: for people to read, and for how long what was refused waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastOutcome {
    /// When the target last acknowledged a change.
    pub changed_at: Option<DateTime<Utc>>,
    /// What stands in the way of the row; absent once it no longer differs.
    pub error: Option<RowError>,
    /// What the target refused of it, one for each operation; none once it no longer differs.
    pub refused: Vec<Refused>,
}

impl LastOutcome {
    /// Whether the last request for it failed.
    pub fn failed(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.sent)
    }
}

/// Why a row cannot be brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowError {
    /// When it was first met; the same error again keeps its time, so that a run without news writes nothing.
    pub at: DateTime<Utc>,
    /// What was being done: `map`, `link`, or the class of the step.
    pub operation: String,
    /// Who must act.
    pub fault: Fault,
    /// The HTTP status, where the target answered.
    pub status: Option<u16>,
    /// What happened and what cures it.
    pub detail: String,
    /// Whether it is what became of a request; else it was met while the row was planned.
    pub sent: bool,
}

/// A step that the target refused, be it again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The digest of what was refused, and of all that decided it; another one is a new step.
    pub cause: Digest,
    /// How often in a row.
    pub times: u32,
    /// When it was last refused.
    pub last_at: DateTime<Utc>,
    /// What the target said, and since when.
    pub error: RowError,
}

impl RowError {
    /// Whether it is the same error, met at another time.
    pub fn is(&self, other: &Self) -> bool {
        let at = self.at;
        *self
            == Self {
                at,
                ..other.clone()
            }
    }
}

impl Row {
    /// What a person decided on the resource that was found; a decision on another one does not count.
    pub fn decided(&self) -> Option<&LinkDecision> {
        let found = self.found.as_ref()?;
        self.decision.as_ref().filter(|one| one.id == found.id)
    }

    /// The profile that the entry belongs to: the first that sees it present; else the last that saw it.
    pub fn owner(&self) -> Option<(&ProfileName, &Seen)> {
        let left = |seen: &Seen| match seen.standing {
            Standing::Present => None,
            Standing::Absent { since } => Some(since),
        };
        let present = self
            .seen
            .iter()
            .find(|(_, seen)| seen.standing == Standing::Present);
        // Of several that lost it at the same time the first counts, and `max_by_key` answers the last.
        present
            .or_else(|| self.seen.iter().rev().max_by_key(|(_, seen)| left(seen)))
            .map(|(profile, seen)| (profile, seen))
    }

    /// Whether a run of this profile may act on the row: the owner's; and where nobody sees the entry any more, that of
    /// each profile that lost it, so that whoever is gone need not wait for one that runs rarely.
    pub fn is_for(&self, profile: &ProfileName) -> bool {
        self.owner().is_some_and(|(owner, seen)| {
            owner == profile
                || (seen.standing != Standing::Present && self.seen_by(profile).is_some())
        })
    }

    /// What a profile last saw of the entry.
    pub fn seen_by(&self, profile: &ProfileName) -> Option<&Seen> {
        let mut seen = self.seen.iter();
        seen.find(|(name, _)| name == profile).map(|(_, seen)| seen)
    }
}

/// A member as a group names it, and the row that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedMember {
    /// The name that the directory wrote.
    pub name: MemberKey,
    /// The entry that is in scope under that name; `None` for a member outside the scope, or dangling.
    pub row: Option<RowKey>,
}

/// What a profile knows of its own reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileState {
    /// The digest of scope, filters and mapping at the last read; another one means that every row is looked at again.
    pub fingerprint: Option<Digest>,
    /// How many entries the last plausible complete read met.
    pub baseline: Option<Baseline>,
    /// What the last complete read met, when that was not plausible: removals wait until a plausible one, or approval.
    pub implausible: Option<Baseline>,
    /// When the last read that was proved complete ended.
    pub last_complete_read: Option<DateTime<Utc>>,
    /// When the last job started, whatever became of it.
    pub last_attempt: Option<DateTime<Utc>>,
    /// Whether the first plan was ever settled in full.
    pub first_load_done: bool,
    /// When the target was last read in full: at first contact, and to reconcile.
    pub last_observed: Option<DateTime<Utc>>,
}

/// Where a profile stands in the change feed of its directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    /// Up to where the feed was read, together with what it gave; absent when the next run must read everything.
    pub position: Option<Position>,
    /// Why it is this rung and not a better one, in words.
    pub reason: String,
    /// Why the feed does not tell who left; absent when it does.
    pub blind: Option<String>,
    /// The server that the last full scan read to its end.
    pub server: Option<String>,
    /// Whether the last full scan proved no absence, so that the next run reads everything again.
    pub unsure: bool,
    /// A server that is not believed until a person says otherwise.
    pub went_back: Option<WentBack>,
    /// When the next account expires, which no feed tells.
    pub next_due: Option<DateTime<Utc>>,
    /// Whether another server was read than the time before, for the first time.
    pub changed_server: bool,
    /// Entries that the last full scan did not meet, where that proved nothing because another server than before answered.
    pub missing: Vec<RowKey>,
}

/// A server that went back in time, as one that was restored from a copy does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WentBack {
    /// Which, as positions name it.
    pub server: String,
    /// Why that is believed, in words.
    pub why: String,
}

impl FeedState {
    /// Why the server that was read may not know whose rights were taken away; of another server than before, for one run.
    pub fn rights_in_doubt(&self) -> Option<String> {
        if self.went_back().is_some() {
            return Some("the directory server went back in time".to_owned());
        }
        let why = "another directory server answers than before";
        self.changed_server.then(|| why.to_owned())
    }

    /// What is known of the server that was read, if it went back in time. Another server may answer meanwhile, and is not
    /// concerned.
    pub fn went_back(&self) -> Option<&WentBack> {
        let same = |back: &&WentBack| {
            let position = self.position.as_ref();
            position.is_none_or(|position| position.server == back.server)
        };
        self.went_back.as_ref().filter(same)
    }
}

/// Entries that a complete read met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Users.
    pub users: u64,
    /// Groups.
    pub groups: u64,
}

/// How many rows of a directory are linked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedCounts {
    /// Linked users.
    pub users: u64,
    /// Linked users that the target holds active.
    pub active_users: u64,
    /// Linked groups.
    pub groups: u64,
    /// Members that the relay put into linked groups.
    pub members: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::feed::Mark;
    use crate::identity::{Anchor, Kind};

    fn row(standings: &[Option<i64>]) -> Row {
        let key = RowKey {
            kind: Kind::User,
            anchor: Anchor::Text("a".into()),
        };
        let seen = standings.iter().enumerate().map(|(at, absent)| {
            let identity = Identity {
                kind: key.kind,
                anchor: key.anchor.clone(),
                dn: String::new(),
                attributes: Default::default(),
                members: Vec::new(),
                names: Vec::new(),
            };
            let seen = Seen {
                identity,
                digest: Digest::default(),
                standing: absent.map_or(Standing::Present, |at| Standing::Absent {
                    since: DateTime::from_timestamp(at, 0).unwrap_or_default(),
                }),
            };
            (ProfileName(format!("p{at}")), seen)
        });
        Row {
            seen: seen.collect(),
            key,
            applied: None,
            found: None,
            decision: None,
            last: LastOutcome::default(),
        }
    }

    #[test]
    fn a_server_that_went_back_is_not_another_one() {
        let at = |server: &str| {
            Some(Position {
                server: server.to_owned(),
                mark: Mark::UsnChanged(5),
            })
        };
        let back = |server: &str| {
            Some(WentBack {
                server: server.to_owned(),
                why: String::new(),
            })
        };
        for (went_back, position, is_behind) in [
            (None, at("a"), false),
            (back("a"), at("a"), true),
            (back("a"), None, true),
            (back("a"), at("b"), false),
        ] {
            let state = FeedState {
                went_back,
                position,
                ..FeedState::default()
            };
            assert_eq!(state.went_back().is_some(), is_behind, "{state:?}");
        }
    }

    #[test]
    fn an_entry_belongs_to_the_first_that_sees_it_and_then_to_the_last_that_saw_it() {
        for (standings, owner) in [
            (&[None, None][..], Some("p0")),
            (&[Some(5), None], Some("p1")),
            (&[Some(5), None, None], Some("p1")),
            (&[Some(5), Some(7), Some(6)], Some("p1")),
            (&[Some(7), Some(7)], Some("p0")),
            (&[], None),
        ] {
            let row = row(standings);
            let found = row.owner().map(|(profile, _)| profile.0.as_str());
            assert_eq!(found, owner, "{standings:?}");
        }
    }

    #[test]
    fn an_entry_that_nobody_sees_is_for_each_that_lost_it() {
        let p = |number: usize| ProfileName(format!("p{number}"));
        for (standings, expected) in [
            (&[None, None][..], [true, false, false]),
            (&[Some(5), None], [false, true, false]),
            (&[Some(5), Some(7)], [true, true, false]),
            (&[], [false, false, false]),
        ] {
            let row = row(standings);
            let found = [0, 1, 2].map(|number| row.is_for(&p(number)));
            assert_eq!(found, expected, "{standings:?}");
        }
    }
}
