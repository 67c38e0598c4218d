//! The target of a history: it keeps the truth, answers it or not, and every request is held against the invariants.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use scim_relay::demo::target::Target;
use scim_relay::demo::target::answer::{Answer, Call};
use scim_relay::fault::Fault;
use scim_relay::id::DirectoryId;
use scim_relay::identity::{Anchor, Kind, RowKey};
use scim_relay::provider::{
    Capabilities, Lane, LookupBy, Outcome, Page, Provider, Refusal, RequestCounts, Start,
};
use scim_relay::scim::ResourceType;
use scim_relay::scim::dialect::Dialect;
use scim_relay::scim::encode::{Method, Request};
use scim_relay::scim::resource::{Found, ListPage};
use serde_json::Value as Json;
use uuid::Uuid;

use crate::expected;
use crate::site::{Site, State};

/// Resources on one page of a list.
const PAGE: usize = 7;

/// What goes wrong on the target's side in one run.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// So many requests in a hundred that write meet a fault.
    pub writes: u64,
    /// So many requests in a hundred that read do.
    pub reads: u64,
    /// Requests for these are refused.
    pub rejects: BTreeSet<Uuid>,
    /// From this write of the run on nothing reaches it.
    pub gone_from: Option<u64>,
    /// From this write of the run on it refuses the credentials.
    pub denies_from: Option<u64>,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    /// Carried out, and not answered.
    AnswerLost,
    /// Not carried out, and not answered.
    RequestLost,
    /// 500 after it was carried out.
    FailsAfter,
    /// 503 before it was carried out.
    FailsBefore,
    /// 429, in spite of all repetitions.
    Throttled,
    /// No connection.
    NotSent,
    /// 400.
    Rejected,
    /// 403, though reads are answered.
    Forbidden,
    /// 401.
    Denied,
}

/// A resource as the target holds it.
pub struct Resource {
    pub kind: Kind,
    pub id: String,
    pub external_id: Option<String>,
    pub body: Json,
}

impl Resource {
    /// The entry that it is of.
    pub fn anchor(&self) -> Option<Uuid> {
        self.external_id.as_ref()?.parse().ok()
    }

    pub fn is_active(&self) -> bool {
        self.body["active"] != false
    }

    /// The ids of its members.
    pub fn members(&self) -> BTreeSet<String> {
        let members = self.body["members"].as_array().into_iter().flatten();
        members
            .filter_map(|member| member["value"].as_str().map(str::to_owned))
            .collect()
    }
}

/// Everything that the target holds.
pub fn resources(target: &Target) -> Vec<Resource> {
    let of = |kind, bodies: Vec<Json>| {
        bodies.into_iter().map(move |body| Resource {
            kind,
            id: body["id"].as_str().unwrap_or_default().to_owned(),
            external_id: body["externalId"].as_str().map(str::to_owned),
            body,
        })
    };
    of(Kind::User, target.users())
        .chain(of(Kind::Group, target.groups()))
        .collect()
}

/// The provider of one process.
#[derive(Clone)]
pub struct Scripted {
    site: Site,
    directory: DirectoryId,
    counts: std::sync::Arc<[AtomicU64; 2]>,
}

impl Scripted {
    pub fn new(site: &Site, directory: DirectoryId) -> Self {
        Self {
            site: site.clone(),
            directory,
            counts: Default::default(),
        }
    }

    /// Begins a request that reads, and fails if it is to fail.
    async fn begin_read(&self) -> Result<(), Refusal> {
        self.site.disk().step().await;
        tokio::task::yield_now().await;
        self.counts[0].fetch_add(1, Ordering::Relaxed);
        let mut state = self.site.lock();
        let is_gone = state.target_faults.gone_from;
        if is_gone.is_some_and(|from| state.writes.len() as u64 >= from) {
            return Err(refusal(Fault::Transient, None, "no connection"));
        }
        let denies = state.target_faults.denies_from;
        if denies.is_some_and(|from| state.writes.len() as u64 >= from) {
            return Err(refusal(Fault::Denied, Some(401), "who are you"));
        }
        let share = state.target_faults.reads;
        if share > 0 && state.fates.percent(share) {
            return Err(refusal(Fault::Transient, Some(503), "later"));
        }
        Ok(())
    }
}

fn refusal(fault: Fault, status: Option<u16>, message: &str) -> Refusal {
    Refusal {
        fault,
        status,
        scim_type: None,
        message: format!("the scripted target: {message}"),
    }
}

/// What becomes of a request, by chance as far as it is allowed to.
fn fate(state: &mut State, subject: Option<Uuid>) -> Fate {
    let number = state.writes.len() as u64;
    state.writes.push(subject);
    let faults = &state.target_faults;
    if faults.gone_from.is_some_and(|from| number >= from) {
        return Fate::NotSent;
    }
    if faults.denies_from.is_some_and(|from| number >= from) {
        return Fate::Denied;
    }
    if subject.is_some_and(|anchor| faults.rejects.contains(&anchor)) {
        return Fate::Rejected;
    }
    let share = faults.writes;
    if share == 0 || !state.fates.percent(share) {
        return Fate::Fine;
    }
    let fates = [
        Fate::AnswerLost,
        Fate::AnswerLost,
        Fate::RequestLost,
        Fate::RequestLost,
        Fate::FailsAfter,
        Fate::FailsBefore,
        Fate::Throttled,
        Fate::NotSent,
        Fate::Rejected,
        Fate::Forbidden,
    ];
    fates[state.fates.below(fates.len())]
}

/// What an answer means, as the provider over HTTP reads it.
fn outcome(request: &Request, answer: Answer) -> Outcome {
    let is_gone = answer.status == 404;
    match answer.status {
        200..300 => Outcome::Acknowledged {
            id: (request.method == Method::Post)
                .then(|| answer.body.as_ref()?["id"].as_str().map(str::to_owned))
                .flatten(),
            resource: answer.body,
        },
        _ if is_gone && request.method == Method::Delete => Outcome::Acknowledged {
            id: None,
            resource: None,
        },
        status => {
            let body = answer.body.unwrap_or_default();
            let fault = match is_gone && request.method != Method::Post {
                true => Fault::Drifted,
                false => Fault::Rejected,
            };
            Outcome::Refused(Refusal {
                scim_type: body["scimType"].as_str().map(str::to_owned),
                ..refusal(fault, Some(status), &body["detail"].to_string())
            })
        }
    }
}

fn call(request: &Request) -> Call {
    let endpoint = request.resource_type.endpoint();
    let path = match &request.id {
        Some(id) => format!("/{endpoint}/{id}"),
        None => format!("/{endpoint}"),
    };
    let call = Call::new(request.method.as_str(), &path);
    match &request.body {
        Some(body) => call.body(body.clone()),
        None => call,
    }
}

fn kind_of(resource_type: ResourceType) -> Kind {
    match resource_type {
        ResourceType::User => Kind::User,
        ResourceType::Group => Kind::Group,
    }
}

/// The operations of a PATCH.
fn operations(request: &Request) -> &[Json] {
    let body = request.body.as_ref();
    let operations = body.and_then(|body| body["Operations"].as_array());
    operations.map_or(&[], Vec::as_slice)
}

/// The externalId that a request gives.
fn given_external_id(request: &Request) -> Option<String> {
    let of_patch = operations(request)
        .iter()
        .find(|operation| operation["path"] == "externalId")
        .map(|operation| &operation["value"]);
    let given = match request.method {
        Method::Post => request.body.as_ref().map(|body| &body["externalId"]),
        _ => of_patch,
    };
    given?.as_str().map(str::to_owned)
}

/// The value of `active` that a request gives.
fn given_active(request: &Request) -> Option<bool> {
    let of_patch = operations(request)
        .iter()
        .find(|operation| operation["path"] == "active")
        .map(|operation| &operation["value"]);
    let given = match request.method {
        Method::Post => request.body.as_ref().map(|body| &body["active"]),
        _ => of_patch,
    };
    given?.as_bool()
}

/// The members that a request adds, and those that it removes.
fn given_members(request: &Request) -> (Vec<String>, Vec<String>) {
    let values = |value: &Json| -> Vec<String> {
        let members = value.as_array().into_iter().flatten();
        members
            .filter_map(|member| member["value"].as_str().map(str::to_owned))
            .collect()
    };
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    if let (Method::Post, Some(body)) = (request.method, &request.body) {
        added.extend(values(&body["members"]));
    }
    for operation in operations(request) {
        let path = operation["path"].as_str().unwrap_or_default();
        match operation["op"].as_str() {
            Some("remove") if path.starts_with("members[") => {
                removed.extend(path.split('"').nth(1).map(str::to_owned));
            }
            Some("add") if path == "members" => added.extend(values(&operation["value"])),
            _ => {}
        }
    }
    (added, removed)
}

impl Scripted {
    /// Holds a request against the invariants, with what is true at this moment. Answers whom it is about.
    async fn check(&self, request: &Request) -> Option<Uuid> {
        let held = resources(self.site.target());
        let kind = kind_of(request.resource_type);
        let id = request.id.as_deref();
        let resource = held
            .iter()
            .find(|resource| Some(resource.id.as_str()) == id);
        let given = given_external_id(request);
        let anchor = given
            .as_ref()
            .and_then(|given| given.parse().ok())
            .or_else(|| resource?.anchor())
            .or_else(|| self.site.lock().unmarked.get(id?).copied());
        self.check_intent(kind, anchor, resource.is_some() || id.is_none())
            .await;
        let mut state = self.site.lock();
        if let Some(id) = id {
            check_id(&mut state, request, id, resource);
        }
        if let Some(anchor) = anchor {
            check_user(&mut state, request, kind, anchor, &held);
            check_role(&mut state, request, anchor);
            check_members(&mut state, request, anchor, &held);
        }
        anchor
    }

    /// I-6: what is sent was written down before.
    async fn check_intent(&self, kind: Kind, anchor: Option<Uuid>, is_there: bool) {
        let Some(store) = self.site.store() else {
            return;
        };
        let key = anchor.map(|anchor| RowKey {
            kind,
            anchor: Anchor::Uuid(anchor),
        });
        let intents = store.intents(self.directory).await.unwrap_or_default();
        let has = |key| intents.iter().any(|intent| intent.key == key);
        if is_there && !key.clone().is_some_and(has) && !self.site.disk().fuse().is_burnt() {
            self.site
                .lock()
                .violated(format!("I-6: no intent was written for {key:?}"));
        }
    }
}

/// I-1: no request names what is not ours, unless it links it and may.
fn check_id(state: &mut State, request: &Request, id: &str, resource: Option<&Resource>) {
    let is_free = resource.is_some_and(|resource| resource.external_id.is_none());
    let may_link = state.rules.automatic && is_free && given_external_id(request).is_some();
    if !may_link && !state.ours.contains(id) {
        state.violated(format!("I-1: {id} is not ours"));
    }
    let (added, removed) = given_members(request);
    for member in added.iter().chain(&removed) {
        if !state.ours.contains(member) {
            state.violated(format!("I-1: the member {member} is not ours"));
        }
    }
}

/// I-3: nobody is deactivated or deleted who is in scope and enabled; and nobody gets in who is not.
fn check_user(state: &mut State, request: &Request, kind: Kind, anchor: Uuid, held: &[Resource]) {
    if kind != Kind::User {
        if request.method == Method::Delete {
            state.violated(format!("a group is deleted: {anchor}"));
        }
        return;
    }
    let active = given_active(request);
    let takes = request.method == Method::Delete || active == Some(false);
    if takes && expected::may_log_in(&state.model, &state.rules, anchor) {
        state.violated(format!(
            "I-3: {anchor} is in scope and enabled, and is deactivated"
        ));
    }
    let models = [&state.before, &state.model];
    let may = models.map(|model| expected::may_log_in(model, &state.rules, anchor));
    if active == Some(true) && may == [false; 2] {
        state.violated(format!(
            "{anchor} is let in, and is disabled or out of scope"
        ));
    }
    let twice = held.iter().any(|resource| {
        resource.kind == Kind::User && resource.external_id == Some(anchor.to_string())
    });
    if request.method == Method::Post && twice {
        state.violated(format!("I-2: {anchor} is created a second time"));
    }
}

/// The same for the role.
fn check_role(state: &mut State, request: &Request, anchor: Uuid) {
    let Some(group) = state.rules.giver() else {
        return;
    };
    let of_role = |op: &str| {
        operations(request).iter().any(|operation| {
            let path = operation["path"].as_str().unwrap_or_default();
            path.starts_with("roles") && operation["op"] == op
        })
    };
    let created = request.body.as_ref().map(|body| &body["roles"]);
    let gives = of_role("add") || created.is_some_and(|roles| roles.is_array());
    let takes = of_role("remove");
    let models = [&state.before, &state.model];
    let have =
        models.map(|model| expected::have_the_role(model, &state.rules, group).contains(&anchor));
    if takes && have == [true; 2] {
        state.violated(format!("I-3: {anchor} loses the role, and is in its group"));
    }
    if gives && have == [false; 2] && state.tells_all() {
        state.violated(format!("{anchor} gets the role, and is not in its group"));
    }
}

/// The same for members of groups.
fn check_members(state: &mut State, request: &Request, group: Uuid, held: &[Resource]) {
    let (added, removed) = given_members(request);
    if added.is_empty() && removed.is_empty() {
        return;
    }
    let models = [&state.before, &state.model];
    let wanted = models.map(|model| expected::members(model, &state.rules, group));
    let of = |id: &String| {
        let resource = held.iter().find(|resource| resource.id == *id)?;
        Some((resource.kind, resource.anchor()?))
    };
    let mut wrong = Vec::new();
    for id in &removed {
        if of(id).is_some_and(|member| wanted.iter().all(|wanted| wanted.contains(&member))) {
            wrong.push(format!(
                "I-3: {id} is taken out of group {group}, and belongs there"
            ));
        }
    }
    // By a read that was cut off or not true a group may name somebody under a name that he has no more.
    let is_told = state.tells_all();
    for id in added.iter().filter(|_| is_told) {
        if of(id).is_some_and(|member| wanted.iter().all(|wanted| !wanted.contains(&member))) {
            wrong.push(format!(
                "{id} is put into group {group}, and does not belong there"
            ));
        }
    }
    for what in wrong {
        state.violated(what);
    }
}

#[async_trait]
impl Provider for Scripted {
    async fn discover(&self) -> Result<Capabilities, Refusal> {
        self.begin_read().await?;
        Ok(Capabilities {
            patch: Some(true),
            filter: Some(true),
            ..Capabilities::default()
        })
    }

    async fn submit(&self, request: &Request, _: Lane) -> Outcome {
        self.site.disk().step().await;
        tokio::task::yield_now().await;
        self.counts[1].fetch_add(1, Ordering::Relaxed);
        let subject = self.check(request).await;
        let fate = fate(&mut self.site.lock(), subject);
        let happens = matches!(fate, Fate::Fine | Fate::AnswerLost | Fate::FailsAfter);
        let call = call(request);
        let line = format!(
            "  {} {} {} {fate:?}",
            call.method,
            call.path,
            call.body.as_ref().map(Json::to_string).unwrap_or_default()
        );
        let outcome = match happens {
            true => self.carry_out(request, call),
            false => Outcome::Unknown(refusal(Fault::Transient, None, "the request was lost")),
        };
        let unknown = |status| Outcome::Unknown(refusal(Fault::Transient, status, "unclear"));
        let refused = |fault, status| Outcome::Refused(refusal(fault, status, "refused"));
        let outcome = match fate {
            Fate::Fine | Fate::RequestLost => outcome,
            Fate::AnswerLost => unknown(None),
            Fate::FailsAfter => unknown(Some(500)),
            Fate::FailsBefore => unknown(Some(503)),
            Fate::Throttled => refused(Fault::Throttled, Some(429)),
            Fate::NotSent => refused(Fault::Transient, None),
            Fate::Rejected => refused(Fault::Rejected, Some(400)),
            Fate::Forbidden => refused(Fault::Rejected, Some(403)),
            Fate::Denied => refused(Fault::Denied, Some(401)),
        };
        if let (Outcome::Refused(refusal), Some(id)) = (&outcome, &request.id)
            && refusal.fault == Fault::Rejected
            && let Some(anchor) = given_external_id(request).and_then(|given| given.parse().ok())
        {
            let mut state = self.site.lock();
            state.ours.insert(id.clone());
            state.unmarked.insert(id.clone(), anchor);
        }
        let told = match &outcome {
            Outcome::Acknowledged { .. } => "done".to_owned(),
            Outcome::Refused(refusal) => format!("refused {:?}", refusal.status),
            Outcome::Unknown(refusal) => format!("unknown {:?}", refusal.status),
        };
        self.site.lock().note(format!("{line}: {told}"));
        self.site.disk().step().await;
        outcome
    }

    fn together_max(&self) -> usize {
        1
    }

    async fn submit_together(&self, _: &[Request], _: Lane) -> Option<Vec<Outcome>> {
        None
    }

    async fn find(
        &self,
        resource_type: ResourceType,
        by: LookupBy,
        value: &str,
        _: Lane,
    ) -> Result<Vec<Found>, Refusal> {
        self.begin_read().await?;
        let held = resources(self.site.target()).into_iter();
        let held = held.filter(|resource| resource.kind == kind_of(resource_type));
        let found = held.filter_map(|resource| Found::from_json(&resource.body));
        let is_meant = |found: &Found| match (by, resource_type) {
            (LookupBy::ExternalId, _) => found.external_id.as_deref() == Some(value),
            (LookupBy::Name, ResourceType::Group) => found.name.as_deref() == Some(value),
            (LookupBy::Name, ResourceType::User) => same(found.name.as_deref(), value),
            (LookupBy::Email, _) => same(found.email.as_deref(), value),
        };
        Ok(found.filter(is_meant).collect())
    }

    async fn get(&self, resource_type: ResourceType, id: &str) -> Result<Option<Json>, Refusal> {
        self.begin_read().await?;
        let held = resources(self.site.target()).into_iter();
        let mut held = held.filter(|resource| resource.kind == kind_of(resource_type));
        Ok(held
            .find(|resource| resource.id == id)
            .map(|resource| resource.body))
    }

    async fn list(
        &self,
        resource_type: ResourceType,
        start: Option<&Start>,
    ) -> Result<Page, Refusal> {
        self.begin_read().await?;
        let before = match start {
            Some(Start::Index(index)) => usize::try_from(*index).unwrap() - 1,
            _ => 0,
        };
        let held = resources(self.site.target()).into_iter();
        let held = held.filter(|resource| resource.kind == kind_of(resource_type));
        let all: Vec<Json> = held.map(|resource| resource.body).collect();
        let next = before + PAGE;
        Ok(Page {
            next: (next < all.len()).then_some(Start::Index(next as u64 + 1)),
            total: Some(all.len() as u64),
            resources: all.into_iter().skip(before).take(PAGE).collect(),
        })
    }

    async fn ask(
        &self,
        _: ResourceType,
        _: Vec<(&'static str, Json)>,
    ) -> Result<ListPage, Refusal> {
        Err(refusal(Fault::Rejected, Some(400), "nobody tries it here"))
    }

    fn in_manner(&self, _: Dialect) -> Box<dyn Provider> {
        Box::new(self.clone())
    }

    fn puts(&self, _: ResourceType) -> bool {
        false
    }

    fn counts(&self) -> RequestCounts {
        RequestCounts {
            read: self.counts[0].load(Ordering::Relaxed),
            write: self.counts[1].load(Ordering::Relaxed),
        }
    }
}

fn same(held: Option<&str>, value: &str) -> bool {
    held.is_some_and(|held| held.to_lowercase() == value.to_lowercase())
}

impl Scripted {
    /// Carries a request out, and notes what is ours by it.
    fn carry_out(&self, request: &Request, call: Call) -> Outcome {
        let outcome = outcome(request, self.site.target().handle(call));
        if let Outcome::Acknowledged { id, .. } = &outcome {
            let id = id.as_ref().or(request.id.as_ref());
            self.site.lock().ours.extend(id.cloned());
        }
        outcome
    }
}
