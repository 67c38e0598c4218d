//! The example file against the defaults, and what mistakes look like.
#![allow(clippy::unwrap_used)]

use crate::config::{Config, parse};
use crate::plan::conflict::ConflictPolicy;
use crate::plan::decide::Population;

const EXAMPLE: &str = include_str!("../../config/scim-relay.toml");

/// Only what must be there; everything else has its default.
const SMALLEST: &str = r#"
[[tenants]]
name = "acme"
baseUrl = "https://iam.example.org/scim/v2"
auth = { type = "bearer", token = "env:SCIM_TOKEN" }

[[directories]]
tenant = "acme"
name = "hq"
type = "ldap"
host = "ldap.example.org"
bindDN = "cn=scim-relay,ou=services,dc=example,dc=org"
bindPassword = "env:LDAP_PASSWORD"
baseDN = "dc=example,dc=org"
"#;

fn read(text: &str) -> Config {
    parse(text, |_| None).unwrap_or_else(|problems| panic_with(&problems))
}

#[allow(clippy::panic)]
fn panic_with(problems: &crate::document::Problems) -> Config {
    let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    panic!("{}", lines.join("\n"))
}

fn mistakes(text: &str) -> Vec<String> {
    parse(text, |_| None)
        .unwrap_err()
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_example_file_spells_out_the_defaults() {
    // All but what was written, which differs on purpose.
    let meaning = |text| {
        let mut config = read(text);
        let tenants = config.tenants.iter_mut();
        tenants.for_each(|tenant| tenant.written.clear());
        let directories = config.directories.iter_mut();
        directories.for_each(|directory| directory.written.clear());
        format!("{config:#?}")
    };
    let (example, smallest) = (meaning(EXAMPLE), meaning(SMALLEST));
    let different: Vec<(&str, &str)> = example
        .lines()
        .zip(smallest.lines())
        .filter(|(left, right)| left != right)
        .take(3)
        .collect();
    assert_eq!(different, []);
    assert_eq!(example.len(), smallest.len());
}

#[test]
fn the_example_file_names_every_key() {
    // Each key that a mistake could suggest must be found in the example, written out or in a comment.
    let source = [
        include_str!("mod.rs"),
        include_str!("../directory/read.rs"),
        include_str!("../directory/rules.rs"),
        include_str!("../directory/scope.rs"),
        include_str!("../directory/values.rs"),
        include_str!("../directory/tenant.rs"),
        include_str!("../directory/tenant/auth.rs"),
        include_str!("../directory/tenant/headers.rs"),
        include_str!("../directory/tenant/pace.rs"),
    ]
    .concat();
    let asked = source
        .split("fields.")
        .chain(source.split("auth."))
        .chain(source.split("groups."));
    for call in asked.skip(1) {
        let Some(name) = call
            .split('"')
            .nth(1)
            .filter(|_| call.find('"').is_some_and(|at| at < 40))
        else {
            continue;
        };
        let is_key = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
        let is_read = [
            "text(", "parsed", "boolean(", "integer(", "choice(", "table", "tables(",
        ];
        if is_key
            && is_read
                .iter()
                .any(|verb| call.trim_start().starts_with(verb))
        {
            assert!(
                EXAMPLE.contains(name),
                "config/scim-relay.toml does not explain `{name}`"
            );
        }
    }
}

#[test]
fn all_mistakes_are_found_at_once_with_line_key_and_cure() {
    let text = r#"
[server]
listen = "0.0.0.0:8470"
[store]
cacheMib = "big"
[[tenants]]
name = "acme"
baseUrl = "http://iam.example.org/scim"
auth = { type = "bearer", token = "s3cret" }
[[directories]]
tenant = "acne"
name = "hq"
type = "ldap"
host = "ldap.example.org"
prot = 636
bindDN = "cn=x"
bindPassword = "env:X"
baseDN = "dc example"
userSearchFilter = "(objectClass=person"
syncSchedule = "0 24 * * *"
attributeMapping = { email = "mail", password = "userPassword", title = { expression = "{{ x" } }
"#;
    let found = mistakes(text);
    let expected = [
        ("line 3", "server.listen", "allowPlainHttp"),
        ("line 5", "store.cacheMib", "whole number"),
        ("line 8", "tenants.0.baseUrl", "https://"),
        ("line 9", "tenants.0.auth.token", "env:NAME"),
        ("line 15", "directories.0.prot", "did you mean `port`"),
        ("line 18", "directories.0.baseDN", "distinguished name"),
        ("line 19", "directories.0.userSearchFilter", "LDAP filter"),
        ("line 20", "directories.0.syncSchedule", "hour"),
        (
            "line 21",
            "directories.0.attributeMapping.password",
            "never",
        ),
        (
            "line 21",
            "directories.0.attributeMapping.title",
            "expression",
        ),
    ];
    for ((line, key, cure), text) in expected.iter().zip(&found) {
        assert!(
            text.starts_with(line) && text.contains(key) && text.contains(cure),
            "{text} against {line} {key} {cure}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(
        !found.iter().any(|text| text.contains("s3cret")),
        "a secret is repeated: {found:#?}"
    );
}

#[test]
fn a_password_without_tls_needs_leave_and_a_tenant_must_exist() {
    let plain = SMALLEST.replace("type = \"ldap\"", "type = \"ldap\"\nuseTLS = false");
    assert!(
        mistakes(&plain)[0].contains("plain text"),
        "{:?}",
        mistakes(&plain)
    );
    let nobody = SMALLEST.replace("tenant = \"acme\"", "tenant = \"nobody\"");
    assert!(
        mistakes(&nobody)[0].contains("[[tenants]] has no such name"),
        "{:?}",
        mistakes(&nobody)
    );
}

#[test]
fn organizational_units_are_groups_where_that_is_asked_for() {
    let units = |text: &str| {
        let profile = read(text).directories[0].profiles[0].clone();
        assert_eq!(
            profile.scope.units_filter.is_some(),
            profile.scope.has_groups()
        );
        (
            profile.scope.units_filter,
            profile.mapping.unit_name_attribute(),
        )
    };
    let off = format!("{SMALLEST}synchronizeGroups = false\n");
    assert_eq!(units(&off).0, None);
    let on = format!("{off}organizationalUnits = \"groups\"\n");
    let (filter, name) = units(&on);
    assert_eq!(filter.as_deref(), Some("(objectClass=organizationalUnit)"));
    assert_eq!(name.as_deref(), Some("ou"));
    let (filter, name) = units(&on.replace("\"ldap\"", "\"active_directory\""));
    assert!(filter.unwrap().contains("isCriticalSystemObject"));
    assert_eq!(name.as_deref(), Some("name"));
    // They can give roles when there are no other groups.
    let roles = "roleMapping = [{ group = \"ou=a,dc=x\", role = \"a\" }]\n";
    read(&format!("{on}{roles}"));
    assert!(mistakes(&format!("{off}{roles}"))[0].contains("organizationalUnits"));
    let wrong = on.replace("\"groups\"", "\"all\"");
    assert!(mistakes(&wrong)[0].contains("organizationalUnits"));
    let fingerprint = |text: &str| {
        let directory = &read(text).directories[0];
        directory.profiles[0].fingerprint(&directory.profile_names())
    };
    assert_ne!(fingerprint(&off), fingerprint(&on));
}

#[test]
fn fallback_hosts_have_the_port_of_the_first_server_unless_they_name_one() {
    let host = "host = \"ldap.example.org\"";
    for (first, port) in [
        (host, 636),
        ("host = \"ldap.example.org\"\nport = 1636", 1636),
        ("host = \"ldap.example.org\"\nstartTLS = true", 389),
        ("url = \"ldaps://ldap.example.org:2636\"", 2636),
    ] {
        let lines = format!("{first}\nfallbackHosts = [\"b.example.org\", \"[::1]:389\"]");
        let config = read(&SMALLEST.replace(host, &lines));
        let servers = config.directories[0].connection.fallback_hosts.iter();
        let servers: Vec<String> = servers.map(ToString::to_string).collect();
        assert_eq!(
            servers,
            [format!("b.example.org:{port}"), "[::1]:389".to_owned()]
        );
    }
    let lines = format!("{host}\nfallbackHosts = [\"b\", \"ldap.example.org:636\", \"fd00::1\"]");
    let lines = mistakes(&SMALLEST.replace(host, &lines));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("ldap.example.org:636 twice"), "{lines:?}");
    assert!(lines[0].contains("IPv6 address in brackets"), "{lines:?}");
}

#[test]
fn primary_groups_are_those_of_active_directory_by_name() {
    let ldap = SMALLEST.replace("type = \"ldap\"", "type = \"ldap\"\nprimaryGroup = true");
    assert!(
        mistakes(&ldap)[0].contains("only Active Directory"),
        "{:?}",
        mistakes(&ldap)
    );
    let domain = ldap.replace("\"ldap\"", "\"active_directory\"");
    assert!(read(&domain).directories[0].profiles[0].scope.primary_group);
    let by_uid = "groupAttributeMapping = { membership = \"memberUid\", membershipAttributeType = \"UID\" }\n\
                  primaryGroup = true";
    let by_uid = domain.replace("primaryGroup = true", by_uid);
    assert!(
        mistakes(&by_uid)[0].contains("found by DN"),
        "{:?}",
        mistakes(&by_uid)
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    assert!(
        mistakes("[server]\nlisten = \n")[0].starts_with("line 2: this is not TOML"),
        "{:?}",
        mistakes("[server]\nlisten = \n")
    );
}

#[test]
fn the_environment_overrides_by_a_stated_rule() {
    let environment = |name: &str| match name {
        "SCIM_RELAY_SERVER_LISTEN" => Some("127.0.0.1:9".to_owned()),
        "SCIM_RELAY_STORE_CACHE_MIB" => Some("32".to_owned()),
        _ => None,
    };
    let config = parse(SMALLEST, environment).unwrap();
    assert_eq!(
        (config.server.listen.port(), config.store.cache_mib),
        (9, 32)
    );
}

#[test]
fn active_directory_has_its_own_defaults() {
    let config = read(&SMALLEST.replace("\"ldap\"", "\"active_directory\""));
    let directory = &config.directories[0];
    assert_eq!(directory.connection.anchor_attribute, "objectGUID");
    let filter = &directory.profiles[0].scope.users_filter;
    assert_eq!(
        filter,
        "(&(&(objectCategory=person)(objectClass=user))(!(objectClass=computer))(!(objectClass=contact)))"
    );
    assert!(
        directory.profiles[0]
            .mapping
            .user_attributes()
            .contains("sAMAccountName")
    );
}

#[test]
fn further_profiles_have_the_defaults_of_their_directorys_type() {
    let commented = EXAMPLE.split("# [[directories.profiles]]").nth(1).unwrap();
    let example: String = commented
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.contains(" = "))
        .map(|line| format!("{line}\n"))
        .collect();
    let written = format!(
        "{SMALLEST}population = \"active\"\n[[directories.profiles]]\n{example}[[directories.profiles]]\nname = \"late\"\nenabled = false\n"
    );
    let directory = &read(&written).directories[0];
    let names: Vec<String> = directory
        .profile_names()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["default", "contractors", "late"]);
    let profile = |at: usize| &directory.profiles[at];
    let (default, contractors, late) = (profile(0), profile(1), profile(2));
    assert_eq!(
        contractors.scope.users_dn,
        "ou=contractors,dc=example,dc=org"
    );
    assert_eq!(contractors.scope.groups_dn, None);
    assert_eq!((contractors.enabled, late.enabled), (true, false));
    assert_eq!(default.population, Population::Active);
    assert_eq!(late.population, Population::All);
    assert_eq!(late.scope, default.scope);
    let order = directory.profile_names();
    assert_ne!(
        default.fingerprint(&order),
        late.fingerprint(&order),
        "the population decides what is desired"
    );
    assert_ne!(late.fingerprint(&order), late.fingerprint(&order[..1]));

    let ad = SMALLEST.replace("\"ldap\"", "\"active_directory\"");
    let ad = read(&format!("{ad}[[directories.profiles]]\nname = \"b\"\n"));
    let profiles = &ad.directories[0].profiles;
    assert_eq!(profiles[0].scope, profiles[1].scope);
    assert_eq!(profiles[0].definition, profiles[1].definition);
}

#[test]
fn mistakes_of_further_profiles_are_found() {
    let table = |lines: &str| format!("[[directories.profiles]]\n{lines}\n");
    let text = [
        SMALLEST.to_owned(),
        table("usersDN = \"dc=example,dc=org\""),
        table("name = \"default\""),
        table("name = \"Sales\""),
        table(&format!("name = \"{}\"", "x".repeat(65))),
        table("name = \"a\"\nhost = \"x\""),
        table("name = \"b\"\nattributeMapping = { externalId = \"uid\" }"),
        table("name = \"c\"\npopulation = \"some\""),
        table("name = \"d\""),
        table("name = \"d\""),
    ]
    .concat();
    let found = mistakes(&text);
    let expected = [
        ("profiles.0.name", "is missing"),
        ("profiles.1.name", "level of the directory"),
        ("profiles.2.name", "a-z"),
        ("profiles.3.name", "1 to 64"),
        ("profiles.4.host", "not a known key"),
        ("profiles.5.attributeMapping", "anchorAttribute"),
        ("profiles.6.population", "all, active, inactive"),
        ("profiles.8.name", "another profile"),
    ];
    for ((key, cure), text) in expected.iter().zip(&found) {
        assert!(
            text.contains(key) && text.contains(cure),
            "{text}: {key} {cure}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn mistakes_of_a_role_mapping_are_found() {
    let text = format!(
        "{SMALLEST}attributeMapping = {{ entitlements = \"rights\" }}\nroleMapping = [\n{}]\n",
        [
            "{ group = \"cn=a,dc=x\", role = \"admin\" },\n",
            "{ group = \"admins\", role = \"admin\" },\n",
            "{ group = \"cn=a,dc=x\" },\n",
            "{ group = \"cn=a,dc=x\", role = \"a\", entitlement = \"b\" },\n",
            "{ group = \"cn=a,dc=x\", role = \" \" },\n",
            "{ role = \"admin\" },\n",
            "{ group = \"cn=a,dc=x\", entitlement = \"vpn\" },\n",
            "{ group = \"cn=a,dc=x\", role = \"a\", roles = \"b\" },\n",
        ]
        .concat()
    );
    let found = mistakes(&text).join("\n");
    for (key, cure) in [
        ("roleMapping.1.group", "nor its anchor"),
        ("roleMapping.2", "exactly one of role and entitlement"),
        ("roleMapping.3", "exactly one of role and entitlement"),
        ("roleMapping.4.role", "must not be empty"),
        ("roleMapping.5.group", "is missing"),
        ("roleMapping.6", "attributeMapping maps too"),
        ("roleMapping.7.roles", "did you mean `role`"),
    ] {
        let told = found
            .lines()
            .any(|line| line.contains(key) && line.contains(cure));
        assert!(told, "{key}: {cure}\n{found}");
    }
    assert!(!found.contains("roleMapping.0"), "{found}");
    let none = format!(
        "{SMALLEST}synchronizeGroups = false\nroleMapping = [{{ group = \"cn=a,dc=x\", role = \"a\" }}]\n"
    );
    assert!(mistakes(&none)[0].contains("synchronizeGroups"));
}

#[test]
fn a_role_mapping_that_changes_makes_every_row_be_looked_at() {
    let with = |rows: &str| {
        let config = read(&format!("{SMALLEST}roleMapping = [{rows}]\n"));
        let directory = &config.directories[0];
        directory.profiles[0].fingerprint(&directory.profile_names())
    };
    let one = with("{ group = \"cn=a,dc=x\", role = \"a\" }");
    assert_ne!(one, with(""));
    assert_ne!(one, with("{ group = \"cn=a,dc=x\", role = \"b\" }"));
    assert_ne!(one, with("{ group = \"cn=a,dc=x\", entitlement = \"a\" }"));
}

#[test]
fn a_conflict_policy_that_changes_makes_every_row_be_looked_at() {
    let with = |policy: &str| {
        let config = read(&format!("{SMALLEST}conflictPolicy = \"{policy}\"\n"));
        let directory = &config.directories[0];
        let profile = &directory.profiles[0];
        let fingerprint = profile.fingerprint(&directory.profile_names());
        (profile.conflict_policy, fingerprint)
    };
    let unsaid = read(SMALLEST);
    let unsaid = &unsaid.directories[0];
    let usual = unsaid.profiles[0].fingerprint(&unsaid.profile_names());
    let usual = (ConflictPolicy::DirectoryWins, usual);
    assert_eq!(with("directory_wins"), usual);
    let (local, manual) = (with("local_wins"), with("manual_review"));
    assert_eq!(
        (local.0, manual.0),
        (ConflictPolicy::LocalWins, ConflictPolicy::ManualReview)
    );
    assert_ne!(local.1, usual.1);
    assert_ne!(manual.1, usual.1);
    assert_ne!(local.1, manual.1);
    let found = mistakes(&format!("{SMALLEST}conflictPolicy = \"newest\"\n"));
    assert!(
        found[0].contains("conflictPolicy") && found[0].contains("manual_review"),
        "{found:?}"
    );
}

#[test]
fn filters_are_not_nested_too_deep_alone_or_together() {
    let nested = |depth: usize| format!("{}(cn=a){}", "(!".repeat(depth), ")".repeat(depth));
    let with = |lines: &str| format!("{SMALLEST}{lines}\n");
    read(&with(&format!("userSearchFilter = \"{}\"", nested(63))));
    for (lines, words) in [
        (
            format!("userSearchFilter = \"{}\"", nested(100_000)),
            "userSearchFilter: is no filter that is accepted: it is longer than 64 KiB",
        ),
        (
            format!("groupSearchFilter = \"{}\"", nested(10_000)),
            "groupSearchFilter: is no filter that is accepted: it is nested more than 64 deep",
        ),
        (
            format!("exclusionFilter = \"{}\"", nested(62)),
            "userSearchFilter: together with userObjectClasses and exclusionFilter",
        ),
    ] {
        let found = mistakes(&with(&lines));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(words), "{found:?}");
    }
}
