//! The names of things that outlive a process: directories, profiles, tenants, jobs and conflicts.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The namespace of directory ids that come from a configuration file (RFC 9562 §5.5, name-based).
const DIRECTORY_NAMESPACE: Uuid = Uuid::from_u128(0x5c1d_7e1a_0000_5000_8000_d19e_c70d_1d00);

/// A configured connection to an LDAP or Active Directory server.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct DirectoryId(pub Uuid);

impl DirectoryId {
    /// The id of a directory from the configuration file: the same for the same tenant and name, on every start.
    pub fn from_name(tenant: &TenantName, name: &str) -> Self {
        let text = format!("{}\n{name}", tenant.0);
        Self(Uuid::new_v5(&DIRECTORY_NAMESPACE, text.as_bytes()))
    }
}

/// One run of a profile.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A conflict, by what is in conflict: the same values of the same attribute have the same id, and others another one, so that
/// a decision is about the values that were shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConflictId(pub Uuid);

impl ConflictId {
    /// The id that a digest makes (RFC 9562 §5.8).
    pub fn of_digest(digest: [u8; 16]) -> Self {
        Self(uuid::Builder::from_custom_bytes(digest).into_uuid())
    }
}

/// A sync profile, by its name within its directory.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct ProfileName(pub String);

impl Default for ProfileName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// The customer whose IAM receives the changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantName(pub String);

/// A profile of a directory: the unit that is read, scheduled and run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProfileKey {
    /// The directory that the profile belongs to.
    pub directory: DirectoryId,
    /// The profile's name.
    pub profile: ProfileName,
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProfileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.directory, self.profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_from_the_file_keeps_its_id() {
        let acme = TenantName("acme".into());
        let id = DirectoryId::from_name(&acme, "hq");
        assert_eq!(id, DirectoryId::from_name(&acme, "hq"));
        assert_ne!(id, DirectoryId::from_name(&acme, "branch"));
        assert_ne!(
            id,
            DirectoryId::from_name(&TenantName("other".into()), "hq")
        );
    }
}
