// The flame graph: the call tree with the outermost call on top; the width of a frame is the number of
// goroutines in it, or the time. Only visible frames are elements; they form a tree for screen readers.

const LEVELS_SHOWN = 100; // below the frame that is zoomed to
const ANCESTORS_SHOWN = 8; // above it, besides the root
const FRAMES_SHOWN = 4000;
const LEVEL_PX = 24;
const MIN_FRAME_PX = 3;
const NAMED_PX = 26; // narrower frames show no name

/** The visible part of the tree in `width` px, zoomed to a node: frames and gaps, callers first. */
function layOut(tree, totals, zoomed, width) {
  for (let minPx = MIN_FRAME_PX; ; minPx *= 2) {
    const items = layOutFrom(tree, totals, zoomed, minPx / width);
    if (items.length <= FRAMES_SHOWN) return items;
  }
}

function layOutFrom(tree, totals, zoomed, minShare) {
  const items = ancestorsOf(tree, zoomed).map((node, level) => ({
    node,
    level,
    left: 0,
    width: 1,
    isAncestor: true,
  }));
  const top = items.length;
  const open = [{ node: zoomed, level: top, left: 0, width: 1 }];
  while (open.length && items.length <= FRAMES_SHOWN) {
    const item = open.pop();
    items.push(item);
    if (item.node === NONE) continue;
    if (item.level - top < LEVELS_SHOWN)
      open.push(...below(tree, totals, item, minShare).reverse());
    else item.isCut = true;
  }
  return items;
}

/** The root and the nearest ancestors of `node`, outermost first. */
function ancestorsOf(tree, node) {
  const path = [];
  for (let at = tree.parent[node]; at !== NONE; at = tree.parent[at]) path.push(at);
  path.reverse();
  return path.length <= ANCESTORS_SHOWN + 1 ? path : [path[0], ...path.slice(-ANCESTORS_SHOWN)];
}

/** The callees of `item`, the widest first; those that are too narrow become one gap. */
function below(tree, totals, item, minShare) {
  const children = [...tree.children(item.node)].filter((node) => totals[node]);
  children.sort((a, b) => totals[b] - totals[a]);
  const items = [];
  let { left } = item;
  let narrow = 0;
  for (const node of children) {
    const width = (item.width * totals[node]) / totals[item.node];
    if (width < minShare) narrow += width;
    else items.push({ node, level: item.level + 1, left, width });
    if (width >= minShare) left += width;
  }
  if (narrow >= minShare) items.push({ node: NONE, level: item.level + 1, left, width: narrow });
  return items;
}

class Flame {
  /** `prefix` of the ids of its elements: a page may have several. */
  constructor(report, prefix = "") {
    this.report = report;
    const find = (id) => byId(prefix + id);
    this.host = find("flame-graph");
    this.detailLine = find("flame-detail");
    this.zoomOut = find("zoom-out");
    this.search = find("highlight");
    this.highlighted = find("highlighted");
    this.legend = find("flame-legend");
    this.zoomed = 0;
    this.focused = 0;
    this.host.addEventListener("click", (event) => this.onClick(event));
    this.host.addEventListener("keydown", (event) => this.onKey(event));
    this.host.addEventListener("focusin", (event) => this.describe(event.target));
    this.host.addEventListener("pointerover", (event) => this.describe(event.target));
    this.zoomOut.addEventListener("click", () => this.zoom(0));
    this.search.addEventListener("input", () => this.highlight());
    this.watchWidth();
  }

  /** Draw again when the width changes much; positions are relative, so small changes need none. */
  watchWidth() {
    new ResizeObserver(() => {
      if (this.tree && Math.abs(this.host.clientWidth - this.width) > this.width / 10) this.draw();
    }).observe(this.host);
  }

  /** Show `tree`; `totals` has the amount below each node: the report says of what. */
  show(tree, totals) {
    if (tree !== this.tree) this.zoomed = this.focused = 0;
    this.tree = tree;
    this.totals = totals;
    if (!totals[this.zoomed]) this.zoomed = 0;
    this.highlight();
    this.drawLegend();
  }

  zoom(node) {
    this.zoomed = this.focused = node;
    this.draw();
  }

  /** Mark the matching frames, and show the amount that has one. */
  highlight() {
    const text = this.search.value.trim();
    this.matches = text ? this.report.placesWith(text) : null;
    const found = this.matches ? this.countMatching() : 0;
    this.highlighted.textContent = text
      ? `In ${this.report.amountText(found)}, ${shareText(found, this.totals[0])}`
      : "";
    this.draw();
  }

  countMatching() {
    const { tree, totals, matches } = this;
    const through = tree.through(matches);
    let found = 0;
    for (let node = 1; node < tree.size; node++) {
      if (through[node] && !through[tree.parent[node]]) found += totals[node];
    }
    return found;
  }

  draw() {
    this.width = this.host.clientWidth || 1000;
    this.items = this.totals[0] ? layOut(this.tree, this.totals, this.zoomed, this.width) : [];
    if (!this.items.some(({ node }) => node === this.focused)) this.focused = this.zoomed;
    const isSearching = Boolean(this.matches);
    this.host.classList.toggle("searching", isSearching);
    replaceIn(this.host, ...this.items.map((item) => this.frame(item)));
    const levels = this.items.reduce((most, { level }) => Math.max(most, level + 1), 0);
    this.host.style.height = `${levels * LEVEL_PX}px`;
    this.zoomOut.disabled = this.zoomed === 0;
    this.detailLine.textContent = this.items.length
      ? this.words(this.focused)
      : this.report.noneText;
  }

  frame(item) {
    const made = item.node === NONE ? gap() : this.treeItem(item);
    if (item.width * this.width < NAMED_PX) made.classList.add("slim");
    made.style.left = `${100 * item.left}%`;
    made.style.width = `${100 * item.width}%`;
    made.style.top = `${item.level * LEVEL_PX}px`;
    return made;
  }

  treeItem({ node, level, isAncestor, isCut }) {
    const name = this.nameOf(node);
    const more = isCut ? "; zoom in for its callees" : "";
    const marks = ["frame", node ? this.report.markOf(this.tree.place[node], node) : "root"];
    if (isAncestor) marks.push("ancestor");
    if (isCut) marks.push("cut");
    if (this.matches && node && this.matches[this.tree.place[node]]) marks.push("hit");
    const attributes = {
      role: "treeitem",
      class: marks.join(" "),
      tabindex: node === this.focused ? 0 : -1,
      "aria-level": level + 1,
      "aria-label": `${name}, ${this.report.amountText(this.totals[node], node)}, ${shareText(this.totals[node], this.totals[0])}${more}`,
      "data-key": node,
      title: this.words(node) + more,
    };
    return element("div", attributes, shortName(name));
  }

  nameOf(node) {
    return node ? this.report.functionOf(this.tree.place[node]) : this.report.wholeText;
  }

  /** The facts about a frame on one line. */
  words(node) {
    const parts = [this.nameOf(node)];
    if (node) parts.push(this.report.locationOf(this.tree.place[node]));
    parts.push(
      this.report.amountText(this.totals[node], node),
      `${shareText(this.totals[node], this.totals[0])} of all`,
    );
    if (node) {
      const caller = this.totals[this.tree.parent[node]];
      parts.push(`${shareText(this.totals[node], caller)} of its caller`);
    }
    return parts.filter(Boolean).join(" · ");
  }

  nodeOf(target) {
    const key = target.closest?.(".frame")?.dataset.key;
    return key === undefined ? NONE : Number(key);
  }

  describe(target) {
    const node = this.nodeOf(target);
    if (node !== NONE) this.detailLine.textContent = this.words(node);
  }

  onClick(event) {
    const node = this.nodeOf(event.target);
    if (node === NONE) return;
    this.zoom(node);
    focusKey(this.host, String(node));
  }

  onKey(event) {
    const node = this.nodeOf(event.target);
    if (node === NONE || event.ctrlKey || event.altKey || event.metaKey) return;
    const act = this.actions(node)[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** The actions of keys on `node`. */
  actions(node) {
    return {
      Enter: () => this.zoomTo(node),
      " ": () => this.zoomTo(node),
      Escape: () => this.zoomTo(Math.max(0, this.tree.parent[this.zoomed])),
      Home: () => this.zoomTo(0),
      ArrowDown: () => this.move(this.under(node)),
      ArrowUp: () => this.move(this.above(node)),
      ArrowRight: () => this.move(this.beside(node, 1)),
      ArrowLeft: () => this.move(this.beside(node, -1)),
    };
  }

  zoomTo(node) {
    this.zoom(node);
    focusKey(this.host, String(node));
  }

  /** The item one level below `node`: its first child, or the next item if `node` is an ancestor. */
  under(node) {
    const index = this.items.findIndex((item) => item.node === node);
    if (this.items[index].isAncestor) return this.items[index + 1];
    return this.items.find((item) => item.node > 0 && this.tree.parent[item.node] === node);
  }

  above(node) {
    const { level } = this.items.find((item) => item.node === node);
    const parent = this.tree.parent[node];
    return (
      this.items.find((item) => item.node === parent) ??
      this.items.find((item) => item.isAncestor && item.level === level - 1)
    );
  }

  beside(node, step) {
    const { level } = this.items.find((item) => item.node === node);
    const row = this.items
      .filter((item) => item.level === level && item.node !== NONE)
      .sort((a, b) => a.left - b.left);
    return row[row.findIndex((item) => item.node === node) + step];
  }

  /** Focus the frame of `item`, which Tab then returns to. */
  move(item) {
    if (!item) return;
    const at = (node) => this.host.querySelector(`[data-key="${node}"]`);
    at(this.focused)?.setAttribute("tabindex", "-1");
    this.focused = item.node;
    at(this.focused).setAttribute("tabindex", "0");
    at(this.focused).focus();
  }

  /** The colours of the frames that are in use. */
  drawLegend() {
    const { report, tree, totals } = this;
    const used = new Set();
    for (let node = 1; node < tree.size; node++) {
      if (totals[node]) used.add(report.markOf(tree.place[node], node));
    }
    this.legend.replaceChildren(
      ...Object.entries(report.marks)
        .filter(([mark]) => used.has(mark))
        .map(([mark, words]) =>
          element(
            "li",
            {},
            element("span", { class: `swatch ${mark}`, "aria-hidden": "true" }),
            words,
          ),
        ),
    );
  }
}

const gap = () =>
  element("div", { class: "frame gap", "aria-hidden": "true", title: "frames too narrow to draw" });

/** `github.com/prometheus/prometheus/scrape.(*loop).run` as `scrape.(*loop).run`. */
const shortName = (name) => name.slice(name.split("[", 1)[0].lastIndexOf("/") + 1);
