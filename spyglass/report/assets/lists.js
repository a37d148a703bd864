// The tables of threads, processors and problems.

const orDash = (value) => (value === null ? "—" : String(value));
const orLow = (value) => (value === null ? -1 : value);
const numberColumn = (title, field, options = {}) => ({
  title,
  numeric: true,
  cell: (row) => orDash(row[field]),
  order: (row) => orLow(row[field]),
  ...options,
});
const textColumn = (title, field, options = {}) => ({
  title,
  cell: (row) => breakable(row[field] ?? "—"),
  order: (row) => row[field] ?? "",
  ...options,
});

function showLists(report) {
  new Table(byId("thread-table"), {
    caption: "Threads of the process",
    columns: [
      numberColumn("Thread", "tid", { header: true }),
      textColumn("Name", "name", { wide: true }),
      textColumn("State", "os_state"),
      numberColumn("M", "m"),
      numberColumn("P", "p"),
      numberColumn("Goroutine", "goroutine"),
      numberColumn("Locked goroutine", "locked_goroutine", { wide: true }),
      {
        title: "Spinning",
        wide: true,
        cell: (row) => (row.spinning ? "yes" : "no"),
        order: (row) => Number(row.spinning),
      },
    ],
    empty: "No threads are known.",
  }).show(report.threads);
  new Table(byId("processor-table"), {
    caption: "Processors (Ps) of the scheduler",
    columns: [
      numberColumn("P", "id", { header: true }),
      textColumn("Status", "status"),
      numberColumn("Run queue", "run_queue"),
      numberColumn("M", "m"),
      numberColumn("Thread", "tid"),
      numberColumn("Schedtick", "schedtick", { wide: true }),
      numberColumn("Syscalltick", "syscalltick", { wide: true }),
    ],
    empty: "No processors are known.",
  }).show(report.processors);
  new Table(byId("problem-table"), {
    caption: problemsCaption(report),
    columns: [
      textColumn("About", "subject", { header: true }),
      textColumn("Kind", "kind"),
      textColumn("Detail", "detail"),
    ],
    empty: "None.",
  }).show(report.problems);
}

function problemsCaption({ problems, problemCount }) {
  const kept = problems.length < problemCount ? `The first ${countText(problems.length)} of ` : "";
  return `${kept}${countedText(problemCount, "problem")}`;
}
