//! A read-only LDAP v3 server in memory (RFC 4511), with methods by which the demo changes what is in it.
mod dn;
mod entries;
mod filter;
pub mod ldif;
mod search;
pub mod server;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::demo::directory::ldif::LdifError;

use crate::demo::directory::dn::Key;
use crate::demo::directory::entries::Tree;

/// Why the directory cannot be read from LDIF, or a change of it cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DirectoryError {
    /// The text is not LDIF.
    #[error("the LDIF cannot be read: {0}")]
    Ldif(#[from] LdifError),
    /// Not a distinguished name.
    #[error("{0:?} is not a distinguished name")]
    NotADn(String),
    /// An entryUUID that is none.
    #[error("the entryUUID of {0:?} is not one UUID (RFC 4530)")]
    NotAUuid(String),
    /// The entry is not there.
    #[error("there is no entry {0:?}")]
    NoEntry(String),
    /// An entry of that DN is there already.
    #[error("there is already an entry {0:?}")]
    Exists(String),
    /// The entry above is not there.
    #[error("{0:?} has no entry above it; add that one first")]
    NoParent(String),
    /// The entry has others below it.
    #[error("{0:?} has entries below it; delete those first")]
    NotALeaf(String),
}

/// The directory. Clones are the same directory.
#[derive(Clone)]
pub struct Directory {
    tree: Arc<RwLock<Tree>>,
    reader: Option<Reader>,
}

/// The one account that may read.
#[derive(Clone)]
struct Reader {
    key: Option<Key>,
    dn: String,
    password: String,
}

impl Directory {
    /// A directory with the entries of an LDIF text, each after the entry above it. Nobody can read it yet.
    ///
    /// # Errors
    /// What is wrong with the text, or with the tree that it describes.
    pub fn from_ldif(text: &str) -> Result<Self, DirectoryError> {
        let mut tree = Tree::default();
        for record in ldif::parse(text)? {
            tree.add(record)?;
        }
        Ok(Self {
            tree: Arc::new(RwLock::new(tree)),
            reader: None,
        })
    }

    /// The same directory, read by the account with that DN and password; it needs no entry.
    #[must_use]
    pub fn with_reader(mut self, dn: &str, password: &str) -> Self {
        self.reader = Some(Reader {
            key: Key::parse(dn),
            dn: dn.to_owned(),
            password: password.to_owned(),
        });
        self
    }

    fn read(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the entries of an LDIF text, as far as the first that cannot be added.
    ///
    /// # Errors
    /// What is wrong with the text; an entry that is there already, or without one above it.
    pub fn add(&self, ldif: &str) -> Result<(), DirectoryError> {
        let records = ldif::parse(ldif)?;
        let mut tree = self.write();
        records.into_iter().try_for_each(|record| tree.add(record))
    }

    /// Deletes an entry, and the references to it in groups.
    ///
    /// # Errors
    /// No such entry, or entries below it.
    pub fn delete(&self, dn: &str) -> Result<(), DirectoryError> {
        self.write().delete(dn)
    }

    /// Gives an attribute these values; none removes it.
    ///
    /// # Errors
    /// No such entry.
    pub fn set(&self, dn: &str, attribute: &str, values: &[&str]) -> Result<(), DirectoryError> {
        let new = values
            .iter()
            .map(|value| value.as_bytes().to_vec())
            .collect();
        self.write().change(dn, attribute, |held| *held = new)
    }

    /// Adds a value, unless the attribute has it.
    ///
    /// # Errors
    /// No such entry.
    pub fn add_value(&self, dn: &str, attribute: &str, value: &str) -> Result<(), DirectoryError> {
        let add = |held: &mut _| entries::add_value(attribute, held, value.as_bytes());
        self.write().change(dn, attribute, add)
    }

    /// Removes a value, if the attribute has it.
    ///
    /// # Errors
    /// No such entry.
    pub fn remove_value(
        &self,
        dn: &str,
        attribute: &str,
        value: &str,
    ) -> Result<(), DirectoryError> {
        let remove = |held: &mut _| entries::remove_value(attribute, held, value.as_bytes());
        self.write().change(dn, attribute, remove)
    }

    /// Renames or moves an entry with all below it. References to it follow, and its entryUUID stays.
    ///
    /// # Errors
    /// No such entry, a new DN that is taken, or one without an entry above it.
    pub fn rename(&self, dn: &str, new_dn: &str) -> Result<(), DirectoryError> {
        self.write().rename(dn, new_dn)
    }

    /// The entryUUID of an entry.
    pub fn uuid(&self, dn: &str) -> Option<uuid::Uuid> {
        Some(self.read().get(&Key::parse(dn)?)?.uuid)
    }
}
