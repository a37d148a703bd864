// The profiles in a report: for each there are data, whose element says how the ids of its elements begin.

for (const data of document.querySelectorAll("script[data-prefix]")) {
  try {
    const read = JSON.parse(data.textContent);
    if (read.kinds) new SitesView(new Sites(read), data.dataset.prefix);
    else new ProfileView(new Profile(read), data.dataset.prefix);
  } catch (error) {
    byId("notice").textContent = `A profile on this page cannot be shown: ${error.message}`;
    throw error;
  }
}
