// Search over INDEX: rows of name, kind, summary, link, origin.
(() => {
  const box = document.getElementById("search");
  const list = document.getElementById("found");
  let at = -1;

  // Small is near: the name itself, its beginning, a part of it, a word of the summary; Rhai's own library last.
  const rank = ([name, , summary, , origin], words) => {
    const lower = name.toLowerCase();
    const short = lower.split(/::|\.| /).pop();
    let score = origin === "rhai" ? 3 : 0;
    for (const w of words) {
      if (short === w || lower === w) score += 0;
      else if (short.startsWith(w)) score += 1;
      else if (lower.startsWith(w)) score += 2;
      else if (lower.includes(w)) score += 4;
      else if (summary.toLowerCase().includes(w)) score += 8;
      else return Infinity;
    }
    return score + name.length / 1000;
  };

  const show = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    list.replaceChildren();
    list.hidden = words.length === 0;
    at = -1;
    const hits = INDEX.map((row) => [rank(row, words), row]).filter(([r]) => r < Infinity);
    hits.sort((a, b) => a[0] - b[0]);
    for (const [, [name, kind, summary, link]] of hits.slice(0, 20)) {
      const item = document.createElement("li");
      const a = document.createElement("a");
      a.href = link;
      for (const [tag, text] of [["b", name], ["small", kind], ["span", summary.replaceAll("`", "")]]) {
        const part = document.createElement(tag);
        part.textContent = text;
        a.append(part);
      }
      item.append(a);
      list.append(item);
    }
    if (!hits.length && words.length) {
      const item = document.createElement("li");
      item.className = "none";
      item.textContent = "nothing of that name";
      list.append(item);
    } else if (hits.length) {
      move(0);
    }
  };

  const move = (to) => {
    const items = [...list.querySelectorAll("li:not(.none)")];
    if (!items.length) return;
    items[at]?.classList.remove("at");
    at = (to + items.length) % items.length;
    items[at].classList.add("at");
    items[at].scrollIntoView({ block: "nearest" });
  };

  const leave = () => {
    list.hidden = true;
    box.blur();
  };

  box.addEventListener("input", show);
  box.addEventListener("focus", () => box.value && show());
  box.addEventListener("keydown", (e) => {
    if (e.key === "ArrowDown") move(at + 1);
    else if (e.key === "ArrowUp") move(at - 1);
    else if (e.key === "Enter") list.querySelector(".at a")?.click();
    else if (e.key === "Escape") leave();
    else return;
    e.preventDefault();
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "/" && document.activeElement !== box) {
      e.preventDefault();
      box.focus();
      box.select();
    }
  });
  document.addEventListener("click", (e) => {
    const link = e.target.closest("#found a");
    if (link || !e.target.closest(".search")) list.hidden = true;
  });
})();
