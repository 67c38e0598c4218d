//! The keys of a tenant: sealed, shown nowhere, and asked for again where they would serve something else.

use serde_json::{Value as Json, json};

use super::{Fixture, acme, hand, pointers, tenant, tenant_fields};
use crate::document::Node;

/// A tenant that signs, without its key.
fn signing() -> Json {
    json!({
        "type": "oauth2", "tokenUrl": "https://login.example.org/t", "clientId": "relay",
        "clientAuthentication": "private_key_jwt", "keyId": "k1",
    })
}

#[tokio::test]
async fn a_tenants_private_key_is_sealed_and_signs_for_no_other_endpoint() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let mut fields =
        json!({ "name": "acme", "baseUrl": "https://iam.example.org/scim", "auth": signing() });
    for (private_key, expected) in [
        (json!("hunter2"), "no private key"),
        (json!(null), "is missing"),
    ] {
        fields["auth"]["privateKey"] = private_key;
        if fields["auth"]["privateKey"].is_null() {
            fields["auth"].as_object_mut().unwrap().remove("privateKey");
        }
        let refused = catalog
            .create_tenant(Node::of_json(fields.clone()), &hand())
            .await
            .unwrap_err();
        assert_eq!(pointers(&refused), ["/auth/privateKey"]);
        let words = format!("{refused:?}");
        assert!(
            words.contains(expected) && !words.contains("hunter2"),
            "{words}"
        );
    }
    fields["auth"]["privateKey"] = json!(key);
    let created = catalog
        .create_tenant(Node::of_json(fields), &hand())
        .await
        .unwrap();
    let body = key.lines().nth(1).unwrap();
    let shown = serde_json::to_string(&crate::directory::shown::tenant(&created.definition));
    assert!(!shown.unwrap().contains(body));
    assert!(!format!("{:?}", created.definition).contains(body));

    for (name, value) in [
        ("tokenUrl", json!("https://evil.example.org/t")),
        ("audience", json!("https://evil.example.org/t")),
    ] {
        let mut auth = signing();
        auth[name] = value;
        let fields = Node::of_json(json!({ "auth": auth }));
        let refused = catalog.update_tenant(&acme(), fields, &hand()).await;
        assert_eq!(
            pointers(&refused.unwrap_err()),
            ["/auth/privateKey"],
            "{name}"
        );
    }
    let same = Node::of_json(json!({ "auth": signing(), "rateLimit": 7 }));
    catalog.update_tenant(&acme(), same, &hand()).await.unwrap();
    let stored = catalog.secret(&catalog.contents(), &acme(), None, "privateKey");
    assert_eq!(stored.unwrap().expose(), key);
    drop(catalog);
    let bytes = std::fs::read(fixture.folder.path().join("store.redb")).unwrap();
    assert!(
        !bytes
            .windows(body.len())
            .any(|part| part == body.as_bytes())
    );
    assert_eq!(fixture.open().await.contents().unusable.len(), 0);
}

#[tokio::test]
async fn a_tenants_client_key_belongs_to_its_certificate() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["relay".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    let body = key.lines().nth(1).unwrap();
    for (more, at_fault) in [
        (json!({ "clientCertificate": certificate }), "/clientKey"),
        (json!({ "clientKey": key }), "/clientKey"),
        (
            json!({ "clientCertificate": certificate, "clientKey": "hunter2" }),
            "/clientKey",
        ),
        (
            json!({ "clientCertificate": "hunter2", "clientKey": key }),
            "/clientCertificate",
        ),
    ] {
        let mut fields = tenant_fields();
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let refused = catalog.create_tenant(Node::of_json(fields), &hand()).await;
        let refused = refused.unwrap_err();
        assert_eq!(pointers(&refused), [at_fault], "{refused:?}");
        assert!(!format!("{refused:?}").contains(body));
    }
    catalog.create_tenant(tenant(), &hand()).await.unwrap();
    let change = async |fields: Json| {
        catalog
            .update_tenant(&acme(), Node::of_json(fields), &hand())
            .await
    };
    let stored = || catalog.secret(&catalog.contents(), &acme(), None, "clientKey");
    change(json!({ "clientCertificate": certificate, "clientKey": key }))
        .await
        .unwrap();
    let changed = change(json!({ "rateLimit": 7 })).await.unwrap();
    assert_eq!(stored().unwrap().expose(), key);
    let shown = serde_json::to_string(&crate::directory::shown::tenant(&changed.definition));
    assert!(!shown.unwrap().contains(body));
    let renewed = format!("{certificate}{certificate}");
    let refused = change(json!({ "clientCertificate": renewed }))
        .await
        .unwrap_err();
    assert_eq!(pointers(&refused), ["/clientKey"]);
    let refused = change(json!({ "baseUrl": "https://evil.example.org" }))
        .await
        .unwrap_err();
    assert_eq!(pointers(&refused), ["/auth/token", "/clientKey"]);
    change(json!({ "clientCertificate": null })).await.unwrap();
    assert!(stored().is_err(), "nobody needs it any more");
    drop(catalog);
    let bytes = std::fs::read(fixture.folder.path().join("store.redb")).unwrap();
    assert!(
        !bytes
            .windows(body.len())
            .any(|part| part == body.as_bytes())
    );
}

#[tokio::test]
async fn a_tenants_secret_headers_are_sealed_and_asked_for_at_another_address() {
    let fixture = Fixture::new();
    let catalog = fixture.open().await;
    let mut fields = tenant_fields();
    fields["headers"] =
        json!({ "X-Region": "eu", "X-Key": { "secret": "canary\r\nX: y" }, "X-Other": {} });
    let refused = catalog
        .create_tenant(Node::of_json(fields.clone()), &hand())
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(
        pointers(&refused),
        ["/headers/X-Other/secret", "/headers/X-Key/secret"]
    );
    assert!(!format!("{refused:?}").contains("canary"));
    fields["headers"] = json!({ "X-Region": "eu", "X-Key": { "secret": "canary-c0de" } });
    let created = catalog
        .create_tenant(Node::of_json(fields), &hand())
        .await
        .unwrap();
    let shown = crate::directory::shown::tenant(&created.definition);
    assert_eq!(shown["headers"], json!({ "X-Region": "eu", "X-Key": {} }));
    let change = async |fields: Json| {
        catalog
            .update_tenant(&acme(), Node::of_json(fields), &hand())
            .await
    };
    let stored = || catalog.secret(&catalog.contents(), &acme(), None, "headers/X-Key");
    // What was shown is sent back, with another header.
    change(json!({ "headers": { "X-Region": "us", "X-Key": {} } }))
        .await
        .unwrap();
    assert_eq!(stored().unwrap().expose(), "canary-c0de");
    let refused = change(json!({ "headers": { "X-Key2": {} } }))
        .await
        .unwrap_err();
    assert_eq!(pointers(&refused), ["/headers/X-Key2/secret"]);
    let refused = change(json!({ "baseUrl": "https://evil.example.org" }))
        .await
        .unwrap_err();
    assert_eq!(pointers(&refused), ["/auth/token", "/headers/X-Key/secret"]);
    // A header that becomes a text needs its secret no more.
    change(json!({ "headers": { "X-Key": "public" } }))
        .await
        .unwrap();
    assert!(stored().is_err());
    drop(catalog);
    let bytes = std::fs::read(fixture.folder.path().join("store.redb")).unwrap();
    assert!(!bytes.windows(11).any(|part| part == b"canary-c0de"));
}
