//! Evidence: what experiments with a target show of its manner, judged from what was sent and what was read back.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::scim::dialect::{Dialect, ElementUpdates, MemberRemovals, PatchPaths, Updates};
use crate::scim::path::AttributePath;
use crate::scim::resource::{Found, ListPage, attribute, member_ids, project};
use crate::scim::{Attributes, ResourceType, Value};

/// Numbers of members or operations that are tried one after the other: the known limits of services are among them.
const SIZES: [usize; 5] = [101, 100, 10, 2, 1];

/// Something that the relay does with a resource, and that targets want in different manners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A value that is there gets another one.
    Change,
    /// An account is activated or deactivated.
    Activate,
    /// An element of a multi-valued attribute changes, leaves or comes.
    Element,
    /// A value of an extension changes.
    Extension,
    /// A value leaves, or comes back.
    Remove,
    /// Members come into a group.
    AddMembers,
    /// Members leave a group.
    RemoveMembers,
}

/// Other manners in which a deed may work where it does not in this one; those that differ least first.
pub fn other_manners(deed: Deed, resource_type: ResourceType, present: &Dialect) -> Vec<Dialect> {
    let mut manners = Vec::new();
    let mut add = |change: &dyn Fn(&mut Dialect)| {
        let mut manner = present.clone();
        change(&mut manner);
        if manner != *present && !manners.contains(&manner) {
            manners.push(manner);
        }
    };
    match deed {
        Deed::Activate => add(&|manner| manner.booleans_as_text = !manner.booleans_as_text),
        Deed::Element => {
            add(&|manner| manner.element_updates = ElementUpdates::Whole);
            add(&|manner| {
                manner.element_updates = ElementUpdates::Whole;
                manner.element_types = false;
            });
        }
        Deed::RemoveMembers => {
            add(&|manner| manner.member_removals = MemberRemovals::Values);
            add(&|manner| manner.member_removals = MemberRemovals::Filter);
        }
        Deed::Change | Deed::Extension | Deed::Remove | Deed::AddMembers => {}
    }
    if !matches!(deed, Deed::Activate | Deed::Element) {
        add(&|manner| manner.capital_operations = !manner.capital_operations);
    }
    if deed != Deed::RemoveMembers && deed != Deed::Remove {
        for paths in [PatchPaths::Always, PatchPaths::Core, PatchPaths::Never] {
            add(&|manner| manner.patch_paths = paths);
        }
    }
    if resource_type == ResourceType::Group {
        for updates in [Updates::Patch, Updates::Put] {
            add(&|manner| manner.group_updates = updates);
        }
    }
    manners
}

/// The sizes to try where the dialect has this one: itself or the first one that tells more, and smaller ones.
pub fn sizes(present: usize) -> Vec<usize> {
    let most = present.min(SIZES[0]);
    let smaller = SIZES.into_iter().filter(|size| *size < most);
    std::iter::once(most).chain(smaller).collect()
}

/// What a target keeps of the attributes that a resource was created with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Attributes that it does not show again as they were sent.
    pub omitted: BTreeSet<AttributePath>,
    /// Multi-valued attributes of which it shows one element only.
    pub single_valued: BTreeSet<String>,
    /// Whether elements lost their `type`.
    pub without_types: bool,
}

/// Compares what was sent with what is read back.
pub fn kept(sent: &Attributes, read: &Json, dialect: &Dialect) -> Kept {
    let shown = held(read, sent.keys(), dialect);
    let mut kept = Kept::default();
    let is_kept = |path: &AttributePath, shown: &Attributes| {
        let pair = sent.get(path).zip(shown.get(path));
        pair.is_some_and(|(sent, shown)| same(path, sent, shown))
    };
    for path in sent.keys().filter(|path| !is_kept(path, &shown)) {
        if dialect.element_types && loses_type(path, sent, read) {
            kept.without_types = true;
        } else {
            kept.omitted.insert(path.clone());
        }
    }
    for path in sent.keys().filter(|path| path.element.is_some()) {
        let same_list = |other: &&AttributePath| other.urn.is_none() && other.name == path.name;
        let mut elements: BTreeSet<&Option<String>> = BTreeSet::new();
        elements.extend(sent.keys().filter(same_list).map(|other| &other.element));
        let count = attribute(read, &path.name)
            .and_then(Json::as_array)
            .map_or(0, Vec::len);
        // Elements without types cannot be told apart, so that only one of them can be kept.
        let is_one = count == 1 || !dialect.element_types || kept.without_types;
        if path.urn.is_none() && elements.len() > 1 && count > 0 && is_one {
            kept.omitted
                .retain(|omitted| omitted.urn.is_some() || omitted.name != path.name);
            kept.single_valued.insert(path.name.clone());
        }
    }
    kept
}

/// The values of attributes that a resource shows.
pub fn held<'a>(
    resource: &Json,
    paths: impl IntoIterator<Item = &'a AttributePath>,
    dialect: &Dialect,
) -> Attributes {
    project(resource, paths, |_, _| true, dialect)
}

/// Whether the value of an element is there in one without a type.
fn loses_type(path: &AttributePath, sent: &Attributes, read: &Json) -> bool {
    let (Some(_), None, Some(elements)) = (
        &path.element,
        &path.urn,
        attribute(read, &path.name).and_then(Json::as_array),
    ) else {
        return false;
    };
    let sub = path.sub.as_deref().unwrap_or("value");
    let text = sent.get(path).and_then(Value::as_text);
    elements.iter().any(|element| {
        let kind = attribute(element, "type").and_then(Json::as_str);
        let value = attribute(element, sub).and_then(Json::as_str);
        kind.is_none_or(str::is_empty) && value.is_some() && value == text
    })
}

/// Whether a resource shows what it shall; names and addresses may come back in small letters.
pub fn agrees(wanted: &Attributes, shown: &Attributes) -> bool {
    let is_same = |(path, value): (&AttributePath, &Value)| {
        shown
            .get(path)
            .is_some_and(|shown| same(path, value, shown))
    };
    wanted.iter().all(is_same) && shown.keys().all(|path| wanted.contains_key(path))
}

fn same(path: &AttributePath, one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) if is_caseless(path) => {
            one.eq_ignore_ascii_case(other)
        }
        _ => one == other,
    }
}

fn is_caseless(path: &AttributePath) -> bool {
    path.urn.is_none() && ["userName", "emails"].contains(&path.name.as_str())
}

/// What a filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// It finds what has the value, and nothing else.
    Works,
    /// It does not find what has the value.
    FindsNothing,
    /// It gives what does not have the value.
    Ignored,
}

/// Judges the answer to a filter by a value that just one resource has.
pub fn filtering(page: &ListPage, wanted: &str) -> Filtering {
    let found = page.resources.iter().filter_map(Found::from_json);
    let (hits, others): (Vec<_>, Vec<_>) = found.partition(|found| found.id == wanted);
    match (hits.is_empty(), others.is_empty()) {
        (_, false) => Filtering::Ignored,
        (true, true) => Filtering::FindsNothing,
        (false, true) => Filtering::Works,
    }
}

/// Whether two pages of one resource each are the pages that were asked for.
pub fn are_pages(first: &ListPage, second: &ListPage) -> bool {
    let only = |page: &ListPage| match page.resources.as_slice() {
        [resource] => Found::from_json(resource).map(|found| found.id),
        _ => None,
    };
    only(first)
        .zip(only(second))
        .is_some_and(|(first, second)| first != second)
}

/// Whether one answer has the whole list although a page was asked for, or none.
pub fn is_whole(page: &ListPage) -> bool {
    let count = page.resources.len() as u64;
    count > 1 && page.next_cursor.is_none() && page.total.is_none_or(|total| total == count)
}

/// What a group shows of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Just those that it shall have.
    AsWanted,
    /// None, though it shall have some.
    Empty,
    /// Others, or some of them more than once; the ids.
    Otherwise(Vec<String>),
}

/// Judges the members that a group shows.
pub fn membership(group: &Json, wanted: &[String]) -> Membership {
    let mut shown = member_ids(group).unwrap_or_default();
    let mut wanted = wanted.to_vec();
    shown.sort_unstable();
    wanted.sort_unstable();
    match shown == wanted {
        true => Membership::AsWanted,
        false if shown.is_empty() => Membership::Empty,
        false => Membership::Otherwise(shown),
    }
}

/// What the probe of a target found out.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ProbeReport")]
pub struct Findings {
    /// Whether every experiment was made.
    pub complete: bool,
    /// Why the probe ended before its time.
    pub error: Option<String>,
    /// Where the target wants to be spoken to in another manner than the tenant's dialect says.
    pub differences: Vec<Difference>,
    /// The tenant's `dialect` as it should be: what it says now, with the differences.
    pub dialect: serde_json::Map<String, Json>,
    /// What else was noticed.
    pub notes: Vec<String>,
    /// What the probe created and could not remove.
    pub left_behind: Vec<Leftover>,
    /// Requests that were sent.
    pub requests: u64,
}

/// One field of the dialect that should be another.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "ProbeDifference")]
pub struct Difference {
    /// The field of `dialect`.
    pub field: String,
    /// What it is.
    pub present: Json,
    /// What it should be.
    pub found: Json,
    /// The experiments that show it.
    pub evidence: Vec<Experiment>,
}

/// One experiment in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "ProbeExperiment")]
pub struct Experiment {
    /// What was sent.
    pub request: String,
    /// What came of it.
    pub answer: String,
    /// What should have come of it.
    pub expected: String,
}

impl std::fmt::Display for Experiment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            request,
            answer,
            expected,
        } = self;
        write!(f, "{request}: {answer} (expected: {expected})")
    }
}

/// A resource that the probe created and could not remove.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "ProbeLeftover")]
pub struct Leftover {
    /// The endpoint: Users or Groups.
    pub endpoint: String,
    /// Its id, where it is known.
    pub id: Option<String>,
    /// Its userName or displayName.
    pub name: String,
    /// Why it is still there, and how it is removed by hand.
    pub cure: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn attributes(rows: &[(&str, &str)]) -> Attributes {
        rows.iter()
            .map(|(path, value)| {
                let path = AttributePath::from_rule(path).unwrap();
                (path, Value::Text((*value).to_owned()))
            })
            .collect()
    }

    fn paths(names: &[&str]) -> BTreeSet<AttributePath> {
        names
            .iter()
            .map(|name| AttributePath::from_rule(name).unwrap())
            .collect()
    }

    #[test]
    fn target_probe_evidence_tells_what_is_kept() {
        let sent = attributes(&[
            ("username", "ann"),
            ("title", "T"),
            ("email", "ann@x"),
            ("phone", "1"),
            ("mobile", "2"),
        ]);
        let all = json!({
            "userName": "ANN", "title": "T", "emails": [{"type": "work", "value": "ann@x"}],
            "phoneNumbers": [{"type": "work", "value": "1"}, {"type": "mobile", "value": "2"}],
        });
        let dialect = Dialect::default();
        assert_eq!(kept(&sent, &all, &dialect), Kept::default());

        let mut other = all.clone();
        other["title"] = json!("another");
        other["emails"] = json!([{"value": "ann@x"}]);
        other["phoneNumbers"] = json!([{"type": "work", "value": "1"}]);
        let expected = Kept {
            omitted: paths(&["title"]),
            single_valued: BTreeSet::from(["phoneNumbers".to_owned()]),
            without_types: true,
        };
        assert_eq!(kept(&sent, &other, &dialect), expected);

        other["phoneNumbers"] = json!([{"value": "1"}, {"value": "2"}]);
        assert_eq!(kept(&sent, &other, &dialect), expected);

        other["phoneNumbers"] = json!([]);
        let nothing = kept(&sent, &other, &dialect);
        assert_eq!(nothing.omitted, paths(&["title", "phone", "mobile"]));
        assert!(nothing.single_valued.is_empty());
    }

    #[test]
    fn target_probe_evidence_of_a_change_is_the_whole_resource() {
        let wanted = attributes(&[("username", "ann"), ("title", "T")]);
        assert!(agrees(
            &wanted,
            &attributes(&[("username", "Ann"), ("title", "T")])
        ));
        for shown in [
            &[("username", "ann"), ("title", "t")][..],
            &[("username", "ann")],
            &[("username", "ann"), ("title", "T"), ("nickName", "n")],
        ] {
            assert!(!agrees(&wanted, &attributes(shown)), "{shown:?}");
        }
    }

    #[test]
    fn target_probe_evidence_of_filters_and_pages() {
        let page = |ids: &[&str], total| ListPage {
            total,
            resources: ids.iter().map(|id| json!({ "id": id })).collect(),
            next_cursor: None,
        };
        for (ids, verdict) in [
            (&["1"][..], Filtering::Works),
            (&[], Filtering::FindsNothing),
            (&["1", "2"], Filtering::Ignored),
            (&["2"], Filtering::Ignored),
        ] {
            assert_eq!(filtering(&page(ids, None), "1"), verdict, "{ids:?}");
        }
        assert!(are_pages(&page(&["1"], Some(2)), &page(&["2"], Some(2))));
        assert!(!are_pages(&page(&["1"], Some(2)), &page(&["1"], Some(2))));
        assert!(!are_pages(
            &page(&["1", "2"], Some(2)),
            &page(&["2"], Some(2))
        ));
        assert!(is_whole(&page(&["1", "2"], Some(2))) && is_whole(&page(&["1", "2"], None)));
        assert!(!is_whole(&page(&["1", "2"], Some(3))) && !is_whole(&page(&["1"], Some(1))));
    }

    #[test]
    fn target_probe_evidence_of_members() {
        let wanted = ["a".to_owned(), "b".to_owned()];
        let of = |ids: &[&str]| {
            let members: Vec<Json> = ids.iter().map(|id| json!({ "value": id })).collect();
            membership(&json!({ "members": members }), &wanted)
        };
        assert_eq!(of(&["b", "a"]), Membership::AsWanted);
        assert_eq!(of(&[]), Membership::Empty);
        assert_eq!(membership(&json!({}), &wanted), Membership::Empty);
        for ids in [&["a"][..], &["a", "b", "b"], &["a", "b", "c"]] {
            assert!(matches!(of(ids), Membership::Otherwise(_)), "{ids:?}");
        }
    }

    #[test]
    fn target_probe_tries_manners_that_differ_and_sizes_that_shrink() {
        let present = Dialect::default();
        for deed in [
            Deed::Change,
            Deed::Activate,
            Deed::Element,
            Deed::AddMembers,
            Deed::RemoveMembers,
        ] {
            let manners = other_manners(deed, ResourceType::Group, &present);
            assert!(
                !manners.is_empty() && !manners.contains(&present),
                "{deed:?}"
            );
        }
        let manners = other_manners(Deed::RemoveMembers, ResourceType::Group, &present);
        assert_eq!(manners[0].member_removals, MemberRemovals::Values);
        assert_eq!(sizes(1_000), [101, 100, 10, 2, 1]);
        assert_eq!(sizes(100), [100, 10, 2, 1]);
        assert_eq!(sizes(50), [50, 10, 2, 1]);
        assert_eq!(sizes(1), [1]);
    }
}
