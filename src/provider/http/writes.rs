//! Writes: how a request that changes something goes to the target in the dialect's manner, and again where that is harmless.

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value as Json;

use crate::fault::Fault;
use crate::provider::http::client::{Call, Trouble};
use crate::provider::http::{Http, is_passing, outcome};
use crate::provider::{Lane, Outcome, Provider as _, Refusal};
use crate::scim::encode::{self, Request};
use crate::scim::{merge, shape};

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
        for part in encode::in_parts(request, self.dialect.operations_per_request) {
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
    async fn replace(&self, request: &Request, lane: Lane) -> Outcome {
        let id = request.id.as_deref().unwrap_or_default();
        let resource = match self.get(request.resource_type, id).await {
            Ok(Some(resource)) => resource,
            Ok(None) => return Outcome::Refused(vanished(id)),
            Err(refusal) => return Outcome::Refused(refusal),
        };
        let body = match merge::merged(resource, encode::operations(request)) {
            Ok(body) => body,
            Err(why) => return Outcome::Refused(unmergeable(id, &why)),
        };
        let put = Request {
            method: encode::Method::Put,
            body: Some(body),
            ..request.clone()
        };
        self.write(&put, lane).await
    }

    /// Sends a request that writes, again where that is harmless, until its outcome is as clear as it gets.
    pub(super) async fn write(&self, request: &Request, lane: Lane) -> Outcome {
        let body = shape::body(request, &self.dialect);
        let call = call(request, body.as_ref());
        let label = call.to_string();
        let repeatable = outcome::is_repeatable(request);
        let mut in_doubt = false;
        let mut attempt = 1;
        loop {
            let outcome = match self.send(&call, lane, attempt > 1).await {
                Ok(answer) => outcome::classify(request, &label, &answer),
                Err(Trouble::NotSent(refusal)) => Outcome::Refused(refusal),
                Err(Trouble::Unclear(refusal)) => Outcome::Unknown(refusal),
            };
            let (again, status) = match &outcome {
                Outcome::Acknowledged { .. } => return outcome,
                Outcome::Refused(refusal) => (is_passing(refusal), refusal.status),
                Outcome::Unknown(refusal) => {
                    in_doubt = true;
                    (repeatable, refusal.status)
                }
            };
            if !again || attempt >= self.repetition.attempts_max {
                return settle(outcome, in_doubt);
            }
            self.pause(status, attempt).await;
            attempt += 1;
        }
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

fn call<'a>(request: &'a Request, body: Option<&Json>) -> Call<'a> {
    Call {
        method: match request.method {
            encode::Method::Post => Method::POST,
            encode::Method::Patch => Method::PATCH,
            encode::Method::Put => Method::PUT,
            encode::Method::Delete => Method::DELETE,
        },
        endpoint: request.resource_type.endpoint(),
        id: request.id.as_deref(),
        query: Vec::new(),
        body: body.map(|body| Bytes::from(body.to_string())),
    }
}
