//! The operations of the service provider on its resources (RFC 7644 section 3).
use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use serde_json::Value;
use uuid::Uuid;

use crate::demo::target::answer::{Answer, Call, Object, Refusal};
use crate::demo::target::records::{Collection, Kind, Record};
use crate::demo::target::schema::{Schemas, Shape};
use crate::demo::target::{Counters, Options, discovery, filter, patch};

/// The resources and all that is needed to answer calls about them.
pub struct Provider {
    schemas: Schemas,
    users: Collection,
    groups: Collection,
    base: String,
    seed: Uuid,
    /// Resources made so far; the next one's place in its collection.
    made: u64,
    page_size: usize,
    patch_answers_resource: bool,
}

/// Which attributes an answer has (RFC 7644 section 3.9), by top-level name: a sub-attribute selects the whole.
enum Selection {
    All,
    Only(Vec<String>),
    Without(Vec<String>),
}

impl Selection {
    fn of(call: &Call) -> Self {
        let names = |list: &str| -> Vec<String> {
            let names = list.split(',').map(str::trim);
            // A URN has dots of its own, so it is cut at the dot behind its last colon only.
            names
                .map(|name| match name.rsplit_once(':') {
                    Some((urn, name)) => {
                        format!("{urn}:{}", name.split('.').next().unwrap_or(name))
                    }
                    None => name.split('.').next().unwrap_or(name).to_owned(),
                })
                .collect()
        };
        match (
            call.parameter("attributes"),
            call.parameter("excludedAttributes"),
        ) {
            (Some(list), _) => Self::Only(names(list)),
            (None, Some(list)) => Self::Without(names(list)),
            (None, None) => Self::All,
        }
    }

    /// Whether the attribute is in the answer; `id` and `schemas` always are.
    fn has(&self, name: &str) -> bool {
        let lists = |names: &[String]| {
            // Part of an extension selects the extension.
            let is_part = |selected: &str| {
                let head = selected.get(..name.len());
                name.contains(':')
                    && head.is_some_and(|head| head.eq_ignore_ascii_case(name))
                    && selected[name.len()..].starts_with(':')
            };
            names
                .iter()
                .any(|selected| selected.eq_ignore_ascii_case(name) || is_part(selected))
        };
        match self {
            Self::All => true,
            Self::Only(names) => lists(names),
            Self::Without(names) => !names
                .iter()
                .any(|excluded| excluded.eq_ignore_ascii_case(name)),
        }
    }
}

impl Provider {
    pub fn new(options: &Options) -> Self {
        Self {
            schemas: Schemas::new(&options.extra_user_attributes),
            users: Collection::default(),
            groups: Collection::default(),
            base: String::new(),
            seed: options.seed,
            made: 0,
            page_size: options.page_size,
            patch_answers_resource: options.patch_answers_resource,
        }
    }

    pub fn set_base_url(&mut self, url: &str) {
        self.base = url.trim_end_matches('/').to_owned();
    }

    /// Answers one call.
    ///
    /// # Errors
    /// The refusal; nothing has changed then.
    pub fn answer(&mut self, call: &Call) -> Result<Answer, Refusal> {
        let mut segments = call.path.trim_matches('/').split('/');
        let place = (
            segments.next().unwrap_or_default(),
            segments.next(),
            segments.next(),
        );
        let kind = match place {
            ("Users", _, None) => Kind::User,
            ("Groups", _, None) => Kind::Group,
            (endpoint, id, None) => return self.discover(call, endpoint, id),
            _ => return Err(Refusal::not_found(&call.path)),
        };
        match (call.method.as_str(), place.1) {
            ("GET", None) => self.list(kind, call),
            ("GET", Some(id)) => self.read(kind, id, call),
            ("POST", None) => self.create(kind, object(call)?),
            ("PUT", Some(id)) => self.replace(kind, id, object(call)?),
            ("PATCH", Some(id)) => self.patch(kind, id, call),
            ("DELETE", Some(id)) => self.delete(kind, id),
            _ => Err(method_not_allowed(call)),
        }
    }

    fn discover(&self, call: &Call, endpoint: &str, id: Option<&str>) -> Result<Answer, Refusal> {
        let resources = match endpoint {
            "ServiceProviderConfig" if id.is_none() => Vec::new(),
            "Schemas" => discovery::schemas(&self.schemas, &self.base),
            "ResourceTypes" => discovery::resource_types(&self.base),
            _ => return Err(Refusal::not_found(&call.path)),
        };
        if call.method != "GET" {
            return Err(method_not_allowed(call));
        }
        if endpoint == "ServiceProviderConfig" {
            return Ok(Answer::new(
                200,
                discovery::service_provider_config(&self.base),
            ));
        }
        let Some(id) = id else {
            let total = resources.len();
            return Ok(Answer::new(200, discovery::list(resources, total, 1)));
        };
        let found = resources.into_iter().find(|resource| resource["id"] == id);
        let found = found.ok_or_else(|| Refusal::not_found(&call.path))?;
        Ok(Answer::new(200, found))
    }

    fn list(&self, kind: Kind, call: &Call) -> Result<Answer, Refusal> {
        let number = |name: &'static str| match call.parameter(name).map(str::parse::<i64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(usize::try_from(number).unwrap_or(0))),
            Some(Err(_)) => Err(Refusal::bad(
                "invalidValue",
                format!("{name} must be a whole number"),
            )),
        };
        let start = number("startIndex")?.unwrap_or(1).max(1);
        let count = number("count")?
            .unwrap_or(self.page_size)
            .min(discovery::MAX_RESULTS);
        let selection = Selection::of(call);
        let shape = self.shape(kind);
        let show = |record: &Record| self.render(record, &selection);
        let collection = self.collection(kind);
        let (total, page): (usize, Vec<Value>) = match call.parameter("filter") {
            None => {
                let page = collection.iter().skip(start - 1).take(count);
                (collection.len(), page.map(show).collect())
            }
            Some(text) => {
                let filter = filter::parse(text, shape)?;
                let candidates = collection.candidates(&filter);
                let found: Vec<&Record> = candidates
                    .filter(|record| filter::matches(&filter, shape, record))
                    .collect();
                let page = found.iter().skip(start - 1).take(count);
                (found.len(), page.map(|record| show(record)).collect())
            }
        };
        Ok(Answer::new(200, discovery::list(page, total, start)))
    }

    fn read(&self, kind: Kind, id: &str, call: &Call) -> Result<Answer, Refusal> {
        let record = self
            .collection(kind)
            .get(id)
            .ok_or_else(|| missing(kind, id))?;
        Ok(self.shown(200, record, &Selection::of(call)))
    }

    fn create(&mut self, kind: Kind, resource: &Object) -> Result<Answer, Refusal> {
        let (attributes, members) = self.admit(kind, resource)?;
        let now = Utc::now();
        self.made += 1;
        let record = Record {
            kind,
            id: Uuid::new_v5(&self.seed, &self.made.to_be_bytes()).to_string(),
            created: now,
            modified: now,
            attributes,
            members,
        };
        self.refuse_taken_name(&record)?;
        let mut answer = self.shown(201, &record, &Selection::All);
        answer.location = Some(record.location(&self.base));
        let place = self.made;
        self.collection_mut(kind).put(place, record);
        Ok(answer)
    }

    fn replace(&mut self, kind: Kind, id: &str, resource: &Object) -> Result<Answer, Refusal> {
        if self.collection(kind).get(id).is_none() {
            return Err(missing(kind, id));
        }
        let (attributes, members) = self.admit(kind, resource)?;
        self.change(kind, id, |record, _, _| {
            record.attributes = attributes;
            record.members = members;
            Ok(true)
        })?;
        self.read(kind, id, &Call::new("GET", ""))
    }

    fn patch(&mut self, kind: Kind, id: &str, call: &Call) -> Result<Answer, Refusal> {
        let body = call.body.as_ref().unwrap_or(&Value::Null);
        self.change(kind, id, |record, shape, resolve| {
            patch::apply(record, shape, body, resolve)
        })?;
        if self.patch_answers_resource {
            return self.read(kind, id, call);
        }
        Ok(Answer::no_content())
    }

    /// Changes a record, which is outside its collection meanwhile: so a group cannot become its own member.
    /// `change` says whether there was a change, and takes its changes of members back itself when it refuses.
    fn change(
        &mut self,
        kind: Kind,
        id: &str,
        change: impl FnOnce(&mut Record, &Shape, &dyn Fn(&str) -> Option<Kind>) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let taken = self.collection_mut(kind).take(id);
        let (place, mut record) = taken.ok_or_else(|| missing(kind, id))?;
        let before = record.attributes.clone();
        let resolve = |id: &str| self.kind_of(id);
        let done = change(&mut record, self.shape(kind), &resolve).and_then(|changed| {
            self.refuse_taken_name(&record)?;
            Ok(changed)
        });
        match &done {
            Ok(true) => record.modified = Utc::now(),
            Ok(false) => {}
            Err(_) => record.attributes = before,
        }
        self.collection_mut(kind).put(place, record);
        done.map(|_| ())
    }

    fn delete(&mut self, kind: Kind, id: &str) -> Result<Answer, Refusal> {
        let taken = self.collection_mut(kind).take(id);
        taken.ok_or_else(|| missing(kind, id))?;
        self.groups.forget_member(id);
        Ok(Answer::no_content())
    }

    fn admit(
        &self,
        kind: Kind,
        resource: &Object,
    ) -> Result<(Object, BTreeMap<String, Kind>), Refusal> {
        let mut attributes = self.shape(kind).admit(resource)?;
        let members = match kind {
            Kind::User => None,
            Kind::Group => attributes.remove("members"),
        };
        let members = patch::member_ids(&members.unwrap_or_default(), &|id| self.kind_of(id))?;
        Ok((attributes, members))
    }

    fn refuse_taken_name(&self, record: &Record) -> Result<(), Refusal> {
        let key = match record.kind {
            Kind::User => record.user_name_key(),
            Kind::Group => None,
        };
        if key.is_some_and(|key| self.users.named(&key).is_some()) {
            return Err(Refusal {
                status: 409,
                scim_type: Some("uniqueness"),
                detail: "the userName is already in use".to_owned(),
            });
        }
        Ok(())
    }

    fn kind_of(&self, id: &str) -> Option<Kind> {
        let mut kinds = [Kind::User, Kind::Group].into_iter();
        kinds.find(|kind| self.collection(*kind).get(id).is_some())
    }

    fn shape(&self, kind: Kind) -> &Shape {
        match kind {
            Kind::User => &self.schemas.user,
            Kind::Group => &self.schemas.group,
        }
    }

    fn collection(&self, kind: Kind) -> &Collection {
        match kind {
            Kind::User => &self.users,
            Kind::Group => &self.groups,
        }
    }

    fn collection_mut(&mut self, kind: Kind) -> &mut Collection {
        match kind {
            Kind::User => &mut self.users,
            Kind::Group => &mut self.groups,
        }
    }

    fn shown(&self, status: u16, record: &Record, selection: &Selection) -> Answer {
        Answer::new(status, self.render(record, selection))
    }

    fn render(&self, record: &Record, selection: &Selection) -> Value {
        let mut shown = Object::new();
        let schemas = filter::record_schemas(self.shape(record.kind), record);
        shown.insert("schemas".to_owned(), schemas.into());
        shown.insert("id".to_owned(), record.id.as_str().into());
        for (name, value) in &record.attributes {
            if selection.has(name) {
                shown.insert(name.clone(), value.clone());
            }
        }
        for name in ["members", "meta"] {
            if selection.has(name)
                && let Some(value) = record.attribute(name, &self.base)
            {
                shown.insert(name.to_owned(), value);
            }
        }
        shown.into()
    }

    pub fn snapshot(&self, kind: Kind) -> Vec<Value> {
        let records = self.collection(kind).iter();
        records
            .map(|record| self.render(record, &Selection::All))
            .collect()
    }

    pub fn user_named(&self, user_name: &str) -> Option<Value> {
        let record = self.users.named(&user_name.to_lowercase())?;
        Some(self.render(record, &Selection::All))
    }

    pub fn members(&self, group: &str) -> Option<BTreeSet<String>> {
        Some(self.groups.get(group)?.members.keys().cloned().collect())
    }

    pub fn counters(&self) -> Counters {
        Counters {
            users: self.users.len(),
            groups: self.groups.len(),
            members: self.groups.iter().map(|group| group.members.len()).sum(),
            ..Counters::default()
        }
    }
}

fn object(call: &Call) -> Result<&Object, Refusal> {
    let body = call.body.as_ref().and_then(Value::as_object);
    body.ok_or_else(|| Refusal::bad("invalidSyntax", "the body must be a JSON object"))
}

fn missing(kind: Kind, id: &str) -> Refusal {
    Refusal::not_found(&format!("{} {id}", kind.name()))
}

fn method_not_allowed(call: &Call) -> Refusal {
    Refusal {
        status: 405,
        scim_type: None,
        detail: format!("{} is not possible on {}", call.method, call.path),
    }
}
