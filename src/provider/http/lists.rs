//! Lists: pages of all resources, and look-ups, by filter where the target filters and by listing where it does not.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::provider::http::call::Call;
use crate::provider::http::{Http, is_absent, outcome};
use crate::provider::{Lane, LookupBy, Page, Refusal, Start};
use crate::scim::ResourceType;
use crate::scim::dialect::{Dialect, Paging};
use crate::scim::filter;
use crate::scim::resource::{self, Found, ListPage};

/// Schema of a search (RFC 7644 §3.4.3).
const SEARCH_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
/// A userName that nobody has.
const NOBODY: &str = "scim-relay looks whether the target answers";
/// Most pages that a look-up without filters reads.
const LOOKUP_PAGES_MAX: usize = 200;

/// Most resources of a list that is kept for the next look-up.
const LISTING_MAX: usize = 50_000;
/// How long it is kept: less than a target may take to show what it was sent, so that who looks again looks anew.
const LISTING_HOLDS: Duration = Duration::from_millis(500);

/// The ids of a page, where the one after it starts, and where those before it did.
pub(super) struct LastPage {
    next: Start,
    ids: BTreeSet<String>,
    before: HashSet<u64>,
}

/// A whole list that was read for a look-up. Rows that are looked up one after the other share it, or a thousand of them would
/// read a list of a thousand each.
pub(super) struct Listing {
    begun: Instant,
    ended: Instant,
    /// Requests that wrote when it was begun.
    changes: u64,
    resources: Vec<Found>,
}

impl Listing {
    /// Whether it shows what a list would that is read for somebody who asked then: it was begun after that, or the relay changed
    /// nothing since and it is fresh.
    fn still_holds(&self, asked: Instant, changes: u64) -> bool {
        let is_fresh = self.ended.elapsed() <= LISTING_HOLDS && self.changes == changes;
        self.begun >= asked || is_fresh
    }
}

/// How a resource answers to what is looked for.
#[derive(Clone, Copy, PartialEq)]
enum Match {
    Exact,
    /// The same but for the case of letters, as some targets compare; or an e-mail address that is not the primary one.
    /// Not what was looked for, and no sign of a target that ignores filters.
    Near,
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
        let call = self.list_call(resource_type, vec![("filter", Json::from(filter))]);
        let answer = self.read(&call, lane).await?;
        if is_absent(&answer) {
            return Ok(Some(Vec::new()));
        }
        if matches!(answer.status, 400 | 501) {
            return Ok(None);
        }
        let label = call.to_string();
        let page = list_of(&label, &outcome::json_of(&label, answer)?)?;
        let found = page.resources.iter().filter_map(|resource| {
            let found = Found::from_json(resource)?;
            let how = matches(resource, &found, resource_type, by, value);
            Some((found, how))
        });
        let found: Vec<(Found, Match)> = found.collect();
        let truncated = page
            .total
            .is_some_and(|total| total > page.resources.len() as u64);
        if truncated || found.iter().any(|(_, how)| *how == Match::No) {
            return Ok(None);
        }
        let exact = found.into_iter().filter(|(_, how)| *how == Match::Exact);
        Ok(Some(exact.map(|(found, _)| found).collect()))
    }

    /// Reads the whole list, or takes one that was just read, and compares here.
    async fn look_through(
        &self,
        resource_type: ResourceType,
        by: LookupBy,
        value: &str,
        lane: Lane,
    ) -> Result<Vec<Found>, Refusal> {
        let asked = Instant::now();
        let mut slot = self.listings[resource_type as usize].lock().await;
        let changes = self.writes.load(Ordering::Relaxed);
        let known = slot
            .take()
            .filter(|listing| listing.still_holds(asked, changes));
        let listing = match known {
            Some(listing) => listing,
            None => {
                let begun = Instant::now();
                let resources = self.read_all(resource_type, by, lane).await?;
                Listing {
                    begun,
                    ended: Instant::now(),
                    changes,
                    resources,
                }
            }
        };
        let mut hits: Vec<Found> = Vec::new();
        for found in &listing.resources {
            let is_new = hits.iter().all(|hit| hit.id != found.id);
            let how = matches(&Json::Null, found, resource_type, by, value);
            if is_new && how == Match::Exact {
                hits.push(found.clone());
            }
        }
        *slot = Some(listing).filter(|listing| listing.resources.len() <= LISTING_MAX);
        Ok(hits)
    }

    /// All resources of a type, on as many pages as a look-up reads.
    async fn read_all(
        &self,
        resource_type: ResourceType,
        by: LookupBy,
        lane: Lane,
    ) -> Result<Vec<Found>, Refusal> {
        let mut all = Vec::new();
        let mut count = 0;
        let mut start = None;
        let mut last = None;
        for _ in 0..LOOKUP_PAGES_MAX {
            let (page, ids) = self
                .page(resource_type, start.as_ref(), last.as_ref(), lane)
                .await?;
            all.extend(page.resources.iter().filter_map(Found::from_json));
            count += page.resources.len() as u64;
            start = page.next;
            if start.is_none() {
                return match page.total {
                    Some(total) if total > count => Err(unsound(&format!(
                        "GET /{} gives {count} of {total} resources; the list does not add up",
                        resource_type.endpoint(),
                    ))),
                    _ => Ok(all),
                };
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
        start: Option<&Start>,
    ) -> Result<Page, Refusal> {
        let at = resource_type as usize;
        let last = self.last_pages()[at].take();
        let last = last.filter(|last| Some(&last.next) == start);
        let ids = last.as_ref().map(|last| &last.ids);
        let (page, ids) = self.page(resource_type, start, ids, Lane::Ordinary).await?;
        if let Some(next) = page.next.clone() {
            let mut before = last.map(|last| last.before).unwrap_or_default();
            if !before.insert(place(&next)) {
                return Err(unsound(&format!(
                    "GET /{} leads in a circle: a page that was read is named as the next one again",
                    resource_type.endpoint()
                )));
            }
            self.last_pages()[at] = Some(LastPage { next, ids, before });
        }
        Ok(page)
    }

    fn last_pages(&self) -> std::sync::MutexGuard<'_, [Option<LastPage>; 2]> {
        self.last_page
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How pages are asked for.
    fn paging(&self) -> Paging {
        match self.dialect.paging {
            Paging::AsAdvertised if self.cursors_only.load(Ordering::Relaxed) => Paging::Cursor,
            Paging::AsAdvertised => Paging::Index,
            paging => paging,
        }
    }

    /// Reads one page, and the ids on it; `last` are those of the page before.
    async fn page(
        &self,
        resource_type: ResourceType,
        start: Option<&Start>,
        last: Option<&BTreeSet<String>>,
        lane: Lane,
    ) -> Result<(Page, BTreeSet<String>), Refusal> {
        let count = ("count", Json::from(self.dialect.page_resources));
        let (parameters, before) = match (self.paging(), start) {
            (Paging::None, _) => (Vec::new(), 0),
            (_, Some(Start::Cursor(cursor, before))) => (
                vec![("cursor", Json::from(cursor.as_str())), count],
                *before,
            ),
            (Paging::Cursor, None) => (vec![("cursor", Json::from("")), count], 0),
            (_, Some(Start::Index(index))) => {
                let before = index.saturating_sub(1);
                (vec![("startIndex", Json::from(*index)), count], before)
            }
            (_, None) => (vec![("startIndex", Json::from(1)), count], 0),
        };
        let call = self.list_call(resource_type, parameters);
        let label = call.to_string();
        let body = outcome::json_of(&label, self.read(&call, lane).await?)?;
        let list = list_of(&label, &body)?;
        let ids: BTreeSet<String> = list
            .resources
            .iter()
            .filter_map(Found::from_json)
            .map(|found| found.id)
            .collect();
        let repeats = !ids.is_empty() && last.is_some_and(|last| ids.is_subset(last));
        let read = Read {
            label: &label,
            before,
            repeats,
        };
        let page = match self.paging() {
            Paging::Cursor => read.by_cursor(list, start)?,
            Paging::None => Page {
                resources: list.resources,
                next: None,
                total: list.total,
            },
            Paging::Index | Paging::AsAdvertised => read.by_index(list)?,
        };
        Ok((page, ids))
    }

    /// The parameters of a list of one user at the most, in the way in which the target is asked for lists.
    pub(super) fn one_user(&self) -> Vec<(&'static str, Json)> {
        let count = ("count", Json::from(1));
        match self.paging() {
            Paging::Index | Paging::AsAdvertised => vec![("startIndex", Json::from(1)), count],
            Paging::Cursor => vec![("cursor", Json::from("")), count],
            Paging::None if self.dialect.filters_by(ResourceType::User, "userName") => {
                vec![("filter", Json::from(filter::eq("userName", NOBODY)))]
            }
            Paging::None => Vec::new(),
        }
    }

    /// A request for a list, with its parameters in the address or in the body.
    pub(super) fn list_call<'a>(
        &self,
        resource_type: ResourceType,
        parameters: Vec<(&'a str, Json)>,
    ) -> Call<'a> {
        let endpoint = resource_type.endpoint();
        if self.dialect.post_search {
            let mut body: serde_json::Map<String, Json> = parameters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            body.insert("schemas".to_owned(), Json::from(vec![SEARCH_SCHEMA]));
            return Call::search(endpoint, &Json::Object(body));
        }
        let text = |value: Json| match value {
            Json::String(text) => text,
            other => other.to_string(),
        };
        let query = parameters
            .into_iter()
            .map(|(name, value)| (name, text(value)));
        Call::get(endpoint, query.collect())
    }

    fn unfiltered(&self, resource_type: ResourceType, by: LookupBy) -> &AtomicBool {
        &self.unfiltered[3 * (resource_type as usize) + by as usize]
    }
}

/// The look-ups that need not be tried by filter: users by external id, by name; groups by external id, by name.
pub(super) fn unfiltered_by(dialect: &Dialect) -> [AtomicBool; 6] {
    let of = |resource_type, by| {
        let filters = dialect.filters_by(resource_type, attribute_name(resource_type, by));
        AtomicBool::new(!filters)
    };
    [
        of(ResourceType::User, LookupBy::ExternalId),
        of(ResourceType::User, LookupBy::Name),
        of(ResourceType::User, LookupBy::Email),
        of(ResourceType::Group, LookupBy::ExternalId),
        of(ResourceType::Group, LookupBy::Name),
        of(ResourceType::Group, LookupBy::Email),
    ]
}

/// One page that was read, and what came before it.
struct Read<'a> {
    label: &'a str,
    /// Resources on the pages before.
    before: u64,
    /// Whether it has nothing that the page before does not have.
    repeats: bool,
}

impl Read<'_> {
    fn by_index(&self, list: ListPage) -> Result<Page, Refusal> {
        let before = self.before;
        let (resources, total) = (list.resources, list.total);
        let length = resources.len() as u64;
        if self.repeats && total.is_some_and(|total| total <= before) {
            // Past the end: some targets give the last page again.
            let resources = Vec::new();
            return Ok(Page {
                resources,
                next: None,
                total,
            });
        }
        let next = match total {
            _ if self.repeats => return Err(self.repeated()),
            Some(total) if before + length >= total => None,
            // It counts more than it gives; who needs all of them must look at the total.
            _ if length == 0 => None,
            _ => Some(Start::Index((before + length).saturating_add(1))),
        };
        Ok(Page {
            resources,
            next,
            total,
        })
    }

    /// A page may hold fewer resources than asked for, and even none; only a missing cursor ends the list (RFC 9865 §2).
    fn by_cursor(&self, list: ListPage, start: Option<&Start>) -> Result<Page, Refusal> {
        let seen = self.before + list.resources.len() as u64;
        let next = list.next_cursor.map(|cursor| Start::Cursor(cursor, seen));
        let stands = match (&next, start) {
            (Some(Start::Cursor(next, _)), Some(Start::Cursor(asked, _))) => next == asked,
            _ => false,
        };
        if self.repeats || stands {
            return Err(self.repeated());
        }
        Ok(Page {
            resources: list.resources,
            next,
            total: list.total,
        })
    }

    fn repeated(&self) -> Refusal {
        unsound(&format!(
            "{} repeats the page before {}: the target ignores paging; raise the page size in the dialect",
            self.label,
            self.before + 1
        ))
    }
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

/// Where a page starts, in few bytes: a list may have thousands of long cursors.
fn place(start: &Start) -> u64 {
    let mut hasher = DefaultHasher::new();
    match start {
        Start::Index(index) => index.hash(&mut hasher),
        Start::Cursor(cursor, _) => cursor.hash(&mut hasher),
    }
    hasher.finish()
}

fn attribute_name(resource_type: ResourceType, by: LookupBy) -> &'static str {
    match (by, resource_type) {
        (LookupBy::ExternalId, _) => "externalId",
        (LookupBy::Email, _) => "emails.value",
        (LookupBy::Name, ResourceType::User) => "userName",
        (LookupBy::Name, ResourceType::Group) => "displayName",
    }
}

/// `userName` and e-mail addresses have no case (RFC 7643 §4.1.1, §4.1.2); the others are compared as they are.
fn matches(
    resource: &serde_json::Value,
    found: &Found,
    resource_type: ResourceType,
    by: LookupBy,
    value: &str,
) -> Match {
    let same = |held: &str| held.to_lowercase() == value.to_lowercase();
    let held = match by {
        LookupBy::ExternalId => found.external_id.as_deref(),
        LookupBy::Name => found.name.as_deref(),
        LookupBy::Email => found.email.as_deref(),
    };
    let no_case = match by {
        LookupBy::ExternalId => false,
        LookupBy::Name => resource_type == ResourceType::User,
        LookupBy::Email => true,
    };
    match held {
        Some(held) if held == value => Match::Exact,
        Some(held) if same(held) && no_case => Match::Exact,
        Some(held) if same(held) => Match::Near,
        _ if by == LookupBy::Email && resource::emails(resource).any(same) => Match::Near,
        _ => Match::No,
    }
}
