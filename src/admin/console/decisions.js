// What waits for a person: proposed links, conflicts, and changes that are held.

import { get, may, post } from "./api.js";
import { CONFLICT, HELD, OPERATION, PROPOSAL, count, show, word } from "./words.js";
import { action, at, choice, code, confirm, div, empty, filters, link, list, say, span, td, textField, tr } from "./ui.js";

const KINDS = [
  ["", "Users and groups"],
  ["user", "Users"],
  ["group", "Groups"],
];
const words = table => [["", "Any"], ...Object.entries(table)];
const plainly = kind => (kind ? `${kind}s` : "users and groups");

/// How many of a list there are, said with care where not all were counted.
const howMany = async (path, query) => {
  const page = await get(path, { ...query, limit: 200 });
  return page.nextCursor ? "more than 200" : count(page.items.length);
};

/// The tab of proposed links.
export const links = ({ tenant, id, query, signal }) => {
  const home = [tenant, "directories", id];
  const path = `/directories/${id}/links`;
  const decide = async (verb, choice) => {
    const { decided } = await post(`${path}/${verb}`, choice);
    say(`${decided} decided`);
    await found.load();
  };
  const buttons = one => {
    if (!may("directory:write") || one.state === "impossible") return [];
    const chosen = { links: [{ kind: one.kind, anchor: one.anchor, id: one.resource.id }] };
    if (one.state !== "pending") return action("Take it back", () => decide("release", chosen));
    return div(
      { class: "actions" },
      action("Accept", () => decide("accept", chosen)),
      action("Refuse", () => decide("refuse", chosen)),
    );
  };
  const row = one =>
    tr(
      td(link([...home, "explain"], one.name ?? one.dn, { entry: one.dn }), div({ class: "quiet small" }, one.dn)),
      td(
        one.resource.name ?? one.resource.id,
        div({ class: "quiet small" }, one.resource.email ?? "", one.resource.active === false ? " (inactive)" : ""),
      ),
      td(
        `same ${one.matchedBy}`,
        one.formerEntry ? div({ class: "small" }, "It belonged to an earlier entry of this directory") : [],
      ),
      td(word(PROPOSAL, one.state), one.obstacle ? div({ class: "small" }, one.obstacle) : []),
      td(buttons(one)),
    );
  const found = list({
    name: "Proposed links",
    path,
    query,
    signal,
    row,
    heads: ["In the directory", "At the target", "Recognized by", "State", "Decide"],
    nothing: empty(
      "Nothing to decide. When the target already has an account that may be a directory user's, it is proposed here before it is taken over.",
    ),
  });
  const every = verb => async () => {
    const which = { kind: query.kind, state: "pending" };
    const accepted = verb === "accept";
    const sure = await confirm({
      title: accepted ? "Accept all proposals?" : "Refuse all proposals?",
      text: [
        `This concerns ${await howMany(path, which)} proposals (${plainly(query.kind)}).`,
        accepted
          ? "The next run takes these accounts over: their mapped attributes become the directory's, and they are deactivated when the user leaves the directory."
          : "These accounts stay as they are, and are not proposed again. No account is created beside them.",
      ],
      done: accepted ? "Accept all" : "Refuse all",
      danger: true,
    });
    if (sure) await decide(verb, { all: true, ...(query.kind ? { kind: query.kind } : {}) });
  };
  return [
    filters([...home, "links"], query, given => ({
      text: textField({ text: "Name or DN", value: given.text }),
      kind: choice({ text: "Kind", value: given.kind ?? "", choices: KINDS }),
      state: choice({ text: "State", value: given.state ?? "", choices: words(PROPOSAL) }),
    })),
    div(
      { class: "card" },
      may("directory:write")
        ? div(
            { class: "actions" },
            action("Accept all that wait", every("accept")),
            action("Refuse all that wait", every("refuse")),
          )
        : [],
      found.node,
    ),
  ];
};

/// The tab of conflicts.
export const conflicts = ({ tenant, id, query, signal }) => {
  const home = [tenant, "directories", id];
  const path = `/directories/${id}/conflicts`;
  const resolve = async (one, take) => {
    await post(`${path}/${one.id}/resolve`, { take });
    say("Resolved");
    await found.load();
  };
  const release = async one => {
    await post(`${path}/release`, { conflicts: [one.id] });
    await found.load();
  };
  const buttons = one => {
    if (!may("directory:write")) return [];
    if (one.state !== "open") return action("Take it back", () => release(one));
    return div(
      { class: "actions" },
      action("Take the directory's", () => resolve(one, "directory")),
      action("Keep the target's", () => resolve(one, "local")),
    );
  };
  const row = one =>
    tr(
      td(link([...home, "explain"], one.name ?? one.dn, { entry: one.dn }), div({ class: "quiet small" }, at(one.since))),
      td(code(one.attribute)),
      td(show(one.base)),
      td(show(one.directory)),
      td(show(one.iam)),
      td(word(CONFLICT, one.state), one.takenBy ? div({ class: "quiet small" }, one.takenBy) : [], buttons(one)),
    );
  const found = list({
    name: "Conflicts",
    path,
    query,
    signal,
    row,
    heads: ["Who", "Attribute", "It was", "Directory says", "Target says", "Decide"],
    nothing: empty(
      "No conflict. One is opened when an attribute was changed both in the directory and at the target, and the profile's policy is manual review.",
    ),
  });
  const every = take => async () => {
    const sure = await confirm({
      title: take === "directory" ? "Take the directory's value everywhere?" : "Keep the target's value everywhere?",
      text: [
        `This concerns ${await howMany(path, { state: "open", kind: query.kind, attribute: query.attribute })} open conflicts.`,
        take === "directory"
          ? "The next run overwrites what was edited at the target."
          : "What was edited at the target stays until the directory has a new value.",
      ],
      done: take === "directory" ? "Take the directory's" : "Keep the target's",
      danger: true,
    });
    if (!sure) return;
    const { decided } = await post(`${path}/resolve`, {
      all: true,
      take,
      ...(query.kind ? { kind: query.kind } : {}),
      ...(query.attribute ? { attribute: query.attribute } : {}),
    });
    say(`${decided} decided`);
    await found.load();
  };
  return [
    filters([...home, "conflicts"], query, given => ({
      text: textField({ text: "Name or DN", value: given.text }),
      attribute: textField({ text: "Attribute", value: given.attribute }),
      kind: choice({ text: "Kind", value: given.kind ?? "", choices: KINDS }),
      state: choice({ text: "State", value: given.state ?? "", choices: words(CONFLICT) }),
    })),
    div(
      { class: "card" },
      may("directory:write")
        ? div(
            { class: "actions" },
            action("Take the directory's for all open", every("directory")),
            action("Keep the target's for all open", every("local")),
          )
        : [],
      found.node,
    ),
  ];
};

/// The tab of changes that are held.
export const holds = ({ tenant, id, query, signal }) => {
  const home = [tenant, "directories", id];
  const path = `/directories/${id}/holds`;
  const release = async choice => {
    const { released } = await post(`${path}/release`, choice);
    say(`${released} released`);
    await found.load();
  };
  const row = one =>
    tr(
      td(link([...home, "explain"], one.dn, { entry: one.dn })),
      td(one.operations.map(operation => word(OPERATION, operation)).join(", ")),
      td(word(HELD, one.state), one.by ? div({ class: "quiet small" }, one.by) : []),
      td(at(one.since)),
      td(
        one.state === "waiting"
          ? link([...home, "jobs", one.jobId], "Decide on the plan")
          : may("directory:write")
            ? action("Plan it again", () => release({ anchor: one.anchor }))
            : [],
      ),
    );
  const found = list({
    name: "Held changes",
    path,
    query,
    signal,
    row,
    heads: ["Who", "Change", "Why it is held", "Since", "Decide"],
    nothing: empty(
      "Nothing is held. What the safety limits stop, and what somebody rejected or undid, stands here until it is released.",
    ),
  });
  const every = async () => {
    const sure = await confirm({
      title: "Release everything that was rejected or undone?",
      text: "The next run plans these changes again, and sends them unless a safety limit stops it. What waits for approval is not touched.",
      done: "Release all",
      danger: true,
    });
    if (sure) await release({ all: true });
  };
  return [
    filters([...home, "held"], query, given => ({
      text: textField({ text: "DN", value: given.text }),
      state: choice({ text: "State", value: given.state ?? "", choices: words(HELD) }),
    })),
    div(
      { class: "card" },
      may("directory:write") ? action("Release all that were rejected or undone", every) : span(),
      found.node,
    ),
  ];
};
