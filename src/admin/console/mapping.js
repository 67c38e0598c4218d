// The editor of an attribute mapping: which SCIM attribute has its value from where.

import van from "./van.js";
import { button, div, grid, input, label, newId, option, p, select, span, td, tr } from "./ui.js";

const SHARED = { email: "mail", firstName: "givenName", lastName: "sn", phone: "telephoneNumber", displayName: "displayName" };

/// What is mapped unless the mapping says otherwise.
const usual = type => ({ username: type === "active_directory" ? "sAMAccountName" : "uid", ...SHARED });

/// The paths that these names stand for: an attribute is mapped once, under either name.
const PATHS = {
  username: "userName",
  email: 'emails[type eq "work"].value',
  firstName: "name.givenName",
  lastName: "name.familyName",
  phone: 'phoneNumbers[type eq "work"].value',
  displayName: "displayName",
};
const pathOf = name => (PATHS[name] ?? name).toLowerCase();

const SUGGESTED = [
  "title",
  "userType",
  "preferredLanguage",
  "locale",
  "timezone",
  "nickName",
  "profileUrl",
  'emails[type eq "home"].value',
  'phoneNumbers[type eq "mobile"].value',
  'addresses[type eq "work"].streetAddress',
  'addresses[type eq "work"].locality',
  'addresses[type eq "work"].postalCode',
  'addresses[type eq "work"].country',
  "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
  "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber",
  "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter",
  "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:organization",
  "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
];

const KINDS = [
  ["attribute", "the attribute"],
  ["constant", "always"],
  ["expression", "the expression"],
  ["off", "not sent"],
];

/// A rule of the API as kind, text and whether it is required.
const read = rule => {
  if (rule === false) return { kind: "off", text: "", required: false };
  if (typeof rule === "string") return { kind: "attribute", text: rule, required: false };
  const kind = ["attribute", "constant", "expression"].find(key => key in rule);
  return { kind, text: rule[kind], required: rule.required ?? false };
};

const write = ({ kind, text, required }) => {
  if (kind === "off") return false;
  if (kind === "attribute" && !required) return text;
  return { [kind]: text, ...(required ? { required: true } : {}) };
};

const labelled = (text, control) => {
  const id = newId();
  control.id = id;
  return [label({ for: id, class: "hidden" }, text), control];
};

/// The editor; `value()` is the mapping, null while it is the usual one.
export const mappingEditor = (type, mapping, errors) => {
  const same = (one, other) => JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(other).sort());
  // What is usual is not somebody's choice, and changes with the type.
  const chosen = mapping && !same(mapping, usual(type)) ? mapping : null;
  let kept = type;
  const listeners = [];
  const rowsOf = rules => Object.entries(rules).map(([name, rule]) => ({ name, ...read(rule) }));
  const rows = van.state(rowsOf(chosen ?? usual(type)));
  const tell = () => listeners.forEach(listener => listener());
  const names = van.tags.datalist(
    { id: newId() },
    ...[...Object.keys(usual(type)), ...SUGGESTED].map(one => option({ value: one })),
  );

  const values = () => {
    const written = rows.rawVal.filter(row => row.name.trim());
    const paths = new Set(written.map(row => pathOf(row.name.trim())));
    return Object.fromEntries([
      // One that is usual and was taken out is said to be off, because leaving it out would mean its default.
      ...Object.keys(usual(kept))
        .filter(name => !paths.has(pathOf(name)))
        .map(name => [name, false]),
      ...written.map(row => [row.name.trim(), write(row)]),
    ]);
  };

  /// What cannot be sent, by field.
  const check = () => {
    const paths = rows.rawVal.map(row => pathOf(row.name.trim()));
    const twice = rows.rawVal.find((row, index) => row.name.trim() && paths.indexOf(paths[index]) !== index);
    if (twice) return { attributeMapping: `${twice.name.trim()} is mapped twice; remove one of the rows` };
    if (rows.rawVal.some(row => !row.name.trim() && row.text.trim()))
      return { attributeMapping: "a row has a value and no SCIM attribute; name it, or remove the row" };
    return {};
  };

  const drawRow = (row, index) => {
    const change = (field, value) => {
      row[field] = value;
      tell();
    };
    const name = input({ value: row.name, spellcheck: false, oninput: event => change("name", event.target.value) });
    name.setAttribute("list", names.id);
    const kind = select(
      { onchange: event => change("kind", event.target.value) },
      ...KINDS.map(([key, words]) => option({ value: key, selected: key === row.kind }, words)),
    );
    const text = input({ value: row.text, spellcheck: false, oninput: event => change("text", event.target.value) });
    const required = input({
      type: "checkbox",
      checked: row.required,
      onchange: event => change("required", event.target.checked),
    });
    const drop = button(
      {
        type: "button",
        onclick: () => {
          rows.val = rows.rawVal.filter(other => other !== row);
          tell();
        },
      },
      "Remove",
      span({ class: "hidden" }, ` ${row.name}`),
    );
    const wrong = () => p({ class: "wrong" }, errors.val[`attributeMapping/${row.name}`] ?? "");
    return tr(
      td(labelled(`SCIM attribute, row ${index + 1}`, name), wrong),
      td(labelled(`Kind, row ${index + 1}`, kind)),
      td(labelled(`Value, row ${index + 1}`, text)),
      td(labelled(`Required, row ${index + 1}`, required)),
      td(drop),
    );
  };

  const node = div(
    p(
      { class: "quiet" },
      "Attributes that are not listed are never touched at the target. An expression is a template over the entry's attributes, for example {{ givenName | lower }}.",
    ),
    names,
    () => grid("Attribute mapping", ["SCIM attribute", "is", "Value", "Required", "Change"], rows.val.map(drawRow)),
    p(
      button(
        {
          type: "button",
          onclick: () => {
            rows.val = [...rows.rawVal, { name: "", kind: "attribute", text: "", required: false }];
          },
        },
        "Add an attribute",
      ),
    ),
    () => p({ class: "wrong" }, errors.val.attributeMapping ?? ""),
  );

  return {
    node,
    check,
    value: () => (same(values(), chosen ?? usual(kept)) ? chosen : values()),
    onchange: listener => {
      listeners.push(listener);
    },
    /// Another type has other usual attributes; a mapping that somebody edited stays.
    setType: next => {
      const untouched = !chosen && same(values(), usual(kept));
      kept = next;
      if (untouched) rows.val = rowsOf(usual(next));
      tell();
    },
  };
};
