// The page as a whole: filters change what charts, flame graph and groups show.

const LABELS_OFFERED = 1000;

class Page {
  constructor(report) {
    this.report = report;
    this.form = byId("filters");
    this.offerStates();
    this.offerLabels();
    byId("explorer").hidden = false; // what is drawn needs to know how wide it is
    this.flame = new Flame(report);
    this.groups = new Groups(report);
    this.form.addEventListener("input", () => this.soon());
    this.form.addEventListener("reset", () => this.soon());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    showLists(report);
    this.show();
  }

  offerStates() {
    const offered = (title, column) => {
      const words = [...new Set(this.report.cells[column])].filter((number) => number !== NONE);
      words.sort((a, b) => (this.report.text(a) < this.report.text(b) ? -1 : 1));
      return element(
        "optgroup",
        { label: title },
        ...words.map((number) =>
          element("option", { value: `${column}:${number}` }, this.report.text(number)),
        ),
      );
    };
    this.form.elements.state.append(offered("Status", "status"), offered("Waits for", "reason"));
  }

  offerLabels() {
    const words = new Set(this.report.labelTexts.slice(0, LABELS_OFFERED).flat());
    byId("labels").append(
      ...[...words].slice(0, LABELS_OFFERED).map((value) => element("option", { value })),
    );
    const field = this.form.elements.label;
    field.disabled = !words.size;
    if (!words.size) field.placeholder = "none has labels";
  }

  /** Show what is asked for now, once, however many events there are until then. */
  soon() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.show());
  }

  show() {
    const choice = new Choice(this.form);
    const selection = new Selection(this.report, choice);
    const tree = this.report.trees[choice.tree];
    this.say(selection, choice);
    this.drawCharts(selection, choice);
    this.flame.show(tree, selection.totals(tree, choice.tree));
    this.groups.show(selection, choice.tree);
  }

  say(selection, choice) {
    const all = this.report.cells.count.reduce((sum, count) => sum + count, 0);
    const words = `${countText(selection.total)} of ${goroutinesText(all)}`;
    byId("matching").textContent = [`${words} shown`, choiceWords(this.report, choice)]
      .filter(Boolean)
      .join(": ");
    byId("tally").textContent = words;
  }

  drawCharts(selection, choice) {
    const { report } = this;
    const common = {
      total: selection.total,
      report,
      picked: choice.state,
      onPick: (value) => this.pick(value),
    };
    drawBars(byId("by-status"), {
      ...common,
      title: "By state",
      column: "status",
      counts: selection.countBy(report.cells.status),
      empty: "No goroutine matches the filters.",
    });
    drawBars(byId("by-reason"), {
      ...common,
      title: "By what they wait for",
      column: "reason",
      counts: selection.countBy(report.cells.reason),
      empty: "None of them waits.",
    });
  }

  pick(state) {
    this.form.elements.state.value = state;
    this.show();
  }
}

/** The theme that the system wants, until the reader wants the other one. */
function letChooseTheme() {
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => button.setAttribute("aria-pressed", String(isDark()));
  system.addEventListener("change", tell);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  tell();
}

/** The embedded snapshot's bytes, as they were compressed. */
function packedSnapshot() {
  const packed = atob(byId("spyglass-snapshot").textContent.trim());
  return new Blob([Uint8Array.from(packed, (character) => character.charCodeAt(0))]);
}

async function downloadSnapshot() {
  const { name } = byId("spyglass-snapshot").dataset;
  const stream = packedSnapshot().stream().pipeThrough(new DecompressionStream("gzip"));
  const blob = await new Response(stream).blob();
  const address = URL.createObjectURL(new Blob([blob], { type: "application/json" }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  byId("notice").textContent = `Saved as ${name}`;
}

function start() {
  byId("actions").hidden = false;
  letChooseTheme();
  byId("download").addEventListener("click", () =>
    downloadSnapshot().catch((error) => {
      byId("notice").textContent = `The snapshot cannot be unpacked here: ${error.message}`;
    }),
  );
  try {
    new Page(readReport());
  } catch (error) {
    byId("notice").textContent = `A part of this page cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
