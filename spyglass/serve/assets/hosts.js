// The list of the Go processes of the host.

const SEVERITIES = ["critical", "warning", "info"];

const severityRank = (row) => {
  const { severities } = row.overview ?? {};
  if (!severities) return -1;
  return SEVERITIES.reduce((rank, name) => 1000 * rank + Math.min(999, severities[name] ?? 0), 0);
};

const HOST_COLUMNS = [
  {
    title: "Program",
    header: true,
    cell: (row) => element("span", { class: "place" },
      element("a", { href: `#/${row.pid}`, "data-key": `process-${row.pid}`, class: "breakable" }, row.name),
      element("span", { class: "muted breakable" }, [`pid ${row.pid}`, row.container].filter(Boolean).join(" · ")),
      element("span", { class: "muted narrow-only" }, numbersText(row)),
    ),
    order: (row) => row.name,
  },
  { title: "Findings", cell: (row) => findingsCell(row), order: severityRank },
  {
    title: "Goroutines",
    numeric: true,
    wide: true,
    cell: ({ overview }) => (overview?.goroutines == null ? "—" : populationText(overview.goroutines, 0)),
    order: ({ overview }) => overview?.goroutines ?? -1,
  },
  {
    title: "CPU",
    numeric: true,
    wide: true,
    cell: (row) => (row.cpu_cores === null ? "—" : coresText(row.cpu_cores)),
    order: (row) => row.cpu_cores ?? -1,
  },
  { title: "Memory", numeric: true, wide: true, cell: (row) => sizeText(row.rss_bytes), order: (row) => row.rss_bytes },
  { title: "Threads", numeric: true, wide: true, cell: (row) => countText(row.threads), order: (row) => row.threads },
  {
    title: "Up",
    numeric: true,
    wide: true,
    cell: (row) => durationText(row.age_seconds * SECOND_NS),
    order: (row) => row.age_seconds,
  },
  { title: "Go", wide: true, roomy: true, cell: (row) => row.go_version ?? "—", order: (row) => row.go_version ?? "" },
  { title: "User", wide: true, roomy: true, cell: (row) => breakable(row.user), order: (row) => row.user },
];

/** The main numbers, for a narrow screen. */
const numbersText = ({ overview, cpu_cores: cores, rss_bytes: bytes }) =>
  [
    overview?.goroutines == null ? null : goroutinesText(overview.goroutines),
    cores === null ? null : `CPU ${coresText(cores)}`,
    sizeText(bytes),
  ]
    .filter(Boolean)
    .join(", ");

/** Processors that are used: "1.25". */
const coresText = (cores) => cores.toFixed(2);

/** How many findings there are, and the first of them. */
function findingsCell({ overview }) {
  if (!overview) return element("span", { class: "muted" }, "not read yet");
  if (overview.refused) return element("span", { class: "muted breakable" }, overview.refused);
  const counted = SEVERITIES.filter((name) => overview.severities[name]);
  if (!counted.length) return element("span", { class: "muted" }, "nothing unusual");
  return element(
    "span",
    { class: "place" },
    element("span", {}, ...counted.flatMap((name) => [severityMark(name, overview.severities[name]), " "])),
    element("span", { class: "muted breakable wide-only" }, overview.first + agoText(overview.age_seconds)),
  );
}

const severityMark = (name, number) =>
  element("strong", { class: `severity is-${name}` }, `${countText(number)} ${name}`);

const processesText = (number, of = "") => `${countText(number)} ${of}process${number === 1 ? "" : "es"}`;

/** When it was read, if that is long ago. */
const agoText = (seconds) => (seconds < 60 ? "" : ` (${durationText(seconds * SECOND_NS)} ago)`);

class HostsView {
  constructor(host) {
    this.count = element("p", { class: "muted" }, "Looking for Go processes…");
    this.place = element("div", {});
    host.replaceChildren(this.count, element("div", { class: "card hosts" }, this.place));
    this.table = new Table(this.place, {
      caption: "Go processes of this host",
      columns: HOST_COLUMNS,
      sortedBy: 1,
      descending: true,
      empty: "No Go process was found.",
    });
  }

  take({ processes, unreadable }) {
    if (!processes) return;
    const rest = unreadable ? `; ${processesText(unreadable)} could not be looked at` : "";
    this.count.textContent = processesText(processes.length, "Go ") + rest;
    this.table.update(processes);
  }
}
