// The form of a directory, from top to bottom: connection, tests, scope, mapping with a preview, schedule, safety limits.

import van from "./van.js";
import { Problem, may, post, put } from "./api.js";
import { mapped } from "./entries.js";
import { Fields, changed, editable, given, latest, only, withForm } from "./fields.js";
import { mappingEditor } from "./mapping.js";
import { USUAL, connectionPart, guardPart, lifecyclePart, schedulePart, scopePart, withoutUsual } from "./parts.js";
import { STAGE, count, rung, word } from "./words.js";
import {
  action,
  badge,
  card,
  confirm,
  details,
  div,
  go,
  h1,
  li,
  link,
  notice,
  p,
  pre,
  say,
  span,
  strong,
  summary,
  textField,
  trouble,
  ul,
} from "./ui.js";

const MARK = { ok: ["green", "passed"], failed: ["red", "failed"], skipped: ["plain", "not tried"] };

const report = one =>
  div(
    { role: "status" },
    notice(
      one.success ? "green" : "red",
      p(strong(one.success ? "It works." : `${word(STAGE, one.error.code)} failed.`), " ", one.success ? "" : one.error.message),
      one.usersFound === undefined
        ? []
        : p(
            `${count(one.usersFound)} users${one.groupsFound === undefined ? "" : ` and ${count(one.groupsFound)} groups`} are in scope.`,
          ),
      one.changeDetection ? p(`Changes will be noticed by ${rung(one.changeDetection)}.`) : [],
    ),
    ul(
      ...one.stages
        .filter(stage => stage.status !== "skipped" || stage.detail)
        .map(stage => li(word(STAGE, stage.name), " ", badge(...MARK[stage.status]), stage.detail ? `: ${stage.detail}` : "")),
    ),
    ...(one.warnings ?? []).map(text => notice("yellow", p(text))),
    one.sample
      ? details(
          { open: true },
          summary("One user as it would be sent"),
          pre({ tabindex: 0, "aria-label": "One user as it would be sent" }, JSON.stringify(one.sample, null, 2)),
        )
      : [],
  );

/// A button that tests, and where its report is shown.
const tester = (text, ask) => {
  const shown = van.state(null);
  const wrong = van.state(null);
  return {
    button: action(
      text,
      async () => {
        shown.val = null;
        shown.val = await ask();
        say(shown.val.success ? `${text}: it works` : `${text}: failed`);
      },
      { into: wrong },
    ),
    report: div(() => (wrong.val ? trouble(wrong.val) : shown.val ? report(shown.val) : span())),
  };
};

/// One entry as it would be sent, with what stands in the form. `can` says whether that can be tried without a click.
const previewPart = (ask, editor, can) => {
  const { shown, ask: draw } = latest();
  const wrong = van.state(null);
  const entry = textField({
    text: "Try it on one user or group",
    hint: "A user name, DN or anchor (objectGUID, entryUUID); nothing is sent to the target",
  });
  const run = () =>
    draw(async () => {
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
  return div(
    entry.node,
    p(action("Preview this entry", run)),
    div(
      { role: "status" },
      () => (wrong.val ? trouble(wrong.val) : span()),
      () => shown.val ?? span(),
    ),
  );
};

const runsByItself = values => Boolean(values.syncSchedule || values.syncInterval);

/// Whoever makes something run by itself hears that first.
const enabling = (now, before, name) =>
  now.enabled && runsByItself(now) && !(before.enabled && runsByItself(before))
    ? confirm({
        title: `Let ${name} run by itself?`,
        done: "Let it run",
        danger: true,
        text: [
          "It runs by its schedule from now on, and sends what it finds to the target without asking, except for what the safety limits stop. With an interval the first run begins at once.",
          "Nobody has to guess what that will be: “Preview” on the directory's page shows every change, and sends none.",
        ],
      })
    : true;

/// What the tests of a connection need to know.
const CONNECTION = [
  "name",
  "type",
  "host",
  "port",
  "fallbackHosts",
  "useTLS",
  "startTLS",
  "allowPlainLdap",
  "caCertificate",
  "bindDN",
  "bindPassword",
  "baseDN",
];

/// What a new directory is told although it may be the usual: how it is spoken to is nothing to leave to a default.
const ALWAYS = ["type", "useTLS", "startTLS", "allowPlainLdap"];

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
    if (!isDraft())
      throw new Problem({
        title: "Not saved yet",
        detail: "To try what is not saved, enter the password too; or save it first.",
      });
  };
  const test = stage =>
    withForm(
      fields,
      () => node,
      async () => {
        failed.val = null;
        if (isSaved()) return post(`${path}/test`, {}, { stage });
        draftOnly();
        // What the stage does not come to need not be entered yet, and is not sent anywhere.
        const unused =
          stage === "connection"
            ? { bindDN: "cn=unused", bindPassword: "unused", baseDN: "dc=unused" }
            : stage
              ? { baseDN: "dc=unused" }
              : {};
        const entered = { name: "unsaved", ...whole() };
        return post("/directories/test", { ...unused, ...(stage ? only(CONNECTION, entered) : entered) }, { stage });
      },
    );
  const ask = async entry => {
    if (isSaved()) return post(`${path}/preview-mapping`, { entry });
    return withForm(
      fields,
      () => node,
      () => {
        draftOnly();
        return post("/directories/preview-mapping", { entry, directory: { name: "unsaved", ...whole() } });
      },
    )();
  };
  const store = enabled =>
    withForm(
      fields,
      () => node,
      async () => {
        const wanted = enabled === undefined ? body() : { ...body(), enabled };
        const values = fields.values();
        if (!(await enabling({ ...values, enabled: enabled ?? one.enabled }, { ...before, enabled: one.enabled }, values.name)))
          return;
        if (
          enabled === false &&
          !isNew &&
          !(await confirm({
            title: `Disable ${directory.name}?`,
            done: "Disable it",
            danger: true,
            text: "It does not run by schedule any more: leavers keep their access until somebody runs it by hand. What else was changed above is saved with it.",
          }))
        )
          return;
        const saved = isNew ? await post("/directories", wanted) : await put(path, wanted);
        say("Saved");
        go([tenant, "directories", saved.id]);
      },
    );
  const [reach, bind, everything] = [
    tester("Test connection", test("connection")),
    tester("Test authentication", test("authentication")),
    tester("Test everything", test()),
  ];
  const writable = may("directory:write") && one.kept !== "file";
  const tried = (...tests) =>
    writable ? [div({ class: "actions" }, ...tests.map(one => one.button)), ...tests.map(one => one.report)] : [];
  const save = div(
    { class: "actions" },
    action(isNew ? "Save without enabling" : "Save", store(isNew ? false : undefined), { kind: "first", into: failed }),
    one.enabled
      ? action("Disable …", store(false), { into: failed, kind: "danger" })
      : action(isNew ? "Save and enable" : "Save, and enable", store(true), { into: failed }),
  );
  const closing = isNew
    ? "Save it without enabling, and preview it: that shows every change, and sends none. What is enabled and has a schedule runs by itself."
    : "What is enabled and has a schedule runs by itself, with what is saved here.";
  const node = editable(
    writable,
    one.kept === "file" ? notice("plain", p("This directory is defined in the configuration file, and is changed there.")) : [],
    card("1. Connection", ...parts.connection, ...tried(reach, bind)),
    card("2. Users and groups", ...parts.scope, ...tried(everything)),
    card("3. Attributes", editor.node, writable ? previewPart(ask, editor, isDraft) : []),
    card("4. Leaving, linking, conflicts", parts.lifecycle),
    card("5. Schedule", parts.schedule),
    card("6. Safety limits", ...parts.guard),
    writable ? card(null, p(closing), save, () => (failed.val ? trouble(failed.val) : span())) : [],
  );
  return node;
};

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
  const store = withForm(
    fields,
    () => node,
    async () => {
      const values = fields.values();
      if (!(await enabling(values, before, profile?.name ?? values.name))) return;
      if (profile) await put(`${path}/${encodeURIComponent(profile.name)}`, changed(values, before));
      else await post(path, { ...only(["name", "enabled"], values), ...given(changed(values, before)) });
      say("Saved");
      go([...home, "profiles"]);
    },
  );
  const writable = may("directory:write") && directory.kept !== "file";
  const node = editable(
    writable,
    card(profile ? `Profile ${profile.name}` : "A further profile", div({ class: "grid" }, name, enabled)),
    card("Users and groups", ...parts[0]),
    card("Attributes", editor.node),
    card("Leaving, linking, conflicts", parts[1]),
    card("Schedule", parts[2]),
    card("Safety limits", ...parts[3]),
    writable
      ? card(null, action("Save", store, { kind: "first", into: failed }), () => (failed.val ? trouble(failed.val) : span()))
      : [],
  );
  return node;
};

/// The page that adds a directory.
export const connection = async ({ tenant }) => ({
  title: "Add a directory",
  heading: div(
    p({ class: "trail" }, link([tenant], "Dashboard")),
    h1("Add a directory"),
    p("From top to bottom. Each test shows what works so far; nothing is sent to the target from this page."),
  ),
  node: connectionForm({ tenant }),
});
