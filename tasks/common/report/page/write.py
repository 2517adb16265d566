"""A page as one HTML file: no network, opens from disk, light and dark, for any width."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from tasks.common.files.atomic import replacing
from tasks.common.report.page import lines, pictures, rows, tables, texts
from tasks.common.report.page.blocks import (
    Alerts,
    Bars,
    Block,
    BoxPlot,
    Code,
    Facts,
    Figures,
    Gallery,
    LineChart,
    Matrix,
    Page,
    Scatter,
    Section,
    Table,
    Text,
)
from tasks.common.report.page.markup import Markup, element, joined
from tasks.common.report.panels import OKABE_ITO

_RENDERERS: Final[Mapping[type, Callable[[Any], Markup]]] = {
    LineChart: lines.line_chart,
    Scatter: lines.scatter,
    Bars: rows.bars,
    BoxPlot: rows.box_plot,
    Matrix: tables.matrix,
    Table: tables.table,
    Text: texts.text,
    Facts: texts.facts,
    Alerts: texts.alerts,
    Code: texts.code,
    Figures: texts.figures,
}
_NARROW: Final = (LineChart, Scatter, Bars, BoxPlot, Matrix)  # two of them fit beside each other
_FEW: Final = 4  # columns of a table that is narrow as well
_SHORT: Final = 40  # letters of facts that are
_SCRIPTS: Final = ("page.js", "chart.js")
_THEMES: Final = ("auto", "light", "dark")


def write_page(page: Page, path: Path) -> None:
    """Write a page, which appears complete or not at all; equal pages give equal bytes."""
    with replacing(path) as partial:
        partial.write_text(page_html(page), encoding="utf-8")


def page_html(page: Page) -> str:
    """Return the page as HTML, with style, script and pictures inside."""
    names = _anchors([section.title for section in page.sections])
    pixels = pictures.pixels_for(_pictures(page))
    parts = [
        _section(section, name, pixels) for section, name in zip(page.sections, names, strict=True)
    ]
    links = (
        element("li", {}, element("a", {"href": f"#{name}"}, section.title))
        for section, name in zip(page.sections, names, strict=True)
    )
    script = joined(_own(name) for name in _SCRIPTS)
    body = element(
        "body",
        {},
        element("a", {"class": "skip", "href": "#main_content"}, "Skip to the content"),
        element("header", {"class": "top"}, element("b", {}, "Keel"), _themes()),
        element(
            "div",
            {"class": "columns"},
            element("nav", {"aria-label": "Contents"}, element("ol", {}, *links)),
            element("main", {"id": "main_content"}, _head(page), *parts),
        ),
        element("script", {}, script),
    )
    html = element("html", {"lang": "en"}, _meta(page, script), body)
    return f"<!doctype html>\n{html}\n"


def _meta(page: Page, script: str) -> Markup:
    """Return the head; the policy lets the browser load nothing, and run our script alone."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    palette = "".join(f"--p{k}:#{color};" for k, color in enumerate(OKABE_ITO))
    style = Markup(f":root{{{palette}}}\n{_own('page.css')}")
    return element(
        "head",
        {},
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("title", {}, f"{page.title} - Keel"),
        element("style", {}, style),
    )


def _own(name: str) -> Markup:
    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _themes() -> Markup:
    choices = (
        element(
            "label",
            {},
            element(
                "input",
                {
                    "type": "radio",
                    "name": "theme",
                    "id": f"theme_{theme}",
                    "value": theme,
                    "checked": theme == "auto",
                },
            ),
            element("span", {}, theme.capitalize()),
        )
        for theme in _THEMES
    )
    legend = element("legend", {}, "Theme")
    return element("fieldset", {"class": "themes"}, legend, *choices)


def _head(page: Page) -> Markup:
    subtitle = element("p", {"class": "subtitle"}, page.subtitle) if page.subtitle else Markup()
    return element("div", {"class": "head"}, element("h1", {}, page.title), subtitle)


def _section(section: Section, name: str, pixels: int) -> Markup:
    heading = f"heading_{name}"  # a section's own name has no underscore
    return element(
        "section",
        {"id": name, "aria-labelledby": heading},
        element("h2", {"id": heading}, section.title),
        element("p", {"class": "intro"}, section.intro) if section.intro else "",
        *_arranged(section.blocks, pixels),
    )


def _arranged(blocks: Sequence[Block], pixels: int) -> Iterator[Markup]:
    """Yield the blocks; narrow ones that follow each other share a grid."""
    for narrow, group in groupby(blocks, key=_is_narrow):
        parts = [_rendered(block, pixels) for block in group]
        yield element("div", {"class": "grid"}, *parts) if narrow else joined(parts)


def _is_narrow(block: Block) -> bool:
    if isinstance(block, Table):
        return len(block.headings) <= _FEW
    if isinstance(block, Facts):
        return all(len(fact) <= _SHORT for fact in block.facts.values())
    return isinstance(block, _NARROW)


def _rendered(block: Block, pixels: int) -> Markup:
    if isinstance(block, Gallery):
        return pictures.gallery(block, pixels)
    return _RENDERERS[type(block)](block)


def _pictures(page: Page) -> int:
    blocks = (block for section in page.sections for block in section.blocks)
    return sum(len(block.pictures) for block in blocks if isinstance(block, Gallery))


def _anchors(titles: Sequence[str]) -> list[str]:
    """Return a name for each title that is unique in the page and readable in an address."""
    names: list[str] = []
    for title in titles:
        base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        tries = (base if n == 1 else f"{base}-{n}" for n in range(1, len(titles) + 2))
        names.append(next(name for name in tries if name not in names))
    return names
