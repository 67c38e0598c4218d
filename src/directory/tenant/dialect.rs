//! A tenant's dialect: one of those that are built in, with what the tenant says otherwise.

use std::collections::BTreeSet;

use crate::directory::tenant::pace;
use crate::document::{Fields, Node, Problems};
use crate::scim::dialect::{
    Bulk, DEFAULT, Dialect, ElementUpdates, MemberRemovals, Paging, PatchPaths, Updates,
};
use crate::scim::pace::Rates;
use crate::scim::path::AttributePath;

/// The field of a tenant.
pub const FIELD: &str = "dialect";

/// The names and texts of the dialects that are built in.
macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// The names of the dialects that are built in.
        pub const NAMES: &[&str] = &[$($name),*];
        /// What `config/dialects/*.toml` say, in the same order.
        const TEXTS: &[&str] = &[$(include_str!(concat!("../../../config/dialects/", $name, ".toml"))),*];
    };
}

built_in![
    "rfc7644",
    "atlassian",
    "authentik",
    "aws-identity-center",
    "databricks",
    "entra-id",
    "github-emu",
    "gitlab",
    "google",
    "keycloak",
    "miro",
    "okta",
    "salesforce",
    "slack",
    "snowflake",
    "zoom",
];

/// A dialect that is built in, with what goes with it.
#[derive(Clone, Debug, Default)]
pub struct BuiltIn {
    /// The manner.
    pub dialect: Dialect,
    /// The hosts that speak it: names, with `*.` before them for all hosts below.
    pub hosts: Vec<String>,
    /// The tenant's rate limit where it names none.
    pub rate_limit: Option<i64>,
    /// The tenant's limits of single kinds of requests where it names none.
    pub rates: Rates,
    /// The tenant's requests in flight where it names none.
    pub concurrency: Option<i64>,
}

/// Reads the table `dialect` of a tenant. Without a `base` the host of the base URL decides, and else the standard counts.
pub(super) fn read(
    mut fields: Fields<'_>,
    base_url: Option<&str>,
    problems: &mut Problems,
) -> BuiltIn {
    let base = fields.parsed("base", problems, |name| {
        let known = NAMES.iter().find(|known| **known == name);
        known.copied().ok_or_else(|| {
            format!(
                "is `{}`, but must be one of: {}",
                name.escape_debug(),
                NAMES.join(", ")
            )
        })
    });
    let mut built_in = match base {
        Some(name) => built_in(name),
        None => base_url
            .and_then(of_host)
            .unwrap_or_else(|| built_in(DEFAULT)),
    };
    built_in.dialect = read_over(&mut fields, built_in.dialect, problems);
    check(&fields, &built_in.dialect, problems);
    fields.finish(problems);
    built_in
}

/// What a built-in dialect says. Tests read all of them, so that none of them has a mistake.
fn built_in(name: &str) -> BuiltIn {
    let at = NAMES.iter().position(|known| *known == name);
    let text = at.and_then(|at| TEXTS.get(at)).copied();
    read_file(name, text.unwrap_or_default(), &mut Problems::default())
}

fn read_file(name: &str, text: &str, problems: &mut Problems) -> BuiltIn {
    let json: serde_json::Value = match toml::from_str(text) {
        Ok(json) => json,
        Err(error) => {
            problems.add(None, name, error.to_string());
            return BuiltIn::default();
        }
    };
    let node = Node::of_json(json);
    let mut fields = Fields::of(&node, name, problems);
    let mut number = |name, most| {
        let number = fields.integer(name, 0, 1..=most, problems);
        fields.has(name).then_some(number)
    };
    let rate_limit = number("rateLimit", 100_000);
    let concurrency = number("concurrency", 256);
    let rates = fields.table("rateLimits", problems);
    let rates = pace::read_rates(rates, Rates::default(), problems);
    let hosts = fields.texts("hosts", problems).unwrap_or_default();
    let headers = fields.entries("headers", problems);
    let headers = headers
        .into_iter()
        .filter_map(|(name, _, node)| Some((name.to_owned(), node.to_json().as_str()?.to_owned())));
    let usual = Dialect {
        base: name.to_owned(),
        headers: headers.collect(),
        ..Dialect::default()
    };
    let dialect = read_over(&mut fields, usual, problems);
    check(&fields, &dialect, problems);
    fields.finish(problems);
    BuiltIn {
        dialect,
        hosts,
        rate_limit,
        rates,
        concurrency,
    }
}

/// The dialect that the host of a base URL speaks, where that is known.
fn of_host(base_url: &str) -> Option<BuiltIn> {
    let url = url::Url::parse(base_url).ok()?;
    let host = url.host_str()?;
    let mut known = NAMES.iter().map(|name| built_in(name));
    known.find(|known| known.hosts.iter().any(|pattern| is_host(pattern, host)))
}

fn is_host(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host
            .strip_suffix(domain)
            .is_some_and(|below| below.ends_with('.') && below.len() > 1),
        None => host == pattern,
    }
}

const UPDATES: &[(&str, Updates)] = &[
    ("as_advertised", Updates::AsAdvertised),
    ("patch", Updates::Patch),
    ("put", Updates::Put),
];
const PATCH_PATHS: &[(&str, PatchPaths)] = &[
    ("always", PatchPaths::Always),
    ("core", PatchPaths::Core),
    ("never", PatchPaths::Never),
];
const MEMBER_REMOVALS: &[(&str, MemberRemovals)] = &[
    ("filter", MemberRemovals::Filter),
    ("values", MemberRemovals::Values),
];
const ELEMENT_UPDATES: &[(&str, ElementUpdates)] = &[
    ("filter", ElementUpdates::Filter),
    ("whole", ElementUpdates::Whole),
];
const PAGING: &[(&str, Paging)] = &[
    ("as_advertised", Paging::AsAdvertised),
    ("index", Paging::Index),
    ("cursor", Paging::Cursor),
    ("none", Paging::None),
];

const BULK: &[(&str, Bulk)] = &[
    ("never", Bulk::Never),
    ("without_references", Bulk::WithoutReferences),
    ("with_references", Bulk::WithReferences),
];

/// Reads the fields of a dialect; what is not there is as in the one that it begins with.
fn read_over(fields: &mut Fields<'_>, usual: Dialect, problems: &mut Problems) -> Dialect {
    let names_request = fields.has("membersPerRequest");
    let mut size_from = |least, name, usual: usize, most: i64| {
        let usual = i64::try_from(usual).unwrap_or(most);
        usize::try_from(fields.integer(name, usual, least..=most, problems)).unwrap_or(1)
    };
    let mut size = |name, usual: usize, most: i64| size_from(1, name, usual, most);
    let members_per_request = size("membersPerRequest", usual.members_per_request, 100_000);
    // Who names a limit of the target without a word on creates means creates too.
    let with_create = match names_request {
        true => members_per_request,
        false => usual.members_per_create,
    };
    let members_per_operation = size("membersPerOperation", usual.members_per_operation, 100_000);
    let operations_per_request = size("operationsPerRequest", usual.operations_per_request, 10_000);
    let page_resources = size("pageResources", usual.page_resources, 10_000);
    let members_per_create = size_from(0, "membersPerCreate", with_create, 100_000);
    Dialect {
        members_per_operation,
        members_per_request,
        members_per_create,
        operations_per_request,
        page_resources,
        user_updates: fields.choice("userUpdates", usual.user_updates, UPDATES, problems),
        group_updates: fields.choice("groupUpdates", usual.group_updates, UPDATES, problems),
        patch_paths: fields.choice("patchPaths", usual.patch_paths, PATCH_PATHS, problems),
        capital_operations: fields.boolean("capitalOperations", usual.capital_operations, problems),
        booleans_as_text: fields.boolean("booleansAsText", usual.booleans_as_text, problems),
        member_removals: fields.choice(
            "memberRemovals",
            usual.member_removals,
            MEMBER_REMOVALS,
            problems,
        ),
        members_readable: fields.boolean("membersReadable", usual.members_readable, problems),
        element_updates: fields.choice(
            "elementUpdates",
            usual.element_updates,
            ELEMENT_UPDATES,
            problems,
        ),
        element_types: fields.boolean("elementTypes", usual.element_types, problems),
        single_valued: names(fields, "singleValued", usual.single_valued, problems),
        omitted: paths(fields, "omittedAttributes", usual.omitted, problems),
        immutable_user_attributes: paths(
            fields,
            "immutableUserAttributes",
            usual.immutable_user_attributes,
            problems,
        ),
        immutable_group_attributes: paths(
            fields,
            "immutableGroupAttributes",
            usual.immutable_group_attributes,
            problems,
        ),
        unique_group_names: fields.boolean("uniqueGroupNames", usual.unique_group_names, problems),
        user_filters: names(fields, "userFilters", usual.user_filters, problems),
        group_filters: names(fields, "groupFilters", usual.group_filters, problems),
        paging: fields.choice("paging", usual.paging, PAGING, problems),
        post_search: fields.boolean("postSearch", usual.post_search, problems),
        bulk: fields.choice("bulk", usual.bulk, BULK, problems),
        throttling: pace::read_throttling(fields, usual.throttling, problems),
        if_match: fields.boolean("ifMatch", usual.if_match, problems),
        content_type: fields
            .parsed("contentType", problems, content_type)
            .unwrap_or(usual.content_type),
        base: usual.base,
        headers: usual.headers,
    }
}

/// What goes together in no dialect.
fn check(fields: &Fields<'_>, dialect: &Dialect, problems: &mut Problems) {
    if dialect.group_updates == Updates::Put && !dialect.members_readable {
        let message = "is `put`, but members of groups cannot be read (membersReadable), so a PUT would empty them";
        fields.refuse("groupUpdates", message, problems);
    }
    if !dialect.element_types && dialect.element_updates == ElementUpdates::Filter {
        let message =
            "is false, so no element can be named by its type: set elementUpdates to `whole`";
        fields.refuse("elementTypes", message, problems);
    }
    let named = [
        (&dialect.omitted, "omittedAttributes"),
        (
            &dialect.immutable_user_attributes,
            "immutableUserAttributes",
        ),
    ];
    for (paths, field) in named {
        if paths.contains(&AttributePath::active()) {
            let message = "names `active`, without which nobody can be suspended";
            fields.refuse(field, message, problems);
        }
    }
}

fn content_type(text: &str) -> Result<String, String> {
    let known = ["application/scim+json", "application/json"];
    match known.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "is `{}`, but must be one of: {}",
            text.escape_debug(),
            known.join(", ")
        )),
    }
}

fn names(
    fields: &mut Fields<'_>,
    name: &'static str,
    usual: BTreeSet<String>,
    problems: &mut Problems,
) -> BTreeSet<String> {
    let texts = fields.texts(name, problems);
    texts.map_or(usual, |texts| texts.into_iter().collect())
}

fn paths(
    fields: &mut Fields<'_>,
    name: &'static str,
    usual: BTreeSet<AttributePath>,
    problems: &mut Problems,
) -> BTreeSet<AttributePath> {
    let Some(texts) = fields.texts(name, problems) else {
        return usual;
    };
    let mut read = BTreeSet::new();
    for text in texts {
        match path(&text) {
            Ok(path) => {
                read.insert(path);
            }
            Err(message) => fields.refuse(name, message, problems),
        }
    }
    read
}

/// A path, or a schema with `:*` behind it for all of its attributes.
fn path(text: &str) -> Result<AttributePath, String> {
    match text.strip_suffix(":*") {
        Some(urn) => Ok(AttributePath {
            urn: Some(urn.to_owned()),
            ..AttributePath::core("*")
        }),
        None => text.parse(),
    }
}

/// The fields of a dialect, as the API shows them.
pub fn shown(dialect: &Dialect) -> serde_json::Value {
    let paths =
        |paths: &BTreeSet<AttributePath>| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    serde_json::json!({
        "base": dialect.base,
        "userUpdates": word(UPDATES, dialect.user_updates),
        "groupUpdates": word(UPDATES, dialect.group_updates),
        "patchPaths": word(PATCH_PATHS, dialect.patch_paths),
        "capitalOperations": dialect.capital_operations,
        "booleansAsText": dialect.booleans_as_text,
        "operationsPerRequest": dialect.operations_per_request,
        "membersPerOperation": dialect.members_per_operation,
        "membersPerRequest": dialect.members_per_request,
        "membersPerCreate": dialect.members_per_create,
        "memberRemovals": word(MEMBER_REMOVALS, dialect.member_removals),
        "membersReadable": dialect.members_readable,
        "elementUpdates": word(ELEMENT_UPDATES, dialect.element_updates),
        "elementTypes": dialect.element_types,
        "singleValued": dialect.single_valued,
        "omittedAttributes": paths(&dialect.omitted),
        "immutableUserAttributes": paths(&dialect.immutable_user_attributes),
        "immutableGroupAttributes": paths(&dialect.immutable_group_attributes),
        "uniqueGroupNames": dialect.unique_group_names,
        "userFilters": dialect.user_filters,
        "groupFilters": dialect.group_filters,
        "paging": word(PAGING, dialect.paging),
        "pageResources": dialect.page_resources,
        "postSearch": dialect.post_search,
        "bulk": word(BULK, dialect.bulk),
        "throttling": dialect.throttling,
        "ifMatch": dialect.if_match,
        "contentType": dialect.content_type,
    })
}

/// The fields in which another dialect differs from one, with the other's values.
pub fn differences(one: &Dialect, other: &Dialect) -> serde_json::Map<String, serde_json::Value> {
    let (one, other) = (shown(one), shown(other));
    let fields = other.as_object().into_iter().flatten();
    let differing = fields.filter(|(name, value)| one[name.as_str()] != **value);
    differing
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    let word = words.iter().find(|(_, known)| *known == value);
    word.map_or("", |(word, _)| *word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn read_json(json: serde_json::Value, base_url: Option<&str>) -> Result<BuiltIn, Problems> {
        let node = Node::of_json(json);
        let mut problems = Problems::default();
        let fields = Fields::of(&node, "/dialect", &mut problems);
        let read = read(fields, base_url, &mut problems);
        problems.verdict(Some(read))
    }

    #[test]
    fn every_built_in_dialect_has_no_mistake_and_names_its_sources() {
        for (&name, text) in NAMES.iter().zip(TEXTS) {
            let mut problems = Problems::default();
            read_file(name, text, &mut problems);
            assert_eq!(problems, Problems::default(), "{name}");
            assert!(text.starts_with("# "), "{name} begins with what it is");
            let is_vendor = name != DEFAULT;
            assert!(!is_vendor || text.contains("# Sources:"), "{name}");
            assert!(
                !is_vendor || text.contains("tested"),
                "{name} says how far it was tested"
            );
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config/dialects"));
        assert_eq!(files.unwrap().count(), NAMES.len());
    }

    #[test]
    fn the_standard_is_the_default() {
        assert_eq!(built_in(DEFAULT).dialect, Dialect::default());
        let read = read_json(json!({}), Some("https://iam.example.org/scim")).unwrap();
        assert_eq!(read.dialect, Dialect::default());
    }

    #[test]
    fn the_host_decides_where_nothing_is_said_and_a_tenant_has_the_last_word() {
        let url = "https://scim.eu-west-1.amazonaws.com/x/scim/v2/";
        assert_eq!(
            read_json(json!({}), Some(url)).unwrap().dialect.base,
            "aws-identity-center"
        );
        let read = read_json(json!({"base": "rfc7644", "pageResources": 7}), Some(url)).unwrap();
        assert_eq!(
            (read.dialect.base.as_str(), read.dialect.page_resources),
            ("rfc7644", 7)
        );
        assert!(!is_host("*.slack.com", "slack.com") && !is_host("*.slack.com", "evilslack.com"));
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for name in NAMES {
            let known = built_in(name).dialect;
            let read = read_json(shown(&known), None).unwrap();
            assert_eq!(read.dialect, known, "{name}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_field() {
        for (json, field, word) in [
            (json!({"base": "nobody"}), "/dialect/base", "one of"),
            (
                json!({"groupUpdates": "put", "membersReadable": false}),
                "/dialect/groupUpdates",
                "empty",
            ),
            (
                json!({"elementTypes": false}),
                "/dialect/elementTypes",
                "whole",
            ),
            (
                json!({"omittedAttributes": ["active"]}),
                "/dialect/omittedAttributes",
                "suspended",
            ),
            (
                json!({"omittedAttributes": ["a b"]}),
                "/dialect/omittedAttributes",
                "path",
            ),
            (
                json!({"contentType": "text/plain"}),
                "/dialect/contentType",
                "one of",
            ),
            (json!({"paging": "offset"}), "/dialect/paging", "one of"),
        ] {
            let problems = read_json(json, None).unwrap_err();
            let problem = problems.0.first().unwrap();
            assert_eq!(problem.pointer, field);
            assert!(problem.message.contains(word), "{problem:?}");
        }
    }
}
