// The pieces that pages are made of. Text is only ever set as text, so nothing that a directory holds becomes markup.

import van from "./van.js";
import { Problem, get } from "./api.js";
import { show } from "./words.js";

export const {
  a,
  button,
  caption,
  code,
  dd,
  details,
  dialog,
  div,
  dl,
  dt,
  fieldset,
  form,
  h1,
  h2,
  header,
  img,
  input,
  label,
  li,
  main,
  nav,
  option,
  p,
  pre,
  progress,
  section,
  select,
  span,
  strong,
  summary,
  table,
  tbody,
  td,
  textarea,
  th,
  thead,
  time,
  tr,
  ul,
} = van.tags;

let ids = 0;
export const newId = () => `id-${++ids}`;

/// A part of a page that is drawn again when what it shows has changed, and only then. Whoever reads it keeps their place: what had the
/// focus has it again, and what was unfolded is.
export const live = (first, draw) => {
  const node = div({ class: "live" }, div(draw(first)));
  let shown = JSON.stringify(first);
  let value = first;
  const parts = selector => [...node.querySelectorAll(selector)];
  const focusable = "a, button, summary, [tabindex]";
  const set = next => {
    const text = JSON.stringify(next);
    if (text === shown) return;
    [shown, value] = [text, next];
    const place = parts(focusable).indexOf(document.activeElement);
    const open = parts("details").map(one => one.open);
    node.replaceChildren(div(draw(next)));
    parts("details").forEach((one, index) => {
      one.open = open[index] ?? one.open;
    });
    if (place >= 0) parts(focusable)[place]?.focus({ preventScroll: true });
  };
  return {
    set,
    node,
    get value() {
      return value;
    },
  };
};

const SHORT = { dateStyle: "medium", timeStyle: "medium" };

/// A time in the reader's zone, with UTC when it is pointed at.
export const at = iso =>
  iso
    ? time(
        { datetime: iso, title: `${new Date(iso).toISOString().replace(".000", "")} (UTC)` },
        new Date(iso).toLocaleString(undefined, SHORT),
      )
    : span({ class: "quiet" }, "never");

/// A link to a place in the console.
export const place = (parts, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  return `#/${parts.map(part => encodeURIComponent(part)).join("/")}${text ? `?${text}` : ""}`;
};
export const link = (parts, text, query) => a({ href: place(parts, query) }, text);

/// Draws the page of the address anew.
export const reload = () => dispatchEvent(new HashChangeEvent("hashchange"));

export const go = (parts, query) => {
  const address = place(parts, query);
  if (location.hash === address) reload();
  else location.hash = address;
};

export const badge = (colour, text) => span({ class: `badge ${colour}` }, text);
export const notice = (colour, ...children) => div({ class: `notice ${colour}` }, ...children);
export const card = (title, ...children) => section({ class: "card" }, title ? h2(title) : [], ...children);
export const empty = (text, ...actions) =>
  div({ class: "empty" }, p(text), actions.length ? div({ class: "actions" }, ...actions) : []);

export const facts = pairs =>
  dl(
    { class: "facts" },
    ...pairs
      .filter(([, value]) => value !== undefined && value !== null && value !== "")
      .map(([name, value]) => [dt(name), dd(value)]),
  );

/// What went wrong, in the words of the problem document.
export const trouble = error => {
  if (!(error instanceof Problem)) console.error(error);
  const known = error instanceof Problem;
  const fields = known ? error.errors.map(field => li(field.pointer ? code(field.pointer) : "", " ", field.detail)) : [];
  return div(
    { class: "notice red", role: "alert" },
    p(
      strong(known ? error.title : "The console failed"),
      ": ",
      known ? error.message : "reload the page; the browser's console says more.",
    ),
    fields.length ? ul(...fields) : [],
  );
};

/// Tells what happened, for a while, to eyes and to screen readers. It outlives the page that says it.
const said = div({ class: "toast", role: "status" });
document.body.append(said);
let fading;
export const say = text => {
  clearTimeout(fading);
  said.textContent = text;
  fading = setTimeout(() => {
    said.textContent = "";
  }, 6000);
};

/// A button that does something which takes a while; what goes wrong stands beside it.
export const action = (text, act, { kind = "", into } = {}) => {
  const busy = van.state(false);
  const wrong = van.state(null);
  const target = into ?? wrong;
  const click = async () => {
    if (busy.rawVal) return;
    busy.val = true;
    target.val = null;
    try {
      await act();
    } catch (error) {
      if (error.name !== "AbortError") target.val = error;
    }
    busy.val = false;
  };
  // Not disabled, because that would take the focus away.
  const control = button(
    { type: "button", class: kind, "aria-disabled": () => String(busy.val), "aria-busy": () => String(busy.val), onclick: click },
    () => span(busy.val ? `${text} …` : text),
  );
  return into ? control : span(control, () => (wrong.val ? trouble(wrong.val) : span()));
};

/// Asks before something is done that matters, and says what will happen. `done` names the deed, and may change meanwhile.
export const confirm = ({ title, text, done, danger = false }) =>
  new Promise(answer => {
    const id = newId();
    const close = value => {
      box.close();
      box.remove();
      answer(value);
    };
    const box = dialog(
      { "aria-labelledby": id },
      h2({ id }, title),
      ...[text].flat().map(part => (typeof part === "string" ? p(part) : part)),
      div(
        { class: "actions" },
        button({ type: "button", onclick: () => close(false) }, "Back"),
        button({ type: "button", class: danger ? "danger first" : "first", onclick: () => close(true) }, done),
      ),
    );
    box.addEventListener("cancel", event => {
      event.preventDefault();
      close(false);
    });
    document.body.append(box);
    box.showModal();
  });

/// A page that is left takes its questions with it, unanswered.
export const dismiss = () =>
  document.querySelectorAll("dialog").forEach(box => box.dispatchEvent(new Event("cancel", { cancelable: true })));

const bare = (name, heads, rows) =>
  table(
    caption({ class: "hidden" }, name),
    thead(tr(...heads.map(head => th({ scope: "col", class: head.startsWith("#") ? "number" : "" }, head.replace(/^#/, ""))))),
    tbody(...rows),
  );

/// A table that can be scrolled on narrow screens, by keyboard too; heads with a # are of numbers.
export const grid = (name, heads, rows) =>
  div({ class: "scroll", tabindex: 0, role: "region", "aria-label": name }, bare(name, heads, rows));

/// Items that one look into a list brings, and how long it goes on for them once it has found some.
const PAGE = 50,
  PATIENCE_MS = 2000;

/// A list of the API, page by page. A filter may pass nothing of a page although later ones hold something, so it looks on.
export const list = ({ name, path, query = {}, heads, row, nothing, signal }) => {
  const state = van.state({ items: null, cursor: null });
  const wrong = van.state(null);
  const look = async (before, from) => {
    const items = [...before];
    const begun = Date.now();
    let cursor = from;
    do {
      const page = await get(path, { limit: PAGE, ...query, cursor }, signal);
      items.push(...page.items);
      cursor = page.nextCursor;
    } while (
      cursor &&
      (items.length === before.length || (items.length < before.length + PAGE && Date.now() - begun < PATIENCE_MS))
    );
    state.val = { items, cursor };
  };
  const load = async () => {
    try {
      await look([], undefined);
      wrong.val = null;
    } catch (error) {
      if (error.name !== "AbortError") wrong.val = error;
    }
  };
  load();
  const body = () => {
    if (wrong.val) return trouble(wrong.val);
    const { items, cursor } = state.val;
    if (!items) return p({ class: "quiet" }, "Loading …");
    if (!items.length) return nothing;
    return div(
      grid(
        name,
        heads,
        items.map(item => row(item, load)),
      ),
      cursor ? p(action("Show more", () => look(items, cursor))) : p({ class: "quiet small" }, `${items.length} in all`),
    );
  };
  return { node: div(body), load };
};

// --- Fields of forms ---------------------------------------------------------------------------------------------

const described = (text, hint, control, errors, name) => {
  const [id, hintId, errorId] = [newId(), newId(), newId()];
  const wrong = () => errors?.val[name];
  control.id = id;
  if (name) control.name = name;
  control.setAttribute("aria-describedby", `${hintId} ${errorId}`);
  van.derive(() => control.setAttribute("aria-invalid", String(Boolean(wrong()))));
  return div(
    { class: "field" },
    label({ for: id }, text),
    control,
    hint ? p({ class: "hint", id: hintId }, hint) : span({ id: hintId }),
    () => p({ class: "wrong", id: errorId }, wrong() ?? ""),
  );
};

/// A field of text. `value()` reads it.
export const textField = ({
  text,
  hint,
  name,
  value = "",
  errors,
  type = "text",
  rows,
  placeholder = "",
  required = false,
  onchange,
}) => {
  const props = {
    value: value ?? "",
    placeholder,
    required,
    autocomplete: type === "password" ? "new-password" : "off",
    spellcheck: false,
  };
  if (onchange) props.oninput = () => onchange(control.value);
  const control = rows ? textarea({ ...props, rows }) : input({ ...props, type });
  const node = described(text, hint, control, errors, name);
  return { node, value: () => control.value.trim(), control };
};

/// A choice. `choices` are pairs of value and words.
export const choice = ({ text, hint, name, value, choices, errors, onchange }) => {
  const control = select(
    { onchange: () => onchange?.(control.value) },
    ...choices.map(([key, words]) => option({ value: key, selected: key === value }, words)),
  );
  return { node: described(text, hint, control, errors, name), value: () => control.value, control };
};

/// A box to tick.
export const tick = ({ text, hint, name, value, onchange }) => {
  const [id, hintId] = [newId(), newId()];
  const control = input({
    type: "checkbox",
    id,
    checked: value,
    "aria-describedby": hintId,
    onchange: () => onchange?.(control.checked),
  });
  if (name) control.name = name;
  return {
    node: div(
      { class: "field" },
      div({ class: "check" }, control, label({ for: id }, text)),
      p({ class: "hint", id: hintId }, hint ?? ""),
    ),
    value: () => control.checked,
    control,
  };
};

/// Filters above a list; a change leads to an address that can be shared.
export const filters = (parts, query, fields) => {
  const controls = fields(query);
  const kept = Object.fromEntries(Object.entries(query).filter(([name]) => name === "view"));
  const apply = event => {
    event.preventDefault();
    go(parts, { ...kept, ...Object.fromEntries(Object.entries(controls).map(([name, field]) => [name, field.value()])) });
  };
  const isFiltered = Object.keys(query).length > Object.keys(kept).length;
  return form(
    { class: "filters card", role: "search", onsubmit: apply },
    ...Object.values(controls).map(field => field.node),
    button({ class: "first" }, "Filter"),
    isFiltered ? a({ class: "button", href: place(parts, kept) }, "Clear") : [],
  );
};

const before = one => (one.before === null ? span({ class: "quiet" }, "none") : span({ class: "before" }, show(one.before)));
const after = one => (one.after === null ? span({ class: "quiet" }, "none") : span({ class: "after" }, show(one.after)));

/// Attributes before and after; a single one is a line.
export const attributeTable = attributes =>
  attributes.length === 1
    ? div(code(attributes[0].attribute), ": ", before(attributes[0]), " → ", after(attributes[0]))
    : bare(
        "Attributes, before and after",
        ["Attribute", "Before", "After"],
        attributes.map(one => tr(td({ class: "code" }, one.attribute), td(before(one)), td(after(one)))),
      );

/// Lets the browser save a text as a file.
export const save = (name, type, text) => {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const anchor = a({ href: address, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
};
