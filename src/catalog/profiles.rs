//! Profiles of a directory: each can be entered, changed and removed by itself.

use std::sync::Arc;

use crate::catalog::directories::merged;
use crate::catalog::{Catalog, Entry, Hand, Refused};
use crate::directory::{Directory, Written, shown};
use crate::document::{Node, Problem, Problems, Value};
use crate::id::{DirectoryId, ProfileName, TenantName};

/// The field of a directory that lists its further profiles.
const PROFILES: &str = "profiles";

impl Catalog {
    /// Adds a profile after those that are there.
    ///
    /// # Errors
    /// Nothing is kept when anything is wrong with it.
    pub async fn create_profile(
        &self,
        tenant: &TenantName,
        id: DirectoryId,
        fields: Node,
        hand: &Hand,
    ) -> Result<Entry<Directory>, Refused> {
        let change = |before: &Written, _: &mut Problems| {
            let mut profiles = listed(before);
            let place = profiles.len();
            profiles.push(fields);
            Ok((with(before, profiles), at(place)))
        };
        self.change_profiles(tenant, id, hand, change).await
    }

    /// Changes fields of a profile; null brings a default back.
    ///
    /// # Errors
    /// Nothing is changed when anything is wrong.
    pub async fn update_profile(
        &self,
        tenant: &TenantName,
        id: DirectoryId,
        profile: &ProfileName,
        fields: Node,
        hand: &Hand,
    ) -> Result<Entry<Directory>, Refused> {
        let change = |before: &Written, problems: &mut Problems| {
            if *profile == ProfileName::default() {
                let contents = self.contents();
                let directory = contents.directory(id).ok_or(Refused::Unknown)?;
                refuse_foreign_fields(&directory.definition, &fields, problems);
                return Ok((merged(before, fields, problems), String::new()));
            }
            let mut profiles = listed(before);
            let place = place_of(&profiles, profile)?;
            let written = match profiles[place].to_json() {
                serde_json::Value::Object(written) => written,
                _ => Written::new(),
            };
            if let Some(name) = field(&fields, "name")
                && !matches!(&name.value, Value::Text(name) if *name == profile.0)
            {
                let message =
                    "cannot change, because what was read is kept under it; create another profile";
                let pointer = format!("{}/name", at(place));
                problems.add(None, &pointer, message);
            }
            profiles[place] = merged(&written, fields, problems);
            Ok((with(before, profiles), at(place)))
        };
        self.change_profiles(tenant, id, hand, change).await
    }

    /// Removes a profile. Its users are released: nothing is sent for them until another profile sees them.
    ///
    /// # Errors
    /// When there is no such profile, or it is the directory's own.
    pub async fn remove_profile(
        &self,
        tenant: &TenantName,
        id: DirectoryId,
        profile: &ProfileName,
        hand: &Hand,
    ) -> Result<Entry<Directory>, Refused> {
        let change = |before: &Written, _: &mut Problems| {
            if *profile == ProfileName::default() {
                return Err(Refused::InUse(
                    "the profile `default` is part of the directory; delete the directory, or disable it".to_owned(),
                ));
            }
            let mut profiles = listed(before);
            let place = place_of(&profiles, profile)?;
            profiles.remove(place);
            Ok((with(before, profiles), String::new()))
        };
        self.change_profiles(tenant, id, hand, change).await
    }

    /// Changes a directory by its profiles; `change` answers the new fields, and where the profile in question stands among
    /// them, so that mistakes can be told relative to it.
    async fn change_profiles(
        &self,
        tenant: &TenantName,
        id: DirectoryId,
        hand: &Hand,
        change: impl FnOnce(&Written, &mut Problems) -> Result<(Node, String), Refused>,
    ) -> Result<Entry<Directory>, Refused> {
        let mut place = String::new();
        let changed = self
            .change_directory(tenant, id, None, hand, |before, problems| {
                let (fields, at) = change(before, problems)?;
                place = at;
                Ok(fields)
            })
            .await;
        changed.map_err(|refused| match refused {
            Refused::Invalid(problems) => Refused::Invalid(relative_to(&place, problems)),
            other => other,
        })
    }
}

fn listed(written: &Written) -> Vec<Node> {
    let profiles = written.get(PROFILES).and_then(serde_json::Value::as_array);
    let profiles = profiles.cloned().unwrap_or_default();
    profiles.into_iter().map(Node::of_json).collect()
}

fn with(written: &Written, profiles: Vec<Node>) -> Node {
    let mut node = Node::of_json(serde_json::Value::Object(written.clone()));
    if let Value::Table(fields) = &mut node.value {
        let list = Node {
            value: Value::List(profiles),
            line: None,
        };
        fields.insert(PROFILES.to_owned(), list);
    }
    node
}

fn at(place: usize) -> String {
    format!("/{PROFILES}/{place}")
}

fn field<'a>(fields: &'a Node, name: &str) -> Option<&'a Node> {
    match &fields.value {
        Value::Table(fields) => fields.get(name),
        _ => None,
    }
}

fn place_of(profiles: &[Node], name: &ProfileName) -> Result<usize, Refused> {
    let is_it = |profile: &Node| {
        field(profile, "name")
            .is_some_and(|known| matches!(&known.value, Value::Text(text) if *text == name.0))
    };
    profiles.iter().position(is_it).ok_or(Refused::Unknown)
}

/// The fields of the directory itself are not the default profile's to change.
fn refuse_foreign_fields(directory: &Arc<Directory>, fields: &Node, problems: &mut Problems) {
    let (Value::Table(fields), Some(default)) = (&fields.value, directory.profiles.first()) else {
        return;
    };
    let kind = directory.connection.directory_type;
    let own = shown::profile(default, &directory.written, kind);
    for name in fields.keys().filter(|name| !own.contains_key(*name)) {
        let message =
            "is not a field of the profile `default`; it is the directory's, or is not a known key";
        problems.add(None, &format!("/{name}"), message);
    }
}

/// Pointers as the caller's own document has them.
fn relative_to(place: &str, problems: Problems) -> Problems {
    let relative = |problem: Problem| Problem {
        pointer: problem
            .pointer
            .strip_prefix(place)
            .map_or(problem.pointer.clone(), str::to_owned),
        ..problem
    };
    Problems(problems.0.into_iter().map(relative).collect())
}
