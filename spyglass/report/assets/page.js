// The page: connects the filters to charts, flame graph and groups.

const LABELS_OFFERED = 1000;

class Page {
  constructor(report) {
    this.report = report;
    this.form = byId("filters");
    this.offerStates();
    this.offerLabels();
    for (const part of document.querySelectorAll(".scripted")) part.hidden = false; // drawing needs widths
    this.flame = new Flame(report);
    this.groups = new Groups(report);
    this.form.addEventListener("input", () => this.schedule());
    this.form.addEventListener("reset", () => this.schedule());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    byId("main").addEventListener("click", (event) => this.showExample(event));
    showLists(report);
    this.show();
  }

  /** Filter by the goroutine of a finding that was clicked, and open its stack; the link goes there. */
  showExample({ target }) {
    const { goroutine } = target.dataset;
    if (!goroutine) return;
    this.form.reset();
    this.form.elements.goroutine.value = goroutine;
    this.show();
    document.querySelector("#group-table .opener")?.click();
  }

  offerStates() {
    const offered = (title, column) => {
      const words = [...new Set(this.report.cells[column])].filter((number) => number !== NONE);
      words.sort((a, b) => (this.report.text(a) < this.report.text(b) ? -1 : 1));
      return element(
        "optgroup",
        { label: title },
        ...words.map((number) =>
          element("option", { value: `${column}:${number}` }, this.report.text(number)),
        ),
      );
    };
    this.form.elements.state.append(offered("Status", "status"), offered("Wait reason", "reason"));
  }

  offerLabels() {
    const words = new Set(this.report.labelTexts.slice(0, LABELS_OFFERED).flat());
    byId("labels").append(
      ...[...words].slice(0, LABELS_OFFERED).map((value) => element("option", { value })),
    );
    const field = this.form.elements.label;
    field.disabled = !words.size;
    if (!words.size) field.placeholder = "no labels";
    this.form.elements.wait.disabled = !this.report.hasWaits;
  }

  /** Update the page at the next frame, once for all events until then. */
  schedule() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.show());
  }

  show() {
    cancelAnimationFrame(this.frame);
    const filters = new Filters(this.form);
    const selection = new Selection(this.report, filters);
    const tree = this.report.trees[filters.tree];
    this.showTotal(selection, filters);
    this.drawCharts(selection, filters);
    this.flame.show(tree, selection.totals(tree, filters.tree));
    this.groups.show(selection, filters.tree);
  }

  showTotal(selection, filters) {
    const all = this.report.population(this.report.cells.count);
    const found = this.report.population(selection.counts);
    const isAll = found[0] === all[0] && [0, all[1]].includes(found[1]);
    const whole = populationText(...all);
    const words = `${isAll ? whole : `${populationText(...found)} of ${whole}`} goroutines`;
    const filtered = filterText(this.report, filters);
    byId("matching").textContent = [isAll ? words : `${words} match`, filtered]
      .filter(Boolean)
      .join(": ");
    byId("tally").textContent = words;
    byId("clear").hidden = !filtered && filters.tree === "shown";
  }

  drawCharts(selection, filters) {
    const { report } = this;
    const common = {
      total: selection.total,
      report,
      picked: filters.state,
      onPick: (value) => this.pick(value),
    };
    drawBars(byId("by-status"), {
      ...common,
      title: "By state",
      column: "status",
      counts: selection.countBy(report.cells.status),
      empty: "No goroutine matches the filters.",
    });
    drawBars(byId("by-reason"), {
      ...common,
      title: "By wait reason",
      column: "reason",
      counts: selection.countBy(report.cells.reason),
      empty: "No goroutine waits.",
    });
  }

  pick(state) {
    this.form.elements.state.value = state;
    this.show();
  }
}

/** The embedded snapshot, compressed. */
function packedSnapshot() {
  const packed = atob(byId("spyglass-snapshot").textContent.trim());
  return new Blob([Uint8Array.from(packed, (character) => character.charCodeAt(0))]);
}

async function downloadSnapshot() {
  const { name } = byId("spyglass-snapshot").dataset;
  const stream = packedSnapshot().stream().pipeThrough(new DecompressionStream("gzip"));
  const blob = await new Response(stream).blob();
  const address = URL.createObjectURL(new Blob([blob], { type: "application/json" }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  byId("notice").textContent = `Saved as ${name}`;
}

function start() {
  byId("actions").hidden = false;
  initTheme();
  byId("download").addEventListener("click", () =>
    downloadSnapshot().catch((error) => {
      byId("notice").textContent = `The snapshot cannot be unpacked: ${error.message}`;
    }),
  );
  try {
    new Page(readReport());
  } catch (error) {
    byId("notice").textContent = `A part of this page cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
