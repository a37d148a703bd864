// The filters of the page, and the goroutines that match them.

/** The values of the form of filters. */
class Filters {
  constructor(form) {
    const fields = form.elements;
    this.text = fields.text.value.trim();
    this.state = fields.state.value;
    this.label = fields.label.value.trim().toLowerCase();
    this.minWaitNs = Number(fields.wait.value);
    this.goroutine = fields.goroutine.value.trim();
    this.system = fields.system.checked;
    this.tree = fields.all.checked ? "all" : "shown";
  }
}

/** The filters in words. */
function filterText(report, { text, state, label, minWaitNs, goroutine, system }) {
  return [
    text && `“${text}” on the stack`,
    state && `in state ${report.text(Number(state.split(":")[1]))}`,
    label && `label ${label}`,
    minWaitNs && `waiting at least ${durationText(minWaitNs)}`,
    goroutine && `goroutine ${goroutine}`,
    system && "with runtime goroutines",
  ]
    .filter(Boolean)
    .join(", ");
}

/** The goroutines that match `filters`: the first `counts` of each cell, or only the one in `row`. */
class Selection {
  constructor(report, filters) {
    this.report = report;
    this.row = filters.goroutine ? findId(report, filters.goroutine) : null;
    this.counts = countsOf(report, filters);
    if (this.row !== null) this.narrowToRow();
    this.total = this.counts.reduce((sum, count) => sum + count, 0);
  }

  narrowToRow() {
    const cell = this.row === NONE ? NONE : cellOf(this.report, this.row);
    const { firsts } = this.report;
    this.counts = this.counts.map((count, index) =>
      index === cell && this.row < firsts[cell] + count ? 1 : 0,
    );
  }

  /** The first row of the selected goroutines of `cell`, and the row after the last. */
  rowsOf(cell) {
    const first = this.row === null ? this.report.firsts[cell] : this.row;
    return [first, first + this.counts[cell]];
  }

  /** The number of goroutines below each node of `tree`; the cells' column `name` has its leaves. */
  totals(tree, name) {
    const totals = new Float64Array(tree.size);
    const leaves = this.report.cells[name];
    this.counts.forEach((count, cell) => {
      totals[leaves[cell]] += count;
    });
    for (let node = tree.size - 1; node > 0; node--) totals[tree.parent[node]] += totals[node];
    return totals;
  }

  /** Pairs of a value of `column` and its number of goroutines, the most frequent first. */
  countBy(column) {
    const counts = new Map();
    this.counts.forEach((count, cell) => {
      if (count && column[cell] !== NONE)
        counts.set(column[cell], (counts.get(column[cell]) ?? 0) + count);
    });
    return [...counts].sort((a, b) => b[1] - a[1]);
  }
}

function findId(report, text) {
  const wanted = typeof report.ids[0] === "string" ? text : Number(text);
  return report.ids.indexOf(wanted);
}

/** The cell that `row` is in. */
function cellOf(report, row) {
  let low = 0;
  let high = report.cellCount - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (report.firsts[middle] <= row) low = middle;
    else high = middle - 1;
  }
  return low;
}

function countsOf(report, filters) {
  const tests = [...testsOf(report, filters)];
  const counts = new Float64Array(report.cellCount);
  for (let cell = 0; cell < report.cellCount; cell++) {
    if (tests.every((test) => test(cell)))
      counts[cell] = waitingFor(report, cell, filters.minWaitNs);
  }
  return counts;
}

function* testsOf(report, { text, state, label, system }) {
  const { cells } = report;
  if (!system) yield (cell) => !cells.system[cell];
  if (state) {
    const [column, number] = state.split(":");
    yield (cell) => cells[column][cell] === Number(number);
  }
  if (text) {
    const found = report.trees.all.through(report.placesWith(text));
    yield (cell) => found[cells.all[cell]];
  }
  if (label) {
    const found = report.labelTexts.map((set) =>
      set.some((each) => each.toLowerCase().includes(label)),
    );
    yield (cell) => cells.labels[cell] >= 0 && found[cells.labels[cell]];
  }
}

/** The number of goroutines of `cell` that wait at least `minWaitNs`; a cell has the longest wait first. */
function waitingFor(report, cell, minWaitNs) {
  if (!minWaitNs) return report.cells.count[cell];
  const first = report.firsts[cell];
  const end = report.firsts[cell + 1];
  let row = first;
  while (row < end && report.waits[row] >= minWaitNs) row++;
  return row - first;
}
