// Views that are read once, and again when the user wants: what the server sends are elements as in a report, and data.

class PartView {
  /** `name` of the part; `query`: of the address of this page. */
  constructor(host, { pid, query }, name) {
    Object.assign(this, { pid, query, name });
    this.content = element("div", {});
    this.taken = element("p", { class: "muted" });
    this.reading = button("Read again", () => this.again(), { id: "again" });
    this.tools = element("div", { class: "tools reading" }, this.taken, this.reading);
    host.replaceChildren(this.tools, this.content);
  }

  get path() {
    return `/page/processes/${this.pid}/${this.name}`;
  }

  /** Read, and show what was read. */
  async again() {
    this.request?.abort();
    const { signal } = (this.request = new AbortController());
    this.taken.textContent = "Reading…";
    this.content.setAttribute("aria-busy", "true");
    try {
      const part = await documentAt(this.path, { signal });
      this.taken.textContent = part.taken ?? "";
      this.show(part);
    } catch (error) {
      if (signal.aborted) return;
      this.taken.textContent = "";
      this.content.replaceChildren(problemCard(error));
      refused(error);
    }
    this.content.setAttribute("aria-busy", "false");
  }

  show({ elements }) {
    this.content.replaceChildren(...built(elements));
    for (const part of this.content.querySelectorAll(".scripted")) part.hidden = false; // drawing needs widths
    for (const link of this.content.querySelectorAll("a[data-goroutine]")) {
      link.href = `#/${this.pid}/goroutines?goroutine=${link.dataset.goroutine}`;
    }
  }

  close() {
    this.request?.abort();
  }
}

class GoroutinesPart extends PartView {
  constructor(host, place) {
    super(host, place, "goroutines");
  }

  show(part) {
    const before = this.view ? [...new FormData(this.view.form)] : Object.entries(this.query);
    const by = this.view?.groups.by.value;
    super.show(part);
    const { form } = (this.view = new GoroutinesView(new Report(part.data)));
    for (const [name, value] of before) {
      const field = form.elements[name];
      if (field?.type === "checkbox") field.checked = true;
      else if (field) field.value = value;
    }
    if (before.some(([, value]) => value)) byId("filter-box").open = true;
    if (this.view.groups.groupings.has(by)) this.view.groups.by.value = by;
    this.view.show();
    if (this.query.goroutine || this.query.text) document.querySelector("#group-table .opener")?.click();
    this.query = {};
  }
}

class WaitsPart extends PartView {
  constructor(host, place) {
    super(host, place, "waits");
    this.heap = element("input", { type: "checkbox" });
    this.heap.addEventListener("change", () => this.again());
    const words = "Look through the heap for what nothing can wake";
    this.reading.before(element("label", { class: "check" }, this.heap, words));
  }

  get path() {
    return `${super.path}?heap=${this.heap.checked}`;
  }

  show(part) {
    super.show(part);
    if (!part.elements.length) {
      this.content.replaceChildren(element("p", { class: "card" }, "What goroutines wait on cannot be read in this program."));
    }
  }
}

class ProgramPart extends PartView {
  constructor(host, place) {
    super(host, place, "program");
  }

  show(part) {
    super.show(part);
    const { problem_count: problemCount, cpu_window_ns: cpuWindowNs } = part.data;
    showLists({ ...part.data, problemCount, cpuWindowNs });
  }
}

/** What resident memory is of, its limits, and both over time. */
class MemoryPart extends PartView {
  constructor(host, place) {
    super(host, place, "memory");
    this.figures = place.figures;
    this.limits = [];
    this.graph = element("div", { class: "card" });
    this.content.before(titled("over-time", "Memory over time", this.graph));
    this.take();
  }

  show(part) {
    super.show(part);
    this.content.prepend(element("h2", {}, "Where it goes"));
    this.limits = part.data.limits;
    this.take();
  }

  take() {
    const names = [
      ["rss", "Resident"],
      ["heap", "Heap in use"],
      ["goal", "Heap goal"],
    ];
    this.graph.replaceChildren(...memoryGraph(this.figures, names, this.limits));
  }
}
