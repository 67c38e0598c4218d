// What a job sent or planned, as a file.

import van from "./van.js";
import { all } from "./api.js";
import { count } from "./words.js";
import { action, save, span } from "./ui.js";

/// A cell of a CSV file. A spreadsheet takes a text that begins so for a formula, and the text may be an attacker's.
const cell = value => {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

const HEADS = [
  "at",
  "kind",
  "operation",
  "reason",
  "dn",
  "anchor",
  "id",
  "attribute",
  "before",
  "after",
  "members",
  "status",
  "scimType",
  "error",
];

/// One line for each attribute, so that a spreadsheet can filter them.
const toCsv = items => {
  const plain = value => (value !== null && typeof value === "object" ? JSON.stringify(value) : value);
  const lines = items.flatMap(item =>
    (item.attributes.length ? item.attributes : [{}]).map(one => [
      item.at,
      item.kind,
      item.operation,
      item.reason,
      item.dn,
      item.anchor,
      item.id,
      one.attribute,
      plain(one.before),
      plain(one.after),
      item.members.join(" "),
      item.error?.status,
      item.error?.scimType,
      item.error?.detail,
    ]),
  );
  return [HEADS, ...lines].map(line => line.map(cell).join(",")).join("\r\n") + "\r\n";
};

/// Saves what was sent, or what was planned.
export const download = (path, what, name, signal) => {
  const read = van.state("");
  const fetched = async () => {
    const { items } = await all(
      `${path}/${what}`,
      {},
      {
        signal,
        onPage: number => {
          read.val = ` ${count(number)} read`;
        },
      },
    );
    read.val = "";
    return items;
  };
  return span(
    { class: "actions" },
    action("Download CSV", async () => save(`${name}.csv`, "text/csv", toCsv(await fetched()))),
    action("Download JSON", async () => save(`${name}.json`, "application/json", JSON.stringify(await fetched(), null, 1))),
    span({ class: "quiet small" }, read),
  );
};
