// The page of two heap, block or mutex profiles: a flame graph coloured by what changed, and the places with the largest
// changes.

class SiteDiff extends ProfileDiff {
  constructor(data) {
    super({ ...data, functions: data.sites, noise: [0, 0] });
    this.unit = data.unit;
    this.variances = this.totalsOf(data.rows.leaf, data.rows.variance);
  }

  valueText(amount) {
    return unitText(this.unit, amount);
  }

  /** Whether a change is more than the chance of sampling explains. */
  isSure(before, after, node) {
    return Math.abs(after - before) > SURE_DEVIATIONS * Math.sqrt(this.variances[node]);
  }
}

class SiteDiffPage extends ProfileDiffPage {
  showFunctions() {
    const { found } = this;
    const amount = (title, field) => ({
      title,
      numeric: true,
      cell: (row) => found.valueText(row[field]),
      order: (row) => row[field],
    });
    const code = (title, field) => ({
      title,
      header: field === "name",
      cell: (row) => element("code", { class: "function" }, found.text(row[field])),
      order: (row) => found.text(row[field]),
    });
    new Table(byId("function-table"), {
      caption: "Places",
      empty: found.noneText,
      sortedBy: 2,
      descending: true,
      columns: [
        code("Where", "name"),
        code("By", "call"),
        {
          title: "Change",
          numeric: true,
          cell: (row) => (row.change && !row.sure ? "~" : "") + found.changeText(row.change),
          order: (row) => (row.sure ? 1e15 : 1) * Math.abs(row.change),
        },
        amount("After", "after"),
        amount("Before", "before"),
      ],
    }).show(found.functions);
  }
}

function start() {
  byId("actions").hidden = false;
  initTheme();
  try {
    new SiteDiffPage(new SiteDiff(JSON.parse(byId("spyglass-profile").textContent)));
  } catch (error) {
    byId("notice").textContent = `A part of this page cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
