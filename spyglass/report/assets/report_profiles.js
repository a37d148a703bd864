// The profiles in a report: for each there are data, whose element says how the ids of its elements begin.

for (const data of document.querySelectorAll("script[data-prefix]")) {
  try {
    new ProfileView(new Profile(JSON.parse(data.textContent)), data.dataset.prefix);
  } catch (error) {
    byId("notice").textContent = `A profile on this page cannot be shown: ${error.message}`;
    throw error;
  }
}
