"""Pictures of boxes: one image with captions, and truth beside prediction for several.

Only this file knows colours, fonts and where a caption goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tasks.common.files.atomic import replacing

Image8 = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Font = ImageFont.FreeTypeFont
Color = tuple[int, int, int]
Corners = tuple[int, int, int, int]

# Okabe & Ito 2008 without black: distinct with every common kind of colour blindness.
OKABE_ITO: Final = ("e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7")
INK: Final[Color] = (20, 20, 20)
PAPER: Final[Color] = (255, 255, 255)
PICTURE_SIDE: Final = 640  # least pixels of a picture's longer side
PANEL_SIDE: Final = 520
GAP: Final = 16


@dataclass(frozen=True, kw_only=True)
class PredictionSample:
    """One image with what is there and what was found.

    Attributes:
        image: (H, W, 3) RGB or (H, W) gray, uint8.
        heading: What to write above it, such as the file's name.
        truth_boxes: (B, 4), xyxy in pixels of ``image``.
        truth_labels: (B,), in 1..K.
        boxes: (D, 4), the predicted ones, xyxy in pixels.
        labels: (D,), in 1..K.
        scores: (D,), in [0, 1].
        crowd_boxes: (C, 4), regions of objects that are not told apart.
    """

    image: Image8
    heading: str
    truth_boxes: Floats
    truth_labels: Labels
    boxes: Floats
    labels: Labels
    scores: Floats
    crowd_boxes: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))


def class_color(index: int) -> Color:
    """Return the RGB colour of a class, of which 0 is the first (label 1).

    The first 7 are the palette of Okabe and Ito, the next 7 the same mixed with white, then with
    black; from 21 on colours repeat and the caption tells classes apart.

    Example:
        >>> class_color(0), class_color(7), class_color(21) == class_color(0)
        ((230, 159, 0), (243, 207, 128), True)
    """
    target, share = ((0, 0.0), (255, 0.5), (0, 0.4))[index // 7 % 3]
    base = bytes.fromhex(OKABE_ITO[index % 7])
    red, green, blue = (int(value + share * (target - value) + 0.5) for value in base)
    return red, green, blue


def enlargement(height: int, width: int) -> int:
    """Return the whole factor by which `draw_boxes` enlarges an image of so many pixels.

    Example:
        >>> enlargement(128, 112), enlargement(480, 640)
        (5, 1)
    """
    return max(1, -(-PICTURE_SIDE // max(height, width)))


def draw_boxes(
    image: Image8,
    boxes: Floats,
    labels: Labels,
    *,
    classes: Sequence[str],
    scores: Floats | None = None,
) -> Image8:
    """Return a copy of an image with boxes and captions such as "disk 0.93".

    An image whose longer side is under 640 pixels is enlarged by the whole factor
    `enlargement` first, so that captions can be read; boxes are given in pixels of ``image``
    all the same. Lines lie just inside the box, with the colour `class_color`; their width and
    the font grow with the image. Captions avoid each other and never leave the image.

    Args:
        image: (H, W, 3) RGB or (H, W) gray, uint8.
        boxes: (B, 4), xyxy in pixels; what lies outside the image is cut off.
        labels: (B,), in 1..K.
        classes: Names of the K classes; label k is ``classes[k - 1]``.
        scores: (B,), written behind the class's name.

    Returns:
        (f * H, f * W, 3), uint8, RGB, with f = `enlargement`.

    Raises:
        ValueError: If ``image`` is anything else, the lengths differ, or a label is not in 1..K.
    """
    scale = enlargement(*_checked(image).shape[:2])
    return np.asarray(_annotated(image, _marks(boxes, labels, classes, scores), scale))


def save_overlay(
    path: Path,
    image: Image8,
    boxes: Floats,
    labels: Labels,
    *,
    classes: Sequence[str],
    scores: Floats | None = None,
) -> None:
    """Write what `draw_boxes` returns to a file, which appears complete or not at all.

    Args:
        path: A .png or .jpg; its folder is made.
        image: As `draw_boxes` takes it, which also says what is raised.
        boxes: (B, 4), xyxy in pixels.
        labels: (B,), in 1..K.
        classes: Names of the K classes.
        scores: (B,), or none for truth.
    """
    _save(Image.fromarray(draw_boxes(image, boxes, labels, classes=classes, scores=scores)), path)


def prediction_grid(
    samples: Sequence[PredictionSample],
    *,
    classes: Sequence[str],
    path: Path,
    score_threshold: float = 0.5,
) -> None:
    """Write a picture of several samples, two in a row, each truth beside prediction.

    Headings count the boxes, the title states the threshold, crowd regions are dashed.

    Args:
        samples: One or more; eight fill four rows.
        classes: Names of the K classes.
        path: A .png or .jpg, which appears complete or not at all; its folder is made.
        score_threshold: Predictions with a lower score are not drawn.

    Raises:
        ValueError: If there is no sample, or one of them is not as `PredictionSample` says.
    """
    if not samples:
        raise ValueError("samples is empty; expected at least 1; pass some of a split's images.")
    panels = [p for s in samples for p in _pair(s, classes, score_threshold)]
    rows = [panels[i : i + 4] for i in range(0, len(panels), 4)]
    heights = [max(picture.height for _, picture in row) + 24 + GAP for row in rows]
    width = len(rows[0]) * (PANEL_SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, 56 + sum(heights)), PAPER)
    draw, top = ImageDraw.Draw(sheet), 56
    title = f"Truth beside prediction; predictions with a score of at least {score_threshold:.2f}"
    draw.text((GAP, 14), title, fill=INK, font=_font(22))
    for row, height in zip(rows, heights, strict=True):
        for column, (heading, picture) in enumerate(row):
            left = GAP + column * (PANEL_SIDE + GAP)
            draw.text((left, top), heading, fill=INK, font=_font(16))
            sheet.paste(picture, (left, top + 24))
        top += height
    _save(sheet, path)


class _Mark(NamedTuple):
    box: Sequence[float]
    color: Color
    caption: str
    dashed: bool = False


def _pair(
    sample: PredictionSample, classes: Sequence[str], threshold: float
) -> list[tuple[str, Image.Image]]:
    scale = PANEL_SIDE / max(_checked(sample.image).shape[:2])
    kept = sample.scores >= threshold
    truth = _marks(sample.truth_boxes, sample.truth_labels, classes)
    found = _marks(sample.boxes[kept], sample.labels[kept], classes, sample.scores[kept])
    crowd = [_Mark(box, PAPER, "crowd", dashed=True) for box in sample.crowd_boxes.tolist()]
    return [
        (f"{sample.heading}: truth ({len(truth)})", _annotated(sample.image, truth + crowd, scale)),
        (f"prediction ({len(found)})", _annotated(sample.image, found + crowd, scale)),
    ]


def _checked(image: Image8) -> Image8:
    is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if not is_image or image.dtype != np.uint8:
        raise ValueError(
            f"image is {image.dtype} of shape {image.shape}; expected uint8 of shape (H, W, 3) or "
            "(H, W); scale a float image to 0..255 and move its channels last."
        )
    return image


def _marks(
    boxes: Floats, labels: Labels, classes: Sequence[str], scores: Floats | None = None
) -> list[_Mark]:
    counts = [len(boxes), len(labels)] + ([] if scores is None else [len(scores)])
    if len(set(counts)) > 1:
        raise ValueError(f"lengths of boxes, labels, scores: {counts}; expected one; filter alike.")
    marks: list[_Mark] = []
    for k, (box, label) in enumerate(zip(boxes.tolist(), labels.tolist(), strict=True)):
        if not 1 <= label <= len(classes):
            raise ValueError(
                f"labels[{k}] is {label!r}; expected 1 to {len(classes)}, 0 is the background; "
                "map the data set's category ids to labels first."
            )
        score = "" if scores is None else f" {scores[k]:.2f}"
        marks.append(_Mark(box, class_color(label - 1), classes[label - 1] + score))
    return marks


def _annotated(image: Image8, marks: Sequence[_Mark], scale: float) -> Image.Image:
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image, (width, height), interpolation=smooth)
    pixels = np.asarray(resized if resized.ndim == 3 else np.stack([resized] * 3, 2), np.uint8)
    line, font = max(2, max(height, width) // 320), _font(max(12, max(height, width) // 46))
    places: list[Corners] = []
    for mark in marks:
        x1, y1, x2, y2 = (round(side * scale) for side in mark.box)
        x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
        places.append((x1, y1, min(max(x2, x1 + 1), width), min(max(y2, y1 + 1), height)))
        _draw_frame(pixels, places[-1], mark, line=line)
    canvas = Image.fromarray(pixels)
    taken: list[Corners] = []
    for mark, corners in zip(marks, places, strict=True):
        taken.append(_draw_caption(canvas, corners, mark, font=font, taken=taken))
    return canvas


def _draw_frame(pixels: Image8, corners: Corners, mark: _Mark, *, line: int) -> None:
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
    canvas: Image.Image, corners: Corners, mark: _Mark, *, font: Font, taken: Sequence[Corners]
) -> Corners:
    """Write the caption where it hides the least of the earlier ones, and return its place."""
    x1, y1, x2, y2 = corners
    width, height = int(font.getlength(mark.caption)) + 5, sum(font.getmetrics())
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
    draw.text((x + 2, y), mark.caption, fill=INK if luminance > 110 else PAPER, font=font)
    return x, y, x + width, y + height


@lru_cache(maxsize=32)
def _font(size: int) -> Font:
    path = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)


def _save(picture: Image.Image, path: Path) -> None:
    with replacing(path) as partial:
        picture.save(partial)
