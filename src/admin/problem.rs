//! Errors of the API: RFC 9457 problem documents, with words that say what to do.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::Permission;
use crate::catalog::Refused;

/// The media type of a problem document.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// An answer that is an error; boxed, because most calls end without one.
#[derive(Clone, Debug)]
pub(super) struct Problem(Box<Document>);

/// The document itself.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Field>,
    #[serde(rename = "jobId", skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    #[serde(skip)]
    challenge: Option<&'static str>,
    /// Seconds until it is worth another try.
    #[serde(skip)]
    retry_after: Option<u16>,
    /// Whether the connection cannot serve another request, because the rest of this one is not read.
    #[serde(skip)]
    closes: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProblemField")]
struct Field {
    pointer: String,
    detail: String,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Document {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            job_id: None,
            challenge: None,
            retry_after: None,
            closes: false,
        }))
    }

    /// The same, for fields that stand below a pointer in the body.
    pub(super) fn within(mut self, pointer: &str) -> Self {
        for field in &mut self.0.errors {
            field.pointer.insert_str(0, pointer);
        }
        self
    }

    /// 401, with the challenge of RFC 6750 §3.
    pub(super) fn unauthorized(error: Option<&'static str>) -> Self {
        let detail = match error {
            None => "send the header Authorization: Bearer with a token of this relay",
            Some(_) => {
                "the token is not valid here: mistyped, revoked, expired, or of another relay; use another"
            }
        };
        let mut problem = Self::new(
            StatusCode::UNAUTHORIZED,
            "urn:scim-relay:problem:unauthorized",
            "Not authenticated",
            detail,
        );
        problem.0.challenge = Some(match error {
            None => "Bearer realm=\"scim-relay\"",
            Some(_) => "Bearer realm=\"scim-relay\", error=\"invalid_token\"",
        });
        problem
    }

    /// 403, with the permission that would be needed.
    pub(super) fn permission_missing(permission: Permission) -> Self {
        let word = permission.as_str();
        Self::forbidden(format!(
            "the token has not the permission {word}; use one that has it"
        ))
    }

    /// 403 for a tenant that the token is not for, or that does not exist: which of the two is not said.
    pub(super) fn wrong_tenant() -> Self {
        Self::forbidden("the token is not for this tenant; use one that is, or name another tenant")
    }

    /// 403 for a request by cookie that another site's page may have made.
    pub(super) fn forged() -> Self {
        let detail = "a request by cookie that changes something repeats the session's csrfToken in the header X-CSRF-Token; \
                      reload the page, or send the token itself in Authorization";
        Self::new(
            StatusCode::FORBIDDEN,
            "urn:scim-relay:problem:csrf",
            "Not from the console",
            detail,
        )
    }

    fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "urn:scim-relay:problem:forbidden",
            "Not allowed",
            detail,
        )
    }

    /// 429 for an address from which too many refused requests came.
    pub(super) fn too_many_failures(wait: Duration) -> Self {
        let detail = "too many requests without a valid token came from this address; wait as long as Retry-After says, \
                      and correct the token";
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "urn:scim-relay:problem:too-many-failures",
            "Too many failures",
            detail,
        );
        problem.0.retry_after = u16::try_from(wait.as_secs() + 1).ok();
        problem
    }

    /// 409 for a token that can have no successor.
    pub(super) fn token_expired() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "urn:scim-relay:problem:token-expired",
            "The token has expired",
            "the token has expired and gets no successor; issue a new one",
        )
    }

    /// 400 for a token of several tenants without X-Tenant-ID.
    pub(super) fn tenant_missing() -> Self {
        let detail = "the token is for several tenants; name one in the header X-Tenant-ID";
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:scim-relay:problem:tenant-missing",
            "Tenant missing",
            detail,
        )
    }

    /// 400 where nobody has defined a tenant yet.
    pub(super) fn no_tenant() -> Self {
        let detail = "there is no tenant yet; define one in the configuration file, or with POST /api/v1/tenants";
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:scim-relay:problem:tenant-missing",
            "Tenant missing",
            detail,
        )
    }

    /// 404 for anything that is not there, or that belongs to somebody else.
    pub(super) fn not_found() -> Self {
        let detail = "there is nothing under this address";
        Self::new(
            StatusCode::NOT_FOUND,
            "urn:scim-relay:problem:not-found",
            "Not found",
            detail,
        )
    }

    /// 405.
    pub(super) fn method_not_allowed() -> Self {
        let detail = "this address does not take this method";
        let kind = "urn:scim-relay:problem:method-not-allowed";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            kind,
            "Method not allowed",
            detail,
        )
    }

    /// 409 for a profile whose job runs.
    /// A plan that is to be decided on does not wait, or is another one.
    pub(super) fn plan_not_waiting(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "urn:scim-relay:problem:plan-not-waiting",
            "The plan does not wait",
            detail,
        )
    }

    pub(super) fn job_running(job: crate::id::JobId) -> Self {
        let detail =
            format!("job {job} of this profile is running; wait until it has ended, or cancel it");
        let mut problem = Self::new(
            StatusCode::CONFLICT,
            "urn:scim-relay:problem:job-running",
            "A job is running",
            detail,
        );
        problem.0.job_id = Some(job.to_string());
        problem
    }

    /// 400 for a body that cannot be read.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:scim-relay:problem:malformed",
            "Malformed request",
            detail,
        )
    }

    /// 415.
    pub(super) fn unsupported_media_type() -> Self {
        let detail = "send the body as application/json";
        let kind = "urn:scim-relay:problem:unsupported-media-type";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            kind,
            "Unsupported media type",
            detail,
        )
    }

    /// 413.
    pub(super) fn too_large() -> Self {
        let detail = "the body is larger than 256 KiB";
        let mut problem = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:scim-relay:problem:too-large",
            "Too large",
            detail,
        );
        problem.0.closes = true;
        problem
    }

    /// 431.
    pub(super) fn header_too_large() -> Self {
        let detail = "the header is larger than 16 KiB or has more than 64 lines";
        let mut problem = Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "urn:scim-relay:problem:header-too-large",
            "Header too large",
            detail,
        );
        problem.0.closes = true;
        problem
    }

    /// 408 for a body that does not arrive.
    pub(super) fn too_slow() -> Self {
        let detail = "the body did not arrive in time; send the request again";
        let mut problem = Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "urn:scim-relay:problem:too-slow",
            "Too slow",
            detail,
        );
        problem.0.closes = true;
        problem
    }

    /// 422 with the fields at fault.
    pub(super) fn invalid(problems: crate::document::Problems) -> Self {
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:scim-relay:problem:invalid",
            "Invalid values",
            "some fields have values that cannot be used; errors names each with its cure",
        );
        let fields = problems.0.into_iter().map(|field| Field {
            pointer: field.pointer,
            detail: field.message,
        });
        problem.0.errors = fields.collect();
        problem
    }

    /// 403 for what takes a token for all tenants.
    pub(super) fn only_for_all_tenants() -> Self {
        let detail = "only a token for all tenants may do this";
        Self::new(
            StatusCode::FORBIDDEN,
            "urn:scim-relay:problem:forbidden",
            "Not allowed",
            detail,
        )
    }

    /// 409 for what the state of things does not allow.
    pub(super) fn conflict(kind: &'static str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, kind, "Conflict", detail)
    }

    /// 422 for a directory that could not be asked.
    pub(super) fn directory(detail: String) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:scim-relay:problem:directory",
            "The directory cannot be read",
            detail,
        )
    }

    /// 503 while the relay shuts down.
    pub(super) fn stopping() -> Self {
        let detail = "the relay is shutting down; ask again when it is up";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:scim-relay:problem:stopping",
            "Shutting down",
            detail,
        )
    }

    fn try_later(kind: &'static str, title: &'static str, detail: &str, seconds: u16) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, detail);
        problem.0.retry_after = Some(seconds);
        problem
    }

    /// 503 while the store does not answer.
    pub(super) fn not_ready() -> Self {
        let kind = "urn:scim-relay:problem:not-ready";
        Self::try_later(
            kind,
            "Not ready",
            "the store does not answer; the relay's log says why",
            10,
        )
    }

    /// 503 for a handler that does not come to its end in time.
    pub(super) fn takes_too_long() -> Self {
        let kind = "urn:scim-relay:problem:takes-too-long";
        let detail = "the request takes too long to wait for; it goes on, and later answers show what became of it";
        Self::try_later(kind, "Takes too long", detail, 30)
    }

    /// 503 when too many watch.
    pub(super) fn too_many_streams() -> Self {
        let kind = "urn:scim-relay:problem:too-many-streams";
        let detail = "too many event streams are open; ask for the job itself now and then instead";
        Self::try_later(kind, "Too many event streams", detail, 30)
    }

    /// 503 when too many directories are tried at once.
    pub(super) fn too_many_trials() -> Self {
        let kind = "urn:scim-relay:problem:too-many-trials";
        let detail = "too many directories are being tried; wait until one is done";
        Self::try_later(kind, "Too many trials", detail, 10)
    }

    /// An error that only has a status yet.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Self::method_not_allowed(),
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::unsupported_media_type(),
            status if status.is_client_error() => Self::malformed(
                "the address or its query cannot be read; write it as the API's description shows it, in UTF-8",
            ),
            _ => Self::internal(),
        }
    }

    /// 500; what happened is in the log, not in the answer.
    pub(super) fn internal() -> Self {
        let detail = "the relay failed at this request; its log says why";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "urn:scim-relay:problem:internal",
            "Internal error",
            detail,
        )
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Invalid(problems) => Self::invalid(problems),
            Refused::Unknown => Self::not_found(),
            Refused::InFile(_) => Self::conflict("urn:scim-relay:problem:in-file", detail),
            Refused::NameTaken(_) => Self::conflict("urn:scim-relay:problem:name-taken", detail),
            Refused::InUse(_) => Self::conflict("urn:scim-relay:problem:in-use", detail),
            Refused::NoKey => Self::conflict("urn:scim-relay:problem:no-key", detail),
            Refused::Store(error) => error.into(),
            Refused::Vault(error) => {
                tracing::error!(error = %error, "a secret could not be sealed");
                Self::internal()
            }
        }
    }
}

impl From<crate::vault::Error> for Problem {
    fn from(error: crate::vault::Error) -> Self {
        tracing::error!(error = %error, "a secret could not be made or sealed");
        Self::internal()
    }
}

impl From<crate::store::Error> for Problem {
    fn from(error: crate::store::Error) -> Self {
        tracing::error!(error = %error, "the store could not answer a request");
        Self::internal()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(challenge) = self.0.challenge {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        response
    }
}
