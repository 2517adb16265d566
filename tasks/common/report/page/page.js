// Everything is shown without this script; it adds hovering, zooming, sorting and enlarging.
"use strict";
const root = document.documentElement;
root.classList.add("js");
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The theme is remembered where the browser lets a file do so.
try {
  const kept = document.getElementById(`theme_${localStorage.getItem("keel-theme")}`);
  if (kept) kept.checked = true;
} catch { /* no storage */ }
for (const choice of all(".themes input")) {
  choice.addEventListener("change", () => {
    try { localStorage.setItem("keel-theme", choice.value); } catch { /* no storage */ }
  });
}

// Contents: the section that is read is marked.
const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
const sections = all("main section");
function markSection() {
  let current = sections[0];
  for (const section of sections) if (section.getBoundingClientRect().top < 160) current = section;
  if (scrollY > 0 && innerHeight + scrollY >= root.scrollHeight - 4) current = sections.at(-1);
  for (const [name, link] of links) {
    if (current && name === current.id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}
addEventListener("scroll", markSection, { passive: true });
markSection();

// Tables
function compare(a, b) {
  const [x, y] = [a.dataset.v, b.dataset.v];
  if (x !== undefined && y !== undefined) return Number(x) - Number(y);
  return a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
}
const isEmpty = (cell) => cell.textContent === "-";
function sortBy(table, heading) {
  const index = heading.cellIndex;
  const rises = heading.getAttribute("aria-sort") === "descending";
  for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rises ? "ascending" : "descending");
  const body = table.tBodies[0];
  const order = [...body.rows].sort((p, q) => {
    const [a, b] = [p.cells[index], q.cells[index]];
    if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
    return rises ? compare(a, b) : compare(b, a);
  });
  body.append(...order);
}
for (const button of all("table.sortable thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("table"), button.closest("th")));
}

// One tip for all charts
const tip = make("div", { class: "tip", role: "status" });
tip.hidden = true;
document.body.append(tip);
function showTip(x, y, ...content) {
  tip.replaceChildren(...content);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 16 + width > innerWidth - 8 ? x - width - 16 : x + 16;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, Math.min(y - height / 2, innerHeight - height - 8))}px`;
}
const hideTip = () => { tip.hidden = true; };

// Points with a name: the browser's own slow tip is replaced.
for (const dot of all("path.hit")) {
  const title = dot.querySelector("title");
  const text = title.textContent;
  title.remove();
  dot.addEventListener("pointerenter", (event) => showTip(event.clientX, event.clientY, text));
  dot.addEventListener("pointerleave", hideTip);
}

// Commands
for (const code of all("figure.code")) {
  const button = make("button", { type: "button", class: "tool" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code.querySelector("code"));
    }
  });
  code.querySelector("figcaption").append(button);
}

// Galleries: one viewer for all pictures of the page
const shots = all(".shot > button");
if (shots.length) {
  const image = make("img", { alt: "" });
  const text = make("div", { class: "text" });
  const [back, next, close] = [["Previous", "\u2190"], ["Next", "\u2192"], ["Close", "\u2715"]].map(
    ([name, sign]) => make("button", { type: "button", "aria-label": name }, sign));
  const bar = make("div", { class: "bar" }, text, back, next, close);
  const viewer = make("dialog", { class: "viewer", "aria-label": "Picture" }, image, bar);
  document.body.append(viewer);
  let index = 0;
  const show = (number) => {
    index = (number + shots.length) % shots.length;
    const shot = shots[index].querySelector("img");
    image.src = shot.src;
    image.alt = shot.alt;
    const caption = shots[index].parentElement.querySelector("figcaption");
    text.textContent = [...caption.children].map((part) => part.textContent).join(" \u00b7 ");
  };
  shots.forEach((shot, number) => {
    shot.setAttribute("aria-haspopup", "dialog");
    shot.addEventListener("click", () => { show(number); viewer.showModal(); close.focus(); });
  });
  back.addEventListener("click", () => show(index - 1));
  next.addEventListener("click", () => show(index + 1));
  close.addEventListener("click", () => viewer.close());
  image.addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", () => shots[index].focus());
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(index - 1);
    if (event.key === "ArrowRight") show(index + 1);
  });
}
