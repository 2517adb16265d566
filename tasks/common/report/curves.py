"""The curves of a run, from the table that Lightning's CSVLogger writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backbones.errors import UserError
from tasks.common.files.atomic import replacing
from tasks.common.report.logged import Series, is_smoothed, logged_panels, read_table, smoothed

MOST_NAMED: Final = 8  # a longer legend helps no one


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a .png that appears complete or not at all; the folder is made."""
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def curves_figure(
    metrics_csv: Path,
    *,
    monitor: str | None = None,
    best_epoch: int | None = None,
    scores: Sequence[str] = (),
) -> Figure:
    """Return a figure of Lightning's ``metrics.csv``, with a panel for each kind of metric.

    The panels are: losses over steps (``train/*loss*`` as logged and smoothed, ``val/*loss*`` with
    dots), learning rates over steps (``lr*``), scores over epochs (other ``val/*`` within [-1, 1]),
    and the other ``val/*``, such as distances in mm. NaN and infinity are left out.

    ``monitor`` is the ``val/*`` column whose best epoch is marked: ``best_epoch``, from 1, or that
    of the largest value; it is not marked if the table, as that of a resumed run, does not have it.
    Without it the first score is taken. ``scores`` are the ``val/*`` columns to draw, by default
    all. If there is nothing to draw, a UserError says so.
    """
    table = read_table(metrics_csv)
    panels = logged_panels(table, scores)
    if not panels:
        expected = "a column train/*loss*, lr* or val/*; log one, with step and epoch"
        raise UserError(f"{metrics_csv} has values for {sorted(table)}; expected {expected}.")
    marked = next(iter(panels.get("validation", {})), "") if monitor is None else monitor
    figure = Figure(figsize=(5.2 * len(panels), 4), layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, series) in zip(row, panels.items(), strict=True):
        _draw_panel(axes, series, title=title)
        if marked in series and marked.startswith("val/"):
            x, values = series[marked]
            best = x[int(np.argmax(values))] if best_epoch is None else best_epoch
            if best in x:
                _mark(axes, marked, best, values[x.index(best)])
    return figure


def _draw_panel(axes: Axes, series: Series, *, title: str) -> None:
    for index, (name, (x, values)) in enumerate(series.items()):
        named = index < MOST_NAMED
        color = f"C{index}" if named else "0.8"
        label = name if named else "_"  # matplotlib leaves it out of the legend
        dots = "o" if name.startswith("val/") or len(x) == 1 else ""
        smooth = title == "loss" and is_smoothed(name, x)
        axes.plot(
            x, values, color=color, marker=dots, markersize=4, gid=name, zorder=2 if named else 1,
            label=label, linewidth=0.7 if smooth else 1.5, alpha=0.35 if smooth else 1,
        )  # fmt: skip
        if smooth:
            axes.plot(x, smoothed(values), color=color, linewidth=1.8, label="_", zorder=3)
    more = len(series) - MOST_NAMED
    legend = axes.legend(fontsize=8, title=f"and {more} more in gray" if more > 0 else None)
    for handle in legend.get_lines():
        handle.set_alpha(1)
        handle.set_linewidth(1.8)
    axes.set_title(title)
    axes.set_xlabel("epoch" if title.startswith("validation") else "step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(alpha=0.25)


def _mark(axes: Axes, name: str, at: float, value: float) -> None:
    axes.axvline(at, color="0.4", linestyle=":", zorder=0)
    axes.plot(
        at, value, marker="*", markersize=14, color="black", linestyle="", zorder=4,
        label="_", gid="best",
    )  # fmt: skip
    axes.set_title(f"{axes.get_title()}: best {name} {value:.3f}, {axes.get_xlabel()} {at:.0f}")
