//! The configuration file: TOML in, settings of every room out, all mistakes at once with line, key and cure.

mod node;
pub mod secrets;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::directory::tenant::{self, Tenant};
use crate::directory::{Directory, Origin, Pem, read};
use crate::document::{Fields, Node, Problems};
use crate::secret::SecretRef;
use crate::{store, telemetry};

/// Keys that an environment variable may override, by table and key.
///
/// The rule: `SCIM_RELAY_`, the table, `_`, the key, in capitals with `_` between words.
const OVERRIDES: [(&str, &str, &str); 10] = [
    ("server", "listen", "SCIM_RELAY_SERVER_LISTEN"),
    ("server", "token", "SCIM_RELAY_SERVER_TOKEN"),
    (
        "server",
        "allowPlainHttp",
        "SCIM_RELAY_SERVER_ALLOW_PLAIN_HTTP",
    ),
    (
        "server",
        "tlsCertificate",
        "SCIM_RELAY_SERVER_TLS_CERTIFICATE",
    ),
    ("server", "tlsKey", "SCIM_RELAY_SERVER_TLS_KEY"),
    ("store", "path", "SCIM_RELAY_STORE_PATH"),
    ("store", "cacheMib", "SCIM_RELAY_STORE_CACHE_MIB"),
    ("secrets", "key", "SCIM_RELAY_SECRETS_KEY"),
    ("log", "level", "SCIM_RELAY_LOG_LEVEL"),
    ("log", "format", "SCIM_RELAY_LOG_FORMAT"),
];

/// Everything that a configuration file says, defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The admin endpoint.
    pub server: Server,
    /// The store.
    pub store: store::Settings,
    /// Where the key is kept that seals secrets in the store; `None` when nothing can be sealed.
    pub secrets_key: Option<SecretRef>,
    /// Logging.
    pub log: telemetry::Settings,
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// The directories.
    pub directories: Vec<Directory>,
}

/// The admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where a bearer token for everything is kept; when absent, only the store's tokens are good.
    pub token: Option<SecretRef>,
    /// Whether it may listen beyond this machine without TLS, behind a proxy that adds it.
    pub allow_plain_http: bool,
    /// Its certificate; without one it speaks plain HTTP.
    pub tls: Option<ServerTls>,
}

/// The admin endpoint's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The chain, the server's own certificate first.
    pub certificate: Pem,
    /// Where the private key is kept.
    pub key: SecretRef,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("the configuration file {} cannot be read: {reason}. Name another with --config, or copy config/scim-relay.toml", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file has mistakes.
    #[error("{}", listed(path, problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Problems,
    },
}

fn listed(path: &Path, problems: &Problems) -> String {
    let count = problems.0.len();
    let lines: Vec<String> = problems
        .0
        .iter()
        .map(|problem| format!("  {problem}"))
        .collect();
    format!(
        "{} has {count} mistake{}:\n{}",
        path.display(),
        if count == 1 { "" } else { "s" },
        lines.join("\n")
    )
}

/// Reads a configuration file; `environment` answers the value of an environment variable.
///
/// # Errors
/// When the file cannot be read, or has mistakes; all of them are named.
pub fn load(path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path).map_err(|reason| Error::File {
        path: path.to_owned(),
        reason,
    })?;
    parse(&text, environment).map_err(|problems| Error::Wrong {
        path: path.to_owned(),
        problems,
    })
}

/// Reads a configuration from its text.
///
/// # Errors
/// All mistakes at once.
pub fn parse(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let mut document = match node::parse(text) {
        Ok(document) => document,
        Err(problem) => return Err(Problems(vec![problem])),
    };
    for (table, key, variable) in OVERRIDES {
        if let Some(value) = environment(variable) {
            node::set(&mut document, table, key, &value);
        }
    }
    let config = read_all(&document, &mut problems);
    problems.0.sort();
    problems.verdict(config)
}

fn read_all(document: &Node, problems: &mut Problems) -> Option<Config> {
    let mut fields = Fields::of(document, "", problems);
    let server = read_server(fields.table("server", problems), problems);
    let store = read_store(fields.table("store", problems), problems);
    let mut secrets = fields.table("secrets", problems);
    let secrets_key = secrets.parsed("key", problems, str::parse);
    secrets.finish(problems);
    let log = read_log(fields.table("log", problems), problems);
    let tenant_nodes = fields.tables("tenants", problems);
    let count = tenant_nodes.len();
    let tenants: Vec<Tenant> = tenant_nodes
        .iter()
        .filter_map(|(pointer, node)| tenant::read(node, pointer, false, problems))
        .collect();
    let all_tenants_read = tenants.len() == count;
    let mut directories: Vec<Directory> = Vec::new();
    for (pointer, node) in fields.tables("directories", problems) {
        let Some(directory) = read::directory(node, &pointer, &Origin::File, problems) else {
            continue;
        };
        if all_tenants_read && !tenants.iter().any(|tenant| tenant.name == directory.tenant) {
            let message = format!(
                "names the tenant `{}`, but [[tenants]] has no such name",
                directory.tenant
            );
            problems.add(node.line, &format!("{pointer}/tenant"), message);
        }
        if directories.iter().any(|other| other.id == directory.id) {
            let message = format!(
                "`{}` is the name of another directory of this tenant",
                directory.name
            );
            problems.add(node.line, &format!("{pointer}/name"), message);
        }
        directories.push(directory);
    }
    for (at, tenant) in tenants.iter().enumerate() {
        if tenants[..at].iter().any(|other| other.name == tenant.name) {
            problems.add(
                None,
                &format!("/tenants/{at}/name"),
                format!("`{}` is the name of another tenant", tenant.name),
            );
        }
    }
    fields.finish(problems);
    Some(Config {
        server: server?,
        store: store?,
        secrets_key,
        log: log?,
        tenants,
        directories,
    })
}

fn read_server(mut fields: Fields<'_>, problems: &mut Problems) -> Option<Server> {
    let listen = fields.parsed("listen", problems, |text| {
        text.parse::<SocketAddr>().map_err(|_| {
            format!(
                "`{}` is not an address and port, for example 127.0.0.1:8470",
                text.escape_debug()
            )
        })
    });
    let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8470)));
    let token = fields.parsed("token", problems, str::parse);
    let allow_plain_http = fields.boolean("allowPlainHttp", false, problems);
    let certificate = fields.parsed("tlsCertificate", problems, Pem::parse);
    let key = fields.parsed("tlsKey", problems, str::parse);
    for (name, other) in [("tlsCertificate", "tlsKey"), ("tlsKey", "tlsCertificate")] {
        if fields.has(other) && !fields.has(name) {
            let cure = format!("is missing; {other} needs it, name both or neither");
            fields.refuse(name, cure, problems);
        }
    }
    if !listen.ip().is_loopback() && !allow_plain_http && !fields.has("tlsCertificate") {
        let cure = "would offer the admin endpoint to the network without TLS; name tlsCertificate and tlsKey, listen on \
                    127.0.0.1, or set allowPlainHttp = true behind a proxy that adds TLS";
        fields.refuse("listen", cure, problems);
    }
    fields.finish(problems);
    Some(Server {
        listen,
        token,
        allow_plain_http,
        tls: certificate
            .zip(key)
            .map(|(certificate, key)| ServerTls { certificate, key }),
    })
}

fn read_store(mut fields: Fields<'_>, problems: &mut Problems) -> Option<store::Settings> {
    let path = fields.text("path", problems).unwrap_or("scim-relay.redb");
    let path = PathBuf::from(path);
    let cache_mib = fields.integer("cacheMib", 16, 4..=65_536, problems);
    fields.finish(problems);
    Some(store::Settings {
        path,
        cache_mib: usize::try_from(cache_mib).ok()?,
    })
}

fn read_log(mut fields: Fields<'_>, problems: &mut Problems) -> Option<telemetry::Settings> {
    let level = fields.text("level", problems).unwrap_or("info").to_owned();
    let words = [
        ("text", telemetry::Format::Text),
        ("json", telemetry::Format::Json),
    ];
    let format = fields.choice("format", telemetry::Format::Text, &words, problems);
    let settings = telemetry::Settings { level, format };
    if let Err(message) = settings.filter() {
        fields.refuse("level", message, problems);
    }
    fields.finish(problems);
    Some(settings)
}

#[cfg(test)]
mod tests;
