// The figures of a process over time, as long as the page is open, and graphs of them.

const KEPT = 900; // points: 15 minutes of seconds
const GRAPH_WIDTH = 600;
const GRAPH_HEIGHT = 100;

/** The values of the last lines. A point without values is a gap: nobody looked. */
class Figures {
  constructor() {
    this.points = [];
  }

  add(values) {
    this.points.push({ at: Date.now(), values });
    if (this.points.length > KEPT) this.points.shift();
  }

  /** What comes next is not connected to what was. */
  interrupt() {
    if (this.points.at(-1)?.values) this.add(null);
  }

  /** How long the points are in ns. */
  get spanNs() {
    return this.points.length ? (this.points.at(-1).at - this.points[0].at) * 1e6 : 0;
  }

  /** The least and the largest value of `name`; null if there is none. */
  range(name) {
    const values = this.points.map(({ values }) => values?.[name]).filter((value) => Number.isFinite(value));
    return values.length ? [Math.min(...values), Math.max(...values)] : null;
  }

  /** The path of `name` in a graph whose values go from `low` to `high`. */
  path(name, low, high) {
    const [first, last] = [this.points[0].at, this.points.at(-1).at];
    let isDown = false;
    return this.points
      .map(({ at, values }) => {
        const value = values?.[name];
        if (!Number.isFinite(value)) {
          isDown = false;
          return "";
        }
        const x = last > first ? (GRAPH_WIDTH * (at - first)) / (last - first) : GRAPH_WIDTH;
        const y = high > low ? GRAPH_HEIGHT * (1 - (value - low) / (high - low)) : GRAPH_HEIGHT / 2;
        const step = `${isDown ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
        isDown = true;
        return step;
      })
      .join("");
  }
}

const graphSvg = (attributes, ...children) =>
  drawn(
    "svg",
    { viewBox: `0 0 ${GRAPH_WIDTH} ${GRAPH_HEIGHT}`, preserveAspectRatio: "none", ...attributes },
    ...children,
  );

/** A small graph of figure `name`, from its least to its largest value; nothing if it did not change. */
function sparkline(figures, name) {
  const range = figures.range(name);
  if (!range || range[0] === range[1]) return null;
  return graphSvg({ class: "spark", "aria-hidden": "true" }, drawn("path", { d: figures.path(name, ...range) }));
}

/** The range of figure `name` in words; empty if it did not change. */
function rangeText(figures, name, words) {
  const range = figures.range(name);
  if (!range || words(range[0]) === words(range[1])) return "";
  return `${words(range[0])} to ${words(range[1])} in ${durationText(figures.spanNs)}`;
}

/** A graph of several figures, pairs of a name and what it is, and of `limits` ({words, bytes}) that fit in, from 0. */
function memoryGraph(figures, names, limits) {
  const known = names.filter(([name]) => figures.range(name));
  if (!known.length) return [element("p", { class: "muted" }, "Nothing is known yet.")];
  const most = Math.max(...known.map(([name]) => figures.range(name)[1]));
  const near = limits.filter(({ bytes }) => bytes <= 4 * most);
  const high = 1.05 * Math.max(most, ...near.map(({ bytes }) => bytes));
  const y = (value) => (GRAPH_HEIGHT * (1 - value / high)).toFixed(1);
  const lines = [
    ...near.map(({ bytes }) => drawn("path", { class: "limit", d: `M0 ${y(bytes)}H${GRAPH_WIDTH}` })),
    ...known.map(([name]) => drawn("path", { class: name, d: figures.path(name, 0, high) })),
  ];
  const now = figures.points.findLast(({ values }) => values)?.values ?? {};
  const legend = [
    ...known.map(([name, words]) => [name, `${words}: ${sizeText(now[name] ?? 0)}`]),
    ...near.map(({ words, bytes }) => ["limit", `${words}: ${sizeText(bytes)}`]),
  ];
  const said = `Memory in the last ${durationText(figures.spanNs)}: ${legend.map(([, words]) => words).join(", ")}`;
  return [
    element("p", { class: "scale muted" }, sizeText(high)),
    graphSvg({ class: "graph", role: "img", "aria-label": said }, ...lines),
    element(
      "p",
      { class: "scale muted" },
      element("span", {}, `${durationText(figures.spanNs)} ago`),
      element("span", {}, "now"),
    ),
    element("ul", { class: "legend" }, ...legend.map(([name, words]) => legendItem(name, words))),
  ];
}

const legendItem = (name, words) =>
  element(
    "li",
    {},
    drawn(
      "svg",
      { class: "key", viewBox: "0 0 20 10", "aria-hidden": "true" },
      drawn("path", { class: name, d: "M0 5H20" }),
    ),
    words,
  );
