//! How a target wants to be spoken to: differences between vendors are data.

use std::collections::BTreeSet;

use crate::scim::path::AttributePath;
use crate::scim::{Attributes, ResourceType};

use crate::scim::pace::Throttling;

/// The manner of one target. The default is RFC 7644 in the manner of the interoperability profile draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The name of the built-in dialect that it is, or begins with.
    pub base: String,
    /// How users are changed.
    pub user_updates: Updates,
    /// How groups are changed.
    pub group_updates: Updates,
    /// Which operations of a PATCH name what they change by a path.
    pub patch_paths: PatchPaths,
    /// Whether `op` begins with a capital letter, as before RFC 7644.
    pub capital_operations: bool,
    /// Whether booleans are sent as the texts `True` and `False`.
    pub booleans_as_text: bool,
    /// Most operations in one PATCH request.
    pub operations_per_request: usize,
    /// Most member values in one PATCH operation.
    pub members_per_operation: usize,
    /// Most member values in one PATCH request.
    pub members_per_request: usize,
    /// Most member values in the request that creates a group; none where the target ignores them there.
    pub members_per_create: usize,
    /// How a member is taken out.
    pub member_removals: MemberRemovals,
    /// Whether `members` of a read group are complete, so that they may be compared.
    pub members_readable: bool,
    /// How one element of a multi-valued attribute is changed.
    pub element_updates: ElementUpdates,
    /// Whether the elements of multi-valued attributes say their `type`.
    pub element_types: bool,
    /// Multi-valued attributes of which the target keeps one element only.
    pub single_valued: BTreeSet<String>,
    /// Attributes that the target does not keep: by name, or one part of them by path.
    pub omitted: BTreeSet<AttributePath>,
    /// Attributes of users that are sent on creation and cannot be changed.
    pub immutable_user_attributes: BTreeSet<AttributePath>,
    /// The same of groups.
    pub immutable_group_attributes: BTreeSet<AttributePath>,
    /// Whether no two groups may have one name.
    pub unique_group_names: bool,
    /// By which attributes of users the target filters; look-ups by others read the list.
    pub user_filters: BTreeSet<String>,
    /// The same of groups.
    pub group_filters: BTreeSet<String>,
    /// How lists are read.
    pub paging: Paging,
    /// Most resources asked for in one page of a list.
    pub page_resources: usize,
    /// Whether look-ups and lists are asked for by `POST .search` (RFC 7644 §3.4.3), so that values stay out of addresses.
    pub post_search: bool,
    /// Whether requests that write go together where the target takes that.
    pub bulk: Bulk,
    /// The media type of requests.
    pub content_type: String,
    /// What every request says besides, unless the tenant says otherwise.
    pub headers: Vec<(String, String)>,
    /// By what the target says "too many requests", besides 429 and 503.
    pub throttling: Vec<Throttling>,
    /// Whether the version of a resource is read before it is changed, and sent along as If-Match (RFC 7644 §3.14).
    pub if_match: bool,
}

/// How resources of a type are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updates {
    /// By PATCH, unless the target says that it has none (RFC 7643 §5).
    AsAdvertised,
    /// By PATCH (RFC 7644 §3.5.2).
    Patch,
    /// By PUT (RFC 7644 §3.5.1) of the resource as it was read, with the changes made, so that the rest stays.
    Put,
}

/// Which operations of a PATCH have a path; a removal always has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchPaths {
    /// All of them.
    Always,
    /// Those on the core schema; values of extensions stand under the extension's schema.
    Core,
    /// None: what is changed stands in the value.
    Never,
}

impl PatchPaths {
    /// Whether an operation names an attribute by its path; else what changes stands in the value.
    pub fn names(self, path: &AttributePath) -> bool {
        match self {
            Self::Always => true,
            Self::Core => path.urn.is_none(),
            Self::Never => false,
        }
    }
}

/// How a member is taken out of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRemovals {
    /// `members[value eq "..."]`, one operation for each.
    Filter,
    /// `members` with the list of those to take out, as before RFC 7644.
    Values,
}

/// How one element of a multi-valued attribute is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementUpdates {
    /// By a path with the element's type.
    Filter,
    /// All elements that the relay maintains are sent anew, in place of those that are there.
    Whole,
}

/// How lists are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// By index, unless the target says that it has cursors only.
    AsAdvertised,
    /// By `startIndex` (RFC 7644 §3.4.2.4).
    Index,
    /// By `cursor` (RFC 9865).
    Cursor,
    /// Not at all: one answer has everything.
    None,
}

/// Whether requests that write go together (RFC 7644 §3.7), where the target says that it takes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// Each goes alone.
    Never,
    /// Together; groups follow when their members are there.
    WithoutReferences,
    /// Together, and groups with the users who are created with them (RFC 7644 §3.7.2, `bulkId`).
    WithReferences,
}

/// The name of the dialect that is spoken where nothing else is said.
pub const DEFAULT: &str = "rfc7644";

impl Default for Dialect {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            base: DEFAULT.to_owned(),
            user_updates: Updates::AsAdvertised,
            group_updates: Updates::AsAdvertised,
            patch_paths: PatchPaths::Always,
            capital_operations: false,
            booleans_as_text: false,
            operations_per_request: 1_000,
            members_per_operation: 100,
            members_per_request: 1_000,
            // Half of the mebibyte that common gateways let pass, with ids that are UUIDs.
            members_per_create: 10_000,
            member_removals: MemberRemovals::Filter,
            members_readable: true,
            element_updates: ElementUpdates::Filter,
            element_types: true,
            single_valued: BTreeSet::new(),
            omitted: BTreeSet::new(),
            immutable_user_attributes: BTreeSet::new(),
            immutable_group_attributes: BTreeSet::new(),
            unique_group_names: false,
            user_filters: names(&["externalId", "userName", "emails.value"]),
            group_filters: names(&["externalId", "displayName"]),
            paging: Paging::AsAdvertised,
            page_resources: 100,
            post_search: false,
            bulk: Bulk::Never,
            content_type: "application/scim+json".to_owned(),
            headers: Vec::new(),
            throttling: Vec::new(),
            if_match: false,
        }
    }
}

impl Dialect {
    /// How resources of a type are changed.
    pub fn updates(&self, resource_type: ResourceType) -> Updates {
        match resource_type {
            ResourceType::User => self.user_updates,
            ResourceType::Group => self.group_updates,
        }
    }

    /// Whether the target filters by an attribute of a type.
    pub fn filters_by(&self, resource_type: ResourceType, attribute: &str) -> bool {
        let known = match resource_type {
            ResourceType::User => &self.user_filters,
            ResourceType::Group => &self.group_filters,
        };
        known
            .iter()
            .any(|name| name.eq_ignore_ascii_case(attribute))
    }

    /// Most members that one request takes out.
    pub fn removals_per_request(&self, updates_by_put: bool) -> usize {
        let most = match self.member_removals {
            _ if updates_by_put => usize::MAX,
            MemberRemovals::Filter => {
                let operations = self.operations_per_request.min(self.members_per_request);
                operations.min(self.members_per_operation)
            }
            MemberRemovals::Values => self.members_per_operation.min(self.members_per_request),
        };
        most.max(1)
    }

    /// Most members that one request adds.
    pub fn additions_per_request(&self, updates_by_put: bool) -> usize {
        if updates_by_put {
            return usize::MAX;
        }
        let operations = self.operations_per_request;
        let most = operations.saturating_mul(self.members_per_operation);
        self.members_per_request.min(most).max(1)
    }

    /// Leaves of what a resource shall be what the target can keep, so that nothing is sent again and again.
    pub fn project(&self, attributes: &mut Attributes) {
        attributes.retain(|path, _| self.keeps(path));
        for name in &self.single_valued {
            let of_name = |path: &AttributePath| path.urn.is_none() && path.name == *name;
            let mut elements = attributes.keys().filter(|path| of_name(path));
            let work = attributes
                .keys()
                .find(|path| of_name(path) && path.element.as_deref() == Some("work"));
            let Some(kept) = work.or_else(|| elements.next()).cloned() else {
                continue;
            };
            attributes.retain(|path, _| !of_name(path) || path.element == kept.element);
        }
    }

    /// Whether the target keeps an attribute.
    pub fn keeps(&self, path: &AttributePath) -> bool {
        !is_among(path, &self.omitted)
    }

    /// Whether the target changes an attribute once the resource is there.
    pub fn changes(&self, resource_type: ResourceType, path: &AttributePath) -> bool {
        let immutable = match resource_type {
            ResourceType::User => &self.immutable_user_attributes,
            ResourceType::Group => &self.immutable_group_attributes,
        };
        self.keeps(path) && !is_among(path, immutable)
    }

    /// What of the dialect decides what resources shall be: when it changes, all of them are compared anew. Empty where it
    /// leaves everything as it is.
    pub fn projection(&self) -> String {
        let texts = |paths: &BTreeSet<AttributePath>| {
            paths.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let parts = [
            texts(&self.omitted),
            self.single_valued.iter().cloned().collect(),
            texts(&self.immutable_user_attributes),
            texts(&self.immutable_group_attributes),
        ];
        match parts.iter().all(Vec::is_empty) {
            true => String::new(),
            false => format!("{parts:?}"),
        }
    }
}

/// Whether a path, or the attribute that it is a part of, is among some.
fn is_among(path: &AttributePath, some: &BTreeSet<AttributePath>) -> bool {
    let holds = |other: &AttributePath| {
        other.urn == path.urn
            && (other.name == path.name || other.name == "*")
            && (other.element.is_none() || other.element == path.element)
            && (other.sub.is_none() || other.sub == path.sub)
    };
    !some.is_empty() && some.iter().any(holds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scim::Value;

    fn paths(paths: &[&str]) -> BTreeSet<AttributePath> {
        paths.iter().map(|path| path.parse().unwrap()).collect()
    }

    fn attributes(names: &[&str]) -> Attributes {
        paths(names)
            .into_iter()
            .map(|path| (path, Value::Text("x".into())))
            .collect()
    }

    const WORK: &str = r#"emails[type eq "work"].value"#;
    const HOME: &str = r#"emails[type eq "home"].value"#;
    const PHONE: &str = r#"phoneNumbers[type eq "work"].value"#;

    #[test]
    fn what_the_target_does_not_keep_is_not_wanted() {
        let dialect = Dialect {
            omitted: paths(&["phoneNumbers", "name.givenName", "urn:x:2.0:User:a"]),
            single_valued: BTreeSet::from(["emails".to_owned()]),
            ..Dialect::default()
        };
        let mut wanted = attributes(&[
            HOME,
            WORK,
            PHONE,
            "name.givenName",
            "name.familyName",
            "urn:x:2.0:User:a",
            "urn:x:2.0:User:b",
        ]);
        dialect.project(&mut wanted);
        let expected = attributes(&[WORK, "name.familyName", "urn:x:2.0:User:b"]);
        assert_eq!(wanted, expected);
        let mut wanted = attributes(&[HOME, "userName"]);
        dialect.project(&mut wanted);
        assert_eq!(wanted, attributes(&[HOME, "userName"]));
    }

    #[test]
    fn what_cannot_be_changed_is_not_maintained() {
        let dialect = Dialect {
            immutable_user_attributes: paths(&["userName"]),
            omitted: paths(&["title"]),
            ..Dialect::default()
        };
        let maintained = paths(&["userName", "title", "displayName"]);
        let of = |kind| -> BTreeSet<AttributePath> {
            let kept = maintained.iter().filter(|path| dialect.changes(kind, path));
            kept.cloned().collect()
        };
        assert_eq!(of(ResourceType::User), paths(&["displayName"]));
        assert_eq!(of(ResourceType::Group), paths(&["userName", "displayName"]));
    }

    #[test]
    fn requests_take_as_many_members_as_each_limit_allows() {
        for (operations, in_one, in_all, removals, added, removed) in [
            (1_000, 100, 1_000, MemberRemovals::Filter, 1_000, 100),
            (1, 1, 1_000, MemberRemovals::Filter, 1, 1),
            (2, 100, 100, MemberRemovals::Filter, 100, 2),
            (2, 100, 50, MemberRemovals::Values, 50, 50),
        ] {
            let dialect = Dialect {
                operations_per_request: operations,
                members_per_operation: in_one,
                members_per_request: in_all,
                member_removals: removals,
                ..Dialect::default()
            };
            assert_eq!(dialect.additions_per_request(false), added);
            assert_eq!(dialect.removals_per_request(false), removed);
            assert_eq!(dialect.removals_per_request(true), usize::MAX);
        }
    }
}
