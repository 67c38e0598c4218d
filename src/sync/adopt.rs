//! Adopting: a resource that the target already has is taken under management and brought up to date.

use std::collections::BTreeSet;

use crate::directory::profile::Profile;
use crate::fault::Fault;
use crate::identity::{Kind, RowKey};
use crate::mapping::resource_type;
use crate::plan::decide;
use crate::provider::{Lane, LookupBy, Outcome, Refusal};
use crate::scim::path::AttributePath;
use crate::scim::resource::Found;
use crate::scim::{Attributes, Value, encode, resource};
use crate::snapshot::{Applied, Match, MatchedBy};
use crate::sync::Relay;

/// What became of an adoption.
pub(super) enum Adopted {
    /// The resource is linked and up to date; of the members that were meant to be sent with it, these are there.
    Done {
        /// What the target holds now.
        applied: Applied,
        /// Members that are there.
        members: Vec<RowKey>,
    },
    /// The resource is linked, but could not be brought up to date.
    Linked {
        /// What the target holds.
        applied: Applied,
        /// Why it could not be changed.
        refusal: Refusal,
    },
    /// It could not even be read.
    Refused(Refusal),
}

/// The attributes of a kind of row that the relay maintains at the target, `active` included, as far as it keeps them.
pub(super) fn maintained(relay: &Relay, profile: &Profile, kind: Kind) -> BTreeSet<AttributePath> {
    let mut paths = profile.mapping.maintained(kind);
    if kind == Kind::User {
        paths.insert(AttributePath::active());
    }
    paths.retain(|path| relay.tenant.dialect.keeps(path));
    paths
}

/// Reads the resource, and patches what differs from what it shall be.
pub(super) async fn bring_up_to_date(
    relay: &Relay,
    key: &RowKey,
    id: &str,
    wanted: &Attributes,
    members: &[(RowKey, String)],
) -> Adopted {
    let kind = resource_type(key.kind);
    let resource = match relay.provider.get(kind, id).await {
        Ok(Some(resource)) => resource,
        Ok(None) => return Adopted::Refused(vanished(id)),
        Err(refusal) => return Adopted::Refused(refusal),
    };
    let dialect = &relay.tenant.dialect;
    let mut paths = maintained(relay, &relay.profile, key.kind);
    let present = resource::member_ids(&resource).unwrap_or_default();
    let members = members
        .iter()
        .filter(|(_, id)| present.contains(id))
        .map(|(row, _)| row.clone())
        .collect();
    let is_ours = |path: &AttributePath, value: &str| resource::has_value(wanted, path, value);
    let held = resource::project(&resource, &paths, is_ours, dialect);
    paths.retain(|path| dialect.changes(kind, path));
    let changes = decide::changes(&held, wanted, &paths);
    let applied = |attributes| Applied {
        id: id.to_owned(),
        attributes,
    };
    if changes.is_empty() {
        return Adopted::Done {
            applied: applied(held),
            members,
        };
    }
    let request = encode::update(kind, id, &held, &changes, dialect);
    match relay.provider.submit(&request, Lane::Ordinary).await {
        Outcome::Acknowledged { .. } => Adopted::Done {
            applied: applied(wanted.clone()),
            members,
        },
        Outcome::Refused(refusal) => Adopted::Linked {
            applied: applied(held),
            refusal,
        },
        // What the target holds now is not known, so nothing is: the resource is found again.
        Outcome::Unknown(refusal) => Adopted::Refused(refusal),
    }
}

fn vanished(id: &str) -> Refusal {
    Refusal {
        fault: Fault::Drifted,
        status: Some(404),
        scim_type: None,
        message: format!(
            "resource {id} was found at the target and is gone again; the next run looks anew"
        ),
    }
}

/// The id of the one resource whose externalId is the row's anchor; more than one is an error that names them.
pub(super) async fn find_by_external_id(
    relay: &Relay,
    key: &RowKey,
) -> Result<Option<String>, Refusal> {
    let anchor = key.anchor.to_string();
    let kind = resource_type(key.kind);
    let found = relay
        .provider
        .find(kind, LookupBy::ExternalId, &anchor, Lane::Ordinary)
        .await?;
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.id.clone())),
        several => Err(Refusal {
            fault: Fault::Rejected,
            status: None,
            scim_type: None,
            message: format!(
                "the target has {} resources with externalId {anchor} ({}); remove the duplicates there",
                several.len(),
                several
                    .iter()
                    .map(|found| found.id.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }),
    }
}

/// What hits by name mean: one account that nobody manages is a proposal; anything else can never be linked without a
/// person (specification page 2).
pub(super) fn match_by_name(hits: &[Found]) -> Option<Match> {
    let first = hits.first()?;
    let free = hits.len() == 1 && first.external_id.is_none();
    let by = if free {
        MatchedBy::Name
    } else {
        MatchedBy::TakenName
    };
    Some(Match {
        id: first.id.clone(),
        by,
    })
}

/// Looks for a resource that belongs to a row, or has its name: first by externalId, then by name.
pub(super) async fn find_match(
    relay: &Relay,
    key: &RowKey,
    wanted: &Attributes,
) -> Result<Option<Match>, Refusal> {
    if let Some(id) = find_by_external_id(relay, key).await? {
        return Ok(Some(Match {
            id,
            by: MatchedBy::ExternalId,
        }));
    }
    let name = wanted.get(&decide::name_path(key.kind));
    let Some(name) = name.and_then(Value::as_text) else {
        return Ok(None);
    };
    let hits = relay
        .provider
        .find(
            resource_type(key.kind),
            LookupBy::Name,
            name,
            Lane::Ordinary,
        )
        .await?;
    Ok(match_by_name(&hits))
}

/// The members that a group has at the target; `None` when the target does not show them.
pub(super) async fn members_at_target(
    relay: &Relay,
    id: &str,
) -> Result<Option<BTreeSet<String>>, Refusal> {
    let group = relay
        .provider
        .get(crate::scim::ResourceType::Group, id)
        .await?;
    Ok(group.map(|group| {
        resource::member_ids(&group)
            .unwrap_or_default()
            .into_iter()
            .collect()
    }))
}

/// The same where the answer decides nothing but what need not be sent: nobody, when the target does not show it.
pub(super) async fn members_shown(relay: &Relay, id: &str) -> BTreeSet<String> {
    if !relay.tenant.dialect.members_readable {
        return BTreeSet::new();
    }
    match members_at_target(relay, id).await {
        Ok(members) => members.unwrap_or_default(),
        // The request that follows says what is wrong.
        Err(_) => BTreeSet::new(),
    }
}
