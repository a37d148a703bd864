// The page of a heap, block or mutex profile.

function start() {
  byId("actions").hidden = false;
  initTheme();
  try {
    for (const part of document.querySelectorAll(".scripted")) part.hidden = false; // drawing needs widths
    new SitesView(new Sites(JSON.parse(byId("spyglass-profile").textContent)));
  } catch (error) {
    byId("notice").textContent = `A part of this page cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
