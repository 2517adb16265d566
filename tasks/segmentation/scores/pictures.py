"""Pictures of labels: one image under its labels, and truth beside prediction for several.

Only this file knows the colours of classes and how a label is drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from tasks.common.files.atomic import replacing
from tasks.segmentation.data.cases import IGNORE, IGNORED, ClassTable

Pixels = NDArray[np.integer[Any] | np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Line = Literal["solid", "dashed", "dotted"]

# Okabe & Ito 2008 without black: distinct with every common kind of colour blindness.
OKABE_ITO: Final = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
LINES: Final[tuple[Line, ...]] = (
    "solid",
    "dashed",
    "dotted",
)  # of the first 7 classes, the next 7, ...
FILL: Final = 0.3  # opacity: the tissue below is still seen
GRAY: Final = "#b0b0b0"  # of what is ignored, in stripes
MOST_ROWS: Final = 8
MOST_LETTERS: Final = 40  # of a title; the end of a name tells more than its beginning
PANEL: Final = 3.2  # inches
DPI: Final = 110


@dataclass(frozen=True, kw_only=True)
class SegmentationSample:
    """One image, or one slice of a volume, with what is there and what was found.

    Attributes:
        name: Of the case, with the slice where there are several.
        image: (C, H, W) or (H, W), in any range.
        truth: (H, W) of class indices or (K, H, W) of 0 and 1; `IGNORE` where nothing is known.
        prediction: As ``truth``.
        dice: Mean over the classes scored; NaN where none is defined.
    """

    name: str
    image: Pixels
    truth: Labels
    prediction: Labels
    dice: float


def save_overlay(path: Path, image: Pixels, labels: Labels, *, classes: ClassTable) -> None:
    """Write an image with its labels over it: a light fill, a contour and a legend.

    The image is scaled by its own 1st and 99th percentile. One with three channels is shown as
    RGB, one with any other number by its middle channel in gray. Pixels of the background are
    left as they are, ignored ones are striped in gray. The legend names what occurs.

    Args:
        path: A .png or .jpg, which appears complete or not at all; its folder is made.
        image: (C, H, W) or (H, W), in any range.
        labels: (H, W) of class indices, or (K, H, W) of 0 and 1 where classes overlap.
        classes: The K classes.

    Raises:
        ValueError: If the shapes do not fit, or a label is of no class.
    """
    shown = _shown(image)
    layers = _layers(labels, classes, size=shown.shape[:2])
    height, width = shown.shape[:2]
    scale = 2 * PANEL / max(height, width)
    figure = Figure(figsize=(width * scale + 0.2, height * scale + 0.5), layout="constrained")
    _draw(figure.subplots(), shown, layers)
    _finish(figure, layers, classes=classes, path=path)


def prediction_grid(
    samples: Sequence[SegmentationSample], *, classes: ClassTable, path: Path
) -> None:
    """Write a picture with a row per sample: the image, the truth over it, the prediction over it.

    Args:
        samples: One or more; those after the eighth are not drawn.
        classes: The K classes of all samples.
        path: A .png or .jpg, which appears complete or not at all; its folder is made.

    Raises:
        ValueError: If there is no sample, or one is not as `SegmentationSample` says.
    """
    if not samples:
        raise ValueError("samples is empty; expected at least 1; pass some of a split's images.")
    rows = samples[:MOST_ROWS]
    figure = Figure(figsize=(3 * PANEL, len(rows) * PANEL + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), 3, squeeze=False)
    drawn: list[_Layer] = []
    for axes, sample in zip(grid, rows, strict=True):
        image = _shown(sample.image)
        truth, found = (
            _layers(labels, classes, size=image.shape[:2])
            for labels in (sample.truth, sample.prediction)
        )
        _draw(axes[0], image, [], title=sample.name)
        _draw(axes[1], image, truth, title="truth")
        dice = "not defined" if math.isnan(sample.dice) else f"{sample.dice:.3f}"
        _draw(axes[2], image, found, title=f"prediction, Dice {dice}")
        drawn += truth + found
    _finish(figure, drawn, classes=classes, path=path)


class _Layer(NamedTuple):
    name: str
    color: str
    line: Line
    inside: NDArray[np.bool_]  # (H, W)


def _shown(image: Pixels) -> NDArray[np.float64]:
    """Return (H, W, 3) in [0, 1]."""
    if image.ndim not in (2, 3):
        raise ValueError(
            f"image has the shape {image.shape}; expected (H, W) or (C, H, W); take one slice of a "
            "volume."
        )
    channels = image[None] if image.ndim == 2 else image
    if len(channels) != 3:
        channels = np.stack([channels[len(channels) // 2]] * 3)
    low, high = np.percentile(channels, [1, 99])
    scaled = (channels.astype(np.float64) - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.moveaxis(np.clip(scaled, 0, 1), 0, -1)


def _layers(labels: Labels, classes: ClassTable, *, size: tuple[int, ...]) -> list[_Layer]:
    """Return what is to be drawn: classes that occur, without the background."""
    count = len(classes.names)
    expected = size if classes.exclusive else (count, *size)
    if labels.shape != expected:
        raise ValueError(
            f"labels have the shape {labels.shape}; expected {expected} for an image of "
            f"{size[0]} x {size[1]} and {count} classes that "
            f"{'exclude each other' if classes.exclusive else 'overlap'}."
        )
    most = count - 1 if classes.exclusive else 1
    wrong = np.setdiff1d(labels, [*range(most + 1), IGNORE])
    if wrong.size:
        raise ValueError(
            f"labels have the value {wrong[0]}; expected 0 to {most}, or {IGNORE} where nothing is "
            "known; encode the mask first."
        )
    layers = []
    for place, index in enumerate(classes.scored):
        color = OKABE_ITO[place % len(OKABE_ITO)]
        line = LINES[place // len(OKABE_ITO) % len(LINES)]
        inside = labels == index if classes.exclusive else labels[index] == 1
        layers.append(_Layer(classes.names[index], color, line, inside))
    unknown = labels == IGNORE
    layers.append(_Layer(IGNORED, GRAY, "solid", unknown if classes.exclusive else unknown.any(0)))
    return [layer for layer in layers if layer.inside.any()]


def _draw(
    axes: Axes, image: NDArray[np.float64], layers: Sequence[_Layer], *, title: str = ""
) -> None:
    canvas = image.copy()
    height, width = canvas.shape[:2]
    stripes = np.add.outer(np.arange(height), np.arange(width)) // max(2, width // 48) % 2 == 0
    for layer in layers:
        ignored = layer.name == IGNORED
        covered = layer.inside & stripes if ignored else layer.inside
        opacity = 2 * FILL if ignored else FILL
        canvas[covered] += opacity * (np.array(to_rgb(layer.color)) - canvas[covered])
    axes.imshow(canvas)
    for layer in layers:
        # With a rim of nothing, a class that reaches the border has a contour along it.
        padded = np.pad(layer.inside, 1).astype(np.float64)
        grid = np.arange(-1, width + 1), np.arange(-1, height + 1)
        axes.contour(
            *grid, padded, levels=[0.5], colors=layer.color, linestyles=layer.line, linewidths=1.2
        )
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()
    text = title if len(title) <= MOST_LETTERS else f"...{title[-MOST_LETTERS + 3 :]}"
    axes.set_title(text, fontsize=9, parse_math=False)


def _finish(figure: Figure, layers: Sequence[_Layer], *, classes: ClassTable, path: Path) -> None:
    """Add the legend of what was drawn, in the order of the classes, and write the file."""
    found = {layer.name: layer for layer in layers}
    handles = [
        Patch(
            facecolor=to_rgba(found[name].color, FILL),
            edgecolor=found[name].color,
            linestyle=found[name].line,
            label=name,
        )
        for name in (*classes.names, IGNORED)
        if name in found
    ]
    if handles:
        columns = min(len(handles), 5)
        legend = figure.legend(
            handles=handles, loc="outside lower center", ncols=columns, fontsize=9
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=DPI)
