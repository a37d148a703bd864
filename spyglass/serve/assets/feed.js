// The one stream of events of this page: of all processes, or of the one that is shown. It is closed while the page is
// hidden or paused, and opened again when it breaks.

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15000;

class Feed {
  /** `take` gets each event, `fail` each `Problem`; `interrupted` is called when it is closed. */
  constructor({ take, fail, interrupted }) {
    Object.assign(this, { take, fail, interrupted });
    this.path = "";
    this.isPaused = false;
    this.isOver = false;
    document.addEventListener("visibilitychange", () => this.update());
  }

  /** Listen to `path`, and to nothing else. */
  open(path) {
    if (path === this.path && this.running && !this.isOver) return;
    this.path = path;
    this.isOver = false;
    this.stop();
    this.update();
  }

  pause(isPaused) {
    this.isPaused = isPaused;
    this.update();
  }

  stop() {
    if (!this.running) return;
    this.running.abort();
    this.running = null;
    this.interrupted();
  }

  update() {
    const isWanted = this.path && !this.isPaused && !this.isOver && !document.hidden;
    if (!isWanted) this.stop();
    else if (!this.running) this.start();
  }

  start() {
    this.running = new AbortController();
    this.run(this.running.signal);
  }

  /** Listen until `signal`, and again after a failure, ever later. */
  async run(signal) {
    let pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted && !this.isOver) {
      try {
        await listen(this.path, signal, (event) => {
          if (signal.aborted) return;
          pauseMs = FIRST_PAUSE_MS;
          this.take(event);
        });
        if (!signal.aborted && !this.isOver) this.fail(new Problem("the server has ended the connection"));
      } catch (error) {
        if (signal.aborted) return;
        this.fail(error);
        if (!(error instanceof Problem)) throw error;
        this.isOver ||= [401, 403, 404, 410, 422].includes(error.status);
      }
      this.interrupted();
      if (this.isOver) break;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    }
    if (this.running?.signal === signal) this.running = null;
  }

  /** Nothing more will come. */
  end() {
    this.isOver = true;
  }
}
