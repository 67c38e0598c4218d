//! The vault: seals secrets for the store with XChaCha20-Poly1305, each bound to the place that it is for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

use crate::fault::Fault;
use crate::id::{DirectoryId, TenantName};
use crate::secret::Secret;

/// The version of the envelope: version, key id, nonce, ciphertext with tag.
const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;

/// What the vault is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The key: 32 random bytes in base64.
    pub key: Secret,
}

/// Where a secret belongs; one that is put elsewhere does not open.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The tenant.
    pub tenant: &'a TenantName,
    /// The directory; `None` for a secret of the tenant itself.
    pub directory: Option<DirectoryId>,
    /// The field, for example `bindPassword`.
    pub field: &'a str,
}

impl Place<'_> {
    /// The associated data: every part with its length, so that no two places share one.
    fn bytes(&self) -> Vec<u8> {
        let directory = self
            .directory
            .map(|id| id.0.as_bytes().to_vec())
            .unwrap_or_default();
        let mut bytes = b"scim-relay".to_vec();
        for part in [self.tenant.0.as_bytes(), &directory, self.field.as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// A key at work.
pub struct Vault {
    cipher: XChaCha20Poly1305,
    key_id: [u8; KEY_ID_BYTES],
}

/// Takes a key into use.
///
/// # Errors
/// When it is not 32 bytes in base64.
pub fn open(settings: &Settings) -> Result<Vault, Error> {
    let key = STANDARD
        .decode(settings.key.expose().trim())
        .ok()
        .and_then(|key| <[u8; KEY_BYTES]>::try_from(key).ok())
        .ok_or(Error::Key)?;
    let digest: [u8; 32] = Sha256::digest([b"scim-relay key id".as_slice(), &key].concat()).into();
    let mut key_id = [0; KEY_ID_BYTES];
    key_id.copy_from_slice(&digest[..KEY_ID_BYTES]);
    Ok(Vault {
        cipher: XChaCha20Poly1305::new(&key.into()),
        key_id,
    })
}

/// A new key, in the form that [`open`] takes.
///
/// # Errors
/// When the system gives no random numbers.
pub fn new_key() -> Result<Secret, Error> {
    Ok(Secret::new(STANDARD.encode(random::<KEY_BYTES>()?)))
}

/// Bytes from the system's generator.
///
/// # Errors
/// When the system gives none.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

impl Vault {
    /// Seals a secret for a place.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal(&self, place: &Place<'_>, secret: &Secret) -> Result<Vec<u8>, Error> {
        let nonce = random::<NONCE_BYTES>()?;
        let aad = place.bytes();
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: &aad,
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::Damaged)?;
        let mut envelope = vec![VERSION];
        envelope.extend_from_slice(&self.key_id);
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(&sealed);
        Ok(envelope)
    }

    /// Opens what was sealed for a place.
    ///
    /// # Errors
    /// When it was sealed with another key, for another place, or was damaged.
    pub fn unseal(&self, place: &Place<'_>, envelope: &[u8]) -> Result<Secret, Error> {
        let parts = || {
            let (version, rest) = envelope.split_first()?;
            let (key_id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
            let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
            (*version == VERSION).then_some((key_id, nonce, sealed))
        };
        let (key_id, nonce, sealed) = parts().ok_or(Error::Damaged)?;
        if *key_id != self.key_id {
            return Err(Error::OtherKey);
        }
        let aad = place.bytes();
        let payload = Payload {
            msg: sealed,
            aad: &aad,
        };
        let secret = self
            .cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| Error::Damaged)?;
        String::from_utf8(secret)
            .map(Secret::new)
            .map_err(|_| Error::Damaged)
    }
}

/// Why a secret could not be sealed or opened; never holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is none.
    #[error(
        "the key of secrets.key is not 32 bytes in base64; make one with `scim-relay secret generate`"
    )]
    Key,
    /// The secret was sealed with another key.
    #[error(
        "the store's secrets were sealed with another key than that of secrets.key; name the right key, or enter the \
         secrets again"
    )]
    OtherKey,
    /// The envelope was changed, or moved from another place.
    #[error(
        "a sealed secret in the store was damaged, or moved from another place; enter the secret again"
    )]
    Damaged,
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        Fault::Denied
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vault() -> Vault {
        open(&Settings {
            key: new_key().unwrap(),
        })
        .unwrap()
    }

    #[test]
    fn a_secret_opens_only_where_it_belongs_and_with_its_key() {
        let (acme, other) = (TenantName("acme".into()), TenantName("other".into()));
        let directory = DirectoryId(uuid::Uuid::from_u128(1));
        let place = Place {
            tenant: &acme,
            directory: Some(directory),
            field: "bindPassword",
        };
        let vault = vault();
        let sealed = vault.seal(&place, &Secret::new("hunter2".into())).unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(vault.unseal(&place, &sealed).unwrap().expose(), "hunter2");
        for elsewhere in [
            Place {
                tenant: &other,
                ..place
            },
            Place {
                directory: None,
                ..place
            },
            Place {
                field: "token",
                ..place
            },
        ] {
            assert_eq!(
                vault.unseal(&elsewhere, &sealed).unwrap_err(),
                Error::Damaged
            );
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(vault.unseal(&place, &damaged).is_err(), "byte {at}");
        }
        assert_eq!(
            self::vault().unseal(&place, &sealed).unwrap_err(),
            Error::OtherKey
        );
        assert_eq!(
            vault.unseal(&place, &sealed[..3]).unwrap_err(),
            Error::Damaged
        );
    }

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        for key in ["", "hunter2", "aHVudGVyMg=="] {
            let settings = Settings {
                key: Secret::new(key.into()),
            };
            assert_eq!(open(&settings).err(), Some(Error::Key));
        }
    }
}
