// The dashboard: how each directory is, what is linked, and what recent runs did.

import { get, may, repeat } from "./api.js";
import { chart } from "./chart.js";
import { HEALTH, count, counted } from "./words.js";
import { a, at, badge, card, div, empty, grid, h1, link, live, notice, p, place, section, span, strong, td, tr, trouble } from "./ui.js";

/// Directories whose runs the chart shows, and how many of each.
const CHARTED = 10, RUNS = 30;

const figure = (number, what, more) => section({ class: "card figure" }, strong(count(number)), span(what), more ? span({ class: "quiet small" }, more) : []);

const newest = times => times.filter(Boolean).sort().at(-1) ?? null;
const first = times => times.filter(Boolean).sort()[0] ?? null;

const read = async signal => {
  const [health, statistics] = await Promise.all([get("/health", {}, signal), get("/statistics", {}, signal)]);
  const lists = await Promise.all(health.directories.slice(0, CHARTED).map(async one => {
    // A definition that cannot be used has a colour and no jobs.
    const page = await get(`/directories/${one.id}/jobs`, { limit: RUNS }, signal).catch(() => ({ items: [] }));
    return page.items.map(({ errors, ...job }) => ({ ...job, directoryName: one.name }));
  }));
  const jobs = lists.flat().sort((one, other) => other.queuedAt.localeCompare(one.queuedAt));
  return { health, statistics, jobs };
};

const figures = (tenant, { health, statistics: { total } }) => {
  const waiting = health.directories.flatMap(one => one.profiles.flatMap(profile => profile.waitingJobIds)).length;
  const jobs = Object.values(total.jobsLast24Hours).reduce((sum, number) => sum + number, 0);
  const failed = total.jobsLast24Hours.failed ?? 0;
  return div({ class: "figures" },
    figure(total.directories, total.directories === 1 ? "directory" : "directories", counted(total.profiles, "profile")),
    figure(total.users.linked, "users linked", `${count(total.users.active)} active, ${count(total.users.inactive)} inactive`),
    figure(total.groups.linked, "groups linked", counted(total.memberships, "membership")),
    figure(waiting, "plans wait for approval"),
    figure(total.openConflicts, "open conflicts"),
    figure(jobs, "jobs in 24 hours", failed ? `${count(failed)} failed` : "none failed"));
};

const directoryRow = (tenant, one) => {
  const home = [tenant, "directories", one.id];
  const times = field => one.profiles.map(profile => profile[field]);
  const running = one.profiles.map(profile => profile.runningJobId).find(Boolean);
  const waiting = one.profiles.flatMap(profile => profile.waitingJobIds);
  return tr(
    td(link(home, one.name)),
    td(badge(one.status, HEALTH[one.status]), " ", span(one.reason),
      running ? div(link([...home, "jobs", running], "A job is running")) : [],
      waiting.length ? div(link([...home, "jobs", waiting[0]], counted(waiting.length, "plan waits", "plans wait"))) : [],
      one.openConflicts ? div(link([...home, "conflicts"], counted(one.openConflicts, "open conflict"))) : []),
    td({ class: "short" }, at(newest(times("lastCompleteRead")))),
    td({ class: "short" }, at(newest(times("lastAttempt")))),
    td({ class: "short" }, first(times("nextRunAt")) ? at(first(times("nextRunAt"))) : span({ class: "quiet" }, "by hand")));
};

const directories = (tenant, health) => (health.directories.length
  ? grid("Directories", ["Directory", "Health", "Last complete read", "Last attempt", "Next run"],
    health.directories.map(one => directoryRow(tenant, one)))
  : empty("No directory yet. Add the Active Directory or LDAP server that your users are in; nothing is sent before you say so.",
    may("directory:write") ? a({ class: "button first", href: place([tenant, "add"]) }, "Add a directory") : span("Your token does not permit that.")));

const draw = tenant => data => (data.error ? trouble(data.error) : div({ class: "stack" },
  data.health.directories.length ? figures(tenant, data) : [],
  card("Directories", directories(tenant, data.health)),
  data.health.directories.length ? card("Recent runs", chart(tenant, data.jobs)) : []));

export const dashboard = async ({ tenant, signal }) => {
  const part = live(await read(signal), draw(tenant));
  repeat(5000, signal, async () => {
    try {
      part.set(await read(signal));
    } catch (error) {
      if (!signal.aborted && error.status !== 401) part.set({ error });
    }
  });
  const first = part.value.health;
  const title = h1("Dashboard");
  return { title: "Dashboard", heading: title, node: [first.directories.length && first.status === "red" ? notice("red", p("Something is broken; the table says what.")) : div(), part.node()] };
};
