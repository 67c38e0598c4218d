//! The ways in: StartTLS to the directory, OAuth 2.0 client credentials to the target.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::main_job::directory;
use crate::support::fault_target::{FaultTarget, Settings};
use crate::support::mirror::assert_equal_to_directory;
use crate::support::relay::Relay;
use crate::support::scim2_server::Scim2Server;
use crate::support::slapd::Slapd;
use crate::support::world::World;

#[test]
fn main_job_reads_over_starttls_and_trusts_the_named_authority_only() {
    let world = World::new(2, 8, 1);
    let (slapd, target) = (directory(&world), Scim2Server::start());
    let foreign = Slapd::with("");
    let start_tls = |authority: &Slapd| {
        Relay::new(&slapd, &target).directory(&format!(
            "startTLS = true\nallowPlainLdap = false\ncaCertificate = \"file:{}\"",
            authority.ca_pem_path().display()
        ))
    };
    let run = start_tls(&foreign).sync();
    assert_eq!(
        (run.code, &run.job["status"]),
        (Some(1), &json!("failed")),
        "{run:?}"
    );
    let detail = run.job["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("certificate"), "{detail}");
    assert_eq!(target.requests(), []);
    start_tls(&slapd).sync().completed();
    assert_equal_to_directory(&slapd, &target);
}

/// A token endpoint for one client; its first token is stale already.
#[derive(Default)]
struct TokenEndpoint {
    issued: AtomicU64,
    asked: Mutex<Vec<String>>,
}

impl TokenEndpoint {
    async fn start() -> (Arc<Self>, String) {
        let endpoint = Arc::new(Self::default());
        let shared = endpoint.clone();
        let answer =
            move |headers: HeaderMap, body: String| async move { shared.answer(&headers, body) };
        let router = axum::Router::new().route("/token", axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (endpoint, url)
    }

    fn answer(&self, headers: &HeaderMap, body: String) -> (StatusCode, String) {
        self.asked.lock().unwrap().push(body);
        // `relay:s3cret-canary` in base64.
        if headers
            .get("authorization")
            .is_none_or(|value| value != "Basic cmVsYXk6czNjcmV0LWNhbmFyeQ==")
        {
            return (
                StatusCode::UNAUTHORIZED,
                json!({"error": "invalid_client"}).to_string(),
            );
        }
        let number = self.issued.fetch_add(1, Ordering::SeqCst);
        let token = json!({"access_token": format!("token-{number}"), "token_type": "Bearer", "expires_in": 3600});
        (StatusCode::OK, token.to_string())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn main_job_fetches_a_token_with_client_credentials_and_renews_a_refused_one() {
    let world = World::new(4, 10, 2);
    let slapd = directory(&world);
    let settings = Settings {
        token: Some("token-1".to_owned()),
        ..Settings::default()
    };
    let target = FaultTarget::start_with(Vec::new(), settings).await;
    let (endpoint, url) = TokenEndpoint::start().await;
    let relay = |secret: &str| {
        Relay::between(&slapd, target.base_url(), "not used")
            .tenant(&format!(
                "auth = {{ type = \"oauth2\", tokenUrl = \"{url}\", clientId = \"relay\", clientSecret = \"env:CLIENT_SECRET\", scope = \"scim\" }}"
            ))
            .environment("CLIENT_SECRET", secret)
    };
    let run = relay("wrong-canary").sync();
    assert_eq!(
        (run.code, &run.job["status"]),
        (Some(1), &json!("failed")),
        "{run:?}"
    );
    assert!(
        run.job["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("check the token URL"),
        "{run:?}"
    );
    assert!(
        !format!("{run:?}").contains("wrong-canary"),
        "a secret in the output: {run:?}"
    );

    endpoint.asked.lock().unwrap().clear();
    let run = relay("s3cret-canary").sync().completed();
    assert_equal_to_directory(&slapd, &target);
    assert!(
        !format!("{run:?}").contains("s3cret-canary"),
        "a secret in the output"
    );
    // One at the start, one in place of the refused one, however many requests were under way.
    let asked = endpoint.asked.lock().unwrap().clone();
    assert_eq!(asked, ["grant_type=client_credentials&scope=scim"; 2]);
}
