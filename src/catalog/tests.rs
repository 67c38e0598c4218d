//! Tests of the catalog: what is kept, what is refused, and that secrets stay where they belong.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use chrono::Utc;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::*;
use crate::document::Node;
use crate::vault;

const PASSWORD: &str = "hunter2-canary";

mod tenants;

struct Fixture {
    folder: TempDir,
    key: crate::secret::Secret,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            key: vault::new_key().unwrap(),
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        let settings = crate::store::Settings {
            path: self.folder.path().join("store.redb"),
            cache_mib: 4,
        };
        crate::store::open(&settings).unwrap().into()
    }

    fn vault(key: &crate::secret::Secret) -> Vault {
        let settings = vault::Settings { key: key.clone() };
        vault::open(&settings).unwrap()
    }

    async fn open_with(&self, key: Option<&crate::secret::Secret>) -> Result<Catalog, Error> {
        self.open_all(Vec::new(), key).await
    }

    /// With tenants of the file.
    async fn open_beside(&self, tenants: Vec<Tenant>) -> Catalog {
        self.open_all(tenants, Some(&self.key)).await.unwrap()
    }

    async fn open_all(
        &self,
        tenants: Vec<Tenant>,
        key: Option<&crate::secret::Secret>,
    ) -> Result<Catalog, Error> {
        open(Settings {
            file: "relay.toml".into(),
            tenants,
            directories: Vec::new(),
            store: self.store(),
            vault: key.map(Self::vault),
        })
        .await
    }

    async fn open(&self) -> Catalog {
        self.open_with(Some(&self.key)).await.unwrap()
    }
}

fn hand() -> Hand {
    Hand {
        actor: Actor::CommandLine,
        at: Utc::now(),
    }
}

fn acme() -> TenantName {
    TenantName("acme".into())
}

fn acme_of_the_file() -> Tenant {
    let node = Node::of_json(json!({
        "name": "acme", "baseUrl": "https://iam.example.org/scim", "auth": { "type": "bearer", "token": "env:X" },
    }));
    let mut problems = Problems::default();
    let tenant = crate::directory::tenant::read(&node, "", false, &mut problems);
    problems.verdict(tenant).unwrap()
}

fn tenant_fields() -> Json {
    json!({
        "name": "acme", "baseUrl": "https://iam.example.org/scim", "auth": { "type": "bearer", "token": "t0ken-canary" },
    })
}

fn tenant() -> Node {
    Node::of_json(tenant_fields())
}

fn directory() -> Json {
    json!({
        "name": "hq", "type": "ldap", "url": "ldaps://ldap.example.org", "bindDN": "cn=r,dc=x",
        "bindPassword": PASSWORD, "baseDN": "dc=x",
    })
}

fn pointers(refused: &Refused) -> Vec<&str> {
    match refused {
        Refused::Invalid(problems) => problems.0.iter().map(|p| p.pointer.as_str()).collect(),
        _ => Vec::new(),
    }
}

async fn with_directory(catalog: &Catalog) -> DirectoryId {
    catalog.create_tenant(tenant(), &hand()).await.unwrap();
    let fields = Node::of_json(directory());
    let created = catalog.create_directory(&acme(), fields, &hand()).await;
    created.unwrap().definition.id
}

#[tokio::test]
async fn what_was_entered_is_there_after_a_restart_and_its_secrets_are_sealed() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    let id = with_directory(&catalog).await;
    drop(catalog);

    let catalog = fixture.open().await;
    let contents = catalog.contents();
    let entry = contents.directory(id).unwrap();
    assert_eq!(
        (
            entry.definition.connection.host.as_str(),
            entry.definition.connection.port
        ),
        ("ldap.example.org", 636)
    );
    let secret = catalog
        .secret(&catalog.contents(), &acme(), Some(id), "bindPassword")
        .unwrap();
    assert_eq!(secret.expose(), PASSWORD);
    let token = catalog
        .secret(&catalog.contents(), &acme(), None, "token")
        .unwrap();
    assert_eq!(token.expose(), "t0ken-canary");
    drop((contents, catalog));
    let bytes = std::fs::read(fixture.folder.path().join("store.redb")).unwrap();
    for canary in [PASSWORD, "t0ken-canary"] {
        let found = bytes.windows(canary.len()).any(|w| w == canary.as_bytes());
        assert!(!found, "{canary} is in the store file");
    }
}

#[tokio::test]
async fn another_key_or_none_is_refused_with_the_cure() {
    let fixture = Fixture::new();
    with_directory(&fixture.open().await).await;
    let other = vault::new_key().unwrap();
    let error = fixture.open_with(Some(&other)).await.err().unwrap();
    assert!(matches!(error, Error::Vault(vault::Error::OtherKey)));
    let error = fixture.open_with(None).await.err().unwrap();
    assert!(error.to_string().contains("secrets.key"), "{error}");
}

#[tokio::test]
async fn without_a_key_nothing_secret_is_kept() {
    let fixture = Fixture::new();
    let catalog = fixture.open_with(None).await.unwrap();
    let refused = catalog.create_tenant(tenant(), &hand()).await.unwrap_err();
    assert!(matches!(refused, Refused::NoKey));
    assert_eq!(catalog.contents().tenants().count(), 0);
}

#[tokio::test]
async fn rotation_seals_everything_anew() {
    let fixture = Fixture::new();
    let id = with_directory(&fixture.open().await).await;
    let new = vault::new_key().unwrap();
    let store = fixture.store();
    let (old_vault, new_vault) = (Fixture::vault(&fixture.key), Fixture::vault(&new));
    let count = rotate(store.as_ref(), &old_vault, &new_vault, Utc::now()).await;
    assert_eq!(count.unwrap(), 2);
    let again = rotate(store.as_ref(), &old_vault, &new_vault, Utc::now()).await;
    assert!(matches!(again, Err(Error::Vault(vault::Error::OtherKey))));
    drop(store);
    assert!(fixture.open_with(Some(&fixture.key)).await.is_err());
    let catalog = fixture.open_with(Some(&new)).await.unwrap();
    let secret = catalog
        .secret(&catalog.contents(), &acme(), Some(id), "bindPassword")
        .unwrap();
    assert_eq!(secret.expose(), PASSWORD);
}

#[tokio::test]
async fn a_stored_password_goes_nowhere_else() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    let id = with_directory(&catalog).await;
    let pem = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    for change in [
        json!({ "host": "evil.example.org" }),
        json!({ "url": "ldaps://evil.example.org" }),
        json!({ "port": 3269 }),
        json!({ "useTLS": false, "allowPlainLdap": true }),
        json!({ "useTLS": false, "startTLS": true }),
        json!({ "caCertificate": pem.cert.pem() }),
        json!({ "bindDN": "cn=other,dc=x" }),
    ] {
        let fields = Node::of_json(change.clone());
        let refused = catalog.update_directory(&acme(), id, fields, &hand()).await;
        assert_eq!(
            pointers(&refused.unwrap_err()),
            ["/bindPassword"],
            "{change}"
        );
    }
    let contents = catalog.contents();
    let connection = &contents.directory(id).unwrap().definition.connection;
    assert_eq!(
        (connection.host.as_str(), connection.port),
        ("ldap.example.org", 636)
    );
    let fields = Node::of_json(json!({ "host": "ldap2.example.org", "bindPassword": "new" }));
    let changed = catalog.update_directory(&acme(), id, fields, &hand()).await;
    assert_eq!(
        changed.unwrap().definition.connection.host,
        "ldap2.example.org"
    );
    let secret = catalog
        .secret(&catalog.contents(), &acme(), Some(id), "bindPassword")
        .unwrap();
    assert_eq!(secret.expose(), "new");
}

#[tokio::test]
async fn a_change_leaves_what_it_does_not_name_and_null_brings_a_default_back() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    let id = with_directory(&catalog).await;
    let change = async |fields: Json| {
        let fields = Node::of_json(fields);
        let changed = catalog.update_directory(&acme(), id, fields, &hand()).await;
        crate::directory::shown::directory(&changed.unwrap().definition)
    };
    let shown = change(json!({ "syncSchedule": "0 3 * * *", "usersDN": "ou=people,dc=x" })).await;
    assert_eq!(
        (&shown["syncSchedule"], &shown["name"]),
        (&json!("0 3 * * *"), &json!("hq"))
    );
    let shown = change(json!({ "usersDN": null })).await;
    assert_eq!(
        (&shown["syncSchedule"], &shown["usersDN"]),
        (&json!("0 3 * * *"), &json!("dc=x"))
    );
}

#[tokio::test]
async fn mistakes_are_named_all_at_once_and_nothing_is_kept() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    catalog.create_tenant(tenant(), &hand()).await.unwrap();
    let mut fields = directory();
    fields["port"] = json!(70_000);
    fields["userSearchFilter"] = json!("(objectClass=person");
    fields["syncSchedule"] = json!("0 0 3 * * *");
    fields["attributeMapping"] = json!({ "shoeSize": "x" });
    fields["caCertificate"] = json!("file:/etc/shadow");
    fields["colour"] = json!("red");
    fields["bindPassword"] = json!("");
    fields.as_object_mut().unwrap().remove("url");
    let refused = catalog
        .create_directory(&acme(), Node::of_json(fields), &hand())
        .await
        .unwrap_err();
    let mut found = pointers(&refused);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "/attributeMapping/shoeSize",
            "/bindPassword",
            "/caCertificate",
            "/colour",
            "/host",
            "/port",
            "/syncSchedule",
            "/userSearchFilter"
        ]
    );
    assert_eq!(catalog.contents().directories().count(), 0);
}

#[tokio::test]
async fn names_are_unique_and_a_tenant_with_directories_stays() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    let id = with_directory(&catalog).await;
    let again = catalog
        .create_directory(&acme(), Node::of_json(directory()), &hand())
        .await;
    assert!(matches!(again, Err(Refused::NameTaken(_))));
    let again = catalog.create_tenant(tenant(), &hand()).await;
    assert!(matches!(again, Err(Refused::NameTaken(_))));
    let removed = catalog.remove_tenant(&acme(), &hand()).await;
    assert!(matches!(removed, Err(Refused::InUse(_))));
    let foreign = TenantName("other".into());
    let removed = catalog.remove_directory(&foreign, id, &hand()).await;
    assert!(matches!(removed, Err(Refused::Unknown)));
    catalog
        .remove_directory(&acme(), id, &hand())
        .await
        .unwrap();
    catalog.remove_tenant(&acme(), &hand()).await.unwrap();
    assert_eq!(catalog.contents().tenants().count(), 0);
}

#[tokio::test]
async fn a_tenants_secret_goes_nowhere_else() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    catalog.create_tenant(tenant(), &hand()).await.unwrap();
    for (change, pointer) in [
        (
            json!({ "baseUrl": "https://evil.example.org" }),
            "/auth/token",
        ),
        (
            json!({ "auth": { "type": "oauth2", "tokenUrl": "https://evil.example.org/t", "clientId": "x" } }),
            "/auth/clientSecret",
        ),
        (json!({ "name": "other" }), "/name"),
    ] {
        let fields = Node::of_json(change);
        let refused = catalog.update_tenant(&acme(), fields, &hand()).await;
        assert_eq!(pointers(&refused.unwrap_err()), [pointer]);
    }
    let fields = Node::of_json(json!({ "rateLimit": 7 }));
    let changed = catalog.update_tenant(&acme(), fields, &hand()).await;
    assert_eq!(changed.unwrap().definition.rate.requests(), 7);
    let token = catalog
        .secret(&catalog.contents(), &acme(), None, "token")
        .unwrap();
    assert_eq!(token.expose(), "t0ken-canary");
}

#[tokio::test]
async fn a_directory_of_an_earlier_tenant_stays_out_and_can_be_deleted() {
    let fixture = Fixture::new();
    let early = acme_of_the_file();
    let catalog = fixture.open_beside(vec![early]).await;
    let fields = Node::of_json(directory());
    let old = catalog.create_directory(&acme(), fields, &hand()).await;
    let old = old.unwrap().definition.id;
    drop(catalog);
    // The tenant leaves the file, and somebody enters another one under its name.
    let catalog = fixture.open().await;
    assert!(catalog.contents().directory(old).is_none());
    let new = with_directory(&catalog).await;
    drop(catalog);
    let catalog = fixture.open().await;
    let contents = catalog.contents();
    assert!(contents.directory(new).is_some() && contents.directory(old).is_none());
    assert_eq!(contents.unusable.len(), 1, "{:?}", contents.unusable);
    assert!(
        catalog
            .secret(&contents, &acme(), Some(old), "bindPassword")
            .is_err()
    );
    catalog
        .remove_directory(&acme(), old, &hand())
        .await
        .unwrap();
    assert_eq!(catalog.contents().unusable.len(), 0);
    drop(catalog);
    assert_eq!(fixture.open().await.contents().unusable.len(), 0);
}

#[tokio::test]
async fn tables_of_settings_are_changed_field_by_field() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    let id = with_directory(&catalog).await;
    for guard in [json!({ "deactivations": 1 }), json!({ "groupsEmptied": 3 })] {
        let fields = Node::of_json(json!({ "guard": guard }));
        let changed = catalog.update_directory(&acme(), id, fields, &hand()).await;
        changed.unwrap();
    }
    let contents = catalog.contents();
    let limits = &contents.directory(id).unwrap().definition.profiles[0].limits;
    assert_eq!((limits.deactivations, limits.groups_emptied), (1, 3));
}
