//! Certificates of the target and of the relay, and settings that make no sense.

use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::target::{Target, list, settings};
use crate::fault::Fault;
use crate::provider::{Auth, ClientAuthentication, ClientCertificate, open};
use crate::secret::Secret;

/// An authority made for a test.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn pem(&self) -> Vec<u8> {
        self.certificate.pem().into_bytes()
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A certificate for the relay.
    fn client(&self) -> ClientCertificate {
        let (certificate, key) = self.sign("relay");
        ClientCertificate {
            chain: certificate.pem().into_bytes(),
            key: Secret::new(key.serialize_pem()),
        }
    }
}

/// A TLS server for this name, which may ask for certificates of this authority, and which answers every request with a
/// token that is an empty list; its address, and its own authority as PEM.
async fn tls_target(name: &str, clients: Option<&Authority>) -> (String, Vec<u8>) {
    let authority = Authority::new();
    let (certificate, key) = authority.sign(name);
    let builder = rustls::ServerConfig::builder();
    let builder = match clients {
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.certificate.der().clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder(roots.into());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let config = builder
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _ = stream.read(&mut [0; 4_000]).await;
            let body = r#"{"totalResults": 0, "access_token": "t"}"#;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, authority.pem())
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_trusted_and_no_other() {
    let (url, own) = tls_target("localhost", None).await;
    let (_, foreign) = tls_target("localhost", None).await;
    let (misnamed, its) = tls_target("other.example.com", None).await;
    for (url, authority, trusted) in [
        (&url, Some(own), true),
        (&url, Some(foreign), false),
        (&url, None, false),
        (&misnamed, Some(its), false),
    ] {
        let mut settings = settings(url);
        settings.ca_certificate = authority;
        let provider = open(settings).unwrap();
        let result = provider.list(crate::scim::ResourceType::User, None).await;
        match result {
            Ok(page) => assert!(trusted && page.next.is_none()),
            Err(refusal) => {
                assert!(!trusted, "{refusal}");
                assert_eq!(refusal.fault, Fault::Denied, "{refusal}");
                assert!(refusal.message.contains("certificate"), "{refusal}");
            }
        }
    }
}

#[tokio::test]
async fn the_relay_shows_its_certificate_to_target_and_token_endpoint() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let (url, authority) = tls_target("localhost", Some(&known)).await;
    let (open_url, open_authority) = tls_target("localhost", None).await;
    // Where both ask for it, and where only the token endpoint does.
    for (base, token_url, authorities) in [
        (&url, None, authority.clone()),
        (&url, Some(&url), authority.clone()),
        (&open_url, Some(&url), [authority, open_authority].concat()),
    ] {
        for (shown, welcome) in [
            (Some(known.client()), true),
            (Some(unknown.client()), false),
            (None, false),
        ] {
            let mut settings = settings(base);
            settings.ca_certificate = Some(authorities.clone());
            settings.client_certificate = shown;
            if let Some(url) = token_url {
                settings.auth = Auth::ClientCredentials {
                    token_url: url.clone(),
                    client_id: "relay".into(),
                    client: ClientAuthentication::Secret(Secret::new("s".into())),
                    scope: None,
                };
            }
            let provider = open(settings).unwrap();
            match provider.list(crate::scim::ResourceType::User, None).await {
                Ok(_) => assert!(welcome),
                Err(refusal) => {
                    assert!(!welcome, "{refusal}");
                    assert_eq!(refusal.fault, Fault::Denied, "{refusal}");
                    assert!(refusal.message.contains("clientCertificate"), "{refusal}");
                }
            }
        }
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let target = Target::start(|_| list(0, &[])).await;
    let wrong: [fn(&mut crate::provider::Settings); 8] = [
        |settings| settings.headers = vec![("X A".into(), "a".into())],
        |settings| settings.secret_headers = vec![("X-A".into(), Secret::new("a\r\nb".into()))],
        |settings| settings.concurrency = 0,
        |settings| settings.base_url = "nowhere".into(),
        |settings| settings.ca_certificate = Some(Vec::new()),
        |settings| settings.ca_certificate = Some(b"-----BEGIN CERTIFICATE-----\n!".to_vec()),
        |settings| {
            let own = Authority::new().client();
            let key = Secret::new("hunter2".into());
            settings.client_certificate = Some(ClientCertificate { key, ..own });
        },
        |settings| {
            let (own, other) = (Authority::new().client(), Authority::new().client());
            let key = other.key;
            settings.client_certificate = Some(ClientCertificate { key, ..own });
        },
    ];
    for wrong in wrong {
        let mut settings = settings(&target.url);
        wrong(&mut settings);
        assert_eq!(open(settings).err().unwrap().fault, Fault::Denied);
    }
}
