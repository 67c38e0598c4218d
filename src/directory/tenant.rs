//! A tenant: the IAM that receives the changes, and the pace that it allows.

pub mod auth;
pub mod dialect;
pub mod headers;
mod pace;
mod protected;

use crate::directory::tenant::auth::Auth;
use crate::directory::tenant::headers::Header;
use crate::directory::values::reference;
use crate::directory::{Pem, Written};
use crate::document::{Fields, Node, Problems};
use crate::id::TenantName;
use crate::plan::protected::Protected;
use crate::scim::dialect::Dialect;
use crate::scim::pace::{Rate, Rates};
use crate::scim::path::AttributePath;
use crate::secret::SecretRef;

/// The longest name of a tenant.
const NAME_CHARS_MAX: usize = 64;

/// The IAM of one customer.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// The SCIM base URL, without a trailing slash.
    pub base_url: String,
    /// How requests are authenticated.
    pub auth: Auth,
    /// The limit of all requests together.
    pub rate: Rate,
    /// The limits of single kinds of requests.
    pub rates: Rates,
    /// Most requests in flight.
    pub concurrency: usize,
    /// The authorities that are trusted instead of the public roots.
    pub ca_certificate: Option<Pem>,
    /// What the relay shows of itself in the TLS handshake, with target and token endpoint.
    pub client_certificate: Option<ClientCertificate>,
    /// What every request to the target says besides.
    pub headers: Vec<Header>,
    /// Seconds to wait for a connection.
    pub connect_timeout_s: u32,
    /// Seconds to wait for an answer.
    pub answer_timeout_s: u32,
    /// Seconds after which a look-up that finds nothing is believed, for targets that take a while to show a write.
    pub settle_s: u32,
    /// What is said of an e-mail address on creation.
    pub email_verified: EmailVerified,
    /// Resources of the target that are never linked and never changed.
    pub protected: Protected,
    /// The manner of the target.
    pub dialect: Dialect,
    /// Its fields as they were written, secrets left out.
    pub written: Written,
}

/// A certificate of the relay, for mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, the relay's own first.
    pub chain: Pem,
    /// Where its private key is kept, in PEM form.
    pub key: SecretRef,
}

/// The field of the key that belongs to the client certificate.
pub const CLIENT_KEY: &str = "clientKey";

impl Tenant {
    /// The fields that hold its secrets.
    pub fn secret_fields(&self) -> Vec<String> {
        let key = self.client_certificate.as_ref().map(|_| CLIENT_KEY);
        let fields = std::iter::once(self.auth.secret_field()).chain(key);
        fields
            .map(str::to_owned)
            .chain(self.headers.iter().filter_map(Header::secret_field))
            .collect()
    }

    /// Whether a key that was entered before belongs to another certificate than this one.
    pub fn shows_another_certificate(&self, before: &Self) -> bool {
        self.client_certificate != before.client_certificate
    }

    /// The fields by which the secret would go elsewhere, or less protected, than it was entered for.
    pub fn reached_otherwise(&self, after: &Self) -> Vec<&'static str> {
        let differs = [
            ("baseUrl", self.base_url != after.base_url),
            ("caCertificate", self.ca_certificate != after.ca_certificate),
            ("auth", self.auth != after.auth),
        ];
        differs
            .into_iter()
            .filter_map(|(field, differs)| differs.then_some(field))
            .collect()
    }
}

/// Whether a new user's e-mail address is said to be verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmailVerified {
    /// The attribute; when absent, one named emailVerified is looked for in the target's schemas.
    pub path: Option<AttributePath>,
    /// The domains that count; all when empty.
    pub domains: Vec<String>,
}

/// Reads a tenant; one that comes from the API has its secrets in the store.
pub fn read(node: &Node, pointer: &str, from_api: bool, problems: &mut Problems) -> Option<Tenant> {
    let before = problems.0.len();
    let mut fields = Fields::of(node, pointer, problems);
    fields.required_text("name", "a short name, for example `acme`", problems);
    let name = fields.parsed("name", problems, tenant_name);
    let allow_plain_http = fields.boolean("allowPlainHttp", false, problems);
    let base_url = fields
        .required_text(
            "baseUrl",
            "the SCIM base URL, for example `https://iam.example.org/scim/v2`",
            problems,
        )
        .map(str::to_owned);
    let base_url = base_url.and_then(|url| {
        http_url(&url, allow_plain_http)
            .map(|url| url.trim_end_matches('/').to_owned())
            .map_err(|message| fields.refuse("baseUrl", message, problems))
            .ok()
    });
    let auth = auth::read(&mut fields, from_api, problems);
    let dialect = fields.table(dialect::FIELD, problems);
    let dialect = dialect::read(dialect, base_url.as_deref(), problems);
    let rate = pace::read_rate(&mut fields, dialect.rate_limit.unwrap_or(20), problems);
    let rates = pace::read_rates(
        fields.table("rateLimits", problems),
        dialect.rates,
        problems,
    );
    let concurrency = dialect.concurrency.unwrap_or(4);
    let concurrency = fields.integer("concurrency", concurrency, 1..=256, problems);
    let pem = if from_api {
        Pem::parse_text
    } else {
        Pem::parse
    };
    let ca_certificate = fields.parsed("caCertificate", problems, pem);
    let chain = fields.parsed("clientCertificate", problems, pem);
    let client_certificate = read_client_certificate(&mut fields, chain, from_api, problems);
    let headers = headers::read(&mut fields, from_api, problems);
    let connect_timeout_s = fields.integer("connectTimeoutSeconds", 10, 1..=300, problems);
    let answer_timeout_s = fields.integer("answerTimeoutSeconds", 30, 1..=600, problems);
    let settle_s = fields.integer("settleSeconds", 2, 0..=60, problems);
    let email_verified = EmailVerified {
        path: fields.parsed("emailVerifiedAttribute", problems, str::parse),
        domains: fields
            .texts("emailVerifiedDomains", problems)
            .unwrap_or_default(),
    };
    let protected = protected::read(fields.table("protected", problems), problems);
    fields.finish(problems);
    if problems.0.len() > before {
        return None;
    }
    Some(Tenant {
        name: name?,
        base_url: base_url?,
        auth: auth?,
        rate: rate?,
        rates,
        concurrency: usize::try_from(concurrency).ok()?,
        ca_certificate,
        client_certificate,
        headers,
        connect_timeout_s: u32::try_from(connect_timeout_s).ok()?,
        answer_timeout_s: u32::try_from(answer_timeout_s).ok()?,
        settle_s: u32::try_from(settle_s).ok()?,
        email_verified,
        protected,
        dialect: dialect.dialect,
        written: written(node),
    })
}

/// The name of a tenant, as it stands in addresses and headers.
fn tenant_name(text: &str) -> Result<TenantName, String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins_well || text.len() > NAME_CHARS_MAX || !text.chars().all(sound) {
        return Err(format!(
            "is `{}`, but must be 1 to {NAME_CHARS_MAX} of A-Z, a-z, 0-9, `.`, `_` and `-`, a letter or digit first",
            text.escape_debug()
        ));
    }
    Ok(TenantName(text.to_owned()))
}

/// What was written, but for where secrets are kept.
fn written(node: &Node) -> Written {
    let mut written = match node.to_json() {
        serde_json::Value::Object(written) => written,
        _ => Written::new(),
    };
    written.remove(CLIENT_KEY);
    if let Some(serde_json::Value::Object(headers)) = written.get_mut(headers::FIELD) {
        for header in headers
            .values_mut()
            .filter_map(|value| value.as_object_mut())
        {
            header.remove("secret");
        }
    }
    if let Some(serde_json::Value::Object(auth)) = written.get_mut("auth") {
        for name in Auth::SECRETS {
            auth.remove(name);
        }
    }
    written
}

fn read_client_certificate(
    fields: &mut Fields<'_>,
    chain: Option<Pem>,
    from_api: bool,
    problems: &mut Problems,
) -> Option<ClientCertificate> {
    if fields.has("clientCertificate") {
        let key = read_secret(fields, CLIENT_KEY, KEY_PLACE, from_api, problems);
        return chain
            .zip(key)
            .map(|(chain, key)| ClientCertificate { chain, key });
    }
    let key: Option<SecretRef> = fields.parsed(CLIENT_KEY, problems, str::parse);
    if key.is_some() {
        let message = "belongs to clientCertificate, which is missing";
        fields.refuse(CLIENT_KEY, message, problems);
    }
    None
}

const KEY_PLACE: &str =
    "where the key is kept in PEM form, for example file:/etc/scim-relay/client.key";

fn read_secret(
    fields: &mut Fields<'_>,
    name: &'static str,
    what: &str,
    from_api: bool,
    problems: &mut Problems,
) -> Option<SecretRef> {
    if from_api {
        return Some(SecretRef::Stored);
    }
    reference(fields, name, what, problems)
}

/// Checks an address that requests with credentials go to: https, or http to this machine, or http by explicit leave.
fn http_url(text: &str, allow_plain: bool) -> Result<String, String> {
    // The text is not repeated: it may hold credentials.
    let url = url::Url::parse(text).map_err(|error| {
        format!("is not a URL ({error}); example: https://iam.example.org/scim/v2")
    })?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("names no host".to_owned()),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback || allow_plain => {}
        "http" => {
            return Err(
                "would send credentials without TLS; use https://, or set allowPlainHttp = true"
                    .to_owned(),
            );
        }
        other => return Err(format!("begins with {other}://, but https:// is expected")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains credentials; name them under auth".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end before `?` and `#`".to_owned());
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_tls_need_leave() {
        for (url, plain, good) in [
            ("https://iam.example.org/scim/v2/", false, true),
            ("http://127.0.0.1:8080/scim", false, true),
            ("http://[::1]:8080", false, true),
            ("http://localhost", false, true),
            ("http://iam.example.org", false, false),
            ("http://iam.example.org", true, true),
            ("ftp://iam.example.org", true, false),
            ("https://u:p@iam.example.org", false, false),
            ("https://iam.example.org/?a=b", false, false),
            ("iam.example.org", false, false),
        ] {
            assert_eq!(http_url(url, plain).is_ok(), good, "{url}");
        }
        assert_eq!(
            http_url("https://x.org/token/", false).as_deref(),
            Ok("https://x.org/token/"),
            "a token endpoint's last slash belongs to it"
        );
    }
}
