// Groups of goroutines that have something in common: a stack, a function, a creator, a state, a label.

const STACKS_SHOWN = 5;
const IDS_SHOWN = 100;
const LABEL_KEYS = 50;

/** By what goroutines can be grouped: value -> words, and what two of one group have the same of. */
function groupings(report) {
  const { cells } = report;
  const found = new Map([
    ["stack", ["stack", (cell, tree) => cells[tree][cell]]],
    ["function", ["function", (cell) => (cells.where[cell] === NONE ? NONE : report.places.function[cells.where[cell]])]],
    ["creator", ["creator", (cell) => cells.creator[cell]]],
    ["state", ["state", (cell) => cells.state[cell]]],
  ]);
  for (const key of labelKeys(report)) {
    found.set(`label:${key}`, [`label ${cropped(report.text(key))}`, (cell) => labelValue(report, cell, key)]);
  }
  return found;
}

function labelKeys(report) {
  const keys = new Set(report.labelSets.flatMap((set) => set.map(([key]) => key)));
  return [...keys].slice(0, LABEL_KEYS);
}

const cropped = (text) => (text.length > 40 ? `${text.slice(0, 40)}…` : text);

function labelValue(report, cell, key) {
  const set = report.cells.labels[cell];
  if (set < 0) return set;
  return report.labelSets[set].find(([each]) => each === key)?.[1] ?? NONE;
}

/** The goroutines of `selection` in groups, the largest first. */
function groupsOf(report, selection, keyOf, tree) {
  const groups = new Map();
  selection.counts.forEach((count, cell) => {
    if (!count) return;
    const key = keyOf(cell, tree);
    let group = groups.get(key);
    if (!group) groups.set(key, group = { key, count: 0, cells: [], longestNs: NONE, shortestNs: Infinity });
    group.count += count;
    group.cells.push(cell);
    noteWaits(report, selection, cell, group);
  });
  return [...groups.values()].sort((a, b) => b.count - a.count);
}

/** Waits are the longest first, and those that are not known are last. */
function noteWaits(report, selection, cell, group) {
  const [first, end] = selection.rowsOf(cell);
  group.longestNs = Math.max(group.longestNs, report.waits[first]);
  let last = end - 1;
  while (last > first && report.waits[last] === NONE) last--;
  if (report.waits[last] !== NONE) group.shortestNs = Math.min(group.shortestNs, report.waits[last]);
}

/** How many goroutines of `group` have each value that `valueOf` gives for a cell, most frequent first. */
function tally(group, selection, valueOf) {
  const counts = new Map();
  for (const cell of group.cells) {
    const value = valueOf(cell);
    counts.set(value, (counts.get(value) ?? 0) + selection.counts[cell]);
  }
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** The section of groups: the table, and the choice of what groups have in common. */
class Groups {
  constructor(report) {
    this.report = report;
    this.by = byId("group-by");
    this.groupings = groupings(report);
    for (const [value, [words]] of this.groupings) this.by.append(element("option", { value }, words));
    this.by.addEventListener("change", () => this.regroup());
    this.table = new Table(byId("group-table"), {
      caption: "Groups of goroutines. A row opens to its stacks and ids.",
      columns: this.columns(this.by.value),
      detail: (group) => this.detail(group),
      sortedBy: 0,
      descending: true,
      empty: "No goroutine matches the filters.",
    });
  }

  regroup() {
    Object.assign(this.table, { sortedBy: 0, descending: true });
    this.show(this.selection, this.tree);
  }

  show(selection, tree) {
    this.selection = selection;
    this.tree = tree;
    const [, keyOf] = this.groupings.get(this.by.value);
    const groups = groupsOf(this.report, selection, keyOf, tree);
    for (const group of groups) this.describe(group);
    this.table.open.clear();
    this.table.columns = this.columns(this.by.value);
    this.table.show(groups);
  }

  /** What the columns show of `group`, and sort it by. */
  describe(group) {
    const { cells } = this.report;
    group.states = tally(group, this.selection, (cell) => cells.state[cell]);
    group.places = tally(group, this.selection, (cell) => this.placeOf(cell));
    group.creators = tally(group, this.selection, (cell) => cells.creator[cell]);
  }

  /** Where a cell's goroutines are: outside the runtime if that is known, else where their stack ends. */
  placeOf(cell) {
    const { cells, trees } = this.report;
    return cells.where[cell] === NONE ? trees.shown.place[cells.shown[cell]] : cells.where[cell];
  }

  columns(by) {
    const { report } = this;
    const place = (places) => report.functionOf(places[0][0]);
    const value = (group) => this.labelWords(group.key);
    const label = { title: this.groupings.get(by)[0], cell: (g) => breakable(value(g)), order: value };
    return [
      { title: "Count", numeric: true, cell: (g) => countText(g.count), order: (g) => g.count },
      { title: "Share", numeric: true, wide: true, cell: (g) => shareText(g.count, this.selection.total), order: (g) => g.count },
      ...(by.startsWith("label:") ? [label] : []),
      { title: "Where", header: true, cell: (g) => this.summary(g.places, this.outermost(g)), order: (g) => place(g.places) },
      { title: "State", cell: (g) => this.stateCell(g), order: (g) => report.text(g.states[0][0]) },
      { title: "Waiting", numeric: true, wide: true, cell: (g) => waitWords(g), order: (g) => g.longestNs },
      { title: "Created by", wide: true, cell: (g) => this.summary(g.creators), order: (g) => place(g.creators) },
    ];
  }

  /** The most frequent of `places`, in which call that was, and how many other places there are. */
  summary(places, outermost = NONE) {
    const [[place]] = places;
    const { report } = this;
    if (place === NONE) return "—";
    const others = places.length - 1;
    return element(
      "span",
      { class: "place" },
      functionSpan(report.functionOf(place)),
      element("span", { class: "location" }, shortLocation(report.locationOf(place))),
      outermost === NONE ? null : element("span", { class: "location" }, `in ${shortName(report.functionOf(outermost))}`),
      others ? element("span", { class: "muted" }, `and ${countText(others)} more places`) : null,
    );
  }

  /** With which call the stacks of `group` began, if that is one, and not the place where they are. */
  outermost(group) {
    const tree = this.report.trees[this.tree];
    const places = new Set(group.cells.map((cell) => tree.outermost(this.report.cells[this.tree][cell])));
    const [place] = places;
    return places.size === 1 && place !== group.places[0][0] ? place : NONE;
  }

  labelWords(value) {
    if (value >= 0) return this.report.text(value) || "(empty)";
    return value === UNREAD ? "(could not be read)" : "(without)";
  }

  /** What they do, and, where there is no room for another column, for how long. */
  stateCell(group) {
    const waits = element("span", { class: "narrow-only muted" }, waitWords(group));
    return element("span", { class: "place" }, breakable(this.stateWords(group)), waits);
  }

  stateWords(group) {
    const words = group.states.slice(0, 3).map(([state, count]) => {
      const word = this.report.text(state);
      return group.states.length === 1 ? word : `${word} ${countText(count)}`;
    });
    if (group.states.length > 3) words.push(`${countText(group.states.length - 3)} other states`);
    return words.join(", ");
  }

  detail(group) {
    const stacks = tally(group, this.selection, (cell) => this.report.cells[this.tree][cell]);
    const more = stacks.length - STACKS_SHOWN;
    return element(
      "div",
      { class: "detail-box" },
      this.facts(group),
      ...stacks.slice(0, STACKS_SHOWN).map(([leaf, count]) => this.stack(leaf, count, stacks.length)),
      more > 0 ? element("p", { class: "muted" }, `and ${countText(more)} more stacks`) : null,
      new Ids(this.report, this.selection, group).host,
    );
  }

  facts(group) {
    const { cells } = this.report;
    const facts = [
      ["Waiting", waitWords(group)],
      ["Created by", this.creators(group)],
      ["Labels", this.labels(group)],
      ["Locked to a thread", this.number(group, (cell) => cells.locked[cell])],
      ["Torn or unreadable", this.number(group, (cell) => this.isDoubtful(cell))],
    ].filter(([, value]) => value);
    return element("dl", { class: "inline" }, ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  }

  isDoubtful(cell) {
    return ["torn", "unreadable"].includes(this.report.text(this.report.cells.quality[cell]));
  }

  /** How many goroutines of `group` are in cells of which `matches` is true, in words. */
  number(group, matches) {
    const number = group.cells.filter(matches).reduce((sum, cell) => sum + this.selection.counts[cell], 0);
    return number ? countText(number) : "";
  }

  creators(group) {
    return group.creators.filter(([place]) => place !== NONE).slice(0, 3)
      .map(([place, count]) => `${this.report.functionOf(place)} ${this.report.locationOf(place)}${this.creatorId(group, place)}${count < group.count ? ` (${countText(count)})` : ""}`)
      .join(", ");
  }

  /** The goroutine that made all of them, if one did. */
  creatorId(group, place) {
    const { cells } = this.report;
    const ids = new Set(group.cells.filter((cell) => cells.creator[cell] === place).map((cell) => cells.creator_id[cell]));
    const [id] = ids;
    return ids.size === 1 && id !== NONE ? ` in goroutine ${id}` : "";
  }

  labels(group) {
    const texts = tally(group, this.selection, (cell) => this.report.labelsOf(cell).join(", "));
    return texts.filter(([text]) => text).slice(0, 5)
      .map(([text, count]) => (count < group.count ? `${text} (${countText(count)})` : text)).join("; ");
  }

  /** One stack, the innermost frame first, as Go prints it. */
  stack(leaf, count, stacks) {
    const { report } = this;
    const frames = report.trees[this.tree].stack(leaf).map((place) => element(
      "li",
      { class: ORIGINS[report.originOf(place)] },
      element("span", { class: "function" }, report.functionOf(place)),
      element("span", { class: "location" }, report.locationOf(place)),
    ));
    const title = stacks > 1 ? `Stack of ${goroutinesText(count)}` : "Stack";
    return element("div", {}, element("h3", { class: "minor" }, title), element("ol", { class: "stack" }, ...frames));
  }
}

function waitWords({ longestNs, shortestNs }) {
  if (longestNs === NONE) return "";
  const [longest, shortest] = [durationText(longestNs), durationText(shortestNs)];
  return longest === shortest ? longest : `${shortest} to ${longest}`;
}

/** Text that may be long and have no spaces. */
const breakable = (text) => element("span", { class: "breakable" }, text);

/** A function's name; on a narrow screen without the path of its package. */
function functionSpan(name) {
  const short = shortName(name);
  const path = name.slice(0, name.length - short.length);
  return element("span", { class: "function" }, path ? element("span", { class: "wide-only" }, path) : null, short);
}

/** `/src/prometheus/scrape/scrape.go:1371` as `scrape/scrape.go:1371`. */
const shortLocation = (location) => location.split("/").slice(-2).join("/");

/** The ids of a group's goroutines, some at a time, the longest wait first in each cell. */
class Ids {
  constructor(report, selection, group) {
    this.report = report;
    this.rows = this.rowsOf(selection, group);
    this.title = `Goroutine id${group.count === 1 ? "" : "s"}`;
    this.list = element("ul", { class: "ids" });
    this.more = element("button", { type: "button" });
    this.more.addEventListener("click", () => this.add(IDS_SHOWN * 10));
    this.host = element("div", {}, element("h3", { class: "minor" }, this.title), this.list, this.more);
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
    const wait = waitNs === NONE ? null : element("span", { class: "muted" }, ` ${durationText(waitNs)}`);
    return element("li", {}, String(this.report.ids[row]), wait);
  }
}
