//! The catalog: the tenants and directories in force, those of the configuration file and those of the store.
//!
//! What is in the file is changed there; what was entered through the API is in the store, its secrets sealed. Whoever
//! needs a definition takes it from here at the time of need, so that a change is in force from the next job on.

mod directories;
mod load;
mod profiles;
mod secrets;
mod tenants;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use crate::audit::{Actor, Deed, Event};
use crate::directory::tenant::Tenant;
use crate::directory::{Directory, Written};
use crate::document::Problems;
use crate::fault::Fault;
use crate::id::{DirectoryId, TenantName};
use crate::store::Store;
use crate::store::records::Subject;
use crate::vault::Vault;

/// What the catalog is opened with.
pub struct Settings {
    /// The configuration file, for messages.
    pub file: PathBuf,
    /// The tenants that the file defines.
    pub tenants: Vec<Tenant>,
    /// The directories that the file defines.
    pub directories: Vec<Directory>,
    /// Where the other definitions are.
    pub store: Arc<dyn Store>,
    /// What opens their secrets; `None` when no key is configured.
    pub vault: Option<Vault>,
}

/// The definitions in force.
pub struct Catalog {
    file: PathBuf,
    /// The digest of what the file defines.
    fingerprint: String,
    store: Arc<dyn Store>,
    vault: Option<Vault>,
    contents: RwLock<Arc<Contents>>,
    /// One change at a time, so that none is made on the ground of what another one replaces.
    changing: tokio::sync::Mutex<()>,
}

/// All definitions at one moment.
#[derive(Clone, Default)]
pub struct Contents {
    tenants: BTreeMap<TenantName, Entry<Tenant>>,
    directories: BTreeMap<DirectoryId, Entry<Directory>>,
    /// Definitions of the store that cannot be used, and why.
    pub unusable: Vec<Unusable>,
}

/// A definition and where it is kept.
#[derive(Debug)]
pub struct Entry<T> {
    /// The definition.
    pub definition: Arc<T>,
    /// Where it is kept.
    pub kept: Kept,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self {
            definition: self.definition.clone(),
            kept: self.kept.clone(),
        }
    }
}

/// Where a definition is kept.
#[derive(Clone, Debug)]
pub enum Kept {
    /// In the configuration file; the API does not change it.
    InFile,
    /// In the store.
    InStore(Sealed),
}

/// What the store keeps with a definition.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    secrets: BTreeMap<String, Vec<u8>>,
    /// When it was entered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A definition of the store that cannot be used.
#[derive(Clone, Debug)]
pub struct Unusable {
    /// The tenant that it belongs to.
    pub tenant: TenantName,
    /// What it is of.
    pub subject: Subject,
    /// Its name, as far as it can be read.
    pub name: String,
    /// Why it cannot be used.
    pub problem: String,
}

/// Who changes a definition, and when.
#[derive(Clone, Debug)]
pub struct Hand {
    /// Who.
    pub actor: Actor,
    /// When.
    pub at: DateTime<Utc>,
}

/// Reads everything, and proves that the key opens what is sealed.
///
/// # Errors
/// When the store cannot be read, or the key is missing or another one.
pub async fn open(settings: Settings) -> Result<Catalog, Error> {
    secrets::check_key(settings.store.as_ref(), settings.vault.as_ref()).await?;
    let definitions = settings.store.definitions().await?;
    let file = fingerprint(&settings.tenants, &settings.directories);
    let contents = load::contents(settings.tenants, settings.directories, definitions);
    for unusable in &contents.unusable {
        tracing::error!(
            tenant = %unusable.tenant,
            "{} {} cannot be used: {}", unusable.subject, unusable.name, unusable.problem
        );
    }
    Ok(Catalog {
        file: settings.file,
        fingerprint: file,
        store: settings.store,
        vault: settings.vault,
        contents: RwLock::new(Arc::new(contents)),
        changing: tokio::sync::Mutex::default(),
    })
}

/// Seals all secrets of the store with another key, in one transaction; answers how many there were.
///
/// # Errors
/// When the old key is not the store's, or a secret does not open.
pub async fn rotate(
    store: &dyn Store,
    old: &Vault,
    new: &Vault,
    now: DateTime<Utc>,
) -> Result<usize, Error> {
    secrets::rotate(store, old, new, now).await
}

/// The digest of what a file defines, by which the audit log tells that it was changed.
fn fingerprint(tenants: &[Tenant], directories: &[Directory]) -> String {
    let written: Vec<&Written> = tenants
        .iter()
        .map(|tenant| &tenant.written)
        .chain(directories.iter().map(|directory| &directory.written))
        .collect();
    let digest = Sha256::digest(serde_json::to_vec(&written).unwrap_or_default());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Catalog {
    /// Puts on record which definitions of the file are in force from now on.
    ///
    /// # Errors
    /// When the store cannot keep the record.
    pub async fn record_start(&self, now: DateTime<Utc>) -> Result<(), crate::store::Error> {
        let contents = self.contents();
        let details = [
            ("tenants", contents.tenants.len().to_string()),
            ("directories", contents.directories.len().to_string()),
            ("digest", self.fingerprint.clone()),
        ];
        let event = Event {
            at: now,
            actor: Actor::Relay,
            tenant: None,
            deed: Deed::ConfigurationRead,
            subject: format!("file {}", self.file.display()),
            details: details
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        };
        self.store.append_audit(vec![event]).await
    }

    /// Everything, as it is now.
    pub fn contents(&self) -> Arc<Contents> {
        self.contents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace(&self, contents: Contents) {
        *self
            .contents
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(contents);
    }
}

impl Contents {
    /// The tenants.
    pub fn tenants(&self) -> impl Iterator<Item = &Entry<Tenant>> {
        self.tenants.values()
    }

    /// A tenant by name.
    pub fn tenant(&self, name: &TenantName) -> Option<&Entry<Tenant>> {
        self.tenants.get(name)
    }

    /// The directories of all tenants.
    pub fn directories(&self) -> impl Iterator<Item = &Entry<Directory>> {
        self.directories.values()
    }

    /// The directories of one tenant, by name.
    pub fn directories_of(&self, tenant: &TenantName) -> Vec<&Entry<Directory>> {
        let mut found: Vec<_> = self
            .directories()
            .filter(|entry| entry.definition.tenant == *tenant)
            .collect();
        found.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        found
    }

    /// A directory by id, of whatever tenant.
    pub fn directory(&self, id: DirectoryId) -> Option<&Entry<Directory>> {
        self.directories.get(&id)
    }
}

/// Why the catalog does not open.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The key does not open what is sealed.
    #[error(transparent)]
    Vault(#[from] crate::vault::Error),
    /// There are sealed secrets and no key.
    #[error(
        "the store holds sealed secrets, but no key is configured; name it with secrets.key in the configuration file"
    )]
    KeyMissing,
}

impl Error {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Vault(error) => error.fault(),
            Self::KeyMissing => Fault::Denied,
        }
    }
}

/// Why a definition was not changed; nothing was.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Fields have values that cannot be used.
    #[error("some fields have values that cannot be used")]
    Invalid(Problems),
    /// There is no such definition, or it is another tenant's.
    #[error("there is no such definition")]
    Unknown,
    /// It is kept in the configuration file.
    #[error("it is defined in {}; change it there", .0.display())]
    InFile(PathBuf),
    /// Another definition has this name.
    #[error("{0}")]
    NameTaken(String),
    /// Other definitions depend on it.
    #[error("{0}")]
    InUse(String),
    /// Secrets cannot be kept, because no key is configured.
    #[error(
        "secrets cannot be kept, because no key is configured: make one with `scim-relay secret generate`, name it with \
         secrets.key in the configuration file, and start the relay again"
    )]
    NoKey,
    /// The secret could not be sealed.
    #[error(transparent)]
    Vault(#[from] crate::vault::Error),
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// The names of fields that differ between two definitions, for the audit log.
fn changed_fields(
    before: &Written,
    after: &Written,
    secrets: &BTreeMap<String, crate::secret::Secret>,
) -> String {
    let names: BTreeSet<&str> = before
        .keys()
        .chain(after.keys())
        .filter(|name| before.get(*name) != after.get(*name))
        .chain(secrets.keys())
        .map(String::as_str)
        .collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
