// What was started by a button and takes a while: a snapshot, a report, a profile. Each can be cancelled, and ends with a
// link to what it made.

const SILENCE_MS = 3000;

class Jobs {
  /** `host`: where they are listed; `say` tells users of screen readers; `name`: of the program that is shown. */
  constructor(host, { say, name }) {
    Object.assign(this, { host, say, name });
    this.jobs = new Map();
    this.last = 0;
    this.toldAt = 0;
    setInterval(() => this.ask(), SILENCE_MS);
  }

  add(job) {
    this.jobs.set(job.key ?? `job-${++this.last}`, job);
    this.draw();
    return job;
  }

  change(job, changes) {
    Object.assign(job, changes);
    if (changes.text) this.say(`${job.title}: ${changes.text}`);
    this.draw();
  }

  draw() {
    this.host.hidden = !this.jobs.size;
    replaceIn(this.host, element("ul", {}, ...[...this.jobs].map(([key, job]) => this.item(key, job))));
  }

  item(key, job) {
    const bar = element("progress", { "aria-label": job.title, max: 1, value: job.share ?? null });
    return element(
      "li",
      { class: "card job" },
      element("strong", {}, job.title),
      job.isRunning ? bar : null,
      element("span", { class: "breakable" }, job.text ?? job.progress ?? ""),
      ...(job.links ?? []),
      job.isRunning
        ? button("Cancel", () => this.remove(key, "cancelled"), { "data-key": `cancel-${key}` })
        : button("Dismiss", () => this.remove(key), { "data-key": `dismiss-${key}` }),
    );
  }

  remove(key, word) {
    const job = this.jobs.get(key);
    this.jobs.delete(key);
    job.cancel();
    if (word) this.say(`${job.title}: ${word}`);
    this.draw();
  }

  /** Fetch what is at `path` and offer it as a file. */
  async file(title, path, name) {
    const aborter = new AbortController();
    let address = null;
    const cancel = () => {
      aborter.abort();
      if (address) URL.revokeObjectURL(address);
    };
    const job = this.add({ title, isRunning: true, progress: "reading…", cancel });
    try {
      const response = await request(path, { signal: aborter.signal });
      const size = Number(response.headers.get("content-length"));
      const blob = await blobOf(response, (bytes) => {
        this.change(job, { share: size ? bytes / size : null, progress: sizeText(bytes) });
      });
      address = URL.createObjectURL(blob);
      const file = fileName(response, name);
      const link = element("a", { href: address, download: file }, `Download ${file}`);
      this.change(job, { isRunning: false, links: [link], text: sizeText(blob.size) });
    } catch (error) {
      if (aborter.signal.aborted) return;
      this.fail(job, error);
    }
  }

  fail(job, error) {
    this.change(job, { isRunning: false, text: [error.message, error.hint].filter(Boolean).join(": ") });
    refused(error);
  }

  /** Start to record a profile. */
  async profile(pid, mode = "cpu", duration = "10s") {
    const title = `${mode} profile of ${this.name()}, ${duration}`;
    try {
      const options = { method: "POST" };
      const { id } = await documentAt(`/v1/processes/${pid}/profiles?mode=${mode}&duration=${duration}`, options);
      const cancel = () => job.isRunning && this.forget(id);
      const job = this.add({ key: id, title, isRunning: true, share: 0, isProfile: true, cancel });
    } catch (error) {
      this.fail(this.add({ title, cancel() {} }), error);
    }
  }

  /** Cancel a recording, or forget what it has. */
  async forget(id) {
    this.jobs.delete(id);
    this.draw();
    try {
      await request(`/v1/profiles/${id}`, { method: "DELETE" });
    } catch (error) {
      if (error.status !== 404) this.say(error.message);
    }
  }

  /** Show how far the recordings are that were started here; `profiles`: the states of all. */
  take(profiles) {
    this.toldAt = Date.now();
    const states = new Map(profiles.map((state) => [state.id, state]));
    for (const [key, job] of this.jobs) {
      if (!job.isProfile || !job.isRunning) continue;
      const state = states.get(key);
      if (state) this.update(job, state);
      else this.change(job, { isRunning: false, text: "the server has it no more" });
    }
  }

  /** Ask for the recordings if no event has told of them for long: the live view is paused, or its process has ended. */
  async ask() {
    const isRunning = [...this.jobs.values()].some((job) => job.isProfile && job.isRunning);
    if (!isRunning || document.hidden || Date.now() - this.toldAt < SILENCE_MS) return;
    try {
      this.take((await documentAt("/v1/profiles")).profiles);
    } catch (error) {
      refused(error);
    }
  }

  update(job, state) {
    if (state.state === "recording") {
      const share = Math.min(1, state.elapsed_ns / state.duration_ns);
      this.change(job, { share, progress: countedText(state.samples, "sample") });
      return;
    }
    if (state.state === "failed") this.explain(job, state);
    else {
      const flame = element("a", { href: `#/${state.pid}/profiles/${state.id}` }, "Flame graph");
      this.change(job, { isRunning: false, text: countedText(state.samples, "sample"), links: [flame, " ", ...resultLinks(state)] });
    }
  }

  /** Ask why a recording failed: the state of it has no hint. */
  async explain(job, { id }) {
    job.isRunning = false;
    try {
      await request(`/v1/profiles/${id}/result`);
    } catch (error) {
      this.fail(job, error);
    }
  }
}
