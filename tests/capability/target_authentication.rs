//! How the relay shows a target who it is, beyond a token that is written down.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::fault_target::{FaultTarget, Settings};
use crate::support::mirror::assert_equal_to_directory;
use crate::support::nginx::Nginx;
use crate::support::relay::Relay;
use crate::support::slapd::{Options, Slapd};
use crate::support::tls::Certificates;
use crate::support::world::World;

fn directory(world: &World) -> Slapd {
    Options::new().ldif(&world.ldif()).start()
}

/// A token endpoint that gives `token-0`, `token-1` and so on to whoever signs with the key; the ids of the JWTs it took.
async fn token_endpoint(key: &rcgen::KeyPair) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let key = jsonwebtoken::DecodingKey::from_ec_pem(key.public_key_pem().as_bytes()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&[&url]);
    validation.set_issuer(&["relay"]);
    let taken: Arc<Mutex<Vec<String>>> = Arc::default();
    let shared = taken.clone();
    let answer = move |body: String| async move {
        let mut form = url::form_urlencoded::parse(body.as_bytes());
        let jwt = form.find(|(name, _)| name == "client_assertion");
        let jwt = jwt.map_or_else(String::new, |(_, jwt)| jwt.into_owned());
        match jsonwebtoken::decode::<Value>(&jwt, &key, &validation) {
            Ok(jwt) => {
                let mut taken = shared.lock().unwrap();
                let token = format!("token-{}", taken.len());
                taken.push(jwt.claims["jti"].to_string());
                let token =
                    json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 });
                (StatusCode::OK, token.to_string())
            }
            Err(error) => {
                let refusal =
                    json!({ "error": "invalid_client", "error_description": error.to_string() });
                (StatusCode::UNAUTHORIZED, refusal.to_string())
            }
        }
    };
    let router = axum::Router::new().route("/token", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn target_tokens_are_fetched_with_a_key_and_a_refused_one_is_renewed_once() {
    let world = World::new(4, 10, 2);
    let slapd = directory(&world);
    let settings = Settings {
        token: Some("token-1".to_owned()),
        ..Settings::default()
    };
    let target = FaultTarget::start_with(Vec::new(), settings).await;
    let [key, other] = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap());
    let (url, taken) = token_endpoint(&key).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.key");
    let relay = || {
        Relay::between(&slapd, target.base_url(), "not used").tenant(&format!(
            "auth = {{ type = \"oauth2\", tokenUrl = \"{url}\", clientId = \"relay\", \
             clientAuthentication = \"private_key_jwt\", privateKey = \"file:{}\" }}",
            file.display()
        ))
    };
    std::fs::write(&file, other.serialize_pem()).unwrap();
    let run = relay().sync();
    assert_eq!(run.job["status"], "failed", "{run:?}");
    let said = run.job["errors"][0]["detail"].as_str().unwrap();
    assert!(
        said.contains("InvalidSignature") && said.contains("or key"),
        "{said}"
    );
    assert!(target.journal().is_empty());

    std::fs::write(&file, key.serialize_pem()).unwrap();
    let run = relay().sync().completed();
    assert_equal_to_directory(&slapd, &target);
    let ids = taken.lock().unwrap().clone();
    assert_eq!(ids.len(), 2, "one at the start, one for the refused one");
    assert_ne!(ids[0], ids[1]);
    for key in [key, other] {
        let secret = key.serialize_pem();
        let line = secret.lines().nth(1).unwrap();
        assert!(!format!("{run:?}").contains(line), "a key in the output");
    }

    // What is no key stops the relay before anything is sent.
    std::fs::write(&file, "hunter2").unwrap();
    let run = format!("{:?}", relay().sync());
    assert!(
        run.contains("the private key cannot sign") && !run.contains("hunter2"),
        "{run}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn target_requests_carry_the_headers_of_the_tenant() {
    let world = World::new(2, 6, 2);
    let slapd = directory(&world);
    let target = FaultTarget::start(Vec::new()).await;
    let relay = Relay::between(&slapd, target.base_url(), "any")
        .tenant("headers = { X-Region = \"eu\", X-Api-Key = { secret = \"env:IAM_KEY\" } }")
        .environment("IAM_KEY", "canary-header-77aa");
    let run = relay.sync().completed();
    assert!(!format!("{run:?}").contains("canary-header-77aa"));
    let journal = target.journal();
    assert!(!journal.is_empty());
    for exchange in journal {
        let header = |name: &str| exchange.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-region"), "eu");
        assert_eq!(header("x-api-key"), "canary-header-77aa");
        assert_eq!(header("authorization"), "Bearer any");
        let product = concat!("scim-relay/", env!("CARGO_PKG_VERSION"));
        assert_eq!(header("user-agent"), product);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn target_behind_mutual_tls_is_served_with_the_certificate_and_with_no_other() {
    let world = World::new(7, 40, 4);
    let slapd = directory(&world);
    let target = FaultTarget::start(Vec::new()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for who in ["known", "unknown"] {
        let certificates = Certificates::generate();
        std::fs::write(file(&format!("{who}-ca.pem")), certificates.ca).unwrap();
        std::fs::write(file(&format!("{who}.pem")), certificates.certificate).unwrap();
        std::fs::write(file(&format!("{who}.key")), certificates.key).unwrap();
    }
    let nginx = Nginx::for_clients_of(target.base_url(), &file("known-ca.pem"));
    let relay = |shown: &str| {
        Relay::between(&slapd, target.base_url(), "any").tenant(&format!(
            "baseUrl = \"{}\"\ncaCertificate = \"file:{}\"\n{shown}",
            nginx.url_of(target.base_url()),
            nginx.ca_pem_path().display()
        ))
    };
    let pair = |chain: &str, key: &str| {
        format!(
            "clientCertificate = \"file:{}\"\nclientKey = \"file:{}\"",
            file(chain).display(),
            file(key).display()
        )
    };
    for wrong in [String::new(), pair("unknown.pem", "unknown.key")] {
        let run = relay(&wrong).sync();
        assert_eq!(run.job["status"], "failed", "{run:?}");
    }
    let refused = nginx.passed();
    assert!(!refused.is_empty());
    for request in &refused {
        assert_eq!(request.status, 400, "{request:?}");
        assert_ne!(request.verified, "SUCCESS");
    }
    let run = format!("{:?}", relay(&pair("known.pem", "unknown.key")).sync());
    assert!(run.contains("check that clientKey belongs"), "{run}");
    assert_eq!(target.journal().len(), 0, "something came through");

    let run = relay(&pair("known.pem", "known.key")).sync().completed();
    assert_eq!(run.count("usersCreated"), 40);
    assert_equal_to_directory(&slapd, &target);
    for request in &nginx.passed()[refused.len()..] {
        assert_eq!(request.verified, "SUCCESS", "{request:?}");
    }
    let key = std::fs::read_to_string(file("known.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!format!("{run:?}").contains(line), "a key in the output");
}
