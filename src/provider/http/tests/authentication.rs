//! Headers and tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::Response;
use base64::Engine;
use serde_json::{Value as Json, json};

use super::target::{Asked, TOKEN, Target, change, create, reply, settings};
use crate::fault::Fault;
use crate::provider::{Auth, ClientAuthentication, Lane, Outcome, Provider, open};
use crate::secret::Secret;

fn client(target: &Target) -> Box<dyn Provider> {
    let mut settings = settings(&target.url);
    settings.auth = Auth::ClientCredentials {
        token_url: target.url.replace("/scim", "/token"),
        client_id: "relay".into(),
        client: ClientAuthentication::Secret(Secret::new("canary-secret-4712".into())),
        scope: Some("scim".into()),
    };
    open(settings).unwrap()
}

/// A client that signs with this key.
fn signing_client(target: &Target, key: &rcgen::KeyPair) -> Box<dyn Provider> {
    let mut settings = settings(&target.url);
    settings.auth = Auth::ClientCredentials {
        token_url: target.url.replace("/scim", "/token"),
        client_id: "relay".into(),
        client: ClientAuthentication::PrivateKey {
            key: Secret::new(key.serialize_pem()),
            key_id: Some("k1".into()),
            audience: None,
        },
        scope: None,
    };
    open(settings).unwrap()
}

/// The claims of the JWT in a token request, if its signature is that of the key and it is good for this endpoint now.
fn claims(asked: &Asked, key: &rcgen::KeyPair, audience: &str) -> Option<Json> {
    let form: std::collections::HashMap<_, _> = url::form_urlencoded::parse(asked.body.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(form["grant_type"], "client_credentials");
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    assert_eq!(form["client_assertion_type"], kind);
    let public = key.public_key_pem();
    let (public, algorithm) = match jsonwebtoken::DecodingKey::from_rsa_pem(public.as_bytes()) {
        Ok(public) => (public, jsonwebtoken::Algorithm::RS256),
        Err(_) => {
            let public = jsonwebtoken::DecodingKey::from_ec_pem(public.as_bytes());
            (public.unwrap(), jsonwebtoken::Algorithm::ES256)
        }
    };
    let mut validation = jsonwebtoken::Validation::new(algorithm);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["relay"]);
    validation.leeway = 0;
    let decoded = jsonwebtoken::decode::<Json>(&form["client_assertion"], &public, &validation);
    decoded.ok().map(|decoded| decoded.claims)
}

#[tokio::test]
async fn a_client_that_signs_gets_tokens_and_proves_itself_anew_for_each() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let other = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let issued = Arc::new(AtomicUsize::new(0));
        // The first token is stale when it comes.
        let target = Target::start(move |asked| {
            token(asked, &issued).unwrap_or_else(|| match asked.header("authorization") {
                "Bearer t1" => reply(201, json!({"id": "7"})),
                _ => reply(401, json!({})),
            })
        })
        .await;
        let outcome = signing_client(&target, &key)
            .submit(&create(), Lane::Ordinary)
            .await;
        assert!(
            matches!(outcome, Outcome::Acknowledged { .. }),
            "{outcome:?}"
        );
        let asked = target.asked();
        let tokens: Vec<&Asked> = asked
            .iter()
            .filter(|asked| asked.path == "/token")
            .collect();
        assert_eq!((tokens.len(), asked.len()), (2, 4));
        let url = target.url.replace("/scim", "/token");
        let ids = tokens.iter().map(|asked| {
            assert_eq!(asked.header("authorization"), "");
            assert!(asked.header("user-agent").starts_with("scim-relay/"));
            assert!(claims(asked, &other, &url).is_none(), "any key will do");
            assert!(claims(asked, &key, "https://elsewhere.example.org").is_none());
            let claims = claims(asked, &key, &url).unwrap();
            assert_eq!(claims["sub"], "relay");
            claims["jti"].to_string()
        });
        assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 2);
    }
}

#[tokio::test]
async fn a_refused_jwt_stops_the_run_and_is_in_no_message() {
    let target = Target::start(|asked| {
        let sent = asked.body.split('=').next_back().unwrap().to_owned();
        reply(
            400,
            json!({"error_description": format!("{sent} is wrong")}),
        )
    })
    .await;
    let key = rcgen::KeyPair::generate().unwrap();
    let outcome = signing_client(&target, &key)
        .submit(&create(), Lane::Ordinary)
        .await;
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(refusal.fault, Fault::Denied);
    assert!(refusal.message.contains("*** is wrong"), "{refusal}");
    assert_eq!(target.asked().len(), 1, "there is no other way to try");
}

/// A token endpoint whose tokens are t0, t1 and so on by how often it was asked; `None` for other requests.
fn token(asked: &Asked, issued: &AtomicUsize) -> Option<Response> {
    (asked.path == "/token").then(|| {
        let number = issued.fetch_add(1, Ordering::SeqCst);
        reply(200, json!({"access_token": format!("t{number}"), "token_type": "Bearer", "expires_in": 3600}))
    })
}

#[tokio::test]
async fn a_request_carries_what_servers_ask_for() {
    let target = Target::start(|_| reply(201, json!({"id": "7"}))).await;
    let outcome = target.provider().submit(&create(), Lane::Ordinary).await;
    let created = Outcome::Acknowledged {
        id: Some("7".into()),
        resource: Some(json!({"id": "7"})),
    };
    assert_eq!(outcome, created);
    let asked = &target.asked()[0];
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/scim/Users")
    );
    assert_eq!(asked.header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!(asked.header("content-type"), "application/scim+json");
    assert_eq!(asked.header("accept"), "application/scim+json");
    assert!(asked.header("user-agent").starts_with("scim-relay/"));
}

#[tokio::test]
async fn a_refused_token_stops_the_run_and_is_in_no_message() {
    let target = Target::start(|asked| {
        let token = asked.header("authorization").to_owned();
        reply(401, json!({"detail": format!("I do not know {token}")}))
    })
    .await;
    let outcome = target.provider().submit(&change(), Lane::Ordinary).await;
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(refusal.fault, Fault::Denied);
    assert!(
        refusal.message.contains("I do not know Bearer ***"),
        "{refusal}"
    );
    assert_eq!(target.asked().len(), 1);
}

#[tokio::test]
async fn one_token_is_fetched_for_many_requests_at_once() {
    let issued = AtomicUsize::new(0);
    let issued = Arc::new(issued);
    let target = Target::start(move |asked| {
        token(asked, &issued).unwrap_or_else(|| reply(201, json!({"id": "7"})))
    })
    .await;
    let provider = client(&target);
    let request = create();
    let submits = (0..20).map(|_| provider.submit(&request, Lane::Ordinary));
    for outcome in futures_util::future::join_all(submits).await {
        assert!(
            matches!(outcome, Outcome::Acknowledged { .. }),
            "{outcome:?}"
        );
    }
    let asked = target.asked();
    let (tokens, writes): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.path == "/token");
    assert_eq!((tokens.len(), writes.len()), (1, 20));
    assert_eq!(tokens[0].body, "grant_type=client_credentials&scope=scim");
    let basic = base64::engine::general_purpose::STANDARD.encode("relay:canary-secret-4712");
    assert_eq!(tokens[0].header("authorization"), format!("Basic {basic}"));
    assert!(
        writes
            .iter()
            .all(|asked| asked.header("authorization") == "Bearer t0")
    );
    assert_eq!(provider.counts().write, 20);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_for_all_and_the_request_repeated() {
    let issued = Arc::new(AtomicUsize::new(0));
    let target = Target::start(move |asked| {
        token(asked, &issued).unwrap_or_else(|| match asked.header("authorization") {
            "Bearer t1" => reply(201, json!({"id": "7"})),
            _ => reply(401, json!({})),
        })
    })
    .await;
    let provider = client(&target);
    let request = create();
    let submits = (0..6).map(|_| provider.submit(&request, Lane::Ordinary));
    for outcome in futures_util::future::join_all(submits).await {
        assert!(
            matches!(outcome, Outcome::Acknowledged { .. }),
            "{outcome:?}"
        );
    }
    let asked = target.asked();
    let tokens = asked.iter().filter(|asked| asked.path == "/token");
    assert_eq!(tokens.count(), 2);
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_too_stops_the_run() {
    let issued = Arc::new(AtomicUsize::new(0));
    let target =
        Target::start(move |asked| token(asked, &issued).unwrap_or_else(|| reply(401, json!({}))))
            .await;
    let outcome = client(&target).submit(&change(), Lane::Ordinary).await;
    assert!(
        matches!(&outcome, Outcome::Refused(refusal) if refusal.fault == Fault::Denied),
        "{outcome:?}"
    );
    assert_eq!(target.asked().len(), 4, "token, try, token, try");
}

#[tokio::test]
async fn credentials_that_are_refused_in_the_header_are_tried_in_the_form() {
    let target = Target::start(|asked| match asked.path.as_str() {
        "/token" if asked.header("authorization").is_empty() => {
            reply(200, json!({"access_token": "t"}))
        }
        "/token" => reply(401, json!({"error": "invalid_client"})),
        _ => reply(204, json!({})),
    })
    .await;
    let outcome = client(&target).submit(&change(), Lane::Ordinary).await;
    assert!(
        matches!(outcome, Outcome::Acknowledged { .. }),
        "{outcome:?}"
    );
    let form = &target.asked()[1].body;
    assert!(
        form.ends_with("client_id=relay&client_secret=canary-secret-4712"),
        "{form}"
    );
}

#[tokio::test]
async fn refused_credentials_stop_the_run_and_are_in_no_message() {
    let target = Target::start(|_| {
        reply(
            401,
            json!({"error_description": "canary-secret-4712 is wrong"}),
        )
    })
    .await;
    let outcome = client(&target).submit(&create(), Lane::Ordinary).await;
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(refusal.fault, Fault::Denied);
    assert!(refusal.message.contains("*** is wrong"), "{refusal}");
    assert!(target.asked().iter().all(|asked| asked.path == "/token"));
}

#[tokio::test]
async fn further_headers_reach_the_target_alone_and_their_secrets_no_message() {
    let issued = Arc::new(AtomicUsize::new(0));
    let target = Target::start(move |asked| {
        token(asked, &issued).unwrap_or_else(|| {
            let key = asked.header("x-api-key").to_owned();
            reply(400, json!({"detail": format!("{key} is not eu")}))
        })
    })
    .await;
    let mut settings = settings(&target.url);
    settings.auth = Auth::ClientCredentials {
        token_url: target.url.replace("/scim", "/token"),
        client_id: "relay".into(),
        client: ClientAuthentication::Secret(Secret::new("s".into())),
        scope: None,
    };
    settings.headers = vec![("X-Region".into(), "eu".into())];
    settings.secret_headers = vec![("X-Api-Key".into(), Secret::new("canary-key-4713".into()))];
    let outcome = open(settings)
        .unwrap()
        .submit(&create(), Lane::Ordinary)
        .await;
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(refusal.message.contains("*** is not eu"), "{refusal}");
    let asked = target.asked();
    let (tokens, writes): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.path == "/token");
    assert_eq!((tokens.len(), writes.len()), (1, 1));
    for (asked, region, key) in [(tokens[0], "", ""), (writes[0], "eu", "canary-key-4713")] {
        assert_eq!(asked.header("x-region"), region);
        assert_eq!(asked.header("x-api-key"), key);
    }
}
