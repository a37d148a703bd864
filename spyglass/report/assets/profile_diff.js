// The page of two profiles: a flame graph coloured by what changed, and the functions with the largest changes.
// Times are in ns for each second of recording.

const MUCH = 0.5; // of the larger one
const SURE_DEVIATIONS = 2;

class ProfileDiff extends Code {
  wholeText = "all samples";
  noneText = "There are no samples.";
  marks = {
    "much-more": "much more",
    more: "more",
    runtime: "no sure change",
    less: "less",
    "much-less": "much less",
  };

  constructor(data) {
    super(data);
    this.tree = new CallTree(data.tree);
    this.functions = data.functions;
    this.noise = data.noise;
    this.totals = ["before", "after"].map((side) => this.totalsOf(data.rows.leaf, data.rows[side]));
  }

  /** The time below each node. */
  totalsOf(leaves, rates) {
    const totals = new Float64Array(this.tree.size);
    leaves.forEach((leaf, row) => {
      totals[leaf] += rates[row];
    });
    for (let node = totals.length - 1; node > 0; node--)
      totals[this.tree.parent[node]] += totals[node];
    return totals;
  }

  locationOf(place) {
    return this.text(this.places.file[place]);
  }

  amountText(rate, node) {
    if (node === undefined) return this.valueText(rate);
    const [before, after] = this.totals.map((totals) => totals[node]);
    const change = this.changeText(after - before);
    return `${this.valueText(after)}, was ${this.valueText(before)} (${change})`;
  }

  valueText(rate) {
    return rate ? `${numbers.format(Number((rate / 1e6).toFixed(1)))} ms/s` : "0";
  }

  changeText(change) {
    return (change > 0 ? "+" : "") + this.valueText(change);
  }

  markOf(_place, node) {
    const [before, after] = this.totals.map((totals) => totals[node]);
    const change = after - before;
    if (!this.isSure(before, after, node)) return "runtime";
    const isMuch = Math.abs(change) > MUCH * Math.max(before, after);
    return `${isMuch ? "much-" : ""}${change > 0 ? "more" : "less"}`;
  }

  /** Whether a change is more than the chance of sampling explains. */
  isSure(before, after) {
    const variance = [before, after].reduce(
      (sum, rate, side) => sum + Math.max(rate, this.noise[side]) * this.noise[side],
      0,
    );
    return Math.abs(after - before) > SURE_DEVIATIONS * Math.sqrt(variance);
  }
}

class ProfileDiffPage {
  constructor(found) {
    this.found = found;
    for (const part of document.querySelectorAll(".scripted")) part.hidden = false; // drawing needs widths
    this.flame = new Flame(found);
    this.form = byId("choices");
    this.form.addEventListener("change", () => this.show());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.show();
    this.showFunctions();
  }

  show() {
    this.flame.show(this.found.tree, this.found.totals[Number(this.form.elements.side.value)]);
  }

  showFunctions() {
    const rate = (title, field, options = {}) => ({
      title,
      numeric: true,
      cell: (row) => this.found.valueText(row[field]),
      order: (row) => row[field],
      ...options,
    });
    const change = (title, field) => ({
      title,
      numeric: true,
      cell: (row) => (row[field] && !row[`${field}_sure`] ? "~" : "") + this.found.changeText(row[field]),
      order: (row) => (row[`${field}_sure`] ? 1e12 : 1) * Math.abs(row[field]),
    });
    new Table(byId("function-table"), {
      caption: "Functions",
      empty: this.found.noneText,
      sortedBy: 1,
      descending: true,
      columns: [
        {
          title: "Function",
          header: true,
          cell: (row) => element("code", { class: "function" }, this.found.text(row.name)),
          order: (row) => this.found.text(row.name),
        },
        change("Self change", "self_change"),
        rate("Self", "self_after", { wide: true }),
        change("Total change", "total_change"),
        rate("Total", "total_after", { wide: true }),
      ],
    }).show(this.found.functions);
  }
}
