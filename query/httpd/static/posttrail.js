// What a page does beyond HTML: it tells of news without moving a row, and prints. All of it works without, too.
"use strict";

// data-live: the stream to listen to (server-sent events); data-words: "%(n)s new, show".
for (const place of document.querySelectorAll("[data-live]")) {
  if (!place.dataset.live || !window.EventSource) continue;
  const seen = new Set();
  const stream = new EventSource(place.dataset.live);
  stream.addEventListener("row", (event) => {
    const row = JSON.parse(event.data);
    seen.add(row.id + "/" + row.row);
    let link = place.querySelector("a");
    if (!link) {
      link = document.createElement("a");
      link.href = location.href;
      link.addEventListener("click", (click) => { click.preventDefault(); location.reload(); });
      place.replaceChildren(link);
    }
    link.textContent = place.dataset.words.replace("%(n)s", String(seen.size));
  });
  addEventListener("pagehide", () => stream.close());
}

// data-part: a piece of a page that may take its time, such as a trace. Our own server has escaped it.
for (const place of document.querySelectorAll("[data-part]")) {
  fetch(place.dataset.part, { headers: { Accept: "text/html" } })
    .then((answer) => answer.text())
    .then((text) => {
      const page = new DOMParser().parseFromString(text, "text/html");
      const found = page.querySelectorAll(".tree, .note, p.hint");
      if (found.length) place.replaceChildren(...page.body.childNodes);
    })
    .catch(() => {})
    .finally(() => place.removeAttribute("data-part"));
}

for (const button of document.querySelectorAll("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
if (document.body.hasAttribute("data-print-now") && new URLSearchParams(location.search).get("print") === "1") {
  addEventListener("load", () => print());
}
