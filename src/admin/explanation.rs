//! What the API answers when one entry is explained: found or not, in scope or not and by which clause, mapped, at the target,
//! and what the next run would do.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::admin::probe::MappingPreview;
use crate::identity::Kind;

/// One entry explained.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Whether the directory has the entry, in scope or not.
    pub found: bool,
    /// The whole in one or two sentences.
    pub summary: String,
    /// The entry; one that is not found as it was seen last, if it ever was.
    pub entry: Option<ExplainedEntry>,
    /// Why there is none.
    pub absence: Option<Absence>,
    /// Others that are called so and are not in scope, by their DNs.
    pub also_called_so: Vec<String>,
    /// The profile that the entry belongs to: the first enabled one that has it in scope, or the one that lost it last.
    pub owner: Option<String>,
    /// The profile that the rest is about: the one that was asked for, else the owner.
    pub profile: String,
    /// What each clause of that profile's search says; absent when there is no entry, or it could not be asked.
    pub scope: Option<ScopeExplained>,
    /// How the profiles take it, in order.
    pub profiles: Vec<ProfileExplained>,
    /// What becomes of the entry; absent when it could not be read.
    pub mapped: Option<MappingPreview>,
    /// Whether the account is enabled, and by what that is known; of users that could be read.
    pub account: Option<AccountStatus>,
    /// What the target has.
    pub target: TargetExplained,
    /// Of a group, what becomes of its members.
    pub members: Option<MembersExplained>,
    /// What the next run would do.
    pub next: NextRun,
}

/// Which entry it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExplainedEntry {
    /// The DN.
    pub dn: String,
    /// The anchor.
    pub anchor: Option<String>,
    /// User or group.
    pub kind: Kind,
}

/// Why no entry was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Absence {
    /// What is known of it.
    pub reason: AbsenceReason,
    /// The same in words.
    pub message: String,
    /// The entries that are called so, where several are.
    pub candidates: Vec<String>,
}

/// What is known of an entry that was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AbsenceReason {
    /// It is not there.
    Missing,
    /// It is there, and the account may not see it.
    Hidden,
    /// It is not there, or the account may not see it: the server does not let it be told.
    NotSeen,
    /// Several are called so.
    Several,
}

/// What each clause of a search says of the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopeExplained {
    /// Whether the entry is in scope.
    pub in_scope: bool,
    /// What decides that.
    pub message: String,
    /// The clauses, in order.
    pub clauses: Vec<ClauseExplained>,
}

/// One clause of a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClauseExplained {
    /// `base`, or the field that it comes from; `notAPerson` for what Active Directory calls a person and is none.
    pub clause: &'static str,
    /// The base DN, or the filter.
    pub text: String,
    /// Whether the entry passes; null when the server does not say.
    pub passes: Option<bool>,
    /// Why it does not.
    pub reason: Option<String>,
    /// The parts of the filter.
    pub parts: Vec<PartExplained>,
}

/// One part of a filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "FilterPart")]
pub struct PartExplained {
    /// The part as RFC 4515 writes it.
    pub filter: String,
    /// Whether the entry matches; null when the server does not say.
    pub matches: Option<bool>,
    /// What the entry has of the attribute, where the clause does not pass.
    pub has: Option<String>,
    /// Its own parts.
    pub parts: Vec<PartExplained>,
}

/// How one profile takes the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileExplained {
    /// The profile.
    pub profile: String,
    /// Whether the entry is in its scope; null when that could not be told.
    pub in_scope: Option<bool>,
    /// What decides that, or why it could not be told.
    pub message: String,
}

/// Whether an account is enabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// Whether it is; null when the entry does not say.
    pub active: Option<bool>,
    /// By what that is known.
    pub message: String,
}

/// What the target has, by the store and by the target itself.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetExplained {
    /// What the target last acknowledged; absent when the entry is not linked.
    pub linked: Option<LinkedResource>,
    /// When it last acknowledged a change.
    pub last_changed_at: Option<DateTime<Utc>>,
    /// What stood in the way of the entry last.
    pub last_error: Option<String>,
    /// What the target has now, in words.
    pub message: String,
    /// Whether it answered.
    pub answered: bool,
    /// Whether it has the account active now; null when it does not say.
    pub active: Option<bool>,
    /// A resource that may belong to an entry which is not linked, or is in its way.
    pub matched: Option<MatchedResource>,
    /// Where the linked resource is neither what was acknowledged nor what it shall be.
    pub differences: Vec<Difference>,
}

/// A linked resource as it was last acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkedResource {
    /// The target's id.
    pub id: String,
    /// Whether the account is active.
    pub active: bool,
    /// The attributes, by path.
    pub attributes: serde_json::Map<String, Value>,
}

/// A resource that may belong to an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchedResource {
    /// The target's id.
    pub id: String,
    /// The attribute by which it was recognized.
    pub matched_by: &'static str,
    /// Its name.
    pub name: Option<String>,
    /// Whether it is active.
    pub active: Option<bool>,
}

/// An attribute that differs at the target.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The attribute.
    pub attribute: String,
    /// What the target holds.
    pub found: Value,
    /// What it shall be.
    pub expected: Value,
}

/// What becomes of a group's members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembersExplained {
    /// How many the entry names.
    pub named: usize,
    /// How many of them have a resource at the target.
    pub linked: usize,
    /// How many are left out.
    pub left_out: usize,
    /// The first of those, each with why.
    pub first_left_out: Vec<LeftOut>,
    /// Members that the relay put there and that the target does not show; absent when it shows none, or was not asked.
    pub missing_at_target: Option<u64>,
    /// Members that the target shows and that the relay did not put there; they are left alone.
    pub others_at_target: Option<u64>,
}

/// A member that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// As the directory names it.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What the next run would do.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextRun {
    /// In words.
    pub message: String,
    /// Step by step.
    pub steps: Vec<NextStep>,
    /// What is wrong, and what cures it.
    pub problem: Option<String>,
    /// What it waits for, or looks at first.
    pub waits: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextStep {
    /// What is done, in the words of a job's changes.
    pub operation: &'static str,
    /// Why, in the same words.
    pub reason: &'static str,
    /// Both in a sentence.
    pub message: String,
    /// Attributes that are set, before and after.
    pub attributes: Vec<Value>,
    /// Members that are added or removed.
    pub members: usize,
}
