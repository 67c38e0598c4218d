//! Recovery: what an earlier process was about to send when it ended is looked at before anything else is sent.

use std::collections::HashSet;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value as Json;

use crate::fault::Fault;
use crate::identity::{Kind, RowKey};
use crate::mapping::resource_type;
use crate::plan::{Action, Class, Reason, conflict, decide};
use crate::provider::Refusal;
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, resource};
use crate::snapshot::{Applied, Row};
use crate::store::jobs::Change;
use crate::store::{Author, Effect, Intent, Lease, Settlement};
use crate::sync::tracker::{Tracker, target_error};
use crate::sync::{Error, Relay, adopt, conflicts, roles, target};

/// Settlements written in one transaction.
const SETTLEMENTS_PER_WRITE: usize = 512;

/// Settles every intent that was left open. A create is looked up by externalId, twice if need be, and adopted when it
/// is there; of everything else *applied* becomes what the target holds, since it may have been carried out, and the
/// directory may say again what it said before. The rows stay different, so whatever is still missing is planned by
/// this very run.
///
/// Answers the rows of which the target gives no clear account (two resources with one externalId, say): their intents
/// stay, and nothing is planned for them.
pub(super) async fn settle_open_intents(
    relay: &Relay,
    lease: &Lease,
    tracker: &Tracker,
) -> Result<HashSet<RowKey>, Error> {
    let mut in_doubt = HashSet::new();
    let intents = relay.store.intents(relay.directory.id).await?;
    if intents.is_empty() {
        return Ok(in_doubt);
    }
    tracing::info!(directory = %relay.directory.id, intents = intents.len(),
        "an earlier run was cut off; looking at what it was about to send");
    tracker.phase("recovering").await;
    let missing = look_and_settle(relay, lease, intents, tracker, &mut in_doubt).await?;
    if missing.is_empty() {
        return Ok(in_doubt);
    }
    // A target may take a while to show what it was sent last.
    tokio::time::sleep(Duration::from_secs(u64::from(relay.tenant.settle_s))).await;
    let missing = look_and_settle(relay, lease, missing, tracker, &mut in_doubt).await?;
    let nothing = missing
        .iter()
        .map(|intent| settled(intent, Effect::Nothing));
    settle(relay, lease, tracker, nothing.collect()).await?;
    Ok(in_doubt)
}

/// Settles what can be told of intents, and answers the creates that were not found. Users come first: members of a group are
/// known by their links, and a group may have been created in one request with them.
async fn look_and_settle(
    relay: &Relay,
    lease: &Lease,
    intents: Vec<Intent>,
    tracker: &Tracker,
    in_doubt: &mut HashSet<RowKey>,
) -> Result<Vec<Intent>, Error> {
    let is_user = |intent: &Intent| intent.key.kind == Kind::User;
    let (users, groups): (Vec<Intent>, Vec<Intent>) = intents.into_iter().partition(is_user);
    let mut missing = Vec::new();
    for intents in [users, groups] {
        let (settlements, not_found) = look_at_all(relay, intents, tracker, in_doubt).await?;
        settle(relay, lease, tracker, settlements).await?;
        missing.extend(not_found);
    }
    Ok(missing)
}

async fn settle(
    relay: &Relay,
    lease: &Lease,
    tracker: &Tracker,
    settlements: Vec<Settlement>,
) -> Result<(), Error> {
    let job = tracker.job();
    let author = Author {
        // What an approved plan had under way is a person's wish as well.
        ledger: relay.author(job.id).ledger.filter(|_| !job.is_approved()),
        ..relay.author(job.id)
    };
    for part in settlements.chunks(SETTLEMENTS_PER_WRITE) {
        relay.store.settle(lease, &author, part.to_vec()).await?;
    }
    Ok(())
}

fn settled(intent: &Intent, effect: Effect) -> Settlement {
    Settlement {
        key: intent.key.clone(),
        class: intent.class,
        part: intent.part,
        effect,
        clean: None,
        change: None,
        rejection: None,
    }
}

/// The settlement of an intent that had an effect; it is in journal and audit log like any other change.
async fn recovered(relay: &Relay, intent: &Intent, effect: Effect) -> Result<Settlement, Error> {
    let names = relay.counted();
    let keys = vec![intent.key.clone()];
    let mut rows = relay.store.rows(relay.directory.id, &names, keys).await?;
    let change = rows.pop().and_then(|row| change_of(intent, &effect, &row));
    Ok(Settlement {
        change,
        ..settled(intent, effect)
    })
}

/// What an intent turned out to have changed, compared with what was acknowledged before it.
fn change_of(intent: &Intent, effect: &Effect, row: &Row) -> Option<Change> {
    let create = |applied: &Applied, members: &[RowKey]| Action::Create {
        attributes: applied.attributes.clone(),
        members: members.to_vec(),
    };
    let action = match (effect, &row.applied) {
        (Effect::Applied(held), Some(before)) => {
            let attributes = before.attributes.keys().chain(held.attributes.keys());
            let paths = attributes.cloned().collect();
            let changes = decide::changes(&before.attributes, &held.attributes, &paths);
            (!changes.is_empty()).then_some(Action::Change { changes })
        }
        (Effect::Applied(held), None) => Some(create(held, &[])),
        (Effect::AppliedWithMembers(held, members), _) => Some(create(held, members)),
        (Effect::Unlinked, Some(before)) => Some(Action::Delete {
            attributes: before.attributes.clone(),
        }),
        (Effect::MembersAdded(members), _) if !members.is_empty() => {
            Some(Action::AddMembers(members.clone()))
        }
        (Effect::MembersRemoved(members), _) if !members.is_empty() => {
            Some(Action::RemoveMembers(members.clone()))
        }
        _ => None,
    };
    let held = match effect {
        Effect::Applied(held) | Effect::AppliedWithMembers(held, _) => Some(held),
        _ => row.applied.as_ref(),
    };
    let owner = row.owner();
    Some(Change {
        at: Utc::now(),
        key: intent.key.clone(),
        dn: owner.map_or_else(String::new, |(_, seen)| seen.identity.dn.clone()),
        id: held.map(|held| held.id.clone()),
        action: action?,
        class: intent.class,
        reason: Reason::Recovered,
        error: None,
    })
}

/// What is known of the intents now, and the creates that were not found.
async fn look_at_all(
    relay: &Relay,
    intents: Vec<Intent>,
    tracker: &Tracker,
    in_doubt: &mut HashSet<RowKey>,
) -> Result<(Vec<Settlement>, Vec<Intent>), Error> {
    let looks = stream::iter(intents)
        .map(|intent| async move {
            let effect = look(relay, &intent).await;
            (intent, effect)
        })
        .buffer_unordered(relay.tenant.concurrency);
    let looks: Vec<(Intent, Result<Option<Effect>, Error>)> = looks.collect().await;
    let mut settlements = Vec::new();
    let mut missing = Vec::new();
    for (intent, look) in looks {
        match look {
            Ok(Some(effect)) => settlements.push(recovered(relay, &intent, effect).await?),
            Ok(None) => missing.push(intent),
            Err(Error::Target(refusal)) if refusal.fault == Fault::Rejected => {
                tracker
                    .record(target_error(&intent.key, "", "recover", &refusal))
                    .await;
                in_doubt.insert(intent.key);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((settlements, missing))
}

/// What became of one intent; `None` for a create that is not at the target.
async fn look(relay: &Relay, intent: &Intent) -> Result<Option<Effect>, Error> {
    let Some(row) = relay.rows(vec![intent.key.clone()]).await?.pop() else {
        return Ok(Some(Effect::Nothing)); // not reached: each key is answered with a row
    };
    let id = row.applied.as_ref().map(|applied| applied.id.clone());
    match (intent.class, id) {
        (Class::CreateUser | Class::Link | Class::Group, None) => {
            Ok(look_for_resource(relay, intent, &row).await?)
        }
        (Class::AddMembers | Class::RemoveMembers, Some(id)) => {
            Ok(Some(look_at_members(relay, intent, &id).await?))
        }
        (class, Some(id)) => Ok(Some(look_at_attributes(relay, &row, id, class).await?)),
        (_, None) => Ok(Some(Effect::Nothing)),
    }
}

async fn look_at_attributes(
    relay: &Relay,
    row: &Row,
    id: String,
    class: Class,
) -> Result<Effect, Error> {
    let kind = resource_type(row.key.kind);
    let found = relay.provider.get(kind, &id).await?;
    let gone = match class {
        Class::Delete => Effect::Unlinked,
        // What is gone is noticed by the next change, or by a reconcile.
        _ => Effect::Nothing,
    };
    let Some(found) = found else {
        return Ok(gone);
    };
    let shown = resource::Found::from_json(&found);
    let is_strangers = |applied| target::is_strangers(applied, shown.as_ref());
    if row.applied.as_ref().is_some_and(is_strangers) {
        return Ok(Effect::Nothing); // it was handed on to another entry, whose it is
    }
    let mut attributes = held(relay, row, &found);
    let conflicts = conflicts::of_row(relay, &row.key).await?;
    conflict::without_known(&mut attributes, &conflicts);
    Ok(Effect::Applied(Applied { id, attributes }))
}

/// What the target holds of the attributes that the relay maintains.
fn held(relay: &Relay, row: &Row, found: &Json) -> Attributes {
    let paths = adopt::maintained(relay, relay.profile_of(row), row.key.kind);
    let is_ours = |path: &AttributePath, value: &str| roles::may_be_ours(relay, row, path, value);
    let mut held = resource::project(found, &paths, is_ours, &relay.tenant.dialect);
    if let Some(applied) = &row.applied {
        adopt::keep_unmaintained(&mut held, &applied.attributes, &paths);
    }
    held
}

async fn look_for_resource(
    relay: &Relay,
    intent: &Intent,
    row: &Row,
) -> Result<Option<Effect>, Error> {
    let Some(id) = adopt::find_by_external_id(relay, &intent.key).await? else {
        return Ok(None);
    };
    let kind = resource_type(intent.key.kind);
    let Some(found) = relay.provider.get(kind, &id).await? else {
        return Ok(None);
    };
    let attributes = held(relay, row, &found);
    let applied = Applied { id, attributes };
    Ok(Some(match intent.key.kind {
        Kind::User => Effect::Applied(applied),
        Kind::Group => {
            let present = resource::member_ids(&found).unwrap_or_default();
            Effect::AppliedWithMembers(
                applied,
                among(relay, &intent.members, |id| present.contains(id)).await?,
            )
        }
    }))
}

async fn look_at_members(relay: &Relay, intent: &Intent, id: &str) -> Result<Effect, Refusal> {
    if !relay.tenant.dialect.members_readable {
        return Ok(Effect::Nothing);
    }
    let Some(present) = adopt::members_at_target(relay, id).await? else {
        return Ok(Effect::Nothing);
    };
    let chosen = |wanted: bool| {
        among(relay, &intent.members, move |id| {
            present.contains(id) == wanted
        })
    };
    Ok(match intent.class {
        Class::AddMembers => chosen(true).await.map(Effect::MembersAdded),
        _ => chosen(false).await.map(Effect::MembersRemoved),
    }
    .unwrap_or(Effect::Nothing))
}

/// Those of the rows whose id at the target passes.
async fn among(
    relay: &Relay,
    rows: &[RowKey],
    passes: impl Fn(&String) -> bool,
) -> Result<Vec<RowKey>, crate::store::Error> {
    let ids = relay.store.links(relay.directory.id, rows.to_vec()).await?;
    let pairs = rows.iter().cloned().zip(ids);
    Ok(pairs
        .filter(|(_, id)| id.as_ref().is_some_and(&passes))
        .map(|(row, _)| row)
        .collect())
}
