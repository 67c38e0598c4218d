//! Secrets that never print themselves, and the references by which a configuration file names them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// A password or token in memory. It prints as `***` and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret value.
    pub fn new(value: String) -> Self {
        Self(SecretString::from(value))
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the value is empty: an empty password would be an anonymous bind (RFC 4513 §5.1.2).
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is kept: the configuration file holds this, never the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    /// `env:NAME`: an environment variable.
    Env(String),
    /// `file:PATH`: the first line of a file.
    File(PathBuf),
    /// `credential:NAME`: a systemd credential of the unit (`LoadCredential=`).
    Credential(String),
    /// In the store, sealed: it was entered through the API. Nobody can write this one down.
    Stored,
}

impl FromStr for SecretRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("credential", name)) if is_file_name(name) => {
                Ok(Self::Credential(name.to_owned()))
            }
            // The text itself is not repeated: it may be the secret, written where its name belongs.
            _ => Err(
                "a secret is named, not written here: use env:NAME, file:PATH or credential:NAME"
                    .to_owned(),
            ),
        }
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

impl TryFrom<String> for SecretRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Stored => f.write_str("the store"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reference_reads_back_as_written() {
        for text in [
            "env:TOKEN",
            "file:/run/secrets/token",
            "credential:scim-token",
        ] {
            assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_value_in_place_of_a_reference_is_refused_and_not_repeated() {
        for text in ["hunter2", "env:", "file:", "credential:../x", "Bearer:abc"] {
            let error = text.parse::<SecretRef>().unwrap_err();
            assert!(
                !error.contains("hunter2") && error.contains("env:NAME"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "***");
    }
}
