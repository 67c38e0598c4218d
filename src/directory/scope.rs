//! Reading of a profile: who is in scope, when it runs, what holds a plan.

use crate::directory::Connection;
use crate::directory::limits;
use crate::directory::profile::{
    Linking, MembershipType, Profile, Reconciling, Scope, parse_grace_period,
};
use crate::directory::rules::Rules;
use crate::directory::values::{dn, filter};
use crate::document::{Fields, Problems};
use crate::id::ProfileName;
use crate::identity::DirectoryType;
use crate::identity::feed::{ChangeDetection, Rung};
use crate::identity::filter::within_limits;
use crate::job::schedule::{CronExpression, Schedule, parse_interval};
use crate::mapping::rule::Source;
use crate::mapping::status::{DisabledWhen, StatusRules};
use crate::mapping::{Mapping, default_rules, default_unit_name};
use crate::plan::conflict::ConflictPolicy;
use crate::plan::decide::Population;
use crate::plan::deprovisioning::Deprovisioning;
use crate::plan::linking::MatchingAttribute;
use crate::plan::membership::{AbsentGroups, NestedGroups};

/// People as a plain LDAP directory has them.
const LDAP_USERS: &str = "(objectClass=person)";
/// People as Active Directory has them: `(objectClass=person)` would match computers and contacts too.
const AD_USERS: &str = "(&(objectCategory=person)(objectClass=user))";
const LDAP_GROUPS: &str =
    "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))";
const AD_GROUPS: &str = "(objectClass=group)";
/// The organizational units that people are kept in.
const LDAP_UNITS: &str = "(objectClass=organizationalUnit)";
/// The same without the one that the domain itself made, for its controllers.
const AD_UNITS: &str = "(&(objectClass=organizationalUnit)(!(isCriticalSystemObject=TRUE)))";
/// Computers; group and other managed service accounts are computers by their object classes too.
const COMPUTER: &str = "(objectClass=computer)";
/// What is a person by its object classes in Active Directory and has no account, or one that no person logs in with:
/// computers, managed service accounts among them, and contacts.
const NO_PEOPLE: [&str; 2] = [COMPUTER, "(objectClass=contact)"];

/// What may be written for `changeDetection`.
const CHANGE_DETECTION: [(&str, ChangeDetection); 6] = [
    ("automatic", ChangeDetection::Automatic),
    ("syncrepl", ChangeDetection::Only(Rung::Syncrepl)),
    ("dirsync", ChangeDetection::Only(Rung::Dirsync)),
    ("usn_changed", ChangeDetection::Only(Rung::UsnChanged)),
    (
        "modify_timestamp",
        ChangeDetection::Only(Rung::ModifyTimestamp),
    ),
    ("full_scan", ChangeDetection::Only(Rung::FullScan)),
];
/// How long a run may rely on a change feed when nothing is written.
const FULL_SYNC_INTERVAL: chrono::Duration = chrono::Duration::days(1);

/// How groups within groups are treated.
fn nested_groups(fields: &mut Fields<'_>, problems: &mut Problems) -> NestedGroups {
    fields.choice(
        "nestedGroups",
        NestedGroups::Direct,
        &[
            ("direct", NestedGroups::Direct),
            ("flatten", NestedGroups::Flatten),
            ("nested", NestedGroups::Nested),
        ],
        problems,
    )
}

/// How it is learnt what changed, and how long a run may rely on it.
fn change_detection(
    fields: &mut Fields<'_>,
    problems: &mut Problems,
) -> (ChangeDetection, chrono::Duration) {
    let usual = ChangeDetection::Automatic;
    let detection = fields.choice("changeDetection", usual, &CHANGE_DETECTION, problems);
    let interval = fields.parsed("fullSyncInterval", problems, parse_interval);
    (detection, interval.unwrap_or(FULL_SYNC_INTERVAL))
}

/// The filter for users when none is written.
pub(super) fn usual_users(directory_type: DirectoryType) -> &'static str {
    match directory_type {
        DirectoryType::ActiveDirectory => AD_USERS,
        DirectoryType::Ldap => LDAP_USERS,
    }
}

/// The filter for groups when none is written.
pub(super) fn usual_groups(directory_type: DirectoryType) -> &'static str {
    match directory_type {
        DirectoryType::ActiveDirectory => AD_GROUPS,
        DirectoryType::Ldap => LDAP_GROUPS,
    }
}

/// Reads the profile whose fields these are, under the name `default` and enabled.
pub(super) fn profile(
    fields: &mut Fields<'_>,
    directory_type: DirectoryType,
    connection: Option<&Connection>,
    mut rules: Rules,
    problems: &mut Problems,
) -> Option<Profile> {
    let named = group_mapping(fields, directory_type, &mut rules, problems);
    let scope = scope(fields, connection, directory_type, named, problems);
    let disabled = disabled_when(fields, problems);
    let population = population(fields, problems);
    let nested_groups = nested_groups(fields, problems);
    let deprovisioning = deprovisioning(fields, problems);
    let grace_period = fields.parsed("gracePeriod", problems, parse_grace_period);
    let absent_groups = absent_groups(fields, problems);
    let linking = linking(fields, problems);
    let matching = matching_attribute(fields, problems);
    let conflict_policy = conflict_policy(fields, problems);
    let schedule = schedule(fields, problems);
    let reconciling = fields.parsed("reconcileInterval", problems, |text| match text {
        "never" => Ok(Reconciling::Never),
        "full_run" => Ok(Reconciling::WithFullRuns),
        text => parse_interval(text).map(Reconciling::Every),
    });
    let reconciling = reconciling.unwrap_or(Reconciling::Every(chrono::Duration::days(1)));
    let (change_detection, full_sync_interval) = change_detection(fields, problems);
    let limits = limits::limits(fields.table("guard", problems), problems);
    let group_name = rules
        .group_name
        .take()
        .unwrap_or_else(|| Source::Attribute("cn".to_owned()));
    let definition = format!(
        "{}{population:?}{nested_groups:?}{absent_groups:?}{linking:?}{}{}{}{}",
        serde_json::to_string(&(&rules.users, &group_name, &disabled)).unwrap_or_default(),
        roles(fields, scope.as_ref(), &rules, problems),
        match matching {
            // As it was before there was a choice.
            MatchingAttribute::UserName => String::new(),
            other => format!("{other:?}"),
        },
        match deprovisioning {
            Deprovisioning::Deactivate => String::new(),
            other => format!("{other:?}"),
        },
        match conflict_policy {
            ConflictPolicy::DirectoryWins => String::new(),
            other => format!("{other:?}"),
        }
    );
    let mapping = mapping(
        fields,
        rules,
        group_name,
        directory_type,
        disabled,
        problems,
    );
    Some(Profile {
        name: ProfileName::default(),
        enabled: true,
        scope: scope?,
        mapping: mapping?,
        definition,
        population,
        nested_groups,
        deprovisioning,
        grace_period: grace_period.unwrap_or_default(),
        absent_groups,
        linking,
        matching,
        conflict_policy,
        schedule,
        reconciling,
        change_detection,
        full_sync_interval,
        limits,
    })
}

fn conflict_policy(fields: &mut Fields<'_>, problems: &mut Problems) -> ConflictPolicy {
    fields.choice(
        "conflictPolicy",
        ConflictPolicy::DirectoryWins,
        &[
            ("directory_wins", ConflictPolicy::DirectoryWins),
            ("local_wins", ConflictPolicy::LocalWins),
            ("manual_review", ConflictPolicy::ManualReview),
        ],
        problems,
    )
}

fn matching_attribute(fields: &mut Fields<'_>, problems: &mut Problems) -> MatchingAttribute {
    fields.choice(
        "matchingAttribute",
        MatchingAttribute::UserName,
        &[
            ("userName", MatchingAttribute::UserName),
            ("email", MatchingAttribute::Email),
            ("none", MatchingAttribute::None),
        ],
        problems,
    )
}

fn population(fields: &mut Fields<'_>, problems: &mut Problems) -> Population {
    fields.choice(
        "population",
        Population::All,
        &[
            ("all", Population::All),
            ("active", Population::Active),
            ("inactive", Population::Inactive),
        ],
        problems,
    )
}

fn deprovisioning(fields: &mut Fields<'_>, problems: &mut Problems) -> Deprovisioning {
    fields.choice(
        "deprovisioning",
        Deprovisioning::Deactivate,
        &[
            ("deactivate", Deprovisioning::Deactivate),
            ("delete", Deprovisioning::Delete),
            ("both", Deprovisioning::Both),
            ("never", Deprovisioning::Never),
        ],
        problems,
    )
}

fn absent_groups(fields: &mut Fields<'_>, problems: &mut Problems) -> AbsentGroups {
    fields.choice(
        "absentGroups",
        AbsentGroups::Empty,
        &[("empty", AbsentGroups::Empty), ("keep", AbsentGroups::Keep)],
        problems,
    )
}

fn linking(fields: &mut Fields<'_>, problems: &mut Problems) -> Linking {
    fields.choice(
        "linking",
        Linking::Propose,
        &[
            ("propose", Linking::Propose),
            ("automatic", Linking::Automatic),
        ],
        problems,
    )
}

/// The role mapping as text; nothing where there is none. Without groups it would be without effect.
fn roles(
    fields: &Fields<'_>,
    scope: Option<&Scope>,
    rules: &Rules,
    problems: &mut Problems,
) -> String {
    if rules.roles.is_empty() {
        return String::new();
    }
    if scope.is_some_and(|scope| !scope.has_groups()) {
        let message = "needs groups, and synchronizeGroups is false; take one of the two out, or set \
                       organizationalUnits = \"groups\"";
        fields.refuse("roleMapping", message, problems);
    }
    serde_json::to_string(&rules.roles).unwrap_or_default()
}

/// Checks the rules as a whole; each mistake is named with its rule.
fn mapping(
    fields: &mut Fields<'_>,
    rules: Rules,
    group_name: Source,
    directory_type: DirectoryType,
    disabled: Vec<DisabledWhen>,
    problems: &mut Problems,
) -> Option<Mapping> {
    let status = StatusRules::of(directory_type, disabled);
    let mapping = Mapping::new(rules.users, group_name, status);
    mapping
        .map(|mapping| {
            let unit_name = default_unit_name(directory_type);
            mapping.with_roles(rules.roles).with_unit_name(unit_name)
        })
        .map_err(|wrong| {
            for (name, message) in wrong {
                let pointer = format!("{}/{name}", fields.pointer_of("attributeMapping"));
                let line = fields.node("attributeMapping").and_then(|node| node.line);
                problems.add(line, &pointer, message);
            }
        })
        .ok()
}

fn scope(
    fields: &mut Fields<'_>,
    connection: Option<&Connection>,
    directory_type: DirectoryType,
    (membership, uid_attribute): (Vec<(String, MembershipType)>, String),
    problems: &mut Problems,
) -> Option<Scope> {
    let users_dn = dn(fields, "usersDN", problems);
    let groups_dn = dn(fields, "groupsDN", problems);
    let classes = fields
        .texts("userObjectClasses", problems)
        .unwrap_or_default();
    let mut clauses: Vec<(&'static str, String)> = Vec::new();
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
        clauses.push(("userObjectClasses", format!("(objectClass={class})")));
    }
    let users = filter(fields, "userSearchFilter", problems);
    let users = users.unwrap_or_else(|| usual_users(directory_type).to_owned());
    clauses.push(("userSearchFilter", users));
    if let Some(excluded) = filter(fields, "exclusionFilter", problems) {
        let rest = format!("(!{})", in_parentheses(&excluded));
        clauses.push(("exclusionFilter", rest));
    }
    let mut parts: Vec<String> = clauses.iter().map(|(_, part)| part.clone()).collect();
    let mut computers_filter = None;
    if directory_type == DirectoryType::ActiveDirectory {
        parts.push(COMPUTER.to_owned());
        computers_filter = Some(all_of(&parts));
        parts.pop();
        let others = NO_PEOPLE.map(|other| format!("(!{other})"));
        clauses.extend(others.iter().map(|other| ("notAPerson", other.clone())));
        parts.extend(others);
    }
    let users_filter = all_of(&parts);
    if let Err(wrong) = within_limits(&users_filter) {
        let message = format!(
            "together with userObjectClasses and exclusionFilter is no filter that is accepted: {wrong}; simplify it"
        );
        fields.refuse("userSearchFilter", message, problems);
    }
    let groups_filter = filter(fields, "groupSearchFilter", problems)
        .unwrap_or_else(|| usual_groups(directory_type).to_owned());
    let units_filter = units_filter(fields, directory_type, problems);
    let with_groups = fields.boolean("synchronizeGroups", true, problems);
    let primary_group = fields.boolean("primaryGroup", false, problems);
    if primary_group && directory_type != DirectoryType::ActiveDirectory {
        let cure = "only Active Directory has primary groups; leave it out, or set type = \"active_directory\"";
        fields.refuse("primaryGroup", cure, problems);
    } else if primary_group && membership.iter().any(|(_, by)| *by == MembershipType::Uid) {
        let cure = "the users of a primary group are found by DN; leave out membershipAttributeType = \"UID\"";
        fields.refuse("primaryGroup", cure, problems);
    }
    let base = &connection?.base_dn;
    Some(Scope {
        users_dn: users_dn.unwrap_or_else(|| base.clone()),
        users_filter,
        computers_filter,
        users_clauses: clauses,
        groups_dn: with_groups.then(|| groups_dn.unwrap_or_else(|| base.clone())),
        groups_filter,
        units_filter,
        membership,
        uid_attribute,
        primary_group,
    })
}

/// The filter of the organizational units that are groups; `None` when they are left alone.
fn units_filter(
    fields: &mut Fields<'_>,
    directory_type: DirectoryType,
    problems: &mut Problems,
) -> Option<String> {
    let words = [("ignore", false), ("groups", true)];
    let as_groups = fields.choice("organizationalUnits", false, &words, problems);
    let filter = match directory_type {
        DirectoryType::ActiveDirectory => AD_UNITS,
        DirectoryType::Ldap => LDAP_UNITS,
    };
    as_groups.then(|| filter.to_owned())
}

/// The filter that an entry matches when it matches all of these.
fn all_of(parts: &[String]) -> String {
    match parts {
        [only] => only.clone(),
        parts => {
            let parts: String = parts.iter().map(|part| in_parentheses(part)).collect();
            format!("(&{parts})")
        }
    }
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
