"""Charts with two axes of numbers: curves and points. Shapes are SVG, texts are HTML.

Shapes are stretched to the room that there is, texts are not: a chart is as readable on a phone as
on a wide screen. ``page.js`` adds hovering and zooming.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tasks.common.report.page.axes import WIDTH, Axis, number, percent, x_ticks, y_ticks
from tasks.common.report.page.blocks import Line, LineChart, Mark, Point, Scatter
from tasks.common.report.page.markup import Markup, element, joined

HEIGHT: Final = 400
MOST_POINTS: Final = 1500  # of a line; longer ones keep the extremes of equal parts
_DOTTED: Final = 40  # lines of at most so many points show each
_LABELLED: Final = 12  # scatter charts of at most so many points name each
_EMPTY: Final = "no values"


def series_class(index: int) -> str:
    """Return the CSS classes of colour and dashes: 7 colours, then the same with dashes.

    >>> series_class(0), series_class(8)
    ('s0 d0', 's1 d1')
    """
    return f"s{index % 7} d{index // 7 % 3}"


def line_chart(chart: LineChart) -> Markup:
    """Return a chart of lines with bands and marks."""
    lines = [_thinned(line) for line in chart.lines]
    keys = list(dict.fromkeys(line.name for line in lines))
    places = {line.name: keys.index(line.name) for line in lines}
    x = Axis.of((v for line in lines for v in line.x), chart.x_limits, pad=False)
    y = Axis.of(_heights(lines, chart.marks), chart.y_limits)
    shapes = [shape for line in lines for shape in _line_shapes(line, places[line.name], x, y)]
    marks = [mark for mark in chart.marks if math.isfinite(mark.x) and math.isfinite(mark.y)]
    content = [*shapes, *(_mark_line(mark, x) for mark in marks)]
    texts = joined(_mark(mark, x, y) for mark in marks)
    data = {"x": _range(x), "y": _range(y), "lines": [_data(line, places) for line in lines]}
    legend = _legend(keys) if keys not in ([], [chart.title]) else Markup()
    return _figure(chart, legend, x, y, content, texts=texts, data=data)


def scatter(chart: Scatter) -> Markup:
    """Return a chart of points, with their names beside them if there are few."""
    points = [p for p in chart.points if math.isfinite(p.x) and math.isfinite(p.y)]
    x = Axis.of(p.x for p in points)
    y = Axis.of(v for p in points for v in (p.y, p.low, p.high) if v is not None)
    shapes = [shape for point in points for shape in _point_shapes(point, x, y)]
    few = points if len(points) <= _LABELLED else []
    texts = joined(_label(p.name, x.share(p.x), y.share(p.y), kind="label") for p in few)
    return _figure(chart, Markup(), x, y, shapes, texts=texts, data=None)


def _figure(
    chart: LineChart | Scatter,
    legend: Markup,
    x: Axis,
    y: Axis,
    shapes: Sequence[Markup],
    *,
    texts: Markup,
    data: dict[str, object] | None,
) -> Markup:
    view = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "preserveAspectRatio": "none"}
    svg = element("svg", {"class": "shapes", **view, "aria-hidden": "true"}, *shapes)
    named = chart.y_label.lower() != chart.title.lower()
    gutter = max((len(text) for _, text in y.ticks()), default=1)
    plot = element(
        "div",
        {
            "class": "plot",
            "role": "img",
            "aria-label": chart.alt,
            "tabindex": "0" if data else None,
            "data-chart": json.dumps(data, separators=(",", ":")) if data else None,
        },
        *(y_ticks(y), x_ticks(x), svg, texts),
        "" if shapes else element("span", {"class": "empty"}, _EMPTY),
    )
    return element(
        "figure",
        {"class": "card chart"},
        element("figcaption", {}, element("h3", {}, chart.title)),
        legend,
        element("div", {"class": "y-label"}, chart.y_label if named else ""),
        element("div", {"class": "frame", "style": f"--gutter:{gutter}ch"}, plot),
        element("div", {"class": "x-label"}, chart.x_label),
    )


def _legend(keys: Sequence[str]) -> Markup:
    buttons = (
        element(
            "button",
            {
                "type": "button",
                "class": f"key {series_class(k)}",
                "data-key": k,
                "aria-pressed": "true",
            },
            key,
        )
        for k, key in enumerate(keys)
    )
    return element("div", {"class": "legend"}, *buttons)


def _line_shapes(line: Line, key: int, x: Axis, y: Axis) -> Iterator[Markup]:
    own = {"data-key": key}
    style = series_class(key)
    if line.low is not None and line.high is not None:
        for d in _bands(line, x, y):
            yield element("path", {"class": f"band {style}", **own, "d": d})
    runs = list(_runs(line.x, line.y, x, y))
    if not runs:
        return
    faint = " faint" if line.faint else ""
    yield element("path", {"class": f"line {style}{faint}", **own, "d": "".join(map(_path, runs))})
    points = [point for run in runs for point in run]
    alone = [run[0] for run in runs if len(run) == 1]
    shown = points if len(points) <= _DOTTED and not line.faint else alone
    if shown:
        yield element("path", {"class": f"dots {style}", **own, "d": "".join(map(_dot, shown))})


def _bands(line: Line, x: Axis, y: Axis) -> Iterator[str]:
    """Yield the outline of each part of a band without a gap."""
    pairs = [*zip(line.low or (), line.high or (), strict=True)]
    known = [math.isfinite(low) and math.isfinite(high) for low, high in pairs]
    edges = (
        [pair[k] if there else math.nan for pair, there in zip(pairs, known, strict=True)]
        for k in (1, 0)
    )
    for upper, lower in zip(*(_runs(line.x, edge, x, y) for edge in edges), strict=True):
        yield f"{_path([*upper, *lower[::-1]])}Z"


def _runs(
    xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis
) -> Iterator[list[tuple[float, float]]]:
    """Yield the points of each part of a line without a gap, in units of the drawing."""
    run: list[tuple[float, float]] = []
    for a, b in zip(xs, ys, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            run.append((WIDTH * x.share(a), HEIGHT * (1 - y.share(b))))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{number(a)} {number(b)}" for a, b in points)


def _dot(point: tuple[float, float]) -> str:
    """Return a line without a length: its round ends stay round when the drawing is stretched."""
    return f"M{number(point[0])} {number(point[1])}h0"


def _point_shapes(point: Point, x: Axis, y: Axis) -> Iterator[Markup]:
    a, b = WIDTH * x.share(point.x), HEIGHT * (1 - y.share(point.y))
    text = f"{point.name}: {point.x:.4g}, {point.y:.4g}"
    if point.low is not None and point.high is not None:
        low, high = (HEIGHT * (1 - y.share(v)) for v in (point.low, point.high))
        whisker = f"M{number(a)} {number(low)}V{number(high)}"
        yield element("path", {"class": "whisker s0", "d": whisker})
        text += f" ({point.low:.4g} to {point.high:.4g})"
    title = element("title", {}, text)
    yield element("path", {"class": "dots hit s0", "d": _dot((a, b))}, title)


def _mark_line(mark: Mark, x: Axis) -> Markup:
    at = number(WIDTH * x.share(mark.x))
    return element("path", {"class": "mark-line", "d": f"M{at} 0V{HEIGHT}"})


def _mark(mark: Mark, x: Axis, y: Axis) -> Markup:
    return _label(mark.text, x.share(mark.x), y.share(mark.y), kind="mark", at=(mark.x, mark.y))


def _label(
    text: str, x: float, y: float, *, kind: str, at: tuple[float, float] | None = None
) -> Markup:
    """Return a text beside a point, on the side where there is more room."""
    side = " left" if x > 0.55 else ""
    place = {"data-x": at[0], "data-y": at[1]} if at else {}
    style = f"left:{percent(x)};bottom:{percent(y)}"
    return element("span", {"class": f"{kind}{side}", "style": style, **place}, text)


def _heights(lines: Iterable[Line], marks: Iterable[Mark]) -> Iterator[float]:
    for line in lines:
        yield from (*line.y, *(line.low or ()), *(line.high or ()))
    yield from (mark.y for mark in marks)


def _range(axis: Axis) -> list[object]:
    return [axis.low, axis.high, axis.whole]


def _data(line: Line, places: dict[str, int]) -> dict[str, object]:
    """Return what hovering needs; ``page.js`` reads it."""
    pairs = [
        (float(f"{a:.7g}"), float(f"{b:.5g}"))
        for a, b in zip(line.x, line.y, strict=True)
        if math.isfinite(a) and math.isfinite(b)
    ]
    return {"key": places[line.name], "name": line.name, "faint": line.faint, "points": pairs}


def _thinned(line: Line) -> Line:
    """Return a line of at most `MOST_POINTS`: of each part the least and the largest value."""
    count = len(line.y)
    if count <= MOST_POINTS:
        return line
    parts = (MOST_POINTS - 2) // 2
    kept = {0, count - 1}
    for part in range(parts):
        chunk = range(part * count // parts, (part + 1) * count // parts)
        known = [i for i in chunk if math.isfinite(line.y[i])]
        if known:
            kept |= {min(known, key=line.y.__getitem__), max(known, key=line.y.__getitem__)}
    order = sorted(kept)

    def take(values: Sequence[float] | None) -> list[float] | None:
        return None if values is None else [values[i] for i in order]

    return Line(
        name=line.name,
        x=take(line.x) or [],
        y=take(line.y) or [],
        low=take(line.low),
        high=take(line.high),
        faint=line.faint,
    )
