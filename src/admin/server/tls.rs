//! TLS of the listener: a certificate chain and its key, read anew when they change.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::admin::{Certificate, ReadCertificate};

/// How often it is looked whether the certificate has changed.
const LOOK: Duration = Duration::from_secs(2);

/// The pair in force; connections that begin take it from here.
struct InForce(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate in force")
    }
}

impl ResolvesServerCert for InForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pair = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(pair.clone())
    }
}

/// What speaks TLS to those who connect.
pub(in crate::admin) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    in_force: Arc<InForce>,
    read: ReadCertificate,
    /// What was read last, as a digest; `None` when it could not be read.
    seen: Option<[u8; 32]>,
}

impl Tls {
    /// Reads the pair for the first time.
    ///
    /// # Errors
    /// Names what cannot be used and the cure.
    pub(in crate::admin) fn open(read: ReadCertificate) -> Result<Self, String> {
        let certificate = read()?;
        let in_force = Arc::new(InForce(RwLock::new(Arc::new(pair(&certificate)?))));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| format!("TLS does not start: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(in_force.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            in_force,
            read,
            seen: Some(digest(&certificate)),
        })
    }

    /// Takes over new pairs until the end. One that cannot be used leaves the old one in force and is reported once, when it
    /// is still there at the next look: whoever renews writes two files, one after the other.
    pub(super) async fn keep_up(mut self, stop: CancellationToken) {
        let mut doubtful = false;
        while tokio::time::timeout(LOOK, stop.cancelled()).await.is_err() {
            let read = self.read.clone();
            let Ok(certificate) = tokio::task::spawn_blocking(move || read()).await else {
                return; // the runtime ends
            };
            let now = certificate.as_ref().ok().map(digest);
            let changed = now != self.seen;
            self.seen = now;
            if !changed && !doubtful {
                continue;
            }
            match certificate.and_then(|certificate| pair(&certificate)) {
                Ok(pair) => {
                    doubtful = false;
                    let mut in_force = self
                        .in_force
                        .0
                        .write()
                        .unwrap_or_else(PoisonError::into_inner);
                    *in_force = Arc::new(pair);
                    tracing::info!("the admin endpoint has a new certificate");
                }
                Err(_) if changed => doubtful = true,
                Err(problem) => {
                    doubtful = false;
                    tracing::error!(
                        problem,
                        "the new certificate cannot be used; the old one stays in force"
                    );
                }
            }
        }
    }
}

fn digest(certificate: &Certificate) -> [u8; 32] {
    let chain: [u8; 32] = Sha256::digest(&certificate.chain).into();
    let key: [u8; 32] = Sha256::digest(certificate.key.expose()).into();
    Sha256::digest([chain, key].concat()).into()
}

/// The pair that a chain and a key make, if they belong together.
pub(in crate::admin) fn pair(certificate: &Certificate) -> Result<CertifiedKey, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate.chain)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            format!("server.tlsCertificate is not in PEM form: {error}; write it anew")
        })?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.expose().as_bytes()).map_err(|_| {
        "server.tlsKey: there is no private key in PEM form (-----BEGIN PRIVATE KEY-----) there; write it in that form \
         and without a passphrase, with `openssl pkey`"
    })?;
    if let Some(own) = chain.first() {
        warn_of_dates(own, Utc::now());
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "server.tlsKey is not the key of the first certificate in server.tlsCertificate; name the two that belong \
             together, and put the server's own certificate before those that signed it"
                .to_owned()
        }
        error => format!(
            "server.tlsCertificate and server.tlsKey cannot be used: {error}; have them issued anew"
        ),
    })
}

/// A certificate out of its time is served all the same: those who check it refuse it with words of their own.
fn warn_of_dates(certificate: &CertificateDer<'_>, now: DateTime<Utc>) {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return; // whether it is a certificate at all is found out with the key
    };
    let validity = parsed.validity();
    let now = now.timestamp();
    if validity.not_after.timestamp() < now {
        tracing::warn!(until = %validity.not_after, "the certificate of the admin endpoint has expired; renew it");
    } else if validity.not_before.timestamp() > now {
        tracing::warn!(from = %validity.not_before, "the certificate of the admin endpoint is not valid yet");
    }
}
