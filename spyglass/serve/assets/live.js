// One process live: its figures with their history, its findings, and its largest groups.

const GROUPS_SHOWN = 20;
const LIVE_GROUPINGS = ["function", "stack", "creator", "state"];

/** The tiles: name of the figure, title, its text, and a remark. */
const TILES = [
  ["goroutines", "Goroutines", (line) => countText(line.goroutines), (line) => `(+${countText(line.system_goroutines)} runtime)`],
  ["cpu", "CPU", (line) => percentText(line.cpu_percent), (line) => `of a processor; GOMAXPROCS ${line.gomaxprocs ?? "?"}`],
  ["rss", "Resident memory", (line) => knownSize(line.rss_bytes), () => ""],
  ["heap", "Heap in use", (line) => knownSize(line.heap_in_use_bytes), (line) => `goal ${knownSize(line.heap_goal_bytes)}`],
  ["queue", "Run queue", (line) => knownCount(line.run_queue), (line) => `${countText(line.threads)} threads`],
  ["gc", "Collections", (line) => knownCount(line.gc_count), (line) => pauseText(line.last_gc_pause_ns)],
];

/** How the range of a figure is written. */
const RANGES = { goroutines: countText, cpu: (value) => percentText(value), rss: (value) => sizeText(value), heap: (value) => sizeText(value), queue: countText, gc: countText };

const knownSize = (bytes) => (bytes === null ? "?" : sizeText(bytes));
const knownCount = (number) => (number === null ? "?" : countText(number));
const percentText = (percent) => (percent === null ? "…" : `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`);
const pauseText = (ns) => (ns === null ? "" : `last pause ${durationText(ns)}`);

/** What `Figures` keeps of a line. */
const figuresOf = (line) => ({
  goroutines: line.goroutines,
  cpu: line.cpu_percent,
  rss: line.rss_bytes,
  heap: line.heap_in_use_bytes,
  goal: line.heap_goal_bytes,
  queue: line.run_queue,
  gc: line.gc_count,
});

class LiveView {
  /** `options`: what groups are by, and of which functions; `changed` is called with other ones. */
  constructor(host, { pid, figures, options, changed }) {
    Object.assign(this, { pid, figures });
    this.tiles = element("dl", { class: "tiles live" });
    this.status = element("p", { class: "muted" }, "Reading…");
    this.findings = element("div", {}, element("p", { class: "card muted" }, "Reading…"));
    this.place = element("div", { id: "live-groups" });
    host.replaceChildren(
      this.tiles,
      this.status,
      titled("findings", "Findings", this.findings),
      titled("groups", "Groups of goroutines", element("div", { class: "card" }, groupChoices(options, changed), this.place)),
    );
    this.table = new Table(this.place, {
      caption: "The largest groups; open a function for its stacks",
      columns: this.columns(),
      sortedBy: 0,
      descending: true,
      first: GROUPS_SHOWN,
      empty: "No goroutine matches.",
    });
  }

  take(event) {
    if (event.findings) this.findings.replaceChildren(...built(event.findings));
    if (event.groups) this.show(event);
  }

  show(line) {
    const tiles = TILES.map(([name, title, value, remark]) =>
      element(
        "div",
        {},
        element("dt", {}, title),
        element("dd", { class: "value" }, value(line)),
        element("dd", { class: "muted" }, remark(line)),
        element("dd", { class: "muted" }, sparkline(this.figures, name), rangeText(this.figures, name, RANGES[name])),
      ),
    );
    this.tiles.replaceChildren(...tiles);
    const states = Object.entries(line.by_status).map(([name, count]) => `${name} ${countText(count)}`);
    const read = `read at ${line.taken_at.slice(11, 19)}Z in ${durationText(line.took_ns)}`;
    const doubt = line.problems ? `; ${countedText(line.problems, "problem")}, see Program` : "";
    this.status.textContent = `${states.join(", ")}; ${read}${doubt}`;
    this.table.update(line.groups.map((group, number) => ({ ...group, number })));
    const rest = line.group_count - line.groups.length;
    if (rest > 0) this.place.append(element("p", { class: "foot" }, `${countedText(rest, "smaller group")} in Goroutines`));
  }

  columns() {
    const number = (title, field, text, options = {}) => ({
      title,
      numeric: true,
      cell: (row) => text(row[field], row),
      order: (row) => row[field] ?? -1,
      ...options,
    });
    return [
      number("Count", "count", countText),
      number("Change", "change", signedText),
      number("Since start", "since_start", (value, row) => signedText(value) + (row.growing ? " ▲" : ""), { wide: true }),
      {
        title: "Where",
        header: true,
        cell: (row) => this.placeOf(row),
        order: (row) => (row.where ?? row.start)?.function ?? "",
      },
      { title: "State", cell: (row) => breakable(row.state ?? statesText(row.states)), order: (row) => row.state ?? "" },
      number("Oldest", "longest_wait_ns", (ns) => (ns === null ? "" : `≥${durationText(ns)}`)),
      { title: "Created by", wide: true, roomy: true, cell: (row) => placeCell(row.created_by), order: (row) => row.created_by?.function ?? "" },
    ];
  }

  /** Where a group is: a link to its goroutines. */
  placeOf({ where, start, call, number }) {
    const place = where ?? start;
    if (!place) return "—";
    const href = `#/${this.pid}/goroutines?text=${encodeURIComponent(place.function)}`;
    return element(
      "span",
      { class: "place" },
      element("a", { href, "data-key": `group-${number}` }, functionSpan(place.function)),
      element("span", { class: "location" }, shortLocation(`${place.file ?? "?"}:${place.line ?? "?"}`)),
      call ? element("span", { class: "call" }, `in ${shortName(call.function)}`) : null,
    );
  }
}

const signedText = (change) => (change === null ? "" : change > 0 ? `+${countText(change)}` : countText(change));

const statesText = (states) =>
  Object.entries(states)
    .map(([state, count]) => `${state} ${countText(count)}`)
    .join(", ");

const placeCell = (place) => (place ? element("span", { class: "place" }, functionSpan(place.function)) : "—");

/** A section with a heading. */
const titled = (name, title, ...contents) =>
  element(
    "section",
    { id: name, "aria-labelledby": `${name}-title` },
    element("h2", { id: `${name}-title` }, title),
    ...contents,
  );

/** The choice of a grouping, and a filter. */
function groupChoices(options, changed) {
  const by = element(
    "select",
    { name: "by" },
    ...LIVE_GROUPINGS.map((value) => element("option", { value, selected: value === options.by ? "" : null }, value)),
  );
  const text = element("input", { type: "search", name: "function", id: "filter", autocomplete: "off", spellcheck: "false", placeholder: "anywhere on the stack", value: options.function ?? null, maxlength: 1000 });
  const form = element(
    "form",
    { class: "tools", "aria-label": "Which groups" },
    element("label", {}, "Group by", by),
    element("label", { class: "wide" }, "Function", text),
  );
  const tell = () => changed({ by: by.value, function: text.value.trim() });
  form.addEventListener("change", tell);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tell();
  });
  return form;
}
