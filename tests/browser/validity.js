// What is wrong with the document: ids, labels, names of regions, landmarks, headings.
() => {
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const ids = all("[id]").map((each) => each.id);
  for (const id of ids.filter((each, place) => ids.indexOf(each) !== place)) wrong.push(`id twice: ${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "for"]) {
    for (const each of all(`[${name}]`)) {
      for (const id of each.getAttribute(name).split(/\s+/)) if (!document.getElementById(id)) wrong.push(`${name} leads nowhere: ${id}`);
    }
  }
  for (const each of all("label")) if (!each.control) wrong.push(`label of nothing: ${each.textContent.trim()}`);
  for (const each of all("input:not([type=hidden]), select, textarea")) if (!each.labels.length) wrong.push(`no label: ${each.name}`);
  for (const each of all("a[href^='#']")) if (!document.getElementById(each.hash.slice(1))) wrong.push(`link leads nowhere: ${each.hash}`);
  for (const each of all("svg")) if (!each.hasAttribute("aria-hidden") && !each.hasAttribute("aria-label")) wrong.push("a picture without words");
  for (const each of all("th")) if (!each.hasAttribute("scope")) wrong.push(`head of nothing: ${each.textContent}`);
  for (const each of all("main, h1")) if (all(each.localName).length !== 1) wrong.push(`not one ${each.localName}`);
  if (!document.title.trim() || !document.documentElement.lang) wrong.push("no title or language");
  let before = 0;
  for (const each of all("h1, h2, h3, h4")) {
    const level = Number(each.localName[1]);
    if (level > before + 1) wrong.push(`heading leaps to ${each.localName}: ${each.textContent.trim()}`);
    before = level;
  }
  return wrong;
}
