// Calls of the public API: the session, problems in words, pages of lists, and the stream of a job.

import van from "./van.js";

/// The session, as GET /session shows it; null when nobody is signed in, undefined until that is known.
export const session = van.state(undefined);

/// Whether the session has ended under whoever is at work.
export const expired = van.state(false);

/// The tenant that requests are for.
let tenant = null;
export const useTenant = name => {
  tenant = name;
};

/// Why a call failed, as a problem document says it (RFC 9457).
export class Problem extends Error {
  constructor(document) {
    super(document.detail ?? document.title ?? "The relay could not be reached.");
    this.title = document.title ?? "Not done";
    this.status = document.status ?? 0;
    this.errors = document.errors ?? [];
    this.jobId = document.jobId;
  }

  /// What is wrong with each field, by its name.
  fields() {
    return Object.fromEntries(this.errors.map(error => [error.pointer.replace(/^\//, ""), error.detail]));
  }
}

const unreachable = () =>
  new Problem({
    title: "The relay does not answer",
    detail: "Check that scim-relay is running and that the network is up, then try again.",
  });

const address = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return `/api/v1${path}${text ? `?${text}` : ""}`;
};

const request = async (method, path, { query, body, signal, headers = {}, background = false } = {}) => {
  const all = { ...headers };
  // What a page asks for by itself does not keep a session alive that nobody uses.
  if (background) all["X-Background"] = "1";
  if (tenant) all["X-Tenant-ID"] = tenant;
  if (session.rawVal?.csrfToken) all["X-CSRF-Token"] = session.rawVal.csrfToken;
  if (body !== undefined) all["Content-Type"] = "application/json";
  let answer;
  try {
    const text = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(address(path, query), { method, headers: all, body: text, signal, credentials: "same-origin" });
  } catch (error) {
    throw signal?.aborted ? error : unreachable();
  }
  if (answer.ok) return answer;
  if (answer.status === 401 && path !== "/session") expired.val = true;
  throw new Problem(await answer.json().catch(() => ({ status: answer.status })));
};

/// Calls the API and answers its JSON.
const call = async (method, path, options) => {
  const answer = await request(method, path, options);
  return answer.status === 204 ? null : answer.json();
};

export const get = (path, query, signal, background) => call("GET", path, { query, signal, background });
export const post = (path, body = {}, query) => call("POST", path, { body, query });
export const put = (path, body) => call("PUT", path, { body });
export const remove = path => call("DELETE", path);

/// Learns whether somebody is signed in.
export const resume = async () => {
  try {
    session.val = await get("/session");
  } catch (error) {
    session.val = null;
    if (!error.status) throw error;
  }
};

/// Exchanges a token for a session; the token itself is not kept.
const exchange = token => {
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new Problem({ title: "Not a token", detail: "It has characters that no token has; copy it again, as a whole." });
  return call("POST", "/session", { headers: { Authorization: `Bearer ${token}` } });
};

export const signIn = async token => {
  tenant = null;
  session.val = await exchange(token);
};

/// Goes on with a new session where the old one has ended; the page stays as it is.
export const signInAgain = async token => {
  session.rawVal = await exchange(token);
  expired.val = false;
};

export const signOut = async () => {
  try {
    await remove("/session");
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  tenant = null;
  session.val = null;
};

/// Whether the token permits something.
export const may = permission => session.val?.permissions.includes(permission) ?? false;

/// All items of a list, up to a limit.
export const all = async (path, query, { most = Infinity, signal, onPage = () => {} } = {}) => {
  const items = [];
  let cursor;
  do {
    const page = await get(path, { limit: 200, ...query, cursor }, signal);
    items.push(...page.items);
    cursor = page.nextCursor;
    onPage(items.length);
  } while (cursor && items.length < most);
  return { items, complete: !cursor };
};

const pause = (ms, signal) =>
  new Promise(done => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });

/// Watches a job until its end or until the signal: server-sent events, read with fetch because an EventSource names no tenant.
export const watch = async (directory, job, signal, onJob) => {
  const path = `/directories/${directory}/jobs/${job}`;
  for (let wait = 1000; !signal.aborted; wait = Math.min(wait * 2, 15000)) {
    try {
      const answer = await request("GET", `${path}/events`, { signal, background: true });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", ended = false; ;) {
        const { done, value } = await reader.read();
        if (done) break;
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const field = name =>
            event
              .split("\n")
              .find(line => line.startsWith(`${name}: `))
              ?.slice(name.length + 2);
          if (!field("data")) continue;
          onJob(JSON.parse(field("data")));
          wait = 1000;
          ended ||= field("event") === "end";
        }
        if (ended) return;
      }
    } catch (error) {
      if (signal.aborted || error.status === 404) return;
    }
    await pause(wait, signal);
  }
};

/// Does something now and then until the signal.
export const repeat = async (ms, signal, action) => {
  while (!signal.aborted) {
    await pause(ms, signal);
    if (!signal.aborted && !document.hidden && !expired.rawVal) await action();
  }
};
