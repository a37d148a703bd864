// Groups of goroutines with the same stack, function, creator, state or label.

const LABEL_KEYS = 50;
const LARGEST = 10; // groups that are shown at the beginning

const WAIT_COLUMNS = [
  {
    title: "Oldest",
    numeric: true,
    wide: true,
    cell: (group) => group.waits.oldestText,
    order: (group) => group.waits.oldestNs,
  },
  {
    title: "Median",
    numeric: true,
    wide: true,
    roomy: true,
    cell: (group) => group.waits.medianText,
    order: (group) => group.waits.medianNs,
  },
];

/** The groupings: value of the option -> its text, and a function that gives the key of a cell. */
function groupings(report) {
  const { cells } = report;
  const found = new Map([
    ["stack", ["stack", (cell, tree) => cells[tree][cell]]],
    [
      "function",
      [
        "function",
        (cell) => [cells.where, cells.call].map((column) => functionNumber(report, column[cell])).join(),
      ],
    ],
    ["creator", ["creator", (cell) => cells.creator[cell]]],
    ["state", ["state", (cell) => cells.state[cell]]],
  ]);
  for (const key of labelKeys(report)) {
    found.set(`label:${key}`, [
      `label ${cropped(report.text(key))}`,
      (cell) => labelValue(report, cell, key),
    ]);
  }
  return found;
}

function functionNumber(report, place) {
  return place === NONE ? NONE : report.places.function[place];
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
    if (!group)
      groups.set(
        key,
        (group = { key, count: 0, cells: [] }),
      );
    group.count += count;
    group.cells.push(cell);
  });
  return [...groups.values()].sort((a, b) => b.count - a.count);
}

/** Pairs of a value of `valueOf(cell)` and its number of goroutines in `group`, most frequent first. */
function tally(group, selection, valueOf) {
  const counts = new Map();
  for (const cell of group.cells) {
    const value = valueOf(cell);
    counts.set(value, (counts.get(value) ?? 0) + selection.counts[cell]);
  }
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** The section of groups: the table, and the choice of a grouping. */
class Groups {
  constructor(report) {
    this.report = report;
    this.by = byId("group-by");
    this.groupings = groupings(report);
    for (const [value, [words]] of this.groupings)
      this.by.append(element("option", { value }, words));
    this.by.addEventListener("change", () => this.regroup());
    this.table = new Table(byId("group-table"), {
      caption: ["Open a group for its stacks and ids.", noWaitsText(report)].join(" ").trim(),
      columns: this.columns(this.by.value),
      detail: (group) => new GroupDetail(report, this.selection, this.tree, group).host,
      sortedBy: 0,
      descending: true,
      first: LARGEST,
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

  /** Compute what the columns show of `group`. */
  describe(group) {
    const { cells } = this.report;
    group.waits = new GroupWaits(this.report, this.selection, group);
    group.states = tally(group, this.selection, (cell) => cells.state[cell]);
    group.places = tally(group, this.selection, (cell) => this.placeOf(cell));
    group.calls = tally(group, this.selection, (cell) => cells.call[cell]);
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
    const [title] = this.groupings.get(by);
    const value = (group) => this.labelWords(group.key, title);
    const label = {
      title,
      cell: (g) => breakable(value(g)),
      order: value,
    };
    return [
      { title: "Count", numeric: true, cell: (g) => countText(g.count), order: (g) => g.count },
      {
        title: "Share",
        numeric: true,
        wide: true,
        roomy: true,
        cell: (g) => shareText(g.count, this.selection.total),
        order: (g) => g.count,
      },
      ...(by.startsWith("label:") ? [label] : []),
      {
        title: "Where",
        header: true,
        cell: (g) => this.summary(g.places, this.commonCall(g)),
        order: (g) => place(g.places),
      },
      { title: "State", cell: (g) => this.stateCell(g), order: (g) => report.text(g.states[0][0]) },
      ...(report.hasWaits ? WAIT_COLUMNS : []),
      {
        title: "Created by",
        wide: true,
        cell: (g) => this.summary(g.creators),
        order: (g) => place(g.creators),
      },
    ];
  }

  /** The most frequent of `places`, the `call` made there, and the number of other places. */
  summary(places, call = NONE) {
    const [[place]] = places;
    const { report } = this;
    if (place === NONE) return "—";
    const others = places.length - 1;
    return element(
      "span",
      { class: "place" },
      functionSpan(report.functionOf(place)),
      element("span", { class: "location" }, shortLocation(report.locationOf(place))),
      call === NONE
        ? null
        : element("span", { class: "call" }, `in ${shortName(report.functionOf(call))}`),
      others
        ? element("span", { class: "muted" }, `and ${countedText(others, "other place")}`)
        : null,
    );
  }

  /** The function that all goroutines of `group` called, if it is one. */
  commonCall(group) {
    const functions = new Set(group.calls.map(([call]) => functionNumber(this.report, call)));
    return functions.size === 1 ? group.calls[0][0] : NONE;
  }

  /** The `value` of a label; `label` is its title. */
  labelWords(value, label) {
    if (value >= 0) return this.report.text(value) || "(empty)";
    return value === UNREAD ? "(unreadable)" : `(no ${label})`;
  }

  /** The states of `group`; on a narrow screen with their waits. */
  stateCell(group) {
    const waits = element("span", { class: "narrow-only muted" }, group.waits.words);
    return element("span", { class: "place state" }, breakable(this.stateWords(group)), waits);
  }

  stateWords(group) {
    const words = group.states.slice(0, 3).map(([state, count]) => {
      const word = this.report.text(state);
      return group.states.length === 1 ? word : `${word} ${countText(count)}`;
    });
    if (group.states.length > 3) words.push(`${countText(group.states.length - 3)} other states`);
    return words.join(", ");
  }
}

/** Text that may break anywhere: it can be long and have no spaces. */
const breakable = (text) => element("span", { class: "breakable" }, text);

/** A function's name; on a narrow screen without the path of its package. */
function functionSpan(name) {
  const short = shortName(name);
  const path = name.slice(0, name.length - short.length);
  return element(
    "span",
    { class: "function" },
    path ? element("span", { class: "wide-only" }, path) : null,
    short,
  );
}

/** `/src/prometheus/scrape/scrape.go:1371` as `scrape/scrape.go:1371`. */
const shortLocation = (location) => location.split("/").slice(-2).join("/");
