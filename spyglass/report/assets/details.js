// The details that open below a group: common facts, stacks and ids of its goroutines.

const STACKS_SHOWN = 5;
const VALUES_SHOWN = 5;
const IDS_SHOWN = 100;

class GroupDetail {
  constructor(report, selection, tree, group) {
    Object.assign(this, { report, selection, tree, group });
    const stacks = tally(group, selection, (cell) => report.cells[tree][cell]);
    const more = stacks.length - STACKS_SHOWN;
    this.host = element(
      "div",
      { class: "detail-box" },
      this.facts(),
      ...stacks.slice(0, STACKS_SHOWN).map(([leaf, count]) => this.stack(leaf, count)),
      more > 0 ? element("p", { class: "muted" }, `and ${countedText(more, "other stack")}`) : null,
      new Ids(report, selection, group).host,
    );
  }

  facts() {
    const { cells } = this.report;
    const facts = [
      ["Waiting", this.group.waits.words],
      ["At", this.places(this.group.places)],
      ["In", this.places(this.group.calls)],
      ["Created by", this.creators()],
      ["Labels", this.labels()],
      ["Locked to a thread", this.number((cell) => cells.locked[cell])],
      ["Torn or unreadable", this.number((cell) => this.isDoubtful(cell))],
    ];
    const lines = facts
      .filter(([, value]) => value)
      .map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
    return element("dl", { class: "inline" }, ...lines.map((line) => element("div", {}, ...line)));
  }

  isDoubtful(cell) {
    return ["torn", "unreadable"].includes(this.report.text(this.report.cells.quality[cell]));
  }

  /** The number of goroutines in cells for which `matches` is true, as text; empty for 0. */
  number(matches) {
    const counts = this.group.cells.filter(matches).map((cell) => this.selection.counts[cell]);
    const number = counts.reduce((sum, count) => sum + count, 0);
    return number ? countText(number) : "";
  }

  /** The first of `places`, pairs of a place and a count. */
  places(places) {
    const { report } = this;
    const known = places.filter(([place]) => place !== NONE);
    return this.counted(known, (place) =>
      [report.functionOf(place), report.locationOf(place)].join(" "),
    );
  }

  creators() {
    const { report, group } = this;
    const known = group.creators.filter(([place]) => place !== NONE);
    return this.counted(known, (place) =>
      [report.functionOf(place), report.locationOf(place), this.creatorId(place)].join(" "),
    );
  }

  /** The goroutine that created all those created at `place`, if it is a single one. */
  creatorId(place) {
    const { cells } = this.report;
    const made = this.group.cells.filter((cell) => cells.creator[cell] === place);
    const ids = new Set(made.map((cell) => cells.creator_id[cell]));
    const [id] = ids;
    return ids.size === 1 && id !== NONE ? `in goroutine ${id}` : "";
  }

  labels() {
    const texts = tally(this.group, this.selection, (cell) =>
      this.report.labelsOf(cell).join(", "),
    );
    return this.counted(
      texts.filter(([text]) => text),
      (text) => text,
    );
  }

  /** The first of `values` as text, each with its number of goroutines if not all have it. */
  counted(values, words) {
    const parts = values.slice(0, VALUES_SHOWN).map(([value, count]) => {
      const word = words(value).trim();
      return count < this.group.count ? `${word} (${countText(count)})` : word;
    });
    const more = values.length - VALUES_SHOWN;
    if (more > 0) parts.push(countedText(more, "other"));
    return parts.join("; ");
  }

  /** One stack, the innermost frame first, as Go prints it. */
  stack(leaf, count) {
    const title = count < this.group.count ? `Stack of ${goroutinesText(count)}` : "Stack";
    const places = this.report.trees[this.tree].stack(leaf);
    const frames = places.map((place) => this.stackLine(place));
    return element(
      "div",
      {},
      element("h3", { class: "minor" }, title),
      element("ol", { class: "stack" }, ...frames),
    );
  }

  stackLine(place) {
    const { report } = this;
    return element(
      "li",
      { class: ORIGINS[report.originOf(place)] },
      element("span", { class: "function" }, report.functionOf(place)),
      element("span", { class: "location" }, report.locationOf(place)),
    );
  }
}

/** The ids of a group's goroutines, shown in portions, the longest wait of each cell first. */
class Ids {
  constructor(report, selection, group) {
    this.report = report;
    this.rows = this.rowsOf(selection, group);
    this.title = `Goroutine id${group.count === 1 ? "" : "s"}`;
    this.list = element("ul", { class: "ids" });
    this.more = element("button", { type: "button" });
    this.more.addEventListener("click", () => this.add(IDS_SHOWN * 10));
    this.host = element(
      "div",
      {},
      element("h3", { class: "minor" }, this.title),
      this.list,
      this.more,
    );
    this.shown = 0;
    this.add(IDS_SHOWN);
  }

  rowsOf(selection, group) {
    const rows = new Uint32Array(group.count);
    let at = 0;
    for (const cell of group.cells) {
      const [first, end] = selection.rowsOf(cell);
      for (let row = first; row < end; row++) rows[at++] = row;
    }
    return rows;
  }

  add(count) {
    const some = this.rows.slice(this.shown, this.shown + count);
    this.list.append(...Array.from(some, (row) => this.item(row)));
    this.shown += some.length;
    const left = this.rows.length - this.shown;
    this.more.hidden = !left;
    this.more.textContent = `Show ${countText(Math.min(left, IDS_SHOWN * 10))} more of ${countText(left)}`;
  }

  item(row) {
    const waitNs = this.report.waits[row];
    const wait =
      waitNs === NONE ? null : element("span", { class: "muted" }, ` ${waitText(waitNs)}`);
    return element("li", {}, String(this.report.ids[row]), wait);
  }
}
