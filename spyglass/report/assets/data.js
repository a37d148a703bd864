// The data of this page. Goroutines that differ only in id and wait are one cell. What cells share (texts,
// places in the code, sets of labels, stacks) is stored once and referred to by number.

const NONE = -1;
const UNREAD = -2; // in the column of labels: unreadable
const ORIGINS = ["own", "dependency", "either", "standard", "runtime", "note"];
const ORIGIN_WORDS = [
  "this program",
  "dependencies",
  "this program or dependencies",
  "standard library",
  "Go runtime",
  "not known",
];

/** Stacks as a tree. Node 0 is the root; a parent's number is lower than its children's. */
class CallTree {
  constructor({ parent, place }) {
    this.parent = Int32Array.from(parent);
    this.place = Int32Array.from(place);
    this.size = this.parent.length;
    this.firstChild = new Int32Array(this.size).fill(NONE);
    this.nextSibling = new Int32Array(this.size).fill(NONE);
    for (let node = this.size - 1; node > 0; node--) {
      this.nextSibling[node] = this.firstChild[this.parent[node]];
      this.firstChild[this.parent[node]] = node;
    }
  }

  *children(node) {
    for (let child = this.firstChild[node]; child !== NONE; child = this.nextSibling[child])
      yield child;
  }

  /** The places of the stack that ends at `node`, innermost first. */
  stack(node) {
    const places = [];
    for (let at = node; at > 0; at = this.parent[at]) places.push(this.place[at]);
    return places;
  }

  /** For each node whether `matches` is true of its place or of one above it. */
  through(matches) {
    const found = new Uint8Array(this.size);
    for (let node = 1; node < this.size; node++) {
      found[node] = found[this.parent[node]] | matches[this.place[node]];
    }
    return found;
  }
}

/** What nodes of trees are: places in the code. */
class Code {
  /** The classes of frames, with their meaning. */
  marks = Object.fromEntries(ORIGINS.map((origin, index) => [origin, ORIGIN_WORDS[index]]));

  constructor(data) {
    this.places = data.places;
    this.strings = data.strings;
  }

  text(number) {
    return number === NONE ? "" : this.strings[number];
  }

  functionOf(place) {
    return place === NONE ? "not known" : this.text(this.places.function[place]);
  }

  originOf(place) {
    return this.places.origin[place];
  }

  /** The class of a frame of the flame graph. */
  markOf(place) {
    return ORIGINS[this.originOf(place)];
  }

  /** File and line of a place; empty where there is none. */
  locationOf(place) {
    if (place === NONE || this.originOf(place) === ORIGINS.indexOf("note")) return "";
    return `${this.text(this.places.file[place]) || "?"}:${this.places.line[place] || "?"}`;
  }

  /** For each place whether the name of its function or file contains `text`, ignoring case. */
  placesWith(text) {
    const wanted = text.toLowerCase();
    const found = this.strings.map((string) => string.toLowerCase().includes(wanted));
    const { function: functions, file } = this.places;
    return functions.map((name, place) =>
      Number(found[name] || (file[place] !== NONE && found[file[place]])),
    );
  }
}

class Report extends Code {
  wholeText = "all goroutines";
  noneText = "No goroutine matches the filters.";

  constructor(data) {
    super(data);
    this.cells = data.cells;
    this.cellCount = data.cells.count.length;
    this.labelSets = data.label_sets;
    this.processors = data.processors;
    this.threads = data.threads;
    this.cpuWindowNs = data.cpu_window_ns;
    this.problems = data.problems;
    this.problemCount = data.problem_count;
    this.trees = { shown: new CallTree(data.trees.shown), all: new CallTree(data.trees.all) };
    this.firsts = startsOf(data.cells.count);
    this.ids = idsOf(data.goroutines.ids);
    this.waits = waitsOf(data.goroutines.waits, this.ids.length);
    this.hasWaits = this.waits.some((waitNs) => waitNs !== NONE);
    this.gcCount = data.gc_count;
    this.labelTexts = data.label_sets.map((set) => set.map((pair) => this.labelText(pair)));
  }

  /** How many of `counts`, one for each cell, are user goroutines, and how many the runtime's. */
  population(counts) {
    const found = [0, 0];
    counts.forEach((count, cell) => {
      found[this.cells.system[cell] ? 1 : 0] += count;
    });
    return found;
  }

  labelText([key, value]) {
    return `${this.text(key)}=${this.text(value)}`;
  }

  /** The labels of a cell in words. */
  labelsOf(cell) {
    const set = this.cells.labels[cell];
    if (set === UNREAD) return ["unreadable"];
    return set === NONE ? [] : this.labelTexts[set];
  }

  amountText(count) {
    return goroutinesText(count);
  }
}

/** The start of each of consecutive parts, and the end of the last one. */
function startsOf(counts) {
  const starts = new Uint32Array(counts.length + 1);
  counts.forEach((count, index) => {
    starts[index + 1] = starts[index] + count;
  });
  return starts;
}

/** Ids are stored as differences; as texts where a number would not be exact. */
function idsOf(column) {
  if (typeof column[0] === "string") return column;
  const ids = new Float64Array(column.length);
  let id = 0;
  column.forEach((step, row) => {
    ids[row] = id += step;
  });
  return ids;
}

/** The known wait of each goroutine in ns, or `NONE`. */
function waitsOf({ values, value, length }, size) {
  const waits = new Float64Array(size);
  let row = 0;
  value.forEach((index, run) => waits.fill(values[index], row, (row += length[run])));
  return waits;
}

const readReport = () => new Report(JSON.parse(byId("spyglass-report").textContent));
