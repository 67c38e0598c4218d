//! The tables of fields: of a directory, its profiles, a tenant, how it authenticates, and a token.

use super::{Field, Kind, field, needed};
use crate::directory::tenant::dialect;

/// A directory, its profiles apart.
pub(super) const CONNECTION: &[Field] = &[
    needed("name", Kind::Text),
    field("enabled", Kind::Truth),
    needed("type", Kind::Words(&["ldap", "active_directory"])),
    field("host", Kind::Text),
    field("port", Kind::Number(1, 65_535)),
    field("fallbackHosts", Kind::Texts),
    field("useTLS", Kind::Truth),
    field("startTLS", Kind::Truth),
    field("url", Kind::Format("uri")),
    field("allowPlainLdap", Kind::Truth),
    field("caCertificate", Kind::Text),
    needed("bindDN", Kind::Text),
    needed("bindPassword", Kind::Secret),
    needed("baseDN", Kind::Format("ldap-dn")),
    field("anchorAttribute", Kind::Text),
    field("pageEntries", Kind::Number(1, 10_000)),
    field("connectTimeoutSeconds", Kind::Number(1, 300)),
    field("answerTimeoutSeconds", Kind::Number(1, 3_600)),
];

/// What every profile has; that of the profile `default` stands on the level of its directory.
pub(super) const PROFILE: &[Field] = &[
    field("usersDN", Kind::Format("ldap-dn")),
    field("userObjectClasses", Kind::Texts),
    field("userSearchFilter", Kind::Format("ldap-filter")),
    field("exclusionFilter", Kind::Format("ldap-filter")),
    field("synchronizeGroups", Kind::Truth),
    field("groupsDN", Kind::Format("ldap-dn")),
    field("groupSearchFilter", Kind::Format("ldap-filter")),
    field("disabledWhen", Kind::Texts),
    field("attributeMapping", Kind::Mapping),
    field(
        "groupAttributeMapping",
        Kind::Table(&[
            field("name", Kind::Text),
            field("membership", Kind::Text),
            field("membershipAttributeType", Kind::Words(&["DN", "UID"])),
            field("userAttribute", Kind::Text),
        ]),
    ),
    field("organizationalUnits", Kind::Words(&["ignore", "groups"])),
    field("primaryGroup", Kind::Truth),
    field(
        "roleMapping",
        Kind::Tables(&[
            needed("group", Kind::Text),
            field("role", Kind::Text),
            field("entitlement", Kind::Text),
        ]),
    ),
    field("population", Kind::Words(&["all", "active", "inactive"])),
    field(
        "nestedGroups",
        Kind::Words(&["direct", "flatten", "nested"]),
    ),
    field(
        "deprovisioning",
        Kind::Words(&["deactivate", "delete", "both", "never"]),
    ),
    field("gracePeriod", Kind::Format("interval")),
    field("absentGroups", Kind::Words(&["empty", "keep"])),
    field("linking", Kind::Words(&["propose", "automatic"])),
    field(
        "matchingAttribute",
        Kind::Words(&["userName", "email", "none"]),
    ),
    field(
        "conflictPolicy",
        Kind::Words(&["directory_wins", "local_wins", "manual_review"]),
    ),
    field("syncSchedule", Kind::Format("cron")),
    field("syncInterval", Kind::Format("interval")),
    field("reconcileInterval", Kind::Format("interval")),
    field(
        "changeDetection",
        Kind::Words(&[
            "automatic",
            "syncrepl",
            "dirsync",
            "usn_changed",
            "modify_timestamp",
            "full_scan",
        ]),
    ),
    field("fullSyncInterval", Kind::Format("interval")),
    field(
        "guard",
        Kind::Table(&[
            field("deactivations", Kind::Number(0, 10_000_000)),
            field("deactivationsPercent", Kind::Number(0, 100)),
            field("deactivationsMost", Kind::Number(0, 10_000_000)),
            field("groupsEmptied", Kind::Number(0, 10_000_000)),
            field("groupsEmptiedPercent", Kind::Number(0, 100)),
            field("groupMembersRemoved", Kind::Number(0, 10_000_000)),
            field("groupMembersRemovedPercent", Kind::Number(0, 100)),
            field("membersRemoved", Kind::Number(0, 10_000_000)),
            field("membersRemovedPercent", Kind::Number(0, 100)),
            field("creations", Kind::Number(0, 10_000_000)),
            field("creationsPercent", Kind::Number(0, 100)),
            field("attributeChanges", Kind::Number(0, 10_000_000)),
            field("attributeChangesPercent", Kind::Number(0, 100)),
            field("plausiblePercent", Kind::Number(0, 100)),
            field("foundPercent", Kind::Number(0, 100)),
            field("holdAll", Kind::Truth),
        ]),
    ),
];

/// A tenant, but for how its requests are authenticated.
pub(super) const TENANT: &[Field] = &[
    needed("name", Kind::Text),
    needed("baseUrl", Kind::Format("uri")),
    field("rateLimit", Kind::Number(1, 100_000)),
    field("rateBurst", Kind::Number(1, 100_000)),
    field(
        "rateLimits",
        Kind::Table(&[
            field("read", Kind::Rate),
            field("create", Kind::Rate),
            field("update", Kind::Rate),
            field("delete", Kind::Rate),
        ]),
    ),
    field("concurrency", Kind::Number(1, 256)),
    field("caCertificate", Kind::Text),
    field("clientCertificate", Kind::Text),
    field("clientKey", Kind::Secret),
    field("headers", Kind::Headers),
    field("allowPlainHttp", Kind::Truth),
    field("connectTimeoutSeconds", Kind::Number(1, 300)),
    field("answerTimeoutSeconds", Kind::Number(1, 600)),
    field("settleSeconds", Kind::Number(0, 60)),
    field("emailVerifiedAttribute", Kind::Text),
    field("emailVerifiedDomains", Kind::Texts),
    field(
        "protected",
        Kind::Table(&[
            field("ids", Kind::Texts),
            field("userNames", Kind::Texts),
            field("groupNames", Kind::Texts),
        ]),
    ),
    field(
        "dialect",
        Kind::Table(&[
            field("base", Kind::Words(dialect::NAMES)),
            field(
                "userUpdates",
                Kind::Words(&["as_advertised", "patch", "put"]),
            ),
            field(
                "groupUpdates",
                Kind::Words(&["as_advertised", "patch", "put"]),
            ),
            field("patchPaths", Kind::Words(&["always", "core", "never"])),
            field("capitalOperations", Kind::Truth),
            field("booleansAsText", Kind::Truth),
            field("operationsPerRequest", Kind::Number(1, 10_000)),
            field("membersPerOperation", Kind::Number(1, 100_000)),
            field("membersPerRequest", Kind::Number(1, 100_000)),
            field("membersPerCreate", Kind::Number(0, 100_000)),
            field("memberRemovals", Kind::Words(&["filter", "values"])),
            field("membersReadable", Kind::Truth),
            field("elementUpdates", Kind::Words(&["filter", "whole"])),
            field("elementTypes", Kind::Truth),
            field("singleValued", Kind::Texts),
            field("omittedAttributes", Kind::Texts),
            field("immutableUserAttributes", Kind::Texts),
            field("immutableGroupAttributes", Kind::Texts),
            field("userFilters", Kind::Texts),
            field("groupFilters", Kind::Texts),
            field(
                "paging",
                Kind::Words(&["as_advertised", "index", "cursor", "none"]),
            ),
            field("pageResources", Kind::Number(1, 10_000)),
            field("postSearch", Kind::Truth),
            field(
                "bulk",
                Kind::Words(&["never", "without_references", "with_references"]),
            ),
            field(
                "contentType",
                Kind::Words(&["application/scim+json", "application/json"]),
            ),
            field("uniqueGroupNames", Kind::Truth),
            field("ifMatch", Kind::Truth),
            field(
                "throttling",
                Kind::Tables(&[
                    needed("status", Kind::Number(400, 599)),
                    needed("text", Kind::Text),
                ]),
            ),
        ]),
    ),
];

/// A tenant's authentication by a bearer token, which is the usual one.
pub(super) const BEARER: &[Field] = &[
    field("type", Kind::Words(&["bearer"])),
    needed("token", Kind::Secret),
];

/// A tenant's authentication by OAuth 2.0 client credentials, with a secret.
pub(super) const OAUTH2: &[Field] = &[
    needed("type", Kind::Words(&["oauth2"])),
    needed("tokenUrl", Kind::Format("uri")),
    needed("clientId", Kind::Text),
    field("clientAuthentication", Kind::Words(&["client_secret"])),
    needed("clientSecret", Kind::Secret),
    field("scope", Kind::Text),
];

/// The same with a JWT that the client signs.
pub(super) const OAUTH2_JWT: &[Field] = &[
    needed("type", Kind::Words(&["oauth2"])),
    needed("tokenUrl", Kind::Format("uri")),
    needed("clientId", Kind::Text),
    needed("clientAuthentication", Kind::Words(&["private_key_jwt"])),
    needed("privateKey", Kind::Secret),
    field("keyId", Kind::Text),
    field("audience", Kind::Text),
    field("scope", Kind::Text),
];

/// A token.
pub(super) const TOKEN: &[Field] = &[
    needed("name", Kind::Text),
    needed("tenants", Kind::Texts),
    needed("permissions", Kind::Texts),
    field("expiresAt", Kind::Format("date-time")),
    field("expiresInDays", Kind::Number(1, 3_650)),
];
