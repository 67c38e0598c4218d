//! The JWT by which a client shows a token endpoint who it is (RFC 7523 §3): signed anew for each request, and short-lived.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use uuid::Uuid;

use crate::provider::Refusal;
use crate::provider::http::outcome::denied;
use crate::secret::Secret;

/// What a request with such a JWT says that it is (RFC 7523 §2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long a JWT is good: it is sent at once, and some servers refuse one that lasts longer.
const LIFE: Duration = Duration::from_secs(60);

/// A client's key, ready to sign.
pub(super) struct Signer {
    key: EncodingKey,
    header: Header,
    client_id: String,
    audience: String,
}

impl Signer {
    /// Takes the key into use.
    ///
    /// # Errors
    /// When it is no private key in PEM form, or one that fits neither RS256 nor ES256.
    pub(super) fn new(
        pem: &Secret,
        key_id: Option<String>,
        client_id: String,
        audience: String,
    ) -> Result<Self, Refusal> {
        let bytes = pem.expose().as_bytes();
        let rsa = EncodingKey::from_rsa_pem(bytes).map(|key| (key, Algorithm::RS256));
        let read = rsa.or_else(|_| Ok((EncodingKey::from_ec_pem(bytes)?, Algorithm::ES256)));
        // What the parser says is left out: nothing of a key belongs into a message.
        let (key, algorithm) = read.map_err(|_: jsonwebtoken::errors::Error| useless())?;
        let header = Header {
            kid: key_id,
            ..Header::new(algorithm)
        };
        let signer = Self {
            key,
            header,
            client_id,
            audience,
        };
        // A key of another curve, or too short a one, shows only when it signs.
        signer.sign(SystemTime::now()).map(|_| signer)
    }

    /// A new JWT, good from now on.
    pub(super) fn sign(&self, now: SystemTime) -> Result<Secret, Refusal> {
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_secs()
        };
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "iat": seconds(now),
            "exp": seconds(now + LIFE),
            "jti": Uuid::now_v7(),
        });
        encode(&self.header, &claims, &self.key)
            .map(Secret::new)
            .map_err(|_| useless())
    }
}

fn useless() -> Refusal {
    denied(
        "the private key cannot sign: it must be an RSA key of at least 2048 bits or a P-256 key in PEM form, without a \
         passphrase, an elliptic one as PKCS #8; convert it with `openssl pkcs8 -topk8 -nocrypt`"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;

    fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> Secret {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        Secret::new(key.serialize_pem())
    }

    fn signer(pem: &Secret) -> Result<Signer, Refusal> {
        let key_id = Some("k1".to_owned());
        Signer::new(
            pem,
            key_id,
            "relay".into(),
            "https://login.example.org/t".into(),
        )
    }

    #[test]
    fn each_jwt_is_another_one_for_the_endpoint_alone_and_good_for_a_minute() {
        let signer = signer(&pem(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let part = |jwt: &Secret, at: usize| -> Value {
            let part = jwt.expose().split('.').nth(at).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let (one, two) = (signer.sign(now).unwrap(), signer.sign(now).unwrap());
        let expected = json!({ "typ": "JWT", "alg": "ES256", "kid": "k1" });
        assert_eq!(part(&one, 0), expected);
        let claims = part(&one, 1);
        for (name, expected) in [
            ("iss", json!("relay")),
            ("sub", json!("relay")),
            ("aud", json!("https://login.example.org/t")),
            ("iat", json!(1_000_000)),
            ("exp", json!(1_000_060)),
        ] {
            assert_eq!(claims[name], expected, "{name}");
        }
        assert_ne!(claims["jti"], part(&two, 1)["jti"]);
    }

    #[test]
    fn a_key_that_cannot_sign_is_refused_and_not_repeated() {
        let (p384, ed) = (&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519);
        for pem in [pem(p384), pem(ed), Secret::new("hunter2".into())] {
            let refusal = signer(&pem).err().unwrap();
            assert_eq!(refusal.fault, crate::fault::Fault::Denied);
            assert!(refusal.message.contains("openssl pkcs8"), "{refusal}");
            let body = pem.expose().lines().nth(1).unwrap_or("hunter2");
            assert!(!refusal.message.contains(body), "{refusal}");
        }
        assert!(signer(&pem(&rcgen::PKCS_RSA_SHA256)).is_ok());
    }
}
