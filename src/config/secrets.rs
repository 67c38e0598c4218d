//! The values behind references: secrets from the environment, files and systemd credentials, and certificates.

use std::path::Path;

use crate::admin::Certificate;
use crate::config::ServerTls;
use crate::directory::Pem;
use crate::secret::{Secret, SecretRef};

/// The longest file that is read as a secret or a certificate, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a secret; `what` names it in errors, for example "the bind password of directory hq".
///
/// # Errors
/// Names the secret, where it was looked for, and the cure; never the value.
pub fn resolve(reference: &SecretRef, what: &str) -> Result<Secret, String> {
    let whole = text(reference, what)?;
    let value = match reference {
        SecretRef::Env(_) => whole,
        SecretRef::File(_) | SecretRef::Credential(_) | SecretRef::Stored => first_line(&whole),
    };
    if value.is_empty() {
        return Err(format!(
            "{what}: {reference} is empty; put the secret there"
        ));
    }
    Ok(Secret::new(value))
}

/// Reads a secret of several lines, such as a private key in PEM form; `what` names it in errors.
///
/// # Errors
/// Names the secret, where it was looked for, and the cure; never the value.
pub fn resolve_whole(reference: &SecretRef, what: &str) -> Result<Secret, String> {
    text(reference, what).map(Secret::new)
}

/// Reads the admin endpoint's certificate and its key.
///
/// # Errors
/// Names what cannot be read, the file and the cure.
pub fn server_certificate(tls: &ServerTls) -> Result<Certificate, String> {
    Ok(Certificate {
        chain: certificate(&tls.certificate, "server.tlsCertificate")?,
        key: resolve_whole(&tls.key, "server.tlsKey")?,
    })
}

/// All that is behind a reference.
fn text(reference: &SecretRef, what: &str) -> Result<String, String> {
    match reference {
        SecretRef::Env(name) => std::env::var(name).map_err(|_| {
            format!(
                "{what}: the environment variable {name} is not set; set it, or name another place"
            )
        }),
        SecretRef::File(path) => read(path, what),
        SecretRef::Credential(name) => {
            let home = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                format!(
                    "{what}: there are no systemd credentials here; start the relay as a unit with \
                     LoadCredential={name}:PATH"
                )
            })?;
            let path = Path::new(&home).join(name);
            if !path.exists() {
                return Err(format!(
                    "{what}: the unit has no systemd credential {name}; add LoadCredential={name}:PATH to it"
                ));
            }
            read(&path, what)
        }
        SecretRef::Stored => Err(format!("{what}: is sealed in the store, which is not open")),
    }
}

/// Reads a certificate in PEM form.
///
/// # Errors
/// Names the certificate, the file and the cure.
pub fn certificate(pem: &Pem, what: &str) -> Result<Vec<u8>, String> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let bytes = match pem {
        Pem::Text(text) => text.clone().into_bytes(),
        Pem::File(path) => read_bytes(path, what)?,
    };
    if bytes.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Ok(bytes);
    }
    let place = match pem {
        Pem::Text(_) => "it".to_owned(),
        Pem::File(path) => format!("the file {}", path.display()),
    };
    Err(format!(
        "{what}: there is no certificate in PEM form (-----BEGIN CERTIFICATE-----) in {place}; convert one in DER form \
         with `openssl x509 -inform der`"
    ))
}

fn read(path: &Path, what: &str) -> Result<String, String> {
    String::from_utf8(read_bytes(path, what)?)
        .map_err(|_| format!("{what}: the file {} is not text", path.display()))
}

fn read_bytes(path: &Path, what: &str) -> Result<Vec<u8>, String> {
    let refused = |reason: &dyn std::fmt::Display| {
        format!(
            "{what}: the file {} cannot be read: {reason}; correct the path or its rights",
            path.display()
        )
    };
    let size = std::fs::metadata(path)
        .map_err(|error| refused(&error))?
        .len();
    if size > FILE_BYTES_MAX {
        return Err(refused(&"it is larger than 1 MiB"));
    }
    std::fs::read(path).map_err(|error| refused(&error))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
