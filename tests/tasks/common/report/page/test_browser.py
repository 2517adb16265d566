"""The page in a browser: nothing wrong on the console, nothing cut off, everything works by hand.

The page is shown in a frame, since a window of headless Chromium has a least width of about 500.
"""

import json
import re
import shutil
import subprocess

import pytest

from tasks.common.report.page.write import write_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
WATCH = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe src="report.html" style="border:0;width:%dpx;height:900px"></iframe><pre id="found"></pre>
<script>
const frame = document.querySelector("iframe");
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
function cut(doc) {
  const width = doc.documentElement.clientWidth;
  const inBox = (node) => {
    for (let up = node.parentElement; up && up !== doc.body; up = up.parentElement) {
      if (getComputedStyle(up).overflowX !== "visible") return true;
    }
    return false;
  };
  return [...doc.body.querySelectorAll("*")].filter((node) => {
    const box = node.getBoundingClientRect();
    const seen = box.width > 0 && (box.right > width + 1 || box.left < -1);
    return seen && !node.closest(".skip, svg, legend, .themes input") && !inBox(node);
  }).map((node) => `${node.tagName}.${node.className}`);
}
frame.addEventListener("load", async () => {
  const doc = frame.contentDocument, view = frame.contentWindow;
  const found = { width: doc.documentElement.scrollWidth, cut: cut(doc) };
  found.load = view.performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
  const send = (node, kind, type, more) =>
    node.dispatchEvent(new view[kind](type, { bubbles: true, cancelable: true, ...more }));
  %s
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>"""
BY_HAND = """
  const table = doc.querySelector("table.sortable"), heads = table.querySelectorAll("thead button");
  const column = () => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent);
  heads[1].click(); found.falling = column(); heads[1].click(); found.rising = column();
  const plot = doc.querySelector("[data-chart]"), figure = plot.closest("figure");
  const svg = plot.querySelector("svg"), box = plot.getBoundingClientRect();
  const at = (share) => ({ clientX: box.left + share * box.width, clientY: box.top + 10 });
  send(plot, "PointerEvent", "pointermove", at(0.5));
  found.tip = doc.querySelector(".tip").textContent;
  send(plot, "PointerEvent", "pointerdown", at(0.25));
  send(plot, "PointerEvent", "pointermove", at(0.5));
  send(plot, "PointerEvent", "pointerup", at(0.75));
  found.zoomed = svg.getAttribute("viewBox").split(" ").map((v) => Math.round(v));
  figure.querySelector(".tool").click();
  found.reset = svg.getAttribute("viewBox").split(" ").map((v) => Math.round(v));
  plot.focus(); send(plot, "KeyboardEvent", "keydown", { key: "ArrowRight" });
  found.byKey = doc.querySelector(".tip").textContent;
  figure.querySelector(".key").click();
  found.hidden = svg.querySelectorAll(".hidden-key").length;
  const shots = doc.querySelectorAll(".shot > button");
  shots[0].focus(); shots[0].click();
  const viewer = doc.querySelector("dialog");
  found.opened = [viewer.open, viewer.querySelector("img").alt];
  send(viewer, "KeyboardEvent", "keydown", { key: "ArrowRight" });
  found.next = viewer.querySelector("img").alt;
  viewer.close(); await wait(50);
  found.focus = [...shots].indexOf(doc.activeElement);
  doc.getElementById("theme_dark").click();
  found.dark = getComputedStyle(doc.body).backgroundColor;
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
]


def seen(folder, width, by_hand=""):
    """What Chromium finds in report.html of a folder, and what it says on the console."""
    (folder / "watch.html").write_text(WATCH % (width, by_hand), encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    flags += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size=1600,1000"]
    line = [CHROMIUM, *flags, f"--user-data-dir={folder / 'browser'}", "--dump-dom"]
    done = subprocess.run(
        [*line, (folder / "watch.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)[1]
    return json.loads(text.replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&")), [
        line for line in done.stderr.splitlines() if "CONSOLE" in line
    ]


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize(
    "name", ["cell", "a_long_name_without_a_break_" * 6], ids=["short", "long"]
)
def test_nothing_is_cut_off(page, tmp_path, width, name):
    write_page(page(name), tmp_path / "report.html")
    found, console = seen(tmp_path, width)
    assert console == []
    assert found["cut"] == []
    assert found["width"] <= width
    assert found["load"] < 2000  # milliseconds


def test_everything_works_by_hand(ordered, tmp_path):
    write_page(ordered, tmp_path / "report.html")
    found, console = seen(tmp_path, 1440, BY_HAND)
    assert console == []
    assert found["falling"] == ["12.000", "0.500", "-0.250", "-"]
    assert found["rising"] == ["-0.250", "0.500", "12.000", "-"]
    assert found["tip"] == "step 4loss8"
    assert found["zoomed"] == [250, 88, 500, 224]
    assert found["reset"] == [0, 0, 1000, 400]
    assert found["byKey"] == "step 0loss0"
    assert found["hidden"] == 2
    assert found["opened"] == [True, "first"]
    assert found["next"] == "second"
    assert found["focus"] == 1
    assert found["dark"] == "rgb(14, 17, 21)"
