//! The target: whether it is still the one that the rows are linked at, by its address and by the resources that it has.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::identity::{Kind, RowKey};
use crate::mapping::resource_type;
use crate::provider::Refusal;
use crate::scim::Value;
use crate::scim::path::AttributePath;
use crate::scim::resource::Found;
use crate::snapshot::Applied;
use crate::store::Lease;
use crate::sync::{Error, Relay};

/// Linked resources that are looked at to tell whether the target is the same, at the most.
const SAMPLE: u64 = 50;
/// The same where the first ones say that it is not.
const LARGE_SAMPLE: u64 = 500;
/// So many may always be lost: somebody deletes a few by hand.
const LOST_ALWAYS: u64 = 5;
/// Rows looked at in one turn.
const ROWS_PER_TURN: usize = 1_000;

/// Ids of one target say nothing at another, where they may be those of strangers.
pub(super) async fn same_address(relay: &Relay, lease: &Lease) -> Result<(), Error> {
    let now = &relay.tenant.base_url;
    match relay.store.bind_target(lease, now).await? {
        None => Ok(()),
        Some(before) => Err(Error::Moved(format!(
            "the accounts of directory {} are linked at {before}, and baseUrl of tenant {} is {now} now: nothing is sent, \
             because their ids may be those of others there. Put baseUrl back; or, if that is meant, create the directory \
             anew (in the file: under another name), and its accounts are linked by externalId",
            relay.directory.name, relay.tenant.name
        ))),
    }
}

/// Looks at some of the linked resources: behind the same address there may be another tenant, or one that was restored
/// from an old copy (hazards H43, H48). Deactivated accounts do not count, because targets clear them away.
pub(super) async fn same_resources(relay: &Relay) -> Result<(), Error> {
    if looked_at(relay, SAMPLE).await.is_ok() {
        return Ok(());
    }
    // So few may be there by chance.
    looked_at(relay, LARGE_SAMPLE).await
}

async fn looked_at(relay: &Relay, most: u64) -> Result<(), Error> {
    let sample = sample(relay, most).await?;
    let count = sample.len() as u64;
    let looks = stream::iter(sample)
        .map(|(row, applied)| async move { is_lost(relay, &row, &applied).await })
        .buffer_unordered(relay.tenant.concurrency);
    let lost: Vec<bool> = looks.try_collect().await?;
    let lost = lost.into_iter().filter(|lost| *lost).count() as u64;
    judge(relay, lost, count)
}

/// So many of the linked resources are not there, or bear somebody else's externalId: an error when these are too many.
pub(super) fn judge(relay: &Relay, lost: u64, of: u64) -> Result<(), Error> {
    let percent = relay.profile.limits.found_percent;
    if lost <= LOST_ALWAYS || (of - lost.min(of)) * 100 >= of * percent {
        return Ok(());
    }
    Err(Error::Moved(format!(
        "{lost} of {of} linked resources that were looked for at the target are not there, or are somebody else's: nothing \
         is sent, because this may be another tenant of it, or one that was restored from an old copy. Check baseUrl and \
         credentials of tenant {}; or, if they were removed there and are to be created again, lower guard.foundPercent of \
         the profile, which is {percent}",
        relay.tenant.name
    )))
}

/// Linked rows from everywhere in the store; not those of accounts that the target holds inactive.
async fn sample(relay: &Relay, most: u64) -> Result<Vec<(RowKey, Applied)>, Error> {
    let directory = relay.directory.id;
    let counts = relay.store.linked_counts(directory).await?;
    let step = (counts.active_users + counts.groups).div_ceil(most).max(1);
    let (mut sample, mut after, mut number) = (Vec::new(), None, 0);
    loop {
        let rows = relay.store.linked_rows(directory, after, ROWS_PER_TURN);
        let rows = rows.await?;
        let Some((last, _)) = rows.last() else {
            return Ok(sample);
        };
        after = Some(last.clone());
        for row in rows.into_iter().filter(|(_, applied)| applied.is_active()) {
            if number % step == 0 {
                sample.push(row);
            }
            number += 1;
        }
    }
}

/// Whether a linked resource is not there, or bears another externalId than it was given. What cannot be read proves
/// nothing, unless the target refuses everything.
async fn is_lost(relay: &Relay, row: &RowKey, applied: &Applied) -> Result<bool, Refusal> {
    let kind = resource_type(row.kind);
    match relay.provider.get(kind, &applied.id).await {
        Ok(None) => Ok(true),
        Ok(Some(resource)) => Ok(is_strangers(applied, Found::from_json(&resource).as_ref())),
        Err(refusal) if refusal.fault.stops_the_run() => Err(refusal),
        Err(_) => Ok(false),
    }
}

/// Whether a resource bears another externalId than it was given.
pub(super) fn is_strangers(applied: &Applied, found: Option<&Found>) -> bool {
    let given = applied.attributes.get(&AttributePath::external_id());
    let shown = found.and_then(|found| found.external_id.as_deref());
    given
        .and_then(Value::as_text)
        .zip(shown)
        .is_some_and(|(given, shown)| given != shown)
}

/// How many linked resources of a kind count when some of them are not there.
pub(super) async fn counted(relay: &Relay, kind: Kind) -> Result<u64, Error> {
    let counts = relay.store.linked_counts(relay.directory.id).await?;
    Ok(match kind {
        Kind::User => counts.active_users,
        Kind::Group => counts.groups,
    })
}

/// The same answer for a single request that met a resource which is gone.
pub(super) fn refusal(error: Error) -> Refusal {
    match error {
        Error::Target(refusal) => refusal,
        error => Refusal {
            fault: error.fault(),
            status: None,
            scim_type: None,
            message: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::Attributes;

    #[test]
    fn a_target_resource_is_a_strangers_when_it_shows_another_external_id_than_it_was_given() {
        let applied = |given: Option<&str>| {
            let value =
                given.map(|given| (AttributePath::external_id(), Value::Text(given.to_owned())));
            Applied {
                id: "7".to_owned(),
                attributes: value.into_iter().collect::<Attributes>(),
            }
        };
        let found = |shown: Option<&str>| Found {
            id: "7".to_owned(),
            external_id: shown.map(str::to_owned),
            name: None,
            email: None,
            active: None,
        };
        for (given, shown, expected) in [
            (Some("a"), Some("a"), false),
            (Some("a"), Some("b"), true),
            // Targets that keep none, or do not show it.
            (Some("a"), None, false),
            (None, Some("b"), false),
        ] {
            let is = is_strangers(&applied(given), Some(&found(shown)));
            assert_eq!(is, expected, "{given:?} {shown:?}");
        }
    }
}
