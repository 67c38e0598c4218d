//! How a tenant's requests are authenticated.

use crate::directory::tenant::{KEY_PLACE, http_url, read_secret};
use crate::document::{Fields, Problems};
use crate::secret::SecretRef;

/// How requests are authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A fixed bearer token.
    Bearer(SecretRef),
    /// OAuth 2.0 client credentials.
    OAuth2 {
        /// The token endpoint.
        token_url: String,
        /// The client.
        client_id: String,
        /// How the client shows there who it is.
        client: ClientAuthentication,
        /// The scope asked for.
        scope: Option<String>,
    },
}

/// How a client authenticates at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// By a secret (RFC 6749 §2.3.1), which is kept here.
    Secret(SecretRef),
    /// By a JWT that it signs (RFC 7523 §2.2).
    PrivateKey {
        /// Where the private key is kept, in PEM form.
        key: SecretRef,
        /// The id by which the token endpoint knows the key.
        key_id: Option<String>,
        /// Whom the JWT is for; the token endpoint when absent.
        audience: Option<String>,
    },
}

impl Auth {
    /// The fields that hold secrets.
    pub const SECRETS: [&str; 3] = ["token", "clientSecret", PRIVATE_KEY];

    /// The field that holds this kind's secret.
    pub fn secret_field(&self) -> &'static str {
        match self {
            Self::Bearer(_) => Self::SECRETS[0],
            Self::OAuth2 { client, .. } => match client {
                ClientAuthentication::Secret(_) => Self::SECRETS[1],
                ClientAuthentication::PrivateKey { .. } => PRIVATE_KEY,
            },
        }
    }
}

/// The field of the key that signs.
pub const PRIVATE_KEY: &str = "privateKey";

/// Reads the table `auth` of a tenant; one that comes from the API has its secret in the store.
pub(super) fn read(
    fields: &mut Fields<'_>,
    from_api: bool,
    problems: &mut Problems,
) -> Option<Auth> {
    const EXAMPLE: &str = "for example auth = { type = \"bearer\", token = \"env:SCIM_TOKEN\" }";
    if !fields.has("auth") {
        fields.refuse(
            "auth",
            format!("is missing: how requests are authenticated, {EXAMPLE}"),
            problems,
        );
    }
    let mut auth = fields.table("auth", problems);
    let is_oauth = auth.choice(
        "type",
        false,
        &[("bearer", false), ("oauth2", true)],
        problems,
    );
    let read = if is_oauth {
        read_oauth2(&mut auth, from_api, problems)
    } else {
        read_secret(&mut auth, "token", TOKEN_PLACE, from_api, problems).map(Auth::Bearer)
    };
    auth.finish(problems);
    read
}

const TOKEN_PLACE: &str = "where the secret is kept, for example env:SCIM_TOKEN";

fn read_oauth2(auth: &mut Fields<'_>, from_api: bool, problems: &mut Problems) -> Option<Auth> {
    let token_url = auth
        .required_text("tokenUrl", "the token endpoint", problems)
        .map(str::to_owned);
    let token_url = token_url.and_then(|url| {
        http_url(&url, false)
            .map_err(|message| auth.refuse("tokenUrl", message, problems))
            .ok()
    });
    let client_id = auth
        .required_text("clientId", "the client's id", problems)
        .map(str::to_owned);
    let ways = [("client_secret", false), ("private_key_jwt", true)];
    let signs = auth.choice("clientAuthentication", false, &ways, problems);
    let client = if signs {
        let key = read_secret(auth, PRIVATE_KEY, KEY_PLACE, from_api, problems);
        let key_id = auth.parsed("keyId", problems, not_empty);
        let audience = auth.parsed("audience", problems, not_empty);
        key.map(|key| ClientAuthentication::PrivateKey {
            key,
            key_id,
            audience,
        })
    } else {
        read_secret(auth, "clientSecret", TOKEN_PLACE, from_api, problems)
            .map(ClientAuthentication::Secret)
    };
    let scope = auth.text("scope", problems).map(str::to_owned);
    Some(Auth::OAuth2 {
        token_url: token_url?,
        client_id: client_id?,
        client: client?,
        scope,
    })
}

fn not_empty(text: &str) -> Result<String, String> {
    match text {
        "" => Err("is empty; leave it out, or name it".to_owned()),
        text => Ok(text.to_owned()),
    }
}
