//! Tokens: a fixed one, or OAuth 2.0 client credentials (RFC 6749 §4.4) fetched once and renewed in time.

use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::provider::http::assertion::{ASSERTION_TYPE, Signer};
use crate::provider::http::client::{Answer, Body, Trouble, Wire};
use crate::provider::http::outcome;
use crate::provider::http::pacing::Repetition;
use crate::provider::{Auth, ClientAuthentication, Refusal};
use crate::secret::Secret;

const TOKEN_ENDPOINT: &str = "POST to the token endpoint";

/// The tenant's credentials, and the token that they gave.
pub(super) struct Credentials {
    way: Way,
    repetition: Repetition,
    /// Held while a token is fetched, so that requests that need one at the same time fetch it once.
    kept: Mutex<Option<Kept>>,
}

/// Where tokens come from.
enum Way {
    Fixed(Secret),
    Endpoint(Endpoint),
}

/// A token endpoint, and what it is asked with.
struct Endpoint {
    url: String,
    client_id: String,
    proof: Proof,
    scope: Option<String>,
}

/// How the client shows who it is.
enum Proof {
    Secret(Secret),
    Signature(Box<Signer>),
}

struct Kept {
    token: Secret,
    /// After four fifths of its life; a token without a stated life is kept until it is refused.
    renew_at: Option<Instant>,
}

impl Credentials {
    /// Keeps the credentials; fetches nothing yet.
    ///
    /// # Errors
    /// When a key cannot sign.
    pub(super) fn new(auth: Auth, repetition: Repetition) -> Result<Self, Refusal> {
        let way = match auth {
            Auth::Bearer(token) => Way::Fixed(token),
            Auth::ClientCredentials {
                token_url,
                client_id,
                client,
                scope,
            } => Way::Endpoint(Endpoint {
                proof: proof(client, &client_id, &token_url)?,
                url: token_url,
                client_id,
                scope,
            }),
        };
        Ok(Self {
            way,
            repetition,
            kept: Mutex::new(None),
        })
    }

    /// The token to send now.
    pub(super) async fn token(&self, wire: &Wire) -> Result<Secret, Refusal> {
        let endpoint = match &self.way {
            Way::Fixed(token) => return Ok(token.clone()),
            Way::Endpoint(endpoint) => endpoint,
        };
        let mut kept = self.kept.lock().await;
        match kept.as_ref() {
            Some(known) if known.renew_at.is_none_or(|time| Instant::now() < time) => {
                Ok(known.token.clone())
            }
            _ => self.renew(&mut kept, endpoint, wire).await,
        }
    }

    /// Another token than the one that was refused; `None` where there is only one.
    pub(super) async fn instead_of(
        &self,
        refused: &Secret,
        wire: &Wire,
    ) -> Result<Option<Secret>, Refusal> {
        let Way::Endpoint(endpoint) = &self.way else {
            return Ok(None);
        };
        let mut kept = self.kept.lock().await;
        match kept.as_ref() {
            // Somebody else has renewed it since.
            Some(known) if known.token.expose() != refused.expose() => {
                Ok(Some(known.token.clone()))
            }
            _ => self.renew(&mut kept, endpoint, wire).await.map(Some),
        }
    }

    async fn renew(
        &self,
        kept: &mut Option<Kept>,
        endpoint: &Endpoint,
        wire: &Wire,
    ) -> Result<Secret, Refusal> {
        *kept = None;
        let mut attempt = 1;
        loop {
            match endpoint.fetch(wire).await {
                Ok(fresh) => return Ok(kept.insert(fresh).token.clone()),
                Err(refusal)
                    if matches!(refusal.fault, Fault::Transient | Fault::Throttled)
                        && attempt < self.repetition.attempts_max =>
                {
                    tokio::time::sleep(self.repetition.pause_after(attempt)).await;
                    attempt += 1;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }
}

fn proof(client: ClientAuthentication, client_id: &str, token_url: &str) -> Result<Proof, Refusal> {
    Ok(match client {
        ClientAuthentication::Secret(secret) => Proof::Secret(secret),
        ClientAuthentication::PrivateKey {
            key,
            key_id,
            audience,
        } => {
            let audience = audience.unwrap_or_else(|| token_url.to_owned());
            let signer = Signer::new(&key, key_id, client_id.to_owned(), audience)?;
            Proof::Signature(Box::new(signer))
        }
    })
}

impl Endpoint {
    /// Asks for a token.
    async fn fetch(&self, wire: &Wire) -> Result<Kept, Refusal> {
        let asked = Instant::now();
        let answer = match &self.proof {
            Proof::Secret(secret) => self.ask_with_secret(secret, wire).await?,
            Proof::Signature(signer) => self.ask_with_signature(signer, wire).await?,
        };
        read_token(answer, asked)
    }

    /// The client authenticates in the header, which every server must accept (RFC 6749 §2.3.1), and, where that is
    /// refused, in the form, since some are set up to accept nothing else.
    async fn ask_with_secret(&self, secret: &Secret, wire: &Wire) -> Result<Answer, Refusal> {
        let mut form = self.form();
        let basic = Some((self.client_id.as_str(), secret));
        let answer = self.post(basic, &form, secret, wire).await?;
        if !matches!(answer.status, 400 | 401) {
            return Ok(answer);
        }
        form.push(("client_id", &self.client_id));
        form.push(("client_secret", secret.expose()));
        self.post(None, &form, secret, wire).await
    }

    async fn ask_with_signature(&self, signer: &Signer, wire: &Wire) -> Result<Answer, Refusal> {
        let assertion = signer.sign(SystemTime::now())?;
        let mut form = self.form();
        form.push(("client_id", &self.client_id));
        form.push(("client_assertion_type", ASSERTION_TYPE));
        form.push(("client_assertion", assertion.expose()));
        self.post(None, &form, &assertion, wire).await
    }

    fn form(&self) -> Vec<(&str, &str)> {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.scope.iter().map(|scope| ("scope", scope.as_str())));
        form
    }

    async fn post(
        &self,
        basic: Option<(&str, &Secret)>,
        form: &[(&str, &str)],
        secret: &Secret,
        wire: &Wire,
    ) -> Result<Answer, Refusal> {
        let posted = wire.post_form(&self.url, basic, form, secret).await;
        posted.map_err(Trouble::into_refusal)
    }
}

fn read_token(answer: Answer, asked: Instant) -> Result<Kept, Refusal> {
    if answer.status != 200 {
        let refusal = outcome::refusal(TOKEN_ENDPOINT, &answer);
        // Whatever is wrong with our credentials, it is not one row's fault.
        return Err(match refusal.fault {
            Fault::Transient | Fault::Throttled => refusal,
            _ => Refusal {
                fault: Fault::Denied,
                message: format!(
                    "{}; check the token URL, the client, its secret or key, and the scope",
                    refusal.message
                ),
                ..refusal
            },
        });
    }
    let Body::Json(body) = answer.body else {
        return Err(outcome::denied(format!(
            "{TOKEN_ENDPOINT} answered 200 without JSON; check the token URL"
        )));
    };
    let Some(token) = body["access_token"]
        .as_str()
        .filter(|text| !text.is_empty())
    else {
        return Err(outcome::denied(format!(
            "{TOKEN_ENDPOINT} answered 200 without an access_token; check the token URL"
        )));
    };
    // Some servers write the number as a string. Seconds beyond a year mean no more than a year.
    let life = &body["expires_in"];
    let seconds = life
        .as_u64()
        .or_else(|| life.as_str()?.parse().ok())
        .map(|seconds| seconds.min(365 * 86_400));
    Ok(Kept {
        token: Secret::new(token.to_owned()),
        renew_at: seconds.map(|seconds| asked + Duration::from_secs(seconds) * 4 / 5),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value as Json, json};

    fn answered(status: u16, body: Json) -> Answer {
        Answer {
            status,
            headers: reqwest::header::HeaderMap::new(),
            body: Body::Json(body),
            throttled: false,
        }
    }

    #[tokio::test]
    async fn a_token_is_renewed_after_four_fifths_of_its_life() {
        let now = Instant::now();
        for (life, seconds) in [
            (json!(3600), Some(2880)),
            (json!("100"), Some(80)),
            (json!(u64::MAX), Some(365 * 86_400 * 4 / 5)),
            (json!(null), None),
            (json!("soon"), None),
        ] {
            let body = json!({"access_token": "t", "expires_in": life});
            let kept = read_token(answered(200, body), now).unwrap();
            assert_eq!(kept.renew_at, seconds.map(|s| now + Duration::from_secs(s)));
        }
    }

    #[tokio::test]
    async fn a_refusal_is_the_operators_and_a_busy_server_the_machines() {
        for (status, fault) in [
            (400, Fault::Denied),
            (401, Fault::Denied),
            (403, Fault::Denied),
            (404, Fault::Denied),
            (302, Fault::Denied),
            (429, Fault::Throttled),
            (503, Fault::Transient),
        ] {
            let answer = answered(status, json!({"error": "invalid_client"}));
            let refusal = read_token(answer, Instant::now()).err().unwrap();
            assert_eq!(refusal.fault, fault, "{refusal}");
            assert!(refusal.message.contains("invalid_client"));
        }
        let refusal = read_token(answered(200, json!({})), Instant::now())
            .err()
            .unwrap();
        assert_eq!(refusal.fault, Fault::Denied);
    }
}
