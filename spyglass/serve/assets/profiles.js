// Profiles of a process: those that were recorded, a form for another one, and the flame graph of one.

const MODES = [
  ["cpu", "CPU: where processor time goes"],
  ["wall", "Wall clock: where goroutines spend their time"],
  ["offcpu", "Off-CPU: where threads wait"],
];
const DURATIONS = [
  ["10s", "10 s"],
  ["30s", "30 s"],
  ["60s", "1 min"],
  ["300s", "5 min"],
];
const RESULTS = [
  ["html", "page", "html"],
  ["pprof", "pprof", "pb.gz"],
  ["folded", "folded stacks", "txt"],
  ["speedscope", "speedscope", "speedscope.json"],
];

const choices = (pairs) => pairs.map(([value, words]) => element("option", { value }, words));

/** The links to a finished profile in several formats. */
function resultLinks({ id, pid, mode }) {
  const links = RESULTS.flatMap(([format, words, ending]) => [
    element(
      "a",
      { href: `/v1/profiles/${id}/result?format=${format}`, download: `${mode}-${pid}-${id.slice(0, 6)}.${ending}` },
      words,
    ),
    " ",
  ]);
  return [element("span", { class: "muted" }, "Save as "), ...links];
}

class ProfilesView {
  constructor(host, { pid, rest, jobs }) {
    Object.assign(this, { pid, jobs });
    this.listed = "";
    this.list = element("div", {}, element("p", { class: "muted" }, "None yet."));
    this.graph = element("div", { id: "graph" });
    host.replaceChildren(
      titled("record", "Record", element("div", { class: "card" }, this.form(), this.list)),
      this.graph,
    );
    if (rest) this.showGraph(rest);
  }

  form() {
    const mode = element("select", {}, ...choices(MODES));
    const duration = element("select", {}, ...choices(DURATIONS));
    const form = element(
      "form",
      { class: "tools", "aria-label": "Record a profile" },
      element("label", {}, "Profile", mode),
      element("label", {}, "For", duration),
      element("button", { type: "submit" }, "Record"),
      element("a", { href: `#/${this.pid}/profiles/heap` }, "Heap profile, as of now"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.jobs.profile(this.pid, mode.value, duration.value);
    });
    return form;
  }

  /** List the profiles of the process. */
  take({ profiles: all }) {
    const profiles = all?.filter(({ pid }) => pid === this.pid);
    const known = JSON.stringify(profiles?.map(({ id, state, samples, error }) => [id, state, samples, error]) ?? null);
    if (!profiles || known === this.listed) return;
    this.listed = known;
    replaceIn(
      this.list,
      profiles.length
        ? element("ul", { class: "profiles" }, ...profiles.map((job) => this.item(job)).reverse())
        : element("p", { class: "muted" }, "None yet."),
    );
  }

  item(job) {
    const words = `${job.mode}, ${durationText(job.elapsed_ns)} of ${durationText(job.duration_ns)}, ${countedText(job.samples, "sample")}: ${job.state}`;
    const isDone = ["done", "cancelled"].includes(job.state);
    return element(
      "li",
      {},
      isDone ? element("a", { href: `#/${this.pid}/profiles/${job.id}`, "data-key": `flame-${job.id}` }, words) : words,
      " ",
      ...(isDone ? resultLinks(job) : []),
      job.error ? element("span", { class: "muted breakable" }, job.error, " ") : null,
      button(job.state === "recording" ? "Cancel" : "Forget", () => this.jobs.forget(job.id), { "data-key": `forget-${job.id}` }),
    );
  }

  /** Show the flame graph of a recorded profile, or of the heap. */
  async showGraph(id) {
    const path = id === "heap" ? `/page/processes/${this.pid}/heap` : `/page/profiles/${encodeURIComponent(id)}`;
    const { signal } = (this.request = new AbortController());
    this.graph.replaceChildren(element("p", { class: "muted" }, "Reading…"));
    try {
      const { elements, data, prefix = "heap-" } = await documentAt(path, { signal });
      this.graph.replaceChildren(...built(elements));
      for (const part of this.graph.querySelectorAll(".scripted")) part.hidden = false; // drawing needs widths
      if (data.kinds) new SitesView(new Sites(data), prefix);
      else new ProfileView(new Profile(data), prefix);
    } catch (error) {
      if (signal.aborted) return;
      this.graph.replaceChildren(problemCard(error));
      refused(error);
    }
  }

  close() {
    this.request?.abort();
  }
}
