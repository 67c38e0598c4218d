//! Linking: what a resource that was found at the target means for an entry, and who must consent before it is taken over.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::identity::{Kind, RowKey};
use crate::plan::Reason;
use crate::plan::decide::name_path;
use crate::plan::protected::Protected;
use crate::scim::resource::Found;
use crate::snapshot::{Match, MatchedBy, Row};

/// By what a user may be matched with an account that nobody manages (specification page 2). Groups always are by
/// `displayName`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MatchingAttribute {
    /// The userName.
    #[default]
    UserName,
    /// The primary e-mail address.
    Email,
    /// By nothing but externalId.
    None,
}

/// What a row waits for although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// A person who says whether a resource is this entry's.
    Proposed,
    /// Somebody decided that the resource in its way is not this entry's.
    Refused,
    /// Its resource is on the protected list.
    Protected,
    /// Its entry is gone, and what follows from that waits until then.
    Grace(DateTime<Utc>),
    /// Members of the group are gone, and stay in it until then.
    GraceOfMembers(DateTime<Utc>),
}

impl Waits {
    /// When the row is to be decided again, where the time alone decides.
    pub fn until(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Grace(at) | Self::GraceOfMembers(at) => Some(at),
            Self::Proposed | Self::Refused | Self::Protected => None,
        }
    }
}

/// What the match of an unlinked row leads to.
pub(super) enum Linking {
    /// Nothing is there.
    Create,
    /// This resource is taken under management.
    Link(String, Reason),
    /// Nothing, for want of consent or because it can never be linked; in words, where somebody must act.
    Not(Option<Waits>, Option<String>),
}

/// What the match of an unlinked row leads to; `by_itself` is the profile's consent to all proposals.
pub(super) fn of(row: &Row, by_itself: bool, protected: &Protected) -> Linking {
    let Some(found) = &row.found else {
        return Linking::Create;
    };
    if protected.has_found(row.key.kind, found) {
        return Linking::Not(Some(Waits::Protected), None);
    }
    let consent = row.decided().map(|decision| decision.accepted);
    match (found.by, consent) {
        (MatchedBy::ExternalId, _) => Linking::Link(found.id.clone(), Reason::ExternalIdMatches),
        (_, Some(false)) => Linking::Not(Some(Waits::Refused), None),
        (_, Some(true)) if found.is_proposal() => Linking::Link(found.id.clone(), Reason::Accepted),
        (MatchedBy::Email, _) if by_itself => Linking::Link(found.id.clone(), Reason::EmailMatches),
        (_, _) if found.is_proposal() && by_itself => {
            Linking::Link(found.id.clone(), Reason::NameMatches)
        }
        _ => {
            let waits = found.is_proposal().then_some(Waits::Proposed);
            Linking::Not(waits, Some(proposal(row.key.kind, found)))
        }
    }
}

/// What hits by the matching attribute mean: one account that nobody manages is a proposal; anything else can never be
/// linked without a person (specification page 2).
pub fn judge(hits: &[Found], free: MatchedBy, taken: MatchedBy) -> Option<Match> {
    let first = hits.first()?;
    let by = match hits {
        [one] if one.external_id.is_none() => free,
        [_] => taken,
        _ => MatchedBy::Several,
    };
    Some(Match::of(first, by))
}

/// What hits by e-mail address and by name mean for an entry: the matching attribute counts first. Who has the userName is
/// in the way of an entry whatever it is matched by, because a userName is unique (RFC 7643 §4.1.1).
pub fn judge_all(
    kind: Kind,
    matching: MatchingAttribute,
    by_email: &[Found],
    by_name: &[Found],
) -> Option<Match> {
    if kind == Kind::Group || matching == MatchingAttribute::UserName {
        return judge(by_name, MatchedBy::Name, MatchedBy::TakenName);
    }
    judge(by_email, MatchedBy::Email, MatchedBy::TakenEmail)
        .or_else(|| judge(by_name, MatchedBy::TakenName, MatchedBy::TakenName))
}

/// The attribute by which a match was recognized, as people write it.
pub fn attribute(kind: Kind, by: MatchedBy) -> &'static str {
    match (by, kind) {
        (MatchedBy::ExternalId, _) => "externalId",
        (MatchedBy::Email | MatchedBy::TakenEmail, _) => "email",
        (_, Kind::User) => "userName",
        (_, Kind::Group) => "displayName",
    }
}

/// Why a match can never be linked, whoever consents; `None` where it is a proposal, or ours.
pub fn obstacle(row: &RowKey, found: &Match) -> Option<String> {
    let attribute = attribute(row.kind, found.by);
    let other = found
        .resource
        .as_ref()
        .and_then(|resource| resource.external_id.as_ref());
    match (found.by, other) {
        (MatchedBy::Several, _) => Some(format!(
            "more than one resource of the target has this {attribute}, so it cannot be told which is meant; remove or \
             rename the others there"
        )),
        (MatchedBy::TakenName, None) if found.resource.is_some() => Some(format!(
            "it has this {attribute}, by which the profile does not match; rename one of the two"
        )),
        (MatchedBy::TakenName | MatchedBy::TakenEmail, _) => Some(format!(
            "it has this {attribute}, and it belongs to another externalId; rename one of the two, or take its externalId \
             away if it is the same"
        )),
        _ => None,
    }
}

/// Why a resource that was found for an entry is not linked, and what cures it.
pub fn proposal(kind: Kind, found: &Match) -> String {
    let id = &found.id;
    let attribute = match found.by {
        MatchedBy::Email | MatchedBy::TakenEmail => "primary e-mail address".to_owned(),
        _ => name_path(kind).to_string(),
    };
    match found.by {
        MatchedBy::Several => format!(
            "the target has several resources with this {attribute}, {id} among them, and it cannot be told which is \
             meant; remove or rename the others there"
        ),
        MatchedBy::TakenName | MatchedBy::TakenEmail => format!(
            "the target already has resource {id} with this {attribute}, and it belongs to another externalId, or the \
             profile does not match by it; rename one of the two"
        ),
        MatchedBy::FormerEntry => format!(
            "resource {id} is the inactive account of an entry that is gone and had this {attribute}; a person must decide \
             whether it is the same person: `scim-relay links` accepts or refuses, or rename one of them, or set linking = \
             \"automatic\" to link such matches"
        ),
        MatchedBy::Name | MatchedBy::Email | MatchedBy::ExternalId => format!(
            "the target already has resource {id} with this {attribute}, not managed by anybody; a person must decide \
             whether it is the same: `scim-relay links` accepts or refuses, or rename one of them, or set linking = \
             \"automatic\" to link such matches"
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resource(id: &str, external_id: Option<&str>) -> Found {
        Found {
            id: id.to_owned(),
            external_id: external_id.map(str::to_owned),
            name: Some("ann".to_owned()),
            email: Some("ann@x".to_owned()),
            active: None,
        }
    }

    #[test]
    fn linking_by_the_matching_attribute_is_proposed_and_by_the_name_alone_never() {
        let (free, other) = (resource("1", None), resource("2", Some("hr-1")));
        let twins = [free.clone(), resource("3", None)];
        let (free, other) = (std::slice::from_ref(&free), std::slice::from_ref(&other));
        use MatchingAttribute as By;
        for (kind, matching, by_email, by_name, expected) in [
            (Kind::User, By::UserName, free, free, Some(MatchedBy::Name)),
            (Kind::User, By::UserName, free, &[][..], None),
            (
                Kind::User,
                By::UserName,
                free,
                other,
                Some(MatchedBy::TakenName),
            ),
            (
                Kind::User,
                By::UserName,
                free,
                &twins[..],
                Some(MatchedBy::Several),
            ),
            (Kind::User, By::Email, free, other, Some(MatchedBy::Email)),
            (
                Kind::User,
                By::Email,
                other,
                free,
                Some(MatchedBy::TakenEmail),
            ),
            (
                Kind::User,
                By::Email,
                &twins[..],
                free,
                Some(MatchedBy::Several),
            ),
            (
                Kind::User,
                By::Email,
                &[][..],
                free,
                Some(MatchedBy::TakenName),
            ),
            (
                Kind::User,
                By::None,
                &[][..],
                free,
                Some(MatchedBy::TakenName),
            ),
            (Kind::User, By::None, &[][..], &[][..], None),
            (Kind::Group, By::None, &[][..], free, Some(MatchedBy::Name)),
        ] {
            let found = judge_all(kind, matching, by_email, by_name);
            let by = found.as_ref().map(|found| found.by);
            assert_eq!(by, expected, "{kind:?} {matching:?}");
            let key = RowKey {
                kind,
                anchor: crate::identity::Anchor::Text("a".to_owned()),
            };
            if let Some(found) = found {
                assert_eq!(
                    obstacle(&key, &found).is_none(),
                    found.is_proposal(),
                    "{found:?}"
                );
            }
        }
    }
}
