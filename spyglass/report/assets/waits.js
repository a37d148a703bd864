// How long goroutines have waited since the garbage collection that found them waiting: each is a lower
// bound, and one that is not known may be short, or long before the second collection.

/** The text of a wait of at least `ns`; `isWaiting`: of a goroutine that waits. */
function waitText(ns, isWaiting) {
  if (ns !== NONE) return `≥${durationText(ns)}`;
  return isWaiting ? "?" : "";
}

/** Why no wait is known; empty if one is. */
function noWaitsText({ hasWaits, gcCount }) {
  if (hasWaits) return "";
  return gcCount === 0 || gcCount === 1 ? "No times before the second GC." : "Times are not known.";
}

/** The waits of the selected goroutines of a group. */
class GroupWaits {
  constructor(report, selection, { cells, count }) {
    Object.assign(this, { report, selection, cells, count });
    const { status } = report.cells;
    this.isWaiting = cells.some((cell) => report.text(status[cell]) === "waiting");
    this.oldestNs = cells.reduce((most, cell) => Math.max(most, this.of(cell)[0]), NONE);
  }

  /** The waits of `cell` in ns, the longest first, those that are not known last. */
  of(cell) {
    const [first, end] = this.selection.rowsOf(cell);
    return this.report.waits.subarray(first, end);
  }

  /** The lower median in ns; a wait that is not known counts as the shortest. */
  get medianNs() {
    this.knownMedianNs ??= this.median();
    return this.knownMedianNs;
  }

  median() {
    if (this.cells.length === 1) return this.of(this.cells[0])[this.count >> 1]; // they are sorted
    const waits = new Float64Array(this.count);
    let at = 0;
    for (const cell of this.cells) {
      waits.set(this.of(cell), at);
      at += this.of(cell).length;
    }
    return waits.sort()[(this.count - 1) >> 1];
  }

  get oldestText() {
    return waitText(this.oldestNs, this.isWaiting);
  }

  get medianText() {
    return this.count > 1 ? waitText(this.medianNs, this.isWaiting) : "";
  }

  /** Both in one line, the median if it differs; empty if no wait is known. */
  get words() {
    if (this.oldestNs === NONE) return "";
    const { oldestText, medianText } = this;
    if (["", oldestText].includes(medianText)) return `oldest ${oldestText}`;
    return `oldest ${oldestText}, median ${medianText}`;
  }
}
