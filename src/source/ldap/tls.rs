//! TLS to a directory: rustls with its aws-lc-rs provider, TLS 1.2 or newer, the host name always verified.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fault::Fault;
use crate::source::ldap::wire::Stream;
use crate::source::{Error, Settings, Stage};

/// What is needed for a handshake.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Reads the trusted certificates and the name that the server must prove.
    ///
    /// Certificates of the settings replace the public roots; they are not added to them.
    pub(super) fn prepare(settings: &Settings, server: &str) -> Result<Self, Error> {
        let denied =
            |what: String| Error::new(Stage::Tls, Fault::Denied, format!("{server}: {what}"));
        let name = ServerName::try_from(settings.host.clone()).map_err(|_| {
            denied(format!(
                "`{}` is neither a host name nor an address, so no certificate can be checked against it",
                settings.host
            ))
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| denied(format!("TLS cannot be set up: {error}")))?;
        let config = match &settings.ca_certificate {
            Some(pem) => builder
                .with_root_certificates(roots(pem).map_err(denied)?)
                .with_no_client_auth(),
            None => builder
                .with_platform_verifier()
                .map_err(|error| denied(format!("the system's trusted certificates: {error}")))?
                .with_no_client_auth(),
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    /// Shakes hands over a stream.
    pub(super) async fn wrap(
        self,
        stream: Box<dyn Stream>,
        server: &str,
    ) -> Result<Box<dyn Stream>, Error> {
        match self.connector.connect(self.name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(handshake_error(server, &error)),
        }
    }
}

impl Stream for TlsStream<Box<dyn Stream>> {
    fn wake_at(&self, bytes: usize) {
        self.get_ref().0.wake_at(bytes);
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the CA certificate: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("the CA certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("the CA certificate: no PEM block `CERTIFICATE` is in it".to_owned());
    }
    Ok(roots)
}

fn handshake_error(server: &str, error: &std::io::Error) -> Error {
    let cause = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (fault, cure) = match cause {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => (
            Fault::Denied,
            "no trusted authority signed the server's certificate: give the CA certificate of the directory",
        ),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => (
            Fault::Denied,
            "the server's certificate is for another name: connect by a name that is in it",
        ),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => (
            Fault::Denied,
            "the server's certificate has expired: renew it",
        ),
        Some(rustls::Error::InvalidMessage(_)) => (
            Fault::Denied,
            "the port does not speak TLS: check the port, or use StartTLS",
        ),
        Some(_) => (
            Fault::Denied,
            "check the server's certificate and TLS version",
        ),
        None => (
            Fault::Transient,
            "check that the port speaks TLS and that the server is running",
        ),
    };
    let message = format!("{server}: TLS handshake: {error}; {cure}");
    Error::new(Stage::Tls, fault, message)
}
