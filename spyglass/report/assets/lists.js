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

/** Processor time of threads: in the window before the snapshot, in percent of a processor, and in all. */
function cpuColumns({ threads, cpuWindowNs }) {
  const columns = [];
  if (cpuWindowNs && threads.some((row) => row.recent_cpu_ns !== null)) {
    columns.push({
      title: "CPU now",
      numeric: true,
      cell: (row) =>
        row.recent_cpu_ns === null ? "—" : shareText(row.recent_cpu_ns, cpuWindowNs),
      order: (row) => orLow(row.recent_cpu_ns),
    });
  }
  if (threads.some((row) => row.cpu_ns !== null)) {
    columns.push({
      title: "CPU time",
      numeric: true,
      wide: true,
      cell: (row) => (row.cpu_ns === null ? "—" : durationText(row.cpu_ns)),
      order: (row) => orLow(row.cpu_ns),
    });
  }
  return columns;
}

function showLists(report) {
  const cpu = cpuColumns(report);
  new Table(byId("thread-table"), {
    caption: "Threads of the process",
    sortedBy: cpu.length ? 1 : 0,
    descending: cpu.length > 0,
    columns: [
      numberColumn("Thread", "tid", { header: true }),
      ...cpu,
      textColumn("Name", "name", { wide: true }),
      textColumn("State", "os_state", { cell: (row) => row.os_state ?? "—" }),
      numberColumn("M", "m", { wide: true }),
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
