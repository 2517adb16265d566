"""Pictures of labels: one image under its labels, and truth beside prediction for several."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from backbones.errors import UserError
from tasks.common.report.panels import (
    Color,
    Image8,
    Panel,
    class_color,
    enlargement,
    resized,
    save_picture,
    sheet,
)
from tasks.segmentation.data.cases import IGNORE, IGNORED, ClassTable

Pixels = NDArray[np.integer[Any] | np.floating[Any]]
Labels = NDArray[np.integer[Any]]
FILL: Final = 0.3  # opacity: the tissue below is still seen
GRAY: Final[Color] = (176, 176, 176)  # of what is ignored, in stripes
MOST_ROWS: Final = 8
PANEL_SIDE: Final = 352


@dataclass(frozen=True, kw_only=True)
class SegmentationSample:
    """One image, or one slice of a volume, with what is there and what was found."""

    name: str  # of the case, with the slice where there are several
    image: Pixels  # (C, H, W) or (H, W), in any range
    truth: Labels  # (H, W) of class indices or (K, H, W) of 0 and 1; `IGNORE` if unknown
    prediction: Labels  # as ``truth``
    dice: float  # mean over the classes scored; NaN where none is defined


class Layer(NamedTuple):
    """A class that occurs, or what is ignored; ``inside`` is (H, W)."""

    name: str
    color: Color
    inside: NDArray[np.bool_]
    opacity: float = FILL  # of the fill, from 0 to 1
    outlined: bool = True


def save_overlay(path: Path, image: Pixels, labels: Labels, *, classes: ClassTable) -> None:
    """Write an image with its labels over it: a light fill, a contour and a legend.

    The image is scaled by its own 1st and 99th percentile, and enlarged by the whole factor
    `enlargement`; three channels are shown as RGB, else the middle one in gray. Ignored pixels are
    striped in gray. Labels are (H, W) of class indices, or (K, H, W) of 0 and 1 where classes
    overlap.
    """
    shown = as_rgb(image)
    layers = layers_of(labels, classes, size=shown.shape[:2])
    picture = draw_layers(shown, layers, scale=enlargement(*shown.shape[:2]))
    rows = [[Panel("", picture)]]
    save_picture(sheet(rows, side=picture.shape[1], legend=legend(layers, classes)), path)


def draw_labels(image: Pixels, labels: Labels, *, classes: ClassTable) -> Image8:
    """Return a frame of a video with a fill and a contour of each class, without a legend.

    The image is (C, H, W) of 8 bits, RGB or gray, and shown as it is; else as of `save_overlay`.
    """
    channels = image if len(image) == 3 else np.repeat(image, 3, axis=0)
    shown = np.moveaxis(channels, 0, -1).astype(np.uint8)
    layers = layers_of(labels, classes, size=shown.shape[:2])
    return draw_layers(shown, layers, scale=enlargement(*shown.shape[:2]))


def prediction_grid(
    samples: Sequence[SegmentationSample], *, classes: ClassTable, path: Path
) -> None:
    """Write a picture with a row per sample, at most eight: image, truth, prediction."""
    rows: list[list[Panel]] = []
    drawn: list[Layer] = []
    for sample in samples[:MOST_ROWS]:
        image = as_rgb(sample.image)
        both, size = (sample.truth, sample.prediction), image.shape[:2]
        truth, found = (layers_of(labels, classes, size=size) for labels in both)
        dice = "not defined" if math.isnan(sample.dice) else f"{sample.dice:.3f}"
        titles = (sample.name, "truth", f"prediction, Dice {dice}")
        scale = PANEL_SIDE / max(image.shape[:2])
        pictures = (draw_layers(image, layers, scale=scale) for layers in ([], truth, found))
        rows.append([Panel(*pair) for pair in zip(titles, pictures, strict=True)])
        drawn += truth + found
    save_picture(sheet(rows, side=PANEL_SIDE, legend=legend(drawn, classes)), path)


def draw_layers(image: Image8, layers: Sequence[Layer], *, scale: float) -> Image8:
    """Return an image (H, W, 3) at another scale, with a fill and a contour of each layer."""
    canvas = resized(image, scale).astype(np.float64)
    height, width = canvas.shape[:2]
    stripes = np.add.outer(np.arange(height), np.arange(width)) // max(2, width // 48) % 2 == 0
    contours = []
    for layer in layers:
        mask = cv2.resize(layer.inside.astype(np.uint8), (width, height), interpolation=0)
        inside, color = mask == 1, np.array(layer.color)
        striped = layer.name == IGNORED
        covered, opacity = inside & stripes if striped else inside, layer.opacity * (1 + striped)
        canvas[covered] += opacity * (color - canvas[covered])
        if not layer.outlined:
            continue
        # What lies beyond the image is outside: a class that reaches the border has a contour.
        core = cv2.erode(mask, np.ones((3, 3)), iterations=2, borderType=0, borderValue=(0,))
        contours.append((inside & (core == 0), color))
    for contour, color in contours:
        canvas[contour] = color
    return canvas.round().astype(np.uint8)


def legend(layers: Iterable[Layer], classes: ClassTable) -> dict[str, Color]:
    """Return the colour of each class that was drawn, in the order of the classes."""
    colors = {layer.name: layer.color for layer in layers}
    return {name: colors[name] for name in (*classes.names, IGNORED) if name in colors}


def as_rgb(image: Pixels) -> Image8:
    """Return (H, W, 3) of an image (H, W) or (C, H, W), from its 1st to its 99th percentile.

    Three channels are RGB; of others the middle one is shown in gray.
    """
    if image.ndim not in (2, 3):
        raise UserError(
            f"image has the shape {image.shape}; expected (H, W) or (C, H, W); take one slice of a "
            "volume."
        )
    channels = image[None] if image.ndim == 2 else image
    if len(channels) != 3:
        channels = np.stack([channels[len(channels) // 2]] * 3)
    low, high = np.percentile(channels, [1, 99])
    scaled = (channels.astype(np.float64) - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.moveaxis((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8), 0, -1)


def layers_of(labels: Labels, classes: ClassTable, *, size: tuple[int, ...]) -> list[Layer]:
    """Return what is to be drawn: classes that occur, without the background, and what is ignored.

    Labels are (H, W) of class indices, or (K, H, W) of 0 and 1; ``size`` is (H, W).
    """
    count = len(classes.names)
    expected = size if classes.exclusive else (count, *size)
    if labels.shape != expected:
        raise UserError(
            f"labels have the shape {labels.shape}; expected {expected} for an image of "
            f"{size[0]} x {size[1]} and {count} classes that "
            f"{'exclude each other' if classes.exclusive else 'overlap'}."
        )
    most = count - 1 if classes.exclusive else 1
    if (wrong := np.setdiff1d(labels, [*range(most + 1), IGNORE])).size:
        raise UserError(
            f"labels have the value {wrong[0]}; expected 0 to {most}, or {IGNORE} where nothing is "
            "known; encode the mask first."
        )
    layers = []
    for place, index in enumerate(classes.scored):
        inside = labels == index if classes.exclusive else labels[index] == 1
        layers.append(Layer(classes.names[index], class_color(place), inside))
    unknown = labels == IGNORE
    layers.append(Layer(IGNORED, GRAY, unknown if classes.exclusive else unknown.any(0)))
    return [layer for layer in layers if layer.inside.any()]
