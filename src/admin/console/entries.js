// Users and groups of a directory with how each stands, and one entry explained.

import { may, post } from "./api.js";
import { start } from "./job.js";
import { OPERATION, REASON, STATE, show, word } from "./words.js";
import {
  action,
  at,
  attributeTable,
  badge,
  button,
  card,
  confirm,
  choice,
  code,
  details,
  div,
  empty,
  facts,
  filters,
  form,
  go,
  grid,
  li,
  link,
  list,
  notice,
  p,
  pre,
  span,
  strong,
  summary,
  td,
  textField,
  tr,
  trouble,
  ul,
} from "./ui.js";

const STATES = [["", "Any"], ...Object.entries(STATE).map(([key, [, words]]) => [key, words])];

/// The tab of users, or of groups.
export const entries = (kind, { tenant, id, query, signal }) => {
  const home = [tenant, "directories", id];
  const nameOf = one => (kind === "users" ? one.userName : one.displayName) ?? one.dn ?? one.anchor;
  const row = one => {
    const [colour, words] = STATE[one.state] ?? ["plain", one.state];
    const inactive = kind === "users" && one.active === false ? [" ", badge("plain", "inactive")] : [];
    return tr(
      td(link([...home, "explain"], nameOf(one), { entry: one.dn ?? one.anchor }), div({ class: "quiet small" }, one.dn ?? "")),
      td(badge(colour, words), inactive, one.leavesAt ? div({ class: "small" }, "leaves ", at(one.leavesAt)) : []),
      td(
        one.lastError
          ? div(
              one.lastError.detail,
              div({ class: "quiet small" }, at(one.lastError.at), one.nextTryAt ? span(", tried again ", at(one.nextTryAt)) : []),
            )
          : span({ class: "quiet" }, "none"),
      ),
      td({ class: "short" }, at(one.lastChangedAt)),
    );
  };
  const found = list({
    name: kind === "users" ? "Users" : "Groups",
    path: `/directories/${id}/${kind}`,
    query,
    signal,
    row,
    heads: ["Name", "State", "Last error", "Last changed at the target"],
    nothing: empty(
      Object.keys(query).length
        ? "Nothing fits. Clear the filters to see all of them."
        : "Nothing has been read yet. Run a preview to see what a sync would do; it sends nothing.",
      link(home, "To the directory"),
    ),
  });
  return [
    filters([...home, kind], query, given => ({
      text: textField({ text: "Name or DN", value: given.text }),
      state: choice({ text: "State", value: given.state ?? "", choices: STATES }),
    })),
    div({ class: "card" }, found.node),
  ];
};

const truth = value => (value === null ? badge("plain", "not told") : value ? badge("green", "yes") : badge("red", "no"));

const filterParts = parts =>
  parts.length
    ? ul(
        ...parts.map(part =>
          li(
            truth(part.matches),
            " ",
            code(part.filter),
            part.has ? span({ class: "small" }, " has: ", part.has) : [],
            filterParts(part.parts),
          ),
        ),
      )
    : [];

const scope = one =>
  card(
    "Is it in scope?",
    p(truth(one.inScope), " ", one.message),
    ...one.clauses.map(clause =>
      div(
        p(
          truth(clause.passes),
          " ",
          strong(clause.clause),
          " ",
          code(clause.text),
          clause.reason ? span(": ", clause.reason) : [],
        ),
        filterParts(clause.parts),
      ),
    ),
  );

/// A resource as it would be sent, or why it cannot be.
export const mapped = preview =>
  div(
    facts([
      ["Kind", preview.kind],
      ["DN", preview.dn],
      ["Anchor", preview.anchor],
      ["Members named", preview.membersNamed],
      ["Manager named", preview.managerNamed],
    ]),
    preview.problems.length ? notice("red", p("It cannot be sent:"), ul(...preview.problems.map(problem => li(problem)))) : [],
    preview.resource
      ? pre({ tabindex: 0, "aria-label": "The resource as it would be sent" }, JSON.stringify(preview.resource, null, 2))
      : [],
  );

const target = one =>
  card(
    "What does the target have?",
    p(one.message),
    one.lastError ? notice("red", p("Last error: ", one.lastError)) : [],
    facts([
      ["Linked to", one.linked?.id],
      ["Active, as acknowledged", one.linked ? String(one.linked.active) : null],
      ["Active now", one.active === null ? null : String(one.active)],
      ["Last changed", one.lastChangedAt ? at(one.lastChangedAt) : null],
      ["May belong to", one.matched ? `${one.matched.name ?? one.matched.id}, by ${one.matched.matchedBy}` : null],
    ]),
    one.differences.length
      ? grid(
          "Differences at the target",
          ["Attribute", "The target has", "It shall be"],
          one.differences.map(difference =>
            tr(td({ class: "code" }, difference.attribute), td(show(difference.found)), td(show(difference.expected))),
          ),
        )
      : [],
    one.linked
      ? details(
          summary("Attributes as they were acknowledged"),
          pre({ tabindex: 0 }, JSON.stringify(one.linked.attributes, null, 2)),
        )
      : [],
  );

const members = one =>
  card(
    "Its members",
    p(`${one.named} named, ${one.linked} with an account at the target, ${one.leftOut} left out.`),
    one.firstLeftOut.length ? ul(...one.firstLeftOut.map(out => li(code(out.name), ": ", out.reason))) : [],
  );

const next = one =>
  card(
    "What does the next run do?",
    p(strong(one.message)),
    one.problem ? notice("red", p(one.problem)) : [],
    one.waits.length ? ul(...one.waits.map(text => li(text))) : [],
    ...one.steps.map(step =>
      div(
        p(`${word(OPERATION, step.operation)}: ${word(REASON, step.reason)}. ${step.message}`),
        step.attributes.length ? attributeTable(step.attributes) : [],
      ),
    ),
  );

const explanation = one =>
  div(
    { class: "stack" },
    notice(one.next.problem ? "red" : one.found ? "green" : "yellow", p(strong(one.summary))),
    card(
      "The entry",
      one.entry
        ? facts([
            ["DN", one.entry.dn],
            ["Anchor", one.entry.anchor],
            ["Kind", one.entry.kind],
            ["Profile", one.profile],
            ["Account", one.account?.message],
          ])
        : [],
      one.absence ? div(p(one.absence.message), ul(...one.absence.candidates.map(dn => li(code(dn))))) : [],
      one.alsoCalledSo.length ? div(p("Also called so, and not in scope:"), ul(...one.alsoCalledSo.map(dn => li(code(dn))))) : [],
    ),
    next(one.next),
    one.scope ? scope(one.scope) : [],
    one.mapped ? card("As it would be sent", mapped(one.mapped)) : [],
    target(one.target),
    one.members ? members(one.members) : [],
  );

/// The tab that explains one entry.
export const explain = async ({ tenant, id, query }) => {
  const home = [tenant, "directories", id];
  let wrong = null;
  let result = null;
  if (query.entry) {
    try {
      result = await post(`/directories/${id}/explain`, { entry: query.entry });
    } catch (error) {
      wrong = error;
    }
  }
  const field = textField({
    text: "One user or group",
    value: query.entry,
    hint: "Its user name, DN or anchor. Nothing is changed.",
    required: true,
  });
  const ask = event => {
    event.preventDefault();
    go([...home, "explain"], { entry: field.value() });
  };
  const syncOne = async () => {
    const sure = await confirm({
      title: "Sync this one now?",
      done: "Sync it",
      text: ["It is read again, and what differs is sent to the target at once.", result?.next.message ?? ""],
    });
    if (sure) await start(home, id, { profile: result?.profile, mode: "full", only: query.entry });
  };
  return [
    form(
      { class: "card", onsubmit: ask },
      field.node,
      p(
        div(
          { class: "actions" },
          button({ class: "first" }, "Explain"),
          query.entry && may("directory:write") ? action("Sync this one now", syncOne) : [],
        ),
      ),
    ),
    wrong ? trouble(wrong) : div(),
    result ? explanation(result) : div(),
  ];
};
