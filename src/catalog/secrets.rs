//! Secrets of definitions: taken out of what was entered, sealed, and opened again where they are used.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::audit::{Actor, Deed, Event};
use crate::catalog::{Catalog, Contents, Error, Kept, Refused};
use crate::document::{Node, Problems, Value};
use crate::id::{DirectoryId, TenantName};
use crate::secret::Secret;
use crate::store::Store;
use crate::store::records::Subject;
use crate::vault::{Place, Vault};

/// What is sealed to recognize the key by.
const KEY_CHECK: &str = "scim-relay key check";

fn check_place(nobody: &TenantName) -> Place<'_> {
    Place {
        tenant: nobody,
        directory: None,
        field: "key-check",
    }
}

fn sealed_check(vault: &Vault) -> Result<Vec<u8>, crate::vault::Error> {
    let nobody = TenantName(String::new());
    vault.seal(&check_place(&nobody), &Secret::new(KEY_CHECK.to_owned()))
}

/// Proves that the key is the one that the store's secrets were sealed with; the first key is noted.
pub(super) async fn check_key(store: &dyn Store, vault: Option<&Vault>) -> Result<(), Error> {
    match (store.key_check().await?, vault) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(Error::KeyMissing),
        (Some(sealed), Some(vault)) => {
            let nobody = TenantName(String::new());
            vault.unseal(&check_place(&nobody), &sealed)?;
            Ok(())
        }
        (None, Some(vault)) => {
            let check = sealed_check(vault)?;
            Ok(store.save_key_check(check, Vec::new(), Vec::new()).await?)
        }
    }
}

/// Seals all secrets of the store with another key; see [`crate::catalog::rotate`].
pub(super) async fn rotate(
    store: &dyn Store,
    old: &Vault,
    new: &Vault,
    now: DateTime<Utc>,
) -> Result<usize, Error> {
    check_key(store, Some(old)).await?;
    let mut definitions = store.definitions().await?;
    let mut count = 0;
    for definition in &mut definitions {
        let directory = match &definition.subject {
            Subject::Directory(id) => Some(*id),
            Subject::Tenant(_) => None,
        };
        for (field, sealed) in &mut definition.sealed {
            let place = Place {
                tenant: &definition.tenant,
                directory,
                field,
            };
            *sealed = new.seal(&place, &old.unseal(&place, sealed)?)?;
            count += 1;
        }
    }
    let event = Event {
        at: now,
        actor: Actor::CommandLine,
        tenant: None,
        deed: Deed::SecretRotate,
        subject: "all stored secrets".to_owned(),
        details: vec![("secrets".to_owned(), count.to_string())],
    };
    store
        .save_key_check(sealed_check(new)?, definitions, vec![event])
        .await?;
    Ok(count)
}

impl Catalog {
    /// A stored secret of a directory, or of a tenant itself, as it was when the contents were read: a definition and its
    /// secret must be of one moment, or a new password could go to an old place.
    ///
    /// # Errors
    /// Says what is missing, and the cure.
    pub fn secret(
        &self,
        contents: &Contents,
        tenant: &TenantName,
        directory: Option<DirectoryId>,
        field: &str,
    ) -> Result<Secret, String> {
        let kept = match directory {
            Some(id) => contents.directory(id).map(|entry| &entry.kept),
            None => contents.tenant(tenant).map(|entry| &entry.kept),
        };
        let Some(Kept::InStore(stored)) = kept else {
            return Err("it is not in the store".to_owned());
        };
        let (Some(sealed), Some(vault)) = (stored.secrets.get(field), &self.vault) else {
            return Err("it is not in the store; enter it again".to_owned());
        };
        let place = Place {
            tenant,
            directory,
            field,
        };
        vault
            .unseal(&place, sealed)
            .map_err(|error| error.to_string())
    }

    /// Seals secrets for the place that they belong to, over those that are there already.
    pub(super) fn seal(
        &self,
        tenant: &TenantName,
        directory: Option<DirectoryId>,
        secrets: &BTreeMap<String, Secret>,
        mut sealed: BTreeMap<String, Vec<u8>>,
    ) -> Result<BTreeMap<String, Vec<u8>>, Refused> {
        for (field, secret) in secrets {
            let vault = self.vault.as_ref().ok_or(Refused::NoKey)?;
            let place = Place {
                tenant,
                directory,
                field,
            };
            sealed.insert(field.clone(), vault.seal(&place, secret)?);
        }
        Ok(sealed)
    }
}

/// Takes a secret out of what was entered, so that it is nowhere but here from now on.
pub(super) fn take(
    fields: &mut Node,
    name: &str,
    pointer: &str,
    problems: &mut Problems,
) -> Option<Secret> {
    let Value::Table(table) = &mut fields.value else {
        return None;
    };
    match table.remove(name)?.value {
        Value::Text(secret) if secret.is_empty() => {
            let message =
                "is empty; an empty password would be an anonymous bind, and an empty token none";
            problems.add(None, pointer, message);
            None
        }
        Value::Text(secret) => Some(Secret::new(secret)),
        _ => {
            problems.add(None, pointer, "must be a text");
            None
        }
    }
}
