//! The tree of entries, and what the demo does to it.
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::demo::directory::DirectoryError;
use crate::demo::directory::dn::{self, Key};
use crate::demo::directory::ldif::Record;

/// Attributes whose values are DNs: compared as such, and kept pointing at an entry that is renamed.
const DN_VALUED: [&str; 6] = [
    "member",
    "uniqueMember",
    "manager",
    "owner",
    "seeAlso",
    "memberOf",
];

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    pub dn: String,
    /// entryUUID: what the LDIF says, else made of the DN that the entry was born with; kept when it is renamed.
    pub uuid: Uuid,
    pub created: DateTime<Utc>,
    pub modified: DateTime<Utc>,
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// Whether the values of the attribute are DNs.
pub fn is_dn_valued(name: &str) -> bool {
    DN_VALUED
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

impl Entry {
    /// The values of a user attribute.
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        let mut attributes = self.attributes.iter();
        let found = attributes.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found
            .map(|(_, values)| values.as_slice())
            .unwrap_or_default()
    }

    /// The operational attributes (RFC 4512 section 3.4, RFC 4530, RFC 5020).
    pub fn operational(&self) -> [(&'static str, String); 4] {
        [
            ("entryUUID", self.uuid.to_string()),
            ("entryDN", self.dn.clone()),
            ("createTimestamp", generalized(self.created)),
            ("modifyTimestamp", generalized(self.modified)),
        ]
    }

    fn set(&mut self, name: &str, values: Vec<Vec<u8>>) {
        let position = self
            .attributes
            .iter()
            .position(|(known, _)| known.eq_ignore_ascii_case(name));
        match (position, values.is_empty()) {
            (Some(at), true) => {
                self.attributes.remove(at);
            }
            (Some(at), false) => self.attributes[at].1 = values,
            (None, true) => {}
            (None, false) => self.attributes.push((name.to_owned(), values)),
        }
        self.modified = Utc::now();
    }
}

fn generalized(time: DateTime<Utc>) -> String {
    time.format("%Y%m%d%H%M%SZ").to_string()
}

/// Whether two values of an attribute are the same.
fn same(name: &str, one: &[u8], other: &[u8]) -> bool {
    let key = |value: &[u8]| Key::parse(std::str::from_utf8(value).ok()?);
    one == other || (is_dn_valued(name) && key(one).is_some() && key(one) == key(other))
}

/// All entries, each below its parent in the order.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<Key, Entry>,
    /// How many entries have been born with a DN: a person who comes back is a new entry with a new entryUUID.
    births: HashMap<Key, u32>,
}

impl Tree {
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The entries that have no entry above them.
    pub fn roots(&self) -> impl Iterator<Item = &Entry> {
        let roots = self.entries.iter().filter(|(key, _)| {
            let parent = key.parent();
            parent.is_none_or(|parent| !self.entries.contains_key(&parent))
        });
        roots.map(|(_, entry)| entry)
    }

    /// The entry at `base` and all below it, those after `after` only.
    pub fn within<'a>(
        &'a self,
        base: &'a Key,
        after: Option<&Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a Entry)> {
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(base),
        };
        let entries = self.entries.range((start, Bound::Unbounded));
        entries.take_while(move |(key, _)| key.is_within(base))
    }

    pub fn add(&mut self, mut record: Record) -> Result<(), DirectoryError> {
        let key = parse(&record.dn)?;
        if self.entries.contains_key(&key) {
            return Err(DirectoryError::Exists(record.dn));
        }
        let has_parent = key
            .parent()
            .is_some_and(|parent| self.entries.contains_key(&parent));
        if !has_parent && !self.entries.is_empty() {
            return Err(DirectoryError::NoParent(record.dn));
        }
        let births = self.births.entry(key.clone()).or_default();
        *births += 1;
        let name = match births {
            1 => record.dn.to_lowercase(),
            later => format!("{}#{later}", record.dn.to_lowercase()),
        };
        let now = Utc::now();
        let entry = Entry {
            uuid: given_uuid(&mut record)?
                .unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_X500, name.as_bytes())),
            created: now,
            modified: now,
            dn: record.dn,
            attributes: record.attributes,
        };
        self.entries.insert(key, entry);
        Ok(())
    }

    pub fn delete(&mut self, dn: &str) -> Result<(), DirectoryError> {
        let key = self.find(dn)?;
        if self.within(&key, None).nth(1).is_some() {
            return Err(DirectoryError::NotALeaf(dn.to_owned()));
        }
        self.entries.remove(&key);
        self.replace_references(&key, None);
        Ok(())
    }

    pub fn change(
        &mut self,
        dn: &str,
        name: &str,
        change: impl FnOnce(&mut Vec<Vec<u8>>),
    ) -> Result<(), DirectoryError> {
        let key = self.find(dn)?;
        let entry = self.entries.get_mut(&key);
        let entry = entry.ok_or_else(|| DirectoryError::NoEntry(dn.to_owned()))?;
        let mut values = entry.values(name).to_vec();
        change(&mut values);
        entry.set(name, values);
        Ok(())
    }

    /// Moves an entry, with what is below it, to another DN.
    pub fn rename(&mut self, dn: &str, new_dn: &str) -> Result<(), DirectoryError> {
        let (from, to) = (self.find(dn)?, parse(new_dn)?);
        if self.entries.contains_key(&to) && to != from {
            return Err(DirectoryError::Exists(new_dn.to_owned()));
        }
        let parent = to.parent();
        let orphan = !parent.is_some_and(|parent| self.entries.contains_key(&parent));
        if orphan || (to.is_within(&from) && to != from) {
            return Err(DirectoryError::NoParent(new_dn.to_owned()));
        }
        let moved: Vec<Key> = self
            .within(&from, None)
            .map(|(key, _)| key.clone())
            .collect();
        for key in moved {
            let Some(mut entry) = self.entries.remove(&key) else {
                continue;
            };
            if key == from {
                rename_rdn(&mut entry, new_dn)?;
            }
            let mut below = dn::prefix_above(&entry.dn, dn);
            below.push(new_dn);
            entry.dn = below.join(",");
            let new_key = parse(&entry.dn)?;
            self.replace_references(&key, Some(&entry.dn));
            self.entries.insert(new_key, entry);
        }
        Ok(())
    }

    /// Keeps DN values true when the entry they name is renamed or deleted, as a server with referential integrity does.
    fn replace_references(&mut self, key: &Key, new_dn: Option<&str>) {
        let names = |value: &[u8]| {
            let dn = std::str::from_utf8(value).ok().and_then(Key::parse);
            dn.as_ref() == Some(key)
        };
        for entry in self.entries.values_mut() {
            for name in DN_VALUED {
                if !entry.values(name).iter().any(|value| names(value)) {
                    continue;
                }
                let values = entry.values(name).iter();
                let values = values.filter_map(|value| match (names(value), new_dn) {
                    (false, _) => Some(value.clone()),
                    (true, Some(dn)) => Some(dn.as_bytes().to_vec()),
                    (true, None) => None,
                });
                let values = values.collect();
                entry.set(name, values);
            }
        }
    }

    fn find(&self, dn: &str) -> Result<Key, DirectoryError> {
        let key = parse(dn)?;
        match self.entries.contains_key(&key) {
            true => Ok(key),
            false => Err(DirectoryError::NoEntry(dn.to_owned())),
        }
    }
}

/// The entryUUID that the LDIF of a backup gives an entry, taken out of its user attributes.
fn given_uuid(record: &mut Record) -> Result<Option<Uuid>, DirectoryError> {
    let is_uuid = |(name, _): &(String, Vec<Vec<u8>>)| name.eq_ignore_ascii_case("entryUUID");
    let Some(at) = record.attributes.iter().position(is_uuid) else {
        return Ok(None);
    };
    let (_, values) = record.attributes.remove(at);
    let uuid = match values.as_slice() {
        [one] => Uuid::try_parse_ascii(one).ok(),
        _ => None,
    };
    let refused = || DirectoryError::NotAUuid(record.dn.clone());
    uuid.map(Some).ok_or_else(refused)
}

/// The naming attribute takes the value of the new RDN and loses that of the old one (RFC 4511 section 4.9, deleteoldrdn).
fn rename_rdn(entry: &mut Entry, new_dn: &str) -> Result<(), DirectoryError> {
    let named = |dn: &str| -> Result<Vec<(String, String)>, DirectoryError> {
        let found =
            dn::assertions(dn::rdn(dn)).ok_or_else(|| DirectoryError::NotADn(dn.to_owned()))?;
        Ok(found
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    };
    for (name, value) in named(&entry.dn)? {
        let mut values = entry.values(&name).to_vec();
        values.retain(|held| dn::fold(&String::from_utf8_lossy(held)) != dn::fold(&value));
        entry.set(&name, values);
    }
    for (name, value) in named(new_dn)? {
        let mut values = entry.values(&name).to_vec();
        add_value(&name, &mut values, value.as_bytes());
        entry.set(&name, values);
    }
    Ok(())
}

/// Adds a value that is not there yet.
pub fn add_value(name: &str, values: &mut Vec<Vec<u8>>, value: &[u8]) {
    if !values.iter().any(|held| same(name, held, value)) {
        values.push(value.to_vec());
    }
}

/// Removes a value.
pub fn remove_value(name: &str, values: &mut Vec<Vec<u8>>, value: &[u8]) {
    values.retain(|held| !same(name, held, value));
}

fn parse(dn: &str) -> Result<Key, DirectoryError> {
    let key = Key::parse(dn).filter(|key| key.depth() > 0);
    key.ok_or_else(|| DirectoryError::NotADn(dn.to_owned()))
}
