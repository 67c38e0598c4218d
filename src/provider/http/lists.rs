//! Lists: pages of all resources, and look-ups, by filter where the target filters and by listing where it does not.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fault::Fault;
use crate::provider::http::client::Call;
use crate::provider::http::{Http, is_absent, outcome};
use crate::provider::{Lane, LookupBy, Page, Refusal};
use crate::scim::ResourceType;
use crate::scim::dialect::Dialect;
use crate::scim::filter;
use crate::scim::resource::{Found, ListPage};

/// Most pages that a look-up without filters reads.
const LOOKUP_PAGES_MAX: usize = 200;

/// The ids of a page, and where the one after it starts.
pub(super) struct LastPage {
    next: u64,
    ids: BTreeSet<String>,
}

/// How a resource answers to what is looked for.
#[derive(Clone, Copy, PartialEq)]
enum Match {
    Exact,
    /// The same but for the case of letters: some targets compare so. Not what was looked for.
    CaseOnly,
    No,
}

impl Http {
    /// See [`crate::provider::Provider::find`].
    pub(super) async fn look_up(
        &self,
        resource_type: ResourceType,
        by: LookupBy,
        value: &str,
        lane: Lane,
    ) -> Result<Vec<Found>, Refusal> {
        let unfiltered = self.unfiltered(resource_type, by);
        if !unfiltered.load(Ordering::Relaxed) {
            let hits = self.filtered(resource_type, by, value, lane).await?;
            if let Some(hits) = hits {
                return Ok(hits);
            }
            unfiltered.store(true, Ordering::Relaxed);
            tracing::warn!(
                tenant = %self.tenant,
                endpoint = resource_type.endpoint(),
                attribute = attribute_name(resource_type, by),
                "the target does not filter by this attribute; look-ups read the whole list"
            );
        }
        self.look_through(resource_type, by, value, lane).await
    }

    /// Asks the target to filter; `None` when it refuses, or answers with what was not asked for.
    async fn filtered(
        &self,
        resource_type: ResourceType,
        by: LookupBy,
        value: &str,
        lane: Lane,
    ) -> Result<Option<Vec<Found>>, Refusal> {
        let filter = filter::eq(attribute_name(resource_type, by), value);
        let call = Call::get(resource_type.endpoint(), vec![("filter", filter)]);
        let answer = self.read(&call, lane).await?;
        if is_absent(&answer) {
            return Ok(Some(Vec::new()));
        }
        if matches!(answer.status, 400 | 501) {
            return Ok(None);
        }
        let label = call.to_string();
        let page = list_of(&label, &outcome::json_of(&label, answer)?)?;
        let found: Vec<Found> = page.resources.iter().filter_map(Found::from_json).collect();
        let matches = |found: &Found| matches(found, resource_type, by, value);
        let truncated = page
            .total
            .is_some_and(|total| total > page.resources.len() as u64);
        if truncated || found.iter().any(|found| matches(found) == Match::No) {
            return Ok(None);
        }
        let exact = |found: &Found| matches(found) == Match::Exact;
        Ok(Some(found.into_iter().filter(exact).collect()))
    }

    /// Reads the whole list and compares here.
    async fn look_through(
        &self,
        resource_type: ResourceType,
        by: LookupBy,
        value: &str,
        lane: Lane,
    ) -> Result<Vec<Found>, Refusal> {
        let mut hits: Vec<Found> = Vec::new();
        let mut start = 1;
        let mut last = None;
        for _ in 0..LOOKUP_PAGES_MAX {
            let (page, ids) = self.page(resource_type, start, last.as_ref(), lane).await?;
            for found in page.resources.iter().filter_map(Found::from_json) {
                let known = hits.iter().any(|hit| hit.id == found.id);
                if !known && matches(&found, resource_type, by, value) == Match::Exact {
                    hits.push(found);
                }
            }
            match page.next {
                Some(next) => start = next,
                None => return Ok(hits),
            }
            last = Some(ids);
        }
        Err(Refusal {
            fault: Fault::Rejected,
            status: None,
            scim_type: None,
            message: format!(
                "GET /{} cannot filter by {} and lists more than {LOOKUP_PAGES_MAX} pages; raise the page size in the dialect",
                resource_type.endpoint(),
                attribute_name(resource_type, by),
            ),
        })
    }

    /// See [`crate::provider::Provider::list`].
    pub(super) async fn list_from(
        &self,
        resource_type: ResourceType,
        start: u64,
    ) -> Result<Page, Refusal> {
        let at = resource_type as usize;
        let last = self.last_pages()[at].take();
        let last = last.filter(|last| last.next == start).map(|last| last.ids);
        let (page, ids) = self
            .page(resource_type, start, last.as_ref(), Lane::Ordinary)
            .await?;
        self.last_pages()[at] = page.next.map(|next| LastPage { next, ids });
        Ok(page)
    }

    fn last_pages(&self) -> std::sync::MutexGuard<'_, [Option<LastPage>; 2]> {
        self.last_page
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one page, and the ids on it; `last` are those of the page before.
    async fn page(
        &self,
        resource_type: ResourceType,
        start: u64,
        last: Option<&BTreeSet<String>>,
        lane: Lane,
    ) -> Result<(Page, BTreeSet<String>), Refusal> {
        let query = vec![
            ("startIndex", start.to_string()),
            ("count", self.dialect.page_resources.to_string()),
        ];
        let call = Call::get(resource_type.endpoint(), query);
        let label = call.to_string();
        let body = outcome::json_of(&label, self.read(&call, lane).await?)?;
        let list = list_of(&label, &body)?;
        let ids: BTreeSet<String> = list
            .resources
            .iter()
            .filter_map(Found::from_json)
            .map(|found| found.id)
            .collect();
        let length = list.resources.len() as u64;
        let resources = list.resources;
        let before = start.saturating_sub(1);
        let repeated = !ids.is_empty() && last.is_some_and(|last| ids.is_subset(last));
        if repeated && list.total.is_some_and(|total| total <= before) {
            // Past the end: some targets give the last page again.
            let resources = Vec::new();
            let next = None;
            return Ok((Page { resources, next }, ids));
        }
        let next = match list.total {
            _ if repeated => {
                return Err(unsound(&format!(
                    "{label} repeats the page before {start}: the target ignores paging; raise the page size in the dialect"
                )));
            }
            Some(total) if before + length >= total => None,
            Some(total) if length == 0 => {
                return Err(unsound(&format!(
                    "{label} gives {before} of {total} resources; the list does not add up"
                )));
            }
            None if length == 0 => None,
            _ => Some(start.saturating_add(length)),
        };
        Ok((Page { resources, next }, ids))
    }

    fn unfiltered(&self, resource_type: ResourceType, by: LookupBy) -> &AtomicBool {
        &self.unfiltered[2 * (resource_type as usize) + by as usize]
    }
}

/// The look-ups that need not be tried by filter: users by external id, by name; groups by external id, by name.
pub(super) fn unfiltered_by(dialect: &Dialect) -> [AtomicBool; 4] {
    let of = |resource_type, by| {
        let filters = dialect.filters_by(resource_type, attribute_name(resource_type, by));
        AtomicBool::new(!filters)
    };
    [
        of(ResourceType::User, LookupBy::ExternalId),
        of(ResourceType::User, LookupBy::Name),
        of(ResourceType::Group, LookupBy::ExternalId),
        of(ResourceType::Group, LookupBy::Name),
    ]
}

/// Reads a list answer.
pub(super) fn list_of(label: &str, body: &serde_json::Value) -> Result<ListPage, Refusal> {
    ListPage::from_json(body).map_err(|why| Refusal {
        status: Some(200),
        ..unsound(&format!("{label}: {why}; check the SCIM base URL"))
    })
}

fn unsound(message: &str) -> Refusal {
    Refusal {
        fault: Fault::Transient,
        status: None,
        scim_type: None,
        message: message.to_owned(),
    }
}

fn attribute_name(resource_type: ResourceType, by: LookupBy) -> &'static str {
    match (by, resource_type) {
        (LookupBy::ExternalId, _) => "externalId",
        (LookupBy::Name, ResourceType::User) => "userName",
        (LookupBy::Name, ResourceType::Group) => "displayName",
    }
}

/// `userName` has no case (RFC 7643 §4.1.1); the others are compared as they are.
fn matches(found: &Found, resource_type: ResourceType, by: LookupBy, value: &str) -> Match {
    let held = match by {
        LookupBy::ExternalId => found.external_id.as_deref(),
        LookupBy::Name => found.name.as_deref(),
    };
    let no_case = by == LookupBy::Name && resource_type == ResourceType::User;
    match held {
        Some(held) if held == value => Match::Exact,
        Some(held) if held.to_lowercase() == value.to_lowercase() => {
            if no_case {
                Match::Exact
            } else {
                Match::CaseOnly
            }
        }
        _ => Match::No,
    }
}
