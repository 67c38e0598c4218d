//! Reading of a directory with its default profile, every field with its default and its cure.

use std::collections::BTreeMap;

use crate::directory::profile::{Linking, MembershipType, Profile, Scope};
use crate::directory::{Connection, Directory, Pem};
use crate::document::{Fields, Node, Problems, Value};
use crate::id::{DirectoryId, ProfileName, TenantName};
use crate::identity::DirectoryType;
use crate::identity::dn::Dn;
use crate::job::schedule::{CronExpression, Schedule, parse_interval};
use crate::mapping::rule::{Rule, Source};
use crate::mapping::status::{DisabledWhen, StatusRules};
use crate::mapping::{Mapping, default_anchor, default_rules};
use crate::plan::guard::Limits;
use crate::plan::membership::{AbsentGroups, NestedGroups};
use crate::scim::path::AttributePath;

/// People as a plain LDAP directory has them.
const LDAP_USERS: &str = "(objectClass=person)";
/// People as Active Directory has them: `(objectClass=person)` would match computers and contacts too.
const AD_USERS: &str = "(&(objectCategory=person)(objectClass=user))";
const LDAP_GROUPS: &str =
    "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))";
const AD_GROUPS: &str = "(objectClass=group)";
/// In Active Directory a computer is a person by its object classes.
const NOT_COMPUTER: &str = "(!(objectClass=computer))";

/// Reads a directory whose profile fields stand on the same level (the profile `default`).
pub fn directory(node: &Node, pointer: &str, problems: &mut Problems) -> Option<Directory> {
    let before = problems.0.len();
    let mut fields = Fields::of(node, pointer, problems);
    let tenant = fields.required_text(
        "tenant",
        "the name of the tenant that receives the users",
        problems,
    );
    let name = fields.required_text("name", "a short name, for example `hq`", problems);
    let (tenant, name) = (
        tenant.map(|name| TenantName(name.to_owned())),
        name.map(str::to_owned),
    );
    let enabled = fields.boolean("enabled", true, problems);
    let mut rules = rules_of(&mut fields, problems);
    let connection = connection(&mut fields, rules.anchor.take(), problems);
    let profile = profile(&mut fields, connection.as_ref(), rules, problems);
    fields.finish(problems);
    if problems.0.len() > before {
        return None;
    }
    let (tenant, name) = (tenant?, name?);
    Some(Directory {
        id: DirectoryId::from_name(&tenant, &name),
        tenant,
        name,
        enabled,
        connection: connection?,
        profiles: vec![profile?],
    })
}

fn connection(
    fields: &mut Fields<'_>,
    anchor: Option<String>,
    problems: &mut Problems,
) -> Option<Connection> {
    let directory_type = directory_type(fields, problems);
    let address = address(fields, problems);
    let allow_plain_ldap = fields.boolean("allowPlainLdap", false, problems);
    if let Some(address) = &address
        && !address.use_tls
        && !address.start_tls
        && !allow_plain_ldap
    {
        let cure = "the password would cross the network in plain text; use TLS (useTLS or startTLS), or set \
                    allowPlainLdap = true";
        fields.refuse("useTLS", cure, problems);
    }
    let ca_certificate = fields.parsed("caCertificate", problems, Pem::parse);
    let bind_dn = fields
        .required_text("bindDN", "the account that reads the directory", problems)
        .map(str::to_owned);
    let what = "where the account's password is kept, for example env:LDAP_PASSWORD";
    let has_password = fields
        .required_text("bindPassword", what, problems)
        .is_some();
    let bind_password = has_password
        .then(|| fields.parsed("bindPassword", problems, str::parse))
        .flatten();
    let has_base = fields.required_text(
        "baseDN",
        "where the directory starts, for example dc=example,dc=org",
        problems,
    );
    let base_dn = has_base.and_then(|_| dn(fields, "baseDN", problems));
    let anchor_attribute = fields.text("anchorAttribute", problems).map(str::to_owned);
    if anchor.is_some() && anchor_attribute.is_some() && anchor != anchor_attribute {
        fields.refuse(
            "anchorAttribute",
            "contradicts externalId in attributeMapping; keep one of the two",
            problems,
        );
    }
    let page_entries = fields.integer("pageEntries", 1_000, 1..=10_000, problems);
    let connect_timeout_s = fields.integer("connectTimeoutSeconds", 10, 1..=300, problems);
    let answer_timeout_s = fields.integer("answerTimeoutSeconds", 60, 1..=3_600, problems);
    let address = address?;
    Some(Connection {
        directory_type,
        host: address.host,
        port: address.port,
        use_tls: address.use_tls,
        start_tls: address.start_tls,
        allow_plain_ldap,
        ca_certificate,
        bind_dn: bind_dn?,
        bind_password: bind_password?,
        base_dn: base_dn?,
        anchor_attribute: anchor_attribute
            .or(anchor)
            .unwrap_or_else(|| default_anchor(directory_type).to_owned()),
        page_entries: u16::try_from(page_entries).ok()?,
        connect_timeout_s: u32::try_from(connect_timeout_s).ok()?,
        answer_timeout_s: u32::try_from(answer_timeout_s).ok()?,
    })
}

fn directory_type(fields: &mut Fields<'_>, problems: &mut Problems) -> DirectoryType {
    fields.required_text("type", "`ldap` or `active_directory`", problems);
    let words = [
        ("ldap", DirectoryType::Ldap),
        ("active_directory", DirectoryType::ActiveDirectory),
    ];
    fields.choice("type", DirectoryType::Ldap, &words, problems)
}

struct Address {
    host: String,
    port: u16,
    use_tls: bool,
    start_tls: bool,
}

/// Host, port, useTLS and startTLS, or a URL instead of the four.
fn address(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Address> {
    if fields.has("url") {
        for name in ["host", "port", "useTLS"] {
            if fields.has(name) {
                fields.refuse(name, "contradicts url; keep one of the two forms", problems);
            }
        }
        for name in ["host", "port", "useTLS"] {
            fields.node(name);
        }
        let start_tls = fields.boolean("startTLS", false, problems);
        let (host, port, use_tls) = fields.parsed("url", problems, ldap_url)?;
        if use_tls && start_tls {
            fields.refuse(
                "startTLS",
                "contradicts ldaps://, which is TLS from the start",
                problems,
            );
        }
        return Some(Address {
            host,
            port,
            use_tls,
            start_tls,
        });
    }
    let host = fields
        .required_text("host", "the directory server's name or address", problems)
        .map(str::to_owned);
    let start_tls = fields.boolean("startTLS", false, problems);
    let use_tls = fields.boolean("useTLS", !start_tls, problems);
    if use_tls && start_tls {
        fields.refuse(
            "startTLS",
            "contradicts useTLS; keep one of the two",
            problems,
        );
    }
    let port = fields.integer(
        "port",
        if use_tls { 636 } else { 389 },
        1..=65_535,
        problems,
    );
    Some(Address {
        host: host?,
        port: u16::try_from(port).ok()?,
        use_tls,
        start_tls,
    })
}

fn ldap_url(text: &str) -> Result<(String, u16, bool), String> {
    let url = url::Url::parse(text)
        .map_err(|error| format!("`{}` is not a URL: {error}", text.escape_debug()))?;
    let use_tls = match url.scheme() {
        "ldaps" => true,
        "ldap" => false,
        other => {
            return Err(format!(
                "begins with {other}://, but ldaps:// or ldap:// is expected"
            ));
        }
    };
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or("names no host")?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    if url.path().len() > 1 || url.query().is_some() || !url.username().is_empty() {
        return Err("only the scheme, host and port belong here; base DN and account have fields of their own".into());
    }
    Ok((
        host,
        url.port().unwrap_or(if use_tls { 636 } else { 389 }),
        use_tls,
    ))
}

fn dn(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) -> Option<String> {
    fields.parsed(name, problems, |text| {
        text.parse::<Dn>()
            .map(|_| text.to_owned())
            .map_err(|error| error.to_string())
    })
}

fn filter(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) -> Option<String> {
    fields.parsed(name, problems, |text| match ldap3::parse_filter(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "`{}` is not an LDAP filter (RFC 4515); example: (&(objectClass=person)(mail=*))",
            text.escape_debug()
        )),
    })
}

/// What the mapping fields say, before it is checked as a whole.
#[derive(Default)]
struct Rules {
    directory_type: Option<DirectoryType>,
    users: Vec<Rule>,
    group_name: Option<Source>,
    anchor: Option<String>,
}

fn rules_of(fields: &mut Fields<'_>, problems: &mut Problems) -> Rules {
    let mut silent = Problems::default();
    let directory_type = directory_type(fields, &mut silent);
    let mut users: BTreeMap<AttributePath, Rule> = BTreeMap::new();
    for (name, attribute) in default_rules(directory_type) {
        if let Ok(path) = AttributePath::from_rule(name) {
            let rule = Rule {
                name: name.to_owned(),
                required: path == AttributePath::user_name(),
                source: Source::Attribute(attribute.to_owned()),
                path: path.clone(),
            };
            users.insert(path, rule);
        }
    }
    let mut rules = Rules {
        directory_type: Some(directory_type),
        ..Rules::default()
    };
    let pointer = fields.pointer_of("attributeMapping");
    if let Some(node) = fields.node("attributeMapping") {
        custom_rules(node, &pointer, &mut users, &mut rules.anchor, problems);
    }
    rules.users = users.into_values().collect();
    rules
}

/// Rows of attributeMapping replace the default rows of the same SCIM attribute; `false` removes one.
fn custom_rules(
    node: &Node,
    pointer: &str,
    users: &mut BTreeMap<AttributePath, Rule>,
    anchor: &mut Option<String>,
    problems: &mut Problems,
) {
    let Value::Table(table) = &node.value else {
        problems.add(
            node.line,
            pointer,
            "must be a table, for example { email = \"mail\" }",
        );
        return;
    };
    let mut written: BTreeMap<AttributePath, &str> = BTreeMap::new();
    for (name, node) in table {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        if name.eq_ignore_ascii_case("externalId") {
            match &node.value {
                Value::Text(attribute) => *anchor = Some(attribute.clone()),
                _ => problems.add(
                    node.line,
                    &pointer,
                    "externalId is always the anchor: name its attribute",
                ),
            }
            continue;
        }
        let path = match AttributePath::from_rule(name) {
            Ok(path) => path,
            Err(message) => {
                problems.add(node.line, &pointer, message);
                continue;
            }
        };
        if let Some(other) = written.insert(path.clone(), name) {
            problems.add(
                node.line,
                &pointer,
                format!("maps the same attribute as `{other}`; keep one of the two"),
            );
        }
        match rule_source(node, &pointer, problems) {
            Some(Some((source, required))) => {
                let required = required || path == AttributePath::user_name();
                users.insert(
                    path.clone(),
                    Rule {
                        name: name.clone(),
                        path,
                        source,
                        required,
                    },
                );
            }
            Some(None) => {
                users.remove(&path);
            }
            None => {}
        }
    }
}

/// Where a value comes from; `Some(None)` for a row that is switched off, `None` when it could not be read.
#[allow(clippy::option_option)]
fn rule_source(
    node: &Node,
    pointer: &str,
    problems: &mut Problems,
) -> Option<Option<(Source, bool)>> {
    match &node.value {
        Value::Bool(false) => Some(None),
        Value::Text(attribute) => Some(Some((Source::Attribute(attribute.clone()), false))),
        Value::Table(_) => {
            let mut fields = Fields::of(node, pointer, problems);
            let sources = [
                fields
                    .text("attribute", problems)
                    .map(|text| Source::Attribute(text.to_owned())),
                fields
                    .text("constant", problems)
                    .map(|text| Source::Constant(text.to_owned())),
                fields
                    .text("expression", problems)
                    .map(|text| Source::Expression(text.to_owned())),
            ];
            let required = fields.boolean("required", false, problems);
            fields.finish(problems);
            let mut sources = sources.into_iter().flatten();
            match (sources.next(), sources.next()) {
                (Some(source), None) => Some(Some((source, required))),
                _ => {
                    problems.add(
                        node.line,
                        pointer,
                        "needs exactly one of attribute, constant, expression",
                    );
                    None
                }
            }
        }
        _ => {
            problems.add(
                node.line,
                pointer,
                "must be the name of a directory attribute, a table, or false",
            );
            None
        }
    }
}

fn profile(
    fields: &mut Fields<'_>,
    connection: Option<&Connection>,
    mut rules: Rules,
    problems: &mut Problems,
) -> Option<Profile> {
    let directory_type = rules.directory_type.unwrap_or(DirectoryType::Ldap);
    let (membership, uid_attribute) = group_mapping(fields, directory_type, &mut rules, problems);
    let scope = scope(
        fields,
        connection,
        directory_type,
        membership,
        uid_attribute,
        problems,
    );
    let disabled = disabled_when(fields, problems);
    let nested_groups = fields.choice(
        "nestedGroups",
        NestedGroups::Direct,
        &[
            ("direct", NestedGroups::Direct),
            ("flatten", NestedGroups::Flatten),
            ("nested", NestedGroups::Nested),
        ],
        problems,
    );
    let absent_groups = fields.choice(
        "absentGroups",
        AbsentGroups::Empty,
        &[("empty", AbsentGroups::Empty), ("keep", AbsentGroups::Keep)],
        problems,
    );
    let linking = fields.choice(
        "linking",
        Linking::Propose,
        &[
            ("propose", Linking::Propose),
            ("automatic", Linking::Automatic),
        ],
        problems,
    );
    let schedule = schedule(fields, problems);
    let reconcile_interval = fields
        .parsed("reconcileInterval", problems, |text| match text {
            "never" => Ok(None),
            text => parse_interval(text).map(Some),
        })
        .unwrap_or_else(|| Some(chrono::Duration::days(1)));
    let limits = limits(fields.table("guard", problems), problems);
    let group_name = rules
        .group_name
        .take()
        .unwrap_or_else(|| Source::Attribute("cn".to_owned()));
    let definition = format!(
        "{}{nested_groups:?}{absent_groups:?}{linking:?}",
        serde_json::to_string(&(&rules.users, &group_name, &disabled)).unwrap_or_default()
    );
    let mapping = Mapping::new(
        rules.users,
        group_name,
        StatusRules::of(directory_type, disabled),
    );
    let mapping = mapping.map_err(|wrong| {
        for (name, message) in wrong {
            let pointer = format!("{}/{name}", fields.pointer_of("attributeMapping"));
            let line = fields.node("attributeMapping").and_then(|node| node.line);
            problems.add(line, &pointer, message);
        }
    });
    Some(Profile {
        name: ProfileName::default(),
        scope: scope?,
        mapping: mapping.ok()?,
        definition,
        nested_groups,
        absent_groups,
        linking,
        schedule,
        reconcile_interval,
        limits,
    })
}

fn scope(
    fields: &mut Fields<'_>,
    connection: Option<&Connection>,
    directory_type: DirectoryType,
    membership: Vec<(String, MembershipType)>,
    uid_attribute: String,
    problems: &mut Problems,
) -> Option<Scope> {
    let (usual_users, usual_groups) = match directory_type {
        DirectoryType::ActiveDirectory => (AD_USERS, AD_GROUPS),
        DirectoryType::Ldap => (LDAP_USERS, LDAP_GROUPS),
    };
    let users_dn = dn(fields, "usersDN", problems);
    let groups_dn = dn(fields, "groupsDN", problems);
    let classes = fields
        .texts("userObjectClasses", problems)
        .unwrap_or_default();
    let mut parts: Vec<String> = Vec::new();
    for class in classes {
        if class.is_empty()
            || !class
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
        {
            let message = format!(
                "`{}` is not the name of an object class",
                class.escape_debug()
            );
            fields.refuse("userObjectClasses", message, problems);
        }
        parts.push(format!("(objectClass={class})"));
    }
    parts.push(
        filter(fields, "userSearchFilter", problems).unwrap_or_else(|| usual_users.to_owned()),
    );
    if let Some(excluded) = filter(fields, "exclusionFilter", problems) {
        parts.push(format!("(!{})", in_parentheses(&excluded)));
    }
    if directory_type == DirectoryType::ActiveDirectory {
        parts.push(NOT_COMPUTER.to_owned());
    }
    let users_filter = match parts.as_slice() {
        [only] => only.clone(),
        parts => format!(
            "(&{})",
            parts
                .iter()
                .map(|part| in_parentheses(part))
                .collect::<String>()
        ),
    };
    let groups_filter =
        filter(fields, "groupSearchFilter", problems).unwrap_or_else(|| usual_groups.to_owned());
    let with_groups = fields.boolean("synchronizeGroups", true, problems);
    let base = &connection?.base_dn;
    Some(Scope {
        users_dn: users_dn.unwrap_or_else(|| base.clone()),
        users_filter,
        groups_dn: with_groups.then(|| groups_dn.unwrap_or_else(|| base.clone())),
        groups_filter,
        membership,
        uid_attribute,
    })
}

/// A filter was parsed by itself before, so it cannot close the one that it is put into.
fn in_parentheses(filter: &str) -> String {
    if filter.starts_with('(') {
        filter.to_owned()
    } else {
        format!("({filter})")
    }
}

fn group_mapping(
    fields: &mut Fields<'_>,
    directory_type: DirectoryType,
    rules: &mut Rules,
    problems: &mut Problems,
) -> (Vec<(String, MembershipType)>, String) {
    let mut groups = fields.table("groupAttributeMapping", problems);
    rules.group_name = groups
        .text("name", problems)
        .map(|name| Source::Attribute(name.to_owned()));
    let membership = groups.text("membership", problems).map(str::to_owned);
    let by = groups.choice(
        "membershipAttributeType",
        MembershipType::Dn,
        &[("DN", MembershipType::Dn), ("UID", MembershipType::Uid)],
        problems,
    );
    let user_name = default_rules(directory_type)[0].1;
    let uid_attribute = groups
        .text("userAttribute", problems)
        .unwrap_or(user_name)
        .to_owned();
    groups.finish(problems);
    let membership = match (membership, directory_type) {
        (Some(name), _) => vec![(name, by)],
        (None, DirectoryType::ActiveDirectory) => vec![("member".to_owned(), MembershipType::Dn)],
        (None, DirectoryType::Ldap) => vec![
            ("member".to_owned(), MembershipType::Dn),
            ("uniqueMember".to_owned(), MembershipType::Dn),
            ("memberUid".to_owned(), MembershipType::Uid),
        ],
    };
    (membership, uid_attribute)
}

fn disabled_when(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<DisabledWhen> {
    let mut rules = Vec::new();
    for text in fields.texts("disabledWhen", problems).unwrap_or_default() {
        match text.split_once('=') {
            Some((attribute, value))
                if !attribute.trim().is_empty() && !value.trim().is_empty() =>
            {
                rules.push(DisabledWhen {
                    attribute: attribute.trim().to_owned(),
                    value: value.trim().to_owned(),
                });
            }
            _ => fields.refuse("disabledWhen", "each entry reads attribute=value", problems),
        }
    }
    rules
}

fn schedule(fields: &mut Fields<'_>, problems: &mut Problems) -> Schedule {
    let cron = fields.parsed("syncSchedule", problems, |text| {
        if text.trim().is_empty() {
            Ok(None)
        } else {
            CronExpression::parse(text).map(Some)
        }
    });
    let interval = fields.parsed("syncInterval", problems, parse_interval);
    match (cron.flatten(), interval) {
        (Some(_), Some(_)) => {
            fields.refuse(
                "syncInterval",
                "contradicts syncSchedule; keep one of the two",
                problems,
            );
            Schedule::Manual
        }
        (Some(expression), None) => Schedule::Cron(Box::new(expression)),
        (None, Some(interval)) => Schedule::Every(interval),
        (None, None) => Schedule::Manual,
    }
}

fn limits(mut fields: Fields<'_>, problems: &mut Problems) -> Limits {
    let usual = Limits::default();
    let mut number = |name, usual: u64, most: i64| {
        let usual = i64::try_from(usual).unwrap_or(most);
        u64::try_from(fields.integer(name, usual, 0..=most, problems)).unwrap_or_default()
    };
    let limits = Limits {
        deactivations: number("deactivations", usual.deactivations, 10_000_000),
        deactivations_percent: number("deactivationsPercent", usual.deactivations_percent, 100),
        deactivations_most: number("deactivationsMost", usual.deactivations_most, 10_000_000),
        plausible_percent: number("plausiblePercent", usual.plausible_percent, 100),
    };
    fields.finish(problems);
    limits
}
