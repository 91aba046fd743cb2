// What is wrong with the layout of a page: text outside the window, text upon text.
() => {
  const wrong = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) wrong.push(`scrolls sideways: ${root.scrollWidth} > ${root.clientWidth}`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const pieces = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.data.trim();
    const owner = node.parentElement;
    if (!text || owner.closest("title, option, script, .skip, svg")) continue;
    if (!owner.checkVisibility({ visibilityProperty: true })) continue;
    const hidden = owner.closest("thead");
    if (hidden && getComputedStyle(hidden).clipPath !== "none") continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width < 1 || box.height < 1) continue;
      if (!owner.closest(".scroll") && (box.left < -1 || box.right > root.clientWidth + 1)) wrong.push(`outside: ${text}`);
      // the height of a line is more than that of its letters
      pieces.push({ text, node, left: box.left + 1, right: box.right - 1, top: box.top + box.height * 0.2, bottom: box.bottom - box.height * 0.2 });
    }
  }
  pieces.sort((one, other) => one.top - other.top);
  for (let first = 0; first < pieces.length; first++) {
    for (let second = first + 1; second < pieces.length && pieces[second].top < pieces[first].bottom; second++) {
      const [one, other] = [pieces[first], pieces[second]];
      if (one.node !== other.node && one.left < other.right && other.left < one.right) wrong.push(`overlap: ${one.text} | ${other.text}`);
    }
  }
  return wrong;
}
