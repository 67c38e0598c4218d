//! A directory and a tenant as the API shows them: what was written over the defaults, and no secret.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::directory::profile::Profile;
use crate::directory::scope::{usual_groups, usual_users};
use crate::directory::tenant::auth::{Auth, ClientAuthentication};
use crate::directory::tenant::headers::{Header, HeaderValue};
use crate::directory::tenant::{Tenant, dialect};
use crate::directory::{Directory, Pem, Written};
use crate::identity::DirectoryType;
use crate::mapping::default_rules;
use crate::plan::protected::Pattern;
use crate::scim::path::AttributePath;

/// The fields of a directory, its default profile's on the same level.
pub fn directory(directory: &Directory) -> Written {
    let connection = &directory.connection;
    let mut shown = object(json!({
        "id": directory.id,
        "name": directory.name,
        "enabled": directory.enabled,
        "type": type_word(connection.directory_type),
        "host": connection.host,
        "port": connection.port,
        "fallbackHosts": connection.fallback_hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "useTLS": connection.use_tls,
        "startTLS": connection.start_tls,
        "allowPlainLdap": connection.allow_plain_ldap,
        "caCertificate": connection.ca_certificate.as_ref().map(pem),
        "bindDN": connection.bind_dn,
        "baseDN": connection.base_dn,
        "anchorAttribute": connection.anchor_attribute,
        "pageEntries": connection.page_entries,
        "connectTimeoutSeconds": connection.connect_timeout_s,
        "answerTimeoutSeconds": connection.answer_timeout_s,
    }));
    if let Some(default) = directory.profiles.first() {
        shown.extend(profile(
            default,
            &directory.written,
            connection.directory_type,
        ));
    }
    shown
}

/// The fields of one of a directory's profiles.
pub fn profile_of(directory: &Directory, profile: &Profile) -> Written {
    let directory_type = directory.connection.directory_type;
    let further = directory
        .written
        .get("profiles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let written = further
        .filter_map(Value::as_object)
        .find(|written| written.get("name").and_then(Value::as_str) == Some(&profile.name.0));
    self::profile(
        profile,
        written.unwrap_or(&directory.written),
        directory_type,
    )
}

/// The fields of a profile, given what was written of them.
pub fn profile(profile: &Profile, written: &Written, directory_type: DirectoryType) -> Written {
    let scope = &profile.scope;
    let limits = &profile.limits;
    let usual = json!({
        "usersDN": scope.users_dn,
        "userObjectClasses": [],
        "userSearchFilter": usual_users(directory_type),
        "exclusionFilter": null,
        "synchronizeGroups": scope.groups_dn.is_some(),
        "groupsDN": scope.groups_dn,
        "groupSearchFilter": usual_groups(directory_type),
        "disabledWhen": [],
        "population": profile.population,
        "organizationalUnits": if scope.units_filter.is_some() { "groups" } else { "ignore" },
        "primaryGroup": scope.primary_group,
        "nestedGroups": profile.nested_groups,
        "roleMapping": [],
        "deprovisioning": profile.deprovisioning,
        "gracePeriod": "none",
        "absentGroups": profile.absent_groups,
        "linking": profile.linking,
        "matchingAttribute": profile.matching,
        "conflictPolicy": profile.conflict_policy,
        "syncSchedule": "",
        "syncInterval": null,
        "reconcileInterval": "1d",
        "changeDetection": profile.change_detection.as_str(),
        "fullSyncInterval": "1d",
        "guard": {
            "deactivations": limits.deactivations,
            "deactivationsPercent": limits.deactivations_percent,
            "deactivationsMost": limits.deactivations_most,
            "groupsEmptied": limits.groups_emptied,
            "groupsEmptiedPercent": limits.groups_emptied_percent,
            "groupMembersRemoved": limits.group_members_removed,
            "groupMembersRemovedPercent": limits.group_members_removed_percent,
            "membersRemoved": limits.members_removed,
            "membersRemovedPercent": limits.members_removed_percent,
            "creations": limits.creations,
            "creationsPercent": limits.creations_percent,
            "attributeChanges": limits.attribute_changes,
            "attributeChangesPercent": limits.attribute_changes_percent,
            "plausiblePercent": limits.plausible_percent,
            "foundPercent": limits.found_percent,
            "holdAll": limits.hold_all,
        },
    });
    let mut shown = object(usual);
    for (name, value) in &mut shown {
        if let Some(written) = written.get(name).filter(|_| name != "guard") {
            *value = written.clone();
        }
    }
    let groups = written.get("groupAttributeMapping");
    shown.insert(
        "attributeMapping".to_owned(),
        mapping(written.get("attributeMapping"), directory_type),
    );
    shown.insert(
        "groupAttributeMapping".to_owned(),
        group_mapping(groups, directory_type),
    );
    shown
}

/// The rows in force, each under the name that it was written with, else under its usual one.
fn mapping(written: Option<&Value>, directory_type: DirectoryType) -> Value {
    let mut rows: BTreeMap<AttributePath, (String, Value)> = BTreeMap::new();
    let usual = default_rules(directory_type)
        .into_iter()
        .map(|(name, attribute)| (name.to_owned(), Value::from(attribute)));
    let written = written.and_then(Value::as_object).cloned();
    for (name, value) in usual.chain(written.into_iter().flatten()) {
        // A row that is switched off is shown as false, since leaving it out would mean its default.
        if let Ok(path) = AttributePath::from_rule(&name) {
            rows.insert(path, (name, value));
        }
    }
    rows.into_values().collect::<serde_json::Map<_, _>>().into()
}

fn group_mapping(written: Option<&Value>, directory_type: DirectoryType) -> Value {
    let mut shown = object(json!({
        "name": "cn",
        "membershipAttributeType": "DN",
        "userAttribute": default_rules(directory_type)[0].1,
    }));
    shown.extend(
        written
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
    );
    shown.into()
}

/// The fields of a tenant.
pub fn tenant(tenant: &Tenant) -> Written {
    object(json!({
        "name": tenant.name,
        "baseUrl": tenant.base_url,
        "auth": auth(&tenant.auth),
        "rateLimit": tenant.rate.requests(),
        "rateBurst": tenant.written.get("rateBurst"),
        "rateLimits": tenant.rates,
        "concurrency": tenant.concurrency,
        "caCertificate": tenant.ca_certificate.as_ref().map(pem),
        "clientCertificate": tenant.client_certificate.as_ref().map(|own| pem(&own.chain)),
        "headers": headers(&tenant.headers),
        "allowPlainHttp": tenant.written.get("allowPlainHttp").cloned().unwrap_or(Value::Bool(false)),
        "connectTimeoutSeconds": tenant.connect_timeout_s,
        "answerTimeoutSeconds": tenant.answer_timeout_s,
        "settleSeconds": tenant.settle_s,
        "emailVerifiedAttribute": tenant.email_verified.path.as_ref().map(ToString::to_string),
        "emailVerifiedDomains": tenant.email_verified.domains,
        "protected": {
            "ids": tenant.protected.ids,
            "userNames": patterns(&tenant.protected.user_names),
            "groupNames": patterns(&tenant.protected.group_names),
        },
        "dialect": dialect::shown(&tenant.dialect),
    }))
}

fn patterns(patterns: &[Pattern]) -> Vec<&str> {
    patterns.iter().map(Pattern::as_str).collect()
}

fn auth(auth: &Auth) -> Value {
    let (token_url, client_id, client, scope) = match auth {
        Auth::Bearer(_) => return json!({ "type": "bearer" }),
        Auth::OAuth2 {
            token_url,
            client_id,
            client,
            scope,
        } => (token_url, client_id, client, scope),
    };
    let mut shown = object(json!({
        "type": "oauth2", "tokenUrl": token_url, "clientId": client_id, "scope": scope,
    }));
    shown.extend(object(match client {
        ClientAuthentication::Secret(_) => json!({ "clientAuthentication": "client_secret" }),
        ClientAuthentication::PrivateKey {
            key_id, audience, ..
        } => json!({
            "clientAuthentication": "private_key_jwt", "keyId": key_id, "audience": audience,
        }),
    }));
    shown.into()
}

/// Each header with its value; one that is a secret is shown as an empty table, which keeps it when it is sent back.
fn headers(headers: &[Header]) -> Value {
    let shown = headers.iter().map(|header| {
        let value = match &header.value {
            HeaderValue::Text(text) => json!(text),
            HeaderValue::Secret(_) => json!({}),
        };
        (header.name.clone(), value)
    });
    shown.collect::<serde_json::Map<_, _>>().into()
}

/// The word for a type of directory.
pub fn type_word(directory_type: DirectoryType) -> &'static str {
    match directory_type {
        DirectoryType::ActiveDirectory => "active_directory",
        DirectoryType::Ldap => "ldap",
    }
}

fn pem(pem: &Pem) -> String {
    match pem {
        Pem::Text(text) => text.clone(),
        Pem::File(path) => format!("file:{}", path.display()),
    }
}

fn object(value: Value) -> Written {
    match value {
        Value::Object(object) => object,
        _ => Written::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::directory::{Origin, read};
    use crate::document::{Node, Problems};
    use crate::id::{DirectoryId, TenantName};

    fn entered(fields: Value) -> Directory {
        let id = DirectoryId(uuid::Uuid::nil());
        let origin = Origin::Api(id, TenantName("acme".into()));
        let mut problems = Problems::default();
        let directory = read::directory(&Node::of_json(fields), "", &origin, &mut problems);
        problems.verdict(directory).unwrap()
    }

    /// Entering what was shown changes nothing: every default that is shown is the one that is in force.
    #[test]
    fn what_is_shown_is_what_is_in_force() {
        for kind in ["ldap", "active_directory"] {
            let few = entered(json!({
                "name": "hq", "type": kind, "host": "dc.example.org", "bindDN": "cn=r,dc=x", "baseDN": "dc=x",
                "fallbackHosts": ["dc2.example.org", "[::1]:1636"],
                "attributeMapping": { "phone": false, "title": "title", "name.givenName": { "constant": "A" } },
                "roleMapping": [{ "group": "cn=a,dc=x", "role": "r" }, { "group": "cn=b,dc=x", "entitlement": "e" }],
                "syncSchedule": "0 3 * * *", "guard": { "deactivations": 9 },
                "organizationalUnits": "groups",
            }));
            let mut shown = directory(&few);
            shown.remove("id");
            shown.retain(|_, value| !value.is_null());
            let all = entered(shown.clone().into());
            let order = few.profile_names();
            let fingerprint = |directory: &Directory| directory.profiles[0].fingerprint(&order);
            assert_eq!(fingerprint(&all), fingerprint(&few));
            assert_eq!(all.profiles[0].limits, few.profiles[0].limits);
            assert_eq!(all.profiles[0].grace_period, few.profiles[0].grace_period);
            assert_eq!(all.profiles[0].schedule, few.profiles[0].schedule);
            assert_eq!(all.profiles[0].reconciling, few.profiles[0].reconciling);
            let feed = |directory: &Directory| {
                let profile = &directory.profiles[0];
                (profile.change_detection, profile.full_sync_interval)
            };
            assert_eq!(feed(&all), feed(&few));
            assert!(few.connection.reached_otherwise(&all.connection).is_empty());
            let mut again = directory(&all);
            again.retain(|name, value| name != "id" && !value.is_null());
            assert_eq!(again, shown);
        }
    }

    #[test]
    fn what_is_shown_of_the_pace_of_a_tenant_is_what_was_entered() {
        let read = |fields: Value| {
            let mut problems = Problems::default();
            let node = Node::of_json(fields);
            let tenant = crate::directory::tenant::read(&node, "", true, &mut problems);
            problems.verdict(tenant).unwrap()
        };
        let pace = json!({
            "rateLimit": 100, "rateBurst": 40,
            "rateLimits": { "create": 3, "update": { "requests": 180, "seconds": 60, "burst": 20 } },
            "dialect": { "ifMatch": true, "throttling": [{ "status": 500, "text": "LIMIT" }] },
        });
        let mut fields = object(pace.clone());
        fields.extend(object(json!({
            "name": "acme", "baseUrl": "https://iam.example.org", "auth": { "type": "bearer" },
        })));
        let entered = read(fields.into());
        let shown = tenant(&entered);
        for name in ["rateLimit", "rateBurst", "rateLimits"] {
            assert_eq!(shown[name], pace[name], "{name}");
        }
        let mut again = shown;
        again.retain(|_, value| !value.is_null());
        let again = read(again.into());
        assert_eq!(
            (again.rate, again.rates, &again.dialect),
            (entered.rate, entered.rates, &entered.dialect)
        );
        assert!(again.dialect.if_match && again.dialect.throttling.len() == 1);
    }
}
