// The page of a profile: a flame graph of the time of samples, and the functions that they were in.

const MANY_VALUES = 500; // offered to choose from

class Profile extends Code {
  wholeText = "all samples";
  noneText = "No sample matches.";
  marks = { ...this.marks, note: "not a function" };

  constructor(data) {
    super(data);
    this.tree = new CallTree(data.tree);
    this.leaves = data.rows.leaf;
    this.values = data.rows.value_ns;
    this.groupings = data.groupings;
  }

  amountText(ns) {
    return secondsText(ns);
  }

  /** A function has many lines: its file alone is its location. */
  locationOf(place) {
    return this.text(this.places.file[place]);
  }

  /** The sum of the values of each group, the largest first: pairs of number and sum. */
  sums(grouping) {
    const sums = grouping.names.map((_, group) => [group, 0]);
    grouping.of.forEach((group, row) => {
      sums[group][1] += this.values[row];
    });
    return sums.filter(([, sum]) => sum).sort((a, b) => b[1] - a[1]);
  }

  /** For each row whether it is in `group` of `grouping`; every row is in `NONE`. */
  chosen(grouping, group) {
    return this.leaves.map((_, row) => group === NONE || grouping.of[row] === group);
  }

  /** The tree of the `chosen` rows, and the time below each of its nodes. */
  treeOf(chosen, grouping, isInverted) {
    const made = new TreeMaker(this.places.function.length);
    this.leaves.forEach((leaf, row) => {
      if (!chosen[row]) return;
      const path = this.tree.stack(leaf); // innermost first
      if (!isInverted) path.reverse();
      if (grouping) path.unshift(grouping.names[grouping.of[row]]);
      made.add(path, this.values[row]);
    });
    return made.finish();
  }

  /** The time of each function in the `chosen` rows: in itself, and with what it calls. */
  functions(chosen) {
    const self = new Map();
    const total = new Map();
    const add = (sums, place, value) => sums.set(place, (sums.get(place) ?? 0) + value);
    this.leaves.forEach((leaf, row) => {
      if (!chosen[row]) return;
      const stack = this.tree.stack(leaf);
      if (stack.length) add(self, stack[0], this.values[row]);
      for (const place of new Set(stack)) add(total, place, this.values[row]);
    });
    const found = [...total].map(([place, ns]) => ({ place, total: ns, self: self.get(place) ?? 0 }));
    return found.sort((a, b) => b.total - a.total);
  }
}

/** Makes a tree of paths; a node is made after its parent. */
class TreeMaker {
  constructor(placeCount) {
    this.placeCount = placeCount;
    this.parent = [NONE];
    this.place = [NONE];
    this.own = [0];
    this.known = new Map();
  }

  add(path, value) {
    let node = 0;
    for (const place of path) node = this.child(node, place);
    this.own[node] += value;
  }

  child(parent, place) {
    const key = parent * this.placeCount + place;
    let node = this.known.get(key);
    if (node === undefined) {
      node = this.parent.push(parent) - 1;
      this.place.push(place);
      this.own.push(0);
      this.known.set(key, node);
    }
    return node;
  }

  finish() {
    const totals = Float64Array.from(this.own);
    for (let node = totals.length - 1; node > 0; node--) totals[this.parent[node]] += totals[node];
    return { tree: new CallTree(this), totals };
  }
}

/** A time in seconds, or in milliseconds where that is short: "12.3 s", "450 ms". */
function secondsText(ns) {
  const seconds = ns / SECOND_NS;
  if (!ns) return "0";
  if (seconds < 0.01) return `${(ns / 1e6).toPrecision(2)} ms`;
  if (seconds < 1) return `${Math.round(ns / 1e6)} ms`;
  return `${numbers.format(Number(seconds.toFixed(seconds < 100 ? 2 : 1)))} s`;
}

/** The flame graph and the table of `profile`, in elements whose ids begin with `prefix`. */
class ProfileView {
  constructor(profile, prefix = "") {
    this.profile = profile;
    this.form = byId(`${prefix}choices`);
    this.offerGroupings();
    this.flame = new Flame(profile, prefix);
    this.table = this.functionTable(byId(`${prefix}function-table`));
    this.form.addEventListener("change", ({ target }) => this.onChoice(target));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.onChoice(this.form.elements.by);
  }

  offerGroupings() {
    const options = this.profile.groupings.map(({ title, chosen }, index) =>
      element("option", { value: index, selected: chosen ? "" : null }, this.profile.text(title)),
    );
    this.form.elements.by.append(...options);
  }

  get grouping() {
    return this.profile.groupings[Number(this.form.elements.by.value)] ?? null;
  }

  onChoice(target) {
    if (target === this.form.elements.by) this.offerValues();
    this.show();
  }

  /** Offer the groups of the chosen grouping, those with the longest time first. */
  offerValues() {
    const field = this.form.elements.value;
    const { grouping, profile } = this;
    const offered = grouping ? profile.sums(grouping).slice(0, MANY_VALUES) : [];
    field.replaceChildren(
      element("option", { value: NONE }, "all"),
      ...offered.map(([group, ns]) =>
        element(
          "option",
          { value: group },
          `${profile.functionOf(grouping.names[group])} (${profile.amountText(ns)})`,
        ),
      ),
    );
    field.disabled = !grouping;
  }

  get group() {
    return Number(this.form.elements.value.value);
  }

  show() {
    const { group, grouping, profile } = this;
    const chosen = profile.chosen(grouping, group);
    const { tree, totals } = profile.treeOf(chosen, grouping, this.form.elements.inverted.checked);
    this.flame.show(tree, totals);
    this.whole = totals[0];
    this.table.show(profile.functions(chosen));
  }

  functionTable(host) {
    const time = (title, field, options = {}) => ({
      title,
      numeric: true,
      cell: (row) => this.profile.amountText(row[field]),
      order: (row) => row[field],
      ...options,
    });
    const share = (title, field) => ({
      title,
      numeric: true,
      wide: true,
      cell: (row) => shareText(row[field], this.whole),
      order: (row) => row[field],
    });
    return new Table(host, {
      caption: "Functions",
      empty: this.profile.noneText,
      sortedBy: 1,
      descending: true,
      columns: [
        {
          title: "Function",
          header: true,
          cell: ({ place }) =>
            element("code", { class: "function" }, this.profile.functionOf(place)),
          order: ({ place }) => this.profile.functionOf(place),
        },
        time("Self", "self"),
        share("Self %", "self"),
        time("Total", "total"),
        share("Total %", "total"),
      ],
    });
  }
}
