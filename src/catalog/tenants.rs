//! Tenants: entered, changed and removed through the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::audit::{Deed, Event};
use crate::catalog::directories::merged;
use crate::catalog::secrets::take;
use crate::catalog::{Catalog, Contents, Entry, Hand, Kept, Refused, Sealed, changed_fields};
use crate::directory::Written;
use crate::directory::tenant::auth::{Auth, PRIVATE_KEY};
use crate::directory::tenant::{self, CLIENT_KEY, Tenant, headers};
use crate::document::{Node, Problems, Value};
use crate::id::TenantName;
use crate::secret::Secret;
use crate::store::records::{Definition, Subject};

impl Catalog {
    /// Creates a tenant.
    ///
    /// # Errors
    /// Nothing is kept when anything is wrong with it.
    pub async fn create_tenant(
        &self,
        mut fields: Node,
        hand: &Hand,
    ) -> Result<Entry<Tenant>, Refused> {
        let mut problems = Problems::default();
        let secrets = take_secrets(&mut fields, &mut problems);
        let tenant = tenant::read(&fields, "", true, &mut problems);
        if let Some(tenant) = &tenant {
            check_secrets(
                tenant,
                &secrets,
                &|_| Some("is missing".to_owned()),
                &mut problems,
            );
        }
        let tenant = problems.verdict(tenant).map_err(Refused::Invalid)?;
        let _one_at_a_time = self.changing.lock().await;
        if self.contents().tenant(&tenant.name).is_some() {
            return Err(Refused::NameTaken(format!(
                "another tenant is called `{}`; choose another name",
                tenant.name
            )));
        }
        let stored = Sealed {
            secrets: self.seal(&tenant.name, None, &secrets, BTreeMap::new())?,
            created_at: hand.at,
            updated_at: hand.at,
        };
        let changed = changed_fields(&Written::new(), &tenant.written, &secrets);
        self.keep_tenant(tenant, stored, hand, Deed::TenantCreate, changed)
            .await
    }

    /// Changes the fields that are given and leaves the others; null brings a default back.
    ///
    /// # Errors
    /// Nothing is changed when anything is wrong.
    pub async fn update_tenant(
        &self,
        name: &TenantName,
        mut fields: Node,
        hand: &Hand,
    ) -> Result<Entry<Tenant>, Refused> {
        let _one_at_a_time = self.changing.lock().await;
        let (before, mut stored) = self.stored_tenant(name)?;
        let mut problems = Problems::default();
        let secrets = take_secrets(&mut fields, &mut problems);
        let merged = merged(&before.written, fields, &mut problems);
        let after = tenant::read(&merged, "", true, &mut problems);
        if let Some(after) = &after {
            if after.name != before.name {
                problems.add(None, "/name", "cannot change; create another tenant");
            }
            let moved = before.reached_otherwise(after);
            let needed = |field: &str| {
                let is_other_key = field == CLIENT_KEY && after.shows_another_certificate(&before);
                if !moved.is_empty() {
                    Some(format!(
                        "must be sent again, because {} changes: a stored secret never goes to a place that it was not entered for",
                        moved.join(", ")
                    ))
                } else if is_other_key {
                    Some("must be sent again, because clientCertificate changes".to_owned())
                } else {
                    (!stored.secrets.contains_key(field)).then(|| "is missing".to_owned())
                }
            };
            check_secrets(after, &secrets, &needed, &mut problems);
            if before.base_url != after.base_url
                && let Some(directory) = self.linked_directory(name).await?
            {
                let message = format!(
                    "cannot change while accounts of directory `{directory}` are linked at the old address: their ids may be \
                     those of others at the new one; delete the directory and create it again after the change"
                );
                problems.add(None, "/baseUrl", message);
            }
        }
        let after = problems.verdict(after).map_err(Refused::Invalid)?;
        stored.secrets = self.seal(name, None, &secrets, stored.secrets)?;
        stored
            .secrets
            .retain(|field, _| after.secret_fields().contains(field));
        stored.updated_at = hand.at;
        let changed = changed_fields(&before.written, &after.written, &secrets);
        self.keep_tenant(after, stored, hand, Deed::TenantUpdate, changed)
            .await
    }

    /// Removes a tenant that has no directories.
    ///
    /// # Errors
    /// When there is no such tenant, the file defines it, or directories refer to it.
    pub async fn remove_tenant(&self, name: &TenantName, hand: &Hand) -> Result<(), Refused> {
        let _one_at_a_time = self.changing.lock().await;
        let (tenant, _) = self.stored_tenant(name)?;
        let mut contents = Contents::clone(&self.contents());
        let directories = contents.directories_of(name).len();
        if directories > 0 {
            return Err(Refused::InUse(format!(
                "{directories} directories belong to the tenant `{name}`; delete them first"
            )));
        }
        let event = event(&tenant, hand, Deed::TenantDelete, Vec::new());
        self.store
            .remove_definition(&Subject::Tenant(name.clone()), event)
            .await?;
        contents.tenants.remove(name);
        self.replace(contents);
        Ok(())
    }

    /// The name of a directory of the tenant whose rows are linked.
    async fn linked_directory(&self, tenant: &TenantName) -> Result<Option<String>, Refused> {
        for entry in self.contents().directories_of(tenant) {
            if self.is_linked(entry.definition.id).await? {
                return Ok(Some(entry.definition.name.clone()));
            }
        }
        Ok(None)
    }

    /// Whether a tenant can be changed here at all.
    ///
    /// # Errors
    /// When there is no such tenant, or the file defines it.
    pub fn may_change_tenant(&self, name: &TenantName) -> Result<(), Refused> {
        self.stored_tenant(name).map(|_| ())
    }

    fn stored_tenant(&self, name: &TenantName) -> Result<(Arc<Tenant>, Sealed), Refused> {
        let contents = self.contents();
        let entry = contents.tenant(name).ok_or(Refused::Unknown)?;
        match &entry.kept {
            Kept::InFile => Err(Refused::InFile(self.file.clone())),
            Kept::InStore(stored) => Ok((entry.definition.clone(), stored.clone())),
        }
    }

    async fn keep_tenant(
        &self,
        tenant: Tenant,
        stored: Sealed,
        hand: &Hand,
        deed: Deed,
        changed: String,
    ) -> Result<Entry<Tenant>, Refused> {
        let definition = Definition {
            subject: Subject::Tenant(tenant.name.clone()),
            tenant: tenant.name.clone(),
            fields: serde_json::Value::Object(tenant.written.clone()).to_string(),
            sealed: stored.secrets.clone(),
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        };
        let event = event(&tenant, hand, deed, vec![("fields".to_owned(), changed)]);
        self.store
            .save_definitions(vec![definition], vec![event])
            .await?;
        let entry = Entry {
            definition: Arc::new(tenant),
            kept: Kept::InStore(stored),
        };
        let mut contents = Contents::clone(&self.contents());
        contents
            .tenants
            .insert(entry.definition.name.clone(), entry.clone());
        self.replace(contents);
        Ok(entry)
    }
}

fn event(tenant: &Tenant, hand: &Hand, deed: Deed, details: Vec<(String, String)>) -> Event {
    Event {
        at: hand.at,
        actor: hand.actor.clone(),
        tenant: Some(tenant.name.clone()),
        deed,
        subject: format!("tenant {}", tenant.name),
        details,
    }
}

/// Takes the secrets out of what was entered.
fn take_secrets(fields: &mut Node, problems: &mut Problems) -> BTreeMap<String, Secret> {
    let mut secrets = BTreeMap::new();
    if let Some(key) = take(fields, CLIENT_KEY, &pointer_of(CLIENT_KEY), problems) {
        secrets.insert(CLIENT_KEY.to_owned(), key);
    }
    let Value::Table(table) = &mut fields.value else {
        return secrets;
    };
    if let Some(auth) = table.get_mut("auth") {
        for name in Auth::SECRETS {
            if let Some(secret) = take(auth, name, &pointer_of(name), problems) {
                secrets.insert(name.to_owned(), secret);
            }
        }
    }
    if let Some(Value::Table(headers)) = table.get_mut(headers::FIELD).map(|node| &mut node.value) {
        for (name, header) in headers {
            let field = headers::secret_field(name);
            if let Some(secret) = take(header, "secret", &pointer_of(&field), problems) {
                secrets.insert(field, secret);
            }
        }
    }
    secrets
}

fn pointer_of(secret: &str) -> String {
    match (secret, header_of(secret)) {
        (_, Some(header)) => format!("/{}/{}/secret", headers::FIELD, header.replace('~', "~0")),
        (CLIENT_KEY, None) => format!("/{secret}"),
        (_, None) => format!("/auth/{secret}"),
    }
}

/// The header that a secret is the value of.
fn header_of(secret: &str) -> Option<&str> {
    secret.strip_prefix(headers::FIELD)?.strip_prefix('/')
}

/// The secrets of the tenant are there when they are needed, and no others.
fn check_secrets(
    tenant: &Tenant,
    secrets: &BTreeMap<String, Secret>,
    needed: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) {
    let fields = tenant.secret_fields();
    for field in fields.iter().filter(|field| !secrets.contains_key(*field)) {
        if let Some(why) = needed(field) {
            problems.add(None, &pointer_of(field), why);
        }
    }
    for (field, secret) in secrets {
        if !fields.contains(field) {
            let message = match field.as_str() {
                CLIENT_KEY => "belongs to clientCertificate, which is missing".to_owned(),
                _ => format!(
                    "does not belong to this type of authentication, which has {}",
                    tenant.auth.secret_field()
                ),
            };
            problems.add(None, &pointer_of(field), message);
        } else if header_of(field).is_some() {
            if let Err(wrong) = headers::check_value(secret.expose()) {
                problems.add(None, &pointer_of(field), wrong);
            }
        } else if matches!(field.as_str(), PRIVATE_KEY | CLIENT_KEY) {
            check_key(secret, &pointer_of(field), problems);
        }
    }
}

/// A key that is not one is told of when it is entered, not when it is needed.
fn check_key(key: &Secret, pointer: &str, problems: &mut Problems) {
    if PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).is_err() {
        let message =
            "is no private key in PEM form (-----BEGIN PRIVATE KEY-----) without a passphrase";
        problems.add(None, pointer, message);
    }
}
