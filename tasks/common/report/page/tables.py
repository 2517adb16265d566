"""Tables: rows that a click sorts, and matrices whose shades show the shares of a row."""

import math
from collections.abc import Sequence
from typing import Final

from tasks.common.report.page.blocks import Cell, Matrix, Table
from tasks.common.report.page.markup import Markup, element, joined

_ONE_LINE: Final = 16  # letters of a cell that is not broken
# Shares of a row from which text in the colour of the page is the more readable one: in the light
# theme, and in the dark one.
_DEEP, _HALF = 0.85, 0.6
_TALL: Final = 24  # rows; a longer table scrolls in its own box


def table(block: Table) -> Markup:
    """Return a table; columns that hold nothing but numbers stand right."""
    columns = [*zip(*block.rows, strict=True)] or [()] * len(block.headings)
    numeric = [_is_numeric(column) for column in columns]
    heads = (_heading(text, right) for text, right in zip(block.headings, numeric, strict=True))
    rows = (
        element(
            "tr", {}, *(_cell(cell, right, first=k == 0) for k, (cell, right) in enumerate(pairs))
        )
        for row in block.rows
        for pairs in [[*zip(row, numeric, strict=True)]]
    )
    tall = " tall" if len(block.rows) > _TALL else ""
    grid = element(
        "table",
        {"class": "sortable"},
        element("thead", {}, element("tr", {}, *heads)),
        element("tbody", {}, *rows),
    )
    return element(
        "figure",
        {"class": "card table"},
        element("figcaption", {}, element("h3", {}, block.title)) if block.title else "",
        _scrolling(grid, block.title, tall),
        element("p", {"class": "note"}, block.note) if block.note else "",
    )


def matrix(block: Matrix) -> Markup:
    """Return a matrix; a cell is the darker, the larger its share of its row."""
    corner = f"{block.row_label} \\ {block.column_label}"
    heads = (element("th", {"scope": "col", "class": "n"}, name) for name in block.columns)
    rows = (
        element("tr", {}, element("th", {"scope": "row"}, name), _shaded(values))
        for name, values in zip(block.rows, block.values, strict=True)
    )
    grid = element(
        "table",
        {"class": "matrix"},
        element("thead", {}, element("tr", {}, element("th", {"scope": "col"}, corner), *heads)),
        element("tbody", {}, *rows),
    )
    return element(
        "figure",
        {"class": "card table"},
        element("figcaption", {}, element("h3", {}, block.title)),
        _scrolling(grid, block.alt),
        element("p", {"class": "note"}, "Darker: a larger share of its row."),
    )


def cell_text(cell: Cell) -> str:
    """Return what a table shows: 3 digits behind the point of a float, a dash for no value.

    >>> [cell_text(cell) for cell in ("a", 3, 0.4044, None, float("nan"))]
    ['a', '3', '0.404', '-', '-']
    """
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _scrolling(grid: Markup, label: str, tall: str = "") -> Markup:
    """Return a table in a box of its own, which the keyboard reaches if it is wider than that."""
    box = {"class": f"scroll{tall}", "tabindex": "0", "role": "region", "aria-label": label}
    return element("div", box, grid)


def _heading(text: str, right: bool) -> Markup:  # noqa: FBT001 (one of two kinds)
    button = element("button", {"type": "button"}, text)
    return element("th", {"scope": "col", "class": "n" if right else None}, button)


def _cell(cell: Cell, right: bool, *, first: bool) -> Markup:  # noqa: FBT001 (as above)
    text = cell_text(cell)
    kind = "n" if right else "short" if len(text) <= _ONE_LINE else None
    value = float(cell) if isinstance(cell, int | float) and math.isfinite(cell) else None
    attributes = {"class": kind, "data-v": value}
    if first:
        return element("th", {"scope": "row", **attributes}, text)
    return element("td", attributes, text)


def _is_numeric(column: tuple[Cell, ...]) -> bool:
    numbers = [isinstance(cell, int | float) for cell in column if cell is not None]
    return bool(numbers) and all(numbers)


def _shaded(values: Sequence[float]) -> Markup:
    total = sum(value for value in values if math.isfinite(value))
    cells = []
    for value in values:
        share = value / total if total and math.isfinite(value) else 0.0
        text = cell_text(int(value) if float(value).is_integer() else value)
        style = f"--share:{100 * share:.0f}%"
        kind = "n deep" if share > _DEEP else "n half" if share > _HALF else "n"
        cells.append(element("td", {"class": kind, "style": style}, text))
    return joined(cells)
