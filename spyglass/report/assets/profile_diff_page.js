// The page of two profiles of time.

function start() {
  byId("actions").hidden = false;
  initTheme();
  try {
    new ProfileDiffPage(new ProfileDiff(JSON.parse(byId("spyglass-profile").textContent)));
  } catch (error) {
    byId("notice").textContent = `A part of this page cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
