//! The resources in memory, and the indexes that make a look-up among 100,000 of them cheap.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, SecondsFormat, Utc};
use scim_v2::filter::{AttrExp, CompValue, CompareOp, Filter};
use serde_json::{Value, json};

use crate::demo::target::answer::Object;

/// The two resource types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    User,
    Group,
}

impl Kind {
    /// The name of the resource type.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// The path of the collection.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::User => "/Users",
            Self::Group => "/Groups",
        }
    }
}

/// One resource. Members stand beside the JSON, so that one more among 100,000 costs one insertion.
#[derive(Debug, Clone)]
pub struct Record {
    pub kind: Kind,
    pub id: String,
    pub created: DateTime<Utc>,
    pub modified: DateTime<Utc>,
    /// The attributes in the schema's spelling, without `id`, `meta`, `schemas` and `members`.
    pub attributes: Object,
    pub members: BTreeMap<String, Kind>,
}

impl Record {
    /// One attribute as the client sees it; `base` is the SCIM base URL.
    pub fn attribute(&self, name: &str, base: &str) -> Option<Value> {
        match name {
            "id" => Some(self.id.as_str().into()),
            "meta" => Some(json!({
                "resourceType": self.kind.name(),
                "created": timestamp(self.created),
                "lastModified": timestamp(self.modified),
                "location": self.location(base),
            })),
            "members" if self.members.is_empty() => None,
            "members" => {
                let members = self.members.iter();
                Some(members.map(|(id, kind)| member(id, *kind, base)).collect())
            }
            _ => self.attributes.get(name).cloned(),
        }
    }

    /// The URL of the resource.
    pub fn location(&self, base: &str) -> String {
        format!("{base}{}/{}", self.kind.endpoint(), self.id)
    }

    fn external_id(&self) -> Option<&str> {
        self.attributes.get("externalId")?.as_str()
    }

    /// The key under which a user's name is unique: `userName` is not case exact.
    pub fn user_name_key(&self) -> Option<String> {
        Some(self.attributes.get("userName")?.as_str()?.to_lowercase())
    }
}

/// One member of a group as the client sees it.
pub fn member(id: &str, kind: Kind, base: &str) -> Value {
    json!({
        "value": id,
        "type": kind.name(),
        "$ref": format!("{base}{}/{id}", kind.endpoint()),
    })
}

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// All resources of one type, in the order of their creation.
#[derive(Debug, Default)]
pub struct Collection {
    records: BTreeMap<u64, Record>,
    by_id: HashMap<String, u64>,
    by_user_name: HashMap<String, u64>,
    by_external_id: HashMap<String, BTreeSet<u64>>,
}

impl Collection {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub fn get(&self, id: &str) -> Option<&Record> {
        self.records.get(self.by_id.get(id)?)
    }

    /// The user of that name, in any case.
    pub fn named(&self, key: &str) -> Option<&Record> {
        self.records.get(self.by_user_name.get(key)?)
    }

    /// Puts a record at its place, which [`Self::take`] gave or which is new.
    pub fn put(&mut self, place: u64, record: Record) {
        self.by_id.insert(record.id.clone(), place);
        if let Some(key) = record.user_name_key() {
            self.by_user_name.insert(key, place);
        }
        if let Some(external_id) = record.external_id() {
            let places = self.by_external_id.entry(external_id.to_owned());
            places.or_default().insert(place);
        }
        self.records.insert(place, record);
    }

    /// Takes a record out, to be changed or deleted.
    pub fn take(&mut self, id: &str) -> Option<(u64, Record)> {
        let place = self.by_id.remove(id)?;
        let record = self.records.remove(&place)?;
        if let Some(key) = record.user_name_key() {
            self.by_user_name.remove(&key);
        }
        if let Some(external_id) = record.external_id()
            && let Some(places) = self.by_external_id.get_mut(external_id)
        {
            places.remove(&place);
            if places.is_empty() {
                self.by_external_id.remove(external_id);
            }
        }
        Some((place, record))
    }

    /// Removes a member from every group.
    pub fn forget_member(&mut self, id: &str) {
        for record in self.records.values_mut() {
            if record.members.remove(id).is_some() {
                record.modified = Utc::now();
            }
        }
    }

    /// The records that a filter can match: few where an index answers, all otherwise.
    pub fn candidates(&self, filter: &Filter) -> Box<dyn Iterator<Item = &Record> + '_> {
        let Filter::Attr(AttrExp::Comparison(path, CompareOp::Eq, CompValue::Str(value))) = filter
        else {
            return Box::new(self.iter());
        };
        if path.uri.is_some() || path.sub_attr.is_some() {
            return Box::new(self.iter());
        }
        match path.name.to_ascii_lowercase().as_str() {
            "id" => Box::new(self.get(value).into_iter()),
            "username" => Box::new(self.named(&value.to_lowercase()).into_iter()),
            "externalid" => {
                let places = self.by_external_id.get(value);
                let places = places.into_iter().flatten();
                Box::new(places.filter_map(|place| self.records.get(place)))
            }
            _ => Box::new(self.iter()),
        }
    }
}
