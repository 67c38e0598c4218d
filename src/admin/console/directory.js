// A directory: how it is, its profiles, jobs, users and groups, what waits for a person, and its settings.

import { get, may, post, remove, repeat } from "./api.js";
import { connectionForm, profileForm } from "./connection.js";
import { conflicts, holds, links } from "./decisions.js";
import { entries, explain } from "./entries.js";
import { JOB_HEADS, jobRow, start } from "./job.js";
import { HEALTH, MODE, STATUS, TRIGGER, counted } from "./words.js";
import {
  a,
  action,
  at,
  badge,
  card,
  choice,
  code,
  confirm,
  div,
  empty,
  facts,
  filters,
  go,
  grid,
  h1,
  link,
  list,
  live,
  nav,
  notice,
  p,
  place,
  reload,
  span,
  strong,
  td,
  tr,
} from "./ui.js";

const TABS = [
  ["", "Overview"],
  ["users", "Users"],
  ["groups", "Groups"],
  ["jobs", "Jobs"],
  ["links", "Links"],
  ["conflicts", "Conflicts"],
  ["held", "Held"],
  ["explain", "Explain one"],
  ["profiles", "Profiles"],
  ["settings", "Settings"],
];

const tabs = (home, current) =>
  nav(
    { class: "tabs", "aria-label": "Directory" },
    ...TABS.map(([part, words]) =>
      a({ href: place(part ? [...home, part] : home), ...(part === current ? { "aria-current": "page" } : {}) }, words),
    ),
  );

const TYPE = { ldap: "LDAP", active_directory: "Active Directory" };
const SECURITY = one => (one.useTLS ? "TLS" : one.startTLS ? "StartTLS" : "not encrypted");

const FULL = [
  "Every user and group is read, and whatever differs from what the target last acknowledged is sent.",
  "The safety limits apply: a plan over a limit waits for your approval.",
];
const RECONCILE = [
  "The directory and the target are both read, and what somebody changed at the target is found. By the profile's conflict policy it is put back, kept, or shown to you.",
  "This makes more requests to the target than a usual run.",
];

const FIRST = [
  "This directory has not been read to its end yet, so this run may create everybody who is in scope at the target.",
  "“Preview” shows that first, and sends nothing.",
];

const startAfter = (home, id, profile, mode, title, text) => async () => {
  if (await confirm({ title, text, done: title.replace("?", "") })) await start(home, id, { profile, mode });
};

const runButtons = (home, id, { name, lastCompleteRead }) =>
  may("directory:write")
    ? div(
        { class: "actions" },
        action(
          "Sync now",
          lastCompleteRead
            ? () => start(home, id, { profile: name, mode: "incremental" })
            : startAfter(home, id, name, "incremental", "Sync for the first time?", FIRST),
          { kind: "first" },
        ),
        action("Preview", () => start(home, id, { profile: name, mode: "preview" })),
        action("Sync all users", startAfter(home, id, name, "full", "Sync all users?", FULL)),
        action("Reconcile", startAfter(home, id, name, "reconcile", "Reconcile with the target?", RECONCILE)),
      )
    : span();

const clear = (id, profile) => async () => {
  await post(`/directories/${id}/quarantine`, { profile });
  reload();
};

const profileCard = (home, id, one) =>
  card(
    `Profile ${one.name}`,
    p(badge(one.status, HEALTH[one.status]), " ", one.reason, one.since ? span(" (since ", at(one.since), ")") : []),
    one.quarantine
      ? notice(
          "yellow",
          p(
            `${counted(one.quarantine.failures, "job")} failed in a row, so it is tried less often: next `,
            at(one.quarantine.nextTryAt),
            ".",
          ),
          may("directory:write") ? action("Try by its schedule again", clear(id, one.name)) : span(),
        )
      : [],
    facts([
      ["Last complete read", at(one.lastCompleteRead)],
      ["Last attempt", at(one.lastAttempt)],
      ["Next run", one.nextRunAt ? at(one.nextRunAt) : "by hand"],
      ["Running", one.runningJobId ? link([...home, "jobs", one.runningJobId], "see its progress") : null],
      [
        "Waits for approval",
        one.waitingJobIds.length
          ? span(...one.waitingJobIds.map((job, index) => link([...home, "jobs", job], index ? `, plan ${index + 1}` : "plan 1")))
          : null,
      ],
    ]),
    runButtons(home, id, one),
  );

const overviewOf = async (id, signal, background = false) => {
  const [health, jobs] = await Promise.all([
    get("/health", {}, signal, background),
    get(`/directories/${id}/jobs`, { limit: 10 }, signal, background),
  ]);
  return { health: health.directories.find(one => one.id === id), jobs: jobs.items.map(({ errors, ...job }) => job) };
};

const overview = async ({ id, home, one, signal }) => {
  const part = live(await overviewOf(id, signal), ({ health, jobs }) =>
    div(
      { class: "stack" },
      one.enabled
        ? []
        : notice(
            "yellow",
            p(
              "This directory is not enabled: nothing runs by schedule. Preview it, then enable it in its ",
              link([...home, "settings"], "settings"),
              ".",
            ),
          ),
      ...health.profiles.map(profile => profileCard(home, id, profile)),
      card(
        "Latest jobs",
        jobs.length
          ? grid("Latest jobs", JOB_HEADS, jobs.map(jobRow(home)))
          : empty("No job yet. A preview reads the directory and shows what a sync would do; it sends nothing."),
      ),
    ),
  );
  repeat(4000, signal, async () => part.set(await overviewOf(id, signal, true).catch(() => part.value)));
  return [
    part.node,
    card(
      "Connection",
      facts([
        ["Server", `${one.host}:${one.port}, ${SECURITY(one)}`],
        ["Also tried", one.fallbackHosts.join(", ")],
        ["Base DN", code(one.baseDN)],
        ["Account", code(one.bindDN)],
        ["Users", code(one.userSearchFilter)],
        ["Kept in", one.kept === "file" ? "the configuration file" : "the relay's store"],
      ]),
    ),
  ];
};

const jobs = ({ id, home, query, signal }) => [
  filters([...home, "jobs"], query, given => ({
    status: choice({
      text: "Status",
      value: given.status ?? "",
      choices: [["", "Any"], ...Object.entries(STATUS).map(([key, [, words]]) => [key, words])],
    }),
    mode: choice({ text: "Kind", value: given.mode ?? "", choices: [["", "Any"], ...Object.entries(MODE)] }),
    trigger: choice({ text: "Set off", value: given.trigger ?? "", choices: [["", "Any way"], ...Object.entries(TRIGGER)] }),
  })),
  div(
    { class: "card" },
    list({
      name: "Jobs",
      path: `/directories/${id}/jobs`,
      query,
      signal,
      heads: JOB_HEADS,
      row: jobRow(home),
      nothing: empty("No job fits."),
    }).node,
  ),
];

const profiles = async ({ id, home, one, parts, signal }) => {
  const name = parts[4];
  if (name)
    return [
      profileForm({
        id,
        home,
        directory: one,
        profile: name === "add" ? null : await get(`/directories/${id}/profiles/${encodeURIComponent(name)}`, {}, signal),
      }),
    ];
  const { items } = await get(`/directories/${id}/profiles`, { limit: 200 }, signal);
  const drop = profile => async () => {
    const sure = await confirm({
      title: `Delete the profile ${profile.name}?`,
      done: "Delete the profile",
      danger: true,
      text: "Its users are released: nothing is sent for them until another profile sees them. Their accounts at the target stay as they are.",
    });
    if (!sure) return;
    await remove(`/directories/${id}/profiles/${encodeURIComponent(profile.name)}`);
    reload();
  };
  const writable = may("directory:write") && one.kept !== "file";
  return [
    card(
      null,
      p("A user in the scope of several profiles belongs to the first of them."),
      grid(
        "Profiles",
        ["Profile", "Users", "Next run", "Change"],
        items.map(profile =>
          tr(
            td(strong(profile.name), profile.enabled === false ? div(badge("plain", "not enabled")) : []),
            td(code(profile.usersDN ?? one.baseDN), div(code(profile.userSearchFilter))),
            td(profile.nextRunAt ? at(profile.nextRunAt) : "by hand"),
            td(
              div(
                { class: "actions" },
                profile.name === "default"
                  ? link([...home, "settings"], "In the settings")
                  : link([...home, "profiles", profile.name], writable ? "Edit" : "See"),
                writable && profile.name !== "default" ? action("Delete", drop(profile), { kind: "danger" }) : [],
              ),
            ),
          ),
        ),
      ),
      writable ? p(a({ class: "button", href: place([...home, "profiles", "add"]) }, "Add a profile")) : span(),
    ),
  ];
};

const settings = ({ tenant, id, one }) => {
  const drop = async () => {
    const sure = await confirm({
      title: `Delete the directory ${one.name}?`,
      done: "Delete the directory",
      danger: true,
      text: [
        "It is not synchronized any more, and its connection, jobs and links are forgotten.",
        "Users and groups at the target stay as they are: nobody is deactivated by this.",
      ],
    });
    if (!sure) return;
    await remove(`/directories/${id}`);
    go([tenant]);
  };
  return [
    connectionForm({ tenant, directory: one }),
    may("directory:write") && one.kept !== "file"
      ? card(
          "Delete",
          p("Forget this directory; accounts at the target stay."),
          action("Delete the directory …", drop, { kind: "danger" }),
        )
      : div(),
  ];
};

const SHOWN = {
  "": overview,
  users: place => entries("users", place),
  groups: place => entries("groups", place),
  jobs,
  links,
  conflicts,
  held: holds,
  explain,
  profiles,
  settings,
};

export const directory = async ({ tenant, parts, query, signal }) => {
  const [, , id, part = ""] = parts;
  const home = [tenant, "directories", id];
  const one = await get(`/directories/${id}`, {}, signal);
  const show = Object.hasOwn(SHOWN, part) ? SHOWN[part] : null;
  const node = show
    ? await show({ tenant, id, home, one, parts, query, signal })
    : empty("There is no such page.", link(home, "To the directory"));
  const words = TABS.find(([key]) => key === part)?.[1] ?? "";
  return {
    title: part ? `${words}, ${one.name}` : one.name,
    heading: div(
      { class: "stack" },
      p({ class: "trail" }, link([tenant], "Dashboard"), " / ", one.name),
      div({ class: "title" }, h1(one.name), span({ class: "quiet" }, TYPE[one.type])),
      tabs(home, part),
    ),
    node,
  };
};
