//! What GET answers can be sent back by PUT, and what only the relay sets cannot be changed by it.

use serde_json::{Value, json};

use super::directories::Fresh;

/// Sends back what is shown, twice, and panics unless it stays as it is.
fn send_back(site: &Fresh, path: &str) -> Value {
    let apart = |mut shown: Value| {
        let fields = shown.as_object_mut().unwrap();
        fields.remove("updatedAt");
        // It moves when a run begins in between.
        fields.remove("nextRunAt");
        shown
    };
    let shown = site.api.get(path).json();
    for _ in 0..2 {
        let sent = site.api.get(path).json();
        let answer = site.api.put(path, &sent.to_string());
        assert_eq!(answer.status, 200, "{path} {sent}: {answer:?}");
        assert_eq!(apart(answer.json()), apart(shown.clone()), "{path}");
    }
    shown
}

/// Panics unless a change of the field is refused, with words.
fn refused(site: &Fresh, path: &str, name: &str, value: Value) {
    let answer = site.api.put(path, &json!({ name: value }).to_string());
    assert_eq!(answer.status, 422, "{path} {name}: {answer:?}");
    let error = &answer.json()["errors"][0];
    assert_eq!(error["pointer"], format!("/{name}"), "{path}");
    let words = error["detail"].as_str().unwrap();
    assert!(
        words.contains("set by the relay alone") && words.contains("leave it out"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_what_is_shown_can_be_sent_back() {
    let site = Fresh::new(3).await;
    let id = site.created();
    let path = format!("/directories/{id}");
    let more = [
        json!({}),
        json!({ "syncInterval": "4h", "exclusionFilter": "(uid=x)", "guard": { "deactivations": 7 } }),
        json!({ "synchronizeGroups": false, "syncInterval": null, "syncSchedule": "0 3 * * *" }),
        json!({ "attributeMapping": { "phone": false, "title": { "constant": "a", "required": true } } }),
    ];
    for fields in more {
        assert_eq!(site.put(&id, &fields).status, 200, "{fields}");
        send_back(&site, &path);
    }
    let profile = json!({ "name": "second", "enabled": false, "population": "inactive", "syncInterval": "1h" });
    let profiles = format!("{path}/profiles");
    assert_eq!(site.api.post(&profiles, &profile.to_string()).status, 201);
    let second = format!("{profiles}/second");
    send_back(&site, &second);
    send_back(&site, &format!("{profiles}/default"));
    send_back(&site, &path);
    send_back(&site, "/tenants/acme");

    // Of another type, and another way to the target.
    let mut other = site.directory();
    for (name, value) in [("name", json!("ad")), ("type", json!("active_directory"))] {
        other[name] = value;
    }
    let other = site.api.post("/directories", &other.to_string()).json();
    send_back(
        &site,
        &format!("/directories/{}", other["id"].as_str().unwrap()),
    );
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let oauth2 =
        json!({ "type": "oauth2", "tokenUrl": "https://login.example.org/token", "clientId": "c" });
    for more in [
        json!({ "clientSecret": "s" }),
        json!({ "clientAuthentication": "private_key_jwt", "privateKey": key }),
        json!({ "clientAuthentication": "private_key_jwt", "privateKey": key, "keyId": "k", "audience": "a" }),
    ] {
        let mut auth = oauth2.clone();
        auth.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let tenant = json!({
            "name": "beta", "baseUrl": "https://scim.example.org/v2", "auth": auth,
            "headers": { "X-Region": "eu", "X-Api-Key": { "secret": "s" } },
        });
        let created = site.api.post("/tenants", &tenant.to_string());
        assert_eq!(created.status, 201, "{created:?}");
        send_back(&site, "/tenants/beta");
        assert_eq!(site.api.delete("/tenants/beta").status, 204);
    }

    let time = json!("2031-01-01T00:00:00Z");
    for (path, fields) in [
        (&path, &["id", "kept", "createdAt", "updatedAt"][..]),
        (&second, &["id"]),
        (&format!("{profiles}/default"), &["id", "name", "enabled"]),
        (
            &"/tenants/acme".to_owned(),
            &["kept", "createdAt", "updatedAt"],
        ),
    ] {
        for name in fields {
            refused(&site, path, name, time.clone());
        }
    }
    let next = json!({ "nextRunAt": time });
    assert_eq!(site.put(&id, &next).status, 200);
    assert_ne!(site.api.get(&path).json()["nextRunAt"], time);
    // A change that was made in between is not undone by whoever did not see it.
    let seen = site.api.get(&path).json();
    assert_eq!(
        site.put(&id, &json!({ "linking": "automatic" })).status,
        200
    );
    let late = site.put(&id, &seen);
    assert_eq!(
        (late.status, &late.json()["errors"][0]["pointer"]),
        (422, &json!("/updatedAt"))
    );
    assert_eq!(site.api.get(&path).json()["linking"], "automatic");
}
