// The form of a directory, from top to bottom: connection, tests, scope, mapping with a preview, schedule, safety limits.

import van from "./van.js";
import { Problem, may, post, put } from "./api.js";
import { mapped } from "./entries.js";
import { mappingEditor } from "./mapping.js";
import { STAGE, count, rung, word } from "./words.js";
import {
  action, at, badge, card, choice, details, div, form, go, h1, li, link, notice, p, pre, say, span, strong, summary, textField, tick, trouble, ul,
} from "./ui.js";

const TYPES = [["active_directory", "Active Directory"], ["ldap", "LDAP (OpenLDAP, 389 Directory Server and others)"]];
const SECURITIES = [["tls", "TLS from the start (ldaps, usually port 636)"], ["starttls", "StartTLS (usually port 389)"], ["plain", "Not encrypted: the password can be read on the way"]];

const SCHEDULES = [["manual", "Only by hand"], ["interval", "Every so often"], ["cron", "At set times (cron, UTC)"]];

const GUARD = [
  ["deactivations", "Users deactivated in one run, at least allowed"], ["deactivationsPercent", "… or percent of the active users"],
  ["deactivationsMost", "… but never more than"], ["groupsEmptied", "Groups emptied"], ["groupsEmptiedPercent", "… or percent of the groups"],
  ["groupMembersRemoved", "Members removed from one group"], ["groupMembersRemovedPercent", "… or percent of its members"],
  ["membersRemoved", "Members removed in all"], ["membersRemovedPercent", "… or percent of all memberships"],
  ["creations", "Users created after the first load"], ["creationsPercent", "… or percent of the users"],
  ["attributeChanges", "Users with one attribute blanked or set to one value"], ["attributeChangesPercent", "… or percent of the users"],
  ["plausiblePercent", "A read is plausible from this percentage of the last one on"], ["foundPercent", "A listing of the target is plausible from this percentage on"],
];

/// What is usual; an answer of the API has every field.
const USUAL = {
  name: "", enabled: false, type: "active_directory", host: "", port: null, useTLS: true, startTLS: false, allowPlainLdap: false,
  fallbackHosts: [], caCertificate: null, bindDN: "", baseDN: "",
};

const lines = text => text.split("\n").map(line => line.trim()).filter(Boolean);
const orNull = text => (text === "" ? null : text);
const numberOrNull = text => (text === "" ? null : Number(text));

/// A form's fields: what each is called in the API, what it shows, and how it is read.
class Fields {
  constructor(errors) {
    this.errors = errors;
    this.readers = {};
  }

  /// Adds a field; `read` makes the API's value of what was entered.
  add(name, field, read) {
    this.readers[name] = () => read(field.value());
    return field.node;
  }

  text(name, text, value, options = {}) {
    return this.add(name, textField({ text, name, value, errors: this.errors, ...options }), orNull);
  }

  number(name, text, value, options = {}) {
    return this.add(name, textField({ text, name, value: value ?? "", type: "number", errors: this.errors, ...options }), numberOrNull);
  }

  lines(name, text, value, options = {}) {
    return this.add(name, textField({ text, name, value: (value ?? []).join("\n"), rows: 2, errors: this.errors, ...options }), lines);
  }

  choice(name, text, value, choices, options = {}) {
    return this.add(name, choice({ text, name, value, choices, errors: this.errors, ...options }), value => value);
  }

  tick(name, text, value, options = {}) {
    return this.add(name, tick({ text, name, value, ...options }), value => value);
  }

  /// Everything that was entered, by the API's names.
  values() {
    return Object.assign({}, ...Object.entries(this.readers).map(([name, read]) => (name.startsWith("*") ? read() : { [name]: read() })));
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
    fields.text("userSearchFilter", "Users are", one.userSearchFilter, { hint: "An LDAP filter; empty: the usual one of the type" }),
    fields.text("exclusionFilter", "But not", one.exclusionFilter, { hint: "An LDAP filter of users who are left out" }),
    fields.choice("population", "Which users", one.population ?? "all", [["all", "All"], ["active", "Only active ones"], ["inactive", "Only inactive ones"]]),
    fields.tick("synchronizeGroups", "Synchronize groups", one.synchronizeGroups ?? true),
    fields.text("groupsDN", "Groups below", one.groupsDN, { hint: "Empty: below the base DN" }),
    fields.text("groupSearchFilter", "Groups are", one.groupSearchFilter, { hint: "An LDAP filter; empty: the usual one of the type" }),
    fields.choice("nestedGroups", "Groups in groups", one.nestedGroups ?? "direct", [["direct", "Only direct members"], ["flatten", "Flattened to users"], ["nested", "Kept as nested groups"]])),
];

const lifecyclePart = (fields, one) => div({ class: "grid" },
  fields.choice("deprovisioning", "Who leaves the directory", one.deprovisioning ?? "deactivate", [["deactivate", "is deactivated"], ["delete", "is deleted at the target"], ["both", "is deactivated, then deleted"], ["never", "keeps the account as it is"]]),
  fields.text("gracePeriod", "… after", one.gracePeriod ?? "none", { hint: "none, or for example 7d" }),
  fields.choice("linking", "Accounts that the target already has", one.linking ?? "propose", [["propose", "are proposed to you before they are taken over"], ["automatic", "are linked by themselves"]]),
  fields.choice("matchingAttribute", "… recognized by", one.matchingAttribute ?? "userName", [["userName", "user name"], ["email", "e-mail address"], ["none", "nothing but the anchor"]]),
  fields.choice("conflictPolicy", "Changed in both places", one.conflictPolicy ?? "directory_wins", [["directory_wins", "The directory wins"], ["local_wins", "The target's value stays"], ["manual_review", "You decide"]]));

/// What a schedule means, in words, with its next five times.
const preview = cron => {
  const shown = van.state(null);
  let timer;
  const ask = async text => {
    if (!text) { shown.val = null; return; }
    try {
      const answer = await post("/schedules/preview", { syncSchedule: text });
      shown.val = div({ role: "status" }, p(strong(answer.words)), p("The next runs:"), ul(...answer.nextRuns.map(time => li(at(time)))));
    } catch (error) {
      shown.val = p({ class: "wrong", role: "status" }, error.fields?.().syncSchedule ?? error.message);
    }
  };
  ask(cron);
  return { node: div({ class: "field" }, () => shown.val ?? span()), changed: text => { clearTimeout(timer); timer = setTimeout(() => ask(text.trim()), 300); } };
};

const schedulePart = (fields, one) => {
  const kind = van.state(one.syncSchedule ? "cron" : one.syncInterval ? "interval" : "manual");
  const words = preview(one.syncSchedule);
  const cron = fields.text("syncSchedule", "At (minute hour day month weekday)", one.syncSchedule, { placeholder: "0 2 * * *", hint: "0 2 * * * is every night at two, UTC", onchange: words.changed });
  const interval = fields.text("syncInterval", "Every", one.syncInterval, { placeholder: "15m", hint: "For example 30s, 15m, 4h or 1d" });
  const { syncSchedule, syncInterval } = fields.readers;
  fields.readers.syncSchedule = () => (kind.rawVal === "cron" ? syncSchedule() : one.syncSchedule === "" ? "" : null);
  fields.readers.syncInterval = () => (kind.rawVal === "interval" ? syncInterval() : null);
  const shownFor = (value, node) => div({ hidden: () => kind.val !== value }, node);
  return div({ class: "grid" },
    choice({ text: "When", value: kind.rawVal, choices: SCHEDULES, onchange: value => { kind.val = value; } }).node,
    shownFor("interval", interval), shownFor("cron", div(cron, words.node)),
    fields.choice("changeDetection", "Changes are noticed by", one.changeDetection ?? "automatic", [["automatic", "the best way that the server allows"], ["syncrepl", "content synchronization (OpenLDAP, 389)"], ["dirsync", "DirSync (Active Directory)"], ["usn_changed", "uSNChanged (Active Directory)"], ["modify_timestamp", "modifyTimestamp"], ["full_scan", "reading everything"]]),
    fields.text("fullSyncInterval", "Everything is read every", one.fullSyncInterval ?? "1d"),
    fields.text("reconcileInterval", "Compared with the target every", one.reconcileInterval ?? "1d"));
};

const guardPart = (fields, one) => {
  const guard = one.guard ?? {};
  const inner = new Fields(fields.errors);
  const nodes = GUARD.map(([name, text]) => inner.number(name, text, guard[name], { placeholder: "usual" }));
  const holdAll = inner.tick("holdAll", "Hold the whole plan when one limit trips", guard.holdAll ?? false, { hint: "Otherwise only what tripped waits, and the rest goes out" });
  fields.readers.guard = () => {
    const entered = given(inner.values());
    if (!entered.holdAll && !guard.holdAll) delete entered.holdAll;
    const now = { ...guard, ...entered };
    return Object.keys(now).length ? now : null;
  };
  return [p("More than this in one run, or in 24 hours, is not sent before you approve it. Limits cannot be switched off; the larger of a number and its percentage counts."), div({ class: "grid" }, ...nodes, holdAll)];
};

/// One entry as it would be sent, with what stands in the form.
const previewPart = (ask, editor) => {
  const shown = van.state(null);
  const wrong = van.state(null);
  const entry = textField({ text: "Try it on one user or group", hint: "A user name, DN or anchor; nothing is sent to the target" });
  const run = async () => {
    wrong.val = null;
    shown.val = await ask(entry.value());
  };
  let timer;
  // Whoever has looked once sees what each change makes of it.
  editor.onchange(() => {
    clearTimeout(timer);
    if (shown.rawVal) timer = setTimeout(() => run().catch(error => { wrong.val = error; }), 600);
  });
  return div(entry.node, p(action("Preview this entry", run, { into: wrong })),
    div({ role: "status" }, () => (wrong.val ? trouble(wrong.val) : shown.val ? mapped(shown.val) : span())));
};

// --- The forms ---------------------------------------------------------------------------------------------------

const errorsOf = error => (error?.fields ? error.fields() : {});

/// Shows which fields are wrong, and leads to the first of them.
const showErrors = (errors, error, node) => {
  errors.val = errorsOf(error);
  const first = Object.keys(errors.val)[0];
  const control = first && node.querySelector(`[name="${CSS.escape(first.split("/").at(-1))}"]`);
  control?.closest("details")?.setAttribute("open", "");
  control?.focus();
};

/// The form of a directory that exists, or of a new one.
export const connectionForm = ({ tenant, directory }) => {
  const isNew = !directory;
  const one = directory ?? USUAL;
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
  const before = fields.values();
  const path = directory ? `/directories/${directory.id}` : null;
  const body = () => {
    const values = fields.values();
    return isNew ? { ...only(ALWAYS, values), ...given(changed(values, before)) } : changed(values, before);
  };
  const isChanged = () => !isNew && Object.keys(body()).length > 0;
  const savedOnly = () => {
    if (isChanged()) throw new Problem({ title: "Not saved yet", detail: "What is stored is tried, so save your changes first." });
  };
  const test = stage => async () => {
    errors.val = {};
    if (!isNew) {
      savedOnly();
      return post(`${path}/test`, {}, { stage });
    }
    // What the stage does not come to need not be entered yet, and is not sent anywhere.
    const unused = stage === "connection" ? { bindDN: "cn=unused", bindPassword: "unused", baseDN: "dc=unused" } : stage ? { baseDN: "dc=unused" } : {};
    const entered = { name: "unsaved", ...body() };
    return post("/directories/test", { ...unused, ...(stage ? only(CONNECTION, entered) : entered) }, { stage }).catch(error => {
      showErrors(errors, error, node);
      throw error;
    });
  };
  const ask = entry => {
    if (isNew) return post("/directories/preview-mapping", { entry, directory: { name: "unsaved", ...body() } });
    savedOnly();
    return post(`${path}/preview-mapping`, { entry });
  };
  const store = enabled => async () => {
    errors.val = {};
    const wanted = enabled === undefined ? body() : { ...body(), enabled };
    try {
      const saved = isNew ? await post("/directories", wanted) : await put(path, wanted);
      say("Saved");
      go([tenant, "directories", saved.id]);
    } catch (error) {
      showErrors(errors, error, node);
      throw error;
    }
  };
  const [reach, bind, everything] = [tester("Test connection", test("connection")), tester("Test authentication", test("authentication")), tester("Test everything", test())];
  const writable = may("directory:write") && one.kept !== "file";
  const save = writable ? div({ class: "actions" },
    one.enabled ? [] : action(isNew ? "Save and enable" : "Save, and enable", store(true), { kind: "first", into: failed }),
    action(isNew ? "Save without enabling" : "Save", store(isNew ? false : undefined), { into: failed }),
    one.enabled ? action("Disable", store(false), { into: failed, kind: "danger" }) : []) : [];
  const limited = one.kept === "file" ? notice("plain", p("This directory is defined in the configuration file, and is changed there.")) : [];
  const node = form({ class: "stack", onsubmit: event => event.preventDefault(), novalidate: true },
    limited,
    card("1. Connection", ...parts.connection, div({ class: "actions" }, reach.button, bind.button), reach.report, bind.report),
    card("2. Users and groups", ...parts.scope, div({ class: "actions" }, everything.button), everything.report),
    card("3. Attributes", editor.node, previewPart(ask, editor)),
    card("4. Leaving, linking, conflicts", parts.lifecycle),
    card("5. Schedule", parts.schedule),
    card("6. Safety limits", ...parts.guard),
    writable ? card(null, p("Nothing is sent before the first run. Preview it first: it shows every change, and sends none."), save, () => (failed.val ? trouble(failed.val) : span())) : div());
  return node;
};

const CONNECTION = ["name", "type", "host", "port", "fallbackHosts", "useTLS", "startTLS", "allowPlainLdap", "caCertificate", "bindDN", "bindPassword", "baseDN"];
/// What a new directory is told although it may be the usual: how it is spoken to is nothing to leave to a default.
const ALWAYS = ["type", "useTLS", "startTLS", "allowPlainLdap"];
const only = (names, values) => Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name)));

/// The form of a further profile.
export const profileForm = ({ id, home, directory, profile }) => {
  const one = profile ?? {};
  const errors = van.state({});
  const failed = van.state(null);
  const fields = new Fields(errors);
  const editor = mappingEditor(directory.type, one.attributeMapping, errors);
  const name = profile ? [] : fields.text("name", "Name", "", { required: true, hint: "Small letters, digits, - and _" });
  const enabled = fields.tick("enabled", "Enabled", one.enabled ?? true);
  const parts = [scopePart(fields, one, false), lifecyclePart(fields, one), schedulePart(fields, one), guardPart(fields, one)];
  fields.readers.attributeMapping = editor.value;
  const before = fields.values();
  const path = `/directories/${id}/profiles`;
  const store = async () => {
    errors.val = {};
    try {
      if (profile) await put(`${path}/${encodeURIComponent(profile.name)}`, changed(fields.values(), before));
      else await post(path, { ...only(["name"], fields.values()), ...given(changed(fields.values(), before)) });
      say("Saved");
      go([...home, "profiles"]);
    } catch (error) {
      showErrors(errors, error, node);
      throw error;
    }
  };
  const writable = may("directory:write") && directory.kept !== "file";
  const node = form({ class: "stack", onsubmit: event => event.preventDefault(), novalidate: true },
    card(profile ? `Profile ${profile.name}` : "A further profile", div({ class: "grid" }, name, enabled)),
    card("Users and groups", ...parts[0]), card("Attributes", editor.node), card("Leaving, linking, conflicts", parts[1]),
    card("Schedule", parts[2]), card("Safety limits", ...parts[3]),
    writable ? card(null, action("Save", store, { kind: "first", into: failed }), () => (failed.val ? trouble(failed.val) : span())) : div());
  return node;
};

/// The page that adds a directory.
export const connection = async ({ tenant }) => ({
  title: "Add a directory",
  heading: div(p({ class: "trail" }, link([tenant], "Dashboard")), h1("Add a directory"), p("From top to bottom. Each test shows what works so far; nothing is sent to the target from this page.")),
  node: connectionForm({ tenant }),
});
