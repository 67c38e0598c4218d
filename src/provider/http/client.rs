//! The wire: one HTTP exchange with bounds on time and size, and what came of it.

use std::time::Duration;

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Url};
use serde_json::Value as Json;

use crate::fault::Fault;
use crate::provider::http::call::{Call, RESOURCE_BYTES_MAX};
use crate::provider::http::outcome::denied;
use crate::provider::{ClientCertificate, Refusal, Settings};
use crate::scim::pace::Throttling;
use crate::secret::Secret;

/// Connections that are kept for later; shorter than the usual patience of servers, so that none is used as it closes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Whether it says "too many requests", and so that nothing was carried out.
    pub(super) throttled: bool,
}

/// The body of an answer, by what it is and not by what its header says.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    Empty,
    Json(Json),
    /// A page for people: a login form, a proxy, another server.
    Html,
    /// Something else.
    Text,
    /// More than the relay reads.
    TooLong,
    /// The connection or the time ended before it did.
    BrokenOff,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is certain that the request did not reach the target.
    NotSent(Refusal),
    /// It may have reached the target.
    Unclear(Refusal),
}

impl Trouble {
    /// The refusal, for requests whose repetition does no harm.
    pub(super) fn into_refusal(self) -> Refusal {
        match self {
            Self::NotSent(refusal) | Self::Unclear(refusal) => refusal,
        }
    }
}

/// The connections to one tenant's IAM; clones share them.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client,
    base: Url,
    /// What every request to the target says besides; a token endpoint is not told.
    headers: HeaderMap,
    /// The media type of bodies.
    content_type: HeaderValue,
    /// The values of those that are secrets.
    hidden: Vec<Secret>,
    /// What else than 429 says "too many requests".
    throttling: Vec<Throttling>,
}

impl Wire {
    /// Checks the address and the certificates; connects to nothing.
    pub(super) fn new(settings: &Settings) -> Result<Self, Refusal> {
        let base = base_url(&settings.base_url)?;
        let mut builder = Client::builder()
            .user_agent(concat!("scim-relay/", env!("CARGO_PKG_VERSION")))
            .https_only(base.scheme() == "https")
            .redirect(Policy::none())
            // What is repeated, and at which pace, is decided above.
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            // The sum, so that a slow connection is told apart from a slow answer.
            .timeout(settings.connect_timeout + settings.answer_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(settings.concurrency)
            .tcp_nodelay(true);
        if let Some(pem) = &settings.ca_certificate {
            builder = builder.tls_certs_only(authorities(pem)?);
        }
        if let Some(own) = &settings.client_certificate {
            builder = builder.identity(identity(own)?);
        }
        let client = builder.build().map_err(|error| {
            let cure = match &settings.client_certificate {
                Some(_) => {
                    "; check that clientKey belongs to the first certificate of clientCertificate"
                }
                None => "",
            };
            denied(format!(
                "the HTTP client cannot be set up: {}{cure}",
                why(&error)
            ))
        })?;
        Ok(Self {
            client,
            base,
            headers: headers(settings)?,
            content_type: HeaderValue::try_from(&settings.dialect.content_type)
                .unwrap_or(SCIM_JSON),
            hidden: hidden(settings),
            throttling: settings.dialect.throttling.clone(),
        })
    }

    /// The same connections, with bodies of another media type.
    pub(super) fn with_content_type(&self, content_type: &str) -> Self {
        Self {
            content_type: HeaderValue::try_from(content_type).unwrap_or(SCIM_JSON),
            ..self.clone()
        }
    }

    /// Sends one SCIM request, once.
    pub(super) async fn exchange(
        &self,
        call: &Call<'_>,
        token: &Secret,
    ) -> Result<Answer, Trouble> {
        let mut request = self
            .client
            .request(call.method.clone(), self.url(call)?)
            .headers(self.headers.clone())
            .header(AUTHORIZATION, bearer(token)?);
        // A DELETE has no answer worth naming a type for, and Entra ID refuses one that does.
        if call.method != Method::DELETE {
            request = request.header(ACCEPT, SCIM_JSON);
        }
        if let Some(version) = &call.if_match {
            request = request.header(IF_MATCH, version);
        }
        if let Some(body) = &call.body {
            request = request
                .header(CONTENT_TYPE, self.content_type.clone())
                .body(body.clone());
        }
        let secrets: Vec<&Secret> = std::iter::once(token).chain(&self.hidden).collect();
        let reading = Reading {
            label: &call.to_string(),
            bytes_max: call.bytes_max(),
            secrets: &secrets,
            throttling: &self.throttling,
        };
        reading.answer_to(request).await
    }

    /// Sends a form to a token endpoint (RFC 6749 §4.4.2), once. The answer to a refusal is cleaned of the secret.
    pub(super) async fn post_form(
        &self,
        url: &str,
        basic: Option<(&str, &Secret)>,
        form: &[(&str, &str)],
        secret: &Secret,
    ) -> Result<Answer, Trouble> {
        let mut request = self.client.post(url).form(form);
        if let Some((user, password)) = basic {
            request = request.basic_auth(user, Some(password.expose()));
        }
        let reading = Reading {
            label: "POST to the token endpoint",
            bytes_max: RESOURCE_BYTES_MAX,
            secrets: &[secret],
            throttling: &[],
        };
        reading.answer_to(request).await
    }

    fn url(&self, call: &Call<'_>) -> Result<Url, Trouble> {
        let mut url = self.base.clone();
        // A URL parser takes dots for steps in the path, however they are encoded, and leaves control characters out.
        let misleading = |id: &str| matches!(id, "" | "." | "..") || id.contains(char::is_control);
        if call.id.is_some_and(misleading) {
            return Err(Trouble::NotSent(Refusal {
                fault: Fault::Rejected,
                status: None,
                scim_type: None,
                message: format!("{call}: the id cannot be addressed; unlink the resource"),
            }));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(call.endpoint).extend(call.id);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
            // Not every server reads a plus as a space outside of forms.
            let query = url.query().map(|query| query.replace('+', "%20"));
            url.set_query(query.as_deref());
        }
        Ok(url)
    }
}

fn base_url(text: &str) -> Result<Url, Refusal> {
    let advice = "set the SCIM base URL to an address such as https://iam.example.com/scim/v2";
    // The text itself is not repeated: somebody may have written a password into it.
    let url: Url = text.parse().map_err(|error| {
        denied(format!(
            "the SCIM base URL cannot be read ({error}); {advice}"
        ))
    })?;
    let wrong = if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        Some("is no web address")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("contains credentials, which belong into the token")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("contains a query or a fragment")
    } else {
        None
    };
    match wrong {
        Some(wrong) => Err(denied(format!("the SCIM base URL {wrong}; {advice}"))),
        None => Ok(url),
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<Certificate>, Refusal> {
    let read = Certificate::from_pem_bundle(pem).map_err(|error| {
        denied(format!(
            "the CA certificate cannot be read: {}",
            why(&error)
        ))
    })?;
    if read.is_empty() {
        return Err(denied(
            "the CA certificate file holds no PEM certificate".to_owned(),
        ));
    }
    Ok(read)
}

fn identity(own: &ClientCertificate) -> Result<Identity, Refusal> {
    let chain = String::from_utf8_lossy(&own.chain);
    // The key last, since a chain's file may hold one too. The text of both is wiped like the key itself.
    let both = Secret::new(format!("{chain}\n{}", own.key.expose()));
    Identity::from_pem(both.expose().as_bytes()).map_err(|error| {
        denied(format!(
            "the client certificate and its key cannot be read: {}; both must be in PEM form, the key without a passphrase",
            why(&error)
        ))
    })
}

fn headers(settings: &Settings) -> Result<HeaderMap, Refusal> {
    let secrets = settings.secret_headers.iter();
    let secrets = secrets.map(|(name, value)| (name, value.expose(), true));
    // What the tenant says of a header counts, not what the dialect does.
    let texts = settings.dialect.headers.iter().chain(&settings.headers);
    let texts = texts.map(|(name, value)| (name, value.as_str(), false));
    let mut headers = HeaderMap::new();
    for (name, value, is_secret) in texts.chain(secrets) {
        let header = HeaderName::try_from(name).ok();
        let Some((header, mut value)) = header.zip(HeaderValue::try_from(value).ok()) else {
            return Err(denied(format!(
                "the header {} cannot be sent: its name or value contains characters that no header can carry; check for a \
                 line break",
                name.escape_debug()
            )));
        };
        value.set_sensitive(is_secret);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn hidden(settings: &Settings) -> Vec<Secret> {
    let secrets = settings.secret_headers.iter();
    secrets.map(|(_, value)| value.clone()).collect()
}

fn bearer(token: &Secret) -> Result<HeaderValue, Trouble> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
        Trouble::NotSent(denied(
            "the token contains characters that no header can carry; check for a line break"
                .to_owned(),
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// How an answer is read.
struct Reading<'a> {
    /// The request as messages name it.
    label: &'a str,
    bytes_max: usize,
    secrets: &'a [&'a Secret],
    throttling: &'a [Throttling],
}

impl Reading<'_> {
    async fn answer_to(&self, request: RequestBuilder) -> Result<Answer, Trouble> {
        let mut response = request
            .send()
            .await
            .map_err(|error| trouble(self.label, error))?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut bytes = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > self.bytes_max => {
                    bytes.extend_from_slice(&chunk);
                    // HTML of any length is HTML; its beginning tells.
                    break if is_html(&bytes) {
                        Body::Html
                    } else {
                        Body::TooLong
                    };
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break body(&bytes, if status >= 300 { self.secrets } else { &[] }),
                Err(_) => break Body::BrokenOff,
            }
        };
        let is_throttling = |sign: &Throttling| sign.fits(status, &String::from_utf8_lossy(&bytes));
        Ok(Answer {
            status,
            headers,
            body,
            throttled: status == 429 || self.throttling.iter().any(is_throttling),
        })
    }
}

/// Reads a body; in refusals, where it ends up in messages, secrets that the target repeats are taken out.
pub(super) fn body(bytes: &[u8], secrets: &[&Secret]) -> Body {
    let mut text = String::from_utf8_lossy(bytes);
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.expose(), "***").into();
    }
    if text.trim().is_empty() {
        Body::Empty
    } else if is_html(text.as_bytes()) {
        Body::Html
    } else {
        serde_json::from_str(&text).map_or(Body::Text, Body::Json)
    }
}

fn is_html(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    bytes.trim_ascii_start().starts_with(b"<")
}

fn trouble(label: &str, error: reqwest::Error) -> Trouble {
    // The URL carries filter values, which are a person's data.
    let error = error.without_url();
    let reason = why(&error);
    let refusal = |fault, cure: &str| Refusal {
        fault,
        status: None,
        scim_type: None,
        message: format!("{label} got no answer: {reason}; {cure}"),
    };
    if is_tls(&error, &is_about_us) {
        // The server says so before it reads anything of the request.
        Trouble::NotSent(refusal(
            Fault::Denied,
            "the target wants a client certificate, or another one: check clientCertificate and clientKey of the tenant",
        ))
    } else if error.is_builder() {
        Trouble::NotSent(refusal(Fault::Denied, "check the addresses of the tenant"))
    } else if error.is_connect() && is_tls(&error, &|_| true) {
        Trouble::NotSent(refusal(
            Fault::Denied,
            "check the target's certificate, or set the CA certificate that signed it",
        ))
    } else if error.is_connect() {
        Trouble::NotSent(refusal(
            Fault::Transient,
            "check the SCIM base URL and the network if this lasts",
        ))
    } else {
        Trouble::Unclear(refusal(Fault::Transient, "what became of it is looked up"))
    }
}

/// Whether TLS is the reason, in this way.
fn is_tls(error: &(dyn std::error::Error + 'static), way: &dyn Fn(&rustls::Error) -> bool) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return way(error);
        }
        // An I/O error answers with the source of what it wraps, and so hides it.
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if wrapped.is_some_and(|wrapped| is_tls(wrapped, way)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether the server refuses what the relay showed of itself, or that it showed nothing (RFC 8446 §6.2).
fn is_about_us(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        error,
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                // A signature that does not fit, as by another authority of the same name.
                | Alert::DecryptError
                | Alert::AccessDenied
        )
    )
}

/// The whole chain of reasons, since the first says no more than "error sending request".
fn why(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_reach_the_url_encoded_and_the_message_not_at_all() {
        let wire = Wire {
            client: Client::new(),
            base: base_url("https://iam.example.com/scim/v2/").unwrap(),
            headers: HeaderMap::new(),
            content_type: SCIM_JSON,
            hidden: Vec::new(),
            throttling: Vec::new(),
        };
        let filter = r#"userName eq "a+b & c=ö%#?""#.to_owned();
        let call = Call::get(
            "Users",
            vec![("filter", filter.clone()), ("count", "1".into())],
        );
        let url = wire.url(&call).unwrap();
        assert_eq!(
            url.as_str(),
            "https://iam.example.com/scim/v2/Users?filter=userName%20eq%20%22a%2Bb%20%26%20c%3D%C3%B6%25%23%3F%22&count=1"
        );
        assert_eq!(url.query_pairs().next().unwrap().1, filter);
        assert_eq!(call.to_string(), "GET /Users?filter&count");
        let call = Call {
            id: Some("a/../b?c#d"),
            ..Call::get("Users", Vec::new())
        };
        let url = wire.url(&call).unwrap();
        assert_eq!(url.path(), "/scim/v2/Users/a%2F..%2Fb%3Fc%23d");
        assert!(url.query().is_none());
        assert_eq!(call.to_string(), "GET /Users/a/../b?c#d");
    }

    #[test]
    fn an_id_that_would_address_something_else_is_not_sent() {
        let wire = Wire {
            client: Client::new(),
            base: base_url("https://iam.example.com").unwrap(),
            headers: HeaderMap::new(),
            content_type: SCIM_JSON,
            hidden: Vec::new(),
            throttling: Vec::new(),
        };
        for id in ["", ".", "..", "7\n", "\t7"] {
            let call = Call {
                id: Some(id),
                ..Call::get("Users", Vec::new())
            };
            assert!(
                matches!(wire.url(&call), Err(Trouble::NotSent(_))),
                "{id:?}"
            );
        }
    }

    #[test]
    fn a_base_url_that_makes_no_sense_is_refused_without_repeating_it() {
        for text in [
            "iam.example.com",
            "ftp://iam.example.com",
            "https://",
            "https://ann:hunter2@iam.example.com",
            "https://iam.example.com/?token=hunter2",
            "https://iam.example.com/#hunter2",
        ] {
            let refusal = base_url(text).unwrap_err();
            assert_eq!(refusal.fault, Fault::Denied);
            assert!(!refusal.message.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn bodies_are_what_they_are_whatever_the_header_says() {
        for (text, expected) in [
            ("", Body::Empty),
            (" \r\n", Body::Empty),
            ("{}", Body::Json(serde_json::json!({}))),
            ("\u{feff} <!DOCTYPE html>", Body::Html),
            ("Too many", Body::Text),
            ("{\"id\":", Body::Text),
        ] {
            assert_eq!(body(text.as_bytes(), &[]), expected, "{text:?}");
        }
        assert_eq!(body(b"\"\xff\"", &[]), Body::Json("\u{fffd}".into()));
        let deep = "[".repeat(100_000);
        assert_eq!(body(deep.as_bytes(), &[]), Body::Text);
        let secret = Secret::new("hunter2".into());
        assert_eq!(
            body(b"\"bad hunter2\"", &[&secret]),
            Body::Json("bad ***".into())
        );
    }
}
