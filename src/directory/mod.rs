//! What an administrator configures: tenants, directories and their profiles, checked and with defaults filled in.
//!
//! The same definitions come from the configuration file and from the API. Absent on purpose: the values of secrets
//! (only references to them are here) and anything that connects.

mod limits;
pub mod profile;
pub mod read;
mod rules;
mod scope;
pub mod shown;
pub mod tenant;
mod values;

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::directory::profile::Profile;
use crate::id::{DirectoryId, ProfileKey, ProfileName, TenantName};
use crate::identity::DirectoryType;
use crate::identity::server::ServerAddress;
use crate::secret::SecretRef;

/// A connection to a directory server, with its profiles.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Its id.
    pub id: DirectoryId,
    /// Whose IAM receives what it says.
    pub tenant: TenantName,
    /// Its name, unique within the tenant.
    pub name: String,
    /// Whether its schedules run.
    pub enabled: bool,
    /// How it is reached.
    pub connection: Connection,
    /// Its profiles, in the order in which they own users.
    pub profiles: Vec<Profile>,
    /// Its fields as they were written, secrets left out.
    pub written: Written,
}

/// Fields as an administrator wrote them, without defaults and without secrets.
pub type Written = serde_json::Map<String, serde_json::Value>;

/// Where a definition comes from, and what follows from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file: secrets are references, certificates may be files.
    File,
    /// The API, for a directory of this id and tenant: secrets are in the store, certificates are the text itself.
    Api(DirectoryId, TenantName),
}

impl Directory {
    /// The key of one of its profiles.
    pub fn profile_key(&self, profile: &ProfileName) -> ProfileKey {
        ProfileKey {
            directory: self.id,
            profile: profile.clone(),
        }
    }

    /// A profile by name.
    pub fn profile(&self, name: &ProfileName) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == *name)
    }

    /// The names of its profiles, in order.
    pub fn profile_names(&self) -> Vec<ProfileName> {
        self.profiles
            .iter()
            .map(|profile| profile.name.clone())
            .collect()
    }

    /// The names of the profiles that own users, in order: those that are enabled. What a disabled one saw does not count,
    /// as if it were deleted.
    pub fn owners(&self) -> Vec<ProfileName> {
        self.profiles
            .iter()
            .filter(|profile| profile.enabled)
            .map(|profile| profile.name.clone())
            .collect()
    }
}

/// How a directory server is reached.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Active Directory or plain LDAP.
    pub directory_type: DirectoryType,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Servers of the same directory, tried in order when the first cannot be reached.
    pub fallback_hosts: Vec<ServerAddress>,
    /// Whether TLS starts with the first byte.
    pub use_tls: bool,
    /// Whether TLS starts with StartTLS.
    pub start_tls: bool,
    /// Whether a password may be sent without TLS.
    pub allow_plain_ldap: bool,
    /// The authorities that are trusted instead of the public roots.
    pub ca_certificate: Option<Pem>,
    /// The account that reads.
    pub bind_dn: String,
    /// Where its password is kept.
    pub bind_password: SecretRef,
    /// Where the directory starts.
    pub base_dn: String,
    /// The attribute that becomes the anchor.
    pub anchor_attribute: String,
    /// Entries in one page.
    pub page_entries: u16,
    /// Seconds to wait for a connection.
    pub connect_timeout_s: u32,
    /// Seconds to wait for the next message.
    pub answer_timeout_s: u32,
}

impl Connection {
    /// The first server.
    pub fn address(&self) -> ServerAddress {
        ServerAddress {
            host: self.host.clone(),
            port: self.port,
        }
    }

    /// The fields by which the password would go elsewhere, or less protected, than it was entered for.
    pub fn reached_otherwise(&self, after: &Self) -> Vec<&'static str> {
        let is_further = |server| !self.fallback_hosts.contains(server);
        let differs = [
            ("host", self.host != after.host),
            ("port", self.port != after.port),
            ("fallbackHosts", after.fallback_hosts.iter().any(is_further)),
            ("useTLS", self.use_tls != after.use_tls),
            ("startTLS", self.start_tls != after.start_tls),
            ("caCertificate", self.ca_certificate != after.ca_certificate),
            ("bindDN", self.bind_dn != after.bind_dn),
        ];
        differs
            .into_iter()
            .filter_map(|(field, differs)| differs.then_some(field))
            .collect()
    }
}

/// A certificate in PEM form, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// The text itself.
    Text(String),
    /// A file, read when the relay starts.
    File(PathBuf),
}

impl Pem {
    /// Reads `file:PATH` or the PEM text itself.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Self::File(PathBuf::from(path)));
        }
        if text.contains("-----BEGIN CERTIFICATE-----") {
            return Self::parse_text(text);
        }
        Err(
            "is neither file:PATH nor a certificate in PEM form (-----BEGIN CERTIFICATE-----)"
                .to_owned(),
        )
    }

    /// Reads the PEM text itself, every certificate of it.
    ///
    /// # Errors
    /// When there is none, or one that is not a certificate.
    pub fn parse_text(text: &str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for (at, certificate) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
            let number = at + 1;
            let certificate =
                certificate.map_err(|error| format!("certificate {number} is damaged: {error}"))?;
            roots
                .add(certificate)
                .map_err(|error| format!("certificate {number} cannot be used: {error}"))?;
        }
        if roots.is_empty() {
            return Err(
                "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned(),
            );
        }
        Ok(Self::Text(text.to_owned()))
    }
}
