// Requests to the server: documents, and events for as long as somebody listens.

const JSON_TYPE = /\bjson\b/;

/** Why there is no answer: one line, what to do about it, and the HTTP status, 0 if there was no answer at all. */
class Problem extends Error {
  constructor(message, { hint = "", status = 0 } = {}) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

async function problemOf(response) {
  const { status, headers } = response;
  if (!JSON_TYPE.test(headers.get("content-type") ?? "")) return new Problem(`HTTP status ${status}`, { status });
  const { detail, title, hint } = await response.json();
  return new Problem(detail || title || `HTTP status ${status}`, { hint, status });
}

/** The response to a request; throws a `Problem` for every other than a success. */
async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("the server does not answer", { hint: "is spyglass serve still running?" });
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

const documentAt = async (path, options) => (await request(path, options)).json();

/** Call `take` with the data of each server-sent event at `path`, until the server or `signal` ends them. */
async function listen(path, signal, take) {
  const response = await request(path, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (signal.aborted) return;
      throw new Problem("the connection to the server is lost");
    }
    if (piece.done) return;
    text += piece.value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) take(JSON.parse(event.slice("data: ".length)));
  }
}

/** The content of a response in pieces, as a blob; `told` is called with the number of bytes so far. */
async function blobOf(response, told) {
  const pieces = [];
  let size = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    told((size += value.length));
  }
  // A page of a report is only ever saved: opened here, it would have this origin.
  return new Blob(pieces, { type: "application/octet-stream" });
}

/** The name of the file that a response is, or `name`. */
function fileName(response, name) {
  const given = /filename="([\w.-]+)"/.exec(response.headers.get("content-disposition") ?? "");
  return given ? given[1] : name;
}
