"""Pictures of boxes: one image with captions, and truth beside prediction for several."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from backbones.errors import UserError
from tasks.common.report.panels import (
    INK,
    PAPER,
    Color,
    Font,
    Image8,
    Panel,
    class_color,
    enlargement,
    font,
    resized,
    save_picture,
    sheet,
)

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Corners = tuple[int, int, int, int]
PANEL_SIDE: Final = 520


@dataclass(frozen=True, kw_only=True)
class PredictionSample:
    """One image with what is there and what was found; boxes are xyxy in pixels."""

    image: Image8  # (H, W, 3) RGB or (H, W) gray
    heading: str  # what to write above it, such as the file's name
    truth_boxes: Floats  # (B, 4)
    truth_labels: Labels  # (B,), in 1..K
    boxes: Floats  # (D, 4), the predicted ones
    labels: Labels  # (D,), in 1..K
    scores: Floats  # (D,), in [0, 1]
    # (C, 4), regions of objects that are not told apart
    crowd_boxes: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))


def draw_boxes(
    image: Image8,
    boxes: Floats,
    labels: Labels,
    *,
    classes: Sequence[str],
    scores: Floats | None = None,
) -> Image8:
    """Return a copy of an image, RGB, with boxes and captions such as "disk 0.93".

    The image, (H, W, 3) RGB or (H, W) gray, uint8, is first enlarged by `enlargement` if it is
    small; boxes (B, 4), xyxy, are in its pixels all the same, and cut off at its border. Labels
    (B,) are in 1..K. Lines lie just inside the box; captions avoid each other and never leave the
    image.
    """
    scale = enlargement(*_checked(image).shape[:2])
    return annotated(image, _marks(boxes, labels, classes, scores), scale)


def prediction_grid(
    samples: Sequence[PredictionSample],
    *,
    classes: Sequence[str],
    path: Path,
    score_threshold: float = 0.5,
) -> None:
    """Write a picture of several samples, two in a row, each truth beside prediction.

    Headings count the boxes, the title states the threshold, crowd regions are dashed.
    """
    panels = [p for s in samples for p in sample_panels(s, classes, score_threshold)]
    rows = [panels[i : i + 4] for i in range(0, len(panels), 4)]
    title = f"Truth beside prediction; predictions with a score of at least {score_threshold:.2f}"
    save_picture(sheet(rows, side=PANEL_SIDE, title=title), path)


def sample_panels(
    sample: PredictionSample, classes: Sequence[str], threshold: float
) -> tuple[Panel, Panel]:
    """Return truth and prediction of a sample; see `prediction_grid`."""
    image = _checked(sample.image)
    scale = PANEL_SIDE / max(image.shape[:2])
    kept = sample.scores >= threshold
    truth = _marks(sample.truth_boxes, sample.truth_labels, classes)
    found = _marks(sample.boxes[kept], sample.labels[kept], classes, sample.scores[kept])
    crowd = [BoxMark(box, PAPER, "crowd", dashed=True) for box in sample.crowd_boxes.tolist()]
    return (
        Panel(f"{sample.heading}: truth ({len(truth)})", annotated(image, truth + crowd, scale)),
        Panel(f"prediction ({len(found)})", annotated(image, found + crowd, scale)),
    )


class BoxMark(NamedTuple):
    """A box, xyxy in pixels, as it is drawn: its colour, and a caption if it is not empty."""

    box: Sequence[float]
    color: Color
    caption: str
    dashed: bool = False


def _checked(image: Image8) -> Image8:
    is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not is_image or image.dtype != np.uint8:
        raise UserError(
            f"image is {image.dtype} of shape {image.shape}; expected uint8 of shape (H, W, 3) or "
            "(H, W); scale a float image to 0..255 and move its channels last."
        )
    return image


def _marks(
    boxes: Floats, labels: Labels, classes: Sequence[str], scores: Floats | None = None
) -> list[BoxMark]:
    counts = [len(boxes), len(labels)] + ([] if scores is None else [len(scores)])
    if len(set(counts)) > 1:
        raise UserError(f"lengths of boxes, labels, scores: {counts}; expected one; filter alike.")
    marks: list[BoxMark] = []
    for k, (box, label) in enumerate(zip(boxes.tolist(), labels.tolist(), strict=True)):
        if not 1 <= label <= len(classes):
            raise UserError(
                f"labels[{k}] is {label!r}; expected 1 to {len(classes)}, 0 is the background; "
                "map the data set's category ids to labels first."
            )
        score = "" if scores is None else f" {scores[k]:.2f}"
        marks.append(BoxMark(box, class_color(label - 1), classes[label - 1] + score))
    return marks


def annotated(image: Image8, marks: Sequence[BoxMark], scale: float) -> Image8:
    """Return an image, (H, W, 3) or (H, W), at another scale with boxes in its own pixels.

    Later boxes and captions lie over earlier ones.
    """
    pixels = resized(image, scale)
    height, width = pixels.shape[:2]
    line, face = max(2, max(height, width) // 320), font(max(12, max(height, width) // 46))
    places: list[Corners] = []
    for mark in marks:
        x1, y1, x2, y2 = (round(side * scale) for side in mark.box)
        x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
        places.append((x1, y1, min(max(x2, x1 + 1), width), min(max(y2, y1 + 1), height)))
        _draw_frame(pixels, places[-1], mark, line=line)
    canvas = Image.fromarray(pixels)
    taken: list[Corners] = []
    named = [pair for pair in zip(marks, places, strict=True) if pair[0].caption]
    for mark, corners in named:
        taken.append(_draw_caption(canvas, corners, mark, face=face, taken=taken))
    return np.asarray(canvas)


def _draw_frame(pixels: Image8, corners: Corners, mark: BoxMark, *, line: int) -> None:
    x1, y1, x2, y2 = corners
    region = pixels[y1:y2, x1:x2]
    frame = np.ones(region.shape[:2], np.bool_)
    frame[line + 1 : -line - 1, line + 1 : -line - 1] = False
    region[frame] //= 2  # a dark rim inside: an orange line is seen on an orange object
    frame[line:-line, line:-line] = False
    if mark.dashed:
        frame &= np.indices(frame.shape).sum(0) // (5 * line) % 2 == 0
    region[frame] = mark.color


def _draw_caption(
    canvas: Image.Image, corners: Corners, mark: BoxMark, *, face: Font, taken: Sequence[Corners]
) -> Corners:
    """Write the caption where it hides the least of the earlier ones, and return its place."""
    x1, y1, x2, y2 = corners
    width, height = int(face.getlength(mark.caption)) + 5, sum(face.getmetrics())
    most_x, most_y = max(0, canvas.width - width), max(0, canvas.height - height)
    choices = [
        (min(max(x, 0), most_x), min(max(y, 0), most_y))
        for y in (y1 - height, y2, y1, y2 - height)
        for x in (x1, x2 - width)
    ]

    def hidden(choice: tuple[int, int]) -> int:
        x, y = choice
        wide = (max(0, min(x + width, other[2]) - max(x, other[0])) for other in taken)
        high = (max(0, min(y + height, other[3]) - max(y, other[1])) for other in taken)
        return sum(w * h for w, h in zip(wide, high, strict=True))

    x, y = min(choices, key=hidden)
    luminance = float(np.dot(mark.color, (0.299, 0.587, 0.114)))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=mark.color)
    draw.text((x + 2, y), mark.caption, fill=INK if luminance > 110 else PAPER, font=face)
    return x, y, x + width, y + height
