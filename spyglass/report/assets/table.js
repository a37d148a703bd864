// A table that sorts by any column, shows a limited number of rows, and can open details below a row.

const PAGE_ROWS = 50;

/**
 * Columns are {title, cell(row) -> text or node, order(row) -> sort key, numeric, header, wide, roomy}:
 * `header` is the header of the row, `wide` is hidden on a phone, `roomy` on a tablet too. `detail(row)`
 * makes the details of a row; rows then have a `key`, which keeps open rows open. At the beginning the
 * `first` rows are shown.
 */
class Table {
  constructor(host, options) {
    const defaults = { detail: null, sortedBy: 0, descending: false, first: PAGE_ROWS };
    Object.assign(this, { host, ...defaults, ...options });
    this.open = new Set();
    this.rows = [];
    this.limit = this.first;
  }

  /** Show the first page of `rows`. */
  show(rows) {
    this.limit = this.first;
    this.update(rows);
  }

  /** Show as many of `rows` as were shown of those before. */
  update(rows) {
    this.rows = rows;
    this.sort();
  }

  sort() {
    const { order } = this.columns[this.sortedBy];
    const sign = this.descending ? -1 : 1;
    const keys = this.rows.map((row, index) => [order(row), index]);
    keys.sort(([a, i], [b, j]) => (a < b ? -sign : a > b ? sign : i - j));
    this.rows = keys.map(([, index]) => this.rows[index]);
    this.draw();
  }

  draw() {
    if (!this.rows.length) {
      replaceIn(this.host, element("p", { class: "muted" }, this.empty));
      return;
    }
    const body = element(
      "tbody",
      {},
      ...this.rows.slice(0, this.limit).flatMap((row) => this.lines(row)),
    );
    const table = element("table", {}, element("caption", {}, this.caption), this.head(), body);
    replaceIn(this.host, element("div", { class: "scroll" }, table), this.foot());
  }

  head() {
    return element(
      "thead",
      {},
      element("tr", {}, ...this.columns.map((column, index) => this.title(column, index))),
    );
  }

  title(column, index) {
    const isSorted = index === this.sortedBy;
    const button = element("button", { type: "button", "data-key": `sort-${index}` }, column.title);
    button.addEventListener("click", () => this.sortBy(index));
    const direction = this.descending ? "descending" : "ascending";
    return element(
      "th",
      { scope: "col", class: classes(column), "aria-sort": isSorted ? direction : null },
      button,
      element("span", { class: "on-paper" }, column.title), // browsers repeat no buttons on each page
    );
  }

  sortBy(index) {
    this.descending =
      index === this.sortedBy ? !this.descending : Boolean(this.columns[index].numeric);
    this.sortedBy = index;
    this.sort();
  }

  /** The line of `row`, and the one with its details. */
  lines(row) {
    const details = this.detail ? element("tr", { class: "details", hidden: "" }) : null;
    const line = element(
      "tr",
      {},
      ...this.columns.map((column) => this.cell(column, row, details)),
    );
    return details ? [line, details] : [line];
  }

  cell(column, row, details) {
    if (!column.header) return element("td", { class: classes(column) }, column.cell(row));
    const content = details ? this.opener(column.cell(row), row, details) : column.cell(row);
    return element("th", { scope: "row", class: classes(column) }, content);
  }

  /** A button that opens and closes the `details` of `row`. */
  opener(content, row, details) {
    const button = element(
      "button",
      { type: "button", class: "opener", "data-key": `row-${row.key}` },
      content,
    );
    const set = (isOpen) => {
      button.setAttribute("aria-expanded", String(isOpen));
      this.open[isOpen ? "add" : "delete"](row.key);
      details.replaceChildren(
        ...(isOpen ? [element("td", { colspan: this.columns.length }, this.detail(row))] : []),
      );
      details.hidden = !isOpen;
    };
    button.addEventListener("click", () => set(!this.open.has(row.key)));
    set(this.open.has(row.key));
    return button;
  }

  foot() {
    const shown = Math.min(this.limit, this.rows.length);
    const foot = element(
      "p",
      { class: "foot" },
      `${countText(shown)} of ${countText(this.rows.length)} shown`,
    );
    if (shown < this.rows.length) foot.append(...this.pagers(shown));
    return foot;
  }

  pagers(shown) {
    const more = Math.min(PAGE_ROWS, this.rows.length - shown);
    return [
      [`Show ${countText(more)} more`, more],
      [`Show ${countText(PAGE_ROWS * 20)} more`, PAGE_ROWS * 20],
    ]
      .filter(([, count]) => count <= this.rows.length - shown)
      .map(([title, count], index) => {
        const button = element("button", { type: "button", "data-key": `more-${index}` }, title);
        button.addEventListener("click", () => {
          this.limit += count;
          this.draw();
        });
        return button;
      });
  }
}

function classes({ numeric, wide, roomy }) {
  return [numeric && "number", wide && "wide-only", roomy && "roomy-only"].filter(Boolean).join(" ") || null;
}
