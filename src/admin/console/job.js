// One job: how far it is, what it planned and changed attribute by attribute, what went wrong, and what can be done about it.

import van from "./van.js";
import { all, get, may, post, watch } from "./api.js";
import { download } from "./download.js";
import {
  CHANGED,
  FAULT,
  MODE,
  NOTED,
  OPERATION,
  PHASE,
  REASON,
  STATUS,
  STEPS,
  TRIGGER,
  VERDICT,
  changeCount,
  changes,
  count,
  counted,
  duration,
  rung,
  word,
} from "./words.js";
import {
  a,
  action,
  at,
  attributeTable,
  badge,
  card,
  choice,
  code,
  confirm,
  details,
  div,
  empty,
  facts,
  filters,
  go,
  h1,
  li,
  link,
  list,
  live,
  nav,
  notice,
  p,
  place,
  progress,
  reload,
  say,
  span,
  strong,
  summary,
  td,
  textField,
  tick,
  tr,
  ul,
} from "./ui.js";

/// Errors that are read to be grouped, and objects that a group names.
const ERRORS_READ = 1000,
  OBJECTS_NAMED = 50;

const isOver = job => !["queued", "running"].includes(job.status);
const statusBadge = job => {
  const [colour, words] = STATUS[job.status] ?? ["plain", job.status];
  return badge(colour, words);
};

/// A row of a list of jobs.
export const jobRow = home => job =>
  tr(
    td({ class: "short" }, link([...home, "jobs", job.id], at(job.startedAt ?? job.queuedAt))),
    td(statusBadge(job)),
    td(
      word(MODE, job.mode),
      job.only ? div({ class: "small quiet" }, job.only) : [],
      div({ class: "small quiet" }, word(TRIGGER, job.trigger), `, ${job.profile}`),
    ),
    td(changes(job)),
    td({ class: "number" }, count(job.errorCount)),
    td(
      { class: "short" },
      job.completedAt && job.startedAt ? duration(job.startedAt, job.completedAt) : span({ class: "quiet" }, "not yet"),
    ),
  );

export const JOB_HEADS = ["Started", "Status", "Kind", "Changed", "#Errors", "Took"];

const running = job => {
  const { phase, usersRead, groupsRead, stepsPlanned, stepsDone } = job.progress;
  const bar =
    phase === "applying" && stepsPlanned > 0
      ? progress({ max: stepsPlanned, value: stepsDone, "aria-label": "Steps done" })
      : progress({ "aria-label": "At work" });
  return div(
    p(strong(word(PHASE, phase) || "Waits for its turn")),
    bar,
    p(
      { class: "quiet" },
      `${counted(usersRead, "user")} and ${counted(groupsRead, "group")} read, ${count(stepsDone)} of ${counted(stepsPlanned, "step")} done`,
    ),
  );
};

/// Starts a job and leads to it; where one of that profile runs already, it leads to that one.
export const start = async (home, id, body) => {
  try {
    const { jobId } = await post(`/directories/${id}/sync`, body);
    go([...home, "jobs", jobId]);
  } catch (error) {
    if (!error.jobId) throw error;
    say("A job of this profile runs already; this is it.");
    go([...home, "jobs", error.jobId]);
  }
};

const counters = (job, table) => table.filter(([field]) => job[field]).map(([field, name]) => [name, count(job[field])]);
const sentence = text => text.charAt(0).toUpperCase() + text.slice(1);

/// What a job is and did; drawn again while it runs.
const state = home => job =>
  div(
    { class: "stack" },
    isOver(job) ? [] : card("Progress", running(job)),
    ...(job.status === "awaiting_approval" ? [] : job.holds.map(text => notice("yellow", p(sentence(text))))),
    job.suspicious
      ? notice(
          "yellow",
          p(
            "The reason of a removal did not hold any more when it was looked at, so the removal was left out. Look at the directory before the next run.",
          ),
        )
      : [],
    ...job.warnings.map(text => notice("yellow", p(text))),
    ...job.errors
      .filter(error => error.kind === "job")
      .map(error => notice("red", p(strong("The job stopped: "), error.detail), p(word(FAULT, error.fault)))),
    job.decision
      ? notice("plain", p(`The plan was ${word(VERDICT, job.decision.verdict)} (${job.decision.by}, `, at(job.decision.at), ")."))
      : [],
    div(
      { class: "cards" },
      card(
        job.mode === "preview" ? "It would change" : "It changed",
        changeCount(job) ? facts(counters(job, CHANGED)) : p({ class: "quiet" }, "Nothing."),
        counters(job, NOTED).length ? div(p({ class: "quiet" }, "Found, and left alone:"), facts(counters(job, NOTED))) : [],
      ),
      card(
        "About it",
        facts([
          ["Kind", word(MODE, job.mode) + (job.repair ? "" : ", report only")],
          ["Set off", word(TRIGGER, job.trigger)],
          ["Profile", job.profile],
          ["About", job.only],
          ["Undoes", job.undoes ? link([...home, "jobs", job.undoes], "an earlier job") : null],
          ["Started", at(job.startedAt)],
          ["Ended", job.completedAt ? at(job.completedAt) : null],
          ["Took", job.startedAt && job.completedAt ? duration(job.startedAt, job.completedAt) : null],
          [
            "Requests to the target",
            isOver(job) ? `${count(job.requests.read)} reads, ${count(job.requests.write)} writes` : null,
          ],
          ["Directory server", job.directoryServer],
          ["Changes noticed by", job.changeDetection ? rung(job.changeDetection) : null],
          [
            "Read proved complete",
            job.completeRead === null ? null : job.completeRead ? "yes" : "no: absence removes nothing in this run",
          ],
        ]),
      ),
    ),
  );

const causeOf = error => [error.fault, error.operation, error.status ?? "", error.scimType ?? ""].join(" ");

/// Errors grouped by their cause, each with its cure.
const errorGroups = (home, { items, complete }) => {
  const groups = Map.groupBy(items, item => causeOf(item.error));
  const sorted = [...groups.values()].sort((one, other) => other.length - one.length);
  return card(
    "What went wrong",
    complete
      ? []
      : p({ class: "quiet" }, `The first ${count(items.length)} errors, by cause; all of them are among the changes below.`),
    ...sorted.map(group => {
      const { error } = group[0];
      const answered = error.status ? `, answered ${error.status}${error.scimType ? ` (${error.scimType})` : ""}` : "";
      return notice(
        "red",
        p(strong(`${word(OPERATION, error.operation)}${answered}: ${counted(group.length, "object")}`)),
        p(error.detail),
        p(`${word(FAULT, error.fault)}.`),
        details(
          summary("Which objects"),
          ul(
            ...group
              .slice(0, OBJECTS_NAMED)
              .map(item =>
                li(
                  item.dn ? link([...home, "explain"], item.dn, { entry: item.dn }) : span(item.anchor ?? "the job"),
                  item.error.detail === error.detail ? [] : `: ${item.error.detail}`,
                ),
              ),
          ),
          group.length > OBJECTS_NAMED ? p(`and ${count(group.length - OBJECTS_NAMED)} more`) : [],
        ),
      );
    }),
  );
};

const what = item => {
  const members = item.members.length
    ? details(
        summary(counted(item.members.length, "member")),
        ul(...item.members.slice(0, 200).map(member => li(code(member)))),
        item.members.length > 200 ? p(`and ${count(item.members.length - 200)} more`) : [],
      )
    : [];
  if (item.attributes.length === 1) return div(attributeTable(item.attributes), members);
  return div(
    item.attributes.length
      ? details(
          { open: item.attributes.length < 4 },
          summary(counted(item.attributes.length, "attribute")),
          attributeTable(item.attributes),
        )
      : [],
    members,
  );
};

const stepRow = home => step =>
  tr(
    td(
      word(OPERATION, step.operation),
      step.held ? div(badge("yellow", step.forApproval ? "waits for approval" : "waits for a complete read")) : [],
    ),
    td({ class: "who" }, link([...home, "explain"], step.dn, { entry: step.dn })),
    td(word(REASON, step.reason)),
    td(what(step)),
  );

const changeRow = home => change =>
  tr(
    td({ class: "short" }, at(change.at)),
    td(word(OPERATION, change.operation)),
    td(
      { class: "who" },
      change.dn ? link([...home, "explain"], change.dn, { entry: change.dn }) : span(change.anchor ?? "the job"),
    ),
    td(change.reason ? word(REASON, change.reason) : ""),
    td(
      change.error ? div({ class: "notice red" }, change.error.detail) : [],
      what(change),
      change.foreignMemberCount ? div(`${count(change.foreignMemberCount)} members that the relay did not put there`) : [],
    ),
  );

const operations = words => [["", "Any"], ...words.map(operation => [operation, OPERATION[operation]])];

const planOf = async (path, signal) => {
  try {
    return await get(`${path}/plan`, {}, signal);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
};

const perOperation = table =>
  ul(
    ...Object.entries(table)
      .filter(([, number]) => number)
      .map(([operation, number]) => li(`${word(OPERATION, operation)}: ${count(number)}`)),
  );

/// What waits for a person, and the two ways to decide.
const waiting = (path, plan) => {
  const approve = async () => {
    const sure = await confirm({
      title: "Approve this plan?",
      text: [
        "Exactly these changes are sent, and nothing else. Objects that have changed since are left out and reported.",
        perOperation(plan.operationsHeld),
        p({ class: "quiet small" }, "Digest ", code(plan.digest)),
      ],
      done: `Approve ${counted(plan.stepsForApproval, "change")}`,
      danger: true,
    });
    if (!sure) return;
    await post(`${path}/approve`, { digest: plan.digest });
    reload();
  };
  const reject = async () => {
    const sure = await confirm({
      title: "Reject this plan?",
      text: "Nothing of it is sent, and it is not planned again until the directory has something new for these users and groups, or somebody releases them under “Held”.",
      done: "Reject",
      danger: true,
    });
    if (!sure) return;
    await post(`${path}/reject`, { digest: plan.digest });
    reload();
  };
  return notice(
    "yellow",
    p(
      strong(`${counted(plan.stepsForApproval, "change waits", "changes wait")} for your approval.`),
      plan.steps > plan.stepsHeld ? " Everything else in the plan goes its way." : " Nothing of the plan is sent before.",
    ),
    ...plan.holds.map(hold => p(sentence(hold.message))),
    perOperation(plan.operationsHeld),
    plan.expiresAt ? p("Without a decision the plan expires ", at(plan.expiresAt), ".") : [],
    may("directory:write")
      ? div({ class: "actions" }, action("Approve", approve, { kind: "first" }), action("Reject", reject, { kind: "danger" }))
      : p("Your token does not permit to decide."),
  );
};

const undo = (home, path, job) => async () => {
  const deed = van.state("Preview the undo");
  const only = tick({
    text: "Only show what would be put back",
    value: true,
    hint: "A preview: nothing is sent.",
    onchange: checked => {
      deed.val = checked ? "Preview the undo" : "Undo it now";
    },
  });
  const sure = await confirm({
    title: "Undo this job?",
    text: [
      `What it changed is put back, ${changes(job)}, and is not planned again until the directory has something new. Accounts that it created are deactivated, not deleted.`,
      only.node,
    ],
    done: () => deed.val,
    danger: true,
  });
  if (!sure) return;
  const { jobId } = await post(`${path}/undo`, { preview: only.value() });
  go([...home, "jobs", jobId]);
};

const cancel = path => async () => {
  const sure = await confirm({
    title: "Cancel this job?",
    done: "Cancel the job",
    danger: true,
    text: "What has been sent stays. What has not been sent is planned again by the next run.",
  });
  if (sure) await post(`${path}/cancel`);
};

const buttons = (home, path, job, view, signal) =>
  div(
    { class: "actions" },
    !isOver(job) && may("directory:write") ? action("Cancel", cancel(path), { kind: "danger" }) : [],
    isOver(job) && may("directory:write") && job.mode !== "preview" && changeCount(job) > 0
      ? action("Undo …", undo(home, path, job))
      : [],
    isOver(job) ? download(path, view === "plan" ? "plan/steps" : "changes", `${view}-${job.id}`, signal) : [],
  );

export const job = async ({ tenant, parts, query, signal }) => {
  const [, , id, , jobId] = parts;
  const home = [tenant, "directories", id];
  const path = `/directories/${id}/jobs/${jobId}`;
  const [directory, first, plan] = await Promise.all([
    get(`/directories/${id}`, {}, signal),
    get(path, {}, signal),
    planOf(path, signal),
  ]);
  const errors =
    first.errorCount > 0 && isOver(first)
      ? await all(`${path}/changes`, { errors: true }, { most: ERRORS_READ, signal })
      : { items: [] };
  const objects = { ...errors, items: errors.items.filter(item => item.error.kind !== "job") };
  const part = live(first, state(home));
  const mark = live(first.status, () => statusBadge(part.value));
  if (!isOver(first)) {
    watch(id, jobId, signal, now => {
      part.set(now);
      mark.set(now.status);
      if (isOver(now) && !signal.aborted) {
        say("The job has ended");
        reload();
      }
    });
  }
  const title = first.undoes ? "Undoing job" : `${word(MODE, first.mode)} job`;
  const { view: wanted, errors: withErrors, ...asked } = query;
  const view =
    plan && (wanted ?? (first.mode === "preview" || plan.waiting ? "plan" : "changes")) === "plan" ? "plan" : "changes";
  const steps = () =>
    list({
      name: "Steps of the plan",
      path: `${path}/plan/steps`,
      query: asked,
      signal,
      row: stepRow(home),
      heads: ["Step", "Who", "Why", "What"],
      nothing: empty(plan.steps ? "No step fits." : "Nothing to do: the target is as the directory wants it."),
    }).node;
  const sent = () => {
    const found = list({
      name: "Changes",
      path: `${path}/changes`,
      query: { ...asked, errors: withErrors },
      signal,
      row: changeRow(home),
      heads: ["When", "Change", "Who", "Why", "What"],
      nothing: empty(isOver(first) ? "Nothing was sent, and nothing went wrong." : "Nothing has been sent yet."),
    });
    return div(isOver(first) ? [] : p(action("Show what was sent so far", found.load)), found.node);
  };
  const views = nav(
    { class: "tabs", "aria-label": "What to show" },
    ...[
      ["changes", "What was sent"],
      ["plan", "What was planned"],
    ].map(([key, words]) =>
      a({ href: place([...home, "jobs", jobId], { view: key }), ...(key === view ? { "aria-current": "page" } : {}) }, words),
    ),
  );
  return {
    title: `${title}, ${directory.name}`,
    heading: div(
      { class: "stack" },
      p(
        { class: "trail" },
        link([tenant], "Dashboard"),
        " / ",
        link(home, directory.name),
        " / ",
        link([...home, "jobs"], "Jobs"),
      ),
      div({ class: "title" }, h1(title), mark.node, buttons(home, path, first, view, signal)),
    ),
    node: [
      plan?.waiting && first.status === "awaiting_approval" ? waiting(path, plan) : div(),
      part.node,
      objects.items.length ? errorGroups(home, objects) : div(),
      card(
        view === "plan" ? "The plan" : "Changes",
        plan ? views : [],
        plan && view === "plan"
          ? p(
              `${counted(plan.steps, "step")}, ${count(plan.stepsHeld)} held. `,
              span({ class: "quiet small" }, "Digest ", code(plan.digest)),
            )
          : [],
        filters([...home, "jobs", jobId], query, given => ({
          operation: choice({
            text: "Change",
            value: given.operation ?? "",
            choices: operations(view === "plan" ? STEPS : Object.keys(OPERATION)),
          }),
          text: textField({ text: "Name or DN", value: given.text }),
          ...(view === "plan"
            ? {}
            : {
                errors: choice({
                  text: "Errors",
                  value: given.errors ?? "",
                  choices: [
                    ["", "With and without"],
                    ["true", "Only errors"],
                    ["false", "Without errors"],
                  ],
                }),
              }),
        })),
        view === "plan" ? steps() : sent(),
      ),
    ],
  };
};
