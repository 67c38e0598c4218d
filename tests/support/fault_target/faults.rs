//! What can go wrong, when it does, and what is sent then.
use std::time::{Duration, SystemTime};

use axum::body::Body;
use chrono::{DateTime, Utc};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};
use scim_relay::demo::target::answer::{Answer, Call};
use scim_relay::demo::target::http;
use serde_json::json;

/// One thing that goes wrong with one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The request takes effect, and the connection is closed without an answer.
    ApplyThenDrop,
    /// The connection is closed, and the request has no effect.
    DropBefore,
    /// The request takes effect, and the answer is this status without a body, as a gateway gives.
    ApplyThenStatus(u16),
    /// No effect, and an error of RFC 7644 section 3.12.
    Status {
        code: u16,
        scim_type: Option<&'static str>,
        detail: &'static str,
        /// `"status": 409` instead of `"status": "409"`.
        numeric: bool,
    },
    /// No effect, and an answer that means "there is such a resource already".
    Conflict(Conflict),
    /// The truth decides; but where it says 409, this is what it looks like.
    ConflictAs(Conflict),
    /// 429, no effect.
    Throttle(RetryAfter),
    /// 503, no effect.
    Unavailable(RetryAfter),
    /// 200 with a page of HTML, no effect: a proxy's login page.
    Html,
    /// 302 to that place, no effect.
    Redirect(String),
    /// The request takes effect at once, the answer comes later.
    Slow(Duration),
    /// No effect, and this status without a body, after a while.
    StatusAfter(Duration, u16),
    /// 201 as the truth gives it, but without `id` in the body and in `Location`.
    CreatedWithoutId,
    /// The request takes effect, the answer is 202 without a body.
    Accepted202,
    /// 204, no effect.
    NoEffect,
    /// At most so many resources of a list arrive. `honest_total`: `totalResults` still counts all of them.
    TruncatedList { keep: usize, honest_total: bool },
    /// The filter is ignored: everything is found.
    IgnoreFilter,
    /// The filter finds nothing.
    FindNothing,
    /// Groups come with an empty list of members.
    HideMembers,
    /// Groups come with so many of their members, without a word on the others.
    ShowMembers(usize),
}

/// The shapes in which real targets say that a resource exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// 409 with `scimType: uniqueness`.
    Uniqueness,
    /// 409 without `scimType`.
    WithoutType,
    /// 409 without `scimType`, and `status` a number.
    NumericStatus,
    /// 409 with a body that has a `detail` only.
    BareDetail,
    /// 409 without a body.
    Empty,
    /// 409 for quite another reason: a required field is missing.
    OtherReason,
    /// 400 with a text that says so.
    BadRequest,
    /// 500 with a SCIM error that says so.
    ServerError,
    /// 500 with a page of HTML.
    HtmlServerError,
}

impl Conflict {
    /// All shapes.
    pub const ALL: [Conflict; 9] = [
        Conflict::Uniqueness,
        Conflict::WithoutType,
        Conflict::NumericStatus,
        Conflict::BareDetail,
        Conflict::Empty,
        Conflict::OtherReason,
        Conflict::BadRequest,
        Conflict::ServerError,
        Conflict::HtmlServerError,
    ];

    pub(super) fn response(self) -> Response<Body> {
        match self {
            Self::Uniqueness => error(409, Some("uniqueness"), "userName is already in use", false),
            Self::WithoutType => error(409, None, "User already exists", false),
            Self::NumericStatus => error(
                409,
                None,
                "UNIQUE constraint failed: app_user.username",
                true,
            ),
            Self::BareDetail => {
                http::respond(Answer::new(409, json!({"detail": "User already exists"})))
            }
            Self::Empty => bare(409),
            Self::OtherReason => error(
                409,
                None,
                "REQUIRED_FIELD_MISSING: profile entitlement is required",
                true,
            ),
            Self::BadRequest => error(
                400,
                Some("invalidValue"),
                "a user with this userName already exists",
                false,
            ),
            Self::ServerError => error(
                500,
                None,
                "duplicate key value: the user already exists",
                false,
            ),
            Self::HtmlServerError => html(500, "Internal Server Error"),
        }
    }
}

/// The forms of the `Retry-After` header (RFC 9110 section 10.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// No header.
    Absent,
    /// Seconds.
    Seconds(u64),
    /// An HTTP date so long from now, rounded up to the second.
    Date(Duration),
    /// The same in the obsolete form of RFC 850, which recipients must accept.
    Rfc850Date(Duration),
}

impl RetryAfter {
    /// How long the client is asked to wait at least; nothing where it is not told.
    pub fn wait(self) -> Duration {
        match self {
            Self::Absent => Duration::ZERO,
            Self::Seconds(seconds) => Duration::from_secs(seconds),
            Self::Date(wait) | Self::Rfc850Date(wait) => wait,
        }
    }

    fn header(self) -> Option<String> {
        let after = |wait: Duration| SystemTime::now() + wait + Duration::from_millis(999);
        match self {
            Self::Absent => None,
            Self::Seconds(seconds) => Some(seconds.to_string()),
            Self::Date(wait) => Some(httpdate::fmt_http_date(after(wait))),
            Self::Rfc850Date(wait) => {
                let date = DateTime::<Utc>::from(after(wait));
                Some(date.format("%A, %d-%b-%y %H:%M:%S GMT").to_string())
            }
        }
    }

    pub(super) fn response(self, code: u16) -> Response<Body> {
        let response = error(code, None, "too many requests, come back later", false);
        match self.header() {
            Some(value) => with_header(response, RETRY_AFTER, &value),
            None => response,
        }
    }
}

/// What else must hold of a request.
type Test = Box<dyn Fn(&Call) -> bool + Send>;

/// For which requests a fault happens. The first rule that fits decides; every rule counts all requests that it
/// matches, whichever rule decides.
pub struct Rule {
    method: Option<&'static str>,
    path: String,
    test: Option<Test>,
    when: When,
    fault: Fault,
    seen: u64,
}

enum When {
    Always,
    Nth(u64),
    First(u64),
    Probability(f64),
}

impl Rule {
    /// A fault for all requests of that method whose path below the base begins so; `*` is any method.
    pub fn on(method: &'static str, path: &str, fault: Fault) -> Self {
        Self {
            method: (method != "*").then_some(method),
            path: path.to_owned(),
            test: None,
            when: When::Always,
            fault,
            seen: 0,
        }
    }

    /// Only for requests that pass the test too.
    pub fn matching(mut self, test: impl Fn(&Call) -> bool + Send + 'static) -> Self {
        self.test = Some(Box::new(test));
        self
    }

    /// Only for the nth of the matching requests, from 1.
    pub fn nth(mut self, number: u64) -> Self {
        self.when = When::Nth(number);
        self
    }

    /// Only for the first so many of the matching requests.
    pub fn first(mut self, number: u64) -> Self {
        self.when = When::First(number);
        self
    }

    /// For a share of the matching requests, from 0 to 1, drawn from the seed.
    pub fn probability(mut self, share: f64) -> Self {
        self.when = When::Probability(share);
        self
    }

    /// The fault for this request, if there is one. `draw` gives a number from 0 to 1.
    pub(super) fn decide(&mut self, call: &Call, draw: &mut impl FnMut() -> f64) -> Option<Fault> {
        let matches = self.method.is_none_or(|method| method == call.method)
            && call.path.starts_with(&self.path)
            && self.test.as_ref().is_none_or(|test| test(call));
        if !matches {
            return None;
        }
        self.seen += 1;
        let happens = match self.when {
            When::Always => true,
            When::Nth(number) => self.seen == number,
            When::First(number) => self.seen <= number,
            When::Probability(share) => draw() < share,
        };
        happens.then(|| self.fault.clone())
    }
}

/// An error of RFC 7644 section 3.12.
pub(super) fn error(
    code: u16,
    scim_type: Option<&str>,
    detail: &str,
    numeric: bool,
) -> Response<Body> {
    let mut answer = Answer::error(code, scim_type, detail);
    if let (true, Some(body)) = (numeric, &mut answer.body) {
        body["status"] = code.into();
    }
    http::respond(answer)
}

/// A status without a body.
pub(super) fn bare(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// A page for people.
pub(super) fn html(code: u16, title: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!(
        "<html><head><title>{title}</title></head></html>"
    )));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    with_header(response, CONTENT_TYPE, "text/html; charset=utf-8")
}

/// A redirection.
pub(super) fn redirect(to: &str) -> Response<Body> {
    with_header(bare(302), LOCATION, to)
}

fn with_header(mut response: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_str(value).unwrap());
    response
}
