// The parts of a directory's form: connection, scope, what becomes of people, schedule, safety limits.

import van from "./van.js";
import { post } from "./api.js";
import { latest, within } from "./fields.js";
import { at, choice, details, div, li, p, span, strong, summary, ul } from "./ui.js";

const TYPES = [
  ["active_directory", "Active Directory"],
  ["ldap", "LDAP (OpenLDAP, 389 Directory Server and others)"],
];

const SECURITIES = [
  ["tls", "TLS from the start (ldaps, usually port 636)"],
  ["starttls", "StartTLS (usually port 389)"],
  ["plain", "Not encrypted: the password can be read on the way"],
];

const SCHEDULES = [
  ["manual", "Only by hand"],
  ["interval", "Every so often"],
  ["cron", "At set times (cron, UTC)"],
];

const GUARD = [
  ["deactivations", "Users deactivated, at least allowed"],
  ["deactivationsPercent", "… or percent of the active users"],
  ["deactivationsMost", "… but never more than"],
  ["groupsEmptied", "Groups emptied"],
  ["groupsEmptiedPercent", "… or percent of the groups"],
  ["groupMembersRemoved", "Members removed from one group"],
  ["groupMembersRemovedPercent", "… or percent of its members"],
  ["membersRemoved", "Members removed in all"],
  ["membersRemovedPercent", "… or percent of all memberships"],
  ["creations", "Users created after the first load"],
  ["creationsPercent", "… or percent of the users"],
  ["attributeChanges", "Users with one attribute blanked or set to one value"],
  ["attributeChangesPercent", "… or percent of the users"],
  ["plausiblePercent", "Least percentage of the last read that the directory must show"],
  ["foundPercent", "Least percentage of the linked accounts that the target must show"],
];

/// What is usual; an answer of the API has every field.
export const USUAL = {
  name: "",
  enabled: false,
  type: "active_directory",
  host: "",
  port: null,
  useTLS: true,
  startTLS: false,
  allowPlainLdap: false,
  fallbackHosts: [],
  caCertificate: null,
  bindDN: "",
  baseDN: "",
};

/// What a type has where a filter is left empty.
const FILTERS = {
  active_directory: { userSearchFilter: "(&(objectCategory=person)(objectClass=user))" },
  ldap: { userSearchFilter: "(objectClass=person)" },
};

/// What follows from other fields is shown as empty, so that it goes on following them.
export const withoutUsual = one => {
  const shown = { ...one };
  const usual = FILTERS[one.type];
  if (one.usersDN === one.baseDN) shown.usersDN = null;
  if (one.groupsDN === one.baseDN) shown.groupsDN = null;
  if (one.userSearchFilter === usual.userSearchFilter) shown.userSearchFilter = null;
  if (one.port === (one.useTLS ? 636 : 389)) shown.port = null;
  return shown;
};

const securityOf = one => (one.useTLS ? "tls" : one.startTLS ? "starttls" : "plain");

const ofSecurity = {
  tls: { useTLS: true, startTLS: false, allowPlainLdap: false },
  starttls: { useTLS: false, startTLS: true, allowPlainLdap: false },
  plain: { useTLS: false, startTLS: false, allowPlainLdap: true },
};

export const connectionPart = (fields, one, isNew, onType) => [
  div(
    { class: "grid" },
    fields.text("name", "Name", one.name, { required: true, hint: "What people call this directory" }),
    fields.choice("type", "Type", one.type, TYPES, { onchange: onType }),
    fields.text("host", "Host name", one.host, {
      required: true,
      hint: "As its certificate names it, for example dc1.example.com",
    }),
    fields.add(
      "*",
      choice({ text: "Encryption", value: securityOf(one), choices: SECURITIES, errors: fields.errors, name: "useTLS" }),
      value => ofSecurity[value],
    ),
    fields.number("port", "Port", one.port, { hint: "Empty: 636 with TLS, 389 without" }),
    fields.text("bindDN", "Account (bind DN)", one.bindDN, {
      required: true,
      hint: "A plain account that can read; cn=reader,ou=system,dc=example,dc=com, or reader@example.com for Active Directory",
    }),
    fields.text("bindPassword", "Password", "", {
      type: "password",
      required: isNew,
      hint: isNew
        ? "Kept encrypted, and never shown again"
        : "Empty: the stored one stays. It must be entered again when the server or the account changes",
    }),
  ),
  details(
    summary("Own certificate authority, further servers"),
    div(
      { class: "grid" },
      fields.text("caCertificate", "CA certificate (PEM)", one.caCertificate, {
        rows: 4,
        hint: "Replaces the public authorities for this directory",
      }),
      fields.lines("fallbackHosts", "Further servers, one a line", one.fallbackHosts, {
        hint: "Tried in order when the first does not answer",
      }),
    ),
  ),
];

export const scopePart = (fields, one, baseDn) => [
  div(
    { class: "grid" },
    baseDn
      ? fields.text("baseDN", "Base DN", one.baseDN, {
          required: true,
          placeholder: "dc=example,dc=com",
          hint: "Where everything is below",
        })
      : [],
    fields.text("usersDN", "Users below", one.usersDN, { hint: "Empty: below the base DN" }),
    fields.text("userSearchFilter", "Users are", one.userSearchFilter, {
      hint: "An LDAP filter; empty: the usual one of the directory's type",
    }),
    fields.text("exclusionFilter", "But not", one.exclusionFilter, { hint: "An LDAP filter of users who are left out" }),
    fields.choice("population", "Which users", one.population ?? "all", [
      ["all", "All"],
      ["active", "Only active ones"],
      ["inactive", "Only inactive ones"],
    ]),
    fields.tick("synchronizeGroups", "Synchronize groups", one.synchronizeGroups ?? true),
    fields.text("groupsDN", "Groups below", one.groupsDN, { hint: "Empty: below the base DN" }),
    fields.text("groupSearchFilter", "Groups are", one.groupSearchFilter, {
      hint: "An LDAP filter; empty: the usual one of the type",
    }),
    fields.choice("nestedGroups", "Groups in groups", one.nestedGroups ?? "direct", [
      ["direct", "Only direct members"],
      ["flatten", "Flattened to users"],
      ["nested", "Kept as nested groups"],
    ]),
  ),
  details(
    summary("Object classes, attributes of groups, organizational units, accounts that are disabled otherwise"),
    div(
      { class: "grid" },
      fields.lines("userObjectClasses", "Object classes of users, one a line", one.userObjectClasses, {
        hint: "Each of them is asked for beside the filter",
      }),
      fields.lines("disabledWhen", "Disabled when, one filter a line", one.disabledWhen, {
        hint: "LDAP filters of accounts that count as disabled, beside what the directory itself says",
      }),
      fields.choice("organizationalUnits", "Organizational units", one.organizationalUnits ?? "ignore", [
        ["ignore", "are ignored"],
        ["groups", "become groups of the users in them"],
      ]),
      ...groupMappingPart(fields, one.groupAttributeMapping),
      fields.choice("absentGroups", "A group that leaves the directory", one.absentGroups ?? "empty", [
        ["empty", "is emptied of the members that the relay put there"],
        ["keep", "stays as it is"],
      ]),
    ),
  ),
];

export const lifecyclePart = (fields, one) =>
  div(
    { class: "grid" },
    fields.choice("deprovisioning", "Who leaves the directory", one.deprovisioning ?? "deactivate", [
      ["deactivate", "is deactivated"],
      ["delete", "is deleted at the target"],
      ["both", "is deactivated, then deleted"],
      ["never", "keeps the account as it is"],
    ]),
    fields.text("gracePeriod", "… after", one.gracePeriod ?? "none", { hint: "none, or for example 7d" }),
    fields.choice("linking", "Accounts that the target already has", one.linking ?? "propose", [
      ["propose", "are proposed to you before they are taken over"],
      ["automatic", "are linked by themselves"],
    ]),
    fields.choice("matchingAttribute", "… recognized by", one.matchingAttribute ?? "userName", [
      ["userName", "user name"],
      ["email", "e-mail address"],
      ["none", "nothing but the anchor"],
    ]),
    fields.choice("conflictPolicy", "Changed in both places", one.conflictPolicy ?? "directory_wins", [
      ["directory_wins", "The directory wins"],
      ["local_wins", "The target's value stays"],
      ["manual_review", "You decide"],
    ]),
  );

/// What a schedule means, in words, with its next five times.
const preview = (name, first) => {
  const { shown, ask } = latest();
  let timer;
  const tell = async text => {
    try {
      const answer = await post("/schedules/preview", { [name]: text });
      return div(
        { role: "status" },
        p(strong(answer.words)),
        p("The next runs:"),
        ul(...answer.nextRuns.map(time => li(at(time)))),
      );
    } catch (error) {
      return p({ class: "wrong", role: "status" }, error.fields?.()[name] ?? error.message);
    }
  };
  const tellSoon = text => {
    clearTimeout(timer);
    timer = setTimeout(() => ask(text.trim() ? () => tell(text.trim()) : null), 300);
  };
  if (first) tellSoon(first);
  return { node: div({ class: "field" }, () => shown.val ?? span()), tellSoon };
};

export const schedulePart = (fields, one) => {
  const kind = van.state(one.syncSchedule ? "cron" : one.syncInterval ? "interval" : "manual");
  const [cronWords, intervalWords] = [preview("syncSchedule", one.syncSchedule), preview("syncInterval", one.syncInterval)];
  const cron = fields.text("syncSchedule", "At (minute hour day month weekday)", one.syncSchedule, {
    placeholder: "0 2 * * *",
    hint: "0 2 * * * is every night at two, UTC",
    onchange: cronWords.tellSoon,
  });
  const interval = fields.text("syncInterval", "Every", one.syncInterval, {
    placeholder: "15m",
    hint: "For example 30s, 15m, 4h or 1d",
    onchange: intervalWords.tellSoon,
  });
  const { syncSchedule, syncInterval } = fields.readers;
  fields.readers.syncSchedule = () => (kind.rawVal === "cron" ? syncSchedule() : one.syncSchedule === "" ? "" : null);
  fields.readers.syncInterval = () => (kind.rawVal === "interval" ? syncInterval() : null);
  fields.checks.push(() => ({
    ...(kind.rawVal === "cron" && !syncSchedule()
      ? { syncSchedule: "is missing; enter the times, or choose “Only by hand”" }
      : {}),
    ...(kind.rawVal === "interval" && !syncInterval()
      ? { syncInterval: "is missing; enter how often, or choose “Only by hand”" }
      : {}),
  }));
  const shownFor = (value, node) => div({ hidden: () => kind.val !== value }, node);
  return div(
    { class: "grid" },
    choice({
      text: "When",
      value: kind.rawVal,
      choices: SCHEDULES,
      onchange: value => {
        kind.val = value;
      },
    }).node,
    shownFor("interval", div(interval, intervalWords.node)),
    shownFor("cron", div(cron, cronWords.node)),
    fields.choice("changeDetection", "Changes are noticed by", one.changeDetection ?? "automatic", [
      ["automatic", "the best way that the server allows"],
      ["syncrepl", "content synchronization (OpenLDAP, 389)"],
      ["dirsync", "DirSync (Active Directory)"],
      ["usn_changed", "uSNChanged (Active Directory)"],
      ["modify_timestamp", "modifyTimestamp"],
      ["full_scan", "reading everything"],
    ]),
    fields.text("fullSyncInterval", "Everything is read every", one.fullSyncInterval ?? "1d"),
    fields.text("reconcileInterval", "Compared with the target every", one.reconcileInterval ?? "1d"),
  );
};

const groupMappingPart = (fields, groups = {}) =>
  within(fields, "groupAttributeMapping", inner => [
    inner.text("name", "A group's name is its", groups.name, { placeholder: "cn" }),
    inner.text("membership", "Its members are in", groups.membership, {
      hint: "An attribute; empty: the usual one of the group's class",
    }),
    inner.choice("membershipAttributeType", "… which holds", groups.membershipAttributeType ?? "DN", [
      ["DN", "DNs"],
      ["UID", "user names"],
    ]),
  ]);

export const guardPart = (fields, one) => {
  const guard = one.guard ?? {};
  const nodes = within(fields, "guard", inner => [
    ...GUARD.map(([name, text]) => inner.number(name, text, guard[name], { placeholder: "the usual limit" })),
    inner.tick("holdAll", "Hold the whole plan when one limit trips", guard.holdAll ?? false, {
      hint: "Otherwise only what tripped waits, and the rest goes out",
    }),
  ]);
  return [
    p(
      "More than this in one run, or in 24 hours, is not sent before you approve it. The usual limits are safe. They cannot be switched off; the larger of a number and its percentage counts.",
    ),
    div({ class: "grid" }, ...nodes),
  ];
};
