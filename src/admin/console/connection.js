// The form of a directory, from top to bottom: connection, tests, scope, mapping with a preview, schedule, safety limits.

import van from "./van.js";
import { Problem, may, post, put } from "./api.js";
import { mapped } from "./entries.js";
import { mappingEditor } from "./mapping.js";
import { STAGE, count, rung, word } from "./words.js";
import {
  action, at, badge, card, choice, confirm, details, div, fieldset, form, go, h1, li, link, notice, p, pre, say, span, strong, summary, textField,
  tick, trouble, ul,
} from "./ui.js";

const TYPES = [["active_directory", "Active Directory"], ["ldap", "LDAP (OpenLDAP, 389 Directory Server and others)"]];
const SECURITIES = [["tls", "TLS from the start (ldaps, usually port 636)"], ["starttls", "StartTLS (usually port 389)"], ["plain", "Not encrypted: the password can be read on the way"]];

const SCHEDULES = [["manual", "Only by hand"], ["interval", "Every so often"], ["cron", "At set times (cron, UTC)"]];

const GUARD = [
  ["deactivations", "Users deactivated, at least allowed"], ["deactivationsPercent", "… or percent of the active users"],
  ["deactivationsMost", "… but never more than"], ["groupsEmptied", "Groups emptied"], ["groupsEmptiedPercent", "… or percent of the groups"],
  ["groupMembersRemoved", "Members removed from one group"], ["groupMembersRemovedPercent", "… or percent of its members"],
  ["membersRemoved", "Members removed in all"], ["membersRemovedPercent", "… or percent of all memberships"],
  ["creations", "Users created after the first load"], ["creationsPercent", "… or percent of the users"],
  ["attributeChanges", "Users with one attribute blanked or set to one value"], ["attributeChangesPercent", "… or percent of the users"],
  ["plausiblePercent", "Least percentage of the last read that the directory must show"],
  ["foundPercent", "Least percentage of the linked accounts that the target must show"],
];

/// What is usual; an answer of the API has every field.
const USUAL = {
  name: "", enabled: false, type: "active_directory", host: "", port: null, useTLS: true, startTLS: false, allowPlainLdap: false,
  fallbackHosts: [], caCertificate: null, bindDN: "", baseDN: "",
};

/// What a type has where a filter is left empty.
const FILTERS = {
  active_directory: { userSearchFilter: "(&(objectCategory=person)(objectClass=user))" },
  ldap: { userSearchFilter: "(objectClass=person)" },
};

/// What follows from other fields is shown as empty, so that it goes on following them.
const withoutUsual = one => {
  const shown = { ...one };
  const usual = FILTERS[one.type];
  if (one.usersDN === one.baseDN) shown.usersDN = null;
  if (one.groupsDN === one.baseDN) shown.groupsDN = null;
  if (one.userSearchFilter === usual.userSearchFilter) shown.userSearchFilter = null;
  if (one.port === (one.useTLS ? 636 : 389)) shown.port = null;
  return shown;
};

const lines = text => text.split("\n").map(line => line.trim()).filter(Boolean);
const orNull = text => (text === "" ? null : text);
const numberOrNull = text => (text === "" ? null : Number(text));

/// A form's fields: what each is called in the API, what it shows, and how it is read.
class Fields {
  constructor(errors, prefix = "") {
    this.errors = errors;
    this.prefix = prefix;
    this.readers = {};
    this.checks = [];
  }

  /// Adds a field; `read` makes the API's value of what was entered.
  add(name, field, read) {
    this.readers[name] = () => read(field.value());
    this.checks.push(() => (field.control.validity.badInput ? { [this.prefix + name]: "is not a number" } : {}));
    return field.node;
  }

  text(name, text, value, options = {}) {
    return this.add(name, textField({ text, name: this.prefix + name, value, errors: this.errors, ...options }), orNull);
  }

  number(name, text, value, options = {}) {
    return this.add(name, textField({ text, name: this.prefix + name, value: value ?? "", type: "number", errors: this.errors, ...options }), numberOrNull);
  }

  lines(name, text, value, options = {}) {
    return this.add(name, textField({ text, name, value: (value ?? []).join("\n"), rows: 2, errors: this.errors, ...options }), lines);
  }

  choice(name, text, value, choices, options = {}) {
    return this.add(name, choice({ text, name: this.prefix + name, value, choices, errors: this.errors, ...options }), value => value);
  }

  tick(name, text, value, options = {}) {
    return this.add(name, tick({ text, name, value, ...options }), value => value);
  }

  /// Everything that was entered, by the API's names.
  values() {
    return Object.assign({}, ...Object.entries(this.readers).map(([name, read]) => (name.startsWith("*") ? read() : { [name]: read() })));
  }

  /// What cannot be sent, by field; nothing is sent until that is corrected.
  refuse() {
    this.errors.val = Object.assign({}, ...this.checks.map(check => check()));
    if (Object.keys(this.errors.val).length) throw new Problem({ title: "Not sent", detail: "Some fields cannot be read; each says why." });
  }
}

const isEmpty = value => value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);

/// What a new one is created from: what is left empty keeps its default.
const given = values => Object.fromEntries(Object.entries(values).filter(([, value]) => !isEmpty(value)));

/// What was changed since the form was shown.
const changed = (values, before) => Object.fromEntries(Object.entries(values)
  .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]))
  .map(([name, value]) => [name, Array.isArray(value) && !value.length ? null : value]));

// --- Tests of the connection -------------------------------------------------------------------------------------

const MARK = { ok: ["green", "passed"], failed: ["red", "failed"], skipped: ["plain", "not tried"] };

const report = one => div({ role: "status" },
  notice(one.success ? "green" : "red",
    p(strong(one.success ? "It works." : `${word(STAGE, one.error.code)} failed.`), " ", one.success ? "" : one.error.message),
    one.usersFound === undefined ? [] : p(`${count(one.usersFound)} users${one.groupsFound === undefined ? "" : ` and ${count(one.groupsFound)} groups`} are in scope.`),
    one.changeDetection ? p(`Changes will be noticed by ${rung(one.changeDetection)}.`) : []),
  ul(...one.stages.filter(stage => stage.status !== "skipped" || stage.detail).map(stage => li(word(STAGE, stage.name), " ", badge(...MARK[stage.status]), stage.detail ? `: ${stage.detail}` : ""))),
  ...(one.warnings ?? []).map(text => notice("yellow", p(text))),
  one.sample ? details({ open: true }, summary("One user as it would be sent"), pre({ tabindex: 0, "aria-label": "One user as it would be sent" }, JSON.stringify(one.sample, null, 2))) : []);

/// A button that tests, and where its report is shown.
const tester = (text, ask) => {
  const shown = van.state(null);
  const wrong = van.state(null);
  return {
    button: action(text, async () => {
      shown.val = null;
      shown.val = await ask();
      say(shown.val.success ? `${text}: it works` : `${text}: failed`);
    }, { into: wrong }),
    report: div(() => (wrong.val ? trouble(wrong.val) : shown.val ? report(shown.val) : span())),
  };
};

// --- The parts of the form ---------------------------------------------------------------------------------------

const securityOf = one => (one.useTLS ? "tls" : one.startTLS ? "starttls" : "plain");
const ofSecurity = { tls: { useTLS: true, startTLS: false, allowPlainLdap: false }, starttls: { useTLS: false, startTLS: true, allowPlainLdap: false }, plain: { useTLS: false, startTLS: false, allowPlainLdap: true } };

const connectionPart = (fields, one, isNew, onType) => [
  div({ class: "grid" },
    fields.text("name", "Name", one.name, { required: true, hint: "What people call this directory" }),
    fields.choice("type", "Type", one.type, TYPES, { onchange: onType }),
    fields.text("host", "Host name", one.host, { required: true, hint: "As its certificate names it, for example dc1.example.com" }),
    fields.add("*", choice({ text: "Encryption", value: securityOf(one), choices: SECURITIES, errors: fields.errors, name: "useTLS" }), value => ofSecurity[value]),
    fields.number("port", "Port", one.port, { hint: "Empty: 636 with TLS, 389 without" }),
    fields.text("bindDN", "Account (bind DN)", one.bindDN, { required: true, hint: "A plain account that can read; cn=reader,ou=system,dc=example,dc=com, or reader@example.com for Active Directory" }),
    fields.text("bindPassword", "Password", "", { type: "password", required: isNew, hint: isNew ? "Kept encrypted, and never shown again" : "Empty: the stored one stays. It must be entered again when the server or the account changes" })),
  details(summary("Own certificate authority, further servers"),
    div({ class: "grid" },
      fields.text("caCertificate", "CA certificate (PEM)", one.caCertificate, { rows: 4, hint: "Replaces the public authorities for this directory" }),
      fields.lines("fallbackHosts", "Further servers, one a line", one.fallbackHosts, { hint: "Tried in order when the first does not answer" }))),
];

const scopePart = (fields, one, baseDn) => [
  div({ class: "grid" },
    baseDn ? fields.text("baseDN", "Base DN", one.baseDN, { required: true, placeholder: "dc=example,dc=com", hint: "Where everything is below" }) : [],
    fields.text("usersDN", "Users below", one.usersDN, { hint: "Empty: below the base DN" }),
    fields.text("userSearchFilter", "Users are", one.userSearchFilter, { hint: "An LDAP filter; empty: the usual one of the directory's type" }),
    fields.text("exclusionFilter", "But not", one.exclusionFilter, { hint: "An LDAP filter of users who are left out" }),
    fields.choice("population", "Which users", one.population ?? "all", [["all", "All"], ["active", "Only active ones"], ["inactive", "Only inactive ones"]]),
    fields.tick("synchronizeGroups", "Synchronize groups", one.synchronizeGroups ?? true),
    fields.text("groupsDN", "Groups below", one.groupsDN, { hint: "Empty: below the base DN" }),
    fields.text("groupSearchFilter", "Groups are", one.groupSearchFilter, { hint: "An LDAP filter; empty: the usual one of the type" }),
    fields.choice("nestedGroups", "Groups in groups", one.nestedGroups ?? "direct", [["direct", "Only direct members"], ["flatten", "Flattened to users"], ["nested", "Kept as nested groups"]])),
  details(summary("Object classes, attributes of groups, organizational units, accounts that are disabled otherwise"),
    div({ class: "grid" },
      fields.lines("userObjectClasses", "Object classes of users, one a line", one.userObjectClasses, { hint: "Each of them is asked for beside the filter" }),
      fields.lines("disabledWhen", "Disabled when, one filter a line", one.disabledWhen, { hint: "LDAP filters of accounts that count as disabled, beside what the directory itself says" }),
      fields.choice("organizationalUnits", "Organizational units", one.organizationalUnits ?? "ignore", [["ignore", "are ignored"], ["groups", "become groups of the users in them"]]),
      ...groupMappingPart(fields, one.groupAttributeMapping),
      fields.choice("absentGroups", "A group that leaves the directory", one.absentGroups ?? "empty", [["empty", "is emptied of the members that the relay put there"], ["keep", "stays as it is"]]))),
];

const lifecyclePart = (fields, one) => div({ class: "grid" },
  fields.choice("deprovisioning", "Who leaves the directory", one.deprovisioning ?? "deactivate", [["deactivate", "is deactivated"], ["delete", "is deleted at the target"], ["both", "is deactivated, then deleted"], ["never", "keeps the account as it is"]]),
  fields.text("gracePeriod", "… after", one.gracePeriod ?? "none", { hint: "none, or for example 7d" }),
  fields.choice("linking", "Accounts that the target already has", one.linking ?? "propose", [["propose", "are proposed to you before they are taken over"], ["automatic", "are linked by themselves"]]),
  fields.choice("matchingAttribute", "… recognized by", one.matchingAttribute ?? "userName", [["userName", "user name"], ["email", "e-mail address"], ["none", "nothing but the anchor"]]),
  fields.choice("conflictPolicy", "Changed in both places", one.conflictPolicy ?? "directory_wins", [["directory_wins", "The directory wins"], ["local_wins", "The target's value stays"], ["manual_review", "You decide"]]));

/// Draws the answer of the latest of several calls; an earlier one that comes late is not shown.
const latest = () => {
  const shown = van.state(null);
  let turn = 0;
  const ask = async call => {
    const mine = ++turn;
    const node = call ? await call() : null;
    if (mine === turn) shown.val = node;
  };
  return { shown, ask };
};

/// What a schedule means, in words, with its next five times.
const preview = (name, first) => {
  const { shown, ask } = latest();
  let timer;
  const tell = async text => {
    try {
      const answer = await post("/schedules/preview", { [name]: text });
      return div({ role: "status" }, p(strong(answer.words)), p("The next runs:"), ul(...answer.nextRuns.map(time => li(at(time)))));
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

const schedulePart = (fields, one) => {
  const kind = van.state(one.syncSchedule ? "cron" : one.syncInterval ? "interval" : "manual");
  const [cronWords, intervalWords] = [preview("syncSchedule", one.syncSchedule), preview("syncInterval", one.syncInterval)];
  const cron = fields.text("syncSchedule", "At (minute hour day month weekday)", one.syncSchedule, { placeholder: "0 2 * * *", hint: "0 2 * * * is every night at two, UTC", onchange: cronWords.tellSoon });
  const interval = fields.text("syncInterval", "Every", one.syncInterval, { placeholder: "15m", hint: "For example 30s, 15m, 4h or 1d", onchange: intervalWords.tellSoon });
  const { syncSchedule, syncInterval } = fields.readers;
  fields.readers.syncSchedule = () => (kind.rawVal === "cron" ? syncSchedule() : one.syncSchedule === "" ? "" : null);
  fields.readers.syncInterval = () => (kind.rawVal === "interval" ? syncInterval() : null);
  fields.checks.push(() => ({
    ...(kind.rawVal === "cron" && !syncSchedule() ? { syncSchedule: "is missing; enter the times, or choose “Only by hand”" } : {}),
    ...(kind.rawVal === "interval" && !syncInterval() ? { syncInterval: "is missing; enter how often, or choose “Only by hand”" } : {}),
  }));
  const shownFor = (value, node) => div({ hidden: () => kind.val !== value }, node);
  return div({ class: "grid" },
    choice({ text: "When", value: kind.rawVal, choices: SCHEDULES, onchange: value => { kind.val = value; } }).node,
    shownFor("interval", div(interval, intervalWords.node)), shownFor("cron", div(cron, cronWords.node)),
    fields.choice("changeDetection", "Changes are noticed by", one.changeDetection ?? "automatic", [["automatic", "the best way that the server allows"], ["syncrepl", "content synchronization (OpenLDAP, 389)"], ["dirsync", "DirSync (Active Directory)"], ["usn_changed", "uSNChanged (Active Directory)"], ["modify_timestamp", "modifyTimestamp"], ["full_scan", "reading everything"]]),
    fields.text("fullSyncInterval", "Everything is read every", one.fullSyncInterval ?? "1d"),
    fields.text("reconcileInterval", "Compared with the target every", one.reconcileInterval ?? "1d"));
};

/// A table within the form's: only what was edited of it is sent, and what is emptied has its usual value again.
const within = (fields, name, add) => {
  const inner = new Fields(fields.errors, `${name}/`);
  const nodes = add(inner);
  const before = inner.values();
  fields.checks.push(...inner.checks);
  fields.readers[name] = () => {
    const edited = changed(inner.values(), before);
    return Object.keys(edited).length ? edited : null;
  };
  return nodes;
};

const groupMappingPart = (fields, groups = {}) => within(fields, "groupAttributeMapping", inner => [
  inner.text("name", "A group's name is its", groups.name, { placeholder: "cn" }),
  inner.text("membership", "Its members are in", groups.membership, { hint: "An attribute; empty: the usual one of the group's class" }),
  inner.choice("membershipAttributeType", "… which holds", groups.membershipAttributeType ?? "DN", [["DN", "DNs"], ["UID", "user names"]]),
]);

const guardPart = (fields, one) => {
  const guard = one.guard ?? {};
  const nodes = within(fields, "guard", inner => [
    ...GUARD.map(([name, text]) => inner.number(name, text, guard[name], { placeholder: "the usual limit" })),
    inner.tick("holdAll", "Hold the whole plan when one limit trips", guard.holdAll ?? false, { hint: "Otherwise only what tripped waits, and the rest goes out" }),
  ]);
  return [p("More than this in one run, or in 24 hours, is not sent before you approve it. The usual limits are safe. They cannot be switched off; the larger of a number and its percentage counts."), div({ class: "grid" }, ...nodes)];
};

/// One entry as it would be sent, with what stands in the form. `can` says whether that can be tried without a click.
const previewPart = (ask, editor, can) => {
  const { shown, ask: draw } = latest();
  const wrong = van.state(null);
  const entry = textField({ text: "Try it on one user or group", hint: "A user name, DN or anchor (objectGUID, entryUUID); nothing is sent to the target" });
  const run = () => draw(async () => {
    try {
      const found = mapped(await ask(entry.value()));
      wrong.val = null;
      return found;
    } catch (error) {
      wrong.val = error;
      return shown.rawVal;
    }
  });
  let timer;
  // Whoever has looked once sees what each change makes of it.
  editor.onchange(() => {
    clearTimeout(timer);
    if (shown.rawVal && can()) timer = setTimeout(run, 600);
  });
  return div(entry.node, p(action("Preview this entry", run)),
    div({ role: "status" }, () => (wrong.val ? trouble(wrong.val) : span()), () => shown.val ?? span()));
};

// --- The forms ---------------------------------------------------------------------------------------------------

/// Shows which fields are wrong, and leads to the first of them.
const showErrors = (errors, error, node) => {
  if (!(error instanceof Problem)) return;
  if (error.errors.length) errors.val = Object.fromEntries(Object.entries(error.fields()).map(([name, detail]) => [name.replace(/^directory\//, ""), detail]));
  // The page draws it first.
  setTimeout(() => {
    const first = node.querySelector("[aria-invalid=true]");
    first?.closest("details")?.setAttribute("open", "");
    first?.focus();
  });
};

/// Does something with a form; what is wrong is shown at its fields.
const withForm = (fields, node, act) => async () => {
  try {
    fields.refuse();
    return await act();
  } catch (error) {
    showErrors(fields.errors, error, node());
    throw error;
  }
};

const runsByItself = values => Boolean(values.syncSchedule || values.syncInterval);

/// Whoever enables what runs by itself hears that first.
const enabling = (values, name) => (runsByItself(values)
  ? confirm({
    title: `Enable ${name}?`, done: "Enable it", danger: true,
    text: ["It runs by its schedule from now on, and sends what it finds to the target without asking, except for what the safety limits stop. With an interval the first run begins at once.",
      "Nobody has to guess what that will be: “Preview” on the directory's page shows every change, and sends none."],
  })
  : true);

/// The form of a directory that exists, or of a new one.
export const connectionForm = ({ tenant, directory }) => {
  const isNew = !directory;
  const one = isNew ? USUAL : withoutUsual(directory);
  const errors = van.state({});
  const failed = van.state(null);
  const fields = new Fields(errors);
  const editor = mappingEditor(one.type, one.attributeMapping, errors);
  const parts = {
    connection: connectionPart(fields, one, isNew, type => editor.setType(type)),
    scope: scopePart(fields, one, true),
    lifecycle: lifecyclePart(fields, one),
    schedule: schedulePart(fields, one),
    guard: guardPart(fields, one),
  };
  fields.readers.attributeMapping = editor.value;
  fields.checks.push(editor.check);
  const before = fields.values();
  const path = isNew ? null : `/directories/${directory.id}`;
  const edited = () => changed(fields.values(), before);
  const whole = () => ({ ...given(fields.values()), ...only(ALWAYS, fields.values()) });
  const body = () => (isNew ? { ...only(ALWAYS, fields.values()), ...given(edited()) } : edited());
  // A stored password goes nowhere but to the server that it was entered for, so what is not saved is tried with one that is entered.
  const isDraft = () => isNew || (Object.keys(edited()).length > 0 && Boolean(fields.values().bindPassword));
  const isSaved = () => !isNew && Object.keys(edited()).length === 0;
  const draftOnly = () => {
    if (!isDraft()) throw new Problem({ title: "Not saved yet", detail: "To try what is not saved, enter the password too; or save it first." });
  };
  const test = stage => withForm(fields, () => node, async () => {
    failed.val = null;
    if (isSaved()) return post(`${path}/test`, {}, { stage });
    draftOnly();
    // What the stage does not come to need not be entered yet, and is not sent anywhere.
    const unused = stage === "connection" ? { bindDN: "cn=unused", bindPassword: "unused", baseDN: "dc=unused" } : stage ? { baseDN: "dc=unused" } : {};
    const entered = { name: "unsaved", ...whole() };
    return post("/directories/test", { ...unused, ...(stage ? only(CONNECTION, entered) : entered) }, { stage });
  });
  const ask = async entry => {
    if (isSaved()) return post(`${path}/preview-mapping`, { entry });
    return withForm(fields, () => node, () => {
      draftOnly();
      return post("/directories/preview-mapping", { entry, directory: { name: "unsaved", ...whole() } });
    })();
  };
  const store = enabled => withForm(fields, () => node, async () => {
    const wanted = enabled === undefined ? body() : { ...body(), enabled };
    if (enabled && !(await enabling(fields.values(), fields.values().name))) return;
    if (enabled === false && !isNew && !(await confirm({ title: `Disable ${directory.name}?`, done: "Disable it", danger: true, text: "It does not run by schedule any more: leavers keep their access until somebody runs it by hand. What else was changed above is saved with it." }))) return;
    const saved = isNew ? await post("/directories", wanted) : await put(path, wanted);
    say("Saved");
    go([tenant, "directories", saved.id]);
  });
  const [reach, bind, everything] = [tester("Test connection", test("connection")), tester("Test authentication", test("authentication")), tester("Test everything", test())];
  const writable = may("directory:write") && one.kept !== "file";
  const tried = (...tests) => (writable ? [div({ class: "actions" }, ...tests.map(one => one.button)), ...tests.map(one => one.report)] : []);
  const save = div({ class: "actions" },
    action(isNew ? "Save without enabling" : "Save", store(isNew ? false : undefined), { kind: "first", into: failed }),
    one.enabled ? action("Disable …", store(false), { into: failed, kind: "danger" }) : action(isNew ? "Save and enable" : "Save, and enable", store(true), { into: failed }));
  const closing = isNew
    ? "Save it without enabling, and preview it: that shows every change, and sends none. What is enabled and has a schedule runs by itself."
    : "What is enabled and has a schedule runs by itself, with what is saved here.";
  const node = editable(writable,
    one.kept === "file" ? notice("plain", p("This directory is defined in the configuration file, and is changed there.")) : [],
    card("1. Connection", ...parts.connection, ...tried(reach, bind)),
    card("2. Users and groups", ...parts.scope, ...tried(everything)),
    card("3. Attributes", editor.node, writable ? previewPart(ask, editor, isDraft) : []),
    card("4. Leaving, linking, conflicts", parts.lifecycle),
    card("5. Schedule", parts.schedule),
    card("6. Safety limits", ...parts.guard),
    writable ? card(null, p(closing), save, () => (failed.val ? trouble(failed.val) : span())) : []);
  return node;
};

/// A form, which is only looked at by who may not change it.
const editable = (writable, ...parts) => form({ onsubmit: event => event.preventDefault(), noValidate: true },
  fieldset({ class: "stack", disabled: !writable }, ...parts));

/// What the tests of a connection need to know.
const CONNECTION = ["name", "type", "host", "port", "fallbackHosts", "useTLS", "startTLS", "allowPlainLdap", "caCertificate", "bindDN", "bindPassword", "baseDN"];

/// What a new directory is told although it may be the usual: how it is spoken to is nothing to leave to a default.
const ALWAYS = ["type", "useTLS", "startTLS", "allowPlainLdap"];
const only = (names, values) => Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name)));

/// The form of a further profile.
export const profileForm = ({ id, home, directory, profile }) => {
  const one = profile ? withoutUsual({ ...profile, type: directory.type, baseDN: directory.baseDN }) : {};
  const errors = van.state({});
  const failed = van.state(null);
  const fields = new Fields(errors);
  const editor = mappingEditor(directory.type, one.attributeMapping, errors);
  const name = profile ? [] : fields.text("name", "Name", "", { required: true, hint: "Small letters, digits, - and _" });
  const enabled = fields.tick("enabled", "Enabled", one.enabled ?? false, { hint: "Enabled, it runs by its schedule" });
  const parts = [scopePart(fields, one, false), lifecyclePart(fields, one), schedulePart(fields, one), guardPart(fields, one)];
  fields.readers.attributeMapping = editor.value;
  fields.checks.push(editor.check);
  const before = fields.values();
  const path = `/directories/${id}/profiles`;
  const store = withForm(fields, () => node, async () => {
    const values = fields.values();
    if (values.enabled && !(await enabling(values, profile?.name ?? values.name))) return;
    if (profile) await put(`${path}/${encodeURIComponent(profile.name)}`, changed(values, before));
    else await post(path, { ...only(["name", "enabled"], values), ...given(changed(values, before)) });
    say("Saved");
    go([...home, "profiles"]);
  });
  const writable = may("directory:write") && directory.kept !== "file";
  const node = editable(writable,
    card(profile ? `Profile ${profile.name}` : "A further profile", div({ class: "grid" }, name, enabled)),
    card("Users and groups", ...parts[0]), card("Attributes", editor.node), card("Leaving, linking, conflicts", parts[1]),
    card("Schedule", parts[2]), card("Safety limits", ...parts[3]),
    writable ? card(null, action("Save", store, { kind: "first", into: failed }), () => (failed.val ? trouble(failed.val) : span())) : []);
  return node;
};

/// The page that adds a directory.
export const connection = async ({ tenant }) => ({
  title: "Add a directory",
  heading: div(p({ class: "trail" }, link([tenant], "Dashboard")), h1("Add a directory"), p("From top to bottom. Each test shows what works so far; nothing is sent to the target from this page.")),
  node: connectionForm({ tenant }),
});
