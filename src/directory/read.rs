//! Reading of a directory with its profiles, every field with its default and its cure.

use crate::directory::profile::Profile;
use crate::directory::rules::rules_of;
use crate::directory::scope::profile;
use crate::directory::values::{directory_type, dn, reference};
use crate::directory::{Connection, Directory, Origin, Pem, Written};
use crate::document::{Fields, Node, Problems};
use crate::id::{DirectoryId, ProfileName, TenantName};
use crate::identity::DirectoryType;
use crate::identity::server::ServerAddress;
use crate::mapping::default_anchor;
use crate::secret::SecretRef;

/// Most servers that stand in for the first one.
const FALLBACK_HOSTS_MAX: usize = 8;
/// The longest name of a directory.
const DIRECTORY_NAME_MAX: usize = 128;
/// The longest name of a profile.
const PROFILE_NAME_MAX: usize = 64;

/// Reads a directory: the fields of the profile `default` stand on the same level, further ones in `profiles`.
pub fn directory(
    node: &Node,
    pointer: &str,
    origin: &Origin,
    problems: &mut Problems,
) -> Option<Directory> {
    let before = problems.0.len();
    let mut fields = Fields::of(node, pointer, problems);
    let tenant = match origin {
        Origin::File => {
            let what = "the name of the tenant that receives the users";
            let tenant = fields.required_text("tenant", what, problems);
            tenant.map(|name| TenantName(name.to_owned()))
        }
        Origin::Api(_, tenant) => Some(tenant.clone()),
    };
    fields.required_text("name", "a short name, for example `hq`", problems);
    let name = fields.parsed("name", problems, directory_name);
    let enabled = fields.boolean("enabled", true, problems);
    let directory_type = directory_type(&mut fields, problems);
    let mut rules = rules_of(&mut fields, directory_type, problems);
    let anchor = rules.anchor.take();
    let connection = connection(&mut fields, origin, directory_type, anchor, problems);
    let default = profile(
        &mut fields,
        directory_type,
        connection.as_ref(),
        rules,
        problems,
    );
    let mut profiles: Vec<Profile> = default.into_iter().collect();
    for (pointer, node) in fields.tables("profiles", problems) {
        let further = profile_table(
            node,
            &pointer,
            directory_type,
            connection.as_ref(),
            problems,
        );
        let Some(further) = further else { continue };
        if profiles.iter().any(|known| known.name == further.name) {
            let message = format!("`{}` is the name of another profile", further.name);
            problems.add(node.line, &format!("{pointer}/name"), message);
        }
        profiles.push(further);
    }
    fields.finish(problems);
    if problems.0.len() > before {
        return None;
    }
    let (tenant, name) = (tenant?, name?);
    Some(Directory {
        id: match origin {
            Origin::File => DirectoryId::from_name(&tenant, &name),
            Origin::Api(id, _) => *id,
        },
        tenant,
        name,
        enabled,
        connection: connection?,
        profiles,
        written: written(node),
    })
}

/// The name of a directory, for people.
fn directory_name(text: &str) -> Result<String, String> {
    if text.chars().count() > DIRECTORY_NAME_MAX
        || text.chars().any(char::is_control)
        || text.trim() != text
    {
        return Err(format!(
            "must have 1 to {DIRECTORY_NAME_MAX} characters, no control characters and no space at its ends"
        ));
    }
    Ok(text.to_owned())
}

/// What was written, but for where secrets are kept and whose directory it is.
fn written(node: &Node) -> Written {
    let mut written = match node.to_json() {
        serde_json::Value::Object(written) => written,
        _ => Written::new(),
    };
    for name in ["bindPassword", "tenant"] {
        written.remove(name);
    }
    written
}

/// Reads one profile that stands in a table of its own, with the defaults of its directory's type. Without the
/// connection, which is in error itself, its mistakes are found all the same.
pub fn profile_table(
    node: &Node,
    pointer: &str,
    directory_type: DirectoryType,
    connection: Option<&Connection>,
    problems: &mut Problems,
) -> Option<Profile> {
    let before = problems.0.len();
    let mut fields = Fields::of(node, pointer, problems);
    fields.required_text("name", "a short name, for example `contractors`", problems);
    let name = fields.parsed("name", problems, profile_name);
    let enabled = fields.boolean("enabled", true, problems);
    let mut rules = rules_of(&mut fields, directory_type, problems);
    let anchor = rules.anchor.take();
    if let (Some(anchor), Some(connection)) = (anchor, connection)
        && anchor != connection.anchor_attribute
    {
        let cure = "the anchor is the same for all profiles of a directory: set anchorAttribute of the directory, and \
                    leave externalId out here";
        fields.refuse("attributeMapping", cure, problems);
    }
    let profile = profile(&mut fields, directory_type, connection, rules, problems);
    fields.finish(problems);
    if problems.0.len() > before {
        return None;
    }
    Some(Profile {
        name: name?,
        enabled,
        ..profile?
    })
}

/// The name of a profile of the list.
fn profile_name(text: &str) -> Result<ProfileName, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let name = ProfileName(text.to_owned());
    if name == ProfileName::default() {
        return Err(
            "is the profile whose fields stand on the level of the directory; choose another name"
                .to_owned(),
        );
    }
    if text.len() > PROFILE_NAME_MAX || !text.chars().all(allowed) {
        return Err(format!(
            "is `{}`, but must be 1 to {PROFILE_NAME_MAX} of a-z, 0-9, _ and -",
            text.escape_debug()
        ));
    }
    Ok(name)
}

fn connection(
    fields: &mut Fields<'_>,
    origin: &Origin,
    directory_type: DirectoryType,
    anchor: Option<String>,
    problems: &mut Problems,
) -> Option<Connection> {
    let address = address(fields, problems);
    let fallback_hosts = fallback_hosts(fields, address.as_ref(), problems);
    let allow_plain_ldap = fields.boolean("allowPlainLdap", false, problems);
    if let Some(address) = &address
        && !address.use_tls
        && !address.start_tls
        && !allow_plain_ldap
    {
        let cure = "the password would cross the network in plain text; use TLS (useTLS or startTLS), or set \
                    allowPlainLdap = true";
        fields.refuse("useTLS", cure, problems);
    }
    let ca_certificate = match origin {
        Origin::File => fields.parsed("caCertificate", problems, Pem::parse),
        // A caller of the API must not read files of this machine.
        Origin::Api(..) => fields.parsed("caCertificate", problems, Pem::parse_text),
    };
    let bind_dn = fields
        .required_text("bindDN", "the account that reads the directory", problems)
        .map(str::to_owned);
    let bind_password = match origin {
        Origin::File => reference(
            fields,
            "bindPassword",
            "where the account's password is kept, for example env:LDAP_PASSWORD",
            problems,
        ),
        Origin::Api(..) => Some(SecretRef::Stored),
    };
    let has_base = fields.required_text(
        "baseDN",
        "where the directory starts, for example dc=example,dc=org",
        problems,
    );
    let base_dn = has_base.and_then(|_| dn(fields, "baseDN", problems));
    let anchor_attribute = fields.text("anchorAttribute", problems).map(str::to_owned);
    if anchor.is_some() && anchor_attribute.is_some() && anchor != anchor_attribute {
        fields.refuse(
            "anchorAttribute",
            "contradicts externalId in attributeMapping; keep one of the two",
            problems,
        );
    }
    let page_entries = fields.integer("pageEntries", 1_000, 1..=10_000, problems);
    let connect_timeout_s = fields.integer("connectTimeoutSeconds", 10, 1..=300, problems);
    let answer_timeout_s = fields.integer("answerTimeoutSeconds", 60, 1..=3_600, problems);
    let address = address?;
    Some(Connection {
        directory_type,
        host: address.host,
        port: address.port,
        fallback_hosts,
        use_tls: address.use_tls,
        start_tls: address.start_tls,
        allow_plain_ldap,
        ca_certificate,
        bind_dn: bind_dn?,
        bind_password: bind_password?,
        base_dn: base_dn?,
        anchor_attribute: anchor_attribute
            .or(anchor)
            .unwrap_or_else(|| default_anchor(directory_type).to_owned()),
        page_entries: u16::try_from(page_entries).ok()?,
        connect_timeout_s: u32::try_from(connect_timeout_s).ok()?,
        answer_timeout_s: u32::try_from(answer_timeout_s).ok()?,
    })
}

struct Address {
    host: String,
    port: u16,
    use_tls: bool,
    start_tls: bool,
}

/// Host, port, useTLS and startTLS, or a URL instead of the four.
fn address(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Address> {
    if fields.has("url") {
        for name in ["host", "port", "useTLS"] {
            if fields.has(name) {
                fields.refuse(name, "contradicts url; keep one of the two forms", problems);
            }
        }
        for name in ["host", "port", "useTLS"] {
            fields.node(name);
        }
        let start_tls = fields.boolean("startTLS", false, problems);
        let (host, port, use_tls) = fields.parsed("url", problems, ldap_url)?;
        if use_tls && start_tls {
            fields.refuse(
                "startTLS",
                "contradicts ldaps://, which is TLS from the start",
                problems,
            );
        }
        return Some(Address {
            host,
            port,
            use_tls,
            start_tls,
        });
    }
    let host = fields
        .required_text("host", "the directory server's name or address", problems)
        .map(str::to_owned);
    let start_tls = fields.boolean("startTLS", false, problems);
    let use_tls = fields.boolean("useTLS", !start_tls, problems);
    if use_tls && start_tls {
        fields.refuse(
            "startTLS",
            "contradicts useTLS; keep one of the two",
            problems,
        );
    }
    let port = fields.integer(
        "port",
        if use_tls { 636 } else { 389 },
        1..=65_535,
        problems,
    );
    Some(Address {
        host: host?,
        port: u16::try_from(port).ok()?,
        use_tls,
        start_tls,
    })
}

/// The servers that stand in for the first one; its port is theirs where they name none.
fn fallback_hosts(
    fields: &mut Fields<'_>,
    first: Option<&Address>,
    problems: &mut Problems,
) -> Vec<ServerAddress> {
    let name = "fallbackHosts";
    let texts = fields.texts(name, problems).unwrap_or_default();
    if texts.len() > FALLBACK_HOSTS_MAX {
        let message = format!(
            "has {} servers, but {FALLBACK_HOSTS_MAX} are the most",
            texts.len()
        );
        fields.refuse(name, message, problems);
    }
    // Where the first one is in error itself, the mistakes here are found all the same.
    let port = first.map_or(636, |first| first.port);
    let first = first.map(|first| ServerAddress {
        host: first.host.clone(),
        port: first.port,
    });
    let mut servers: Vec<ServerAddress> = Vec::new();
    for text in texts {
        match ServerAddress::parse(&text, port) {
            Ok(server) if servers.contains(&server) || first.as_ref() == Some(&server) => {
                let message = format!("names {server} twice; each server is tried once");
                fields.refuse(name, message, problems);
            }
            Ok(server) => servers.push(server),
            Err(message) => fields.refuse(name, message, problems),
        }
    }
    servers
}

fn ldap_url(text: &str) -> Result<(String, u16, bool), String> {
    let url = url::Url::parse(text).map_err(|error| {
        format!("is not a URL ({error}); example: ldaps://ldap.example.org:636")
    })?;
    let use_tls = match url.scheme() {
        "ldaps" => true,
        "ldap" => false,
        other => {
            return Err(format!(
                "begins with {other}://, but ldaps:// or ldap:// is expected"
            ));
        }
    };
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or("names no host")?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    if url.path().len() > 1
        || url.query().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err("only the scheme, host and port belong here; base DN and account have fields of their own".into());
    }
    Ok((
        host,
        url.port().unwrap_or(if use_tls { 636 } else { 389 }),
        use_tls,
    ))
}
