//! Writes: how a request that changes something goes to the target in the dialect's manner, and again where that is harmless.

use std::collections::HashSet;

use reqwest::header::{ETAG, HeaderValue};
use serde_json::Value as Json;

use crate::fault::Fault;
use crate::provider::http::call::Call;
use crate::provider::http::client::Trouble;
use crate::provider::http::{Http, is_absent, is_passing, outcome};
use crate::provider::{Lane, Outcome, Provider as _, Refusal};
use crate::scim::encode::{self, Request};
use crate::scim::resource::{attribute, member_ids};
use crate::scim::{ResourceType, merge, shape};

impl Http {
    /// Sends a request as the target takes it: by PATCH or PUT, in one request or in several.
    pub(super) async fn carry_out(&self, request: &Request, lane: Lane) -> Outcome {
        if request.method != encode::Method::Patch {
            return self.write(request, lane).await;
        }
        if self.puts(request.resource_type) {
            return self.replace(request, lane).await;
        }
        let mut outcome = Outcome::Acknowledged {
            id: None,
            resource: None,
        };
        let mut some_done = false;
        let most = shape::operations_max(request, &self.dialect);
        for part in encode::in_parts(request, most) {
            outcome = match self.write(&part, lane).await {
                outcome @ Outcome::Acknowledged { .. } => outcome,
                // A part of it is done, so it is looked at before it is sent again.
                Outcome::Refused(refusal) if some_done => return Outcome::Unknown(refusal),
                outcome => return outcome,
            };
            some_done = true;
        }
        outcome
    }

    /// What a refusal means beyond its own words.
    pub(super) async fn look_into(
        &self,
        request: &Request,
        outcome: Outcome,
        lane: Lane,
    ) -> Outcome {
        match outcome {
            Outcome::Refused(refusal) if outcome::is_no_target(&refusal) => {
                self.remove_in_parts(request, lane, refusal).await
            }
            Outcome::Refused(refusal) if refusal.status == Some(403) => {
                Outcome::Refused(self.judge_forbidden(refusal, lane).await)
            }
            outcome => outcome,
        }
    }

    /// Reads the resource, makes the changes on it, and sends it back whole, so that what the relay does not map stays.
    /// Where somebody changes it meanwhile, and the target tells, once more.
    async fn replace(&self, request: &Request, lane: Lane) -> Outcome {
        match self.replace_once(request, lane).await {
            Outcome::Refused(refusal) if refusal.status == Some(412) => {
                self.replace_once(request, lane).await
            }
            outcome => outcome,
        }
    }

    async fn replace_once(&self, request: &Request, lane: Lane) -> Outcome {
        let id = request.id.as_deref().unwrap_or_default();
        let is_group = request.resource_type == ResourceType::Group;
        if is_group && !self.dialect.members_readable {
            return Outcome::Refused(unmergeable(id, MEMBERS_UNREADABLE));
        }
        let resource = match self.read_one(request.resource_type, id, lane).await {
            Ok(Some(resource)) => resource,
            Ok(None) => return Outcome::Refused(vanished(id)),
            Err(refusal) => return Outcome::Refused(refusal),
        };
        if let Some(why) = hides_members(&resource, &request.known.members) {
            return Outcome::Refused(unmergeable(id, &why));
        }
        let version = version_in(&resource).filter(|_| self.dialect.if_match);
        let known = request.known.attributes.iter();
        let known = known.filter(|(path, _)| self.dialect.keeps(path));
        let body = match merge::merged(resource, known, encode::operations(request)) {
            Ok(body) => body,
            Err(why) => return Outcome::Refused(unmergeable(id, &why)),
        };
        let put = Request {
            method: encode::Method::Put,
            body: Some(body),
            ..request.clone()
        };
        self.write_on(&put, version, lane).await
    }

    /// Sends a request that writes, again where that is harmless, until its outcome is as clear as it gets.
    async fn write(&self, request: &Request, lane: Lane) -> Outcome {
        match self.version_of(request, lane).await {
            Ok(version) => self.write_on(request, version, lane).await,
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// The same for a change of the version that is named.
    async fn write_on(
        &self,
        request: &Request,
        version: Option<HeaderValue>,
        lane: Lane,
    ) -> Outcome {
        let body = shape::body(request, &self.dialect);
        let mut call = Call::of(request, body.as_deref());
        call.if_match = version;
        let label = call.to_string();
        let repeatable = outcome::is_repeatable(request);
        let (mut in_doubt, mut overtaken) = (false, request.method == encode::Method::Put);
        let mut attempt = 1;
        loop {
            let outcome = match self.send(&call, lane, attempt > 1).await {
                Ok(answer) => outcome::classify(request, &label, &answer),
                Err(Trouble::NotSent(refusal)) => Outcome::Refused(refusal),
                Err(Trouble::Unclear(refusal)) => Outcome::Unknown(refusal),
            };
            let (again, refusal) = match &outcome {
                Outcome::Acknowledged { .. } => return outcome,
                // Somebody changed it between the two requests, or an earlier try of this one did; once is by chance.
                Outcome::Refused(refusal)
                    if refusal.status == Some(412) && call.if_match.is_some() && !overtaken =>
                {
                    overtaken = true;
                    match self.version_of(request, lane).await {
                        Ok(version) => call.if_match = version,
                        Err(refusal) => return settle(Outcome::Refused(refusal), in_doubt),
                    }
                    continue;
                }
                Outcome::Refused(refusal) => (is_passing(refusal), refusal),
                Outcome::Unknown(refusal) => {
                    in_doubt = true;
                    (repeatable, refusal)
                }
            };
            if !again || attempt >= self.repetition.attempts_max {
                return settle(outcome, in_doubt);
            }
            self.pause(refusal, attempt).await;
            attempt += 1;
        }
    }

    /// The version of the resource that is about to be changed, where the target wants to be told.
    async fn version_of(
        &self,
        request: &Request,
        lane: Lane,
    ) -> Result<Option<HeaderValue>, Refusal> {
        let Some(id) = request.id.as_deref().filter(|_| self.dialect.if_match) else {
            return Ok(None);
        };
        let mut query = Vec::new();
        if request.resource_type == ResourceType::Group {
            query.push(("excludedAttributes", "members".to_owned()));
        }
        let read = Call {
            id: Some(id),
            ..Call::get(request.resource_type.endpoint(), query)
        };
        let answer = self.read(&read, lane).await?;
        if is_absent(&answer) {
            return Ok(None); // which the target says of the change, too
        }
        let by_header = answer.headers.get(ETAG).cloned();
        let resource = outcome::json_of(&read.to_string(), answer)?;
        Ok(by_header.or_else(|| version_in(&resource)))
    }

    /// A target that refuses a PATCH because one of its removals has nothing to remove has carried out none of them.
    /// Halving finds the ones that are done already; the others are carried out on the way.
    async fn remove_in_parts(&self, request: &Request, lane: Lane, refusal: Refusal) -> Outcome {
        let Some([first, second]) = outcome::halves(request) else {
            return Outcome::Refused(refusal);
        };
        let mut parts = vec![second, first];
        let mut some_done = false;
        while let Some(part) = parts.pop() {
            match (self.carry_out(&part, lane).await, outcome::halves(&part)) {
                (Outcome::Acknowledged { .. }, _) => some_done = true,
                (Outcome::Refused(refusal), Some([first, second]))
                    if outcome::is_no_target(&refusal) =>
                {
                    parts.extend([second, first]);
                }
                (Outcome::Refused(refusal), _) if some_done => return Outcome::Unknown(refusal),
                (outcome, _) => return outcome,
            }
        }
        Outcome::Acknowledged {
            id: None,
            resource: None,
        }
    }
}

const MEMBERS_UNREADABLE: &str = "its members cannot be read (membersReadable in the dialect), so they would be lost; set \
     groupUpdates = \"patch\" if the target takes that";

/// Members of ours that may be missing in what is shown of a group without a word, be it by chance or by hand: as many as the
/// guard lets leave a group.
const MEMBERS_MISSING: usize = 10;
const MEMBERS_MISSING_PERCENT: usize = 20;

/// Why a group as it was read must not be sent back: it lacks members that it is known to have, so it may lack others', too.
fn hides_members(group: &Json, known: &[String]) -> Option<String> {
    let shown: HashSet<String> = member_ids(group).unwrap_or_default().into_iter().collect();
    let missing = known.iter().filter(|id| !shown.contains(*id)).count();
    let allowed = MEMBERS_MISSING.max(known.len() * MEMBERS_MISSING_PERCENT / 100);
    let hides = missing > allowed || (missing > 0 && missing == known.len());
    hides.then(|| {
        format!(
            "the target shows {} members, without {missing} of the {} that the relay put there, so a PUT might take them out. If \
             it never shows all members, set membersReadable = false and groupUpdates = \"patch\" in the dialect; if they \
             were taken out there, remove the group there as well, and the next run makes it anew",
            shown.len(),
            known.len()
        )
    })
}

/// The version that a resource says that it has (RFC 7643 §3.1).
fn version_in(resource: &Json) -> Option<HeaderValue> {
    let version = attribute(attribute(resource, "meta")?, "version")?;
    HeaderValue::try_from(version.as_str()?).ok()
}

fn vanished(id: &str) -> Refusal {
    Refusal {
        fault: Fault::Drifted,
        status: Some(404),
        scim_type: None,
        message: format!("resource {id} is not at the target any more"),
    }
}

fn unmergeable(id: &str, why: &str) -> Refusal {
    Refusal {
        fault: Fault::Rejected,
        status: None,
        scim_type: None,
        message: format!("resource {id} cannot be changed by PUT: {why}"),
    }
}

/// A request that was not let in at the end may have been carried out by an earlier try.
fn settle(outcome: Outcome, in_doubt: bool) -> Outcome {
    match outcome {
        Outcome::Refused(refusal) if in_doubt && is_passing(&refusal) => Outcome::Unknown(refusal),
        outcome => outcome,
    }
}
