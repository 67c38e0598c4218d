//! One request to a target, as it is sent and as messages name it.

use std::fmt;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value as Json;

use crate::scim::ResourceType;
use crate::scim::encode::{self, Request};
use crate::scim::pace::Verb;

/// The largest answer that holds one user.
pub(super) const RESOURCE_BYTES_MAX: usize = 1 << 20;
/// The largest answer that holds a list, or a group. A group with more members than fit is not read back.
const LIST_BYTES_MAX: usize = 16 << 20;
/// The largest body that is little work: dozens of members take a target longer than one user.
const LIGHT_BYTES_MAX: usize = 2 << 10;

/// The endpoint below another that takes a search (RFC 7644 §3.4.3).
const SEARCH: &str = ".search";
/// The endpoint of requests that go together (RFC 7644 §3.7).
const BULK: &str = "Bulk";

/// One request, as it is sent and as messages name it.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) endpoint: &'a str,
    pub(super) id: Option<&'a str>,
    pub(super) query: Vec<(&'a str, String)>,
    pub(super) body: Option<Bytes>,
    /// The version that the resource must still have.
    pub(super) if_match: Option<HeaderValue>,
}

impl<'a> Call<'a> {
    /// A read of an endpoint with these parameters.
    pub(super) fn get(endpoint: &'a str, query: Vec<(&'a str, String)>) -> Self {
        Self {
            method: Method::GET,
            endpoint,
            id: None,
            query,
            body: None,
            if_match: None,
        }
    }

    /// A read of an endpoint with parameters in the body (RFC 7644 §3.4.3).
    pub(super) fn search(endpoint: &'a str, body: &Json) -> Self {
        Self {
            method: Method::POST,
            id: Some(SEARCH),
            body: Some(Bytes::from(body.to_string())),
            ..Self::get(endpoint, Vec::new())
        }
    }

    /// Requests that write, together (RFC 7644 §3.7).
    pub(super) fn bulk(body: &Json) -> Self {
        Self {
            method: Method::POST,
            body: Some(Bytes::from(body.to_string())),
            ..Self::get(BULK, Vec::new())
        }
    }

    /// A request that writes, with its body in the dialect's manner.
    pub(super) fn of(request: &'a Request, body: Option<&Json>) -> Self {
        Self {
            method: match request.method {
                encode::Method::Post => Method::POST,
                encode::Method::Patch => Method::PATCH,
                encode::Method::Put => Method::PUT,
                encode::Method::Delete => Method::DELETE,
            },
            endpoint: request.resource_type.endpoint(),
            id: request.id.as_deref(),
            query: Vec::new(),
            body: body.map(|body| Bytes::from(body.to_string())),
            if_match: None,
        }
    }

    /// What kind of request it is.
    pub(super) fn verb(&self) -> Verb {
        match self.method {
            Method::GET => Verb::Read,
            Method::POST if self.is_search() => Verb::Read,
            Method::POST => Verb::Create,
            Method::DELETE => Verb::Delete,
            _ => Verb::Update,
        }
    }

    fn is_search(&self) -> bool {
        self.id == Some(SEARCH)
    }

    fn is_list(&self) -> bool {
        self.is_search() || (self.method == Method::GET && self.id.is_none())
    }

    /// Whether the target has little work with it, so that the time which that takes says how busy the target is.
    pub(super) fn is_light(&self) -> bool {
        let bytes = self.body.as_ref().map_or(0, Bytes::len);
        !self.is_list() && bytes <= LIGHT_BYTES_MAX
    }

    /// The largest answer that is read.
    pub(super) fn bytes_max(&self) -> usize {
        let has_many = [BULK, ResourceType::Group.endpoint()].contains(&self.endpoint);
        if self.is_list() || has_many {
            LIST_BYTES_MAX
        } else {
            RESOURCE_BYTES_MAX
        }
    }
}

impl fmt::Display for Call<'_> {
    /// Method and path; the values of a query are a person's data and are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} /{}", self.method, self.endpoint)?;
        if let Some(id) = self.id {
            write!(f, "/{}", id.escape_debug())?;
        }
        for (at, (name, _)) in self.query.iter().enumerate() {
            write!(f, "{}{name}", if at == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}
