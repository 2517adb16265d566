"""The pictures of the founding claims; colours that a colour-blind reader can tell apart."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from benchmarks.study.degradation import Curve
from benchmarks.study.gradients import SETTINGS, Norms
from benchmarks.study.pairs import KINDS
from tasks.common.files.atomic import replacing

# Okabe and Ito's palette, less yellow.
COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINES: Final = {"plain": "--", "residual": "-"}
MARKERS: Final = {"plain": "s", "residual": "o"}


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, complete or not at all.

    Args:
        figure: What to write.
        path: The .png; its folder is made.
    """
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def gradients_figure(norms: Sequence[Norms]) -> Figure:
    """Return the first convolution's gradient over depth, and every layer's in the deepest nets.

    Args:
        norms: Of `benchmarks.study.gradients.measure`.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    by_depth, by_layer = figure.subplots(1, 2, sharey=True)
    deepest = max(norms[0].by_layer)
    for entry in norms:
        color = COLORS[list(SETTINGS).index(entry.setting)]
        line, marker = LINES[entry.kind], MARKERS[entry.kind]
        label = f"{entry.kind}: {entry.setting}"
        depths = list(entry.by_layer)
        first = [layers[0] for layers in entry.by_layer.values()]
        by_depth.plot(depths, first, color=color, linestyle=line, marker=marker, label=label)
        layers = entry.by_layer[deepest]
        by_layer.plot(range(1, len(layers) + 1), layers, color=color, linestyle=line, linewidth=1.8)
    by_depth.set_yscale("log")
    by_depth.set_xticks(depths)
    by_depth.set_xlabel("weight layers of the network")
    by_depth.set_ylabel("L2 norm of the weight's gradient")
    by_depth.set_title("first convolution, by depth of the network")
    by_layer.set_xlabel("convolution, 1 next to the image")
    by_layer.set_title(f"every convolution of the {deepest}-layer networks")
    for axes in (by_depth, by_layer):
        axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=len(SETTINGS), frameon=False)
    return figure


def degradation_figure(curves: Sequence[Curve]) -> Figure:
    """Return the training losses over the steps, and the final errors over depth.

    Args:
        curves: Of `benchmarks.study.degradation.degradation`.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    over_steps, over_depth = figure.subplots(1, 2)
    depths = sorted({curve.depth for curve in curves})
    for kind in KINDS:
        for index, depth in enumerate(depths):
            losses = [c.losses for c in curves if (c.kind, c.depth) == (kind, depth)]
            _draw_losses(over_steps, losses, label=f"{kind}, {depth} layers", style=(kind, index))
        _draw_errors(over_depth, curves, kind=kind, depths=depths)
    over_steps.set_xlabel("training step")
    over_steps.set_ylabel("training loss (cross entropy, smoothed)")
    over_steps.set_ylim(bottom=0)
    over_steps.set_title("every batch is new: training loss is test loss")
    over_steps.legend(ncols=2, fontsize=8, loc="upper right")
    over_depth.set_xscale("log")
    over_depth.set_xticks(depths, [str(depth) for depth in depths])
    over_depth.xaxis.set_minor_locator(NullLocator())
    over_depth.set_ylim(bottom=0)
    over_depth.set_xlabel("weight layers of the network")
    over_depth.set_ylabel("error over the last tenth of the steps (%)")
    over_depth.set_title("a dot per seed, lines through the means")
    over_depth.legend()
    for axes in (over_steps, over_depth):
        axes.grid(alpha=0.25)
    return figure


def _draw_losses(
    axes: Axes, losses: Sequence[Sequence[float]], *, label: str, style: tuple[str, int]
) -> None:
    kind, index = style
    mean = np.mean(np.asarray(losses), axis=0)
    window = max(1, len(mean) // 20)
    steps = np.arange(window, len(mean) + 1)
    color = COLORS[index % len(COLORS)]
    axes.plot(
        steps, _moving_average(mean, window), color=color, linestyle=LINES[kind], label=label
    )  # fmt: skip


def _moving_average(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the mean over each value and the ones before it; ``window - 1`` values shorter."""
    return np.convolve(values, np.full(window, 1 / window), mode="valid")


def _draw_errors(axes: Axes, curves: Sequence[Curve], *, kind: str, depths: Sequence[int]) -> None:
    errors = {
        depth: [100 * c.final()[1] for c in curves if (c.kind, c.depth) == (kind, depth)]
        for depth in depths
    }
    color = COLORS[1 if kind == "plain" else 0]
    means = [statistics.fmean(values) for values in errors.values()]
    axes.plot(depths, means, color=color, linestyle=LINES[kind], label=kind)
    points = [(depth, value) for depth, values in errors.items() for value in values]
    axes.plot(*zip(*points, strict=True), color=color, linestyle="", marker=MARKERS[kind])
