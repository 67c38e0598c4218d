//! Create: a resource is made once, whatever the target answers, or not at all where one of the name is there.

use std::time::Duration;

use crate::directory::profile::Linking;
use crate::fault::Fault;
use crate::identity::Kind;
use crate::plan::{Action, linking};
use crate::provider::{Lane, Outcome, Refusal};
use crate::scim::encode::{self, Request};
use crate::scim::{Attributes, ResourceType};
use crate::snapshot::{Applied, Match, MatchedBy};
use crate::store::Effect;
use crate::sync::adopt;
use crate::sync::flight::Flight;
use crate::sync::prepare::Operation;
use crate::sync::send::{Settled, adopted, failed, find_ours, settled, submit};

/// The cure where a target does not manage a create with many members in time.
const LOWER_MEMBERS: &str = "; if this lasts, lower the tenant's dialect.membersPerCreate";

/// What *applied* becomes when a create is acknowledged: what is maintained, not what is sent once.
fn created_attributes(operation: &Operation) -> Attributes {
    match &operation.step.action {
        Action::Create { attributes, .. } => attributes.clone(),
        _ => Attributes::new(),
    }
}

/// What a create has brought about, with the first so many members.
fn with_members(applied: Applied, operation: &Operation, count: usize) -> Effect {
    match operation.step.key.kind {
        Kind::User => Effect::Applied(applied),
        Kind::Group => {
            let there = operation.members.iter().take(count);
            Effect::AppliedWithMembers(applied, there.map(|(row, _)| row.clone()).collect())
        }
    }
}

/// Adds the members that did not go with the create, one request after the other, all under the create's intent.
async fn with_the_rest(
    flight: &Flight<'_>,
    operation: Operation,
    id: String,
    sent: usize,
) -> Settled {
    let dialect = &flight.relay.tenant.dialect;
    let applied = Applied {
        id,
        attributes: created_attributes(&operation),
    };
    let mut there = sent;
    let per_request = additions_per_request(flight);
    for part in operation.members[sent..].chunks(per_request) {
        let ids: Vec<String> = part.iter().map(|(_, id)| id.clone()).collect();
        let mut request = encode::add_members(&applied.id, &ids, dialect);
        request.known.attributes = applied.attributes.clone();
        let before = operation.members[..there].iter();
        request.known.members = before.map(|(_, id)| id.clone()).collect();
        match flight.relay.provider.submit(&request, Lane::Ordinary).await {
            Outcome::Acknowledged { .. } => there += part.len(),
            // The row stays different, and the next run adds what is missing.
            Outcome::Refused(refusal) => {
                let effect = with_members(applied, &operation, there);
                return failed(operation, effect, refusal);
            }
            // The next run reads the group before it goes on.
            Outcome::Unknown(refusal) => return failed(operation, Effect::StillUnknown, refusal),
        }
    }
    let effect = with_members(applied, &operation, there);
    settled(operation, effect)
}

fn additions_per_request(flight: &Flight<'_>) -> usize {
    let puts = flight.relay.provider.puts(ResourceType::Group);
    flight.relay.tenant.dialect.additions_per_request(puts)
}

/// A create is sent once. When its outcome is not known it is looked for, with patience, and sent a second time only
/// when it is not there (hazards H40, H42). One that is too large for the target goes in parts.
/// `first` is the outcome of the first try where it was made already, together with others.
pub(super) async fn create(
    flight: &Flight<'_>,
    operation: Operation,
    request: Request,
    mut first: Option<Outcome>,
) -> Settled {
    let in_a_patch = additions_per_request(flight);
    let is_large = operation.members.len() > in_a_patch;
    let mut request = request;
    let mut sent = operation.members.len();
    let mut in_doubt = false;
    loop {
        let outcome = match first.take().filter(|first| !is_put_off(first)) {
            Some(outcome) => outcome,
            None => submit(flight, &operation, &request).await,
        };
        match outcome {
            Outcome::Acknowledged { id: Some(id), .. } => {
                return with_the_rest(flight, operation, id, sent).await;
            }
            Outcome::Refused(refusal) if refusal.status == Some(413) && sent > in_a_patch => {
                sent = in_a_patch;
                request = encode::with_first_members(request, sent);
                continue;
            }
            Outcome::Refused(refusal) if refusal.fault == Fault::Rejected => {
                return refused_create(flight, operation, refusal).await;
            }
            // A second try that was not let in says nothing of the first.
            Outcome::Refused(refusal) if in_doubt => {
                return failed(operation, Effect::StillUnknown, refusal);
            }
            Outcome::Refused(refusal) => return failed(operation, Effect::Nothing, refusal),
            Outcome::Acknowledged { id: None, .. } | Outcome::Unknown(_) => {}
        }
        match look_with_patience(flight, &operation).await {
            Ok(Some(id)) => {
                let attributes = created_attributes(&operation);
                return adopted(flight, operation, &id, &attributes).await;
            }
            // A target may work on many members for longer than anybody waits; the next run looks again.
            Ok(None) if is_large => {
                let mut refusal = unanswered();
                refusal.message.push_str(LOWER_MEMBERS);
                return failed(operation, Effect::StillUnknown, refusal);
            }
            Ok(None) if !in_doubt => in_doubt = true,
            Ok(None) => return unanswered_create(flight, operation).await,
            Err(refusal) => return failed(operation, Effect::StillUnknown, refusal),
        }
    }
}

/// Whether it was not let in when it was sent together with others; alone it waits until it is.
fn is_put_off(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(refusal) if refusal.fault == Fault::Throttled)
}

fn unanswered() -> Refusal {
    Refusal {
        fault: Fault::Transient,
        status: None,
        scim_type: None,
        message: "the target did not say whether the resource was created, and it cannot be found there; the next run \
                  looks again before it sends anything"
            .to_owned(),
    }
}

/// Looks for a resource of ours whose create was not answered; a target may take a while to show it.
async fn look_with_patience(
    flight: &Flight<'_>,
    operation: &Operation,
) -> Result<Option<String>, Refusal> {
    let settle = Duration::from_secs(u64::from(flight.relay.tenant.settle_s));
    for pause in [Duration::ZERO, settle, settle * 2] {
        tokio::time::sleep(pause).await;
        if let Some(id) = find_ours(flight, &operation.step.key).await? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Whether a refusal may mean that there is such a resource already; not every target says so in the words of RFC 7644 §3.3.
pub(super) fn is_conflict(refusal: &Refusal) -> bool {
    let words = refusal.message.to_lowercase();
    let is_uniqueness = |kind: &str| kind.eq_ignore_ascii_case("uniqueness");
    refusal.status == Some(409)
        || refusal.scim_type.as_deref().is_some_and(is_uniqueness)
        || (words.contains("exist") && !words.contains("not exist"))
}

/// A refused create leads to the same look-up as first contact: ours, somebody else's, or free to propose.
async fn refused_create(flight: &Flight<'_>, operation: Operation, refusal: Refusal) -> Settled {
    if !is_conflict(&refusal) {
        return failed(operation, Effect::Nothing, refusal);
    }
    match holder(flight, &operation).await {
        Ok(Some(found)) => taken(flight, operation, found, refusal).await,
        Ok(None) => failed(operation, Effect::Nothing, refusal),
        Err(second) => failed(operation, Effect::Nothing, second),
    }
}

/// A create that was never answered and is not there. Some targets say in this way that a userName is taken; who else
/// holds it proves that the create had no effect (RFC 7643 §4.1.1). Names of groups need not be unique.
async fn unanswered_create(flight: &Flight<'_>, operation: Operation) -> Settled {
    if operation.step.key.kind == Kind::User
        && let Ok(Some(found)) = holder(flight, &operation).await
    {
        return taken(flight, operation, found, unanswered()).await;
    }
    failed(operation, Effect::StillUnknown, unanswered())
}

/// The resource that is ours already, or has the name under which the row was to be created.
async fn holder(flight: &Flight<'_>, operation: &Operation) -> Result<Option<Match>, Refusal> {
    let attributes = created_attributes(operation);
    adopt::find_match(flight.relay, &operation.step.key, &attributes).await
}

/// The name is held by a resource that was not known of: linked where that needs nobody's consent, else remembered, so
/// that the next run says the same without another try.
async fn taken(
    flight: &Flight<'_>,
    operation: Operation,
    found: Match,
    refusal: Refusal,
) -> Settled {
    let automatic = flight.relay.profile.linking == Linking::Automatic;
    if found.by == MatchedBy::ExternalId || (found.is_proposal() && automatic) {
        let attributes = created_attributes(&operation);
        return adopted(flight, operation, &found.id, &attributes).await;
    }
    let refusal = Refusal {
        fault: Fault::Rejected,
        message: linking::proposal(operation.step.key.kind, &found),
        ..refusal
    };
    failed(operation, Effect::Found(found), refusal)
}
