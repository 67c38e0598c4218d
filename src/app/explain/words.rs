//! An explanation in words that somebody at a help desk understands.

use std::collections::HashMap;

use chrono::Utc;
use serde_json::Value as Json;

use crate::admin::explanation::{
    AccountStatus, Difference, Explanation, LeftOut, LinkedResource, MatchedResource,
    MembersExplained, NextRun, NextStep, TargetExplained,
};
use crate::directory::profile::Profile;
use crate::identity::observation::Observation;
use crate::identity::{Kind, MemberKey};
use crate::plan::deprovisioning::Deprovisioning;
use crate::plan::linking::{self, Waits};
use crate::plan::membership::AbsentGroups;
use crate::plan::{Action, Class, Reason, Step};
use crate::scim::Value;
use crate::snapshot::{Match, Row, Seen, Standing};
use crate::store::jobs::attributes_of;
use crate::sync::Relay;
use crate::sync::explain::{AtTarget, Belongs, Outlook};

/// Members that are left out, and named.
const LEFT_OUT_NAMED: usize = 20;

/// Nothing is linked, and nobody was asked.
pub(super) fn nothing_known() -> TargetExplained {
    TargetExplained {
        linked: None,
        last_changed_at: None,
        last_error: None,
        message: "nothing is known of it at the target".to_owned(),
        answered: false,
        active: None,
        matched: None,
        differences: Vec::new(),
    }
}

/// Nothing is to be done.
pub(super) fn nothing_to_do() -> NextRun {
    NextRun {
        message: "nothing: no profile has it in scope, and nothing is linked for it".to_owned(),
        steps: Vec::new(),
        problem: None,
        waits: Vec::new(),
    }
}

/// The whole in one or two sentences.
pub(super) fn summary(explanation: &Explanation) -> String {
    let next = format!("The next run: {}.", explanation.next.message);
    let first = match (&explanation.absence, &explanation.scope) {
        (Some(absence), _) => format!("Not found: {}.", absence.message),
        (None, Some(scope)) if scope.in_scope => {
            format!("In scope of the profile {}.", explanation.profile)
        }
        (None, Some(scope)) => {
            let message = scope.message.trim_start_matches("not in scope: ");
            format!(
                "Not in scope of the profile {}: {message}.",
                explanation.profile
            )
        }
        (None, None) => "It could not be told whether it is in scope.".to_owned(),
    };
    format!("{first} {next}")
}

/// Whether the account is enabled, and by what that is known.
pub(super) fn account(profile: &Profile, observation: &Observation) -> Option<AccountStatus> {
    let Observation::Present(identity, _) = observation else {
        return None;
    };
    if identity.kind != Kind::User {
        return None;
    }
    let now = Utc::now();
    let active = profile.mapping.desired(identity, now).active;
    let message = match (active, profile.mapping.disabled_by(identity, now)) {
        (Some(false), Some(("accountExpires", end))) => {
            format!("it has expired: accountExpires was {end}")
        }
        (Some(false), Some((attribute, value))) => {
            format!("it is disabled: {attribute} is {value}")
        }
        (Some(false), None) => "it is disabled".to_owned(),
        (Some(true), _) => match profile.mapping.expires_later(identity, now) {
            Some(end) => format!("it is enabled until {}", end.format("%Y-%m-%d %H:%M UTC")),
            None => "it is enabled".to_owned(),
        },
        (None, _) => "whether it is enabled cannot be told: the account that reads may not see userAccountControl; grant it \
                      read access to that attribute"
            .to_owned(),
    };
    Some(AccountStatus { active, message })
}

/// Adds what store and target have, and what comes of it.
pub(super) fn tell(explanation: &mut Explanation, relay: &Relay, row: &Row, outlook: &Outlook) {
    explanation.target = target(row, &outlook.target);
    explanation.next = next(explanation, relay, row, outlook);
    let seen = row
        .owner()
        .filter(|(_, seen)| seen.standing == Standing::Present);
    if row.key.kind == Kind::Group
        && let Some((_, seen)) = seen
    {
        explanation.members = Some(members(seen, outlook));
    }
}

fn target(row: &Row, at_target: &AtTarget) -> TargetExplained {
    let linked = row.applied.as_ref().map(|applied| {
        let attributes = applied.attributes.iter();
        let shown = attributes.map(|(path, value)| (path.to_string(), value.to_json()));
        LinkedResource {
            id: applied.id.clone(),
            active: applied.is_active(),
            attributes: shown.collect(),
        }
    });
    let mut explained = TargetExplained {
        linked,
        last_changed_at: row.last.changed_at,
        last_error: row.last.error.as_ref().map(|error| error.detail.clone()),
        answered: true,
        ..nothing_known()
    };
    explained.message = match at_target {
        AtTarget::Silent(why) => {
            explained.answered = false;
            format!("the target could not be asked: {why}")
        }
        AtTarget::Gone => {
            "the linked resource is not there any more; a reconciling run finds that and makes it anew".to_owned()
        }
        AtTarget::Unlinked(None) => "it is not linked, and the target has nothing that may belong to it".to_owned(),
        AtTarget::Unlinked(Some(found)) => {
            explained.matched = Some(matched(row.key.kind, found));
            let active = found.resource.as_ref().and_then(|resource| resource.active);
            explained.active = active;
            match linking::obstacle(&row.key, found) {
                Some(obstacle) => format!("it is not linked; resource {} is in its way: {obstacle}", found.id),
                None => format!(
                    "it is not linked; resource {} may belong to it, by its {}",
                    found.id,
                    linking::attribute(row.key.kind, found.by)
                ),
            }
        }
        AtTarget::Linked {
            differences,
            active,
            ..
        } => {
            explained.active = *active;
            let shown = |value: &Option<Value>| value.as_ref().map_or(Json::Null, Value::to_json);
            let differences = differences.iter().map(|change| Difference {
                attribute: change.path.to_string(),
                found: shown(&change.before),
                expected: shown(&change.after),
            });
            explained.differences = differences.collect();
            linked_words(row.key.kind, *active, &explained.differences)
        }
    };
    explained
}

fn linked_words(kind: Kind, active: Option<bool>, differences: &[Difference]) -> String {
    let state = match (kind, active) {
        (Kind::Group, _) => "the group is there",
        (Kind::User, Some(true)) => "the account is there and active",
        (Kind::User, Some(false)) => "the account is there and inactive",
        (Kind::User, None) => "the account is there; the target does not say whether it is active",
    };
    let names: Vec<&str> = differences
        .iter()
        .map(|one| one.attribute.as_str())
        .collect();
    match names.is_empty() {
        true => format!("{state}, as it was acknowledged"),
        false => format!(
            "{state}, but somebody changed it there: {}; a reconciling run brings that back",
            names.join(", ")
        ),
    }
}

fn matched(kind: Kind, found: &Match) -> MatchedResource {
    let resource = found.resource.as_ref();
    MatchedResource {
        id: found.id.clone(),
        matched_by: linking::attribute(kind, found.by),
        name: resource.and_then(|resource| resource.name.clone()),
        active: resource.and_then(|resource| resource.active),
    }
}

fn members(seen: &Seen, outlook: &Outlook) -> MembersExplained {
    let named = &seen.identity.members;
    let names: HashMap<MemberKey, &str> = named
        .iter()
        .map(|member| (member.key, member.name.as_str()))
        .collect();
    let stays = outlook.members.iter();
    let stays: Vec<_> = stays
        .filter(|(_, belongs)| *belongs != Belongs::Linked)
        .collect();
    let first = stays.iter().take(LEFT_OUT_NAMED).map(|(key, belongs)| LeftOut {
        name: names.get(key).copied().unwrap_or_default().to_owned(),
        reason: match belongs {
            Belongs::OutOfScope => {
                "no profile of the directory has it in scope, as it was last read: it is outside the searches, or not there"
            }
            Belongs::GroupWithin => "it is a group, and nestedGroups is direct",
            Belongs::Unlinked => "it has no resource at the target yet; it joins as soon as it has one",
            Belongs::Linked => "",
        }
        .to_owned(),
    });
    let compared = match &outlook.target {
        AtTarget::Linked { members, .. } => *members,
        _ => None,
    };
    MembersExplained {
        named: named.len(),
        linked: outlook.members.len() - stays.len(),
        left_out: stays.len(),
        first_left_out: first.collect(),
        missing_at_target: compared.map(|(missing, _)| missing),
        others_at_target: compared.map(|(_, others)| others),
    }
}

fn next(explanation: &Explanation, relay: &Relay, row: &Row, outlook: &Outlook) -> NextRun {
    let steps: Vec<NextStep> = outlook
        .verdict
        .steps
        .iter()
        .map(|step| next_step(step, explanation))
        .collect();
    let problem = outlook.verdict.problem.clone();
    let told: Vec<&str> = steps.iter().map(|step| step.message.as_str()).collect();
    let message = match (told.is_empty(), outlook.is_unknown) {
        (false, _) => told.join("; then "),
        (true, true) => "that could not be told".to_owned(),
        (true, false) => match (outlook.verdict.waits, &problem) {
            (Some(Waits::Protected), _) => {
                "nothing: its resource is on the tenant's protected list".to_owned()
            }
            (Some(Waits::Refused), _) => {
                "nothing: somebody decided that the resource in its way is not this entry's \
                 (`scim-relay links release` takes that back)"
                    .to_owned()
            }
            (Some(Waits::Proposed), _) => {
                "nothing until a person decides whether the resource at the target is this entry's"
                    .to_owned()
            }
            (Some(Waits::Grace(ends)), _) => format!(
                "nothing until {}, when the grace period of the profile is over",
                ends.format("%F %T UTC")
            ),
            (Some(Waits::GraceOfMembers(ends)), _) => format!(
                "nothing until {}: members who are gone stay for the grace period of the profile",
                ends.format("%F %T UTC")
            ),
            (None, Some(problem)) => format!("nothing can be done: {problem}"),
            (None, None) if !outlook.held.is_empty() => {
                format!("nothing: {}", outlook.held.join("; "))
            }
            (None, None) => idle(relay, row, explanation),
        },
    };
    NextRun {
        message,
        steps,
        problem,
        waits: outlook.waits.clone(),
    }
}

/// Why there is nothing to do.
fn idle(relay: &Relay, row: &Row, explanation: &Explanation) -> String {
    let Some((owner, seen)) = row.owner() else {
        return match row.applied {
            Some(_) => {
                "nothing: no profile has ever seen the entry of this resource, so it stays as it is"
                    .to_owned()
            }
            None => nothing_to_do().message,
        };
    };
    if !row.is_for(&relay.profile.name) {
        return format!(
            "nothing: it belongs to the profile {owner}, and a run of {} leaves it alone",
            relay.profile.name
        );
    }
    let is_present = seen.standing == Standing::Present;
    let disabled = explanation
        .account
        .as_ref()
        .filter(|account| account.active == Some(false));
    let what = match (&row.applied, is_present, row.key.kind) {
        (None, false, _) => "it is not in scope, and nothing is linked for it",
        (Some(applied), false, Kind::User) if !applied.is_active() => {
            "it is not in scope, and its account is inactive already"
        }
        (Some(_), false, Kind::User) if relay.profile.deprovisioning == Deprovisioning::Never => {
            "it is not in scope, and deprovisioning is never, so the account stays as it is"
        }
        (Some(_), false, Kind::Group) if relay.profile.absent_groups == AbsentGroups::Keep => {
            "it is not in scope, and absentGroups is keep, so the group stays as it is"
        }
        (Some(_), false, _) => "it is not in scope, and has nothing left that could be taken away",
        (None, true, Kind::User) if disabled.is_some() => {
            "the account is disabled in the directory, and who is disabled when first seen is not created"
        }
        (None, true, _) => "the profile does not create it (population)",
        (Some(_), true, _) => "everything is as the target acknowledged it",
    };
    format!("nothing: {what}")
}

fn next_step(step: &Step, explanation: &Explanation) -> NextStep {
    let members = match &step.action {
        Action::Create { members, .. }
        | Action::AddMembers(members)
        | Action::RemoveMembers(members) => members.len(),
        Action::Change { .. }
        | Action::Link { .. }
        | Action::Delete { .. }
        | Action::SetManager(_) => 0,
    };
    NextStep {
        operation: step.class.as_str(),
        reason: step.reason.as_str(),
        message: format!(
            "{}, because {}",
            deed(step, members),
            why(step, explanation)
        ),
        attributes: attributes_of(&step.action),
        members,
    }
}

fn deed(step: &Step, members: usize) -> String {
    let what = match step.key.kind {
        Kind::User => "the account",
        Kind::Group => "the group",
    };
    let changed = || {
        let Action::Change { changes } = &step.action else {
            return String::new();
        };
        let names: Vec<String> = changes
            .iter()
            .map(|change| change.path.to_string())
            .collect();
        names.join(", ")
    };
    match (&step.action, step.class) {
        (Action::Create { .. }, _) if members > 0 => {
            format!("creates {what} with {members} members")
        }
        (Action::Create { .. }, _) => format!("creates {what}"),
        (Action::Link { id, .. }, _) => {
            format!("links resource {id} and brings it up to date")
        }
        (Action::Delete { .. }, _) => format!("deletes {what}"),
        (Action::AddMembers(_), _) => format!("adds {members} members"),
        (Action::RemoveMembers(_), _) => format!("takes {members} members out"),
        (Action::SetManager(_), _) => "sets the manager".to_owned(),
        (Action::Change { .. }, Class::Deactivate) => format!("sets {what} inactive"),
        (Action::Change { .. }, Class::Reactivate) => format!("sets {what} active again"),
        (Action::Change { .. }, _) => format!("changes {}", changed()),
    }
}

fn why(step: &Step, explanation: &Explanation) -> String {
    let absent = || match (&explanation.absence, &explanation.scope) {
        (Some(_), _) => "the entry is not found in the directory any more".to_owned(),
        (None, Some(scope)) => {
            let message = scope.message.trim_start_matches("not in scope: ");
            format!("the entry is not in scope any more: {message}")
        }
        (None, None) => "the entry is not in scope any more".to_owned(),
    };
    match step.reason {
        Reason::New => "the entry is new".to_owned(),
        Reason::Changed => "they differ from what the target acknowledged".to_owned(),
        Reason::Disabled => {
            let account = explanation.account.as_ref();
            account.map_or_else(
                || "the entry says that it is disabled".to_owned(),
                |account| account.message.clone(),
            )
        }
        Reason::Absent => absent(),
        Reason::Back => "the entry is enabled and in scope again".to_owned(),
        Reason::Membership => "the directory's group has other members".to_owned(),
        Reason::ExternalIdMatches => "the target has a resource with its externalId".to_owned(),
        Reason::NameMatches => {
            "the target has a resource with its name, and the profile links such matches".to_owned()
        }
        Reason::EmailMatches => {
            "the target has a resource with its e-mail address, and the profile links such matches"
                .to_owned()
        }
        Reason::Recovered => "an earlier run was cut off after it had sent this".to_owned(),
        Reason::Accepted => "a person accepted that it is the entry's".to_owned(),
        Reason::Undone => "somebody wants it undone".to_owned(),
    }
}
