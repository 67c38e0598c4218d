//! Directories: entered, changed and removed through the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::audit::{Deed, Event};
use crate::catalog::secrets::take;
use crate::catalog::{
    Catalog, Contents, Entry, Hand, Kept, Refused, Sealed, Unusable, changed_fields,
};
use crate::directory::{Directory, Origin, Written, read};
use crate::document::{Node, Problems, Value};
use crate::id::{DirectoryId, TenantName};
use crate::secret::Secret;
use crate::store::records::{Definition, Subject};

const PASSWORD: &str = "bindPassword";
/// Fields that are tables of settings: a change names those that change.
const MERGED: [&str; 4] = ["guard", "dialect", "groupAttributeMapping", "rateLimits"];

/// How a tenant's requests are authenticated: changed as a whole, but null brings a default back in it too.
const AUTH: &str = "auth";

impl Catalog {
    /// Checks a directory as it would be created, and gives it back with its password; nothing is kept.
    ///
    /// # Errors
    /// Every field at fault.
    pub fn draft_directory(
        &self,
        tenant: &TenantName,
        mut fields: Node,
    ) -> Result<(Directory, Secret), Refused> {
        let mut problems = Problems::default();
        let password = take(&mut fields, PASSWORD, "/bindPassword", &mut problems);
        if password.is_none() && problems.0.is_empty() {
            problems.add(
                None,
                "/bindPassword",
                "is missing: the password of the account in bindDN",
            );
        }
        let origin = Origin::Api(DirectoryId(Uuid::now_v7()), tenant.clone());
        let directory = read::directory(&fields, "", &origin, &mut problems);
        let (directory, password) = problems
            .verdict(directory.zip(password))
            .map_err(Refused::Invalid)?;
        Ok((normal(directory), password))
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// Nothing is kept when anything is wrong with it.
    pub async fn create_directory(
        &self,
        tenant: &TenantName,
        fields: Node,
        hand: &Hand,
    ) -> Result<Entry<Directory>, Refused> {
        let (directory, password) = self.draft_directory(tenant, fields)?;
        let secrets = BTreeMap::from([(PASSWORD.to_owned(), password)]);
        let _one_at_a_time = self.changing.lock().await;
        let stored = Sealed {
            secrets: self.seal(tenant, Some(directory.id), &secrets, BTreeMap::new())?,
            created_at: hand.at,
            updated_at: hand.at,
        };
        let changed = changed_fields(&Written::new(), &directory.written, &secrets);
        self.keep_directory(directory, stored, hand, Deed::DirectoryCreate, changed)
            .await
    }

    /// Changes the fields that are given and leaves the others; null brings a default back.
    ///
    /// # Errors
    /// Nothing is changed when anything is wrong.
    pub async fn update_directory(
        &self,
        tenant: &TenantName,
        id: DirectoryId,
        mut fields: Node,
        hand: &Hand,
    ) -> Result<Entry<Directory>, Refused> {
        let mut wrong = Problems::default();
        let password = take(&mut fields, PASSWORD, "/bindPassword", &mut wrong);
        self.change_directory(tenant, id, password, hand, |before, problems| {
            problems.0.append(&mut wrong.0);
            Ok(merged(before, fields, problems))
        })
        .await
    }

    /// Changes a directory to what `change` makes of the fields that were written before.
    pub(super) async fn change_directory(
        &self,
        tenant: &TenantName,
        id: DirectoryId,
        password: Option<Secret>,
        hand: &Hand,
        change: impl FnOnce(&Written, &mut Problems) -> Result<Node, Refused>,
    ) -> Result<Entry<Directory>, Refused> {
        let _one_at_a_time = self.changing.lock().await;
        let (before, mut stored) = self.stored_directory(tenant, id)?;
        let mut problems = Problems::default();
        let fields = change(&before.written, &mut problems)?;
        let origin = Origin::Api(id, tenant.clone());
        let after = read::directory(&fields, "", &origin, &mut problems).map(normal);
        if let Some(after) = &after {
            let has_password = password.is_some();
            self.check_move(&before, after, has_password, &mut problems)
                .await?;
        }
        let after = problems.verdict(after).map_err(Refused::Invalid)?;
        let secrets: BTreeMap<String, Secret> = password
            .map(|password| (PASSWORD.to_owned(), password))
            .into_iter()
            .collect();
        stored.secrets = self.seal(tenant, Some(id), &secrets, stored.secrets)?;
        stored.updated_at = hand.at;
        let changed = changed_fields(&before.written, &after.written, &secrets);
        self.keep_directory(after, stored, hand, Deed::DirectoryUpdate, changed)
            .await
    }

    /// Removes a directory with its password.
    ///
    /// # Errors
    /// When there is no such directory, or the file defines it.
    pub async fn remove_directory(
        &self,
        tenant: &TenantName,
        id: DirectoryId,
        hand: &Hand,
    ) -> Result<(), Refused> {
        let _one_at_a_time = self.changing.lock().await;
        let subject = Subject::Directory(id);
        let mut contents = Contents::clone(&self.contents());
        let is_it = |other: &Unusable| other.subject == subject && other.tenant == *tenant;
        let name = match contents.unusable.iter().find(|other| is_it(other)) {
            Some(unusable) => unusable.name.clone(),
            None => self.stored_directory(tenant, id)?.0.name.clone(),
        };
        let event = event(tenant, (id, &name), hand, Deed::DirectoryDelete, Vec::new());
        self.store.remove_definition(&subject, event).await?;
        contents.directories.remove(&id);
        contents.unusable.retain(|other| !is_it(other));
        self.replace(contents);
        Ok(())
    }

    /// What a change of the connection asks for: the password again, and the same anchor.
    async fn check_move(
        &self,
        before: &Directory,
        after: &Directory,
        has_password: bool,
        problems: &mut Problems,
    ) -> Result<(), Refused> {
        let moved = before.connection.reached_otherwise(&after.connection);
        if !has_password && !moved.is_empty() {
            let message = format!(
                "must be sent again, because {} changes: a stored password never goes to a place that it was not entered \
                 for",
                moved.join(", ")
            );
            problems.add(None, "/bindPassword", message);
        }
        if before.connection.anchor_attribute != after.connection.anchor_attribute
            && self.is_linked(after.id).await?
        {
            let message = "cannot change once users are linked, because they are recognized by it; create another directory";
            problems.add(None, "/anchorAttribute", message);
        }
        Ok(())
    }

    pub(super) async fn is_linked(&self, id: DirectoryId) -> Result<bool, Refused> {
        let counts = self.store.linked_counts(id).await?;
        Ok(counts.users + counts.groups > 0)
    }

    /// A directory of this tenant that is kept in the store.
    fn stored_directory(
        &self,
        tenant: &TenantName,
        id: DirectoryId,
    ) -> Result<(Arc<Directory>, Sealed), Refused> {
        let contents = self.contents();
        let entry = contents
            .directory(id)
            .filter(|entry| entry.definition.tenant == *tenant)
            .ok_or(Refused::Unknown)?;
        match &entry.kept {
            Kept::InFile => Err(Refused::InFile(self.file.clone())),
            Kept::InStore(stored) => Ok((entry.definition.clone(), stored.clone())),
        }
    }

    async fn keep_directory(
        &self,
        directory: Directory,
        stored: Sealed,
        hand: &Hand,
        deed: Deed,
        changed: String,
    ) -> Result<Entry<Directory>, Refused> {
        let mut contents = Contents::clone(&self.contents());
        if contents.tenant(&directory.tenant).is_none() {
            return Err(Refused::Unknown);
        }
        let is_taken = |other: &&Entry<Directory>| {
            other.definition.name == directory.name && other.definition.id != directory.id
        };
        if contents
            .directories_of(&directory.tenant)
            .iter()
            .any(is_taken)
        {
            return Err(Refused::NameTaken(format!(
                "another directory is called `{}`; choose another name",
                directory.name
            )));
        }
        let definition = Definition {
            subject: Subject::Directory(directory.id),
            tenant: directory.tenant.clone(),
            fields: serde_json::Value::Object(directory.written.clone()).to_string(),
            sealed: stored.secrets.clone(),
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        };
        let details = vec![("fields".to_owned(), changed)];
        let named = (directory.id, directory.name.as_str());
        let event = event(&directory.tenant, named, hand, deed, details);
        self.store
            .save_definitions(vec![definition], vec![event])
            .await?;
        let entry = Entry {
            definition: Arc::new(directory),
            kept: Kept::InStore(stored),
        };
        contents
            .directories
            .insert(entry.definition.id, entry.clone());
        self.replace(contents);
        Ok(entry)
    }
}

fn event(
    tenant: &TenantName,
    (id, name): (DirectoryId, &str),
    hand: &Hand,
    deed: Deed,
    details: Vec<(String, String)>,
) -> Event {
    Event {
        at: hand.at,
        actor: hand.actor.clone(),
        tenant: Some(tenant.clone()),
        deed,
        subject: format!("directory {id} ({name})"),
        details,
    }
}

/// What was written before, with the given fields over it; null removes one.
pub(super) fn merged(before: &Written, fields: Node, problems: &mut Problems) -> Node {
    let mut merged = Node::of_json(serde_json::Value::Object(before.clone()));
    let (Value::Table(all), Value::Table(fields)) = (&mut merged.value, fields.value) else {
        problems.add(None, "", "must be an object");
        return merged;
    };
    if fields.get("url").is_some_and(|url| !url.is_null()) {
        for name in ["host", "port", "useTLS", "startTLS"] {
            all.remove(name);
        }
    }
    for (name, node) in fields {
        if node.is_null() {
            all.remove(&name);
            continue;
        }
        match (
            all.get_mut(&name).map(|before| &mut before.value),
            node.value,
        ) {
            // Tables of settings that stand for themselves; a mapping is one thing, and replaced as one.
            (Some(Value::Table(before)), Value::Table(fields)) if MERGED.contains(&&*name) => {
                for (name, node) in fields {
                    if node.is_null() {
                        before.remove(&name);
                    } else {
                        before.insert(name, node);
                    }
                }
            }
            (_, mut value) => {
                if let Value::Table(fields) = &mut value
                    && (MERGED.contains(&&*name) || name == AUTH)
                {
                    fields.retain(|_, node| !node.is_null());
                }
                all.insert(name, Node { value, line: None });
            }
        }
    }
    merged
}

/// The address is kept in one form, so that a later change of one part does not contradict the other form.
fn normal(mut directory: Directory) -> Directory {
    let connection = &directory.connection;
    if directory.written.remove("url").is_some() {
        let parts: [(&str, serde_json::Value); 3] = [
            ("host", connection.host.clone().into()),
            ("port", connection.port.into()),
            ("useTLS", connection.use_tls.into()),
        ];
        let parts = parts.map(|(name, value)| (name.to_owned(), value));
        directory.written.extend(parts);
    }
    directory
}
