// A chart of recent runs: how many changes and errors each had, over time.

import van from "./van.js";
import { changeCount, count } from "./words.js";
import { a, at, details, div, grid, p, place, span, summary, td, tr } from "./ui.js";

const { svg, g, rect, line, text, title } = van.tags("http://www.w3.org/2000/svg");

const WIDTH = 900,
  HEIGHT = 160,
  LEFT = 44,
  BELOW = 22,
  ABOVE = 8;

/// The first load has a thousand times the changes of a usual day: powers of ten, so that both can be seen.
const scaled = (number, most) => (number ? Math.log10(1 + number) / Math.log10(1 + most) : 0);

/// Jobs, newest first, each with `directoryName`.
export const chart = (tenant, jobs) => {
  const runs = jobs
    .filter(job => job.startedAt && job.mode !== "preview")
    .slice(0, 60)
    .reverse();
  if (!runs.length) return p({ class: "quiet" }, "No run so far.");
  const most = Math.max(10, ...runs.map(job => Math.max(changeCount(job), job.errorCount)));
  const room = HEIGHT - BELOW - ABOVE;
  const step = (WIDTH - LEFT) / Math.max(runs.length, 12);
  const width = Math.max(2, Math.min(20, step / 2 - 2));
  const bar = (kind, x, number) => {
    const height = scaled(number, most) * room;
    return rect({ class: kind, x, y: ABOVE + room - height, width, height });
  };
  const bars = runs.map((job, index) => {
    const x = LEFT + index * step;
    const words = `${job.directoryName}, ${new Date(job.startedAt).toLocaleString()}: ${count(changeCount(job))} changes, ${count(job.errorCount)} errors`;
    return g(title(words), bar("change", x, changeCount(job)), bar("error", x + width + 1, job.errorCount));
  });
  const marks = [];
  for (let value = 1; value <= most; value *= 10) {
    const y = ABOVE + room - scaled(value, most) * room;
    marks.push(line({ class: "axis", x1: LEFT, x2: WIDTH, y1: y, y2: y }), text({ x: 0, y: y + 4 }, count(value)));
  }
  const when = job =>
    new Date(job.startedAt).toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const times = [text({ x: LEFT, y: HEIGHT - 6 }, when(runs[0]))];
  if (runs.length > 6)
    times.push(text({ x: Math.min(WIDTH, LEFT + runs.length * step), y: HEIGHT - 6, "text-anchor": "end" }, when(runs.at(-1))));
  return div(
    div(
      { class: "legend small" },
      span("Changes"),
      span({ class: "errors" }, "Errors"),
      p({ class: "quiet" }, "one pair for each run, oldest first; each line is ten times the one below"),
    ),
    div(
      { class: "scroll", tabindex: 0, role: "group", "aria-label": "Chart" },
      svg(
        {
          class: "chart",
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          role: "img",
          "aria-label": `Changes and errors of the last ${runs.length} runs; the table below has the numbers`,
        },
        ...marks,
        line({ class: "axis", x1: LEFT, x2: WIDTH, y1: ABOVE + room, y2: ABOVE + room }),
        ...bars,
        ...times,
      ),
    ),
    details(
      summary("The same as a table"),
      grid(
        "Recent runs",
        ["Started", "Directory", "#Changes", "#Errors"],
        runs
          .toReversed()
          .map(job =>
            tr(
              td(
                { class: "short" },
                a({ href: place([tenant, "directories", job.directoryId, "jobs", job.id]) }, at(job.startedAt)),
              ),
              td(job.directoryName),
              td({ class: "number" }, count(changeCount(job))),
              td({ class: "number" }, count(job.errorCount)),
            ),
          ),
      ),
    ),
  );
};
