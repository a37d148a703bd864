// The page: what the address after # names is shown: the list of processes, or a view of one.
//   #/    #/PID    #/PID/VIEW    #/PID/profiles/ID    #/PID/goroutines?text=...

const PROCESS_VIEWS = ["live", "goroutines", "waits", "profiles", "memory", "program"];
const PARTS = { goroutines: GoroutinesPart, waits: WaitsPart, memory: MemoryPart, program: ProgramPart };

/** What the address names; null if that is no view. */
function placeOf(hash) {
  const [, pid, name, rest, search] = /^(?:#\/?)?(?:(\d{1,10})(?:\/([a-z]+)(?:\/(\w+))?)?)?(?:\?(.*))?$/.exec(hash) ?? [null, "x"];
  if (pid === "x" || (name && !PROCESS_VIEWS.includes(name))) return null;
  return { pid: pid ? Number(pid) : null, name: name ?? "live", rest, query: Object.fromEntries(new URLSearchParams(search)) };
}

class ServePage {
  constructor() {
    this.view = null;
    this.place = null;
    this.options = { by: "function", function: "" };
    this.figures = new Figures();
    this.feed = new Feed({
      take: (event) => this.take(event),
      fail: (problem) => this.fail(problem),
      interrupted: () => this.figures.interrupt(),
    });
    this.jobs = new Jobs(byId("jobs"), { say: (text) => this.say(text), name: () => this.name });
    this.wireButtons();
    this.wireToken();
    addEventListener("hashchange", () => this.route());
    this.route();
  }

  wireButtons() {
    const actions = {
      snapshot: () => this.save("Snapshot", "snapshot", "snapshot.json.gz"),
      report: () => this.save("Report", "report", `${this.name}.html`),
      profile: () => this.place.pid && this.jobs.profile(this.place.pid),
      pause: () => this.pause(!this.feed.isPaused),
    };
    for (const [id, act] of Object.entries(actions)) byId(id).addEventListener("click", act);
    byId("skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address names the view
      byId("main").focus();
    });
    const views = PROCESS_VIEWS.map((name, index) => [String(index + 1), () => this.go(name)]);
    new Keys({
      ...Object.fromEntries(views),
      l: () => (location.hash = "#/"),
      p: actions.pause,
      s: actions.snapshot,
      r: actions.report,
      c: actions.profile,
      a: () => byId("again")?.click(),
      "/": () => this.focusFilter(),
    });
  }

  wireToken() {
    const dialog = byId("token-dialog");
    const wrong = byId("token-wrong");
    byId("token-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const field = byId("token");
      wrong.textContent = "";
      try {
        await request(`/v1/profiles?token=${encodeURIComponent(field.value.trim())}`);
        field.value = "";
        dialog.close();
        this.route();
      } catch (error) {
        wrong.textContent = error.message;
        field.focus();
      }
    });
    dialog.addEventListener("cancel", (event) => event.preventDefault()); // there is nothing behind it
  }

  askToken() {
    this.feed.end();
    if (!byId("token-dialog").open) byId("token-dialog").showModal();
  }

  /** Tell something to all, by the line that screen readers read. */
  say(text) {
    byId("notice").textContent = text;
  }

  go(name) {
    if (this.place.pid) location.hash = `#/${this.place.pid}/${name}`;
  }

  focusFilter() {
    const box = byId("filter-box");
    if (box) box.open = true;
    document.querySelector("#filter, #filters [name=text], [id$=highlight]")?.focus();
  }

  save(title, name, file) {
    const { pid } = this.place;
    if (!pid) return;
    const query = ["redact", "heap"].filter((id) => byId(id).checked).map((id) => `${id}=true`);
    this.jobs.file(`${title} of ${this.name}`, `/v1/processes/${pid}/${name}?${query.join("&")}`, file);
  }

  pause(isPaused) {
    this.feed.pause(isPaused);
    byId("pause").setAttribute("aria-pressed", String(isPaused));
    this.trouble("");
  }

  /** Show what the address names. */
  route() {
    const place = placeOf(location.hash);
    if (!place) {
      location.hash = "#/";
      return;
    }
    const isFirst = !this.place;
    if (isFirst || place.pid !== this.place.pid) this.begin(place.pid);
    this.view?.close?.();
    this.place = place;
    this.showLinks();
    this.view = this.viewOf(place);
    this.view.again?.();
    if (this.known) this.view.take?.(this.known);
    this.listen();
    if (!isFirst) {
      byId("main").focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  }

  /** Begin with another process, or with the list. */
  begin(pid) {
    this.figures = new Figures();
    this.known = null;
    this.options.function = "";
    this.trouble("");
    this.entitle(pid ? `Process ${pid}` : "Go processes", "");
  }

  entitle(name, about) {
    this.name = name;
    byId("title").textContent = name;
    byId("about").textContent = about;
    const view = this.place?.pid ? document.querySelector("#views [aria-current]")?.textContent : "";
    document.title = [name, view, "spyglass"].filter(Boolean).join(" · ");
  }

  showLinks() {
    const { pid, name } = this.place;
    for (const part of document.querySelectorAll(".of-process")) part.hidden = !pid;
    for (const link of document.querySelectorAll("#views a[data-view]")) {
      link.href = `#/${pid}/${link.dataset.view}`;
      if (link.dataset.view === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.entitle(this.name, byId("about").textContent);
  }

  viewOf(place) {
    const host = byId("view");
    const { figures, options, jobs } = this;
    if (!place.pid) return new HostsView(host);
    if (place.name === "profiles") return new ProfilesView(host, { ...place, jobs });
    if (place.name !== "live") return new PARTS[place.name](host, { ...place, figures });
    return new LiveView(host, { ...place, figures, options, changed: (chosen) => this.choose(chosen) });
  }

  /** Show other groups live. */
  choose(options) {
    if (options.function !== this.options.function) this.figures.points.length = 0; // they were of other goroutines
    this.options = options;
    this.listen();
  }

  listen() {
    const { pid } = this.place;
    if (!pid) {
      this.feed.open("/page/processes");
      return;
    }
    const query = new URLSearchParams({ by: this.options.by, limit: 100 });
    if (this.options.function) query.set("function", this.options.function);
    this.feed.open(`/page/processes/${pid}/live?${query}`);
  }

  take(event) {
    if (event.profiles) this.jobs.take(event.profiles);
    if (event.name) this.entitle(event.name, event.about);
    if (event.ended) {
      this.feed.end();
      this.trouble(`${event.ended}. What is shown is the last that was read.`);
    } else this.trouble(event.problem ?? "");
    this.known = { ...this.known, ...event };
    if (event.groups) this.figures.add(figuresOf(event));
    this.view.take?.(event);
  }

  fail(problem) {
    this.trouble([problem.message, problem.hint].filter(Boolean).join(": "));
    refused(problem);
  }

  /** Say why nothing new comes; nothing if it does. */
  trouble(problem) {
    const line = byId("trouble");
    const text = problem || (this.feed.isPaused ? "Paused." : "");
    if (line.textContent !== text) line.textContent = text;
    line.hidden = !text;
  }
}

/** Ask for the token if that is what `error` is about. */
function refused(error) {
  if (error.status === 401) page?.askToken();
}

// The token in the address has become a cookie.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);
initTheme();
let page = null;
page = new ServePage();
