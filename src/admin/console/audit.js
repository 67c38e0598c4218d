// The audit log: who did what, when and why, newest first.

import { get } from "./api.js";
import { at, choice, code, details, div, empty, facts, filters, list, summary, td, textField, tr } from "./ui.js";

const HOUR = 3600e3;
const SINCE = [
  ["", "Any time"],
  ["1", "The last hour"],
  ["24", "The last 24 hours"],
  ["168", "The last 7 days"],
  ["720", "The last 30 days"],
];

const row = record =>
  tr(
    td({ class: "short" }, at(record.at)),
    td(record.actor),
    td(code(record.action)),
    td(
      record.subject,
      Object.keys(record.details).length
        ? details(summary({ class: "small" }, "Details"), facts(Object.entries(record.details)))
        : [],
    ),
    td({ class: "number" }, String(record.sequence)),
  );

export const audit = async ({ tenant, query, signal }) => {
  const api = await get("/openapi.json", {}, signal);
  const actions = api.components.schemas.Action.enum;
  const { since, ...rest } = query;
  const asked = { ...rest, since: since ? new Date(Date.now() - Number(since) * HOUR).toISOString() : undefined };
  const found = list({
    name: "Audit records",
    path: "/audit",
    query: asked,
    signal,
    row,
    heads: ["When", "Who", "Action", "What", "#Number"],
    nothing: empty("No record fits. Clear the filters to see all of them."),
  });
  return {
    title: "Audit log",
    node: [
      filters([tenant, "audit"], query, given => ({
        text: textField({ text: "Text", value: given.text, placeholder: "name, id, reason" }),
        action: choice({ text: "Action", value: given.action ?? "", choices: [["", "Any"], ...actions.map(one => [one, one])] }),
        since: choice({ text: "Since", value: given.since ?? "", choices: SINCE }),
      })),
      div({ class: "card" }, found.node),
    ],
  };
};
