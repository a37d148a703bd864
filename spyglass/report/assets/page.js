// The page of a report.

/** The embedded snapshot, compressed. */
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
  initTheme();
  byId("download").addEventListener("click", () =>
    downloadSnapshot().catch((error) => {
      byId("notice").textContent = `The snapshot cannot be unpacked: ${error.message}`;
    }),
  );
  try {
    for (const part of document.querySelectorAll(".scripted")) part.hidden = false; // drawing needs widths
    const report = readReport();
    const view = new GoroutinesView(report);
    showLists(report);
    byId("main").addEventListener("click", ({ target }) => {
      if (target.dataset.goroutine) view.showGoroutine(target.dataset.goroutine); // the link goes there
    });
  } catch (error) {
    byId("notice").textContent = `A part of this page cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
