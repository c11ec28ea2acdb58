// Adds what is live to pages that work without it: copying, local times, the search key, the overview's updates.

function enhance(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.title = `${time.dateTime} UTC\n${at.toLocaleString()} local`;
  }
  for (const button of root.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1200);
    });
  }
}

function follow(part) {
  const source = new EventSource(part.dataset.live);
  source.onmessage = (event) => {
    if (part.contains(document.activeElement) || document.getSelection()?.toString()) return; // somebody reads or clicks
    part.innerHTML = event.data; // rendered and escaped by the server
    enhance(part);
  };
  addEventListener("pagehide", () => source.close());
}

enhance(document);
document.querySelectorAll("[data-live]").forEach(follow);
addEventListener("keydown", (event) => {
  const inField = event.target instanceof Element && event.target.closest("input, select, textarea");
  if (event.key === "/" && !inField && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    document.getElementById("q")?.focus();
  }
});
