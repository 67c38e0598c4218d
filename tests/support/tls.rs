//! A certificate authority made for one test, and a server certificate for loopback signed by it.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// PEM texts: the authority that a client trusts, and what a server presents.
pub struct Certificates {
    /// The authority's certificate.
    pub ca: String,
    /// The server's certificate, for `localhost` and `127.0.0.1`.
    pub certificate: String,
    /// The server's private key.
    pub key: String,
}

impl Certificates {
    /// Makes a new authority and one server certificate.
    pub fn generate() -> Self {
        Self::until(4096)
    }

    /// The same, with a server certificate that is valid until this year begins.
    pub fn until(year: i32) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "scim-relay test authority");
        let ca_key = KeyPair::generate().expect("a key for the authority");
        let ca = params
            .self_signed(&ca_key)
            .expect("the authority's certificate");
        let issuer = Issuer::new(params, ca_key);

        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("server names");
        params
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key for the server");
        let certificate = params
            .signed_by(&key, &issuer)
            .expect("the server's certificate");
        Self {
            ca: ca.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}
