// The fields of a form: how each is called in the API, read, checked, and told wrong.

import van from "./van.js";
import { Problem } from "./api.js";
import { choice, fieldset, form, textField, tick } from "./ui.js";

const lines = text =>
  text
    .split("\n")
    .map(line => line.trim())
    .filter(Boolean);

const orNull = text => (text === "" ? null : text);

const numberOrNull = text => (text === "" ? null : Number(text));

const isEmpty = value => value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);

/// What a new one is created from: what is left empty keeps its default.
export const given = values => Object.fromEntries(Object.entries(values).filter(([, value]) => !isEmpty(value)));

/// What was changed since the form was shown.
export const changed = (values, before) =>
  Object.fromEntries(
    Object.entries(values)
      .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]))
      .map(([name, value]) => [name, Array.isArray(value) && !value.length ? null : value]),
  );

export const only = (names, values) => Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name)));

/// A form's fields: what each is called in the API, what it shows, and how it is read.
export class Fields {
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
    return this.add(
      name,
      textField({ text, name: this.prefix + name, value: value ?? "", type: "number", errors: this.errors, ...options }),
      numberOrNull,
    );
  }

  lines(name, text, value, options = {}) {
    return this.add(
      name,
      textField({ text, name, value: (value ?? []).join("\n"), rows: 2, errors: this.errors, ...options }),
      lines,
    );
  }

  choice(name, text, value, choices, options = {}) {
    return this.add(
      name,
      choice({ text, name: this.prefix + name, value, choices, errors: this.errors, ...options }),
      value => value,
    );
  }

  tick(name, text, value, options = {}) {
    return this.add(name, tick({ text, name, value, ...options }), value => value);
  }

  /// Everything that was entered, by the API's names.
  values() {
    return Object.assign(
      {},
      ...Object.entries(this.readers).map(([name, read]) => (name.startsWith("*") ? read() : { [name]: read() })),
    );
  }

  /// What cannot be sent, by field; nothing is sent until that is corrected.
  refuse() {
    this.errors.val = Object.assign({}, ...this.checks.map(check => check()));
    if (Object.keys(this.errors.val).length)
      throw new Problem({ title: "Not sent", detail: "Some fields cannot be read; each says why." });
  }
}

/// A table within the form's: only what was edited of it is sent, and what is emptied has its usual value again.
export const within = (fields, name, add) => {
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

/// Shows which fields are wrong, and leads to the first of them.
const showErrors = (errors, error, node) => {
  if (!(error instanceof Problem)) return;
  if (error.errors.length)
    errors.val = Object.fromEntries(
      Object.entries(error.fields()).map(([name, detail]) => [name.replace(/^directory\//, ""), detail]),
    );
  // The page draws it first.
  setTimeout(() => {
    const first = node.querySelector("[aria-invalid=true]");
    first?.closest("details")?.setAttribute("open", "");
    first?.focus();
  });
};

/// Does something with a form; what is wrong is shown at its fields.
export const withForm = (fields, node, act) => async () => {
  try {
    fields.refuse();
    return await act();
  } catch (error) {
    showErrors(fields.errors, error, node());
    throw error;
  }
};

/// Draws the answer of the latest of several calls; an earlier one that comes late is not shown.
export const latest = () => {
  const shown = van.state(null);
  let turn = 0;
  const ask = async call => {
    const mine = ++turn;
    const node = call ? await call() : null;
    if (mine === turn) shown.val = node;
  };
  return { shown, ask };
};

/// A form, which is only looked at by who may not change it.
export const editable = (writable, ...parts) =>
  form(
    { onsubmit: event => event.preventDefault(), noValidate: true },
    fieldset({ class: "stack", disabled: !writable }, ...parts),
  );
