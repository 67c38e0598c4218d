//! The experiment with Bulk: two users and a group that refers to them, in one request.

use serde_json::json;

use crate::canary::accounts;
use crate::canary::groups::words_of;
use crate::canary::lab::{Halt, Lab, Trial, short};
use crate::provider::{Lane, Outcome};
use crate::scim::dialect::{Bulk, Dialect};
use crate::scim::encode::{self, Request};
use crate::scim::evidence::{Membership, membership};
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, ResourceType, Value};

/// Whether requests go together, and whether a group may refer to users who are created with it.
pub(super) async fn bulk(lab: &mut Lab<'_>, is_advertised: bool) -> Result<(), Halt> {
    if !is_advertised {
        let manner = Dialect {
            bulk: Bulk::Never,
            ..lab.dialect.clone()
        };
        let trial = Trial::failed(
            "GET /ServiceProviderConfig",
            "no bulk.supported",
            "bulk.supported (RFC 7643 §5)",
        );
        lab.adopt(manner, &trial);
        return Ok(());
    }
    lab.check_stop()?;
    let manner = Dialect {
        bulk: Bulk::WithReferences,
        ..lab.dialect.clone()
    };
    let (names, requests) = requests(lab);
    for (name, request) in names.iter().zip(&requests) {
        lab.aviary.expect(request.resource_type, name);
    }
    let provider = lab.provider(&manner);
    let outcomes = provider.submit_together(&requests, Lane::Ordinary).await;
    let mut trial = Trial::failed(
        match requests.len() {
            2 => "POST /Bulk that creates two users",
            _ => "POST /Bulk that creates two users, and a group that refers to them by bulkId",
        },
        "confirmed",
        "everything created, and the group with both users",
    );
    let Some(outcomes) = outcomes else {
        for (name, request) in names.iter().zip(&requests) {
            lab.aviary.not_created(request.resource_type, name);
        }
        trial.words.answer = "refused, although it is advertised".to_owned();
        lab.adopt(
            Dialect {
                bulk: Bulk::Never,
                ..manner
            },
            &trial,
        );
        return Ok(());
    };
    let ids = created(lab, &names, &requests, &outcomes, &mut trial);
    let found = judged(lab, &ids, &mut trial).await?;
    lab.adopt(
        Dialect {
            bulk: found,
            ..manner
        },
        &trial,
    );
    Ok(())
}

/// The ids of what was created; what was not is no canary any more.
fn created(
    lab: &mut Lab<'_>,
    names: &[String],
    requests: &[Request],
    outcomes: &[Outcome],
    trial: &mut Trial,
) -> Vec<Option<String>> {
    let mut ids = Vec::new();
    for ((at, name), request) in names.iter().enumerate().zip(requests) {
        let kind = request.resource_type;
        let mut created = None;
        match outcomes.get(at) {
            Some(Outcome::Acknowledged { id: Some(id), .. }) => {
                lab.aviary.hatched(kind, name, id);
                created = Some(id.clone());
            }
            Some(Outcome::Refused(refusal)) => {
                lab.aviary.not_created(kind, name);
                trial.words.answer = short(&refusal.message);
            }
            Some(Outcome::Unknown(refusal)) => {
                lab.aviary.doubt(kind, name);
                trial.words.answer = short(&refusal.message);
            }
            Some(Outcome::Acknowledged { id: None, .. }) => lab.aviary.doubt(kind, name),
            None => lab.aviary.not_created(kind, name),
        }
        ids.push(created);
    }
    ids
}

/// What the ids that came back, and the group's members, say.
async fn judged(lab: &Lab<'_>, ids: &[Option<String>], trial: &mut Trial) -> Result<Bulk, Halt> {
    let (users, group) = match ids {
        [Some(one), Some(other), group @ ..] => ([one.clone(), other.clone()], group.first()),
        _ => return Ok(Bulk::Never),
    };
    let Some(Some(group)) = group else {
        return Ok(Bulk::WithoutReferences);
    };
    let read = lab.read(ResourceType::Group, group).await?;
    let shown = membership(&read, &users);
    trial.words.answer = format!("confirmed; read back: {}", words_of(&shown));
    Ok(match shown {
        Membership::AsWanted => Bulk::WithReferences,
        Membership::Empty | Membership::Otherwise(_) => Bulk::WithoutReferences,
    })
}

/// Two users, and a group of them where groups are created with members that can be read.
fn requests(lab: &mut Lab<'_>) -> (Vec<String>, Vec<Request>) {
    let mut names = Vec::new();
    let mut requests = Vec::new();
    for number in 1..=2 {
        let paths = lab.taken.clone();
        let (name, attributes) = accounts::fresh(lab, &paths);
        let mut request = encode::create(ResourceType::User, &attributes, &[]);
        request.bulk_id = Some(format!("user{number}"));
        names.push(name);
        requests.push(request);
    }
    if lab.group.is_some() && lab.dialect.members_per_create >= 2 && lab.dialect.members_readable {
        let name = lab.aviary.name();
        let attributes =
            Attributes::from([(AttributePath::display_name(), Value::Text(name.clone()))]);
        let mut request = encode::create(ResourceType::Group, &attributes, &[]);
        if let Some(body) = &mut request.body {
            body["members"] = json!([{"value": "bulkId:user1"}, {"value": "bulkId:user2"}]);
        }
        request.bulk_id = Some("group".to_owned());
        names.push(name);
        requests.push(request);
    }
    (names, requests)
}
