// The goroutines of a report: connects the filters to charts, flame graph and groups.

const LABELS_OFFERED = 1000;

class GoroutinesView {
  constructor(report) {
    this.report = report;
    this.form = byId("filters");
    this.offerStates();
    this.offerLabels();
    this.flame = new Flame(report);
    this.groups = new Groups(report);
    this.form.addEventListener("input", () => this.schedule());
    this.form.addEventListener("reset", () => this.schedule());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.show();
  }

  /** Filter by one goroutine, and open its stack. */
  showGoroutine(goroutine) {
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
    byId("tally")?.replaceChildren(words);
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
