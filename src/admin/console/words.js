// The API's words as people read them, and numbers, times and values as text.

export const STATUS = {
  queued: ["plain", "Waiting for its turn"],
  running: ["plain", "Running"],
  awaiting_approval: ["yellow", "Waits for approval"],
  completed: ["green", "Completed"],
  completed_with_errors: ["yellow", "Completed with errors"],
  failed: ["red", "Failed"],
  cancelled: ["plain", "Cancelled"],
  interrupted: ["plain", "Interrupted"],
};

export const HEALTH = { green: "Healthy", yellow: "Needs a look", red: "Broken" };

export const MODE = {
  full: "Full",
  incremental: "Incremental",
  reconcile: "Reconcile with the target",
  preview: "Preview",
};

export const TRIGGER = {
  manual: "by hand",
  schedule: "by schedule",
  resume: "after a restart",
  feed: "by the directory's change feed",
  urgent: "because somebody leaves",
};

export const PHASE = {
  reading: "Reading the directory",
  observing: "Reading the target",
  planning: "Working out what changed",
  applying: "Sending changes",
  done: "Done",
};

export const OPERATION = {
  create_user: "Create user",
  update: "Update",
  deactivate: "Deactivate",
  reactivate: "Reactivate",
  link: "Link",
  group: "Create or change group",
  add_members: "Add members",
  remove_members: "Remove members",
  delete: "Delete",
  set_manager: "Set manager",
  drift: "Differs at the target",
};

/// What a plan has steps of; a job's changes have more.
export const STEPS = Object.keys(OPERATION).filter(operation => operation !== "drift");

export const VERDICT = {
  approved: "approved",
  rejected: "rejected",
  expired: "given up, because nobody decided in time",
  withdrawn: "withdrawn, because nothing of it differs any more",
};

export const REASON = {
  new: "new in the directory",
  changed: "changed",
  disabled: "disabled or expired in the directory",
  absent: "gone from the directory, or out of scope",
  back: "back in the directory",
  membership: "membership changed",
  external_id_matches: "the target has it under this anchor",
  name_matches: "the target has the same name",
  email_matches: "the target has the same e-mail address",
  recovered: "found again after an interruption",
  accepted: "a person accepted the link",
  undone: "undoes an earlier job",
  gone: "gone at the target",
};

export const FAULT = {
  transient: "The server did not answer well; it is tried again by itself",
  throttled: "The target asked for a slower pace; it is tried again by itself",
  drifted: "The target changed meanwhile; the next run looks again",
  rejected:
    "The target or the mapping refuses this record: correct its data in the directory, or the mapping in the settings; the next run tries it again",
  denied: "Credentials, rights, TLS or an address are wrong, which an administrator must correct",
  defect: "A defect of scim-relay; please report it with the log",
};

export const STATE = {
  linked: ["green", "Linked"],
  pending: ["plain", "Not yet sent"],
  disabled: ["plain", "Disabled, not created"],
  proposed: ["yellow", "Link proposed"],
  refused: ["plain", "Link refused"],
  taken: ["red", "Taken by another"],
  protected: ["plain", "Protected"],
  leaving: ["yellow", "Leaving"],
  absent: ["plain", "Gone"],
};

export const PROPOSAL = { pending: "Waits for you", accepted: "Accepted", refused: "Refused", impossible: "Cannot be linked" };
export const CONFLICT = { open: "Waits for you", directory: "Directory's value taken", local: "Target's value kept" };
export const HELD = { waiting: "Waits for approval", rejected: "Rejected", undone: "Undone" };
export const STAGE = {
  network: "Reach the server",
  tls: "Secure the connection (TLS)",
  authentication: "Sign in (bind)",
  base_dn: "Find the search bases",
  permission: "Read users and groups",
  filter: "Apply the filters",
};

const RUNG = {
  syncrepl: "content synchronization (RFC 4533)",
  dirsync: "DirSync",
  usn_changed: "uSNChanged",
  modify_timestamp: "modifyTimestamp",
  full_scan: "full scan",
  one_entry: "one entry",
};

/// A word of a table, or the word itself where the table does not have it.
export const word = (table, key) => table[key] ?? String(key ?? "").replaceAll("_", " ");

/// How changes were noticed.
export const rung = detection => `${word(RUNG, detection.rung)}${detection.reason ? `: ${detection.reason}` : ""}`;

const numbers = new Intl.NumberFormat();
export const count = number => numbers.format(number ?? 0);

/// A number with its noun.
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/// Any value of the API as text: what comes from a directory is never more than that.
export const show = value => {
  if (value === null || value === undefined) return "none";
  return typeof value === "string" ? value : typeof value === "object" ? JSON.stringify(value, null, 1) : String(value);
};

/// How long something took.
export const duration = (from, to) => {
  const seconds = Math.max(0, (new Date(to) - new Date(from)) / 1000);
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
};

const CHANGES = [
  ["usersCreated", "created"],
  ["usersUpdated", "updated"],
  ["usersDeactivated", "deactivated"],
  ["usersReactivated", "reactivated"],
  ["linked", "linked"],
  ["groupsCreated", "created", "group"],
  ["groupsUpdated", "updated", "group"],
  ["groupsDeleted", "deleted", "group"],
  ["membersAdded", "added", "member"],
  ["membersRemoved", "removed", "member"],
];

/// What a job changed, one by one.
export const CHANGED = [
  ["usersCreated", "Users created"],
  ["usersUpdated", "Users updated"],
  ["usersDeactivated", "Users deactivated"],
  ["usersReactivated", "Users reactivated"],
  ["linked", "Linked"],
  ["groupsCreated", "Groups created"],
  ["groupsUpdated", "Groups updated"],
  ["groupsDeleted", "Groups deleted"],
  ["membersAdded", "Members added"],
  ["membersRemoved", "Members removed"],
];

/// What it found besides, and left alone.
export const NOTED = [
  ["membersLeftOut", "Members who have no account"],
  ["managersLeftOut", "Managers who have no account"],
  ["skipped", "Changes that wait or were left out"],
  ["drifted", "Different at the target"],
  ["conflicts", "Conflicts"],
];

/// The first sentence of a longer text, and the rest.
export const firstSentence = text => {
  const end = text.search(/[.;:] /);
  return text.length < 120 || end < 0 ? [text, ""] : [text.slice(0, end), text.slice(end + 2)];
};

/// What a job changed, in one line.
export const changes = job => {
  const some = CHANGES.filter(([field]) => job[field] > 0).map(([field, what, noun]) =>
    noun ? `${counted(job[field], noun)} ${what}` : `${count(job[field])} ${what}`,
  );
  return some.length ? some.join(", ") : "nothing";
};

/// How many changes a job made.
export const changeCount = job => CHANGES.reduce((sum, [field]) => sum + (job[field] ?? 0), 0);
