// The dashboard: how each directory is, what is linked, and what recent runs did.

import { get, may, repeat } from "./api.js";
import { chart } from "./chart.js";
import { HEALTH, count, counted, firstSentence } from "./words.js";
import {
  a,
  at,
  badge,
  card,
  details,
  div,
  empty,
  grid,
  link,
  live,
  notice,
  p,
  place,
  section,
  span,
  strong,
  summary,
  td,
  tr,
} from "./ui.js";

/// Directories whose runs the chart shows, and how many of each.
const CHARTED = 10,
  RUNS = 30;

const figure = (number, what, more) =>
  section(
    { class: "card figure" },
    strong(typeof number === "string" ? number : count(number)),
    span(what),
    more ? span({ class: "quiet small" }, more) : [],
  );

const newest = times => times.filter(Boolean).sort().at(-1) ?? null;
const first = times => times.filter(Boolean).sort()[0] ?? null;

/// How many of a list there are, up to what one page holds.
const sized = async (path, query, signal) => {
  const page = await get(path, { ...query, limit: 200 }, signal, true).catch(() => ({ items: [] }));
  return { number: page.items.length, more: Boolean(page.nextCursor) };
};

/// What waits for a person in some directories: [links, held changes], each as a text.
const undecided = async (ids, signal) => {
  const total = async (list, query) => {
    const all = await Promise.all(ids.map(id => sized(`/directories/${id}/${list}`, query, signal)));
    return count(all.reduce((sum, one) => sum + one.number, 0)) + (all.some(one => one.more) ? "+" : "");
  };
  return Promise.all([total("links", { state: "pending" }), total("holds", {})]);
};

const read = async (signal, background = false) => {
  const [health, statistics] = await Promise.all([
    get("/health", {}, signal, background),
    get("/statistics", {}, signal, background),
  ]);
  const charted = health.directories.slice(0, CHARTED).map(one => one.id);
  const lists = await Promise.all(
    charted.map(async id => {
      // A definition that cannot be used has a colour and no jobs.
      const page = await get(`/directories/${id}/jobs`, { limit: RUNS }, signal, background).catch(() => ({ items: [] }));
      const { name } = health.directories.find(one => one.id === id);
      return page.items.map(({ errors, ...job }) => ({ ...job, directoryName: name }));
    }),
  );
  const jobs = lists.flat().sort((one, other) => other.queuedAt.localeCompare(one.queuedAt));
  return { health, statistics, jobs, undecided: await undecided(charted, signal) };
};

const figures = ({ health, statistics: { total }, undecided: [links, held] }) => {
  const waiting = health.directories.flatMap(one => one.profiles.flatMap(profile => profile.waitingJobIds)).length;
  const jobs = Object.values(total.jobsLast24Hours).reduce((sum, number) => sum + number, 0);
  const failed = total.jobsLast24Hours.failed ?? 0;
  return div(
    { class: "figures" },
    figure(total.directories, total.directories === 1 ? "directory" : "directories", counted(total.profiles, "profile")),
    figure(total.users.linked, "users linked", `${count(total.users.active)} active, ${count(total.users.inactive)} inactive`),
    figure(total.groups.linked, "groups linked", counted(total.memberships, "membership")),
    figure(waiting, waiting === 1 ? "plan waits for approval" : "plans wait for approval"),
    figure(held, "held changes"),
    figure(links, "proposed links"),
    figure(total.openConflicts, total.openConflicts === 1 ? "open conflict" : "open conflicts"),
    figure(jobs, "jobs in 24 hours", failed ? `${count(failed)} failed` : "none failed"),
  );
};

const directoryRow = (tenant, one) => {
  const home = [tenant, "directories", one.id];
  const times = field => one.profiles.map(profile => profile[field]);
  const running = one.profiles.map(profile => profile.runningJobId).find(Boolean);
  const waiting = one.profiles.flatMap(profile => profile.waitingJobIds);
  const [sentence, rest] = firstSentence(one.reason);
  return tr(
    td(link(home, one.name)),
    td(
      badge(one.status, HEALTH[one.status]),
      " ",
      span(sentence),
      rest ? details(summary({ class: "small" }, "More"), p(rest)) : [],
      running ? div(link([...home, "jobs", running], "A job is running")) : [],
      waiting.length ? div(link([...home, "jobs", waiting[0]], counted(waiting.length, "plan waits", "plans wait"))) : [],
      one.openConflicts ? div(link([...home, "conflicts"], counted(one.openConflicts, "open conflict"))) : [],
    ),
    td({ class: "short" }, at(newest(times("lastCompleteRead")))),
    td({ class: "short" }, at(newest(times("lastAttempt")))),
    td({ class: "short" }, first(times("nextRunAt")) ? at(first(times("nextRunAt"))) : span({ class: "quiet" }, "by hand")),
  );
};

const directories = (tenant, health) =>
  health.directories.length
    ? grid(
        "Directories",
        ["Directory", "Health", "Last complete read", "Last attempt", "Next run"],
        health.directories.map(one => directoryRow(tenant, one)),
      )
    : empty(
        "No directory yet. Add the Active Directory or LDAP server that your users are in; nothing is sent before you say so.",
        may("directory:write")
          ? a({ class: "button first", href: place([tenant, "add"]) }, "Add a directory")
          : span("Your token does not permit that."),
      );

const draw = tenant => data =>
  data.error
    ? notice("red", p("The relay does not answer; this page goes on by itself when it does."))
    : div(
        { class: "stack" },
        data.health.directories.length ? figures(data) : [],
        card("Directories", directories(tenant, data.health)),
        data.health.directories.length ? card("Recent runs", chart(tenant, data.jobs)) : [],
      );

export const dashboard = async ({ tenant, signal }) => {
  const part = live(await read(signal), draw(tenant));
  repeat(10000, signal, async () => {
    try {
      part.set(await read(signal, true));
    } catch {
      if (!signal.aborted) part.set({ error: true });
    }
  });
  return { title: "Dashboard", node: part.node };
};
