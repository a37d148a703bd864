// Bar charts: the number of goroutines in each state. A chart is a table, for screen readers; the name
// of a state is a button that filters by it.

const BARS = 12;

/** Draw `counts`, pairs of the number of a text and a count; `column` of the cells has that number. */
function drawBars(host, { title, column, counts, total, report, picked, onPick, empty }) {
  const most = Math.max(1, ...counts.map(([, count]) => count));
  const lines = counts.slice(0, BARS).map(([number, count]) => {
    const value = `${column}:${number}`;
    const isPicked = value === picked;
    const button = element(
      "button",
      { type: "button", "data-key": value, "aria-pressed": String(isPicked) },
      report.text(number),
    );
    button.addEventListener("click", () => onPick(isPicked ? "" : value));
    return barLine(button, count, most, total);
  });
  const others = counts.slice(BARS).reduce((sum, [, count]) => sum + count, 0);
  if (others) lines.push(barLine(`${countText(counts.length - BARS)} others`, others, most, total));
  const heading = element("h3", {}, title);
  if (!lines.length) {
    replaceIn(host, heading, element("p", { class: "muted" }, empty));
    return;
  }
  const head = ["State", "Goroutines", "Share", "Bar"].map((word) =>
    element("th", { scope: "col" }, word),
  );
  const table = element(
    "table",
    { class: "bars" },
    element("caption", { class: "unseen" }, title),
    element("thead", { class: "unseen" }, element("tr", {}, ...head)),
    element("tbody", {}, ...lines),
  );
  replaceIn(host, heading, table);
}

function barLine(word, count, most, total) {
  const width = `${Math.min(100, (100 * count) / most).toFixed(2)}%`;
  const bar = drawn(
    "svg",
    { "aria-hidden": "true" },
    drawn("rect", { width, height: "100%", rx: 2 }),
  );
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, word),
    element("td", { class: "number" }, countText(count)),
    element("td", { class: "number muted" }, shareText(count, total)),
    element("td", { class: "bar" }, bar),
  );
}
