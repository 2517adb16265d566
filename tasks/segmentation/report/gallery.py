"""The cases that a segmenter gets most wrong: image, truth, and the errors pixel by pixel."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.common.report.page.blocks import Gallery, Picture
from tasks.common.report.panels import Color, Image8, beside, class_color
from tasks.segmentation.data.cases import IGNORE, IGNORED, CaseSet, ClassTable, Labels
from tasks.segmentation.data.store import Loaded, load_case
from tasks.segmentation.options import InputOptions
from tasks.segmentation.scores.pictures import (
    FILL,
    GRAY,
    Layer,
    as_rgb,
    draw_layers,
    layers_of,
    legend,
)
from tasks.segmentation.scores.predict import upright
from tasks.segmentation.scores.worst import MOST, Worst, WrongSlice

SIDE: Final = 400  # pixels of the longer side of each of the three pictures
_ERROR: Final = 0.8  # opacity: few pixels are seen as well
Mask = NDArray[np.bool_]


ERRORS: Final = {
    "found": class_color(2),  # bluish green
    "missed": class_color(5),  # vermilion
    "false": class_color(6),  # reddish purple
    "wrong class": class_color(4),  # blue
}


def error_layers(truth: Labels, found: Labels, classes: ClassTable) -> list[Layer]:
    """Return which pixels are found, missed, false and of the wrong class, and which are unknown.

    Labels are (H, W), or (K, H, W) where classes overlap. Missed: a class in the truth and the
    background in the prediction; false: the other way round; wrong class: two classes. Where
    classes overlap, a pixel is missed or false if any class is, missed before false.
    """
    unknown = truth == IGNORE
    if classes.exclusive:
        there, seen = (np.isin(labels, classes.scored) for labels in (truth, found))
        seen &= ~unknown
        same = truth == found
        masks = (there & same, there & ~seen, seen & ~there, there & seen & ~same)
    else:
        unknown, rows = unknown.any(0), list(classes.scored)
        there, seen = (labels[rows] == 1 for labels in (truth, found))
        seen &= truth[rows] != IGNORE
        missed, false = (there & ~seen).any(0), (seen & ~there).any(0)
        hit = (there & seen).any(0) & ~missed & ~false
        masks = (hit, missed, false & ~missed, np.zeros_like(hit))
    layers = [
        Layer(name, color, mask, opacity=FILL if name == "found" else _ERROR, outlined=False)
        for (name, color), mask in zip(ERRORS.items(), masks, strict=True)
    ]
    return [*layers, Layer(IGNORED, GRAY, unknown)]


def worst_cases(worst: Worst, split: CaseSet, options: InputOptions, *, of: int) -> Gallery:
    """Return the worst of ``of`` cases, each by the slice with most wrong pixels.

    Images are read again; one that cannot be read any more is left out, and the note says so.
    """
    cases = {case.name: case for case in split.cases}
    pictures: list[Picture] = []
    drawn: list[Layer] = []
    lost: list[str] = []
    for name, wrong in list(worst.items())[:MOST]:
        try:
            loaded = load_case(cases[name], split, options)
        except (OSError, ValueError) as error:
            lost.append(f"{name} ({error})")
            continue
        picture, layers = _picture(wrong, loaded, split.classes)
        pictures.append(picture)
        drawn += layers
    note = (
        f"The {len(pictures)} of {of} cases with the lowest Dice, the mean over their classes; of "
        "a volume the slice with most wrong pixels. From left to right: the image, the truth in "
        "the classes' colours, and what the prediction made of it."
    )
    if lost:
        note += f" Not shown, because they could not be read: {'; '.join(lost)}."
    return Gallery(
        title="Worst cases first",
        pictures=pictures,
        note=note,
        legend=_legend(drawn, split.classes),
    )


def _legend(drawn: Sequence[Layer], classes: ClassTable) -> dict[str, Color]:
    colors = {f"truth: {name}": color for name, color in legend(drawn, classes).items()}
    ignored = {IGNORED: GRAY} if colors.pop(f"truth: {IGNORED}", None) else {}
    shown = {name: color for name, color in ERRORS.items() if name != "wrong class"}
    if classes.exclusive and len(classes.scored) > 1:
        shown = ERRORS
    return {**{f"prediction: {name}": color for name, color in shown.items()}, **colors, **ignored}


def _picture(wrong: WrongSlice, loaded: Loaded, classes: ClassTable) -> tuple[Picture, list[Layer]]:
    """Return a case's picture, and the layers of its truth."""
    (y, x), (height, width) = wrong.corner, wrong.truth.shape[-2:]
    plane = loaded.image[:, wrong.index, y : y + height, x : x + width]
    image, truth, found = (
        np.ascontiguousarray(upright(part, loaded.geometry))
        for part in (plane, wrong.truth, wrong.prediction)
    )
    rgb = as_rgb(image)
    scale = SIDE / max(rgb.shape[:2])
    layers = layers_of(truth, classes, size=rgb.shape[:2])
    errors = error_layers(truth, found, classes)
    panels: list[Image8] = [
        draw_layers(rgb, some, scale=scale)
        for some in ([], layers, [layer for layer in errors if layer.inside.any()])
    ]
    counts = {layer.name: int(layer.inside.sum()) for layer in errors if layer.name != IGNORED}
    texts = [f"{count} {name}" for name, count in counts.items() if count and name != "found"]
    where = f", slice {wrong.index}" if loaded.image.shape[1] > 1 else ""
    if (height, width) != wrong.size:
        where += f", the part from row {y} and column {x} of {wrong.size[0]} x {wrong.size[1]}"
    pixels = f"{', '.join(texts) or 'none wrong'}, {counts['found']} found pixels"
    caption = f"{loaded.case.name}{where}: {pixels}"
    picture = Picture(
        image=beside(panels),
        caption=caption,
        alt=f"Image, truth and errors of {caption}; Dice {wrong.dice:.3f}",
        badges=(f"Dice {wrong.dice:.3f}",),
    )
    return picture, layers
