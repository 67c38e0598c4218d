// The console: signing in, the bar at the top, and which page an address leads to.

import van from "./van.js";
import { expired, may, resume, session, signIn, signInAgain, signOut, useTenant } from "./api.js";
import { audit } from "./audit.js";
import { connection } from "./connection.js";
import { dashboard } from "./dashboard.js";
import { directory } from "./directory.js";
import { job } from "./job.js";
import {
  a,
  action,
  button,
  card,
  dialog,
  dismiss,
  div,
  empty,
  form,
  h1,
  h2,
  header,
  img,
  label,
  main,
  nav,
  notice,
  option,
  p,
  place,
  select,
  span,
  textField,
  trouble,
} from "./ui.js";

const root = document.getElementById("app");
const themes = ["auto", "light", "dark"];

const setTheme = theme => {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
};

const themeChoice = () => {
  const now = localStorage.getItem("theme") ?? "auto";
  const control = select(
    { id: "theme", onchange: () => setTheme(control.value) },
    ...themes.map(theme =>
      option({ value: theme, selected: theme === now }, { auto: "System colours", light: "Light", dark: "Dark" }[theme]),
    ),
  );
  return span(label({ for: "theme", class: "hidden" }, "Colours"), control);
};

/// The address as parts and query: `#/acme/directories/…?text=…`.
const here = () => {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const decode = part => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  return { parts: path.split("/").filter(Boolean).map(decode), query: Object.fromEntries(new URLSearchParams(query)) };
};

/// The form that exchanges a token; `act` does it.
const tokenForm = act => {
  const wrong = van.state(null);
  const token = textField({
    text: "API token",
    type: "password",
    required: true,
    hint: "Begins with srt_. An administrator makes one with: scim-relay token create",
  });
  const busy = van.state(false);
  const submit = async event => {
    event.preventDefault();
    busy.val = true;
    wrong.val = null;
    try {
      await act(token.value());
    } catch (error) {
      wrong.val = error;
      token.control.focus();
    }
    busy.val = false;
  };
  return form(
    { onsubmit: submit },
    token.node,
    () => (wrong.val ? trouble(wrong.val) : span()),
    p(button({ class: "first", disabled: () => busy.val }, "Sign in")),
  );
};

const signInPage = () => {
  document.title = "Sign in · scim-relay";
  return main({ class: "signin" }, div({ class: "card" }, h1("Sign in to scim-relay"), tokenForm(signIn)), themeChoice());
};

/// Asks for a token again over the page as it is, so that what was entered there is not lost.
const askAgain = () => {
  const box = dialog(
    { "aria-labelledby": "again" },
    h2({ id: "again" }, "Your session has ended"),
    p("It ends after an hour without use, after twelve hours, and when its token is revoked. Sign in to go on where you are."),
    tokenForm(async token => {
      await signInAgain(token);
      box.remove();
    }),
  );
  // Only a token leads back.
  box.addEventListener("cancel", event => event.preventDefault());
  document.body.append(box);
  box.showModal();
};

const bar = (tenant, parts) => {
  const current = name => (parts[1] === name || (name === "dashboard" && !parts[1]) ? { "aria-current": "page" } : {});
  const names = session.val.tenants;
  const choose = event => {
    location.hash = place([event.target.value]);
  };
  return header(
    { class: "bar" },
    a({ class: "brand", href: place([tenant]) }, img({ src: "/console/icon.svg", alt: "" }), "scim-relay"),
    nav(
      { "aria-label": "Main" },
      a({ href: place([tenant]), ...current("dashboard") }, "Dashboard"),
      may("directory:write") ? a({ href: place([tenant, "add"]), ...current("add") }, "Add a directory") : [],
      may("audit:read") ? a({ href: place([tenant, "audit"]), ...current("audit") }, "Audit") : [],
    ),
    div(
      { class: "side" },
      names.length > 1
        ? span(
            label({ for: "tenant", class: "hidden" }, "Tenant"),
            select(
              { id: "tenant", onchange: choose },
              ...names.map(name => option({ value: name, selected: name === tenant }, name)),
            ),
          )
        : span({ class: "quiet" }, tenant),
      themeChoice(),
      action("Sign out", signOut),
    ),
  );
};

const forbidden = async () => ({
  title: "Not permitted",
  node: notice("yellow", p("Your token does not permit this; sign in with one that does.")),
});

const nowhere = () => empty("There is no such page.", a({ class: "button", href: "#/" }, "To the dashboard"));

/// Which page an address leads to.
const pageOf = parts => {
  const [, kind, id, part, jobId] = parts;
  if (!kind) return dashboard;
  if (kind === "add" && !id) return may("directory:write") ? connection : forbidden;
  if (kind === "audit" && !id) return may("audit:read") ? audit : forbidden;
  if (kind === "directories" && id && part === "jobs" && jobId) return job;
  if (kind === "directories" && id) return directory;
  return async () => ({ title: "Not found", node: nowhere() });
};

let leaving = new AbortController();

/// Shows the page of the address; what the one before still does is ended.
const route = async () => {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  dismiss();
  if (session.val === undefined) return;
  if (session.val === null) {
    root.replaceChildren(signInPage());
    root.querySelector("input")?.focus();
    return;
  }
  const { parts, query } = here();
  const { tenants } = session.val;
  if (!tenants.length) {
    root.replaceChildren(
      main(
        h1("No tenant yet"),
        card(
          null,
          p(
            "A tenant is the IAM that users are pushed to. Define one in the configuration file under [[tenants]], or with POST /api/v1/tenants, then reload this page.",
          ),
          p(action("Sign out", signOut)),
        ),
      ),
    );
    return;
  }
  if (!parts.length) {
    location.replace(place([tenants[0]]));
    return;
  }
  const tenant = parts[0];
  useTenant(tenant);
  const content = main({ id: "main" }, p({ class: "quiet" }, "Loading …"));
  root.replaceChildren(
    a(
      {
        class: "skip",
        href: "#main",
        onclick: event => {
          event.preventDefault();
          content.querySelector("h1")?.focus();
        },
      },
      "Skip to the content",
    ),
    bar(tenant, parts),
    content,
  );
  if (!tenants.includes(tenant)) {
    content.replaceChildren(
      h1("Not your tenant"),
      notice("yellow", p(`Your token is not for the tenant “${tenant}”, or there is none of that name.`)),
      p(a({ href: "#/" }, "To your own")),
    );
    return;
  }
  let shown;
  try {
    shown = await pageOf(parts)({ tenant, parts, query, signal });
  } catch (error) {
    if (signal.aborted) return;
    shown = { title: "Not found", node: div(error.status === 404 ? nowhere() : trouble(error)) };
  }
  if (signal.aborted || session.val === null) return;
  document.title = `${shown.title} · scim-relay`;
  const heading = shown.heading ?? h1(shown.title);
  const title = heading.matches("h1") ? heading : heading.querySelector("h1");
  title.tabIndex = -1;
  content.replaceChildren(heading, ...[shown.node].flat());
  if (document.activeElement === document.body) title.focus({ preventScroll: true });
};

setTheme(localStorage.getItem("theme") ?? "auto");
addEventListener("hashchange", route);
van.derive(() => {
  session.val;
  queueMicrotask(route);
});
van.derive(() => {
  if (expired.val) askAgain();
});
resume().catch(error => root.replaceChildren(main(trouble(error))));
