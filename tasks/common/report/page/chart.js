// Charts of lines: hovering, zooming, hiding lines. After page.js, of which it uses `make`, `all` and the tip.
"use strict";

// The same ticks as axes.py makes
function ticks([low, high, whole], most) {
  const span = high - low;
  const power = 10 ** Math.floor(Math.log10(span / most));
  const steps = [1, 2, 5, 10].map((m) => m * power).filter((s) => !whole || Number.isInteger(s));
  let step = [...steps, 20 * power, 50 * power].find((s) => span / s <= most - 1 + 1e-9);
  if (whole) step = Math.max(step, 1);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k <= Math.floor(high / step + 1e-9); k++) {
    found.push([k * step, tickText(k * step, step)]);
  }
  return found;
}
function tickText(value, step) {
  if (!value) return "0";
  if (step < 1e-4 || Math.max(Math.abs(value), step) >= 1e6) {
    return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
}
const shown = (value) => String(Number(value.toPrecision(4)));

function chart(plot) {
  const data = JSON.parse(plot.dataset.chart);
  const figure = plot.closest("figure");
  const svg = plot.querySelector("svg");
  const keys = all(".legend .key", figure);
  const hidden = new Set();
  let view = { x: data.x, y: data.y };
  let held = null; // where a drag began, as a share of the width
  let at = -1; // the point that the keyboard is on
  const cursor = make("span", { class: "cursor" });
  const select = make("span", { class: "select" });
  cursor.hidden = select.hidden = true;
  plot.append(cursor, select);
  const reset = make("button", { type: "button", class: "tool" }, "Reset zoom");
  reset.hidden = true;
  figure.querySelector("figcaption").append(reset);

  const share = ([low, high], value) => (value - low) / (high - low);
  const visible = () => data.lines.filter((line) => !hidden.has(line.key));

  function draw() {
    const zoomed = view.x !== data.x;
    const [a, b] = [share(data.x, view.x[0]), share(data.x, view.x[1])];
    const [c, d] = [share(data.y, view.y[0]), share(data.y, view.y[1])];
    svg.setAttribute("viewBox", `${1000 * a} ${400 * (1 - d)} ${1000 * (b - a)} ${400 * (d - c)}`);
    plot.classList.toggle("zoomed", zoomed);
    reset.hidden = !zoomed;
    for (const old of all(".xt, .yt", plot)) old.remove();
    for (const [value, text] of ticks(view.x, 6)) {
      const style = `left:${100 * share(view.x, value)}%`;
      plot.prepend(make("span", { class: "xt", style }, text));
    }
    for (const [value, text] of ticks(view.y, 6)) {
      const style = `bottom:${100 * share(view.y, value)}%`;
      plot.prepend(make("span", { class: "yt", style }, make("b", {}, text)));
    }
    for (const mark of all(".mark", plot)) {
      const [x, y] = [share(view.x, mark.dataset.x), share(view.y, mark.dataset.y)];
      mark.hidden = x < 0 || x > 1 || y < 0 || y > 1;
      mark.classList.toggle("left", x > 0.55);
      mark.style.left = `${100 * x}%`;
      mark.style.bottom = `${100 * y}%`;
    }
  }
  function zoom(low, high) {
    const inside = visible().flatMap((l) => l.points).filter(([x]) => x >= low && x <= high);
    if (!inside.length) return;
    const values = inside.map(([, y]) => y);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const room = 0.06 * (most - least) || 0.5 * (data.y[1] - data.y[0]) * (high - low) / (data.x[1] - data.x[0]);
    view = {
      x: [low, high, data.x[2] && high - low > 1],
      y: [least - room, most + room, data.y[2] && most - least > 1],
    };
    draw();
  }
  function unzoom() {
    view = { x: data.x, y: data.y };
    draw();
  }
  function hover(value, clientY) {
    const near = visible().map((line) => {
      let best = null;
      for (const point of line.points) {
        if (point[0] < view.x[0] || point[0] > view.x[1]) continue;
        if (!best || Math.abs(point[0] - value) < Math.abs(best[0] - value)) best = point;
      }
      return { line, point: best };
    }).filter(({ point }) => point);
    if (!near.length) return leave();
    const box = plot.getBoundingClientRect();
    const unit = (view.x[1] - view.x[0]) / box.width;
    const first = near.reduce((p, q) =>
      Math.abs(q.point[0] - value) < Math.abs(p.point[0] - value) ? q : p);
    const x = first.point[0];
    const together = near.filter(({ point }) => Math.abs(point[0] - x) <= 5 * unit);
    const places = together.map(({ line, point }) => {
      const key = make("div", { class: `key s${line.key % 7} d${Math.floor(line.key / 7) % 3}` });
      key.append(line.faint ? `${line.name} (each)` : line.name, make("span", {}, shown(point[1])));
      return key;
    });
    const left = share(view.x, x);
    cursor.style.left = `${100 * left}%`;
    cursor.hidden = false;
    const name = figure.querySelector(".x-label").textContent;
    showTip(box.left + left * box.width, clientY ?? box.top + box.height / 2, `${name} ${shown(x)}`, ...places);
  }
  function leave() {
    cursor.hidden = true;
    at = -1;
    hideTip();
  }
  const place = (event) => {
    const box = plot.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  const valueAt = (part) => view.x[0] + part * (view.x[1] - view.x[0]);

  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    held = place(event);
    addEventListener("pointermove", drag);
    addEventListener("pointerup", release);
    addEventListener("pointercancel", release);
  });
  function drag(event) {
    const part = place(event);
    select.hidden = Math.abs(part - held) < 0.01;
    select.style.left = `${100 * Math.min(part, held)}%`;
    select.style.width = `${100 * Math.abs(part - held)}%`;
  }
  function release(event) {
    removeEventListener("pointermove", drag);
    removeEventListener("pointerup", release);
    removeEventListener("pointercancel", release);
    const [a, b] = [held, place(event)].sort((p, q) => p - q);
    held = null;
    select.hidden = true;
    if (event.type === "pointerup" && b - a >= 0.02) zoom(valueAt(a), valueAt(b));
  }
  plot.addEventListener("pointermove", (event) => hover(valueAt(place(event)), event.clientY));
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("dblclick", unzoom);
  plot.addEventListener("blur", leave);
  reset.addEventListener("click", unzoom);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const xs = [...new Set(visible().flatMap((line) => line.points.map(([x]) => x)))]
        .filter((x) => x >= view.x[0] && x <= view.x[1]).sort((p, q) => p - q);
      if (!xs.length) return;
      at = Math.min(xs.length - 1, Math.max(0, at + step));
      hover(xs[at]);
      event.preventDefault();
    } else if (event.key === "Escape") {
      unzoom();
      leave();
    }
  });
  for (const key of keys) {
    key.addEventListener("click", () => {
      const number = Number(key.dataset.key);
      const shows = hidden.has(number);
      if (shows) hidden.delete(number); else hidden.add(number);
      key.setAttribute("aria-pressed", String(shows));
      for (const path of all(`path[data-key="${number}"]`, svg)) {
        path.classList.toggle("hidden-key", !shows);
      }
    });
  }
}
for (const plot of all("[data-chart]")) chart(plot);

