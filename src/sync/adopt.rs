//! Adopting: a resource that the target already has is taken under management and brought up to date.

use std::collections::BTreeSet;

use crate::directory::profile::Profile;
use crate::fault::Fault;
use crate::identity::{Kind, RowKey};
use crate::mapping::resource_type;
use crate::plan::decide;
use crate::plan::linking::{self, MatchingAttribute};
use crate::provider::{Lane, LookupBy, Outcome, Refusal};
use crate::scim::path::AttributePath;
use crate::scim::resource::Found;
use crate::scim::{Attributes, Value, encode, resource};
use crate::snapshot::{Applied, Match, MatchedBy, Row, Standing};
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
    /// It is as it was, and nobody's.
    Unchanged(Refusal),
    /// It could not be read, or what it holds is not known.
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

/// Adds what was acknowledged of attributes that are not maintained now: a role that the mapping gives again tomorrow was given by us.
pub(super) fn keep_unmaintained(
    held: &mut Attributes,
    acknowledged: &Attributes,
    maintained: &BTreeSet<AttributePath>,
) {
    for (path, value) in acknowledged {
        if !maintained.contains(path) {
            held.insert(path.clone(), value.clone());
        }
    }
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
    let former = match former_account(relay, key, wanted).await {
        Ok(former) => former.filter(|(found, _)| found.id == id),
        Err(error) => return Adopted::Refused(unreadable(error)),
    };
    if let Some(refusal) = not_to_be_linked(relay, key, id, &resource, former.is_some()) {
        return Adopted::Refused(refusal);
    }
    let dialect = &relay.tenant.dialect;
    let mut paths = maintained(relay, &relay.profile, key.kind);
    let present = resource::member_ids(&resource).unwrap_or_default();
    let members = members
        .iter()
        .filter(|(_, id)| present.contains(id))
        .map(|(row, _)| row.clone())
        .collect();
    // What the relay gave to the entry that had the account before goes, unless this one is to have it too.
    let was_ours = |path: &AttributePath, value: &str| {
        let former = former.as_ref().map(|(_, applied)| &applied.attributes);
        former.is_some_and(|before| resource::has_value(before, path, value))
    };
    let is_ours = |path: &AttributePath, value: &str| {
        resource::has_value(wanted, path, value) || was_ours(path, value)
    };
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
        // Whoever leaves later loses the account, whatever the target has against its values. Not one that carries another entry's
        // externalId still.
        Outcome::Refused(refusal) if refusal.fault == Fault::Rejected && former.is_none() => {
            Adopted::Linked {
                applied: applied(held),
                refusal,
            }
        }
        Outcome::Refused(refusal) => Adopted::Unchanged(refusal),
        // What the target holds now is not known, so nothing is: the resource is found again.
        Outcome::Unknown(refusal) => Adopted::Refused(refusal),
    }
}

/// Why the resource as it is now is not to be linked: it may have changed since it was found.
fn not_to_be_linked(
    relay: &Relay,
    key: &RowKey,
    id: &str,
    resource: &serde_json::Value,
    is_former: bool,
) -> Option<Refusal> {
    let found = Found::from_json(resource)?;
    let other = found.external_id.as_deref();
    let is_others = other.is_some_and(|other| other != key.anchor.to_string()) && !is_former;
    let is_protected = relay
        .tenant
        .protected
        .has(key.kind, id, found.name.as_deref());
    let why = match (is_protected, is_others) {
        (true, _) => "is on the tenant's protected list",
        (_, true) => "carries another externalId by now",
        _ => return None,
    };
    Some(Refusal {
        fault: Fault::Rejected,
        status: None,
        scim_type: None,
        message: format!("resource {id} of the target {why}, so it is not linked"),
    })
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

/// Looks for a resource that belongs to a row, or is in its way: first by externalId, then by the matching attribute.
pub(super) async fn find_match(
    relay: &Relay,
    key: &RowKey,
    wanted: &Attributes,
) -> Result<Option<Match>, Refusal> {
    if let Some(id) = find_by_external_id(relay, key).await? {
        return Ok(Some(Match {
            id,
            by: MatchedBy::ExternalId,
            resource: None,
        }));
    }
    let find = async |by: LookupBy, path: AttributePath| {
        let Some(value) = wanted.get(&path).and_then(Value::as_text) else {
            return Ok(Vec::new());
        };
        let kind = resource_type(key.kind);
        relay.provider.find(kind, by, value, Lane::Ordinary).await
    };
    let by_email = key.kind == Kind::User && relay.profile.matching == MatchingAttribute::Email;
    let by_email = match by_email {
        true => find(LookupBy::Email, AttributePath::work_email()).await?,
        false => Vec::new(),
    };
    let by_email = without_linked(relay, by_email).await?;
    let by_name = match by_email.is_empty() {
        true => find(LookupBy::Name, decide::name_path(key.kind)).await?,
        false => Vec::new(),
    };
    // A target that answers a filter by externalId with nobody may still show it.
    let anchor = key.anchor.to_string();
    let mut ours = by_email
        .iter()
        .chain(&by_name)
        .filter(|hit| hit.external_id.as_ref() == Some(&anchor));
    if let (Some(one), None) = (ours.next(), ours.next()) {
        return Ok(Some(Match {
            id: one.id.clone(),
            by: MatchedBy::ExternalId,
            resource: None,
        }));
    }
    let matching = relay.profile.matching;
    Ok(linking::judge_all(key.kind, matching, &by_email, &by_name))
}

/// Those of the hits that are not linked to other users already: several may share an e-mail address.
async fn without_linked(relay: &Relay, hits: Vec<Found>) -> Result<Vec<Found>, Refusal> {
    let mut free = Vec::new();
    for hit in hits {
        let holder = match &hit.name {
            Some(name) => holder_of(relay, name).await.map_err(unreadable)?,
            None => None,
        };
        if holder.is_none_or(|(_, applied)| applied.id != hit.id) {
            free.push(hit);
        }
    }
    Ok(free)
}

fn unreadable(error: crate::store::Error) -> Refusal {
    Refusal {
        fault: error.fault(),
        status: None,
        scim_type: None,
        message: error.message,
    }
}

/// The row that is linked under a userName, with what the target acknowledged of it.
pub(super) async fn holder_of(
    relay: &Relay,
    user_name: &str,
) -> Result<Option<(Row, Applied)>, crate::store::Error> {
    let directory = relay.directory.id;
    let Some(holder) = relay.store.holder_of_name(directory, user_name).await? else {
        return Ok(None);
    };
    let row = relay.rows(vec![holder]).await?.pop();
    Ok(row.and_then(|row| {
        let applied = row.applied.clone()?;
        Some((row, applied))
    }))
}

/// The inactive account of an entry that is gone and had the userName that the row shall get (specification page 8, 12).
pub(super) async fn former_account(
    relay: &Relay,
    key: &RowKey,
    wanted: &Attributes,
) -> Result<Option<(Match, Applied)>, crate::store::Error> {
    let name = wanted.get(&AttributePath::user_name());
    let Some(name) = name
        .and_then(Value::as_text)
        .filter(|_| key.kind == Kind::User)
    else {
        return Ok(None);
    };
    let Some((row, applied)) = holder_of(relay, name).await? else {
        return Ok(None);
    };
    let is_gone = row
        .owner()
        .is_some_and(|(_, seen)| seen.standing != Standing::Present);
    if row.key == *key || !is_gone || applied.is_active() {
        return Ok(None);
    }
    let text = |path| {
        applied
            .attributes
            .get(&path)
            .and_then(Value::as_text)
            .map(str::to_owned)
    };
    let resource = Found {
        id: applied.id.clone(),
        external_id: Some(row.key.anchor.to_string()),
        name: text(AttributePath::user_name()),
        email: text(AttributePath::work_email()),
        active: Some(false),
    };
    let found = Match::of(&resource, MatchedBy::FormerEntry);
    Ok(Some((found, applied)))
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
