//! How directories and targets are reached: their definitions and secrets in, the settings of source and provider out.

use std::sync::Arc;
use std::time::Duration;

use crate::config::secrets;
use crate::directory::profile::{MembershipType, Profile};
use crate::directory::tenant::auth::{Auth, ClientAuthentication};
use crate::directory::tenant::headers::{Header, HeaderValue, secret_field};
use crate::directory::tenant::{CLIENT_KEY, ClientCertificate, Tenant};
use crate::directory::{Connection, Directory, Pem};
use crate::id::ProfileName;
use crate::plan::membership::NestedGroups;
use crate::provider::{self, Provider};
use crate::secret::{Secret, SecretRef};
use crate::source::{
    self, MembershipAttribute, MembershipBy, Search, Security, UnitMembers, Units,
};

/// The longest message of a directory server that is accepted, in bytes: an entry with 100,000 members is about 8 MiB.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Tries of a request that may be repeated safely.
const ATTEMPTS_MAX: u32 = 5;
/// The first pause before a repetition.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Answers the stored secret of a field.
pub(super) type StoredSecret<'a> = &'a dyn Fn(&str) -> Result<Secret, String>;

/// What is in the configuration file has no secrets in the store.
pub(super) fn not_stored(_: &str) -> Result<Secret, String> {
    Err("it is not in the store".to_owned())
}

/// The value of a secret, wherever it is kept; `what` names it in errors.
fn resolve(
    reference: &SecretRef,
    field: &str,
    what: &str,
    stored: StoredSecret<'_>,
) -> Result<Secret, String> {
    match reference {
        SecretRef::Stored => stored(field).map_err(|problem| format!("{what}: {problem}")),
        named => secrets::resolve(named, what),
    }
}

/// The text of a private key, wherever it is kept; unlike other secrets it has several lines.
fn resolve_key(
    reference: &SecretRef,
    field: &str,
    what: &str,
    stored: StoredSecret<'_>,
) -> Result<Secret, String> {
    match reference {
        SecretRef::Stored => resolve(reference, field, what, stored),
        named => secrets::resolve_whole(named, what),
    }
}

/// Prepares the client of a tenant's IAM.
pub(super) fn open_provider(
    tenant: &Tenant,
    stored: StoredSecret<'_>,
) -> Result<Arc<dyn Provider>, Vec<String>> {
    let mut problems = Vec::new();
    let name = &tenant.name;
    let auth = auth(tenant, stored)
        .map_err(|problem| problems.push(problem))
        .ok();
    let ca_certificate = certificate(
        tenant.ca_certificate.as_ref(),
        &format!("caCertificate of tenant {name}"),
    );
    let ca_certificate = ca_certificate
        .map_err(|problem| problems.push(problem))
        .ok()
        .flatten();
    let client_certificate = tenant
        .client_certificate
        .as_ref()
        .map(|own| client_certificate(own, tenant, stored))
        .transpose()
        .map_err(|problem| problems.push(problem))
        .ok()
        .flatten();
    let secret_headers = secret_headers(tenant, stored, &mut problems);
    let (Some(auth), true) = (auth, problems.is_empty()) else {
        return Err(problems);
    };
    let settings = provider::Settings {
        tenant: name.clone(),
        base_url: tenant.base_url.clone(),
        auth,
        rate: tenant.rate,
        rates: tenant.rates,
        concurrency: tenant.concurrency,
        ca_certificate,
        client_certificate,
        headers: plain_headers(tenant),
        secret_headers,
        connect_timeout: Duration::from_secs(u64::from(tenant.connect_timeout_s)),
        answer_timeout: Duration::from_secs(u64::from(tenant.answer_timeout_s)),
        attempts_max: ATTEMPTS_MAX,
        retry_pause: RETRY_PAUSE,
        dialect: tenant.dialect.clone(),
    };
    match provider::open(settings) {
        Ok(provider) => Ok(provider.into()),
        Err(refusal) => Err(vec![format!("tenant {name}: {refusal}")]),
    }
}

/// How the tenant's requests are authenticated, with the secret's value.
fn auth(tenant: &Tenant, stored: StoredSecret<'_>) -> Result<provider::Auth, String> {
    let (name, field) = (&tenant.name, tenant.auth.secret_field());
    let (token_url, client_id, client, scope) = match &tenant.auth {
        Auth::Bearer(token) => {
            let what = format!("the SCIM token of tenant {name}");
            return resolve(token, field, &what, stored).map(provider::Auth::Bearer);
        }
        Auth::OAuth2 {
            token_url,
            client_id,
            client,
            scope,
        } => (token_url, client_id, client, scope),
    };
    let client = match client {
        ClientAuthentication::Secret(secret) => {
            let what = format!("the client secret of tenant {name}");
            let secret = resolve(secret, field, &what, stored)?;
            provider::ClientAuthentication::Secret(secret)
        }
        ClientAuthentication::PrivateKey {
            key,
            key_id,
            audience,
        } => provider::ClientAuthentication::PrivateKey {
            key: resolve_key(key, field, &format!("privateKey of tenant {name}"), stored)?,
            key_id: key_id.clone(),
            audience: audience.clone(),
        },
    };
    Ok(provider::Auth::ClientCredentials {
        token_url: token_url.clone(),
        client_id: client_id.clone(),
        client,
        scope: scope.clone(),
    })
}

fn client_certificate(
    own: &ClientCertificate,
    tenant: &Tenant,
    stored: StoredSecret<'_>,
) -> Result<provider::ClientCertificate, String> {
    let what = |field: &str| format!("{field} of tenant {}", tenant.name);
    Ok(provider::ClientCertificate {
        chain: secrets::certificate(&own.chain, &what("clientCertificate"))?,
        key: resolve_key(&own.key, CLIENT_KEY, &what(CLIENT_KEY), stored)?,
    })
}

/// The headers of the tenant's requests that everybody may know.
fn plain_headers(tenant: &Tenant) -> Vec<(String, String)> {
    let headers = tenant.headers.iter();
    headers
        .filter_map(|Header { name, value }| match value {
            HeaderValue::Text(text) => Some((name.clone(), text.clone())),
            HeaderValue::Secret(_) => None,
        })
        .collect()
}

/// Those with values that are secrets.
fn secret_headers(
    tenant: &Tenant,
    stored: StoredSecret<'_>,
    problems: &mut Vec<String>,
) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for Header { name, value } in &tenant.headers {
        let HeaderValue::Secret(reference) = value else {
            continue;
        };
        let what = format!("the header {name} of tenant {}", tenant.name);
        match resolve(reference, &secret_field(name), &what, stored) {
            Ok(value) => headers.push((name.clone(), value)),
            Err(problem) => problems.push(problem),
        }
    }
    headers
}

fn certificate(pem: Option<&Pem>, what: &str) -> Result<Option<Vec<u8>>, String> {
    pem.map(|pem| secrets::certificate(pem, what)).transpose()
}

/// How a directory is reached and what is asked of it for each of its profiles in order, the password included.
pub(super) fn sources(
    directory: &Directory,
    stored: StoredSecret<'_>,
) -> Result<Vec<(ProfileName, source::Settings)>, Vec<String>> {
    let connection = &directory.connection;
    let what = format!("the bind password of directory {}", directory.name);
    let password = resolve(&connection.bind_password, "bindPassword", &what, stored);
    let ca = certificate(
        connection.ca_certificate.as_ref(),
        &format!("caCertificate of directory {}", directory.name),
    );
    let (bind_password, ca_certificate) = match (password, ca) {
        (Ok(password), Ok(ca)) => (password, ca),
        (password, ca) => return Err([password.err(), ca.err()].into_iter().flatten().collect()),
    };
    let unit_members: Vec<UnitMembers> = directory
        .profiles
        .iter()
        .filter(|profile| profile.scope.units_filter.is_some())
        .map(|profile| unit_members(profile.nested_groups))
        .collect();
    let sources = directory.profiles.iter().map(|profile| {
        let (password, ca) = (bind_password.clone(), ca_certificate.clone());
        let settings = source::Settings {
            unit_members: unit_members.clone(),
            ..source_settings(connection, profile, password, ca)
        };
        (profile.name.clone(), settings)
    });
    Ok(sources.collect())
}

fn source_settings(
    connection: &Connection,
    profile: &Profile,
    bind_password: Secret,
    ca_certificate: Option<Vec<u8>>,
) -> source::Settings {
    let scope = &profile.scope;
    let attributes = |names: std::collections::BTreeSet<String>| names.into_iter().collect();
    source::Settings {
        directory_type: connection.directory_type,
        host: connection.host.clone(),
        port: connection.port,
        fallbacks: connection.fallback_hosts.clone(),
        peer: None,
        security: security(connection),
        ca_certificate,
        bind_dn: connection.bind_dn.clone(),
        bind_password,
        users: Search {
            base: scope.users_dn.clone(),
            filter: scope.users_filter.clone(),
            attributes: attributes(profile.mapping.user_attributes()),
        },
        groups: scope.groups_dn.as_ref().map(|base| Search {
            base: base.clone(),
            filter: scope.groups_filter.clone(),
            attributes: attributes(profile.mapping.group_attributes()),
        }),
        units: scope.units_filter.as_ref().map(|filter| Units {
            search: Search {
                base: scope.users_dn.clone(),
                filter: filter.clone(),
                attributes: attributes(profile.mapping.unit_attributes()),
            },
            members: unit_members(profile.nested_groups),
        }),
        unit_members: Vec::new(),
        anchor_attribute: connection.anchor_attribute.clone(),
        membership: scope
            .membership
            .iter()
            .map(|(name, by)| MembershipAttribute {
                name: name.clone(),
                by: match by {
                    MembershipType::Dn => MembershipBy::Dn,
                    MembershipType::Uid => MembershipBy::Uid,
                },
            })
            .collect(),
        uid_attribute: scope.uid_attribute.clone(),
        manager_attribute: profile.mapping.manager_attribute(),
        primary_group: scope.primary_group,
        page_entries: connection.page_entries,
        connect_timeout: Duration::from_secs(u64::from(connection.connect_timeout_s)),
        answer_timeout: Duration::from_secs(u64::from(connection.answer_timeout_s)),
        message_bytes_max: MESSAGE_BYTES_MAX,
    }
}

/// Whom units have as members where groups within groups are treated so.
fn unit_members(nested_groups: NestedGroups) -> UnitMembers {
    match nested_groups {
        NestedGroups::Direct => UnitMembers::Users,
        NestedGroups::Nested => UnitMembers::UsersAndUnits,
        NestedGroups::Flatten => UnitMembers::UsersBelow,
    }
}

fn security(connection: &Connection) -> Security {
    match (connection.use_tls, connection.start_tls) {
        (true, _) => Security::Tls,
        (false, true) => Security::StartTls,
        (false, false) => {
            let first = connection.address();
            let mut servers = std::iter::once(&first).chain(&connection.fallback_hosts);
            if let Some(server) = servers.find(|server| !server.is_loopback()) {
                tracing::warn!(
                    host = server.host,
                    "the bind password crosses the network without TLS (allowPlainLdap)"
                );
            }
            Security::Plain
        }
    }
}
