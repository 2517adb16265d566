"""Charts with a row for each name: bars with intervals, and box plots with every value."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from tasks.common.report.page.axes import WIDTH, Axis, number, x_ticks
from tasks.common.report.page.blocks import Bars, BoxPlot
from tasks.common.report.page.markup import Markup, element, joined

LANE: Final = 32  # height of a row, in pixels and in units of its drawing
_MIDDLE: Final = LANE // 2
_WHISKER: Final = 1.5  # quartile ranges; Tukey 1977
_JITTER: Final = 9  # how far values lie above or below the middle of their row, at most


def bars(chart: Bars) -> Markup:
    """Return a bar per name, from 0 to its value."""
    low, high = chart.low or {}, chart.high or {}
    ends = [*chart.values.values(), *low.values(), *high.values()]
    axis = Axis.of([0.0, *ends], pad=False)
    rows = (
        _row(name, _bar_shapes(axis, value, low.get(name), high.get(name)), axis, text)
        for name, value in chart.values.items()
        for text in [_value_text(value, low.get(name), high.get(name))]
    )
    return _figure(chart.title, chart.x_label, joined(rows), axis, alt=chart.alt)


def box_plot(chart: BoxPlot) -> Markup:
    """Return a row per group: its box, its whiskers, and a dot per value with its name."""
    groups = {group: _finite(values) for group, values in chart.groups.items()}
    axis = Axis.of(value for values in groups.values() for _, value in values)
    rows = (
        _row(f"{group} ({_count(chart.groups[group], values)})", shapes, axis, text)
        for group, values in groups.items()
        for shapes, text in [_box(values, axis)]
    )
    return _figure(chart.title, chart.y_label, joined(rows), axis, alt=chart.alt, value="median")


@dataclass(frozen=True, kw_only=True)
class Box:
    """The five numbers of a box plot."""

    low: float  # the least value within 1.5 quartile ranges of the box
    first: float
    median: float
    third: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the box of at least one finite value; quartiles are interpolated linearly."""
        first, median, third = (float(v) for v in np.percentile(values, (25, 50, 75)))
        reach = _WHISKER * (third - first)
        inside = [v for v in values if first - reach <= v <= third + reach]
        return cls(low=min(inside), first=first, median=median, third=third, high=max(inside))


def _box(values: Sequence[tuple[str, float]], axis: Axis) -> tuple[list[Markup], str]:
    if not values:
        return [], "-"
    box = Box.of([value for _, value in values])
    low, first, median, third, high = (
        number(WIDTH * axis.share(v)) for v in (box.low, box.first, box.median, box.third, box.high)
    )
    top, bottom = _MIDDLE - 8, _MIDDLE + 8
    parts = {
        "whisker s0": f"M{low} {_MIDDLE}H{first}M{third} {_MIDDLE}H{high}",
        "box s0": f"M{first} {top}H{third}V{bottom}H{first}Z",
        "median s0": f"M{median} {top}V{bottom}",
    }
    shapes = [element("path", {"class": kind, "d": d}) for kind, d in parts.items()]
    return [*shapes, *_dots(values, axis)], f"{box.median:.3f}"


def _dots(values: Sequence[tuple[str, float]], axis: Axis) -> Iterator[Markup]:
    """Yield a dot per value; those of neighbouring ranks lie at different heights."""
    for rank, (name, value) in enumerate(sorted(values, key=lambda pair: pair[1])):
        offset = _JITTER * (2 * (rank * 0.618034 % 1) - 1)
        d = f"M{number(WIDTH * axis.share(value))} {number(_MIDDLE + offset)}h0"
        title = element("title", {}, f"{name}: {value:.3f}")
        yield element("path", {"class": "dots hit small s0", "d": d}, title)


def _bar_shapes(axis: Axis, value: float, low: float | None, high: float | None) -> list[Markup]:
    if not math.isfinite(value):
        return []
    zero, end = (number(WIDTH * axis.share(v)) for v in (0.0, value))
    d = f"M{zero} {_MIDDLE - 7}H{end}V{_MIDDLE + 7}H{zero}Z"
    shapes = [element("path", {"class": "bar s0", "d": d})]
    if low is not None and high is not None:
        left, right = (number(WIDTH * axis.share(v)) for v in (low, high))
        ends = "".join(f"M{at} {_MIDDLE - 4}v8" for at in (left, right))
        whisker = f"M{left} {_MIDDLE}H{right}{ends}"
        shapes.append(element("path", {"class": "whisker over", "d": whisker}))
    return shapes


def _row(name: str, shapes: Sequence[Markup], axis: Axis, text: str) -> Markup:
    at = [number(WIDTH * axis.share(value)) for value, _ in axis.ticks()]
    grid = element("path", {"class": "grid-line", "d": "".join(f"M{x} 0V{LANE}" for x in at)})
    view = {"viewBox": f"0 0 {WIDTH} {LANE}", "preserveAspectRatio": "none"}
    svg = element("svg", {"class": "shapes", **view, "aria-hidden": "true"}, grid, *shapes)
    return element(
        "div",
        {"class": "row"},
        element("div", {"class": "name"}, name),
        element("div", {"class": "lane"}, svg),
        element("div", {"class": "value"}, text),
    )


def _figure(
    title: str, label: str, rows: Markup, axis: Axis, *, alt: str, value: str = ""
) -> Markup:
    scale = element(
        "div",
        {"class": "row scale", "aria-hidden": "true"},
        element("div", {"class": "name"}),
        element("div", {"class": "lane"}, x_ticks(axis)),
        element("div", {"class": "value"}, value),
    )
    return element(
        "figure",
        {"class": "card chart"},
        element("figcaption", {}, element("h3", {}, title)),
        element("div", {"class": "rows", "role": "group", "aria-label": alt}, rows, scale),
        element("div", {"class": "x-label"}, label),
    )


def _finite(values: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in values if math.isfinite(value)]


def _count(given: Sequence[object], known: Sequence[object]) -> str:
    return str(len(known)) if len(known) == len(given) else f"{len(known)} of {len(given)}"


def _value_text(value: float, low: float | None, high: float | None) -> str:
    text = _short(value) if math.isfinite(value) else "-"
    return text if low is None or high is None else f"{text} ({_short(low)} to {_short(high)})"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
